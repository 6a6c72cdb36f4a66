"""Sums over groups of samples in single precision, in an order that the source fixes."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from l96closure.arrays import F32, F64, Index
from l96closure.compiled import called
from l96closure.kernel._groups import GROUP
from l96closure.kernel._layout import Layout, Scratch
from l96closure.vector import LANES, exp2, fma, fnma, load, splat, store, total

FAR = 2.0**-24  # below this sum the single-precision exponents have lost their digits to the common shift
FLUSH = 64  # groups whose sums are added up in single precision before they go into double
_BLOCK = 16  # the same where queries are summed side by side: a place of the vector adds up all nodes of a group


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def group_weights(query: F32, size: int, nodes: F32, one: int, other: int) -> tuple[Any, Any]:
    """Return v t of the nodes of two groups."""
    stride = nodes.shape[1] * GROUP
    one, other = one * stride, other * stride
    low, high = load(nodes, one), load(nodes, other)
    for a in range(size):
        q, at = splat(query[a]), (1 + a) * GROUP
        near, far = q - load(nodes, one + at), q - load(nodes, other + at)
        low, high = fnma(near, near, low), fnma(far, far, high)
    return exp2(low), exp2(high)


@called
def add_groups(
    query: F32, sums: F64, found: int, size: int, rows: Index, nodes: F32, squares: F32, order: int, scratch: Scratch
) -> None:
    """Add the sums of the first ``found`` groups of ``near`` to those of a query (3, C), up to ``order``.

    The first value's sums are kept in registers, the others' in ``partial``, two vectors each.
    """
    near, partial = scratch.near, scratch.partial
    stride, zero = nodes.shape[1] * GROUP, splat(np.float32(0.0))
    near[found] = nodes.shape[0] - 1  # an odd one is paired with the empty one
    for begin in range(0, found, FLUSH):
        zeroth, first, second = zero, zero, zero
        for c in range(1, rows.size):
            store(zero, partial, 2 * c * LANES)
            store(zero, partial, (2 * c + 1) * LANES)
        for i in range(begin, min(begin + FLUSH, found), 2):
            low, high = group_weights(query, size, nodes, near[i], near[i + 1])
            zeroth = zeroth + (low + high)
            one, other = near[i] * stride, near[i + 1] * stride
            one_square, other_square = near[i] * rows.size * GROUP, near[i + 1] * rows.size * GROUP
            if order > 0:
                at = (1 + rows[0]) * GROUP
                first = fma(high, load(nodes, other + at), fma(low, load(nodes, one + at), first))
            if order > 1:
                second = fma(high, load(squares, other_square), fma(low, load(squares, one_square), second))
            for c in range(1, rows.size):
                at, into = (1 + rows[c]) * GROUP, 2 * c * LANES
                both = fma(low, load(nodes, one + at), high * load(nodes, other + at))
                store(load(partial, into) + both, partial, into)
                at, into = c * GROUP, into + LANES
                both = fma(low, load(squares, one_square + at), high * load(squares, other_square + at))
                store(load(partial, into) + both, partial, into)
        sums[0, 0] += total(zeroth)
        sums[1, 0] += total(first)
        sums[2, 0] += total(second)
        for c in range(1, rows.size):
            sums[1, c] += total(load(partial, 2 * c * LANES))
            sums[2, c] += total(load(partial, (2 * c + 1) * LANES))


@called(forceinline=True)
def over_all(queries: F32, sums: F64, number: int, h: int, layout: Layout, order: int, scratch: Scratch) -> None:
    """Write the sums over all samples of dictionary ``h`` for so many of the ``queries`` into ``sums`` (Q, 3, C).

    The queries take turns at a few groups, which stay in the cache meanwhile; each is summed as it would be alone.
    """
    groups, rows, size = layout.groups, layout.value_rows[h], layout.size[h]
    sums[:number] = 0.0
    for begin in range(0, groups.number[h, 1], FLUSH):
        some = min(FLUSH, groups.number[h, 1] - begin)
        for g in range(some):
            scratch.near[g] = groups.first[h, 1] + begin + g
        for i in range(number):
            add_groups(queries[i], sums[i], some, size, rows, groups.nodes, groups.node_squares, order, scratch)


@called
def side_by_side(
    queries: F32, size: int, row: int, nodes: F32, squares: F32, start: int, stop: int, order: int, work: F32, sums: F64
) -> None:
    """Sum over the groups ``start`` to ``stop`` for ``LANES`` queries at a time, one in each place of a vector.

    Samples are read once for all queries and nothing is summed across a vector, which suits many queries of one
    dictionary that averages one value. Each query is summed in the same order whatever the others are.

    Parameters
    ----------
    queries : coordinates of the queries in kernel units (size * LANES,), those of one after the other's.
    size, row : number of coordinates, and which row of the table is averaged.
    nodes, squares : ``nodes`` and ``node_squares`` of :class:`l96closure.kernel._groups.Groups`.
    start, stop, order : which groups, and up to which order sums are needed.
    work : (3 * LANES,).
    sums : S_0, S_1 and S_2 (3, LANES).
    """
    sums[:] = 0.0
    for begin in range(start, stop, _BLOCK):
        zeroth = splat(np.float32(0.0))
        first, second = zeroth, zeroth
        for g in range(begin, min(begin + _BLOCK, stop)):
            for j in range(0, GROUP, 2):
                low, high = splat(nodes[g, 0, j]), splat(nodes[g, 0, j + 1])
                for a in range(size):
                    q = load(queries, a * LANES)
                    near, far = q - splat(nodes[g, 1 + a, j]), q - splat(nodes[g, 1 + a, j + 1])
                    low, high = fnma(near, near, low), fnma(far, far, high)
                low, high = exp2(low), exp2(high)
                zeroth = zeroth + (low + high)
                first = fma(high, splat(nodes[g, 1 + row, j + 1]), fma(low, splat(nodes[g, 1 + row, j]), first))
                if order > 1:
                    second = fma(high, splat(squares[g, 0, j + 1]), fma(low, splat(squares[g, 0, j]), second))
        store(zeroth, work, 0)
        store(first, work, LANES)
        store(second, work, 2 * LANES)
        for k in range(3):
            for i in range(LANES):
                sums[k, i] += work[k * LANES + i]
