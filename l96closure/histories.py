"""What is known of the past of a state: the resolved variables of the steps before, and the psi that they imply."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.fields import Fields
from l96closure.layout import Layout
from l96closure.pairing import tendency_of
from l96closure.schemes import SCHEMES, Tendency, Timed, held, starting
from l96closure.series import elapsed, time_step
from l96closure.subgrid import FITTING_SCHEME, definition_of


def history(
    model: Any, record: xr.Dataset, dt: float | None = None, scheme: str = "rk4", fields: Fields | None = None
) -> xr.Dataset:
    """Return what a record tells of the past of its last state, for a closure to start from.

    The subgrid tendency of a past step is the one that, held over the step, takes the coarse model from the state
    recorded at its beginning to that at its end (:func:`l96closure.schemes.held`): observed, not modelled, from the
    resolved variables alone.

    Parameters
    ----------
    model : a system, or any function z -> dz/dt (..., K) or (z, t) -> dz/dt, see :func:`l96closure.integrate`; t is the
        time of the record, in seconds since its first where times are dates.
    record : Dataset with z of dims (time, k) or (member, time, k), whose last time is now.
    dt : step of the closure, a multiple of the record's; None is that of the record.
    scheme : of the coarse model, ``rk4`` or ``euler``.
    fields : of a closure with several predictors or targets (``closure.fields``), for which the record has those.

    Returns
    -------
    Dataset with z and psi, or predictors and targets, of dims (member, lag, *dim). The coordinate ``lag`` counts time
    backwards from 0, now, where psi is not known yet (NaN). :func:`l96closure.integrate` takes it in the place of the
    initial state, and a closure's ``init`` as ``history=``.

    Raises
    ------
    ValueError
        ``record`` lacks z or a uniform time, or an argument is out of its range.
    FloatingPointError
        No psi takes the coarse model from one state to the next: the step is too long for the scheme.

    Examples
    --------
    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> truth = model.simulate(samples=1000, rng=1)
    >>> past = lc.history(model, truth.isel(time=slice(-100, None)))
    >>> dict(past.sizes)
    {'member': 1, 'lag': 100, 'k': 8}
    """
    checks.one_of("scheme", scheme, SCHEMES)
    interval = time_step("record", record)
    every = 1 if dt is None else checks.multiple("dt", dt, "the record's time step", interval)
    known = Layout(fields, 0)
    several = "member" in record.dims
    z = known.states("record", record, *(("member", "time") if several else ("time",)))
    backwards = (z if several else z[None])[:, ::-1][:, ::every]
    now = np.full(len(backwards), elapsed("record", record["time"].values)[-1])
    tendency = starting(tendency_of(model), now, backwards.ndim - 1)
    return of_states(tendency, backwards, interval if dt is None else float(dt), scheme, Layout(fields, z.shape[-1]))


def of_states(tendency: Tendency, backwards: F64, dt: float, scheme: str, layout: Layout) -> xr.Dataset:
    """Return the same as :func:`history` of plain arrays, for many starts at once.

    Parameters
    ----------
    tendency : of the coarse model, at the time of each start where it depends on time.
    backwards : states (member, lag, ...) that go back from now in steps of ``dt``.
    dt : step of the closure, > 0.
    scheme : of the coarse model, ``rk4`` or ``euler``.
    layout : of the states.

    Returns
    -------
    Dataset as of :func:`history`.

    Raises
    ------
    FloatingPointError
        No psi takes the coarse model from one state to the next: the step is too long for the scheme.
    """
    members, lags, *core = backwards.shape
    psi = np.full(backwards.shape, np.nan)
    if lags > 1:
        before, after = (
            np.ascontiguousarray(part).reshape(-1, *core) for part in (backwards[:, 1:], backwards[:, :-1])
        )
        then = _before(tendency, lags, dt, before.ndim)
        psi[:, 1:] = held(then, before, after, dt, scheme).reshape(members, lags - 1, *core)
    if layout.fields is not None:
        psi = psi.reshape(*psi.shape[:2], -1, layout.sites)[:, :, : len(layout.fields.targets)]
        psi = layout.fields.placed(layout.fields.taken(psi))
    return xr.Dataset(
        layout.variables(backwards, psi, "member", "lag"),
        coords={"member": np.arange(members), "lag": np.arange(lags) * dt, **layout.coordinates, **_now(tendency)},
        attrs={"dt": dt, "scheme": scheme},
    )


def _before(tendency: Tendency, lags: int, dt: float, ndim: int) -> Tendency:
    """Return a tendency at the beginnings of the steps that lead to its time, of all starts one after the other."""
    if not isinstance(tendency, Timed) or tendency.time is None:
        return tendency
    return starting(tendency, (tendency.time.reshape(-1, 1) - dt * np.arange(1, lags)).ravel(), ndim)


def _now(tendency: Tendency) -> dict[str, Any]:
    """Return the time of each start as a coordinate, where the tendency depends on it."""
    return (
        {"time": ("member", tendency.time.ravel())} if isinstance(tendency, Timed) and tendency.time is not None else {}
    )


def starts_from(z0: npt.ArrayLike | xr.Dataset, layout: Layout) -> tuple[F64, xr.Dataset | None]:
    """Take initial states apart from what is known of their past.

    Parameters
    ----------
    z0 : initial states (member, ...), or their past as :func:`history` returns it.
    layout : of the coarse run.

    Returns
    -------
    A copy of the initial states (member, ...), and ``z0`` where it is a past, else None.

    Raises
    ------
    ValueError
        ``z0`` is neither, or not finite.
    """
    if not isinstance(z0, xr.Dataset):
        shape, state = checks.real_array("z0", z0).shape, ", ".join(map(str, layout.state)) if layout.sites else "K"
        if len(shape) != 1 + len(layout.state) or (layout.fields is not None and shape[1:] != layout.state):
            checks.reject("z0.shape", shape, f"(member, {state}), all sites along one axis, or a Dataset")
        return layout.finite("z0", z0, len(shape)).copy(), None
    return layout.states("z0", z0, "member", "lag")[:, 0].copy(), z0


def replay(model: Any, record: xr.Dataset, scheme: str | None = None, fields: Fields | None = None) -> xr.Dataset:
    """Run the coarse model with the recorded psi in a closure's place, beside the record.

    Where the coarse run leaves the record at once, psi is not what the coarse model needs: no closure learned from it
    can be right. With a chaotic model even rounding grows; compare how fast.

    Parameters
    ----------
    model : a system, or any function z -> dz/dt or (z, t) -> dz/dt, see :func:`history`.
    record : Dataset with z and psi of dims (time, k), at the steps of the coarse model.
    scheme : ``rk4`` or ``euler``; None is the one that fits the record's definition of psi.
    fields : which variables of the record are predictors and targets in the place of z and psi, and their grid.

    Returns
    -------
    Dataset with z (the replayed run) and ``recorded`` of dims (time, k), and their root mean square difference in
    standard deviations of the record, ``error`` (time). With ``fields`` each predictor, replayed, and
    ``<name>_recorded``; the error is that of all of them.

    Raises
    ------
    ValueError
        ``record`` lacks a variable or a uniform time, or an argument is out of its range.

    Examples
    --------
    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> run = lc.replay(model, model.simulate(samples=100, rng=1))
    >>> bool(run["error"][-1] < 1e-9)
    True
    """
    dt = time_step("record", record)
    layout = Layout(None if fields is None else fields.of(record), record.sizes.get("k", 0))
    z, psi = layout.states("record", record, "time"), layout.added(layout.tendencies("record", record, "time"))
    scheme = FITTING_SCHEME.get(definition_of(record) or "", "rk4") if scheme is None else scheme
    checks.one_of("scheme", scheme, SCHEMES)
    advance, tendency, times = SCHEMES[scheme], tendency_of(model), elapsed("record", record["time"].values)
    replayed = z.copy()
    for n in range(len(z) - 1):
        now = starting(tendency, times[n], z.ndim)
        replayed[n + 1] = advance(now, replayed[n : n + 1], psi[n : n + 1], dt)[0]
    there, wanted = layout.known(replayed), layout.known(z)
    squares = ((there - wanted) ** 2).mean(axis=-1) / wanted.std(axis=(0, -1)) ** 2
    error = np.sqrt(squares.reshape(len(z), -1).mean(axis=1))
    names = layout.predictors
    both = layout.variables(replayed, psi, "time"), layout.variables(z, psi, "time")
    found = {name: both[0][name] for name in names}
    found |= {"recorded" if fields is None else f"{name}_recorded": both[1][name] for name in names}
    return xr.Dataset({**found, "error": ("time", error)}, {"time": record["time"]})
