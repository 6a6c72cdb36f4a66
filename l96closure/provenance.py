"""Which code is running: version of the package, and commit of the clone."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def package_version(package: str = "l96closure") -> str:
    """Version of an installed package, ``"unknown"`` when it is used without having been installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@cache
def git_commit() -> str:
    """Return the commit the package runs from (``-dirty``: files changed); ``"unknown"`` outside a clone."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # installed; a repository further up would be somebody else's
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # Git sets GIT_DIR, GIT_INDEX_FILE and the like for its hooks: of the repository these run for, not of this one.
    foreign = {name for name in os.environ if name.startswith("GIT_") and not name.startswith("GIT_CONFIG")}
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def origin(command: str) -> dict[str, str]:
    """Say by which command and code something was made, a line each."""
    return {"command": command, "package version": package_version(), "git commit": git_commit()}
