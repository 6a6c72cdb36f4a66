"""Restart files: what a long computation has done so far, to take it up again after it was stopped or killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, store

__all__ = ["Journal", "Restart", "generator_state", "restore_generator"]

F64 = npt.NDArray[np.float64]

_KIND = "restart"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WARNINGS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Restart:
    """The parts of an unfinished computation, files of one folder that is gone when the computation is done.

    As a context it holds back the signals that interrupt or terminate a program until the next part is written, so
    that nothing is lost to them: a computation asks for :attr:`due` wherever it could be taken up again. SIGUSR1 and
    SIGUSR2 are held back where something listens to them: submitit does, which SLURM warns so before the time is up.

    Parameters
    ----------
    folder : of the parts; made with the first of them, in an existing folder.
    every : seconds from one part to the next, >= 0.
    identity : says what is computed; the parts of anything else are refused.

    Raises
    ------
    ValueError
        ``every`` is out of its range.
    """

    def __init__(self, folder: str | os.PathLike[str], every: float = 60.0, identity: str = "") -> None:
        self._folder, self._identity = Path(folder), identity
        self._every = checks.number("checkpoint_every", every, minimum=0.0)
        self._written, self._last = 0, time.monotonic()
        self._signal: int | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def parts(self) -> list[xr.Dataset]:
        """Read the parts that are there, in order; a damaged one, and what followed it, are removed.

        Raises
        ------
        ValueError
            They belong to another computation.
        """
        found = []
        for number in range(len(list(self._folder.glob("*.nc")))):
            try:
                part = store.read(self._path(number), kind=_KIND)
            except ValueError:
                break
            if part.attrs["identity"] != self._identity:
                raise ValueError(f"{self._folder} belongs to other settings or input files; remove it to begin anew")
            found.append(part)
        self._written = len(found)
        for lost in sorted(self._folder.glob("*.nc"))[len(found) :]:  # else they would follow parts of other lengths
            lost.unlink()
        return found

    def of_piece(self, number: int) -> Restart:
        """Return where one of several pieces of the computation is kept: a folder inside this one."""
        return Restart(self._folder / f"piece{number}", self._every, self._identity)

    @property
    def due(self) -> bool:
        """Whether it is time for the next part, or a signal waits for it."""
        return self._signal is not None or time.monotonic() - self._last >= self._every

    def append(self, part: xr.Dataset) -> None:
        """Write the next part; then raise the signal that has waited for it, if one has.

        Raises
        ------
        OSError
            The part cannot be written; those before it are as they were.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        store.write(
            part.assign_attrs(identity=self._identity),
            self._path(self._written),
            kind=_KIND,
            title="Part of an unfinished computation",
            history="l96closure.restart",
        )
        self._written += 1
        self._last = time.monotonic()
        if self._signal is not None:
            self._release()

    def clear(self) -> None:
        """Remove the folder: the computation is done, or is to begin anew."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._written = 0

    def __enter__(self) -> Restart:
        if threading.current_thread() is threading.main_thread():
            listened = [number for number in _WARNINGS if callable(signal.getsignal(number))]
            self._handlers = {number: signal.signal(number, self._hold) for number in (*_SIGNALS, *listened)}
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.nc"

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:  # asked twice: the user will not wait
            self._release()
        self._signal = number

    def _release(self) -> None:
        """Give the signals back to whom they belonged, with the one that has waited."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        waiting, self._signal = self._signal, None
        if waiting is not None:
            signal.raise_signal(waiting)


class Journal:
    """The results of the costly steps of a deterministic computation, which it asks for in the same order each time.

    Called with a step, it returns what that step gave in the earlier run as long as there is some, and takes it then.
    Where steps draw random numbers, their generator comes along; it is where it was as soon as the known ones are over.

    Parameters
    ----------
    restart : where the results are kept.
    """

    def __init__(self, restart: Restart) -> None:
        self._restart = restart
        parts = restart.parts()
        self._known = deque(
            result
            for part in parts
            for result in np.split(part["evaluation"].to_numpy(), np.cumsum(part["evaluation_size"].to_numpy())[:-1])
        )
        self._generator: str = parts[-1].attrs["generator"] if parts else ""
        self._new: list[F64] = []

    def __call__(self, step: Callable[[], F64], rng: np.random.Generator | None = None) -> F64:
        """Return the result (M,) of the next step, which draws from ``rng`` if from any."""
        if self._known:
            result = self._known.popleft()
            if not self._known and rng is not None:
                restore_generator(rng, self._generator)
            return result
        result = step()
        self._new.append(result)
        if self._restart.due:
            sizes = [one.size for one in self._new]
            done = {"evaluation": ("value_index", np.concatenate(self._new)), "evaluation_size": ("step", sizes)}
            self._new.clear()
            state = "" if rng is None else generator_state(rng)
            self._restart.append(xr.Dataset(done, attrs={"generator": state}))
        return result


def generator_state(rng: np.random.Generator) -> str:
    """Return the state of a generator as text."""
    return json.dumps(rng.bit_generator.state, default=lambda array: array.tolist())


def restore_generator(rng: np.random.Generator, state: str) -> None:
    """Put a generator into the state of :func:`generator_state`; ``ValueError`` if it is of another kind."""
    rng.bit_generator.state = json.loads(state)
