"""How runs laid side by side are shown: headline, tables of the page, and one table for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.diagnostics.forecast import headline_leads
from l96closure.diagnostics.scorecard import FORECASTS
from l96closure.durations import duration, unit_of
from l96closure.experiments.climate import closure_tables as closure
from l96closure.experiments.comparison import columns
from l96closure.experiments.comparison.columns import MARK, UNTOLD, Column
from l96closure.report import NONE, Row, Table, as_text, listed, paragraph

_MIDDLE = 1  # of the leads and of the lags, for the terminal
_MARKS = (
    f"{MARK} best, or not told from the best: the 95 % interval overlaps with that of the best, while those of runs "
    f"without {MARK} do not. No {MARK} in a column: the intervals do not tell who is best or are missing, or "
    "runs are not ranked by it."
)
_AS_ABOVE = f"{MARK} as above."
_FLOOR = (
    "Floor: the same distance between two stretches of truth, ± its standard deviation, which is what a perfect "
    "closure scores. In brackets 95 % intervals, by resampling blocks of time; "
    f"{intervals.REASON}."
)
_FEW_STARTS = f"not given with fewer than {intervals.MIN_VALUES} independent starts, for they would not cover"
_OF_FORECASTS = ("crps", "energy_score", "variogram_score", "spread_skill", "rmse")

_TABLES: tuple[tuple[str, Callable[[xr.Dataset], Sequence[Column]], str, str | None], ...] = (
    (
        "Offline: draws along the reference",
        columns.offline_scores,
        "The target given the recorded predictors, in the units of the data. CRPS: fair continuous ranked probability "
        "score, the lower the better, in the first row that of climatology. Spread over error is 1 where the draws are "
        "as wide as their errors ask for. In the first row a range is that of the references, where runs have "
        "several. Covariance matrix: distance over the size of the reference's, in the first "
        f"row that between the halves of the reference. In brackets 95 % intervals, by batch means, {intervals.REASON}"
        f". {_MARKS}",
        "climatology, or to be met",
    ),
    (
        "Climate: Hellinger distances",
        partial(columns.distances, prefix="hellinger"),
        f"{_FLOOR} {_MARKS}",
        "floor",
    ),
    (
        "Climate: other distances of z",
        partial(columns.distances, prefix=("wasserstein", "ks")),
        f"{_FLOOR} {_AS_ABOVE}",
        "floor",
    ),
    (
        "Climate: moments",
        columns.moments,
        "Coarse run less truth, over the standard error of that difference: what lies within "
        f"{intervals.SIDE:.1f} may be chance. In brackets the difference itself: standard errors are "
        f"{intervals.REASON}. {_AS_ABOVE}",
        "truth",
    ),
    (
        "Climate: structure along the ring",
        columns.structure,
        "Spectrum: largest relative error of the variance over the wavenumbers that carry any, in brackets a 95 % "
        "interval. Neighbours: correlation of neighbouring sites, coarse run less truth, ± the standard error. "
        f"Both are {intervals.REASON}. {_AS_ABOVE}",
        "truth",
    ),
    *(
        (
            f"Forecasts: {score.symbol}",
            partial(columns.forecasts, name=score.name),
            f"{score.meaning} In brackets 95 % intervals, by resampling the starts; {_FEW_STARTS}. {_AS_ABOVE}",
            "a reliable ensemble" if score.target else "climatology",
        )
        for score in map(FORECASTS.__getitem__, _OF_FORECASTS)
    ),
    (
        "Memory of the residual of ψ",
        columns.memory,
        "Autocorrelation of ψ less its mean given z, coarse run less truth, ± the standard error, which is "
        f"{intervals.REASON}; – where the runs do not record that lag. {_AS_ABOVE}",
        "truth",
    ),
    (
        "Reliability of the law on held-out data",
        columns.law,
        "Largest difference, over the deciles of the law that the closure states for ψ, between the decile and the "
        "share of ψ in the reference that lies below it; – where the closure states no law. In brackets 95 % "
        f"intervals, by batches of time, {intervals.REASON}. {_AS_ABOVE}",
        "truth",
    ),
)
"""Heading, columns, note and name of the first row of each table of the page."""

_SHORT = "runs are too short against their memory"
_FEW = "their starts are too few or too alike"

_T = TypeVar("_T")


def headline(comparison: xr.Dataset) -> str:
    """Say in a few sentences how many runs there are and which are best, by climate and by forecasts."""
    runs = comparison.sizes["run"]
    lost = int((~columns.scored(comparison)).sum())
    count = f"{runs} run{'s' if runs > 1 else ''}" + (f", {lost} of which did not finish" if lost else "")
    sentences = [f"{count}, judged by the truth."]
    if "offline_crps" in comparison and columns.ranked(comparison, "offline_crps"):
        column = columns.offline_scores(comparison)[0]
        why = "the reference is too short against its memory"
        of = "the CRPS of draws along the reference"
        sentences.append(_verdict(comparison, column, of, f"; climatology {column.truth}", why))
    name, of = ("hellinger_joint", "z and ψ together") if "hellinger_joint" in comparison else ("hellinger_z", "z")
    if name in comparison and columns.ranked(comparison, name):
        column = columns.distance(comparison, name)
        sentences.append(
            _verdict(comparison, column, f"the Hellinger distance of {of}", f"; floor {column.truth}", _SHORT)
        )
    if "crps" in comparison:
        lead = _middle(headline_leads(comparison))
        column, after = columns.forecast(comparison, "crps", lead), duration(lead, unit_of(comparison["lead"]))
        of = f"the CRPS of forecasts of lead {after}"
        sentences.append(_verdict(comparison, column, of, f"; climatology {column.truth}", _FEW))
    return " ".join(sentences)


def tables(comparison: xr.Dataset) -> list[Table]:
    """Return all scores, a few columns to a table, with intervals and floors."""
    return [
        _table(comparison, heading, shown, note, truth)
        for heading, of, note, truth in _TABLES
        if (shown := of(comparison))
    ]


def of_runs(comparison: xr.Dataset) -> list[Table]:
    """Return what the runs cost, and what their closures are made of."""
    parts = zip(comparison["run"].to_numpy(), comparison["parts"].to_numpy(), strict=True)
    rows = tuple(Row(str(run), (str(one) or NONE,)) for run, one in parts)
    said = "Wall time of the fit, and of the coarse run per step and member, with what starting up costs."
    cost = _table(comparison, "Cost", columns.cost(comparison), said, None)
    note = closure.note(closure.time_unit(comparison))
    return [cost, Table("The closures", ("run", "what it is made of"), rows, note)]


def text(comparison: xr.Dataset) -> str:
    """Return the most important scores as one plain table."""
    shown, meanings = columns.offline_scores(comparison), []
    if shown:
        meanings.append(
            "Offline: draws along the reference, in the first row climatology. E: error, over the size of the "
            "reference's, in the first row that between its halves."
        )
    if "hellinger_z" in comparison:
        shown += [*columns.distances(comparison, "hellinger"), columns.moment(comparison, "std")]
        meanings.append("H: Hellinger distance. std(z): off the truth's, in standard errors.")
    if memory := columns.memory(comparison):
        shown.append(_middle(memory))
        meanings.append("r: autocorrelation of the residual of ψ, less the truth's, at that lag.")
    if "crps" in comparison:
        lead = _middle(headline_leads(comparison))
        shown += [columns.forecast(comparison, name, lead) for name in ("crps", "spread_skill")]
        meanings.append("CRPS and spread-skill, spread over error: of forecasts, at that lead.")
    shown += columns.cost(comparison)
    meanings.append("fit: wall time. step: wall time per step and member.")
    rows = [
        Row(str(run) + ("" if done else ", did not finish"), tuple(c.marked(i, short=True) for c in shown))
        for i, (run, done) in enumerate(zip(comparison["run"].to_numpy(), columns.scored(comparison), strict=True))
    ]
    truth = Row("floor or truth", tuple((column.short_truth or NONE) + " " for column in shown))
    heads = ("run", *(column.short_head + " " for column in shown))
    lines = [line.rstrip() for line in as_text([Table("", heads, (truth, *rows), "")]).splitlines()]
    said = [" ".join(meanings), _MARKS]
    if untold := [column.short_head for column in shown if not column.told]:
        said.append(
            f"Without intervals of all runs, and so without {MARK}: {', '.join(untold)}. They are {intervals.REASON}; "
            f"those of forecasts are {_FEW_STARTS}."
        )
    return "\n".join([*lines, "", *map(paragraph, said)])


def _table(comparison: xr.Dataset, heading: str, shown: Sequence[Column], note: str, truth: str | None) -> Table:
    """Put columns under a heading, a row for each run below that of the truth, if ``truth`` names it."""
    rows = [Row(truth, tuple(column.truth or NONE for column in shown))] if truth else []
    for i, (run, folder, status) in enumerate(
        zip(*(comparison[name].to_numpy() for name in ("run", "folder", "status")), strict=True)
    ):
        meaning = folder if status == "finished" else f"{folder}: {status}"
        rows.append(Row(str(run), tuple(column.marked(i, short=False) for column in shown), str(meaning)))
    said = note if all(column.told for column in shown) else f"{note} {UNTOLD} not all runs have intervals."
    return Table(heading, ("run", *(column.head for column in shown)), tuple(rows), said)


def _middle(items: Sequence[_T]) -> _T:
    return items[min(_MIDDLE, len(items) - 1)]


def _verdict(comparison: xr.Dataset, column: Column, what: str, more: str, why: str) -> str:
    """Say who is best by a column; ``why`` there may be no intervals."""
    runs = comparison["run"].to_numpy()
    names = [str(run) for run in runs[column.best]]
    if not column.told and column.least is not None and comparison.sizes["run"] > 1:
        first = column.cells[column.least]
        equal = [str(run) for run, cell in zip(runs, column.cells, strict=True) if cell == first]
        come = f"{listed(equal)} come first, alike," if len(equal) > 1 else f"{equal[0]} comes first"
        have = "not all runs have" if any("(" in cell for cell in column.cells) else "no run has"
        return f"By {what} {come} with {first}{more}; {have} intervals, which would tell whether by chance: {why}."
    if not names:
        return f"By {what} the intervals tell no run from the best."
    if len(names) > 1:
        return f"By {what} {listed(names)} are best, not told apart."
    return f"By {what} {names[0]} is best: {column.cells[int(np.argmax(column.best))]}{more}."
