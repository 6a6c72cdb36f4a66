"""The fitted bridge of a closure, its fields and its trend, as the variables of a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge
from l96closure.bridge.conditional import assemble
from l96closure.bridge.dictionary import Dictionary, Kernel
from l96closure.closures.memory import Memory
from l96closure.fields import Fields
from l96closure.training import AdditiveTrend, PolynomialTrend

__all__ = ["Learned", "from_dataset", "to_dataset"]

F64 = npt.NDArray[np.float64]


class Learned(NamedTuple):
    """What a closure has learned: names and grid of its fields, the trend, the bridge of the residual, its memory."""

    fields: Fields
    trend: PolynomialTrend | AdditiveTrend | None
    fitted: bridge.Bridge
    memory: Memory | None


def to_dataset(learned: Learned) -> xr.Dataset:
    """Everything :func:`from_dataset` needs, and nothing that can be derived from it."""
    fields, trend, fitted, memory = learned
    compression = fitted.compression
    dictionaries = fitted.dictionaries
    sees_target = any((members >= fitted.d - fields.sites).any() for members in fitted.neighbourhoods)
    seen = len(fields.predictors) + sees_target
    sites = [members[: members.size // seen] for members in fitted.neighbourhoods]
    if trend is None:
        coefficients, bounds = np.empty((0, 0)), np.empty((0, 2))
    else:
        parts = trend.parts if isinstance(trend, AdditiveTrend) else (trend,)
        coefficients = np.stack([part.coefficients for part in parts])
        bounds = np.array([(part.lower, part.upper) for part in parts])
    variables = {
        "grid_size": ("dim", np.array(fields.shape, np.int32)),
        "neighbour": (("site", "place"), _ragged(sites, -1).astype(np.int32)),
        "dictionary_of_site": ("site", fitted.dictionary_of.astype(np.int32)),
        "coordinates": (
            ("dictionary", "sample", "coordinate"),
            _ragged([one.coordinates.T for one in dictionaries], np.nan).transpose(0, 2, 1),
        ),
        "coordinate_scale": (("dictionary", "coordinate"), _ragged([d.coordinate_scale for d in dictionaries], np.nan)),
        "sinkhorn_log_weight": (("dictionary", "sample"), np.stack([one.log_v for one in dictionaries])),
        "sinkhorn_residual": ("dictionary", fitted.residual),
        "sinkhorn_iterations": ("dictionary", fitted.iterations.astype(np.int32)),
        "scale": ("component", fitted.scale),
        "trend": (("predictor", "power"), coefficients),
        "trend_range": (("predictor", "bound"), bounds),
    }
    if not sees_target:  # else the value is one of the coordinates
        variables["value"] = (("dictionary", "sample"), np.stack([one.values[:, 0] for one in dictionaries]))
    if memory is not None:
        for name in ("damping", "frequency", "weight"):
            variables[f"memory_{name}"] = ("oscillator", getattr(memory, name))
    if compression is not None:
        spreads = [one.spread[:, 0] for one in dictionaries if one.spread is not None]
        variables["value_spread"] = (("dictionary", "sample"), np.stack(spreads))
    dataset = xr.Dataset(
        variables,
        coords={
            "field": list((*fields.predictors, fields.target)),
            "field_units": ("field", list(fields.units)),
            "dim": list(fields.dim),
        },
        attrs={
            "epsilon": fitted.epsilon,
            **({} if memory is None else {"memory_step": memory.step}),
            **({} if compression is None else {f"compression_{k}": v for k, v in compression._asdict().items()}),
        },
    )
    if set(fields.units) != {"1"}:  # one array holds several fields: its unit is not one
        for name in ("coordinates", "coordinate_scale", "scale", "trend", "trend_range", "value", "value_spread"):
            if name in dataset:
                dataset[name].attrs |= {"units": None, "comment": "in the units of each field, see field_units"}
    return dataset


def from_dataset(dataset: xr.Dataset) -> Learned:
    """Inverse of :func:`to_dataset`; raises ``KeyError`` when something is missing."""
    a = dataset.attrs
    names, units = ([str(one) for one in dataset[name].values] for name in ("field", "field_units"))
    dim, shape = dataset["dim"].values.tolist(), dataset["grid_size"].values.tolist()
    fields = Fields(tuple(names[:-1]), names[-1], tuple(dim), tuple(shape), tuple(units))
    sites = [row[row >= 0] for row in dataset["neighbour"].values.astype(np.intp)]
    of_site = dataset["dictionary_of_site"].values.astype(np.intp)
    size, state = fields.sites, fields.sites * len(fields.units)
    components = np.arange(state - size, state)
    seen = len(fields.predictors) if "value" in dataset else len(fields.units)
    sets = bridge.in_every_field(seen, sites)[:size]
    scale = dataset["scale"].values
    compressed = "compression_centres" in a
    dictionaries = tuple(
        _dictionary(dataset.isel(dictionary=i), sets[site], components[site], scale, compressed)
        for i, site in enumerate(np.unique(of_site, return_index=True)[1])
    )
    fitted = assemble(state, Kernel(epsilon=float(a["epsilon"])), scale, components, sets, dictionaries, of_site)
    if compressed:
        lost = (float(a["compression_mean_error"]), float(a["compression_variance_error"]))
        compression = bridge.Compression(int(a["compression_centres"]), int(a["compression_samples"]), *lost)
        fitted = replace(fitted, compression=compression)
    memory = None
    if "memory_step" in a:
        damping, frequency, weight = (dataset[f"memory_{name}"].values for name in ("damping", "frequency", "weight"))
        memory = Memory(damping, frequency, weight, float(a["memory_step"]))
    return Learned(fields, _trend(dataset), fitted, memory)


def _dictionary(one: xr.Dataset, members: npt.NDArray[np.intp], alpha: int, scale: F64, compressed: bool) -> Dictionary:
    coordinates = one["coordinates"].values[:, : members.size]
    # A value that is no variable of its own is a coordinate: the component stands in its own neighbourhood.
    values = one["value"].values[:, None] if "value" in one else coordinates[:, members == alpha]
    return Dictionary(
        coordinates=coordinates,
        values=values,
        coordinate_scale=one["coordinate_scale"].values[: members.size],
        value_scale=scale[alpha : alpha + 1],
        log_v=one["sinkhorn_log_weight"].values,
        residual=float(one["sinkhorn_residual"]),
        iterations=int(one["sinkhorn_iterations"]),
        spread=one["value_spread"].values[:, None] if compressed else None,
    )


def _trend(dataset: xr.Dataset) -> PolynomialTrend | AdditiveTrend | None:
    coefficients, bounds = np.atleast_2d(dataset["trend"].values), np.atleast_2d(dataset["trend_range"].values)
    if coefficients.size == 0:
        return None
    parts = tuple(PolynomialTrend(own, *between) for own, between in zip(coefficients, bounds, strict=True))
    return parts[0] if len(parts) == 1 else AdditiveTrend(parts)


def _ragged(arrays: Iterable[npt.NDArray[np.generic]], fill: float) -> npt.NDArray[np.generic]:
    """Stack arrays whose first axes differ in length, filled up."""
    arrays = list(arrays)
    longest = max(len(array) for array in arrays)
    out = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
