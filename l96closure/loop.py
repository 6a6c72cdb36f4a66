"""The one loop of all that goes step by step: truths, coarse runs, forecasts and chains.

The loop knows how a long computation is shown, recorded, kept in restart files and taken up again. What a step is, it
does not: a :class:`Stepper` makes blocks of them, and may do so in compiled code.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, TypeVar

import numpy.typing as npt
import xarray as xr

from l96closure import progress
from l96closure.arrays import F64
from l96closure.restart import Restart

_State = TypeVar("_State")


class Records:
    """What a run writes down on its way: arrays along records, of which the first ``count`` are written.

    Parameters
    ----------
    variables : dimensions and array of each variable, by name; the first axis is that of the records.
    """

    def __init__(self, **variables: tuple[Sequence[Hashable], F64]) -> None:
        self._dims = {name: dims for name, (dims, _) in variables.items()}
        self.arrays = {name: array for name, (_, array) in variables.items()}
        self.count = 0

    def put(self, **values: npt.ArrayLike) -> None:
        """Write the next record. A compiled block writes into ``arrays`` instead, and sets ``count``."""
        for name, value in values.items():
            self.arrays[name][self.count] = value
        self.count += 1

    def since(self, first: int) -> xr.Dataset:
        """Return the records from number ``first`` on."""
        new = slice(first, self.count)
        return xr.Dataset({name: (self._dims[name], array[new]) for name, array in self.arrays.items()})

    def extend(self, part: xr.Dataset) -> None:
        """Write the records that :meth:`since` has returned."""
        first = self.count
        for name, array in self.arrays.items():
            self.count = first + len(part[name])
            array[first : self.count] = part[name]


class Stepper(Protocol[_State]):
    """A computation of steps, from one state to the next.

    Attributes
    ----------
    label : what the progress bar calls it.
    steps : how many there are.
    at_once : most steps in a block; the loop looks at the clock and at signals after each.
    records : where a block writes the records that its steps make.
    """

    label: str
    steps: int
    at_once: int
    records: Records

    def begin(self) -> _State:
        """Return the state before the first step."""

    def advance(self, state: _State, step: int, steps: int) -> tuple[_State, int]:
        """Make a block of steps from number ``step`` on; return the state after it, and the number of steps made.

        At least one is made; fewer than asked for where the stepper has a reason. The bits do not depend on blocks.
        """

    def kept(self, state: _State) -> xr.Dataset:
        """Return all that further steps depend on, besides the number of the step."""

    def restored(self, part: xr.Dataset, step: int) -> _State:
        """Return the state that :meth:`kept` has returned after so many steps."""


def run(stepper: Stepper[Any], restart: Restart | None = None) -> Mapping[str, F64]:
    """Make all steps, with a progress bar (inside :func:`l96closure.progress.shown`) and restart files.

    A part of the restart files holds the records since the part before, and the state after the last of its steps. A
    run that finds some goes on from the last one; it has the bits of one that was not stopped.

    Parameters
    ----------
    stepper : what is run; an instance serves one run.
    restart : where the run is kept, bound to all that it depends on (:meth:`l96closure.restart.Restart.of`).

    Returns
    -------
    The arrays of its records.
    """
    records, step = stepper.records, 0
    parts = [] if restart is None else restart.parts()
    for part in parts:
        records.extend(part)
        step = int(part.attrs["step"])
    kept = records.count
    state = stepper.restored(parts[-1], step) if parts else stepper.begin()
    with restart or nullcontext(), progress.bar(stepper.steps, stepper.label, unit_scale=True, initial=step) as bar:
        while step < stepper.steps:
            state, made = stepper.advance(state, step, min(stepper.at_once, stepper.steps - step))
            step += made
            bar.update(made)
            if restart is not None and restart.wanted(done=step == stepper.steps):
                now = stepper.kept(state)
                restart.append(records.since(kept).assign(now).assign_attrs(**now.attrs, step=step))
                kept = records.count
        return records.arrays
