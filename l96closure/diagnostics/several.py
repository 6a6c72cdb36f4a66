"""Scores of several variables in one Dataset, and each of them alone: what reads scores of one reads those of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import xarray as xr

DIMENSIONS = {
    "pair": "predictor that z stands for, with the target that psi stands for",
    "predictor": "predictor",
    "target": "target",
}
"""Dimensions along which scores are of several variables."""

_OF = "_of_{}"  # ending of the name of a coordinate that every variable has one of its own of
_UNITS = "units_of_{}"  # attribute of what has other units for each variable


def joined(dim: str, parts: Mapping[str, xr.Dataset], several: bool) -> xr.Dataset:
    """Put scores of several variables together; those of one stay as they are.

    Parameters
    ----------
    dim : one of :data:`DIMENSIONS`.
    parts : scores of each variable by its name, all of the same sizes and attributes.
    several : whether the run has several predictors or targets, of which ``parts`` may be but one; else they have no
        dimension.

    Returns
    -------
    Dataset with the dimension ``dim``. A coordinate that is not the same for all, such as bins, is called
    ``<name>_of_<dim>`` and has that dimension. What differs in units has them in the attribute ``units_of_<dim>``.
    """
    first, *others = parts.values()
    if not several:
        return first
    own = [name for name, values in first.coords.items() if any(not values.equals(one[name]) for one in others)]
    renamed = {name: f"{name}{_OF.format(dim)}" for name in own}
    plain = [
        one.drop_vars(own).assign_coords({new: one[name].variable for name, new in renamed.items()})
        for one in parts.values()
    ]
    together = xr.concat(plain, xr.DataArray(list(parts), dims=dim, name=dim), coords=[*renamed.values()],
                         combine_attrs="override")  # fmt: skip
    for name, variable in together.variables.items():
        units = [one[name].attrs.get("units") for one in plain if name in one.variables]
        if len(set(units)) > 1:
            del variable.attrs["units"]
            variable.attrs[_UNITS.format(dim)] = units
    together[dim].attrs["long_name"] = DIMENSIONS[dim]
    return together


def each(scores: xr.Dataset) -> Iterator[tuple[dict[str, str], xr.Dataset]]:
    """Take scores of several variables apart.

    Parameters
    ----------
    scores : of one variable, or with some of :data:`DIMENSIONS`; variable number i of one of them goes with number i
        of the others.

    Yields
    ------
    What ``z`` and ``psi`` stand for, nothing where there is but one variable, and scores as they are of one alone.
    """
    names = {dim: scores[dim].to_numpy() for dim in DIMENSIONS if dim in scores.dims}
    if not names:
        yield {}, scores
        return
    for number in range(max(map(len, names.values()))):
        one, called = scores, dict[str, str]()
        for dim, known in names.items():
            if number < len(known):
                one = _alone(one, dim, number)
                called["psi" if dim == "target" else "z"] = str(known[number])
            else:
                one = one.drop_dims(dim)
        yield called, one


def _alone(scores: xr.Dataset, dim: str, number: int) -> xr.Dataset:
    """Take out one along a dimension, with coordinates and units of its own."""
    one = scores.isel({dim: number}, drop=True)
    ending = _OF.format(dim)
    own = [str(name) for name in one.coords if str(name).endswith(ending)]
    one = one.assign_coords({name.removesuffix(ending): one[name].variable for name in own}).drop_vars(own)
    for variable in one.variables.values():
        if (units := variable.attrs.pop(_UNITS.format(dim), None)) is not None:
            variable.attrs["units"] = units[number]
    return one
