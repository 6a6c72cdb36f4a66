"""Labels for runs: the settings in which each differs from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from l96closure.experiments.own import TARGET
from l96closure.experiments.run_folder import flat
from l96closure.experiments.stored import to_yaml

_MAX_SETTINGS = 3  # settings in a label
_EXPERIMENT = "experiment"
_NAME = ".name"  # ends the setting that says what the others of its section belong to
_OWN = f".{TARGET}"  # and that of code of the user's own


def differing(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for every run the settings in which another run differs from it, by name, the most telling first.

    Settings of a section that has names, as ``closure`` and its ``law`` have, count among the runs with these names
    alone, and all but the name of the section itself count among runs of one experiment: beside another closure, what
    tells a closure is its name, and then that of its law.

    Parameters
    ----------
    configs : configuration of each run; one that is empty is not known and differs from none.
    """
    runs = [_settings(config) for config in configs]
    found = []
    for mine in runs:
        differences = {}
        for key, value in mine.items():
            owners = _owners(key, mine)
            peers = [other for other in runs if other and all(other.get(name) == mine.get(name) for name in owners)]
            if any(key not in other or other[key] != value for other in peers):
                differences[key] = value
        found.append({key.removesuffix(_NAME): differences[key] for key in sorted(differences, key=_rank)})
    return found


def labels(configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Return a label for each run, no two alike: at most three of the settings that tell it from the others.

    Parameters
    ----------
    configs : configuration of each run.
    names : a name of each, no two alike; it stands behind the settings where they do not tell runs apart.
    """
    plain = [_label(differences) for differences in differing(configs)]
    often = Counter(plain)
    return [
        label if label and often[label] == 1 else f"{label} ({name})" if label else name
        for label, name in zip(plain, names, strict=True)
    ]


def abridged(configs: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    """Say in a sentence each what the labels that had no room for all settings stand for."""
    found = zip(labels, differing(configs), strict=True)
    return [f"{label}: {' '.join(_parts(each))}." for label, each in found if len(each) > _MAX_SETTINGS]


def shared(configs: Sequence[Mapping[str, Any]]) -> str:
    """Return, as YAML, the settings that are the same in all configurations."""
    return to_yaml(_shared(configs))


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    common: dict[str, Any] = {}
    for key, value in configs[0].items():
        values = [config.get(key) for config in configs]
        if all(isinstance(each, Mapping) and each for each in values):
            if inner := _shared([config[key] for config in configs]):
                common[key] = inner
        elif all(key in config and each == value for config, each in zip(configs, values, strict=True)):
            common[key] = value
    return common


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings that may decide what a run holds, by their full names."""
    if not config:
        return {}
    sections = [name for name, section in config.items() if isinstance(section, Mapping)]
    named = {
        key.removesuffix(_OWN) + _NAME if key.endswith(_OWN) else key: x for key, x in flat(config, sections).items()
    }
    return {_EXPERIMENT: config.get("experiment_name"), **named}


def _owners(key: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that two runs must share before it means something that they differ in ``key``.

    These are the experiment and the names in its section, as ``closure.name`` and ``closure.law.name`` for the noise of
    a closure; the name of a section itself always means something.
    """
    section = key.partition(".")[0]
    if key in (_EXPERIMENT, section + _NAME):
        return []
    inner = (name for name in settings if name.startswith(f"{section}.") and name.endswith(_NAME))
    return list(dict.fromkeys([_EXPERIMENT, section + _NAME, *(name for name in inner if name != key)]))


def _rank(key: str) -> int:
    return 0 if key == _EXPERIMENT else 1 if key.endswith(_NAME) else 3 if key == "seed" else 2


def _label(differences: Mapping[str, Any]) -> str:
    parts = _parts(differences)
    more = [f"+{len(parts) - _MAX_SETTINGS} more"] if len(parts) > _MAX_SETTINGS else []
    return " ".join(parts[:_MAX_SETTINGS] + more)


def _parts(differences: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in differences.items()]
