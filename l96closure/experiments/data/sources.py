"""A user's own files, read as training truth and reference: what is used of them, decoded and checked."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import Array
from l96closure.fields import Fields
from l96closure.layout import MASK
from l96closure.series import time_step

SUFFIXES = {".nc": "netcdf4", ".nc4": "netcdf4", ".cdf": "netcdf4", ".h5": "netcdf4", ".zarr": "zarr"}
"""How a file is read, by its suffix."""

SAMPLES = "member"
"""Dimension of the independent samples, whatever the file calls theirs."""

AUTO = "auto"
"""The mask that is the sites that are not NaN at all times."""

_OF_THE_STORE = ("_FillValue", "missing_value", "valid_range", "valid_min", "valid_max", "coordinates", "bounds")
_SECOND = np.timedelta64(1, "s")


def checked_path(name: str, given: Any, there: bool) -> Path:
    """Return the absolute path of a file; relative ones are seen from the current directory.

    Parameters
    ----------
    name, given : of the setting.
    there : whether it must exist.

    Raises
    ------
    ValueError
        It is no path, of no kind that can be read, or not there.
    """
    allowed = f"the path of a file or folder that ends in {', '.join(SUFFIXES)}"
    if not isinstance(given, str) or Path(given).suffix not in SUFFIXES:
        checks.reject(name, given, allowed)
    path = Path(given).expanduser().absolute()
    if there and not path.exists():
        checks.reject(name, given, f"there; nothing is at {path}")
    return path


def pair(truth: Path, reference: Path, fields: Fields, mask: str | None = None) -> tuple[xr.Dataset, xr.Dataset]:
    """Read training truth and reference.

    Parameters
    ----------
    truth, reference : the files.
    fields : names of the variables and dimensions.
    mask : name of the variable of both that is the mask, or :data:`AUTO`; None is every site.

    Returns
    -------
    Two Datasets of predictors and target as numbers, of dims (time, *dim), or (member, time, *dim) where there are
    independent samples. In the coordinate time dates are seconds since the first; the sites of the second are in the
    order of the first. Where sites are missing, the coordinate :data:`~l96closure.layout.MASK` says which are there.

    Raises
    ------
    ValueError
        A file cannot be read, lacks a variable, holds a value that is none, or the two do not go together; one line
        that names file and variable.
    """
    first, second = (_used(path, fields, mask) for path in (truth, reference))
    known = replace(fields, sample_dim=SAMPLES).of(first)
    for name, units in zip(known.names, known.units, strict=True):
        theirs = str(second[name].attrs.get("units", "1"))
        if theirs != units:
            checks.reject(f"{reference}: units of {name}", theirs, f"{units!r}, as in {truth}")
    sizes = tuple(second.sizes[name] for name in known.dim)
    if sizes != known.shape:
        checks.reject(f"{reference}: sites along {', '.join(known.dim)}", sizes, f"{known.shape}, as in {truth}")
    try:
        second = known.in_order(second)
    except ValueError as error:
        raise ValueError(f"{reference}: {error}") from None
    ours, theirs = (run.coords.get(MASK, xr.DataArray(True)).values for run in (first, second))
    if (differing := int((ours != theirs).sum())) > 0:
        checks.reject(
            f"{reference}: sites that are in one of the files alone", differing, f"0, {truth} being the other"
        )
    return first, second


def _used(path: Path, fields: Fields, mask: str | None) -> xr.Dataset:
    """Read what is used of a file."""
    with _opened(path) as source:
        found = {}
        for name in fields.names:
            if name not in source.data_vars:
                allowed = f"one of {', '.join(sorted(map(str, source.data_vars)))}"
                where = "fields.targets" if name in fields.targets else "fields.predictors"
                checks.reject(f"{where} for {path}", name, allowed)
            found[name] = _values(path, source[name], fields)
        kept: dict[Hashable, Any] = {"time": _time(path, source)}
        for label, coordinate in source.coords.items():
            if coordinate.ndim and set(coordinate.dims) <= set(fields.dim) and coordinate.dtype.kind in "iufU":
                kept[label] = (coordinate.dims, coordinate.values, _attributes(str(label), coordinate))
        there = _mask(path, source, found, fields, mask)
        used = xr.Dataset(found, kept, dict(source.attrs))
    for name, values in found.items():
        checks.finite_array(f"{path}: {name}", values if there is None else values.where(there, 0.0), values.ndim)
    time_step(str(path), used)
    return used if there is None else used.assign_coords({MASK: there})


def _mask(
    path: Path, source: xr.Dataset, found: dict[str, xr.DataArray], fields: Fields, mask: str | None
) -> xr.DataArray | None:
    """Return where there are sites, by a variable of the file or by where others are missing; None for everywhere."""
    dims = tuple(fields.dim)
    values = [one.to_numpy().reshape(-1, *one.shape[one.ndim - len(dims) :]) for one in found.values()]
    there = ~np.logical_or.reduce([np.isnan(one).all(axis=0) for one in values])
    if mask is None and not there.all():
        number = f"{int((~there).sum())} of {there.size}"
        allowed = f"0, or taken for sites that are not there: fields.mask={AUTO}"
        checks.reject(f"{path}: sites at which a variable is NaN at all times", number, allowed)
    if mask is not None and mask != AUTO:
        if mask not in source.variables or set(source[mask].dims) != set(dims):
            checks.reject(f"fields.mask for {path}", mask, f"a variable of the dims ({', '.join(dims)}), or {AUTO!r}")
        given = checks.real_array(f"{path}: {mask}", source[mask].transpose(*dims).values)
        if not np.isin(given, (0.0, 1.0)).all():
            checks.reject(f"{path}: {mask}", float(given[~np.isin(given, (0.0, 1.0))][0]), "0 or 1 at every site")
        there = given == 1.0
    if not there.any():
        checks.reject(f"{path}: sites that are there", 0, "at least one")
    return None if there.all() else xr.DataArray(there, dims=dims)


def _opened(path: Path) -> xr.Dataset:
    """Open a file by its suffix, decoded as CF has it."""
    engine = SUFFIXES[path.suffix]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated metadata")  # it is a hint
            return xr.open_dataset(path, engine=engine, decode_timedelta=False)
    except Exception as error:  # what is damaged leads the libraries into all kinds of errors
        why = " ".join(str(error).split()) or type(error).__name__
        if engine == "zarr" and "zarr" not in xr.backends.list_engines():
            why = 'pip install "l96closure[zarr]"'
        raise ValueError(f"{path} cannot be read as {engine.removesuffix('4')}: {why[:300]}") from None


def _values(path: Path, variable: xr.DataArray, fields: Fields) -> xr.DataArray:
    """Return a variable with the dims that it is to have."""
    samples = tuple(name for name in fields.sample_dim if name in variable.dims)
    dims = (*samples, "time", *fields.dim)
    alone = [name for name in variable.dims if name not in dims and variable.sizes[name] == 1]  # a level, say
    found = variable.squeeze(alone, drop=True)
    label = f"{path}: {variable.name}"
    if set(found.dims) != set(dims):
        checks.reject(f"{label}.dims", found.dims, f"{dims}; fields.dim names the grid, fields.sample_dim other runs")
    found = found.transpose(*dims)
    values = checks.decoded(label, found, checks.real_array(label, found))
    if samples:
        values, dims = values.reshape(-1, *values.shape[len(samples) :]), (SAMPLES, "time", *fields.dim)
    return xr.DataArray(values, dims=dims, attrs=_attributes(str(variable.name), variable))


def _attributes(name: str, variable: xr.DataArray) -> dict[str, Any]:
    """Return the attributes that say what a variable is, not how its file holds it."""
    said = {key: value for key, value in variable.attrs.items() if key not in _OF_THE_STORE}
    return {"long_name": name, **said}


def _time(path: Path, source: xr.Dataset) -> xr.DataArray:
    """Return the times as numbers, dates in seconds since the first of them."""
    if "time" not in source.coords or source["time"].dims != ("time",):
        checks.reject(f"{path}: coordinates", sorted(map(str, source.coords)), "such that time is one of them")
    time = source["time"]
    values, attributes = time.values, _attributes("time", time)
    if values.dtype.kind in "iuf":
        return xr.DataArray(values, dims="time", attrs=attributes)
    elapsed: Array = values - values[0]
    if values.dtype.kind == "O":
        elapsed = elapsed.astype("timedelta64[us]")
    first = "" if values.dtype.kind == "m" else str(values[0]).replace("T", " ").partition(".")[0]
    units = {"units": f"seconds since {first}"} if first else {"units": "s"}
    calendar = {"calendar": values[0].calendar} if hasattr(values[0], "calendar") else {}
    return xr.DataArray(elapsed / _SECOND, dims="time", attrs={**attributes, **units, **calendar})
