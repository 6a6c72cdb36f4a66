"""The pictures of a coarse run beside the truth: functions from datasets to matplotlib Axes."""

from __future__ import annotations

from math import ceil, log10

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from l96closure.arrays import F64
from l96closure.attributes import bin_edges
from l96closure.diagnostics import intervals
from l96closure.durations import MODEL_TIME, scaled
from l96closure.plot import style
from l96closure.plot.style import COLOURS, LABELS, Panels
from l96closure.series import elapsed, time_unit

_MAX_POINTS = 200_000  # of a run in the density of psi against z
_MAX_ROWS = 500  # of a run in the Hovmöller picture
_DURATION = 10.0  # of model time in it
_HIGHEST = 3.0  # peaks of the truth's density that a panel has room for, where the coarse run's is higher
_APART = 3.0  # standard deviations in time, by which the means of sites differ where these are unlike


@style.settings()
def covariance(diagnostics: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the centred rows of the covariance matrix of z, Figure 4 (left) of Gottwald & Reich (2024).

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw; None makes a figure.

    Returns
    -------
    The Axes.
    """
    _, (axes,) = style.row(1, ax=ax, width=6.4, height=4.0)
    offset = diagnostics["offset"].values
    rows = diagnostics["covariance_rows"].sel(source="coarse").values
    for number, row in enumerate(rows):
        axes.plot(offset, row, color=COLOURS["coarse"], alpha=0.35, linewidth=0.7,
                  label="coarse run, each row" if number == 0 else None)  # fmt: skip
    axes.plot(offset, diagnostics["covariance"].sel(source="coarse"), color=COLOURS["coarse"], linewidth=2.2,
              label="coarse run, mean over rows")  # fmt: skip
    axes.plot(offset, diagnostics["covariance"].sel(source="truth"), "o", color=COLOURS["truth"],
              markersize=6, markeredgecolor="white", label=LABELS["truth"])  # fmt: skip
    axes.axhline(0.0, color=style.INK, linewidth=0.6, zorder=0)
    axes.set(xticks=offset[offset % (1 + len(offset) // 16) == 0], xlabel="distance along the ring (sites)")
    axes.set_ylabel(f"covariance of $z$ {style.in_brackets(diagnostics['covariance'])}")
    axes.legend(frameon=False)
    return axes


@style.settings()
def histograms(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the densities of z and psi, Figure 4 (right) of Gottwald & Reich (2024).

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2,).
    """
    figure, panels = style.row(2, ax=ax)
    for axes, name in zip(panels, ("z", "psi"), strict=True):
        density, centre = diagnostics[f"density_{name}"], diagnostics[f"{name}_bin"].values
        edges = bin_edges(centre)
        truth, coarse = density.sel(source="truth").values, density.sel(source="coarse").values
        axes.stairs(truth, edges, fill=True, color=COLOURS["truth"], alpha=0.35, label=LABELS["truth"])
        axes.stairs(truth, edges, color=COLOURS["truth"], linewidth=0.8)
        axes.stairs(coarse, edges, color=COLOURS["coarse"], linewidth=1.6, label=LABELS["coarse"])
        top = _HIGHEST * truth.max() if peaked(density) else None
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0.0, top), xlabel=style.label(name, diagnostics[f"{name}_bin"]))
    panels[0].set_ylabel("probability density")
    style.legend_above(figure, panels[0])
    return np.array(panels)


def peaked(density: xr.DataArray) -> bool:
    """Tell whether a density of the coarse run has a peak beside which little could be seen of the truth's.

    Parameters
    ----------
    density : of one variable, of the dimension ``source`` too.
    """
    return bool(density.sel(source="coarse").max() > _HIGHEST * density.sel(source="truth").max())


@style.settings()
def autocorrelations(diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the autocorrelations of z and psi against lag, with 95 % intervals.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2,).
    """
    _, panels = style.row(2, ax=ax, sharey=True)
    lag, unit = style.times(diagnostics["lag"])
    for axes, name, symbol in zip(panels, ("z", "psi"), ("z", r"\psi"), strict=True):
        for source, width, alpha in (("truth", 3.2, 0.55), ("coarse", 1.5, 1.0)):
            value, error = (
                diagnostics[f"autocorrelation_{name}{part}"].sel(source=source).to_numpy() for part in ("", "_se")
            )
            half = intervals.SIDE * error
            style.curve(axes, lag, value, value - half, value + half, color=COLOURS[source], linewidth=width,
                        alpha=alpha, label=LABELS[source])  # fmt: skip
        axes.axhline(0.0, color=style.INK, linewidth=0.6, zorder=0)
        axes.set(xlim=(0.0, lag[-1] or 1.0), title=f"${symbol}$", xlabel=f"lag ({unit})")
    panels[0].set_ylabel("autocorrelation")
    panels[1].legend(frameon=False)
    return np.array(panels)


@style.settings()
def psi_against_z(truth: xr.Dataset, coarse: xr.Dataset, diagnostics: xr.Dataset, ax: Panels | None = None) -> Panels:
    """Draw the density of (z, psi) of truth and coarse run, with mean and spread of psi given z.

    Parameters
    ----------
    truth, coarse : runs with ``z`` and ``psi`` of the same dims.
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2,).
    """
    figure, panels = style.row(2, ax=ax, sharey=True, height=3.9)
    edges = [bin_edges(diagnostics[f"{name}_bin"].values) for name in ("z", "psi")]
    z = diagnostics["z_bin"].values
    densities = [_density(run, diagnostics, edges) for run in (truth, coarse)]
    met = np.concatenate([density[density > 0] for density in densities])
    norm = LogNorm(met.min(), 100 * met.max()) if met.size else None  # no darker than lines can be seen upon
    for axes, source, density in zip(panels, ("truth", "coarse"), densities, strict=True):
        picture = axes.pcolormesh(
            *edges, np.where(density > 0, density, np.nan).T, cmap="Greys", rasterized=True, norm=norm
        )
        for shown in dict.fromkeys(("truth", source)):
            statistics = diagnostics.sel(source=shown)
            mean, std = statistics["psi_given_z_mean"], statistics["psi_given_z_std"]
            dashes = "-" if shown == "truth" else (0, (5, 2))
            axes.plot(z, mean, color=COLOURS[shown], linewidth=2.0, linestyle=dashes, label=f"{LABELS[shown]}: mean")
            axes.fill_between(z, mean - std, mean + std, color=COLOURS[shown], alpha=0.12, linewidth=0)
            for bound, label in ((mean - std, f"{LABELS[shown]}: mean ± std"), (mean + std, None)):
                axes.plot(z, bound, color=COLOURS[shown], linewidth=1.1, linestyle=(0, (1, 1.5)), label=label)
        axes.set(title=LABELS[source], xlabel=style.label("z", diagnostics["z_bin"]))
        axes.locator_params(axis="x", nbins=7)
    panels[0].set_ylabel(style.label("psi", diagnostics["psi_bin"]))
    if norm is not None:
        top = ceil(log10(met.max()))
        bar = figure.colorbar(picture, ax=panels, fraction=0.05, pad=0.02)
        bar.ax.set_ylim(met.min(), 10.0**top)
        bar.set_label("probability density")
    style.legend_above(figure, panels[1])
    return np.array(panels)


@style.settings()
def hovmoeller(
    truth: xr.Dataset,
    coarse: xr.Dataset,
    duration: float | None = None,
    sites: xr.DataArray | None = None,
    ax: Panels | None = None,
) -> Panels:
    """Draw z over site and time for the truth and the first member of the coarse run, on one colour scale.

    Where the means of the sites differ by much more than each of them varies, the truth's are taken off both.

    Parameters
    ----------
    truth : ``z`` (time, k).
    coarse : ``z`` (member, time, k).
    duration : time shown, from the start of each run, in the unit of their times, seconds for dates; less when the
        shorter run is shorter. None is ten model time units, or 500 records of a truth with another unit.
    sites : coordinate of the sites, of one dimension, such as levels with their units; None numbers them.
    ax : where to draw, as many Axes as are returned; None makes a figure.

    Returns
    -------
    Axes (2,).
    """
    figure, panels = style.row(2, ax=ax, sharey=True, height=4.8)
    runs = [truth["z"].transpose("time", "k"), coarse["z"].isel(member=0).transpose("time", "k")]
    times = [_since_start(run) for run in runs]
    unit = time_unit(truth)
    if duration is None:
        duration = _DURATION if unit == MODEL_TIME else float(times[0][:_MAX_ROWS][-1])
    duration = min(duration, *(float(time[-1]) for time in times))
    runs = [run.isel(time=time <= duration * (1 + 1e-9)) for run, time in zip(runs, times, strict=True)]
    factor, unit = scaled(xr.DataArray(duration, attrs={"units": unit}))
    mean = truth["z"].mean("time")
    if apart := bool(
        mean.std() > _APART * truth["z"].std("time").mean()
    ):  # a profile that weather would not be seen on
        runs = [run - mean for run in runs]
    limit = max(float(np.quantile(np.abs(run.values), 0.995)) for run in runs)
    for axes, source, run in zip(panels, ("truth", "coarse"), runs, strict=True):
        picture = axes.imshow(_thinned(run.values, _MAX_ROWS), origin="lower", aspect="auto", cmap="RdBu_r",
                              vmin=-limit, vmax=limit, interpolation="nearest",
                              extent=(-0.5, run.sizes["k"] - 0.5, 0.0, factor * duration))  # fmt: skip
        axes.set_title(LABELS[source])
        style.site_axis(axes.xaxis, run.sizes["k"], sites)
    panels[0].set_ylabel(f"time ({unit})")
    bar = figure.colorbar(picture, ax=panels, extend="both", fraction=0.05, pad=0.02)
    bar.set_label(style.label("z", truth["z"]) + (", less the truth's mean at its site" if apart else ""))
    bar.outline.set_visible(False)
    return np.array(panels)


def _since_start(run: xr.DataArray) -> F64:
    """Return the times of a run since its first, of dates in seconds."""
    time = elapsed("run", run["time"].to_numpy())
    return time - time[0]


def _pooled(run: xr.Dataset, name: str, diagnostics: xr.Dataset) -> F64:
    """Return values of all sites of a run, as the anomalies that the diagnostics are of where sites are unlike."""
    values = run[name]
    if (off := diagnostics.get(f"taken_off_{name}")) is not None:
        there = off.to_numpy()[off.notnull().to_numpy()]  # of a mask
        values = values - (xr.DataArray(there, dims="k") if "k" in values.dims else off)  # sites counted through
    return _thinned(values.to_numpy().ravel(), _MAX_POINTS)


def _density(run: xr.Dataset, diagnostics: xr.Dataset, edges: list[F64]) -> F64:
    """Return the joint density of z and psi of a run, in cells; zero where it has no value in any."""
    z, psi = (_pooled(run, name, diagnostics) for name in ("z", "psi"))
    counts, *_ = np.histogram2d(z, psi, bins=edges)
    area = np.outer(*map(np.diff, edges))
    return counts / (max(1.0, counts.sum()) * area)


def _thinned(values: F64, most: int) -> F64:
    """Keep every n-th entry of the first axis, at most ``most`` of them."""
    return values[:: -(-len(values) // most)]
