"""The coarse model: resolved tendency + closure + integrator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from l96closure import checks
from l96closure.closures import Closure

__all__ = ["SCHEMES", "Tendency", "euler", "integrate", "rk4"]

F64 = npt.NDArray[np.float64]
Tendency = Callable[[F64], F64]


def euler(tendency: Tendency, z: F64, psi: F64, dt: float) -> F64:
    """Forward Euler, z + (G(z) + psi) dt, eq. (62); order 1."""
    return z + (tendency(z) + psi) * dt


def rk4(tendency: Tendency, z: F64, psi: F64, dt: float) -> F64:
    """Classical Runge-Kutta of G(z) + psi with psi held over the step; order 4 for constant psi."""
    k1 = tendency(z) + psi
    k2 = tendency(z + 0.5 * dt * k1) + psi
    k3 = tendency(z + 0.5 * dt * k2) + psi
    k4 = tendency(z + dt * k3) + psi
    return z + (dt / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)


SCHEMES: dict[str, Callable[[Tendency, F64, F64, float], F64]] = {"euler": euler, "rk4": rk4}


def integrate(
    tendency: Tendency,
    closure: Closure,
    z0: npt.ArrayLike,
    steps: int = 40_000,
    dt: float = 5e-3,
    scheme: str = "euler",
    save_every: int = 1,
    rng: np.random.Generator | int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Integrate dz/dt = G(z) + psi, eq. (60), with psi drawn from a closure once a step.

    Parameters
    ----------
    tendency : resolved tendency, any callable z (member, K) -> dz/dt (member, K).
    closure : obeys :class:`l96closure.closures.Closure`.
    z0 : initial slow variables (member, K).
    steps : number of coarse steps, >= 1.
    dt : coarse step in model time units, > 0.
    scheme : ``euler`` (the paper's) or ``rk4`` (psi held over the step).
    save_every : keep every n-th step, counted from the initial state, >= 1.
    rng : generator or seed of the closure's noise.
    progress : show a progress bar.

    Returns
    -------
    Dataset with z and psi of dims (member, time, k): the state at step 0, save_every, ... < steps, and the subgrid
    tendency it was advanced with. Memory holds the saved steps alone.

    Raises
    ------
    ValueError
        An argument is out of its range, or ``z0`` or ``dt`` does not fit the closure.
    FloatingPointError
        The state stopped being finite; the message names the member and the time.
    """
    z = checks.finite_array("z0", z0, 2).copy()
    steps, save_every = checks.integer("steps", steps, 1), checks.integer("save_every", save_every, 1)
    dt = checks.number("dt", dt, above=0.0)
    right = getattr(closure, "coarse_dt", None)
    if right is not None and not math.isclose(dt, right, rel_tol=1e-6):
        checks.reject("dt", dt, f"{right:g}, the coarse step the closure was fitted for")
    advance = SCHEMES[checks.one_of("scheme", scheme, SCHEMES)]
    rng = np.random.default_rng(rng)
    members, K = z.shape
    saved = (steps - 1) // save_every + 1
    out_z, out_psi = np.empty((members, saved, K)), np.empty((members, saved, K))
    state = closure.init(z, rng)
    for step in tqdm(range(steps), desc=f"coarse model ({scheme})", unit="step", disable=not progress):
        with np.errstate(over="ignore", invalid="ignore"):  # a blow-up ends in the error below, not in warnings
            psi, state = closure.step(z, state, rng)
            following = advance(tendency, z, psi, dt)
        if step % save_every == 0:
            out_z[:, step // save_every] = z
            out_psi[:, step // save_every] = psi
        z = following
        if not np.isfinite(z).all():
            member = int(np.argwhere(~np.isfinite(z))[0, 0])
            raise FloatingPointError(
                f"the coarse model stopped being finite in member {member} at time {(step + 1) * dt:.6g} "
                f"(step {step + 1} of dt = {dt:g}, scheme {scheme})"
            )
    return xr.Dataset(
        {"z": (("member", "time", "k"), out_z), "psi": (("member", "time", "k"), out_psi)},
        coords={
            "member": np.arange(members),
            "time": np.arange(saved) * (save_every * dt),
            "k": np.arange(K),
        },
        attrs={"scheme": scheme, "dt": dt, "steps": steps, "save_every": save_every},
    )
