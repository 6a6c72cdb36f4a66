"""What the machine can do, and what our loops ask of it: the two axes of a roofline (Williams et al. 2009, CACM 52(4)).

Two rates are measured on one thread, in turns with what they are compared to: fused multiply-adds in registers, in as
many vectors as keep all units busy, and the triad a = b + s c of STREAM (McCalpin 1995), once in arrays that stay in
the first cache and once in arrays that are larger than all caches.

The counts are of what the source of a loop does for one number: sums, differences, products, quotients and roots count
one, a fused multiply-add two. Not counted are the integers of the counter-based generator, comparisons, rounding
and what is done once for all numbers of a vector. Bytes are those of loads and stores of numbers that differ from site
to site or from sample to sample; most of them stay in the first cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from l96closure.closures.compiled_tables import GAUSSIAN, QUANTILES, Tables
from l96closure.vector import LANES, fma, load, splat, store

CHAINS, NEAR, FAR = 8, 64 * LANES, 2**24  # numbers of an array of 8 KB, and of one of 128 MB
DOUBLE, SINGLE, CACHE, MEMORY = "multiply-adds, double", "multiply-adds, single", "triad, cache", "triad, memory"
EXPONENTIAL = {SINGLE: 13, DOUBLE: 25}  # 2^x: a polynomial of degree 5 or 11, and three sums


class Work(NamedTuple):
    """What something takes: floating-point operations, and bytes loaded and stored."""

    flops: float
    bytes: float


@numba.njit(error_model="numpy")
def multiply_adds(n: int, out: npt.NDArray[Any]) -> None:
    """Make eight independent chains of n multiply-adds in every place of a vector."""
    x, t = splat(out[0]), splat(out[1])
    a = b = c = d = load(out, 0)
    e = f = g = h = load(out, LANES)
    for _ in range(n):
        a, b, c, d = fma(a, x, t), fma(b, x, t), fma(c, x, t), fma(d, x, t)
        e, f, g, h = fma(e, x, t), fma(f, x, t), fma(g, x, t), fma(h, x, t)
    store(a + b + c + d + e + f + g + h, out, LANES)


@numba.njit(error_model="numpy")
def triad(n: int, arrays: npt.NDArray[np.float64]) -> None:
    """Write b + s c into a, n times."""
    a, b, c = arrays
    for _ in range(n):
        for i in range(0, a.size, LANES):
            store(fma(splat(0.5), load(c, i), load(b, i)), a, i)


def contestants() -> dict[Any, tuple[Callable[[int], object], int]]:
    """Return what is timed by :func:`common.in_turns`."""
    numbers = {DOUBLE: np.full(2 * LANES, 0.5), SINGLE: np.full(2 * LANES, 0.5, np.float32)}
    arrays = {CACHE: np.ones((3, NEAR)), MEMORY: np.ones((3, FAR))}
    return {
        **{name: (partial(multiply_adds, out=out), 20_000) for name, out in numbers.items()},
        **{name: (partial(triad, arrays=three), -(-(2**18) // three.shape[1])) for name, three in arrays.items()},
    }


def rates(times: dict[Any, list[float]]) -> dict[str, float]:
    """Take the peaks out of what was timed; gigaflops and gigabytes a second."""
    amount = {DOUBLE: 2 * CHAINS * LANES, SINGLE: 2 * CHAINS * LANES, CACHE: 24 * NEAR, MEMORY: 24 * FAR}
    return {name: round(1e-3 * of / min(times.pop(name)), 1) for name, of in amount.items()}


def fine_step(K: int, J: int) -> Work:
    """Count an RK4 step of the two-scale Lorenz-96 model (:mod:`l96closure.systems.lorenz96_core`).

    A fast variable takes four increments of 2 multiply-adds and a difference; in the first sweep 2 sums for states, 2
    for totals and a multiply-add, in the second 3 sums and 3 multiply-adds; it is loaded and stored with a drive and an
    intermediate value, 4 times in the first sweep and 5 times in the second. A slow variable takes four increments of
    7, four products for the drives and 12 for its stages. What rings do twice in their halos is not counted.
    """
    return Work(K * (J * (4 * 5 + 4 + 2 + 3 + 6) + 4 * 7 + 4 + 12), K * J * (4 + 5) * 8)


def kernel_evaluation(coordinates: int) -> Work:
    """Count one sample in the sums S_0 and S_1 of a query, in single precision over all samples.

    A difference and a multiply-add for each coordinate, the exponential, a sum and a multiply-add; the sample's weight,
    coordinates and value are loaded.
    """
    return Work(3 * coordinates + EXPONENTIAL[SINGLE] + 3, 4 * (1 + coordinates + 1))


def coarse_step(tables: Tables, K: int) -> Work:
    """Count a coarse step of Lorenz-96 by RK4 (:mod:`l96closure.compiled_model`), with a closure on a ring.

    Bytes are those of blocks of several members; one member alone keeps more in registers. Left out is what our
    recommended closures do not have: a matrix that correlates the noise, and a mean that is taken off.
    """
    model = Work(4 * 5 + 3 * 2 + 6, 8 * (3 * 8 + 10))
    parts = model, scaling_and_trend(tables), noise(tables), law(tables)
    return Work(*(K * sum(numbers) for numbers in zip(*parts, strict=True)))


def scaling_and_trend(tables: Tables) -> Work:
    """Count :func:`l96closure.closures.trend.polynomial` at a site, and what goes before and after it.

    A predictor takes 4 to be scaled, a series of degree D 3 D or, of degree 4, 13, and one for the sum of several;
    products of features and a step's weights take a multiply-add each, a step 4 more.
    """
    if not tables.trend:
        return Work(0, 8)
    terms, taps = tables.terms, tables.filter.size
    F, P = terms.linear.size - terms.padding, tables.scale.middle.size
    series, degree = terms.own.size, terms.chebyshev.shape[1] - 1
    products = {1: F, 2: terms.products.size, 3: terms.products.size + F}[terms.order]
    steps = terms.hidden.size // (F + 3)
    flops = (
        4 * P + series * (3 * degree + (degree == 4) + 1) + 2 * products + 1 + steps * (2 * F + 4) + (2 if steps else 0)
    )
    filtering = Work(2 * taps + 4, 8 * (taps + 1)) if taps else Work(0, 0)
    return Work(flops + filtering.flops, 8 * (2 * P + series + F + 1) + filtering.bytes)


def noise(tables: Tables) -> Work:
    """Count the noise of a site: its normal number and the sums that give it memory and colour.

    Two normals take 67 (:func:`l96closure.noise.pair`): 30 for the logarithm, 32 for sine and cosine, 5 for the rest.
    The numbers on their way from counters to normals are loaded and stored six times.
    """
    if not tables.fresh.size:
        return Work(0, 0)
    earlier, fresh = tables.earlier.size, tables.fresh.size
    new = Work(2, 8 * 3) if fresh == 1 else Work(2 * fresh + 5, 8 * (fresh + 6))
    return Work(33.5 + 2 * earlier + 4 + new.flops, 8 * (6 + earlier + 1) + new.bytes)


def law(tables: Tables) -> Work:
    """Count what the law makes of a site's noise: look-up and interpolation, or the Gaussian's deviation."""
    if tables.law == QUANTILES:
        several = tables.look_up.levels > 1
        return Work(42 if several else 27, 8 * (9 + 7.5 + 8 + 2) if several else 8 * (9 + 6 + 4 + 2))
    if tables.law == GAUSSIAN:
        return Work(2 + 3 * tables.log_deviation.size - 1 + EXPONENTIAL[DOUBLE] + 2, 8 * 4)
    return Work(0, 8 * 2)


HEAD = f"{'Gflop/s':>9}{'of multiply-adds':>18}{'of the cache':>14}"


def shares(nanoseconds: float, work: Work, rates: dict[str, float], multiply_adds: str = DOUBLE) -> dict[str, float]:
    """Return how many gigaflops something that takes so long makes, and its parts of the limits of one core."""
    flops, bytes = (one / nanoseconds for one in work)
    return {
        "Gflop/s": round(flops, 2),
        "of multiply-adds": round(flops / rates[multiply_adds], 3),
        "of the cache": round(bytes / rates[CACHE], 3),
    }


def line(shares: dict[str, float]) -> str:
    """Return what stands below :data:`HEAD`."""
    flops, of_flops, of_bytes = shares.values()
    return f"{flops:9.1f}{of_flops:18.2f}{of_bytes:14.2f}"


def said(rates: dict[str, float]) -> str:
    """Say what one core can do."""
    return ", ".join(f"{name} {rate:.0f} {'GB/s' if 'triad' in name else 'Gflop/s'}" for name, rate in rates.items())
