"""What a closure of few samples, many coordinates or few centres says of itself, and does about it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from l96closure import Fields, bridge
from l96closure.bridge import AccuracyWarning
from l96closure.closures import Chain, Moments, Noise, Quantiles, SchrodingerBridge, Trend

LINEAR = Trend(1, 1, hidden=0, ridge=0.0)
pytestmark = pytest.mark.slow  # whole runs, or many of them


def smooth_ring(times, K, seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, times, K))
    z, rest = sum(np.roll(noise, shift, axis=2) for shift in range(-2, 3)) / np.sqrt(5.0)
    return xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), np.sin(z + np.roll(z, 1, axis=1)) + 0.3 * rest)})


def fit(data, law, *, radius=0, epsilon=0.1, trend=LINEAR):
    return SchrodingerBridge.fit(
        data,
        Fields(radius=radius, lags=()),
        trend,
        law,
        noise=None if isinstance(law, Chain) else Noise(0),
        kernel=bridge.Kernel(epsilon=epsilon, rtol=1e-3),
    )


@pytest.mark.parametrize("trend", [None, LINEAR], ids=["no trend", "trend"])
@pytest.mark.parametrize("outlier", [0.0, 100.0, 1e5])
def test_an_outlier_of_a_predictor_changes_no_mean(outlier, trend):
    """The mean of what is drawn given z, over many draws, against the function that made the data."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((500, 20))
    psi = np.tanh(2 * z) + 0.2 * rng.standard_normal(z.shape)
    z[3, 4] += outlier
    data = xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)})
    closure = fit(data, Quantiles("z"), epsilon=0.005 / z.var(), trend=trend)
    at = np.tile(np.linspace(-1.5, 1.5, 20), (4000, 1))
    drawn, _ = closure.step(at, closure.init(at, 0))
    assert np.abs(drawn.mean(axis=0) - np.tanh(2 * at[0])).max() < 0.1


@pytest.mark.parametrize("outliers", [1, 3])
@pytest.mark.parametrize("size", [-8.0, 100.0, 1e9])
def test_outliers_of_a_predictor_leave_the_trend_its_resolution(size, outliers):
    """Against the function that made the data; an outlier itself is held at the end of the range, and counted."""
    data, fields = smooth_ring(600, 8, 4), Fields(radius=1, lags=())
    z, errors = data["z"].values.copy(), []
    for _ in range(2):
        closure = SchrodingerBridge.fit(data, fields, Trend(order=3, hidden=0), noise=Noise(0))
        mean, outside = closure.trend(z[:, None], np.empty((len(z), 0, 1, 8)))
        assert not outside.any()
        errors.append(np.sqrt(np.mean((mean - np.sin(z + np.roll(z, 1, axis=1))) ** 2)))
        data["z"][100 : 100 + outliers, 5] = size
    assert errors[1] < 1.1 * errors[0]
    (_, state) = closure.step(data["z"].values[98:105], closure.init(data["z"].values[98:105], 0))
    assert state.outside.tolist() == [0, 0] + [3] * outliers + [0] * (5 - outliers)


@pytest.mark.parametrize("epsilon", [0.02, 0.3])
def test_few_effective_samples_are_told_and_are_those_behind_the_training_states(epsilon):
    data, law = smooth_ring(150, 6, 1), Chain("split", compressed=None)
    if epsilon < 0.1:
        with pytest.warns(AccuracyWarning, match=r"only 1(\.\d)? effective .* fewer coordinates than 6") as told:
            closure = fit(data, law, radius=1, epsilon=epsilon)
        assert told[0].filename == __file__  # the line that called fit
    else:
        closure = fit(data, law, radius=1, epsilon=epsilon)
    z = data["z"].values
    trend, _ = closure.trend(z[:, None], np.empty((len(z), 0, 1, 6)))
    states = np.hstack([z, data["psi"].values - trend])
    assert (np.median(closure.law.fitted.effective_samples(states)) < 30) == (epsilon < 0.1)


def test_a_closure_is_compressed_no_further_than_its_skill_allows():
    """Of several coordinates too; the error is that of the conditional means at the training states."""
    data = smooth_ring(600, 6, 2)
    full = fit(data, Moments(None, None), radius=1).law.of
    states = np.hstack([data["z"].values, 0.0 * data["z"].values])
    mean, std = full.conditional_mean(states), full.scale[-1]
    assert full.compression is None
    for asked in (4, 200):
        small = fit(data, Moments(None, asked), radius=1).law.of
        error = np.sqrt(np.mean((small.conditional_mean(states) - mean) ** 2)) / std
        assert error < 0.11
        assert len(small.dictionaries[0].values) <= max(asked, len(full.dictionaries[0].values) // 4)


def test_a_sequential_closure_that_would_grow_is_refused():
    with pytest.raises(ValueError, match=r"^(law\.)?scheme = 'sequential' .* larger neighbourhoods"):
        fit(smooth_ring(300, 12, 3), Chain("sequential", 10), radius=1)
