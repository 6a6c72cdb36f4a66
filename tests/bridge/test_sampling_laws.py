"""Samplers against closed forms: on a Gaussian the bridge is linear, and so is every chain made of it.

For covariance C the bridge's mean is m(x) = A x, with A and C sharing eigenvectors and 2 eps rho = lambda (1 - rho^2)
relating their eigenvalues; its conditional covariance is C - A C A. Each chain is judged by its final states over
independent runs, long after the slowest decay, within three standard errors.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, qmc

from l96closure import bridge

CHAINS = 2000


def gaussian_samples(covariance, M):
    """Quasi-random samples whose mean and covariance are exactly those asked for."""
    covariance = np.atleast_2d(covariance)
    x = norm.ppf(qmc.Sobol(len(covariance), seed=1).random(M))
    x -= x.mean(axis=0)
    whitened = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, bias=True).reshape(covariance.shape))).T
    return whitened @ np.linalg.cholesky(covariance).T


def linear_mean(covariance, epsilon):
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    rho = -epsilon / values + np.sqrt((epsilon / values) ** 2 + 1)
    return vectors @ np.diag(rho) @ vectors.T


def assert_mean_and_variance(x, mean, variance):
    """Three standard errors; the variance of a sample variance takes its fourth moment."""
    n = x.size
    assert abs(x.mean() - mean) < 3 * x.std() / np.sqrt(n)
    squares = (x - x.mean()) ** 2
    assert abs(squares.mean() - variance) < 3 * squares.std() / np.sqrt(n)


@pytest.mark.parametrize(
    ("scheme", "clamp"), [("split", "query"), ("split", "state"), ("conditional_variance", "query")]
)
def test_conditioning_on_a_correlated_gaussian(scheme, clamp):
    """Draw psi given z* = 0.8 at correlation 0.6; at finite eps the law is that of a first-order autoregression."""
    C, epsilon, z = np.array([[1.0, 0.6], [0.6, 1.0]]), 0.1, 0.8
    A = linear_mean(C, epsilon)
    fitted = bridge.fit(gaussian_samples(C, 4096), epsilon)
    out = bridge.sample(fitted, np.zeros((CHAINS, 2)), 40, 2, scheme, {0: z}, clamp)[:, 1]
    innovation = {
        ("split", "query"): 2 * epsilon * A[1, 1] ** 2,
        ("split", "state"): 2 * epsilon * (A[1, 0] ** 2 + A[1, 1] ** 2),
        ("conditional_variance", "query"): (C - A @ C @ A)[1, 1],
    }[scheme, clamp]
    mean = A[1, 0] * z / (1 - A[1, 1])
    assert mean == pytest.approx(0.6 * z, rel=0.1)  # finite eps draws the conditional mean a little towards zero
    assert_mean_and_variance(out, mean, innovation / (1 - A[1, 1] ** 2))


def test_bayesian_posterior_of_a_gaussian():
    """Prior N(0, 1), one observation y = 1.5 with error variance 0.5: the posterior is N(1, 1/3).

    The Euler scheme of eq. (6) is X' = (rho - eps/r) X + eps y / r + sqrt(2 eps) Xi on this prior.
    """
    y, r, epsilon = 1.5, 0.5, 0.01
    fitted = bridge.fit(gaussian_samples([[1.0]], 2048), epsilon)
    out = bridge.sample(fitted, np.zeros((CHAINS, 1)), 400, 3, "euler", grad_log_likelihood=lambda x: (y - x) / r)[:, 0]
    a = linear_mean([[1.0]], epsilon)[0, 0] - epsilon / r
    mean, variance = epsilon * y / r / (1 - a), 2 * epsilon / (1 - a**2)
    assert mean == pytest.approx(y / (1 + r), rel=0.02)
    assert variance == pytest.approx(r / (1 + r), rel=0.02)
    assert_mean_and_variance(out, mean, variance)


def test_remark_6_localized_samples_leave_the_span_of_the_data():
    """Three samples in ten dimensions: the global sampler stays in their span, the localized one does not."""
    x = np.random.default_rng(4).standard_normal((3, 10))
    basis = np.linalg.qr(x.T)[0]

    def outside(neighbourhoods):
        out = bridge.sample(bridge.fit(x, 0.5, neighbourhoods), x, 20, 5)
        return np.linalg.norm(out - out @ basis @ basis.T) / np.linalg.norm(out)

    assert outside(None) < 1e-6
    assert outside(bridge.periodic(10, 1)) > 0.1
