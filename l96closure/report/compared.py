"""How a number of the coarse run is shown beside the truth's, in every table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.report import with_error

__all__ = ["compared", "unless_known"]


def compared(diagnostics: xr.Dataset, name: str) -> tuple[str, str, str, str]:
    """Return coarse run, truth, difference, each with its error, and the difference over its error.

    Parameters
    ----------
    diagnostics : has ``name`` and ``<name>_se`` of the dimension ``source`` alone.
    name : of the variable.
    """
    truth, coarse = (float(x) for x in diagnostics[name].sel(source=["truth", "coarse"]))
    truth_se, coarse_se = (float(x) for x in diagnostics[f"{name}_se"].sel(source=["truth", "coarse"]))
    difference, error = coarse - truth, math.hypot(truth_se, coarse_se)
    return (
        with_error(coarse, coarse_se),
        with_error(truth, truth_se),
        with_error(difference, error, signed=True),
        f"{difference / error:+.1f}" if error > 0 else "–",
    )


def unless_known(diagnostics: xr.Dataset, names: Sequence[str], what: str = "Standard errors") -> str:
    """Say why some of these variables are missing, where they are."""
    missing = any(bool(diagnostics[name].isnull().any()) for name in names)
    return f" {what} are {intervals.REASON}." if missing else ""
