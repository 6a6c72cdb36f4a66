"""A closure in a time loop written by hand: all that it asks for is one init, and one step a time step.

Run it with ``python examples/plain.py``.
"""

from __future__ import annotations

import numpy as np

import l96closure as lc

DT = 5e-3  # the coarse step, in model time units


def run(
    model: lc.TwoScaleLorenz96, closure: lc.closures.Closure, z: np.ndarray, dt: float, steps: int, seed: int
) -> np.ndarray:
    """Integrate the coarse model from z (member, K) by forward Euler; returns z (step, member, K)."""
    state = closure.init(z, seed)
    history = []
    for _ in range(steps):
        history.append(z)
        psi, state = closure.step(z, state)  # the subgrid tendency, and the state of the next step
        z = z + (model.resolved_tendency(z) + psi) * dt
    return np.array(history)


def main() -> None:
    """Compare the standard deviation of z with that of the full model."""
    model = lc.TwoScaleLorenz96(K=12, J=24, F=20.0)
    # psi of the definition "coarse" belongs to forward Euler with the same step.
    truth = model.simulate(samples=20_000, subgrid="coarse", coarse_dt=DT, rng=1)
    closure = lc.closures.SchrodingerBridge.fit(truth)
    z = run(model, closure, truth["z"].values[::5_000], DT, steps=10_000, seed=2)
    print(f"std of z: full model {float(truth['z'].std()):.2f}, coarse model with closure {z.std():.2f}")


if __name__ == "__main__":
    main()
