"""Reading the sections of a configuration: every key must be known, every value is checked by its dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from l96closure import checks

__all__ = ["arguments", "build", "check_keys", "check_sections", "seeds"]

_T = TypeVar("_T")

_COMMON = (
    "workflow",
    "experiment_name",
    "seed",
    "stages",
    "run_dir",
    "resume",
    "force",
    "checkpoint_every",
)  # keys of every experiment beside its sections


def check_keys(owner: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise ``ValueError`` if one of the keys ``given`` is not ``allowed``; ``owner`` names what has the keys."""
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            raise ValueError(f"{owner} has no setting {key!r}; it has {', '.join(allowed)}")


def check_sections(config: Mapping[str, Any], sections: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``config`` has all ``sections``, and no key beside them and the common ones."""
    sections = list(sections)
    check_keys("the configuration", config, (*sections, *_COMMON))
    label = config.get("experiment_name", "unnamed")
    if not isinstance(label, str) or label in ("", "..") or label != Path(label).name:
        checks.reject("experiment_name", label, "the name of a folder")
    for name in sections:
        if not isinstance(config.get(name), Mapping):
            checks.reject(name, config.get(name), "a section of settings")


def arguments(section: str, function: Callable[..., Any], given: Mapping[str, Any], *supplied: str) -> dict[str, Any]:
    """Return ``given`` if ``function`` takes every key and its rules (:func:`l96closure.checks.arguments`) allow all.

    ``supplied`` are the arguments we give ourselves.
    """
    check_keys(section, given, [name for name in inspect.signature(function).parameters if name not in supplied])
    checks.by_rules(function, given, section)
    return dict(given)


def build(section: str, cls: Callable[..., _T], given: Mapping[str, Any]) -> _T:
    """Fill a dataclass from a section that must name each of its fields, and nothing else.

    Raises
    ------
    ValueError
        A key is unknown or missing, or the dataclass rejects a value.
    """
    taken = arguments(section, cls, given)
    missing = [name for name in inspect.signature(cls).parameters if name not in given]
    if missing:
        raise ValueError(f"{section} lacks the setting {missing[0]!r}")
    return cls(**taken)


def seeds(seed: int, uses: Iterable[str]) -> dict[str, int]:
    """Return independent seeds for every use of chance, spawned from ``seed`` in the order of ``uses``."""
    uses = list(uses)
    children = np.random.SeedSequence(seed).spawn(len(uses))
    return {use: int(child.generate_state(1)[0]) for use, child in zip(uses, children, strict=True)}
