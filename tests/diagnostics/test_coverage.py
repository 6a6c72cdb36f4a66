"""How often intervals and standard errors hold the truth, each kind of them, on AR(1) data of known truth.

Every experiment is repeated with new data. Of the intervals that are given 90 to 95 in 100 must hold the truth, less
three standard errors of that share; those that would not are to be missing, and few of all repetitions may mislead.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import signal, stats

import l96closure as lc
from l96closure.diagnostics import climate, intervals, reliability, resampling, ring, scores, tails
from l96closure.diagnostics.runs import Runs
from l96closure.diagnostics.scorecard import DISTANCES

pytestmark = pytest.mark.slow  # whole runs, or many of them

F64 = npt.NDArray[np.float64]

_PHI = 0.8
_MEMORY = (1 + _PHI) / (1 - _PHI)  # integrated autocorrelation time, in steps
_LOWEST = 0.90


def _ar1(shape: tuple[int, ...], rng: np.random.Generator, phi: float = _PHI) -> F64:
    """Stationary AR(1) of unit variance along the second axis."""
    noise = rng.standard_normal(shape)
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return signal.lfilter([1.0], [1.0, -phi], noise, axis=1)


class _Count:
    """Intervals by kind: how many are given, and how many hold the truth."""

    def __init__(self) -> None:
        self.held: dict[str, list[bool]] = {}
        self.repetitions: dict[str, int] = {}

    def add(self, kind: str, low: float, truth: float, high: float) -> None:
        self.repetitions[kind] = self.repetitions.get(kind, 0) + 1
        held = self.held.setdefault(kind, [])
        if not np.isnan(low):
            held.append(low <= truth <= high)

    def share_given(self, kind: str) -> float:
        return len(self.held[kind]) / self.repetitions[kind]

    def check(self) -> None:
        for kind, held in self.held.items():
            repetitions, given = self.repetitions[kind], len(held)
            misled = (given - sum(held)) / repetitions
            assert misled < 0.1 + 3 * np.sqrt(0.1 * 0.9 / repetitions), kind
            if given > repetitions / 4:
                coverage = sum(held) / given
                assert coverage > _LOWEST - 3 * np.sqrt(_LOWEST * (1 - _LOWEST) / given), (kind, coverage)


def _statistics(x: F64) -> Iterator[tuple[str, float, float, float]]:
    """Every statistic of a run that has an interval: its kind, lower bound, truth and upper bound."""
    mean_se, std_se = climate.batch_standard_errors(x)
    correlation, correlation_se = climate.autocorrelation(x, 11)
    spectrum, spectrum_se = ring.spectrum(x)
    sites = x.shape[2]
    in_space, in_space_se = (each[-1, 2] for each in ring.space_time_correlation(x, 3))
    estimates = [("mean", x.mean(), mean_se, 0.0), ("std", x.std(), std_se, 1.0)]
    estimates += [(f"autocorrelation {n}", correlation[n], correlation_se[n], _PHI**n) for n in (1, 5, 10)]
    estimates += [(f"wavenumber {m}", spectrum[m], spectrum_se[m], 2 / sites if m else 1 / sites) for m in (0, 1)]
    estimates += [("neighbour", in_space, in_space_se, 0.0)]
    for kind, value, error, truth in estimates:
        yield kind, value - intervals.SIDE * error, truth, value + intervals.SIDE * error
    _, low, high = tails.quantiles(x)
    for i, p in enumerate(tails.PROBABILITIES):
        yield f"quantile {p:g}", low[i], stats.norm.ppf(p), high[i]
    levels = stats.norm.ppf(tails.THRESHOLDS)
    _, low, high = tails.return_periods(x, levels, 1.0)
    for i in range(len(levels)):
        yield f"return period {tails.THRESHOLDS[i]:g}", low[i], _PERIODS[i], high[i]


def _period(level: float) -> float:
    both_below = stats.multivariate_normal([0.0, 0.0], [[1.0, _PHI], [_PHI, 1.0]]).cdf([level, level])
    return float(1 / (stats.norm.cdf(level) - both_below))


_PERIODS = [_period(level) for level in stats.norm.ppf(tails.THRESHOLDS)]


@pytest.mark.parametrize("members", [1, 4, 25])
@pytest.mark.parametrize(("memories", "repetitions"), [(20, 50), (60, 100), (200, 100), (1000, 50)])
def test_what_is_said_of_a_run_holds_as_often_as_it_says(members: int, memories: int, repetitions: int) -> None:
    count, rng = _Count(), np.random.default_rng([1, members, memories])
    for _ in range(repetitions):
        for each in _statistics(_ar1((members, max(12, round(memories * _MEMORY / members)), 3), rng)):
            count.add(*each)
    count.check()
    for kind in ("mean", "std", "autocorrelation 10", "quantile 0.5", "wavenumber 1", "return period 0.9"):
        if members == 25 or memories == 1000:  # members are independent whatever their length
            assert count.share_given(kind) == 1.0, kind
        elif memories < 200:
            assert count.share_given(kind) < 0.2, kind
        else:
            assert count.share_given(kind) > 0.3, kind
    if memories < 200:
        assert count.share_given("quantile 0.001") < 0.2


@pytest.mark.parametrize("wider", [1.0, 1.3])
def test_the_ratio_of_return_periods_holds_as_often_as_it_says(wider: float) -> None:
    """Of counts, clustered or not, from few to many; wider bounds hold more often."""
    count, rng = _Count(), np.random.default_rng(8)
    for expected, other, cluster in ((8.0, 40.0, 1), (100.0, 60.0, 1), (300.0, 300.0, 3)):
        for _ in range(400):
            both = []
            for mean in (expected, other):
                number = cluster * int(rng.poisson(mean / cluster))
                most, fewest = intervals.count_bounds(number, float(cluster))[::-1]
                with np.errstate(divide="ignore"):
                    both.append(1.0 / np.array([number, most, fewest], dtype=np.float64))
            if np.isfinite(both[1][0]):
                _, low, high = tails.period_ratio(both[0].tolist(), both[1].tolist(), wider)
                count.add(f"{expected} {cluster}", low, other / expected, high)
    count.check()


@pytest.mark.parametrize(("memories", "given"), [(60, 0.1), (400, 0.8)])
def test_the_comparison_of_spectra_holds_as_often_as_it_says(memories: int, given: float) -> None:
    count, rng, sites = _Count(), np.random.default_rng([5, memories]), 6
    gain = np.array([1.0, 1.1, 0.8, 1.0])  # of the coarse run over the truth, by wavenumber
    for _ in range(100):
        truth, noise = (_ar1((1, round(memories * _MEMORY), sites), rng) for _ in range(2))
        coarse = np.fft.irfft(np.fft.rfft(noise, axis=-1) * gain, sites, axis=-1)
        for kind, scale in (("other", 1.0), ("same", 0.0)):
            x = scale * coarse + (1 - scale) * noise
            found = ring.compare(*ring.spectrum(truth), *ring.spectrum(x))
            expected = gain**2 if scale else np.ones(4)
            for m in range(4):
                count.add(f"{kind} {m}", found.ratio_low[m], expected[m], found.ratio_high[m])
            count.add(f"{kind} error", found.error_low, np.abs(expected - 1).max(), found.error_high)
    count.check()
    for kind in count.held:
        assert (count.share_given(kind) > given) if given > 0.5 else (count.share_given(kind) < given), kind


@pytest.mark.parametrize(("spread", "shift"), [(1.0, 0.0), (0.8, 0.0), (1.0, 0.2)])
def test_the_reliability_of_a_law_holds_as_often_as_it_says(spread: float, shift: float) -> None:
    count, rng, times = _Count(), np.random.default_rng([6, int(10 * spread), int(10 * shift)]), round(300 * _MEMORY)
    truth = stats.norm.cdf(spread * stats.norm.ppf(reliability.DECILES) + shift) - reliability.DECILES
    for _ in range(60):
        u = stats.norm.cdf((_ar1((1, times, 2), rng)[0] - shift) / spread)
        found = reliability.pit(xr.DataArray(u, dims=("time", "k"), coords={"time": np.arange(times)}), max_lag=5.0)
        for i in (0, 4, 8):
            count.add(f"decile {i}", float(found["pit_error_low"][i]), truth[i], float(found["pit_error_high"][i]))
        bounds = (float(found[f"pit_largest_error{part}"]) for part in ("_low", "_high"))
        count.add("largest", next(bounds), np.abs(truth).max(), next(bounds))
    count.check()
    assert min(map(count.share_given, count.held)) > 0.6


def _forecasts(starts: int, correlation: float, rng: np.random.Generator) -> xr.Dataset:
    """Truth and five members about what two correlated sites make predictable; starts follow each other."""
    predictable = 2 * _ar1((1, starts, 1, 2, 2), rng, correlation)[0]
    x = predictable + rng.standard_normal((starts, 6, 2, 2)) + _ar1((1, starts, 1, 2, 1), rng, correlation)[0]
    x[:, 0] += _ar1((1, starts, 2, 2), rng, correlation)[0]
    return xr.Dataset(
        {"z": (("start", "member", "lead", "k"), x[:, 1:]), "observation": (("start", "lead", "k"), x[:, 0])},
        coords={"lead": [1.0, 2.0]},
    )


@cache
def _verified_many() -> xr.Dataset:
    """Scores of so many forecasts that they are known."""
    reference = xr.Dataset({"z": (("time", "k"), np.zeros((2, 2)))})
    return lc.verify(_forecasts(20_000, 0.0, np.random.default_rng(3)), reference)


@pytest.mark.parametrize(
    ("starts", "correlation", "given"),
    [(2, 0.0, 0.0), (5, 0.0, 0.0), (10, 0.0, 0.0), (20, 0.0, 0.8), (50, 0.0, 0.95), (200, 0.0, 1.0),
     (20, 0.7, 0.0), (400, 0.4, 0.95)],
)  # fmt: skip
def test_scores_of_forecasts_hold_as_often_as_they_say(starts: int, correlation: float, given: float) -> None:
    count, rng = _Count(), np.random.default_rng([2, starts, int(100 * correlation)])
    reference = xr.Dataset({"z": (("time", "k"), np.zeros((2, 2)))})
    # The error of the mean of five has the variance 1 + 1 + 1 / 5, and the truth lies beyond k of them for reasons of
    # two normal distributions; so all is known, but for the ranks, which a large sample tells.
    large = _verified_many()
    truth = {
        "rmse": np.sqrt(2.2), "ensemble_spread": 1.0, "spread_skill": np.sqrt(1.2 / 2.2),
        "crps": np.sqrt(3 * 2 / np.pi) - 1 / np.sqrt(np.pi),
    }  # fmt: skip
    for name, value in truth.items():
        np.testing.assert_allclose(large[name], value, rtol=0.02)
    truth |= {name: float(large[name].mean("lead")) for name in ("energy_score", "variogram_score")}
    for seed in range(40 if starts < 400 else 20):
        found = lc.verify(_forecasts(starts, correlation, rng), reference, rng=seed)
        for lead in (0, 1):  # leads are independent here
            for name, value in truth.items():
                count.add(name, float(found[f"{name}_low"][lead]), value, float(found[f"{name}_high"][lead]))
            low, high = (found[f"rank_histogram{part}"].values[lead] for part in ("_low", "_high"))
            for rank in (0, 2):
                count.add(f"rank {rank}", low[rank], float(large["rank_histogram"].mean("lead")[rank]), high[rank])
    count.check()
    share = count.share_given("crps")
    assert share >= given
    assert share <= given + 0.2


@pytest.mark.parametrize(("blocks", "shift"), [(19, 0.0), (20, 0.3)])
def test_distances_hold_as_often_as_they_say(blocks: int, shift: float) -> None:
    rng, edges, joint = np.random.default_rng([4, blocks]), np.linspace(-5.0, 5.0, 31), np.linspace(-5.0, 5.0, 9)
    memory = (1 + _PHI**2) / (1 - _PHI**2)
    length = int((blocks + 0.5) * resampling.BLOCK * memory)
    found = []
    for _ in range(60 if blocks >= intervals.MIN_VALUES else 2):
        z = {"truth": _ar1((1, 2 * length, 1), rng), "coarse": _ar1((1, length, 1), rng) + shift}
        psi = {source: _ar1(x.shape, rng) - x for source, x in z.items()}
        result = scores.score(Runs(z, psi, 0.1), (edges, edges), (joint, joint), memory, rng)
        found.append([[float(result[f"{name}{part}"]) for part in ("_low", "", "_high")] for name in DISTANCES])
    low, value, high = np.moveaxis(np.array(found), -1, 0)
    if blocks < intervals.MIN_VALUES:
        assert np.isnan([low, high]).all()
        assert result.attrs["interval_method"].startswith("none: ")
        return
    count = _Count()
    for i, name in enumerate(DISTANCES):
        for bounds in zip(low[:, i], np.full(len(found), value[:, i].mean()), high[:, i], strict=True):
            count.add(name, *bounds)
    count.check()


@pytest.mark.parametrize("values", [2, 4, 5, 20])
def test_means_over_chains_hold_as_often_as_they_say(values: int) -> None:
    x = np.random.default_rng(values).standard_normal((values, 4000))
    error = intervals.standard_error(x)
    if values < intervals.MIN_REPLICATES:
        assert np.isnan(error).all()
        return
    held = np.abs(x.mean(axis=0)) <= intervals.student(values) * error
    assert abs(held.mean() - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 4000)


def test_a_proportion_of_independent_values_has_the_interval_of_clopper_and_pearson() -> None:
    number, hits = 10**7, np.array([0, 3, 60, 10**7])
    share = hits / number
    error = np.sqrt(share * (1 - share) / number)
    low, high = intervals.proportion_bounds(share, error, number, values=10**9)
    for i, k in enumerate(hits):
        exact = stats.binomtest(int(k), number).proportion_ci(0.95, "exact")
        assert (low[i], high[i]) == pytest.approx((exact.low, exact.high), rel=1e-5)


def test_memory_of_an_ar1_is_its_integrated_autocorrelation_time() -> None:
    times, columns = 2000, 100
    found = intervals.memory(_ar1((1, times, columns), np.random.default_rng(5))) / _MEMORY
    # The sum over 5 memories either way has a relative error of sqrt(2 * 10 memory / times); its end leaves out one in
    # exp(2 * 5), and the mean of the record, by which it is low, a share of 10 memory / times.
    assert abs(found.mean() - 1) < 4 * np.sqrt(20 * _MEMORY / times / columns) + 10 * _MEMORY / times
    assert intervals.memory(np.ones((1, 100, 1)))[0] == 1.0
