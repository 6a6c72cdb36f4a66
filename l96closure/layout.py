"""Names and dimensions of the state of a coarse model, and of the subgrid tendency it is advanced with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.fields import Fields

MASK = "mask"
"""Coordinate along a grid that is true where there is a site; of truth values, so that no numbers are taken for it."""


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
        if not isinstance(fields, Fields) or not named(fields):
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

    @property
    def predictors(self) -> tuple[str, ...]:
        """Names of the parts of the state."""
        return ("z",) if self.fields is None else tuple(self.fields.predictors)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the parts of psi."""
        return ("psi",) if self.fields is None else tuple(self.fields.targets)

    @property
    def told(self) -> dict[str, list[str]]:
        """What a run of several variables says of itself in its attributes, for :func:`told_by`."""
        if self.fields is None:
            return {}
        rings = [dim for dim, ring in zip(self.dims, self.fields.rings, strict=True) if ring]
        said = {"predictors": self.predictors, "targets": self.targets, "dim": self.dims, "periodic": rings}
        return {name: list(names) for name, names in said.items() if names}

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
        return self.state_variables(z, *before) | self._named(self.targets, len(self.predictors), psi, before)

    def state_variables(self, z: F64, *before: str, observed: bool = False) -> dict[str, Any]:
        """Return states, whose first axes are named, as variables of a Dataset; of the truth where ``observed``."""
        names = tuple(map(observation_of, self.predictors)) if observed else self.predictors
        return self._named(names, 0, z, before)

    def _named(self, names: Sequence[str], first: int, values: F64, before: tuple[str, ...]) -> dict[str, Any]:
        """Return arrays as the variables ``names``, of which the first is number ``first`` of all that have units."""
        if self.fields is None:
            return {names[0]: ((*before, "k"), values)}
        lead = values.shape[: len(before)]
        parts = np.moveaxis(values.reshape(*lead, -1, *self.fields.shape), len(lead), 0)
        return {
            name: ((*before, *self.dims), part, {"long_name": name, "units": unit})
            for name, part, unit in zip(names, parts, self.fields.units[first : first + len(names)], strict=True)
        }

    @property
    def coordinates(self) -> Mapping[Any, Any]:
        """Coordinates of the grid, its mask among them, for :func:`told_by`."""
        if self.fields is None:
            return {"k": np.arange(self.sites)}
        known = self.fields.coordinates.coords
        mask = self.fields.mask
        return known if mask is None else {**known, MASK: mask.drop_vars(mask.coords)}

    def states(self, name: str, dataset: xr.Dataset, *before: str) -> F64:
        """Return the states of a Dataset that an error calls ``name``, whose first axes are to be ``before``.

        Raises
        ------
        ValueError
            A predictor is missing, of other dims or units, or not finite.
        """
        return self._read(name, dataset, self.predictors, before)

    def tendencies(self, name: str, dataset: xr.Dataset, *before: str) -> F64:
        """Return the psi of a Dataset, as :meth:`states` does."""
        return self._read(name, dataset, self.targets, before)

    def _read(self, name: str, dataset: xr.Dataset, names: Sequence[str], before: tuple[str, ...]) -> F64:
        if self.fields is not None:
            dataset = self.fields.in_order(checks.xarray_dataset(name, dataset))
            self._check_units(name, dataset)
        found = [self._variable(name, dataset, one, (*before, *self.dims)) for one in names]
        flat = [one.reshape(*one.shape[: len(before)], -1) for one in found]
        return flat[0] if len(flat) == 1 else np.stack(flat, axis=len(before))

    def _variable(self, name: str, dataset: xr.Dataset, one: str, dims: tuple[str, ...]) -> F64:
        """Return a variable of a Dataset, which has to be finite within the mask."""
        if self.fields is None or self.fields.mask is None or one not in dataset:
            return checks.variable(name, dataset, one, dims)
        checks.variable(name, dataset.assign({one: self.fields.filled(dataset[one])}), one, dims)
        return dataset[one].transpose(*dims).to_numpy().astype(np.float64)

    def _check_units(self, name: str, dataset: xr.Dataset) -> None:
        """Refuse variables that say they are in other units than those of the training data."""
        assert self.fields is not None
        for one, units in zip(self.fields.names, self.fields.units, strict=False):
            found = dataset[one].attrs.get("units", units) if one in dataset else units
            if found != units:
                checks.reject(f"{name}[{one!r}].units", found, f"{units!r}, the units of the training data")


def named(fields: Fields) -> bool:
    """Return whether runs call variables by their names, several or with a mask, and not z and psi on ``k``."""
    return len(fields.names) > 2 or fields.mask is not None


def mask_of(run: xr.Dataset, dims: Sequence[str]) -> xr.DataArray | None:
    """Return the mask that a run has as its coordinate :data:`MASK` along these dims; None where it has none."""
    if MASK not in run.coords or run[MASK].dtype != bool or set(run[MASK].dims) != set(dims):
        return None
    return run[MASK].reset_coords(drop=True)


def observation_of(predictor: str) -> str:
    """Return the name of the truth that a forecast of a predictor should meet."""
    return "observation" if predictor == "z" else f"{predictor}_observation"


def told_by(
    run: xr.Dataset, dim: str | Sequence[str] | None = None, periodic: bool | Sequence[bool] | None = None
) -> Fields:
    """Return what the variables of a run are: z and psi on ``k``, a ring, unless its attributes name several.

    Parameters
    ----------
    run : made by a coarse model, whose attributes are those of :attr:`Layout.told`; its coordinate :data:`MASK`, if
        there is one, is the mask.
    dim : dimension of the grid, or several; None is those of the run.
    periodic : whether the grid is a ring along these; None is what the run says.

    Returns
    -------
    Fields without units; with shape and coordinates of the grid where the run says what it is of, or has a mask.

    Raises
    ------
    ValueError
        ``dim`` or ``periodic`` is out of its range.
    """
    told: dict[str, Any] = {
        name: [run.attrs[name]] if isinstance(run.attrs[name], str) else list(run.attrs[name])
        for name in ("predictors", "targets", "dim", "periodic")
        if name in run.attrs
    }
    several = "predictors" in told
    dims = Fields(dim=told.get("dim", "k") if dim is None else dim).dim
    if periodic is None:
        periodic = [name in told.get("periodic", ()) for name in dims] if several else True
    if not isinstance(periodic, bool) and (
        len(periodic) != len(dims) or not all(isinstance(one, bool) for one in periodic)
    ):
        checks.reject("periodic", periodic, f"true or false, or one of these for each of {', '.join(dims)}")
    names = {name: told[name] for name in ("predictors", "targets") if several}
    fields = Fields(**names, dim=dims, periodic=periodic, mask=mask_of(run, dims))
    told_of_grid = several or fields.mask is not None
    return fields.on_grid_of(run) if told_of_grid and set(dims) <= set(run.dims) else fields
