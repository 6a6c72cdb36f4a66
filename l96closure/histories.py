"""What is known of the past of a state: the resolved variables of the steps before, and the psi that they imply."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.pairing import tendency_of
from l96closure.schemes import SCHEMES, held
from l96closure.series import time_step
from l96closure.subgrid import FITTING_SCHEME, definition_of

__all__ = ["history", "of_states", "replay", "starts_from"]

F64 = npt.NDArray[np.float64]


def history(model: Any, record: xr.Dataset, dt: float | None = None, scheme: str = "rk4") -> xr.Dataset:
    """Return what a record tells of the past of its last state, for a closure to start from.

    The subgrid tendency of a past step is the one that, held over the step, takes the coarse model from the state
    recorded at its beginning to that at its end (:func:`l96closure.schemes.held`): observed, not modelled, from the
    resolved variables alone.

    Parameters
    ----------
    model : a system, or any function z -> dz/dt (..., K), see :func:`l96closure.integrate`.
    record : Dataset with z of dims (time, k) or (member, time, k), whose last time is now.
    dt : step of the closure, a multiple of the record's; None is that of the record.
    scheme : of the coarse model, ``rk4`` or ``euler``.

    Returns
    -------
    Dataset with z and psi of dims (member, lag, k). The coordinate ``lag`` counts time backwards from 0, now, where psi
    is not known yet (NaN). :func:`l96closure.integrate` takes it in the place of the initial state, and a closure's
    ``init`` as ``history=``.

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
    several = "member" in record["z"].dims if "z" in record else False
    z = checks.variable("record", record, "z", ("member", "time", "k") if several else ("time", "k"))
    backwards = (z if several else z[None])[:, ::-1][:, ::every]
    return of_states(model, backwards, interval if dt is None else float(dt), scheme)


def of_states(model: Any, backwards: F64, dt: float, scheme: str) -> xr.Dataset:
    """Return the same as :func:`history` of plain arrays, for many starts at once.

    Parameters
    ----------
    model : as for :func:`history`.
    backwards : states (member, lag, K) that go back from now in steps of ``dt``.
    dt : step of the closure, > 0.
    scheme : of the coarse model, ``rk4`` or ``euler``.

    Returns
    -------
    Dataset as of :func:`history`.

    Raises
    ------
    FloatingPointError
        No psi takes the coarse model from one state to the next: the step is too long for the scheme.
    """
    members, lags, K = backwards.shape
    psi = np.full(backwards.shape, np.nan)
    if lags > 1:
        before, after = (np.ascontiguousarray(part).reshape(-1, K) for part in (backwards[:, 1:], backwards[:, :-1]))
        psi[:, 1:] = held(tendency_of(model), before, after, dt, scheme).reshape(members, lags - 1, K)
    dims = ("member", "lag", "k")
    return xr.Dataset(
        {"z": (dims, backwards), "psi": (dims, psi)},
        coords={"member": np.arange(members), "lag": np.arange(lags) * dt, "k": np.arange(K)},
        attrs={"dt": dt, "scheme": scheme},
    )


def starts_from(z0: npt.ArrayLike | xr.Dataset) -> tuple[F64, xr.Dataset | None]:
    """Take initial states apart from what is known of their past.

    Parameters
    ----------
    z0 : initial states (member, K), or their past as :func:`history` returns it.

    Returns
    -------
    A copy of the initial states (member, K), and ``z0`` where it is a past, else None.

    Raises
    ------
    ValueError
        ``z0`` is neither, or not finite.
    """
    if not isinstance(z0, xr.Dataset):
        return checks.finite_array("z0", z0, 2).copy(), None
    z = checks.variable("z0", z0, "z", ("member", "lag", "k"))
    return z[:, 0].copy(), z0


def replay(model: Any, record: xr.Dataset, scheme: str | None = None) -> xr.Dataset:
    """Run the coarse model with the recorded psi in a closure's place, beside the record.

    Where the coarse run leaves the record at once, psi is not what the coarse model needs: no closure learned from it
    can be right. With a chaotic model even rounding grows; compare how fast.

    Parameters
    ----------
    model : a system, or any function z -> dz/dt, see :func:`l96closure.integrate`.
    record : Dataset with z and psi of dims (time, k), at the steps of the coarse model.
    scheme : ``rk4`` or ``euler``; None is the one that fits the record's definition of psi.

    Returns
    -------
    Dataset with z (the replayed run) and ``recorded`` of dims (time, k), and their root mean square difference in
    standard deviations of the record, ``error`` (time).

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
    z, psi = (checks.variable("record", record, name, ("time", "k")) for name in ("z", "psi"))
    scheme = FITTING_SCHEME.get(definition_of(record) or "", "rk4") if scheme is None else scheme
    checks.one_of("scheme", scheme, SCHEMES)
    advance, tendency = SCHEMES[scheme], tendency_of(model)
    replayed = z.copy()
    for n in range(len(z) - 1):
        replayed[n + 1] = advance(tendency, replayed[n : n + 1], psi[n : n + 1], dt)[0]
    error = np.sqrt(((replayed - z) ** 2).mean(axis=1)) / z.std()
    dims = ("time", "k")
    return xr.Dataset(
        {"z": (dims, replayed), "recorded": (dims, z), "error": ("time", error)}, {"time": record["time"]}
    )
