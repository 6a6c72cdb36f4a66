"""What the compiled sums read: the dictionaries and queries of a bridge as plain arrays, and memory to work in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l96closure.arrays import F32, F64, I32, Index
from l96closure.compiled import called
from l96closure.kernel._groups import Groups
from l96closure.vector import LANES, whole_lines

DISTANCE, VARIABLE, DOT_PRODUCT = 0, 1, 2  # kinds of kernel

TOGETHER = 16  # queries of one dictionary that are summed over all its samples in turns
_APART = 64  # numbers at the end of each thread's memory, so that no two threads write to the same cache line


class Layout(NamedTuple):
    """Dictionaries and queries of a bridge as plain arrays, the form the compiled loops take.

    A *dictionary* h is a table of sample rows (coordinates first, then value rows that are no coordinate), centred
    and scaled to kernel units, with its weights. A *query* p belongs to one dictionary, gathers its coordinates from
    the state and writes the conditional moments of ``targets[p]``. Ragged lengths are padded and never read.

    Attributes
    ----------
    table : (H, R, M).
    squares : mean square of the values behind each sample (H, C, M), of the rows ``value_rows``.
    weight : the weights v (H, M).
    groups : the same in single precision, for kernels of the kind ``DISTANCE``.
    centre, factor : row r of the table is (x_r - centre[h, r]) * factor[h, r]; both (H, R).
    size : number of coordinates of each dictionary (H,).
    value_rows : which table row holds the values of target c (H, C).
    head : dictionary of each query (P,).
    gather : state component of each coordinate (P, R).
    targets : state component of each output (P, C).
    kind : ``DISTANCE``, t = 2^(-|q - x|^2); ``VARIABLE``, t = 2^(-2 |q - x|^2 / (rho(q) + rho(x))) with rho the
        squared distance to the ``nearest``-th sample in units of ``rho_unit``; ``DOT_PRODUCT``, t = 2^(2 q.x).
    offset : added to the exponent of each sample (H, M), log2 v where v itself may not fit a number; or (H, 0).
    rho : rho of each sample (H, M), or (H, 0).
    rho_unit : (H,).
    nearest : which neighbour's distance rho is.
    """

    table: F64
    squares: F64
    weight: F64
    groups: Groups
    centre: F64
    factor: F64
    size: Index
    value_rows: Index
    head: Index
    gather: Index
    targets: Index
    kind: int
    offset: F64
    rho: F64
    rho_unit: F64
    nearest: int


class Scratch(NamedTuple):
    """Memory of one thread's queries: coordinates in both precisions, sums, groups; for several; for those in lanes."""

    query: F64
    single: F32
    sums: F64
    partial: F32
    bound: F32
    part: F32
    guess: F64
    near: I32
    several: F32
    several_sums: F64
    queries: F32
    lane_sums: F64


@called(forceinline=True)
def memory_of(layout: Layout) -> Scratch:
    """Make the memory that the queries of one thread need."""
    C, D, groups = layout.value_rows.shape[1], layout.gather.shape[1], 0
    for h in range(layout.groups.number.shape[0]):
        groups = max(groups, layout.groups.number[h, 0], layout.groups.number[h, 1])
    return Scratch(
        np.empty(D + _APART),
        np.empty(D + _APART, np.float32),
        np.empty((3, C + _APART)),
        whole_lines((2 * C + 1) * LANES),
        whole_lines(groups + LANES),
        whole_lines(groups + LANES),
        np.empty(C + _APART),
        np.empty(groups + _APART, np.int32),
        np.empty((TOGETHER, D), np.float32),
        np.empty((TOGETHER, 3, C)),
        whole_lines((D + 1) * LANES),
        np.empty((3, LANES)),
    )
