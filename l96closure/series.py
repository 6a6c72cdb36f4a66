"""Time series: the step of a record, whether it is one run, and its autocorrelation."""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import numpy as np
import scipy
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Array
from l96closure.durations import MODEL_TIME

# A series (time, K) is taken for several runs, see :func:`one_run`, by what was measured on the two-scale Lorenz-96
# model (K = 4 to 12, periodic regimes among them, recorded every 0.001 to 2 time units, every definition of psi,
# residuals, one site alone), the Kuramoto-Sivashinsky equation, a double well, white, red and random-walk noise, tails
# of Student's t with three degrees of freedom, and red noise about cycles of 2 to 24 steps: "one run", below.
_MOST_VALUES = 2_000_000  # that are looked at
_MOST_SITES = 32  # that the number of independent sites is counted from
_FEWEST_TIMES, _FEWEST_FOR_LAGS = 20, 500
_JUMP = 0.3  # standard deviations, at the median over the sites; two independent states are 0.95 apart
# Independent sites, at least, and times by which a joint exceeds the increments beside it: of one run at most 3.1, 6.0
# and, where it is smooth, 13.6; of joined runs of Lorenz-96 8 (z every 0.025 time units) to 500.
_APART = ((8.0, 6.0), (4.0, 12.0), (0.0, 30.0))
_SMOOTH = 0.5  # second differences over first, of series whose joints fewer than four sites can show; white noise: 1.7
_REVIVED, _FALLEN = 0.75, 0.4  # least autocorrelation of stacked columns at their number, and how far it is less before
# Root mean square of the autocorrelation at other lags, in parts of that: of stacked columns 0.01 to 0.25 (neighbouring
# sites), of one run that revives 0.28 (cycles, near a whole number of steps) and more.
_BETWEEN = 0.25
_FEWEST_CYCLES = 10
_MOST_GAPS = 0.1  # of all steps

_OURS = " SINCE "  # in the units of model time in files, see l96closure.attributes
_LENGTHS = {  # that variables may have in files; xarray takes the long names for those of durations
    short: (short, f"{name}s", name, *more)
    for short, name, *more in (("s", "second", "sec"), ("min", "minute"), ("h", "hour", "hr"), ("d", "day"))
}


def time_step(name: str, dataset: xr.Dataset) -> float:
    """Return the uniform step of the coordinate ``time`` of a Dataset that an error calls ``name``.

    Dates, of NumPy or cftime, and durations count in seconds. Times of less than double precision are uniform where
    they are so up to their rounding; the step is then the shortest decimal number that this leaves open.

    Parameters
    ----------
    name : what the message calls the Dataset.
    dataset : has the coordinate ``time``.

    Returns
    -------
    The step.

    Raises
    ------
    ValueError
        There is no such coordinate, it has fewer than two times, or its step is not uniform and positive; the message
        has the index of the first time that does not follow.
    """
    checks.xarray_dataset(name, dataset)
    if "time" not in dataset.coords or dataset.sizes.get("time", 0) < 2:
        checks.reject(f"{name}.sizes['time']", dataset.sizes.get("time"), "a time coordinate with two times or more")
    levels = getattr(dataset.indexes.get("time"), "names", [None])
    if len(levels) > 1:
        checks.reject(f"{name}['time']", f"stack of {', '.join(map(str, levels))}", _UNSTACKED)
    shown = dataset["time"].values
    time = checks.finite_array(f"{name}['time']", elapsed(name, shown), 1)
    step, spacing = float((time[-1] - time[0]) / (len(time) - 1)), _spacing(time)
    single = shown.dtype in (np.float32, np.float16)
    if not single and _uniform(time, step, spacing):
        return step
    if shown.dtype.kind == "f" and (time == time.astype(np.float32)).all():  # single once, whatever they are now
        spacing = _spacing(shown if single else time.astype(np.float32))
        if single and 0.0 < step < 16 * spacing:
            allowed = f"float64; {shown.dtype} tells times near {time[-1]:g} apart by {spacing:.2g} only"
            checks.reject(f"{name}['time']", f"{shown.dtype} with a step of {step:.3g}", allowed)
        if _uniform(time, step, spacing):
            return _shortest(step, 2 * spacing / (len(time) - 1))
    _name_the_break(f"{name}['time']", shown, time, spacing)


def stretches(dataset: xr.Dataset) -> list[slice]:
    """Cut the times of a Dataset at gaps: where there are a few steps longer than all others.

    Parameters
    ----------
    dataset : perhaps has the coordinate ``time``.

    Returns
    -------
    The times between gaps; one slice where there are no gaps, no times, or others than such as step on uniformly.
    """
    whole = [slice(0, dataset.sizes.get("time"))]
    if "time" not in dataset.coords or dataset["time"].ndim != 1 or dataset["time"].size < _FEWEST_TIMES:
        return whole
    values = dataset["time"].values
    if values.dtype.kind not in "iufMmO" or len(getattr(dataset.indexes.get("time"), "names", [None])) > 1:
        return whole
    increments = np.diff(elapsed("truth", values).astype(np.float64))
    longer = increments > 1.5 * np.median(increments)
    if not longer.any() or longer.mean() > _MOST_GAPS or not (increments > 0.0).all():
        return whole
    ends = [0, *(1 + np.flatnonzero(longer)).tolist(), values.size]
    return [slice(first, last) for first, last in pairwise(ends)]


_UNSTACKED = "the times of one run: unstack them, and give the columns as sites (`dim`) or one of them alone"


def dated(dataset: xr.Dataset) -> bool:
    """Tell whether the times of a Dataset are dates or durations, which count in seconds.

    Parameters
    ----------
    dataset : has the coordinate ``time``.

    Returns
    -------
    True or False.
    """
    return dataset["time"].dtype.kind in "MmO"


def time_unit(dataset: xr.Dataset) -> str:
    """Return the unit that :func:`time_step` counts in: the one place that decides what lags and leads are in.

    Parameters
    ----------
    dataset : has the coordinate ``time``.

    Returns
    -------
    Seconds where times are dates or durations; else the unit that the numbers say they have; that of model time, which
    is 1, where they say none, or are ours.
    """
    time = dataset["time"]
    given = str(time.attrs.get("units", MODEL_TIME))
    if _OURS in given:
        return MODEL_TIME
    unit = given.partition(" since ")[0]
    return "s" if dated(dataset) else next((short for short, names in _LENGTHS.items() if unit in names), unit)


def spellings(unit: str) -> tuple[str, ...]:
    """Return how a unit of time may be written.

    Parameters
    ----------
    unit : from :func:`time_unit`.

    Returns
    -------
    It and its other names.
    """
    return unit, *_LENGTHS.get(unit, ())


def _spacing(time: Array) -> float:
    return float(np.spacing(np.abs(time).max()))


def _uniform(time: F64, step: float, spacing: float) -> bool:
    """Tell whether times increase by a step, up to the rounding of the times themselves."""
    return step > 0 and np.allclose(np.diff(time), step, rtol=1e-6, atol=4 * spacing)


def _shortest(value: float, error: float) -> float:
    """Return the number of fewest digits within an error of a value."""
    rounded = (float(f"{value:.{digits}g}") for digits in range(1, 17))
    return next((candidate for candidate in rounded if abs(candidate - value) <= error), value)


def elapsed(name: str, time: Array) -> Array:
    """Return times as they are, dates and durations in seconds since the first of them.

    Parameters
    ----------
    name : what an error calls the Dataset.
    time : values of the coordinate.

    Returns
    -------
    Numbers (time,).

    Raises
    ------
    ValueError
        A time is missing, or not of a kind that can be subtracted.
    """
    if time.dtype.kind not in "MmO":
        return time
    missing = np.flatnonzero(time != time) if time.dtype.kind == "O" else np.flatnonzero(np.isnat(time))
    if missing.size:
        checks.reject(f"{name}['time'][{missing[0]}]", "not a time", "a date; drop it, e.g. with .dropna('time')")
    since = time - time[0] if time.dtype.kind != "O" else _since_first(name, time)
    return since / np.timedelta64(1, "s")


def _since_first(name: str, time: Array) -> Array:
    """Subtract the first of cftime's or Python's dates."""
    try:
        # Microseconds are what both count in, and they reach over 292,000 years, nanoseconds over 292.
        return np.asarray((time - time[0]).astype("timedelta64[us]"))
    except (TypeError, ValueError):
        checks.reject(f"{name}['time']", type(time[0]).__name__, "numbers, dates of one calendar, or durations")


def _name_the_break(name: str, shown: Array, time: F64, spacing: float) -> NoReturn:
    """Raise the ``ValueError`` that says where times stop following one another, and what can be done."""
    increments = np.diff(time)
    step = float(np.sort(increments)[(increments.size - 1) // 2])  # the median, or of two the smaller
    off = np.abs(increments - step) - 1e-6 * abs(step) - 4 * spacing
    first = 1 + int(np.argmax(off > 0.0) if (off > 0.0).any() else np.argmax(off))
    if step <= 0.0:
        first = 1 + int(np.argmin(increments > 0.0))
    value = shown[first].item() if shown.dtype.kind in "iuf" else str(shown[first])
    before = f"{shown[first - 1]}"
    if (increments < 0.0).all():
        allowed = (
            f"increasing: later than the time before it, {before}; turn it round: .isel(time=slice(None, None, -1))"
        )
    elif increments[first - 1] == 0.0:
        allowed = (
            f"later than the time before it, {before}; drop repeated records, or, where columns or runs were stacked "
            "with time, unstack them"
        )
    elif increments[first - 1] < 0.0:
        allowed = (
            f"later than the time before it, {before}; where another run begins, give one alone, e.g. {_up_to(first)}"
        )
    else:
        allowed = (
            f"a uniform step of {step:g} after the time before it, {before}; interpolate, or give the record on one "
            f"side of the gap alone, e.g. {_up_to(first)}"
        )
    checks.reject(f"{name}[{first}]", value, allowed)


def _up_to(index: int) -> str:
    return f".isel(time=slice({index}))"


def one_run(name: str, series: F64) -> None:
    """Refuse a series that looks like several runs, one after the other or taking turns.

    Its autocorrelation, and whatever else ties a time to the next, would not be that of either. Runs that begin and
    end in like states, records so coarse that a joint looks like any other step, and columns like their neighbours
    cannot be recognised.

    Parameters
    ----------
    name : what an error calls the series.
    series : (time, K), finite, at a uniform step.

    Raises
    ------
    ValueError
        Most sites jump at once between times around which they change little, or the autocorrelation returns at a lag
        to what it lost before, as where columns are stacked with time.
    """
    no_joint(name, series)
    _not_stacked(name, _standardised(series))


def _standardised(series: F64) -> F64:
    """Return the first two million values or so of a series (time, K), with mean 0 and variance 1 at every site.

    Sites that are constant are left out.
    """
    series = series[: max(_FEWEST_TIMES, _MOST_VALUES // max(1, series.shape[1]))]
    spread = series.std(axis=0)
    varied = spread > 1e-12 * np.abs(series).max(axis=0, initial=0.0)
    return (series[:, varied] - series[:, varied].mean(axis=0)) / spread[varied]


def no_joint(name: str, series: F64) -> None:
    """Refuse a series in which one run seems to follow another.

    Of the two tests of :func:`one_run` this is the one that a regular cycle cannot be mistaken in.

    Parameters
    ----------
    name : what the message calls the series.
    series : (time, K), at a uniform step.

    Raises
    ------
    ValueError
        The series looks like several runs.
    """
    x = _standardised(series)
    if len(x) < _FEWEST_TIMES or x.shape[1] == 0:
        return
    change = np.diff(x, axis=0)
    increment = np.median(np.abs(change), axis=1)
    usual = float(np.median(increment))
    if usual == 0.0:  # of what is mostly constant, such as a flag or rain, every change is a jump
        return
    sites = _independent(x)
    if sites < _APART[1][0] and np.median(np.abs(np.diff(change, axis=0))) > _SMOOTH * np.median(np.abs(change)):
        return
    around = np.pad(increment, 1)
    ratio = increment / np.maximum(np.maximum(around[:-2], around[2:]), usual)
    apart = next(limit for least, limit in _APART if sites >= least)
    joints = 1 + np.flatnonzero(((ratio > apart) & (increment > _JUMP))[1:-1])  # the first and last lack a neighbour
    if joints.size:
        first = int(joints[0]) + 1
        checks.reject(
            f"jump of {name} before time index {first}",
            round(float(ratio[first - 1]), 1),
            f"at most {apart:g} times the steps beside it; another run seems to begin there: give one alone, "
            f"e.g. {_up_to(first)}",
        )


def _independent(x: F64) -> float:
    """Count independent sites: the participation ratio of the eigenvalues of their correlation."""
    some = x[:, :: -(-x.shape[1] // _MOST_SITES)]
    covariance = some.T @ some / len(some)
    return float(np.trace(covariance) ** 2 / (covariance**2).sum())


def _not_stacked(name: str, x: F64) -> None:
    """Refuse columns that take turns along time; ``x`` (time, K) is standardised."""
    if len(x) < _FEWEST_FOR_LAGS or x.shape[1] == 0:
        return
    lags = len(x) // _FEWEST_CYCLES + 1
    correlation = autocorrelation(x, lags)
    before = np.maximum.accumulate(correlation[1:-1])  # the largest at the lags from 1 to the one before
    for columns in 2 + np.flatnonzero((correlation[2:] > _REVIVED) & (correlation[2:] > before + 0.1)):
        turns = x[: len(x) // columns * columns].reshape(-1, columns, x.shape[1])
        turns = turns - turns.mean(axis=0)  # a cycle that repeats itself, such as the day's, is no column
        within = autocorrelation(turns.reshape(-1, x.shape[1]), lags)
        revived, between = within[columns], np.arange(lags) % columns != 0
        alike = np.tensordot(turns, turns, axes=([0, 2], [0, 2]))
        if (
            revived > _REVIVED
            and within[1:columns].max() < revived - _FALLEN
            and np.sqrt((within[between] ** 2).mean()) < _BETWEEN * revived
            and np.sqrt((within[: 3 * columns][between[: 3 * columns]] ** 2).mean()) < _BETWEEN * revived
            # A cycle whose amplitude and phase wander is made of few patterns, however many its steps.
            and np.trace(alike) ** 2 / (alike**2).sum() > max(min(0.75 * columns, 3.3), 0.5 * columns)
        ):
            checks.reject(
                f"autocorrelation of {name} at the lags 1 and {columns}",
                (round(float(correlation[1]), 2), round(float(correlation[columns]), 2)),
                f"that of one run; {columns} columns or members seem to be stacked with time: unstack them, and give "
                f"them as sites (`dim`) or one of them alone, e.g. .isel(time=slice(None, None, {columns}))",
            )


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
    return scipy.fft.irfft((a.conj() * b).sum(axis=1), size)[:lags]


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
