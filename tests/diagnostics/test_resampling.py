"""Intervals of the scores: as wide as the scores scatter when both runs are made anew."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import signal

from l96closure import diagnose
from l96closure.diagnostics import distances, intervals, resampling
from l96closure.diagnostics.scorecard import DISTANCES

F64 = npt.NDArray[np.float64]

_PHI = 0.8
_MEMORY = (1 + _PHI**2) / (1 - _PHI**2)


def _ar1(shape: tuple[int, ...], rng: np.random.Generator) -> F64:
    """Stationary AR(1) of unit variance along the last axis but one."""
    noise = rng.standard_normal(shape)
    noise[..., 1:, :] *= np.sqrt(1 - _PHI**2)
    return signal.lfilter([1.0], [1.0, -_PHI], noise, axis=-2)


def test_decorrelation_time_of_an_ar1() -> None:
    assert resampling.decorrelation_time(_PHI ** np.arange(200)) == pytest.approx(_MEMORY)
    assert resampling.decorrelation_time(np.full(5, np.nan)) == 1.0


def test_what_is_remembered_beyond_the_longest_lag_has_no_known_decorrelation_time() -> None:
    assert resampling.decorrelation_time(0.99 ** np.arange(50)) == np.inf
    assert resampling.blocks_in(10**6, np.inf) == 0
    run = _run(6000, 7)
    result = diagnose(run.isel(member=0), run.isel(time=slice(3000)), max_lag=0.2)  # two steps
    assert np.isnan(result["ks_z_low"])
    assert "longest lag" in result.attrs["interval_method"]


@pytest.mark.parametrize(("length", "blocks"), [(10_000, 50), (4_000, 20), (3_999, 0), (10**6, 200)])
def test_blocks_are_twenty_decorrelation_times_or_longer(length: int, blocks: int) -> None:
    assert resampling.blocks_in(length, 10.0) == blocks


def test_blocks_are_resampled_whole() -> None:
    # Each block holds one cell only, so every resampled histogram is made of multiples of 1 / blocks.
    cells = np.repeat(np.arange(5), 8).reshape(-1, 1)
    seen = []

    def distance(p: F64, q: F64) -> F64:
        seen.append(p)
        return np.zeros(len(p))

    pieces = distances.Stretches((cells, cells), (cells,), 40, "")
    assert resampling.resampled_scores(distance, pieces, 6, 5, np.random.default_rng(0)).shape == (1000,)
    p = seen[0]
    np.testing.assert_allclose(p * 5, np.round(p * 5), atol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    # A block is drawn as often as any other: each count is binomial (5, 1 / 5) with variance 4 / 5.
    assert (np.abs(p[:, :5].mean(axis=0) * 5 - 1) < 4 * np.sqrt(0.8 / 1000)).all()
    assert (p[:, 5] == 0).all()


def test_interval_does_not_follow_the_bias_of_resampled_scores() -> None:
    resampled = np.random.default_rng(1).normal(0.5, 0.01, 100_000)  # far above the score
    low, high = resampling.interval(0.1, resampled, 20)
    side = 0.01 * intervals.SIDE * np.sqrt(20 / 19)
    assert (low, high) == pytest.approx((0.1 - side, 0.1 + side), abs=3e-4)
    assert resampling.interval(0.01, resampled, 20)[0] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "blocks"), [(1.0, 20)])
def test_interval_holds_the_expected_score_as_often_as_it_says(scale: float, blocks: int) -> None:
    """Repeat the whole experiment: truth, coarse run, score, interval."""
    repetitions, length, stretches = 150, int(blocks * 20 * _MEMORY) + 1, 4
    assert resampling.blocks_in(length, _MEMORY) == blocks
    edges = np.linspace(-5.0, 5.0, 41)
    rng = np.random.default_rng(2)
    scores, bounds, plain = [], [], []
    for _ in range(repetitions):
        truth, coarse = _ar1((stretches * length, 2), rng), scale * _ar1((1, length, 2), rng)
        pieces = distances.cut(distances.cells(truth, edges), distances.cells(coarse, edges))
        histograms = pieces.map(lambda x: distances.probabilities(x, len(edges) + 1))
        scores.append(distances.compare(distances.hellinger, histograms).score)
        resampled = resampling.resampled_scores(distances.hellinger, pieces, len(edges) + 1, blocks, rng)
        bounds.append(resampling.interval(scores[-1], resampled, blocks))
        plain.append(np.quantile(resampled, [0.025, 0.975]))
    expected = np.mean(scores)
    coverage, plain_coverage = (np.mean([low <= expected <= high for low, high in each]) for each in (bounds, plain))
    # The standard error of a coverage of 95 % is 1.1 %; twenty blocks are allowed to lose 3 %.
    assert coverage > 0.92 - 3 * np.sqrt(0.95 * 0.05 / repetitions)
    # The interval is at most half as much again too wide; the spread is known to 1 / sqrt(2 repetitions) = 4 %.
    width = np.mean(np.diff(bounds)) / (2 * 1.96 * np.std(scores, ddof=1))
    assert 0.8 < width < 1.5
    if scale == 1.0:  # the bias that the interval leaves out would spoil it
        assert plain_coverage < 0.85


def _run(times: int, seed: int, members: int = 1) -> xr.Dataset:
    z, noise = _ar1((2, members, times, 3), np.random.default_rng(seed))
    return xr.Dataset(
        {"z": (("member", "time", "k"), z), "psi": (("member", "time", "k"), noise - z)},
        coords={"time": 0.1 * np.arange(times)},
    )


def test_scores_come_with_an_interval_that_a_seed_repeats() -> None:
    truth, coarse = _run(8000, 3).isel(member=0), _run(1000, 4, members=2)
    result, again, other = (diagnose(truth, coarse, rng=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(result, again)
    for name in DISTANCES:
        assert result[f"{name}_low"] < result[name] < result[f"{name}_high"]
        assert result[name] == other[name]
        assert result[f"{name}_high"] != other[f"{name}_high"]
    memory = result.attrs["decorrelation_time"] / 0.1
    assert memory == pytest.approx(_MEMORY, rel=0.15)
    assert result.attrs["interval_blocks"] == int(2000 / (20 * memory))
    assert result.attrs["interval_block_duration"] == pytest.approx(2000 // result.attrs["interval_blocks"] * 0.1)


def test_runs_without_enough_independent_blocks_have_no_interval() -> None:
    result = diagnose(_run(4000, 5).isel(member=0), _run(300, 6))
    assert result.attrs["interval_blocks"] == 0
    for name in DISTANCES:
        assert np.isnan(result[f"{name}_low"])
        assert np.isnan(result[f"{name}_high"])
