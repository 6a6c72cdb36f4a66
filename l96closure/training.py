"""From gridded data to training samples: reading, thinning, the trend, climatological scales, stacking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.fields import Fields
from l96closure.series import autocorrelation, no_joint, one_run
from l96closure.trends import Trend, removed

__all__ = [
    "TrainingData",
    "prepare",
    "read_fields",
    "residual_autocorrelation",
]

F64 = npt.NDArray[np.float64]

_BLOCK = 2**21  # values before thinning that are read at a time
_BLOCKS, _CLEAR = (
    10,
    5.0,
)  # blocks of time whose means tell how well those of the sites are known, and errors that count
_FEWEST_CROSSINGS = 3  # of the mean by the means of blocks, on average over the sites; independent ones make 4.5
_MOST_TIMES = 4000  # at which they are looked at
_NORMAL_RANGE = 3.29  # standard deviations between the 5 % and the 95 % quantile of a normal distribution
_MOST_UNEQUAL = 10.0  # largest over smallest standard deviation of sites that share a scale
_MOST_VALUES = 2_000_000  # of each field that the autocorrelation is taken of


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Samples ready for the bridge.

    Attributes
    ----------
    samples : (M, (P + 1) K), the predictors one after the other, followed by the target less its trend.
    scale : ((P + 1) K,), one climatological standard deviation for each predictor and one for the residual
        (Section 5.1).
    trend : what was taken off the target, or None.
    fields : names, units and grid of predictors and target.
    """

    samples: F64
    scale: F64
    trend: Trend | None
    fields: Fields


def prepare(
    truth: xr.Dataset,
    thinning: int = 1,
    trend_degree: int | None = None,
    predictors: str | Sequence[str] = "z",
    target: str = "psi",
    dim: str | Sequence[str] = "k",
) -> TrainingData:
    """Turn gridded data into samples x^(j) = (z^(j), psi^(j)) for the bridge.

    Lazy data (dask or a file) are thinned first and read in blocks: memory holds what is left of them a few times, and
    one block.

    Parameters
    ----------
    truth : Dataset with predictors and target of dims (time, *``dim``), as a system's ``simulate`` gives it.
    thinning : keep every n-th time, >= 1; consecutive fine steps are nearly copies of each other.
    trend_degree : degree of the polynomial in the predictor at the same site that is removed from the target; of
        several predictors, of the sum of polynomials in each. None removes nothing.
    predictors : names of the variables the target is to be drawn given.
    target : name of the variable to be drawn.
    dim : dimension of the sites; or several, which are stacked.

    Raises
    ------
    ValueError
        A variable is missing, has other dimensions, holds a value that is not finite or not decoded, has fewer than
        two distinct values or no variance; sites differ by more than their spread; the trend makes the target vary more
        than it does; an argument is out of its range.
    """
    fields, (*z, psi) = read_fields(truth, thinning, predictors, target, dim)
    trend, residual = removed(z, psi, trend_degree)
    spread = float(residual.std())
    if not spread > 1e-12 * float(psi.std()):
        checks.reject(f"std of {target} about its trend", spread, "> 0; there is nothing left to learn")
    scale = np.repeat([*(float(values.std()) for values in z), spread], fields.sites)
    return TrainingData(np.concatenate([*z, residual], axis=1), scale, trend, fields)


def read_fields(
    truth: xr.Dataset,
    thinning: int = 1,
    predictors: str | Sequence[str] = "z",
    target: str = "psi",
    dim: str | Sequence[str] = "k",
) -> tuple[Fields, list[F64]]:
    """Read and check predictors and target of every n-th time.

    Parameters
    ----------
    truth, thinning, predictors, target, dim : as in :func:`prepare`.

    Returns
    -------
    Names, units and grid of the fields, and each of them (M, K), the target last.

    Raises
    ------
    ValueError
        A variable is missing, has other dimensions, holds a value that is not finite or not decoded, or has fewer than
        two distinct values; sites differ by more than their spread; an argument is out of its range.
    """
    fields = Fields.of(truth, predictors, target, dim)
    thinning = checks.integer("thinning", thinning, 1)
    arrays = []
    for name in (*fields.predictors, target):
        values = _read(f"truth.{name}", truth[name], thinning)
        if np.ptp(values) == 0.0:
            checks.reject(f"truth.{name}", float(values.flat[0]), "an array of at least two distinct values")
        _check_sites(f"truth.{name}", values)
        arrays.append(values)
    return fields, arrays


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


def residual_autocorrelation(truth: xr.Dataset, data: TrainingData, lags: int) -> F64:
    """Autocorrelation of the target less its trend, averaged over the sites, at lags of the interval of ``truth``.

    Parameters
    ----------
    truth : what ``data`` was made of; as many of its first times are read as make two million values of a field.
    data : result of :func:`prepare`.
    lags : number of lags; the first is 0.

    Returns
    -------
    (lags,)

    Raises
    ------
    ValueError
        The target looks like several runs, see :func:`l96closure.series.one_run`.
    """
    fields = data.fields
    stretch = truth.isel(time=slice(None, max(lags, _MOST_VALUES // fields.sites)))
    *z, psi = (_read(f"truth.{name}", stretch[name], 1) for name in (*fields.predictors, fields.target))
    for name, field in zip((*fields.predictors, fields.target), (*z, psi), strict=True):
        no_joint(f"truth.{name}", field)
    if data.trend is not None:
        psi = psi - data.trend(z[0] if len(z) == 1 else np.stack(z, axis=1))
    one_run(f"truth.{fields.target}", psi)
    return autocorrelation(psi, lags)


def _read(name: str, variable: xr.DataArray, thinning: int) -> F64:
    """Read every n-th time of a variable (time, ...) as (time, K), a block at a time."""
    times = variable.sizes["time"]
    if variable.dtype.kind not in "biuf":
        checks.reject(name, variable.dtype, "an array of numbers")
    out = np.empty((len(range(0, times, thinning)), *variable.shape[1:]))
    for start, stop in _blocks(variable):
        first = -(-start // thinning)
        block = variable.isel(time=slice(first * thinning, stop, thinning))
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
