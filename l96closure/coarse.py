"""The coarse model: resolved tendency + closure + integrator."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.closures import Closure
from l96closure.closures import state as states
from l96closure.progress import bar as progress_bar
from l96closure.restart import Restart
from l96closure.series import one_run, time_step

__all__ = [
    "SCHEMES",
    "BlowUpError",
    "Tendency",
    "check_step",
    "check_tendency",
    "euler",
    "forecast",
    "integrate",
    "rk4",
    "take_step",
]

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


class BlowUpError(FloatingPointError):
    """The coarse model stopped being finite.

    Attributes
    ----------
    last : Dataset with z and psi (member, k) of the step that led to it, and the attributes member (its number) and
        step, of the first state that is not finite.
    run : Dataset of :func:`integrate` with all records before that.
    """

    def __init__(self, last: xr.Dataset, run: xr.Dataset) -> None:
        self.last, self.run = last, run
        member, step, dt = last.attrs["member"], last.attrs["step"], run.attrs["dt"]
        super().__init__(
            f"the coarse model stopped being finite in member {member} at time {step * dt:.6g} "
            f"(step {step} of dt = {dt:g}, scheme {run.attrs['scheme']})"
        )

    def __reduce__(self) -> tuple[type[BlowUpError], tuple[xr.Dataset, xr.Dataset]]:
        return BlowUpError, (self.last, self.run)

    @property
    def good(self) -> xr.Dataset:
        """The part of ``run`` before it ran away.

        That is before the largest slow variable was more than ten times what it usually is, the median over the
        records.
        """
        if self.run.sizes["time"] == 0:
            return self.run
        largest = np.abs(self.run["z"].to_numpy()).max(axis=(0, 2))
        wild = largest > 10.0 * np.median(largest)
        return self.run.isel(time=slice(int(wild.argmax()) if wild.any() else None))


_PUSHED = 1e-3  # part by which the states of half of the members are changed, to see whether the others notice
_ROUNDING = 1e2  # spacings of its numbers, by which a tendency may differ where nothing it depends on does

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
    member: npt.ArrayLike = 0,
    progress: bool = False,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Integrate dz/dt = G(z) + psi, eq. (60), with psi drawn from a closure once a step.

    Parameters
    ----------
    tendency : resolved tendency, any callable z (member, K) -> dz/dt (member, K); :func:`check_tendency` tries it.
    closure : obeys :class:`l96closure.closures.Closure`.
    z0 : initial slow variables (member, K).
    steps : number of coarse steps, >= 1.
    dt : coarse step in model time units, > 0.
    scheme : ``euler`` (the paper's) or ``rk4`` (psi held over the step).
    save_every : keep every n-th step, counted from the initial state, >= 1.
    rng : seed or generator, which give the key of the closure's noise.
    member : number of the first member, or the numbers of all: some members of an ensemble run as they do in it.
    progress : show a progress bar.
    restart : where the run is kept, to be taken up again by the same call after it was stopped; the result has the
        same bits.

    Returns
    -------
    Dataset with z and psi of dims (member, time, k): the state at step 0, save_every, ... < steps, and the subgrid
    tendency it was advanced with; the coordinate ``member`` is the numbers of the members. Memory holds the saved
    steps alone.

    Raises
    ------
    ValueError
        An argument is out of its range, ``z0`` or ``dt`` does not fit the closure, the tendency or the closure gives
        something else than an array of numbers of the shape of z or writes into its arguments, or the tendency of a
        member depends on other members.
    BlowUpError
        The state stopped being finite; the message names the member and the time.
    """
    z = checks.finite_array("z0", z0, 2).copy()
    steps, save_every = checks.integer("steps", steps, 1), checks.integer("save_every", save_every, 1)
    dt = checks.number("dt", dt, above=0.0)
    check_step(closure, dt)
    advance = SCHEMES[checks.one_of("scheme", scheme, SCHEMES)]
    members, K = z.shape
    numbers = states.member_numbers(member, members).astype(np.int64)
    saved = (steps - 1) // save_every + 1
    out_z, out_psi = np.empty((members, saved, K)), np.empty((members, saved, K))

    def recorded(done: int) -> xr.Dataset:
        n = (done - 1) // save_every + 1  # records of the first steps
        return xr.Dataset(
            {"z": (("member", "time", "k"), out_z[:, :n]), "psi": (("member", "time", "k"), out_psi[:, :n])},
            coords={"member": numbers, "time": np.arange(n) * (save_every * dt), "k": np.arange(K)},
            attrs={"scheme": scheme, "dt": dt, "steps": done, "save_every": save_every},
        )

    check_tendency(tendency, z)
    state, first, kept = closure.init(z.copy(), np.random.default_rng(rng), member=member), 0, 0
    restart = restart and restart.of("coarse model", tendency, closure, z, steps, dt, scheme, save_every, state)
    for part in [] if restart is None else restart.parts():
        new = slice(kept, kept + part.sizes["time"])
        out_z[:, new], out_psi[:, new] = part["z"], part["psi"]
        z, state = part["z_now"].to_numpy(), states.restored(part, state)
        first, kept = part.attrs["step"], new.stop
    label = f"coarse model ({scheme})"
    with (
        restart or nullcontext(),
        progress_bar(steps, label, show=progress, initial=first) as bar,
    ):
        for step in range(first, steps):
            if restart is not None and restart.due and step > first:
                here = recorded(step).isel(time=slice(kept, None)).reset_coords(drop=True)
                now = {"z_now": (("member", "k"), z), **states.variables(state)}
                restart.append(here.assign(now).assign_attrs(step=step))
                kept += here.sizes["time"]
            with np.errstate(over="ignore", invalid="ignore"):  # a blow-up ends in the error below, not in warnings
                psi, state = take_step(closure, z, state) if step == first else closure.step(z, state)
                following = advance(tendency, z, psi, dt)
            if step % save_every == 0:
                out_z[:, step // save_every] = z
                out_psi[:, step // save_every] = psi
            if not np.isfinite(following).all():
                wild = int(numbers[np.argwhere(~np.isfinite(following))[0, 0]])
                last = xr.Dataset({"z": (("member", "k"), z), "psi": (("member", "k"), psi)}, {"member": numbers})
                raise BlowUpError(last.assign_attrs(member=wild, step=step + 1), recorded(step + 1))
            z = following
            bar.update()
        return recorded(steps)


def check_step(closure: Closure, dt: float, rounding: float = 0.0) -> None:
    """Raise ``ValueError`` if a closure remembers, and is right for another coarse step than ``dt``.

    ``rounding`` is the error that ``dt`` may have where it was taken from times of limited resolution.
    """
    right = getattr(closure, "coarse_dt", None)
    if right is not None and not math.isclose(dt, right, rel_tol=1e-6, abs_tol=rounding):
        checks.reject("dt", dt, f"{right:g}, the coarse step the closure was fitted for")


def check_tendency(tendency: Tendency, z: F64) -> None:
    """Try a tendency at the start of a run, in at most four calls.

    Parameters
    ----------
    tendency : resolved tendency, z (member, K) -> dz/dt (member, K).
    z : slow variables to try it with.

    Raises
    ------
    ValueError
        It gives something else than an array of numbers of the shape of z, it writes into z, or what it gives for a
        member changes with the states of other members.
    """
    given = z.copy()
    gives = tendency(given)
    usual = _field("tendency(z)", gives, z).copy()
    _unchanged("z", given, z, "tendency(z)")
    kind = getattr(gives, "dtype", usual.dtype)
    limit = _ROUNDING * np.finfo(kind if kind.kind == "f" else usual.dtype).eps * np.abs(usual).max()
    for first in (0, 1) if len(z) > 1 else ():
        pushed, others = slice(first, None, 2), slice(1 - first, None, 2)
        near = z.copy()
        near[pushed] += _PUSHED * (np.abs(z[pushed]) + (np.abs(z).max() or 1.0))
        noticed = np.abs(_field("tendency(z)", tendency(near), z) - usual)[others].max()
        if noticed > limit:
            random = np.abs(_field("tendency(z)", tendency(z.copy()), z) - usual).max()
            if noticed > 10.0 * random:  # else it draws random numbers or counts its calls, which is no mistake here
                checks.reject(
                    "tendency(z) of a member",
                    "changed by the others",
                    "what it is for the member alone; members are rows of z, so a function along the sites needs its "
                    "axis, e.g. np.roll(z, 1, axis=1)",
                )


def take_step(closure: Closure, z: F64, state: Any) -> tuple[F64, Any]:
    """Take the first step of a closure in a run: what ``closure.step`` gives, checked.

    Raises ``ValueError`` when psi is no array of numbers of the shape of z, or the step writes into ``z`` or ``state``.
    """
    before, state_before = z.copy(), deepcopy(state)
    psi, following = closure.step(z, state)
    _field("psi of the closure", psi, z)
    _unchanged("z", z, before, "closure.step(z, state)")
    for name, part in states.parts(state).items():
        _unchanged(name, part, states.parts(state_before)[name], "closure.step(z, state)")
    return psi, following


def _unchanged(name: str, after: npt.ArrayLike, before: npt.ArrayLike, call: str) -> None:
    """Raise ``ValueError`` if a call has written into its argument."""
    if not np.array_equal(after, before, equal_nan=True):
        checks.reject(f"{name} after {call}", "changed", "left as it was; work on a copy of it")


def _field(name: str, values: npt.ArrayLike, z: F64) -> F64:
    """Return ``values`` as an array; raise ``ValueError`` unless they are numbers, one for each of z."""
    array = checks.real_array(name, values)
    if array.shape != z.shape:
        checks.reject(f"{name}.shape", array.shape, f"that of z, {z.shape}")
    return array


def forecast(
    tendency: Tendency,
    closure: Closure,
    reference: xr.Dataset,
    *,
    starts: int = 200,
    members: int = 20,
    lead: float = 2.0,
    every: float = 0.05,
    dt: float = 5e-3,
    scheme: str = "euler",
    rng: np.random.Generator | int = 0,
    progress: bool = False,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Make ensemble forecasts from states of a reference run, and set beside each the truth it should meet.

    All members of a start begin with its exact z; their closures begin with what ``closure.init`` gives for it. They
    differ by the closure's noise alone, which does not depend on how many members there are.

    Parameters
    ----------
    tendency, closure, dt, scheme, rng, progress, restart : as for :func:`integrate`.
    reference : ``z`` (time, k) at a uniform time step, a run that the closure was not fitted to.
    starts : number of initial states, >= 2, spread evenly over the reference; no two forecasts share a stretch of it.
    members : ensemble members of each start, >= 2.
    lead : longest lead time in model time units, a multiple of ``every``.
    every : model time between two records, a multiple of ``dt`` and of the reference's time step.

    Returns
    -------
    Dataset with the forecasts z (start, member, lead, k) and the truth, observation (start, lead, k). The coordinate
    ``start`` is the initial time in the reference; ``lead`` goes from 0 to the longest.

    Raises
    ------
    ValueError
        An argument is out of its range, or ``reference`` is too short, lacks the times or looks like several runs
        (:func:`l96closure.series.one_run`).
    BlowUpError
        A forecast stopped being finite; the message numbers the first members of all starts, then the second, and so
        on, and counts time from the start.
    """
    starts, members = checks.integer("starts", starts, 2), checks.integer("members", members, 2)
    save_every = checks.multiple("every", every, "dt", checks.number("dt", dt, above=0.0))
    leads = float(every) * np.arange(checks.multiple("lead", lead, "every", every) + 1, dtype=np.float64)
    truth = checks.variable("reference", reference, "z", ("time", "k"))
    after = checks.multiple("every", every, "the reference's time step", time_step("reference", reference))
    one_run("reference.z", truth)
    times = _forecast_times(len(truth), starts, after * np.arange(leads.size))
    observation = truth[times]
    run = integrate(
        tendency,
        closure,
        np.repeat(observation[:, 0], members, axis=0),
        member=np.arange(starts * members).reshape(members, starts).T.ravel(),
        steps=(leads.size - 1) * save_every + 1,
        dt=dt,
        scheme=scheme,
        save_every=save_every,
        rng=rng,
        progress=progress,
        restart=restart,
    )
    return xr.Dataset(
        {
            "z": (("start", "member", "lead", "k"), run["z"].to_numpy().reshape(starts, members, leads.size, -1)),
            "observation": (("start", "lead", "k"), observation),
        },
        coords={
            "start": reference["time"].to_numpy()[times[:, 0]],
            "member": np.arange(members),
            "lead": leads,
            "k": run["k"].to_numpy(),
        },
        attrs={"scheme": scheme, "dt": dt},
    )


def _forecast_times(times: int, starts: int, after: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return indices (start, lead) of starts spread evenly over a run, and of the leads, indices ``after`` each."""
    most = (times - 1) // int(after[-1])
    if starts > most:
        checks.reject("starts", starts, f"at most {most}, so that no two forecasts share a stretch of the reference")
    first = np.linspace(0, times - 1 - after[-1], starts).round().astype(np.intp)
    index: npt.NDArray[np.intp] = first[:, np.newaxis] + after
    return index
