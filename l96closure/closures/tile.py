"""A closure on a tile of its grid, for processes that share a grid: some sites, and those around that these see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks
from l96closure.arrays import F64, Index
from l96closure.closures import stepping
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.filtered_trend import FilteredTrend, GroupedTrend
from l96closure.closures.fitted_laws import DrivenLaw, Grouped
from l96closure.closures.patterns import AnyPattern
from l96closure.closures.state import State, following, numbers
from l96closure.record import Scaling

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
    grid, and remembers for all of it, so that tiles need nothing of each other for it. Where psi at a site depends on
    all of the grid, a tile needs the predictors of all of it, and makes its whole step: for a trend that is filtered
    around a ring, a sum that is conserved, psi of the step before that is seen, laws that sum over samples, and masks.

    Attributes
    ----------
    closure : of the whole grid.
    sites : numbers of the sites that psi is drawn at (n,).
    needs : numbers of the sites whose predictors a step is given (N,), ascending: ``sites`` and a halo they see.
    """

    closure: Any
    sites: Index
    needs: Index = field(init=False)
    _steps: _Compiled | _Groups | _Whole = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given, size = np.asarray(self.sites), self.closure.fields.size
        if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu" or np.unique(given).size < given.size:
            checks.reject("sites", self.sites, "different numbers of sites")
        if given.min() < 0 or given.max() >= size:
            checks.reject("sites", (int(given.min()), int(given.max())), f"from 0 to {size - 1}")
        sites = given.astype(np.intp)
        steps = _steps_of(self.closure, sites)
        needs = np.arange(size) if isinstance(steps, _Whole) else np.unique(self.closure.features.neighbour[sites])
        for name, value in {"sites": sites, "needs": needs, "_steps": steps}.items():
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
        return self._steps.part(state)

    def step(self, z: npt.ArrayLike, state: State) -> tuple[F64, State]:
        """Draw psi at the sites of the tile.

        Parameters
        ----------
        z : predictors at ``needs`` (member, N), or (member, P, N) for several.
        state : from :meth:`part` or the previous step.

        Returns
        -------
        psi at ``sites`` (member, n), or (member, Q, n) of several targets, and the new state, whose ``outside`` counts
        what the sites of the tile see, or all where all of the grid is needed.

        Raises
        ------
        ValueError
            ``z`` is not of that shape, or ``state`` does not fit it.
        """
        fields, values = self.closure.fields, numbers("z", z)
        core = (*fields.input_shape[:-1], self.needs.size)
        if values.shape[1:] != core:
            checks.reject(
                "z.shape", values.shape, f"(member, {', '.join(map(str, core))}), at the sites that a tile needs"
            )
        psi, state = self._steps.step(values, state)
        return psi.reshape(len(values), *fields.output_shape[:-1], self.sites.size), state


def _steps_of(closure: Any, sites: Index) -> _Compiled | _Groups | _Whole:
    """Return how a tile of some sites steps."""
    fields, tables = closure.fields, closure.compiled
    everywhere = fields.mask is not None or fields.previous or fields.conserve or closure.conserved is not None
    if everywhere or _filtered(closure.trend) or (tables is None and not _apart(closure)):
        return _Whole(closure, sites)
    return _Groups.of(closure, sites) if tables is None else _Compiled.of(closure, tables, sites)


def _filtered(trend: Any) -> bool:
    return any(isinstance(one, FilteredTrend) for one in (trend.of if isinstance(trend, GroupedTrend) else (trend,)))


def _apart(closure: Any) -> bool:
    """Tell whether the parts of a closure that is not compiled are those of groups of cells, each at its own site."""
    return closure.grouped and (closure.law is None or isinstance(getattr(closure.law, "of", None), Grouped))


class _Whole(NamedTuple):
    """Makes the step of the whole grid."""

    closure: Any
    sites: Index

    def part(self, state: State) -> State:
        """Return the state of the whole grid."""
        return state

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi (n, ..., sites) given predictors of the whole grid."""
        psi, state = self.closure.step(z, state)
        return psi[..., self.sites], state


class _Groups(NamedTuple):
    """Makes the step of groups of cells at some sites.

    Attributes
    ----------
    local : a closure of these sites, which looks at predictors of them and, after them, of the halo.
    order : where these predictors stand among those that a tile needs (N,).
    halo : numbers of the sites whose predictors these are (N,).
    pattern, cells : noise of the whole grid, and which of it these sites have.
    """

    local: Any
    order: Index
    halo: Index
    pattern: AnyPattern | None
    cells: Index

    @classmethod
    def of(cls, closure: Any, sites: Index) -> _Groups:
        """Make it for the groups of a closure."""
        fields, law, K, n = closure.fields, closure.law, closure.fields.sites, sites.size
        needs = np.unique(closure.features.neighbour[sites])
        halo = np.concatenate([sites, np.setdiff1d(needs, sites)])
        place = np.full(K, n)
        place[halo] = np.arange(halo.size)
        whole = law.of.cells if closure.trend is None else closure.trend.cells
        rows = [np.flatnonzero(place[cells % K] < n) for cells in whole]
        kept = [number for number, some in enumerate(rows) if some.size]
        own = [whole[g][rows[g]] for g in kept]
        cells = tuple(one // K * n + place[one % K] for one in own)
        every = np.ravel(K * np.arange(len(fields.targets))[:, None] + sites)
        here: dict[str, Any] = {"coordinates": tuple(closure.coordinates[g] for g in kept) if law else ()}
        if closure.trend is not None:
            of = [closure.trend.of[g] for g in kept]
            seen = [place[one.features.neighbour[rows[g]]] for one, g in zip(of, kept, strict=True)]
            of = [
                replace(one, features=replace(one.features, neighbour=around))
                for one, around in zip(of, seen, strict=True)
            ]
            here["trend"] = GroupedTrend(tuple(of), cells)
            here["bounds"] = closure.bounds[:, every]
        if law is not None:
            laws = [_at(law.of.of[g], rows[g]) for g in kept]
            here["law"] = DrivenLaw(Grouped(tuple(laws), cells), law.pattern)
        here["scaling"] = closure.scaling and Scaling(*(one[:, halo] for one in closure.scaling))
        unstructured = {"dim": "site", "periodic": False, "pool": "auto", "neighbourhoods": None}
        here["fields"] = replace(fields, **unstructured, shape=(n,), coordinates=xr.Dataset())
        pattern = None if law is None else law.pattern
        return cls(replace(closure, **here), np.searchsorted(needs, halo), halo, pattern, every)

    def part(self, state: State) -> State:
        """Return the state with the history of the halo."""
        return state if state.history.ndim < 3 else state._replace(history=state.history[..., self.halo])

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi (n, cells) given predictors of what a tile needs."""
        H, P, pattern = self.local.features.longest, len(self.local.fields.predictors), self.pattern
        remembers = (0,) if pattern is None else (pattern.order, pattern.sites)
        shape = P, self.halo.size
        state = following(state, len(z), *remembers, history=(H, *shape) if H else (0,))
        now = z.reshape(len(z), P, -1)[..., self.order]
        now = now if self.local.scaling is None else self.local.scaling(now)
        history = state.history if H else np.empty((len(z), 0, *shape))
        psi, x, outside = self.local.mean(now, history)
        if pattern is not None:
            xi, memory = pattern.advance(state)
            psi, state = psi + self.local.law.made_of(x, xi[:, self.cells]), state._replace(memory=memory)
        if self.local.trend is not None:
            psi = self.local.bounded(psi)
        if H:
            state = state._replace(history=np.concatenate([now[:, None], history[:, :-1]], axis=1))
        return psi, state._replace(outside=state.outside + outside)


def _at(of: Any, rows: Index) -> Any:
    """Return a distribution of a group for some of its cells."""
    return replace(of, of=of.of[rows]) if isinstance(of, bridge.ConditionalQuantiles) else of


class _Compiled(NamedTuple):
    """Makes the step in compiled code.

    Attributes
    ----------
    closure : of the whole grid.
    tables : of the sites in memory.
    noise : tables of the whole grid, where it is correlated in space.
    local : sites in memory: in fours, as the noise is drawn.
    needs, sites : where those that a tile needs, and those that it draws at, are among them.
    """

    closure: Any
    tables: Tables
    noise: Tables | None
    local: Index
    needs: Index
    sites: Index

    @classmethod
    def of(cls, closure: Any, tables: Tables, sites: Index) -> _Compiled:
        """Make it of the tables of a closure whose step at a site is a matter of the site, what it sees and the noise.

        Of noise that is correlated in space other tables are of a closure whose psi it is, and the first take it for
        the memory of a noise that remembers everything.
        """
        K, noise = closure.fields.sites, None
        if tables.factor.size or tables.fresh_offset.any() or tables.earlier_offset.any():
            every = closure.tables()
            rest = {name: one for name, one in every.items() if not name.startswith("noise_")}
            own = {name: one for name, one in every.items() if name.startswith("noise_")}
            tables, noise = Tables.of(rest | _REMEMBERED, K), Tables.of(own | _OF_UNIT_SIZE, K)
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
        return cls(closure, tables, noise, local, place[needs], place[sites])

    def part(self, state: State) -> State:
        """Return the state of the sites in memory, with the noise of the whole grid where it is correlated."""
        memory, history = (one[..., self.local] if one.ndim > 2 else one for one in (state.memory, state.history))
        return state._replace(memory=memory if self.noise is None else state.memory, history=history)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi (n, sites) given predictors of what a tile needs."""
        predictors, tables, n = len(self.closure.fields.predictors), self.tables, self.local.size
        H, law = int(tables.lag[-1]), self.closure.law
        remembers = (0,) if law is None else (tables.order, n) if self.noise is None else law.remembers
        state = following(state, len(z), *remembers, history=(H, predictors, n) if H else (0,))
        now = np.zeros((len(z), predictors, n))
        now[..., self.needs] = z.reshape(len(z), predictors, -1)
        history = state.history if H else np.empty((len(z), 0, predictors, n))
        fours = (self.local[::_WORDS] // _WORDS).astype(np.uint64)
        if self.noise is None:
            psi, state = stepping.take(tables, now, state, history, fours)
        else:
            none = np.zeros((len(z), 1, self.closure.fields.sites))
            xi, drawn = stepping.take(self.noise, none, state, none[:, None][:, :0])
            handed = state._replace(memory=xi[:, None, self.local])
            psi, state = stepping.take(tables, now, handed, history, fours)
            state = state._replace(memory=drawn.memory)
        return psi[:, self.sites], state
