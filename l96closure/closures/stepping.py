"""Steps of a closure in compiled code, for blocks of members, from its tables alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import noise
from l96closure.bridge.look_up import Lattice, read_off
from l96closure.closures.blocks import (
    Block,
    block_of,
    close,
    load_state,
    members_at_once,
    noise_row,
    save_state,
    see,
    seen_row,
)
from l96closure.closures.compiled_tables import GAUSSIAN, NO_LAW, QUANTILES, Tables
from l96closure.closures.state import State
from l96closure.closures.trend import polynomial
from l96closure.compiled import cached, part
from l96closure.vector import LANES, element, exp2, fma, larger, load, smaller, splat, store

__all__ = ["draw", "take"]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
Index = npt.NDArray[np.intp]


@part
def _place(tables: Tables, block: Block, step: int) -> None:
    """Find where each feature of a step begins; on a ring among what is seen, else gather them."""
    i, M = tables.terms.padding, block.members
    for lag in tables.lag:
        for p in range(block.predictors):
            first = seen_row(tables, block, step - lag, p)
            for w in range(tables.neighbour.shape[1]):
                if tables.shift.size:
                    block.place[i] = first + tables.shift[w] * M
                else:
                    block.place[i] = i * block.stride
                    for k in range(block.sites):
                        for m in range(M):
                            value = block.seen.values[first + tables.neighbour[k, w] * M + m]
                            block.gathered[block.place[i] + k * M + m] = value
                i += 1


@part
def _trend(tables: Tables, block: Block, step: int, outside: Index) -> None:
    """Write the trend of a step into psi, and count what is out of its range."""
    M, P, rows = block.members, block.predictors, tables.lag[-1] + 1
    for p in range(P):
        see(tables, block, step, p, block.z.values, p * block.z.stride + block.z.first)
    _place(tables, block, step)
    values = block.seen.values if tables.shift.size else block.gathered
    for e in range(0, block.sites * M, LANES):
        store(polynomial(values, block.place, e, tables.terms), block.psi, e)
    if tables.filter.size:
        _filter(tables, block)
    for lag in tables.lag:
        count = (step - lag + rows) % rows * M
        for m in range(M):
            outside[m] += block.outside[count + m]


@part
def _filter(tables: Tables, block: Block) -> None:
    """Filter the trend in psi in space."""
    row, N, level = block.departure, block.sites * block.members, splat(tables.level)
    for e in range(0, N, LANES):
        store(load(block.psi, e) - level, row.values, row.first + e)
    close(row, row.first, N)
    for e in range(0, N, LANES):
        departure = weighted(tables.filter, row.values, block.filter_place, 0, tables.filter.size, e)
        store(level + departure, block.psi, e)


@part
def _colour(tables: Tables, block: Block, step: int, normal: int) -> int:
    """Make the noise of a step of the normals that begin at a place; return where it begins."""
    N, taps = block.sites * block.members, tables.tap.size
    for e in range(0, N, LANES):
        store(load(block.normal, normal + e), block.noise.values, block.noise.first + e)
    close(block.noise, block.noise.first, N)
    first, rows = noise_row(tables, block, step), tables.order + 1
    place = (step + rows) % rows * taps
    e = 0
    while e + LANES < N:
        a, b = weighted_pair(tables.tap, block.noise.values, block.tap_place, place, taps, e)
        store(a, block.noise.values, first + e)
        store(b, block.noise.values, first + e + LANES)
        e += 2 * LANES
    if e < N:
        store(weighted(tables.tap, block.noise.values, block.tap_place, place, taps, e), block.noise.values, first + e)
    close(block.noise, first, N)
    return first


@part
def weighted(weight: F64, values: F64, place: Index, first: int, count: int, e: int) -> Any:
    """Return sum_i weight[i] values[place[first + i] + e] at sixteen sites, the i-th term in partial sum i % 4."""
    a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, count, 4):
        at = first + i
        a = fma(splat(element(weight, i)), load(values, element(place, at) + e), a)
        b = fma(splat(element(weight, i + 1)), load(values, element(place, at + 1) + e), b)
        c = fma(splat(element(weight, i + 2)), load(values, element(place, at + 2) + e), c)
        d = fma(splat(element(weight, i + 3)), load(values, element(place, at + 3) + e), d)
    return (a + b) + (c + d)


@part
def weighted_pair(weight: F64, values: F64, place: Index, first: int, count: int, e: int) -> Any:
    """Return :func:`weighted` for ``e`` and for the sixteen sites after it, at less than twice the price."""
    a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    p, q, r, s = a, b, c, d
    after = e + LANES
    for i in range(0, count, 4):
        at = first + i
        w, x = splat(element(weight, i)), element(place, at)
        a, p = fma(w, load(values, x + e), a), fma(w, load(values, x + after), p)
        w, x = splat(element(weight, i + 1)), element(place, at + 1)
        b, q = fma(w, load(values, x + e), b), fma(w, load(values, x + after), q)
        w, x = splat(element(weight, i + 2)), element(place, at + 2)
        c, r = fma(w, load(values, x + e), c), fma(w, load(values, x + after), r)
        w, x = splat(element(weight, i + 3)), element(place, at + 3)
        d, s = fma(w, load(values, x + e), d), fma(w, load(values, x + after), s)
    return (a + b) + (c + d), (p + q) + (r + s)


@part
def _lattice(block: Block, e: int) -> Any:
    """Return the lattice of coordinates at sixteen sites."""
    rows, stride = block.lattice, block.stride
    return Lattice(load(rows, e), load(rows, stride + e), load(rows, 2 * stride + e), load(rows, 3 * stride + e))


@part
def _add_residual(tables: Tables, block: Block, xi: int) -> None:
    """Add what the law makes of the noise that begins at a place."""
    N = block.sites * block.members
    given, first = block.psi, 0
    if tables.coordinate >= 0:
        given, first = block.z.values, tables.coordinate * block.z.stride + block.z.first
    if tables.law == QUANTILES:
        for e in range(0, N, LANES):
            at = _lattice(block, e)
            drawn = read_off(load(given, first + e), load(block.noise.values, xi + e), at, tables.look_up)
            store(load(block.psi, e) + drawn, block.psi, e)
    if tables.law == GAUSSIAN:
        scale, coefficients = tables.log_deviation_scale, tables.log_deviation
        for e in range(0, N, LANES):
            x = (load(given, first + e) - splat(scale.middle[0])) * splat(scale.factor[0])
            x = smaller(splat(1.0), larger(splat(-1.0), x))
            here, after = splat(0.0), splat(0.0)
            for a in range(coefficients.size - 1):
                here, after = fma(x + x, here, splat(coefficients[a]) - after), here
            deviation = exp2(fma(x, here, splat(coefficients[coefficients.size - 1]) - after))
            store(fma(deviation, load(block.noise.values, xi + e), load(block.psi, e)), block.psi, e)


@part
def draw(
    tables: Tables, block: Block, steps: int, step: int, key: Any, number: Any, member: U64, outside: Index
) -> None:
    """Draw psi of a step of a block.

    Parameters
    ----------
    tables : of the closure.
    block : its z is that of the step.
    steps, step : how many the block makes, and which one this is, from 0 on.
    key, number, member : key, number of the first step and numbers of the members, for the noise.
    outside : grows by how many features of each member are outside of their range.
    """
    M, N, P, H = block.members, block.sites * block.members, block.predictors, tables.lag[-1]
    if H:
        for p in range(P):
            row = (step % min(H, steps) * P + p) * block.stride
            for e in range(0, N, LANES):
                store(load(block.z.values, p * block.z.stride + block.z.first + e), block.before, row + e)
    if tables.trend:
        _trend(tables, block, step, outside)
    else:
        for e in range(0, N, LANES):
            store(splat(0.0), block.psi, e)
    if tables.law != NO_LAW:
        at_once = block.normal.size // block.normal_stride
        if step % at_once == 0:
            zero = np.uint64(0)
            noise.fill(
                key, member, number + np.uint64(step), at_once, zero, 1, zero, True,
                block.counter, block.number, block.normal,
            )  # fmt: skip
        _add_residual(tables, block, _colour(tables, block, step, step % at_once * block.normal_stride))
    if tables.trend:
        lowest, highest = splat(tables.bounds[0]), splat(tables.bounds[1])
        for e in range(0, N, LANES):
            store(smaller(highest, larger(lowest, load(block.psi, e))), block.psi, e)  # NaN stays
    if tables.conserve:
        for m in range(M):
            mean = 0.0
            for k in range(block.sites):
                mean += block.psi[np.uintp(k * M + m)]
            mean /= block.sites
            for k in range(block.sites):
                block.psi[np.uintp(k * M + m)] -= mean


@cached
def step(
    tables: Tables, z: F64, memory: F64, history: F64, key: Any, number: Any, member: U64, at_once: int,
    following: F64, before: F64, psi: F64, outside: Index,
) -> None:  # fmt: skip
    """Draw psi (n, K) of an ensemble, and write what it remembers next.

    Parameters
    ----------
    tables : of the closure.
    z, memory, history : predictors (n, P, K), last noise (n, p, K) and predictors before (n, H, P, K).
    key, number, member : key, number of the step and numbers of the members, for the noise.
    at_once : members of a block.
    following, before, psi, outside : for the next memory and history, psi, and features outside of their ranges (n,).
    """
    for begin in range(0, len(z), at_once):
        end = min(begin + at_once, len(z))
        block = block_of(tables, z.shape[1], end - begin, 1)
        load_state(tables, block, 1, begin, z, memory, history)
        draw(tables, block, 1, 0, key, number, member[begin:end], outside[begin:end])
        save_state(tables, block, 1, begin, following, history, before)
        for m in range(end - begin):
            for k in range(block.sites):
                psi[begin + m, k] = block.psi[k * block.members + m]


def take(tables: Tables, z: F64, state: State, history: F64) -> tuple[F64, State]:
    """Take a step.

    Parameters
    ----------
    tables : of the closure.
    z : predictors (n, P, K).
    state : with the number of the step.
    history : predictors of the steps before (n, H, P, K), even if H is 0.

    Returns
    -------
    psi (n, K), and the state with what it remembers next.
    """
    members, _, K = z.shape
    memory = state.memory if state.memory.ndim == 3 else np.empty((members, 0, K))
    following, before, psi = np.empty_like(memory), np.empty_like(history), np.empty((members, K))
    outside = state.outside.copy()
    source = np.uint64(state.key), np.uint64(state.step), state.member
    step(tables, z, memory, history, *source, members_at_once(K, members), following, before, psi, outside)
    state = state._replace(outside=outside)
    if memory.size:
        state = state._replace(memory=following)
    return psi, state._replace(history=before) if history.size else state
