"""A trend that is filtered in space, so that at every wavenumber it is uncorrelated with what it leaves.

A regression is uncorrelated with what it leaves at a site, but not at a wavenumber: there their variances do not add up
to that of the target, and noise that is drawn independently of the trend gives some scales too much and others too
little. On a ring the trend is therefore passed through the filter whose response at a wavenumber is the slope of the
target on the trend there, or by a shorter one that cannot be told from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from l96closure.arrays import C128, F64, Index
from l96closure.closures.features import Features
from l96closure.closures.patterns import real_wavenumbers
from l96closure.closures.short_kernels import WITHIN, by_blocks, jackknife, reaches, shortest
from l96closure.closures.trend import FittedTrend, RegressorTrend
from l96closure.compiled import cached

_ROUNDED = 1e-15  # beside the largest trend, what rounding makes of a trend that does not vary
_EXPLAINED, _MISSED = 0.01, 0.03  # of the rest, and of the target's variance, that a filter may leave


@dataclass(frozen=True, eq=False)
class FilteredTrend:
    """A trend on a ring of K sites, filtered in space: level + sum_d kernel_d (trend_(k-d) - level).

    Attributes
    ----------
    of : the trend.
    kernel : circular weights of the site itself and of those 1, 2, ... to its left (K,).
    level : mean of the trend, which stays as it is at a wavenumber of zero.
    """

    of: FittedTrend | RegressorTrend
    kernel: F64
    level: float

    def __call__(self, z: F64, history: F64) -> tuple[F64, Index]:
        """Evaluate as :class:`FittedTrend` does."""
        mean, outside = self.of(z, history)
        return self.filtered(mean), outside

    def of_series(self, series: F64, times: Index) -> F64:
        """Evaluate as :class:`FittedTrend` does."""
        return self.filtered(self.of.of_series(series, times))

    def filtered(self, mean: F64) -> F64:
        """Return what the filter makes of values (n, K) of the trend."""
        out = np.empty_like(mean)
        _filter(np.ascontiguousarray(mean), self.kernel, self.level, out)
        return out


@dataclass(frozen=True, eq=False)
class GroupedTrend:
    """Trends of groups of cells, which learned apart: of several targets, or of sites that are not alike.

    Attributes
    ----------
    of : trend of each group.
    cells : numbers of its cells, of all targets at all sites.
    """

    of: tuple[AnyTrend, ...]
    cells: tuple[Index, ...]

    def __call__(self, z: F64, history: F64) -> tuple[F64, Index]:
        """Evaluate all as :class:`FittedTrend` does, for all cells (n, C)."""
        found = [trend(z, history) for trend in self.of]
        return put([mean for mean, _ in found], self.cells), np.sum([outside for _, outside in found], axis=0)

    def of_series(self, series: F64, times: Index) -> F64:
        """Evaluate all as :class:`FittedTrend` does, for all cells (n, C)."""
        return put([trend.of_series(series, times) for trend in self.of], self.cells)


AnyTrend = FittedTrend | RegressorTrend | FilteredTrend | GroupedTrend


class Residual(NamedTuple):
    """What a trend leaves, from the longest lag of each segment on.

    ``mean`` and ``values`` hold the trend and the residual of each segment (time, K); each block of time is seen by a
    trend that was fitted without it.
    """

    features: Features
    trend: AnyTrend | None
    mean: list[F64]
    values: list[F64]


def put(values: Sequence[F64], cells: Sequence[Index]) -> F64:
    """Put values (..., n) of groups of cells in their places (..., C)."""
    out = np.empty((*values[0].shape[:-1], sum(one.size for one in cells)))
    for one, where in zip(values, cells, strict=True):
        out[..., where] = one
    return out


def fit_filter(
    trend: FittedTrend | RegressorTrend, mean: Sequence[F64], target: Sequence[F64]
) -> FittedTrend | RegressorTrend | FilteredTrend:
    """Filter a trend, by the shortest filter that the data ask for.

    Parameters
    ----------
    trend : the trend.
    mean, target : its values on held-out blocks and the target, both of each segment (time, K).

    Returns
    -------
    FilteredTrend, at every wavenumber uncorrelated with the rest of the target within errors, or so little correlated
    that no filter would explain 1 % of the rest or change the variance by 3 %; the trend itself, if it is.
    """
    values = np.concatenate(mean)
    level, sites = float(values.mean()), values.shape[1]
    rest = np.concatenate(target) - values
    of_trend, of_rest = (np.fft.rfft(one, axis=1) for one in (values - level, rest))
    rounded = _ROUNDED * sites * np.abs(values).max()
    of_trend[:, (np.abs(of_trend) ** 2).mean(axis=0) <= rounded**2] = 0.0
    power, product = by_blocks(np.abs(of_trend) ** 2), by_blocks(of_rest * of_trend.conj())
    tiny = np.finfo(np.float64).tiny
    slope, error = jackknife(lambda power, product: product / np.maximum(power, tiny), power, product)
    of_target = (np.abs(of_trend + of_rest) ** 2).sum(axis=0)
    explained, missed = _EXPLAINED * (np.abs(of_rest) ** 2).sum(axis=0), _MISSED * of_target
    response, size = 1.0 + slope, power.sum(axis=0)

    def agrees(kernel: F64) -> bool:
        off = response - np.fft.rfft(kernel)
        little = (np.abs(off) ** 2 * size <= explained) & (2.0 * np.abs(off.real) * size <= missed)
        return bool((little | (np.abs(off) <= WITHIN * error)).all())

    kernel = shortest(_kernels(response, size, sites), agrees)
    return FilteredTrend(trend, kernel, level) if (kernel != np.eye(1, sites)[0]).any() else trend


def _kernels(response: C128, power: F64, sites: int) -> Iterator[F64]:
    """Give filters of longer and longer reach, from none on: those that leave least of the target; at last any."""
    yield np.eye(1, sites)[0]
    m = np.arange(response.size)
    weight = np.sqrt(power * np.where(real_wavenumbers(sites), 1.0, 2.0))
    for reach in reaches(sites):
        offset = np.arange(-reach, reach + 1)
        waves = weight[:, None] * np.exp(-2j * np.pi * np.outer(m, offset) / sites)
        wanted = weight * response
        weights = np.linalg.lstsq(
            np.concatenate([waves.real, waves.imag]), np.concatenate([wanted.real, wanted.imag]), rcond=None
        )[0]
        kernel = np.zeros(sites)
        kernel[offset] = weights
        yield kernel
    yield np.fft.irfft(response, sites)


@cached
def _filter(mean: F64, kernel: F64, level: float, out: F64) -> None:
    rows, K = mean.shape
    for n in range(rows):
        for k in range(K):
            total = level
            for d in range(K):
                total += kernel[d] * (mean[n, k - d] - level)  # negative indices go around the ring
            out[n, k] = total
