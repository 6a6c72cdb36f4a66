"""From gridded data to training samples: reading and checking, one segment for each independent run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.fields import Fields
from l96closure.series import no_joint, time_step
from l96closure.subgrid import HELD, definition_of

__all__ = ["Record", "Steps", "read", "steps_of"]

F64 = npt.NDArray[np.float64]

_BLOCK = 2**21  # values before thinning that are read at a time
_BLOCKS, _CLEAR = (
    10,
    5.0,
)  # blocks of time whose means tell how well those of the sites are known, and errors that count
_FEWEST_CROSSINGS = 3  # of the mean by the means of blocks, on average over the sites; independent ones make 4.5
_MOST_TIMES = 4000  # at which they are looked at
_NORMAL_RANGE = 3.29  # standard deviations between the 5 % and the 95 % quantile of a normal distribution
_CONSERVED = 1e-6  # sum over the sites in parts of the sum of sizes, single precision included
_MOST_UNEQUAL = 10.0  # largest over smallest standard deviation of sites that share a scale


class Steps(NamedTuple):
    """What a closure keeps of the times of its data.

    Attributes
    ----------
    every : intervals of the data from one step of the closure to the next.
    dt : that step; None where the data have no times, or they are not uniform and nothing hangs on them.
    subgrid : definition of psi, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    """

    every: int
    dt: float | None
    subgrid: str | None


@dataclass(frozen=True, eq=False)
class Record:
    """Training data as arrays, at the steps of the closure.

    Attributes
    ----------
    fields : names, units and grid.
    series : predictors of each segment (time, P, K).
    target : of each segment (time, K).
    steps : time between two values, and the definition of psi.
    """

    fields: Fields
    series: list[F64]
    target: list[F64]
    steps: Steps

    def scales(self) -> F64:
        """Climatological standard deviation of each predictor (P,), one for all sites (Section 5.1)."""
        return np.array([np.std(np.concatenate([one[:, p] for one in self.series])) for p in range(self.predictors)])

    @property
    def predictors(self) -> int:
        """Number of predictors, P."""
        return len(self.fields.predictors)

    @property
    def unit(self) -> float:
        """Time between two values, 1 where the data had no times: what lags count in."""
        return 1.0 if self.steps.dt is None else self.steps.dt

    def in_steps(self, times: Sequence[float]) -> list[int]:
        """Return times as whole numbers of steps; ``ValueError`` where one is none."""
        return [checks.multiple("lags", time, "the closure's step", self.unit) for time in times]

    def split(self) -> tuple[Record, xr.Dataset]:
        """Return the first three quarters of the longest segment and all others, and the last quarter as a Dataset."""
        longest = max(range(len(self.series)), key=lambda number: len(self.series[number]))
        end = 3 * len(self.series[longest]) // 4
        series, target = list(self.series), list(self.target)
        dims, shape = ("time", *self.fields.dim), (-1, *self.fields.shape)
        late = {
            name: (dims, values.reshape(shape))
            for name, values in zip(
                (*self.fields.predictors, self.fields.target),
                (*np.moveaxis(series[longest][end:], 1, 0), target[longest][end:]),
                strict=True,
            )
        }
        times = np.arange(len(target[longest]) - end) * self.unit
        series[longest], target[longest] = series[longest][:end], target[longest][:end]
        return replace(self, series=series, target=target), xr.Dataset(late, {"time": times})

    def one_run_each(self) -> None:
        """Refuse segments in which one run seems to follow another, see :func:`l96closure.series.no_joint`."""
        for one, of in zip(self.series, self.target, strict=True):
            for p, name in enumerate(self.fields.predictors):
                no_joint(f"truth.{name}", one[:, p])
            no_joint(f"truth.{self.fields.target}", of)


def read(truth: xr.Dataset, fields: Fields, dt: float | None = None, *, ordered: bool = False) -> Record:
    """Read and check predictors and target.

    Lazy data (dask or a file) are read in blocks: memory holds what is used of them, and one block.

    Parameters
    ----------
    truth : Dataset with predictors and target of dims time and ``fields.dim``, as a system's ``simulate`` gives it,
        perhaps with ``fields.sample_dim``; of any order.
    fields : which variables are what.
    dt : step of the closure in the unit of ``truth``'s time; None is the interval of ``truth``.
    ordered : the closure remembers: the times have to be uniform, of one run in each segment, and divide ``dt``.

    Raises
    ------
    ValueError
        A variable is missing, has other dimensions, holds a value that is not finite or not decoded, or has fewer than
        two distinct values; sites differ by more than their spread; psi is defined over another step than ``dt``; where
        ``ordered``, the times do not fit.
    """
    fields = fields.of(truth)
    steps = steps_of(truth, dt, ordered)
    samples = [name for name in fields.sample_dim if name in truth[fields.target].dims]
    arrays = []
    for name in (*fields.predictors, fields.target):
        variable = truth[name].transpose(*samples, "time", *fields.dim)
        label = f"truth.{name}"
        if samples:
            flat = variable.stack(segment_of_data=samples) if len(samples) > 1 else variable
            along = "segment_of_data" if len(samples) > 1 else samples[0]
            values = [_read(label, flat.isel({along: i}), steps.every) for i in range(flat.sizes[along])]
        else:
            values = [_read(label, variable, steps.every)]
        together = np.concatenate(values)
        if np.ptp(together) == 0.0:
            checks.reject(label, float(together.flat[0]), "an array of at least two distinct values")
        _check_sites(label, together)
        arrays.append(values)
    series = [np.stack(parts, axis=1) for parts in zip(*arrays[:-1], strict=True)]
    if fields.conserve is None:
        fields = replace(fields, conserve=all(_conserved(one) for one in arrays[-1]))
    record = Record(fields, series, arrays[-1], steps)
    if ordered:
        record.one_run_each()
    return record


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
    interval = time_step("truth", truth)
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


def _read(name: str, variable: xr.DataArray, every: int) -> F64:
    """Read every n-th time of a variable (time, ...) as (time, K), a block at a time."""
    times = variable.sizes["time"]
    if variable.dtype.kind not in "biuf":
        checks.reject(name, variable.dtype, "an array of numbers")
    out = np.empty((len(range(0, times, every)), *variable.shape[1:]))
    for start, stop in _blocks(variable):
        first = -(-start // every)
        block = variable.isel(time=slice(first * every, stop, every))
        out[first : first + block.sizes["time"]] = block.values
    return checks.finite_array(name, checks.decoded(name, variable, out), out.ndim).reshape(len(out), -1)


def _blocks(variable: xr.DataArray) -> Iterator[tuple[int, int]]:
    """Cut the times into blocks: the chunks of a dask array, otherwise as many times as are read at once."""
    times = variable.sizes["time"]
    chunks = variable.chunksizes.get("time")
    if chunks is None:
        size = max(1, _BLOCK // max(1, variable.size // max(1, times)))
        chunks = tuple(min(size, times - start) for start in range(0, times, size))
    stops = np.cumsum(chunks)
    yield from zip((stops - chunks).tolist(), stops.tolist(), strict=True)
