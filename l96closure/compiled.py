"""Compiled functions that Python calls: their cache on disk, their threads, and what they do where neither can be had.

Numba keys what it caches by the file of the function that Python calls, and so runs old code after a change in a file
that this one only calls into. Here the key is the content of every source that compiled code comes from. Where nothing
can be written, functions are compiled anew in every process.

Threads are plain ones of Python, which run compiled code at the same time because it does not hold the interpreter's
lock. They sleep while there is nothing to do, where numba's own threading layers spin, and they take small parts of the
work as they become free, so that a busy neighbour on the machine costs its share and no more. They do not survive a
fork: a forked child computes serially, which gives the same bits.

Of numba and llvmlite the package uses parts that they do not promise to keep, so that pyproject.toml bounds numba to
the versions it was tested with: here, the classes of the cache and of the compiler's passes; in
:mod:`l96closure.vector` and :mod:`l96closure.lanes`, ``cgutils``, the templates of operators and LLVM's intrinsics by
name; in :mod:`l96closure.kernel`, the fields ``meminfo`` and ``parent`` of arrays.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

__all__ = ["cached", "part", "shared", "threads"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
_PROCESS = os.getpid()
_PARTS = 8  # of the work for each thread: the last to finish keeps the others waiting for a part at most
_WHOLE = 16  # parts of many tasks are a multiple of this, as many as are summed side by side in a vector


@functools.cache
def _sources() -> str:
    """Hash the sources that compiled code comes from: those that name numba or this module, and all of the bridge."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        if path.parent.name in ("bridge", "kernel") or b"numba" in text or b"compiled" in text:
            digest.update(b"%d %s\n" % (len(text), path.relative_to(_PACKAGE).as_posix().encode()))
            digest.update(text)
    return digest.hexdigest()


class _Place(CompileResultCacheImpl):  # type: ignore[misc]
    """Where numba keeps a function, with our stamp of its sources."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.locator.get_source_stamp = _sources


class _Cache(FunctionCache):  # type: ignore[misc]
    """The cache of one function. What cannot be read or written is compiled anew."""

    _impl_class = _Place

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except Exception:  # a full or failing disk leaves anything in a file, and unpickling it may do so
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError:
            self.disable()


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
    with suppress(OSError, RuntimeError):  # nowhere to write, or no sources to read
        compiled._cache = _Cache(plain)
    return compiled


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringOfParts(NativeLowering):  # type: ignore[misc]
    """Make no machine code of a function: those that take it in make their own."""

    _name = "lowering_of_parts"

    def run_pass(self, state: Any) -> bool:
        state.library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
        state.library._optimize_final_module = lambda: None  # nothing is gained before it is taken in
        state.library.enable_object_caching()
        state.flags.no_compile = True
        super().run_pass(state)
        place: Any = [].copy  # any builtin of its own, in place of the machine code, by which callers find it
        state.targetctx.insert_user_function(place, state.cr.fndesc, [state.library])
        state["cr"] = state.cr._replace(cfunc=place)
        return True


class _CompilerOfParts(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [(_LoweringOfParts if one is NativeLowering else one, why) for one, why in manager.passes]
        manager.finalize()
        return [manager]


def part(function: _Function) -> _Function:
    """Compile a function that only compiled functions call, which take it in; it makes no arrays.

    Without machine code of its own it compiles several times faster, without counts of references it runs faster.
    """
    how = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False, "error_model": "numpy"}
    return cast(_Function, numba.njit(forceinline=True, pipeline_class=_CompilerOfParts, **how)(function))


def shared(function: Callable[..., Any], tasks: int, *arguments: Any) -> list[Any]:
    """Share the tasks of a compiled function out among threads.

    Parameters
    ----------
    function : called as ``function(*arguments, start, stop)`` for the tasks ``start`` to ``stop``, which depend on no
        others.
    tasks : how many there are.
    arguments : of all calls.

    Returns
    -------
    What the calls return, in the order of the tasks.
    """
    workers = threads()
    length = max(1, -(-tasks // (_PARTS * workers if workers > 1 else 1)))
    if length > _WHOLE:
        length += -length % _WHOLE
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
