"""Fingerprints: a short text that tells one computation from another by all that its result depends on."""

from __future__ import annotations

import dataclasses
import dis
import hashlib
import sys
import types
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure.provenance import package_version

_Content = tuple[str, list[Any]]  # a text that says what it is, and the things that it is made of

_OF_THE_OCCASION = ("history",)  # attributes of data that tell when, not what
_NOT_OF_A_CLASS = (
    *("__annotations__", "__dict__", "__doc__", "__firstlineno__", "__module__", "__static_attributes__"),
    "__weakref__",
)
_BITS_DEPEND_ON = ("l96closure", "numba", "numpy", "scipy")


def fingerprint(*things: Any) -> str:
    """Return the SHA-256 digest, in hexadecimal, of the content of things, and of the versions that results depend on.

    Equal content gives the same digest in every process with the same versions of Python, this package, numba, numpy
    and scipy. Content is

    - of arrays the type, the shape and every byte, but for what is masked; of DataArrays and Datasets besides these the
      names, dimensions, coordinates and attributes, without ``history``; lazy data are computed for it;
    - of a dataclass its fields; of a closure of this package what its file holds; of another object what ``pickle``
      would keep of it, and the code of its class;
    - of a function its code, its defaults, the variables it has from around it and the global ones it reads, which
      may be functions; of a ``functools.partial`` the arguments too; of a generator of random numbers its state;
    - of what an installed package defines the name and the version of that package; of any other module the source.

    Of anything else, as an object whose content is kept by another language, or a file that a function reads, no more
    than the type is told: two of them look the same here.
    """
    python = ".".join(map(str, sys.version_info[:3]))
    versions = [python, *(f"{package} {package_version(package)}" for package in _BITS_DEPEND_ON)]
    return _Digests().of((versions, things)).hex()


class _Digests:
    """Digests of things by way of the digests of what they are made of; each thing is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}  # the thing too, so that no other takes its id
        self._above: list[int] = []

    def of(self, thing: Any) -> bytes:
        if isinstance(thing, bytes):
            return hashlib.sha256(b"bytes:" + thing).digest()
        if id(thing) in self._known:
            return self._known[id(thing)][1]
        if id(thing) in self._above:  # it holds itself, as a recursive function does
            return hashlib.sha256(b"above: %d" % (len(self._above) - self._above.index(id(thing)))).digest()
        self._above.append(id(thing))
        text, parts = self._taken_apart(thing)
        found = hashlib.sha256(f"{text}:{len(parts)}:".encode())
        for part in parts:
            found.update(self.of(part))
        self._above.pop()
        self._known[id(thing)] = thing, found.digest()
        return found.digest()

    def _taken_apart(self, thing: Any) -> _Content:
        if isinstance(thing, (dict, types.MappingProxyType)):  # as of a set, the order tells nothing
            return _name(type(thing)), sorted(self.of(key) + self.of(value) for key, value in thing.items())
        if isinstance(thing, (set, frozenset)):
            return _name(type(thing)), sorted(map(self.of, thing))
        return _content(thing)


def _content(thing: Any) -> _Content:
    """Take a thing apart that is no mapping or set."""
    if type(thing) in (type(None), bool, int, float, complex, str):
        return f"{type(thing).__name__} {thing!r}", []
    for kinds, how in _KINDS:
        if isinstance(thing, kinds):
            return how(thing)
    if hasattr(thing, "py_func"):  # compiled by numba
        return "compiled", [thing.py_func, getattr(thing, "targetoptions", {})]
    if hasattr(thing, "__array__"):
        try:
            return _array(np.asarray(thing))
        except Exception:  # its package has reasons of its own; its attributes may tell
            pass
    return _instance(thing)


def _array(array: np.ndarray[Any, Any]) -> _Content:
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        return "masked", [mask, np.where(mask, np.zeros((), array.dtype), array.data)]
    shape = f"array {array.shape}"
    if array.dtype.hasobject:
        return shape, array.ravel().tolist()
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    return f"{shape} {native.dtype.str}", [hashlib.sha256(native.view(np.uint8).data).digest()]


def _scalar(number: np.generic) -> _Content:
    plain = number.item()
    return _content(plain) if type(plain) in (bool, int, float, complex) else _array(np.asarray(number))


def _labelled(data: xr.DataArray | xr.Dataset | xr.Variable) -> _Content:
    attributes = {name: value for name, value in data.attrs.items() if name not in _OF_THE_OCCASION}
    if isinstance(data, xr.Variable):
        return "variable", [data.dims, data.to_numpy(), attributes]
    if isinstance(data, xr.DataArray):
        return "array with coordinates", [data.name, data.variable, dict(data.coords.variables), attributes]
    return "dataset", [dict(data.variables), set(data.coords), attributes]


def _function(function: types.FunctionType) -> _Content:
    cells = [_inside(cell) for cell in function.__closure__ or ()]
    if _installed(function.__module__):
        return _name(function), [cells, function.__code__ if cells else None]
    read = {name: function.__globals__.get(name) for name in _global_names(function.__code__)}
    return "function", [function.__code__, function.__defaults__, function.__kwdefaults__, cells, read]


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing has been put in
        return None


def _global_names(code: types.CodeType) -> set[str]:
    """Names that a code, and the functions within it, look up among the global ones."""
    steps = dis.get_instructions(code)
    here = {str(step.argval) for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return here.union(*(_global_names(within) for within in code.co_consts if isinstance(within, types.CodeType)))


def _code(code: types.CodeType) -> _Content:
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return "code", [code.co_code, code.co_consts, *names, *counts, getattr(code, "co_exceptiontable", b"")]


def _class(of: type) -> _Content:
    if _installed(of.__module__):
        return _name(of), []
    return _name(of), [of.__bases__, {name: value for name, value in vars(of).items() if name not in _NOT_OF_A_CLASS}]


def _module(module: types.ModuleType) -> _Content:
    file = getattr(module, "__file__", None)
    if _installed(module.__name__) or file is None:
        return _name(module), []
    return _name(module), [Path(file).read_bytes()]


def _builtin(function: types.BuiltinFunctionType) -> _Content:
    owner = function.__self__
    return _name(function), [] if owner is None or isinstance(owner, types.ModuleType) else [owner]


def _instance(thing: Any) -> _Content:
    """Take an object of no special kind apart."""
    of = type(thing)
    if hasattr(of, "to_dataset") and _installed(of.__module__):
        return "closure", [of, thing.to_dataset()]
    if dataclasses.is_dataclass(thing):
        return "object", [of, {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}]
    try:
        kept = thing.__reduce_ex__(4)
    except Exception:  # it holds what cannot be told
        kept = "", (), getattr(thing, "__dict__", None)
    if isinstance(kept, str):
        return f"object {kept}", [of, getattr(thing, "__dict__", None)]
    lazy = {name for name in vars(of) if isinstance(vars(of)[name], cached_property)}
    parts: list[Any] = [list(part) if isinstance(part, Iterator) else part for part in kept]
    return "object", [of, *(_without(part, lazy) for part in parts)]


def _without(part: Any, names: set[str]) -> Any:
    """Return attributes but for some that follow from the others, and anything else as it is."""
    return {name: value for name, value in part.items() if name not in names} if type(part) is dict else part


def _installed(module: str | None) -> bool:
    """Whether a module belongs to Python, to this package or to another installed one."""
    root = (module or "").partition(".")[0]
    if root in sys.stdlib_module_names or root == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(root), "__file__", None)
    return root != "__main__" and file is not None and bool({"site-packages", "dist-packages"} & {*Path(file).parts})


def _name(thing: Any) -> str:
    """Return the full name of a class, function or module, and the version of the package that it is from."""
    module = str(getattr(thing, "__module__", None) or getattr(thing, "__name__", ""))
    package = sys.modules.get(module.partition(".")[0])
    return f"{module} {getattr(thing, '__qualname__', '')} {getattr(package, '__version__', '')}"


_KINDS: list[tuple[Any, Callable[[Any], _Content]]] = [
    (np.ndarray, _array),
    (np.generic, _scalar),
    ((xr.DataArray, xr.Dataset, xr.Variable), _labelled),
    (np.random.Generator, lambda generator: ("generator", [generator.bit_generator.state])),
    (Enum, lambda member: (f"member {member.name}", [type(member)])),
    ((list, tuple), lambda run: (_name(type(run)), [*run, getattr(run, "__dict__", None)])),
    (partial, lambda call: ("partial", [call.func, call.args, call.keywords])),
    (types.MethodType, lambda method: ("method", [method.__func__, method.__self__])),
    (types.FunctionType, _function),
    (types.CodeType, _code),
    (type, _class),
    (types.ModuleType, _module),
    (np.ufunc, lambda function: (f"ufunc {function.__name__}", [])),
    (types.BuiltinFunctionType, _builtin),
    ((staticmethod, classmethod), lambda method: (_name(type(method)), [method.__func__])),
    (property, lambda lazy: ("property", [lazy.fget])),
    (cached_property, lambda lazy: ("property", [lazy.func])),
]
"""How things are taken apart, by kind."""
