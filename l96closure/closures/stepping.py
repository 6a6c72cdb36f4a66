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
from l96closure.bridge.quantiles import ConditionalQuantiles, quantile
from l96closure.closures.features import Scale
from l96closure.closures.state import State
from l96closure.closures.trend import Terms, polynomial
from l96closure.compiled import cached
from l96closure.vector import LANES, exp2, fma, larger, load, smaller, splat, store

__all__ = ["Block", "Tables", "block_of", "draw", "left", "members_at_once"]

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
    quantile, node, bucket, lowest, per_unit, dictionary : see :class:`l96closure.bridge.ConditionalQuantiles`.
    fresh, earlier : kernels of the noise (T,) and (p, T').
    fresh_offset, earlier_offset : how far to the left their taps are, to the right if negative.
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
    quantile: F64
    node: F64
    bucket: Index
    lowest: F64
    per_unit: F64
    dictionary: Index
    fresh: F64
    fresh_offset: Index
    earlier: F64
    earlier_offset: Index
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
        own = np.arange(len(tables.get("range", none)), dtype=np.intp) * neighbour.shape[1]
        trend = [tables.get(name, none) for name in ("linear", "quadratic", "cubic", "hidden", "output")]
        if "linear" not in tables:
            trend = [np.zeros(1), np.zeros((1, 1)), none, np.empty((2, 0)), none]
        earlier = tables.get("noise_earlier", np.empty((0, 1)))
        return cls(
            neighbour,
            _shift(neighbour),
            np.bincount(neighbour.ravel(), minlength=sites),
            np.ascontiguousarray(tables.get("lag", np.zeros(1)), np.intp),
            Scale.of(*tables.get("range", np.empty((0, 2))).T.copy()),
            "linear" in tables,
            Terms.of(own, tables.get("chebyshev", np.empty((0, 1))), *trend),
            tables.get("bounds", np.array([-np.inf, np.inf])),
            int(tables.get("coordinate", -1)),
            QUANTILES if "quantile" in tables else GAUSSIAN if "log_variance" in tables else NO_LAW,
            np.ascontiguousarray(tables.get("log_variance", none)[::-1]) * (0.5 / math.log(2.0)),
            Scale.of(*tables.get("log_variance_range", np.array([0.0, 1.0]))[:, None]),
            *_quantiles(tables, sites),
            tables.get("noise_fresh", none),
            _signed(tables.get("noise_fresh_offset", none), sites),
            np.ascontiguousarray(earlier),
            _signed(tables.get("noise_earlier_offset", none), sites),
            bool(tables.get("conserve", False)),
        )


def _shift(neighbour: Index) -> Index:
    """Return how far neighbours are to the right on a ring, on the short way; (0,) where it differs among sites."""
    K = len(neighbour)
    away = (neighbour - np.arange(K)[:, None]) % K
    return _signed(away[0], K) if (away == away[0]).all() else np.empty(0, np.intp)


def _signed(offset: npt.NDArray[Any], sites: int) -> Index:
    offset = np.asarray(offset, np.intp)
    return np.where(2 * offset > sites, offset - sites, offset)


def _quantiles(tables: dict[str, npt.NDArray[Any]], sites: int) -> tuple[npt.NDArray[Any], ...]:
    if "quantile" not in tables:
        return np.zeros((2, 2)), np.zeros(2), np.zeros((1, 2), np.intp), np.zeros(1), np.zeros(1), np.zeros(1, np.intp)
    names = "quantile", "quantile_node", "quantile_nodes_of", "dictionary_of_site"
    return ConditionalQuantiles.of_nodes(*(tables[name] for name in names), np.empty(0)).arrays()


class Block(NamedTuple):
    """Memory of a block of M members while it steps, and where in it rows begin.

    Attributes
    ----------
    sites, members, predictors : K, M and P.
    z : predictors, rows with halos.
    z_stride, z_first : length of a row, and its first site.
    seen : scaled predictors of the steps up to the longest lag, rows with halos.
    seen_stride, seen_first, seen_left, seen_right : length of a row, its first site, numbers in the halos.
    outside : features outside of their ranges, of the same steps (H + 1, M), times the sites that see them.
    before : predictors of the last H steps, rows.
    stride : of all rows without halos.
    gathered : features of all sites, rows, where they are not those of a ring.
    place : where each feature begins.
    noise : the white noise of a step, and the noise of the last p + 1 steps, rows with halos.
    noise_stride, noise_first, noise_left, noise_right : as for ``seen``.
    fresh_reach, earlier_reach : offsets of the kernels in numbers.
    normal : standard normals of some steps.
    normal_stride : numbers of a step.
    counter, number : see :func:`l96closure.noise.fill`.
    psi : a row.
    """

    sites: int
    members: int
    predictors: int
    z: F64
    z_stride: int
    z_first: int
    seen: F64
    seen_stride: int
    seen_first: int
    seen_left: int
    seen_right: int
    outside: Index
    before: F64
    stride: int
    gathered: F64
    place: Index
    noise: F64
    noise_stride: int
    noise_first: int
    noise_left: int
    noise_right: int
    fresh_reach: Index
    earlier_reach: Index
    normal: F64
    normal_stride: int
    counter: U64
    number: F64
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


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _row(numbers: int, left: int, right: int) -> tuple[int, int]:
    """Return length and first site of a row that is read and written in vectors and begins with a cache line."""
    first = -(-left // _LINE) * _LINE
    return first + -(-(-(-numbers // LANES) * LANES + right) // _LINE) * _LINE, first


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def left(offset: Index) -> int:
    """Return the largest of some offsets, 0 if there is none > 0."""
    reach = 0
    for i in range(offset.size):
        reach = max(reach, offset[i])
    return reach


@numba.njit  # type: ignore[untyped-decorator]
def block_of(tables: Tables, predictors: int, members: int, steps: int) -> Block:
    """Make the memory of a block that is to make so many steps."""
    K, P, M = tables.neighbour.shape[0], predictors, members
    N, H, p = K * M, tables.lag[-1], tables.earlier.shape[0]
    z_stride, z_first = _row(N, 2 * M, M)
    seen_left, seen_right = left(-tables.shift) * M, left(tables.shift) * M
    seen_stride, seen_first = _row(N, seen_left, seen_right)
    noise_left = max(left(tables.fresh_offset), left(tables.earlier_offset)) * M
    noise_right = max(left(-tables.fresh_offset), left(-tables.earlier_offset)) * M
    noise_stride, noise_first = _row(N, noise_left, noise_right)
    stride = _row(N, 0, 0)[0]
    features = tables.terms.linear.size
    normal_stride = -(-K // 4) * 4 * M
    drawn = 0 if tables.fresh.size == 0 else max(1, min(steps, _NORMALS // N)) * normal_stride
    return Block(
        K, M, P,
        np.zeros(P * z_stride), z_stride, z_first,
        np.zeros((H + 1) * P * seen_stride), seen_stride, seen_first, seen_left, seen_right,
        np.zeros((H + 1) * M, np.intp),
        np.zeros(min(H, steps) * P * stride), stride,
        np.zeros(features * stride if tables.shift.size == 0 else 0),
        np.zeros(features, np.intp),
        np.zeros((p + 2) * noise_stride), noise_stride, noise_first, noise_left, noise_right,
        tables.fresh_offset * M, tables.earlier_offset * M,
        np.zeros(drawn), normal_stride,
        np.empty((4, drawn // 4), np.uint64), np.empty((4, drawn // 4)),
        np.zeros(stride),
    )  # fmt: skip


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def close(row: F64, first: int, numbers: int, left: int, right: int) -> None:
    """Copy the ends of a ring into its halos."""
    for i in range(left):
        row[np.uintp(first - left + i)] = row[np.uintp(first + numbers - left + i)]
    for i in range(right):
        row[np.uintp(first + numbers + i)] = row[np.uintp(first + i)]


@numba.njit(_nrt=False)  # type: ignore[untyped-decorator]
def load_state(
    tables: Tables, block: Block, steps: int, begin: int, z: F64, memory: F64, history: F64
) -> None:
    """Put members from number ``begin`` on of arrays (member, ...) into a block that is to make so many steps."""
    K, M, P = block.sites, block.members, block.predictors
    for p in range(P):
        for k in range(K):
            for m in range(M):
                block.z[p * block.z_stride + block.z_first + k * M + m] = z[begin + m, p, k]
    for lag in range(tables.earlier.shape[0]):
        first = _noise_row(tables, block, -1 - lag)
        for k in range(K):
            for m in range(M):
                block.noise[first + k * M + m] = memory[begin + m, lag, k]
        close(block.noise, first, K * M, block.noise_left, block.noise_right)
    for before in range(1, tables.lag[-1] + 1):
        for lag in tables.lag:
            if lag - steps < before <= lag:  # a step looks at it
                for p in range(P):
                    for k in range(K):
                        for m in range(M):
                            block.psi[k * M + m] = history[begin + m, before - 1, p, k]
                    _see(tables, block, -before, p, block.psi, 0)
                break


@numba.njit(_nrt=False)  # type: ignore[untyped-decorator]
def save_state(
    tables: Tables, block: Block, steps: int, begin: int, memory: F64, history: F64, following: F64
) -> None:
    """Put the memory after so many steps into arrays (member, ...), the history before them being known."""
    K, M, P, H = block.sites, block.members, block.predictors, tables.lag[-1]
    for lag in range(tables.earlier.shape[0]):
        first = _noise_row(tables, block, steps - 1 - lag)
        for m in range(M):
            for k in range(K):
                memory[begin + m, lag, k] = block.noise[first + k * M + m]
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


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _noise_row(tables: Tables, block: Block, step: int) -> int:
    """Return where the noise of a step begins, counted from the first of the block, which is step 0."""
    rows = tables.earlier.shape[0] + 1
    return (1 + (step + rows) % rows) * block.noise_stride + block.noise_first


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _seen_row(tables: Tables, block: Block, step: int, p: int) -> int:
    """Return where predictor ``p`` of a step begins among what is seen, counted as in :func:`_noise_row`."""
    rows = tables.lag[-1] + 1
    return ((step + rows) % rows * block.predictors + p) * block.seen_stride + block.seen_first


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _see(tables: Tables, block: Block, step: int, p: int, z: F64, first: int) -> None:
    """Scale predictor ``p`` of a step, the row that begins in ``z[first]``, and count what is out of its range."""
    M, N = block.members, block.sites * block.members
    lower, upper = tables.scale.lower[p], tables.scale.upper[p]
    middle, factor = splat(tables.scale.middle[p]), splat(tables.scale.factor[p])
    at = _seen_row(tables, block, step, p)
    for e in range(0, N, LANES):
        x = (load(z, first + e) - middle) * factor
        store(smaller(splat(1.0), larger(splat(-1.0), x)), block.seen, at + e)  # NaN stays
    close(block.seen, at, N, block.seen_left, block.seen_right)
    rows = tables.lag[-1] + 1
    count = (step + rows) % rows * M
    for m in range(M):
        if p == 0:
            block.outside[count + m] = 0
        for k in range(block.sites):
            value = z[np.uintp(first + k * M + m)]
            block.outside[count + m] += tables.seen_by[k] * ((value < lower) | (value > upper))


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
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
                            value = block.seen[first + tables.neighbour[k, w] * M + m]
                            block.gathered[block.place[i] + k * M + m] = value
                i += 1


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _trend(tables: Tables, block: Block, step: int, outside: Index) -> None:
    """Write the trend of a step into psi, and count what is out of its range."""
    M, P, rows = block.members, block.predictors, tables.lag[-1] + 1
    for p in range(P):
        _see(tables, block, step, p, block.z, p * block.z_stride + block.z_first)
    _place(tables, block, step)
    values = block.seen if tables.shift.size else block.gathered
    for e in range(0, block.sites * M, LANES):
        store(polynomial(values, block.place, e, tables.terms), block.psi, e)
    for lag in tables.lag:
        count = (step - lag + rows) % rows * M
        for m in range(M):
            outside[m] += block.outside[count + m]


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _taps(values: F64, first: int, kernel: F64, start: int, reach: Index, sums: Any) -> Any:
    """Add the taps of a kernel, the i-th to partial sum number i % 4."""
    a, b, c, d = sums
    whole = reach.size // 4 * 4
    for i in range(0, whole, 4):
        a = fma(splat(kernel[start + i]), load(values, first - reach[i]), a)
        b = fma(splat(kernel[start + i + 1]), load(values, first - reach[i + 1]), b)
        c = fma(splat(kernel[start + i + 2]), load(values, first - reach[i + 2]), c)
        d = fma(splat(kernel[start + i + 3]), load(values, first - reach[i + 3]), d)
    for i in range(whole, reach.size):
        a = fma(splat(kernel[start + i]), load(values, first - reach[i]), a)
    return a, b, c, d


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _colour(tables: Tables, block: Block, step: int, normal: int) -> int:
    """Make the noise of a step of the normals that begin at a place; return where it begins."""
    N, p, T = block.sites * block.members, tables.earlier.shape[0], tables.earlier.shape[1]
    for e in range(0, N, LANES):
        store(load(block.normal, normal + e), block.noise, block.noise_first + e)
    close(block.noise, block.noise_first, N, block.noise_left, block.noise_right)
    first = _noise_row(tables, block, step)
    earlier = tables.earlier.reshape(p * T)
    zero = splat(0.0)
    for e in range(0, N, LANES):
        sums = zero, zero, zero, zero
        sums = _taps(block.noise, block.noise_first + e, tables.fresh, 0, block.fresh_reach, sums)
        before = first
        for lag in range(p):
            before -= block.noise_stride
            if before < block.noise_stride:
                before += (p + 1) * block.noise_stride
            sums = _taps(block.noise, before + e, earlier, lag * T, block.earlier_reach, sums)
        a, b, c, d = sums
        store((a + b) + (c + d), block.noise, first + e)
    close(block.noise, first, N, block.noise_left, block.noise_right)
    return first


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _add_residual(tables: Tables, block: Block, xi: int) -> None:
    """Add what the law makes of the noise that begins at a place."""
    M, N = block.members, block.sites * block.members
    given, first = block.psi, 0
    if tables.coordinate >= 0:
        given, first = block.z, tables.coordinate * block.z_stride + block.z_first
    if tables.law == QUANTILES:
        for k in range(block.sites):
            d = tables.dictionary[k]
            for e in range(k * M, (k + 1) * M):
                block.psi[e] += quantile(
                    given[np.uintp(first + e)], block.noise[np.uintp(xi + e)], tables.quantile, tables.node,
                    tables.bucket[d], tables.lowest[d], tables.per_unit[d],
                )  # fmt: skip
    if tables.law == GAUSSIAN:
        scale, coefficients = tables.log_deviation_scale, tables.log_deviation
        for e in range(0, N, LANES):
            x = (load(given, first + e) - splat(scale.middle[0])) * splat(scale.factor[0])
            x = smaller(splat(1.0), larger(splat(-1.0), x))
            here, after = splat(0.0), splat(0.0)
            for a in range(coefficients.size - 1):
                here, after = fma(x + x, here, splat(coefficients[a]) - after), here
            deviation = exp2(fma(x, here, splat(coefficients[coefficients.size - 1]) - after))
            store(fma(deviation, load(block.noise, xi + e), load(block.psi, e)), block.psi, e)


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def draw(tables: Tables, block: Block, steps: int, step: int, key: Any, number: Any, member: U64, outside: Index) -> None:
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
                store(load(block.z, p * block.z_stride + block.z_first + e), block.before, row + e)
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
