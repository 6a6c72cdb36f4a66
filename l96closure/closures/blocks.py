"""What a block of members holds while it steps in compiled code, and how its numbers are laid out.

In a block fields are flat, site major and member minor: the value of member m at site k is number M k + m. A ring has a
halo at either end, so that what a neighbour has lies M numbers away. So loops run in vectors over sites and members
alike, one member is as good as many, and what happens to a number does not depend on where in the block it lies: the
bits are the same in any block. The past is in rings of rows, of which a step overwrites the oldest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from l96closure.arrays import F64, U64, Index
from l96closure.bridge.look_up import Found
from l96closure.closures.compiled_tables import Tables
from l96closure.compiled import called, part
from l96closure.lanes import lines
from l96closure.noise import count, evaluated
from l96closure.vector import LANES, exceeds, larger, load, smaller, splat, store
from l96closure.vector_places import load_pieces, store_turned

BEFORE, AFTER = 8, 4
"""Sites before the first and after the last that go along in the registers of one member."""

_LATTICE = 6  # rows
_NUMBERS = 192  # of a block at most, if it has several members: then what a step reads and writes is near
_A_LINE = 8  # numbers of a cache line
_NORMALS = 768  # drawn at once at least, as long as there are steps


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
    sites, members, predictors, kept : K, M, P, and H, of how many steps before now the predictors are kept.
    z : predictors, with what two neighbours on either side have.
    seen : scaled predictors of the steps up to the longest lag.
    before : predictors of the last H steps, rows without halos.
    stride : of rows without halos.
    gathered : features of all sites, rows, where they are not those of a ring.
    place : where each feature begins, for each place of the step's among the rows (longest lag + 1, F); (1, F) if
        gathered.
    trend : before it is filtered.
    filter_place : where each weight of the filter begins.
    white : standard normals of some steps.
    fresh_place : where each weight of them begins (steps, T).
    noise : of the last p + 1 steps.
    earlier_place : where each weight of noise of earlier steps begins, for each place of the step's among the rows
        (p + 1, T).
    normal, normal_stride : standard normals of some steps, and how many of each.
    fresh : noise of these steps that nothing before has a part in, rows without halos; none where it is white.
    evaluations, counter, word, value : see :func:`l96closure.noise.fill`.
    lattice : rows of what a :class:`~l96closure.bridge.look_up.Lattice` has.
    found : where in a table of quantiles the sites of a step are.
    psi : a row.
    pieces : of one member whose ring fits into registers, where pieces of it begin, from :data:`BEFORE` sites before
        the first on; else empty.
    """

    sites: int
    members: int
    predictors: int
    kept: int
    z: Rings
    seen: Rings
    before: F64
    stride: int
    gathered: F64
    place: Index
    trend: Rings
    filter_place: Index
    white: Rings
    fresh_place: Index
    noise: Rings
    earlier_place: Index
    normal: F64
    normal_stride: int
    fresh: F64
    evaluations: int
    counter: U64
    word: U64
    value: F64
    lattice: F64
    found: Found
    psi: F64
    pieces: Index


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
    most = max(1, min(members, _NUMBERS // sites))
    return most if most < _A_LINE else most - most % _A_LINE  # rows of a neighbour begin with a cache line too


@called
def rings(rows: int, size: int, left: int, right: int) -> Rings:
    """Return rows that are read and written in vectors, and begin with a cache line."""
    first = -(-left // LANES) * LANES
    stride = first + (-(-size // LANES) - (-right // LANES)) * LANES
    return Rings(lines(rows * stride), stride, first, left, right)


@called
def _rings_around(rows: int, size: int, offset: Index, M: int) -> Rings:
    """Return rows that are read at the places of some sites to the left."""
    left, right = 0, 0
    for one in offset:
        left, right = max(left, one), max(right, -one)
    return rings(rows, size, left * M, right * M)


@called
def _places_around(of: Rings, rows: int, offset: Index, M: int) -> Index:
    """Return where sites to the left of the first of each row are."""
    place = np.empty(rows * offset.size, np.intp)
    for row in range(rows):
        for i in range(offset.size):
            place[row * offset.size + i] = row * of.stride + of.first - offset[i] * M
    return place


@called
def _places(tables: Tables, P: int, M: int, seen: Rings, stride: int) -> Index:
    """Return where each feature begins on the rings of what is seen, for each row that may be that of a step."""
    features, padding, rings = tables.terms.linear.size, tables.terms.padding, tables.trend and tables.shift.size > 0
    rows = tables.lag[-1] + 1 if rings else 1
    place = np.zeros((rows, features), np.intp)
    if not rings:  # those gathered stand row after row
        for i in range(features):
            place[0, i] = i * stride
        return place
    for now in range(rows):
        i = padding
        for lag in tables.lag:
            for p in range(P):
                first = (before(now, lag, rows) * P + p) * seen.stride + seen.first
                for shift in tables.shift:
                    place[now, i] = first - shift * M
                    i += 1
    return place


@called
def _pieces(K: int, M: int) -> Index:
    """Return where pieces of the ring of one member begin: of four sites, or of two."""
    length, alone = 4 if K % 4 == 0 else 2, M == 1 and K % 2 == 0 and BEFORE <= K <= 2 * LANES - BEFORE - AFTER
    begins = np.empty(2 * LANES // length if alone else 0, np.intp)
    for i in range(begins.size):
        begins[i] = (i * length - BEFORE) % K
    return begins


@part
def stretch(values: F64, first: int, pieces: Index) -> Any:
    """Return 32 sites of one member's ring in two vectors, from :data:`BEFORE` sites before the first on."""
    if pieces.size == 2 * LANES // 4:
        return load_pieces(values, first, pieces, 4)
    return load_pieces(values, first, pieces, 2)


@called
def block_of(tables: Tables, predictors: int, kept: int, member: U64, steps: int) -> Block:
    """Make the memory of a block of members of some numbers that is to make so many steps.

    Parameters
    ----------
    tables : of the closure.
    predictors, kept : see :class:`Block`.
    member : numbers of the members.
    steps : to be made.
    """
    K, P, M = tables.neighbour.shape[0], predictors, member.size
    N, features, rows, taps = K * M, tables.terms.linear.size, tables.order + 1, tables.earlier.size
    stride, normal_stride = -(-N // LANES) * LANES, -(-K // 4) * 4 * M
    at_once = max(1, min(steps, _NORMALS // N)) if tables.fresh.size else 0
    trend = _rings_around(1, N, tables.filter_offset, M)
    white = _rings_around(at_once if tables.fresh.size > 1 else 0, N, tables.fresh_offset, M)
    noise = _rings_around(rows, N, tables.earlier_offset, M)
    earlier_place = np.empty(rows * taps, np.intp)
    for now in range(rows):
        for i in range(taps):
            row = (now - tables.earlier_step[i]) % rows
            earlier_place[now * taps + i] = row * noise.stride + noise.first - tables.earlier_offset[i] * M
    lattice, of = lines(_LATTICE * stride), tables.look_up
    for at in range(2 * stride, 3 * stride):
        lattice[at] = 1.0  # beyond the last site too something is read
    for k in range(K):
        d = tables.dictionary[k]
        for at in range(k * M, (k + 1) * M):
            lattice[at], lattice[stride + at] = of.lowest[d], of.per_unit[d]
            lattice[2 * stride + at], lattice[3 * stride + at] = of.cells[d], of.first[d]
            lattice[4 * stride + at], lattice[5 * stride + at] = of.second_lowest[d], of.second_per_unit[d]
    seen = _rings_around((tables.lag[-1] + 1) * P, N, tables.shift, M)
    evaluations = at_once * normal_stride // 4
    counter = np.zeros((4, evaluated(evaluations)), np.uint64)
    gathered = 0 if tables.shift.size else features * stride
    block = Block(
        K, M, P, kept,
        rings(P, N, 2 * M, 2 * M), seen,
        lines(min(kept, steps) * P * stride), stride,
        lines(gathered), _places(tables, P, M, seen, stride),
        trend, _places_around(trend, 1, tables.filter_offset, M),
        white, _places_around(white, at_once, tables.fresh_offset, M),
        noise, earlier_place,
        lines(at_once * normal_stride + LANES), normal_stride, lines(at_once * stride if tables.fresh.size > 1 else 0),
        evaluations, counter, np.empty_like(counter), np.empty(counter.shape),
        lattice, Found(np.empty(stride, np.int32), lines(stride), lines(stride), lines(stride)), lines(stride),
        _pieces(K, M),
    )  # fmt: skip
    count(member, at_once, np.uint64(0), 1, normal_stride // (4 * M), counter)
    return block


@part
def drawn_at_once(block: Block) -> int:
    """Return for how many steps normals are drawn at a time."""
    return block.evaluations * 4 // block.normal_stride


@part
def number(block: Block, member: U64) -> None:
    """Let a block be that of members of some numbers, as many as it has."""
    M = block.members
    for first in range(0, block.evaluations, M):
        for m in range(M):
            block.counter[2, np.uintp(first + m)] = member[m]


@called
def turn(
    values: F64, first: int, apart: int, rows: int, columns: int, out: F64, place: int, between: int
) -> None:  # fmt: skip
    """Copy a matrix, whose row i begins at ``values[first + apart i]``, and column j at ``out[place + between j]``."""
    if columns == 1 and apart == 1:  # of one member, as it is
        for i in range(rows):
            out[np.uintp(place + i)] = values[np.uintp(first + i)]
        return
    in_eights = columns - columns % 8
    for j in range(0, in_eights, 8):
        i, into = 0, place + between * j
        while i + 8 <= rows:
            store_turned(values, first + apart * i + j, apart, 8, out, into + i, between)
            i += 8
        if i + 4 <= rows:
            store_turned(values, first + apart * i + j, apart, 4, out, into + i, between)
            i += 4
        _turn_each(values, first + j, apart, i, rows, 8, out, into, between)
    _turn_each(
        values, first + in_eights, apart, 0, rows, columns - in_eights, out, place + between * in_eights, between
    )


@part
def _turn_each(
    values: F64, first: int, apart: int, begin: int, rows: int, columns: int, out: F64, place: int, between: int
) -> None:  # fmt: skip
    """Copy a matrix as :func:`turn` does, number by number, from row ``begin`` on."""
    for j in range(columns):
        for i in range(begin, rows):
            out[np.uintp(place + between * j + i)] = values[np.uintp(first + apart * i + j)]


@part
def close(of: Rings, first: int, numbers: int) -> None:
    """Copy the ends of the row that begins at a place into its halos, which are no longer, and between rows."""
    if numbers <= LANES and of.left <= numbers and of.right <= numbers:
        # By writing the row again to either side: a read of what two writes have made would have to wait for both.
        row = load(of.values, first)
        if of.left:
            store(row, of.values, first - numbers)
            store(row, of.values, first)
        if of.right:
            store(row, of.values, first + numbers)
        return
    for i in range(0, of.left, LANES):
        at = first - LANES - i
        store(load(of.values, at + numbers), of.values, at)
    for i in range(0, of.right, LANES):
        at = first + i
        store(load(of.values, at), of.values, at + numbers)


@part
def load_state(
    tables: Tables, block: Block, steps: int, begin: int, z: F64, memory: F64, history: F64, outside: Index
) -> None:  # fmt: skip
    """Put members from number ``begin`` on of arrays (member, ...) into a block that is to make so many steps."""
    K, M, P, H = block.sites, block.members, block.predictors, block.kept
    z, memory, history = z.reshape(-1), memory.reshape(-1), history.reshape(-1)
    for p in range(P):
        turn(z, (begin * P + p) * K, P * K, M, K, block.z.values, p * block.z.stride + block.z.first, M)
    for lag in range(tables.order):
        first = noise_row(tables, block, -1 - lag)
        turn(memory, (begin * tables.order + lag) * K, tables.order * K, M, K, block.noise.values, first, M)
        close(block.noise, first, K * M)
    for ago in range(1, tables.lag[-1] + 1 if tables.trend else 1):  # the trend alone sees them
        for lag in tables.lag:
            if lag - steps < ago <= lag:  # a step looks at it
                for p in range(P):
                    turn(history, ((begin * H + ago - 1) * P + p) * K, H * P * K, M, K, block.psi, 0, M)
                    see(tables, block, p, block.psi, 0, -ago, steps, outside)
                break


@part
def save_state(tables: Tables, block: Block, steps: int, begin: int, memory: F64, history: F64, following: F64) -> None:
    """Put the memory after so many steps into arrays (member, ...), the history before them being known."""
    K, M, P, H = block.sites, block.members, block.predictors, block.kept
    memory_of_all, following_of_all = memory.reshape(-1), following.reshape(-1)
    for lag in range(tables.order):
        first, place = noise_row(tables, block, steps - 1 - lag), (begin * tables.order + lag) * K
        turn(block.noise.values, first, M, K, M, memory_of_all, place, tables.order * K)
    for ago in range(H):
        for p in range(P):
            if ago < steps:
                first = (remainder(steps - 1 - ago, min(H, steps)) * P + p) * block.stride
                turn(block.before, first, M, K, M, following_of_all, ((begin * H + ago) * P + p) * K, H * P * K)
            else:
                for m in range(M):
                    for k in range(K):
                        following[begin + m, ago, p, k] = history[begin + m, ago - steps, p, k]


@part
def before(row: int, steps: int, rows: int) -> int:
    """Return which of the rows of a ring was written so many steps before another, fewer than there are rows."""
    earlier: int = row - steps
    return earlier if earlier >= 0 else earlier + rows


@part
def noise_row(tables: Tables, block: Block, step: int) -> int:
    """Return where the noise of a step begins, counted from the first of the block, which is step 0."""
    rows = tables.order + 1
    return remainder(step + rows, rows) * block.noise.stride + block.noise.first


@part
def see(tables: Tables, block: Block, p: int, z: F64, first: int, step: int, steps: int, outside: Index) -> None:
    """Scale predictor ``p`` of a step, the row that begins in ``z[first]``, and count what is out of its range.

    It counts as often as steps from 0 to ``steps`` look at it, each site that sees it.
    """
    M, N, rows = block.members, block.sites * block.members, tables.lag[-1] + 1
    lower, upper = tables.scale.lower[p], tables.scale.upper[p]
    middle, factor = splat(tables.scale.middle[p]), splat(tables.scale.factor[p])
    at = (remainder(step + rows, rows) * block.predictors + p) * block.seen.stride + block.seen.first
    low, high, beyond = splat(lower), splat(upper), splat(0.0)
    for e in range(0, N, LANES):
        value = load(z, first + e)
        x = (value - middle) * factor
        store(smaller(splat(1.0), larger(splat(-1.0), x)), block.seen.values, at + e)  # NaN stays
        beyond = larger(low - value, larger(value - high, beyond))
    close(block.seen, at, N)
    if exceeds(beyond, splat(0.0)):  # which is rare
        looks = 0
        for lag in tables.lag:
            looks += 0 <= step + lag < steps
        for k in range(block.sites):
            for m in range(M):
                value_of = z[np.uintp(first + k * M + m)]
                out_of_range = (value_of < lower) | (value_of > upper)
                outside[np.uintp(m)] += looks * tables.seen_by[k] * out_of_range


@part
def remainder(number: int, of: int) -> int:
    """Return the remainder of numbers that are not negative and below 2^32, which is quicker to find than of others."""
    return np.intp(np.uint32(number) % np.uint32(of))  # type: ignore[return-value]
