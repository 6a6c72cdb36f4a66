"""The settings of the closure experiment and their defaults, read off the code that they are arguments of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from l96closure.bridge import Kernel
from l96closure.closures import CLOSURES, Noise, SchrodingerBridge
from l96closure.closures.laws import Chain
from l96closure.compute import Compute
from l96closure.experiments import sections
from l96closure.experiments.climate.settings import NO_SETTINGS, Coarse, Diagnostics, Forecast, Reference
from l96closure.selection import Selection
from l96closure.systems import SYSTEMS

Section = dict[str, Any]

packages: Mapping[str, str] = {"closure/law": "closure", "closure/selection": "closure"}
"""Sections that the options of a group fill, where that is not the one with the group's name."""


def options() -> Mapping[str, Mapping[str, Section]]:
    """Return the options that hold the code's own defaults: settings by group and option.

    The other options of these groups, YAML files, list what they change of one of these.
    """
    first = next(iter(SYSTEMS))
    return {
        "model": {
            name: ({} if name == first else {"name": name}) | _defaults(system) for name, system in SYSTEMS.items()
        },
        "training": {name: _training(system.simulate) for name, system in SYSTEMS.items()},
        "reference": {"climate": _defaults(Reference)},
        "closure": {name: _closure(name, closure.fit) for name, closure in CLOSURES.items()},
        "closure/law": _laws(),
        "closure/selection": {
            "held_out": {"selection": None},
            "coupled": {"selection": _defaults(Selection, "selection")},
        },
        "coarse": {"rk4": _defaults(Coarse)},
        "forecast": {"ensemble": _defaults(Forecast)},
        "diagnostics": {"climate": _defaults(Diagnostics)},
        "compute": {"local": _defaults(Compute)},
    }


def _training(simulate: Callable[..., Any]) -> Section:
    """Return the arguments of a simulation; psi is held over the step of the coarse run, whatever that is."""
    found = _defaults(simulate, "simulate")
    return found | {name: "${coarse.dt}" for name in ("coarse_dt",) if name in found}


def _closure(name: str, fit: Callable[..., Any]) -> Section:
    """Return the arguments of a fit, each value as a section; one of several classes is a group of its own."""
    found: Section = {"name": name}
    values, groups = sections.values(fit), []
    for key, default in _defaults(fit, "fit").items():
        if key not in values:
            found[key] = default
        elif len(values[key].kinds) > 1:
            groups.append({key: type(default).__name__.lower()})
        elif default is not None:  # else it goes by the option of such a group
            found[key] = {name: getattr(default, name) for name in sections.settings_of(type(default))}
    if "selection" in inspect.signature(fit).parameters:
        groups.append({"selection": "held_out"})
    return found | ({"defaults": ["_self_", *groups]} if groups else {})


def _laws() -> Mapping[str, Section]:
    """Return the laws of a residual, each with the kernel that is its default, and the noise if one drives it."""
    found = {}
    for name, law in sections.values(SchrodingerBridge.fit)["law"].kinds.items():
        section: Section = {"law": {"name": name, **asdict(law())}, "kernel": asdict(Kernel(epsilon=law.epsilon))}
        found[name] = section if law is Chain else section | {"noise": asdict(Noise())}
    return found


def _defaults(code: Callable[..., Any], kind: str = "") -> Section:
    """Return the fields of a dataclass, or the arguments of a function, that are settings, with their defaults."""
    if is_dataclass(code) and not kind:
        return asdict(code())
    parameters = inspect.signature(code).parameters
    return {name: given.default for name, given in parameters.items() if name not in NO_SETTINGS[kind]}
