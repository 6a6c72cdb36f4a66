"""What a closure keeps of its training data for the coarse model: the definition of psi and the time step."""

from __future__ import annotations

from typing import Any

from l96closure.closures.parts import Parts
from l96closure.subgrid import DEFINITIONS


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
