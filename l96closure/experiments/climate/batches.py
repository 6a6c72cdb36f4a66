"""The coarse run in batches of members, which can be run anywhere; the result does not depend on their number."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from l96closure import checks, compute
from l96closure.arrays import F64
from l96closure.closures import Closure
from l96closure.coarse import BlowUpError, SchemeWarning, UnitsWarning, integrate
from l96closure.experiments.climate.settings import Settings
from l96closure.restart import Restart


@contextmanager
def chosen_scheme() -> Iterator[None]:
    """Do not warn of a scheme or units that do not fit the closure: the log says so once for the run."""
    with warnings.catch_warnings():
        for category in (SchemeWarning, UnitsWarning):
            warnings.simplefilter("ignore", category)
        yield


class _Batch(NamedTuple):
    """Some members of a coarse run, from number ``first`` on."""

    settings: Settings
    closure: Closure
    first: int
    z0: F64
    restart: Restart | None


def run_batches(
    settings: Settings,
    z0: F64,
    closure: Closure,
    restart: Restart | None,
) -> xr.Dataset:
    """Run the coarse model from ``z0`` (member, K) in as many batches as the settings say.

    Where the reference has other parameters than the truth that ``z0`` is of, the members first run for its spin-up
    time. Returns what :func:`l96closure.integrate` returns.

    Raises
    ------
    BlowUpError
        A batch stopped being finite: the first one that does; or, where the records before that are to be kept, the
        earliest of all, with all members in ``run`` and the members of its own batch in ``last``. A step before the
        first record is negative; ``run`` is then empty.
    """
    coarse = settings.coarse
    groups = np.array_split(z0, coarse.batches)
    first = np.cumsum([0, *map(len, groups)]).tolist()
    batches = [
        _Batch(settings, closure, first[number], z, restart and restart.of_piece(number))
        for number, z in enumerate(groups)
    ]
    if coarse.batches == 1:
        batches = [batches[0]._replace(restart=restart)]
    runs, errors = [], []
    for outcome in compute.each(_run, batches):
        if isinstance(outcome, BlowUpError):
            if not coarse.keep_good:
                raise outcome
            errors.append(outcome)
        runs.append(outcome.run if isinstance(outcome, BlowUpError) else outcome)
    shortest = min(run.sizes["time"] for run in runs)
    together: xr.Dataset = xr.concat([run.isel(time=slice(shortest)) for run in runs], "member")
    if errors:
        last = min((error.last for error in errors), key=lambda last: last.attrs["step"])
        raise BlowUpError(last, together.assign_attrs(steps=last.attrs["step"]))
    return together


@chosen_scheme()
def _run(batch: _Batch) -> xr.Dataset | BlowUpError:
    settings, z = batch.settings, batch.z0
    coarse, rng = settings.coarse, np.random.default_rng(settings.seeds["coarse"])
    how: dict[str, Any] = {"dt": coarse.dt, "scheme": coarse.scheme, "rng": rng, "member": batch.first}
    advance = partial(integrate, settings.judged, batch.closure, **how)
    spinup = settings.reference.spinup if settings.reference.model else 0.0
    dropped = checks.steps("reference.spinup", spinup, coarse.dt)
    try:
        if dropped:
            z = advance(z0=z, steps=dropped + 1, save_every=dropped)["z"].to_numpy()[:, -1]
    except BlowUpError as error:
        step = error.last.attrs["step"] - dropped  # counted from the first record
        return BlowUpError(error.last.assign_attrs(step=step), error.run.isel(time=slice(0)))
    try:
        run: xr.Dataset = advance(z0=z, steps=coarse.steps, save_every=coarse.save_every, restart=batch.restart)
    except BlowUpError as error:
        return error
    return run
