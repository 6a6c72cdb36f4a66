"""Sums over samples in double precision with shifted exponents, for any kernel and any query.

The largest exponent is found first and subtracted, so that S_0 >= min v and never 0/0, however far the query is from
every sample.
"""

from __future__ import annotations

import numba
import numpy as np

from l96closure.arrays import F64
from l96closure.compiled import called
from l96closure.kernel._layout import DOT_PRODUCT, VARIABLE, Layout
from l96closure.vector import exp2

# No reordering is allowed to invent or lose NaN here: queries and samples are finite by the time they arrive.
FAST = {"contract", "reassoc", "nsz", "nnan", "ninf", "arcp"}


@numba.njit(fastmath=FAST, inline="always")  # type: ignore[untyped-decorator]
def squared_distances(query: F64, table: F64, out: F64) -> None:
    """Write |q - x_j|^2 of every sample of ``table`` (R, M) into ``out`` (M,); without coordinates it is zero."""
    if query.size == 0:
        out[:] = 0.0
    for a in range(query.size):
        x, q = table[a], query[a]
        if a == 0:
            for j in range(out.size):
                t = x[j] - q
                out[j] = t * t
        else:
            for j in range(out.size):
                t = x[j] - q
                out[j] += t * t


@called
def nth_smallest(values: F64, n: int) -> float:
    """Return the ``n``-th smallest value; numba's ``np.partition`` takes four seconds to compile."""
    smallest = np.full(n, np.inf)  # in order
    for value in values:
        if value < smallest[n - 1]:
            place = n - 1
            while place > 0 and smallest[place - 1] > value:
                smallest[place] = smallest[place - 1]
                place -= 1
            smallest[place] = value
    return smallest[n - 1]


@called(fastmath=FAST, forceinline=True)
def exponents(query: F64, h: int, layout: Layout, own: float, out: F64) -> None:
    """Write log2 of the kernel between ``query`` and every sample into ``out`` (M,).

    ``own`` is rho of the query, needed by ``VARIABLE`` alone; a negative number means that it is yet to be found.
    """
    table, M = layout.table[h], out.size
    if layout.kind == DOT_PRODUCT:
        for j in range(M):
            out[j] = layout.offset[h, j]
        for a in range(query.size):
            x, q = table[a], 2.0 * query[a]
            for j in range(M):
                out[j] += q * x[j]
        return
    squared_distances(query, table, out)
    if layout.kind == VARIABLE:
        if own < 0.0:
            own = nth_smallest(out, layout.nearest) / layout.rho_unit[h]
        rho = layout.rho[h]
        for j in range(M):
            out[j] *= -2.0 / (own + rho[j])
    else:
        for j in range(M):
            out[j] = -out[j]


@called(fastmath=FAST, forceinline=True)
def shifted(h: int, layout: Layout, out: F64) -> tuple[float, float]:
    """Turn exponents into v^(j) t^(j) with the largest t made one; return the largest exponent and the sum."""
    largest = out.max()
    weight = layout.weight[h]
    for j in range(out.size):
        out[j] = exp2(out[j] - largest) * weight[j]
    total = 0.0
    for j in range(out.size):
        total += out[j]
    return largest, total


@called(forceinline=True)
def weights(query: F64, h: int, layout: Layout, out: F64) -> float:
    """Write v^(j) t^(j), up to a common factor that makes the largest t one, into ``out`` (M,); return their sum."""
    exponents(query, h, layout, -1.0, out)
    return shifted(h, layout, out)[1]


@called(fastmath=FAST, forceinline=True)
def sums_shifted(query: F64, h: int, layout: Layout, out: F64) -> None:
    """Write S_0, S_1 and S_2 (3, C) in double precision for any kernel, with shifted exponents."""
    w = np.empty(layout.weight.shape[1])
    out[0, 0] = weights(query, h, layout, w)
    for c in range(layout.value_rows.shape[1]):
        x, square = layout.table[h, layout.value_rows[h, c]], layout.squares[h, c]
        first, second = 0.0, 0.0
        for j in range(w.size):
            first += w[j] * x[j]
            second += w[j] * square[j]
        out[1, c], out[2, c] = first, second


@called(forceinline=True)
def query_coordinates(x: F64, p: int, layout: Layout, out: F64) -> F64:
    """Write the coordinates of query ``p`` of the state ``x`` (d,) into ``out``, in kernel units; return them."""
    h = layout.head[p]
    for a in range(layout.size[h]):
        out[a] = (x[layout.gather[p, a]] - layout.centre[h, a]) * layout.factor[h, a]
    return out[: layout.size[h]]
