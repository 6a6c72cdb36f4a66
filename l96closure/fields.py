"""What the numbers of a closure mean: names and units of its fields, and the grid they live on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks

__all__ = ["Fields"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of coordinates that went through single precision


@dataclass(frozen=True, eq=False)
class Fields:
    """Names, units and grid of predictors and target; made by :meth:`of`.

    Attributes
    ----------
    predictors : names of the variables that the target is drawn given, (P,).
    target : name of the variable that is drawn.
    dim : dimensions of the grid; its K sites are counted in C order.
    shape : sites along each of them.
    units : of the predictors and then of the target, (P + 1,); "1" where a variable had none, as CF reads it.
    coordinates : those of the training data along ``dim``, numbers or texts, as a Dataset without data; may be empty.
    """

    predictors: tuple[str, ...]
    target: str
    dim: tuple[str, ...]
    shape: tuple[int, ...]
    units: tuple[str, ...]
    coordinates: xr.Dataset = field(default_factory=xr.Dataset)

    @classmethod
    def of(cls, truth: xr.Dataset, predictors: str | Sequence[str], target: str, dim: str | Sequence[str]) -> Fields:
        """Describe the variables of a training Dataset.

        Parameters
        ----------
        truth : Dataset in which each variable has the dims (time, *``dim``).
        predictors : one name or several.
        target : name of the target, which is no predictor.
        dim : dimension of the sites; or several, which are stacked.

        Raises
        ------
        ValueError
            A variable is missing, named twice or has other dims.
        """
        checks.xarray_dataset("truth", truth)
        predictors, dim = _several("predictors", predictors), _several("dim", dim)
        if not isinstance(target, str):
            checks.reject("target", target, "one name; several targets are not supported yet, fit a closure for each")
        if target in predictors:
            checks.reject("target", target, f"none of the predictors {', '.join(predictors)}")
        wanted = ("time", *dim)
        for name in (*predictors, target):
            if name not in truth:
                checks.reject("truth", sorted(map(str, truth.data_vars)), f"a Dataset with the variable {name}")
            if truth[name].dims != wanted:
                checks.reject(f"truth.{name}.dims", truth[name].dims, repr(wanted))
        units = tuple(_units(truth[name]) for name in (*predictors, target))
        return cls(predictors, target, dim, tuple(truth.sizes[name] for name in dim), units, _coordinates(truth, dim))

    @property
    def sites(self) -> int:
        """Number of sites of the grid, K."""
        return math.prod(self.shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one member's predictors: (K,) for one predictor, (P, K) for several."""
        return (self.sites,) if len(self.predictors) == 1 else (len(self.predictors), self.sites)

    def inputs(self, dataset: xr.Dataset) -> F64:
        """Take the predictors out of a Dataset, as a closure wants them.

        Parameters
        ----------
        dataset : has the predictors, each with the dims of the grid and perhaps ``member``, in any order. Where it has
            coordinates of the grid, its sites are put into the order of the training data.

        Returns
        -------
        (member, K) for one predictor, (member, P, K) for several.

        Raises
        ------
        ValueError
            A predictor is missing, is not finite or not decoded, or has other dims, sizes, units or coordinates than in
            the training data.
        """
        dataset = self._in_order(checks.xarray_dataset("dataset", dataset))
        arrays = []
        for name, units in zip(self.predictors, self.units[:-1], strict=True):
            if name not in dataset:
                checks.reject("dataset", sorted(map(str, dataset.data_vars)), f"a Dataset with the variable {name}")
            variable = dataset[name]
            if set(variable.dims) - {"member"} != set(self.dim):
                checks.reject(f"dataset.{name}.dims", variable.dims, repr(("member", *self.dim)))
            if _units(variable) != units:
                checks.reject(f"dataset.{name}.units", _units(variable), f"{units!r}, the units of the training data")
            if "member" not in variable.dims:
                variable = variable.expand_dims("member")
            variable = variable.transpose("member", *self.dim)
            if variable.shape[1:] != self.shape:
                checks.reject(f"dataset.{name}.shape", variable.shape, f"(member, {', '.join(map(str, self.shape))})")
            shown = f"dataset.{name}"
            array = checks.decoded(shown, variable, checks.real_array(shown, variable))
            array = checks.finite_array(shown, array, variable.ndim)
            arrays.append(array.reshape(len(array), -1))
        return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)

    def output(self, psi: F64) -> xr.DataArray:
        """Give a closure's psi (member, K) its name, its dims (member, *``dim``), its coordinates and its units."""
        shape, dims = (len(psi), *self.shape), ("member", *self.dim)
        attrs = {"units": self.units[-1]}
        return xr.DataArray(psi.reshape(shape), self.coordinates.coords, dims, self.target, attrs)

    def _in_order(self, dataset: xr.Dataset) -> xr.Dataset:
        """Return a Dataset whose sites are those of the training data, in their order.

        Raises ``ValueError`` when a coordinate of the grid has other values. Coordinates that only one of the two has,
        and dims of another size, are not looked at.
        """
        known = {
            name: ours
            for name, ours in self.coordinates.variables.items()
            if name in dataset.coords
            and set(dataset[name].dims) == set(ours.dims)
            and all(dataset.sizes[d] == self.coordinates.sizes[d] for d in ours.dims)
        }
        for dim in self.dim:
            names = [name for name, ours in known.items() if ours.dims == (dim,)]
            order = _order([known[name].values for name in names], [dataset[name].values for name in names])
            dataset = dataset if order is None else dataset.isel({dim: order})
        for name, ours in known.items():
            theirs = dataset[name].transpose(*ours.dims).values
            if (differing := np.argwhere(~_same(ours.values, theirs))).size:
                first = tuple(differing[0])
                where, wanted = ", ".join(map(str, first)), ours.values[first]
                checks.reject(
                    f"dataset.{name}[{where}]", theirs[first].item(), f"{wanted}, the coordinate in the training data"
                )
        return dataset


def _coordinates(truth: xr.Dataset, dim: tuple[str, ...]) -> xr.Dataset:
    """Return the coordinates along the dims of a grid that are numbers or texts (no dates, no tuples)."""
    found = {}
    for name, coordinate in truth.coords.items():
        values = np.asarray(coordinate.values)
        if values.dtype == object and all(isinstance(value, str) for value in values.flat):
            values = values.astype(str)
        if coordinate.ndim and set(coordinate.dims) <= set(dim) and values.dtype.kind in "iufU":
            found[name] = (coordinate.dims, values, coordinate.attrs)
    return xr.Dataset(coords=found)


def _order(ours: Sequence[npt.NDArray[Any]], theirs: Sequence[npt.NDArray[Any]]) -> Index | None:
    """Return where the sites of our order are in theirs, by one coordinate or several; None where order is no help."""
    if not ours or all(_same(a, b).all() for a, b in zip(ours, theirs, strict=True)):
        return None
    first, second = np.lexsort(ours), np.lexsort(theirs)
    if not all(_same(a[first], b[second]).all() for a, b in zip(ours, theirs, strict=True)):
        return None
    order = np.empty_like(first)
    order[first] = second
    return order


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell where coordinates are the same: texts, or numbers but for the rounding of single precision."""
    if a.dtype.kind not in "iuf" or b.dtype.kind not in "iuf":
        return np.asarray(a == b) & np.ones(a.shape, bool)
    steps = np.diff(np.unique(a))
    tolerance = min(_ROUNDING * np.nanmax(np.abs(a)), 0.25 * steps.min() if steps.size else np.inf)
    return (np.abs(a - b) <= tolerance) | (np.isnan(a) & np.isnan(b))  # type: ignore[no-any-return]


def _several(name: str, given: str | Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(one, str) for one in names) or len(set(names)) != len(names):
        checks.reject(name, given, "a name or several different names")
    return names


def _units(variable: xr.DataArray) -> str:
    return str(variable.attrs.get("units", "1"))
