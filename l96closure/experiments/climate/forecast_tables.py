"""How the report shows the scores of ensemble forecasts: a headline, a table, and text for the terminal."""

from __future__ import annotations

import xarray as xr

from l96closure.diagnostics.forecast import headline_leads
from l96closure.diagnostics.intervals import known
from l96closure.diagnostics.scorecard import FORECASTS, scalars
from l96closure.durations import MODEL_TIME, duration, unit_of
from l96closure.experiments.climate.tables import in_units
from l96closure.experiments.climate.verdicts import MATTERS, far
from l96closure.report import NONE, Row, Table, as_text, number, paragraph, with_interval

_RIGHT = "as wide as their errors ask for"
_MARKS = {"crps_mark": "CRPS of full model", "crps_above_mark": "above it"}
_OF_FIELDS = ("energy_score", "variogram_score")
_SCORES = ("crps", "spread_skill", "rmse", "ensemble_spread")
_IN_UNITS = ("crps", "rmse", "ensemble_spread")


def headline(scores: xr.Dataset) -> str:
    """Say in one sentence how good the forecasts are at the middle one of the leads shown, and how reliable.

    The spread counts as right when the interval of its ratio to the error holds 1; nothing is said about it without an
    interval.
    """
    leads = headline_leads(scores)
    at = scores.sel(lead=leads[len(leads) // 2])
    ratio, low, high = scalars(at, "spread_skill")
    if known(low):
        verdict = f"the ensembles are {'too narrow' if high < 1 else 'too wide' if low > 1 else _RIGHT}"
    elif far(abs(ratio - 1), MATTERS.spread):
        verdict = f"the ensembles are too {'narrow' if ratio < 1 else 'wide'} by far"
    else:
        verdict = "whether the ensembles are as wide as their errors ask for is not told"
    score = _with_interval(at, "crps") + in_units(at["crps"])
    return (
        f"Forecasts of {_label(scores, float(at['lead']))} have a CRPS of {score}, "
        f"{_relative(at, 'crps')} times that of climatology; {verdict}: "
        f"spread-skill ratio {_with_interval(at, 'spread_skill')}."
    )


def table(scores: xr.Dataset) -> Table:
    """Return the scores at a few leads with their intervals."""
    rows = []
    marks = _MARKS if "crps_mark" in scores else {}
    for lead in headline_leads(scores):
        at = scores.sel(lead=lead)
        beside = max(float(at[name]) for name in _IN_UNITS)
        crps, *others = (
            _with_interval(at, name, beside if name in (*_IN_UNITS, *marks) else 0.0) for name in (*_SCORES, *marks)
        )
        rows.append(Row(_label(scores, lead), (crps, _relative(at, "crps"), *others)))
    crps_head, *heads = (FORECASTS[name].symbol for name in _SCORES)
    crps, rmse = (number(float(scores[f"{name}_climatology"]), 3) for name in ("crps", "rmse"))
    return Table(
        "Forecasts",
        (_head(scores), crps_head, "/ climatology", *heads, *marks.values()),
        tuple(rows),
        f"CRPS: fair continuous ranked probability score of z, alone and over that of the climatological distribution, "
        f"{crps}. Spread-skill: ratio of spread to error, corrected for the size of "
        f"the ensemble, 1 for a reliable one. RMSE: error of the ensemble mean; that of the climatological mean is "
        f"{rmse}. {scores.attrs['forecast_starts']} starts of "
        f"{scores.attrs['forecast_members']} members. {_mark_note(scores)}{_interval_note(scores)}",
    )


def _head(scores: xr.Dataset) -> str:
    """Return the head of the column of leads: model time has no unit to stand behind each."""
    return "lead (time units)" if unit_of(scores["lead"]) == MODEL_TIME else "lead"


def _label(scores: xr.Dataset, lead: float) -> str:
    return f"lead {duration(lead, unit_of(scores['lead']))}"


def _mark_note(scores: xr.Dataset) -> str:
    """Say what the mark is; nothing where there is none."""
    if "crps_mark" not in scores:
        return ""
    spinup = duration(scores.attrs["mark_spinup"], unit_of(scores["lead"]), model="time units")
    return (
        "Full model: the CRPS of ensembles of the model that made the truth, whose fast variables were spun up from "
        f"random values along the recorded z of the last {spinup}, a mark for what "
        f"can be had; {scores.attrs['mark_starts']} of the starts, {scores.attrs['mark_members']} members. Above it: "
        "the CRPS of the closure's forecasts less that, both on these starts. "
    )


def tables(scores: xr.Dataset) -> tuple[Table, Table]:
    """Return the table of scores by site, and that of scores of whole fields."""
    leads, rows = headline_leads(scores), []
    largest = {name: float(scores[name].sel(lead=leads).max()) for name in _OF_FIELDS}
    for lead in leads:
        at = scores.sel(lead=lead)
        cells = (
            cell
            for name, beside in largest.items()
            for cell in (_with_interval(at, name, beside), _relative(at, name, beside))
        )
        rows.append(Row(_label(scores, lead), tuple(cells)))
    of_fields = Table(
        "Forecasts of whole fields",
        (_head(scores), *(head for name in _OF_FIELDS for head in (FORECASTS[name].symbol, "/ climatology"))),
        tuple(rows),
        "Fair energy score (Gneiting & Raftery 2007) and fair variogram score of order 0.5, a mean over all pairs of "
        "sites (Scheuerer & Hamill 2015), alone and over what the climatological distribution scores: the lower the "
        "better. The first sees errors of mean and spread best, the second whether sites vary together as in the "
        f"truth. {_interval_note(scores)}",
    )
    return table(scores), of_fields


def _interval_note(scores: xr.Dataset) -> str:
    """Say what stands in brackets, or why nothing does."""
    method = str(scores.attrs["forecast_interval_method"])
    if method.startswith("none"):
        return f"Intervals are not given, for they would not cover: {method.removeprefix('none: ')}."
    return f"In brackets 95 % intervals: {method.partition(', 95 %')[0]}."


def score_table(scores: xr.Dataset) -> str:
    """Return the table as plain text."""
    forecasts = table(scores)
    return f"{as_text([forecasts])}\n\n{paragraph(forecasts.note)}"


def _with_interval(at: xr.Dataset, name: str, beside: float = 0.0) -> str:
    return with_interval(scalars(at, name), 3, beside=beside)


def _relative(at: xr.Dataset, name: str, beside: float = 0.0) -> str:
    climatology = float(at[f"{name}_climatology"])
    return number(float(at[name]) / climatology, 3, beside=beside / climatology) if climatology > 0 else NONE
