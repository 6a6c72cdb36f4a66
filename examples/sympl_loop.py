"""Lorenz-96 in a time loop of sympl, without and with a closure attached.

The resolved tendency is a ``TendencyComponent`` of its own; a closure is one more. Run it with
``python examples/sympl_loop.py`` after ``pip install "l96closure[sympl]"``.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import sympl

import l96closure as lc
from l96closure.adapters.sympl import ClosureTendency
from l96closure.diagnostics.climate import batch_standard_errors
from l96closure.report import with_error

MODEL = lc.TwoScaleLorenz96(K=12, J=24, F=20.0)
STEP = timedelta(seconds=5e-3)  # a model time unit is a second to sympl
STAGES = 3  # of a Runge-Kutta step, over which psi is held
SPINUP, STEPS = 1_000, 5_000  # 5 and 25 time units


class Resolved(sympl.TendencyComponent):
    """The tendency of the coarse model, dz/dt = G(z)."""

    input_properties = {"z": {"dims": ["*", "k"], "units": "1"}}
    tendency_properties = {"z": {"units": "1 s^-1"}}
    diagnostic_properties = {}

    def array_call(self, state):
        """Give G(z) for z (member, k)."""
        return {"z": MODEL.resolved_tendency(state["z"])}, {}


def run(z0: np.ndarray, *components: sympl.TendencyComponent) -> np.ndarray:
    """Step the sum of the components from z0 (member, k); returns z (member, time, k) after the spin-up."""
    stepper = sympl.SSPRungeKutta(*components, stages=STAGES)
    state = {"time": timedelta(0), "z": sympl.DataArray(z0, dims=["member", "k"], attrs={"units": "1"})}
    kept = []
    for step in range(SPINUP + STEPS):
        diagnostics, following = stepper(state, STEP)
        state.update(diagnostics)
        if step >= SPINUP:
            kept.append(state["z"].values)
        state.update(following)
        state["time"] += STEP  # also tells the closure to draw anew
    return np.stack(kept, axis=1)


def main() -> None:
    """Print the climate of z of the full model, of the bare coarse model and of the one with a closure."""
    truth = MODEL.simulate(samples=20_000, rng=1)
    judge = MODEL.simulate(samples=40_000, every=50, rng=2)["z"].values
    closure = lc.closures.SchrodingerBridge.fit(truth)
    z0 = truth["z"].values[:: 20_000 // 16]  # sixteen members
    runs = {
        "full model": judge[np.newaxis],
        "no closure": run(z0, Resolved()),
        "closure": run(z0, Resolved(), ClosureTendency(closure, "z", rng=3, stages=STAGES)),
    }
    print(f"{'':12}{'mean of z':>18}{'std of z':>18}")
    for name, z in runs.items():
        mean_se, std_se = batch_standard_errors(z)
        print(f"{name:12}{with_error(z.mean(), mean_se):>18}{with_error(z.std(), std_se):>18}")


if __name__ == "__main__":
    main()
