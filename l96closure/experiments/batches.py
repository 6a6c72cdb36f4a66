"""The coarse run in batches of members, which have noise of their own and can be run anywhere."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.closures import Closure
from l96closure.coarse import integrate
from l96closure.compute import Each
from l96closure.experiments.settings import Settings
from l96closure.restart import Restart

__all__ = ["run_batches"]


class _Batch(NamedTuple):
    """Some members of a coarse run."""

    settings: Settings
    closure: Closure
    z0: npt.NDArray[np.float64]
    seed: np.random.SeedSequence
    progress: bool
    restart: Restart | None


def run_batches(
    settings: Settings,
    z0: npt.NDArray[np.float64],
    closure: Closure,
    progress: bool,
    restart: Restart | None,
    each: Each,
) -> xr.Dataset:
    """Run the coarse model from ``z0`` (member, K) in as many batches as the settings say; ``each`` maps them.

    Where the reference has other parameters than the truth that ``z0`` is of, the members first run for its spin-up
    time. Returns what :func:`l96closure.integrate` returns.
    """
    count, seed = settings.coarse.batches, np.random.SeedSequence(settings.seeds["coarse"])
    batches = [
        _Batch(settings, closure, z, sequence, progress, restart and restart.of_piece(number))
        for number, (z, sequence) in enumerate(zip(np.array_split(z0, count), seed.spawn(count), strict=True))
    ]
    if count == 1:
        batches = [batches[0]._replace(seed=seed, restart=restart)]
    run: xr.Dataset = xr.concat(each(_run, batches), "member").assign_coords(member=np.arange(len(z0)))
    return run


def _run(batch: _Batch) -> xr.Dataset:
    settings, z = batch.settings, batch.z0
    coarse, rng = settings.coarse, np.random.default_rng(batch.seed)
    advance = partial(
        integrate,
        settings.system.tendency(settings.judged),
        batch.closure,
        dt=coarse.dt,
        scheme=coarse.scheme,
        rng=rng,
        progress=batch.progress,
    )
    spinup = settings.reference.spinup if settings.reference.model else 0.0
    if dropped := checks.steps("reference.spinup", spinup, coarse.dt):
        z = advance(z, steps=dropped + 1, save_every=dropped)["z"].to_numpy()[:, -1]
    run: xr.Dataset = advance(z, steps=coarse.steps, save_every=coarse.save_every, restart=batch.restart)
    return run
