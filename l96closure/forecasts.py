"""Ensemble forecasts with the coarse model, from states of a reference run."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.closures import Closure
from l96closure.coarse import integrate
from l96closure.history import of_states
from l96closure.pairing import scheme_of, step_of
from l96closure.restart import Restart
from l96closure.series import one_run, time_step

__all__ = ["forecast"]

F64 = npt.NDArray[np.float64]

_USUAL_LEADS, _STEPS_BETWEEN = 41, 10  # their number, and the coarse steps from one to the next at least
_LARGEST_DENOMINATOR = 1000  # of the interval of the reference in coarse steps


def forecast(
    model: Any,
    closure: Closure,
    reference: xr.Dataset,
    *,
    starts: int = 200,
    members: int = 20,
    leads: npt.ArrayLike | None = None,
    past: bool = True,
    rng: np.random.Generator | int | None = 0,
    scheme: str | None = None,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Make ensemble forecasts from states of a reference run, and set beside each the truth it should meet.

    All members of a start begin with its exact z, and with its past where a closure remembers and the reference was
    recorded at its steps or more often (:func:`l96closure.history`); else their closures draw one. They differ by the
    closure's noise alone, which does not depend on how many members there are.

    Parameters
    ----------
    model, closure, rng, scheme, restart : as for :func:`integrate`; the step is the closure's.
    reference : ``z`` (time, k) at a uniform time step, a run that the closure was not fitted to.
    starts : number of initial states, >= 2, spread evenly over the reference, the first of them one longest lead after
        its beginning; no two forecasts share a stretch of it.
    members : ensemble members of each start, >= 2.
    leads : lead times in model time units, evenly spaced from 0 on; the spacing is a multiple of the closure's step and
        of the reference's. None is 0 and forty more, spaced by the shortest such multiple of ten steps or more.
    past : whether the recorded past of a start may be used.

    Returns
    -------
    Dataset with the forecasts z (start, member, lead, k) and the truth, observation (start, lead, k). The coordinate
    ``start`` is the initial time in the reference; ``lead`` goes from 0 to the longest. The attribute ``past`` says
    whether the past was ``known`` or ``drawn``.

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
    truth = checks.variable("reference", reference, "z", ("time", "k"))
    dt, interval = step_of(closure, None), time_step("reference", reference)
    leads, save_every, after = _checked_leads(leads, dt, interval)
    one_run("reference.z", truth)
    times = _forecast_times(len(truth), starts, after * np.arange(leads.size))
    observation = truth[times]
    known = _past(model, closure, truth, times[:, 0], (dt, interval)) if past else None
    run = integrate(
        model,
        closure,
        np.repeat(observation[:, 0], members, axis=0)
        if known is None
        else known.isel(member=_repeated(starts, members)),
        member=np.arange(starts * members).reshape(members, starts).T.ravel(),
        steps=(leads.size - 1) * save_every + 1,
        dt=dt,
        scheme=scheme,
        save_every=save_every,
        rng=rng,
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
        attrs={name: run.attrs[name] for name in ("scheme", "dt")} | {"past": "drawn" if known is None else "known"},
    )


def _repeated(starts: int, members: int) -> npt.NDArray[np.intp]:
    return np.repeat(np.arange(starts), members)


def _past(
    model: Any, closure: Closure, truth: F64, first: npt.NDArray[np.intp], steps: tuple[float, float]
) -> xr.Dataset | None:
    """Return the history of every start; None where the closure needs none, or the record is too coarse or short."""
    needed, (dt, interval) = getattr(closure, "past_steps", 0), steps
    every = round(dt / interval)
    if not needed or every < 1 or not math.isclose(every * interval, dt, rel_tol=1e-6) or first[0] < needed * every:
        return None
    backwards = truth[first[:, None] - every * np.arange(needed + 1)]
    return of_states(model, backwards, dt, scheme_of(closure))


def _checked_leads(leads: npt.ArrayLike | None, dt: float, interval: float) -> tuple[F64, int, int]:
    """Return the leads, and their spacing in coarse steps and in intervals of the reference."""
    if leads is None:
        ratio = Fraction(interval / dt).limit_denominator(_LARGEST_DENOMINATOR)
        spacing = ratio.denominator * interval * max(1, math.ceil(_STEPS_BETWEEN / max(1, ratio.numerator)))
        leads = spacing * np.arange(_USUAL_LEADS)
    given = checks.finite_array("leads", leads, 1)
    spacing = float(given[1]) if given.size > 1 else 0.0
    found: F64 = spacing * np.arange(given.size, dtype=np.float64)
    if spacing <= 0.0 or not np.allclose(given, found, rtol=1e-9, atol=1e-9 * spacing):
        checks.reject("leads", given.tolist(), "two lead times or more, evenly spaced from 0 on")
    save_every = checks.multiple("spacing of leads", spacing, "dt", dt)
    return found, save_every, checks.multiple("spacing of leads", spacing, "the reference's time step", interval)


def _forecast_times(times: int, starts: int, after: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return indices (start, lead) of starts spread evenly over a run, and of the leads, indices ``after`` each."""
    most = (times - 1) // int(after[-1]) - 1
    if starts > most:
        checks.reject("starts", starts, f"at most {most}, so that no two forecasts share a stretch of the reference")
    first = np.linspace(after[-1], times - 1 - after[-1], starts).round().astype(np.intp)
    index: npt.NDArray[np.intp] = first[:, np.newaxis] + after
    return index
