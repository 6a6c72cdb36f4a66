"""Hold the docstrings of everything public against numpydoc: ``make lint`` runs it, it prints what it finds.

Public is what users call: the names in ``__all__`` of :data:`MODULES`, of one without it all that it defines whose
names begin with no underscore, and the public methods and properties of the classes among these. Parameters have the
house form, ``name : what it is`` on one line, which numpydoc takes for a type, so that its checks of types and of
missing descriptions say nothing here; :data:`CHECKS` are those that do.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

PACKAGE = "l96closure"

MODULES = (
    "l96closure",
    "l96closure.bridge",
    "l96closure.closures",
    "l96closure.closures.composed",
    "l96closure.closures.features",
    "l96closure.closures.fitted_laws",
    "l96closure.closures.laws",
    "l96closure.closures.noise_fit",
    "l96closure.closures.past",
    "l96closure.closures.patterns",
    "l96closure.closures.state",
    "l96closure.coarse",
    "l96closure.compute",
    "l96closure.diagnostics",
    "l96closure.diagnostics.climate",
    "l96closure.diagnostics.distances",
    "l96closure.diagnostics.field_scores",
    "l96closure.diagnostics.forecast",
    "l96closure.diagnostics.intervals",
    "l96closure.diagnostics.marks",
    "l96closure.diagnostics.ranking",
    "l96closure.diagnostics.reliability",
    "l96closure.diagnostics.resampling",
    "l96closure.diagnostics.ring",
    "l96closure.diagnostics.runs",
    "l96closure.diagnostics.scorecard",
    "l96closure.diagnostics.scores",
    "l96closure.diagnostics.statistics",
    "l96closure.diagnostics.tails",
    "l96closure.experiments.bistable.diagnostics",
    "l96closure.experiments.gaussian.diagnostics",
    "l96closure.experiments.sampling.diagnostics",
    "l96closure.fields",
    "l96closure.forecasts",
    "l96closure.histories",
    "l96closure.noise",
    "l96closure.plot",
    "l96closure.progress",
    "l96closure.restart",
    "l96closure.schemes",
    "l96closure.selection",
    "l96closure.series",
    "l96closure.subgrid",
    "l96closure.systems",
    "l96closure.temporal",
)

CHECKS = {
    "GL03",  # no two blank lines in a row
    "GL05",  # no tabs
    "GL06",  # no unknown section
    "GL07",  # the order of the sections
    "GL08",  # there is a docstring
    "SS01",  # there is a summary
    "SS03",  # it ends with a period (not SS02, a capital letter: it may start with psi)
    "SS05",  # "Return", not "Returns"
    "PR01",  # every parameter is documented
    "PR02",  # every documented parameter is there
    "PR03",  # in the same order
    "PR10",  # a space before the colon
    "RT01",  # what is returned is documented
    "YD01",  # ... and what is yielded
}


def public() -> dict[str, Any]:
    """Return everything public by its full name: functions, classes, and their methods and properties."""
    found: dict[str, Any] = {}
    for module in map(import_module, MODULES):
        for value in (getattr(module, name) for name in _names(module)):
            if inspect.isfunction(value):
                found[_full_name(value)] = value
            elif inspect.isclass(value):
                for owner in value.__mro__:  # what is inherited is public too
                    found[_full_name(owner)] = owner
                    found.update(_members(owner))
    return {name: value for name, value in found.items() if name.startswith(f"{PACKAGE}.")}


def _names(module: ModuleType) -> list[str]:
    """Return the public names of a module: those that it lists, else those of its own without an underscore."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


def _full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _members(owner: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class defines itself, and its call, by their full names."""
    for name, member in vars(owner).items():
        bound = isinstance(member, property | cached_property | staticmethod | classmethod)
        if (name == "__call__" or not name.startswith("_")) and (bound or inspect.isfunction(member)):
            yield f"{_full_name(owner)}.{name}", member


def findings(name: str, value: Any) -> list[str]:
    """Return what is wrong with the docstring of a public name, one message for each finding."""
    errors = [f"{code}: {message}" for code, message in validate(name)["errors"] if code in CHECKS]
    sections = NumpyDocString(inspect.cleandoc(value.__doc__ or ""))
    if isinstance(value, staticmethod | classmethod):  # numpydoc looks for what is returned in functions alone
        nothing = value.__func__.__annotations__.get("return") in (None, "None")
        return errors if nothing or sections["Returns"] else [*errors, "RT01: No Returns section found"]
    if not inspect.isclass(value):
        return errors
    attributes = [one for entry in sections["Attributes"] for one in entry.name.split(", ")]
    fields = _fields(value)
    inherited = not {"__init__", "__new__"} & set(vars(value)) or getattr(value, "_is_protocol", False)
    if inherited or (attributes and fields and not sections["Parameters"]):
        # The class is not made by its name, or by the package alone: its fields are attributes, not parameters.
        errors = [error for error in errors if not error.startswith("PR")]
    if attributes and not sections["Parameters"] and attributes[: len(fields)] != fields:
        errors.append(f"fields: the section Attributes begins with {attributes[: len(fields)]} in place of {fields}")
    return errors


def _fields(value: type) -> list[str]:
    """Return the names of the public fields of a dataclass or a NamedTuple, in order."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value) if field.init and not field.name.startswith("_")]
    return [*getattr(value, "_fields", ())]


def main() -> int:
    """Print the findings; return 1 if there are any."""
    names = public()
    found = [f"{name}: {finding}" for name, value in sorted(names.items()) for finding in findings(name, value)]
    print(*found, f"{len(names)} public docstrings, {len(found)} findings", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
