"""The tails of one run's distribution: quantiles, and how long until a level is exceeded again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from l96closure.arrays import F64
from l96closure.diagnostics import intervals

PROBABILITIES = np.array([0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999])
"""Probabilities of the quantiles."""

THRESHOLDS = np.array([0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999])
"""Probabilities with which the truth stays below the levels of the return periods."""

_WHERE = (
    f"by batch means of {intervals.MIN_VALUES} stretches of time or more, 95 %; NaN where these are not independent"
)

QUANTILE_METHOD = f"Woodruff (1952) with Korn & Graubard (1998), {_WHERE} or the tail holds too few values"
PERIOD_METHOD = f"Garwood (1936) for clusters of crossings, {_WHERE}"
"""What the intervals say about themselves."""

_MANY = 40  # crossings of a level, from which on their own scatter tells how they cluster


def quantiles(x: F64) -> tuple[F64, F64, F64]:
    """Return quantiles at :data:`PROBABILITIES` with 95 % intervals.

    The interval is that of Woodruff (1952, Journal of the American Statistical Association 47, 635-646): the fraction
    of values up to the quantile has a standard error, here by batch means; the quantiles at the bounds of the
    probability that follow from it, :func:`intervals.proportion_bounds`, bound the interval.

    Parameters
    ----------
    x : (member, time, k).

    Returns
    -------
    Quantiles, lower and upper bounds, each (probability,) in units of ``x``; bounds are NaN where a batch is short
    against the memory of the values below the median, or the rarer side of the quantile holds too few independent ones.
    """
    values = np.quantile(x, PROBABILITIES)
    median_error = float(intervals.batched_standard_error(_share_below(x, np.median(x))))
    low, high = np.full((2, values.size), np.nan)
    known = intervals.enough_in_the_tail(PROBABILITIES, median_error)
    if known.any():
        errors = [intervals.standard_error(intervals.batch_means(_share_below(x, q))) for q in values[known]]
        bounds = intervals.proportion_bounds(PROBABILITIES[known], np.array(errors), x.size)
        low[known], high[known] = np.quantile(x, bounds)
    return values, low, high


def return_periods(x: F64, levels: F64, step: float) -> tuple[F64, F64, F64]:
    """Mean time at one site from one up-crossing of a level to the next, with 95 % intervals.

    An up-crossing is a time below the level followed by one at or above it; what happens between two records is not
    seen. With N of them, the period is the time observed at all sites over N. The interval is that of a count of
    clusters, :func:`intervals.count_bounds`: crossings need not be independent, and their dispersion, the variance of
    the counts of batches over their mean, taken as one where it is less, is the size of a cluster. Fewer than forty
    crossings tell too little about that; their clusters are taken to be no smaller than those of the level below.

    Parameters
    ----------
    x : (member, time, k), two times or more.
    levels : increasing (threshold,) in units of ``x``.
    step : time step in model time units.

    Returns
    -------
    Periods, lower and upper bounds, each (threshold,) in model time units. Period and upper bound are infinite where
    the level is never crossed; bounds are NaN when a batch is short against the memory of the values below the median.
    """
    observed = x[:, 1:].size * step
    known = bool(intervals.independent_values(_share_below(x, np.median(x))))
    counts, dispersion = [], 1.0
    for level in levels:
        above = x >= level
        crossings = (above[:, 1:] & ~above[:, :-1]).sum(axis=2)
        number = int(crossings.sum())
        own = _dispersion(crossings.astype(np.float64)) if known and number else 1.0
        dispersion = own if number >= _MANY else max(own, dispersion)
        counts.append((number, *(intervals.count_bounds(number, dispersion) if known else (np.nan, np.nan))))
    with np.errstate(divide="ignore"):
        period, high, low = observed / np.array(counts, dtype=np.float64).T
    return period, low, high


def period_ratio(period: Sequence[float], other: Sequence[float], wider: float = 1.0) -> tuple[float, float, float]:
    """Return a return period over another one, independent of it, and the interval of that.

    On a logarithmic scale, by the distance of each period from its own bounds: Zou & Donner (2008, Statistics in
    Medicine 27, 1693-1702).

    Parameters
    ----------
    period, other : value and bounds of either, from :func:`return_periods`; ``other`` is finite.
    wider : factor of the distances from the bounds, such as holds several intervals at once.

    Returns
    -------
    Ratio and bounds; bounds are NaN where those of one of the periods are. Of a level that is never crossed the ratio
    is infinite, and the lower bound the lower one of ``period`` over the upper one of ``other``.
    """
    value, low, high = period
    if math.isinf(value):
        return math.inf, low / other[2], math.inf
    ratio = value / other[0]
    if any(math.isnan(each) for each in (low, high, *other)):
        return ratio, math.nan, math.nan
    with np.errstate(over="ignore"):  # of one cluster, say
        up, down, up_of_other, down_of_other = wider * np.log(
            [high / value, value / low, other[2] / other[0], other[0] / other[1]]
        )
        low, high = ratio * np.exp([-np.hypot(down, up_of_other), np.hypot(up, down_of_other)])
    return ratio, float(low), float(high)


def _share_below(x: F64, level: float) -> F64:
    """Share of the sites at or below a level, (member, time)."""
    return (x <= level).mean(axis=2)


def _dispersion(counts: F64) -> float:
    """Variance of the total of ``counts`` (member, time), by batches, over its expectation; one at least."""
    error = float(intervals.standard_error(intervals.batch_means(counts)))
    return max(1.0, float(counts.sum()) * (error / float(counts.mean())) ** 2)
