"""The noise of every closure: standard normal from the first step on, independent of members, sites and steps.

Tolerances are in standard errors of what is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import stats

import l96closure as lc
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles, Trend
from l96closure.closures.state import State

F64 = npt.NDArray[np.float64]
K, MEMBERS, STEPS = 8, 1500, 4


class Step(NamedTuple):
    """A step of a closure, from one state to the next."""

    closure: Any
    z: F64
    before: State
    psi: F64
    after: State


def given(step: Step) -> tuple[F64, F64]:
    """Return the trend and what the law is given."""
    sites = step.z[:, None]
    history = step.before.history if step.before.history.size else np.empty((len(sites), 0, 1, K))
    mean = step.closure.trend(sites, history)[0] if step.closure.trend is not None else np.zeros_like(step.z)
    seen = {"trend": mean, "z": step.z}
    if names := step.closure.coordinates:
        return mean, seen[names[0]] if len(names) == 1 else np.stack([seen[name] for name in names], axis=1)
    return mean, step.closure.features.by_field(sites, history)


def of_a_driven_law(step: Step) -> F64:
    """The white noise behind the noise that makes psi, or, where psi is at its bounds, the one that is remembered."""
    mean, x = given(step)
    psi, law = step.psi, step.closure.law
    xi = law.recalled(x, psi - mean)
    if law.pattern.order:
        cut = (psi <= step.closure.bounds[0]) | (psi >= step.closure.bounds[1]) | (np.abs(xi) >= 3.9)
        # Beyond the ends of its table psi cannot tell; else what is remembered is what psi was made of.
        np.testing.assert_allclose(xi[~cut], step.after.memory[:, 0][~cut], rtol=0, atol=1e-6)
        xi = step.after.memory[:, 0]
    tables = law.pattern.tables()
    earlier, fresh = tables["noise_earlier"], tables["noise_fresh"]
    for lag, taps in enumerate(earlier):
        xi = xi - convolved(taps, step.before.memory[:, lag])
    return np.fft.irfft(np.fft.rfft(xi, axis=1) / np.fft.rfft(fresh, K if fresh.size > 1 else 1), K, axis=1)


def convolved(taps: F64, values: F64) -> F64:
    return sum((tap * np.roll(values, d, axis=1) for d, tap in enumerate(taps)), np.zeros_like(values))


def of_a_chain(step: Step) -> F64:
    """The noise of ``euler``, which is added to the denoised state, or of ``conditional_variance``."""
    fitted, x = step.closure.law.fitted, np.hstack([given(step)[1], step.before.memory])
    mean, variance = fitted.moments(x)
    if step.closure.law.options.scheme == "conditional_variance":
        return (step.after.memory - mean) / np.sqrt(variance)
    return (step.after.memory - mean) / (np.sqrt(2.0 * fitted.epsilon) * fitted.scale[-K:])


def of_analogs(step: Step) -> F64:
    """Which of the nearest was drawn, spread evenly over its probability."""
    order = np.argsort(np.argsort(step.psi, axis=0, kind="stable"), axis=0)  # all stand at one z
    return stats.norm.ppf((order + 0.5) / len(order))


HERE, AROUND = lc.Fields(radius=0, lags=()), lc.Fields(radius=1, lags=())
BACK = lc.Fields(radius=1, lags=(0.05,))
FRESH = Noise(0, None)
EULER, EXACT = Chain("euler", centres=3000), Chain("conditional_variance", centres=3000)
CASES: dict[str, tuple[str, dict[str, Any], Callable[[Step], F64]]] = {
    "AR(1)": ("polynomial_ar1", {}, of_a_driven_law),
    "AR(1) with a variance that depends on z": ("polynomial_ar1", {"residual_degree": 2}, of_a_driven_law),
    "AR(3), coloured": ("polynomial_ar1", {"noise": Noise(3)}, of_a_driven_law),
    "quantile": ("schrodinger_bridge", {"fields": HERE, "noise": FRESH}, of_a_driven_law),
    "quantile with memory": ("schrodinger_bridge", {"fields": HERE, "noise": Noise(8, None)}, of_a_driven_law),
    "quantile with memory and colour": ("schrodinger_bridge", {"fields": HERE}, of_a_driven_law),
    "quantile in space and time": (
        "schrodinger_bridge",
        {"fields": BACK, "trend": Trend(4, 2), "law": Quantiles("trend"), "noise": FRESH},
        of_a_driven_law,
    ),
    "moments": ("schrodinger_bridge", {"fields": HERE, "noise": FRESH, "law": Moments(3000)}, of_a_driven_law),
    "moments with memory": ("schrodinger_bridge", {"fields": HERE, "law": Moments(3000)}, of_a_driven_law),
    "moments of neighbourhoods": (
        "schrodinger_bridge",
        {"fields": AROUND, "noise": FRESH, "law": Moments(1000, None)},
        of_a_driven_law,
    ),
    "euler": ("schrodinger_bridge", {"fields": HERE, "law": EULER}, of_a_chain),
    "conditional variance": ("schrodinger_bridge", {"fields": HERE, "law": EXACT}, of_a_chain),
    "analog": ("analog", {"memory": False, "neighbours": 500}, of_analogs),
}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K, 3, 10.0).simulate(samples=3000, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


@pytest.mark.parametrize("case", CASES)
def test_the_noise_of_every_closure(truth: xr.Dataset, case: str) -> None:
    name, settings, noise_of = CASES[case]
    closure: Any = CLOSURES[name].fit(truth, **settings)
    z = np.full((MEMBERS, K), float(np.median(truth["z"])))  # one z for all, where the analogs are the same
    state, xi = closure.init(z, 5), np.empty((STEPS, MEMBERS, K))
    for number in range(STEPS):
        psi, following = closure.step(z, state)
        xi[number] = noise_of(Step(closure, z, state, psi, following))
        state = following
    each = MEMBERS * K
    for one in xi:
        # Beyond the ends of the table, at 4 standard deviations, psi cannot tell; that moves the variance by 1e-4.
        assert abs(one.mean()) < 4 / np.sqrt(each)
        assert abs(one.var() - 1.0) < 4 * np.sqrt(2 / each) + 1e-4
        assert stats.kstest(one.ravel(), "norm").pvalue > 1e-4
        for axis in (0, 1):
            following = np.roll(one, 1, axis)
            assert abs((one * following).mean()) < 4.5 / np.sqrt(each)
            assert abs(((one**2 - 1) * (following**2 - 1)).mean()) < 4.5 * 2 / np.sqrt(each)
    for lag in range(1, STEPS):
        assert abs((xi[lag] * xi[0]).mean()) < 4.5 / np.sqrt(each)


@pytest.mark.parametrize("scheme", ["split", "sequential"])
def test_a_chain_begins_with_residuals_each_as_likely_as_the_others(truth: xr.Dataset, scheme: str) -> None:
    closure: Any = CLOSURES["schrodinger_bridge"].fit(truth, fields=HERE, law=Chain(scheme, centres=50))
    z = np.tile(truth["z"].values[0], (MEMBERS, 1))
    values, counts = np.unique(closure.init(z, 3).memory, return_counts=True)
    (dictionary,) = closure.law.fitted.dictionaries
    assert np.array_equal(values, np.sort(dictionary.values[:, 0]))
    assert stats.chisquare(counts).pvalue > 1e-4
