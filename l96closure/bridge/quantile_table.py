"""Quantiles of one value given one coordinate or two, read off tables with linear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from l96closure import checks
from l96closure.arrays import F64, Array, Index
from l96closure.bridge.look_up import (
    FARTHEST,
    LookUp,
    find,
    find_level,
    find_row,
    lattice_of,
    read,
)
from l96closure.compiled import cached, part
from l96closure.vector import LANES, load, store

_At = tuple[Any, Any, float, float]

_ROUNDING = 1e-8  # of values, in parts of the range of the quantiles at a coordinate


class Table(NamedTuple):
    """Of one dictionary: nodes (G,), quantiles (G, L), error (1,)."""

    nodes: F64
    table: F64
    error: F64


@dataclass(frozen=True, eq=False)
class ConditionalQuantiles:
    """Quantiles of one value given one coordinate or two, for each of D dictionaries; made by :func:`tabulate`.

    Attributes
    ----------
    table : Q(Phi(xi) | x) in the units of the samples (N, L), at the nodes of one dictionary after the other's.
    nodes : the coordinates x (N,), ascending within each dictionary.
    ends : first and last node of each dictionary (D, 2).
    of : dictionary of each of K sites (K,), or group of dictionaries.
    error : root mean square, over training states and noise, of the table less a direct evaluation, in standard
        deviations of the values of each dictionary (D,).
    level : of a second coordinate, ascending and evenly spaced in each group of B dictionaries (D / B, B), which have
        the same evenly spaced nodes; None where there is none.
    """

    table: F64
    nodes: F64
    ends: Index
    of: Index
    error: F64
    level: F64 | None = None

    @property
    def coordinates(self) -> int:
        """How many coordinates there are."""
        return 1 if self.level is None else 2

    @classmethod
    def joined(cls, tables: Sequence[ConditionalQuantiles | Table], of: Index, level: F64 | None = None) -> Self:
        """Make one of tables that each are of one dictionary.

        Parameters
        ----------
        tables : of each dictionary; of two coordinates one group of B after the other, at ascending levels.
        of : dictionary or group of each site (K,).
        level : of a second coordinate in each group (groups, B); None where there is none.

        Returns
        -------
        ConditionalQuantiles
        """
        start = np.cumsum([0, *(one.nodes.size for one in tables)])
        return cls(
            np.concatenate([one.table for one in tables]),
            np.concatenate([one.nodes for one in tables]),
            np.stack([start[:-1], start[1:] - 1], axis=1),
            of,
            np.concatenate([one.error for one in tables]),
            level,
        )

    @cached_property
    def look_up(self) -> LookUp:
        """The table as compiled code takes it."""
        return LookUp.of(self.table, self.nodes, self.ends, self.level)

    def tables(self) -> dict[str, Array]:
        """Return what is read off, as plain arrays by name.

        Returns
        -------
        ``quantile`` (N, L) at the coordinates ``quantile_node`` (N,), of which dictionary d has those from the first to
        the last that ``quantile_nodes_of`` (D, 2) counts, and at L of the noise, evenly spaced from the first to the
        last of ``quantile_noise`` (2,); ``dictionary_of_site`` (K,). Of two coordinates ``quantile_level`` (groups, B):
        dictionary B g + b has the quantiles at level b of the second, evenly spaced, and ``dictionary_of_site`` counts
        groups g.
        """
        tables = {
            "quantile": self.table,
            "quantile_node": self.nodes,
            "quantile_nodes_of": self.ends,
            "quantile_noise": np.array([-FARTHEST, FARTHEST]),
            "dictionary_of_site": self.of,
        }
        return tables if self.level is None else tables | {"quantile_level": self.level}

    def __call__(self, x: F64, noise: F64) -> F64:
        """Return the quantiles that noise asks for.

        Coordinates and noise are held at the ends of the table, so that every quantile lies within the range of the
        samples (Lemma 1).

        Parameters
        ----------
        x : the coordinate (n, K), in the units of the samples; of two coordinates (n, 2, K).
        noise : standard normal (n, K).

        Returns
        -------
        (n, K) in the units of the samples; NaN where ``x`` is not finite or the noise is NaN.

        Raises
        ------
        ValueError
            Another K than the table's, or another number of coordinates.
        """
        out = np.empty(noise.shape)
        _look_up(self._checked(x, noise, "noise"), noise, self.look_up, self.of, out)
        return out

    def _checked(self, x: F64, beside: F64, name: str) -> F64:
        """Return coordinates (n, C, K) that fit the table and what stands beside them."""
        given = x[:, None] if self.coordinates == 1 else x
        if beside.shape[1:] != self.of.shape or given.shape != (len(beside), self.coordinates, self.of.size):
            several = "" if self.coordinates == 1 else f", x (n, {self.coordinates}, {self.of.size})"
            checks.reject(f"shapes of x and {name}", (x.shape, beside.shape), f"(n, {self.of.size}), both{several}")
        return given

    def scores(self, x: F64, values: F64) -> F64:
        """Inverse of the call: the noise that makes given values.

        Parameters
        ----------
        x : the coordinate (n, K), or two of them (n, 2, K).
        values : at these coordinates (n, K), in the units of the samples.

        Returns
        -------
        (n, K) from -4 to 4; where a range of noise makes one value, its middle; NaN where ``x`` is not finite or the
        value is NaN.

        Raises
        ------
        ValueError
            Another K than the table's, or another number of coordinates.
        """
        out = np.empty(values.shape)
        _invert(self._checked(x, values, "values"), values, self.look_up, self.of, out)
        return out


@cached
def _look_up(x: F64, noise: F64, of: LookUp, dictionary: Index, out: F64) -> None:
    last, near = x.shape[1] - 1, np.zeros((3, LANES))
    for k in range(x.shape[2]):
        lattice = lattice_of(of, dictionary[k])
        for first in range(0, x.shape[0], LANES):
            some = min(LANES, x.shape[0] - first)
            for i in range(some):
                near[0, i], near[1, i], near[2, i] = x[first + i, 0, k], x[first + i, last, k], noise[first + i, k]
            found = find(load(near, 0), load(near, LANES), load(near, 2 * LANES), lattice, of)
            store(read(found, of), near, 0)
            for i in range(some):
                out[first + i, k] = np.nan if np.isnan(noise[first + i, k]) else near[0, i]


@cached
def _invert(x: F64, values: F64, of: LookUp, dictionary: Index, out: F64) -> None:
    last, near = x.shape[1] - 1, np.zeros((4, LANES))
    for k in range(x.shape[2]):
        lattice = lattice_of(of, dictionary[k])
        for first in range(0, x.shape[0], LANES):
            some = min(LANES, x.shape[0] - first)
            near[:] = 0.0
            for i in range(some):
                near[0, i], near[2, i] = x[first + i, 0, k], x[first + i, last, k]
            row, down = find_row(load(near, 0), lattice, of)
            store(row, near, 0)
            store(down, near, LANES)
            if last:
                number, on = find_level(load(near, 2 * LANES), lattice, of)
                store(number, near, 2 * LANES)
                store(on, near, 3 * LANES)
            for i in range(some):
                wanted = values[first + i, k]
                known = np.isfinite(x[first + i, 0, k]) and np.isfinite(x[first + i, last, k]) and not np.isnan(wanted)
                level, on_level = (near[2, i], near[3, i]) if last else (0.0, 0.0)
                g = np.intp(near[0, i]) + np.intp(level) * of.per_level
                at = g, g + of.per_level, near[1, i], on_level
                out[first + i, k] = _noise_of(of.table, at, wanted) if known else np.nan


@part
def _noise_of(table: F64, at: _At, wanted: float) -> float:
    """Return the noise that makes a value.

    Where the quantile is the same for a range of noise, any of it makes the value: the middle is taken, wherever in the
    range rounding has put the value.
    """
    L = table.shape[1]
    span = _between(table, at, L - 1) - _between(table, at, 0)
    if span == 0.0 and wanted == _between(table, at, 0):
        return 0.0
    below = _crossing(table, at, wanted - _ROUNDING * span)
    above = _crossing(table, at, wanted + _ROUNDING * span)
    return 0.5 * (below + above) * (2.0 * FARTHEST / (L - 1)) - FARTHEST


@part
def _between(table: F64, at: _At, c: int) -> float:
    """Return the quantile in a column: at two levels the rows, and how far on from a row and from a level."""
    g, h, down, on = at
    value = table[g, c, 0] + down * (table[g, c, 1] - table[g, c, 0])
    if on > 0.0:
        value += on * (table[h, c, 0] + down * (table[h, c, 1] - table[h, c, 0]) - value)
    return value


@part
def _crossing(table: F64, at: _At, wanted: float) -> float:
    """Return where among the columns the quantiles at a place pass a value."""
    first, last = 0, table.shape[1] - 1
    while last - first > 1:
        c = (first + last) // 2
        if _between(table, at, c) <= wanted:
            first = c
        else:
            last = c
    lower, upper = _between(table, at, first), _between(table, at, last)
    if wanted <= lower:
        return float(first)
    return float(last) if wanted >= upper else first + (wanted - lower) / (upper - lower)
