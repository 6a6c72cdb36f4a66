"""Settings as they are stored with results. What is read is data: nothing in it is evaluated, looked up or run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from l96closure import checks


class _Plain(yaml.SafeLoader):
    """Reads YAML without references, which could make a page of text grow beyond all memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references are not allowed")
        return super().compose_node(parent, index)


class _Written(yaml.SafeDumper):
    """Writes YAML without references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(data: Any) -> str:
    """Return plain data as YAML; mappings keep their order."""
    return yaml.dump(data, Dumper=_Written, sort_keys=False, allow_unicode=True)


def from_yaml(text: Any, name: str) -> Any:
    """Return the plain data in a text of :func:`to_yaml`; ``name`` is what a message calls it.

    Raises
    ------
    ValueError
        It is no text or no YAML, or has references.
    """
    try:
        if isinstance(text, str):
            return yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, ValueError, RecursionError):  # a ValueError: a date that is none
        pass
    checks.reject(name, text, "YAML")


def settings_from(text: Any, name: str) -> dict[str, Any]:
    """Return the settings in a text, an empty one has none; raises ``ValueError`` if there is something else in it."""
    found = from_yaml(text, name)
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        checks.reject(name, text, "settings as YAML")
    return found


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a file; raises as :func:`settings_from`, and ``OSError``."""
    return settings_from(path.read_text(encoding="utf-8", errors="replace"), str(path))


def number(values: Any, name: str) -> float:
    """Return one of some values by name; NaN where there are none, or it is not one finite number."""
    value = values.get(name) if isinstance(values, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return math.nan
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
    return found if math.isfinite(found) else math.nan
