"""The CF checker (compliance-checker), asked about one file."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

from compliance_checker.cf import util
from compliance_checker.runner import CheckSuite, ComplianceChecker


@cache
def _newest_cf() -> str:
    """Name the newest CF test up to 1.11 that the installed checker has."""
    CheckSuite.load_all_available_checkers()
    minor = max(int(m) for m in re.findall(r"cf:1\.(\d+)", " ".join(CheckSuite.checkers)) if int(m) <= 11)
    return f"cf:1.{minor}"


def cf_complaints(path: Path) -> str:
    """Return what the checker says of a file with errors or warnings, nothing where it has none."""
    once = cache(util.get_geophysical_variables)  # it asks nine times of a file, for a second each
    with (
        redirect_stdout(io.StringIO()) as said,
        warnings.catch_warnings(action="ignore"),
        patch.object(util, "get_geophysical_variables", once),
    ):
        passed, failed = ComplianceChecker.run_checker(str(path), [_newest_cf()], verbose=0, criteria="normal")
    return "" if passed and not failed else said.getvalue()
