"""Steps of a closure in compiled code, for blocks of members, from its tables alone.

In a block fields are flat, site major and member minor: the value of member m at site k is number M k + m. A ring has a
halo at either end, so that what a neighbour has lies M numbers away. So loops run in vectors over sites and members
alike, one member is as good as many, and what happens to a number does not depend on where in the block it lies: the
bits are the same in any block. The past is in rings of rows, of which a step overwrites the oldest.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from l96closure import noise
from l96closure.bridge.quantiles import FARTHEST, ConditionalQuantiles, LookUp, read_off
from l96closure.closures.features import Scale
from l96closure.closures.state import State
from l96closure.closures.trend import Terms, polynomial
from l96closure.compiled import cached, part
from l96closure.vector import LANES, element, exp2, fma, larger, load, smaller, splat, store

__all__ = [
    "Block",
    "Rings",
    "Tables",
    "block_of",
    "close",
    "draw",
    "load_state",
    "members_at_once",
    "numbers",
    "rings",
    "save_state",
    "take",
]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
Index = npt.NDArray[np.intp]

_LINE = 8  # numbers in a cache line
_NUMBERS = 192  # of a block at most, if it has several members: then what a step reads and writes is near
_NORMALS = 256  # drawn at once at least, as long as there are steps
NO_LAW, GAUSSIAN, QUANTILES = range(3)


class Tables(NamedTuple):
    """The tables of a closure as compiled code takes them; made by :meth:`of`.

    Attributes
    ----------
    neighbour : sites that each site sees (K, W).
    shift : how far to the right they are, if they are the same on a ring for all sites (W,); else (0,).
    seen_by : number of sites that see each site (K,).
    lag : in steps (L,), from 0 on.
    scale : of the predictors.
    trend : whether there is one.
    terms : its coefficients.
    bounds : of psi (2,).
    coordinate : number of the predictor that the law is given, -1 for the trend.
    law : one of ``NO_LAW``, ``GAUSSIAN``, ``QUANTILES``.
    log_deviation, log_deviation_scale : Chebyshev coefficients of log2 of the standard deviation, the highest first,
        and how its coordinate is scaled.
    look_up, dictionary : table of quantiles, and the dictionary of each site (K,).
    order : of the autoregression of the noise, p.
    tap : weights of white noise and of the last noise in the noise of a step (T,), as many as are a multiple of four.
    tap_row : what the weights are of: 0 the white noise, n the noise n steps before.
    tap_offset : how far to the left of a site, to the right if negative.
    conserve : whether the mean over the sites is taken off.
    """

    neighbour: Index
    shift: Index
    seen_by: Index
    lag: Index
    scale: Scale
    trend: bool
    terms: Terms
    bounds: F64
    coordinate: int
    law: int
    log_deviation: F64
    log_deviation_scale: Scale
    look_up: LookUp
    dictionary: Index
    order: int
    tap: F64
    tap_row: Index
    tap_offset: Index
    conserve: bool

    @classmethod
    def of(cls, tables: dict[str, npt.NDArray[Any]], sites: int) -> Tables:
        """Make them of the tables of a closure.

        Parameters
        ----------
        tables : from :meth:`l96closure.closures.composed.Composed.tables`; empty for no closure.
        sites : K.

        Returns
        -------
        Tables
        """
        none, numbers = np.empty(0), np.arange(sites, dtype=np.intp)
        neighbour = np.ascontiguousarray(tables.get("neighbour", numbers[:, None]), np.intp)
        ranges = tables.get("range", np.empty((0, 2)))
        trend = [tables.get(name, none) for name in ("linear", "quadratic", "cubic", "hidden", "output")]
        if "linear" not in tables:
            trend = [np.zeros(1), np.zeros((1, 1)), none, np.empty((2, 0)), none]
        own = np.arange(len(ranges), dtype=np.intp) * neighbour.shape[1]
        look_up, dictionary = _quantiles(tables, sites)
        order, tap, tap_row, tap_offset = _taps(tables, sites)
        return cls(
            neighbour=neighbour,
            shift=_shift(neighbour),
            seen_by=np.bincount(neighbour.ravel(), minlength=sites),
            lag=np.ascontiguousarray(tables.get("lag", np.zeros(1)), np.intp),
            scale=Scale.of(*ranges.T.copy()),
            trend="linear" in tables,
            terms=Terms.of(own, tables.get("chebyshev", np.empty((0, 1))), *trend),
            bounds=tables.get("bounds", np.array([-np.inf, np.inf])),
            coordinate=int(tables.get("coordinate", -1)),
            law=QUANTILES if "quantile" in tables else GAUSSIAN if "log_variance" in tables else NO_LAW,
            log_deviation=np.ascontiguousarray(tables.get("log_variance", none)[::-1]) * (0.5 / math.log(2.0)),
            log_deviation_scale=Scale.of(*tables.get("log_variance_range", np.array([0.0, 1.0]))[:, None]),
            look_up=look_up,
            dictionary=dictionary,
            order=order,
            tap=tap,
            tap_row=tap_row,
            tap_offset=tap_offset,
            conserve=bool(tables.get("conserve", False)),
        )


def _shift(neighbour: Index) -> Index:
    """Return how far neighbours are to the right on a ring, on the short way; (0,) where it differs among sites."""
    K = len(neighbour)
    away = (neighbour - np.arange(K)[:, None]) % K
    return _signed(away[0], K) if (away == away[0]).all() else np.empty(0, np.intp)


def _signed(offset: npt.NDArray[Any], sites: int) -> Index:
    offset = np.asarray(offset, np.intp)
    return np.where(2 * offset > sites, offset - sites, offset)


def _quantiles(tables: dict[str, npt.NDArray[Any]], sites: int) -> tuple[LookUp, Index]:
    """Return the table of quantiles, and the dictionary of each site; where there is none, one that nobody reads."""
    error, nobody = np.empty(0), np.array([[0, 1]])
    of = ConditionalQuantiles.of_nodes(
        tables.get("quantile", np.zeros((2, 2))),
        tables.get("quantile_node", np.arange(2.0)),
        tables.get("quantile_nodes_of", nobody),
        tables.get("dictionary_of_site", np.zeros(sites, np.intp)),
        error,
    )
    return of.look_up, of.of


def _taps(tables: dict[str, npt.NDArray[Any]], sites: int) -> tuple[int, F64, Index, Index]:
    """Return the order of the noise, and the taps of its kernels: weights, rows and offsets."""
    if "noise_fresh" not in tables:
        return 0, np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp)
    fresh, earlier = tables["noise_fresh"], tables["noise_earlier"]
    weight = np.concatenate([fresh, earlier.ravel()])
    row = np.repeat(np.arange(len(earlier) + 1), [fresh.size, *len(earlier) * [earlier.shape[1]]])
    offset = np.concatenate([tables["noise_fresh_offset"], np.tile(tables["noise_earlier_offset"], len(earlier))])
    more = (0, -weight.size % 4)
    return len(earlier), np.pad(weight, more), np.pad(row, more), np.pad(_signed(offset, sites), more)


class Rings(NamedTuple):
    """Rows of fields on rings, each with what lies beyond its ends at either side.

    Attributes
    ----------
    values : of one row after the other, flat.
    stride, first : numbers of a row, and where its first site is.
    left, right : numbers in the halos.
    """

    values: F64
    stride: int
    first: int
    left: int
    right: int


class Block(NamedTuple):
    """Memory of a block of M members while it steps.

    Attributes
    ----------
    sites, members, predictors : K, M and P.
    z : predictors.
    seen : scaled predictors of the steps up to the longest lag H.
    outside : features outside of their ranges, of the same steps (H + 1, M), times the sites that see them.
    before : predictors of the last H steps, rows without halos.
    stride : of rows without halos.
    gathered : features of all sites, rows, where they are not those of a ring.
    place : where each feature begins.
    noise : the white noise of a step, and the noise of the last p + 1 steps.
    tap_place : where each tap begins, for each place of the step's noise among the rows (p + 1, T).
    normal : standard normals of some steps.
    normal_stride : numbers of a step.
    counter, number : see :func:`l96closure.noise.fill`.
    lowest, per_unit, cell, column : rows for the look-up of quantiles.
    psi : a row.
    """

    sites: int
    members: int
    predictors: int
    z: Rings
    seen: Rings
    outside: Index
    before: F64
    stride: int
    gathered: F64
    place: Index
    noise: Rings
    tap_place: Index
    normal: F64
    normal_stride: int
    counter: U64
    number: F64
    lowest: F64
    per_unit: F64
    cell: F64
    column: F64
    psi: F64


def members_at_once(sites: int, members: int) -> int:
    """Return how many members a block has.

    Parameters
    ----------
    sites : K.
    members : of all blocks together.

    Returns
    -------
    M
    """
    return max(1, min(members, _NUMBERS // sites))


@numba.njit(no_cpython_wrapper=True)  # type: ignore[untyped-decorator]
def numbers(size: int) -> F64:
    """Return zeros that begin with a cache line, which vectors do not straddle where they need not."""
    memory = np.zeros(size + _LINE)
    start = -(memory.ctypes.data // memory.itemsize) % _LINE
    return memory[start : start + size]


@numba.njit(no_cpython_wrapper=True)  # type: ignore[untyped-decorator]
def rings(rows: int, size: int, left: int, right: int) -> Rings:
    """Return rows that are read and written in vectors, and begin with a cache line."""
    first = -(-left // _LINE) * _LINE
    stride = first + -(-(-(-size // LANES) * LANES + right) // _LINE) * _LINE
    return Rings(numbers(rows * stride), stride, first, left, right)


@part
def _most(offset: Index) -> int:
    """Return the largest of some offsets, 0 if there is none > 0."""
    most = 0
    for i in range(offset.size):
        most = max(most, offset[i])
    return most


@numba.njit(no_cpython_wrapper=True)  # type: ignore[untyped-decorator]
def block_of(tables: Tables, predictors: int, members: int, steps: int) -> Block:
    """Make the memory of a block that is to make so many steps."""
    K, P, M, H = tables.neighbour.shape[0], predictors, members, tables.lag[-1]
    N, features, taps, rows = K * M, tables.terms.linear.size, tables.tap.size, tables.order + 1
    stride, normal_stride = -(-N // LANES) * LANES, -(-K // 4) * 4 * M
    noise_rows = rings(rows + 1, N, _most(tables.tap_offset) * M, _most(-tables.tap_offset) * M)
    tap_place = np.empty(rows * taps, np.intp)
    for now in range(rows):
        for i in range(taps):
            row = 0 if tables.tap_row[i] == 0 else 1 + (now - tables.tap_row[i]) % rows
            tap_place[now * taps + i] = row * noise_rows.stride + noise_rows.first - tables.tap_offset[i] * M
    lowest, per_unit = numbers(stride), numbers(stride)
    for k in range(K):
        for m in range(M):
            lowest[k * M + m] = tables.look_up.lowest[tables.dictionary[k]]
            per_unit[k * M + m] = tables.look_up.per_unit[tables.dictionary[k]]
    drawn = normal_stride * (0 if taps == 0 else max(1, min(steps, _NORMALS // N)))
    gathered = 0 if tables.shift.size else features * stride
    return Block(
        K, M, P,
        rings(P, N, 2 * M, M),
        rings((H + 1) * P, N, _most(-tables.shift) * M, _most(tables.shift) * M),
        np.zeros((H + 1) * M, np.intp), numbers(min(H, steps) * P * stride), stride,
        numbers(gathered), np.zeros(features, np.intp),
        noise_rows, tap_place,
        numbers(drawn), normal_stride, np.empty((4, drawn // 4), np.uint64), np.empty((4, drawn // 4)),
        lowest, per_unit, numbers(stride), numbers(stride), numbers(stride),
    )  # fmt: skip


@part
def close(of: Rings, first: int, numbers: int) -> None:
    """Copy the ends of the row that begins at a place into its halos."""
    for i in range(of.left):
        of.values[np.uintp(first - of.left + i)] = of.values[np.uintp(first + numbers - of.left + i)]
    for i in range(of.right):
        of.values[np.uintp(first + numbers + i)] = of.values[np.uintp(first + i)]


@part
def load_state(tables: Tables, block: Block, steps: int, begin: int, z: F64, memory: F64, history: F64) -> None:
    """Put members from number ``begin`` on of arrays (member, ...) into a block that is to make so many steps."""
    K, M, P = block.sites, block.members, block.predictors
    for p in range(P):
        for k in range(K):
            for m in range(M):
                block.z.values[p * block.z.stride + block.z.first + k * M + m] = z[begin + m, p, k]
    for lag in range(tables.order):
        first = _noise_row(tables, block, -1 - lag)
        for k in range(K):
            for m in range(M):
                block.noise.values[first + k * M + m] = memory[begin + m, lag, k]
        close(block.noise, first, K * M)
    for before in range(1, tables.lag[-1] + 1):
        for lag in tables.lag:
            if lag - steps < before <= lag:  # a step looks at it
                for p in range(P):
                    for k in range(K):
                        for m in range(M):
                            block.psi[k * M + m] = history[begin + m, before - 1, p, k]
                    _see(tables, block, -before, p, block.psi, 0)
                break


@part
def save_state(tables: Tables, block: Block, steps: int, begin: int, memory: F64, history: F64, following: F64) -> None:
    """Put the memory after so many steps into arrays (member, ...), the history before them being known."""
    K, M, P, H = block.sites, block.members, block.predictors, tables.lag[-1]
    for lag in range(tables.order):
        first = _noise_row(tables, block, steps - 1 - lag)
        for m in range(M):
            for k in range(K):
                memory[begin + m, lag, k] = block.noise.values[first + k * M + m]
    for before in range(H):
        for m in range(M):
            for p in range(P):
                if before < steps:
                    first = ((steps - 1 - before) % min(H, steps) * P + p) * block.stride
                    for k in range(K):
                        following[begin + m, before, p, k] = block.before[first + k * M + m]
                else:
                    for k in range(K):
                        following[begin + m, before, p, k] = history[begin + m, before - steps, p, k]


@part
def _noise_row(tables: Tables, block: Block, step: int) -> int:
    """Return where the noise of a step begins, counted from the first of the block, which is step 0."""
    rows = tables.order + 1
    row: int = 1 + (step + rows) % rows
    return row * block.noise.stride + block.noise.first


@part
def _seen_row(tables: Tables, block: Block, step: int, p: int) -> int:
    """Return where predictor ``p`` of a step begins among what is seen, counted as in :func:`_noise_row`."""
    rows = tables.lag[-1] + 1
    row: int = (step + rows) % rows
    return (row * block.predictors + p) * block.seen.stride + block.seen.first


@part
def _see(tables: Tables, block: Block, step: int, p: int, z: F64, first: int) -> None:
    """Scale predictor ``p`` of a step, the row that begins in ``z[first]``, and count what is out of its range."""
    M, N = block.members, block.sites * block.members
    lower, upper = tables.scale.lower[p], tables.scale.upper[p]
    middle, factor = splat(tables.scale.middle[p]), splat(tables.scale.factor[p])
    at = _seen_row(tables, block, step, p)
    for e in range(0, N, LANES):
        x = (load(z, first + e) - middle) * factor
        store(smaller(splat(1.0), larger(splat(-1.0), x)), block.seen.values, at + e)  # NaN stays
    close(block.seen, at, N)
    rows = tables.lag[-1] + 1
    count = (step + rows) % rows * M
    if p == 0:
        for m in range(M):
            block.outside[np.uintp(count + m)] = 0
    for k in range(block.sites):
        for m in range(M):
            value = z[np.uintp(first + k * M + m)]
            block.outside[np.uintp(count + m)] += tables.seen_by[k] * ((value < lower) | (value > upper))


@part
def _place(tables: Tables, block: Block, step: int) -> None:
    """Find where each feature of a step begins; on a ring among what is seen, else gather them."""
    i, M = tables.terms.padding, block.members
    for lag in tables.lag:
        for p in range(block.predictors):
            first = _seen_row(tables, block, step - lag, p)
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
        _see(tables, block, step, p, block.z.values, p * block.z.stride + block.z.first)
    _place(tables, block, step)
    values = block.seen.values if tables.shift.size else block.gathered
    for e in range(0, block.sites * M, LANES):
        store(polynomial(values, block.place, e, tables.terms), block.psi, e)
    for lag in tables.lag:
        count = (step - lag + rows) % rows * M
        for m in range(M):
            outside[m] += block.outside[count + m]


@part
def _colour(tables: Tables, block: Block, step: int, normal: int) -> int:
    """Make the noise of a step of the normals that begin at a place; return where it begins."""
    N, taps = block.sites * block.members, tables.tap.size
    for e in range(0, N, LANES):
        store(load(block.normal, normal + e), block.noise.values, block.noise.first + e)
    close(block.noise, block.noise.first, N)
    first, rows = _noise_row(tables, block, step), tables.order + 1
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
def _add_residual(tables: Tables, block: Block, xi: int) -> None:
    """Add what the law makes of the noise that begins at a place."""
    M, N = block.members, block.sites * block.members
    given, first = block.psi, 0
    if tables.coordinate >= 0:
        given, first = block.z.values, tables.coordinate * block.z.stride + block.z.first
    if tables.law == QUANTILES:
        of = tables.look_up
        most, cells = of.table.shape[1] - 1.0, of.bucket.shape[1] - 2.0
        zero, per_noise = splat(0.0), splat(most / (2.0 * FARTHEST))
        for e in range(0, N, LANES):
            x = load(given, first + e)
            store(fma(x, zero, load(block.psi, e)), block.psi, e)  # NaN where x is not finite
            cell = (x - load(block.lowest, e)) * load(block.per_unit, e)
            column = (load(block.noise.values, xi + e) + splat(FARTHEST)) * per_noise
            store(smaller(larger(cell, zero), splat(cells)), block.cell, e)  # NaN becomes 0
            store(smaller(larger(column, zero), splat(most)), block.column, e)
        for k in range(block.sites):
            d = tables.dictionary[k]
            for e in range(k * M, (k + 1) * M):
                at = element(given, first + e)
                drawn = read_off(at, element(block.cell, e), element(block.column, e), of, d)
                block.psi[np.uintp(e)] += drawn
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
