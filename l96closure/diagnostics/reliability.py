"""Reliability of a conditional law on held-out data, by the probability integral transform (PIT)."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.attributes import in_time_unit, labelled
from l96closure.diagnostics import climate, intervals
from l96closure.diagnostics.runs import lag_time
from l96closure.diagnostics.scorecard import LAW
from l96closure.series import time_step, time_unit

DECILES = np.arange(1, 10) / 10
"""Probabilities at which the law is held against what happened."""

_BINS = 10  # of the histogram
_MAX_LAGS = 101
_WHERE = f"by batch means of {intervals.MIN_VALUES} stretches of time or more, all sites together, 95 %"
_SHARES = f"Korn & Graubard (1998), {_WHERE}; NaN where these are not independent"
_LARGEST = f"from intervals that hold all deciles at once (Bonferroni), {_WHERE}; NaN where these are not independent"

_NAMES = {
    "decile": "probability that the law gives to smaller values",
    "pit_bin": "probability that the law gives to smaller values, centre of the bin",
    "pit_lag": "time lag in model time units",
    "pit_error": "share of held-out values below a decile of the law, less the decile",
    "pit_density": "probability density of the law's probabilities of held-out values",
    "pit_autocorrelation": "autocorrelation in time of the law's probabilities of held-out values",
    LAW.name: LAW.label,
}


def pit(
    probabilities: xr.DataArray,
    *,
    max_lag: float | timedelta | np.timedelta64 = 5.0,
) -> xr.Dataset:
    """Tell whether values come from the law that was stated for them, from their probabilities u = F(value | known).

    Where the law is right, u is uniform (Dawid 1984, Journal of the Royal Statistical Society A 147, 278-292; Gneiting,
    Balabdaoui & Raftery 2007, ibid. B 69, 243-268): too many values near 0 and 1 mean that it is too narrow, too many
    in the middle that it is too wide. It need not be independent in time or space, as the law given a part of the past
    leaves some memory; the intervals know of that.

    Parameters
    ----------
    probabilities : u in [0, 1] of dims (time, k) or (member, time, k), uniform time step, two times or more. NaN at the
        first times, where the history is not long enough, and throughout at sites without a value.
    max_lag : longest lag of the autocorrelation, as for :func:`l96closure.diagnose`; cut to half of the record.

    Returns
    -------
    Dataset (all quantities dimensionless), means over members, times and sites:

    - ``pit_error`` (decile), share of u up to 0.1, ..., 0.9, less what it should be; ``pit_largest_error``, the largest
      absolute one; ``pit_density`` (pit_bin), the histogram of u over ten bins, 1 where the law is right; each with the
      bounds ``_low`` and ``_high`` of a 95 % interval, NaN where it would not cover (attribute ``interval_method``);
    - ``pit_autocorrelation`` (pit_lag) of u in time, at most 101 lags, with ``_se``.

    The attributes ``pit_values`` and ``pit_duration`` say how many values there are, and of how much time.

    Raises
    ------
    ValueError
        A dimension or the time coordinate is missing, a value is not a probability, one is missing among known ones, or
        fewer than two times are known.
    """
    u, step, known = _known(probabilities)
    lags = max(1, min(int(lag_time(max_lag, known, step) / step + 1e-9), u.shape[1] // 2) + 1)
    every = -(-lags // _MAX_LAGS)
    correlation, correlation_se = (each[::every] for each in climate.autocorrelation(u, lags))
    errors = np.array([float((u <= p).mean()) - p for p in DECILES])
    errors_se = np.array([float(intervals.batched_standard_error((u <= p).mean(axis=2))) for p in DECILES])
    bounds = [each - DECILES for each in intervals.proportion_bounds(errors + DECILES, errors_se, u.size)]
    side = intervals.together(DECILES.size) * errors_se
    largest = [np.abs(errors).max(), np.maximum(np.abs(errors) - side, 0.0).max(), (np.abs(errors) + side).max()]
    dataset = xr.Dataset(
        {"pit_autocorrelation": ("pit_lag", correlation)},
        coords={
            "decile": DECILES,
            "pit_bin": (np.arange(_BINS) + 0.5) / _BINS,
            "pit_lag": step * every * np.arange(correlation.size),
        },
        attrs={"pit_values": u.size, "pit_duration": u.shape[0] * u.shape[1] * step},
    )
    dataset["pit_autocorrelation_se"] = "pit_lag", correlation_se, {"interval_method": intervals.BATCH_METHOD}
    for name, dims, bounded, method in (
        ("pit_error", "decile", (errors, *bounds), _SHARES),
        ("pit_largest_error", (), largest, _LARGEST),
        ("pit_density", "pit_bin", _histogram(u), _SHARES),
    ):
        for part, values in zip(("", "_low", "_high"), bounded, strict=True):
            dataset[name + part] = dims, values, {"interval_method": method} if part else {}
    return in_time_unit(labelled(dataset, _NAMES), time_unit(known))


def _known(probabilities: xr.DataArray) -> tuple[F64, float, xr.Dataset]:
    """Return the known probabilities (member, time, k), their time step, and a Dataset that has their times."""
    if not isinstance(probabilities, xr.DataArray) or set(probabilities.dims) - {"member"} != {"time", "k"}:
        found = getattr(probabilities, "dims", type(probabilities).__name__)
        checks.reject("probabilities", found, "a DataArray of dims (time, k) or (member, time, k)")
    dims = ("time", "k") if "member" not in probabilities.dims else ("member", "time", "k")
    dataset = probabilities.to_dataset(name="probability")
    step = time_step("probabilities", dataset)
    u = checks.real_array("probabilities", probabilities.transpose(*dims).values).astype(np.float64)
    u = u.reshape(-1, *u.shape[-2:])
    u = u[:, :, np.isfinite(u).any(axis=(0, 1))]
    known = np.isfinite(u)
    whole = np.flatnonzero(known.all(axis=(0, 2))) if known.size else np.zeros(0, dtype=int)
    if whole.size < 2:
        checks.reject("probabilities", f"{whole.size} times at which all are known", "two or more")
    u = u[:, whole[0] :]
    if not np.isfinite(u).all():
        where = np.argwhere(~np.isfinite(u))[0]
        name = f"probabilities at member {where[0]}, time index {where[1] + whole[0]}"
        checks.reject(name, float(u[tuple(where)]), "finite, as it is before")
    if u.min() < 0.0 or u.max() > 1.0:
        checks.reject("probabilities", float(u.min() if u.min() < 0.0 else u.max()), "between 0 and 1")
    return u, step, dataset


def _histogram(u: F64) -> tuple[F64, F64, F64]:
    """Density of u in equal bins with the bounds of its 95 % intervals."""
    index = np.minimum((u * _BINS).astype(np.intp), _BINS - 1)
    inside = [(index == i).mean(axis=2) for i in range(_BINS)]
    share = np.array([float(each.mean()) for each in inside])
    error = np.array([float(intervals.batched_standard_error(each)) for each in inside])
    low, high = intervals.proportion_bounds(share, error, u.size)
    return _BINS * share, _BINS * low, _BINS * high
