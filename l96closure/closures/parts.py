"""The parts of a closure in a Dataset and its file, each checked: a file from elsewhere may hold anything."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks, store
from l96closure.arrays import F64, Index
from l96closure.subgrid import DEFINITIONS

_LARGEST = 1e15  # of numbers that single precision can square


@dataclass(frozen=True, eq=False)
class Parts:
    """Variables and attributes of a Dataset; those that are missing or not as asked for raise ``ValueError``.

    Attributes
    ----------
    dataset : what the file holds.
    """

    dataset: xr.Dataset

    def array(self, name: str, *dims: str, gaps: bool = False, positive: bool = False) -> F64:
        """Return a variable of these dims as C-ordered float64.

        Parameters
        ----------
        name, dims : the variable and its dims, in order.
        gaps : NaN stands where there is nothing; else every value is finite.
        positive : every value, where there is one, is > 0.
        """
        variable = self.dataset.variables.get(name)
        if variable is None or variable.dims != dims or variable.dtype.kind not in "fiu":
            found = None if variable is None else f"{variable.dtype} {variable.dims}"
            checks.reject(name, found, f"numbers of the dims ({', '.join(dims)})")
        values = np.ascontiguousarray(variable.values, np.float64)
        known = values[~np.isnan(values)] if gaps else values
        if not (np.abs(known) < _LARGEST).all():
            checks.reject(name, float(known[~(np.abs(known) < _LARGEST)][0]), "finite")
        if positive and not (known > 0.0).all():
            checks.reject(name, float(known[~(known > 0.0)][0]), "> 0")
        return values

    def indices(self, name: str, *dims: str, low: int, high: int) -> Index:
        """Return a variable of these dims whose values are integers from ``low`` to ``high``."""
        values = self.array(name, *dims)
        if not ((values == np.round(values)) & (values >= low) & (values <= high)).all():
            checks.reject(name, values.tolist(), f"integers from {low} to {high}")
        return values.astype(np.intp)

    def neighbours(self, sites: int) -> Index:
        """Return the sites that each site sees (K, W), the site itself first."""
        found = self.indices("neighbour", "site", "place", low=0, high=sites - 1)
        if found.shape[0] != sites or found.shape[1] == 0 or (found[:, 0] != np.arange(sites)).any():
            checks.reject("neighbour", found.shape, f"sets of {sites} sites, each with the site itself first")
        return found

    def named(self, prefix: str) -> dict[str, xr.Variable]:
        """Return the variables whose names begin so, by the rest of their names."""
        every = ((str(name), variable) for name, variable in self.dataset.variables.items())
        return {name.removeprefix(prefix): variable for name, variable in every if name.startswith(prefix)}

    def texts(self, name: str, dim: str) -> tuple[str, ...]:
        """Return a variable of this dim whose values are texts."""
        variable = self.dataset.variables.get(name)
        if variable is None or variable.dims != (dim,) or not all(isinstance(one, str) for one in variable.values.flat):
            checks.reject(name, None if variable is None else variable.dims, f"texts of the dim {dim}")
        return tuple(str(one) for one in variable.values)

    def integer(self, name: str, minimum: int, below: float) -> int:
        """Return an attribute that is an integer of a range."""
        return checks.integer(name, self.dataset.attrs.get(name), minimum, below)

    def number(self, name: str, above: float = -math.inf) -> float:
        """Return an attribute that is a finite number above another."""
        return checks.number(name, self.dataset.attrs.get(name), above=above)

    def text(self, name: str, allowed: Collection[str]) -> str:
        """Return an attribute that is one of several texts."""
        return checks.one_of(name, self.dataset.attrs.get(name), allowed)

    def __contains__(self, name: str) -> bool:
        return name in self.dataset.attrs or name in self.dataset.variables

    def size(self, dim: str) -> int:
        """Return the size of a dim, 0 where there is none."""
        return int(self.dataset.sizes.get(dim, 0))

    def origin(self) -> dict[str, Any]:
        """Return definition of psi and time step of the training data of a closure, None where it is not known."""
        return {
            "subgrid": self.text("subgrid", DEFINITIONS) if "subgrid" in self else None,
            "dt": self.number("dt", above=0.0) if "dt" in self else None,
        }


def told_of(closure: Any) -> dict[str, Any]:
    """Return the name of a closure and what it keeps of its training data, as far as that is known, as attributes."""
    known = {"closure": closure.name, "subgrid": closure.subgrid, "dt": closure.dt}
    return {name: value for name, value in known.items() if value is not None}


def named(dims: Any, values: Any, long_name: str) -> tuple[Any, Any, dict[str, str]]:
    """Return a variable of a file, of no unit."""
    return dims, values, {"long_name": long_name, "units": "1"}


def save(closure: Any, path: str | os.PathLike[str]) -> None:
    """Write a closure to a netCDF file, which :func:`l96closure.closures.load` reads.

    Parameters
    ----------
    closure : a closure of this package.
    path : of the file; one that is there is replaced.

    Raises
    ------
    ValueError
        The folder does not exist.
    """
    store.write(closure.to_dataset(), path, kind="closure", title=closure.title, history="l96closure.closures")
