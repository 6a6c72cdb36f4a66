"""Sums over groups of samples under a tolerance: near groups are summed and far ones left out.

First with Gauss rules in place of runs of samples, then with the samples themselves
(:mod:`l96closure.kernel._groups`).

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

from l96closure.arrays import F32, F64, I32
from l96closure.kernel._group_sums import FAR, add_groups
from l96closure.kernel._groups import GROUP
from l96closure.kernel._layout import Layout, Scratch
from l96closure.vector import (
    LANES,
    append_within,
    exp2,
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

ROUNDING = 1e-5  # of a conditional mean in single precision, in standard deviations: a tested figure, not a bound
HUGE = np.float32(3e38)
_THIRD, _FINE = np.float32(1.0 / 3.0), np.float32(3.0**-0.25)
_CROWDING = 0.05  # a guess at S_0 over the sum of the groups' bounds; where it is wrong, the bound is not met


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _reach(layout: Layout, h: int, c: int, g: int, mean: Any, unit: Any) -> Any:
    """Return max |y - mean| of value ``c`` in the boxes of the groups from ``g``, times ``unit``."""
    at = layout.value_rows[h, c] * layout.groups.group_weight.size + g
    return larger(load(layout.groups.upper, at) - mean, mean - load(layout.groups.lower, at)) * unit


# These are optimised by themselves before they are taken in: with `called` the sums take a twentieth longer.
@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _parts(h: int, layout: Layout, start: int, n: int, check: int, about: F64, scratch: Scratch) -> Any:
    """Write to ``part`` what the groups would add to the check if they were left out; return the sum."""
    # For the variance that is r^2 U_g; for the mean, U_g times the largest |y - about| / s.
    least = splat(np.float32(layout.groups.span[h, 1] if check == 1 else 0.0))
    values = 0 if check == 1 else layout.value_rows.shape[1]
    mean, unit = splat(np.float32(about[0])), splat(np.float32((1 - check) / layout.groups.deviation[h, 0]))
    whole = splat(np.float32(0.0))
    for g in range(0, n, LANES):
        reach = larger(least, _reach(layout, h, 0, start + g, mean, unit))
        for c in range(1, values):
            another, scale = splat(np.float32(about[c])), splat(np.float32(1.0 / layout.groups.deviation[h, c]))
            reach = larger(reach, _reach(layout, h, c, start + g, another, scale))
        part = load(scratch.bound, g) * reach
        store(part, scratch.part, g)
        whole = whole + part
    return total(whole)


@numba.njit  # type: ignore[untyped-decorator]
def _bounds(h: int, layout: Layout, start: int, n: int, scratch: Scratch) -> Any:
    """Write U_g = group_weight 2^(-d_g^2) of the ``n`` groups from ``start`` into ``bound``; return their sum.

    They are zero up to a whole vector.
    """
    zero, G, size, query = splat(np.float32(0.0)), layout.groups.group_weight.size, layout.size[h], scratch.single
    whole = zero
    for g in range(0, n, LANES):
        exponent = zero
        for a in range(size):
            q, at = splat(query[a]), a * G + start + g
            away = q - smaller(larger(q, load(layout.groups.lower, at)), load(layout.groups.upper, at))
            exponent = fnma(away, away, exponent)
        bound = exp2(exponent) * load(layout.groups.group_weight, start + g)
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
    h: int, layout: Layout, start: int, n: int, check: int, threshold: Any, scratch: Scratch
) -> tuple[Any, Any]:
    """Take account of the groups that were just summed, those whose part is not below the threshold.

    Returns what their rules may add to the check, and the largest share of S_0 that the others have. The bounds of
    what is summed become zero.
    """
    limit, twice, zero = splat(threshold), splat(np.float32(2.0 * layout.groups.span[h, check])), splat(np.float32(0.0))
    rules, share, G = zero, zero, layout.groups.group_weight.size
    for g in range(0, n, LANES):
        bound, part, at = load(scratch.bound, g), load(scratch.part, g), check * G + start + g
        falling = load(layout.groups.error, at + 2 * G) * root(bound)
        rule = smaller(smaller(load(layout.groups.error, at), falling), twice * bound)
        rules = rules + (rule - where_below(part, limit, rule))
        bound = where_below(part, limit, bound)
        store(bound, scratch.bound, g)
        share = share + bound
    return total(rules), total(share)


@numba.njit  # type: ignore[untyped-decorator]
def tolerant(h: int, layout: Layout, order: int, scratch: Scratch) -> int:
    """Sum under the tolerance; return the number of kernel evaluations, negative where the bound is not met."""
    rows, work = layout.value_rows[h], 0
    check = 0 if order < 2 else 1
    rtol = layout.groups.rtol[h] - ROUNDING
    sums, mean = scratch.sums, scratch.guess
    for level in range(2):
        start, n = layout.groups.first[h, level], layout.groups.number[h, level]
        everything = _bounds(h, layout, start, n, scratch)
        if not everything > FAR:
            continue
        sums[:] = 0.0
        for c in range(rows.size):  # the query's own value where it has one, else the centre of all
            mean[c] = scratch.single[rows[c]] if rows[c] < layout.size[h] else 0.0
        _parts(h, layout, start, n, check, mean, scratch)
        rules, budget = 0.0, np.float32(_CROWDING * rtol) * everything
        for _ in range(3):  # the first round tells S_0 and the mean, and so what the second may leave out
            threshold = share_below(scratch.part, n, budget)[0]
            found = list_near(scratch.part, start, n, threshold, HUGE, scratch.near)
            tables = layout.groups.nodes, layout.groups.node_squares
            add_groups(scratch.single, sums, found, layout.size[h], rows, *tables, order, scratch)
            work += found * GROUP
            if not sums[0, 0] > FAR:
                break
            for c in range(rows.size):
                mean[c] = sums[1, c] / sums[0, 0]
            more, share = _settle(h, layout, start, n, check, threshold, scratch)
            rules += more
            left = rtol * (sums[0, 0] - share) - rules
            if _parts(h, layout, start, n, check, mean, scratch) <= left:
                return work
            if not left > FAR * rtol * sums[0, 0]:  # and so no group is listed again, for whose part zero stands now
                break
            budget = np.float32(left)
    return -1 - work
