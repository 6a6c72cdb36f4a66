"""Samples in compact groups: the layout that the compiled sums read, and what lets them leave groups out.

There are two levels. In the second, every sample stands for itself: a k-d order puts ``GROUP`` near ones into a group
with a bounding box. In the first, which only dense trajectories have, runs of consecutive samples are replaced by
Gauss rules (:mod:`l96closure.kernel._recombination`), one rule to a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from l96closure.arrays import F32, F64, Array, Index
from l96closure.kernel import _recombination as recombination
from l96closure.vector import LANES

GROUP = LANES  # nodes in a group
_NOTHING = -1000.0  # log2 of the weight of a node that is not there
_RULE_SHARE = 5e-4  # part of the tolerance that a rule may use up where its run's share of S_0 is its whole weight


class Groups(NamedTuple):
    """The groups of one or more dictionaries as plain arrays, the form the compiled loops take.

    Attributes
    ----------
    first, number : level l of dictionary h is the groups first[h, l] to first[h, l] + number[h, l]; both (H, 2). The
        first is a multiple of ``LANES``, so that the boxes of a level are whole vectors; groups between are not used.
    nodes : rows of the nodes (G + 1, 1 + R, GROUP), in kernel units: log2 of the weight, and the rows of the
        dictionary's table. The last group is an empty one.
    node_squares : mean squares of their values (G + 1, C, GROUP).
    sample : which sample a node of the second level is (G, GROUP).
    lower, upper : boxes in all rows of the table (R, G).
    group_weight : weight of each group (G,).
    error : bounds on what a rule adds to the checks of order 1 and 2 of :mod:`l96closure.kernel._tolerant_sums`, and
        two that are to be multiplied by the square root of the bound on its share of S_0 (4, G).
    span : r and r^2, the range of the values in units of their standard deviation (H, 2).
    deviation : standard deviation of the values in kernel units (H, C).
    rtol : tolerance of the sums; 0 is none, all samples are summed (H,).
    """

    first: Index
    number: Index
    nodes: F32
    node_squares: F32
    sample: Index
    lower: F32
    upper: F32
    group_weight: F32
    error: F32
    span: F64
    deviation: F64
    rtol: F64


class _Level(NamedTuple):
    """Rows (G, R, GROUP) and weights of the nodes, error bounds (G, 2, 1 + 2 C), boxes (G, R), samples (G, GROUP)."""

    rows: F64
    weights: F64
    error: F64
    lower: F64
    upper: F64
    sample: Index

    def reordered(self, order: Index) -> _Level:
        fields: Any = [field[order] for field in self]
        return _Level(*fields)

    def followed_by(self, other: _Level) -> _Level:
        fields: Any = [np.concatenate(pair) for pair in zip(self, other, strict=True)]
        return _Level(*fields)


def group(
    table: F64, squares: F64, weight: F64, size: int, value_rows: Index, rtol: float = 0.0, recombine: bool = False
) -> Groups:
    """Lay out one dictionary.

    Parameters
    ----------
    table : rows of samples (R, M) in kernel units, coordinates first, in the order of the trajectory if they are one.
    squares : mean squares of the values (C, M).
    weight : the weights v (M,), positive.
    size : number of coordinates.
    value_rows : which rows are averaged (C,).
    rtol : tolerance of the sums.
    recombine : make the first level, where Gauss rules save half of the nodes or more.

    Returns
    -------
    Groups with H = 1.
    """
    everything = np.arange(weight.size)
    samples = _samples(table, weight, size, everything, value_rows)
    rules = _samples(table, weight, size, everything[:0], value_rows)
    if recombine:
        found = recombination.recombine(table, weight, size, value_rows, GROUP, _RULE_SHARE * rtol)
        rest = _samples(table, weight, size, found.rest, value_rows)
        together = _Level(*found[:5], np.full(found.weights.shape, -1)).followed_by(rest)
        if 2 * len(together.weights) <= len(samples.weights):
            order = _compact(0.5 * (together.lower + together.upper).T[:size], LANES)
            rules = together.reordered(order)
    # a node's square is that of its value, and what one sample of a compressed dictionary has beyond it
    beyond = squares - table[value_rows] ** 2
    deviation, span = np.ones(value_rows.size), np.zeros(1)
    if value_rows.size and weight.size:
        deviation = np.maximum(table[value_rows].std(axis=1), np.finfo(float).tiny)
        span = np.ptp(table[value_rows], axis=1) / deviation
    parts = [_laid_out(level, beyond, value_rows, deviation, span) for level in (rules, samples)]
    arrays = {name: np.concatenate([part[name] for part in parts], _AXIS.get(name, 0)) for name in parts[0]}
    return Groups(
        first=np.array([[0, parts[0]["group_weight"].size]]),
        number=np.array([[len(rules.weights), len(samples.weights)]]),
        span=np.array([[span.max(), span.max() ** 2]]),
        deviation=deviation[None],
        rtol=np.array([rtol]),
        **arrays,
    )


_AXIS = {"lower": 1, "upper": 1, "error": 1}


def joined(several: Sequence[Groups], rows: int) -> Groups:
    """Join the groups of several dictionaries, padded to ``rows`` rows of the table."""
    starts = np.cumsum([0] + [groups.group_weight.size for groups in several[:-1]])
    arrays: dict[str, Any] = {}
    for name in Groups._fields:
        parts: list[Any] = [getattr(groups, name) for groups in several]
        if name == "first":
            parts = [part + start for part, start in zip(parts, starts, strict=True)]
        elif name == "nodes":
            parts = [np.pad(part, [(0, 0), (0, 1 + rows - part.shape[1]), (0, 0)]) for part in parts]
            parts.append(np.full((1, 1 + rows, GROUP), _NOTHING, np.float32))
        elif name == "node_squares":
            parts.append(np.zeros((1, *parts[0].shape[1:]), np.float32))
        elif name in ("lower", "upper"):
            parts = [np.pad(part, [(0, rows - part.shape[0]), (0, 0)]) for part in parts]
        arrays[name] = _aligned(np.concatenate(parts, _AXIS.get(name, 0)))
    return Groups(**arrays)


def _compact(points: F64, leaf: int) -> Index:
    """Order of points (D, n) in which every ``leaf`` consecutive ones are near each other: medians of a k-d tree."""
    done: list[Index] = []
    stack = [np.arange(points.shape[1])]
    while stack:
        part = stack.pop()
        if part.size <= leaf or points.shape[0] == 0:
            done.append(part)
            continue
        inside = points[:, part]
        widest = int(np.ptp(inside, axis=1).argmax())
        half = (-(-part.size // leaf) + 1) // 2 * leaf
        ordered = part[np.argpartition(inside[widest], half - 1)]
        stack += [np.sort(ordered[half:]), np.sort(ordered[:half])]
    return np.concatenate(done)


def _samples(table: F64, weight: F64, size: int, members: Index, value_rows: Index) -> _Level:
    """Make groups in which samples stand for themselves; the last is filled up with its first sample, at weight 0."""
    order = members[_compact(table[:size, members], GROUP)] if members.size else members
    count = -(-members.size // GROUP)
    slots = np.pad(order, (0, count * GROUP - members.size), mode="edge" if members.size else "constant")
    used = (np.arange(slots.size) < members.size).reshape(count, GROUP)
    slots = slots.reshape(count, GROUP)
    rows = table[:, slots].transpose(1, 0, 2)
    error = np.zeros((count, 2, 1 + 2 * value_rows.size))
    return _Level(rows, np.where(used, weight[slots], 0.0), error, rows.min(axis=2), rows.max(axis=2), slots)


def _laid_out(level: _Level, beyond: F64, value_rows: Index, deviation: F64, span: F64) -> dict[str, Any]:
    """Arrays of one level, with empty groups up to a multiple of ``LANES``."""
    C, empty = value_rows.size, -len(level.weights) % LANES
    with np.errstate(divide="ignore"):
        log_weight = np.maximum(np.log2(level.weights), _NOTHING)
    values = level.rows[:, value_rows]
    squares = values**2 + np.where(level.sample[:, None] >= 0, beyond[:, level.sample].transpose(1, 0, 2), 0.0)
    group_weight = level.weights.sum(axis=1)
    e0, e1, e2 = level.error[:, :, :1], level.error[:, :, 1 : 1 + C], level.error[:, :, 1 + C :]
    checks = [e1 / deviation + span * e0, e2 / deviation**2 + 2.0 * span * e1 / deviation + span**2 * e0]
    bounds = np.stack(checks).max(axis=3, initial=0.0)  # (order, group, kind)
    bounds[:, :, 1] /= np.sqrt(group_weight)
    nodes = np.concatenate([log_weight[:, None], level.rows], axis=1)
    padding = [(0, empty), (0, 0), (0, 0)]
    return {
        "nodes": np.pad(nodes.astype(np.float32), padding),
        "node_squares": np.pad(squares.astype(np.float32), padding),
        "sample": np.pad(level.sample, padding[:2]),
        "lower": np.pad(level.lower.T.astype(np.float32), padding[1::-1]),
        "upper": np.pad(level.upper.T.astype(np.float32), padding[1::-1]),
        "group_weight": np.pad(group_weight.astype(np.float32), (0, empty)),
        "error": np.pad(bounds.transpose(2, 0, 1).reshape(4, -1).astype(np.float32), padding[1::-1]),
    }


def _aligned(array: Array) -> Array:
    """Copy an array to where cache lines start, so that no vector straddles two of them."""
    line = 64
    memory = np.empty(array.nbytes + line, np.uint8)
    start = -memory.ctypes.data % line
    out = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out
