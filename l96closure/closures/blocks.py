"""What a block of members holds while it steps in compiled code, and how its numbers are laid out.

In a block fields are flat, site major and member minor: the value of member m at site k is number M k + m. A ring has a
halo at either end, so that what a neighbour has lies M numbers away. So loops run in vectors over sites and members
alike, one member is as good as many, and what happens to a number does not depend on where in the block it lies: the
bits are the same in any block. The past is in rings of rows, of which a step overwrites the oldest.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from l96closure.closures.compiled_tables import Tables
from l96closure.compiled import part
from l96closure.lanes import lines
from l96closure.vector import LANES, larger, load, smaller, splat, store

__all__ = [
    "Block",
    "Rings",
    "block_of",
    "close",
    "load_state",
    "members_at_once",
    "noise_row",
    "rings",
    "save_state",
    "see",
    "seen_row",
]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
Index = npt.NDArray[np.intp]

_LINE = 8  # numbers in a cache line
_NUMBERS = 192  # of a block at most, if it has several members: then what a step reads and writes is near
_NORMALS = 256  # drawn at once at least, as long as there are steps


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
    departure : the trend's from its level, where it is filtered.
    filter_place : where each weight of the filter begins.
    noise : the white noise of a step, and the noise of the last p + 1 steps.
    tap_place : where each tap begins, for each place of the step's noise among the rows (p + 1, T).
    normal : standard normals of some steps.
    normal_stride : numbers of a step.
    counter, number : see :func:`l96closure.noise.fill`.
    lattice : rows of ``lowest``, ``per_unit``, ``cells`` and ``first`` of a :class:`~l96closure.bridge.look_up.LookUp`.
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
    departure: Rings
    filter_place: Index
    noise: Rings
    tap_place: Index
    normal: F64
    normal_stride: int
    counter: U64
    number: F64
    lattice: F64
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
def rings(rows: int, size: int, left: int, right: int) -> Rings:
    """Return rows that are read and written in vectors, and begin with a cache line."""
    first = -(-left // _LINE) * _LINE
    stride = first + -(-(-(-size // LANES) * LANES + right) // _LINE) * _LINE
    return Rings(lines(rows * stride), stride, first, left, right)


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
    departure = rings(1, N, _most(tables.filter_offset) * M, _most(-tables.filter_offset) * M)
    lattice = lines(4 * stride)
    lattice[2 * stride : 3 * stride] = 1.0  # beyond the last site too something is read
    for k in range(K):
        d = tables.dictionary[k]
        for m in range(M):
            at = k * M + m
            lattice[at], lattice[stride + at] = tables.look_up.lowest[d], tables.look_up.per_unit[d]
            lattice[2 * stride + at], lattice[3 * stride + at] = tables.look_up.cells[d], tables.look_up.first[d]
    drawn = normal_stride * (0 if taps == 0 else max(1, min(steps, _NORMALS // N)))
    gathered = 0 if tables.shift.size else features * stride
    return Block(
        K, M, P,
        rings(P, N, 2 * M, M),
        rings((H + 1) * P, N, _most(-tables.shift) * M, _most(tables.shift) * M),
        np.zeros((H + 1) * M, np.intp), lines(min(H, steps) * P * stride), stride,
        lines(gathered), np.zeros(features, np.intp),
        departure, departure.first - tables.filter_offset * M,
        noise_rows, tap_place,
        lines(drawn), normal_stride, np.empty((4, drawn // 4), np.uint64), np.empty((4, drawn // 4)),
        lattice, lines(stride),
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
        first = noise_row(tables, block, -1 - lag)
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
                    see(tables, block, -before, p, block.psi, 0)
                break


@part
def save_state(tables: Tables, block: Block, steps: int, begin: int, memory: F64, history: F64, following: F64) -> None:
    """Put the memory after so many steps into arrays (member, ...), the history before them being known."""
    K, M, P, H = block.sites, block.members, block.predictors, tables.lag[-1]
    for lag in range(tables.order):
        first = noise_row(tables, block, steps - 1 - lag)
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
def noise_row(tables: Tables, block: Block, step: int) -> int:
    """Return where the noise of a step begins, counted from the first of the block, which is step 0."""
    rows = tables.order + 1
    row: int = 1 + (step + rows) % rows
    return row * block.noise.stride + block.noise.first


@part
def seen_row(tables: Tables, block: Block, step: int, p: int) -> int:
    """Return where predictor ``p`` of a step begins among what is seen, counted as in :func:`noise_row`."""
    rows = tables.lag[-1] + 1
    row: int = (step + rows) % rows
    return (row * block.predictors + p) * block.seen.stride + block.seen.first


@part
def see(tables: Tables, block: Block, step: int, p: int, z: F64, first: int) -> None:
    """Scale predictor ``p`` of a step, the row that begins in ``z[first]``, and count what is out of its range."""
    M, N = block.members, block.sites * block.members
    lower, upper = tables.scale.lower[p], tables.scale.upper[p]
    middle, factor = splat(tables.scale.middle[p]), splat(tables.scale.factor[p])
    at = seen_row(tables, block, step, p)
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
