"""Noise of vectors: drawn with the covariances, in space, among components and in time, of known Gaussian fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy

from l96closure.closures.noise_fit import Noise, fit_pattern
from l96closure.closures.patterns import Pattern
from l96closure.closures.state import begin
from l96closure.closures.vector_pattern import VectorPattern, fit_vector_pattern
from l96closure.closures.wavevectors import Wavevectors

F64 = npt.NDArray[np.float64]

TIMES, BLOCKS, MEMBERS, STEPS = 12_000, 40, 160, 60
GRIDS = {
    "ring": Wavevectors((9,), (True,)),
    "ring of even size, two targets": Wavevectors((2, 8), (False, True)),
    "levels": Wavevectors((5,), (False,)),
    "levels, two targets": Wavevectors((2, 4), (False, False)),
    "plane": Wavevectors((4, 6), (True, True)),
    "plane of levels and a ring, two targets": Wavevectors((2, 3, 5), (False, False, True)),
}


def known(grid: Wavevectors, times: int, seed: int) -> F64:
    """Fields (time, C) of a vector autoregression whose memory and spread differ by wavevector and component."""
    rng = np.random.default_rng(seed)
    parameters = np.random.default_rng(4)
    B, scale = grid.levels, np.arange(grid.counts.size) / grid.counts.size
    turn = parameters.standard_normal((B, B))
    turn *= 0.8 / np.abs(np.linalg.eigvals(turn)).max()
    memory = np.exp(-scale)[:, None, None] * turn
    spread = np.exp(-2.0 * scale)[:, None, None] * (np.eye(B) + 0.4 * parameters.standard_normal((B, B)))
    white = grid.modes(rng.standard_normal((times + 200, 1, grid.cells))).swapaxes(1, 2)
    out = np.empty_like(white)
    now = np.zeros_like(white[0])
    for n, w in enumerate(white):
        now = np.einsum("mij,mj->mi", memory, now) + np.einsum("mij,mj->mi", spread, w)
        out[n] = now
    return grid.values(out[200:].swapaxes(1, 2))[:, 0]


def scaled(grid: Wavevectors, field: F64) -> F64:
    """Divide by the spread of each component, which pools as the noise does."""
    axes = tuple(axis + 1 for axis, alike in enumerate(grid.periodic) if alike)
    whole = field.reshape(-1, *grid.shape)
    return (whole / np.sqrt((whole**2).mean(axis=(0, *axes), keepdims=True))).reshape(field.shape)


def covariances(runs: F64, lag: int) -> tuple[F64, F64]:
    """Mean products (C, C) of values ``lag`` steps apart over runs (run, time, C), and their standard errors."""
    now, before = runs[:, lag:], runs[:, : runs.shape[1] - lag]
    each = np.einsum("rti,rtj->rij", now, before) / now.shape[1]
    return each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(each))


def drawn(pattern: Any, steps: int = STEPS, members: int = MEMBERS, first: int = 0) -> F64:
    """Noise (member, step, C) from the start on."""
    state = begin(members, 3, first)
    state, found = state._replace(memory=pattern.initial(state)), []
    for _ in range(steps):
        state = state._replace(step=state.step + 1)
        value, memory = pattern.advance(state)
        state = state._replace(memory=memory)
        found.append(value)
    return np.stack(found, axis=1)


@pytest.mark.parametrize("name", GRIDS)
def test_draws_have_the_covariances_of_the_data(name: str) -> None:
    """The largest standardised error, of fit and draws together, is below its 99 % point."""
    grid = GRIDS[name]
    data = scaled(grid, known(grid, TIMES, 0))
    # Blocks of the same process, more of them, tell the error of the fit.
    errors = scaled(grid, known(grid, TIMES, 1)).reshape(BLOCKS, -1, grid.cells)
    pattern = fit_vector_pattern([data[:5000], data[5000:]], 2, grid)
    draws = drawn(pattern)
    for lag in (0, 1, 3):
        wanted = data[lag:].T @ data[: TIMES - lag] / (TIMES - lag)
        of_fit = covariances(errors, lag)[1]
        found, of_draws = covariances(draws, lag)
        error = np.hypot(of_fit, of_draws)
        if lag == 0:
            np.fill_diagonal(error, np.inf)  # 1 by construction
            np.testing.assert_allclose(np.diag(found), 1.0, rtol=0, atol=5.0 * np.diag(of_draws).max())
        number = found.size // 2 if lag == 0 else found.size
        most = scipy.stats.t.isf(0.005 / number, BLOCKS - 1)
        assert np.abs((found - wanted) / error).max() < most


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_drawn_does_not_depend_on_who_else_is_drawn(name: str) -> None:
    grid = GRIDS[name]
    pattern = fit_vector_pattern([known(grid, 600, 0)], 3, grid)
    whole = drawn(pattern, 4, 7)
    assert np.array_equal(drawn(pattern, 4, 3, first=2), whole[2:5])
    assert np.array_equal(drawn(pattern, 4, 1, first=6), whole[6:])


@pytest.mark.parametrize("name", ["ring of even size, two targets", "plane"])
def test_shifting_the_data_shifts_nothing(name: str) -> None:
    """Where sites are alike, the fit does not know where they begin."""
    grid = GRIDS[name]
    data = known(grid, 500, 0)
    moved = np.roll(data.reshape(-1, *grid.shape), 2, axis=-1).reshape(data.shape)
    one, other = (fit_vector_pattern([field], 2, grid).covariance for field in (data, moved))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_one_memory_for_all_where_vectors_foresee_no_better() -> None:
    """Levels that are correlated and forget alike have simple noise, others vectors."""
    rng, times, levels = np.random.default_rng(5), 4000, 4
    factor = np.linalg.cholesky(0.6 * np.ones((levels, levels)) + 0.4 * np.eye(levels))
    alike = scipy.signal.lfilter([0.6], [1.0, -0.8], rng.standard_normal((times, levels)) @ factor.T, axis=0)
    assert isinstance(fit_pattern([alike], Noise(1), (False,)), Pattern)
    apart = alike.copy()
    apart[:, 0] = rng.standard_normal(times)
    apart[1:, 1] = apart[:-1, 0]  # one level tells another's next value
    pattern = fit_pattern([apart / apart.std(axis=0)], Noise(1), (False,))
    assert isinstance(pattern, VectorPattern)
    found = drawn(pattern, 400, 50)
    assert np.corrcoef(found[:, 1:, 1].ravel(), found[:, :-1, 0].ravel())[0, 1] > 0.95


def test_covariances_of_no_process_are_refused() -> None:
    grid = Wavevectors((2,), (False,))
    covariance = np.zeros((1, 2, 2, 2), complex)
    covariance[0, 0], covariance[0, 1] = np.eye(2), 1.5 * np.eye(2)
    with pytest.raises(ValueError, match=r"^noise_covariance = 'indefinite'"):
        VectorPattern(covariance, grid)


@pytest.mark.parametrize("order", [0, 1])
def test_noise_is_as_correlated_as_what_it_is_multiplied_to(order: int) -> None:
    """Two cells are alike where both are loud, half of the time, and have nothing to do with each other elsewhere."""
    rng = np.random.default_rng(8)
    loud = rng.random(TIMES) < 0.5
    white, common = rng.standard_normal((TIMES, 2)), rng.standard_normal(TIMES)
    series = np.where(loud[:, None], np.sqrt(0.9) * common[:, None] + np.sqrt(0.1) * white, white)
    spread = np.repeat(np.where(loud, 1.0, 0.1)[:, None], 2, axis=1)
    pattern = fit_pattern([series], Noise(order), (False,), (2,), [spread])
    values = drawn(pattern, steps=1, members=TIMES)[:, 0]
    expected = 0.9 / (1.0 + 0.1**2)  # of the loud half, whose squares are so many parts of all
    # Of n values a correlation has the error (1 - r^2) / sqrt(n): that of the data is of their loud half alone.
    error = (1.0 - expected**2) * np.hypot(1.0 / np.sqrt(TIMES), 1.0 / np.sqrt(TIMES / 2))
    assert np.corrcoef(values.T)[0, 1] == pytest.approx(expected, abs=4.0 * error)
