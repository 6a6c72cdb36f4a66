"""The pictures of a sampler's chains: convergence with chain length, and the criterion that chooses the bandwidth."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure

from l96closure.plot import style

CONVERGENCE_CAPTION = (
    "The scored quantity against the length of the chains, which start from training samples: mean over the chains, "
    "with bars of two standard errors where there are chains enough. A curve that has not become flat at the right end "
    "has not forgotten where it started, and the scores describe the start as much as the sampler."
)
BANDWIDTH_CAPTION = (
    "Criterion for choosing the bandwidth: the leave-one-out log-likelihood of the training samples, higher is better. "
    "Marked are its maximum and the bandwidth of this run; values far below the maximum are cut off."
)
_DEPTH = 3.0  # of the criterion below its maximum that is shown: likelihoods down to a twentieth of the best
_LINES = ["-", "--", ":"]


@style.settings()
def convergence(diagnostics: xr.Dataset, label: str, references: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the scored quantity against chain length, a panel for each scheme.

    Parameters
    ----------
    diagnostics : with ``convergence`` and ``convergence_se`` (scheme, length).
    label : name of the scored quantity.
    references : for each scheme, values drawn as horizontal lines, by name.
    """
    schemes = [str(scheme) for scheme in diagnostics["scheme"].values]
    figure, panels = style.row(len(schemes), width=max(4.8, 4.2 * len(schemes)), height=3.6, sharey=True)
    for axes, scheme in zip(panels, schemes, strict=True):
        curve = (
            diagnostics[["convergence", "convergence_se"]].sel(scheme=scheme).dropna("length", subset=["convergence"])
        )
        length, mean, bars = curve["length"], curve["convergence"], 2 * curve["convergence_se"]
        axes.errorbar(length, mean, yerr=bars, fmt="none", ecolor=style.GENERATED, alpha=0.4, elinewidth=3)
        axes.plot(length, mean, color=style.GENERATED, marker="o", markersize=4, linewidth=1.4, label="generated")
        for line, (name, value) in zip(_LINES, references[scheme].items(), strict=False):
            axes.axhline(value, color=style.GIVEN, linestyle=line, linewidth=1.4, label=name)
        axes.set(xscale="log", title=f"{scheme} scheme", xlabel="chain length (steps)")
        style.log_axis(axes.xaxis, length)
        if length.size == 1:
            axes.set_xticks(length)
    panels[0].set_ylabel(label)
    style.legend_above(figure, *panels)
    return figure


@style.settings()
def bandwidth(diagnostics: xr.Dataset) -> Figure:
    """Draw the criterion against the bandwidth, with its maximum and the bandwidth used.

    Parameters
    ----------
    diagnostics : with ``bandwidth_criterion`` (bandwidth) and ``chosen_bandwidth``; attribute ``epsilon``.
    """
    figure, (axes,) = style.row(1, width=5.6, height=3.6)
    axes.plot(diagnostics["bandwidth"], diagnostics["bandwidth_criterion"], color=style.INK, marker="o", markersize=4)
    used, chosen = float(diagnostics.attrs["epsilon"]), float(diagnostics["chosen_bandwidth"])
    best = float(diagnostics["bandwidth_criterion"].max())
    depth = min(_DEPTH, best - float(diagnostics["bandwidth_criterion"].min()))
    axes.set_ylim(best - 1.05 * depth, best + 0.1 * depth)
    near = diagnostics["bandwidth"].where(diagnostics["bandwidth_criterion"] >= best - 2 * depth, drop=True).to_numpy()
    axes.set_xlim(min(near[0], used) / 1.5, max(near[-1], used) * 1.5)
    axes.axvline(chosen, color=style.GIVEN, label=f"best, {chosen:.3g}")
    axes.axvline(used, color=style.GENERATED, linestyle="--", label=f"used, {used:.3g}")
    axes.set(xscale="log", xlabel=r"bandwidth $\epsilon$", ylabel="leave-one-out log-likelihood")
    style.log_axis(axes.xaxis, diagnostics["bandwidth"])
    axes.legend(frameon=False)
    return figure
