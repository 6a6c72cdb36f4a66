"""Code of the user's own that a setting ``_target_`` names, and the closure of a run, the user's own or one of ours.

A ``_target_`` stands on the user's command line or in a YAML file of theirs; what is read from the files of a run names
no code.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, closures, store
from l96closure.arrays import F64
from l96closure.experiments import sections
from l96closure.fields import Fields

TARGET = "_target_"
"""The setting that names a function or class, as Hydra has it."""

ENTRY_POINTS = "l96closure.closures"
"""Group of entry points by which an installed package gives its closures short names."""


def imported(name: str, target: Any) -> Any:
    """Import what a setting names, also from the current directory.

    Parameters
    ----------
    name : of the setting in full, for messages.
    target : ``package.module.name``, or the name of an entry point of the group :data:`ENTRY_POINTS`.

    Returns
    -------
    The function, class or object.

    Raises
    ------
    ValueError
        There is nothing of that name.
    """
    if isinstance(target, str) and "." not in target:
        for entry in entry_points(group=ENTRY_POINTS, name=target):
            return entry.load()
    module, _, attribute = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not module:
        checks.reject(name, target, f"module.name, or the name of an entry point of the group {ENTRY_POINTS}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{name} = {target!r} needs a module that is not there: {error}") from None
        checks.reject(name, target, f"module.name of what can be imported, also from {os.getcwd()} ({error})")


def made(name: str, section: Mapping[str, Any]) -> Any:
    """Return the object that a section describes: its ``_target_``, called with the section's other settings.

    A function that has no other settings beside it is taken as it is.

    Raises
    ------
    ValueError
        There is no such class or function, or it does not take these settings.
    """
    given = dict(section)
    target = imported(f"{name}.{TARGET}", given.pop(TARGET, None))
    if inspect.isclass(target):
        _check_arguments(name, target, given)
        return target(**given)
    if not given:
        return target
    _check_arguments(name, target, given, 1)
    return partial(target, **given)


def code_of(what: Any) -> tuple[Path, ...]:
    """Return the file that holds the code of a function, class or object; none where it is not Python's."""
    what = getattr(what, "func", what)  # of a partial function
    try:
        found = inspect.getsourcefile(what if inspect.isroutine(what) or inspect.isclass(what) else type(what))
    except TypeError:
        return ()
    return () if found is None else (Path(found).absolute(),)


def _check_arguments(name: str, code: Callable[..., Any], given: Mapping[str, Any], first: int = 0) -> None:
    """Raise ``ValueError`` unless a call with settings, behind ``first`` arguments, is one that the code takes."""
    try:
        inspect.signature(code).bind(*[None] * first, **given)
    except TypeError as error:
        raise ValueError(f"{name}: {getattr(code, '__name__', code)} does not take these settings: {error}") from None


class Stepped(NamedTuple):
    """A closure that states no step or no fields, with what the run knows; obeys :class:`l96closure.closures.Closure`.

    Attributes
    ----------
    closure : has ``init`` and ``step``.
    dt : step of the run.
    fields : its predictors, targets and grid.
    """

    closure: Any
    dt: float
    fields: Fields = Fields()

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> Any:
        """Return the state that the closure gives."""
        return self.closure.init(z, rng, member=member)

    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        """Return psi and the state that the closure gives."""
        psi, following = self.closure.step(z, state)
        return psi, following

    def __getattr__(self, name: str) -> Any:
        """Return what else the closure states, such as the definition of psi."""
        return getattr(self.closure, name)


@functools.lru_cache(maxsize=1)
def _loaded(path: Path, checksum: str) -> closures.Closure:
    """Load a closure once for all stages of a run: it is a pure function, and to lay out its samples takes seconds."""
    return closures.load(path)


class ChosenClosure(NamedTuple):
    """The closure that a run is to have.

    Attributes
    ----------
    label : its name or its ``_target_``.
    kind : its class.
    arguments : of its ``fit``, or, where it has none, of the class itself.
    own : whether it is the user's.
    """

    label: str
    kind: Any
    arguments: Mapping[str, Any]
    own: bool

    @classmethod
    def of(cls, section: Mapping[str, Any], *supplied: str) -> ChosenClosure:
        """Read the section ``closure``; ``supplied`` are arguments of ``fit``, behind the truth, that are not settings.

        Raises
        ------
        ValueError
            There is no such closure, it lacks ``init`` or ``step``, or a setting is unknown or out of its range.
        """
        given = dict(section)
        if TARGET not in given:
            name = checks.one_of("closure.name", given.pop("name", None), closures.CLOSURES)
            kind = closures.CLOSURES[name]
            ours = sections.arguments("closure", kind.fit, given, "truth", *supplied)
            return cls(name, kind, ours, own=False)
        label = given.pop(TARGET)
        kind = imported(f"closure.{TARGET}", label)
        for method in ("init", "step"):
            if not (inspect.isclass(kind) and callable(getattr(kind, method, None))):
                checks.reject(f"closure.{TARGET}", label, f"a class with init and step; it has no {method}")
        chosen = cls(str(label), kind, given, own=True)
        if mine := set(given).intersection(supplied):
            raise ValueError(f"closure.{min(mine)} is given to fit by the experiment; it is no setting here")
        takes = set(inspect.signature(chosen._maker).parameters).intersection(supplied)
        _check_arguments("closure", chosen._maker, dict.fromkeys(takes) | given, first=1 if hasattr(kind, "fit") else 0)
        return chosen

    @property
    def _maker(self) -> Callable[..., Any]:
        return getattr(self.kind, "fit", self.kind)

    def fit(self, truth: xr.Dataset, **offered: Any) -> Any:
        """Fit the closure to a truth, with those of the arguments ``offered`` that its ``fit`` takes."""
        takes = inspect.signature(self._maker).parameters
        taken = {**self.arguments, **{name: value for name, value in offered.items() if name in takes}}
        return self._maker(truth, **taken) if hasattr(self.kind, "fit") else self._maker(**taken)

    def to_dataset(self, closure: Any) -> xr.Dataset:
        """Return what the closure's file is to hold; nothing but its name for one that cannot be read from it."""
        if not self.own:
            return closure.to_dataset()
        kept = closure.to_dataset() if self._stored else xr.Dataset()
        for name, variable in kept.variables.items():
            variable.attrs.setdefault("long_name", str(name))
        return kept.assign_attrs(closure=self.label)

    def from_file(self, path: str | os.PathLike[str], stored: xr.Dataset, again: Callable[[], Any]) -> Any:
        """Return the closure of a file; one that no file holds is fitted ``again``, and is the same."""
        if not self.own:
            return _loaded(Path(path), store.checksum(path))
        if stored.attrs.get("closure") != self.label:
            checks.reject(f"closure.{TARGET}", self.label, f"{stored.attrs.get('closure')}, of which {path} is")
        return self.kind.from_dataset(stored) if self._stored else again()

    @property
    def _stored(self) -> bool:
        return all(hasattr(self.kind, name) for name in ("to_dataset", "from_dataset"))
