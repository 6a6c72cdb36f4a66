"""The tails of one run's distribution: quantiles, and how long until a level is exceeded again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from l96closure.diagnostics.chains import standard_error
from l96closure.diagnostics.climate import batch_means

__all__ = ["PROBABILITIES", "THRESHOLDS", "quantiles", "return_periods"]

FloatArray = npt.NDArray[np.float64]

PROBABILITIES = np.array([0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999])
"""Probabilities of the quantiles."""

THRESHOLDS = np.array([0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999])
"""Probabilities with which the truth stays below the levels of the return periods."""

_TAIL = 0.025  # probability left out on either side of an interval


def quantiles(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Quantiles at :data:`PROBABILITIES` with 95 % intervals.

    The interval is that of Woodruff (1952, Journal of the American Statistical Association 47, 635-646): the fraction
    of values up to the quantile has a standard error, here by batch means; the quantiles of the two probabilities 1.96
    standard errors away bound the interval.

    Parameters
    ----------
    x : (member, time, k).

    Returns
    -------
    Quantiles, lower and upper bounds, each (probability,) in units of ``x``; the bounds are NaN when there are fewer
    than two batches.
    """
    values = np.quantile(x, PROBABILITIES)
    errors = np.array([float(standard_error(batch_means((x <= q).mean(axis=2)))) for q in values])
    if np.isnan(errors).any():
        return values, np.full_like(values, np.nan), np.full_like(values, np.nan)
    side = scipy.special.ndtri(1 - _TAIL) * errors
    low, high = np.quantile(x, np.clip([PROBABILITIES - side, PROBABILITIES + side], 0.0, 1.0))
    return values, low, high


def return_periods(x: FloatArray, levels: FloatArray, step: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean time at one site from one up-crossing of a level to the next, with 95 % intervals.

    An up-crossing is a time below the level followed by one at or above it; what happens between two records is not
    seen. With N of them, the period is the time observed at all sites over N. The interval is that of a Poisson count
    (Garwood 1936, Biometrika 28, 437-442), widened for crossings that come in clusters: N is divided by the dispersion,
    the variance of the counts of batches over their mean, taken as one where it is less.

    Parameters
    ----------
    x : (member, time, k), two times or more.
    levels : (threshold,) in units of ``x``.
    step : time step in model time units.

    Returns
    -------
    Periods, lower and upper bounds, each (threshold,) in model time units. Period and upper bound are infinite where
    the level is never crossed; bounds are NaN where it is, but there are fewer than two batches.
    """
    observed = x[:, 1:].size * step
    counts = []
    for level in levels:
        above = x >= level
        crossings = (above[:, 1:] & ~above[:, :-1]).sum(axis=2)
        number, error = int(crossings.sum()), standard_error(batch_means(crossings))
        dispersion = float(np.maximum(1.0, number * (error / crossings.mean()) ** 2)) if number else 1.0
        counts.append((number, *_poisson_bounds(number, dispersion)))
    with np.errstate(divide="ignore"):
        period, high, low = observed / np.array(counts, dtype=np.float64).T
    return period, low, high


def _poisson_bounds(number: int, dispersion: float) -> tuple[float, float]:
    """95 % interval for the expectation of a count whose variance is ``dispersion`` times its mean."""
    events = number / dispersion
    lower = scipy.special.gammaincinv(events, _TAIL) if number else 0.0
    return dispersion * float(lower), dispersion * float(scipy.special.gammaincinv(events + 1, 1 - _TAIL))
