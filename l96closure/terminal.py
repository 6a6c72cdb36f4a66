"""What a command line tells on standard output: the results, which do not depend on whether anybody reads them."""

from __future__ import annotations

import logging
import os
import sys

_log = logging.getLogger(__name__)


def tell(text: str) -> None:
    """Print a text at once, with escapes for the letters that the encoding of standard output lacks.

    Where nobody reads on (a closed pipe), the text and all that follows are dropped; where standard output cannot be
    written for another reason (a full disk), likewise, with a warning. Neither ends the program.
    """
    out = sys.stdout
    if out is None or out.closed:
        return
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _log.warning("note: standard output cannot be written (%s)", error)
        _silence()


def _silence() -> None:
    """Send standard output nowhere: what is still in its buffer would fail again when the program ends."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # it is none of the system's files
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
