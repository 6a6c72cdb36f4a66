"""Features and the trend in them, against an independent ridge regression on the same columns."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import Polynomial, SchrodingerBridge, Trend, choice, fitting, smooth_steps
from l96closure.closures.features import Features
from l96closure.closures.regression import blocks, fit_trend
from l96closure.training import read

F64 = npt.NDArray[np.float64]
RNG = np.random.default_rng(0)
K, P = 5, 2
SERIES = [RNG.standard_normal((times, P, K)) for times in (170, 110)]
TARGET = [
    np.sin(2 * one[:, 0]) + np.roll(one[:, 1], 1, axis=1) * one[:, 0] + 0.3 * RNG.standard_normal((len(one), K))
    for one in SERIES
]


def made(radius: int, lags: tuple[int, ...]) -> Features:
    """Features of a ring, the site itself first, then its neighbours in the order of their numbers."""
    places = np.array([[k, *sorted((k + d) % K for d in range(-radius, radius + 1) if d)] for k in range(K)])
    together = np.concatenate(SERIES)
    return Features(places, np.array([0, *lags]), together.min(axis=(0, 2)), together.max(axis=(0, 2)))


def seen(features: Features, series: F64, time: int, k: int) -> list[float]:
    """Return the features of a site, one by one."""
    found = []
    for lag in features.lags:
        for p in range(P):
            for site in features.neighbour[k]:
                low, high = features.lower[p], features.upper[p]
                found.append(2.0 * (series[time - lag, p, site] - low) / (high - low) - 1.0)
    return found


def columns(features: Features, degree: int, order: int, f: F64) -> F64:
    """Return the columns of the regression (rows, C), without the constant: powers as powers, products by loops."""
    own = range(0, f.shape[1], features.neighbour.shape[1])  # the sites themselves, at every lag
    out = [np.polynomial.Chebyshev.basis(n)(f[:, place]) for place in own for n in range(1, degree + 1)]
    for power in range(1, order + 1):
        for some in combinations_with_replacement(range(f.shape[1]), power):
            if len(set(some)) > 1 or some[0] not in own or power > degree:
                out.append(np.prod(f[:, list(some)], axis=1))
    return np.stack(out, axis=1)


def ridge(x: F64, y: F64, weight: float, at: F64) -> F64:
    """Predict ``at`` by ridge regression on standardised columns, the constant without a penalty."""
    mean, std = x.mean(axis=0), x.std(axis=0)
    a = (x - mean) / std
    stacked = np.vstack([a, np.sqrt(weight * len(a)) * np.eye(a.shape[1])])
    slopes = np.linalg.lstsq(stacked, np.concatenate([y - y.mean(), np.zeros(a.shape[1])]), rcond=None)[0]
    return y.mean() + (at - mean) / std @ slopes


CASES = [(0, (), 4, 1), (1, (), 3, 2), (0, (1, 3), 2, 3), (1, (2,), 0, 1), (1, (2,), 3, 2)]
every_case = pytest.mark.parametrize(("radius", "lags", "degree", "order"), CASES)


@every_case
def test_the_trend_and_those_without_a_block_are_ridge_regressions(
    radius: int, lags: tuple[int, ...], degree: int, order: int
) -> None:
    """Evaluated at every time, of the whole and of each block of time with the rest."""
    features, weight = made(radius, lags), 3e-3
    fit = fit_trend(SERIES, TARGET, features, Trend(degree, order, hidden=0, ridge=weight))
    first = features.longest
    parts = blocks(SERIES, first)
    of = [[(s, t) for s, times in enumerate(one) for t in times] for one in parts]
    everything = [pair for one in of for pair in one]
    assert sorted(everything) == [(s, t) for s in range(2) for t in range(first, len(SERIES[s]))]
    sizes = [len(one) for one in of]
    assert max(sizes) - min(sizes) <= 1

    at = {(s, t): np.array([seen(features, SERIES[s], t, k) for k in range(K)]) for s, t in everything}

    def rows(pairs: list[tuple[int, int]]) -> tuple[F64, F64]:
        f = np.concatenate([at[pair] for pair in pairs])
        return columns(features, degree, order, f), np.array([TARGET[s][t, k] for s, t in pairs for k in range(K)])

    def of_trend(trend: Any, pairs: list[tuple[int, int]]) -> F64:
        return np.concatenate([trend.of_series(SERIES[s], np.array([t]))[0] for s, t in pairs])

    x, y = rows(everything)
    np.testing.assert_allclose(of_trend(fit.trend, everything), ridge(x, y, weight, x), rtol=0, atol=1e-9)
    squares = 0.0
    for number, trend in enumerate(fit.without):
        left_out = rows(of[number])
        rest = rows([pair for other, one in enumerate(of) if other != number for pair in one])
        expected = ridge(*rest, weight, left_out[0])
        np.testing.assert_allclose(of_trend(trend, of[number]), expected, rtol=0, atol=1e-9)
        squares += float(((left_out[1] - expected) ** 2).sum())
    assert fit.held_out == pytest.approx(squares / len(y), rel=1e-9)


@every_case
def test_a_step_sees_what_a_series_does(radius: int, lags: tuple[int, ...], degree: int, order: int) -> None:
    features = made(radius, lags)
    trend, series = fit_trend(SERIES, TARGET, features, Trend(degree, order, hidden=0, ridge=1e-3)).trend, SERIES[0]
    H, times = features.longest, np.arange(features.longest, 40)
    history = np.stack([[series[t - lag] for lag in range(1, H + 1)] for t in times]).reshape(len(times), H, P, K)
    found, outside = trend(series[times], history)
    np.testing.assert_allclose(found, trend.of_series(series, times), rtol=0, atol=1e-13)
    assert not outside.any()
    f = features.at(series, times, -1)
    expected = [[seen(features, series, t, k) for k in range(K)] for t in times]
    np.testing.assert_allclose(f, expected, rtol=0, atol=1e-13)


@every_case
def test_features_beyond_their_range_are_held_and_counted(
    radius: int, lags: tuple[int, ...], degree: int, order: int
) -> None:
    features = made(radius, lags)
    trend, rng = (
        fit_trend(SERIES, TARGET, features, Trend(degree, order, hidden=0, ridge=1e-3)).trend,
        np.random.default_rng(1),
    )
    z, history = 3.0 * rng.standard_normal((20, P, K)), 3.0 * rng.standard_normal((20, features.longest, P, K))
    low, high = features.lower[:, None], features.upper[:, None]
    found, outside = trend(z, history)
    held, none = trend(z.clip(low, high), history.clip(low, high))
    np.testing.assert_allclose(found, held, rtol=0, atol=1e-12)
    assert not none.any()
    beyond = [(field < low) | (field > high) for field in (z, *(history[:, lag - 1] for lag in lags))]
    # Each value is seen by as many sites as have it in their stencil.
    assert outside.tolist() == [sum(int(one[n].sum()) for one in beyond) * (2 * radius + 1) for n in range(20)]


def data(seed: int = 3, times: int = 1500) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((times, K))
    psi = z**2 - np.roll(z, 1, axis=1) * np.roll(z, -1, axis=1) + 0.5 * rng.standard_normal((times, K))
    return xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)}, {"time": 0.1 * np.arange(times)})


def test_a_closure_counts_step_by_step_what_is_outside() -> None:
    closure = Polynomial.fit(data(), lc.Fields(radius=1, lags=(0.2,)), Trend(3, 2, hidden=0, ridge=1e-3))
    z = np.zeros((3, K))
    z[1, 2] = 100.0
    z[2] = -100.0
    state = closure.init(z, 0)
    state = state._replace(history=np.zeros_like(state.history))
    assert state.outside.tolist() == [0, 0, 0]
    counted = []
    for _ in range(3):
        psi, state = closure.step(z, state)
        counted.append(state.outside.tolist())
        assert (psi >= closure.bounds[0]).all()
        assert (psi <= closure.bounds[1]).all()
    # A site is seen by itself and two neighbours, now, and from the third step on at the lag of two steps too.
    assert counted == [[0, 3, 15], [0, 6, 30], [0, 12, 60]]


def test_order_and_ridge_are_chosen_by_the_held_out_error() -> None:
    """Products of two make the data; those of three add nothing, and of noise the ridge leaves nothing."""
    chosen = Polynomial.fit(data(), lc.Fields(radius=1, lags=()), Trend(2, filtered=False)).trend
    assert chosen.quadratic.any()
    assert not chosen.cubic.size
    rng = np.random.default_rng(4)
    noise = data().assign(psi=(("time", "k"), rng.standard_normal((1500, K))))
    trend = Polynomial.fit(noise, lc.Fields(radius=1, lags=()), Trend(8)).trend
    values = trend(noise["z"].values[:, None], np.empty((1500, 0, 1, K)))[0]
    assert values.std() < 3.0 * np.sqrt(10.0 / (1500 * K))  # of a regression on ten columns, at most


@pytest.mark.parametrize(("curved", "least", "most"), [(0.0, 1, 1), (1.0, 4, 8)])
def test_a_trend_that_is_fed_back_is_no_higher_than_held_out_data_ask_for(curved: float, least: int, most: int) -> None:
    """Psi depends on that of the step before, linearly or by a sine."""
    rng, psi = np.random.default_rng(5), np.zeros((800, K))
    for t in range(1, len(psi)):
        mean = curved * 2.0 * np.sin(2.0 * psi[t - 1]) + (1.0 - curved) * 0.9 * psi[t - 1]
        psi[t] = mean + 0.5 * rng.standard_normal(K)
    z = rng.standard_normal(psi.shape)
    record = xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)}, {"time": 0.1 * np.arange(len(psi))})
    see, options = {"radius": 0, "lags": ()}, Trend(order=1, filtered=False)
    chosen = Polynomial.fit(record, lc.Fields(previous=True, **see), options).trend  # type: ignore[arg-type]
    assert least <= chosen.chebyshev.shape[1] - 1 <= most
    usual = Polynomial.fit(record, lc.Fields(**see), options).trend  # type: ignore[arg-type]
    assert usual.chebyshev.shape[1] - 1 == 8
    if not curved:
        with pytest.warns(lc.bridge.AccuracyWarning, match="degree = 8 where held-out data ask for 1") as told:
            Polynomial.fit(record, lc.Fields(previous=True, **see), replace(options, degree=8))  # type: ignore[arg-type]
        assert told[0].filename == __file__


def test_residuals_that_a_law_learns_are_those_of_trends_that_have_not_seen_them() -> None:
    """With as many columns as rows a trend fits its own data; what is drawn keeps the spread of new data."""
    few = data(times=60)
    # 1 + 8 + 20 columns on 300 rows: in-sample residuals would be some 5 % too small, in standard deviations.
    closure = SchrodingerBridge.fit(
        few,
        lc.Fields(radius=1, lags=(0.1, 0.2)),
        Trend(2, 2, hidden=0, ridge=0.0),
        lc.closures.Quantiles("z"),
        lc.closures.Noise(0),
        kernel=lc.bridge.Kernel(epsilon=10.0),
    )
    new, lags = data(seed=9), np.arange(1, 3)
    times = np.arange(2, 1500)
    z = new["z"].values[:, None]
    mean = closure.trend(z[times], z[times[:, None] - lags])[0]
    error = (new["psi"].values[times] - mean).std()
    drawn = closure.law.made_of(np.zeros((4000, K)), np.random.default_rng(0).standard_normal((4000, K))).std()
    inside = closure.trend(few["z"].values[2:, None], few["z"].values[:, None][np.arange(2, 60)[:, None] - lags])[0]
    own = (few["psi"].values[2:] - inside).std()
    spread = 4.0 * error / np.sqrt(2 * 58 * K)  # of a standard deviation from as many values
    assert own < error - spread
    assert abs(drawn - error) < spread + 0.1 * error


def test_a_filtered_trend_is_uncorrelated_with_what_it_leaves_at_every_wavenumber() -> None:
    """So their variances add up to that of the target there; without the filter they do at a site alone."""
    rng, times, sites = np.random.default_rng(5), 4000, 6
    z = rng.standard_normal((times, sites))
    far = sum(weight * np.roll(z, d, axis=1) for d, weight in ((2, 0.5), (3, -0.7)))  # what no site sees
    psi = 3.0 + z + far + 0.1 * rng.standard_normal(z.shape)
    z = z + 0.6 * np.roll(psi, 1, axis=1)
    truth = xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)}, {"time": 0.1 * np.arange(times)})
    record = read(truth, lc.Fields(radius=0, lags=()), None)
    features = choice.of(record, 0, ())

    def left(filtered: bool) -> tuple[F64, F64]:
        residual = fitting.without_trend(record, features, Trend(1, 1, filtered=filtered))
        mean = np.concatenate(residual.mean)
        of_trend, of_rest = (np.fft.rfft(x, axis=1) for x in (mean - mean.mean(), np.concatenate(residual.values)))
        together = np.abs((of_trend * of_rest.conj()).mean(axis=0))
        sizes = [(np.abs(x) ** 2).mean(axis=0) for x in (of_trend, of_rest)]
        return together / np.sqrt(sizes[0] * sizes[1]), sum(sizes)

    correlation, total = left(filtered=True)
    of_psi = (np.abs(np.fft.rfft(psi - psi.mean(), axis=1)) ** 2).mean(axis=0)
    np.testing.assert_allclose(correlation, 0.0, atol=1e-12)
    np.testing.assert_allclose(total[1:], of_psi[1:], rtol=1e-12)
    without, total = left(filtered=False)
    assert without.max() > 0.1
    assert np.abs(total / of_psi - 1.0).max() > 0.1


def steps_and_others() -> tuple[F64, F64, F64, F64]:
    """Features, other columns, a target, and random steps."""
    rng = np.random.default_rng(7)
    f = rng.uniform(-1.0, 1.0, (900, 3))
    others = np.column_stack([np.ones(900), f, f[:, 0] ** 2])
    target = np.tanh(4.0 * (f[:, 0] - 0.5 * f[:, 1])) + np.sin(3.0 * f[:, 2]) + 0.1 * rng.standard_normal(900)
    return f, others, target, smooth_steps.candidates(3, np.array([0]))


def left(columns: F64, target: F64) -> float:
    rest = target - columns @ np.linalg.lstsq(columns, target, rcond=None)[0]
    return float(rest @ rest)


def test_each_step_is_the_one_that_explains_most_beside_those_before() -> None:
    """Chosen by trying all, one regression each."""
    f, others, target, drawn = steps_and_others()
    steps = smooth_steps.values(f, drawn)
    together = np.column_stack([others[:, 1:], steps])
    together = (together - together.mean(axis=0)) / together.std(axis=0)
    found = smooth_steps.chosen(together.T @ together / 900, together.T @ target / 900, 4, 5)
    used: list[int] = []
    for _ in range(5):
        error = [left(np.column_stack([others, steps[:, [*used, one]]]), target) for one in range(steps.shape[1])]
        used.append(int(np.argmin(error)))
    assert found.tolist() == used


def test_steps_learn_until_no_change_of_a_weight_makes_them_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """By differences of what they are to make small: squares of the rest, and of the weights."""
    f, others, target, drawn = steps_and_others()
    monkeypatch.setattr(smooth_steps, "_ITERATIONS", 300)
    monkeypatch.setattr(smooth_steps, "_GAIN", 1e-12)
    began = drawn[:, :4]
    weights = smooth_steps.improved(began, f, others, target)
    alone = left(others, target)

    def small(w: F64) -> float:
        steps = smooth_steps.values(f, w)
        basis = np.linalg.qr(others)[0]
        ridge = np.sqrt(smooth_steps._OUTPUT_RIDGE * len(f)) * np.eye(w.shape[1])
        rows = np.vstack([steps - basis @ (basis.T @ steps), ridge])
        of = np.concatenate([target - basis @ (basis.T @ target), np.zeros(w.shape[1])])
        return left(rows, of) + smooth_steps._PENALTY * alone * float((w**2).sum())

    h, slopes = 1e-5, []
    for place in np.ndindex(weights.shape):
        change = np.zeros_like(weights)
        change[place] = h
        slopes.append((small(weights + change) - small(weights - change)) / (2.0 * h))
    assert small(weights) < 0.5 * small(began)
    assert np.abs(slopes).max() < 1e-3 * alone


def test_of_many_steps_the_first_learn_and_the_others_stay() -> None:
    f, others, target, drawn = steps_and_others()
    weights = smooth_steps.improved(drawn[:, :120], f, others, target)
    np.testing.assert_array_equal(weights[:, -20:], drawn[:, 100:120])
    assert (weights[:, :-20] != drawn[:, : weights.shape[1] - 20]).any(axis=0).all()
    steps = [np.column_stack([others, smooth_steps.values(f, some)]) for some in (weights, drawn[:, :120])]
    assert left(steps[0], target) < left(steps[1], target)


@pytest.mark.parametrize("rows", [900, 4])
def test_where_other_columns_leave_nothing_steps_stay(rows: int) -> None:
    """A linear target, and fewer rows than columns."""
    f, others, target, drawn = (one[:rows] if len(one) == 900 else one for one in steps_and_others())
    explained = others @ np.arange(5.0) if rows == 900 else target
    np.testing.assert_array_equal(smooth_steps.improved(drawn[:, :3], f, others, explained), drawn[:, :3])


def test_a_predictor_that_hardly_varies_does_no_harm() -> None:
    """One that has spun up: its variance is the rounding of the others' sums."""
    rng, times = np.random.default_rng(8), 1500
    z = rng.standard_normal((times, 2, K))
    z[:, 1] = np.exp(-np.arange(times) / 25.0)[:, None]
    target = z[:, 0] ** 2 + 0.1 * rng.standard_normal((times, K))
    low, high = z.min(axis=(0, 2)), z.max(axis=(0, 2))
    features = Features(np.arange(K)[:, None], np.array([0]), low, high)
    fit = fit_trend([z], [target], features, Trend())
    assert fit.held_out < 0.02


def test_a_trend_without_a_block_of_time_does_not_know_it() -> None:
    """Another target there, and it has the same steps with the same coefficients."""
    features, options = made(1, (2,)), Trend(2, 1, hidden=3, ridge=1e-7)
    of = blocks(SERIES, features.longest)
    changed = [one.copy() for one in TARGET]
    for one, times in zip(changed, of[2], strict=True):
        one[times] = -one[times]
    other = [one - np.mean(np.concatenate(changed)) + np.mean(np.concatenate(TARGET)) for one in changed]
    fits = [fit_trend(SERIES, target, features, options) for target in (TARGET, other)]
    shift = np.mean(np.concatenate(changed)) - np.mean(np.concatenate(TARGET))
    (before, after), times = [fit.without[2] for fit in fits], np.arange(features.longest, 100)
    found = after.of_series(SERIES[0], times) + shift
    np.testing.assert_allclose(found, before.of_series(SERIES[0], times), rtol=0, atol=1e-8)
    changes = fits[0].without[1].of_series(SERIES[0], times) - fits[1].without[1].of_series(SERIES[0], times) - shift
    assert np.abs(changes).max() > 0.1


def test_steps_find_what_polynomials_do_not() -> None:
    """A threshold in a combination of the past and the present, at a site that sees itself alone."""
    rng, times = np.random.default_rng(6), 3000
    z = rng.uniform(-1.0, 1.0, (times, K))
    before = np.roll(z, 2, axis=0)
    psi = np.where(z + 0.7 * before > 0.4, 1.0, -1.0) + 0.1 * rng.standard_normal(z.shape)
    record = read(
        xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)}, {"time": 0.1 * np.arange(times)}),
        lc.Fields(radius=0, lags=(0.2,)),
        None,
    )
    features = choice.of(record, 0, (2,))
    left = {
        order: fit_trend(record.series, record.target, features, Trend(order=order)).held_out for order in (None, 3)
    }
    assert left[None] < 0.6 * left[3]
