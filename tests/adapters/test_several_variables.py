"""Closures of several predictors and targets inside other people's models: what our own coarse model gives."""

from __future__ import annotations

import importlib
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import PolynomialAR1

F64 = npt.NDArray[np.float64]

LEVELS, STEPS, SEED, DT = 3, 40, 4, 2.0**-6
UNIT = 2.0**19  # s in a time unit of climlab's: a power of two, so that changing units rounds nothing
FIELDS = lc.Fields(("T", "q", "w"), ("heating", "moistening"), dim="lev", periodic=False, radius=0, lags=())


def model(z: F64) -> F64:
    """Damping of T and q towards each other, and of w, which has no psi, towards both."""
    T, q, w = np.moveaxis(z, 1, 0)
    return np.stack([q - T, T - 2.0 * q, T + q - w], axis=1)


@pytest.fixture(scope="module")
def closure() -> PolynomialAR1:
    rng = np.random.default_rng(0)
    data = {name: (("time", "lev"), rng.standard_normal((800, LEVELS))) for name in FIELDS.names}
    data["heating"] = (("time", "lev"), data["T"][1] + rng.standard_normal((800, LEVELS)))
    return PolynomialAR1.fit(xr.Dataset(data, {"time": DT * np.arange(800)}), FIELDS)


def start(members: int) -> F64:
    return np.random.default_rng(1).standard_normal((members, 3, LEVELS))


def expected(closure: PolynomialAR1, members: int) -> F64:
    run = lc.integrate(model, closure, start(members), steps=STEPS, scheme="euler", rng=SEED)
    return np.stack([run[name].values for name in FIELDS.predictors], axis=2)


def installed(package: str) -> ModuleType:
    pytest.importorskip(package, reason=f'needs {package}: pip install "l96closure[{package}]"')
    return importlib.import_module(f"l96closure.adapters.{package}")


def test_sympl_adds_the_tendencies_of_several_quantities(closure: PolynomialAR1) -> None:
    adapter = installed("sympl")
    sympl = adapter.sympl
    component = adapter.ClosureTendency(closure, ("T", "q", "w"), "lev", units=("1", "1", "1"), rng=SEED)
    z, kept = start(2), []
    for step in range(STEPS):
        kept.append(z)
        state = {"time": timedelta(seconds=step * DT)} | {
            name: sympl.DataArray(z[:, n], dims=("member", "lev"), attrs={"units": "1"})
            for n, name in enumerate(FIELDS.predictors)
        }
        psi = component(state)[0]
        assert set(psi) == {"T", "q"}
        added = model(z)
        for n, name in enumerate(("T", "q")):
            added[:, n] += psi[name].values
        z = z + DT * added
    np.testing.assert_allclose(np.stack(kept, axis=1), expected(closure, 2), rtol=1e-13, atol=1e-14)
    with pytest.raises(ValueError, match="quantity"):
        adapter.ClosureTendency(closure, "T")


def test_climlab_steps_several_state_variables(closure: PolynomialAR1) -> None:
    adapter, climlab = installed("climlab"), importlib.import_module("climlab")

    class Resolved(climlab.TimeDependentProcess):  # type: ignore[name-defined,misc]
        def _compute(process) -> dict[str, F64]:
            z = np.stack([np.array(process.state[name]).ravel() for name in FIELDS.predictors])
            return {
                name: one.reshape(-1, 1) / UNIT for name, one in zip(FIELDS.predictors, model(z[None])[0], strict=True)
            }

    fields = {name: climlab.surface_state(num_lat=LEVELS).Ts for name in reversed(FIELDS.predictors)}
    for n, name in enumerate(FIELDS.predictors):
        fields[name][:] = start(1)[0, n][:, None]
    tree = climlab.TimeDependentProcess(state=fields, timestep=DT * UNIT)
    tree.add_subprocess("resolved", Resolved(state=fields, timestep=tree.timestep))
    process = adapter.ClosureProcess(closure, time_unit=UNIT, rng=SEED, state=fields, timestep=tree.timestep)
    tree.add_subprocess("closure", process)
    kept = []
    for _ in range(STEPS):
        kept.append(np.stack([np.array(tree.state[name]).ravel() for name in FIELDS.predictors]))
        tree.step_forward()
    np.testing.assert_allclose(np.array(kept), expected(closure, 1)[0], rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="the predictors of the closure, T, q, w"):
        adapter.ClosureProcess(closure, state={"T": fields["T"]}, timestep=tree.timestep)


@pytest.mark.filterwarnings("ignore:unclosed file.*dpr_config:ResourceWarning")
def test_dapper_carries_all_predictors_in_one_state_vector(
    closure: PolynomialAR1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # DAPPER makes a folder in it on import
    adapter: Any = installed("dapper")
    forecast = adapter.Forecast(model, closure, 3 * LEVELS, "euler", rng=SEED)
    x, kept = forecast.augment(start(2).reshape(2, -1)), []
    for step in range(STEPS):
        kept.append(x[:, : 3 * LEVELS].reshape(2, 3, LEVELS))
        x = forecast(x, step * DT, DT)
    np.testing.assert_array_equal(np.stack(kept, axis=1), expected(closure, 2))
    with pytest.raises(ValueError, match="K = 3 is not allowed; it must be 9"):
        adapter.Forecast(model, closure, LEVELS, "euler")
