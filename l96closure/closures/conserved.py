"""A weighted sum over targets and sites, such as mass or energy, that draws keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.fields import Fields

_ZERO = 1e-6  # largest sum in the data that is none, in parts of the sum of sizes, single precision included


class Conserved(NamedTuple):
    """A sum over all cells, weight times psi, that is zero, or that of the trend alone.

    Attributes
    ----------
    weight : of each cell, a target at a site (C,).
    share : of what the sum is off, which each cell takes (C,); weight times share sum to 1.
    zero : whether the sum is zero; else it is that of the trend.
    """

    weight: F64
    share: F64
    zero: bool

    @classmethod
    def of(cls, fields: Fields, target: Sequence[F64], variance: F64) -> Self | None:
        """Take it from the weights of fields, if they have some, and from data.

        What is off is taken from the cells as the mean of independent normal residuals, given their sum, has it: in
        proportion to weight times variance.

        Parameters
        ----------
        fields : with ``conserve``.
        target : of each segment (time, ..., K).
        variance : of the residual in each cell (C,).

        Returns
        -------
        Conserved; None where ``conserve`` is no set of weights.

        Raises
        ------
        ValueError
            A weight is of no target, is not finite, has other dims or sizes, or all of them are zero.
        """
        if not isinstance(fields.conserve, Mapping):
            return None
        if not set(fields.conserve) <= set(fields.targets):
            allowed = f"weights of some of the targets {', '.join(fields.targets)}"
            checks.reject("conserve", sorted(map(str, fields.conserve)), allowed)
        weight = np.concatenate([_on_sites(fields, name, fields.conserve.get(name, 0.0)) for name in fields.targets])
        if not weight.any():
            checks.reject("conserve", "zero everywhere", "a weight other than zero somewhere")
        parts = [weight * one.reshape(len(one), -1) for one in target]
        zero = all((np.abs(part.sum(axis=1)) <= _ZERO * np.abs(part).sum(axis=1)).all() for part in parts)
        return cls(weight, _shared(weight, weight * variance), zero)

    def __call__(self, psi: F64, trend: F64) -> F64:
        """Return psi (n, C) with the sum that it should have, that of ``trend`` (n, C) perhaps."""
        off = (self.weight * (psi if self.zero else psi - trend)).sum(axis=1, keepdims=True)
        return psi - off * self.share

    def on(self, weight: F64, share: F64) -> Conserved:
        """Return the same of other cells, whose weights and shares are these, but for a factor of the shares."""
        return Conserved(weight, _shared(weight, share), self.zero)


def _shared(weight: F64, share: F64) -> F64:
    return np.asarray(share / (weight * share).sum())


def _on_sites(fields: Fields, name: str, given: Any) -> F64:
    """Return the weights of a target at the sites that there are (K,)."""
    shown = f"conserve[{name!r}]"
    weight = given if isinstance(given, xr.DataArray) else xr.DataArray(checks.number(shown, given))
    sizes = dict(zip(fields.dim, fields.shape, strict=True))
    if not set(weight.sizes.items()) <= set(sizes.items()):
        checks.reject(f"{shown}.sizes", dict(weight.sizes), f"some of {sizes}")
    ordered = fields.in_order(weight.reset_coords(drop=True).to_dataset(name="weight"), shown)["weight"]
    on_grid = ordered.drop_vars(ordered.coords).expand_dims(
        {dim: sizes[dim] for dim in sizes if dim not in weight.dims}
    )
    return checks.finite_array(shown, fields.taken(on_grid.transpose(*fields.dim).to_numpy().reshape(-1)), 1)
