"""Work beside this process: in a copy of it, where the system makes copies at no cost."""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, NoReturn, TypeVar, cast

from l96closure import progress, signals
from l96closure.compiled import threads

_T = TypeVar("_T")

_PATIENCE = 60.0  # seconds that a copy has to put aside what it has done
_END_WITH_MAKER = 1  # PR_SET_PDEATHSIG of Linux: the signal for a process whose maker has ended


class Beside(Generic[_T]):
    """A function at work in a copy of this process, which ends with it.

    The copy knows all that this process knows, has one thread, and computes the same bits. It is made while no other
    thread of ours is at work, as it would wait for ever for what that one holds. Where compiled functions may use one
    thread alone, on systems other than Linux, or where no copy can be had, the function is called here when its result
    is asked for. As a context it leaves no copy behind.

    Parameters
    ----------
    function : is called without arguments; its result, or what it raises, comes back pickled.
    foreign : whether it calls code of others, which may wait for threads that the copy lacks; it is then called here.
    """

    def __init__(self, function: Callable[[], _T], *, foreign: bool = False) -> None:
        self._function, self._process = function, 0
        if foreign or not sys.platform.startswith("linux") or threads() == 1:
            return
        maker, (out_of, into) = os.getpid(), os.pipe()
        self._pipe = os.fdopen(out_of, "rb")
        with warnings.catch_warnings(), signals.blocked(), suppress(OSError):  # no other process may be had
            warnings.simplefilter("ignore")  # of Python, and JAX, about the threads that are not in the copy
            self._process = os.fork()
            if self._process == 0:
                _be_a_copy(maker, function, into)
        os.close(into)
        if not self._process:
            self._pipe.close()

    def __enter__(self) -> Beside[_T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ready(self) -> bool:
        """Whether a copy has come to its end, and :meth:`result` need not wait."""
        return bool(self._process and select.select([self._pipe], [], [], 0.0)[0])

    def result(self) -> _T:
        """Wait for the result; where there is no copy, or it was killed, call the function here."""
        if not self._process:
            return self._function()
        with self._pipe:
            try:
                made, result = pickle.load(self._pipe)
            except (EOFError, pickle.UnpicklingError):
                made, result = None, None
        self._end()
        if made is None:
            return self._function()
        if not made:
            raise result
        return cast(_T, result)

    def stop(self) -> None:
        """Let the copy, if there is one, put aside what it has done, and end."""
        if self._process:
            self._pipe.close()
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGTERM)
            self._end()

    def _end(self) -> None:
        """Wait for the end of the copy."""
        late = time.monotonic() + _PATIENCE
        with suppress(ChildProcessError):  # the program does not care for the ends of its processes
            while os.waitpid(self._process, os.WNOHANG)[0] == 0:
                if time.monotonic() > late:
                    os.kill(self._process, signal.SIGKILL)
                time.sleep(0.001)
        self._process = 0


def _be_a_copy(maker: int, function: Callable[[], Any], into: int) -> NoReturn:
    """Call a function, write what comes of it, and leave without a trace of what was begun before."""
    try:
        ctypes.CDLL(None).prctl(_END_WITH_MAKER, signal.SIGKILL)
        if os.getppid() == maker:
            signals.end_quietly()
            progress.without_bars()
            try:
                outcome = True, function()
            except Exception as error:
                outcome = False, error
            with os.fdopen(into, "wb") as pipe:
                pickle.dump(outcome, pipe, protocol=5)
    finally:
        os._exit(0)
