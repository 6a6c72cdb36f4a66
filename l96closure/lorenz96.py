"""The two-scale Lorenz-96 model: parameters, tendencies, compiled RK4, training truth."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure import lorenz96_core as core
from l96closure.progress import bar as progress_bar
from l96closure.restart import Restart

__all__ = ["SUBGRID_DEFINITIONS", "TwoScaleLorenz96", "resolved_tendency", "simulate"]

FloatArray = npt.NDArray[np.float64]

SUBGRID_DEFINITIONS = {
    "fine": "(z(t + dt) - z(t)) / dt - G(z(t))",
    "coarse": "(z(t + coarse_dt) - z(t)) / coarse_dt - G(z(t))",
    "coupling": "-(h c / b) sum_j y_{j,k}(t)",
}

_STEPS_PER_CALL = 20_000  # fine steps between two updates of the progress bar


@dataclass(frozen=True)
class TwoScaleLorenz96:
    """Parameters of the two-scale Lorenz-96 model (Lorenz 1996; eq. 59 of Gottwald & Reich 2024).

        dz_k/dt     = -z_{k-1} (z_{k-2} - z_{k+1}) - z_k + F - (h c / b) sum_j y_{j,k}
        dy_{j,k}/dt = -c b y_{j+1,k} (y_{j+2,k} - y_{j-1,k}) - c y_{j,k} + (h c / b) z_k

    All quantities are dimensionless. The K J fast variables form one ring: y_{j+J,k} = y_{j,k+1}.

    Parameters
    ----------
    K : number of slow variables, >= 4.
    J : number of fast variables per slow one, >= 1.
    F : forcing.
    h : coupling strength.
    b : ratio of amplitudes, > 0.
    c : ratio of time scales, > 0.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    K: int = 12
    J: int = 24
    F: float = 20.0
    h: float = 1.0
    b: float = 10.0
    c: float = 10.0

    def __post_init__(self) -> None:
        checks.integer("K", self.K, 4)
        checks.integer("J", self.J, 1)
        checks.number("F", self.F)
        checks.number("h", self.h)
        checks.number("b", self.b, above=0.0)
        checks.number("c", self.c, above=0.0)

    @property
    def coupling(self) -> float:
        """The coupling coefficient h c / b."""
        return self.h * self.c / self.b

    def tendency(self, z: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Time derivatives of one state, eq. (59).

        Parameters
        ----------
        z : slow variables (K,).
        y : fast variables (K, J).

        Returns
        -------
        dz/dt (K,) and dy/dt (K, J).

        Raises
        ------
        ValueError
            A shape does not fit the model, or a value is not finite.
        """
        z, y = self._state(z, y)
        padded_z, padded_y = core.padded(z, y)
        dz, dy = np.empty(self.K), np.empty(self.K * self.J)
        core.tendency_from_python(padded_z, padded_y, self.J, self.F, self.coupling, self.b, self.c, dz, dy)
        return dz, dy.reshape(self.K, self.J)

    def step(self, z: npt.ArrayLike, y: npt.ArrayLike, dt: float, steps: int = 1) -> tuple[FloatArray, FloatArray]:
        """Advance one state by ``steps`` classical RK4 steps of length ``dt``.

        Parameters
        ----------
        z : slow variables (K,).
        y : fast variables (K, J).
        dt : time step in model time units, > 0.
        steps : number of steps, >= 1.

        Returns
        -------
        z (K,) and y (K, J) after ``steps`` steps; non-finite if the step was unstable.

        Raises
        ------
        ValueError
            A shape does not fit the model, or an argument is out of its range.
        """
        z, y = self._state(z, y)
        dt = checks.number("dt", dt, above=0.0)
        state = self._integration(z, y, dt)
        state.advance(checks.integer("steps", steps, 1))
        return state.z.copy(), state.y.copy()

    def _integration(self, z: FloatArray, y: FloatArray, dt: float, step: int = 0) -> core.Integration:
        return core.Integration(z, y, dt, (self.J, float(self.F), self.coupling, float(self.b), float(self.c)), step)

    def _state(self, z: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        z, y = checks.finite_array("z", z, 1), checks.finite_array("y", y, 2)
        if z.shape != (self.K,):
            checks.reject("z.shape", z.shape, f"({self.K},)")
        if y.shape != (self.K, self.J):
            checks.reject("y.shape", y.shape, f"({self.K}, {self.J})")
        return z, y


def resolved_tendency(z: npt.ArrayLike, F: float) -> FloatArray:
    """Tendency of the resolved variables, G_k(z) = -z_{k-1} (z_{k-2} - z_{k+1}) - z_k + F.

    The part of eq. (60) of Gottwald & Reich (2024) that a coarse model knows.

    Parameters
    ----------
    z : slow variables (..., K), K >= 4; any leading dimensions.
    F : forcing.

    Returns
    -------
    G(z) of the shape of ``z``, in units of z per model time unit.

    Raises
    ------
    ValueError
        ``z`` has fewer than four sites.
    """
    z = np.ascontiguousarray(z, dtype=np.float64)
    if z.ndim == 0 or z.shape[-1] < 4:
        checks.reject("z.shape", z.shape, "(..., K) with K >= 4")
    out = np.empty_like(z)
    rows = (-1, z.shape[-1])
    core.resolved_from_python(z.reshape(rows), F, out.reshape(rows))
    return out


@checks.arguments(
    samples=partial(checks.integer, minimum=1),
    dt=partial(checks.number, above=0.0),
    every=partial(checks.integer, minimum=1),
    spinup=partial(checks.number, minimum=0.0),
    subgrid=partial(checks.one_of, allowed=SUBGRID_DEFINITIONS),
    coarse_dt=partial(checks.number, above=0.0),
    seed=partial(checks.integer, minimum=0, below=math.inf),
)
def simulate(
    model: TwoScaleLorenz96,
    samples: int = 40_000,
    dt: float = 5e-4,
    every: int = 1,
    spinup: float = 10.0,
    subgrid: str = "fine",
    coarse_dt: float = 5e-3,
    seed: int = 0,
    progress: bool = False,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Run the two-scale model and record the slow variables with their subgrid tendency.

    Three definitions of the subgrid tendency psi are offered (:data:`SUBGRID_DEFINITIONS`): ``fine`` is eq. (61)
    of Gottwald & Reich (2024); ``coarse`` is the same difference over a coarse step, consistent with a forward
    Euler coarse model by construction; ``coupling`` is the exact term of eq. (59), consistent with an accurate
    integration (RK4) of the coarse model. Memory holds the samples and ``coarse_dt / dt`` states, nothing else.

    Parameters
    ----------
    model : parameters of the model.
    samples : number of samples to record, >= 1.
    dt : fine RK4 time step in model time units, > 0.
    every : record every n-th fine step, >= 1.
    spinup : model time that is integrated and dropped first, >= 0.
    subgrid : ``fine``, ``coarse`` or ``coupling``.
    coarse_dt : the coarse step of the ``coarse`` definition, a whole multiple of ``dt``; unused otherwise.
    seed : seed of the random initial state.
    progress : show a progress bar.
    restart : where the run is kept, to be taken up again by the same call after it was stopped; the result has the
        same bits.

    Returns
    -------
    Dataset with ``z`` and ``psi`` of dims (time, k); time is in model time units from the first sample on. The
    arguments are attributes.

    Raises
    ------
    ValueError
        An argument is out of its range.
    FloatingPointError
        The state stopped being finite; the message names the time and the step.
    """
    dt, spinup = float(dt), float(spinup)  # an integer would be another compilation
    lead = {"fine": 1, "coupling": 0}.get(subgrid) if subgrid != "coarse" else _whole_steps(coarse_dt, dt)
    assert lead is not None
    rng = np.random.default_rng(seed)
    z = model.F / 4 + rng.standard_normal(model.K)
    y = 0.1 * rng.standard_normal((model.K, model.J))
    run = model._integration(z, y, dt)
    out_z, out_psi = np.empty((samples, model.K)), np.empty((samples, model.K))
    history = np.empty((lead + 1, model.K))
    last = (samples - 1) * every + lead
    step, emitted = -checks.steps("spinup", spinup, dt), 0  # counted from the end of the spin-up
    total = last - step
    step_of_psi = coarse_dt if subgrid == "coarse" else None
    restart = restart and restart.of("two scales", model, samples, dt, every, spinup, subgrid, step_of_psi, seed)
    for part in [] if restart is None else restart.parts():
        new = slice(emitted, emitted + part.sizes["time"])
        out_z[new], out_psi[new], history[:] = part["z"], part["psi"], part["z_before"]
        step, emitted = int(part.attrs["step"]), new.stop
        run = model._integration(part["z_now"].to_numpy(), part["y_now"].to_numpy(), dt, max(step, 0))
    kept = emitted
    with (
        restart or nullcontext(),
        progress_bar(total, "two-scale model", show=progress, unit_scale=True, initial=total - last + step) as bar,
    ):
        while emitted < samples:
            if step < 0:
                done = run.advance(min(_STEPS_PER_CALL, -step))
            else:
                steps = min(_STEPS_PER_CALL, last - step)
                done, emitted = run.sample(steps, lead, every, history, out_z, out_psi, emitted)
            step += done
            checks.still_finite("the two-scale model", run.z, step * dt, dt)
            bar.update(done)
            if restart is not None and restart.due:
                restart.append(
                    xr.Dataset(
                        {
                            "z": (("time", "k"), out_z[kept:emitted]),
                            "psi": (("time", "k"), out_psi[kept:emitted]),
                            "z_before": (("lag", "k"), history),
                            "z_now": ("k", run.z),
                            "y_now": (("k", "j"), run.y),
                        },
                        attrs={"step": step},
                    )
                )
                kept = emitted
        return xr.Dataset(
            {"z": (("time", "k"), out_z), "psi": (("time", "k"), out_psi)},
            coords={"time": np.arange(samples) * (every * dt), "k": np.arange(model.K)},
            attrs={
                **{f"model_{name}": value for name, value in asdict(model).items()},
                "subgrid": subgrid,
                "subgrid_definition": SUBGRID_DEFINITIONS[subgrid],
                **({"coarse_dt": float(coarse_dt)} if subgrid == "coarse" else {}),
                "dt": dt, "every": every, "spinup": spinup, "seed": seed,
            },
        )  # fmt: skip


def _whole_steps(coarse_dt: float, dt: float) -> int:
    lead = checks.steps("coarse_dt", coarse_dt, dt)
    if lead < 1 or not math.isclose(lead * dt, coarse_dt, rel_tol=1e-9):
        checks.reject("coarse_dt", coarse_dt, f"a whole multiple of dt = {dt:g}")
    return lead
