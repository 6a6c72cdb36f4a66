"""A fitted bridge and the fields of a closure, as the variables of a file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks
from l96closure.arrays import F64, Index
from l96closure.bridge.neighbourhoods import around_sites, checked_pools
from l96closure.closures.parts import Parts
from l96closure.durations import MODEL_TIME
from l96closure.fields import MOST_PREVIOUS, Fields
from l96closure.kernel import Kernel, WeightedSamples

_COORDINATE = "grid_coordinate_"  # before the names of coordinates, which may be any
_LARGEST_LOG = 600.0  # of a weight that a double can hold, with room for sums
_OF_TARGET = ("chebyshev", "linear", "quadratic", "cubic", "quantile", "psi")  # in the units of the target
_OF_FIELDS = (  # in the units of several fields, or in those of one that the file names
    *("coordinates", "coordinate_scale", "scale", "value", "value_spread"),
    *("predictor_range", "quantile_node", "log_variance", "log_variance_range"),
)


def field_variables(fields: Fields) -> xr.Dataset:
    """Everything :func:`fields_from` needs."""
    dataset = xr.Dataset(
        {
            "grid_size": ("dim", np.array(fields.shape, np.int32)),
            "periodic": (
                "dim",
                _rings(fields),
                {"long_name": "whether a dimension of the grid is a ring", "units": "1"},
            ),
        },
        coords={
            "field": list(fields.names),
            "field_units": ("field", list(fields.units)),
            "dim": list(fields.dim),
        },
        attrs={
            "conserve": np.int8(bool(fields.conserve)),
            "targets": np.int32(len(fields.targets)),
            "previous": np.int8(fields.before),
            "time_unit": fields.time_unit,
        },
    )
    if fields.mask is not None:
        kept = {"long_name": "whether a site of the grid is one of the closure's", "units": "1"}
        dataset["mask"] = [f"grid_{dim}" for dim in fields.dim], fields.mask.values.astype(np.int8), kept
    for key, coordinate in fields.coordinates.variables.items():
        dims = [f"grid_{dim}" for dim in coordinate.dims]
        named = {"long_name": f"{key} of the sites", **({} if coordinate.dtype.kind == "U" else {"units": "1"})}
        dataset[f"{_COORDINATE}{key}"] = dims, coordinate.values, named | coordinate.attrs
    return dataset


def with_units(dataset: xr.Dataset, fields: Fields) -> xr.Dataset:
    """Give the variables of a closure the units of its fields; those of several fields have none."""
    for name, variable in dataset.data_vars.items() if set(fields.units) != {"1"} else ():
        if name in _OF_TARGET:
            variable.attrs["units"] = fields.units[-1]
        elif name in _OF_FIELDS:
            variable.attrs |= {"units": None, "comment": "in the units of each field, see field_units"}
    return dataset


def _rings(fields: Fields) -> npt.NDArray[np.int8]:
    """Tell which dims are rings; none is where the sites have sets of their own."""
    given = fields.periodic if fields.neighbourhoods is None else False
    return np.array([given] * len(fields.dim) if isinstance(given, bool) else list(given), np.int8)


def fields_from(parts: Parts) -> Fields:
    """Inverse of :func:`field_variables`; raises ``ValueError`` when something is missing or does not fit the rest."""
    names, units, dim = parts.texts("field", "field"), parts.texts("field_units", "field"), parts.texts("dim", "dim")
    shape = tuple(parts.indices("grid_size", "dim", low=1, high=2**31 - 1).tolist())
    rings = parts.indices("periodic", "dim", low=0, high=1).astype(bool).tolist()
    if len(set(names)) < max(len(names), 2) or len(set(dim)) < len(dim):
        checks.reject("field, dim", (names, dim), "a predictor, a target and dimensions, each named once")
    coordinates = _grid_coordinates(parts.dataset, dim, shape)
    mask = _mask(parts, dim, shape, coordinates)
    sites = math.prod(shape) if mask is None else int(mask.sum())
    if "site" in parts.dataset.dims and sites > parts.size("site"):
        checks.reject("grid_size", shape, f"a grid of {parts.size('site')} sites")
    predictors = len(names) - parts.integer("targets", 1, below=len(names))
    return Fields(
        names[:predictors],
        names[predictors:],
        dim,
        periodic=rings,
        previous=parts.integer("previous", 0, below=MOST_PREVIOUS + 1),
        mask=mask,
        conserve=bool(parts.integer("conserve", 0, below=2)),
        shape=shape,
        units=units,
        coordinates=coordinates,
        time_unit=str(parts.dataset.attrs.get("time_unit", MODEL_TIME)),
    )


def _mask(parts: Parts, dim: tuple[str, ...], shape: tuple[int, ...], coordinates: xr.Dataset) -> xr.DataArray | None:
    """Return the mask of the grid that a file holds, if it does."""
    if "mask" not in parts:
        return None
    values = parts.indices("mask", *(f"grid_{name}" for name in dim), low=0, high=1).astype(bool)
    if values.shape != shape or values.all() or not values.any():
        checks.reject("mask.shape", values.shape, f"{shape}, neither 0 nor 1 everywhere")
    return xr.DataArray(values, coordinates.coords, dim)


def bridge_variables(fitted: bridge.Bridge, sites: int) -> xr.Dataset:
    """Everything :func:`bridge_from` needs, and nothing that can be derived from it; the state is fields of sites."""
    compression, dictionaries = fitted.compression, fitted.dictionaries
    last = fitted.d - fitted.components.size
    around = [members[members < sites] for members in fitted.neighbourhoods[:sites]]
    of_cells = fitted.dictionary_of.astype(np.int32).reshape(-1, sites)
    one_target = len(of_cells) == 1
    variables: dict[str, Any] = {
        "dictionary_of_site": ("site", of_cells[0]) if one_target else (("target", "site"), of_cells),
        "localization": (
            ("site", "localized"),
            _ragged(around, -1).astype(np.int32),
            {"long_name": "localization set of a site, -1 where there are no more", "units": "1"},
        ),
        "coordinates": (
            ("dictionary", "sample", "coordinate"),
            _ragged([one.coordinates.T for one in dictionaries], np.nan).transpose(0, 2, 1),
        ),
        "coordinate_scale": (("dictionary", "coordinate"), _ragged([d.coordinate_scale for d in dictionaries], np.nan)),
        "sinkhorn_log_weight": (("dictionary", "sample"), np.stack([one.log_v for one in dictionaries])),
        "sinkhorn_residual": ("dictionary", fitted.residual),
        "sinkhorn_iterations": ("dictionary", fitted.iterations.astype(np.int32)),
        "scale": ("component", fitted.scale),
    }
    if not any((members >= last).any() for members in fitted.neighbourhoods):  # else the value is a coordinate
        variables["value"] = (("dictionary", "sample"), np.stack([one.values[:, 0] for one in dictionaries]))
    if compression is not None:
        spreads = [one.spread[:, 0] for one in dictionaries if one.spread is not None]
        variables["value_spread"] = (("dictionary", "sample"), np.stack(spreads))
    dataset = xr.Dataset(variables, attrs={"epsilon": fitted.epsilon})
    if compression is not None:
        dataset = dataset.assign_attrs({f"compression_{k}": v for k, v in compression._asdict().items()})
    return dataset


def bridge_from(dataset: xr.Dataset, seen: int, size: int, targets: int, chain: bool) -> bridge.Bridge:
    """Inverse of :func:`bridge_variables` for so many fields that are seen, of some size, and residuals after them.

    Raises ``ValueError`` when something is missing or does not fit the rest.
    """
    parts, state, cells = Parts(dataset), (seen + targets) * size, targets * size
    around = parts.indices("localization", "site", "localized", low=-1, high=size - 1)
    checked = around_sites([row[row >= 0] for row in around], (size,), 0, False)
    sets = bridge.in_every_field(seen + targets * chain, checked)[:size] * targets
    dims = ("site",) if targets == 1 else ("target", "site")
    of_cell = parts.indices("dictionary_of_site", *dims, low=0, high=parts.size("dictionary") - 1).ravel()
    if of_cell.size != cells:
        checks.reject("dictionary_of_site.size", of_cell.size, f"{cells}, one for each target at each site")
    components = np.arange(state - cells, state)
    pools = checked_pools(of_cell.tolist(), sets)
    scale = parts.array("scale", "component", positive=True)
    if scale.size != state or not np.array_equal(pools, of_cell):
        checks.reject(
            "scale.size, dictionary_of_site", (scale.size, of_cell.tolist()), f"{state}, and every dictionary"
        )
    compressed = "compression_centres" in parts
    dictionaries = tuple(
        _dictionary(Parts(dataset.isel(dictionary=i)), sets[cell], components[cell], scale, compressed)
        for i, cell in enumerate(np.unique(of_cell, return_index=True)[1])
    )
    compression = None
    if compressed:
        numbers = (parts.integer(f"compression_{name}", 1, 2**53) for name in ("centres", "samples"))
        lost = (parts.number(f"compression_{name}_error") for name in ("mean", "variance"))
        compression = bridge.Compression(*numbers, *lost)
    kernel = Kernel(epsilon=parts.number("epsilon", above=0.0))
    return bridge.Bridge(state, kernel, scale, components, sets, dictionaries, of_cell, compression=compression)


def _grid_coordinates(dataset: xr.Dataset, dim: tuple[str, ...], shape: tuple[int, ...]) -> xr.Dataset:
    """Return the coordinates of the grid that a file holds."""
    sizes, found = {f"grid_{d}": (d, size) for d, size in zip(dim, shape, strict=True)}, {}
    for name, variable in dataset.data_vars.items():
        if str(name).startswith(_COORDINATE):
            values = variable.values.astype(str) if variable.dtype.kind == "O" else variable.values
            if [sizes.get(str(d), ("", -1))[1] for d in variable.dims] != list(values.shape) or (
                values.dtype.kind not in "iufU"
            ):
                checks.reject(str(name), variable.dims, f"numbers or texts on the grid {shape}")
            dims = [sizes[str(d)][0] for d in variable.dims]
            found[str(name).removeprefix(_COORDINATE)] = (dims, values, variable.attrs)
    return xr.Dataset(coords=found)


def _dictionary(one: Parts, members: Index, alpha: int, scale: F64, compressed: bool) -> WeightedSamples:
    """Return a dictionary, whose coordinates are the first of the stored ones."""
    size = members.size
    coordinates = one.array("coordinates", "sample", "coordinate", gaps=True)[:, :size]
    coordinate_scale = one.array("coordinate_scale", "coordinate", gaps=True, positive=True)[:size]
    if (
        coordinate_scale.size < size
        or np.isnan(coordinate_scale).any()
        or not (np.ptp(coordinates, axis=0) > 0.0).all()
    ):
        checks.reject("coordinates", coordinates.shape, f"{size} of two distinct finite values or more, with a scale")
    log_v = one.array("sinkhorn_log_weight", "sample")
    if np.abs(log_v).max() > _LARGEST_LOG:
        checks.reject("sinkhorn_log_weight", float(np.abs(log_v).max()), f"within +-{_LARGEST_LOG:g}")
    # A value that is no variable of its own is a coordinate: the component stands in its own neighbourhood.
    values = one.array("value", "sample")[:, None] if "value" in one else coordinates[:, members == alpha]
    if not np.ptp(values) > 0.0:
        checks.reject("value", float(values[0, 0]), "two distinct values or more")
    spread = one.array("value_spread", "sample")[:, None] if compressed else None
    if spread is not None and (spread < 0.0).any():
        checks.reject("value_spread", float(spread.min()), ">= 0")
    return WeightedSamples(
        coordinates=coordinates,
        values=values,
        coordinate_scale=coordinate_scale,
        value_scale=scale[alpha : alpha + 1],
        log_v=log_v,
        residual=one.array("sinkhorn_residual", gaps=True).item(),
        iterations=int(one.array("sinkhorn_iterations").item()),
        spread=spread,
    )


def _ragged(arrays: Iterable[npt.NDArray[np.generic]], fill: float) -> npt.NDArray[np.generic]:
    """Stack arrays whose first axes differ in length, filled up."""
    arrays = list(arrays)
    longest = max(len(array) for array in arrays)
    out = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
