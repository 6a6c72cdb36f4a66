"""Conditional quantiles of a bridge: against a Gaussian, a brute-force quantile, and the bridge's own mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from l96closure import bridge

RHO, M = 0.6, 20_000


@pytest.fixture(scope="module")
def fitted():
    """y given x for a Gaussian pair with correlation ``RHO``, component 1 seeing component 0 alone."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(M)
    y = RHO * x + np.sqrt(1 - RHO**2) * rng.standard_normal(M)
    return bridge.fit(np.stack([x, y], axis=1), 0.005, [[0], [0]], components=[1])


def test_a_gaussian_has_gaussian_conditional_quantiles(fitted):
    quantiles = bridge.tabulate(fitted)
    x, noise = (axis.reshape(1, -1) for axis in np.meshgrid([-1.0, 0.0, 1.0], [-1.5, 0.0, 1.5]))
    x, noise = x.T.copy(), noise.T.copy()
    effective = fitted.effective_samples(np.hstack([x, x]))
    density = np.exp(-0.5 * noise**2) / np.sqrt(2 * np.pi)
    error = np.sqrt(1 - RHO**2) * np.sqrt(ndtr(noise) * ndtr(-noise) / effective) / density
    assert (np.abs(quantiles(x, noise) - RHO * x - np.sqrt(1 - RHO**2) * noise) < 4 * error).all()


def test_the_table_holds_the_quantiles_of_the_weighted_samples(fitted):
    quantiles = bridge.tabulate(fitted)
    dictionary = fitted.dictionaries[0]
    values = dictionary.values[:, 0]
    for g in (3, 40, 64, 120):
        x = quantiles.lowest[0] + g * quantiles.spacing[0]
        w = dictionary.v * np.exp(-((x - dictionary.coordinates[:, 0]) ** 2) / (4 * 0.005))
        w /= w.sum()
        for level in (32, 64, 90):
            found = quantiles.table[0, g, level]
            probability = ndtr(-4 + level / 16)
            assert w[values < found - 1e-12].sum() <= probability + w.max()
            assert w[values <= found + 1e-12].sum() >= probability - w.max()


def test_quantiles_average_to_the_conditional_mean_and_lie_within_the_samples(fitted):
    quantiles = bridge.tabulate(fitted)
    x = quantiles.lowest + quantiles.spacing * np.arange(30, 90, 7)[:, None]
    levels = np.linspace(-4, 4, 4001)
    weight = np.exp(-0.5 * levels**2)
    pairs = [axis.reshape(-1, 1) for axis in np.meshgrid(x, levels, indexing="ij")]
    mean = quantiles(*pairs).reshape(x.size, -1) @ weight / weight.sum()
    expected = fitted.conditional_mean(np.hstack([x, x]))[:, 0]
    np.testing.assert_allclose(mean, expected, atol=2e-3)
    far = quantiles(np.array([[-1e9, 1e9, 0.0, 0.0]]).T.copy(), np.array([[0.0, 0.0, -1e9, 1e9]]).T.copy())
    values = fitted.dictionaries[0].values
    assert values.min() <= far.min() <= far.max() <= values.max()


def test_a_state_that_is_no_number_gives_none(fitted):
    quantiles = bridge.tabulate(fitted)
    assert np.isnan(quantiles(np.array([[np.nan], [np.inf]]), np.zeros((2, 1)))).all()
    assert np.isnan(quantiles(np.zeros((1, 1)), np.array([[np.nan]]))).all()


def test_more_than_one_coordinate_or_a_compressed_bridge_is_refused(fitted):
    x = np.random.default_rng(1).standard_normal((200, 2))
    with pytest.raises(ValueError, match="single component"):
        bridge.tabulate(bridge.fit(x, 0.1, components=[1]))
    with pytest.raises(ValueError, match="shapes"):
        bridge.tabulate(fitted)(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="compression"):
        bridge.tabulate(bridge.compress(fitted, 20))
