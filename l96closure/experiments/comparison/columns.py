"""The columns of a comparison: one score of all runs each, as text, with the runs that are best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from l96closure.arrays import F64, Bools
from l96closure.diagnostics import intervals, ranking
from l96closure.diagnostics.forecast import headline_leads
from l96closure.diagnostics.scorecard import (
    BOUNDED,
    DISTANCES,
    FORECASTS,
    LAW,
    MEMORY,
    MOMENTS,
    NEIGHBOURS,
    SPECTRA,
    difference,
)
from l96closure.durations import duration, unit_of
from l96closure.experiments.data import offline
from l96closure.report import NONE, finest, number, with_error, with_interval

MARK = "*"
"""Stands behind the score of a run that is best."""

UNTOLD = "†"
"""Stands behind the head of a score of which not all runs have intervals."""

_NOT_SCORES = ("fit_time", "step_time")


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
    best: Bools
    told: bool = True
    least: int | None = None

    def marked(self, number: int, *, short: bool) -> str:
        """Return the cell of a run; on the terminal numbers stay one below the other."""
        cell = (self.short_cells if short else self.cells)[number] or NONE
        return cell + (MARK if self.best[number] else " " if short else "")


def scored(comparison: xr.Dataset) -> Bools:
    """Tell of each run whether it has scores: whether it has come to an end."""
    scores = comparison.drop_vars(_NOT_SCORES).notnull()
    each = [value.any([dim for dim in value.dims if dim != "run"]) for value in scores.data_vars.values()]
    return np.logical_or.reduce([value for value in each if value.dims == ("run",)])


def offline_scores(comparison: xr.Dataset) -> list[Column]:
    """Return the scores of draws along the reference that the comparison has."""
    columns = []
    for name, score in offline.SCORES.items():
        if name not in comparison:
            continue
        heads, value = (score.meaning, score.symbol), comparison[name].to_numpy()
        if set(BOUNDED) <= set(score.parts):
            digits = min(4, max(0, 3 - int(np.floor(np.log10(np.nanmin(value))))))
            level = comparison[f"{name}_climatology"].to_numpy()
            truth = _between(level, digits), number(float(np.nanmean(level)), digits)
            column = _bounded(comparison, name, heads, digits, truth)
            columns.append(column if ranked(comparison, name) else replace(column, best=np.zeros_like(column.best)))
            continue
        shown, none = (
            _each(partial(with_error, error=np.nan, beside=finest(value)), value),
            np.zeros(value.shape, dtype=bool),
        )
        truth = (f"{score.target:g}",) * 2 if score.target else ("", "")
        if "_floor" in score.parts:
            floor = comparison[f"{name}_floor"].to_numpy()
            truth = _between(floor, 4), f"{np.nanmean(floor):.4g}"
        columns.append(Column(*heads, shown, shown, *truth, none))
    return columns


def distances(comparison: xr.Dataset, prefix: str | tuple[str, ...]) -> list[Column]:
    """Return the distances that the comparison has, of those whose names begin with ``prefix``."""
    return [distance(comparison, name) for name in DISTANCES if name in comparison and name.startswith(prefix)]


def ranked(comparison: xr.Dataset, name: str) -> bool:
    """Whether a distance is measured alike in all runs."""
    return name not in str(comparison.attrs["unranked"]).split()


def distance(comparison: xr.Dataset, name: str) -> Column:
    """Return a distance with its floor: a range of floors, on the terminal their mean, where the runs differ in it."""
    floor, spread = (comparison[f"{name}{part}"].to_numpy() for part in ("_floor", "_floor_std"))
    known = np.isfinite(floor)
    same = np.unique(floor[known]).size == 1
    first = int(np.argmax(known))
    score = DISTANCES[name]
    truth = with_error(floor[first], spread[first]) if same else _between(floor, 4)
    short_truth = number(float(floor[first] if same else np.nanmean(floor)), 4)
    column = _bounded(comparison, name, (score.label, score.symbol), 4, (truth, short_truth))
    return column if ranked(comparison, name) else replace(column, best=np.zeros(floor.shape, dtype=bool))


def forecasts(comparison: xr.Dataset, name: str) -> list[Column]:
    """Return a score of the forecasts at a few leads; nothing where no run has it."""
    if name not in comparison or comparison[name].isnull().all():  # a single site has no variogram
        return []
    return [forecast(comparison, name, lead) for lead in headline_leads(comparison)]


def forecast(comparison: xr.Dataset, name: str, lead: float) -> Column:
    """Return a score of the forecasts at a lead."""
    score = FORECASTS[name]
    level = "_climatology" in "".join(score.parts)
    truth = (_between(comparison[f"{name}_climatology"].to_numpy(), 3), "") if level else (f"{score.target:g}",) * 2
    after = duration(lead, unit_of(comparison["lead"]))
    heads = f"lead {after}", f"{score.symbol}({after})"
    return _bounded(comparison.sel(lead=lead), name, heads, 3, truth, target=score.target)


def moments(comparison: xr.Dataset) -> list[Column]:
    """Return the moments that the comparison has."""
    return [moment(comparison, name) for name in MOMENTS if name in comparison]


def moment(comparison: xr.Dataset, name: str) -> Column:
    """Return how far a moment is from the truth's, in standard errors; itself, in brackets, where it has none."""
    off, error = _off(comparison, name)
    short = _numbers(np.divide(off, error, out=np.full_like(error, np.nan), where=error > 0), "+.1f")
    cells = [cell or (f"({d:+.3g})" if np.isfinite(d) else "") for cell, d in zip(short, off, strict=True)]
    column = _against_truth(comparison, name, (MOMENTS[name].label, MOMENTS[name].symbol))
    return replace(column, cells=cells, short_cells=short)


def memory(comparison: xr.Dataset) -> list[Column]:
    """Return the errors of the residual's autocorrelation at the lags that one of the runs has."""
    if MEMORY.name not in comparison:
        return []
    columns = []
    for lag in comparison["lag"].to_numpy():
        at = comparison.sel(lag=lag)
        if np.isnan(_off(at, MEMORY.name)[0]).all():
            continue
        steps = round(float(lag) / float(comparison.attrs["coarse_dt"]))
        after = duration(float(lag), unit_of(comparison["lag"]))
        heads = f"lag {after}, {steps} step{'s' if steps > 1 else ''}", f"{MEMORY.symbol}({after})"
        columns.append(_against_truth(at, MEMORY.name, heads))
    return columns


def structure(comparison: xr.Dataset) -> list[Column]:
    """Return what the comparison has of structure along the ring.

    Largest relative errors of the spectra, and the errors of the correlations between neighbours.
    """
    return [
        *(
            _bounded(comparison, score.name, (f"{score.meaning} (%)", score.symbol), 1, ("0", "0"), factor=100)
            for score in SPECTRA.values()
            if score.name in comparison
        ),
        *(
            _against_truth(comparison, score.name, (f"neighbours, {score.meaning}", score.symbol))
            for score in NEIGHBOURS.values()
            if score.name in comparison and not comparison[score.name].isnull().all()
        ),
    ]


def law(comparison: xr.Dataset) -> list[Column]:
    """Return the largest error of the law on held-out data, where one of the closures states a law."""
    if LAW.name not in comparison or comparison[LAW.name].isnull().all():
        return []
    return [_bounded(comparison, LAW.name, ("largest error of a decile", LAW.symbol), 4, ("0", "0"))]


def _of_a_step(seconds: float) -> str:
    """Show the wall time of a step."""
    return f"{1e6 * seconds:.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.1f} ms"


def cost(comparison: xr.Dataset) -> list[Column]:
    """Return the wall times of the fit and of a step."""
    fit = _each(lambda seconds: f"{seconds:.1f} s", comparison["fit_time"].to_numpy())
    step = _each(_of_a_step, comparison["step_time"].to_numpy())
    none = np.zeros(comparison.sizes["run"], dtype=bool)  # a wall time has no interval
    return [Column("fit", "fit", fit, fit, "", "", none), Column("step of a member", "step", step, step, "", "", none)]


def _bounded(
    comparison: xr.Dataset,
    name: str,
    heads: tuple[str, str],
    digits: int,
    truth: tuple[str, str],
    *,
    target: float = 0.0,
    factor: float = 1.0,
) -> Column:
    """Return a score that has intervals; the runs nearest to the target are best."""
    value, low, high = (factor * comparison[f"{name}{part}"].to_numpy() for part in BOUNDED)
    largest = float(np.abs(value).max(initial=0.0, where=np.isfinite(value)))
    cells = _each(lambda *each: with_interval(each, digits, beside=largest), value, low, high)
    short = _each(lambda one: number(one, digits, beside=largest), value)
    return _judged(ranking.departure(value, low, high, target), heads, cells, short, truth)


def _against_truth(comparison: xr.Dataset, name: str, heads: tuple[str, str]) -> Column:
    """Return the differences from the truth with their standard errors."""
    off, error = _off(comparison, name)
    departure = ranking.departure(off, off - intervals.SIDE * error, off + intervals.SIDE * error, 0.0)
    cells = _each(partial(with_error, signed=True, beside=finest(off, error)), off, error)
    return _judged(departure, heads, cells, _each(lambda one: number(one, 3, signed=True), off), ("0", "0"))


def _judged(
    departure: tuple[F64, F64, F64],
    heads: tuple[str, str],
    cells: Sequence[str],
    short_cells: Sequence[str],
    truth: tuple[str, str],
) -> Column:
    """Return a column that marks the runs of the least departure; its head says where intervals are missing."""
    told, size = ranking.comparable(*departure), departure[0]
    return Column(
        heads[0] if told else f"{heads[0]}\u00a0{UNTOLD}",
        heads[1],
        cells,
        short_cells,
        *truth,
        ranking.best(*departure),
        told,
        int(np.nanargmin(size)) if np.isfinite(size).any() else None,
    )


def _off(comparison: xr.Dataset, name: str) -> tuple[F64, F64]:
    """Return coarse run less truth, and the standard error of that, for every run."""
    off, error = difference(comparison, name)
    return off.to_numpy(), error.to_numpy()


def _between(values: F64, digits: int) -> str:
    low, high = (number(float(end(values)), digits) for end in (np.nanmin, np.nanmax))
    return low if low == high else f"{low} to {high}"


def _numbers(values: F64, form: str) -> list[str]:
    return _each(lambda value: f"{value:{form}}", values)


def _each(shown: Callable[..., str], *values: F64) -> list[str]:
    """Show the values of each run, nothing where the first is not known."""
    return [shown(*each) if np.isfinite(each[0]) else "" for each in zip(*values, strict=True)]
