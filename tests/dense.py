"""A dense double-precision bridge: the oracle that the compiled one is held against."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import softmax


def kernel(a, b, epsilon, scale):
    """-|a - b|^2 / 4 epsilon in the scaled metric, (n, M)."""
    return -cdist(a / scale, b / scale, "sqeuclidean") / (4 * epsilon)


def weights(samples, epsilon, scale=1.0, tolerance=1e-13):
    """v with v o (T v) = 1 by the plain symmetric iteration."""
    T = np.exp(kernel(samples, samples, epsilon, scale))
    v = np.ones(len(samples))
    while np.abs(v * (T @ v) - 1).max() > tolerance:
        v = np.sqrt(v / (T @ v))
    return v


def moments(x, samples, values, epsilon, scale=1.0):
    """Conditional mean and variance of ``values`` (M,) at the queries ``x`` (n, d), both (n,)."""
    log_weights = np.log(weights(samples, epsilon, scale)) + kernel(x, samples, epsilon, scale)
    w = softmax(log_weights, axis=1)
    mean = w @ values
    return mean, (w * (values - mean[:, None]) ** 2).sum(axis=1)
