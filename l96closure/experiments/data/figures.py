"""The pictures of what a closure draws along a reference: functions from diagnostics to matplotlib Figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from l96closure.diagnostics import intervals
from l96closure.plot import style

_LOOKS = {"reference": style.GIVEN, "closure": style.GENERATED}


@style.settings()
def covariances(diagnostics: xr.Dataset, sites: xr.DataArray | None) -> Figure:
    """Draw the covariance matrices of target and draws, and their difference; ``sites`` as for :func:`pictures`."""
    given, drawn = (diagnostics["offline_covariance"].sel(offline_source=source).to_numpy() for source in _LOOKS)
    figure, panels = style.row(3, width=10.5)
    shared = float(np.abs(given).max()) or 1.0
    for axes, matrix, title in zip(panels, (given, drawn, drawn - given), (*_LOOKS, "difference"), strict=True):
        most = shared if title in _LOOKS else float(np.abs(matrix).max()) or 1.0
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(title)
        for axis in (axes.xaxis, axes.yaxis):
            style.site_axis(axis, len(matrix), sites)
        figure.colorbar(image, ax=axes, shrink=0.8)
    for axes in panels[1:]:
        axes.set_ylabel("")
    return figure


@style.settings()
def autocorrelation(diagnostics: xr.Dataset) -> Figure:
    """Draw the autocorrelation in time of target and draws."""
    figure, (axes,) = style.row(1, width=5.6)
    lag, unit = style.times(diagnostics["offline_lag"])
    for source, colour in _LOOKS.items():
        value, error = (
            diagnostics[f"offline_autocorrelation{part}"].sel(offline_source=source).to_numpy() for part in ("", "_se")
        )
        half = intervals.SIDE * error
        style.curve(axes, lag, value, value - half, value + half, color=colour, label=source)
    axes.axhline(0.0, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set(xlim=(0.0, float(lag[-1]) or 1.0), xlabel=f"lag ({unit})", ylabel="autocorrelation of the target")
    style.legend_above(figure, axes)
    return figure


def pictures(diagnostics: xr.Dataset, sites: xr.DataArray | None = None) -> Mapping[str, style.Drawing]:
    """Draw every picture there are data for, by name, each with its caption.

    Parameters
    ----------
    diagnostics : what :func:`l96closure.experiments.data.offline.scores` returns of one target, or nothing of it.
    sites : coordinate of the sites; None numbers them.
    """
    drawn: dict[str, style.Drawing] = {}
    if "offline_autocorrelation" in diagnostics and not diagnostics.attrs.get("offline_told"):
        drawn["offline_autocorrelation"] = (
            partial(autocorrelation, diagnostics),
            "Autocorrelation in time of the target in the reference, and of the closure's draws along it. Bands: 95 % "
            "intervals, by batches of time, where the record is long enough for them.",
        )
    if "offline_covariance" in diagnostics:
        drawn["offline_covariance"] = (
            partial(covariances, diagnostics, sites),
            "Covariance of the target between sites at one time, in the reference and in the closure's draws along it, "
            "in the square of the target's units; the difference has a colour scale of its own.",
        )
    return drawn
