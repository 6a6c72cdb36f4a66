"""Restart files: what a long computation has done so far, to take it up again after it was stopped or killed."""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import xarray as xr

from l96closure import checks, store
from l96closure.arrays import F64
from l96closure.fingerprint import fingerprint
from l96closure.signals import HeldSignals

__all__ = ["Evaluations", "Restart", "evaluated", "generator_state", "restore_generator"]


_KIND = "restart"
_PART = re.compile(r"\d{6,}\.nc")
_TEMPORARY = re.compile(r"\.\d{6,}\.[0-9a-f]{8}\.tmp\.nc")  # of atomic_path, for a part
_PIECE = re.compile(r"piece(0|[1-9]\d*)")


class Restart:
    """The parts of an unfinished computation, files of a folder of their own, gone when the computation is done.

    The functions that take one keep in it what they have done, and go on with it when they are called again in the same
    way. Parts of another computation are refused, never used: these functions tell one by all that its result depends
    on, as :func:`l96closure.fingerprint.fingerprint` says, which also says what it cannot tell (what a function reads
    from a file, say). Let ``identity`` tell that. When such a call returns, its parts go.

    Only files of this class are ever written over or removed, and the folder with the last of them; one that holds
    anything else is refused. As a context it holds signals back until the next part is written (see
    :class:`l96closure.signals.HeldSignals`), so that nothing is lost to them: a computation asks for :attr:`due`
    wherever it could be taken up again.

    Parameters
    ----------
    folder : of the parts; made with the first of them.
    every : seconds from one part to the next, >= 0.
    identity : says what the computation depends on besides what can be told.
    keep : leave the parts of a finished call until :meth:`clear`, for who still has to write its result down.

    Raises
    ------
    ValueError
        ``every`` is out of its range.

    Examples
    --------
    After a crash the same call goes on from the last part; when it returns, the folder is gone:

    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp()) / "restart"
    >>> truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=100, restart=lc.Restart(folder, every=600))
    >>> folder.exists()
    False
    """

    def __init__(
        self, folder: str | os.PathLike[str], every: float = 60.0, identity: str = "", *, keep: bool = False
    ) -> None:
        self._folder, self._keep = Path(folder), keep
        self._every = checks.number("checkpoint_every", every, minimum=0.0)
        self._piece_of_more = False
        self._begin(fingerprint(identity))

    def of(self, *depends: Any) -> Restart:
        """Return the same for one computation.

        Parameters
        ----------
        *depends : all that the result depends on, see :func:`l96closure.fingerprint.fingerprint`.

        Returns
        -------
        Restart that takes the parts of this computation, and of no other.
        """
        bound = copy(self)
        bound._begin(fingerprint(self._identity, depends))
        return bound

    def of_piece(self, number: int, *, last: bool = False) -> Restart:
        """Return where one of several pieces of the computation is kept, until :meth:`clear`.

        Parameters
        ----------
        number : of the piece, >= 0.
        last : whether nothing is left to do after it, so that its end need not be kept.

        Returns
        -------
        Restart in a folder inside this one.

        Raises
        ------
        ValueError
            The folder holds something else than restart files.
        """
        self._paths()
        piece = self._piece(self._folder / f"piece{number}")
        piece._piece_of_more = not last
        return piece

    def _piece(self, folder: Path) -> Restart:
        piece = copy(self)
        piece._folder, piece._keep, piece._piece_of_more = folder, True, True
        piece._begin(self._identity)
        return piece

    def _begin(self, identity: str) -> None:
        self._identity = identity
        self._next: int | None = None  # number of the next part, once it is known what is there
        self._last = time.monotonic()
        self._signals = HeldSignals()

    def parts(self) -> list[xr.Dataset]:
        """Read the parts that are there, in order; a damaged one, and those after a missing one, are removed.

        Returns
        -------
        The Datasets that were given to :meth:`append`, with the attributes of the files besides.

        Raises
        ------
        ValueError
            They belong to another computation, or the folder holds something else than restart files.
        """
        found: list[xr.Dataset] = []
        paths = self._paths()
        for path in paths:
            part = self._read(path)
            if part is None or path != self._path(len(found)):
                break
            found.append(part)
        for lost in paths[len(found) :]:  # else they would follow parts of other lengths
            lost.unlink()
        self._next = len(found)
        return found

    @property
    def due(self) -> bool:
        """Whether it is time for the next part, or a signal waits for it."""
        return self._signals.waiting or time.monotonic() - self._last >= self._every

    def wanted(self, done: bool) -> bool:
        """Tell whether to write a part.

        Parameters
        ----------
        done : whether the computation has come to its end.

        Returns
        -------
        True where it is :attr:`due`, or a piece of more work is done and its end is to last.
        """
        return self.due or (done and self._piece_of_more)

    def append(self, part: xr.Dataset) -> None:
        """Write the next part; then pass the signals on that have waited for it.

        Parameters
        ----------
        part : what has been done since the last part, and what is needed to go on.

        Raises
        ------
        OSError
            The part cannot be written; those before it are as they were.
        ValueError
            As for :meth:`parts`.
        """
        number = len(self.parts()) if self._next is None else self._next
        path = self._path(number)
        if os.path.lexists(path):  # it has come after the parts were read
            self._refuse(path.name)
        self._folder.mkdir(parents=True, exist_ok=True)
        store.write(
            part.assign_attrs(identity=self._identity),
            path,
            kind=_KIND,
            title="Part of an unfinished computation",
            history="l96closure.restart",
        )
        self._next = number + 1
        self._last = time.monotonic()
        self._signals.deliver()

    def clear(self) -> None:
        """Remove all parts, those of pieces too: the computation is done, or is to begin anew."""
        pieces = [path for path in self._inside() if _is_piece(path)]
        for path in pieces:
            self._piece(path).clear()
        self._remove()
        if pieces:
            _remove_empty(self._folder)

    def __enter__(self) -> Restart:
        self._signals.hold()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._signals.give_back()  # may raise: the result is then lost, but no part of it
        if kind is None and not self._keep:
            self._remove()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.nc"

    def _inside(self) -> list[Path]:
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []

    def _paths(self) -> list[Path]:
        """Return the parts in the order of their numbers; ``ValueError`` if the folder holds something else too."""
        if os.path.lexists(self._folder) and not self._folder.is_dir():
            checks.reject("folder of restart files", str(self._folder), "a folder")
        inside = self._inside()
        for path in inside:
            if not _is_ours(path) and not _is_piece(path):
                self._refuse(path.name)
        return sorted((path for path in inside if _PART.fullmatch(path.name)), key=lambda path: int(path.stem))

    def _refuse(self, name: str) -> NoReturn:
        checks.reject(
            "folder of restart files", str(self._folder), f"a folder of their own ({name!r} in it is none of them)"
        )

    def _read(self, path: Path) -> xr.Dataset | None:
        """Read a part; None where it is damaged."""
        try:
            part = store.read(path, kind=_KIND)
        except ValueError:
            if not store.is_sealed(path):
                return None
            part = xr.Dataset()  # of another version of the format
        if part.attrs.get("identity") != self._identity:
            raise ValueError(
                f"{self._folder} belongs to another computation: other arguments, settings, data or versions; "
                "clear it to begin anew"
            )
        return part

    def _remove(self) -> None:
        """Remove the parts, the last one first so that what is left is of use, and the folder unless it holds more."""
        mine = [path for path in self._inside() if _is_ours(path)]
        for path in reversed(mine):
            path.unlink()
        self._next = None
        if mine:  # else it is an empty folder of the user's, if it is one
            _remove_empty(self._folder)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # there is more in it, or it is gone
        folder.rmdir()


def _is_piece(path: Path) -> bool:
    return _PIECE.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def _is_ours(path: Path) -> bool:
    """Whether a file is a part, by what it holds, or what a killed process has left of one."""
    if path.is_symlink() or not path.is_file():
        return False
    if _TEMPORARY.fullmatch(path.name):
        return True
    return _PART.fullmatch(path.name) is not None and store.kind_of(path) == _KIND


class Evaluations:
    """The results of the costly evaluations of an iteration, which asks for the same ones in the same order each time.

    As a context it gives :func:`evaluated`, as often as it is called there, what an earlier run has found; what comes
    after that is evaluated and kept. Signals wait as with :class:`Restart`.

    Parameters
    ----------
    restart : where the results are kept, bound to all that they depend on.

    Raises
    ------
    ValueError
        As for :meth:`Restart.parts`.
    """

    def __init__(self, restart: Restart) -> None:
        self._restart = restart
        self._known = deque(
            result
            for part in restart.parts()
            for result in np.split(part["evaluation"].to_numpy(), np.cumsum(part["evaluation_size"].to_numpy())[:-1])
        )
        self._new: list[F64] = []

    def __enter__(self) -> Evaluations:
        self._restart.__enter__()
        self._outer = _EVALUATIONS.set(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _EVALUATIONS.reset(self._outer)
        if error[0] is None and self._new and self._restart.wanted(done=True):
            self._append()
        self._restart.__exit__(*error)

    def _next(self, evaluation: Callable[[], F64]) -> F64:
        if self._known:
            return self._known.popleft()
        result = evaluation()
        self._new.append(result)
        if self._restart.wanted(done=False):
            self._append()
        return result

    def _append(self) -> None:
        sizes = [one.size for one in self._new]
        done = {"evaluation": ("value_index", np.concatenate(self._new)), "evaluation_size": ("step", sizes)}
        self._new.clear()
        self._restart.append(xr.Dataset(done))


_EVALUATIONS: ContextVar[Evaluations | None] = ContextVar("evaluations", default=None)


def evaluated(evaluation: Callable[[], F64]) -> F64:
    """Return the result of a costly evaluation, from a file where an earlier run has found it.

    Parameters
    ----------
    evaluation : returns the result (M,).

    Returns
    -------
    The kept result in a context of :class:`Evaluations` that has it, else that of the call.
    """
    kept = _EVALUATIONS.get()
    return evaluation() if kept is None else kept._next(evaluation)


def generator_state(rng: np.random.Generator) -> str:
    """Return the state of a generator as text.

    Parameters
    ----------
    rng : the generator; it is not advanced.

    Returns
    -------
    JSON, for :func:`restore_generator`.
    """
    return json.dumps(rng.bit_generator.state, default=lambda array: array.tolist())


def restore_generator(rng: np.random.Generator, state: str) -> None:
    """Put a generator into a state that was kept.

    Parameters
    ----------
    rng : the generator, of the same kind.
    state : from :func:`generator_state`.

    Raises
    ------
    ValueError
        The state is that of another kind of generator.
    """
    rng.bit_generator.state = json.loads(state)
