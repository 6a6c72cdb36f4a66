"""Pictures of what a grid has that is no ring: profiles along levels, and isotropic spectra of planes."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from l96closure.attributes import printed
from l96closure.diagnostics import intervals
from l96closure.plot import style
from l96closure.plot.style import COLOURS, LABELS, Panels

_MAX_LAYERS = 3  # of a stack of planes that are drawn
_PRESSURE = ("Pa", "hPa", "kPa", "mbar", "millibar", "bar", "dbar", "decibar", "atm")  # downwards: CF, section 4.3.1
_SYMBOLS = {"z": "z", "psi": r"\psi"}
_DASHES = {"truth": "-", "coarse": (0, (5, 2))}


@style.settings()
def profiles(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw mean and standard deviation of z and psi against level, of truth and coarse run.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose` on a grid with levels.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (4,).
    """
    figure, panels = style.row(4, ax=ax, width=10.5, height=4.4, sharey=True)
    (dim,) = (dim for dim in diagnostics["profile_mean_z"].dims if dim != "source")
    level = diagnostics[dim].to_numpy() if dim in diagnostics.coords else np.arange(diagnostics.sizes[dim])
    numbers = level.dtype.kind in "iuf"
    at = level if numbers else np.arange(level.size)
    for axes, (name, what) in zip(panels, ((n, w) for n in _SYMBOLS for w in ("mean", "std")), strict=True):
        values = diagnostics[f"profile_{what}_{name}"]
        for source, colour in COLOURS.items():
            value, half = (
                factor * diagnostics[f"profile_{what}_{name}{part}"].sel(source=source).to_numpy()
                for part, factor in (("", 1.0), ("_se", intervals.SIDE))
            )
            axes.fill_betweenx(at, value - half, value + half, color=colour, alpha=0.2, linewidth=0)
            axes.plot(value, at, color=colour, linewidth=1.8, linestyle=_DASHES[source], label=LABELS[source])
        axes.set_title(f"{'mean' if what == 'mean' else 'standard deviation'} of ${_SYMBOLS[name]}$", fontsize="medium")
        axes.set_xlabel(style.in_brackets(values))
        axes.locator_params(axis="x", nbins=3)
        axes.ticklabel_format(axis="x", useOffset=False)
    panels[0].set_ylabel(style.coordinate(diagnostics[dim]))
    if not numbers:
        panels[0].set_yticks(at, [style.literal(str(each)) for each in level])
    known = diagnostics[dim].attrs
    if known.get("positive") == "down" or ("positive" not in known and known.get("units") in _PRESSURE):
        panels[0].invert_yaxis()
    style.legend_above(figure, panels[0])
    return np.array(panels)


def _at(stacked: xr.Dataset, dim: Hashable, number: int) -> str:
    """Say which one of a stack of planes it is: by the coordinate with its units, or the number along the dimension."""
    where = stacked[dim].isel(_layer=number)
    value = f"{where.item():.5g}" if where.dtype.kind in "iuf" else str(where.item())
    units = f" {printed(str(where.attrs['units']))}" if where.attrs.get("units", "1") != "1" else ""
    return style.literal(f"{dim} {value}{units}")


@style.settings()
def isotropic_spectra(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the variance of z and psi on a plane against total wavenumber, of a stack of planes of the first three.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose` on a grid with a periodic plane.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (layer, 2).
    """
    layers = [dim for dim in diagnostics["isotropic_spectrum_z"].dims if dim not in ("source", "total_wavenumber")]
    stacked = diagnostics.stack(_layer=layers) if layers else diagnostics.expand_dims("_layer")
    shown = min(_MAX_LAYERS, stacked.sizes["_layer"])
    figure, rows = style.grid(shown, 2, ax=ax, width=8.4, height=1.0 + 2.8 * shown)
    wavenumber = diagnostics["total_wavenumber"].to_numpy()[1:]
    for number, panels in enumerate(rows):
        for axes, (name, symbol) in zip(panels, _SYMBOLS.items(), strict=True):
            for source, colour in COLOURS.items():
                at = stacked.isel(_layer=number).sel(source=source)
                value, error = (at[f"isotropic_spectrum_{name}{part}"].to_numpy()[1:] for part in ("", "_se"))
                half = intervals.SIDE * error
                style.curve(axes, wavenumber, value, np.maximum(value - half, 1e-3 * value), value + half,
                            color=colour, linestyle=_DASHES[source], label=LABELS[source])  # fmt: skip
            axes.set(xscale="log", yscale="log")
            style.log_axis(axes.xaxis, wavenumber)
            axes.set_title(
                ", ".join([f"${symbol}$", *(_at(stacked, dim, number) for dim in layers)]), fontsize="medium"
            )
    for axes in rows[-1]:
        axes.set_xlabel("total wavenumber (cycles along the longer side)")
    for panels in rows:
        for axes, name in zip(panels, _SYMBOLS, strict=True):
            axes.set_ylabel(f"variance {style.in_brackets(diagnostics[f'isotropic_spectrum_{name}'])}")
    style.legend_above(figure, rows[0][0])
    return np.array(rows)
