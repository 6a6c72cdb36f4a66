"""How the report shows whether the closure's conditional law holds on held-out data."""

from __future__ import annotations

import math

import xarray as xr

from l96closure.report import Row, Table
from l96closure.report.compared import unless_known

__all__ = ["HEADING", "tables"]

HEADING = "Reliability of the law on held-out data"


def tables(diagnostics: xr.Dataset) -> list[Table]:
    """Return the shares of held-out psi below the deciles of the law stated for it; none where the law states none.

    Parameters
    ----------
    diagnostics : has the variables of :func:`l96closure.diagnostics.reliability.pit`, or none of them.
    """
    if "pit_error" not in diagnostics:
        return []
    rows = [
        Row(f"{float(decile):g}", (f"{float(at['pit_error']) + float(decile):.4f}", *_cells(at, "pit_error", "+.4f")))
        for decile in diagnostics["decile"].to_numpy()
        for at in [diagnostics.sel(decile=decile)]
    ]
    rows.append(Row("largest", ("", *_cells(diagnostics, "pit_largest_error", ".4f"))))
    note = (
        f"Share of ψ in the reference that lies below the deciles of the law the closure states for it, "
        f"{int(diagnostics.attrs['pit_values'])} values of {float(diagnostics.attrs['pit_duration']):g} time units. "
        "Too much below the first and too little below the last deciles: the law is too narrow; the reverse: too wide. "
        "The interval of the largest difference holds all deciles at once."
        f"{unless_known(diagnostics, ['pit_error_low'], 'Intervals')}"
    )
    return [Table(HEADING, ("decile of the law", "ψ below it", "difference", "95 % interval"), tuple(rows), note)]


def _cells(at: xr.Dataset, name: str, form: str) -> tuple[str, str]:
    """Return a number and its interval."""
    value, low, high = (float(at[f"{name}{part}"]) for part in ("", "_low", "_high"))
    return f"{value:{form}}", "–" if math.isnan(low) else f"{low:{form}} to {high:{form}}"
