"""Counter-based noise: every normal number is a function of a key and of where it is used.

The bits come from Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, *Parallel random numbers: as easy as 1, 2, 3*,
SC'11), which maps a key of 64 bits and a counter of four words to four words. The counter is

    (site // 4,  65536 target + draw,  member,  step),

and a site takes the word of number site % 4: four neighbouring sites share an evaluation, and a normal depends on
nothing but its own six numbers. So it does not matter in which batch, thread, tile of a domain or order it is drawn,
nor whether the run was stopped in between.

Words become normals by the transform of Box and Muller (1958) in pairs, w_0 and w_1, w_2 and w_3:

    u = (w_0 + 1/2) / 2^32,  v = (w_1 + 1/2) / 2^32,  sqrt(-2 log u) cos(2 pi v)  and  sqrt(-2 log u) sin(2 pi v).

Logarithm, cosine and sine are series of our own whose every multiply-add is fused, so that the same code in another
language gives the same bits on any machine; they are exact to a few units in the last place. The normals reach 6.8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from l96closure import checks
from l96closure.arrays import F64, U64
from l96closure.compiled import cached, part

__all__ = [
    "MOST_DRAWS",
    "block",
    "check_step",
    "count",
    "evaluated",
    "fill",
    "fma",
    "key_of",
    "normals",
    "pair",
    "uniform",
    "uniforms",
    "words",
]


_WORD = 2**32
_TARGETS = MOST_DRAWS = 2**16
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57  # of the rounds, and what the key grows by (Salmon et al. 2011)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10

_LOG_2 = math.log(2.0)
_ATANH = tuple(1.0 / (2 * n + 1) for n in range(12))  # log((1 + s) / (1 - s)) = 2 s sum_n s^2n / (2 n + 1)
_SIN = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(8))
_COS = tuple((-1.0) ** n / math.factorial(2 * n) for n in range(9))
_ANGLE = 2.0 * math.pi * 2.0**-33
_SIDE_BY_SIDE = 32  # evaluations of the widest machines, unrolled
_HALF_ROOT = np.float64(0.7071067811865476).view(np.int64)


def key_of(rng: np.random.Generator | int | None) -> int:
    """Return the key that a seed or a generator stands for.

    Parameters
    ----------
    rng : seed, or a generator, which is advanced by one draw; None asks the operating system for entropy.

    Returns
    -------
    The key, from 0 to 2^64 - 1.
    """
    return int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))


def normals(
    key: int,
    member: npt.ArrayLike,
    step: npt.ArrayLike,
    draw: npt.ArrayLike = 0,
    target: npt.ArrayLike = 0,
    site: npt.ArrayLike = 0,
) -> F64:
    """Independent standard normal numbers, each a function of its own arguments alone.

    Parameters
    ----------
    key : of the ensemble, from :func:`key_of`; 0 <= key < 2^64.
    member, step : numbers of ensemble member and time step, from 0 to 2^32 - 1.
    draw, target : numbers of a draw within a step and of the target, from 0 to 2^16 - 1.
    site : number of the site in the whole grid, from 0 to 2^34 - 1.

    Returns
    -------
    Of the shape that the arguments have together.

    Raises
    ------
    ValueError
        A number is out of its range or no integer, or the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> noise = normals(key_of(0), np.arange(3)[:, None], step=7, site=np.arange(5))
    >>> noise.shape
    (3, 5)
    >>> bool(noise[2, 4] == normals(key_of(0), 2, 7, site=4))
    True
    """
    return _drawn(_normals, key, member, step, draw, target, site)


def uniforms(
    key: int,
    member: npt.ArrayLike,
    step: npt.ArrayLike,
    draw: npt.ArrayLike = 0,
    target: npt.ArrayLike = 0,
    site: npt.ArrayLike = 0,
) -> F64:
    """Independent numbers uniform on (0, 1), (w + 1/2) / 2^32, each a function of its own arguments alone.

    Parameters
    ----------
    key, member, step, draw, target, site : as for :func:`normals`.

    Returns
    -------
    Of the shape that the arguments have together.

    Raises
    ------
    ValueError
        A number is out of its range or no integer, or the shapes do not fit each other.
    """
    return _drawn(_uniforms, key, member, step, draw, target, site)


def block(
    key: int | np.uint64,
    member: U64,
    step: int,
    draws: int,
    sites: int,
    *,
    draw: int = 0,
    target: int = 0,
    normal: bool = True,
) -> F64:
    """Draw what :func:`normals` or :func:`uniforms` give, for many members and sites at once.

    That is faster, as an evaluation of Philox serves four neighbouring sites.

    Parameters
    ----------
    key : as for :func:`normals`.
    member : numbers of the members (n,), of the type uint64.
    step : number of the time step.
    draws, sites : how many of each; the sites are numbered from 0 on.
    draw : number of the first draw.
    target : number of the target.
    normal : False gives uniform numbers.

    Returns
    -------
    (draws, n, sites)

    Raises
    ------
    ValueError
        There are more steps, or draws in one, than can be told apart.
    """
    check_step(step)
    checks.integer("draws of a step", draw + draws, 0, below=MOST_DRAWS + 1)
    out = np.empty((draws, -(-sites // 4) * 4, len(member)))
    member = np.ascontiguousarray(member, np.uint64)
    where = np.uint64(draw), draws, np.uint64(target)
    if out.size:
        _block(np.uint64(key), member, np.uint64(step), *where, normal, out.reshape(-1))
    return np.ascontiguousarray(out[:, :sites].swapaxes(1, 2))


def check_step(step: int) -> None:
    """Raise ``ValueError`` unless a step has a number that the noise can tell from others.

    Parameters
    ----------
    step : its number.
    """
    checks.integer("step", step, 0, below=_WORD)


def _drawn(function: Any, key: int, *numbers: npt.ArrayLike) -> F64:
    checks.integer("key", key, 0, below=2**64)
    limits = {"member": _WORD, "step": _WORD, "draw": MOST_DRAWS, "target": _TARGETS, "site": 4 * _WORD}
    arrays = [_counted(name, given, below) for (name, below), given in zip(limits.items(), numbers, strict=True)]
    try:
        together = np.broadcast_arrays(*arrays)
    except ValueError:
        checks.reject("shapes of member, step, draw, target, site", [a.shape for a in arrays], "ones that fit together")
    flat = [array.flatten() for array in together]  # copies: what is broadcast may not be handed on
    out = np.empty(flat[0].size)
    function(np.uint64(key), *flat, out)
    return out.reshape(together[0].shape)


def _counted(name: str, given: npt.ArrayLike, below: int) -> U64:
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() >= below)):
        checks.reject(name, given, f"integers from 0 to {below - 1}")
    return array.astype(np.uint64)


@intrinsic  # type: ignore[untyped-decorator]
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once; by the processor's instruction or, where it has none, by software."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@part
def words(key: Any, site: Any, target: Any, draw: Any, member: Any, step: Any) -> Any:
    """Return the four words of the block of a site; all integers unsigned, of 64 bits."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = site >> np.uint64(2), (target << np.uint64(16)) | draw, member, step
    k0, k1 = key & mask, key >> half
    for _ in range(_ROUNDS):
        first, second = np.uint64(_MULTIPLIERS[0]) * c0, np.uint64(_MULTIPLIERS[1]) * c2
        c0, c1, c2, c3 = (second >> half) ^ c1 ^ k0, second & mask, (first >> half) ^ c3 ^ k1, first & mask
        k0, k1 = (k0 + np.uint64(_WEYL[0])) & mask, (k1 + np.uint64(_WEYL[1])) & mask
    return c0, c1, c2, c3


@intrinsic  # type: ignore[untyped-decorator]
def _bits(context: Any, number: Any) -> Any:
    """Return the bits of a double as a signed integer."""
    return types.int64(types.float64), lambda context, builder, signature, x: builder.bitcast(x[0], ir.IntType(64))


@intrinsic  # type: ignore[untyped-decorator]
def _of_bits(context: Any, bits: Any) -> Any:
    """Inverse of :func:`_bits`."""
    return types.float64(types.int64), lambda context, builder, signature, x: builder.bitcast(x[0], ir.DoubleType())


@part
def logarithm(word: Any) -> Any:
    """Return log((word + 1/2) / 2^32) of a word, to a unit in the last place."""
    bits = _bits(np.float64(np.int64(2) * np.int64(word) + np.int64(1)))
    e = (bits - _HALF_ROOT) >> np.int64(52)  # 2 word + 1 = 2^e m, where m is from sqrt(1/2) to sqrt(2)
    m = _of_bits(bits - (e << np.int64(52)))
    s = (m - 1.0) / (m + 1.0)
    square: Any = s * s
    series: Any = _ATANH[11]
    for n in range(10, -1, -1):
        series = fma(series, square, _ATANH[n])
    return fma(np.float64(e - np.int64(33)), _LOG_2, 2.0 * s * series)


@part
def pair(first: Any, second: Any) -> Any:
    """Return the two normals of two words."""
    radius = math.sqrt(-2.0 * logarithm(first))
    turn = (np.int64(second) + np.int64(1 << 29)) >> np.int64(30)  # the nearest quarter
    angle = np.float64(np.int64(2) * (np.int64(second) - (turn << np.int64(30))) + np.int64(1)) * _ANGLE
    square: Any = angle * angle
    sine: Any = _SIN[7]
    cosine: Any = _COS[8]
    for n in range(6, -1, -1):
        sine = fma(sine, square, _SIN[n])
    for n in range(7, -1, -1):
        cosine = fma(cosine, square, _COS[n])
    sine *= angle
    odd = turn & np.int64(1)
    x = sine if odd else cosine
    y = cosine if odd else sine
    minus_x = ((turn + np.int64(1)) & np.int64(2)) << np.int64(62)  # the sign bit: in the second and third quarters
    minus_y = (turn & np.int64(2)) << np.int64(62)  # in the third and fourth
    return radius * _of_bits(_bits(x) ^ minus_x), radius * _of_bits(_bits(y) ^ minus_y)


@part
def uniform(word: Any) -> Any:
    """Return the number of a word, (w + 1/2) / 2^32."""
    return (np.float64(word) + 0.5) * 2.0**-32


@cached
def _normals(key: int, member: U64, step: U64, draw: U64, target: U64, site: U64, out: F64) -> None:
    for i in range(out.size):
        a, b, c, d = words(key, site[i], target[i], draw[i], member[i], step[i])
        lane = site[i] & np.uint64(3)
        x, y = pair(a, b) if lane < 2 else pair(c, d)
        out[i] = y if lane & np.uint64(1) else x


@cached
def _uniforms(key: int, member: U64, step: U64, draw: U64, target: U64, site: U64, out: F64) -> None:
    for i in range(out.size):
        a, b, c, d = words(key, site[i], target[i], draw[i], member[i], step[i])
        lane = site[i] & np.uint64(3)
        out[i] = uniform(a if lane == 0 else b if lane == 1 else c if lane == 2 else d)


@part
def evaluated(number: int) -> int:
    """Return how many evaluations :func:`fill` makes where so many are asked for: none is left to loops one by one."""
    return -(-number // _SIDE_BY_SIDE) * _SIDE_BY_SIDE


@part
def count(member: U64, steps: int, draw: Any, draws: int, blocks: int, counter: U64) -> int:
    """Write the counters of several steps, draws, blocks of four sites and members, those of steps from 0 on.

    Parameters
    ----------
    member : numbers of the members (M,).
    steps, draws, blocks : how many of each.
    draw : the first of so many.
    counter : for the counters, (4, :func:`evaluated` of all that).

    Returns
    -------
    How many there are.
    """
    q = np.uintp(0)
    for s in range(steps):
        for d in range(draws):
            for block in range(blocks):
                for n in range(member.size):
                    counter[0, q], counter[1, q] = np.uint64(4 * block), draw + np.uint64(d)
                    counter[2, q], counter[3, q] = member[n], np.uint64(s)
                    q += np.uintp(1)
    return np.intp(q)  # type: ignore[return-value]


@part
def fill(
    key: Any, step: Any, target: Any, normal: bool, number: int, members: int, counter: U64, word: U64, value: F64,
    out: F64,
) -> None:  # fmt: skip
    """Draw for several steps, draws, blocks of four sites and members, as many side by side as the machine can.

    Parameters
    ----------
    key, target : as for :func:`words`.
    step : the first.
    normal : False gives uniform numbers.
    number, members, counter : how many counters, of how many members, and these, from :func:`count`.
    word, value : memory for what becomes of them, of the same shape.
    out : for the numbers, (steps, draws, 4 blocks, M), seen as flat.
    """
    padded = counter.shape[1]
    for i in range(padded):
        a, b, c, d = words(key, counter[0, i], target, counter[1, i], counter[2, i], step + counter[3, i])
        word[0, i], word[1, i], word[2, i], word[3, i] = a, b, c, d
    if normal:
        for i in range(padded):
            value[0, i], value[1, i] = pair(word[0, i], word[1, i])
        for i in range(padded):
            value[2, i], value[3, i] = pair(word[2, i], word[3, i])
    else:
        for w in range(4):
            for i in range(padded):
                value[w, i] = uniform(word[w, i])
    if members == 1:  # the same as below, in one loop
        for i in range(number):
            for w in range(4):
                out[np.uintp(4 * i + w)] = value[w, i]
        return
    for first in range(0, number, members):
        for w in range(4):
            at = np.uintp(4 * first + w * members)
            for n in range(members):
                out[at + np.uintp(n)] = value[w, np.uintp(first + n)]


@cached
def _block(key: int, member: U64, step: int, draw: int, draws: int, target: int, normal: bool, out: F64) -> None:
    counter = np.zeros((4, evaluated(out.size // 4)), np.uint64)
    number = count(member, 1, draw, draws, out.size // (4 * draws * member.size), counter)
    word, value = np.empty_like(counter), np.empty(counter.shape)
    fill(key, step, target, normal, number, member.size, counter, word, value, out)
