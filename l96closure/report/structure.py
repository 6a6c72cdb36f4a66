"""How the report shows structure along the ring: variance by wavenumber, and correlations between neighbours."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from l96closure.diagnostics import intervals, spectra
from l96closure.report import Row, Table
from l96closure.report.compared import compared, unless_known

__all__ = ["tables"]

_MOST_ROWS = 16  # of a table of wavenumbers
_SYMBOLS = {"z": "z", "psi": "ψ"}
_NEIGHBOURS = {"z": "z", "psi": "ψ", "residual": "ψ less its mean given z"}


def tables(diagnostics: xr.Dataset) -> list[Table]:
    """Return the spectra of z and psi along the ring beside the truth's, and the correlations between neighbours.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    """
    neighbours = [name for name in _NEIGHBOURS if not diagnostics[f"neighbour_correlation_{name}"].isnull().all()]
    return [_spectra_table(diagnostics), *([_neighbour_table(diagnostics, neighbours)] if neighbours else [])]


def _spectra_table(diagnostics: xr.Dataset) -> Table:
    """Compare the variances by wavenumber, and say by how much they are wrong at most."""
    wavenumbers = diagnostics["wavenumber"].to_numpy()
    shown = wavenumbers[: _MOST_ROWS - 1] if wavenumbers.size > _MOST_ROWS else wavenumbers
    rows = [
        Row(f"wavenumber {m}", tuple(cell for name in _SYMBOLS for cell in _at(diagnostics.sel(wavenumber=m), name)))
        for m in shown
    ]
    largest = tuple(cell for name in _SYMBOLS for cell in ("", _largest(diagnostics, name)))
    rows.append(Row("largest error", largest, "of the wavenumbers that carry variance", "largest error"))
    columns = (cell for symbol in _SYMBOLS.values() for cell in (f"{symbol}: truth", f"{symbol}: coarse / truth"))
    names = [f"spectrum_ratio_{name}_low" for name in _SYMBOLS]
    left_out = f" Wavenumbers beyond {shown[-1]} are in diagnostics.nc." if shown.size < wavenumbers.size else ""
    return Table(
        "Spectra along the ring",
        ("waves around the ring", *columns),
        tuple(rows),
        "Variance of the truth at each wavenumber, and the coarse run's over it, 1 for a perfect closure. After ± "
        "stands the standard error, in brackets a 95 % interval, both by batch means. The largest error counts "
        f"wavenumbers with a tenth or more of the mean variance; its interval holds all ratios at once.{left_out}"
        f"{unless_known(diagnostics, names, 'Intervals')}",
    )


def _at(at: xr.Dataset, name: str) -> tuple[str, str]:
    """Return the truth's variance and the ratio at one wavenumber."""
    truth = compared(at, f"spectrum_{name}")[1]
    ratio, low, high = (float(at[f"spectrum_ratio_{name}{part}"]) for part in ("", "_low", "_high"))
    if math.isnan(ratio):
        return truth, "–"
    return truth, f"{ratio:.3f}" if math.isnan(low) else f"{ratio:.3f} ({low:.3f} to {high:.3f})"


def _largest(diagnostics: xr.Dataset, name: str) -> str:
    """Show the largest relative error, with where it is and its interval."""
    error, low, high = (100 * float(diagnostics[f"spectrum_error_{name}{part}"]) for part in ("", "_low", "_high"))
    if math.isnan(error):
        return "–"
    carries = spectra.carrying(diagnostics[f"spectrum_{name}"].sel(source="truth").to_numpy())
    departure = np.where(carries, np.abs(diagnostics[f"spectrum_ratio_{name}"] - 1), 0.0)
    interval = "" if math.isnan(low) else f" ({low:.1f} to {high:.1f})"
    return f"{error:.1f} %{interval} at {int(np.argmax(departure))}"


def _neighbour_table(diagnostics: xr.Dataset, names: list[str]) -> Table:
    rows = tuple(Row(_NEIGHBOURS[name], compared(diagnostics, f"neighbour_correlation_{name}")) for name in names)
    return Table(
        "Correlation of neighbours",
        ("quantity", "coarse run", "truth", "difference", "in errors"),
        rows,
        "Correlation at distance 1 at one time. After ± stands the standard error, by batches of time; the last column "
        f"is the difference over its error, of which {intervals.SIDE:.1f} may be chance."
        f"{unless_known(diagnostics, [f'neighbour_correlation_{name}_se' for name in names])}",
    )
