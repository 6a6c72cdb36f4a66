"""Sums over samples at the samples themselves, for the Sinkhorn scaling, and what a weight vector is worth."""

from __future__ import annotations

import math

import numpy as np

from l96closure.arrays import F32, F64, Index
from l96closure.compiled import cached, called, shared
from l96closure.kernel import _groups as groups
from l96closure.kernel._group_sums import FLUSH, group_weights
from l96closure.kernel._groups import GROUP, Groups
from l96closure.kernel._layout import VARIABLE, Layout
from l96closure.kernel._line_sums import LineSums
from l96closure.kernel._shifted_sums import (
    exponents,
    nth_smallest,
    query_coordinates,
    shifted,
    squared_distances,
    weights,
)
from l96closure.kernel._tolerant_sums import HUGE, list_near, share_below
from l96closure.vector import LANES, exp2, fma, fnma, larger, load, splat, store, total, whole_lines

_CROWDING = 1.0 / 30.0  # a guess at the sums over the bounds; where it is too large, there is a second round


class RowSums:
    """The products T v of a set of samples for as many v as are asked for, T_jk = 2^(-|y_j - x_k|^2).

    Each group of ``GROUP`` neighbouring targets y is summed over the groups of samples x that are near enough; the
    others are left out. Their part is bounded by their weight and the distance of the boxes.

    Parameters
    ----------
    samples : x (D, M) in kernel units.
    on_line : sum them on a grid (:class:`l96closure.kernel._line_sums.LineSums`) where they have one coordinate and no
        far outlier.

    Attributes
    ----------
    on_line : whether they are; an evaluation then costs next to nothing.
    evaluations : of the kernel, so far.
    """

    def __init__(self, samples: F64, on_line: bool = False) -> None:
        self._size, self.evaluations = samples.shape[1], 0
        self.on_line = on_line and len(samples) == 1 and LineSums.suit(samples[0])
        if self.on_line:
            self._line = LineSums(samples[0])
            return
        self._groups, self._wide = _laid_out(samples)
        number = self._groups.number[0, 1]
        self._sample = self._groups.sample[:number]
        self._used = self._groups.nodes[:number, 0] == 0.0  # the last group may not be full

    def log(self, u: F64, share: float, double: bool = False, at: RowSums | None = None) -> F64:
        """log(T e^u) (N,) for u (M,).

        Parameters
        ----------
        u : log v (M,).
        share : part of each sum that may be left out.
        double : evaluate in double precision.
        at : whose samples are the targets, not on a line; None is these.
        """
        if self.on_line:
            return self._line.log(u)
        v = np.where(self._used, np.exp(u)[self._sample], 0.0)
        self._groups.nodes[: len(v), 0][self._used] = (u * math.log2(math.e))[self._sample[self._used]]
        self._groups.group_weight[: len(v)] = v.sum(axis=1)
        target = self if at is None else at
        sums, tiles = np.empty(target._size), target._groups.number[0, 1]
        arguments = self._groups, self._wide, v, target._groups, target._wide, double, share, sums
        self.evaluations += sum(shared(_row_sums, tiles, *arguments))
        return np.log(sums)


def _laid_out(points: F64) -> tuple[Groups, F64]:
    """Lay points (D, M) out in groups; return these, and their coordinates in double precision (G, D, GROUP)."""
    D, M = points.shape
    laid_out = groups.group(points, np.empty((0, M)), np.ones(M), D, np.empty(0, np.intp))
    wide = points[:, laid_out.sample[: laid_out.number[0, 1]]].transpose(1, 0, 2)
    return groups.joined([laid_out], D), np.ascontiguousarray(wide)


@called
def _box_bounds(source: Groups, target: Groups, tile: int, size: int, bound: F32) -> None:
    """Write its weight times 2^(-d^2) of every group of ``source``, d the distance of its box from the tile's."""
    zero, G = splat(np.float32(0.0)), source.group_weight.size
    for g in range(0, source.number[0, 1], LANES):
        exponent = zero
        for a in range(size):
            at = a * G + g
            lower, upper = splat(target.lower[a, tile]), splat(target.upper[a, tile])
            away = larger(larger(load(source.lower, at) - upper, lower - load(source.upper, at)), zero)
            exponent = fnma(away, away, exponent)
        store(exp2(exponent) * load(source.group_weight, g), bound, g)


@called
def _add_single(near: Index, found: int, source: Groups, queries: F32, partial: F32, totals: F64) -> None:
    """Add the sums over the first ``found`` groups of ``near`` at each row of ``queries`` (GROUP, D) to ``totals``."""
    zero = splat(np.float32(0.0))
    near[found] = source.nodes.shape[0] - 1  # an odd one is paired with the empty one
    for begin in range(0, found, FLUSH):
        for i in range(GROUP):
            store(zero, partial, i * LANES)
        for k in range(begin, min(begin + FLUSH, found), 2):
            for i in range(GROUP):
                low, high = group_weights(queries[i], queries.shape[1], source.nodes, near[k], near[k + 1])
                store(load(partial, i * LANES) + (low + high), partial, i * LANES)
        for i in range(GROUP):
            totals[i] += total(load(partial, i * LANES))


@called
def _add_double(near: Index, found: int, wide: F64, weight: F64, queries: F64, totals: F64) -> None:
    """Add the same sums in double precision: wide (G, D, GROUP), weight (G, GROUP), queries (D, GROUP)."""
    size = queries.shape[0]
    for begin in range(0, found, FLUSH):
        for i in range(GROUP):
            sums = splat(0.0)
            for k in range(begin, min(begin + FLUSH, found)):
                exponent = splat(0.0)
                for a in range(size):
                    away = splat(queries[a, i]) - load(wide, (near[k] * size + a) * LANES)
                    exponent = fnma(away, away, exponent)
                sums = fma(exp2(exponent), load(weight, near[k] * LANES), sums)
            totals[i] += total(sums)


@cached
def _row_sums(
    source: Groups,
    wide: F64,
    weight: F64,
    target: Groups,
    wide_target: F64,
    double: bool,
    share: float,
    out: F64,
    start: int,
    stop: int,
) -> int:
    """Write T v of the groups ``start`` to ``stop`` of targets into ``out`` (N,); return the kernel evaluations.

    Coordinates in double precision are ``wide`` and ``wide_target`` (G, D, GROUP), weights ``weight`` (G, GROUP).
    """
    n, size, work = source.number[0, 1], wide.shape[1], 0
    for tile in range(start, stop):
        bound, near, totals = np.empty(n + LANES, np.float32), np.empty(n + LANES, np.int32), np.zeros(GROUP)
        partial, queries = whole_lines(GROUP * LANES), np.empty((GROUP, size), np.float32)
        for i in range(GROUP):
            for a in range(size):
                queries[i, a] = target.nodes[tile, 1 + a, i]
        _box_bounds(source, target, tile, size, bound)
        ceiling = HUGE
        budget = np.float32(share * _CROWDING) * share_below(bound, n, HUGE)[1]
        for _ in range(2):  # the first round tells the sums, and so what the second may leave out
            threshold, left_out = share_below(bound, n, budget)
            found = list_near(bound, 0, n, threshold, ceiling, near)
            if double:
                _add_double(near, found, wide, weight, wide_target[tile], totals)
            else:
                _add_single(near, found, source, queries, partial, totals)
            work += found * GROUP * GROUP
            least = totals[0]
            for i in range(GROUP):
                least = min(least, totals[i])
            ceiling, budget = threshold, np.float32(share * least)
            if left_out <= budget:
                break
        for i in range(GROUP):
            out[target.sample[tile, i]] = totals[i]
    return work


@cached
def log_row_sums(layout: Layout, h: int, out: F64, start: int, stop: int) -> None:
    """Write log2 (T v)_j of samples ``start`` to ``stop`` of set ``h``, for any kernel, with shifted exponents."""
    size, w = layout.size[h], np.empty(out.size)
    for j in range(start, stop):
        query = layout.table[h, :size, j].copy()
        exponents(query, h, layout, layout.rho[h, j] if layout.kind == VARIABLE else 0.0, w)
        largest, total = shifted(h, layout, w)
        out[j] = largest + np.log2(total)


def nearest_squared(table: F64, nearest: int) -> F64:
    """Squared distance of every sample (D, M) to its ``nearest``-th sample, itself being the first; (M,)."""
    out = np.empty(table.shape[1])
    shared(_nearest_squared, out.size, table, nearest, out)
    return out


@cached
def _nearest_squared(table: F64, nearest: int, out: F64, start: int, stop: int) -> None:
    distances = np.empty(out.size)
    for j in range(start, stop):
        squared_distances(table[:, j].copy(), table, distances)
        out[j] = nth_smallest(distances, nearest)


@cached
def weight_concentration(x: F64, layout: Layout, out: F64, start: int, stop: int) -> None:
    """Write sum_j (w^(j))^2 of the probability vector behind the tasks ``start`` to ``stop`` into ``out`` (n, P)."""
    P, w = layout.head.size, np.empty(layout.weight.shape[1])
    for task in range(start, stop):
        n, p = task // P, task % P
        total = weights(query_coordinates(x[n], p, layout, np.empty(layout.gather.shape[1])), layout.head[p], layout, w)
        squares = 0.0
        for j in range(w.size):
            squares += w[j] * w[j]
        out[n, p] = squares / (total * total)
