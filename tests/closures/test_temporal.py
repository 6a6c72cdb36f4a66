"""Trajectories of a Markov process: learned from a Dataset, drawn as a Dataset."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import l96closure as lc


def autoregression(rng, M, steps, A, spread):
    """Stationary after a long run-in; dims (sample, time, component)."""
    x = np.zeros((M, len(A)))
    kept = []
    for _ in range(50 + steps):
        x = x @ np.transpose(A) + rng.standard_normal(x.shape) @ np.transpose(spread)
        kept.append(x)
    data = np.stack(kept[50:], axis=1)
    return xr.Dataset({"u": (("sample", "time", "component"), data)}, {"time": 0.5 * np.arange(steps)})


@pytest.mark.parametrize(("sided", "epsilon"), [("causal", "auto"), ("two_sided", 1.0)])
@pytest.mark.slow
def test_a_vector_process_keeps_its_covariances_in_time(sided, epsilon):
    """Two coupled components: covariance at lags 0 and 1 within three standard errors of the training data's."""
    rng = np.random.default_rng(0)
    training = autoregression(rng, 1500, 6, [[0.7, 0.3], [-0.3, 0.6]], [[0.5, 0.0], [0.4, 2.0]])
    drawn = lc.TemporalProcess.fit(training, epsilon, sided).sample(3000, rng)
    assert drawn["u"].dims == ("sample", "time", "component")
    assert drawn["u"].shape == (3000, 6, 2)
    np.testing.assert_array_equal(drawn["time"], training["time"])
    for lag in (0, 1):
        for i in (0, 1):
            for j in (0, 1):
                old, new = (
                    (data["u"].values[:, lag:, i] * data["u"].values[:, : 6 - lag, j]).mean(axis=1)
                    for data in (training, drawn)
                )
                standard_error = np.hypot(old.std() / np.sqrt(old.size), new.std() / np.sqrt(new.size))
                assert abs(old.mean() - new.mean()) < 3.5 * standard_error, (lag, i, j)  # eight comparisons a case


def test_a_scalar_process_needs_no_component_dimension_and_takes_an_initial_value():
    rng = np.random.default_rng(1)
    training = autoregression(rng, 400, 4, [[0.8]], [[0.6]]).isel(component=0, drop=True)
    process = lc.TemporalProcess.fit(training)
    drawn = process.sample(500, 2, initial=[1.5])
    assert (drawn["u"].isel(time=0) == 1.5).all()
    following = drawn["u"].isel(time=1).values.ravel()
    standard_error = 0.6 * np.sqrt(1 / 500 + 20 / 400)  # about a twentieth of the training samples lie near 1.5
    assert abs(following.mean() - 0.8 * 1.5) < 3 * standard_error
    xr.testing.assert_equal(drawn, process.sample(500, 2, initial=[1.5]))


def good():
    return autoregression(np.random.default_rng(3), 30, 3, [[0.5]], [[1.0]])


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: lc.TemporalProcess.fit(good().assign(w=good()["u"])), "trajectories = "),
        (lambda: lc.TemporalProcess.fit(good().rename(time="epoch")), r"u.dims = "),
        (lambda: lc.TemporalProcess.fit(good() * np.nan), r"u\[0, 0, 0\] = nan"),
        (lambda: lc.TemporalProcess.fit(good() * 0.0), "standard deviation of u = "),
        (lambda: lc.TemporalProcess.fit(good(), sided="left"), "sided = 'left'"),
        (lambda: lc.TemporalProcess.fit(good(), 0.1).sample(0, 0), "n = 0"),
        (lambda: lc.TemporalProcess.fit(good(), 0.1).sample(5, 0, initial=[1.0, 2.0]), r"initial.shape = \(2,\)"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(call, names):
    with pytest.raises(ValueError, match=f"^{names}.* must be ") as caught:
        call()
    assert "\n" not in str(caught.value)
