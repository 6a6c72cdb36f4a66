"""Sums over groups of samples in single precision: over all of them, or under a tolerance.

Under a tolerance, near groups are summed and far ones left out: first with Gauss rules in place of runs of samples,
then with the samples themselves (:mod:`l96closure.bridge.groups`).

Bound. Let D denote approximate minus exact. With m = S_1 / S_0 the exact and m' the approximate mean,
since sum v t (y - m) = 0,

    m' - m = D[sum v t (y - m)] / S_0'.

A group that is left out has at most the share U_g = (sum of its v) 2^(-d_g^2) of S_0, d_g its box's distance from q,
and adds at most U_g max|y - m| to the numerator, where |y - m| <= |y - m'| + |m' - m| and R_g = max|y - m'| / s is read
off the box, s = std(y). A rule adds at most e_1 + max|b - m| e_0 (see recombination; b is the run's mean of y, and e_1,
e_0 also have a form that falls off with d_g), or twice what its leaving out would; max|b - m| is at most the range of
y, as m is a mean of y, and r = range(y) / s. Hence

    |m' - m| / s <= (sum_summed (e_1 / s + r e_0) + sum_left U_g R_g) / (S_0' - sum_left U_g),

which must not exceed ``rtol`` less ``ROUNDING``, what is kept for single precision. For the variance the same holds of
(y - m)^2 with e_2 / s^2 + 2 r e_1 / s + r^2 e_0 and r^2 for R_g, in units of s^2 (m' instead of m then only adds
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
    append_within,
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
I32 = npt.NDArray[np.int32]
Index = npt.NDArray[np.intp]

FAR = 2.0**-24  # below this sum the single-precision exponents have lost their digits to the common shift
ROUNDING = 1e-5  # of a conditional mean in single precision, in standard deviations: a tested figure, not a bound
FLUSH = 64  # groups whose sums are added up in single precision before they go into double
_BLOCK = 16  # the same where queries are summed side by side: a place of the vector adds up all nodes of a group
HUGE = np.float32(3e38)
_THIRD, _FINE = np.float32(1.0 / 3.0), np.float32(3.0**-0.25)
_CROWDING = 1.0 / 10.0  # a guess at S_0 over the sum of the groups' bounds; where it is wrong, the bound is not met


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


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _reach(plan: KernelPlan, h: int, c: int, g: int, mean: Any, unit: Any) -> Any:
    """Return max |y - mean| of value ``c`` in the boxes of the groups from ``g``, times ``unit``."""
    at = plan.value_rows[h, c] * plan.mass.size + g
    return larger(load(plan.upper, at) - mean, mean - load(plan.lower, at)) * unit


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _parts(h: int, plan: KernelPlan, start: int, n: int, check: int, about: F64, scratch: Scratch) -> Any:
    """Write to ``part`` what the groups would add to the check if they were left out; return the sum."""
    # For the variance that is r^2 U_g; for the mean, U_g times the largest |y - about| / s.
    least = splat(np.float32(plan.span[h, 1] if check == 1 else 0.0))
    values = 0 if check == 1 else plan.value_rows.shape[1]
    mean, unit = splat(np.float32(about[0])), splat(np.float32((1 - check) / plan.deviation[h, 0]))
    whole = splat(np.float32(0.0))
    for g in range(0, n, LANES):
        reach = larger(least, _reach(plan, h, 0, start + g, mean, unit))
        for c in range(1, values):
            another, scale = splat(np.float32(about[c])), splat(np.float32(1.0 / plan.deviation[h, c]))
            reach = larger(reach, _reach(plan, h, c, start + g, another, scale))
        part = load(scratch.bound, g) * reach
        store(part, scratch.part, g)
        whole = whole + part
    return total(whole)


@numba.njit  # type: ignore[untyped-decorator]
def _bounds(h: int, plan: KernelPlan, start: int, n: int, scratch: Scratch) -> Any:
    """Write U_g = mass 2^(-d_g^2) of the ``n`` groups from ``start`` into ``bound``; return their sum.

    They are zero up to a whole vector.
    """
    zero, G, size, query = splat(np.float32(0.0)), plan.mass.size, plan.size[h], scratch.single
    whole = zero
    for g in range(0, n, LANES):
        exponent = zero
        for a in range(size):
            q, at = splat(query[a]), a * G + start + g
            away = q - smaller(larger(q, load(plan.lower, at)), load(plan.upper, at))
            exponent = fnma(away, away, exponent)
        bound = exp2(exponent) * load(plan.mass, start + g)
        store(bound, scratch.bound, g)
        whole = whole + bound
    return total(whole)


@numba.njit  # type: ignore[untyped-decorator]
def _sums_below(parts: F32, n: int, limit: Any, factor: Any) -> Any:
    """Sum those of the first ``n`` parts below ``limit``, ``factor`` times it, ``factor^2`` times it, ^3."""
    zero = splat(np.float32(0.0))
    a, b, c, d = zero, zero, zero, zero
    second = limit * factor
    third = second * factor
    limits = splat(limit), splat(second), splat(third), splat(third * factor)
    for g in range(0, n, LANES):
        these = load(parts, g)
        a, b = a + where_below(these, limits[0], these), b + where_below(these, limits[1], these)
        c, d = c + where_below(these, limits[2], these), d + where_below(these, limits[3], these)
    return total(a), total(b), total(c), total(d)


@numba.njit  # type: ignore[untyped-decorator]
def share_below(parts: F32, n: int, budget: Any) -> tuple[Any, Any]:
    """Find a threshold such that those of the first ``n`` parts that are below it sum to ``budget`` at most.

    Returns the threshold, ``budget`` or less by a power of 3^(1/4), and that sum; at once where ``budget`` is NaN.
    """
    threshold, factor = budget, _THIRD
    while True:  # four thresholds at a time: a third of each other, and then between the last two
        sums = _sums_below(parts, n, threshold, factor)
        for k in range(4):
            if not sums[k] > budget:
                if k == 0 or factor > _THIRD:
                    return threshold, sums[k]
                threshold /= _THIRD
                break
            threshold *= factor
        else:
            continue
        threshold, factor = threshold * _FINE, _FINE


@numba.njit  # type: ignore[untyped-decorator]
def list_near(parts: F32, start: int, n: int, threshold: Any, ceiling: Any, near: I32) -> int:
    """List the groups from ``start`` whose part is at least the threshold and below the ceiling; return how many."""
    found, lower, upper = 0, splat(threshold), splat(ceiling)
    for g in range(0, n, LANES):
        found += append_within(load(parts, g), lower, upper, start + g, near, found)
    while found > 0 and near[found - 1] >= start + n:  # what fills up the last vector
        found -= 1
    return found


@numba.njit  # type: ignore[untyped-decorator]
def _settle(
    h: int, plan: KernelPlan, start: int, n: int, check: int, threshold: Any, scratch: Scratch
) -> tuple[Any, Any]:
    """Take account of the groups that were just summed, those whose part is not below the threshold.

    Returns what their rules may add to the check, and the largest share of S_0 that the others have. The bounds of
    what is summed become zero.
    """
    limit, twice, zero = splat(threshold), splat(np.float32(2.0 * plan.span[h, check])), splat(np.float32(0.0))
    rules, share, G = zero, zero, plan.mass.size
    for g in range(0, n, LANES):
        bound, part, at = load(scratch.bound, g), load(scratch.part, g), check * G + start + g
        falling = load(plan.error, at + 2 * G) * root(bound)
        rule = smaller(smaller(load(plan.error, at), falling), twice * bound)
        rules = rules + (rule - where_below(part, limit, rule))
        bound = where_below(part, limit, bound)
        store(bound, scratch.bound, g)
        share = share + bound
    return total(rules), total(share)


@numba.njit  # type: ignore[untyped-decorator]
def tolerant(h: int, plan: KernelPlan, order: int, scratch: Scratch) -> int:
    """Sum under the tolerance; return the number of kernel evaluations, negative where the bound is not met."""
    rows, work = plan.value_rows[h], 0
    check = 0 if order < 2 else 1
    rtol = plan.rtol[h] - ROUNDING
    sums, mean = scratch.sums, scratch.guess
    for level in range(2):
        start, n = plan.first[h, level], plan.number[h, level]
        everything = _bounds(h, plan, start, n, scratch)
        if not everything > FAR:
            continue
        sums[:] = 0.0
        for c in range(rows.size):  # the query's own value where it has one, else the centre of all
            mean[c] = scratch.single[rows[c]] if rows[c] < plan.size[h] else 0.0
        _parts(h, plan, start, n, check, mean, scratch)
        rules, budget = 0.0, np.float32(_CROWDING * rtol) * everything
        for _ in range(3):  # the first round tells S_0 and the mean, and so what the second may leave out
            threshold = share_below(scratch.part, n, budget)[0]
            found = list_near(scratch.part, start, n, threshold, HUGE, scratch.near)
            _add_groups(found, plan.size[h], rows, plan.nodes, plan.node_squares, order, scratch)
            work += found * GROUP
            if not sums[0, 0] > FAR:
                break
            for c in range(rows.size):
                mean[c] = sums[1, c] / sums[0, 0]
            more, share = _settle(h, plan, start, n, check, threshold, scratch)
            rules += more
            left = rtol * (sums[0, 0] - share) - rules
            if _parts(h, plan, start, n, check, mean, scratch) <= left:
                return work  # type: ignore[no-any-return]
            if not left > FAR * rtol * sums[0, 0]:  # and so no group is listed again, for whose part zero stands now
                break
            budget = np.float32(left)
    return -1 - work
