"""The one rule of all intervals and standard errors: none is given that cannot cover.

What a run or a set of forecasts tells about the truth behind it is said by 95 % intervals (``_low``, ``_high``) and by
standard errors (``_se``). Both rest on a scatter between values that are independent, and go wrong in two ways: there
are too few of them, or they are not independent. So the rule is the same for all, and what fails it is NaN:

- An interval needs :data:`MIN_VALUES` = 20 independent values: stretches of time, members, starts of forecasts. Ten
  blocks of time held the expected distance of two runs in 84 to 99 of 100 data sets instead of 95, and twenty,
  stretched by Student's distribution, in 90 or more; ten starts of strongly skewed scores in 86 to 94, twenty in 87
  to 95, and of normal ones in 92 or more. Two starts hold them in 40, however they are resampled. Where a few starts
  make the score, as with errors that grow like w^2 exp(0.8 w) of a normal w, no number of starts that is usual is
  enough: twenty hold a spread-skill ratio in 80 to 84, fifty in 84 to 89.
- A standard error of a plain mean over values that are independent by construction (chains, training sets) needs
  :data:`MIN_REPLICATES` = 5. They are close to normal, so Student's distribution is exact: 2.8 errors on either side
  for five, see :func:`student`.
- Stretches of time count as independent where each is at least ten times as long as the integrated autocorrelation time
  of the series that is averaged. Stretches of five leave a tenth of the variance between them, which would do; but that
  time is estimated from the run itself, comes out short in just those runs whose scatter also comes out small, and at
  ten even these cover. For distances (``resampling``) stretches have twenty times 1 + 2 sum rho^2, which tells how well
  a variance is known; starts of forecasts (``forecast``) are joined to groups of five autocorrelation times.
- In the tails the events must be many enough: an interval of a quantile is given where its rarer side holds two
  values worth of independent ones or more, counted by how well the median is known.

What is NaN is not :func:`known`, and shown as a dash (:mod:`l96closure.report`).
``tests/diagnostics/test_coverage.py`` measures how often what remains holds the truth.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure.arrays import F64, Bools

PROBABILITY = 0.95
"""With which an interval holds the truth."""

MIN_VALUES = 20
"""Independent values that an interval needs."""

MIN_REPLICATES = 5
"""Values, independent by construction, that a standard error of their mean needs."""

REASON = f"not given where fewer than {MIN_VALUES} stretches of time are independent, for they would not cover"
"""Why there is none, to stand behind "intervals are" or "standard errors are"."""

_TAIL = (1 - PROBABILITY) / 2
_LONG = 10  # autocorrelation times in a stretch of time that counts as independent of its neighbours
_FINE = 2048  # means that a series is reduced to before its memory is measured: a hundred to a batch
_WINDOW = 5  # autocorrelation times to sum over: Sokal (1997), Functional Integration, 131-192, Section 3
_RARE = 2.0  # independent values on the rarer side of a quantile

NORMAL = float(scipy.special.ndtri(1 - _TAIL))
"""Standard errors on either side that make 95 % where they are known exactly, 1.96."""


def known(bound: float) -> bool:
    """Tell whether there is an interval: where none would cover, its bounds are NaN.

    Parameters
    ----------
    bound : one of them.

    Returns
    -------
    bool
    """
    return not math.isnan(bound)


def student(values: int) -> float:
    """Return how many standard errors on either side of a mean make 95 %.

    Parameters
    ----------
    values : independent values behind the mean, >= 2.

    Returns
    -------
    Student's quantile.
    """
    return float(scipy.special.stdtrit(values - 1, 1 - _TAIL))


def together(number: int, values: int = MIN_VALUES) -> float:
    """Return how many standard errors on either side make intervals that all hold at once with 95 % or more.

    By Bonferroni's inequality, whatever the dependence of the estimates on each other.

    Parameters
    ----------
    number : of intervals.
    values : independent values behind each standard error.

    Returns
    -------
    Student's quantile.
    """
    return float(scipy.special.stdtrit(values - 1, 1 - _TAIL / number))


def sides(error: xr.DataArray) -> float:
    """Return how many of these standard errors make 95 %.

    Parameters
    ----------
    error : standard errors with the attribute ``degrees_of_freedom``.

    Returns
    -------
    Student's quantile.
    """
    return student(int(error.attrs["degrees_of_freedom"]) + 1)


SIDE = student(MIN_VALUES)
"""Standard errors on either side of an estimate that make 95 % with the fewest stretches of time, 2.09."""

BATCH_METHOD = (
    f"batch means of {MIN_VALUES} stretches of time or more, each ten autocorrelation times or longer; NaN where they "
    f"are shorter. {SIDE:.2f} standard errors on either side make 95 %"
)
"""What a standard error by batch means says about itself."""


def standard_error(independent: F64, fewest: int = MIN_REPLICATES) -> F64:
    """Return the standard error of the mean of independent entries over the first axis; NaN for too few of them.

    Parameters
    ----------
    independent : (n, ...).
    fewest : entries that are enough.

    Returns
    -------
    (...), in units of the entries.
    """
    n = len(independent)
    if n < fewest:
        return np.full(independent.shape[1:], np.nan)
    return np.asarray(independent.std(axis=0, ddof=1) / np.sqrt(n))


def replicate_attributes(values: int, what: str) -> dict[str, int | str]:
    """Say what a standard error over independent values is.

    Parameters
    ----------
    values : how many there are.
    what : what they are, in the plural.

    Returns
    -------
    The attributes ``interval_method`` and ``degrees_of_freedom``.
    """
    method = f"standard error of the mean over {what}, at least {values}"
    if values < MIN_REPLICATES:
        method = f"none: fewer than {MIN_REPLICATES} {what}"
    return {"interval_method": method, "degrees_of_freedom": max(1, values - 1)}


def batches_of(members: int, times: int) -> int:
    """Return the number of batches of each member: about twenty of all, and one at least.

    Parameters
    ----------
    members : how many there are.
    times : of each member.

    Returns
    -------
    From 1 to ``times``.
    """
    return min(-(-MIN_VALUES // members), times)


def batch_means(series: F64) -> F64:
    """Return the means of twenty or more consecutive batches of a series, all members together.

    Schmeiser (1982, Operations Research 30, 556-568): between 10 and 30; more buy little and make them short.

    Parameters
    ----------
    series : (member, time, ...).

    Returns
    -------
    (batch, ...)
    """
    members, times, *rest = series.shape
    batches = batches_of(members, times)
    length = times // batches
    return series[:, : batches * length].reshape(members * batches, length, *rest).mean(axis=1)


def batched_standard_error(series: F64) -> F64:
    """Return the standard error of the mean of a series, by batch means; NaN where these are not independent.

    Parameters
    ----------
    series : (member, time, ...).

    Returns
    -------
    (...)
    """
    error = standard_error(batch_means(series), MIN_VALUES)
    return np.where(independent_values(series), error, np.nan)


def independent_values(series: F64) -> Bools:
    """Tell whether the batches of a series are independent, for each column.

    Batches that are whole members are, by construction.

    Parameters
    ----------
    series : (member, time, ...).

    Returns
    -------
    (...)
    """
    members, times, *rest = series.shape
    batches = batches_of(members, times)
    if members * batches < MIN_VALUES:
        return np.zeros(rest, dtype=bool)
    if batches == 1:
        return np.ones(rest, dtype=bool)
    return np.asarray(times / batches >= _LONG * memory(series))


def memory(series: F64) -> F64:
    """Integrated autocorrelation time 1 + 2 sum_l rho(l) of a series, in time steps and at least one.

    The sum ends at the first lag that is five times what it has come to (Sokal 1997). Long series are averaged in
    pieces first; what is shorter than a piece does not matter here.

    Parameters
    ----------
    series : (member, time, ...); the members share their mean.

    Returns
    -------
    (...); one for a constant.
    """
    members, times, *rest = series.shape
    piece = max(1, members * times // _FINE)
    size = times // piece
    x = series[:, : size * piece].reshape(members, size, piece, -1).mean(axis=2)
    x -= x.mean(axis=(0, 1))
    spectrum = scipy.fft.rfft(x, scipy.fft.next_fast_len(2 * size, real=True), axis=1)
    products = scipy.fft.irfft((np.abs(spectrum) ** 2).sum(axis=0), axis=0)[: size // 2 + 1]
    covariance = products / (size - np.arange(len(products)))[:, np.newaxis]
    correlation = np.divide(
        covariance, covariance[0], out=np.zeros_like(covariance), where=covariance[0] > 1e-30 * products[0].max()
    )
    total = np.maximum(2 * np.cumsum(correlation, axis=0) - 1, 1.0)
    enough = np.arange(len(total))[:, np.newaxis] >= _WINDOW * total
    last = np.where(enough.any(axis=0), enough.argmax(axis=0), len(total) - 1)
    return np.asarray(piece * np.take_along_axis(total, last[np.newaxis], axis=0)[0]).reshape(rest)


def proportion_bounds(
    share: npt.ArrayLike, error: npt.ArrayLike, most: float = np.inf, values: int = MIN_VALUES
) -> tuple[F64, F64]:
    """95 % interval of a probability, from the share of dependent values and its standard error.

    Korn & Graubard (1998, Survey Methodology 24, 193-201): the interval of Clopper & Pearson (1934) for as many
    independent values as give that standard error, share (1 - share) / error², made fewer for the error's own
    uncertainty. It keeps within 0 and 1 and leans to the right side in the tails.

    Parameters
    ----------
    share, error : arrays of one shape.
    most : number of values, which the independent ones cannot exceed; there are as many where all agree.
    values : independent values behind the error.

    Returns
    -------
    Lower and upper bounds.
    """
    share, error = np.asarray(share, dtype=np.float64), np.asarray(error, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        number = np.where(error > 0, share * (1 - share) / error**2, np.where(np.isnan(error), np.nan, np.inf))
    number = np.minimum(number, most) * (NORMAL / student(values)) ** 2
    hits = share * number
    with np.errstate(invalid="ignore"):
        low = np.where(share > 0, scipy.special.betaincinv(hits, number - hits + 1, _TAIL), 0.0)
        high = np.where(share < 1, scipy.special.betaincinv(hits + 1, number - hits, 1 - _TAIL), 1.0)
    certain = (error == 0) & (share > 0) & (share < 1)  # every value has this share, as where all ranks are tied
    low, high = np.where(certain, share, low), np.where(certain, share, high)
    unknown = np.isnan(number)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def enough_in_the_tail(probability: F64, error_at_median: float) -> Bools:
    """Tell whether the rarer side of each quantile holds enough independent values for its interval.

    Parameters
    ----------
    probability : of the quantiles.
    error_at_median : standard error of the share of values below the median; 1 / 4 of its inverse square is the
        number of independent values.

    Returns
    -------
    Of the shape of ``probability``.
    """
    number = 0.25 / error_at_median**2 if error_at_median > 0 else np.nan
    return np.minimum(probability, 1 - probability) * number >= _RARE


def count_bounds(number: int, dispersion: float, values: int = MIN_VALUES) -> tuple[float, float]:
    """95 % interval for the expectation of a count whose variance is a multiple of its mean.

    That of a Poisson count (Garwood 1936, Biometrika 28, 437-442) of number / dispersion clusters, made fewer for the
    dispersion's own uncertainty.

    Parameters
    ----------
    number : the count.
    dispersion : variance over mean, >= 1.
    values : independent values behind the dispersion.

    Returns
    -------
    Lower and upper bound.
    """
    cluster = dispersion * (student(values) / NORMAL) ** 2
    lower = scipy.special.gammaincinv(number / cluster, _TAIL) if number else 0.0
    return cluster * float(lower), cluster * float(scipy.special.gammaincinv(number / cluster + 1, 1 - _TAIL))
