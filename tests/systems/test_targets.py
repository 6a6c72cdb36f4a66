"""The known distributions are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from l96closure import targets


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_ring_covariance_inverts_the_precision(scale: float) -> None:
    d = 7
    precision = np.zeros((d, d))
    for i in range(d):
        precision[i, i] = 2.0 * scale
        precision[i, (i + 1) % d] = precision[(i + 1) % d, i] = -0.5 * scale
    np.testing.assert_allclose(targets.ring_covariance(d, scale) @ precision, np.eye(d), atol=1e-12)


def test_ring_covariance_has_the_known_entries() -> None:
    row = targets.ring_covariance(101)[0]
    np.testing.assert_allclose(row[:4], [0.5774, 0.1547, 0.0415, 0.0111], atol=1e-4)


def test_ring_gaussian_has_the_covariance() -> None:
    n, d = 20_000, 6
    x = targets.ring_gaussian(n, d, 0.1, np.random.default_rng(1))
    exact = targets.ring_covariance(d, 0.1)
    error = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / n)  # of a covariance of Gaussians
    assert (np.abs(np.cov(x, rowvar=False) - exact) < 4.5 * error).all()
    assert (np.abs(x.mean(axis=0)) < 4.5 * np.sqrt(np.diag(exact) / n)).all()


def test_double_well_without_noise_solves_the_equation() -> None:
    x = targets.double_well(5, 3, 0.7, 1e-30, 1e-4, np.random.default_rng(2))
    solution = integrate.solve_ivp(lambda t, z: z - z**3, (0.0, 2.1), x[:, 0], t_eval=[0.7, 1.4, 2.1], rtol=1e-10)
    np.testing.assert_allclose(x[:, 1:], solution.y, atol=1e-3)


def test_double_well_converges_to_its_invariant_density() -> None:
    n = 2000
    x = targets.double_well(n, 2, 20.0, 0.2, 0.005, np.random.default_rng(3))
    grid = np.linspace(-3.0, 3.0, 4001)
    density = np.exp(-2.0 / 0.2 * (grid**4 / 4 - grid**2 / 2))
    density /= density.sum()
    for power in (2, 4):  # odd moments vanish; the wells mix slowly, their shape does not
        values = x[:, -1] ** power
        assert abs(values.mean() - (density * grid**power).sum()) < 4.5 * values.std() / np.sqrt(n)


def test_double_well_starts_from_a_standard_normal() -> None:
    n = 20_000
    start = targets.double_well(n, 1, 0.01, 0.2, 0.01, np.random.default_rng(4))[:, 0]
    assert abs(start.mean()) < 4.5 / np.sqrt(n)
    assert abs(start.var() - 1.0) < 4.5 * np.sqrt(2.0 / n)
