"""The columns of a comparison: one score of all runs each, as text, with the runs that are best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure.diagnostics import intervals, ranking
from l96closure.report import with_error

__all__ = [
    "MARK",
    "NONE",
    "Column",
    "cost",
    "distance",
    "distances",
    "forecast",
    "law",
    "leads",
    "memory",
    "moment",
    "moments",
    "ranked",
    "structure",
]

FloatArray = npt.NDArray[np.float64]

MARK = "*"
"""Stands behind the score of a run that is best."""

NONE = "–"
"""Stands for a score that is not there."""

_UNTOLD = "not all runs have intervals"
_LEADS = (0.5, 1.0, 2.0)  # shown as numbers, or the nearest there are
_DISTANCES = {
    "hellinger_z": ("z", "H(z)"),
    "hellinger_psi": ("ψ", "H(ψ)"),
    "hellinger_joint": ("z and ψ", "H(z,ψ)"),
    "wasserstein_z": ("Wasserstein-1 distance", "W(z)"),
    "ks_z": ("Kolmogorov-Smirnov distance", "KS(z)"),
}
_MOMENTS = {
    "mean": ("mean of z", "mean(z)"),
    "std": ("standard deviation of z", "std(z)"),
    "psi_mean": ("mean of ψ", "mean(ψ)"),
    "psi_std": ("standard deviation of ψ", "std(ψ)"),
}
_FORECASTS = {
    "crps": ("CRPS", "CRPS"),
    "energy_score": ("energy score", "ES"),
    "variogram_score": ("variogram score", "VS"),
    "spread_skill": ("spread-skill", "S/S"),
    "rmse": ("RMSE", "RMSE"),
}
_SPECTRA = {"z": ("spectrum of z", "E(z)"), "psi": ("spectrum of ψ", "E(ψ)")}
_NEIGHBOURS = {"z": ("z", "r1(z)"), "psi": ("ψ", "r1(ψ)"), "residual": ("ψ about its trend", "r1(res)")}


@dataclass(frozen=True, eq=False)
class Column:
    """A score of all runs, ready to be shown.

    Attributes
    ----------
    head, short_head : above it on the page and on the terminal.
    cells, short_cells : the score of each run in full and as one number; empty where there is none.
    truth, short_truth : what the truth has.
    best : the runs to be marked.
    told : whether every run that has the score has an interval of it; else none is marked.
    least : the number of the run that comes nearest to what is perfect; None where no run has the score.
    """

    head: str
    short_head: str
    cells: Sequence[str]
    short_cells: Sequence[str]
    truth: str
    short_truth: str
    best: npt.NDArray[np.bool_]
    told: bool = True
    least: int | None = None

    def marked(self, number: int, *, short: bool) -> str:
        """Return the cell of a run; on the terminal numbers stay one below the other."""
        cell = (self.short_cells if short else self.cells)[number] or NONE
        return cell + (MARK if self.best[number] else " " if short else "")


def distances(comparison: xr.Dataset, prefix: str = "") -> list[Column]:
    """Return the distances that the comparison has, of those whose names begin with ``prefix``."""
    return [distance(comparison, name) for name in _DISTANCES if name in comparison and name.startswith(prefix)]


def ranked(comparison: xr.Dataset, name: str) -> bool:
    """Whether a distance is measured alike in all runs."""
    return name not in str(comparison.attrs["unranked"]).split()


def distance(comparison: xr.Dataset, name: str) -> Column:
    """Return a distance with its floor: a range of floors, on the terminal their mean, where the runs differ in it."""
    value, low, high, floor, spread = (
        comparison[f"{name}{part}"].to_numpy() for part in ("", "_low", "_high", "_floor", "_floor_std")
    )
    judged = _judged(value, low, high)
    known = np.isfinite(floor)
    same = np.unique(floor[known]).size == 1
    first = int(np.argmax(known))
    ends = f"{np.nanmin(floor):.4f} to {np.nanmax(floor):.4f}"
    return Column(
        *_heads(_DISTANCES[name], judged),
        cells=_with_intervals(value, low, high, 4),
        short_cells=_numbers(value, ".4f"),
        truth=with_error(floor[first], spread[first]) if same else ends,
        short_truth=f"{floor[first]:.4f}" if same else f"{np.nanmean(floor):.4f}",
        **judged if ranked(comparison, name) else {**judged, "best": np.zeros(value.shape, dtype=bool)},
    )


def forecast(comparison: xr.Dataset, name: str, lead: float) -> Column:
    """Return a score of the forecasts at a lead."""
    at = comparison.sel(lead=lead)
    value, low, high = (at[f"{name}{part}"].to_numpy() for part in ("", "_low", "_high"))
    judged = _judged(*ranking.departure(value, low, high, 1.0 if name == "spread_skill" else 0.0))
    truth = "1" if name == "spread_skill" else _between(comparison[f"{name}_climatology"].to_numpy())
    return Column(
        *_heads((f"lead {lead:g}", f"{_FORECASTS[name][1]}({lead:g})"), judged),
        cells=_with_intervals(value, low, high, 3),
        short_cells=_numbers(value, ".3f"),
        truth=truth,
        short_truth="1" if name == "spread_skill" else "",
        **judged,
    )


def moments(comparison: xr.Dataset) -> list[Column]:
    """Return the moments that the comparison has."""
    return [moment(comparison, name) for name in _MOMENTS if name in comparison]


def moment(comparison: xr.Dataset, name: str) -> Column:
    """Return how far a moment is from the truth's, in standard errors; itself, in brackets, where it has none."""
    difference, error = _difference(comparison, name)
    judged = _nearest_to_truth(difference, error)
    short = _numbers(np.divide(difference, error, out=np.full_like(error, np.nan), where=error > 0), "+.1f")
    cells = [cell or (f"({d:+.3g})" if np.isfinite(d) else "") for cell, d in zip(short, difference, strict=True)]
    return Column(*_heads(_MOMENTS[name], judged), cells, short, "0", "0", **judged)


def memory(comparison: xr.Dataset) -> list[Column]:
    """Return the errors of the residual's autocorrelation at the lags that one of the runs has."""
    if "autocorrelation_residual" not in comparison:
        return []
    columns = []
    for lag in comparison["lag"].to_numpy():
        difference, error = _difference(comparison.sel(lag=lag), "autocorrelation_residual")
        if np.isnan(difference).all():
            continue
        steps = round(float(lag) / float(comparison.attrs["coarse_dt"]))
        heads = f"lag {lag:g}, {steps} step{'s' if steps > 1 else ''}", f"r({lag:g})"
        columns.append(_against_truth(heads, difference, error))
    return columns


def _against_truth(heads: tuple[str, str], difference: FloatArray, error: FloatArray) -> Column:
    """Return the differences from the truth with their standard errors."""
    judged = _nearest_to_truth(difference, error)
    return Column(
        *_heads(heads, judged),
        cells=_each(lambda d, e: with_error(d, e, signed=True), difference, error),
        short_cells=_numbers(difference, "+.3f"),
        truth="0",
        short_truth="0",
        **judged,
    )


def structure(comparison: xr.Dataset) -> list[Column]:
    """Return what the comparison has of structure along the ring.

    Largest relative errors of the spectra, and the errors of the correlations between neighbours.
    """
    columns = []
    for name, heads in _SPECTRA.items():
        if f"spectrum_error_{name}" not in comparison:
            continue
        value, low, high = (
            100 * comparison[f"spectrum_error_{name}{part}"].to_numpy() for part in ("", "_low", "_high")
        )
        judged = _judged(value, low, high)
        cells, short = _with_intervals(value, low, high, 1), _numbers(value, ".1f")
        columns.append(Column(*_heads((f"{heads[0]} (%)", heads[1]), judged), cells, short, "0", "0", **judged))
    for name, (head, short_head) in _NEIGHBOURS.items():
        correlation = f"neighbour_correlation_{name}"
        if correlation not in comparison or comparison[correlation].isnull().all():
            continue
        heads = f"neighbours, {head}", short_head
        columns.append(_against_truth(heads, *_difference(comparison, correlation)))
    return columns


def law(comparison: xr.Dataset) -> list[Column]:
    """Return the largest error of the law on held-out data, where one of the closures states a law."""
    if "pit_largest_error" not in comparison or comparison["pit_largest_error"].isnull().all():
        return []
    value, low, high = (comparison[f"pit_largest_error{part}"].to_numpy() for part in ("", "_low", "_high"))
    judged = _judged(value, low, high)
    heads = _heads(("largest error of a decile", "PIT"), judged)
    return [Column(*heads, _with_intervals(value, low, high, 4), _numbers(value, ".4f"), "0", "0", **judged)]


def cost(comparison: xr.Dataset) -> list[Column]:
    """Return the wall times of the fit and of a step."""
    fit = _each(lambda seconds: f"{seconds:.1f} s", comparison["fit_time"].to_numpy())
    step = _each(lambda seconds: f"{1e6 * seconds:.1f} µs", comparison["step_time"].to_numpy())
    none = np.zeros(comparison.sizes["run"], dtype=bool)  # a wall time has no interval
    return [Column("fit", "fit", fit, fit, "", "", none), Column("step of a member", "step", step, step, "", "", none)]


def _difference(comparison: xr.Dataset, name: str) -> tuple[FloatArray, FloatArray]:
    """Return coarse run less truth, and the standard error of that."""
    (truth, coarse), (truth_se, coarse_se) = (
        comparison[each].sel(source=["truth", "coarse"]).transpose("source", "run").to_numpy()
        for each in (name, f"{name}_se")
    )
    return coarse - truth, np.hypot(truth_se, coarse_se)


def _nearest_to_truth(difference: FloatArray, error: FloatArray) -> dict[str, Any]:
    low, high = difference - intervals.SIDE * error, difference + intervals.SIDE * error
    return _judged(*ranking.departure(difference, low, high, 0.0))


def _judged(value: FloatArray, low: FloatArray, high: FloatArray) -> dict[str, Any]:
    """Return what :class:`Column` says about who is best by a score, smaller being better."""
    return {
        "best": ranking.best(value, low, high),
        "told": ranking.comparable(value, low, high),
        "least": int(np.nanargmin(value)) if np.isfinite(value).any() else None,
    }


def _heads(heads: tuple[str, str], judged: dict[str, Any]) -> tuple[str, str]:
    """Return the heads of a column; the one on the page says where intervals are missing."""
    head, short = heads
    return (head if judged["told"] else f"{head} ({_UNTOLD})"), short


def leads(comparison: xr.Dataset) -> list[float]:
    """Return the leads to be shown as numbers: those nearest to 0.5, 1 and 2 time units."""
    return sorted({float(comparison["lead"].sel(lead=lead, method="nearest")) for lead in _LEADS})


def _between(values: FloatArray) -> str:
    low, high = (f"{end(values):.3f}" for end in (np.nanmin, np.nanmax))
    return low if low == high else f"{low} to {high}"


def _with_intervals(value: FloatArray, low: FloatArray, high: FloatArray, digits: int) -> list[str]:
    def cell(value: float, low: float, high: float) -> str:
        return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")

    return _each(cell, value, low, high)


def _numbers(values: FloatArray, form: str) -> list[str]:
    return _each(lambda value: f"{value:{form}}", values)


def _each(shown: Callable[..., str], *values: FloatArray) -> list[str]:
    """Show the values of each run, nothing where the first is not known."""
    return [shown(*each) if np.isfinite(each[0]) else "" for each in zip(*values, strict=True)]
