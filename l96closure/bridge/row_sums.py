"""Sums over samples at the samples themselves, for the Sinkhorn scaling, and what a weight vector is worth."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from numba import prange

from l96closure.bridge.exp2 import FAST, exp2_double
from l96closure.bridge.kernel_sums import (
    BLOCK,
    VARIABLE,
    KernelPlan,
    exponents,
    query_coordinates,
    shifted,
    squared_distances,
    sums_single,
    weights,
)

__all__ = ["log_row_sums", "nearest_squared", "row_sums", "weight_concentration"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


@numba.njit(fastmath=FAST, forceinline=True)  # type: ignore[untyped-decorator]
def _sum_double(query: F64, table: F64, charge: F64) -> float:
    """S_0 in double precision, without a shift of the exponents."""
    buffer = np.empty(BLOCK)
    result = 0.0
    for start in range(0, charge.size, BLOCK):
        stop = min(start + BLOCK, charge.size)
        w, v = buffer[: stop - start], charge[start:stop]
        squared_distances(query, table, start, stop, w)
        for j in range(w.size):
            w[j] = exp2_double(-w[j]) * v[j]
        total = 0.0
        for j in range(w.size):
            total += w[j]
        result += total
    return result


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def row_sums(table: F64, table32: F32, charge: F64, double: bool) -> F64:
    """(T v)_j = sum_k 2^(-|x_j - x_k|^2) v_k for every sample j.

    Parameters
    ----------
    table, table32 : coordinates (D, M) in kernel units, in double and single precision.
    charge : v (M,).
    double : evaluate in double precision (about four times slower).

    Returns
    -------
    T v (M,).
    """
    M = charge.size
    out = np.empty(M)
    no_rows = np.empty(0, np.intp)
    charge32 = charge.astype(np.float32)
    for j in prange(M):
        if double:
            out[j] = _sum_double(table[:, j].copy(), table, charge)
        else:
            sums = np.empty((1, 1))
            sums_single(table32[:, j].copy(), table32, table32, charge32, no_rows, 0, sums)
            out[j] = sums[0, 0]
    return out


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def log_row_sums(plan: KernelPlan, h: int) -> F64:
    """log2 (T v)_j for every sample j of dictionary ``h`` (M,), for any kernel, with shifted exponents."""
    size, M = plan.size[h], plan.charge.shape[1]
    out = np.empty(M)
    for j in prange(M):
        query, w = plan.table[h, :size, j].copy(), np.empty(M)
        exponents(query, h, plan, plan.rho[h, j] if plan.kind == VARIABLE else 0.0, w)
        largest, total = shifted(h, plan, w)
        out[j] = largest + np.log2(total)
    return out


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def nearest_squared(table: F64, nearest: int) -> F64:
    """Squared distance of every sample (D, M) to its ``nearest``-th sample, itself being the first; (M,)."""
    M = table.shape[1]
    out = np.empty(M)
    for j in prange(M):
        distances = np.empty(M)
        squared_distances(table[:, j].copy(), table, 0, M, distances)
        out[j] = np.partition(distances, nearest - 1)[nearest - 1]
    return out


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def weight_concentration(x: F64, plan: KernelPlan) -> F64:
    """sum_j (w^(j))^2 of the probability vector behind every query; x (n, d), result (n, P)."""
    P = plan.head.size
    out = np.empty((x.shape[0], P))
    for task in prange(x.shape[0] * P):
        n, p = task // P, task % P
        w = np.empty(plan.charge.shape[1])
        total = weights(query_coordinates(x[n], p, plan), plan.head[p], plan, w)
        squares = 0.0
        for j in range(w.size):
            squares += w[j] * w[j]
        out[n, p] = squares / (total * total)
    return out
