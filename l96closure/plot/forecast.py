"""The pictures of ensemble forecasts: functions from datasets to matplotlib Axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from l96closure.attributes import bin_edges
from l96closure.diagnostics.forecast import headline_leads
from l96closure.diagnostics.scorecard import BOUNDED
from l96closure.durations import duration, unit_of
from l96closure.plot import style
from l96closure.plot.style import COLOURS, LABELS, Panels

_EXAMPLES = 3
_SITE = 0
_MARK = "#009e73"


@style.settings()
def skill(scores: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw all scores against lead, with 95 % intervals and the level of no skill.

    Error and spread, their ratio, and the CRPS; below, the energy and the variogram score of whole fields.

    Parameters
    ----------
    scores : result of :func:`l96closure.diagnostics.forecast.verify`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2, 3); the last is empty.
    """
    figure, ((errors, ratio, crps), (energy, variogram, empty)) = style.grid(2, 3, ax=ax, width=10.5, height=6.4)
    empty.set_axis_off()
    lead, unit = style.times(scores["lead"])
    proper = {"crps": crps, "energy_score": energy, "variogram_score": variogram}
    _curve(errors, scores, "rmse", COLOURS["coarse"], "error of the mean (RMSE)")
    _curve(errors, scores, "ensemble_spread", style.INK, "spread", linestyle=(0, (4, 2)))
    _curve(ratio, scores, "spread_skill", COLOURS["coarse"])
    for name, axes in proper.items():
        _curve(axes, scores, name, COLOURS["coarse"])
    for axes, name in ((errors, "rmse_mark"), (crps, "crps_mark")):
        if name in scores:
            _curve(axes, scores, name, _MARK, "full model, spun up along z")
    for name, axes in {"rmse": errors, **proper}.items():
        level = float(scores[f"{name}_climatology"])
        axes.axhline(level, color=COLOURS["truth"], linewidth=1.2, label="climatology: no skill")
    ratio.axhline(1.0, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)), label="reliable")
    for axes, label in (
        (errors, f"$z$ {style.in_brackets(scores['rmse'])}"),
        (ratio, "spread-skill ratio"),
        (crps, "CRPS of $z$"),
        (energy, "energy score of the field"),
        (variogram, "variogram score of the field"),
    ):
        axes.set(xlim=(0.0, lead[-1]), ylim=(0.0, None), xlabel=f"lead ({unit})", ylabel=label)
    style.legend_above(figure, errors, ratio)
    return np.array([[errors, ratio, crps], [energy, variogram, empty]])


@style.settings()
def rank_histograms(scores: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the rank histogram at a few leads, with 95 % intervals, beside the flat one of a reliable ensemble.

    Parameters
    ----------
    scores : result of :func:`l96closure.diagnostics.forecast.verify`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (lead,), one for each of a few leads.
    """
    leads = headline_leads(scores)
    rank = scores["rank"].to_numpy().astype(np.float64)
    figure, panels = style.row(len(leads), ax=ax, width=max(4.0, 3.2 * len(leads)), height=3.2, sharey=True)
    for axes, lead in zip(panels, leads, strict=True):
        value, low, high = (scores[f"rank_histogram{part}"].sel(lead=lead).to_numpy() for part in ("", "_low", "_high"))
        axes.stairs(value, bin_edges(rank), fill=True, color=COLOURS["coarse"], alpha=0.35)
        # The bounds meet at the estimate, up to round-off, where a rank was met by none or by all.
        bars = np.maximum([value - low, high - value], 0.0)
        axes.errorbar(rank, value, bars, fmt="none", ecolor=COLOURS["coarse"], elinewidth=1.0)
        axes.axhline(1.0 / rank.size, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)), label="reliable")
        axes.set(xlim=(-0.5, rank[-1] + 0.5), title=f"lead {duration(lead, unit_of(scores['lead']))}")
        axes.set_xlabel("members below the truth")
    for axes in panels:  # when all are drawn: a limit ends the scaling of the axes that are shared
        axes.set_ylim(0.0, None)
    panels[0].set_ylabel("relative frequency")
    style.legend_above(figure, panels[0])
    return np.array(panels)


@style.settings()
def plumes(forecast: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw all members and the truth at one site, for a few starts spread evenly over the reference.

    Parameters
    ----------
    forecast : result of :func:`l96closure.forecast`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (start,), one for each start that is shown, at most three.
    """
    shown = np.linspace(0, forecast.sizes["start"] - 1, min(_EXAMPLES, forecast.sizes["start"])).round().astype(int)
    figure, panels = style.row(len(shown), ax=ax, width=3.5 * len(shown), sharey=True)
    lead, unit = style.times(forecast["lead"])
    for axes, start in zip(panels, shown, strict=True):
        one = forecast.isel(start=start, k=_SITE)
        lines = axes.plot(
            lead, one["z"].transpose("lead", "member"), color=COLOURS["coarse"], alpha=0.35, linewidth=0.8
        )
        lines[0].set_label("members")
        axes.plot(lead, one["observation"], color=COLOURS["truth"], linewidth=2.2, zorder=1.5, label=LABELS["truth"])
        axes.set_xlim(0.0, lead[-1])
        axes.locator_params(axis="x", nbins=5)
        axes.set(title=_begun(one["start"], unit_of(forecast["lead"])), xlabel=f"lead ({unit})")
    panels[0].set_ylabel(style.label("z", forecast["z"]))
    style.legend_above(figure, panels[0])
    return np.array(panels)


def _begun(start: xr.DataArray, unit: str) -> str:
    """Say when a forecast starts: a date, or the time in the reference, in the unit of the leads."""
    if " since " in str(start.attrs.get("units")):
        start = xr.decode_cf(xr.Dataset({"date": ((), start.item(), start.attrs)}))["date"]
    if start.dtype.kind in "MO":
        date = start.to_numpy().astype("M8[m]") if start.dtype.kind == "M" else start.item()
        return f"from {str(date)[:16].replace('T', ' ')}"
    return f"from time {duration(float(start), unit, '.4g')} of the reference"


def _curve(axes: Axes, scores: xr.Dataset, name: str, colour: str, label: str | None = None, **look: Any) -> None:
    """Draw a score against lead with the band of its interval."""
    bounded = (scores[f"{name}{part}"] for part in BOUNDED)
    lead = style.times(scores["lead"])[0]
    style.curve(axes, lead, *bounded, color=colour, label=label, clip_on=False, **look)  # zero is on the axis
