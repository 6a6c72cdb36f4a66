"""The run of a truth, shared by the systems: members side by side, and their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from l96closure import checks, compute
from l96closure.arrays import F64
from l96closure.loop import Records
from l96closure.restart import Restart
from l96closure.subgrid import DEFINITIONS

RULES: Mapping[str, checks.Rule] = {
    **dict.fromkeys(("samples", "every"), partial(checks.integer, minimum=1)),
    **dict.fromkeys(("dt", "coarse_dt"), partial(checks.number, above=0.0)),
    "spinup": partial(checks.number, minimum=0.0),
    "members": checks.optional(partial(checks.integer, minimum=1)),
}
"""Of the arguments of every ``simulate``."""


class Schedule(NamedTuple):
    """When a member is recorded. Steps are numbered from the start of the spin-up on.

    A sample has two times: that of its z, with which it is begun, and that with which psi is known and it is complete.

    Attributes
    ----------
    samples : their number.
    every : steps from one sample to the next.
    lead : steps from the z of a sample to the state that completes it.
    spinup : steps before the first sample.
    """

    samples: int
    every: int
    lead: int
    spinup: int

    @property
    def steps(self) -> int:
        """How many there are to be made: a state is recorded when the step from it is made."""
        return self.spinup + (self.samples - 1) * self.every + self.lead + 1

    def begun(self, step: int) -> int:
        """How many samples are begun before this step is made."""
        return min(max(-(-(step - self.spinup) // self.every), 0), self.samples)

    def complete(self, step: int) -> int:
        """How many samples are complete before this step is made."""
        return self.begun(step - self.lead)


class Ensemble(Protocol):
    """Members at work."""

    def advance(self, step: int, steps: int, z: F64, psi: F64) -> int:
        """Make fine steps, from number ``step`` on, and write records into z and psi (member, sample, K).

        Returns the number of steps made, at most ``steps``. Raises ``FloatingPointError`` when a state stopped being
        finite.
        """

    def state(self) -> dict[str, Any]:
        """Return all that further steps depend on, as variables of a Dataset."""


class Truth:
    """The run of all members, for :func:`l96closure.loop.run`.

    Parameters
    ----------
    label : what the progress bar calls the run.
    schedule : when the members are recorded.
    shape : members and K.
    at_once : fine steps between two looks at the clock.
    begin : makes the members.
    restored : makes members that go on from a part that holds their state.
    """

    def __init__(
        self,
        label: str,
        schedule: Schedule,
        shape: tuple[int, int],
        at_once: int,
        begin: Callable[[], Ensemble],
        restored: Callable[[xr.Dataset], Ensemble],
    ) -> None:
        self.label, self.steps, self.at_once = label, schedule.steps, at_once
        self.begin, self._restored, self._schedule = begin, restored, schedule
        members, K = shape
        self._z, self._psi = (np.empty((members, schedule.samples, K)) for _ in range(2))
        dims = ("time", "member", "k")
        self.records = Records(z=(dims, self._z.swapaxes(0, 1)), psi=(dims, self._psi.swapaxes(0, 1)))
        self._step = 0  # the next to be made

    def advance(self, ensemble: Ensemble, step: int, steps: int) -> tuple[Ensemble, int]:
        """Make steps of all members."""
        made = ensemble.advance(step, steps, self._z, self._psi)
        self._step = step + made
        self.records.count = self._schedule.complete(self._step)
        return ensemble, made

    def kept(self, ensemble: Ensemble) -> xr.Dataset:
        """Return the state of the members, and the z of samples that are not complete."""
        return xr.Dataset({**ensemble.state(), "z_begun": (("begun", "member", "k"), self._begun(self._step))})

    def restored(self, part: xr.Dataset, step: int) -> Ensemble:
        """Return the members that were at work."""
        self._begun(step)[:] = part["z_begun"]
        return self._restored(part)

    def _begun(self, step: int) -> F64:
        z = self.records.arrays["z"]
        return z[self._schedule.complete(step) : self._schedule.begun(step)]

    @property
    def made(self) -> tuple[F64, F64]:
        """Both records (member, sample, K)."""
        return self._z, self._psi


def together(
    run: Callable[..., tuple[F64, F64]], generators: Sequence[np.random.Generator], restart: Restart | None
) -> tuple[F64, F64]:
    """Run members at the same time as others where there is a place for that (:mod:`l96closure.compute`).

    Parameters
    ----------
    run : returns the records (member, sample, K) of members with these generators; is given the restart besides.
    generators : of all members.
    restart : where the run is kept; then it is one.

    Returns
    -------
    The records of all members, whose bits do not depend on where they were run.
    """
    groups = [generators] if restart is not None else compute.groups(generators)
    if len(groups) == 1:
        return run(generators, restart)
    z, psi = zip(*compute.each(run, groups), strict=True)
    return np.concatenate(z), np.concatenate(psi)


def dataset(
    system: Any, z: F64, psi: F64, members: int | None, rng: Any, subgrid: str, times: Mapping[str, float]
) -> xr.Dataset:
    """Return records, and how they were made, as a Dataset of dims (member, time, k).

    Parameters
    ----------
    system : what was run, a dataclass of its parameters.
    z, psi : records (member, sample, K).
    members : as was asked for; the dims are (time, k) for None.
    rng : as was given; a seed is told.
    subgrid : definition of psi.
    times : ``dt``, ``every`` and what else there is to tell, in this order.
    """
    dims = ("member", "time", "k")
    time = np.arange(z.shape[1]) * (times["every"] * times["dt"])
    run = xr.Dataset(
        {"z": (dims, z), "psi": (dims, psi)},
        coords={"member": np.arange(len(z)), "time": time, "k": np.arange(z.shape[2])},
        attrs={
            **{f"model_{name}": value for name, value in asdict(system).items()},
            **{"subgrid": subgrid, "subgrid_definition": DEFINITIONS[subgrid], **times},
            **({"seed": int(rng)} if isinstance(rng, (int, np.integer)) else {}),
        },
    )
    return run.isel(member=0, drop=True) if members is None else run


def streams(rng: np.random.Generator | int | None, members: int | None) -> list[np.random.Generator]:
    """Return a generator for each member: that of ``rng`` itself for None, else the first ones spawned from it.

    A member's does not depend on how many there are.
    """
    generator = checks.generator("rng", rng)
    return [generator] if members is None else generator.spawn(members)
