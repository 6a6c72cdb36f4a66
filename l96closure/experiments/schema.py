"""The settings of the closure experiment and their defaults, read off the code that they are arguments of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from l96closure.closures import CLOSURES
from l96closure.compute import Compute
from l96closure.experiments.settings import NO_SETTINGS, Coarse, Diagnostics, Forecast, Reference
from l96closure.systems import SYSTEMS

__all__ = ["options"]

Section = dict[str, Any]


def options() -> Mapping[str, Mapping[str, Section]]:
    """Return the options that hold the code's own defaults: settings by group and option.

    The other options of these groups, YAML files, list what they change of one of these.
    """
    first = next(iter(SYSTEMS))
    return {
        "model": {
            name: ({} if name == first else {"name": name}) | _defaults(system) for name, system in SYSTEMS.items()
        },
        "training": {name: _defaults(system.simulate, "simulate") for name, system in SYSTEMS.items()},
        "reference": {"climate": _defaults(Reference)},
        "closure": {name: {"name": name, **_defaults(closure.fit, "fit")} for name, closure in CLOSURES.items()},
        "coarse": {"rk4": _defaults(Coarse)},
        "forecast": {"ensemble": _defaults(Forecast)},
        "diagnostics": {"climate": _defaults(Diagnostics)},
        "compute": {"local": _defaults(Compute)},
    }


def _defaults(code: Callable[..., Any], kind: str = "") -> Section:
    """Return the fields of a dataclass, or the arguments of a function that are settings, with their defaults."""
    if is_dataclass(code):
        return asdict(code())
    parameters = inspect.signature(code).parameters
    return {name: given.default for name, given in parameters.items() if name not in NO_SETTINGS[kind]}
