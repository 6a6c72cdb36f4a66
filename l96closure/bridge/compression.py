"""From a fitted bridge to a few weighted centres that give nearly the same conditional moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from l96closure import checks
from l96closure.arrays import F64
from l96closure.bridge.conditional import Bridge, Compression
from l96closure.kernel import WeightedSamples

_MAX_CLUSTERED = 20_000  # samples that place the centres; all of them are then gathered into these
_CLUSTER_SWEEPS = 30
_MAX_SPREAD = 256  # centres up to which they start spread out; beyond, at random, as that takes their square
_MAX_CENTRES = 4_096
_GROWTH = 4
_MAX_QUERIES, _MIN_QUERIES = 4_000, 32  # samples at which the error is measured: of all dictionaries, of each


def compress(bridge: Bridge, centres: int, rng: np.random.Generator | int = 0) -> Bridge:
    """Replace the samples of every dictionary by ``centres`` weighted ones with nearly the same moments.

    The samples are clustered by k-means (Lloyd 1982, as scipy has it) in the metric of the kernel, each with the
    weight v it has in the bridge. A cluster becomes one centre at its weighted mean, with the sum of its weights and
    the variance of its values. A second-order expansion of the kernel over a cluster is that of a kernel wider by the
    cluster's own variance: each coordinate's kernel is widened by the mean variance within clusters, 2 epsilon ->
    2 epsilon + s^2. What is left is of fourth order in the size of a cluster over the kernel's width.

    Parameters
    ----------
    bridge : a bridge of the estimator ``bridge`` or ``kde``, not compressed before.
    centres : number of centres of each dictionary, from 2 to the number of samples.
    rng : generator or seed of the clustering.

    Returns
    -------
    A bridge with the same conditional mean and variance up to the errors in its ``compression``, root mean squares
    over training states. It gives no full conditionals: a cluster's values cannot be drawn one by one.

    Raises
    ------
    ValueError
        An argument is out of its range or the bridge is of another kind.
    """
    if not bridge.kernel.of_distance:
        checks.reject("estimator", bridge.kernel.estimator, "bridge or kde for compression")
    if bridge.compression is not None:
        checks.reject("bridge", f"compressed to {bridge.compression.centres}", "a bridge that is not compressed yet")
    samples = bridge.dictionaries[0].coordinates.shape[0]
    if checks.integer("centres", centres, 2) > samples:
        checks.reject("centres", centres, f"at most the number of samples, {samples}")
    rng = np.random.default_rng(rng)
    few = tuple(_clustered(one, bridge.kernel.epsilon_of_kernel, centres, rng) for one in bridge.dictionaries)
    small = replace(bridge, dictionaries=few)
    return replace(small, compression=Compression(centres, samples, *_errors(bridge, small, rng)))


def compress_within(bridge: Bridge, centres: int, error: float, rng: np.random.Generator | int = 0) -> Bridge:
    """Replace the samples by so few centres as change the conditional means by no more than ``error``.

    Parameters
    ----------
    bridge : as for :func:`compress`.
    centres : number of centres of each dictionary that is tried first, then four times as many.
    error : largest ``mean_error`` that is accepted, in units of the component's scale.
    rng : generator or seed of the clustering.

    Returns
    -------
    The compressed bridge; or ``bridge`` as it is, where that takes more than a quarter of the samples or 4,096 centres.

    Raises
    ------
    ValueError
        As for :func:`compress`.
    """
    rng, tried = np.random.default_rng(rng), centres
    samples = bridge.dictionaries[0].coordinates.shape[0]
    while tried == centres or tried <= min(_MAX_CENTRES, samples // _GROWTH):
        small = compress(bridge, tried, rng)
        if small.compression is not None and small.compression.mean_error <= error:
            return small
        tried *= _GROWTH
    return bridge


def _clustered(source: WeightedSamples, epsilon: float, centres: int, rng: np.random.Generator) -> WeightedSamples:
    x, v = source.coordinates / source.coordinate_scale, source.v
    size = max(centres, min(len(x) // 2, _MAX_CLUSTERED))
    places = np.unique(x[rng.choice(len(x), size, replace=False, p=v / v.sum())], axis=0)
    if len(places) > centres:
        start = "++" if centres <= _MAX_SPREAD else "points"
        places, _ = scipy.cluster.vq.kmeans2(places, centres, iter=_CLUSTER_SWEEPS, minit=start, seed=rng)
    nearest = scipy.spatial.KDTree(places).query(x)[1]
    _, label = np.unique(nearest, return_inverse=True)  # a centre may have been left without samples
    weight = np.bincount(label, v)

    def mean(values: F64) -> F64:
        return np.stack([np.bincount(label, v * column) for column in values.T], axis=1) / weight[:, None]

    coordinates, values = mean(source.coordinates), mean(source.values)
    within = mean((source.coordinates - coordinates[label]) ** 2) / source.coordinate_scale**2
    widened = np.sqrt(1.0 + (weight @ within) / weight.sum() / (2.0 * epsilon))
    return WeightedSamples(
        coordinates,
        values,
        source.coordinate_scale * widened,
        source.value_scale,
        np.log(weight),
        source.residual,
        source.iterations,
        mean((source.values - values[label]) ** 2),
    )


def _errors(bridge: Bridge, small: Bridge, rng: np.random.Generator) -> tuple[float, float]:
    """Root-mean-square difference of mean and variance, over training states, in units of each component's scale.

    Each dictionary is asked at samples of its own: states of its neighbourhood as they occur.
    """
    each = max(-(-_MAX_QUERIES // len(bridge.dictionaries)), _MIN_QUERIES)
    squares = np.zeros((2, len(bridge.dictionaries)))
    for h, one in enumerate(bridge.dictionaries):
        samples = len(one.coordinates)
        x = one.coordinates[rng.choice(samples, min(samples, each), replace=False)]
        mean, variance, _ = bridge.kernel_sums.moments_given(x, h)
        few_mean, few_variance, _ = small.kernel_sums.moments_given(x, h)
        squares[:, h] = (
            np.mean(((few_mean - mean) / one.value_scale) ** 2),
            np.mean(((few_variance - variance) / one.value_scale**2) ** 2),
        )
    mean_error, variance_error = np.sqrt(np.mean(squares[:, bridge.dictionary_of], axis=1)).tolist()
    return mean_error, variance_error
