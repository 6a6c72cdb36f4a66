"""Power spectra of one run: along the ring and in time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from l96closure.diagnostics import intervals
from l96closure.diagnostics.climate import long_enough

__all__ = ["along_the_ring", "in_time"]

FloatArray = npt.NDArray[np.float64]


def along_the_ring(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Wavenumber spectrum: how the variance is shared among waves around the ring, with its standard error.

    S_m = w_m <|X_m|^2> with X_m = (1 / K) sum_k x_k exp(-2 pi i m k / K), x less its mean over everything; w is 2 for
    waves that come in a pair +m and -m, and 1 for m = 0 and m = K / 2. So the S_m sum to the variance.

    Parameters
    ----------
    x : (member, time, k).

    Returns
    -------
    Two arrays (K // 2 + 1,), wavenumbers 0, 1, ... in cycles around the ring; the standard errors are by batch means,
    NaN unless the run is :func:`~l96closure.diagnostics.climate.long_enough`, and where a batch is short against the
    memory of the power.
    """
    size = x.shape[-1]
    power = np.abs(scipy.fft.rfft(x - x.mean(), axis=-1, norm="forward")) ** 2
    power[..., 1 : (size + 1) // 2] *= 2
    error = intervals.batched_standard_error(power)
    return power.mean(axis=(0, 1)), error if long_enough(x) else np.full_like(error, np.nan)


def in_time(x: FloatArray, step: float, segment: int) -> FloatArray:
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
    _, power = scipy.signal.welch(x - x.mean(), fs=1 / step, nperseg=segment, detrend=False, axis=1)
    mean: FloatArray = power.mean(axis=(0, 2))
    return mean
