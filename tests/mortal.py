"""Computations that die while they have something to lose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from l96closure.restart import Restart


class Killed(Exception):
    """Stands for the end of the process."""


def dying(wanted: int, step: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function work so many times and then raise :class:`Killed`."""
    count = iter(range(wanted))

    def once(*arguments: Any) -> Any:
        if next(count, None) is None:
            raise Killed
        return step(*arguments)

    return once


class Mortal:
    """A closure that dies after so many steps."""

    def __init__(self, closure: Any, steps: int) -> None:
        self.init, self.step = closure.init, dying(steps, closure.step)
        self.past_steps = getattr(closure, "past_steps", 0)


class MortalRestart(Restart):
    """Restart files whose process dies once so many are written."""

    def __init__(self, folder: Path, parts: int) -> None:
        super().__init__(folder, 0.0)
        self._left = parts

    def append(self, part: xr.Dataset) -> None:
        super().append(part)
        self._left -= 1
        if self._left == 0:
            raise Killed
