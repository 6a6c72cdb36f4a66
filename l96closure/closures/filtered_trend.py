"""A trend that is filtered in space, so that at every wavenumber it is uncorrelated with what it leaves.

A regression is uncorrelated with what it leaves at a site, but not at a wavenumber: there their variances do not add up
to that of the target, and noise that is drawn independently of the trend gives some scales too much and others too
little. On a ring the trend is therefore passed through the filter whose response at a wavenumber is the slope of the
target on the trend there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l96closure.closures.trend import FittedTrend, RegressorTrend
from l96closure.compiled import cached

__all__ = ["AnyTrend", "FilteredTrend", "GroupedTrend", "fit_filter", "put"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


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


def put(values: Sequence[F64], cells: Sequence[Index]) -> F64:
    """Put values (..., n) of groups of cells in their places (..., C)."""
    out = np.empty((*values[0].shape[:-1], sum(one.size for one in cells)))
    for one, where in zip(values, cells, strict=True):
        out[..., where] = one
    return out


def fit_filter(trend: FittedTrend | RegressorTrend, mean: Sequence[F64], target: Sequence[F64]) -> FilteredTrend:
    """Filter a trend.

    Parameters
    ----------
    trend : the trend.
    mean, target : its values on held-out blocks and the target, both of each segment (time, K).

    Returns
    -------
    FilteredTrend, uncorrelated with the rest of the target at every wavenumber.
    """
    values = np.concatenate(mean)
    level, sites = float(values.mean()), values.shape[1]
    of_trend, of_rest = (np.fft.rfft(one, axis=1) for one in (values - level, np.concatenate(target) - values))
    power = np.maximum((np.abs(of_trend) ** 2).sum(axis=0), np.finfo(np.float64).tiny)
    response = 1.0 + (of_rest * of_trend.conj()).sum(axis=0) / power
    return FilteredTrend(trend, np.fft.irfft(response, sites), level)


@cached
def _filter(mean: F64, kernel: F64, level: float, out: F64) -> None:
    rows, K = mean.shape
    for n in range(rows):
        for k in range(K):
            total = level
            for d in range(K):
                total += kernel[d] * (mean[n, k - d] - level)  # negative indices go around the ring
            out[n, k] = total
