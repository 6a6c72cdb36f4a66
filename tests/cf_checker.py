"""The CF checker (compliance-checker), called on one file."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

_CHECKER = str(Path(sys.executable).with_name("compliance-checker"))


@cache
def _newest_cf() -> str:
    """Name the newest CF test up to 1.11 that the installed checker has."""
    listed = subprocess.run([_CHECKER, "--list-tests"], check=True, capture_output=True, text=True).stdout
    minor = max(int(m) for m in re.findall(r"cf:1\.(\d+)", listed) if int(m) <= 11)
    return f"cf:1.{minor}"


def cf_check(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the checker on one file (of several, its return code hides some); 0 means no errors and no warnings."""
    command = [_CHECKER, f"--test={_newest_cf()}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
