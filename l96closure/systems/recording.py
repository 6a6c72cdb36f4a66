"""The run of a truth, shared by the systems: members one after the other, records, progress, restart files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, progress
from l96closure.restart import Restart

__all__ = ["Member", "dataset", "record", "seed", "streams"]

F64 = npt.NDArray[np.float64]


class Member(Protocol):
    """A member at work; it writes its records where it was told to.

    Attributes
    ----------
    step : fine steps made, those of the spin-up included.
    emitted : records written.
    """

    step: int
    emitted: int

    def advance(self, steps: int) -> None:
        """Make so many fine steps; raises ``FloatingPointError`` when the state stopped being finite."""

    def state(self) -> dict[str, Any]:
        """Return all that its further steps depend on, as variables of a Dataset."""


Begin = Callable[[int, F64, F64, xr.Dataset | None], Member]
"""Makes a member of its number, the arrays z and psi (samples, K) to write to, and the last part kept of it, if any."""


def streams(rng: np.random.Generator | int | None, members: int | None) -> list[np.random.Generator]:
    """Return a generator for each member: that of ``rng`` itself for None, else the first ones spawned from it.

    A member's does not depend on how many there are.
    """
    generator = checks.generator("rng", rng)
    return [generator] if members is None else generator.spawn(members)


def seed(rng: Any) -> dict[str, int]:
    """Return the attribute that tells the seed; none where ``rng`` is something else."""
    return {"seed": int(rng)} if isinstance(rng, (int, np.integer)) else {}


def record(
    label: str, begin: Begin, shape: tuple[int, int, int], steps: int, at_once: int, restart: Restart | None
) -> tuple[F64, F64]:
    """Run every member and return its records.

    Parameters
    ----------
    label : what the progress bar calls the run.
    begin : makes a member.
    shape : members, samples and K.
    steps : fine steps of each member, those of the spin-up included.
    at_once : fine steps between two looks at the clock.
    restart : where the run is kept, bound to all it depends on.

    Returns
    -------
    z and psi (member, sample, K)
    """
    members, samples, K = shape
    z, psi = np.empty(shape), np.empty(shape)
    all_z, all_psi = z.reshape(-1, K), psi.reshape(-1, K)  # a part of the run goes on from one member to the next
    kept, last = 0, None
    for last in [] if restart is None else restart.parts():
        new = slice(kept, kept + last.sizes["time"])
        all_z[new], all_psi[new], kept = last["z"], last["psi"], new.stop
    first, done = (0, 0) if last is None else (int(last.attrs["member"]), int(last.attrs["step"]))
    total = members * steps
    with (
        restart or nullcontext(),
        progress.bar(total, label, unit_scale=True, initial=first * steps + done) as bar,
    ):
        for number in range(first, members):
            member = begin(number, z[number], psi[number], last if number == first else None)
            while member.emitted < samples:
                before = member.step
                member.advance(min(at_once, steps - before))
                bar.update(member.step - before)
                if restart is not None and restart.due:
                    new = slice(kept, number * samples + member.emitted)
                    here = {"z": (("time", "k"), all_z[new]), "psi": (("time", "k"), all_psi[new])}
                    where = {"member": number, "step": member.step, "emitted": member.emitted}
                    restart.append(xr.Dataset({**here, **member.state()}, attrs=where))
                    kept = new.stop
        return z, psi


def dataset(z: F64, psi: F64, members: int | None, interval: float) -> xr.Dataset:
    """Return records (member, sample, K) as a Dataset of dims (member, time, k), or (time, k) for ``members`` None."""
    dims = ("member", "time", "k")
    run = xr.Dataset(
        {"z": (dims, z), "psi": (dims, psi)},
        coords={"member": np.arange(len(z)), "time": np.arange(z.shape[1]) * interval, "k": np.arange(z.shape[2])},
    )
    return run.isel(member=0, drop=True) if members is None else run
