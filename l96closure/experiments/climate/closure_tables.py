"""What a fitted closure is made of, what it was left to choose itself included: a table of the page, and one line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from l96closure.bridge import ConditionalQuantiles
from l96closure.closures import Analog
from l96closure.closures.composed import Composed
from l96closure.closures.filtered_trend import AnyTrend, FilteredTrend, GroupedTrend
from l96closure.closures.fitted_laws import ChainLaw, DrivenLaw, FittedLaw, Grouped
from l96closure.closures.patterns import AnyPattern, Pattern
from l96closure.closures.trend import RegressorTrend
from l96closure.durations import MODEL_TIME, duration, unit_of
from l96closure.plot.selection import candidate_names, in_order, numbers_of
from l96closure.report import NONE, Row, Table, finest, with_error
from l96closure.trends import PolynomialTrend

_NOTE = "What the settings leave open (null) was chosen by the fit, on data that it was not fitted to."

_COMPARED = {
    "left": "held-out residual, std / std of\N{NO-BREAK SPACE}ψ",
    "next": "one step ahead, error / std of\N{NO-BREAK SPACE}ψ",
    "score": "score of coupled runs",
}
_CHOICE = (
    "Neighbours on either side and times before now that a site may see. The simplest is taken beyond which the "
    "residual of the trend, on blocks of time that it was not fitted to, falls by little."
)
_CHOICE_BY_RUNS = (
    "Neighbours on either side and times before now that a site may see, compared by coupled runs: their score is that "
    "of forecasts from held-out states, as CRPS over that of climatology."
)
_CHOICE_OF_PSI = (
    " ψ of steps before is seen, in the place of noise that remembers, where past noise drives the predictors and "
    "nothing more of the past is needed one step ahead."
)


def time_unit(scores: xr.Dataset) -> str:
    """Return the unit of the times of a run by that of the lags of its scores."""
    lags = [scores[name] for name in ("lag", "offline_lag", "pit_lag") if name in scores.variables]
    return unit_of(lags[0]) if lags else MODEL_TIME


def note(unit: str = MODEL_TIME) -> str:
    """Return what stands below the parts of a closure of data whose times have that unit."""
    return f"{_NOTE} Lags are in model time units." if unit == MODEL_TIME else _NOTE


def tables(closure: Any, unit: str = MODEL_TIME) -> tuple[Table, ...]:
    """Return the kind and the parts of a closure as a table, and what it chose its features among, if it did.

    Parameters
    ----------
    closure : the closure.
    unit : of the times of its data.
    """
    rows = tuple(Row(name, (value,)) for name, value in _parts(closure, unit).items())
    found = (Table("The closure", ("part", "fitted"), rows, note(unit) if len(rows) > 1 else ""),)
    selection = getattr(closure, "selection", None)
    return found if selection is None else (*found, _candidates(selection, unit))


def _candidates(selection: xr.Dataset, unit: str) -> Table:
    """Return what a closure chose its features among, and by what numbers."""
    selection = in_order(selection)
    known = {name: _COMPARED[name] for name in numbers_of(selection, _COMPARED)}
    beside = {name: finest(selection[name].to_numpy()) for name in known}
    rows = []
    for n, label in enumerate(candidate_names(selection, unit)):
        one = selection.isel(candidate=n)
        scores = (
            with_error(float(one[name]), math.nan, beside=beside[name]) if np.isfinite(one[name]) else NONE
            for name in known
        )
        rows.append(Row(label, (*scores, "yes" if bool(one["chosen"]) else "no")))
    said = (_CHOICE_BY_RUNS if "score" in known else _CHOICE) + (_CHOICE_OF_PSI if "next" in known else "")
    return Table("What the closure may see", ("candidate", *known.values(), "chosen"), tuple(rows), said)


def text(closure: Any, unit: str = MODEL_TIME) -> str:
    """Return the parts of a closure in one line, as :func:`tables` does."""
    return "; ".join(f"{name}: {value}" for name, value in _parts(closure, unit).items())


def _parts(closure: Any, unit: str) -> dict[str, str]:
    title = getattr(closure, "title", None)
    kind = {"kind": title if isinstance(title, str) else type(closure).__name__}
    if isinstance(closure, Composed):
        return kind | _composed(closure, unit)
    return kind | _analog(closure) if isinstance(closure, Analog) else kind


def _composed(closure: Composed, unit: str) -> dict[str, str]:
    features, law = closure.features, closure.law
    step, unit = (1.0, "steps") if closure.dt is None else (closure.dt, unit)
    found = {
        "neighbours seen on either side": str(features.neighbour.shape[1] // 2),
        "lags seen": ", ".join(duration(lag * step, unit, ".4g") for lag in features.lags[1:].tolist()) or "none",
        "steps before now whose ψ is seen": str(closure.fields.before),
        "trend": "none" if closure.trend is None else _trend(closure.trend),
        "law of the residual": "none" if law is None else _law(law, closure.coordinates),
    }
    return found | ({"noise": _noise(law.pattern)} if isinstance(law, DrivenLaw) else {})


def _trend(trend: AnyTrend) -> str:
    """Name the degree at the site itself, the highest order of the products, and the number of smooth steps."""
    if isinstance(trend, FilteredTrend):
        return f"{_trend(trend.of)}, filtered in space"
    if isinstance(trend, RegressorTrend):
        return type(trend.model).__name__
    if isinstance(trend, GroupedTrend):
        return f"{_trend(trend.of[0])}, for each of {len(trend.of)} groups"
    order = 3 if trend.cubic.size else 2 if trend.quadratic.any() else 1
    hidden = f", {trend.output.size} smooth steps" if trend.output.size else ""
    return f"degree {trend.chebyshev.shape[1] - 1} at the site, products of order {order}{hidden}"


def _law(law: FittedLaw, coordinates: tuple[Any, ...]) -> str:
    if isinstance(law, ChainLaw):
        steps = law.options.steps
        return f"chain, scheme {law.options.scheme}, {steps} step{'s' if steps > 1 else ''}"
    assert isinstance(law, DrivenLaw)
    of = law.of
    if isinstance(of, ConditionalQuantiles):
        return f"quantiles given {' and '.join(coordinates)}"
    if isinstance(of, Grouped):
        return f"{_law(replace(law, of=of.of[0]), coordinates[0])}, for each of {len(of.of)} groups"
    return f"Gaussian given {coordinates[0]}" if isinstance(of, PolynomialTrend) else "moments given all that is seen"


def _noise(pattern: AnyPattern) -> str:
    white = isinstance(pattern, Pattern) and pattern.power.size == 1 and pattern.factor is None
    colour = "independent at every site" if white else "correlated in space"
    return f"autoregressive of order {pattern.order}, {colour}" if pattern.order else f"fresh at every step, {colour}"


def _analog(closure: Analog) -> dict[str, str]:
    return {
        "neighbours seen on either side": str(closure.neighbour.shape[1] // 2),
        "samples drawn from": f"the {closure.neighbours} nearest of {len(closure.psi):,}",
        "memory": "the last step" if closure.memory else "none",
    }
