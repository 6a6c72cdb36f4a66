"""Counter-based noise: known answers, the transform against libm, and independence of how it is asked for."""

from __future__ import annotations

from itertools import product
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from oracles import philox4x32
from scipy import stats

from l96closure import noise

F64 = npt.NDArray[np.float64]
# Philox4x32-10 in kat_vectors of Random123 1.14 (Salmon et al. 2011): counter, key, words.
KNOWN = {
    "zeros": ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    "ones": ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    "pi": (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
}


@numba.njit
def transformed(words: Any) -> Any:
    out = np.empty(words.shape)
    for i in range(len(words)):
        out[i] = noise.pair(words[i, 0], words[i, 1])
    return out


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers(case: str) -> None:
    counter, key, words = KNOWN[case]
    assert " ".join(f"{word:08x}" for word in philox4x32(counter, key)) == words


def test_uniforms_are_the_words_of_the_counter() -> None:
    key = 0x299F31D0A4093822
    site, target, draw, member, step = 4 * 77 + 2, 5, 9, 1234567, 89
    counter = [77, (5 << 16) | 9, member, step]
    word = philox4x32(counter, [key % 2**32, key >> 32])[2]
    assert noise.uniforms(key, member, step, draw, target, site) == (int(word) + 0.5) / 2**32


def test_the_transform_is_that_of_box_and_muller() -> None:
    edges = [0, 1, 2**29 - 1, 2**29, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 2, 2**32 - 1, 3037000499, 3037000500]
    words = np.concatenate(
        [np.array(list(product(edges, edges)), np.uint64), np.random.default_rng(0).integers(2**32, size=(50_000, 2))]
    ).astype(np.uint64)
    u, v = ((words.astype(np.longdouble) + 0.5) / 2**32).T
    radius = np.sqrt(-2 * np.log(u))
    pi = np.longdouble("3.14159265358979323846264338327950288")
    expected = np.stack([radius * np.cos(2 * pi * v), radius * np.sin(2 * pi * v)], axis=1)
    error = np.abs(transformed(words) - expected)
    assert (error <= 4e-16 * np.abs(expected) + 1e-16 * radius[:, None]).all()


def test_numbers_are_standard_normal_and_independent_along_every_word_of_the_counter() -> None:
    shape = (10, 20, 3, 3, 41)  # member, step, draw, target, site
    x = noise.normals(noise.key_of(3), *np.ogrid[tuple(map(slice, shape))])
    assert x.shape == shape
    size = x.size
    assert abs(x.mean()) < 4 / np.sqrt(size)
    assert abs(x.var() - 1.0) < 4 * np.sqrt(2.0 / size)
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-4
    for axis, lag in product(range(5), (1, 2)):
        first, second = np.take(x, range(shape[axis] - lag), axis), np.take(x, range(lag, shape[axis]), axis)
        for a, b in ((first, second), (first**2 - 1, (second**2 - 1) / 2)):
            assert abs((a * b).mean()) < 4.5 / np.sqrt(a.size)


def test_each_number_depends_on_its_own_place_alone() -> None:
    key = noise.key_of(8)
    whole = noise.normals(key, np.arange(6)[:, None], 3, 1, 2, np.arange(11))
    assert np.array_equal(noise.normals(key, np.arange(2, 5)[:, None], 3, 1, 2, np.arange(3, 9)), whole[2:5, 3:9])
    assert noise.normals(key, 4, 3, 1, 2, 10) == whole[4, 10]
    places = {(4, 3, 1, 2, 10), (5, 3, 1, 2, 10), (4, 4, 1, 2, 10), (4, 3, 2, 2, 10), (4, 3, 1, 3, 10), (4, 3, 1, 2, 9)}
    assert len({float(noise.normals(key, *place)) for place in places}) == 6
    assert noise.normals(key + 1, 4, 3, 1, 2, 10) != whole[4, 10]


@pytest.mark.parametrize(("sites", "draw"), [(1, 0), (4, 3), (11, 7)])
def test_blocks_hold_the_same_numbers(sites: int, draw: int) -> None:
    key, member = noise.key_of(2), np.array([5, 2, 2**32 - 1], np.uint64)
    places = member[:, None], 2**31, np.arange(draw, draw + 3)[:, None, None], 9, np.arange(sites)
    for normal, drawn in ((True, noise.normals), (False, noise.uniforms)):
        found = noise.block(key, member, 2**31, 3, sites, draw=draw, target=9, normal=normal)
        assert np.array_equal(found, drawn(key, *places))


@pytest.mark.parametrize("shapes", [((), ()), ((3,), (3,)), ((2, 1), (3,)), ((2, 1), (0,)), ((0,), ())])
def test_numbers_have_the_shape_that_their_places_have_together(shapes: tuple[tuple[int, ...], ...]) -> None:
    member, site = (np.arange(int(np.prod(shape))).reshape(shape) for shape in shapes)
    found = noise.normals(7, member, 0, site=site)
    assert found.shape == np.broadcast_shapes(*shapes)
    for place in np.ndindex(found.shape):
        one, other = (np.broadcast_to(each, found.shape)[place] for each in (member, site))
        assert found[place] == noise.normals(7, one, 0, site=other)


def test_keys_follow_from_seeds_and_generators() -> None:
    assert noise.key_of(5) == noise.key_of(5) != noise.key_of(6)
    generator = np.random.default_rng(5)
    assert noise.key_of(generator) == noise.key_of(5)
    assert noise.key_of(generator) != noise.key_of(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 0), r"^key = -1 .* integer >= 0"),
        ((2**64, 0, 0), r"^key = 18446744073709551616 "),
        ((0, -1, 0), r"^member = -1 .* from 0 to 4294967295"),
        ((0, 0, 2**32), r"^step = 4294967296 "),
        ((0, 0, 0, 2**16), r"^draw = 65536 .* from 0 to 65535"),
        ((0, 0, 0, 0, 1.5), r"^target = 1\.5 .* integers"),
        ((0, np.arange(3), np.arange(2)), r"^shapes of member, .* fit together"),
    ],
)
def test_bad_numbers(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise.normals(*arguments)
