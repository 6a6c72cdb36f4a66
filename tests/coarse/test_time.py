"""Tendencies that depend on time: at each stage of a step, from the right start, and after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy
import xarray as xr
from mortal import Killed, MortalRestart

import l96closure as lc
from l96closure.restart import Restart
from l96closure.schemes import Timed, held

F64 = npt.NDArray[np.float64]

RATE, DT = 0.7, 0.05


def seasonal(z: F64, t: F64) -> F64:
    """Decay towards a forcing with a season; t broadcasts against z."""
    assert t.shape == (len(z), *(z.ndim - 1) * (1,))
    return -RATE * z + np.sin(t) + 0.1 * t * np.arange(z.shape[-1])


def exact(z: F64, begin: float, times: F64) -> F64:
    """The same by scipy to high accuracy, for one member."""
    found = scipy.integrate.solve_ivp(
        lambda t, x: -RATE * x + np.sin(t) + 0.1 * t * np.arange(len(x)),
        (begin, begin + times[-1]), z, t_eval=begin + times, rtol=1e-11, atol=1e-12,
    )  # fmt: skip
    return np.asarray(found.y.T)


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("rk4", 4)])
def test_the_error_falls_with_the_order_of_the_scheme(scheme: str, order: int) -> None:
    """A wrong time at one of the stages would leave an error of first or second order."""
    z0, errors = np.array([[1.0, -2.0, 0.5]]), []
    for steps in (20, 40, 80):
        run = lc.integrate(seasonal, lc.closures.NoClosure(), z0, steps=steps + 1, dt=2.0 / steps, scheme=scheme)
        errors.append(np.abs(run["z"].values[0, -1] - exact(z0[0], 0.0, np.array([2.0]))[-1]).max())
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(slopes, order, atol=0.15)


def test_a_function_of_the_state_alone_is_told_by_its_signature() -> None:
    z0 = np.array([[1.0, 2.0, 3.0, 4.0]])
    how: dict[str, Any] = {"steps": 30, "dt": DT, "scheme": "rk4"}
    plain = lc.integrate(lambda z, rate=RATE: -rate * z, lc.closures.NoClosure(), z0, **how)
    timed = lc.integrate(lambda z, t: -RATE * z, lc.closures.NoClosure(), z0, **how)
    named = lc.integrate(lambda z, t=None: -RATE * z + 0.0 * t, lc.closures.NoClosure(), z0, **how)
    xr.testing.assert_identical(plain, timed)
    xr.testing.assert_identical(plain, named)
    with pytest.raises(ValueError, match="it asks for 3 arguments"):
        lc.integrate(lambda z, t, rate: z, lc.closures.NoClosure(), z0, **how)


def test_a_run_that_was_stopped_goes_on_at_its_time(tmp_path: Path) -> None:
    z0 = np.array([[1.0, 2.0], [0.0, -1.0]])
    how: dict[str, Any] = {"steps": 60, "dt": DT, "scheme": "rk4"}
    whole = lc.integrate(seasonal, lc.closures.NoClosure(), z0, **how)
    with pytest.raises(Killed):
        lc.integrate(seasonal, lc.closures.NoClosure(), z0, **how, restart=MortalRestart(tmp_path / "kept", 30))
    again = lc.integrate(seasonal, lc.closures.NoClosure(), z0, **how, restart=Restart(tmp_path / "kept", 0.0))
    xr.testing.assert_identical(again, whole)


def record(steps: int) -> xr.Dataset:
    """A run of the model that begins at 3, fine enough to be one for its z, with its psi, zero."""
    times = DT * np.arange(steps)
    z = exact(np.array([1.0, -2.0, 0.5]), 3.0, times)
    fields = {"z": (("time", "k"), z), "psi": (("time", "k"), np.zeros_like(z))}
    return xr.Dataset(fields, {"time": 3.0 + times})


def test_forecasts_replay_and_history_take_the_time_of_the_record() -> None:
    """Without psi the record is the model's own run, up to the error of RK4, when the time is right."""
    data = record(400)
    made = lc.forecast(seasonal, Still(), data, starts=4, members=2, leads=[0.0, 0.5, 1.0])
    np.testing.assert_allclose(made["z"].values[:, 0], made["observation"].values, atol=1e-7)
    np.testing.assert_allclose(lc.replay(seasonal, data)["z"], data["z"], atol=1e-6)
    past = lc.history(seasonal, data.isel(time=slice(None, 50)))
    np.testing.assert_allclose(past["psi"].values[:, 1:], 0.0, atol=1e-6)
    np.testing.assert_allclose(past["time"], data["time"].values[49])
    run = lc.integrate(seasonal, Still(), past, steps=40)
    np.testing.assert_allclose(run["z"].values[0], data["z"].values[49:89], atol=1e-7)


def test_psi_that_is_held_is_found_at_the_time_of_each_state() -> None:
    data, n = record(2500), 2400  # more than are worked on at once
    times = data["time"].values[:n, None]
    psi = held(Timed(seasonal, times), data["z"].values[:n], data["z"].values[1 : n + 1], DT)
    np.testing.assert_allclose(psi, 0.0, atol=1e-6)


class Still:
    """psi is zero."""

    dt = DT

    def init(self, z: F64, rng: Any, member: Any = 0) -> F64:
        return np.zeros(len(z))

    def step(self, z: F64, state: F64) -> tuple[F64, F64]:
        return np.zeros_like(z), state
