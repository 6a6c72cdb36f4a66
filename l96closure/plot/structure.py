"""Pictures of what one histogram does not show: joint density, memory of the residual, spectra, tails."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from l96closure.attributes import bin_edges, printed
from l96closure.diagnostics import intervals
from l96closure.durations import scaled
from l96closure.plot import style
from l96closure.plot.style import COLOURS, LABELS, Panels

_FULL, _LEFT = 0.5, 0.1  # correlations of the darkest colour, and below which nothing is left
_MIN_LAGS = 10  # that are shown
_ZOOM = 50  # records in the magnified part of the autocorrelation
_MAX_TICKS = 12  # wavenumbers that are named
_MARKERS = {"truth": "o", "coarse": "s"}
_SYMBOLS = {"z": "z", "psi": r"\psi"}


@style.settings()
def joint_density(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the joint density of (z, psi) of truth and coarse run on one colour scale, and their difference.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (3,).
    """
    figure, panels = style.row(3, ax=ax, width=10.5, height=4.2, sharey=True)
    edges = [bin_edges(diagnostics[f"joint_{name}_bin"].values) for name in ("z", "psi")]
    density = {source: diagnostics["density_joint"].sel(source=source).values for source in COLOURS}
    hit = {source: np.where(x > 0, x, np.nan).T for source, x in density.items()}
    met = np.concatenate([x[x > 0] for x in density.values()])
    for axes, source in zip(panels, COLOURS, strict=False):
        picture = axes.pcolormesh(
            *edges, hit[source], cmap="viridis", norm=LogNorm(met.min(), met.max()), rasterized=True
        )
        axes.set_title(LABELS[source])
    bar = figure.colorbar(picture, ax=panels[:2], location="bottom", fraction=0.05)
    bar.set_label("probability density")
    difference = (density["coarse"] - density["truth"]).T
    limit = float(np.abs(difference).max()) or 1.0
    picture = panels[2].pcolormesh(*edges, difference, cmap="PuOr_r", vmin=-limit, vmax=limit, rasterized=True)
    panels[2].set_title("coarse run less truth")
    ticks = MaxNLocator(4, symmetric=True)  # more run into each other
    figure.colorbar(picture, ax=panels[2], location="bottom", fraction=0.05, ticks=ticks).set_label("difference")
    for axes in panels:
        axes.set_xlabel(style.label("z", diagnostics["joint_z_bin"]))
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_ylabel(style.label("psi", diagnostics["joint_psi_bin"]))
    return np.array(panels)


@style.settings()
def residual_autocorrelation(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the autocorrelation of psi about its trend in z: the first fifty records, and all lags.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2,).
    """
    figure, panels = style.row(2, ax=ax, sharey=True)
    lag, unit = style.times(diagnostics["lag"])
    for axes, end in zip(panels, (lag[: _ZOOM + 1][-1], lag[-1]), strict=True):
        for source, colour in COLOURS.items():
            value, error = (
                diagnostics[f"autocorrelation_residual{part}"].sel(source=source).values for part in ("", "_se")
            )
            half, dashes = intervals.SIDE * error, "-" if source == "truth" else (0, (5, 2))
            style.curve(axes, lag, value, value - half, value + half, color=colour, linestyle=dashes,
                        label=LABELS[source])  # fmt: skip
        axes.axhline(0.0, color=style.INK, linewidth=0.6, zorder=0)
        axes.set(xlim=(0.0, end or 1.0), xlabel=f"lag ({unit})")
    panels[0].set_title(f"first {min(_ZOOM, len(lag) - 1)} records")
    panels[1].set_title("all lags")
    panels[0].set_ylabel("autocorrelation of\n$\\psi$ less its mean given $z$")
    style.legend_above(figure, panels[0])
    return np.array(panels)


@style.settings()
def space_time(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the correlation of psi, and of psi about its trend, in space and time: truth, coarse run, difference.

    The lags end where nothing is left of either; differences that may be chance are left white.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2, 3).
    """
    figure, rows = style.grid(2, 3, ax=ax, width=10.5, height=6.6, sharey="row")
    offset = bin_edges(diagnostics["offset"].values.astype(np.float64))
    lags, unit = style.times(diagnostics["time_lag"])
    lag = bin_edges(lags)
    shown = (("psi", r"$\psi$", " "), ("residual", r"$\psi$ less its mean given $z$", "\n"))
    for row, (name, label, between) in zip(rows, shown, strict=True):
        both, errors = (
            [diagnostics[f"space_time_correlation_{name}{part}"].sel(source=source).transpose("time_lag", ...).values
             for source in COLOURS] for part in ("", "_se")
        )  # fmt: skip
        for axes, values, source in zip(row, both, COLOURS, strict=False):
            picture = axes.pcolormesh(offset, lag, values, cmap="RdBu_r", vmin=-_FULL, vmax=_FULL, rasterized=True)
            axes.set_title(f"{label},{between}{LABELS[source]}")
        figure.colorbar(picture, ax=row[1], fraction=0.08, extend="both").set_label("correlation")
        off, chance = both[1] - both[0], intervals.SIDE * np.hypot(*errors)
        difference = np.where(np.abs(off) <= chance, np.nan, off)
        limit = float(np.abs(np.nan_to_num(difference)).max()) or 1.0
        picture = row[2].pcolormesh(offset, lag, difference, cmap="PuOr_r", vmin=-limit, vmax=limit, rasterized=True)
        row[2].set_title("difference, not tested" if np.isnan(chance).all() else "coarse run less truth")
        if np.isnan(both[1]).all():
            style.note(row[1], f"{label} does not vary")
            style.note(row[2], "not defined")
        figure.colorbar(picture, ax=row[2], fraction=0.08).set_label("difference")
        left = np.flatnonzero((np.abs(np.nan_to_num(both)) > _LEFT).any(axis=(0, 2)))
        row[0].set_ylim(lag[0], lag[min(lag.size - 1, max(_MIN_LAGS, 1 + int(left.max(initial=0))))])
        row[0].set_ylabel(f"lag ({unit})")
    for axes in rows[-1]:
        axes.set_xlabel("distance along the ring (sites)")
    return np.array(rows)


@style.settings()
def spectra(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the wavenumber and the frequency spectra of z and psi.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2, 2).
    """
    figure, ((*rings,), (*times,)) = style.grid(2, 2, ax=ax, width=8.4, height=6.6)
    wavenumber = diagnostics["wavenumber"].values
    factor, unit = scaled(diagnostics["lag"])
    frequency = diagnostics["frequency"].values / factor
    inside = slice(1, -1)  # no logarithm of zero, and half of the last frequency's power would be its alias
    for ring, time, (name, symbol) in zip(rings, times, _SYMBOLS.items(), strict=True):
        for source, shift, width, alpha in (("truth", -0.06, 3.0, 0.5), ("coarse", 0.06, 1.3, 1.0)):
            values = diagnostics.sel(source=source)
            bars = intervals.SIDE * values[f"spectrum_{name}_se"]
            ring.errorbar(wavenumber + shift, values[f"spectrum_{name}"], bars,
                          fmt=_MARKERS[source], color=COLOURS[source], markersize=5, capsize=2, linewidth=1,
                          label=LABELS[source])  # fmt: skip
            time.loglog(frequency[inside], factor * values[f"power_{name}"][inside], color=COLOURS[source],
                        linewidth=width, alpha=alpha)  # fmt: skip
        ticks = wavenumber[:: 1 + wavenumber.size // _MAX_TICKS]
        ring.set(ylim=(0.0, None), xticks=ticks, title=f"${symbol}$", xlabel="wavenumber (cycles around the ring)")
        time.set_xlabel(f"frequency (cycles per {unit.removesuffix('s') if len(unit) > 1 else unit})")
    units = [str(diagnostics[f"spectrum_{name}"].attrs.get("units", "1")) for name in _SYMBOLS]
    for ring, time, own, name in list(zip(rings, times, units, _SYMBOLS, strict=True))[: len(set(units))]:
        ring.set_ylabel(f"variance {style.in_brackets(diagnostics[f'spectrum_{name}'])}")
        time.set_ylabel(f"power spectral density ({unit if own == '1' else f'{style.literal(printed(own))} × {unit}'})")
    style.legend_above(figure, rings[0])
    return np.array([rings, times])


@style.settings()
def tails(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw how the quantiles of z and psi differ from the truth's, and the return periods of high levels of z.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (3,).
    """
    _, panels = style.row(3, ax=ax, width=10.5, height=3.8)
    units = style.in_brackets(diagnostics["quantile_z"])
    for axes, (name, symbol) in zip(panels, _SYMBOLS.items(), strict=False):
        _quantile_differences(axes, diagnostics, name)
        own = style.in_brackets(diagnostics[f"quantile_{name}"])
        axes.set_title(f"quantiles of ${symbol}$ {'' if own == units else own}".rstrip())
        axes.set_xlabel("probability of a smaller value")
    panels[0].set_ylabel(f"coarse run less truth {units}")
    axes, level = panels[2], diagnostics["threshold"].values
    factor, unit = scaled(diagnostics["return_period_z"])
    for source, colour in COLOURS.items():
        values, low, high = (
            np.where(np.isfinite(x), factor * x, np.nan)
            for x in (diagnostics[f"return_period_z{part}"].sel(source=source).values for part in ("", "_low", "_high"))
        )
        axes.errorbar(level, values, (values - low, high - values), fmt=f"{_MARKERS[source]}-", color=colour,
                      markersize=4, capsize=2, linewidth=1, label=LABELS[source])  # fmt: skip
    axes.set(yscale="log", title="return period at a site")
    axes.set(xlabel=f"level of $z$ {style.in_brackets(diagnostics['threshold'])}", ylabel=f"return period ({unit})")
    axes.legend(frameon=False)
    return np.array(panels)


def _quantile_differences(axes: Axes, diagnostics: xr.Dataset, name: str) -> None:
    """Draw differences of quantiles with 95 % intervals, one probability after the other; the truth is at zero."""
    truth, coarse = (diagnostics.sel(source=source) for source in ("truth", "coarse"))
    quantile = f"quantile_{name}"
    below, above = (
        np.hypot(coarse[quantile] - coarse[f"{quantile}_{a}"], truth[quantile] - truth[f"{quantile}_{b}"])
        for a, b in (("low", "high"), ("high", "low"))
    )
    at = np.arange(diagnostics.sizes["probability"])
    axes.errorbar(at, coarse[quantile] - truth[quantile], (below, above), fmt=_MARKERS["coarse"],
                  color=COLOURS["coarse"], markersize=4, capsize=2, linewidth=1)  # fmt: skip
    axes.axhline(0.0, color=COLOURS["truth"], linewidth=1.5, zorder=0)
    axes.set_xticks(at, [f"{p:g}" for p in diagnostics["probability"].values], rotation=60)
