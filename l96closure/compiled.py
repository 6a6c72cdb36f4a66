"""Compiled functions that Python calls: their cache on disk, their threads, and what they do where neither can be had.

Compiled code is kept on disk until a source of any changes. Where nothing can be written, functions are compiled anew
in every process.

Threads are plain ones of Python, which run compiled code at the same time because it does not hold the interpreter's
lock. They sleep while there is nothing to do, where numba's own threading layers spin, and they take small parts of the
work as they become free, so that a busy neighbour on the machine costs its share and no more. They do not survive a
fork: a forked child computes serially, which gives the same bits.

Of numba and llvmlite the package uses parts that they do not promise to keep, and pyproject.toml bounds numba to the
versions it was tested with. Two do no more than save time, and are done without where they are missing, with the same
results: the classes of the cache and of the compiler's passes (:mod:`l96closure.numba_private`), and the fields
``meminfo`` and ``parent`` of arrays (in :mod:`l96closure.kernel`). :mod:`l96closure.vector` and
:mod:`l96closure.lanes` need the extension API as numba documents it, with ``cgutils`` and LLVM's intrinsics by name.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast, overload

import numba

try:
    from l96closure import numba_private
except ImportError:  # numba has another inside
    numba_private = None  # type: ignore[assignment]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PROCESS = os.getpid()
_AHEAD: dict[Callable[..., Any], subprocess.Popen[bytes]] = {}
_PARTS = 8  # of the work for each thread: the last to finish keeps the others waiting for a part at most


def cached(function: _Function | None = None, **options: Any) -> Any:
    """Compile a function that Python calls, and keep it on disk where that is possible.

    It does not hold the interpreter's lock while it runs.

    Parameters
    ----------
    function : a function, compiled or not; None makes a decorator.
    options : for ``numba.njit``.

    Returns
    -------
    The compiled function. With ``NUMBA_DISABLE_JIT`` it is run by Python, and raises ``ValueError`` where it consists
    of instructions that only a compiler can make.
    """
    if function is None:
        return functools.partial(cached, **options)
    plain = getattr(function, "py_func", function)
    if numba.config.DISABLE_JIT:
        return _interpreted(plain)
    compiled = numba.njit(nogil=True, **options)(plain)
    if numba_private is not None:
        numba_private.keep_on_disk(compiled)
    return compiled


def compile_ahead(function: Callable[..., Any], statement: str) -> None:
    """Let a process of its own compile a function, to be found on disk, while this one does something else.

    Nothing is done where it is there already, or would not be found, or where a second process would be in the way.

    Parameters
    ----------
    function : made by :func:`cached`; call :func:`await_ahead` before it.
    statement : Python that calls it once, with arguments of the same types.
    """
    kept = numba_private is not None and getattr(function, "_cache", None) is not None
    if function in _AHEAD or not kept or threads() == 1 or numba_private.is_on_disk(function):
        return
    # The compiler makes millions of objects that stay: to look through them for garbage takes a tenth of its time.
    same_package, nothing = f"import gc, sys; gc.disable(); sys.path[:] = {sys.path!r}", subprocess.DEVNULL
    command = [sys.executable, "-c", f"{same_package}\n{statement}"]
    with suppress(OSError):  # no other process may be had: it is compiled here when it is called
        _AHEAD[function] = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)


def await_ahead(function: Callable[..., Any]) -> None:
    """Wait for the process that compiles a function, if there is one; whether it succeeds does not matter."""
    if function in _AHEAD:
        _AHEAD[function].wait()


def part(function: _Function) -> _Function:
    """Compile a function that only compiled functions call, which take it in; it makes no arrays.

    Without machine code of its own it compiles several times faster, without counts of references it runs faster.
    """
    return _taken_in(function, _nrt=False, forceinline=True)


@overload
def called(function: _Function) -> _Function: ...


@overload
def called(*, fastmath: set[str] = ..., forceinline: bool = ...) -> Callable[[_Function], _Function]: ...


def called(function: _Function | None = None, **options: Any) -> Any:
    """Do as :func:`part` for a function that makes or returns arrays, or one too large to be taken in by all callers.

    Parameters
    ----------
    function : a function; None makes a decorator.
    options : for ``numba.njit``.
    """
    return functools.partial(called, **options) if function is None else _taken_in(function, **options)


def _taken_in(function: _Function, **options: Any) -> _Function:
    if numba_private is None or numba.config.DISABLE_JIT:
        options.pop("_nrt", None)
        return cast(_Function, numba.njit(error_model="numpy", **options)(function))
    return cast(_Function, numba_private.without_machine_code(function, error_model="numpy", **options))


def shared(function: Callable[..., Any], tasks: int, *arguments: Any, grain: int = 1) -> list[Any]:
    """Share the tasks of a compiled function out among threads.

    Parameters
    ----------
    function : called as ``function(*arguments, start, stop)`` for the tasks ``start`` to ``stop``, which depend on no
        others.
    tasks : how many there are.
    arguments : of all calls.
    grain : how many tasks are best done together; a thread gets a multiple of it.

    Returns
    -------
    What the calls return, in the order of the tasks.
    """
    workers = threads()
    length = max(1, -(-tasks // (_PARTS * workers if workers > 1 else 1)))
    length += -length % grain
    starts = range(0, tasks, length)
    results: list[Any] = [None] * len(starts)
    turn = itertools.count()

    def work() -> None:
        while (i := next(turn)) < len(starts):
            results[i] = function(*arguments, starts[i], min(starts[i] + length, tasks))

    helpers = [_pool().submit(work) for _ in range(min(workers, len(starts)) - 1)]
    try:
        work()
    finally:
        for helper in [helper for helper in helpers if not helper.cancel()]:  # one that has not begun is not needed
            helper.result()
    return results


def at_once(function: Callable[..., Any], most: int, *arguments: Any) -> Any:
    """Call a compiled function in several threads that help each other (:mod:`l96closure.claims`).

    Parameters
    ----------
    function : called as ``function(*arguments, thread, threads)``; each call returns the same. It changes no argument
        but what the threads share, as a thread that is late goes on when the others have done.
    most : threads that there is work for.
    arguments : of all calls.

    Returns
    -------
    What the call of the calling thread returns.
    """
    number = min(threads(), most)
    helpers = [_pool().submit(function, *arguments, thread, number) for thread in range(1, number)]
    result = function(*arguments, 0, number)
    for helper in helpers:
        helper.cancel()
    return result


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, "l96closure")  # which start as they are needed


def threads() -> int:
    """Return how many threads compiled functions may use: numba's number, and one in a forked child."""
    return 1 if _forked() else int(numba.get_num_threads())


def _forked() -> bool:
    return os.getpid() != _PROCESS


def _interpreted(function: _Function) -> _Function:
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except NotImplementedError as error:  # numba's intrinsics
            raise ValueError(
                f"NUMBA_DISABLE_JIT = {numba.config.DISABLE_JIT} must be 0: "
                f"{function.__module__}.{function.__name__} exists as compiled code only"
            ) from error

    call.py_func = function  # type: ignore[attr-defined]
    return cast(_Function, call)
