"""Climate statistics of one run: moments, densities, psi given z, correlations and spectra in time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import scipy

from l96closure.arrays import F64, I64, Array
from l96closure.diagnostics import intervals
from l96closure.series import lagged_products

_ROUNDING = 1e-12  # of a mean, beside the largest value
_MIN_SAMPLES = 30  # samples in a bin below which its conditional moments are noise


def density(x: F64, edges: F64) -> F64:
    """Probability density of all values of a variable in bins.

    Values outside the edges count in the total, so the integral falls short of one by their share.

    Parameters
    ----------
    x : values of any shape.
    edges : of the bins, ascending (bins + 1,).

    Returns
    -------
    (bins,), in reciprocal units of ``x``.
    """
    return np.histogram(x, bins=edges)[0] / (x.size * np.diff(edges))


def joint_density(z: F64, psi: F64, edges_z: F64, edges_psi: F64) -> F64:
    """Joint probability density of pairs of values; pairs outside the edges count in the total.

    Parameters
    ----------
    z, psi : values, both of one shape.
    edges_z, edges_psi : of the bins, ascending.

    Returns
    -------
    (z bin, psi bin)
    """
    counts = np.histogram2d(z.ravel(), psi.ravel(), bins=(edges_z, edges_psi))[0]
    return counts / (z.size * np.outer(np.diff(edges_z), np.diff(edges_psi)))


def autocorrelation(x: F64, lags: int) -> tuple[F64, F64]:
    """Autocorrelation averaged over members and sites, by fast Fourier transform, with its standard error.

    The autocovariance at lag l is the sum over the n - l pairs divided by n - l (unbiased, up to the
    error of the mean), its average over members and sites is divided by the one at lag 0.

    The standard error is by batches, as in :func:`batch_standard_errors`: the pairs that begin in one batch make one
    contribution c_b(l) to the sum C(l); the ratio is linearised, so rho(l) = C(l) / C(0) gets its error from the
    scatter of c_b(l) - rho(l) c_b(0).

    Parameters
    ----------
    x : (member, time, k).
    lags : number of lags, at most the number of times; the first is 0.

    Returns
    -------
    Two arrays (lags,); NaN throughout when ``x`` is constant in time, the errors also unless :func:`long_enough`.
    """
    if not np.ptp(x, axis=1).any():
        return np.full(lags, np.nan), np.full(lags, np.nan)
    anomaly = x - x.mean()
    sums, pairs = [], []
    for first, longer, counts in pairs_by_batch(anomaly, lags):  # one batch at a time keeps the transforms small
        sums.append(lagged_products(first, longer, lags))
        pairs.append(counts)
    correlation, error = ratio_of_sums(np.array(sums), np.array(pairs), 0)
    return correlation, error if long_enough(anomaly) else np.full(lags, np.nan)


def pairs_by_batch(x: Array, lags: int) -> Iterator[tuple[Array, Array, I64]]:
    """Yield the batches of a series for lagged products.

    Parameters
    ----------
    x : (member, time, column).
    lags : number of lags, the first of which is 0.

    Yields
    ------
    tuple
        A batch, the times that its products reach, and how many pairs begin in it, for each lag.
    """
    members, times = x.shape[:2]
    starts = np.linspace(0, times, intervals.batches_of(members, times) + 1).astype(int)
    for member in x:
        for start, end in pairwise(starts):
            pairs = np.clip(times - np.arange(lags) - start, 0, end - start)
            yield member[start:end], member[start : end + lags - 1], pairs


def ratio_of_sums(sums: F64, pairs: I64, zero: int) -> tuple[F64, F64]:
    """Return correlations (column,) and their standard errors from the sums of products of batches.

    Parameters
    ----------
    sums : (batch, column).
    pairs : number of products in each sum, of the same shape.
    zero : column of the variance.

    Returns
    -------
    Two arrays (column,).
    """
    covariance = sums.sum(axis=0) / pairs.sum(axis=0)
    correlation: F64 = covariance / covariance[zero]
    here = np.array([zero])
    scatter = sums - correlation * sums[:, here] * (pairs / pairs[:, here])
    error = np.sqrt((scatter**2).sum(axis=0) * len(sums) / (len(sums) - 1))
    return correlation, error / (covariance[zero] * pairs.sum(axis=0))


def conditional_moments(psi: F64, z: F64, edges: F64) -> tuple[F64, F64]:
    """Mean and standard deviation of psi given the bin of z at the same site and time.

    Parameters
    ----------
    psi, z : arrays of one shape.
    edges : bin edges of z (bins + 1,), evenly spaced.

    Returns
    -------
    Two arrays (bins,); NaN in bins with fewer than thirty values.
    """
    bins = len(edges) - 1
    psi, z = psi.ravel(), z.ravel()
    inside = (z >= edges[0]) & (z < edges[-1])
    psi, z = psi[inside], z[inside]
    index = np.minimum(((z - edges[0]) / (edges[1] - edges[0])).astype(np.intp), bins - 1)
    count = np.bincount(index, minlength=bins).astype(np.float64)
    count[count < _MIN_SAMPLES] = np.nan
    mean = np.bincount(index, psi, minlength=bins) / count
    # Two passes: the sum of squares minus the squared mean would lose digits.
    std = np.sqrt(np.bincount(index, (psi - mean[index]) ** 2, minlength=bins) / count)
    return mean, std


def mean(x: F64) -> float:
    """Return the mean of all values, 0 where it is their rounding, as of anomalies.

    Parameters
    ----------
    x : values of any shape.

    Returns
    -------
    The mean.
    """
    return _unrounded(float(x.mean()), x)


def _unrounded(number: float, x: F64) -> float:
    """Return a number in units of ``x``, 0 where it is no more than the rounding of these values."""
    return number if abs(number) > _ROUNDING * float(np.abs(x).max()) else 0.0


def batch_standard_errors(x: F64) -> tuple[float, float]:
    """Return standard errors of the mean and the standard deviation of ``x``, aware of autocorrelation.

    Method of non-overlapping batch means (Schmeiser 1982, Operations Research 30, 556-568): the record is
    averaged over the sites, cut into about twenty batches, and the batch averages are taken as independent. The error
    of the standard deviation s follows from that of the variance, se(s) = se(s^2) / 2 s.

    Parameters
    ----------
    x : (member, time, k).

    Returns
    -------
    The two standard errors, in units of ``x``, 0 for a mean that is the same in every batch but for rounding; NaN
    unless :func:`long_enough`.
    """
    anomaly = x - x.mean()
    if not long_enough(anomaly):
        return np.nan, np.nan
    mean_se, variance_se = map(float, intervals.standard_error(intervals.batch_means(_first_two_moments(anomaly))))
    std = float(np.sqrt((anomaly**2).mean()))
    return _unrounded(mean_se, x), variance_se / (2 * std) if std > 0 else variance_se


def long_enough(x: F64) -> bool:
    """Tell whether batches of a run are long against its memory and that of its variance.

    What else is averaged over the run, as its lagged products and spectra are, forgets no more slowly; the rule goes by
    the slowest, since a memory is least well known where it matters, see :mod:`l96closure.diagnostics.intervals`.

    Parameters
    ----------
    x : the run (member, time, k).

    Returns
    -------
    True or False.
    """
    return bool(intervals.independent_values(_first_two_moments(x - x.mean())).all())


def power_spectrum(x: F64, step: float, segment: int) -> F64:
    """Frequency spectrum: power spectral density by the method of Welch (1967, IEEE Trans. Audio 15, 70-73).

    Averaged over members, sites and Hann-windowed segments that overlap by half. The mean over everything is removed,
    not that of each segment, which would take the slowest variations with it.

    Parameters
    ----------
    x : (member, time, k).
    step : time step in model time units.
    segment : number of times in a segment, at most those of ``x``.

    Returns
    -------
    The one-sided density (segment // 2 + 1,) at 0, 1 / (segment step), ... cycles per model time unit; its integral is
    the variance.
    """
    hop = segment - segment // 2
    window = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, segment + 1)[:-1])
    window = window * (1.0 / np.sqrt(sum(window**2) / step))
    anomaly = np.moveaxis(x - x.mean(), 1, -1)
    starts = range(0, x.shape[1] - segment + 1, hop)
    amplitude = np.stack([scipy.fft.rfft(anomaly[..., first : first + segment] * window) for first in starts], axis=-1)
    power = amplitude.real**2 + amplitude.imag**2
    power[..., 1 : (segment + 1) // 2, :] *= 2.0  # of both signs of the frequency
    return power.mean(axis=-1).mean(axis=(0, 1))


def _first_two_moments(anomaly: F64) -> F64:
    """Averages over the sites of anomalies (member, time, k) and of their squares, (member, time, 2)."""
    return np.stack([anomaly.mean(axis=2), (anomaly**2).mean(axis=2)], axis=-1)
