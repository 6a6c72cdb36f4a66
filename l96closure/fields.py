"""What the numbers of a closure mean: names and units of its fields, and the grid they live on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks

__all__ = ["Fields"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fields:
    """Names, units and grid of predictors and target; made by :meth:`of`.

    Attributes
    ----------
    predictors : names of the variables that the target is drawn given, (P,).
    target : name of the variable that is drawn.
    dim : dimensions of the grid; its K sites are counted in C order.
    shape : sites along each of them.
    units : of the predictors and then of the target, (P + 1,); "1" where a variable had none, as CF reads it.
    """

    predictors: tuple[str, ...]
    target: str
    dim: tuple[str, ...]
    shape: tuple[int, ...]
    units: tuple[str, ...]

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
        return cls(predictors, target, dim, tuple(truth.sizes[name] for name in dim), units)

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
        dataset : has the predictors, each with the dims of the grid and perhaps ``member``, in any order.

        Returns
        -------
        (member, K) for one predictor, (member, P, K) for several.

        Raises
        ------
        ValueError
            A predictor is missing, is not finite, or has other dims, sizes or units than in the training data.
        """
        checks.xarray_dataset("dataset", dataset)
        arrays = []
        for name, units in zip(self.predictors, self.units[:-1], strict=True):
            if name not in dataset:
                checks.reject("dataset", sorted(map(str, dataset.data_vars)), f"a Dataset with the variable {name}")
            field = dataset[name]
            if set(field.dims) - {"member"} != set(self.dim):
                checks.reject(f"dataset.{name}.dims", field.dims, repr(("member", *self.dim)))
            if _units(field) != units:
                checks.reject(f"dataset.{name}.units", _units(field), f"{units!r}, the units of the training data")
            if "member" not in field.dims:
                field = field.expand_dims("member")
            field = field.transpose("member", *self.dim)
            if field.shape[1:] != self.shape:
                checks.reject(f"dataset.{name}.shape", field.shape, f"(member, {', '.join(map(str, self.shape))})")
            array = checks.finite_array(f"dataset.{name}", field.values, field.ndim)
            arrays.append(array.reshape(len(array), -1))
        return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)

    def output(self, psi: F64) -> xr.DataArray:
        """Give a closure's psi (member, K) its name, its dims (member, *``dim``) and its units."""
        shape = (len(psi), *self.shape)
        return xr.DataArray(
            psi.reshape(shape), dims=("member", *self.dim), name=self.target, attrs={"units": self.units[-1]}
        )


def _several(name: str, given: str | Sequence[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(one, str) for one in names) or len(set(names)) != len(names):
        checks.reject(name, given, "a name or several different names")
    return names


def _units(variable: xr.DataArray) -> str:
    return str(variable.attrs.get("units", "1"))
