"""Time series: the step of a record, and its autocorrelation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks

__all__ = ["autocorrelation", "lagged_products", "time_step"]

F64 = npt.NDArray[np.float64]


def time_step(name: str, dataset: xr.Dataset) -> float:
    """Return the uniform step of the coordinate ``time`` of a Dataset that an error calls ``name``.

    Dates, of NumPy or cftime, count in seconds.

    Raises
    ------
    ValueError
        There is no such coordinate, it has fewer than two times, or its step is not uniform and positive.
    """
    checks.xarray_dataset(name, dataset)
    if "time" not in dataset.coords or dataset.sizes["time"] < 2:
        checks.reject(f"{name}.sizes['time']", dataset.sizes.get("time"), "a time coordinate with two times or more")
    time = checks.finite_array(f"{name}['time']", _elapsed(dataset["time"].values), 1)
    step = float((time[-1] - time[0]) / (len(time) - 1))
    # The comparison allows for the rounding of the times themselves.
    if not step > 0 or not np.allclose(np.diff(time), step, rtol=1e-6, atol=4 * np.spacing(np.abs(time).max())):
        checks.reject(f"{name}['time']", time, "increasing with a uniform step")
    return step


def _elapsed(time: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return times as they are, dates in seconds since the first of them."""
    if time.dtype.kind == "M" or hasattr(time[0], "calendar"):
        time = (time - time[0]).astype("timedelta64[ns]") / np.timedelta64(1, "s")
    return time


def lagged_products(first: F64, longer: F64, lags: int) -> F64:
    """Sum first(t) longer(t + l) over time and sites for every lag l, by fast Fourier transform.

    Parameters
    ----------
    first, longer : both (time, k), beginning at the same time.
    lags : number of lags; the first is 0.

    Returns
    -------
    (lags,)
    """
    size = scipy.fft.next_fast_len(max(len(first) + lags, len(longer)), real=True)
    a, b = (scipy.fft.rfft(x, size, axis=0) for x in (first, longer))
    products: F64 = scipy.fft.irfft((a.conj() * b).sum(axis=1), size)[:lags]
    return products


def autocorrelation(x: F64, lags: int) -> F64:
    """Autocorrelation averaged over sites: autocovariances over n - l pairs, divided by the one at lag 0.

    Parameters
    ----------
    x : (time, k), not constant.
    lags : number of lags, at most the number of times; the first is 0.

    Returns
    -------
    (lags,)
    """
    anomaly = x - x.mean()
    covariance = lagged_products(anomaly, anomaly, lags) / (len(x) - np.arange(lags))
    covariance /= covariance[0]
    return covariance
