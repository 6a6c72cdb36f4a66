"""Quantiles of one value given one coordinate or two, read off tables with linear interpolation.

A second coordinate chooses among tables in the first: each belongs to a level of it, and between two levels what they
give is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.compiled import cached, part
from l96closure.vector import element

__all__ = ["FARTHEST", "ConditionalQuantiles", "LookUp", "Table", "read_between", "read_off"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

FARTHEST = 4.0
"""Standard normal quantile of the last probability of a table; beyond, the quantile stays as it is."""

_Place = tuple[float, tuple[int | np.int64, float], tuple[int | np.int64, float]]

_BUCKETS = 4096  # at most, of equal width, in which a coordinate finds the nodes around it
_ROUNDING = 1e-8  # of values, in parts of the range of the quantiles at a coordinate


class LookUp(NamedTuple):
    """A table of quantiles as compiled code takes it.

    Attributes
    ----------
    table : Q(Phi(xi) | x) in the units of the samples (N, L), at the nodes of one dictionary after the other's.
    nodes : the coordinates x (N,), ascending within each dictionary.
    per_gap : 1 over the distance from each node to the next (N,).
    bucket : of each dictionary's buckets of coordinates, and the end, the last node at or below its start (D, B + 1).
    crowd : most nodes in a bucket; as a rule one.
    lowest, per_unit : start of the first bucket and buckets per unit of the coordinate (D,).
    level : of the second coordinate, whose dictionaries stand one after the other (D / B, B), ascending; B is 1 where
        there is no second.
    """

    table: F64
    nodes: F64
    per_gap: F64
    bucket: Index
    crowd: int
    lowest: F64
    per_unit: F64
    level: F64


class Table(NamedTuple):
    """Of one dictionary: nodes (G,), quantiles (G, L), error (1,)."""

    nodes: F64
    table: F64
    error: F64


@dataclass(frozen=True, eq=False)
class ConditionalQuantiles:
    """Quantiles of one value given one coordinate, for each of D dictionaries, or two; made by :func:`tabulate`.

    Attributes
    ----------
    look_up : the table, and how nodes are found in it.
    of : dictionary of each of K sites (K,), or group of B dictionaries at as many levels of a second coordinate.
    error : root mean square, over training states and noise, of the table less a direct evaluation, in standard
        deviations of the values of each dictionary (D,).
    """

    look_up: LookUp
    of: Index
    error: F64

    @property
    def table(self) -> F64:
        """Q(Phi(xi) | x) in the units of the samples (N, L), at the nodes of one dictionary after the other's."""
        return self.look_up.table

    @property
    def nodes(self) -> F64:
        """The coordinates x (N,), ascending within each dictionary."""
        return self.look_up.nodes

    @property
    def coordinates(self) -> int:
        """How many coordinates there are."""
        return 2 if self.look_up.level.shape[1] > 1 else 1

    @property
    def ends(self) -> Index:
        """First and last node of each dictionary (D, 2)."""
        return self.look_up.bucket[:, [0, -1]]

    @classmethod
    def of_nodes(
        cls, table: F64, nodes: F64, ends: Index, of: Index, error: F64, level: F64 | None = None
    ) -> ConditionalQuantiles:
        """Make one of a table, and find the nodes of each bucket.

        Parameters
        ----------
        table, nodes : see the attributes.
        ends : first and last node of each dictionary (D, 2).
        of, error : see the attributes.
        level : of a second coordinate, see :class:`LookUp`; None where there is none.

        Returns
        -------
        ConditionalQuantiles
        """
        own = [nodes[first : last + 1] for first, last in ends]
        spans = np.array([np.ptp(one) for one in own])
        closest = max(float(span / np.diff(one).min()) for span, one in zip(spans, own, strict=True))
        buckets = int(min(2.0 * closest, _BUCKETS)) + 1
        bucket = np.empty((len(own), buckets + 1), np.intp)
        for row, one, (first, _) in zip(bucket, own, ends, strict=True):
            row[:] = first + np.searchsorted(one, np.linspace(one[0], one[-1], buckets + 1), side="right") - 1
        per_gap = 1.0 / np.append(np.diff(nodes), np.inf)  # from one dictionary to the next nothing is read
        crowd = int(np.diff(bucket, axis=1).max())
        lowest = np.array([one[0] for one in own])
        level = np.zeros((len(own), 1)) if level is None else np.ascontiguousarray(level)
        return cls(LookUp(table, nodes, per_gap, bucket, crowd, lowest, buckets / spans, level), of, error)

    @classmethod
    def joined(
        cls, tables: Sequence[ConditionalQuantiles | Table], of: Index, level: F64 | None = None
    ) -> ConditionalQuantiles:
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
        return cls.of_nodes(
            np.concatenate([one.table for one in tables]),
            np.concatenate([one.nodes for one in tables]),
            np.stack([start[:-1], start[1:] - 1], axis=1),
            of,
            np.concatenate([one.error for one in tables]),
            level,
        )

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Return what is read off, as plain arrays by name.

        Returns
        -------
        ``quantile`` (N, L) at the coordinates ``quantile_node`` (N,), of which dictionary d has those from the first to
        the last that ``quantile_nodes_of`` (D, 2) counts, and at L of the noise, evenly spaced from the first to the
        last of ``quantile_noise`` (2,); ``dictionary_of_site`` (K,). Of two coordinates ``quantile_level`` (groups, B):
        dictionary B g + b has the quantiles at level b of the second, and ``dictionary_of_site`` counts groups g.
        """
        tables = {
            "quantile": self.table,
            "quantile_node": self.nodes,
            "quantile_nodes_of": self.ends,
            "quantile_noise": np.array([-FARTHEST, FARTHEST]),
            "dictionary_of_site": self.of,
        }
        return tables | ({"quantile_level": self.look_up.level} if self.coordinates > 1 else {})

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


@part
def _place(x: float, cell: float, of: LookUp, d: int) -> tuple[int, float]:
    """Return the last node of dictionary ``d`` at or below ``x``, and how far ``x`` is on the way to the next."""
    first = d * of.bucket.shape[1]
    last = element(of.bucket, first + of.bucket.shape[1] - 1) - 1
    g = min(element(of.bucket, first + np.int64(cell)), last)
    for _ in range(of.crowd):
        g = min(g + np.int64(element(of.nodes, g + 1) <= x), last)
    return g, min(max((x - element(of.nodes, g)) * element(of.per_gap, g), 0.0), 1.0)


@part
def read_off(x: float, cell: float, column: float, of: LookUp, d: int) -> float:
    """Return the quantile at a coordinate, given its bucket in dictionary ``d`` and the column of the noise.

    Both are numbers within the table, rounded down here.
    """
    L = of.table.shape[1]
    g, row = _place(x, cell, of, d)
    c = min(np.int64(column), L - 2)
    column -= c
    a, b = element(of.table, g * L + c), element(of.table, (g + 1) * L + c)
    lower = a + column * (element(of.table, g * L + c + 1) - a)
    upper = b + column * (element(of.table, (g + 1) * L + c + 1) - b)
    return lower + row * (upper - lower)  # type: ignore[no-any-return]


@part
def _cell(x: float, of: LookUp, d: int) -> float:
    return min(max((x - of.lowest[d]) * of.per_unit[d], 0.0), of.bucket.shape[1] - 2.0)  # type: ignore[no-any-return]


@part
def _levels(y: float, of: LookUp, group: int) -> tuple[int, float]:
    """Return the dictionary of the last level at or below the second coordinate, and the weight of the next one."""
    B = of.level.shape[1]
    if B == 1:
        return group, 0.0
    first, b = group * B, 0
    for i in range(1, B - 1):
        b += int(element(of.level, first + i) <= y)
    low, high = element(of.level, first + b), element(of.level, first + b + 1)
    return first + b, min(max((y - low) / (high - low), 0.0), 1.0)


@part
def read_between(x: float, y: float, column: float, of: LookUp, group: int) -> float:
    """Return the quantile at two coordinates, given the column of the noise; of one, ``y`` is not looked at."""
    d, weight = _levels(y, of, group)
    value = read_off(x, _cell(x, of, d), column, of, d)
    if weight > 0.0:
        value += weight * (read_off(x, _cell(x, of, d + 1), column, of, d + 1) - value)
    return value


@cached
def _look_up(x: F64, noise: F64, of: LookUp, group: Index, out: F64) -> None:
    most = of.table.shape[1] - 1.0
    for n in range(x.shape[0]):
        for k in range(x.shape[2]):
            first, second = x[n, 0, k], x[n, x.shape[1] - 1, k]
            if not (np.isfinite(first) and np.isfinite(second)) or np.isnan(noise[n, k]):  # a run that is blowing up
                out[n, k] = np.nan
                continue
            column = min(max((noise[n, k] + FARTHEST) * (most / (2.0 * FARTHEST)), 0.0), most)
            out[n, k] = read_between(first, second, column, of, group[k])


@cached
def _invert(x: F64, values: F64, of: LookUp, group: Index, out: F64) -> None:
    table = of.table
    L = table.shape[1]
    for n in range(x.shape[0]):
        for k in range(x.shape[2]):
            first, second, wanted = x[n, 0, k], x[n, x.shape[1] - 1, k], values[n, k]
            if not (np.isfinite(first) and np.isfinite(second)) or np.isnan(wanted):
                out[n, k] = np.nan
                continue
            d, weight = _levels(second, of, group[k])
            at: _Place = weight, _place(first, _cell(first, of, d), of, d), (np.int64(0), 0.0)
            if weight > 0.0:
                at = weight, at[1], _place(first, _cell(first, of, d + 1), of, d + 1)
            # Where the quantile is the same for a range of noise, any of it makes the value: the middle is taken,
            # wherever in the range rounding has put the value.
            span = _between(table, at, L - 1) - _between(table, at, 0)
            if span == 0.0 and wanted == _between(table, at, 0):
                out[n, k] = 0.0
                continue
            below = _crossing(table, at, wanted - _ROUNDING * span)
            above = _crossing(table, at, wanted + _ROUNDING * span)
            out[n, k] = 0.5 * (below + above) * (2.0 * FARTHEST / (L - 1)) - FARTHEST


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _between(table: F64, at: _Place, c: int) -> float:
    """Return the quantile in a column, at a place in the table of one level and perhaps of the next."""
    weight, (g, row), (h, other) = at
    value = table[g, c] + row * (table[g + np.uintp(1), c] - table[g, c])
    if weight > 0.0:
        value += weight * (table[h, c] + other * (table[h + np.uintp(1), c] - table[h, c]) - value)
    return value  # type: ignore[no-any-return]


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _crossing(table: F64, at: _Place, wanted: float) -> float:
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
