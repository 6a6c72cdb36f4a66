"""The picture of what a closure was left to choose itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from l96closure.durations import MODEL_TIME, duration
from l96closure.plot import style
from l96closure.plot.style import COLOURS, Panels

_NUMBERS = {
    "left": "std of the residual on held-out data / std of $\\psi$",
    "next": "error one step ahead / std of $\\psi$",
    "score": "CRPS of coupled runs / climatology",
}


def candidate_names(selection: xr.Dataset, unit: str = MODEL_TIME) -> list[str]:
    """Return what to call the candidates among which a closure chose what it sees.

    Parameters
    ----------
    selection : of a closure.
    unit : of the times of its data.
    """
    triples = zip(*(selection[name].to_numpy() for name in ("radius", "lags", "previous")), strict=True)
    return [f"radius {radius}, lags {_durations(str(lags), unit)}{_before(before)}" for radius, lags, before in triples]


def in_order(selection: xr.Dataset) -> xr.Dataset:
    """Return the candidates by what they see: by radius, number of lags and steps of psi before.

    Parameters
    ----------
    selection : of a closure, which has them as they were tried.
    """
    lags = np.array([0 if each == "none" else str(each).count(",") + 1 for each in selection["lags"].to_numpy()])
    return selection.isel(
        candidate=np.lexsort((selection["previous"].to_numpy(), lags, selection["radius"].to_numpy()))
    )


def _before(steps: int) -> str:
    """Return what is added where psi of so many steps before is seen."""
    return "" if steps == 0 else ", ψ of the step before" if steps == 1 else f", ψ of {steps} steps before"


def _durations(lags: str, unit: str) -> str:
    """Return lags as they are shown; where there are none, a word says so."""
    return lags if lags == "none" else ", ".join(duration(float(lag), unit, ".4g") for lag in lags.split(", "))


def numbers_of(selection: xr.Dataset, names: Iterable[str]) -> list[str]:
    """Return the names of numbers by which candidates were compared, errors one step ahead where two have them.

    Parameters
    ----------
    selection : of a closure.
    names : of its numbers.
    """
    return [name for name in names if np.isfinite(selection[name]).sum() > (name == "next")]


@style.settings()
def choice(selection: xr.Dataset, unit: str = MODEL_TIME, ax: Panels | None = None) -> Panels:
    """Draw every number by which candidates were compared, and mark the one that was chosen.

    Parameters
    ----------
    selection : of a closure.
    unit : of the times of the data that the closure was fitted to.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (number,), one for each number by which candidates were compared, at most three.
    """
    selection = in_order(selection)
    drawn = numbers_of(selection, _NUMBERS)
    at, chosen = np.arange(selection.sizes["candidate"]), selection["chosen"].to_numpy().astype(bool)
    figure, panels = style.row(
        len(drawn), ax=ax, width=3.4 + 3.6 * len(drawn), height=1.4 + 0.32 * at.size, sharey=True
    )
    for axes, name in zip(panels, drawn, strict=True):
        values = selection[name].to_numpy()
        axes.grid(axis="y", color=style.INK, alpha=0.15)
        axes.plot(values, at, "o", color=COLOURS["coarse"], markersize=6, markerfacecolor="white", label="candidate")
        axes.plot(values[chosen], at[chosen], "o", color=COLOURS["coarse"], markersize=9, label="chosen")
        axes.set_xlabel(_NUMBERS[name])
        axes.margins(x=0.08)
    panels[0].set_yticks(at, candidate_names(selection, unit))
    panels[0].set_ylim(at.size - 0.5, -0.5)
    style.legend_above(figure, panels[0])
    return np.array(panels)
