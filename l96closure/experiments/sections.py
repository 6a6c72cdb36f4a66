"""Reading the sections of a configuration: every key must be known, every value is checked by its dataclass."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np

from l96closure import checks
from l96closure.fields import Fields

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
    "objective",
    "figures",
)  # keys of every experiment beside its sections
# The other fields are about other data than the experiment's.
_OF_FIELDS = ("radius", "lags", "previous", "pool", "conserve")


def check_keys(owner: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise ``ValueError`` if one of the keys ``given`` is not ``allowed``; ``owner`` names what has the keys."""
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            raise ValueError(f"{owner} has no setting {key!r}; it has {', '.join(allowed)}{nearest(key, allowed)}")


def nearest(given: str, known: Iterable[str]) -> str:
    """Return the question that a message about a misspelt name ends in; nothing where no known name is like it.

    A name that stands below others, ``steps`` for ``coarse.steps``, is known by its last part too.
    """
    by_part: dict[str, str] = {}
    for name in known:
        by_part.setdefault(name.rpartition(".")[2], name)
        by_part.setdefault(name, name)
    found = difflib.get_close_matches(given, by_part, n=1)
    return f"; did you mean {by_part[found[0]]}?" if found else ""


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
    """Return arguments for ``function`` that its rules (:func:`l96closure.checks.arguments`) allow.

    Parameters
    ----------
    section : what messages call them together.
    function : what they are arguments of.
    given : by name; where the function takes a value of ours (:func:`values`), a section of what the value is made of,
        with ``name`` where there are several kinds of it, or None where the function takes that.
    supplied : arguments that we give ourselves.

    Raises
    ------
    ValueError
        A key is unknown, or a value is out of its range; one line that names it in full.
    """
    check_keys(section, given, [name for name in inspect.signature(function).parameters if name not in supplied])
    kinds = values(function)
    taken = {
        name: _made(f"{section}.{name}", kinds[name], value) if name in kinds else value
        for name, value in given.items()
    }
    checks.by_rules(function, taken, section)
    return taken


class Value(NamedTuple):
    """An argument that is made of a section: its kinds by the name they have in a configuration, and whether of none.

    Attributes
    ----------
    kinds : dataclasses that it may be one of.
    optional : whether it may be None.
    """

    kinds: Mapping[str, type[Any]]
    optional: bool


def values(function: Callable[..., Any]) -> dict[str, Value]:
    """Return the arguments of a function that are dataclasses."""
    found = {}
    for name, hint in (get_type_hints(function) if inspect.isroutine(function) else {}).items():
        classes = get_args(hint) or (hint,)
        if kinds := {each.__name__.lower(): each for each in classes if isinstance(each, type) and is_dataclass(each)}:
            found[name] = Value(kinds, type(None) in classes)
    return found


def settings_of(cls: type[Any]) -> list[str]:
    """Return the fields of a value that are settings."""
    return list(_OF_FIELDS) if cls is Fields else list(inspect.signature(cls).parameters)


def _made(name: str, value: Value, given: Any) -> Any:
    """Make a value of its section; ``name`` is that of the section in full."""
    if given is None and value.optional:
        return None
    several = len(value.kinds) > 1
    if not isinstance(given, Mapping):
        chosen = f", chosen by {name.replace('.', '/')}={' or '.join(value.kinds)}" if several else ""
        checks.reject(name, given, f"a section of settings{chosen}")
    taken = dict(given)
    kind = checks.one_of(f"{name}.name", taken.pop("name", None), value.kinds) if several else next(iter(value.kinds))
    cls = value.kinds[kind]
    check_keys(name, taken, settings_of(cls))
    try:
        return cls(**taken)
    except ValueError as error:  # calls the value by the name of its argument, if at all
        raise ValueError(f"{name}.{str(error).removeprefix(name.rpartition('.')[2] + '.')}") from None


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
