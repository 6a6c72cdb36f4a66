"""A closure on a tile of its grid, for processes that share a grid: some sites, and those around that these see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.closures import stepping
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.inputs import numbers
from l96closure.closures.state import State, following

_WORDS = 4  # sites that share an evaluation of the noise, and stand together here too
_REMEMBERED = {
    "noise_fresh": np.zeros(1),
    "noise_fresh_offset": np.zeros(1, np.intp),
    "noise_earlier": np.ones((1, 1)),
    "noise_earlier_offset": np.zeros(1, np.intp),
}  # noise that is what it was
_OF_UNIT_SIZE = {
    "range": np.array([[-1.0, 1.0]]),
    "log_variance": np.zeros(1),
    "log_variance_range": np.array([-1.0, 1.0]),
}  # a law that returns the noise


@dataclass(frozen=True, eq=False)
class Tile:
    """Some sites of the grid of a closure, which step given their predictors and those of the sites that they see.

    Made by :meth:`l96closure.closures.composed.Composed.tile`. The noise of a site is numbered on the whole grid, so
    that tiles draw what the whole would, bit by bit. Noise that is correlated in space each tile draws for the whole
    grid, and remembers for all of it, so that tiles need nothing of each other for it.

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
    _noise: Tables | None = field(init=False, repr=False)  # of the whole grid, where it is correlated in space

    def __post_init__(self) -> None:
        K, (tables, whole) = self.closure.fields.sites, _parts(self.closure)
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
        made = {"sites": sites, "needs": needs, "_local": local, "_tables": tables, "_noise": whole}
        for name, value in made.items():
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
        return state._replace(memory=memory if self._noise is None else state.memory, history=history)

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
        H, law = int(tables.lag[-1]), self.closure.law
        remembers = (0,) if law is None else (tables.order, n) if self._noise is None else law.remembers
        state = following(state, len(values), *remembers, history=(H, predictors, n) if H else (0,))
        now = np.zeros((len(values), predictors, n))
        now[..., np.searchsorted(self._local, self.needs)] = values.reshape(len(values), predictors, -1)
        history = state.history if H else np.empty((len(values), 0, predictors, n))
        fours = (self._local[::_WORDS] // _WORDS).astype(np.uint64)
        if self._noise is None:
            psi, state = stepping.take(tables, now, state, history, fours)
        else:
            none = np.zeros((len(values), 1, self.closure.fields.sites))
            xi, drawn = stepping.take(self._noise, none, state, none[:, None][:, :0])
            handed = state._replace(memory=xi[:, None, self._local])
            psi, state = stepping.take(tables, now, handed, history, fours)
            state = state._replace(memory=drawn.memory)
        return psi[:, np.searchsorted(self._local, self.sites)], state


def _parts(closure: Any) -> tuple[Tables, Tables | None]:
    """Return the tables of a closure whose step at a site is a matter of the site, those it sees and the noise.

    Of noise that is correlated in space the second tables are of a closure whose psi it is, and the first take it for
    the memory of a noise that remembers everything.

    Raises ``ValueError`` where a step is not of this kind.
    """
    tables: Tables | None = closure.compiled
    if tables is None or closure.fields.mask is not None:
        checks.reject("closure", closure.name, "of one target, one law and no mask, with tables of a step, for a tile")
    if tables.filter.size:
        checks.reject("trend", "filtered", "Trend(filtered=False), for a tile: the filter goes around the ring")
    if tables.conserve:
        checks.reject("conserve", True, "False, for a tile: the mean is that of all sites")
    if not (tables.factor.size or tables.fresh_offset.any() or tables.earlier_offset.any()):
        return tables, None
    rest = {name: one for name, one in closure.tables().items() if not name.startswith("noise_")}
    own = {name: one for name, one in closure.tables().items() if name.startswith("noise_")}
    K = closure.fields.sites
    return Tables.of(rest | _REMEMBERED, K), Tables.of(own | _OF_UNIT_SIZE, K)
