"""The compiled sums over samples: the only hot loop of the bridge.

For a query q and a dictionary of samples x^(j) with weights v^(j), everything the sampler needs is

    S_0 = sum_j v^(j) t^(j),   S_1 = sum_j v^(j) t^(j) x^(j),   S_2 = sum_j v^(j) t^(j) (x^(j))^2,
    t^(j) = 2^(-|q - x^(j)|^2),

in units in which the kernel exp(-|.|^2 / 4 epsilon) is 2^(-|.|^2). No M x M matrix is ever formed.

Two paths share one interface. The single-precision path needs one pass and no shift of the exponents: it vectorises
over the samples, with a polynomial for 2^x whose integer part goes straight into the exponent bits. Where its sum is
so small that the exponents ought to have been shifted (a query far from every sample), the double-precision path
takes over: it first finds the largest exponent and subtracts it, so that S_0 >= min v and never 0/0. That path also
serves the kernels that are not a plain function of the distance (variable bandwidth, dot product).

Equal seeds give equal bits, which takes two precautions. No loop both sums and stores: where a loop stores, the
compiler guards its vector form with a check that the arrays do not overlap, and that check, being conservative, comes
out differently for different addresses, while in a sum the vector and the scalar form round differently. And only
functions that Python calls are cached on disk. A function that comes from the cache is optimised into its
caller in another way than one compiled along with it, so that results would depend, in their last bits, on what had
been run before; what compiled code calls is therefore always compiled along with it (``compiled_moments``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from numba import prange

from l96closure.bridge.exp2 import FAST, exp2_double, exp2_single

__all__ = [
    "BLOCK",
    "DISTANCE",
    "DOT_PRODUCT",
    "FAR",
    "VARIABLE",
    "KernelPlan",
    "compiled_moments",
    "compiled_moments_parallel",
    "exponents",
    "moments",
    "moments_parallel",
    "query_coordinates",
    "runs_in_parallel",
    "shifted",
    "squared_distances",
    "sums_single",
    "weights",
]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

DISTANCE, VARIABLE, DOT_PRODUCT = 0, 1, 2  # kinds of kernel

BLOCK = 1024  # samples per block: its buffer stays in the first-level cache, its single-precision sums stay accurate
_BATCH = 256  # queries of a small dictionary that are summed side by side
_FLUSH = 128  # samples each of them adds up in single precision before they go into double
FAR = 2.0**-24  # below this sum the single-precision exponents have lost their digits to the common shift
_PARALLEL_WORK = 400_000  # kernel evaluations (0.2 ms) that are worth waking a second thread for


class KernelPlan(NamedTuple):
    """Dictionaries and queries of a bridge as plain arrays, the form the compiled loops take.

    A *dictionary* h is a table of sample rows (coordinates first, then value rows that are no coordinate), centred
    and scaled to kernel units, with its weights. A *query* p belongs to one dictionary, gathers its coordinates from
    the state and writes the conditional moments of ``targets[p]``. Ragged lengths are padded and never read.

    Attributes
    ----------
    table, table32 : (H, R, M) in double and single precision.
    squares, squares32 : mean square of the values behind each sample (H, C, M), of the rows ``value_rows``.
    charge, charge32 : the weights v (H, M).
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
    table32: F32
    squares: F64
    squares32: F32
    charge: F64
    charge32: F32
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


@numba.njit(fastmath=FAST, inline="always")  # type: ignore[untyped-decorator]
def squared_distances(query: Any, table: Any, start: int, stop: int, out: Any) -> None:
    """Write |q - x_j|^2 of the samples ``start`` to ``stop`` into ``out``; without coordinates it is zero."""
    if query.size == 0:
        out[:] = 0.0
    for a in range(query.size):
        x, q = table[a, start:stop], query[a]
        if a == 0:
            for j in range(out.size):
                t = x[j] - q
                out[j] = t * t
        else:
            for j in range(out.size):
                t = x[j] - q
                out[j] += t * t


@numba.njit(fastmath=FAST, forceinline=True)  # type: ignore[untyped-decorator]
def sums_single(query: F32, table: F32, squares: F32, charge: F32, value_rows: Index, order: int, out: F64) -> None:
    """Write S_0 into ``out[0, 0]`` and, up to ``order``, S_1 and S_2 of each value row into ``out[1]``, ``out[2]``."""
    out[:] = 0.0
    buffer = np.empty(BLOCK, np.float32)
    for start in range(0, charge.size, BLOCK):
        stop = min(start + BLOCK, charge.size)
        w, v = buffer[: stop - start], charge[start:stop]
        squared_distances(query, table, start, stop, w)
        for j in range(w.size):
            w[j] = exp2_single(-w[j]) * v[j]
        total = np.float32(0.0)
        for j in range(w.size):
            total += w[j]
        out[0, 0] += total
        if order > 0:
            for c in range(value_rows.size):
                x = table[value_rows[c], start:stop]
                first, second = np.float32(0.0), np.float32(0.0)
                if order == 1:
                    for j in range(w.size):
                        first += w[j] * x[j]
                else:
                    square = squares[c, start:stop]
                    for j in range(w.size):
                        first += w[j] * x[j]
                        second += w[j] * square[j]
                out[1, c] += first
                out[2, c] += second


@numba.njit(fastmath=FAST, forceinline=True)  # type: ignore[untyped-decorator]
def exponents(query: F64, h: int, plan: KernelPlan, own: float, out: F64) -> None:
    """Write log2 of the kernel between ``query`` and every sample into ``out`` (M,).

    ``own`` is rho of the query, needed by ``VARIABLE`` alone; a negative number means that it is yet to be found.
    """
    table, M = plan.table[h], out.size
    if plan.kind == DOT_PRODUCT:
        out[:] = plan.offset[h]
        for a in range(query.size):
            x, q = table[a], 2.0 * query[a]
            for j in range(M):
                out[j] += q * x[j]
        return
    squared_distances(query, table, 0, M, out)
    if plan.kind == VARIABLE:
        if own < 0.0:
            own = np.partition(out, plan.nearest - 1)[plan.nearest - 1] / plan.rho_unit[h]
        rho = plan.rho[h]
        for j in range(M):
            out[j] *= -2.0 / (own + rho[j])
    else:
        for j in range(M):
            out[j] = -out[j]


@numba.njit(fastmath=FAST, forceinline=True)  # type: ignore[untyped-decorator]
def shifted(h: int, plan: KernelPlan, out: F64) -> tuple[float, float]:
    """Turn exponents into v^(j) t^(j) with the largest t made one; return the largest exponent and the sum."""
    largest = out.max()
    charge = plan.charge[h]
    for j in range(out.size):
        out[j] = exp2_double(out[j] - largest) * charge[j]
    total = 0.0
    for j in range(out.size):
        total += out[j]
    return largest, total


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def weights(query: F64, h: int, plan: KernelPlan, out: F64) -> float:
    """Write v^(j) t^(j), up to a common factor that makes the largest t one, into ``out`` (M,); return their sum."""
    exponents(query, h, plan, -1.0, out)
    return shifted(h, plan, out)[1]  # type: ignore[no-any-return]


@numba.njit(fastmath=FAST, forceinline=True)  # type: ignore[untyped-decorator]
def _sums_shifted(query: F64, h: int, plan: KernelPlan, out: F64) -> None:
    """Write the sums of :func:`sums_single` in double precision for any kernel, with shifted exponents."""
    w = np.empty(plan.charge.shape[1])
    out[0, 0] = weights(query, h, plan, w)
    for c in range(plan.value_rows.shape[1]):
        x, square = plan.table[h, plan.value_rows[h, c]], plan.squares[h, c]
        first, second = 0.0, 0.0
        for j in range(w.size):
            first += w[j] * x[j]
            second += w[j] * square[j]
        out[1, c], out[2, c] = first, second


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def query_coordinates(x: F64, p: int, plan: KernelPlan) -> F64:
    """Coordinates of query ``p`` of the state ``x`` (d,), in kernel units."""
    h = plan.head[p]
    query = np.empty(plan.size[h])
    for a in range(query.size):
        query[a] = (x[plan.gather[p, a]] - plan.centre[h, a]) * plan.factor[h, a]
    return query


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _one_query(x: F64, p: int, plan: KernelPlan, order: int, mean: F64, variance: F64) -> None:
    """Conditional moments of the targets of query ``p`` for the state ``x`` (d,)."""
    h = plan.head[p]
    query = query_coordinates(x, p, plan)
    rows = plan.value_rows[h]
    sums = np.zeros((3, rows.size))
    if plan.kind == DISTANCE:
        sums_single(query.astype(np.float32), plan.table32[h], plan.squares32[h], plan.charge32[h], rows, order, sums)
    if not sums[0, 0] > FAR:
        _sums_shifted(query, h, plan, sums)
    for c in range(rows.size):
        first = sums[1, c] / sums[0, 0]
        target, row = plan.targets[p, c], rows[c]
        mean[target] = plan.centre[h, row] + first / plan.factor[h, row]
        if order > 1:
            spread = max(sums[2, c] / sums[0, 0] - first * first, 0.0)
            variance[target] = spread / plan.factor[h, row] ** 2


@numba.njit(fastmath=FAST, forceinline=True)  # type: ignore[untyped-decorator]
def _sums_of_batch(
    queries: F32, table: F32, square: F32, charge: F32, value: F32, order: int, work: F32, out: F64
) -> None:
    """Write S_0 to S_``order`` of every query of a batch (D, B) into ``out`` (3, B); ``work`` is (4, B).

    It vectorises over the queries, so that few samples cost little. Each query is summed in the same order whatever
    the others are.
    """
    distances, zeroth, first, second = work[0], work[1], work[2], work[3]
    out[:] = 0.0
    for start in range(0, charge.size, _FLUSH):
        work[:] = 0.0
        for j in range(start, min(start + _FLUSH, charge.size)):
            for a in range(queries.shape[0]):
                x, q = table[a, j], queries[a]
                if a == 0:
                    for i in range(distances.size):
                        t = q[i] - x
                        distances[i] = t * t
                else:
                    for i in range(distances.size):
                        t = q[i] - x
                        distances[i] += t * t
            v, y, s = charge[j], value[j], square[j]
            for i in range(distances.size):
                distances[i] = exp2_single(-distances[i]) * v
            for i in range(distances.size):
                zeroth[i] += distances[i]
                first[i] += distances[i] * y
            if order > 1:
                for i in range(distances.size):
                    second[i] += distances[i] * s
        for k in range(3):
            for i in range(distances.size):
                out[k, i] += work[k + 1, i]


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _one_batch(x: F64, start: int, plan: KernelPlan, order: int, mean: F64, variance: F64) -> None:
    """Conditional moments of the queries ``start`` to ``start`` + B of all states and components, one dictionary."""
    P, size, row = plan.head.size, plan.size[0], plan.value_rows[0, 0]
    count = min(_BATCH, x.shape[0] * P - start)
    queries = np.zeros((size, _BATCH), np.float32)
    for a in range(size):
        centre, factor = plan.centre[0, a], plan.factor[0, a]
        n, p = start // P, start % P
        for i in range(count):
            queries[a, i] = np.float32((x[n, plan.gather[p, a]] - centre) * factor)
            p += 1
            if p == P:
                n, p = n + 1, 0
    work, sums = np.empty((4, _BATCH), np.float32), np.empty((3, _BATCH))
    table = plan.table32[0]
    _sums_of_batch(queries, table, plan.squares32[0, 0], plan.charge32[0], table[row], order, work, sums)
    centre, factor = plan.centre[0, row], plan.factor[0, row]
    n, p = start // P, start % P
    for i in range(count):
        if sums[0, i] > FAR:
            value, target = sums[1, i] / sums[0, i], plan.targets[p, 0]
            mean[n, target] = centre + value / factor
            variance[n, target] = max(sums[2, i] / sums[0, i] - value * value, 0.0) / factor**2
        else:
            _one_query(x[n], p, plan, order, mean[n], variance[n])
        p += 1
        if p == P:
            n, p = n + 1, 0


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def compiled_moments(x: F64, plan: KernelPlan, order: int, mean: F64, variance: F64) -> None:
    """Conditional mean (``order`` 1) and variance (2) of every query's targets, for each state x (n, d), serially."""
    P = plan.head.size
    queries, one_dictionary = x.shape[0] * P, plan.charge.shape[0] == 1
    small = plan.charge.shape[1] <= BLOCK and plan.value_rows.shape[1] == 1 and plan.size[0] > 0
    if plan.kind == DISTANCE and one_dictionary and small and 2 * queries >= _BATCH:
        for start in range(0, queries, _BATCH):
            _one_batch(x, start, plan, order, mean, variance)
    else:
        for task in range(queries):
            n, p = task // P, task % P
            _one_query(x[n], p, plan, order, mean[n], variance[n])


@numba.njit(parallel=True, forceinline=True)  # type: ignore[untyped-decorator]
def compiled_moments_parallel(x: F64, plan: KernelPlan, order: int, mean: F64, variance: F64) -> None:
    """Do so on all cores. Each output is one thread's own sum: the bits do not depend on their number."""
    P = plan.head.size
    for task in prange(x.shape[0] * P):
        n, p = task // P, task % P
        _one_query(x[n], p, plan, order, mean[n], variance[n])


moments = numba.njit(cache=True)(compiled_moments.py_func)
moments_parallel = numba.njit(cache=True, parallel=True)(compiled_moments_parallel.py_func)


def runs_in_parallel(plan: KernelPlan, n: int) -> bool:
    """Whether ``n`` states are enough work for more than one thread; a function of the work alone."""
    return bool(n * plan.head.size * plan.charge.shape[1] >= _PARALLEL_WORK)
