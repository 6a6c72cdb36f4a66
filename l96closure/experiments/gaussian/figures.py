"""The pictures of the Gaussian experiment: functions from its diagnostics to matplotlib Figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from l96closure.attributes import bin_edges
from l96closure.experiments.sampling import figures as chains
from l96closure.plot import style

_REACH = 10  # offsets shown to either side; the covariance has decayed long before


@style.settings()
def rows_and_histograms(diagnostics: xr.Dataset) -> Figure:
    """Draw the centred covariance rows above the histograms, a column for each scheme, Figure 1 of the paper."""
    schemes = [str(source) for source in diagnostics["source"].values if source not in ("exact", "training")]
    shown = diagnostics.sel(offset=np.abs(diagnostics["offset"]) <= _REACH)
    offset, edges = shown["offset"].values, bin_edges(diagnostics["x_bin"].values)
    figure, (top, bottom) = style.grid(2, len(schemes), width=max(4.8, 4.2 * len(schemes)), height=6.4, sharey="row")
    for column, scheme in enumerate(schemes):
        axes = top[column]
        for number, values in enumerate(shown["covariance_rows"].sel(source=scheme).values):
            axes.plot(offset, values, color=style.GENERATED, alpha=0.25, linewidth=0.5,
                      label="generated: rows" if number == 0 else None)  # fmt: skip
        axes.plot(offset, shown["covariance"].sel(source=scheme), color=style.GENERATED, linewidth=2.2,
                  label="generated: mean")  # fmt: skip
        axes.plot(offset, shown["covariance"].sel(source="training"), "o", color=style.GIVEN, markersize=6,
                  markeredgecolor="white", label="training: mean")  # fmt: skip
        axes.plot(offset, shown["covariance"].sel(source="exact"), "+", color=style.INK, markersize=9, label="exact")
        axes.axhline(0.0, color=style.INK, linewidth=0.6, zorder=0)
        axes.set(title=f"{scheme} scheme", xlabel="distance along the ring (sites)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes = bottom[column]
        density = diagnostics["density_x"]
        axes.stairs(density.sel(source="training"), edges, fill=True, color=style.GIVEN, alpha=0.35, label="training")
        axes.stairs(density.sel(source=scheme), edges, color=style.GENERATED, linewidth=1.6, label="generated")
        axes.plot(diagnostics["x_bin"], density.sel(source="exact"), color=style.INK, linewidth=0.9, label="exact")
        axes.set(xlim=(edges[0], edges[-1]), xlabel="component $x$")
    top[0].set_ylabel("covariance")
    bottom[0].set_ylim(0.0, None)  # when all are drawn: a limit ends the scaling of the axes that are shared
    bottom[0].set_ylabel("probability density")
    bottom[-1].legend(frameon=False, fontsize="small")
    style.legend_above(figure, top[0])
    return figure


def pictures(diagnostics: xr.Dataset) -> Mapping[str, style.Drawing]:
    """Draw every picture of a run, by name, each with its caption, in the order a reader wants them."""
    variance = diagnostics["covariance"].sel(offset=0)
    known = {"exact": float(variance.sel(source="exact")), "training": float(variance.sel(source="training"))}
    references = {str(scheme): dict(known) for scheme in diagnostics["scheme"].values}
    if "predicted_covariance" in diagnostics:
        references["split"]["split, infinitely many samples"] = float(diagnostics["predicted_covariance"].sel(offset=0))
    return {
        "rows_and_histograms": (
            partial(rows_and_histograms, diagnostics),
            "Top: rows of the covariance matrix, each centred at its own site. Thin lines: every row, of the first "
            "training set's samples; thick line and markers: means over the rows and all training sets. Bottom: "
            "distribution of all components.",
        ),
        "convergence": (
            partial(chains.convergence, diagnostics, "variance, mean over components", references),
            chains.CONVERGENCE_CAPTION,
        ),
        "bandwidth": (partial(chains.bandwidth, diagnostics), chains.BANDWIDTH_CAPTION),
    }
