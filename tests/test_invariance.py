"""Nothing depends on the unit that a variable is measured in, nor on where that has its zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import Analog, Polynomial, PolynomialAR1, SchrodingerBridge

F64 = npt.NDArray[np.float64]

CLOSURES: dict[str, tuple[Any, dict[str, Any]]] = {
    "polynomial": (Polynomial, {"degree": 8}),
    "polynomial_ar1": (PolynomialAR1, {"residual_degree": 3}),
    "analog": (Analog, {}),
    "analog without memory": (Analog, {"memory": False}),
    "quantile": (SchrodingerBridge, {"centres": 1500}),
    "quantile without trend": (SchrodingerBridge, {"centres": 1500, "trend_degree": None}),
    "moments": (SchrodingerBridge, {"centres": 600, "radius": 1, "scheme": "moments", "compressed": None}),
    "compressed": (SchrodingerBridge, {"centres": 1500, "scheme": "moments", "compressed": 100}),
    "auto": (SchrodingerBridge, {"centres": 600, "epsilon": "auto", "scheme": "moments", "compressed": None}),
    "split": (SchrodingerBridge, {"centres": 600, "radius": 1, "scheme": "split", "compressed": None}),
    "sequential": (SchrodingerBridge, {"centres": 600, "radius": 1, "scheme": "sequential"}),
}
DRAWN = "sequential"  # draws samples: rounding makes it another one where a random number is next to a boundary


class Unit(NamedTuple):
    """x -> scale (x + shift standard deviations of x), for z and for psi."""

    of_z: tuple[float, float]
    of_psi: tuple[float, float]

    def change(self, data: xr.Dataset, spread: dict[str, float]) -> xr.Dataset:
        factors = {"z": self.of_z, "psi": self.of_psi, "observation": self.of_z}
        spread = spread | {"observation": spread["z"]}
        return data.assign(
            {n: scale * (data[n] + shift * spread[n]) for n, (scale, shift) in factors.items() if n in data}
        )


MODEL = lc.TwoScaleLorenz96(6, 3, 12.0)
UNITS = {
    "kelvin": Unit((1 / 6, 300.0), (1.0, 0.0)),
    "far": Unit((1.0, 1e6), (1.0, -1e6)),
    "small": Unit((1e-8, -1e3), (1e8, 1e3)),
    "large": Unit((1e8, 1e6), (1e-8, 1e6)),
}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=2500, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


@pytest.fixture(scope="module")
def spread(truth: xr.Dataset) -> dict[str, float]:
    return {name: float(truth[name].std()) for name in ("z", "psi")}


def drawn(closure: Any, z: F64, steps: int = 8) -> F64:
    state, out = closure.init(z, 5), []
    for _ in range(steps):
        psi, state = closure.step(z, state)
        out.append(psi)
    return np.array(out)


@pytest.fixture(scope="module")
def plain(truth: xr.Dataset) -> dict[str, F64]:
    """What every closure draws in the units of the model."""
    return {name: drawn(of.fit(truth, **how), truth["z"].values[::500]) for name, (of, how) in CLOSURES.items()}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", CLOSURES)
def test_psi_of_every_closure(
    truth: xr.Dataset, spread: dict[str, float], plain: dict[str, F64], name: str, unit: str
) -> None:
    (of, how), change = CLOSURES[name], UNITS[unit]
    data = change.change(truth, spread)
    psi = drawn(of.fit(data, **how), data["z"].values[::500])
    scale, shift = change.of_psi
    difference = np.abs(psi / scale - shift * spread["psi"] - plain[name]) / spread["psi"]
    if name == DRAWN:
        assert (difference[0] < 1e-6).mean() > 0.9  # what it draws next starts from there
    else:
        assert difference.max() < 1e-6


@pytest.mark.parametrize("unit", UNITS)
def test_psi_of_several_predictors(truth: xr.Dataset, spread: dict[str, float], unit: str) -> None:
    fields, change = {"predictors": ["z", "w"], "centres": 600, "compressed": None}, UNITS[unit]
    second = np.roll(truth["z"].values, 1, axis=1)
    expected, found = (
        drawn(
            SchrodingerBridge.fit(data.assign(w=(("time", "k"), w)), **fields),
            np.stack([data["z"].values[::500], w[::500]], axis=1),
        )
        for data, w in ((truth, second), (change.change(truth, spread), 1e5 * spread["z"] - 1e-3 * second))
    )
    scale, shift = change.of_psi
    assert np.abs(found / scale - shift * spread["psi"] - expected).max() < 1e-6 * spread["psi"]


@pytest.fixture(scope="module")
def runs(truth: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """A coarse run of a closure and a forecast."""
    closure = Polynomial.fit(truth)
    run = lc.integrate(MODEL, closure, truth["z"].values[:3], steps=1500)
    return run, lc.forecast(MODEL, closure, truth, starts=5, members=4, leads=np.linspace(0.0, 0.2, 5))


@pytest.mark.parametrize("unit", UNITS)
def test_every_score(truth: xr.Dataset, spread: dict[str, float], runs: Any, unit: str) -> None:
    run, ensemble = runs
    (z_scale, z_shift), (psi_scale, psi_shift) = UNITS[unit]
    moved = [UNITS[unit].change(data, spread) for data in (truth, run, ensemble)]
    with np.errstate(all="raise"):
        plain = xr.merge([lc.diagnose(truth, run, max_lag=1.0), lc.verify(ensemble, truth)], combine_attrs="drop")
        found = xr.merge([lc.diagnose(*moved[:2], max_lag=1.0), lc.verify(moved[2], moved[0])], combine_attrs="drop")
    units = {"z": (z_scale, z_shift * spread["z"]), "psi": (psi_scale, psi_shift * spread["psi"])}
    free = ("hellinger", "autocorrelation", "ks", "rank", "spread_skill", "return_period")
    for name in plain.data_vars:
        if not str(name).startswith(free):
            continue
        np.testing.assert_allclose(found[name], plain[name], rtol=1e-6, atol=1e-6, err_msg=str(name))
    for name, of, what in (
        ("mean", "z", 1),
        ("psi_mean", "psi", 1),
        ("std", "z", 0),
        ("psi_std", "psi", 0),
        ("crps", "z", 0),
    ):
        scale, shift = units[of]
        np.testing.assert_allclose(found[name] / scale - what * shift, plain[name], rtol=0, atol=1e-6 * spread[of])


@pytest.mark.parametrize("of", [Polynomial, PolynomialAR1])
def test_a_trend_that_adds_to_what_it_should_take_off_is_refused(
    truth: xr.Dataset, monkeypatch: pytest.MonkeyPatch, of: Any
) -> None:
    monkeypatch.setattr(np.linalg, "lstsq", lambda a, b, rcond=None: (np.full(a.shape[1], 1e3 * b.std()),))
    with pytest.raises(ValueError, match=r"^trend_degree = 4 .* about the trend the target has std .*, without it"):
        of.fit(truth)
