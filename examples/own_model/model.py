"""A model of your own: what of it a coarse run resolves, and the full model that the data are of.

Here the Lorenz-96 model of one scale (Lorenz 1996), dz_k/dt = z_{k-1} (z_{k+1} - z_{k-2}) - z_k + F + psi_k, and what
the coarse run does not resolve, psi: red noise that leans on z, dpsi_k = -(psi_k + a z_k) dt / T + s dW_k, in the place
of your clouds, eddies or fast variables.
"""

import numpy as np


def tendency(z, F=8.0):
    """Return the resolved tendency dz/dt of states z (..., K); ``tendency.F=10`` on the command line sets F."""
    return (np.roll(z, -1, axis=-1) - np.roll(z, 2, axis=-1)) * np.roll(z, 1, axis=-1) - z + F


def simulate(samples, dt, K=12, seed=0, spinup=4_000, a=0.3, T=0.5, s=2.0):
    """Run the full model; return z and psi (time, K), recorded at every step."""
    rng = np.random.default_rng(seed)
    z, psi = 8.0 + rng.standard_normal(K), np.zeros(K)
    records = []
    for step in range(-spinup, samples):
        if step >= 0:
            records.append((z, psi))
        k1 = tendency(z) + psi  # psi is held over the step and the scheme is RK4, as in the coarse run
        k2 = tendency(z + dt / 2 * k1) + psi
        k3 = tendency(z + dt / 2 * k2) + psi
        k4 = tendency(z + dt * k3) + psi
        psi = psi - (psi + a * z) * dt / T + s * np.sqrt(dt) * rng.standard_normal(K)
        z = z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.moveaxis(np.array(records), 1, 0)
