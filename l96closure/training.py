"""Reading and checking of training data: from a Dataset to a record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.fields import Fields
from l96closure.record import Record, Steps
from l96closure.series import stretches, time_step
from l96closure.subgrid import HELD, definition_of

RULES: Mapping[str, checks.Rule] = {
    "truth": checks.xarray_dataset,
    "dt": checks.optional(partial(checks.number, above=0.0)),
}
"""Of the arguments of every ``fit``."""

_PIECES = 4  # of time, of a record that is not read as a whole
_BLOCK = 2**21  # values before thinning that are read at a time
_BLOCKS = 10  # of time, whose means tell how well those of the sites are known
_CLEAR = 5.0  # errors of a mean that count
_FEWEST_CROSSINGS = 3  # of the mean by the means of blocks, on average over the sites; independent ones make 4.5
_MOST_TIMES = 4000  # at which they are looked at
_NORMAL_RANGE = 3.29  # standard deviations between the 5 % and the 95 % quantile of a normal distribution
_CONSERVED = 1e-6  # sum over the sites in parts of the sum of sizes, single precision included
_MOST_UNEQUAL = 10.0  # largest over smallest standard deviation of sites that share a scale


def read(
    truth: xr.Dataset,
    fields: Fields,
    dt: float | None = None,
    *,
    ordered: bool = False,
    grouped: bool = False,
    most: int | None = None,
) -> Record:
    """Read and check predictors and targets.

    Lazy data (dask or a file) are read in blocks: memory holds what is used of them, and one block.

    Parameters
    ----------
    truth : Dataset with predictors and targets of dims time and ``fields.dim``, as a system's ``simulate`` gives it,
        perhaps with ``fields.sample_dim``; of any order. A predictor that lacks some of them is the same along them.
        Memory ends at gaps of its times.
    fields : which variables are what.
    dt : step of the closure in the unit of ``truth``'s time; None is the interval of ``truth``.
    ordered : the closure remembers: the times have to be uniform, of one run in each segment, and divide ``dt``.
    grouped : the closure learns from each of the record's groups, so that sites that do not pool may differ in scale.
        Else all sites have one scale.
    most : values of a variable that are read at most, of four pieces of time, evenly spread; None is all.

    Raises
    ------
    ValueError
        A variable is missing, has other dimensions, holds a value that is not finite or not decoded, or has fewer than
        two distinct values; sites differ by more than their spread; psi is defined over another step than ``dt``; where
        ``ordered``, the times do not fit.
    """
    fields = fields.of(truth)
    ordered = ordered or fields.before > 0
    steps, parts = steps_of(truth, dt, ordered), stretches(truth) if ordered else [slice(0, truth.sizes["time"])]
    like = truth[fields.targets[0]]
    samples = [name for name in fields.sample_dim if name in like.dims]
    labels = fields.groups if grouped else np.zeros(fields.sites, np.intp)
    if most is not None:
        parts = _enough(parts, steps.every * most * parts[-1].stop // like.size)
    arrays = []
    for name in fields.names:
        variable = truth[name] if set(truth[name].dims) == set(like.dims) else truth[name].broadcast_like(like)
        variable = variable.transpose(*samples, "time", *fields.dim)
        label = f"truth.{name}"
        runs = [variable]
        if samples:
            flat = variable.stack(segment_of_data=samples)
            runs = [flat.isel(segment_of_data=number) for number in range(flat.sizes["segment_of_data"])]
        values = [_read(label, run.isel(time=part), steps.every, fields) for run in runs for part in parts]
        together = np.concatenate(values)
        if np.ptp(together) == 0.0:
            checks.reject(label, float(together.flat[0]), "an array of at least two distinct values")
        for number in range(int(labels.max()) + 1):
            _check_sites(label, together[:, labels == number])
        arrays.append(values)
    P = len(fields.predictors)
    series = [np.stack(one, axis=1) for one in zip(*arrays[:P], strict=True)]
    target = arrays[P] if len(fields.targets) == 1 else [np.stack(p, axis=1) for p in zip(*arrays[P:], strict=True)]
    if fields.conserve is None:
        fields = replace(fields, conserve=all(_conserved(one) for of in arrays[P:] for one in of))
    record = Record(fields, series, target, steps)
    if ordered:
        record.one_run_each()
    return record


def _enough(parts: list[slice], times: int) -> list[slice]:
    """Take pieces of stretches, evenly spread, that are so many times in all; the stretches where these are no more."""
    lengths = np.array([part.stop - part.start for part in parts])
    if lengths.sum() <= times:
        return parts
    found = []
    for part, length in zip(parts, lengths, strict=True):
        pieces = max(1, round(_PIECES * length / lengths.sum()))
        size = max(1, times * int(length) // (int(lengths.sum()) * pieces))
        starts = np.linspace(part.start, part.stop - size, pieces).round().astype(int).tolist()
        found += [slice(start, start + size) for start in starts]
    return found


def _conserved(target: F64) -> bool:
    """Tell whether the mean over the sites of a field (time, K) is always zero, up to rounding."""
    sums, size = np.abs(target.sum(axis=1)), np.abs(target).sum(axis=1)
    return target.shape[1] > 1 and bool((sums <= _CONSERVED * size).all())


def steps_of(truth: xr.Dataset, dt: float | None, ordered: bool = False) -> Steps:
    """Read the times and the definition of psi of training data.

    Parameters
    ----------
    truth, dt, ordered : as for :func:`read`.

    Returns
    -------
    Steps

    Raises
    ------
    ValueError
        psi is defined over another step than ``dt``; where ``ordered``, the times do not fit.
    """
    every = 1
    if ordered or dt is None:
        try:
            every, dt = _multiple(truth, dt)
        except ValueError:
            if ordered:
                raise
    named, over = definition_of(truth), truth.attrs.get("coarse_dt")
    if named in HELD and dt is not None and over is not None and not math.isclose(dt, over, rel_tol=1e-6):
        checks.reject("dt", dt, f"{over:g}, the coarse step over which psi is defined in truth")
    return Steps(every, dt, named)


def _multiple(truth: xr.Dataset, dt: float | None) -> tuple[int, float | None]:
    """Return how many intervals of ``truth`` make a step of the closure, and that step."""
    if dt is None and "time" not in truth.coords:
        return 1, None
    longest = max(stretches(truth), key=lambda part: part.stop - part.start)
    interval = time_step("truth", truth.isel(time=longest))
    if dt is None:
        return 1, interval
    every = round(dt / interval)
    if every < 1 or not np.isclose(every * interval, dt, rtol=1e-6, atol=0.0):
        checks.reject("dt", dt, f"a whole multiple of {interval:g}, the interval of truth")
    return every, dt


def _check_sites(name: str, values: F64) -> None:
    """Raise ``ValueError`` if the sites of a field (M, K) differ by more than their spread.

    One scale and one trend serve all of them. With a mean profile of 100 K and weather of 0.5 K a bridge takes every
    state of a site for the same, and a trend fits the profile. A record that is short against its memory cannot tell a
    profile from weather, nor one that does not change in time: it is let through.
    """
    if len(values) < 2 * _BLOCKS:
        return
    some = values[:: -(-len(values) // _MOST_TIMES)]
    low, high = np.quantile(some, [0.05, 0.95], axis=0)
    spreads = (high - low) / _NORMAL_RANGE
    blocks = np.stack([part.mean(axis=0) for part in np.array_split(some.clip(low, high), _BLOCKS)])  # without outliers
    centres, within = blocks.mean(axis=0), float(np.sqrt((spreads**2).mean()))
    between, error = float(centres.std()), float(np.sqrt(blocks.var(axis=0, ddof=1).mean() / _BLOCKS))
    above = blocks > centres
    if (above[1:] != above[:-1]).sum() < _FEWEST_CROSSINGS * centres.size:  # the blocks themselves remember
        return
    if between > max(within, _CLEAR * error) and within > 0.0:
        checks.reject(
            f"means of {name} at its sites",
            [float(f"{extreme:.5g}") for extreme in (centres.min(), centres.max())],
            f"nearer to each other than the sites vary (std {within:.3g}): all have one scale and one trend; "
            "fit to departures from the mean of each site",
        )
    if error > within / _CLEAR:
        return
    varied = spreads[spreads > 0.0]  # a site may be mostly zero
    if varied.size and varied.max() > _MOST_UNEQUAL * varied.min():
        checks.reject(
            f"standard deviations of {name} at its sites",
            [float(f"{extreme:.3g}") for extreme in (varied.min(), varied.max())],
            f"within a factor of {_MOST_UNEQUAL:g}: all sites have one scale; divide each by its own",
        )


def _read(name: str, variable: xr.DataArray, every: int, fields: Fields) -> F64:
    """Read every n-th time of a variable on the grid (time, ...) as (time, K), a block at a time."""
    times = variable.sizes["time"]
    if variable.dtype.kind not in "biuf":
        checks.reject(name, variable.dtype, "an array of numbers")
    out = np.empty((len(range(0, times, every)), *variable.shape[1:]))
    for start, stop in _blocks(variable):
        first = -(-start // every)
        block = variable.isel(time=slice(first * every, stop, every))
        out[first : first + block.sizes["time"]] = fields.filled(block).values
    return fields.taken(checks.finite_array(name, checks.decoded(name, variable, out), out.ndim).reshape(len(out), -1))


def _blocks(variable: xr.DataArray) -> Iterator[tuple[int, int]]:
    """Cut the times into blocks: the chunks of a dask array, otherwise as many times as are read at once."""
    times = variable.sizes["time"]
    chunks = variable.chunksizes.get("time")
    if chunks is None:
        size = max(1, _BLOCK // max(1, variable.size // max(1, times)))
        chunks = tuple(min(size, times - start) for start in range(0, times, size))
    stops = np.cumsum(chunks)
    yield from zip((stops - chunks).tolist(), stops.tolist(), strict=True)
