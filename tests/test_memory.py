"""Noise made of damped oscillators: formula, fit, stationarity and autocorrelation of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from l96closure.closures.memory import Memory, fit_memory

STEP = 0.005
KNOWN = Memory(np.array([8.0, 30.0]), np.array([20.0, 40.0]), np.array([0.3, 0.7]), STEP)


def test_the_autocorrelation_is_that_of_the_recursion():
    alone = Memory(np.array([15.0]), np.array([25.0]), np.ones(1), STEP)
    decay, angle = np.exp(-15.0 * STEP), 25.0 * STEP
    response = lfilter([1.0], [1.0, -2 * decay * np.cos(angle), decay**2], np.eye(1, 4000)[0])
    covariance = np.array([response[: 4000 - lag] @ response[lag:] for lag in range(60)])
    np.testing.assert_allclose(alone.autocorrelation(60), covariance / covariance[0], atol=1e-12)


def test_what_is_drawn_is_standard_normal_with_that_autocorrelation_from_the_first_step_on():
    rng = np.random.default_rng(0)
    members, sites, steps = 400, 10, 30
    state = KNOWN.initial(members, sites, rng)
    drawn = np.empty((steps, members, sites))
    for step in range(steps):
        drawn[step], state = KNOWN.advance(state, rng)
    series = members * sites  # independent of each other
    for step in (0, 1, 29):
        assert abs((drawn[step] ** 2).mean() - 1.0) < 4 * np.sqrt(2 / series)
        expected = KNOWN.autocorrelation(steps)[step]
        error = np.sqrt((1 + expected**2) / series)  # of the mean product of two standard normals
        assert abs((drawn[0] * drawn[step]).mean() - expected) < 4 * error


def test_the_fit_finds_the_autocorrelation_of_oscillators_and_the_step_is_its_own():
    lags = 150
    found = fit_memory(KNOWN.autocorrelation(lags), STEP, 2)
    np.testing.assert_allclose(found.autocorrelation(lags), KNOWN.autocorrelation(lags), atol=1e-3)
    assert found.weight.sum() == pytest.approx(1.0)
    halved = fit_memory(KNOWN.autocorrelation(lags), STEP, 2, step=STEP / 2)
    np.testing.assert_allclose(halved.autocorrelation(99)[::2], found.autocorrelation(50), atol=1e-2)


def test_more_oscillators_fit_no_worse():
    target = 0.5 * KNOWN.autocorrelation(120) + 0.5 * Memory(
        np.array([3.0]), np.array([12.0]), np.ones(1), STEP
    ).autocorrelation(120)
    errors = [np.square(fit_memory(target, STEP, m).autocorrelation(120) - target).sum() for m in (1, 2, 3)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_a_step_changes_neither_its_arguments_nor_with_the_seed():
    state = KNOWN.initial(3, 4, np.random.default_rng(1))
    before = state.copy()
    first, second = (KNOWN.advance(state, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(state, before)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"oscillators": 0}, "oscillators"),
        ({"oscillators": 1.5}, "oscillators"),
        ({"step": 0.0}, "step"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_memory(KNOWN.autocorrelation(20), STEP, **{"oscillators": 1, **arguments})
