"""The Makefile's chores leave nothing out, and what runs on a forge are these chores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

CLONE = Path(__file__).resolve().parents[1]
MAKEFILE = (CLONE / "Makefile").read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def recipe(target: str) -> str:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert found is not None, target
    return found[1]


def test_every_benchmark_is_smoked() -> None:
    scripts = {path.name for path in (CLONE / "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")}
    assert set(re.findall(r"benchmarks/(\w+\.py)", recipe("bench-smoke"))) == scripts


def test_help_lists_every_chore() -> None:
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE))
    assert phony == targets() == set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE))


def test_workflows_call_chores() -> None:
    for path in (CLONE / ".github" / "workflows").glob("*.yml"):
        jobs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
        commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        assert {command.split()[0] for command in commands} == {"make"}
        assert {command.split()[1] for command in commands} <= targets()
