"""Statistics along a ring of sites: covariances, correlations in space, spectra, and how far two of these are apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from l96closure.arrays import F64, I64, Bools
from l96closure.diagnostics import intervals, ranking
from l96closure.diagnostics.climate import long_enough, pairs_by_batch, ratio_of_sums

_CARRIES = 0.1  # of the mean variance of a wavenumber: what has less says little, and its ratio is uncertain

RATIO_METHOD = (
    f"of the logarithm, {intervals.SIDE:.2f} standard errors on either side, by batch means of {intervals.MIN_VALUES} "
    "stretches of time or more, 95 % at each wavenumber; NaN where these are not independent"
)
ERROR_METHOD = "from intervals that hold the ratios at all these wavenumbers at once, 95 % (Bonferroni)"
"""What the intervals of :func:`compare` say about themselves."""


class Compared(NamedTuple):
    """The spectrum of a coarse run beside the truth's.

    Attributes
    ----------
    ratio, ratio_low, ratio_high : coarse over truth (wavenumber,), with the bounds of a 95 % interval for each.
    error, error_low, error_high : the largest abs(ratio - 1) over the wavenumbers that carry variance, see
        :func:`carrying`, with the bounds of a 95 % interval.
    """

    ratio: F64
    ratio_low: F64
    ratio_high: F64
    error: float
    error_low: float
    error_high: float


def compare(truth: F64, truth_se: F64, coarse: F64, coarse_se: F64) -> Compared:
    """Compare two spectra, wavenumber by wavenumber and by the largest relative error of all.

    The error of the logarithm of a ratio is that of the two relative errors together. The largest of several uncertain
    errors comes out too large on average; so its interval is not put about it but follows from intervals that hold all
    ratios at once: the largest of the least errors in them, and of the greatest.

    Parameters
    ----------
    truth, truth_se, coarse, coarse_se : spectra (wavenumber,) with standard errors, from :func:`spectrum`.

    Returns
    -------
    NaN at wavenumbers where the truth has no variance; bounds are NaN where a standard error is.
    """
    known = truth > 0
    ratio, truth_error, coarse_error = (
        np.divide(a, b, out=np.full_like(truth, np.nan), where=known) for a, b in
        ((coarse, truth), (truth_se, truth), (coarse_se, np.where(coarse > 0, coarse, 1.0)))
    )  # fmt: skip
    log_error = np.hypot(truth_error, coarse_error)
    low, high = (ratio * np.exp(sign * intervals.SIDE * log_error) for sign in (-1, 1))
    matter = carrying(truth)
    if not matter.any():
        return Compared(ratio, low, high, np.nan, np.nan, np.nan)
    side = intervals.together(int(matter.sum())) * log_error[matter]
    at = ratio[matter]
    error, least, greatest = ranking.departure(at, at * np.exp(-side), at * np.exp(side), 1.0)
    return Compared(ratio, low, high, float(error.max()), float(least.max()), float(greatest.max()))


def carrying(spectrum: F64) -> Bools:
    """Tell the wavenumbers that carry variance: a tenth or more of what a wavenumber has on average.

    Parameters
    ----------
    spectrum : variance of each wavenumber (..., wavenumber).

    Returns
    -------
    (..., wavenumber)
    """
    return (spectrum > 0) & (spectrum >= _CARRIES * spectrum.mean(axis=-1, keepdims=True))


def spectrum(x: F64) -> tuple[F64, F64]:
    """Wavenumber spectrum: how the variance is shared among waves around the ring, with its standard error.

    S_m = w_m <|X_m|^2> with X_m = (1 / K) sum_k x_k exp(-2 pi i m k / K), x less its mean over everything; w is 2 for
    waves that come in a pair +m and -m, and 1 for m = 0 and m = K / 2. So the S_m sum to the variance.

    Parameters
    ----------
    x : (member, time, k).

    Returns
    -------
    Two arrays (K // 2 + 1,), wavenumbers 0, 1, ... in cycles around the ring; the standard errors are by batch means,
    NaN unless the run is :func:`~climate.long_enough`, and where a batch is short against the
    memory of the power.
    """
    size = x.shape[-1]
    power = np.abs(scipy.fft.rfft(x - x.mean(), axis=-1, norm="forward")) ** 2
    power[..., 1 : (size + 1) // 2] *= 2
    error = intervals.batched_standard_error(power)
    return power.mean(axis=(0, 1)), error if long_enough(x) else np.full_like(error, np.nan)


def offsets(size: int) -> I64:
    """Signed distances along a ring, 0 in the middle: -5, ..., 6 for twelve sites.

    Parameters
    ----------
    size : number of sites.

    Returns
    -------
    (size,), ascending.
    """
    return np.arange(-((size - 1) // 2), size // 2 + 1)


def covariance_rows(x: F64) -> F64:
    """Return the rows of the covariance matrix of the sites, each centred at its own site by periodicity.

    Figure 4 (left) of Gottwald & Reich (2024).

    Parameters
    ----------
    x : (member, time, k).

    Returns
    -------
    C[k, o] = cov(x_k, x_{k + offset_o}) of shape (k, offset), with the offsets of :func:`offsets`;
    each site has its own mean removed.
    """
    size = x.shape[-1]
    matrix = np.atleast_2d(np.cov(x.reshape(-1, size), rowvar=False))  # of one site it is a number
    site = np.arange(size)[:, np.newaxis]
    return matrix[site, (site + offsets(size)) % size]


def space_time_correlation(x: F64, lags: int, every: int = 1) -> tuple[F64, F64]:
    """Correlation of x_k(t) with x_{k + o}(t + l) along the ring, averaged over members and sites, with standard error.

    Not the same for o and -o at lags other than 0, where waves travel. Errors as in :func:`~climate.autocorrelation`,
    which is the column o = 0.

    Parameters
    ----------
    x : (member, time, k).
    lags : number of lags, at most the number of times; the first is 0.
    every : only each ``every``-th of them is returned.

    Returns
    -------
    Two arrays (offset, lag) with the offsets of :func:`offsets` and ceil(lags / every) lags; NaN as in
    :func:`~climate.autocorrelation`.
    """
    distances = offsets(x.shape[-1])
    shape = distances.size, -(-lags // every)
    if np.ptp(x) == 0:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    anomaly = x - x.mean()
    sums, pairs = [], []
    for first, longer, counts in pairs_by_batch(scipy.fft.rfft(anomaly, axis=-1), lags):
        size = scipy.fft.next_fast_len(max(len(first) + lags, len(longer)))
        a, b = (scipy.fft.fft(waves, size, axis=0) for waves in (first, longer))
        products = scipy.fft.ifft(a.conj() * b, axis=0)[:lags:every]
        sums.append(scipy.fft.irfft(products, x.shape[-1], axis=1).T[distances].ravel())
        pairs.append(np.tile(counts[::every], distances.size))
    here = int(np.argmin(np.abs(distances))) * shape[1]
    correlation, error = (each.reshape(shape) for each in ratio_of_sums(np.array(sums), np.array(pairs), here))
    return correlation, error if long_enough(anomaly) else np.full(shape, np.nan)
