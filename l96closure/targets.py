"""The distributions of Gottwald & Reich (2024) that are known well enough to judge a sampler: Sections 3.1.1 and 4."""

from __future__ import annotations

import numpy as np
import scipy

from l96closure.arrays import F64
from l96closure.compiled import cached


def ring_covariance(d: int, precision_scale: float = 1.0) -> F64:
    """Covariance Sigma of the Gaussian on a ring, the inverse of its tridiagonal periodic precision.

    The precision has 2 ``precision_scale`` on the diagonal and -0.5 ``precision_scale`` beside it, with periodic ends
    (Section 3.1.1). The text prints Sigma_ii = 5.8 beside the precision of ``precision_scale`` 1, for which it is
    0.58; the printed covariance belongs to 0.1.

    Parameters
    ----------
    d : sites on the ring, >= 3.
    precision_scale : factor on the precision, > 0.

    Returns
    -------
    (d, d), circulant.
    """
    return np.asarray(np.linalg.inv(_ring_precision(d, precision_scale)), dtype=np.float64)


def ring_gaussian(n: int, d: int, precision_scale: float, rng: np.random.Generator) -> F64:
    """Draw from N(0, Sigma), eq. (44), with Sigma of :func:`ring_covariance`; exact, by Cholesky factorisation.

    Parameters
    ----------
    n : number of samples.
    d, precision_scale : as in :func:`ring_covariance`.
    rng : generator.

    Returns
    -------
    (n, d).
    """
    factor = np.linalg.cholesky(_ring_precision(d, precision_scale))  # P = L L^T, so L^-T xi has covariance P^-1
    samples: F64 = scipy.linalg.solve_triangular(factor.T, rng.standard_normal((d, n)), lower=False).T
    return np.ascontiguousarray(samples)


def double_well(n: int, intervals: int, interval: float, noise: float, dt: float, rng: np.random.Generator) -> F64:
    """Trajectories of the bistable Langevin dynamics dZ = (Z - Z^3) dt + sqrt(noise) dB, Z(0) ~ N(0, 1), eq. (58).

    Parameters
    ----------
    n : number of independent trajectories.
    intervals, interval : number of intervals between records and length of each.
    noise : square of the factor on the Brownian motion; 0.2 in the paper.
    dt : step of the Euler-Maruyama scheme; divides ``interval``.
    rng : generator.

    Returns
    -------
    (n, intervals + 1), from time 0.
    """
    z = rng.standard_normal(n)
    out = np.empty((n, intervals + 1))
    out[:, 0] = z
    steps, amplitude = round(interval / dt), float(np.sqrt(noise * dt))
    for record in range(1, intervals + 1):
        _euler_maruyama(z, rng.standard_normal((n, steps)), dt, amplitude)
        out[:, record] = z
    return out


def _ring_precision(d: int, precision_scale: float) -> F64:
    first = np.zeros(d)
    first[[0, 1, -1]] = 2.0, -0.5, -0.5
    return precision_scale * np.asarray(scipy.linalg.circulant(first), dtype=np.float64)


@cached
def _euler_maruyama(z: F64, normals: F64, dt: float, amplitude: float) -> None:
    """Advance each z (n,) in place by as many steps as it has normals (n, steps)."""
    for i in range(z.size):
        here = z[i]
        for normal in normals[i]:
            here += (here - here * here * here) * dt + amplitude * normal
        z[i] = here
