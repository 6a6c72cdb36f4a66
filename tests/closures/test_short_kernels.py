"""Kernels no longer than the data ask for: against exact responses, and data that have some."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from l96closure.closures.filtered_trend import FilteredTrend, fit_filter
from l96closure.closures.noise_fit import Noise, fit_pattern
from l96closure.closures.short_kernels import by_blocks, jackknife, reaches, shortest

F64 = npt.NDArray[np.float64]
SITES, TIMES = 13, 4000
TREND: Any = SimpleNamespace()  # of which only its values count


def around(kernel: dict[int, float], values: F64) -> F64:
    return sum((weight * np.roll(values, offset, axis=1) for offset, weight in kernel.items()), np.zeros_like(values))


@pytest.fixture
def fields() -> tuple[F64, F64]:
    """White noise, and white noise that has nothing to do with it."""
    made = np.random.default_rng(1).standard_normal((2, TIMES, SITES))
    return made[0], made[1]


def test_the_error_of_a_mean_is_that_of_its_blocks() -> None:
    values = np.random.default_rng(0).standard_normal((4000, 3))
    ones = np.ones_like(values)
    mean, error = jackknife(lambda total, number: total / number, by_blocks(values), by_blocks(ones))
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    blocks = values.reshape(20, 200, 3).mean(axis=1)
    np.testing.assert_allclose(error, blocks.std(axis=0, ddof=1) / np.sqrt(20.0), rtol=1e-9)


def test_of_one_block_no_error_is_known() -> None:
    assert np.isinf(jackknife(lambda total: total, by_blocks(np.ones((1, 2))))[1]).all()


@pytest.mark.parametrize("sites", [1, 2, 3, 4, 12, 13, 64])
def test_every_reach_is_that_of_a_shorter_kernel_than_the_ring(sites: int) -> None:
    found = list(reaches(sites))
    assert found == sorted(set(found))
    assert all(2 * reach + 1 < sites for reach in found)
    assert not found or found[0] == 0


def test_where_none_agrees_the_last_is_taken() -> None:
    kernels = [np.eye(1, 5)[0], np.ones(5)]
    assert shortest(kernels, lambda kernel: False) is kernels[1]
    assert shortest(kernels, lambda kernel: True) is kernels[0]


class TestFilter:
    """A trend whose target is a filtered one, with noise of its size."""

    def test_there_is_none_where_the_trend_is_right(self, fields: tuple[F64, F64]) -> None:
        trend, noise = fields
        assert fit_filter(TREND, [trend], [trend + noise]) is TREND

    @pytest.mark.parametrize("value", [0.0, 0.3, 1e5 / 3.0])
    def test_there_is_none_of_a_trend_that_does_not_vary(self, fields: tuple[F64, F64], value: float) -> None:
        """Its departures from its mean are rounding, whatever their slope."""
        assert fit_filter(TREND, [np.full((TIMES, SITES), value)], [value + 5.0 + fields[1]]) is TREND

    @pytest.mark.parametrize("kernel", [{0: 0.7}, {0: 1.0, 1: 0.4}, {0: 0.9, -2: 0.3, 1: -0.3}])
    def test_it_reaches_as_far_as_the_response_asks_for(
        self, fields: tuple[F64, F64], kernel: dict[int, float]
    ) -> None:
        """Each of its weights is within four standard errors, 1 / sqrt(TIMES SITES) of white noise of variance 1."""
        trend, noise = fields
        found = fit_filter(TREND, [trend[:1500], trend[1500:]], [(around(kernel, trend) + noise)[:1500],
                                                                 (around(kernel, trend) + noise)[1500:]])  # fmt: skip
        assert isinstance(found, FilteredTrend)
        expected = np.zeros(SITES)
        for offset, weight in kernel.items():
            expected[offset] = weight
        np.testing.assert_allclose(found.kernel, expected, rtol=0, atol=4.0 / np.sqrt(TIMES * SITES))
        assert np.count_nonzero(found.kernel) == 1 + 2 * max(map(abs, kernel))

    def test_what_is_left_is_uncorrelated_at_every_wavenumber(self, fields: tuple[F64, F64]) -> None:
        """Of a response that no short kernel has: within four standard errors of a correlation."""
        white, noise = fields
        trend = around({0: 1.0, 1: 0.9, 2: 0.8, 3: 0.5}, white)
        target = around({offset: 0.5 / (1.0 + abs(offset)) for offset in range(-6, 7)}, trend) + noise
        found = fit_filter(TREND, [trend], [target])
        assert isinstance(found, FilteredTrend)
        rest = np.fft.rfft(target - found.filtered(trend), axis=1)
        of_trend = np.fft.rfft(trend - trend.mean(), axis=1)
        size = np.sqrt((np.abs(rest) ** 2).sum(axis=0) * (np.abs(of_trend) ** 2).sum(axis=0))
        correlation = np.abs((rest * of_trend.conj()).sum(axis=0)) / size
        assert (correlation < np.sqrt(0.02) + 4.0 / np.sqrt(TIMES)).all()


class TestColour:
    """Noise of a ring reaches no farther in space than that of the data."""

    def test_white_noise_is_independent(self, fields: tuple[F64, F64]) -> None:
        pattern = fit_pattern([fields[0]], Noise(order=0), (True,))
        assert pattern.tables()["noise_fresh"].shape == pattern.power.shape == (1,)

    def test_every_wavenumber_has_its_part_of_the_variance(self, fields: tuple[F64, F64]) -> None:
        made = around({0: 1.0, 1: 0.35, -1: 0.35}, fields[0])
        made /= made.std()
        tables = fit_pattern([made], Noise(order=0), (True,)).tables()
        kernel = np.zeros(SITES)
        kernel[tables["noise_fresh_offset"]] = tables["noise_fresh"]
        assert 3 <= np.count_nonzero(kernel) < SITES
        spectrum, expected = np.abs(np.fft.rfft(kernel)) ** 2, (np.abs(np.fft.rfft(made, axis=1)) ** 2).mean(axis=0)
        allowed = 0.05 + 4.0 / np.sqrt(TIMES)  # the estimate's part, and four standard errors of it
        np.testing.assert_allclose(spectrum / spectrum.mean(), expected / expected.mean(), rtol=allowed)
