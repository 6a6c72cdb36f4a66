"""The run of a truth, shared by the systems: members one after the other, and their records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.loop import Records

__all__ = ["Member", "Truth", "seed", "streams"]

F64 = npt.NDArray[np.float64]


class Member(Protocol):
    """A member at work."""

    def advance(self, step: int, steps: int, z: F64, psi: F64, emitted: int) -> tuple[int, int]:
        """Make fine steps, from number ``step`` on, and write records into z and psi (sample, K).

        Returns the number of steps made, at most ``steps``, and of records written so far. Raises
        ``FloatingPointError`` when the state stopped being finite.
        """

    def state(self) -> dict[str, Any]:
        """Return all that its further steps depend on, as variables of a Dataset."""


class Truth:
    """The run of every member, for :func:`l96closure.loop.run`.

    Parameters
    ----------
    label : what the progress bar calls the run.
    shape : members, samples and K.
    steps : fine steps of each member, those of the spin-up included, up to its last record.
    at_once : fine steps between two looks at the clock.
    begin : makes the member of a number.
    restored : makes a member that goes on, after so many steps, from a part that holds its state.
    """

    def __init__(
        self,
        label: str,
        shape: tuple[int, int, int],
        steps: int,
        at_once: int,
        begin: Callable[[int], Member],
        restored: Callable[[xr.Dataset, int], Member],
    ) -> None:
        members, self._samples, _ = shape
        self._each = steps + 1  # a record is written with the step after it
        self._begin, self._restored = begin, restored
        self.label, self.steps, self.at_once = label, members * self._each, at_once
        self._z, self._psi = np.empty(shape), np.empty(shape)
        dims, rows = ("time", "k"), (-1, shape[-1])  # of all members: a part goes on from one to the next
        self.records = Records(z=(dims, self._z.reshape(rows)), psi=(dims, self._psi.reshape(rows)))

    def begin(self) -> Member:
        """Make the first member."""
        return self._begin(0)

    def advance(self, member: Member, step: int, steps: int) -> tuple[Member, int]:
        """Make steps of one member, of the next one where the last is done."""
        number, before = divmod(step, self._each)
        if before == 0 and number > 0:
            member = self._begin(number)
        first = number * self._samples
        made, emitted = member.advance(
            before, min(steps, self._each - before), self._z[number], self._psi[number], self.records.count - first
        )
        self.records.count = first + emitted
        return member, made

    def kept(self, member: Member) -> xr.Dataset:
        """Return the state of the member at work."""
        return xr.Dataset(member.state())

    def restored(self, part: xr.Dataset, step: int) -> Member:
        """Return the member that was at work."""
        return self._restored(part, step % self._each)

    def dataset(self, members: int | None, interval: float) -> xr.Dataset:
        """Return the records as a Dataset of dims (member, time, k), or (time, k) for ``members`` None."""
        dims, z = ("member", "time", "k"), self._z
        run = xr.Dataset(
            {"z": (dims, z), "psi": (dims, self._psi)},
            coords={"member": np.arange(len(z)), "time": np.arange(z.shape[1]) * interval, "k": np.arange(z.shape[2])},
        )
        return run.isel(member=0, drop=True) if members is None else run


def streams(rng: np.random.Generator | int | None, members: int | None) -> list[np.random.Generator]:
    """Return a generator for each member: that of ``rng`` itself for None, else the first ones spawned from it.

    A member's does not depend on how many there are.
    """
    generator = checks.generator("rng", rng)
    return [generator] if members is None else generator.spawn(members)


def seed(rng: Any) -> dict[str, int]:
    """Return the attribute that tells the seed; none where ``rng`` is something else."""
    return {"seed": int(rng)} if isinstance(rng, (int, np.integer)) else {}
