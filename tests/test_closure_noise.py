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
from l96closure import bridge
from l96closure.closures import CLOSURES
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


def of_autoregression(step: Step) -> F64:
    phi = step.closure.phi
    return (step.after.memory - phi * step.before.memory) / np.sqrt(1.0 - phi**2)


def of_moments(step: Step) -> F64:
    mean, variance = step.closure.fitted.moments(np.hstack([step.z, step.psi]))
    return (step.psi - step.closure.trend(step.z) - mean) / np.sqrt(variance)


def of_quantiles(step: Step) -> F64:
    """Invert the conditional quantiles, which are strictly increasing up to the ends of their table."""
    table, residual = bridge.tabulate(step.closure.fitted), step.psi - step.closure.trend(step.z)
    low, high = np.full_like(residual, -4.0), np.full_like(residual, 4.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = table(step.z, middle) < residual
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def of_a_chain(step: Step) -> F64:
    """The noise of ``euler``, which is added to the denoised state, or of ``conditional_variance``."""
    fitted, x = step.closure.fitted, np.hstack([step.z, step.before.memory])
    mean, variance = fitted.moments(x)
    amplitude = np.sqrt(variance) if step.closure.scheme == "conditional_variance" else None
    if amplitude is None:
        amplitude = np.sqrt(2.0 * fitted.epsilon) * fitted.scale[K:]
    return (step.after.memory - mean) / amplitude


def of_analogs(step: Step) -> F64:
    """Which of the nearest was drawn, spread evenly over its probability."""
    order = np.argsort(np.argsort(step.psi, axis=0, kind="stable"), axis=0)  # all stand at one z
    return stats.norm.ppf((order + 0.5) / len(order))


CASES: dict[str, tuple[str, dict[str, Any], Callable[[Step], F64]]] = {
    "AR(1)": ("polynomial_ar1", {}, of_autoregression),
    "AR(1) with a variance that depends on z": ("polynomial_ar1", {"residual_degree": 2}, of_autoregression),
    "quantile": ("schrodinger_bridge", {"memory": None}, of_quantiles),
    "quantile with memory": ("schrodinger_bridge", {}, of_quantiles),
    "moments": ("schrodinger_bridge", {"memory": None, "scheme": "moments"}, of_moments),
    "moments with memory": ("schrodinger_bridge", {"scheme": "moments"}, of_moments),
    "moments of neighbourhoods": ("schrodinger_bridge", {"memory": None, "scheme": "moments", "radius": 1}, of_moments),
    "euler": ("schrodinger_bridge", {"scheme": "euler"}, of_a_chain),
    "conditional variance": ("schrodinger_bridge", {"scheme": "conditional_variance"}, of_a_chain),
    "analog": ("analog", {"memory": False, "neighbours": 500}, of_analogs),
}
WITH_MEMORY = ("quantile with memory", "moments with memory")


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K, 3, 10.0).simulate(samples=6000, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


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
    expected = closure.memory.autocorrelation(STEPS) if case in WITH_MEMORY else np.eye(1, STEPS)[0]
    for lag in range(1, STEPS):
        found = (xi[lag] * xi[0]).mean()
        assert abs(found - expected[lag]) < 4.5 * np.sqrt((1 + expected[lag] ** 2) / each)


@pytest.mark.parametrize("scheme", ["split", "sequential"])
def test_a_chain_begins_with_residuals_each_as_likely_as_the_others(truth: xr.Dataset, scheme: str) -> None:
    closure: Any = CLOSURES["schrodinger_bridge"].fit(truth, centres=50, compressed=None, scheme=scheme)
    z = np.tile(truth["z"].values[0], (MEMBERS, 1))
    values, counts = np.unique(closure.init(z, 3).memory, return_counts=True)
    (dictionary,) = closure.fitted.dictionaries
    assert np.array_equal(values, np.sort(dictionary.values[:, 0]))
    assert stats.chisquare(counts).pvalue > 1e-4
