"""A compressed bridge against the one it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from l96closure import bridge


def smooth_ring(M, K, rng):
    """Two fields on a ring, whose neighbouring sites are alike."""
    noise = rng.standard_normal((2, M, K))
    smooth = sum(np.roll(noise, shift, axis=2) for shift in range(-2, 3)) / np.sqrt(5.0)
    return np.hstack([smooth[0], 0.8 * smooth[0] + 0.6 * smooth[1]])


@pytest.fixture(scope="module")
def full():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((8000, 1))
    return bridge.fit(np.hstack([z, np.sin(2 * z) + (0.3 + 0.2 * z**2) * rng.standard_normal((8000, 1))]), 0.1)


def test_the_stated_error_is_that_of_the_moments_at_the_samples(full):
    small = bridge.compress(full, 64, 1)
    x = full.dictionaries[0].coordinates
    (mean, variance), (few_mean, few_variance) = full.moments(x), small.moments(x)
    stated = small.compression
    assert (stated.centres, stated.samples) == (64, 8000)
    assert small.dictionaries[0].coordinates.shape[0] <= 64
    # over 4,000 of the 8,000 samples: their root mean square scatters by a few percent
    assert stated.mean_error == pytest.approx(np.sqrt(np.mean((few_mean - mean) ** 2)), rel=0.15)
    assert stated.variance_error == pytest.approx(np.sqrt(np.mean((few_variance - variance) ** 2)), rel=0.15)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("radius", [0, 1])
def test_the_stated_error_is_that_at_states_that_occur(radius, shared):
    """Neighbourhoods that overlap, one dictionary for all sites or one each: states are the training samples."""
    K = 5
    x = smooth_ring(1500, K, np.random.default_rng(8))
    fitted = bridge.fit(x, 0.1, bridge.stacked(2, K, radius), components=range(K, 2 * K), shared=shared, tolerance=1e-3)
    small = bridge.compress(fitted, 24, 9)
    (mean, variance), (few_mean, few_variance) = fitted.moments(x), small.moments(x)
    assert small.compression.mean_error == pytest.approx(np.sqrt(np.mean((few_mean - mean) ** 2)), rel=0.1)
    measured = np.sqrt(np.mean((few_variance - variance) ** 2))
    assert small.compression.variance_error == pytest.approx(measured, rel=0.2)


def test_as_many_centres_are_kept_as_the_error_asks_for(full):
    for error in (0.1, 0.03):
        small = bridge.compress_within(full, 8, error, 3)
        assert small.compression.mean_error <= error
    assert bridge.compress(full, 8, 3).compression.mean_error > 0.1
    assert bridge.compress_within(full, 8, 1e-9, 3) is full


def test_the_error_falls_with_the_square_of_the_number_of_centres(full):
    """In two dimensions a cluster's size squared falls like 1/N, and the error is of fourth order in its size."""
    N = np.array([32, 64, 128, 256])
    errors = np.array([bridge.compress(full, n, 2).compression.mean_error for n in N])
    order = -np.polyfit(np.log(N), np.log(errors), 1)[0]
    assert order > 1.0  # a kernel that is not widened gives one
    assert errors[-1] < 0.01


def test_compression_of_localized_dictionaries_keeps_lemma_1():
    x = np.random.default_rng(3).standard_normal((2000, 6))
    full = bridge.fit(x, 0.3, bridge.stacked(2, 3, 0), components=range(3, 6))
    small = bridge.compress(full, 100, 4)
    queries = np.random.default_rng(5).standard_normal((100, 6)) * 10.0 ** np.linspace(-2, 6, 100)[:, None]
    mean = small.conditional_mean(queries)
    slack = 1e-5
    assert (mean >= x.min(axis=0)[3:] - slack).all()
    assert (mean <= x.max(axis=0)[3:] + slack).all()
    assert small.compression.mean_error < 0.05


def test_one_centre_for_each_sample_loses_next_to_nothing():
    x = np.random.default_rng(6).standard_normal((150, 2))
    full = bridge.fit(x, 0.2)
    assert bridge.compress(full, 150, 7).compression.mean_error < 0.05


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda full: bridge.compress(full, 1), "centres = 1"),
        (lambda full: bridge.compress(full, 8001), "centres = 8001"),
        (lambda full: bridge.compress(bridge.compress(full, 8), 4), "bridge = 'compressed to 8'"),
        (
            lambda full: bridge.sample(bridge.compress(full, 8), np.zeros((1, 2)), 1, 0, "sequential"),
            "bridge = 'compressed to 8'",
        ),
        (
            lambda full: bridge.compress(bridge.fit(np.eye(30), bridge.Kernel("dot_product", 1.0)), 4),
            "estimator = 'dot_product'",
        ),
    ],
)
def test_bad_input_gets_one_line_that_names_it(full, call, names):
    with pytest.raises(ValueError, match=f"^{names}.* must be "):
        call(full)
