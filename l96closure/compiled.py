"""Compiled functions that Python calls: their cache on disk, their threads, and what they do where neither can be had.

Numba keys what it caches by the file of the function that Python calls, and so runs old code after a change in a file
that this one only calls into. Here the key is the content of every source that compiled code comes from. Where nothing
can be written, functions are compiled anew in every process.

Threads do not survive a fork: a child of a process that had some waits for them for ever, or is killed. A forked child
therefore computes serially, which gives the same bits. Of numba's threading layers the last resort, ``workqueue``,
aborts the process when two threads of Python enter it at a time; there they take turns.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

__all__ = ["cached", "in_turn", "part", "threaded", "threads"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
_PROCESS = os.getpid()
_TURN = threading.RLock()


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
    """Where numba keeps a function, with our stamp of its sources, and threads and none kept apart."""

    def __init__(self, parallel: bool, function: Callable[..., Any]) -> None:
        self._ending = "-parallel" if parallel else ""
        super().__init__(function)
        self.locator.get_source_stamp = _sources

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return cast(str, super().get_filename_base(fullname, abiflags)) + self._ending


class _Cache(FunctionCache):  # type: ignore[misc]
    """The cache of one function. What cannot be read or written is compiled anew."""

    def __init__(self, function: Callable[..., Any], parallel: bool) -> None:
        self._impl_class = functools.partial(_Place, parallel)
        super().__init__(function)

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


def cached(function: _Function | None = None, *, parallel: bool = False, **options: Any) -> Any:
    """Compile a function that Python calls, and keep it on disk where that is possible.

    Parameters
    ----------
    function : a function, compiled or not; None makes a decorator.
    parallel : share its ``prange`` loops out among threads. Such a function is called through :func:`threaded` only.
    options : for ``numba.njit``.

    Returns
    -------
    The compiled function. With ``NUMBA_DISABLE_JIT`` it is run by Python, and raises ``ValueError`` where it consists
    of instructions that only a compiler can make.
    """
    if function is None:
        return functools.partial(cached, parallel=parallel, **options)
    plain = getattr(function, "py_func", function)
    if numba.config.DISABLE_JIT:
        return _interpreted(plain)
    compiled = numba.njit(parallel=parallel, **options)(plain)
    with suppress(OSError, RuntimeError):  # nowhere to write, or no sources to read
        compiled._cache = _Cache(plain, parallel)
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


def threaded(function: _Function) -> _Function:
    """Compile a function whose ``prange`` loops threads share; a forked child runs it serially."""
    shared, alone = cached(function, parallel=True), cached(function)

    @functools.wraps(getattr(function, "py_func", function))
    def call(*arguments: Any) -> Any:
        if _forked():
            return alone(*arguments)
        with in_turn():
            return shared(*arguments)

    return cast(_Function, call)


def threads() -> int:
    """Return how many threads compiled functions may use: numba's number, and one in a forked child."""
    return 1 if _forked() else int(numba.get_num_threads())


@contextmanager
def in_turn() -> Iterator[None]:
    """Keep other threads of Python out of numba's parallel loops for as long, where it cannot have two in them."""
    numba.get_num_threads()  # starts the threading layer, whose name is unknown before
    if numba.threading_layer() == "workqueue":
        with _TURN:
            yield
    else:
        yield


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
