"""What a fitted closure is made of, what it was left to choose itself included: a table of the page, and one line."""

from __future__ import annotations

from collections.abc import Callable
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
from l96closure.plot.selection import candidate_names
from l96closure.report import Row, Table
from l96closure.trends import PolynomialTrend

__all__ = ["NOTE", "tables", "text"]

NOTE = (
    "What the settings leave open (null) was chosen by the fit, on data that it was not fitted to. Lags are in "
    "model time units."
)
"""What stands below the parts of a closure."""

_CHOICE = (
    "Neighbours on either side and times before now that a site may see. Without coupled runs the simplest is taken "
    "beyond which the residual of the trend, on blocks of time that it was not fitted to, falls by little; coupled "
    "runs score forecasts from held-out states, as CRPS over that of climatology."
)


def tables(closure: Any) -> tuple[Table, ...]:
    """Return the parts of a closure as a table; nothing for one that has none, or is not ours."""
    rows = tuple(Row(name, (value,)) for name, value in _parts(closure).items())
    found = (Table("The closure", ("part", "fitted"), rows, NOTE),) if rows else ()
    selection = getattr(closure, "selection", None)
    return found if selection is None else (*found, _candidates(selection))


def _candidates(selection: xr.Dataset) -> Table:
    """Return what a closure chose its features among, and by what numbers."""
    rows, names = [], candidate_names(selection)
    for n in range(selection.sizes["candidate"]):
        one = selection.isel(candidate=n)
        scores = (f"{float(one[name]):.4g}" if np.isfinite(one[name]) else "" for name in ("left", "score"))
        chosen = "chosen" if bool(one["chosen"]) else ""
        rows.append(Row(names[n], (*scores, chosen)))
    columns = ("candidate", "std of the held-out residual", "score of coupled runs", "")
    return Table("What the closure may see", columns, tuple(rows), _CHOICE)


def text(closure: Any) -> str:
    """Return the parts of a closure in one line; empty for one that has none, or is not ours."""
    return "; ".join(f"{name}: {value}" for name, value in _parts(closure).items())


def _parts(closure: Any) -> dict[str, str]:
    kinds: dict[type, Callable[[Any], dict[str, str]]] = {Composed: _composed, Analog: _analog}
    return next((say(closure) for kind, say in kinds.items() if isinstance(closure, kind)), {})


def _composed(closure: Composed) -> dict[str, str]:
    features, law = closure.features, closure.law
    step = closure.dt or 1.0  # without times a lag counts steps
    found = {
        "neighbours seen on either side": str(features.neighbour.shape[1] // 2),
        "lags seen": ", ".join(f"{lag * step:.4g}" for lag in features.lags[1:].tolist()) or "none",
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
        return f"{_trend(trend.of[0])}; of {len(trend.of)} groups"
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
        return f"{_law(replace(law, of=of.of[0]), coordinates[0])}; of {len(of.of)} groups"
    return f"Gaussian given {coordinates[0]}" if isinstance(of, PolynomialTrend) else "moments given all that is seen"


def _noise(pattern: AnyPattern) -> str:
    white = isinstance(pattern, Pattern) and pattern.power.size == 1 and pattern.factor is None
    colour = "independent at every site" if white else "correlated in space"
    return f"autoregressive of order {pattern.order}, {colour}" if pattern.order else f"fresh at every step, {colour}"


def _analog(closure: Analog) -> dict[str, str]:
    return {
        "neighbours seen on either side": str(closure.neighbour.shape[1] // 2),
        "samples drawn from": f"the {closure.neighbours} nearest of {closure.psi.size:,}",
        "memory": "the last step" if closure.memory else "none",
    }
