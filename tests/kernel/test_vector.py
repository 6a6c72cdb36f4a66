"""The vector type of compiled loops, and arrays without reference counts."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from l96closure import vector, vector_places
from l96closure.kernel._unmanaged import unmanaged


@numba.njit
def powers(x, out):
    for i in range(0, x.size, vector.LANES):
        vector.store(vector.exp2(vector.load(x, i)), out, i)


def test_exp2_in_single_precision():
    x = np.linspace(-126.0, 100.0, 16_000).astype(np.float32)
    out = np.empty_like(x)
    powers(x, out)
    exact = 2.0 ** np.maximum(x.astype(float), -120.0)
    assert np.abs(out / exact - 1).max() < 2.5e-7


def test_exp2_in_double_precision():
    x = np.linspace(-1000.0, 900.0, 160_000)
    out = np.empty_like(x)
    powers(x, out)
    np.testing.assert_allclose(out, np.exp2(np.maximum(x, -900.0)), rtol=3e-16)


@pytest.mark.parametrize("fastmath", [False, True])
def test_exp2_of_loops_that_the_compiler_vectorises_is_that_of_vectors(fastmath):
    @numba.njit(fastmath=fastmath)
    def evaluate(x, out):
        for i in range(x.size):
            out[i] = vector.exp2(x[i])

    x = np.linspace(-1000.0, 900.0, 160_000)
    out, expected = np.empty_like(x), np.empty_like(x)
    evaluate(x, out)
    powers(x, expected)
    np.testing.assert_array_equal(out, expected)


def test_operations_are_those_of_the_numbers():
    @numba.njit
    def evaluate(a, b, c, out):
        x, y, z = vector.load(a, 0), vector.load(b, 0), vector.load(c, 0)
        results = (
            x + y, x - y, x * y, vector.fma(x, y, z), vector.fnma(x, y, z), vector.larger(x, y), vector.smaller(x, y),
            vector.where_below(x, y, z), vector.root(x * x), vector.splat(a[3]),
        )  # fmt: skip
        for i in range(len(results)):
            vector.store(results[i], out, i * vector.LANES)
        return vector.total(x)

    a, b, c = np.random.default_rng(0).standard_normal((3, vector.LANES)).astype(np.float32)
    out = np.empty((10, vector.LANES), np.float32)
    total = evaluate(a, b, c, out)
    A, B, C = (array.astype(float) for array in (a, b, c))
    expected = [A + B, A - B, A * B, A * B + C, C - A * B, np.maximum(A, B), np.minimum(A, B), np.where(A < B, C, 0.0)]
    np.testing.assert_allclose(out, [*expected, np.abs(A), np.full(vector.LANES, A[3])], rtol=2e-7, atol=2e-7)
    assert abs(total - A.sum()) < 2e-6


def test_loads_and_stores_see_an_array_as_flat():
    @numba.njit
    def copy(a, out, start):
        vector.store(vector.load(a, start), out, start)

    a = np.arange(96, dtype=np.float32).reshape(2, 3, 16)
    out = np.zeros_like(a)
    copy(a, out, 35)
    np.testing.assert_array_equal(out.ravel()[35:51], np.arange(35, 51))
    assert (out != 0).sum() == 16


def test_whole_lines_start_where_cache_lines_do():
    @numba.njit
    def make(n):
        a = vector.whole_lines(n)
        return a, a.ctypes.data

    for n in (1, 16, 1000):
        a, address = make(n)
        assert address % 64 == 0
        np.testing.assert_array_equal(a, np.zeros(n))


def test_unmanaged_arrays_are_the_arrays_as_long_as_these_are_kept():
    @numba.njit
    def fill(n):
        memory = (np.empty(n), np.empty(n, np.intp), n)
        numbers, indices, size = unmanaged(memory)
        others = np.empty(n)
        for i in range(size):
            numbers[i], indices[i], others[i] = 0.5 * i, i, -1.0
        return memory[0], memory[1], others

    numbers, indices, others = fill(5000)
    np.testing.assert_array_equal(numbers, 0.5 * np.arange(5000))
    np.testing.assert_array_equal(indices, np.arange(5000))
    np.testing.assert_array_equal(others, np.full(5000, -1.0))


def test_vectors_in_nested_loops_leave_the_memory_of_others_alone():
    """Operators that numba inlines itself once released arrays of the caller too early."""

    @numba.njit
    def sums(pair, out):
        marks = np.empty(out.size, np.intp)
        for i in range(marks.size):
            marks[i] = i
        for g in range(0, out.size - vector.LANES + 1, vector.LANES):
            e = vector.splat(np.float32(0.0))
            for a in range(pair[0].size):
                e = e + vector.splat(pair[0][a]) * vector.splat(pair[1][a])
            vector.store(e, out, g)
        return marks

    out = np.zeros(1600, np.float32)
    marks = sums((np.arange(5, dtype=np.float32), np.ones(5, np.float32)), out)
    np.testing.assert_array_equal(marks, np.arange(1600))
    np.testing.assert_array_equal(out, np.full(1600, 10.0))


def test_fours_are_read_from_places_that_whole_numbers_name():
    @numba.njit
    def read(a, where, places, out):
        vector_places.store_whole(vector.load(where, 0), places, 1)
        for i, one in enumerate(vector_places.load_fours(a, places, 1, 3)):
            vector.store(one, out, i * vector.LANES)
        vector.store(vector_places.gather(a, vector.load(where, 0), 3), out, 4 * vector.LANES)

    a = np.random.default_rng(0).standard_normal((7, 30))
    where = np.random.default_rng(1).integers(0, a.size - 6, vector.LANES).astype(float)
    where[:2] = 0.0, a.size - 7
    places, out = np.empty(vector.LANES + 1, np.int32), np.empty((5, vector.LANES))
    read(a, where, places, out)
    at = where.astype(int) + 3
    np.testing.assert_array_equal(out, a.ravel()[[at, at + 1, at + 2, at + 3, at]])
