"""Ensemble forecasts with the coarse model, from states of a reference run."""

from __future__ import annotations

import math
from contextlib import nullcontext
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, progress
from l96closure.arrays import F64, Bools, Index
from l96closure.attributes import in_time_unit
from l96closure.closures import Closure
from l96closure.coarse import integrate
from l96closure.durations import MODEL_TIME
from l96closure.histories import of_states
from l96closure.layout import Layout
from l96closure.pairing import scheme_of, step_of, tendency_of
from l96closure.restart import Restart
from l96closure.schemes import Tendency, starting
from l96closure.series import elapsed, one_run, time_step, time_unit

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
    model, closure : as for :func:`integrate`; the step is the closure's. Where the tendency depends on time, t is that
        of the reference, in seconds since its first where times are dates.
    reference : ``z`` (time, k) at a uniform time step, a run that the closure was not fitted to; of a closure with
        several predictors these, each of dims (time, *dim).
    starts : number of initial states, >= 2, spread evenly over the reference, the first of them one longest lead after
        its beginning; no two forecasts share a stretch of it.
    members : ensemble members of each start, >= 2.
    leads : lead times in the unit of the reference's time, seconds where it has dates, evenly spaced from 0 on; the
        spacing is a multiple of the closure's step and of the reference's. None is 0 and forty more, spaced by the
        shortest such multiple of ten steps or more.
    past : whether the recorded past of a start may be used.
    rng, scheme, restart : as for :func:`integrate`.

    Returns
    -------
    Dataset with the forecasts z (start, member, lead, k) and the truth, observation (start, lead, k). The coordinate
    ``start`` is the initial time in the reference; ``lead`` goes from 0 to the longest. The attribute ``past`` says
    whether the past was ``known`` or ``drawn``. Of several predictors each has its name, of dims (start, member, lead,
    *dim), and the truth is ``<name>_observation``; attributes say which variables they are.

    Raises
    ------
    ValueError
        An argument is out of its range, or ``reference`` is too short, lacks the times or looks like several runs
        (:func:`l96closure.series.one_run`).
    BlowUpError
        A forecast stopped being finite; the message numbers the first members of all starts, then the second, and so
        on, and counts time from the start.

    Examples
    --------
    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> truth = model.simulate(samples=2000, rng=1)
    >>> early, late = truth.isel(time=slice(1000)), truth.isel(time=slice(1000, None))
    >>> closure = lc.closures.PolynomialAR1.fit(early)
    >>> ensemble = lc.forecast(model, closure, late, starts=5, members=4, leads=[0, 0.1, 0.2])
    >>> dict(ensemble["z"].sizes)
    {'start': 5, 'member': 4, 'lead': 3, 'k': 8}
    """
    starts, members = checks.integer("starts", starts, 2), checks.integer("members", members, 2)
    truth = Layout.of(closure).states("reference", reference, "time")
    layout = Layout.of(closure, truth.shape[-1])
    dt, interval = step_of(closure, None), time_step("reference", reference)
    leads, save_every, after = _checked_leads(leads, dt, interval)
    for number, name in enumerate(layout.predictors):
        one_run(f"reference.{name}", truth.reshape(len(truth), -1, layout.sites)[:, number])
    times = _forecast_times(len(truth), starts, after * np.arange(leads.size))
    observation, begun = truth[times], elapsed("reference", reference["time"].values)[times[:, 0]]
    tendency = tendency_of(model)
    known = _past(starting(tendency, begun, truth.ndim), closure, truth, times[:, 0], (dt, interval)) if past else None
    run = integrate(
        starting(tendency, np.repeat(begun, members), truth.ndim),
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
    z = layout.states("run", run, "member", "time").reshape(starts, members, leads.size, *layout.state)
    said = {name: run.attrs[name] for name in ("scheme", "dt")} | {"past": "drawn" if known is None else "known"}
    forecasts = xr.Dataset(
        layout.state_variables(z, "start", "member", "lead")
        | layout.state_variables(observation, "start", "lead", observed=True),
        coords={
            "start": _starts(reference, times[:, 0]),
            "member": np.arange(members),
            "lead": leads,
            **layout.coordinates,
        },
        attrs=said | layout.told,
    )
    return in_time_unit(forecasts, time_unit(reference))


def _starts(reference: xr.Dataset, index: Index) -> xr.Variable:
    """Return the times of the starts, with what the reference says of its times."""
    times = reference["time"][index]
    if time_unit(reference) == MODEL_TIME:
        return xr.Variable("start", times.to_numpy())
    said = {name: times.attrs[name] for name in ("units", "calendar") if name in times.attrs}
    return xr.Variable("start", times.to_numpy(), {"long_name": "time at which a forecast starts", **said})


def _repeated(starts: int, members: int) -> Index:
    return np.repeat(np.arange(starts), members)


def _past(
    tendency: Tendency, closure: Closure, truth: F64, first: Index, steps: tuple[float, float]
) -> xr.Dataset | None:
    """Return the history of every start; None where the closure needs none, or the record is too coarse or short."""
    needed, (dt, interval) = getattr(closure, "past_steps", 0), steps
    every = round(dt / interval)
    if not needed or every < 1 or not math.isclose(every * interval, dt, rel_tol=1e-6) or first[0] < needed * every:
        return None
    backwards = truth[first[:, None] - every * np.arange(needed + 1)]
    return of_states(tendency, backwards, dt, scheme_of(closure), Layout.of(closure, truth.shape[-1]))


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


def _forecast_times(times: int, starts: int, after: Index) -> Index:
    """Return indices (start, lead) of starts spread evenly over a run, and of the leads, indices ``after`` each."""
    most = (times - 1) // int(after[-1]) - 1
    if starts > most:
        checks.reject("starts", starts, f"at most {most}, so that no two forecasts share a stretch of the reference")
    first = np.linspace(after[-1], times - 1 - after[-1], starts).round().astype(np.intp)
    return first[:, np.newaxis] + after


def mark(
    model: Any,
    reference: xr.Dataset,
    *,
    starts: int = 200,
    members: int = 10,
    leads: npt.ArrayLike | None = None,
    spinup: float = 2.0,
    most: int | None = None,
    rng: np.random.Generator | int | None = 0,
    dt: float | None = None,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Make the ensemble forecasts of the full model that know the past of z: the mark for those of a closure.

    The fast variables of each member are spun up from random values along the recorded z of the last ``spinup`` time
    units before the start; then the full model runs freely, from the recorded z at the start. The members differ by
    what the past of z leaves open about the fast variables. It is a mark, no strict floor: it uses the past of z, but
    not that of the subgrid tendency, on whose definition it does not depend.

    Parameters
    ----------
    model : has ``spin_up`` and ``trajectory``, as :class:`l96closure.TwoScaleLorenz96`, and made the reference.
    reference, starts : as for :func:`forecast`, so that the starts are the same and scores are paired. Starts that the
        reference has no past of ``spinup`` for, the first one above all, are left out.
    members : ensemble members of each start, >= 2; the first ones do not depend on how many there are.
    leads : as for :func:`forecast`; for None the step of a closure is the reference's ``coarse_dt``, or its time step.
    spinup : model time before a start whose z the fast variables are spun up along, > 0: several times
        as long as they remember. It is rounded up to whole steps of the reference.
    most : number of starts, >= 2, if there are more: so many of them, spread evenly. None is all.
    rng : seed or generator of the random values.
    dt : RK4 time step of the full model; None is that of the reference (its attribute ``dt``).
    restart : where the forecasts are kept, to be taken up again by the same call after it was stopped; the result has
        the same bits.

    Returns
    -------
    Dataset as of :func:`forecast`, for :func:`verify`; the attributes are ``dt`` and ``spinup``.

    Raises
    ------
    ValueError
        An argument is out of its range, the model cannot do it, ``reference`` is none for :func:`forecast`, or fewer
        than two starts have a past that long.
    FloatingPointError
        A forecast stopped being finite: the step is too long.
    """
    if not all(hasattr(model, name) for name in ("spin_up", "trajectory")):
        checks.reject("model", model, "a system whose fast variables can be spun up, as those of TwoScaleLorenz96 can")
    starts, members = checks.integer("starts", starts, 2), checks.integer("members", members, 2)
    truth = checks.variable("reference", reference, "z", ("time", "k"))
    interval = time_step("reference", reference)
    leads, _, after = _checked_leads(leads, float(reference.attrs.get("coarse_dt", interval)), interval)
    one_run("reference.z", truth)
    dt = checks.number("dt", reference.attrs.get("dt") if dt is None else dt, above=0.0)
    every = checks.multiple("the reference's time step", interval, "dt", dt)
    before = math.ceil(checks.number("spinup", spinup, above=0.0) / interval * (1.0 - 1e-9))
    all_times = _forecast_times(len(truth), starts, after * np.arange(leads.size))
    numbers = _marked(all_times[:, 0] >= before, spinup, most)
    times, streams = all_times[numbers], checks.generator("rng", rng).spawn(starts)
    run = _FullModel(model, dt, every, [streams[number] for number in numbers])
    z = run.forecasts(truth, times, before, members, restart)
    return xr.Dataset(
        {"z": (("start", "member", "lead", "k"), z), "observation": (("start", "lead", "k"), truth[times])},
        coords={
            "start": _starts(reference, times[:, 0]),
            "member": np.arange(members),
            "lead": leads,
            "k": np.arange(truth.shape[1]),
        },
        attrs={"dt": dt, "spinup": float(spinup)},
    )


class _FullModel(NamedTuple):
    """The full model: its fine step, fine steps between two records of the reference, a generator for each start."""

    model: Any
    dt: float
    every: int
    streams: list[np.random.Generator]

    def forecasts(self, truth: F64, times: Index, before: int, members: int, restart: Restart | None) -> F64:
        """Forecasts (start, member, lead, K) of records ``times`` (start, lead), spun up along ``before`` steps."""
        z = np.empty((len(times), members, times.shape[1], truth.shape[1]))
        spacing = int(times[0, 1] - times[0, 0]) * self.every
        restart = restart and restart.of("mark", *self, truth, times, before, members)
        done = 0
        for part in [] if restart is None else restart.parts():
            new = slice(done, done + part.sizes["start"])
            z[new], done = part["z"], new.stop
        kept = done
        with (
            restart or nullcontext(),
            progress.bar(len(times) * members, "full model", unit="member", initial=done * members) as bar,
        ):
            for start in range(done, len(times)):
                if restart is not None and restart.due and start > kept:
                    restart.append(xr.Dataset({"z": (("start", "member", "lead", "k"), z[kept:start])}))
                    kept = start
                first = int(times[start, 0])
                past = truth[first - before : first + 1]
                y = self.model.spin_up(past, self.every * self.dt, self.dt, members, self.streams[start])
                z[start] = self.model.trajectory(past[-1], y, self.dt, spacing, times.shape[1])
                bar.update(members)
        return z


def _marked(known: Bools, spinup: float, most: int | None) -> Index:
    """Return the numbers of the starts that get a mark, of those whose past is ``known``: ``most``, spread evenly."""
    numbers = np.flatnonzero(known)
    if numbers.size < 2:
        checks.reject("spinup", spinup, "short enough that two starts or more have such a past in the reference")
    if most is None or checks.integer("most", most, 2) >= numbers.size:
        return numbers
    return numbers[np.linspace(0, numbers.size - 1, most).round().astype(np.intp)]
