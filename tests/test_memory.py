"""Noise made of damped oscillators: formula, fit, stationarity and autocorrelation of what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from l96closure.closures.memory import Memory, fit_memory
from scipy.signal import lfilter

import l96closure as lc
from l96closure import targets
from l96closure.closures.state import State, begin, following
from l96closure.series import one_run

STEP = 0.005
KNOWN = Memory(np.array([8.0, 30.0]), np.array([20.0, 40.0]), np.array([0.3, 0.7]), STEP)


def remembering(state: State, sites: int) -> State:
    return state._replace(memory=KNOWN.initial(state, sites))


def test_the_autocorrelation_is_that_of_the_recursion():
    alone = Memory(np.array([15.0]), np.array([25.0]), np.ones(1), STEP)
    decay, angle = np.exp(-15.0 * STEP), 25.0 * STEP
    response = lfilter([1.0], [1.0, -2 * decay * np.cos(angle), decay**2], np.eye(1, 4000)[0])
    covariance = np.array([response[: 4000 - lag] @ response[lag:] for lag in range(60)])
    np.testing.assert_allclose(alone.autocorrelation(60), covariance / covariance[0], atol=1e-12)


def test_what_is_drawn_is_standard_normal_with_that_autocorrelation_from_the_first_step_on():
    members, sites, steps = 400, 10, 30
    state = remembering(begin(members, 0), sites)
    drawn = np.empty((steps, members, sites))
    for step in range(steps):
        state = following(state, *state.memory.shape)
        drawn[step], memory = KNOWN.advance(state, sites)
        state = state._replace(memory=memory)
    series = members * sites  # independent of each other
    for step in (0, 1, 29):
        assert abs((drawn[step] ** 2).mean() - 1.0) < 4 * np.sqrt(2 / series)
        expected = KNOWN.autocorrelation(steps)[step]
        error = np.sqrt((1 + expected**2) / series)  # of the mean product of two standard normals
        assert abs((drawn[0] * drawn[step]).mean() - expected) < 4 * error


def test_the_fit_finds_the_autocorrelation_of_oscillators_and_the_step_is_its_own():
    lags = 150
    found = fit_memory(KNOWN.autocorrelation(lags), STEP, 2)
    np.testing.assert_allclose(found.autocorrelation(lags), KNOWN.autocorrelation(lags), atol=1e-3)
    assert found.weight.sum() == pytest.approx(1.0)
    halved = fit_memory(KNOWN.autocorrelation(lags), STEP, 2, step=STEP / 2)
    np.testing.assert_allclose(halved.autocorrelation(99)[::2], found.autocorrelation(50), atol=1e-2)


def test_more_oscillators_fit_no_worse():
    target = 0.5 * KNOWN.autocorrelation(120) + 0.5 * Memory(
        np.array([3.0]), np.array([12.0]), np.ones(1), STEP
    ).autocorrelation(120)
    errors = [np.square(fit_memory(target, STEP, m).autocorrelation(120) - target).sum() for m in (1, 2, 3)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_a_step_does_not_change_its_arguments():
    state = remembering(begin(3, 1), 4)
    before = state.memory.copy()
    first, second = (KNOWN.advance(state, 4) for _ in range(2))
    np.testing.assert_array_equal(state.memory, before)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@cache
def runs(number: int = 8, samples: int = 800) -> xr.Dataset:
    """Give runs of the Lorenz-96 model (run, time, k)."""
    model = lc.TwoScaleLorenz96(12, 24, 20.0)
    simulate = partial(model.simulate, samples, every=10, spinup=3.0, subgrid="coupling")
    return xr.concat([simulate(rng=seed) for seed in range(number)], "run")


TOGETHER: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "two joined": lambda x: x.isel(run=slice(2)).stack(t=("run", "time")),
    "eight joined": lambda x: x.stack(t=("run", "time")),
    "two stacked": lambda x: x.isel(run=slice(2)).stack(t=("time", "run")),
    "eight stacked": lambda x: x.stack(t=("time", "run")),
    "columns of other means": lambda x: (x + 100.0 * x["run"] * (x > -1e9)).stack(t=("time", "run")),
}
REMEMBERING: dict[str, Callable[[xr.Dataset], Any]] = {
    "bridge": partial(lc.closures.SchrodingerBridge.fit, thinning=1),
    "polynomial_ar1": lc.closures.PolynomialAR1.fit,
    "analog": lc.closures.Analog.fit,
    "diagnose": lambda x: lc.diagnose(x, x.expand_dims("member"), max_lag=0.1),
    "forecast": lambda x: lc.forecast(
        np.negative, lc.closures.NoClosure(), x, starts=2, members=2, leads=[0.0, 0.05, 0.1], dt=5e-3
    ),
}


def together(how: str, times: bool) -> xr.Dataset:
    data = TOGETHER[how](runs().assign_coords(run=np.arange(runs().sizes["run"])))
    data = data.drop_vars(["t", "run", "time"]).rename(t="time").transpose("time", "k")
    return data.assign_coords(time=0.005 * np.arange(data.sizes["time"])) if times else data


@pytest.mark.parametrize("use", REMEMBERING)
@pytest.mark.parametrize("how", TOGETHER)
def test_runs_along_one_time_are_refused_where_it_is_remembered(use: str, how: str) -> None:
    with pytest.raises(ValueError, match=r"^(jump|autocorrelation) of (truth|reference)\.(z|psi).*isel\(time=slice"):
        REMEMBERING[use](together(how, times=True))


def test_the_joint_and_the_number_of_columns_are_named() -> None:
    fit = partial(lc.closures.SchrodingerBridge.fit, thinning=1)
    with pytest.raises(ValueError, match=r"before time index 800 = .* \.isel\(time=slice\(800\)\)$"):
        fit(together("two joined", times=False))
    with pytest.raises(ValueError, match=r"at the lags 1 and 8 = .*; 8 columns .*slice\(None, None, 8\)\)$"):
        fit(together("eight stacked", times=False))
    fit(together("eight joined", times=False), memory=None)  # without memory the order of the samples is nothing


def red(n: int, K: int, kept: float, draw: Any) -> npt.NDArray[np.float64]:
    drawn: npt.NDArray[np.float64] = lfilter([1.0], [1.0, -kept], draw((n, K)), axis=0)
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("K", [1, 2, 4, 12, 30])
@pytest.mark.parametrize("seed", range(3))
def test_one_run_of_noise_is_not_taken_for_several(K: int, seed: int) -> None:
    rng, n = np.random.default_rng(seed), 4000
    t = np.arange(n)[:, np.newaxis]
    heavy = red(n, K, 0.99, lambda size: rng.standard_t(3, size))
    for series in (
        *(red(n, K, kept, rng.standard_normal) for kept in (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)),
        *(red(n, 1, kept, rng.standard_normal) + 0.1 * rng.standard_normal((n, K)) for kept in (0.9, 0.999)),
        heavy,
        np.exp(heavy / heavy.std()),
        lfilter([1.0], [1.0, -1.9, 0.905], rng.standard_normal((n, K)), axis=0),
        *(
            3.0 * np.cos(2 * np.pi * t / p) + red(n, K, 0.9, rng.standard_normal)
            for p in (2, 3, 4, 24, 2.07, 3.1, 12.4)
        ),
        *(
            np.maximum(np.cos(2 * np.pi * t / p), 0.1) * (2 + np.cos(t / 200)) + rng.normal(0, 0.1, (n, K))
            for p in (4, 8)
        ),
        np.where(rng.random((n, K)) < 0.01, rng.exponential(size=(n, K)), 0.0),
        np.full((n, K), 3.0),
    ):
        for part in (series, series[:600], series[:40]):
            one_run("series", np.broadcast_to(part, (len(part), K)))


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 5, 10, 37, 50, 80, 160])
def test_one_run_of_a_model_is_not_taken_for_several(every: int) -> None:
    for name in ("z", "psi"):
        for data in _models():
            x = data[name].values[::every]
            for sites in (slice(None), slice(1), slice(2)):
                one_run(name, x[:, sites])
                one_run(name, x[:300, sites])


@cache
def _models() -> list[xr.Dataset]:
    """Give chaotic and periodic regimes, another equation and a double well."""
    lorenz = [
        lc.TwoScaleLorenz96(K, J, F).simulate(20_000, dt=1e-3, every=5, spinup=20.0, subgrid=subgrid)
        for K, J, F in ((4, 4, 8.0), (6, 4, 8.0), (12, 24, 20.0))
        for subgrid in ("coupling", "coarse")
    ]
    well = targets.double_well(1, 5000, 1.0, 0.2, 0.02, np.random.default_rng(0)).T
    wells = xr.Dataset({name: (("time", "k"), well) for name in ("z", "psi")})
    return [*lorenz, lc.KuramotoSivashinsky().simulate(samples=2000), wells]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"oscillators": 0}, "oscillators"),
        ({"oscillators": 1.5}, "oscillators"),
        ({"step": 0.0}, "step"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_memory(KNOWN.autocorrelation(20), STEP, **{"oscillators": 1, **arguments})
