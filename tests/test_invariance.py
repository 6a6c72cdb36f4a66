"""Nothing depends on the unit that a variable is measured in, nor on where that has its zero."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import (
    Analog,
    Chain,
    Moments,
    Noise,
    Polynomial,
    PolynomialAR1,
    Quantiles,
    SchrodingerBridge,
    Trend,
    regression,
)

pytestmark = pytest.mark.slow  # every closure in every unit

F64 = npt.NDArray[np.float64]

HERE = lc.Fields(radius=0, lags=())
NEAR = lc.Fields(radius=1, lags=())
INTERVAL = 5e-3
SEEN = lc.Fields(radius=1, lags=(INTERVAL, 3 * INTERVAL))
FEW = 600
# The single precision of moments is no more than noise of a low order can bear: what the last steps add to a smooth
# series of a high order is next to nothing.
CLOSURES: dict[str, tuple[Any, dict[str, Any]]] = {
    "polynomial": (Polynomial, {"trend": Trend(8, 1, 0.0)}),
    "polynomial of all that is seen": (Polynomial, {"fields": SEEN, "trend": Trend(4, 3)}),
    "polynomial_ar1": (PolynomialAR1, {"residual_degree": 3}),
    "polynomial_ar1 of all that is seen": (
        PolynomialAR1,
        {"fields": SEEN, "trend": Trend(4, 2), "noise": Noise(4), "residual_degree": 2},
    ),
    "analog": (Analog, {}),
    "analog of neighbourhoods": (Analog, {"fields": NEAR}),
    "analog without memory": (Analog, {"memory": False}),
    "as it comes": (SchrodingerBridge, {}),
    "quantile": (SchrodingerBridge, {"fields": HERE, "law": Quantiles(centres=1500)}),
    "quantile of all that is seen": (SchrodingerBridge, {"fields": SEEN, "law": Quantiles(centres=1500)}),
    "quantile given z": (SchrodingerBridge, {"fields": NEAR, "law": Quantiles("z", 1500)}),
    "quantile given the trend": (SchrodingerBridge, {"fields": NEAR, "law": Quantiles("trend", 1500)}),
    "quantile without trend": (SchrodingerBridge, {"fields": HERE, "trend": None, "law": Quantiles(centres=1500)}),
    "quantile on a line": (
        SchrodingerBridge,
        {"fields": lc.Fields(radius=1, lags=(INTERVAL,), periodic=False), "law": Quantiles(centres=FEW)},
    ),
    "moments": (SchrodingerBridge, {"fields": NEAR, "law": Moments(FEW, None), "noise": Noise(1)}),
    "moments of lags": (
        SchrodingerBridge,
        {"fields": lc.Fields(radius=0, lags=(2 * INTERVAL,)), "law": Moments(FEW, None), "noise": Noise(1)},
    ),
    "moments without trend": (
        SchrodingerBridge,
        {"fields": NEAR, "trend": None, "law": Moments(FEW, None), "noise": Noise(1)},
    ),
    "compressed": (SchrodingerBridge, {"fields": HERE, "law": Moments(1500, 100), "noise": Noise(1)}),
    "split": (SchrodingerBridge, {"fields": NEAR, "law": Chain("split", centres=FEW)}),
    "split without trend": (SchrodingerBridge, {"fields": NEAR, "trend": None, "law": Chain("split", centres=FEW)}),
    "sequential": (SchrodingerBridge, {"fields": NEAR, "law": Chain("sequential", centres=FEW)}),
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


def drawn(closure: Any, z: F64, steps: int = 8, history: xr.Dataset | None = None) -> F64:
    state, out = closure.init(z, 5, **({} if history is None else {"history": history})), []
    for _ in range(steps):
        psi, state = closure.step(z, state)
        out.append(psi)
    return np.array(out)


def past_of(data: xr.Dataset, lags: int = 100) -> xr.Dataset:
    """What came before some times of a record, as a history."""
    times = np.arange(500, 2500, 500)[:, None] - np.arange(lags)
    dims = ("member", "lag", "k")
    return xr.Dataset({n: (dims, data[n].values[times]) for n in ("z", "psi")}, {"lag": INTERVAL * np.arange(lags)})


def drawn_twice(of: Any, how: dict[str, Any], data: xr.Dataset) -> F64:
    """Draw from a past that is drawn, and from one that is known (start, step, member, K)."""
    closure, past = of.fit(data, **how), past_of(data)
    z = past["z"].values[:, 0]
    return np.array([drawn(closure, z), drawn(closure, z, history=past if closure.past_steps else None)])


@pytest.fixture(scope="module")
def plain(truth: xr.Dataset) -> Callable[[str], F64]:
    """What a closure draws in the units of the model."""
    return cache(lambda name: drawn_twice(*CLOSURES[name], truth))


# Those units of which the numbers are largest and smallest do for every closure what the others do for one of a kind.
SOME = ("polynomial_ar1 of all that is seen", "analog of neighbourhoods", "quantile of all that is seen", "moments",
        "split", "sequential")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "unit"), [(name, unit) for name in CLOSURES for unit in (UNITS if name in SOME else ("small", "large"))]
)
def test_psi_of_every_closure(
    truth: xr.Dataset, spread: dict[str, float], plain: Callable[[str], F64], name: str, unit: str
) -> None:
    (of, how), change = CLOSURES[name], UNITS[unit]
    psi = drawn_twice(of, how, change.change(truth, spread))
    scale, shift = change.of_psi
    difference = np.abs(psi / scale - shift * spread["psi"] - plain(name)) / spread["psi"]
    if name == DRAWN:
        assert (difference[:, 0] < 1e-6).mean() > 0.9  # what it draws next starts from there
    else:  # a draw of a chain starts from the one before: what rounding makes of each grows from step to step
        assert (difference[:, :4] if name.startswith("split") else difference).max() < 1e-6


def given_two(truth: xr.Dataset, second: F64, law: Any) -> F64:
    """Draw given two predictors."""
    closure = SchrodingerBridge.fit(
        truth.assign(w=(("time", "k"), second)),
        lc.Fields(["z", "w"], radius=1, lags=(2 * INTERVAL,)),
        Trend(4, 2),
        law,
        Noise(1),
    )
    return drawn(closure, np.stack([truth["z"].values[::500], second[::500]], axis=1))


@pytest.mark.parametrize("law", [Quantiles("w", 1000), Moments(FEW, None)], ids=["quantiles", "moments"])
def test_psi_of_several_predictors(truth: xr.Dataset, spread: dict[str, float], law: Any) -> None:
    second = truth["z"].values * np.roll(truth["z"].values, 2, axis=1)
    expected = given_two(truth, second, law)
    for unit in UNITS.values():
        found = given_two(unit.change(truth, spread), 1e4 * spread["z"] - 1e-3 * second, law)
        scale, shift = unit.of_psi
        # The past is drawn, from fields in single precision, and the range of the second is wide.
        assert np.abs(found / scale - shift * spread["psi"] - expected).max() < 3e-6 * spread["psi"]


@pytest.mark.parametrize("law", [Quantiles(centres=1500), Quantiles("z", 1500), Moments(FEW, None)], ids=repr)
def test_probabilities(truth: xr.Dataset, spread: dict[str, float], law: Any) -> None:
    plain = SchrodingerBridge.fit(truth, SEEN, law=law).probability(truth)
    assert np.isnan(plain).sum() == 3 * 6
    for unit in UNITS.values():
        changed = unit.change(truth, spread)
        found = SchrodingerBridge.fit(changed, SEEN, law=law).probability(changed)
        np.testing.assert_allclose(found, plain, rtol=0, atol=1e-5)


def scored(truth: xr.Dataset, run: xr.Dataset, ensemble: xr.Dataset) -> xr.Dataset:
    """Score a coarse run and a forecast."""
    with np.errstate(all="raise"):
        return xr.merge([lc.diagnose(truth, run, max_lag=1.0), lc.verify(ensemble, truth)], combine_attrs="drop")


@pytest.fixture(scope="module")
def runs(truth: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """A coarse run of a closure, a forecast, and their scores."""
    closure = Polynomial.fit(truth)
    run = lc.integrate(MODEL, closure, truth["z"].values[:3], steps=1500)
    ensemble = lc.forecast(MODEL, closure, truth, starts=5, members=4, leads=np.linspace(0.0, 0.2, 5))
    return run, ensemble, scored(truth, run, ensemble)


@pytest.mark.parametrize("unit", UNITS)
def test_every_score(truth: xr.Dataset, spread: dict[str, float], runs: Any, unit: str) -> None:
    *made, plain = runs
    (z_scale, z_shift), (psi_scale, psi_shift) = UNITS[unit]
    found = scored(*(UNITS[unit].change(data, spread) for data in (truth, *made)))
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


@pytest.mark.parametrize("of", [Polynomial, PolynomialAR1, SchrodingerBridge])
def test_a_trend_that_adds_to_what_it_should_take_off_is_refused(
    truth: xr.Dataset, monkeypatch: pytest.MonkeyPatch, of: Any
) -> None:
    monkeypatch.setattr(regression, "_path", lambda sums, ridges: [np.full(len(sums.xy), 1e3)] * len(ridges))
    with pytest.raises(ValueError, match=r"^trend = .* a simpler one: about it the target has std .*, without it"):
        of.fit(truth, fields=HERE)
