"""What a closure keeps of its training data for the coarse model: the definition of psi and the time step."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

from l96closure import checks
from l96closure.closures.parts import Parts
from l96closure.series import time_step
from l96closure.subgrid import DEFINITIONS, HELD, definition_of

__all__ = ["attributes", "of", "read"]


def of(truth: xr.Dataset, dt: float | None = None) -> dict[str, Any]:
    """Return ``subgrid`` and ``dt`` for a closure.

    Parameters
    ----------
    truth : training data; its attribute ``subgrid`` names the definition of psi.
    dt : coarse step the closure is fitted for, in the unit of ``truth``'s time; None is the interval of ``truth``,
        where its times have a uniform one.

    Raises
    ------
    ValueError
        psi is defined over another coarse step.
    """
    if dt is None and "time" in truth.coords:
        try:
            dt = time_step("truth", truth)
        except ValueError:  # dt is for convenience: what needs the times of truth refuses them itself
            dt = None
    named, over = definition_of(truth), truth.attrs.get("coarse_dt")
    if named in HELD and dt is not None and over is not None and not math.isclose(dt, over, rel_tol=1e-6):
        checks.reject("dt", dt, f"{over:g}, the coarse step over which psi is defined in truth")
    return {"subgrid": named, "dt": dt}


def attributes(closure: Any) -> dict[str, Any]:
    """Return them as attributes of a file, without those that are not known."""
    known = {"subgrid": closure.subgrid, "dt": closure.dt}
    return {name: value for name, value in known.items() if value is not None}


def read(parts: Parts) -> dict[str, Any]:
    """Inverse of :func:`attributes`; raises ``ValueError`` when one is there and wrong."""
    return {
        "subgrid": parts.text("subgrid", DEFINITIONS) if "subgrid" in parts else None,
        "dt": parts.number("dt", above=0.0) if "dt" in parts else None,
    }
