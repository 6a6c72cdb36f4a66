"""Sinkhorn weights of one coordinate, by a convolution on a grid: against dense sums in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from l96closure import bridge
from l96closure.kernel._line_sums import LineSums

pytestmark = pytest.mark.slow  # dense sums of thousands of samples

EPSILON = 0.005


def samples(kind: str, size: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(1)
    return {
        "normal": lambda: rng.standard_normal(size),
        "lognormal": lambda: np.exp(rng.standard_normal(size)),
        "outliers": lambda: np.append(rng.standard_normal(size), [100.0, -40.0, -40.001]),
        "two clusters": lambda: rng.standard_normal(size) * 1e-3 + rng.choice([-5.0, 5.0], size),
        "repeated": lambda: np.round(rng.standard_normal(size), 1),
        "far outliers": lambda: np.append(rng.standard_normal(size), [1e5, -1e6]),
        "heavy tails": lambda: rng.standard_cauchy(size),
    }[kind]()


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize(
    "kind", ["normal", "lognormal", "outliers", "two clusters", "repeated", "far outliers", "heavy tails"]
)
def test_the_dense_residual_is_within_the_tolerance(kind: str, shift: float) -> None:
    x = samples(kind) + shift
    fitted = bridge.fit(np.stack([x, x**2], axis=1), EPSILON, [[0], [0]], components=[1], tolerance=1e-6)
    log_v = fitted.dictionaries[0].log_v
    for part in np.array_split(np.arange(x.size), 8):
        rows = logsumexp(log_v - (x[part, None] - x) ** 2 / (4 * EPSILON), axis=1)
        assert np.abs(np.expm1(log_v[part] + rows)).max() < 1.1e-6
    far = kind in ("far outliers", "heavy tails")
    assert LineSums.suit(x * np.sqrt(np.log2(np.e) / (4 * EPSILON))) is not far


def test_the_order_of_the_samples_does_not_matter() -> None:
    x = samples("lognormal")
    order = np.random.default_rng(2).permutation(x.size)
    first, second = (
        bridge.fit(np.stack([y, -y], axis=1), EPSILON, [[0], [0]], components=[1]).dictionaries[0].log_v
        for y in (x, x[order])
    )
    np.testing.assert_allclose(second, first[order], rtol=0, atol=1e-9)
