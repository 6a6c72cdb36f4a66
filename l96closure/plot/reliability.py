"""The picture of a conditional law held against what happened."""

from __future__ import annotations

import numpy as np
import xarray as xr

from l96closure.attributes import bin_edges
from l96closure.diagnostics import intervals
from l96closure.plot import style
from l96closure.plot.style import COLOURS, Panels


@style.settings()
def reliability(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the histogram of the probabilities, their departure from uniform, and their autocorrelation.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.reliability.pit`, or a Dataset that holds it.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (3,).
    """
    figure, (histogram, errors, memory) = style.row(3, ax=ax, width=10.5)
    colour = COLOURS["coarse"]
    value, low, high = (diagnostics[f"pit_density{part}"].to_numpy() for part in ("", "_low", "_high"))
    edges = bin_edges(diagnostics["pit_bin"].to_numpy())
    histogram.stairs(value, edges, color=colour, linewidth=1.6, label="law on held-out data")
    histogram.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.25, label="95 % interval")
    histogram.axhline(1.0, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)), label="reliable")
    histogram.set(ylim=(0.0, max(1.5, 1.1 * float(value.max()))), xlabel="probability $u$ that the law gives to less")
    histogram.set_ylabel("density")
    decile = diagnostics["decile"].to_numpy()
    bounded = (diagnostics[f"pit_error{part}"] for part in ("", "_low", "_high"))
    style.curve(errors, decile, *bounded, color=colour, marker="o", markersize=4)
    errors.set(xlim=(0.0, 1.0), xlabel="$u$", ylabel="$F(u) - u$")
    lag, unit = style.times(diagnostics["pit_lag"])
    correlation, error = (diagnostics[f"pit_autocorrelation{part}"].to_numpy() for part in ("", "_se"))
    half = intervals.SIDE * error
    style.curve(memory, lag, correlation, correlation - half, correlation + half, color=colour)
    memory.set(xlim=(0.0, float(lag[-1]) or 1.0), xlabel=f"lag ({unit})", ylabel="autocorrelation of $u$")
    for axes in (errors, memory):
        axes.axhline(0.0, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)))
    style.legend_above(figure, histogram)
    return np.array([histogram, errors, memory])
