"""Signals that wait until what they would interrupt is safe."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_WARNINGS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


@contextmanager
def blocked() -> Iterator[None]:
    """Let the system keep the signals that interrupt or end a program, until a copy of this process is its own.

    A copy made meanwhile begins with them blocked: nothing of its maker's answers them before :func:`end_quietly`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_STOPS, *_WARNINGS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_quietly() -> None:
    """End this process, without a word, at any of the signals that others are held for; what is ignored stays so."""
    for number in (*_STOPS, *_WARNINGS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(1))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOPS, *_WARNINGS))


class HeldSignals:
    """Holds back the signals that interrupt or end a program, and the warnings that come before these.

    SIGUSR1 and SIGUSR2 are held back where a function of Python listens to them: submitit does, which SLURM warns so
    before the time is up. A signal that is ignored, or that a handler of another language listens to, is left alone: no
    handler of that kind could be given back. In another than the main thread nothing is held, as Python allows none to
    listen there.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._waiting: list[int] = []

    @property
    def waiting(self) -> bool:
        """Whether a signal waits."""
        return bool(self._waiting)

    def hold(self) -> None:
        """Let signals wait from now on."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (*_STOPS, *_WARNINGS):
            handler = signal.getsignal(number)
            if callable(handler) or (handler is signal.SIG_DFL and number in _STOPS):
                self._handlers[number] = handler
                signal.signal(number, self._wait)

    def deliver(self) -> None:
        """Pass the waiting signals on to whom they belong; what comes after them waits again."""
        while self._waiting:
            number = self._waiting.pop(0)
            signal.signal(number, self._handlers[number])
            signal.raise_signal(number)
            signal.signal(number, self._wait)

    def give_back(self) -> None:
        """Hold no signal any more, and pass on those that wait."""
        try:
            self._restore()
        except BaseException:  # the handler given back first was called before the last was
            self._restore()
            raise
        finally:
            self._handlers = {}
            self._pass_on()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _pass_on(self) -> None:
        if self._waiting:
            try:
                signal.raise_signal(self._waiting.pop(0))
            finally:  # a handler that raises takes none from the others
                self._pass_on()

    def _wait(self, number: int, frame: FrameType | None) -> None:
        asked_twice = number in _STOPS and any(other in _STOPS for other in self._waiting)
        if asked_twice or number not in self._waiting:
            self._waiting.append(number)
        if asked_twice:  # the user will not wait
            self.deliver()
