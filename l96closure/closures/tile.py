"""A closure on a tile of its grid, for processes that share a grid: some sites, and those around that these see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.closures import stepping
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.inputs import numbers
from l96closure.closures.state import State, following

__all__ = ["Tile"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_WORDS = 4  # sites that share an evaluation of the noise, and stand together here too


@dataclass(frozen=True, eq=False)
class Tile:
    """Some sites of the grid of a closure, which step given their predictors and those of the sites that they see.

    Made by :meth:`l96closure.closures.composed.Composed.tile`. The noise of a site is numbered on the whole grid, so
    that tiles draw what the whole would, bit by bit.

    Attributes
    ----------
    closure : of the whole grid.
    sites : numbers of the sites that psi is drawn at (n,).
    needs : numbers of the sites whose predictors a step is given (N,), ascending: ``sites`` and a halo they see.
    """

    closure: Any
    sites: Index
    needs: Index = field(init=False)
    _local: Index = field(init=False, repr=False)  # sites in memory: in fours, as the noise is drawn
    _tables: Tables = field(init=False, repr=False)

    def __post_init__(self) -> None:
        K, tables = self.closure.fields.sites, _of_one_site(self.closure)
        given = np.asarray(self.sites)
        if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu" or np.unique(given).size < given.size:
            checks.reject("sites", self.sites, "different numbers of sites")
        if given.min() < 0 or given.max() >= K:
            checks.reject("sites", (int(given.min()), int(given.max())), f"from 0 to {K - 1}")
        sites = given.astype(np.intp)
        needs = np.unique(tables.neighbour[sites])
        fours = np.unique(needs // _WORDS)
        local = (_WORDS * fours[:, None] + np.arange(_WORDS)).ravel()
        local = local[local < K]
        place = np.zeros(K, np.intp)
        place[local] = np.arange(local.size)
        seen = np.repeat(np.arange(local.size)[:, None], tables.neighbour.shape[1], axis=1)  # of others, themselves
        seen[place[sites]] = place[tables.neighbour[sites]]
        tables = tables._replace(
            neighbour=seen,
            shift=np.empty(0, np.intp),
            seen_by=np.bincount(seen[place[sites]].ravel(), minlength=local.size),
            dictionary=tables.dictionary[local],
        )
        for name, value in {"sites": sites, "needs": needs, "_local": local, "_tables": tables}.items():
            object.__setattr__(self, name, value)

    def part(self, state: State) -> State:
        """Return what a tile carries of the state of the whole grid.

        Parameters
        ----------
        state : of the closure of the whole grid, from its ``init`` or ``step``.

        Returns
        -------
        State, to be handed to :meth:`step`.
        """
        memory, history = (one[..., self._local] if one.ndim > 2 else one for one in (state.memory, state.history))
        return state._replace(memory=memory, history=history)

    def step(self, z: npt.ArrayLike, state: State) -> tuple[F64, State]:
        """Draw psi at the sites of the tile.

        Parameters
        ----------
        z : predictors at ``needs`` (member, N), or (member, P, N) for several.
        state : from :meth:`part` or the previous step.

        Returns
        -------
        psi at ``sites`` (member, n), and the new state, whose ``outside`` counts what the sites of the tile see.

        Raises
        ------
        ValueError
            ``z`` is not of that shape, or ``state`` does not fit it.
        """
        predictors, tables, n = len(self.closure.fields.predictors), self._tables, self._local.size
        values = numbers("z", z)
        core = (self.needs.size,) if predictors == 1 else (predictors, self.needs.size)
        if values.shape[1:] != core:
            checks.reject(
                "z.shape", values.shape, f"(member, {', '.join(map(str, core))}), at the sites that a tile needs"
            )
        H = int(tables.lag[-1])
        remembers = (0,) if self.closure.law is None else (tables.order, n)
        state = following(state, len(values), *remembers, history=(H, predictors, n) if H else (0,))
        now = np.zeros((len(values), predictors, n))
        now[..., np.searchsorted(self._local, self.needs)] = values.reshape(len(values), predictors, -1)
        history = state.history if H else np.empty((len(values), 0, predictors, n))
        fours = (self._local[::_WORDS] // _WORDS).astype(np.uint64)
        psi, state = stepping.take(tables, now, state, history, fours)
        return psi[:, np.searchsorted(self._local, self.sites)], state


def _of_one_site(closure: Any) -> Tables:
    """Return the tables of a closure whose step at a site is a matter of the site and those it sees.

    Raises ``ValueError`` where it is not.
    """
    tables: Tables | None = closure.compiled
    if tables is None or closure.fields.mask is not None:
        checks.reject("closure", closure.name, "of one target, one law and no mask, with tables of a step, for a tile")
    if tables.filter.size:
        checks.reject("trend", "filtered", "Trend(filtered=False), for a tile: the filter goes around the ring")
    if tables.conserve:
        checks.reject("conserve", True, "False, for a tile: the mean is that of all sites")
    if tables.factor.size or tables.fresh_offset.any() or tables.earlier_offset.any():
        checks.reject("noise", "correlated in space", "Noise(covariance=None), for a tile: a pattern is of all sites")
    return tables
