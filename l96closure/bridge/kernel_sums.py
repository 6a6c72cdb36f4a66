"""The compiled sums over samples: the only hot loop of the bridge.

For a query q and a dictionary of samples x^(j) with weights v^(j), everything the sampler needs is

    S_0 = sum_j v^(j) t^(j),   S_1 = sum_j v^(j) t^(j) x^(j),   S_2 = sum_j v^(j) t^(j) (x^(j))^2,
    t^(j) = 2^(-|q - x^(j)|^2),

in units in which the kernel exp(-|.|^2 / 4 epsilon) is 2^(-|.|^2). No M x M matrix is ever formed.

Two paths share one interface. The single-precision path needs one pass and no shift of the exponents: it vectorises
over the samples, with a polynomial for 2^x whose integer part goes straight into the exponent bits. Where its sum is
so small that the exponents ought to have been shifted (a query far from every sample), the double-precision path
takes over: it first finds the smallest squared distance and subtracts it, so that S_0 >= min v and never 0/0.

Equal seeds give equal bits, which takes two precautions. No loop both sums and stores: where a loop stores, the
compiler guards its vector form with a check that the arrays do not overlap, and that check, being conservative, comes
out differently for different addresses, while in a sum the vector and the scalar form round differently. And only
functions that Python calls are cached on disk. A function that comes from the cache is optimised into its
caller in another way than one compiled along with it, so that results would depend, in their last bits, on what had
been run before; what compiled code calls is therefore always compiled along with it (``compiled_moments``).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

__all__ = [
    "KernelPlan",
    "compiled_moments",
    "compiled_moments_parallel",
    "moments",
    "moments_parallel",
    "row_sums",
    "runs_in_parallel",
]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_BLOCK = 1024  # samples per block: its buffer stays in the first-level cache, its single-precision sums stay accurate
_FAR = 2.0**-24  # below this sum the single-precision exponents have lost their digits to the common shift
_PARALLEL_WORK = 400_000  # kernel evaluations (0.2 ms) that are worth waking a second thread for

# No reordering is allowed to invent or lose NaN here: queries and samples are finite by the time they arrive.
_FAST = {"contract", "reassoc", "nsz", "nnan", "ninf", "arcp"}


class KernelPlan(NamedTuple):
    """Dictionaries and queries of a bridge as plain arrays, the form the compiled loops take.

    A *dictionary* h is a table of sample rows (coordinates first, then value rows that are no coordinate), centred
    and scaled to kernel units, with its weights. A *query* p belongs to one dictionary, gathers its coordinates from
    the state and writes the conditional moments of ``targets[p]``. Ragged lengths are padded and never read.

    Attributes
    ----------
    table, table32 : (H, R, M) in double and single precision.
    charge, charge32 : the weights v (H, M).
    centre, factor : row r of the table is (x_r - centre[h, r]) * factor[h, r]; both (H, R).
    size : number of coordinates of each dictionary (H,).
    value_rows : which table row holds the values of target c (H, C).
    head : dictionary of each query (P,).
    gather : state component of each coordinate (P, R).
    targets : state component of each output (P, C).
    """

    table: F64
    table32: F32
    charge: F64
    charge32: F32
    centre: F64
    factor: F64
    size: Index
    value_rows: Index
    head: Index
    gather: Index
    targets: Index


def _exponent_parts(real: Any, bits: Any, bias: int, shift: int) -> Any:
    """Make an intrinsic x -> (rint(x) as a float, 2**rint(x)) for x <= 0; pure bit arithmetic, so it vectorises."""

    @intrinsic  # type: ignore[untyped-decorator]
    def parts(context: Any, x: Any) -> Any:
        signature = types.UniTuple(real, 2)(real)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (value,) = arguments
            rounded = builder.fptosi(builder.fsub(value, ir.Constant(value.type, 0.5)), ir.IntType(32))
            whole = builder.sitofp(rounded, value.type)
            wide = rounded if bits.width == 32 else builder.sext(rounded, bits)
            biased = builder.add(wide, ir.Constant(bits, bias))
            power = builder.bitcast(builder.shl(biased, ir.Constant(bits, shift)), value.type)
            return context.make_tuple(builder, signature.return_type, (whole, power))

        return signature, generate

    return parts


_parts32 = _exponent_parts(types.float32, ir.IntType(32), 127, 23)
_parts64 = _exponent_parts(types.float64, ir.IntType(64), 1023, 52)


def _exp2_coefficients(degree: int, dtype: type) -> tuple[Any, ...]:
    """Taylor coefficients of 2^f about 0, highest power first, for |f| <= 1/2.

    They are constants of the compiled code and so of its cache: plain scalar arithmetic gives the same bits in every
    process, where a fit through vectorised library calls need not.
    """
    return tuple(dtype(math.log(2.0) ** k / math.factorial(k)) for k in range(degree, -1, -1))


_C32 = _exp2_coefficients(6, np.float32)  # relative error 1e-7, the rounding of single precision
_C64 = _exp2_coefficients(13, np.float64)  # relative error 1e-16


@numba.njit(fastmath=_FAST, inline="always")  # type: ignore[untyped-decorator]
def _exp2_single(x: Any) -> Any:
    """2^x for x <= 0 in single precision."""
    x = max(x, np.float32(-126.0))
    whole, power = _parts32(x)
    f = x - whole
    p = _C32[0]
    for a in _C32[1:]:
        p = p * f + a
    return p * power


@numba.njit(fastmath=_FAST, inline="always")  # type: ignore[untyped-decorator]
def _exp2_double(x: Any) -> Any:
    """2^x for x <= 0 in double precision."""
    x = max(x, -1022.0)
    whole, power = _parts64(x)
    f = x - whole
    p = _C64[0]
    for a in _C64[1:]:
        p = p * f + a
    return p * power


@numba.njit(fastmath=_FAST, inline="always")  # type: ignore[untyped-decorator]
def _squared_distances(query: Any, table: Any, start: int, stop: int, out: Any) -> None:
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


@numba.njit(fastmath=_FAST)  # type: ignore[untyped-decorator]
def _sums_single(query: F32, table: F32, charge: F32, value_rows: Index, order: int, out: F64) -> None:
    """Write S_0 into ``out[0, 0]`` and, up to ``order``, S_1 and S_2 of each value row into ``out[1]``, ``out[2]``."""
    out[:] = 0.0
    buffer = np.empty(_BLOCK, np.float32)
    for start in range(0, charge.size, _BLOCK):
        stop = min(start + _BLOCK, charge.size)
        w, v = buffer[: stop - start], charge[start:stop]
        _squared_distances(query, table, start, stop, w)
        for j in range(w.size):
            w[j] = _exp2_single(-w[j]) * v[j]
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
                    for j in range(w.size):
                        term = w[j] * x[j]
                        first += term
                        second += term * x[j]
                out[1, c] += first
                out[2, c] += second


@numba.njit(fastmath=_FAST)  # type: ignore[untyped-decorator]
def _sums_double(query: F64, table: F64, charge: F64, value_rows: Index, order: int, shifted: bool, out: F64) -> None:
    """Do the same in double precision; ``shifted`` subtracts the smallest squared distance from all exponents."""
    out[:] = 0.0
    buffer = np.empty(_BLOCK)
    nearest = 0.0
    if shifted:
        nearest = np.inf
        for start in range(0, charge.size, _BLOCK):
            stop = min(start + _BLOCK, charge.size)
            w = buffer[: stop - start]
            _squared_distances(query, table, start, stop, w)
            nearest = min(nearest, w.min())
    for start in range(0, charge.size, _BLOCK):
        stop = min(start + _BLOCK, charge.size)
        w, v = buffer[: stop - start], charge[start:stop]
        _squared_distances(query, table, start, stop, w)
        for j in range(w.size):
            w[j] = _exp2_double(nearest - w[j]) * v[j]
        total = 0.0
        for j in range(w.size):
            total += w[j]
        out[0, 0] += total
        if order > 0:
            for c in range(value_rows.size):
                x = table[value_rows[c], start:stop]
                first, second = 0.0, 0.0
                for j in range(w.size):
                    term = w[j] * x[j]
                    first += term
                    second += term * x[j]
                out[1, c] += first
                out[2, c] += second


@numba.njit  # type: ignore[untyped-decorator]
def _one_query(x: F64, p: int, plan: KernelPlan, order: int, mean: F64, variance: F64) -> None:
    """Conditional moments of the targets of query ``p`` for the state ``x`` (d,)."""
    h = plan.head[p]
    size = plan.size[h]
    query = np.empty(size)
    query32 = np.empty(size, np.float32)
    for a in range(size):
        query[a] = (x[plan.gather[p, a]] - plan.centre[h, a]) * plan.factor[h, a]
        query32[a] = np.float32(query[a])
    rows = plan.value_rows[h]
    sums = np.empty((3, rows.size))
    _sums_single(query32, plan.table32[h], plan.charge32[h], rows, order, sums)
    if not sums[0, 0] > _FAR:
        _sums_double(query, plan.table[h], plan.charge[h], rows, order, True, sums)
    for c in range(rows.size):
        first = sums[1, c] / sums[0, 0]
        target, row = plan.targets[p, c], rows[c]
        mean[target] = plan.centre[h, row] + first / plan.factor[h, row]
        if order > 1:
            spread = max(sums[2, c] / sums[0, 0] - first * first, 0.0)
            variance[target] = spread / plan.factor[h, row] ** 2


@numba.njit  # type: ignore[untyped-decorator]
def compiled_moments(x: F64, plan: KernelPlan, order: int, mean: F64, variance: F64) -> None:
    """Conditional mean (``order`` 1) and variance (2) of every query's targets, for each state x (n, d), serially."""
    P = plan.head.size
    for task in range(x.shape[0] * P):
        n, p = task // P, task % P
        _one_query(x[n], p, plan, order, mean[n], variance[n])


@numba.njit(parallel=True)  # type: ignore[untyped-decorator]
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
        sums = np.empty((1, 1))
        if double:
            _sums_double(table[:, j].copy(), table, charge, no_rows, 0, False, sums)
        else:
            _sums_single(table32[:, j].copy(), table32, charge32, no_rows, 0, sums)
        out[j] = sums[0, 0]
    return out
