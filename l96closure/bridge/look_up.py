"""A table of quantiles as compiled code reads it, sixteen places at a time.

Where the nodes of the coordinate lie on an even lattice, as ours do, the table has a row for each of its points, and a
multiplication finds the row. Elsewhere the lattice says where to begin, and the nodes from there on are compared.

A second coordinate chooses among tables in the first: each belongs to a level of it, and between two levels what they
give is interpolated. All levels of a group have the same nodes, on a lattice, and the levels too lie on one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.compiled import part
from l96closure.vector import floor, fma, larger, load, smaller, splat, store, where_below
from l96closure.vector_places import gather, gather_fours, load_fours, store_whole

FARTHEST = 4.0
"""Standard normal quantile of the last probability of a table; beyond, the quantile stays as it is."""

_MOST_CELLS = 4096  # of a lattice
_MOST_QUANTILES = 2**30  # each stands twice in a table whose places are integers of 32 bits
_ROUNDING = 1e-14  # by which a node may lie beside a point of the lattice, in parts of its length
_LAST_PLACES = 4.0 * np.finfo(np.float64).eps  # by which, in parts of the node: of numbers far from zero


class LookUp(NamedTuple):
    """A table of quantiles as compiled code takes it; made by :meth:`of`.

    Attributes
    ----------
    table : Q(Phi(xi) | x) in the units of the samples (N, L, 2), the rows of one dictionary after the other's, each
        number beside that of the next row: so what a place lies between stands together.
    levels, per_level : of a second coordinate, levels of each group, one after the other, and rows of each; 1 level
        where there is none.
    lowest, per_unit, cells : of each group (G,), where its lattice of coordinates starts, how many of its cells
        there are in a unit, and in all.
    second_lowest, second_per_unit : likewise of its lattice of levels (G,).
    first : of each group (G,), its first row; with nodes off the lattice its first cell.
    crowd : most nodes in a cell that are off the lattice.
    row : with such, row of the last node at or below the start of each cell.
    node, next_node, per_gap : and of each row its node, the next, infinite after the last, and 1 over their distance.
    """

    table: F64
    levels: int
    per_level: int
    lowest: F64
    per_unit: F64
    cells: F64
    second_lowest: F64
    second_per_unit: F64
    first: F64
    crowd: int
    row: F64
    node: F64
    next_node: F64
    per_gap: F64

    @classmethod
    def of(cls, table: F64, nodes: F64, ends: Index, level: F64 | None = None) -> LookUp:
        """Make one.

        Parameters
        ----------
        table : quantiles (N, L).
        nodes : the coordinates x (N,), ascending within each dictionary.
        ends : first and last node of each dictionary (D, 2).
        level : of a second coordinate (G, B); None where there is none.

        Returns
        -------
        LookUp

        Raises
        ------
        ValueError
            There are levels that are no lattice, or the nodes of a group differ or are none.
        """
        if level is not None:
            return cls._with_levels(table, nodes, ends, np.ascontiguousarray(level))
        none, no_second = np.empty(0), np.zeros(len(ends))
        own = [slice(first, last + 1) for first, last in ends]
        lowest, spans = nodes[ends[:, 0]], np.array([np.ptp(nodes[one]) for one in own])
        points = [at for one in own if (at := _lattice(nodes[one])) is not None]
        if len(points) == len(own):
            rows = [_rows(table[one], at) for one, at in zip(own, points, strict=True)]
            cells = np.array([len(one) - 1.0 for one in rows])
            first = np.cumsum([0.0, *cells[:-1] + 1.0])
            lattice = lowest, cells / spans, cells, no_second, no_second, first
            return cls(_with_next(np.concatenate(rows)), 1, 0, *lattice, 0, none, none, none, none)
        closest = max(float(span / np.diff(nodes[one]).min()) for span, one in zip(spans, own, strict=True))
        number = int(min(2.0 * closest, _MOST_CELLS)) + 1
        row = np.empty((len(own), number + 1))
        for into, one, (begin, _) in zip(row, own, ends, strict=True):
            starts = np.linspace(nodes[one][0], nodes[one][-1], number + 1)
            into[:] = begin + np.searchsorted(nodes[one], starts, side="right") - 1
        crowd = int(np.diff(row, axis=1).max())
        row = np.minimum(row[:, :-1], ends[:, 1:] - 1.0)
        next_node = np.append(nodes[1:], np.inf)
        next_node[ends[:, 1] - 1] = next_node[ends[:, 1]] = np.inf  # what is beyond the last gap stays in it
        cells = np.full(len(own), float(number))
        per_gap = 1.0 / np.append(np.diff(nodes), np.inf)  # from one dictionary to the next nothing is read
        first = number * np.arange(len(own), dtype=np.float64)
        lattice = lowest, cells / spans, cells, no_second, no_second, first
        return cls(_with_next(table), 1, 0, *lattice, crowd, row.ravel(), nodes, next_node, per_gap)

    @classmethod
    def _with_levels(cls, table: F64, nodes: F64, ends: Index, level: F64) -> LookUp:
        groups, B = level.shape
        size = nodes.size // (groups * B)
        own = nodes.reshape(groups, B, size) if size * groups * B == nodes.size else np.empty((groups, B, 0))
        even = size > 1 and all(_is_even(one) for one in own[:, 0]) and (own == own[:, :1]).all()
        if not even or not np.array_equal(ends[:, 0], size * np.arange(groups * B)):
            checks.reject("nodes", own.shape, "the same even lattice at every level of a second coordinate")
        if not (B > 1 and all(_is_even(one) for one in level)):
            checks.reject(
                "levels of a second coordinate",
                level.tolist(),
                "evenly spaced in each group, two at least: fit again what an earlier state made",
            )
        lowest, spans, none = own[:, 0, 0].copy(), np.ptp(own[:, 0], axis=1), np.empty(0)
        cells, first = np.full(groups, size - 1.0), np.arange(groups, dtype=np.float64) * (B * size)
        second = level[:, 0].copy(), (B - 1.0) / np.ptp(level, axis=1)
        lattice = lowest, cells / spans, cells, *second, first
        return cls(_with_next(table), B, size, *lattice, 0, none, none, none, none)


def _with_next(table: F64) -> F64:
    """Put beside every number that of the next row; nothing reads across the last of a dictionary."""
    checks.integer("quantiles in a table", table.size, 0, below=_MOST_QUANTILES)
    return np.stack([table, np.roll(table, -1, axis=0)], axis=2)


def _is_even(nodes: F64) -> bool:
    at = _lattice(nodes) if (np.diff(nodes) > 0.0).all() else None
    return at is not None and at.size == at[-1] + 1


def _lattice(nodes: F64) -> Index | None:
    """Return which points of an even lattice nodes are; None if they are not, or if it is long."""
    span = np.ptp(nodes)
    if span > (_MOST_CELLS - 1) * np.diff(nodes).min():
        return None
    at = np.rint((nodes - nodes[0]) / np.diff(nodes).min())
    beside = np.abs(nodes[0] + at * (span / at[-1]) - nodes).max()
    allowed = _ROUNDING * span + _LAST_PLACES * np.abs(nodes).max()
    return at.astype(np.intp) if beside <= allowed else None


def _rows(table: F64, at: Index) -> F64:
    """Return a row for each point of a lattice, given those of some."""
    points = np.arange(at[-1] + 1)
    g = np.minimum(np.searchsorted(at, points, side="right") - 1, at.size - 2)
    away = ((points - at[g]) / (at[g + 1] - at[g]))[:, None]
    rows: F64 = table[g] + away * (table[g + 1] - table[g])
    rows[at] = table
    return rows


class Lattice(NamedTuple):
    """Of sixteen places what a :class:`LookUp` has of each group, by the same names."""

    lowest: Any
    per_unit: Any
    cells: Any
    first: Any
    second_lowest: Any
    second_per_unit: Any


class Found(NamedTuple):
    """Where coordinates and noise lie in a table: sixteen of them, as vectors, or of many sites, as arrays.

    Attributes
    ----------
    place : where in the table, seen as flat, what is around them begins; in an array integers of 32 bits.
    down, across, on : how far they are on the way to the next row, the next column and the next level.
    """

    place: Any
    down: Any
    across: Any
    on: Any


@part
def lattice_of(of: LookUp, d: int) -> Any:
    """Return the lattice of a dictionary or group, for sixteen places."""
    first = splat(of.lowest[d]), splat(of.per_unit[d]), splat(of.cells[d]), splat(of.first[d])
    return Lattice(*first, splat(of.second_lowest[d]), splat(of.second_per_unit[d]))


@part
def find_row(x: Any, lattice: Lattice, of: LookUp) -> Any:
    """Return the last rows at or below some coordinates, and how far these are on the way to the next.

    NaN is the first row's.
    """
    zero, one = splat(0.0), splat(1.0)
    along = smaller(lattice.cells, larger((x - lattice.lowest) * lattice.per_unit, zero))
    cell = smaller(floor(along), lattice.cells - one)
    row = lattice.first + cell
    if of.crowd == 0:
        return row, along - cell
    row = gather(of.row, row, 0)
    for _ in range(of.crowd):
        row = row + where_below(gather(of.next_node, row, 0), x, one)
    away = (x - gather(of.node, row, 0)) * gather(of.per_gap, row, 0)
    return row, smaller(larger(away, zero), one)


@part
def find(x: Any, y: Any, noise: Any, lattice: Lattice, of: LookUp) -> Any:
    """Find where sixteen coordinates and noise lie in the table.

    Parameters
    ----------
    x, y : the coordinates; the second does not matter where there is none.
    noise : the noise.
    lattice : of the places.
    of : the table.

    Returns
    -------
    Found
    """
    row, down = find_row(x, lattice, of)
    level, on = find_level(y, lattice, of)
    column, across = _find_column(noise, of)
    row = fma(level, splat(float(of.per_level)), row)
    place = fma(row, splat(2.0 * of.table.shape[1]), column + column)
    return Found(place, fma(x, splat(0.0), down), across, fma(y, splat(0.0), on))  # what is not finite makes NaN


@part
def keep(found: Found, several: Found, e: int) -> None:
    """Write what was found for sixteen sites into that of many, from number ``e`` on."""
    store_whole(found.place, several.place, e)
    store(found.down, several.down, e)
    store(found.across, several.across, e)
    store(found.on, several.on, e)


@part
def read(found: Found, of: LookUp) -> Any:
    """Return the quantiles at sixteen places; NaN where a coordinate is not finite."""
    here = _between(gather_fours(of.table, found.place, 0), found.down, found.across)
    if of.levels == 1:
        return here
    after = _between(gather_fours(of.table, found.place, _next_level(of)), found.down, found.across)
    return fma(found.on, after - here, here)


@part
def read_kept(several: Found, e: int, of: LookUp) -> Any:
    """Do as :func:`read`, for sixteen of many sites from number ``e`` on."""
    down, across = load(several.down, e), load(several.across, e)
    here = _between(load_fours(of.table, several.place, e, 0), down, across)
    if of.levels == 1:
        return here
    after = _between(load_fours(of.table, several.place, e, _next_level(of)), down, across)
    return fma(load(several.on, e), after - here, here)


@part
def _next_level(of: LookUp) -> int:
    """Return how far on the same row and column of the next level stand."""
    return 2 * of.per_level * of.table.shape[1]


@part
def _between(fours: Any, down: Any, across: Any) -> Any:
    """Return what is ``down`` of the way from a row to the next, and ``across`` from a column to the next."""
    here, below, next_here, next_below = fours
    upper, lower = fma(across, next_here - here, here), fma(across, next_below - below, below)
    return fma(down, lower - upper, upper)


@part
def find_level(y: Any, lattice: Lattice, of: LookUp) -> Any:
    """Return the last levels at or below some second coordinates, and how far these are on the way to the next."""
    if of.levels == 1:
        return splat(0.0), splat(0.0)
    last = splat(float(of.levels - 1))
    along = smaller(last, larger((y - lattice.second_lowest) * lattice.second_per_unit, splat(0.0)))
    level = smaller(floor(along), last - splat(1.0))
    return level, along - level


@part
def _find_column(noise: Any, of: LookUp) -> Any:
    """Return the last columns at or below some noise, and how far this is on the way to the next."""
    L = of.table.shape[1]
    across = (noise + splat(FARTHEST)) * splat((L - 1.0) / (2.0 * FARTHEST))
    across = smaller(larger(across, splat(0.0)), splat(L - 1.0))
    column = smaller(floor(across), splat(L - 2.0))
    return column, across - column
