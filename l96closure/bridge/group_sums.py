"""Sums over groups of samples in single precision: over all of them, or under a tolerance.

Under a tolerance, near groups are summed and far ones left out: first with Gauss rules in place of runs of samples,
then with the samples themselves (:mod:`l96closure.bridge.groups`).

Bound. Let D denote approximate minus exact. With m = S_1 / S_0 the exact and m' the approximate mean,
since sum v t (y - m) = 0,

    m' - m = D[sum v t (y - m)] / S_0'.

A group that is left out adds at most U_g = (sum of its v) 2^(-d_g^2) max|y - m| to the numerator, d_g its box's
distance from q; a rule adds at most e_1 + max|b - m| e_0 (see recombination; b is the run's mean of y, and e_1, e_0
also have a form that falls off with d_g), or twice what its leaving out would; and max|y - m|, max|b - m| are at most
the range of y, as m is a mean of y. In units of s = std(y), with r = range(y) / s,

    |m' - m| / s <= (sum_summed (e_1 / s + r e_0) + r sum_left U_g) / S_0',

which must not exceed ``rtol`` less ``ROUNDING``, what is kept for single precision. For the variance the same holds of
(y - m)^2 with e_2 / s^2 + 2 r e_1 / s + r^2 e_0 and r^2 U_g, in units of s^2 (m' instead of m then only adds
(m' - m)^2). The bound is evaluated for every query, and a query that does not meet it is refused.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from l96closure.bridge.groups import GROUP
from l96closure.bridge.kernel_plan import KernelPlan, Scratch
from l96closure.bridge.vector import (
    LANES,
    exp2,
    fma,
    fnma,
    larger,
    load,
    root,
    smaller,
    splat,
    store,
    total,
    where_below,
)

__all__ = [
    "FAR",
    "FLUSH",
    "HUGE",
    "ROUNDING",
    "group_weights",
    "list_near",
    "over_all",
    "share_below",
    "side_by_side",
    "tolerant",
]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

FAR = 2.0**-24  # below this sum the single-precision exponents have lost their digits to the common shift
ROUNDING = 1e-5  # of a conditional mean in single precision, in standard deviations: a tested figure, not a bound
FLUSH = 64  # groups whose sums are added up in single precision before they go into double
_BLOCK = 16  # the same where queries are summed side by side: a place of the vector adds up all nodes of a group
HUGE = np.float32(3e38)
_THIRD = np.float32(1.0 / 3.0)
_CROWDING = 1.0 / 8.0  # a guess at S_0 over the sum of the groups' bounds; where it is wrong, the bound is not met


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


@numba.njit  # type: ignore[untyped-decorator]
def _add_groups(found: int, size: int, rows: Index, nodes: F32, squares: F32, order: int, scratch: Scratch) -> None:
    """Add the sums of the first ``found`` groups of ``near`` to ``sums``, up to ``order``.

    The first value's sums are kept in registers, the others' in ``partial``, two vectors each.
    """
    near, partial, sums = scratch.near, scratch.partial, scratch.sums
    stride, zero = nodes.shape[1] * GROUP, splat(np.float32(0.0))
    near[found] = nodes.shape[0] - 1  # an odd one is paired with the empty one
    for begin in range(0, found, FLUSH):
        zeroth, first, second = zero, zero, zero
        for c in range(1, rows.size):
            store(zero, partial, 2 * c * LANES)
            store(zero, partial, (2 * c + 1) * LANES)
        for i in range(begin, min(begin + FLUSH, found), 2):
            low, high = group_weights(scratch.single, size, nodes, near[i], near[i + 1])
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


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def over_all(h: int, plan: KernelPlan, order: int, scratch: Scratch) -> None:
    """Sum over all samples of dictionary ``h``."""
    n = plan.number[h, 1]
    for g in range(n):
        scratch.near[g] = plan.first[h, 1] + g
    scratch.sums[:] = 0.0
    _add_groups(n, plan.size[h], plan.value_rows[h], plan.nodes, plan.node_squares, order, scratch)


@numba.njit  # type: ignore[untyped-decorator]
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
    nodes, squares : ``nodes`` and ``node_squares`` of :class:`l96closure.bridge.groups.Groups`.
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


@numba.njit  # type: ignore[untyped-decorator]
def _bounds(query: F32, size: int, groups: KernelPlan, start: int, stop: int, bound: F32) -> None:
    """Write U_g = mass 2^(-d_g^2) of the groups ``start`` to ``stop``, and zeros up to a whole vector."""
    zero, G = splat(np.float32(0.0)), groups.mass.size
    for g in range(start, stop, LANES):
        exponent = zero
        for a in range(size):
            q, at = splat(query[a]), a * G + g
            away = larger(larger(load(groups.lower, at) - q, q - load(groups.upper, at)), zero)
            exponent = fnma(away, away, exponent)
        store(exp2(exponent) * load(groups.mass, g), bound, g - start)


@numba.njit  # type: ignore[untyped-decorator]
def share_below(bound: F32, n: int, budget: Any) -> tuple[Any, Any]:
    """Find a threshold such that those of the first ``n`` bounds that are below it sum to ``budget`` at most.

    Returns the threshold, ``budget`` or a third, a ninth ... of it, and that sum; at once where ``budget`` is NaN.
    """
    zero = splat(np.float32(0.0))
    threshold = budget
    while True:  # four thresholds at a time
        lower = threshold * _THIRD, threshold * _THIRD * _THIRD, threshold * _THIRD * _THIRD * _THIRD
        limits = splat(threshold), splat(lower[0]), splat(lower[1]), splat(lower[2])
        a, b, c, d = zero, zero, zero, zero
        for g in range(0, n, LANES):
            these = load(bound, g)
            a, b = a + where_below(these, limits[0], these), b + where_below(these, limits[1], these)
            c, d = c + where_below(these, limits[2], these), d + where_below(these, limits[3], these)
        if not total(a) > budget:
            return threshold, total(a)
        if not total(b) > budget:
            return lower[0], total(b)
        if not total(c) > budget:
            return lower[1], total(c)
        if not total(d) > budget:
            return lower[2], total(d)
        threshold = lower[2] * _THIRD


@numba.njit  # type: ignore[untyped-decorator]
def list_near(bound: F32, start: int, n: int, threshold: Any, ceiling: Any, near: Index) -> int:
    """List the groups from ``start`` whose bound is at least the threshold and below the ceiling; return how many."""
    found = 0
    for g in range(n):
        near[found] = start + g
        found += (threshold <= bound[g]) & (bound[g] < ceiling)
    return found


@numba.njit  # type: ignore[untyped-decorator]
def _rule_errors(start: int, n: int, plan: KernelPlan, check: int, h: int, threshold: Any, bound: F32) -> Any:
    """Bound on what the rules of the ``n`` groups from ``start`` add to the check, if their bound is not below."""
    limit, twice = splat(threshold), splat(np.float32(2.0 * plan.span[h, check]))
    result, G = splat(np.float32(0.0)), plan.mass.size
    for g in range(0, n, LANES):
        these, at = load(bound, g), check * G + start + g
        falling = load(plan.error, at + 2 * G) * root(these)
        rule = smaller(smaller(load(plan.error, at), falling), twice * these)
        result = result + (rule - where_below(these, limit, rule))
    return total(result)


@numba.njit  # type: ignore[untyped-decorator]
def tolerant(h: int, plan: KernelPlan, order: int, scratch: Scratch) -> int:
    """Sum under the tolerance; return the number of kernel evaluations, negative where the bound is not met."""
    size, rows, work = plan.size[h], plan.value_rows[h], 0
    check = 0 if order < 2 else 1
    span = plan.span[h, check]
    rtol = plan.rtol[h] - ROUNDING
    bound, query, sums = scratch.bound, scratch.single, scratch.sums
    for level in range(2):
        start, n = plan.first[h, level], plan.number[h, level]
        _bounds(query, size, plan, start, start + n, bound)
        largest = share_below(bound, n, HUGE)[1]
        if not largest > FAR:
            continue
        sums[:] = 0.0
        ceiling, budget = HUGE, np.float32(_CROWDING * rtol / span) * largest
        for _ in range(2):  # the first round tells S_0, and so what the second may leave out
            threshold, left_out = share_below(bound, n, budget)
            found = list_near(bound, start, n, threshold, ceiling, scratch.near)
            _add_groups(found, size, rows, plan.nodes, plan.node_squares, order, scratch)
            work += found * GROUP
            left = rtol * sums[0, 0] - _rule_errors(start, n, plan, check, h, threshold, bound)
            if span * left_out <= left and sums[0, 0] > FAR:
                return work  # type: ignore[no-any-return]
            if not left > 0.0:
                break
            ceiling, budget = threshold, np.float32(left / span)
    return -1 - work
