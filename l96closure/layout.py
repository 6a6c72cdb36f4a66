"""Names and dimensions of the state of a coarse model, and of the subgrid tendency it is advanced with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.fields import Fields

__all__ = ["Layout"]

F64 = npt.NDArray[np.float64]


class Layout(NamedTuple):
    """What the arrays of a coarse run are.

    The state is z (member, K) with a psi of the same shape; or, of a closure with several predictors or targets, those
    predictors (member, P, K), of which the first Q have the targets (member, Q, K) as subgrid tendencies. Outside of
    the mask of a closure the state is the model's own business: it may be NaN, and psi adds nothing to it.

    Attributes
    ----------
    fields : names and grid of a closure with several predictors or targets, or a mask; None is z and psi on ``k``.
    sites : K.
    """

    fields: Fields | None
    sites: int

    @classmethod
    def of(cls, closure: Any, sites: int | None = None) -> Layout:
        """Return the layout that a closure asks for.

        Parameters
        ----------
        closure : obeys :class:`l96closure.closures.Closure`; ours has ``fields``.
        sites : number of sites, where the closure does not know it.

        Returns
        -------
        Layout

        Raises
        ------
        ValueError
            There are more targets than predictors.
        """
        fields = getattr(closure, "fields", None)
        if not isinstance(fields, Fields) or (len(fields.names) == 2 and fields.mask is None):
            return cls(None, sites or 0)
        if len(fields.targets) > len(fields.predictors):
            allowed = f"at most the {len(fields.predictors)} predictors, whose tendencies they are, in a coarse run"
            checks.reject("targets", fields.targets, allowed)
        return cls(fields, fields.size)

    @property
    def state(self) -> tuple[int, ...]:
        """Shape of a member's state."""
        return (self.sites,) if self.fields is None else self.fields.input_shape

    @property
    def psi(self) -> tuple[int, ...]:
        """Shape of a member's psi."""
        return (self.sites,) if self.fields is None else self.fields.output_shape

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions of the grid."""
        return ("k",) if self.fields is None else tuple(self.fields.dim)

    def added(self, psi: F64) -> F64:
        """Return psi (member, ...) as what is added to the tendency of the state, 0 where there is none."""
        if self.fields is not None:
            psi = self.fields.placed(self.fields.taken(psi), 0.0)
        if psi.shape[1:] == self.state:
            return psi
        out = np.zeros((len(psi), *self.state))
        out[:, : math.prod(self.psi) // self.sites] = psi.reshape(len(psi), -1, self.sites)
        return out

    def known(self, state: F64) -> F64:
        """Return a state (..., K) where it has to be finite."""
        return state if self.fields is None else self.fields.taken(state)

    def finite(self, name: str, value: Any, ndim: int) -> F64:
        """Return states as an array that is finite within the mask; raises ``ValueError`` where it is not."""
        array = checks.real_array(name, value)
        if self.fields is None or array.shape[1:] != self.state:
            return checks.finite_array(name, array, ndim)
        dims = [f"axis {axis}" for axis in range(array.ndim - 1)] + list(self.dims)
        of_grid = xr.DataArray(array.reshape(*array.shape[:-1], *self.fields.shape), dims=dims)
        checks.finite_array(name, self.fields.filled(of_grid), of_grid.ndim)
        return np.ascontiguousarray(array)

    def variables(self, z: F64, psi: F64, *before: str) -> dict[str, Any]:
        """Return states and psi, whose first axes are named, as variables of a Dataset."""
        if self.fields is None:
            return {"z": ((*before, "k"), z), "psi": ((*before, "k"), psi)}
        grid, lead = self.fields.shape, z.shape[: len(before)]
        both = [np.moveaxis(one.reshape(*lead, -1, *grid), len(lead), 0) for one in (z, psi)]
        values = [*both[0], *both[1]]
        units = self.fields.units
        return {
            name: ((*before, *self.dims), one, {"units": unit})
            for name, one, unit in zip(self.fields.names, values, units, strict=True)
        }

    @property
    def coordinates(self) -> Mapping[Any, Any]:
        """Coordinates of the grid."""
        return {"k": np.arange(self.sites)} if self.fields is None else self.fields.coordinates.coords

    def states(self, name: str, dataset: xr.Dataset, *before: str) -> F64:
        """Return the states of a Dataset that an error calls ``name``, whose first axes are to be ``before``.

        Raises
        ------
        ValueError
            A predictor is missing, of other dims or not finite.
        """
        return self._read(name, dataset, ("z",) if self.fields is None else self.fields.predictors, before)

    def tendencies(self, name: str, dataset: xr.Dataset, *before: str) -> F64:
        """Return the psi of a Dataset, as :meth:`states` does."""
        return self._read(name, dataset, ("psi",) if self.fields is None else self.fields.targets, before)

    def _read(self, name: str, dataset: xr.Dataset, names: Sequence[str], before: tuple[str, ...]) -> F64:
        dataset = dataset if self.fields is None else self.fields.in_order(dataset)
        found = [self._variable(name, dataset, one, (*before, *self.dims)) for one in names]
        flat = [one.reshape(*one.shape[: len(before)], -1) for one in found]
        return flat[0] if len(flat) == 1 else np.stack(flat, axis=len(before))

    def _variable(self, name: str, dataset: xr.Dataset, one: str, dims: tuple[str, ...]) -> F64:
        """Return a variable of a Dataset, which has to be finite within the mask."""
        if self.fields is None or self.fields.mask is None or one not in dataset:
            return checks.variable(name, dataset, one, dims)
        checks.variable(name, dataset.assign({one: self.fields.filled(dataset[one])}), one, dims)
        return dataset[one].transpose(*dims).to_numpy().astype(np.float64)
