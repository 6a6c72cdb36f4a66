"""Steps of a closure in compiled code, for blocks of members, from its tables alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from l96closure import noise
from l96closure.arrays import F64, U64, Index
from l96closure.bridge.look_up import Lattice, find, keep, read, read_kept
from l96closure.closures.blocks import (
    AFTER,
    BEFORE,
    Block,
    Rings,
    before,
    block_of,
    close,
    drawn_at_once,
    load_state,
    members_at_once,
    remainder,
    save_state,
    see,
    stretch,
    turn,
)
from l96closure.closures.compiled_tables import GAUSSIAN, NO_LAW, QUANTILES, Tables
from l96closure.closures.state import State
from l96closure.closures.trend import polynomial
from l96closure.compiled import cached, part
from l96closure.vector import LANES, element, exp2, fma, larger, load, shifted_by, smaller, splat, store

_WHOLE = np.empty(0, np.uint64)
_LEAST, _MOST = BEFORE - AFTER, BEFORE + AFTER  # where terms of a filter begin in the ring of one member


@part
def _gather(tables: Tables, block: Block, row: int) -> None:
    """Gather what each site sees, of z that is seen in a row of its ring and of those before."""
    i, M, P, rows = tables.terms.padding, block.members, block.predictors, tables.lag[-1] + 1
    for lag in tables.lag:
        for p in range(P):
            first = (before(row, lag, rows) * P + p) * block.seen.stride + block.seen.first
            for w in range(tables.neighbour.shape[1]):
                for k in range(block.sites):
                    for m in range(M):
                        value = block.seen.values[first + tables.neighbour[k, w] * M + m]
                        block.gathered[block.place[0, i] + k * M + m] = value
                i += 1


@part
def _trend(tables: Tables, block: Block, steps: int, step: int, outside: Index) -> None:
    """Write the trend of a step into psi, and count what is out of its range."""
    row = remainder(step, tables.lag[-1] + 1)
    for p in range(block.predictors):
        see(tables, block, p, block.z.values, p * block.z.stride + block.z.first, step, steps, outside)
    values, place = block.seen.values, block.place[np.uintp(row if tables.shift.size else 0)]
    if tables.shift.size == 0:
        _gather(tables, block, row)
        values = block.gathered
    trend, filtered, N = block.trend, tables.filter.size > 0, block.sites * block.members
    into, first = (trend.values, trend.first) if filtered else (block.psi, 0)
    for e in range(0, N, LANES):
        store(polynomial(values, place, e, tables.terms), into, first + e)
    if filtered and block.pieces.size and tables.reach <= AFTER:
        one, other = stretch(trend.values, first, block.pieces)
        _filter_one(tables, one, other, block.psi, 0)
        if N > LANES:
            _filter_one(tables, other, other, block.psi, LANES)
    elif filtered:
        close(trend, first, N)
        weigh(tables.filter, trend.values, block.filter_place, 0, tables.level, N, block.psi, 0)


@part
def _filter_one(tables: Tables, one: Any, other: Any, psi: F64, at: int) -> None:
    """Filter the trend of one member at sixteen sites, of a ring in registers, as :func:`weigh` does."""
    a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, tables.filter.size, 4):
        a, b = _filtered(tables, i, one, other, a), _filtered(tables, i + 1, one, other, b)
        c, d = _filtered(tables, i + 2, one, other, c), _filtered(tables, i + 3, one, other, d)
    store(splat(tables.level) + ((a + b) + (c + d)), psi, at)


@part
def _filtered(tables: Tables, i: int, one: Any, other: Any, total: Any) -> Any:
    """Add a term, of sites so many to the left."""
    at = BEFORE - element(tables.filter_offset, i)
    return fma(splat(element(tables.filter, i)), shifted_by(one, other, at, _LEAST, _MOST), total)


@part
def _draw_fresh(tables: Tables, block: Block, key: Any, step: Any) -> None:
    """Make the fresh noise of as many steps as there is memory for: weighted sums of normals."""
    N, row, T = block.sites * block.members, block.white, tables.fresh.size
    noise.fill(
        key, step, np.uint64(0), True, block.evaluations, block.members,
        block.counter, block.word, block.value, block.normal,
    )  # fmt: skip
    for s in range(drawn_at_once(block)):
        normal, first = s * block.normal_stride, s * row.stride + row.first
        if tables.factor.size:
            _correlate(tables.factor, block.members, block.normal, normal)
        if T > 1:
            for e in range(0, N, LANES):
                store(load(block.normal, normal + e), row.values, first + e)
            close(row, first, N)
            weigh(tables.fresh, row.values, block.fresh_place, s * T, 0.0, N, block.fresh, s * block.stride)


@part
def _correlate(factor: F64, M: int, white: F64, first: int) -> None:
    """Multiply white noise of all sites, which begins at a place, by a lower triangular matrix: the last site first."""
    for k in range(factor.shape[0] - 1, -1, -1):
        for m in range(M):
            total = 0.0
            for j in range(k + 1):
                total += factor[k, np.uintp(j)] * white[np.uintp(first + j * M + m)]
            white[np.uintp(first + k * M + m)] = total


@part
def _colour(tables: Tables, block: Block, step: int, drawn: int) -> int:
    """Make the noise of a step, given how many came before among those drawn at once; return where it begins."""
    N, row, now = block.sites * block.members, block.noise, remainder(step, tables.order + 1)
    first, fresh, normal = now * row.stride + row.first, drawn * block.stride, drawn * block.normal_stride
    weigh(tables.earlier, row.values, block.earlier_place, now * tables.earlier.size, 0.0, N, row.values, first)
    if tables.fresh.size == 1:
        for e in range(0, N, LANES):
            noise_of = fma(splat(tables.fresh[0]), load(block.normal, normal + e), load(row.values, first + e))
            store(noise_of, row.values, first + e)
    else:
        for e in range(0, N, LANES):
            store(load(row.values, first + e) + load(block.fresh, fresh + e), row.values, first + e)
    close(row, first, N)
    return first


@part
def weigh(weight: F64, values: F64, place: Index, first: int, constant: float, N: int, out: F64, at: int) -> None:
    """Write constant + sum_i weight[i] values[place[first + i] + e] to ``out[at + e]``, for all e < N."""
    e, level = 0, splat(constant)
    while e + LANES < N:
        a, b = _weighted_pair(weight, values, place, first, e)
        store(level + a, out, at + e)
        store(level + b, out, at + e + LANES)
        e += 2 * LANES
    if e < N:
        store(level + _weighted(weight, values, place, first, e), out, at + e)


@part
def _weighted(weight: F64, values: F64, place: Index, first: int, e: int) -> Any:
    """Return the sum at sixteen sites, the i-th term in partial sum i % 4."""
    a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, weight.size, 4):
        at = first + i
        a = fma(splat(element(weight, i)), load(values, element(place, at) + e), a)
        b = fma(splat(element(weight, i + 1)), load(values, element(place, at + 1) + e), b)
        c = fma(splat(element(weight, i + 2)), load(values, element(place, at + 2) + e), c)
        d = fma(splat(element(weight, i + 3)), load(values, element(place, at + 3) + e), d)
    return (a + b) + (c + d)


@part
def _weighted_pair(weight: F64, values: F64, place: Index, first: int, e: int) -> Any:
    """Return :func:`_weighted` for ``e`` and for the sixteen sites after it, at less than twice the price."""
    a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    p, q, r, s = a, b, c, d
    after = e + LANES
    for i in range(0, weight.size, 4):
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
def _given(psi: F64, z: Rings, coordinate: int) -> tuple[F64, int]:
    """Return what holds a coordinate of the law, and where it begins."""
    if coordinate < 0:
        return psi, 0
    return z.values, coordinate * z.stride + z.first


@part
def _lattice(rows: F64, stride: int, e: int) -> Any:
    """Return the lattice of coordinates at sixteen sites."""
    first = load(rows, e), load(rows, stride + e), load(rows, 2 * stride + e), load(rows, 3 * stride + e)
    return Lattice(*first, load(rows, 4 * stride + e), load(rows, 5 * stride + e))


@part
def _bounded(bounds: F64, psi: Any) -> Any:
    """Hold psi within its bounds; NaN stays."""
    return smaller(splat(bounds[1]), larger(splat(bounds[0]), psi))


@part
def _add_residual(tables: Tables, block: Block, xi: int) -> None:
    """Add what the law makes of the noise that begins at a place, and hold the sum within its bounds."""
    N, look_up = block.sites * block.members, tables.look_up
    given, first = _given(block.psi, block.z, tables.coordinate)
    if tables.law == QUANTILES:
        other, second = _given(block.psi, block.z, tables.second)
        for e in range(0, N, LANES):
            x, y = load(given, first + e), load(other, second + e)
            found = find(x, y, load(block.noise.values, xi + e), _lattice(block.lattice, block.stride, e), look_up)
            if N > LANES:
                keep(found, block.found, e)
            else:
                store(_bounded(tables.bounds, load(block.psi, e) + read(found, look_up)), block.psi, e)
        for e in range(0, N if N > LANES else 0, LANES):
            store(_bounded(tables.bounds, load(block.psi, e) + read_kept(block.found, e, look_up)), block.psi, e)
    if tables.law == GAUSSIAN:
        scale, coefficients = tables.log_deviation_scale, tables.log_deviation
        for e in range(0, N, LANES):
            x = (load(given, first + e) - splat(scale.middle[0])) * splat(scale.factor[0])
            x = smaller(splat(1.0), larger(splat(-1.0), x))
            here, after = splat(0.0), splat(0.0)
            for a in range(coefficients.size - 1):
                here, after = fma(x + x, here, splat(coefficients[a]) - after), here
            deviation = exp2(fma(x, here, splat(coefficients[coefficients.size - 1]) - after))
            psi = fma(deviation, load(block.noise.values, xi + e), load(block.psi, e))
            store(_bounded(tables.bounds, psi), block.psi, e)


@part
def draw(tables: Tables, block: Block, steps: int, step: int, key: Any, number: Any, outside: Index) -> None:
    """Draw psi of a step of a block.

    Parameters
    ----------
    tables : of the closure.
    block : its z is that of the step.
    steps, step : how many the block makes, and which one this is, from 0 on.
    key, number : key and number of the first step, for the noise.
    outside : grows by how many features of each member are outside of their range.
    """
    M, N, P, H = block.members, block.sites * block.members, block.predictors, block.kept
    if step >= steps - H:
        for p in range(P):
            row = (remainder(step, min(H, steps)) * P + p) * block.stride
            for e in range(0, N, LANES):
                store(load(block.z.values, p * block.z.stride + block.z.first + e), block.before, row + e)
    xi = 0
    if tables.law != NO_LAW:
        drawn = remainder(step, drawn_at_once(block))
        if drawn == 0:
            _draw_fresh(tables, block, key, number + np.uint64(step))
        xi = _colour(tables, block, step, drawn)
    if tables.trend:
        _trend(tables, block, steps, step, outside)
    else:
        for e in range(0, N, LANES):
            store(splat(0.0), block.psi, e)
    if tables.law != NO_LAW:
        _add_residual(tables, block, xi)
    elif tables.trend:
        for e in range(0, N, LANES):
            store(_bounded(tables.bounds, load(block.psi, e)), block.psi, e)
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
    following: F64, before: F64, psi: F64, outside: Index, fours: U64,
) -> None:  # fmt: skip
    """Draw psi (n, K) of an ensemble, and write what it remembers next.

    Parameters
    ----------
    tables : of the closure.
    z, memory, history : predictors (n, P, K), last noise (n, p, K) and predictors before (n, H, P, K).
    key, number, member : key, number of the step and numbers of the members, for the noise.
    at_once : members of a block.
    following, before, psi, outside : for the next memory and history, psi, and features outside of their ranges (n,).
    fours : numbers on the whole grid of each four sites of a tile, for the noise; none where the grid is the whole.
    """
    for begin in range(0, len(z), at_once):
        end = min(begin + at_once, len(z))
        block = block_of(tables, z.shape[1], history.shape[1], member[begin:end], 1)
        if fours.size:
            for q in range(block.counter.shape[1]):
                block.counter[0, q] = np.uint64(4) * fours[block.counter[0, q] >> np.uint64(2)]
        load_state(tables, block, 1, begin, z, memory, history, outside[begin:end])
        draw(tables, block, 1, 0, key, number, outside[begin:end])
        save_state(tables, block, 1, begin, following, history, before)
        turn(block.psi, 0, block.members, block.sites, block.members, psi.reshape(-1), begin * block.sites, block.sites)


def take(tables: Tables, z: F64, state: State, history: F64, fours: U64 = _WHOLE) -> tuple[F64, State]:
    """Take a step.

    Parameters
    ----------
    tables : of the closure.
    z : predictors (n, P, K).
    state : with the number of the step.
    history : predictors of the steps before (n, H, P, K), even if H is 0.
    fours : as for :func:`step`.

    Returns
    -------
    psi (n, K), and the state with what it remembers next.
    """
    members, _, K = z.shape
    memory = state.memory if state.memory.ndim == 3 else np.empty((members, 0, K))
    # Of arrays that are read-only the step would be compiled once more.
    z, memory, history = (one if one.flags.carray else np.array(one, order="C") for one in (z, memory, history))
    following, before, psi = np.empty_like(memory), np.empty_like(history), np.empty((members, K))
    outside = state.outside.copy()
    source = np.uint64(state.key), np.uint64(state.step), state.member
    step(tables, z, memory, history, *source, members_at_once(K, members), following, before, psi, outside, fours)
    state = state._replace(outside=outside)
    if memory.size:
        state = state._replace(memory=following)
    return psi, state._replace(history=before) if history.size else state
