"""The climate statistics of truth and coarse run, side by side on one set of bins, lags and levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from l96closure.arrays import F64
from l96closure.attributes import ERROR, in_time_unit, in_units, labelled
from l96closure.diagnostics import climate, grids, intervals, ring, tails
from l96closure.diagnostics.runs import SOURCES, Runs
from l96closure.diagnostics.scorecard import MOMENTS, NEIGHBOURS, SPECTRA
from l96closure.fields import Fields
from l96closure.trends import fit_polynomial

Edges = tuple[F64, F64]

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
    "target": "target",
    "other_target": "target",
    "target_covariance": "covariance of two targets at a site",
    "offset": "distance along the ring of sites",
    "lag": "time lag in model time units",
    "time_lag": "time lag of correlations in space and time, in model time units",
    "z_bin": "slow variable, centre of the bin",
    "psi_bin": "subgrid tendency, centre of the bin",
    "joint_z_bin": "slow variable, centre of the bin of the joint density",
    "joint_psi_bin": "subgrid tendency, centre of the bin of the joint density",
    "wavenumber": "cycles around the ring of sites",
    "total_wavenumber": "total wavenumber, in cycles along the longer side of the plane",
    "frequency": "frequency in cycles per model time unit",
    "probability": "probability of a smaller value",
    "threshold": "level of the slow variable that is crossed upwards",
    "covariance": "covariance along the ring, averaged over the sites",
    "covariance_rows": "row of the covariance matrix along the ring, centred at its site",
    "density_joint": "joint probability density of the slow variable and the subgrid tendency",
    "return_period_z": "mean model time between up-crossings of a level by the slow variable at a site",
    "taken_off_z": "mean of the truth that is taken off the slow variable, where statistics are of anomalies",
    "taken_off_psi": "mean of the truth that is taken off the subgrid tendency, where statistics are of anomalies",
    "psi_given_z_mean": "mean of the subgrid tendency given the slow variable",
    "psi_given_z_std": "standard deviation of the subgrid tendency given the slow variable",
    **{f"density_{name}": f"probability density of the {of}" for name, of in _OF.items()},
    **{f"autocorrelation_{name}": f"autocorrelation of the {of}" for name, of in _OF.items()},
    **{f"space_time_correlation_{name}": f"correlation of the {of} at two sites and times" for name, of in _OF.items()},
    **{f"spectrum_{name}": f"variance of the {of} at a wavenumber along the ring" for name, of in _OF.items()},
    **{f"spectrum_ratio_{name}": f"variance of the {of} at a wavenumber over the truth's" for name, of in _OF.items()},
    **{f"power_{name}": f"power spectral density of the {of} in time" for name, of in _OF.items()},
    **{f"quantile_{name}": f"quantile of the {of}" for name, of in _OF.items()},
    **{f"profile_mean_{name}": f"mean of the {of} at a level" for name, of in _OF.items()},
    **{f"profile_std_{name}": f"standard deviation of the {of} at a level" for name, of in _OF.items()},
    **{f"isotropic_spectrum_{name}": f"variance of the {of} at a total wavenumber" for name, of in _OF.items()},
    **{score.name: score.label for scores in (MOMENTS, SPECTRA, NEIGHBOURS) for score in scores.values()},
}


_FIELDS = ("z", "psi")
_OF_ANOMALIES = (  # where sites are unlike
    *("mean", "std", "psi_mean", "psi_std", "z_bin", "psi_bin", "joint_z_bin", "joint_psi_bin", "threshold"),
    *("quantile_z", "quantile_psi"),
)

_UNITS = {  # powers of the units of z and of psi
    **dict.fromkeys(("mean", "std", "z_bin", "joint_z_bin", "quantile_z", "threshold", "profile_mean_z"), (1, 0)),
    "taken_off_z": (1, 0),
    "taken_off_psi": (0, 1),
    **dict.fromkeys(("psi_mean", "psi_std", "psi_bin", "joint_psi_bin", "quantile_psi", "profile_mean_psi"), (0, 1)),
    **dict.fromkeys(("psi_given_z_mean", "psi_given_z_std", "profile_std_psi"), (0, 1)),
    **dict.fromkeys(("covariance", "covariance_rows", "spectrum_z", "power_z", "isotropic_spectrum_z"), (2, 0)),
    **dict.fromkeys(("spectrum_psi", "power_psi", "isotropic_spectrum_psi"), (0, 2)),
    "profile_std_z": (1, 0),
    "density_z": (-1, 0),
    "density_psi": (0, -1),
    "density_joint": (-1, -1),
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
    step : time step.
    fields : the grid of the sites.
    along : coordinates of the grid, by dim.
    """

    edges: Edges
    joint_edges: Edges
    levels: F64
    lags: int
    lag_stride: int
    segment: int
    step: float
    fields: Fields
    along: Mapping[str, Any]

    @property
    def level(self) -> int | None:
        """Number of the dimension of levels; None where there are none."""
        return grids.levels_of(self.fields.rings)

    @property
    def plane(self) -> tuple[int, int] | None:
        """Numbers of the two dimensions of a plane; None where there is none, or a mask cuts it."""
        return grids.plane_of(self.fields.homogeneous)

    @property
    def cut(self) -> str | None:
        """What is left out because a mask cuts it; None where nothing is."""
        if self.fields.mask is None:
            return None
        if self.fields.rings == (True,):
            return "covariances and correlations along the ring, and its spectra: a mask cuts it"
        return None if grids.plane_of(self.fields.rings) is None else "isotropic spectra: a mask cuts the plane"

    @property
    def _shells(self) -> int:
        """Number of total wavenumbers; 0 where there is no plane."""
        if self.plane is None:
            return 0
        return 1 + int(grids.total_wavenumbers(*(self.fields.shape[axis] for axis in self.plane)).max())

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
            **({self.fields.dim[0]: np.arange(self.fields.sites)} if self.fields.ring else self.along),
            "offset": ring.offsets(self.fields.sites),
            "lag": np.arange(self.lags) * self.step,
            "time_lag": np.arange(0, self.lags, self.lag_stride) * self.step,
            **dict(zip(names, centres, strict=True)),
            "wavenumber": np.arange(self.fields.sites // 2 + 1),
            "total_wavenumber": np.arange(self._shells),
            "frequency": np.fft.rfftfreq(self.segment, self.step),
            "probability": tails.PROBABILITIES,
            "threshold": self.levels,
        }


def grid(runs: Runs, truth: xr.Dataset, fields: Fields, bins: int, max_lag: float) -> Grid:
    """Choose bins, lags and levels from the truth, for both sources.

    Parameters
    ----------
    runs : the two runs at one time step.
    truth : has the coordinates of the grid.
    fields : the grid.
    bins, max_lag : as for :func:`l96closure.diagnose`.

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
        fields=replace(fields, shape=tuple(truth.sizes[dim] for dim in fields.dim)),
        along={dim: truth[dim].variable for dim in fields.dim if dim in truth.coords},
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
    trend, base = _trend(runs.z["truth"], runs.psi["truth"]), runs.base or (0.0, 0.0)
    sources = []
    for z, psi in ((runs.z[source], runs.psi[source]) for source in SOURCES):
        fields = {"z": z, "psi": psi, "residual": psi - trend(z)}
        sources.append(
            xr.Dataset(
                {
                    **_moments(z, psi),
                    **(_along_the_ring(fields, on) if on.fields.ring else _on_the_grid(z + base[0], psi + base[1], on)),
                    **_distributions(z, psi, on),
                    **_variability(fields, on),
                    **_tails(z, psi, on),
                }
            )
        )
    described = xr.concat(sources, dim="source")
    known = {name: values for name, values in on.coordinates().items() if name in described.dims}
    described = described.assign_coords(known)
    described = described.assign(_spectra_compared(described) if on.fields.ring else {})
    if runs.base is not None:
        sites, dims = on.fields, tuple(on.fields.dim)
        placed = [sites.placed(x).reshape(sites.shape) for x in runs.base]
        off = {f"taken_off_{name}": (dims, x) for name, x in zip(_FIELDS, placed, strict=True)}
        unlike = " and ".join(dim for dim, ring in zip(dims, sites.rings, strict=True) if not ring)
        described = described.assign(off).assign_attrs(anomalies_along=unlike)
        for name in _OF_ANOMALIES:
            described[name].attrs["comment"] = f"of anomalies from the truth's mean at each place along {unlike}"
    return in_time_unit(labelled(in_units(described, _UNITS, *runs.units), _NAMES), runs.time_unit)


def covariances(pairs: Sequence[Runs], targets: Sequence[str]) -> dict[str, xr.DataArray]:
    """Return the covariances between targets at one site and time, each less its mean there, over the sites.

    Parameters
    ----------
    pairs : the runs, whose psi is one of the targets each.
    targets : their names.

    Returns
    -------
    ``target_covariance`` and ``target_covariance_se`` (source, target, other_target).
    """
    found = np.empty((2, len(SOURCES), len(pairs), len(pairs)))
    for n, source in enumerate(SOURCES):
        anomalies = [runs.psi[source] - runs.psi[source].mean(axis=(0, 1)) for runs in pairs]
        for i, j in np.ndindex(found.shape[2:]):
            products = (anomalies[i] * anomalies[j]).mean(axis=2)
            found[:, n, i, j] = products.mean(), intervals.batched_standard_error(products)
    dims = ("source", "target", "other_target")
    known = {"source": list(SOURCES), "target": list(targets), "other_target": list(targets)}
    units = "units: product of those of the two targets"
    data = xr.Dataset(
        {
            "target_covariance": (dims, found[0], {"comment": units}),
            "target_covariance_se": (dims, found[1], {"comment": units, **_BATCHED}),
        },
        known,
    )
    for name, variable in labelled(data, _NAMES).variables.items():
        if str(name).startswith("target_covariance"):
            del variable.attrs["units"]
    return dict(data.data_vars.items())  # type: ignore[arg-type]


def _moments(z: F64, psi: F64) -> dict[str, Any]:
    moments: dict[str, Any] = {}
    for prefix, x in (("", z), ("psi_", psi)):
        moments |= {f"{prefix}mean": climate.mean(x), f"{prefix}std": x.std()}
        for name, error in zip(("mean", "std"), climate.batch_standard_errors(x), strict=True):
            moments[f"{prefix}{name}_se"] = (), error, _BATCHED
    return moments


def _distributions(z: F64, psi: F64, on: Grid) -> dict[str, Any]:
    mean, std = climate.conditional_moments(psi, z, on.edges[0])
    return {
        "density_z": ("z_bin", climate.density(z, on.edges[0])),
        "density_psi": ("psi_bin", climate.density(psi, on.edges[1])),
        "density_joint": (("joint_z_bin", "joint_psi_bin"), climate.joint_density(z, psi, *on.joint_edges)),
        "psi_given_z_mean": ("z_bin", mean),
        "psi_given_z_std": ("z_bin", std),
    }


def _variability(fields: dict[str, F64], on: Grid) -> dict[str, Any]:
    """Correlations in time of z, psi and the residual; spectra of the first two."""
    result: dict[str, Any] = {}
    for name, x in fields.items():
        result |= _with_error(f"autocorrelation_{name}", "lag", *climate.autocorrelation(x, on.lags))
    for name in ("z", "psi"):
        result[f"power_{name}"] = ("frequency", climate.power_spectrum(fields[name], on.step, on.segment))
    return result


def _along_the_ring(fields: dict[str, F64], on: Grid) -> dict[str, Any]:
    """Covariances of z, correlations in space and time of z, psi and the residual, and spectra of the first two."""
    rows = ring.covariance_rows(fields["z"])
    result: dict[str, Any] = {
        "covariance": ("offset", rows.mean(axis=0)),
        "covariance_rows": ((on.fields.dim[0], "offset"), rows),
    }
    neighbour = np.flatnonzero(ring.offsets(on.fields.sites) == 1)
    for name, x in fields.items():
        for part, values in zip(("", "_se"), ring.space_time_correlation(x, on.lags, on.lag_stride), strict=True):
            told = _BATCHED if part else {}
            result[f"space_time_correlation_{name}{part}"] = ("offset", "time_lag"), values, told
            beside = float(values[neighbour[0], 0]) if neighbour.size else np.nan  # a lone site has no neighbour
            result[f"neighbour_correlation_{name}{part}"] = (), beside, told
    for name in _FIELDS:
        result |= _with_error(f"spectrum_{name}", "wavenumber", *ring.spectrum(fields[name]))
    return result


def _on_the_grid(z: F64, psi: F64, on: Grid) -> dict[str, Any]:
    """Profiles along levels, and isotropic spectra on planes, of z and psi, where the grid has them."""
    result: dict[str, Any] = {}
    level, plane, dim = on.level, on.plane, on.fields.dim
    for name, x in zip(_FIELDS, (z, psi), strict=True):
        if level is not None:
            place = np.indices(on.fields.shape)[level].reshape(-1)[on.fields.kept]
            mean, mean_se, std, std_se = grids.profile(x, place, on.fields.shape[level])
            result |= _with_error(f"profile_mean_{name}", dim[level], mean, mean_se)
            result |= _with_error(f"profile_std_{name}", dim[level], std, std_se)
        if plane is not None:
            dims = (*(one for number, one in enumerate(dim) if number not in plane), "total_wavenumber")
            spectrum = grids.isotropic_spectrum(x, on.fields.shape, plane)
            result |= _with_error(f"isotropic_spectrum_{name}", dims, *spectrum)
    return result


def _with_error(name: str, dims: Any, values: F64, error: F64) -> dict[str, Any]:
    """Return a variable and its standard error by batch means."""
    return {name: (dims, values), f"{name}{ERROR}": (dims, error, _BATCHED)}


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


def _tails(z: F64, psi: F64, on: Grid) -> dict[str, Any]:
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


def _trend(z: F64, psi: F64) -> Any:
    """Fit the polynomial in z; of lower degree when z has too few distinct values to determine it."""
    every = -(-z.size // _TREND_VALUES)
    z, psi = z[:, ::every], psi[:, ::every]
    return fit_polynomial(z, psi, min(_TREND_DEGREE, np.unique(z).size - 1))


def _bin_edges(x: F64, bins: int) -> F64:
    """Edges of ``bins`` equal bins over the range of ``x`` and a margin; of unit length about a constant."""
    low, high = float(x.min()), float(x.max())
    margin = _MARGIN * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, bins + 1)
