"""Blocks of members in compiled code: their halos, and that no member sees another."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
import step_oracle
import xarray as xr

import l96closure as lc
from l96closure.closures import blocks
from l96closure.closures.filtered_trend import FilteredTrend
from l96closure.compiled_loop import CompiledLoop


@numba.njit
def closed(size: int, left: int, right: int):  # type: ignore[no-untyped-def]
    made = blocks.rings(3, size, left, right)
    made.values[:] = -1.0
    for row in range(3):
        for i in range(size):
            made.values[row * made.stride + made.first + i] = 100.0 * row + i
    blocks.close(made, made.stride + made.first, size)
    return made.values, made.stride, made.first


@pytest.mark.parametrize("size", [1, 3, 8, 12, 15, 16, 17, 33, 192])
def test_a_row_is_closed_to_a_ring_and_its_neighbours_are_left_alone(size: int) -> None:
    for left, right in (
        (0, 0),
        (1, 0),
        (0, 1),
        (size, size),
        (size // 2, (size + 1) // 2),
        (min(size, 8), min(size, 4)),
    ):
        values, stride, first = closed(size, left, right)
        around = np.arange(-left, size + right)
        np.testing.assert_array_equal(values[stride + first + around], 100.0 + around % size)
        for row in (0, 2):
            np.testing.assert_array_equal(values[row * stride + first + np.arange(size)], 100.0 * row + np.arange(size))


@pytest.mark.parametrize("order", [1, 3, 4])
def test_a_member_that_is_not_finite_harms_no_other(order: int) -> None:
    """Not even those that take its place in the memory of a block, four blocks in one call."""
    rng, K = np.random.default_rng(0), 24
    z = rng.standard_normal((2000, K))
    data = {"z": (("time", "k"), z), "psi": (("time", "k"), rng.standard_normal(z.shape) - z)}
    truth = xr.Dataset(data, {"time": 0.01 * np.arange(2000)})
    closure = lc.closures.PolynomialAR1.fit(truth, noise=lc.closures.Noise(order, covariance=None))
    loop = CompiledLoop.of(lc.TwoScaleLorenz96(K=K).resolved_tendency, closure, "rk4", 0.01, K)
    assert loop is not None
    state, nothing, runs = closure.init(z[:32], 1), np.empty((32, 0, K)), []
    for poison in (0.0, np.nan):
        memory = state.memory.copy()
        memory[0] += poison
        runs.append(loop.advance(z[:32], state._replace(memory=memory), 1, 2, 2**40, (nothing, nothing, 0)))
    assert np.isnan(runs[1][0][0]).any()
    np.testing.assert_array_equal(runs[0][0][1:], runs[1][0][1:])


@pytest.mark.parametrize("K", [4, 12, 17])
@pytest.mark.parametrize("seen", [(0, 1), (0, -1), (0, -1, 1, 2)])
def test_more_may_be_seen_on_one_side_than_on_the_other(K: int, seen: tuple[int, ...]) -> None:
    rng = np.random.default_rng(K)
    z = rng.standard_normal((500, K))
    data = {"z": (("time", "k"), z), "psi": (("time", "k"), z * np.roll(z, -seen[-1], axis=1))}
    truth = xr.Dataset(data, {"time": 0.01 * np.arange(500)})
    fields = lc.Fields(lags=(), neighbourhoods=[[(k + away) % K for away in seen] for k in range(K)])
    closure = lc.closures.Polynomial.fit(truth, fields, trend=lc.closures.Trend(3, 2, ridge=1e-6))
    for members in (1, 2, 16, 24):
        state, now = closure.init(z[:members], 1), z[:members, None]
        kept = step_oracle.Kept(np.empty((members, 0, K)), np.empty((members, 0, 1, K)), state.outside)
        found, _ = step_oracle.step(closure.tables(), now, kept, step_oracle.Noise(0, state.member, 1))
        np.testing.assert_allclose(closure.step(z[:members], state)[0], found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("K", [7, 8, 10, 12, 18, 20, 21])
def test_a_member_alone_has_the_bits_that_it_has_among_others(K: int) -> None:
    """Also where its ring is in registers: with no filter, a short one and one that goes all the way round."""
    rng = np.random.default_rng(K)
    z = rng.standard_normal((500, K))
    data = {"z": (("time", "k"), z), "psi": (("time", "k"), rng.standard_normal(z.shape) - np.roll(z, 1, axis=1))}
    truth = xr.Dataset(data, {"time": 0.01 * np.arange(500)})
    fitted = lc.closures.PolynomialAR1.fit(truth, trend=lc.closures.Trend(3, filtered=False))
    model = lc.TwoScaleLorenz96(K=K)
    for reach in (0, 1, 3, K // 2):
        kernel = np.zeros(K)
        kernel[np.arange(-reach, reach + 1)] = rng.standard_normal(2 * reach + 1)
        closure = replace(fitted, trend=FilteredTrend(fitted.trend, kernel, 0.3)) if reach else fitted
        together = lc.integrate(model, closure, z[:17], steps=40, rng=1)
        for member in (0, 5, 16):
            alone = lc.integrate(model, closure, z[member : member + 1], steps=40, rng=1, member=member)
            for name in ("z", "psi"):
                np.testing.assert_array_equal(alone[name][0], together[name][member])


def test_a_filter_without_weight_leaves_the_level() -> None:
    rng, K = np.random.default_rng(0), 12
    z = rng.standard_normal((500, K))
    data = {"z": (("time", "k"), z), "psi": (("time", "k"), z + rng.standard_normal(z.shape))}
    truth = xr.Dataset(data, {"time": 0.01 * np.arange(500)})
    fitted = lc.closures.Polynomial.fit(truth, trend=lc.closures.Trend(3, filtered=False))
    closure = replace(fitted, trend=FilteredTrend(fitted.trend, np.zeros(K), 0.3))
    np.testing.assert_array_equal(closure.step(z[:2], closure.init(z[:2], 1))[0], np.full((2, K), 0.3))
