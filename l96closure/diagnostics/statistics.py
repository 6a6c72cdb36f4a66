"""The climate statistics of truth and coarse run, side by side on one set of bins, lags and levels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure.attributes import labelled
from l96closure.diagnostics import climate, intervals, ring, tails
from l96closure.diagnostics.runs import SOURCES, Runs
from l96closure.diagnostics.scorecard import MOMENTS, NEIGHBOURS, SPECTRA
from l96closure.trends import fit_polynomial

__all__ = ["Grid", "grid", "statistics"]

FloatArray = npt.NDArray[np.float64]
Edges = tuple[FloatArray, FloatArray]

_MARGIN = 0.1  # of the truth's range, by which the bins reach beyond it on either side
_JOINT_BINS = 25  # either way; diagnose says why
_MAX_LAGS = 101  # of the correlations in space and time, which there is one of for every offset
_SEGMENT = 4  # longest lags in a segment of the frequency spectra
_TREND_DEGREE = 8  # of the polynomial in z about which psi has its residual
_BATCHED = {"interval_method": intervals.BATCH_METHOD}  # what every standard error here says about itself
_TREND_VALUES = 500_000  # it is fitted to at most so many; neighbours in time are nearly copies


_OF = {
    "z": "slow variable",
    "psi": "subgrid tendency",
    "residual": "subgrid tendency less its trend in the slow variable",
}

_NAMES = {
    "source": "origin of the statistics",
    "offset": "distance along the ring of sites",
    "lag": "time lag in model time units",
    "time_lag": "time lag of correlations in space and time, in model time units",
    "z_bin": "slow variable, centre of the bin",
    "psi_bin": "subgrid tendency, centre of the bin",
    "joint_z_bin": "slow variable, centre of the bin of the joint density",
    "joint_psi_bin": "subgrid tendency, centre of the bin of the joint density",
    "wavenumber": "cycles around the ring of sites",
    "frequency": "frequency in cycles per model time unit",
    "probability": "probability of a smaller value",
    "threshold": "level of the slow variable that is crossed upwards",
    "covariance": "covariance along the ring, averaged over the sites",
    "covariance_rows": "row of the covariance matrix along the ring, centred at its site",
    "density_joint": "joint probability density of the slow variable and the subgrid tendency",
    "return_period_z": "mean model time between up-crossings of a level by the slow variable at a site",
    "psi_given_z_mean": "mean of the subgrid tendency given the slow variable",
    "psi_given_z_std": "standard deviation of the subgrid tendency given the slow variable",
    **{f"density_{name}": f"probability density of the {of}" for name, of in _OF.items()},
    **{f"autocorrelation_{name}": f"autocorrelation of the {of}" for name, of in _OF.items()},
    **{f"space_time_correlation_{name}": f"correlation of the {of} at two sites and times" for name, of in _OF.items()},
    **{f"spectrum_{name}": f"variance of the {of} at a wavenumber along the ring" for name, of in _OF.items()},
    **{f"spectrum_ratio_{name}": f"variance of the {of} at a wavenumber over the truth's" for name, of in _OF.items()},
    **{f"power_{name}": f"power spectral density of the {of} in time" for name, of in _OF.items()},
    **{f"quantile_{name}": f"quantile of the {of}" for name, of in _OF.items()},
    **{score.name: score.label for scores in (MOMENTS, SPECTRA, NEIGHBOURS) for score in scores.values()},
}


class Grid(NamedTuple):
    """Where the statistics of both sources are taken.

    Attributes
    ----------
    edges, joint_edges : bin edges of z and of psi, each on its own and together.
    levels : of z, whose up-crossings are counted.
    lags : number of lags, the first of which is 0.
    lag_stride : every how many of them correlations in space and time are kept.
    segment : number of times in a segment of the frequency spectra.
    step : time step in model time units.
    sites : number of sites.
    ring : whether they are a ring.
    """

    edges: Edges
    joint_edges: Edges
    levels: FloatArray
    lags: int
    lag_stride: int
    segment: int
    step: float
    sites: int
    ring: bool

    def coordinates(self) -> dict[str, Any]:
        """Return the coordinates of :func:`statistics`.

        Returns
        -------
        Of each dimension, by name.
        """
        names = ("z_bin", "psi_bin", "joint_z_bin", "joint_psi_bin")
        centres = [(edges[1:] + edges[:-1]) / 2 for edges in (*self.edges, *self.joint_edges)]
        return {
            "source": list(SOURCES),
            "k": np.arange(self.sites),
            "offset": ring.offsets(self.sites),
            "lag": np.arange(self.lags) * self.step,
            "time_lag": np.arange(0, self.lags, self.lag_stride) * self.step,
            **dict(zip(names, centres, strict=True)),
            "wavenumber": np.arange(self.sites // 2 + 1),
            "frequency": np.fft.rfftfreq(self.segment, self.step),
            "probability": tails.PROBABILITIES,
            "threshold": self.levels,
        }


def grid(runs: Runs, bins: int, max_lag: float, ring: bool = True) -> Grid:
    """Choose bins, lags and levels from the truth, for both sources.

    Parameters
    ----------
    runs : the two runs at one time step.
    bins, max_lag, ring : as for :func:`l96closure.diagnose`.

    Returns
    -------
    Grid
    """
    edges, joint_edges = (
        (_bin_edges(runs.z["truth"], number), _bin_edges(runs.psi["truth"], number))
        for number in (bins, min(bins, _JOINT_BINS))
    )
    lags = min(int(max_lag / runs.step + 1e-9), runs.shortest // 2) + 1
    return Grid(
        edges,
        joint_edges,
        levels=np.quantile(runs.z["truth"], tails.THRESHOLDS),
        lags=lags,
        lag_stride=-(-lags // _MAX_LAGS),
        segment=min(_SEGMENT * lags, runs.shortest),
        step=runs.step,
        sites=runs.z["truth"].shape[-1],
        ring=ring,
    )


def statistics(runs: Runs, on: Grid) -> xr.Dataset:
    """Compute the statistics that :func:`l96closure.diagnose` lists.

    Parameters
    ----------
    runs : the two runs at one time step.
    on : where the statistics are taken.

    Returns
    -------
    Dataset, most variables of which have the dimension ``source``.
    """
    trend = _trend(runs.z["truth"], runs.psi["truth"])
    sources = []
    for z, psi in ((runs.z[source], runs.psi[source]) for source in SOURCES):
        fields = {"z": z, "psi": psi, "residual": psi - trend(z)}
        sources.append(
            xr.Dataset(
                {
                    **_moments(z, psi),
                    **(_along_the_ring(fields, on) if on.ring else {}),
                    **_distributions(z, psi, on),
                    **_variability(fields, on),
                    **_tails(z, psi, on),
                }
            )
        )
    described = xr.concat(sources, dim="source")
    known = {name: values for name, values in on.coordinates().items() if name in described.dims}
    described = described.assign_coords(known)
    return labelled(described.assign(_spectra_compared(described) if on.ring else {}), _NAMES)


def _moments(z: FloatArray, psi: FloatArray) -> dict[str, Any]:
    moments: dict[str, Any] = {}
    for prefix, x in (("", z), ("psi_", psi)):
        moments |= {f"{prefix}mean": x.mean(), f"{prefix}std": x.std()}
        for name, error in zip(("mean", "std"), climate.batch_standard_errors(x), strict=True):
            moments[f"{prefix}{name}_se"] = (), error, _BATCHED
    return moments


def _distributions(z: FloatArray, psi: FloatArray, on: Grid) -> dict[str, Any]:
    mean, std = climate.conditional_moments(psi, z, on.edges[0])
    return {
        "density_z": ("z_bin", climate.density(z, on.edges[0])),
        "density_psi": ("psi_bin", climate.density(psi, on.edges[1])),
        "density_joint": (("joint_z_bin", "joint_psi_bin"), climate.joint_density(z, psi, *on.joint_edges)),
        "psi_given_z_mean": ("z_bin", mean),
        "psi_given_z_std": ("z_bin", std),
    }


def _variability(fields: dict[str, FloatArray], on: Grid) -> dict[str, Any]:
    """Correlations in time of z, psi and the residual; spectra of the first two."""
    result: dict[str, Any] = {}
    for name, x in fields.items():
        correlation, correlation_se = climate.autocorrelation(x, on.lags)
        result[f"autocorrelation_{name}"] = ("lag", correlation)
        result[f"autocorrelation_{name}_se"] = "lag", correlation_se, _BATCHED
    for name in ("z", "psi"):
        result[f"power_{name}"] = ("frequency", climate.power_spectrum(fields[name], on.step, on.segment))
    return result


def _along_the_ring(fields: dict[str, FloatArray], on: Grid) -> dict[str, Any]:
    """Covariances of z, correlations in space and time of z, psi and the residual, and spectra of the first two."""
    rows = ring.covariance_rows(fields["z"])
    result: dict[str, Any] = {"covariance": ("offset", rows.mean(axis=0)), "covariance_rows": (("k", "offset"), rows)}
    neighbour = np.flatnonzero(ring.offsets(on.sites) == 1)
    for name, x in fields.items():
        for part, values in zip(("", "_se"), ring.space_time_correlation(x, on.lags, on.lag_stride), strict=True):
            told = _BATCHED if part else {}
            result[f"space_time_correlation_{name}{part}"] = ("offset", "time_lag"), values, told
            beside = float(values[neighbour[0], 0]) if neighbour.size else np.nan  # a lone site has no neighbour
            result[f"neighbour_correlation_{name}{part}"] = (), beside, told
    for name in ("z", "psi"):
        spectrum, spectrum_se = ring.spectrum(fields[name])
        result[f"spectrum_{name}"] = ("wavenumber", spectrum)
        result[f"spectrum_{name}_se"] = "wavenumber", spectrum_se, _BATCHED
    return result


def _spectra_compared(described: xr.Dataset) -> dict[str, Any]:
    """Ratios of the spectra along the ring, and the largest relative error of each."""
    result: dict[str, Any] = {}
    for name in ("z", "psi"):
        compared = ring.compare(
            *(described[f"spectrum_{name}{part}"].sel(source=source).to_numpy()
              for source in SOURCES for part in ("", "_se"))
        )  # fmt: skip
        for kind, dims, method in (("ratio", "wavenumber", ring.RATIO_METHOD), ("error", (), ring.ERROR_METHOD)):
            for part in ("", "_low", "_high"):
                told = {"interval_method": method} if part else {}
                result[f"spectrum_{kind}_{name}{part}"] = dims, getattr(compared, f"{kind}{part}"), told
    return result


def _tails(z: FloatArray, psi: FloatArray, on: Grid) -> dict[str, Any]:
    statistics = {
        "quantile_z": ("probability", tails.quantiles(z), tails.QUANTILE_METHOD),
        "quantile_psi": ("probability", tails.quantiles(psi), tails.QUANTILE_METHOD),
        "return_period_z": ("threshold", tails.return_periods(z, on.levels, on.step), tails.PERIOD_METHOD),
    }
    return {
        f"{name}{ending}": (dim, values, {"interval_method": method} if ending else {})
        for name, (dim, bounded, method) in statistics.items()
        for ending, values in zip(("", "_low", "_high"), bounded, strict=True)
    }


def _trend(z: FloatArray, psi: FloatArray) -> Any:
    """Fit the polynomial in z; of lower degree when z has too few distinct values to determine it."""
    every = -(-z.size // _TREND_VALUES)
    z, psi = z[:, ::every], psi[:, ::every]
    return fit_polynomial(z, psi, min(_TREND_DEGREE, np.unique(z).size - 1))


def _bin_edges(x: FloatArray, bins: int) -> FloatArray:
    """Edges of ``bins`` equal bins over the range of ``x`` and a margin; of unit length about a constant."""
    low, high = float(x.min()), float(x.max())
    margin = _MARGIN * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, bins + 1)
