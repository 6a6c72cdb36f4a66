"""Eight numbers side by side: each as if it were alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest

from l96closure import lanes

F64 = npt.NDArray[np.float64]


@numba.njit  # type: ignore[untyped-decorator]
def computed(a: F64, b: F64, c: F64, start: int) -> F64:
    out = np.zeros((5, a.size))
    x, y, z = lanes.load(a, start), lanes.load(b, start), lanes.load(c, start)
    for row, value in enumerate((x + y, x - y, x * y, lanes.fma(x, y, z), lanes.splat(b[0]))):
        lanes.store(value, out[row], start)
    return out


@pytest.mark.parametrize("start", [0, 1, 5, 8])
def test_every_lane_is_rounded_once(start: int) -> None:
    """Against NumPy, and for the fused product and sum against fractions."""
    rng = np.random.default_rng(start)
    a, b = rng.standard_normal((2, 16)) * 2.0 ** rng.integers(-20, 20, (2, 16))
    c = -a * b * (1.0 + 2.0**-52 * rng.integers(-3, 4, 16))  # what a product rounded by itself leaves nothing of
    out, some = computed(a, b, c, start), slice(start, start + lanes.LANES)
    x, y, z = a[some], b[some], c[some]
    fused = [float(Fraction(p) * Fraction(q) + Fraction(r)) for p, q, r in zip(x, y, z, strict=True)]
    for found, expected in zip(out, (x + y, x - y, x * y, fused, np.full(lanes.LANES, b[0])), strict=True):
        assert np.array_equal(found[some], expected)
        assert not np.delete(found, some).any()


@pytest.mark.parametrize("n", [8, 40])
def test_rows_begin_with_a_cache_line(n: int) -> None:
    several: list[Any] = [lanes.lines(n) for _ in range(9)]
    for array in several:
        assert array.shape == (n,)
        assert array.ctypes.data % 64 == 0
        assert not array.any()
