"""Conditional moments: which sums a query is tried with, and many queries side by side."""

from __future__ import annotations

from numba.extending import register_jitable

from l96closure.arrays import F64
from l96closure.compiled import cached, called
from l96closure.kernel._group_sums import FAR, over_all, side_by_side
from l96closure.kernel._groups import GROUP
from l96closure.kernel._layout import DISTANCE, TOGETHER, Layout, Scratch, memory_of
from l96closure.kernel._shifted_sums import query_coordinates, sums_shifted
from l96closure.kernel._tolerant_sums import tolerant
from l96closure.kernel._unmanaged import unmanaged
from l96closure.vector import LANES

_MIN_SIDE_BY_SIDE = LANES // 2  # queries of a state, from which on a vector beats one after another


@called(forceinline=True)
def _write_moments(sums: F64, p: int, layout: Layout, order: int, mean: F64, variance: F64) -> None:
    """Turn the sums (3, C) of query ``p`` into the moments of its targets."""
    h = layout.head[p]
    for c in range(layout.value_rows.shape[1]):
        first = sums[1, c] / sums[0, 0]
        target, row = layout.targets[p, c], layout.value_rows[h, c]
        mean[target] = layout.centre[h, row] + first / layout.factor[h, row]
        if order > 1:
            spread = max(sums[2, c] / sums[0, 0] - first * first, 0.0)
            variance[target] = spread / layout.factor[h, row] ** 2


@called(forceinline=True)
def _one_query(
    x: F64, p: int, layout: Layout, order: int, mean: F64, variance: F64, scratch: Scratch, double: bool | None
) -> tuple[int, int]:
    """Conditional moments of the targets of query ``p`` for the state ``x`` (d,).

    Returns the number of kernel evaluations, and of queries that are left (one, or none) for want of double precision.
    """
    h = layout.head[p]
    query = query_coordinates(x, p, layout, scratch.query)
    sums, work, done = scratch.sums, 0, False
    if layout.kind == DISTANCE:
        for a in range(query.size):
            scratch.single[a] = query[a]
        if layout.groups.rtol[h] > 0.0:
            work = tolerant(h, layout, order, scratch)
            done = work >= 0
            work = max(work, -1 - work)
        if not done:
            over_all(scratch.single.reshape(1, -1), sums.reshape((1, 3, -1)), 1, h, layout, order, scratch)
            work += layout.groups.number[h, 1] * GROUP
            done = sums[0, 0] > FAR
    if not done:
        if double is None:  # its type decides, so that what few runs need is compiled for few
            return work, 1
        sums_shifted(query, h, layout, sums)
        work += layout.weight.shape[1]
    _write_moments(sums, p, layout, order, mean, variance)
    return work, 0


@called(forceinline=True)
def _in_lanes(x: F64, begin: int, some: int, layout: Layout, order: int, scratch: Scratch) -> None:
    """Write the sums for a vector of tasks from ``begin`` on, of which ``some`` count, into ``lane_sums``."""
    P, size, row = layout.head.size, layout.size[0], layout.value_rows[0, 0]
    for a in range(size):
        for i in range(LANES):
            task = begin + min(i, some - 1)
            n, p = task // P, task % P
            q = (x[n, layout.gather[p, a]] - layout.centre[0, a]) * layout.factor[0, a]
            scratch.queries[a * LANES + i] = q
    first, number = layout.groups.first[0, 1], layout.groups.number[0, 1]
    tables, sums = (layout.groups.nodes, layout.groups.node_squares), scratch.lane_sums
    side_by_side(scratch.queries, size, row, *tables, first, first + number, order, scratch.partial, sums)


@called(forceinline=True)
def _several_queries(
    x: F64,
    start: int,
    stop: int,
    layout: Layout,
    order: int,
    mean: F64,
    variance: F64,
    scratch: Scratch,
    double: bool | None,
) -> tuple[int, int]:
    """Conditional moments of the tasks ``start`` to ``stop``, task n P + p being query p of state n."""
    P, work, left = layout.head.size, 0, 0
    if suits_lanes(layout):
        row, sums = layout.value_rows[0, 0], scratch.lane_sums
        centre, factor = layout.centre[0, row], layout.factor[0, row]
        for begin in range(start, stop, LANES):
            some = min(LANES, stop - begin)
            _in_lanes(x, begin, some, layout, order, scratch)
            work += some * layout.groups.number[0, 1] * GROUP
            for i in range(some):
                n, p = (begin + i) // P, (begin + i) % P
                if sums[0, i] > FAR:
                    value, target = sums[1, i] / sums[0, i], layout.targets[p, 0]
                    mean[n, target] = centre + value / factor
                    variance[n, target] = max(sums[2, i] / sums[0, i] - value * value, 0.0) / factor**2
                else:
                    done = _one_query(x[n], p, layout, order, mean[n], variance[n], scratch, double)
                    work, left = work + done[0], left + done[1]
        return work, left
    for p in range(P):  # what one dictionary is asked for all states, while it is in the cache
        h = layout.head[p]
        in_turns = layout.kind == DISTANCE and layout.groups.rtol[h] == 0.0
        first, last = -(-(start - p) // P), -(-(stop - p) // P)
        for begin in range(first, last, TOGETHER):
            some = min(TOGETHER, last - begin)
            if in_turns:
                for i in range(some):
                    query = query_coordinates(x[begin + i], p, layout, scratch.query)
                    for a in range(query.size):
                        scratch.several[i, a] = query[a]
                over_all(scratch.several, scratch.several_sums, some, h, layout, order, scratch)
                work += some * layout.groups.number[h, 1] * GROUP
            for i in range(some):
                n = begin + i
                if in_turns and scratch.several_sums[i, 0, 0] > FAR:
                    _write_moments(scratch.several_sums[i], p, layout, order, mean[n], variance[n])
                else:
                    done = _one_query(x[n], p, layout, order, mean[n], variance[n], scratch, double)
                    work, left = work + done[0], left + done[1]
    return work, left


@register_jitable(forceinline=True)  # type: ignore[untyped-decorator]
def suits_lanes(layout: Layout) -> bool:
    """Whether queries are summed side by side; not a function of how many states there are, each has its own bits."""
    one = layout.weight.shape[0] == 1 and layout.value_rows.shape[1] == 1 and layout.size[0] > 0
    return one and layout.kind == DISTANCE and layout.groups.rtol[0] == 0.0 and layout.head.size >= _MIN_SIDE_BY_SIDE


@called(forceinline=True)
def moments_of(
    x: F64, layout: Layout, order: int, mean: F64, variance: F64, double: bool | None, start: int, stop: int
) -> tuple[int, int]:
    """Conditional mean (``order`` 1) and variance (2) of the targets of the tasks ``start`` to ``stop``.

    Task n P + p is query p of P for state n of x (n, d). Returns the number of kernel evaluations, and of queries that
    are left because ``double`` is None: those that single precision cannot answer.
    """
    return moments_with(memory_of(layout), x, layout, order, mean, variance, double, start, stop)


@called(forceinline=True)
def moments_with(
    memory: Scratch, x: F64, layout: Layout, order: int, mean: F64, variance: F64, double: bool | None, start: int,
    stop: int,
) -> tuple[int, int]:  # fmt: skip
    """:func:`moments_of` with memory of :func:`memory_of`, for few queries at a time."""
    out = unmanaged(mean), unmanaged(variance)
    return _several_queries(unmanaged(x), start, stop, unmanaged(layout), order, *out, unmanaged(memory), double)


moments_of_all = cached(moments_of)
