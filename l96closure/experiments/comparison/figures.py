"""The pictures of runs laid side by side: functions from their comparison to matplotlib Figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from l96closure.arrays import F64
from l96closure.attributes import ERROR, bin_edges
from l96closure.diagnostics import intervals
from l96closure.diagnostics.scorecard import BOUNDED, DISTANCES, FORECASTS
from l96closure.experiments.comparison.columns import scored
from l96closure.plot import style
from l96closure.plot.style import COLOURS, LABELS

_BINNED = ("z", "psi")
_FORECASTS = ("crps", "spread_skill")
_COLUMNS = 3
_FULL, _LEFT = 0.5, 0.1  # correlations of the darkest colour, and below which nothing is left
_DECADE = 10.0  # from the least to the greatest: beyond, the axis is logarithmic


@style.settings()
def offline(comparison: xr.Dataset) -> Figure:
    """Draw the CRPS of the draws of every run along the reference, and the autocorrelation of these draws."""
    with_lags = "offline_autocorrelation" in comparison
    runs = comparison.sizes["run"]
    figure, panels = style.row(1 + with_lags, width=10.5 if with_lags else 5.6, height=max(3.2, 1.4 + 0.35 * runs))
    axes, at = panels[0], np.arange(runs)
    value, low, high = (comparison[f"offline_crps{part}"].to_numpy() for part in BOUNDED)
    for y in at:
        look = style.line_style(int(y))
        axes.errorbar(value[y], y, xerr=np.maximum([[value[y] - low[y]], [high[y] - value[y]]], 0.0), fmt="o",
                      color=look["color"], markersize=4.5, capsize=3, linewidth=1.2)  # fmt: skip
    axes.axvline(float(comparison["offline_crps_climatology"].mean()), color=style.INK, linewidth=0.9,
                 linestyle=(0, (5, 2)), label="climatology: no skill")  # fmt: skip
    axes.set_yticks(at, [style.literal(str(run)) for run in comparison["run"].to_numpy()])
    axes.set(ylim=(runs - 0.5, -0.5), xlim=(0.0, None), xlabel=f"CRPS {style.in_brackets(comparison['offline_crps'])}")
    if with_lags:
        _memories(panels[1], comparison)
    style.legend_above(figure, *panels)
    return figure


def _memories(axes: Axes, comparison: xr.Dataset) -> None:
    """Draw the autocorrelation in time of the draws of every run, and of the reference."""
    (lag, unit), values = style.times(comparison["offline_lag"]), comparison["offline_autocorrelation"]
    finished = np.flatnonzero(scored(comparison))
    truth = values.sel(offline_source="reference").isel(run=finished[0])
    axes.plot(lag, truth, color=style.INK, linewidth=2.4, alpha=0.5, label="reference")
    plain = style.line_style(comparison.sizes["run"] - 1)["linestyle"] == "-"  # colours alone tell the runs apart
    for number in finished:
        one, look = values.sel(offline_source="closure").isel(run=number), style.line_style(int(number))
        if one.isnull().all():  # told what happened at every step, it has no memory of its own to show
            continue
        axes.plot(lag, one, linewidth=1.6, label=None if plain else style.literal(str(one["run"].item())), **look)
    axes.axhline(0.0, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set(xlim=(0.0, float(lag[-1]) or 1.0), xlabel=f"lag ({unit})", ylabel="autocorrelation of the target")


@style.settings()
def scores(comparison: xr.Dataset) -> Figure:
    """Draw every distance of all runs with its interval, beside the floor with its standard deviation."""
    shown = [name for name in DISTANCES if name in comparison]
    rows = -(-len(shown) // _COLUMNS)
    runs = comparison.sizes["run"]
    figure, panels = style.grid(rows, _COLUMNS, width=11.0, height=rows * (0.9 + 0.3 * runs), sharey=True)
    every = [axes for line in panels for axes in line]
    for axes in every[len(shown) :]:
        axes.set_axis_off()
    at = np.arange(runs)
    for axes, name in zip(every, shown, strict=False):
        value, low, high, floor, spread = (
            comparison[f"{name}{part}"].to_numpy() for part in ("", "_low", "_high", "_floor", "_floor_std")
        )
        for y in at:
            band = [floor[y] - spread[y], floor[y] + spread[y]]
            axes.fill_betweenx([y - 0.5, y + 0.5], *band, color=COLOURS["truth"], alpha=0.25, linewidth=0)
        axes.vlines(floor, at - 0.5, at + 0.5, color=COLOURS["truth"], linewidth=1.2, label="floor: truth beside truth")
        # The basic bootstrap may put an interval beside the estimate.
        bars = np.maximum([value - low, high - value], 0.0)
        axes.errorbar(value, at, xerr=bars, fmt="o", color=COLOURS["coarse"], markersize=4.5, capsize=3, linewidth=1.2,
                      label="run" if np.isnan(low).all() else "run, with its 95 % interval")  # fmt: skip
        ends = np.concatenate([value, low, high, floor])
        if np.nanmax(ends) > _DECADE * np.nanmin(ends) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(DISTANCES[name].label)
        axes.grid(axis="y", color=style.INK, alpha=0.12)
        axes.set_ylim(runs - 0.5, -0.5)
    for axes in (line[0] for line in panels):
        axes.set_yticks(at, [style.literal(str(run)) for run in comparison["run"].to_numpy()])
    style.legend_above(figure, every[0])
    return figure


@style.settings()
def densities(comparison: xr.Dataset) -> Figure:
    """Draw the densities of z and psi of every run, one below the other, over the truth's.

    The axes are as high as the truth asks for; what a run has above that is cut off.
    """
    shown = [name for name in _BINNED if f"density_{name}" in comparison]
    finished = comparison.isel(run=np.flatnonzero(scored(comparison)))
    runs = finished.sizes["run"]
    figure, panels = style.grid(runs, len(shown), width=8.4, height=1.2 + 1.25 * runs)
    for line, run in zip(panels, finished["run"].to_numpy(), strict=True):
        for axes, name in zip(line, shown, strict=True):
            density = finished[f"density_{name}"].sel(run=run)
            edges, truth = bin_edges(finished[f"{name}_bin"].to_numpy()), density.sel(source="truth").to_numpy()
            axes.stairs(truth, edges, fill=True, color=COLOURS["truth"], alpha=0.35, label=LABELS["truth"])
            axes.stairs(density.sel(source="coarse"), edges, color=COLOURS["coarse"], linewidth=1.4,
                        label=LABELS["coarse"])  # fmt: skip
            axes.set(xlim=(edges[0], edges[-1]), ylim=(0.0, 1.35 * truth.max()), yticks=[])
            axes.tick_params(labelbottom=line is panels[-1])
        line[0].set_title(style.literal(str(run)), loc="left", fontsize="medium", color=style.INK)
    for axes, name in zip(panels[-1], shown, strict=True):
        axes.set_xlabel(style.label(name, finished[f"{name}_bin"]))
    figure.supylabel("probability density", color=style.INK, fontsize="medium")
    style.legend_above(figure, panels[0][0])
    return figure


@style.settings()
def forecasts(comparison: xr.Dataset) -> Figure:
    """Draw CRPS and spread-skill ratio of all runs against lead, with 95 % intervals."""
    figure, panels = style.row(2, width=10.5, height=4.4)
    for axes, name in zip(panels, _FORECASTS, strict=True):
        _curves(axes, comparison, name)
        axes.set_ylabel(FORECASTS[name].symbol)
    crps, ratio = panels
    climatology = float(comparison["crps_climatology"].mean())
    crps.axhline(climatology, color=style.INK, linewidth=0.9, linestyle=(0, (5, 2)), label="climatology: no skill")
    ratio.axhline(1.0, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)), label="reliable")
    style.legend_above(figure, crps, ratio)
    return figure


@style.settings()
def space_time(comparison: xr.Dataset) -> Figure:
    """Draw the correlation of psi in space and time: the truth's, and beside every run's how that differs.

    Differences that may be chance are left white; all runs share a scale.
    """
    drawn = _with_memory(comparison)
    truth, coarse = (_space_time(drawn, source) for source in ("truth", "coarse"))
    chance = intervals.SIDE * np.hypot(*(_space_time(drawn, source, ERROR) for source in ("truth", "coarse")))
    difference = np.where(np.abs(coarse - truth) <= chance, np.nan, coarse - truth)
    limit = float(np.abs(np.nan_to_num(difference)).max()) or 1.0
    lags, unit = style.times(drawn["time_lag"])
    at = [bin_edges(each.astype(np.float64)) for each in (drawn["offset"].to_numpy(), lags)]
    rows = 1 + drawn.sizes["run"]
    figure, panels = style.grid(rows, 2, width=8.4, height=1.4 + 1.9 * rows, sharey=True)
    panels[0][1].set_axis_off()
    whole = panels[0][0].pcolormesh(*at, truth[0], rasterized=True, cmap="RdBu_r", vmin=-_FULL, vmax=_FULL)
    panels[0][0].set_title(LABELS["truth"], loc="left", fontsize="medium", color=style.INK)
    for (left, right), run, values, off, error in zip(
        panels[1:], drawn["run"].to_numpy(), coarse, difference, chance, strict=True
    ):
        left.pcolormesh(*at, values, rasterized=True, cmap="RdBu_r", vmin=-_FULL, vmax=_FULL)
        less = right.pcolormesh(*at, off, rasterized=True, cmap="PuOr_r", vmin=-limit, vmax=limit)
        left.set_title(style.literal(str(run)), loc="left", fontsize="medium", color=style.INK)
        said = "less truth, not tested" if np.isnan(error).all() else "less truth"
        right.set_title(said, loc="left", fontsize="medium", color=style.INK)
    left_over = np.flatnonzero((np.abs(np.nan_to_num([truth, coarse])) > _LEFT).any(axis=(0, 1, 3)))
    panels[0][0].set_ylim(at[1][0], at[1][min(at[1].size - 1, 1 + int(left_over.max(initial=0)))])
    for left, _ in panels:
        left.set_ylabel(f"lag ({unit})")
    for axes in panels[-1]:
        axes.set_xlabel("distance along the ring (sites)")
    bars = ((whole, 0, r"correlation of $\psi$", "both"), (less, 1, "difference", "neither"))
    for picture, column, label, ends in bars:
        where = [line[column] for line in panels]
        bar = figure.colorbar(
            picture, ax=where, location="top", aspect=40, ticks=MaxNLocator(4, symmetric=True), extend=ends
        )
        bar.set_label(label)
    return figure


def _with_memory(comparison: xr.Dataset) -> xr.Dataset:
    """Return the runs whose psi has a correlation in space and time; it has none where it is zero."""
    if "space_time_correlation_psi" not in comparison:
        return comparison.isel(run=slice(0))
    known = comparison["space_time_correlation_psi"].sel(source="coarse").notnull().any(("offset", "time_lag"))
    return comparison.isel(run=np.flatnonzero(known))


def _space_time(comparison: xr.Dataset, source: str, part: str = "") -> F64:
    """Return the correlations of psi (run, time_lag, offset)."""
    return (
        comparison[f"space_time_correlation_psi{part}"]
        .sel(source=source)
        .transpose("run", "time_lag", "offset")
        .to_numpy()
    )


def pictures(comparison: xr.Dataset) -> Mapping[str, style.Drawing]:
    """Draw every picture that the comparison has the variables for, by name, each with its caption."""
    found: dict[str, style.Drawing] = {}
    if "offline_crps" in comparison:
        found["offline"] = (
            partial(offline, comparison),
            "Left: CRPS of the target in the reference given the recorded predictors, the lower the better; whiskers: "
            "95 % intervals, by batch means, where these would cover. Right: autocorrelation in time of the target in "
            "the reference and in the draws of each run along it, in the colour that the run has on the left; draws "
            "that do not vary, or are told ψ of steps before, have none.",
        )
    if "hellinger_z" in comparison:
        found["scores"] = (
            partial(scores, comparison),
            "Distances from the truth: the further left, the better, down to the floor; on a logarithmic scale where "
            "they span more than a decade and no interval reaches zero. "
            "Whiskers: 95 % intervals, by resampling blocks of time, where runs are long enough. Line and "
            "band: the same distance between two stretches of truth, and its standard deviation; what a perfect "
            "closure would score.",
        )
    if any(f"density_{name}" in comparison for name in _BINNED):
        found["densities"] = (
            partial(densities, comparison),
            "Distributions of z and ψ of every run over the truth's. A peak that leaves its panel is higher than the "
            "truth's by more than a third.",
        )
    if shown := _with_memory(comparison).sizes["run"]:
        left_out = " Runs whose ψ has no correlation, as where it is zero, are left out."
        found["space_time"] = (
            partial(space_time, comparison),
            "Left: correlation of ψ at a site with itself at another site (distance along the ring) and a later time "
            "(lag), up to the last above 0.1. Right: the run's less the truth's, white where that "
            "may be chance, by 95 % intervals where the runs are long enough for them."
            + (left_out if shown < comparison.sizes["run"] else ""),
        )
    if "crps" in comparison:
        found["forecasts"] = (
            partial(forecasts, comparison),
            "Ensemble forecasts against lead. Left: fair continuous ranked probability score, the lower the better; "
            "climatology is what the distribution of z in the reference scores. Right: spread of the ensemble over the "
            "error of its mean, 1 for a reliable one. Bands: 95 % intervals, by resampling the starts, where "
            "these are enough.",
        )
    return found


def _curves(axes: Axes, comparison: xr.Dataset, name: str) -> None:
    """Draw a score of every run against lead with the band of its interval."""
    lead, unit = style.times(comparison["lead"])
    for number, run in enumerate(comparison["run"].to_numpy()):
        one, look = comparison.sel(run=run), style.line_style(number)
        if one[name].isnull().all():  # did not finish
            continue
        bounded = (one[f"{name}{part}"] for part in BOUNDED)
        style.curve(axes, lead, *bounded, label=style.literal(str(run)), **look)
    axes.set(xlim=(min(lead[0], 0.0), lead[-1]), ylim=(0.0, None), xlabel=f"lead ({unit})")
