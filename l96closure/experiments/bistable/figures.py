"""The pictures of the bistable experiment: functions from its diagnostics to matplotlib Figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import xarray as xr
from matplotlib.figure import Figure

from l96closure.attributes import bin_edges
from l96closure.experiments.sampling import figures as chains
from l96closure.plot import style


@style.settings()
def trajectories(diagnostics: xr.Dataset) -> Figure:
    """Draw trajectories of the training set and of each scheme, a panel each, Figure 2 of the paper."""
    sources = [str(source) for source in diagnostics["source"].values]
    figure, panels = style.row(len(sources), width=4.0 * len(sources), height=3.6, sharey=True)
    for axes, source in zip(panels, sources, strict=True):
        colour = style.GIVEN if source == "training" else style.GENERATED
        axes.plot(diagnostics["time"], diagnostics["example"].sel(source=source).transpose("time", "trajectory"),
                  color=colour, alpha=0.25, linewidth=0.5)  # fmt: skip
        axes.set_title("training" if source == "training" else f"generated, {source} scheme")
        axes.set(xlim=(float(diagnostics["time"][0]), float(diagnostics["time"][-1])), xlabel="time $t$")
    panels[0].set_ylabel("$Z(t)$")
    return figure


@style.settings()
def histograms(diagnostics: xr.Dataset) -> Figure:
    """Draw the normalised histograms of training and generated data, a panel for each scheme, Figure 3 of the paper."""
    schemes = [str(source) for source in diagnostics["source"].values if source != "training"]
    edges, density = bin_edges(diagnostics["x_bin"].values), diagnostics["density_x"]
    figure, panels = style.row(len(schemes), width=max(4.8, 4.2 * len(schemes)), height=3.6, sharey=True)
    for axes, scheme in zip(panels, schemes, strict=True):
        axes.stairs(density.sel(source="training"), edges, fill=True, color=style.GIVEN, alpha=0.35, label="training")
        axes.stairs(density.sel(source=scheme), edges, color=style.GENERATED, linewidth=1.6, label="generated")
        axes.set(xlim=(edges[0], edges[-1]), title=f"{scheme} scheme", xlabel="$Z$")
    panels[0].set_ylim(0.0, None)  # when all are drawn: a limit ends the scaling of the axes that are shared
    panels[0].set_ylabel("probability density")
    style.legend_above(figure, panels[0])
    return figure


def pictures(diagnostics: xr.Dataset) -> Mapping[str, style.Drawing]:
    """Draw every picture of a run, by name, each with its caption, in the order a reader wants them."""
    training = float(diagnostics["sign_changes"].sel(source="training"))
    references = {str(scheme): {"training": training} for scheme in diagnostics["scheme"].values}
    shown = diagnostics.sizes["trajectory"]
    return {
        "trajectories": (
            partial(trajectories, diagnostics),
            f"{shown} trajectories each, of the training set and generated.",
        ),
        "histograms": (
            partial(histograms, diagnostics),
            "Distribution of the values at all times, in the training set and generated.",
        ),
        "convergence": (
            partial(chains.convergence, diagnostics, "sign changes per interval", references),
            chains.CONVERGENCE_CAPTION,
        ),
        "bandwidth": (partial(chains.bandwidth, diagnostics), chains.BANDWIDTH_CAPTION),
    }
