"""Progress of long work, shown inside the context :func:`shown`: a bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import StringIO
from typing import Any

from tqdm import tqdm

__all__ = ["bar", "shown", "without_bars"]

_log = logging.getLogger(__name__)

_SECONDS = 30.0  # between two lines
_LINE = (
    "{desc}: {percentage:.0f} %, {n_fmt} of {total_fmt} {unit}, {elapsed} so far, {remaining} left, {rate_fmt}{postfix}"
)


_SHOWN = ContextVar("shown", default=False)
_BARS = ContextVar("bars", default=True)


@contextmanager
def shown(show: bool = True) -> Iterator[None]:
    """Show the progress of all that is done in this context and takes long; nothing is shown outside of it.

    Other threads and processes show nothing of their own.

    Parameters
    ----------
    show : False shows nothing within an outer context.

    Yields
    ------
    None

    Examples
    --------
    >>> with lc.progress.shown():
    ...     truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=100)
    """
    before = _SHOWN.set(show)
    try:
        yield
    finally:
        _SHOWN.reset(before)


def without_bars() -> None:
    """Show progress in lines of the log from now on: the terminal has the bars of another process."""
    _BARS.set(False)


class _Lines(tqdm):  # type: ignore[type-arg]
    """A bar that is a line of the log every so often; work that is done before the first has none."""

    def __init__(self, **how: Any) -> None:
        self._last = time.monotonic()
        super().__init__(**how)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the line if it is time; tqdm calls this when it would draw the bar, and with a text to wipe it out."""
        now = time.monotonic()
        if msg is None and self.n > self.initial and now - self._last >= _SECONDS:
            self._last = now
            _log.info("%s", self)


def bar(total: int, desc: str, unit: str = "step", **more: Any) -> tqdm[Any]:
    """Return a tqdm bar with rate and remaining time, to be used as a context; it is seen inside :func:`shown`.

    Parameters
    ----------
    total : number of units.
    desc : what is done.
    unit : name of a unit of the work.
    **more : see tqdm.

    Returns
    -------
    The bar; lines of the log in its place where standard error is no terminal.
    """
    show = _SHOWN.get()
    if show and not (_BARS.get() and sys.stderr.isatty()):
        lines = {"mininterval": 1.0, "smoothing": 0.0, "leave": False, "bar_format": _LINE, "file": StringIO()}
        return _Lines(total=total, desc=desc, unit=unit, **{**more, **lines})
    return tqdm(total=total, desc=desc, unit=unit, disable=not show, **more)
