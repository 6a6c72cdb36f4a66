"""What saves time by parts of numba that it does not promise to keep; :mod:`l96closure.compiled` can do without it.

Numba keys what it caches by the file of the function that Python calls, and so runs old code after a change in a file
that this one only calls into. Here the key is the content of every source that compiled code comes from.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock, Timeout
from numba import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

_PACKAGE = Path(__file__).parent
_PATIENCE = 120.0  # seconds that a process waits for another to compile


@functools.cache
def _sources() -> str:
    """Hash the sources that compiled code comes from: those that name numba or its door here, and all of the bridge."""
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
    """The cache of one function. What cannot be read or written is compiled anew.

    Of processes that want the same at the same time one compiles it, and the others wait.
    """

    _impl_class = _Place
    _turn: FileLock | None = None

    def load_overload(self, signature: Any, context: Any) -> Any:
        found = self._found(signature, context)
        if found is None:
            turn = FileLock(Path(self.cache_path, f"{self._impl.filename_base}.lock"), _PATIENCE, thread_local=False)
            with suppress(OSError, NotImplementedError, Timeout):  # no locks may be had on this disk
                turn.acquire()
            found = self._found(signature, context)
            self._turn = turn if found is None else None  # held until it is saved
        return found

    def _found(self, signature: Any, context: Any) -> Any:
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
        finally:
            self._turn = None


def keep_on_disk(compiled: Any) -> None:
    """Keep what is compiled of a function on disk, where that is possible."""
    with suppress(OSError, RuntimeError):  # nowhere to write, or no sources to read
        compiled._cache = _Cache(compiled.py_func)


def is_on_disk(compiled: Any) -> bool:
    """Tell whether something of a function is kept on disk, made from the sources as they are."""
    try:
        return bool(compiled._cache._cache_file._load_index())
    except Exception:  # nothing of it can be kept, or what is there is damaged
        return False


class _Part(JITCodeLibrary):  # type: ignore[misc]
    """What is compiled of a function for those that take it in: neither optimised nor made machine code of here."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringOfParts(NativeLowering):  # type: ignore[misc]
    """Make no machine code of a function: those that take it in make their own."""

    _name = "lowering_of_parts"

    def run_pass(self, state: Any) -> bool:
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
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


def without_machine_code(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function that only compiled functions call.

    Parameters
    ----------
    function : the function.
    options : for ``numba.njit``.
    """
    compiled = numba.njit(pipeline_class=_CompilerOfParts, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(
        function
    )
    template = compiled.get_call_template

    def of_any_number(arguments: Any, keywords: Any) -> Any:  # not once for 0 and once for other integers
        return template(
            tuple(types.unliteral(one) for one in arguments),
            {name: types.unliteral(one) for name, one in keywords.items()},
        )

    compiled.get_call_template = of_any_number
    return compiled
