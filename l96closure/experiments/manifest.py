"""The manifest of a run folder: for each of its files the settings that made it, its inputs and a checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from l96closure import checks
from l96closure.atomic import atomic_path

NAME = "manifest.json"


class Record(NamedTuple):
    """What is known of a file of a run.

    Attributes
    ----------
    settings : those that decide what it holds, by their full names.
    inputs : checksums of the files it was made from, by name.
    seconds : wall time of its stage.
    sha256 : its checksum; None while it is being written, and for good where that was killed.
    command : the command that made it; empty where it was not put down.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    seconds: float
    sha256: str | None
    command: str = ""


def read(folder: Path) -> dict[str, Record]:
    """Return the records of a folder by name of file; none where there is no manifest.

    Raises
    ------
    ValueError
        What is there in its place is none.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        found = {name: Record(**entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        found = None
    if found is None or not all(isinstance(x, dict) for each in found.values() for x in (each.settings, each.inputs)):
        checks.reject("manifest", str(path), "as this package writes it; without it the files are taken as they are")
    return found


def write(folder: Path, records: Mapping[str, Record]) -> None:
    """Write the records of a folder; the manifest appears whole or stays as it was."""
    text = json.dumps({name: record._asdict() for name, record in records.items()}, indent=1, ensure_ascii=False)
    with atomic_path(folder / NAME) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a manifest gives them back."""
    return json.loads(json.dumps(settings))
