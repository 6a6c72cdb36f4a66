"""Diagnostics: how far the climate of a coarse run is from the truth, and how far it could be by chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.diagnostics import climate, distances

__all__ = ["SCORES", "diagnose"]

FloatArray = npt.NDArray[np.float64]

SCORES = ("hellinger_z", "hellinger_psi", "wasserstein_z", "ks_z")
"""The distances of :func:`diagnose`; each comes with ``<name>_floor`` and ``<name>_floor_std``."""

_MARGIN = 0.1  # of the truth's range, by which the bins reach beyond it on either side


def diagnose(truth: xr.Dataset, coarse: xr.Dataset, *, bins: int = 50, max_lag: float = 5.0) -> xr.Dataset:
    """Compare the climate of a coarse run with the truth's.

    Both are taken at the coarser of their two time steps. A distance shrinks as samples grow, so each score
    is the mean distance between the coarse run and stretches of truth of the *same total duration*, and
    ``<score>_floor`` is the mean distance between two such stretches: what a perfect closure would score.
    When the truth is shorter than two coarse runs, score and floor belong to the two halves of the truth
    and to pieces of the coarse run of that duration (attribute ``floor_method``).

    Parameters
    ----------
    truth : ``z`` and ``psi`` of dims (time, k), uniform time step.
    coarse : ``z`` and ``psi`` of dims (member, time, k), uniform time step; one of the two steps
        is a whole multiple of the other.
    bins : number of bins of z and of psi, >= 2; they span the truth's range and a tenth of it on either
        side. What lies outside counts in the Hellinger distance as two further bins.
    max_lag : longest lag in model time units, > 0; cut to half of the shorter record.

    Returns
    -------
    Dataset with the coordinate ``source`` = truth, coarse (all quantities dimensionless):

    - ``mean``, ``std``, ``psi_mean``, ``psi_std`` (source), each with its standard error ``<name>_se``
      (:func:`~l96closure.diagnostics.climate.batch_standard_errors`);
    - ``covariance`` (source, offset) of z along the ring, and ``covariance_rows`` (source, k, offset),
      Figure 4 (left) of Gottwald & Reich (2024);
    - ``density_z`` (source, z_bin), ``density_psi`` (source, psi_bin);
    - ``autocorrelation_z``, ``autocorrelation_psi`` (source, lag);
    - ``psi_given_z_mean``, ``psi_given_z_std`` (source, z_bin), NaN where a bin has fewer than thirty values;
    - the scalars ``hellinger_z``, ``hellinger_psi``, ``wasserstein_z``, ``ks_z``, each with ``_floor`` and
      ``_floor_std`` (over pairs of stretches, NaN for a single pair).

    The attributes ``common_time_step``, ``floor_stretches``, ``floor_pairs``, ``floor_stretch_duration``,
    ``floor_method`` and ``coarse_pieces`` say how the comparison was made.

    Raises
    ------
    ValueError
        A variable or dimension is missing, a value is not finite (for the coarse run the message names
        member and time), a time step is not uniform, neither step is a multiple of the other, or the sites
        differ in number.
    """
    bins = checks.integer("bins", bins, 2)
    max_lag = checks.number("max_lag", max_lag, above=0.0)
    fields = {
        "truth": _arrays("truth", truth, ("time", "k")),
        "coarse": _arrays("coarse", coarse, ("member", "time", "k")),
    }
    if truth.sizes["k"] != coarse.sizes["k"]:
        checks.reject("coarse.sizes['k']", coarse.sizes["k"], f"the truth's, {truth.sizes['k']}")
    step, every = _common_step(_time_step("truth", truth), _time_step("coarse", coarse))
    z = {source: fields[source]["z"][:, :: every[source]] for source in fields}
    psi = {source: fields[source]["psi"][:, :: every[source]] for source in fields}
    shortest = min(x.shape[1] for x in z.values())
    if shortest < 2:
        checks.reject("time", shortest, f"two times or more of both runs at their common step {step:g}")
    edges_z, edges_psi = _bin_edges(z["truth"], bins), _bin_edges(psi["truth"], bins)
    lags = min(int(max_lag / step + 1e-9), shortest // 2) + 1

    statistics = [
        _statistics(z[source], psi[source], edges_z=edges_z, edges_psi=edges_psi, lags=lags)
        for source in ("truth", "coarse")
    ]
    scores = _scores(z, psi, edges_z, edges_psi, step)
    return scores.assign(xr.concat(statistics, dim="source").data_vars).assign_coords(
        source=["truth", "coarse"],
        k=np.arange(truth.sizes["k"]),
        offset=climate.ring_offsets(truth.sizes["k"]),
        lag=np.arange(lags) * step,
        z_bin=(edges_z[1:] + edges_z[:-1]) / 2,
        psi_bin=(edges_psi[1:] + edges_psi[:-1]) / 2,
    )


def _statistics(z: FloatArray, psi: FloatArray, *, edges_z: FloatArray, edges_psi: FloatArray, lags: int) -> xr.Dataset:
    """Climate of one source; ``z`` and ``psi`` are (member, time, k)."""
    rows = climate.covariance_rows(z)
    mean_se, std_se = climate.batch_standard_errors(z)
    psi_mean_se, psi_std_se = climate.batch_standard_errors(psi)
    given_mean, given_std = climate.conditional_moments(psi, z, edges_z)
    return xr.Dataset(
        {
            "mean": z.mean(),
            "mean_se": mean_se,
            "std": z.std(),
            "std_se": std_se,
            "psi_mean": psi.mean(),
            "psi_mean_se": psi_mean_se,
            "psi_std": psi.std(),
            "psi_std_se": psi_std_se,
            "covariance": ("offset", rows.mean(axis=0)),
            "covariance_rows": (("k", "offset"), rows),
            "density_z": ("z_bin", climate.density(z, edges_z)),
            "density_psi": ("psi_bin", climate.density(psi, edges_psi)),
            "autocorrelation_z": ("lag", climate.autocorrelation(z, lags)),
            "autocorrelation_psi": ("lag", climate.autocorrelation(psi, lags)),
            "psi_given_z_mean": ("z_bin", given_mean),
            "psi_given_z_std": ("z_bin", given_std),
        }
    )


def _scores(
    z: dict[str, FloatArray],
    psi: dict[str, FloatArray],
    edges_z: FloatArray,
    edges_psi: FloatArray,
    step: float,
) -> xr.Dataset:
    """All distances with their floors, and in the attributes how they were made."""
    z_pieces = distances.cut(z["truth"][0], z["coarse"])
    psi_pieces = distances.cut(psi["truth"][0], psi["coarse"])
    thinned = z_pieces.thinned()
    comparisons = {
        "hellinger_z": distances.compare(
            distances.hellinger, z_pieces.map(lambda x: distances.bin_probabilities(x, edges_z))
        ),
        "hellinger_psi": distances.compare(
            distances.hellinger, psi_pieces.map(lambda x: distances.bin_probabilities(x, edges_psi))
        ),
        "wasserstein_z": distances.compare(distances.wasserstein, thinned),
        "ks_z": distances.compare(distances.ks, thinned),
    }
    stretches = len(z_pieces.truth)
    scores = xr.Dataset(
        attrs={
            "common_time_step": step,
            "floor_stretches": stretches,
            "floor_pairs": stretches * (stretches - 1) // 2,
            "floor_stretch_duration": z_pieces.length * step,
            "floor_method": z_pieces.note,
            "coarse_pieces": len(z_pieces.coarse),
        }
    )
    for name, comparison in comparisons.items():
        scores[name] = comparison.score
        scores[f"{name}_floor"] = comparison.floor
        scores[f"{name}_floor_std"] = comparison.floor_std
    return scores


def _arrays(name: str, dataset: xr.Dataset, dims: tuple[str, ...]) -> dict[str, FloatArray]:
    """Check ``z`` and ``psi`` of a run and return them as arrays (member, time, k)."""
    arrays = {}
    for variable in ("z", "psi"):
        if variable not in dataset:
            checks.reject(name, sorted(map(str, dataset.data_vars)), f"a Dataset with the variable {variable!r}")
        field = dataset[variable]
        if set(field.dims) != set(dims):
            checks.reject(f"{name}[{variable!r}].dims", field.dims, f"({', '.join(dims)})")
        field = field.transpose(*dims)
        bad = ~np.isfinite(field.values)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            where = ", ".join(
                f"{dim} = {field[dim].values[i] if dim in field.coords else i:g}"
                for dim, i in zip(dims, index, strict=True)
            )
            checks.reject(f"{name}[{variable!r}] at {where}", float(field.values[index]), "finite")
        arrays[variable] = checks.finite_array(variable, field.values, len(dims)).reshape(-1, *field.shape[-2:])
    return arrays


def _time_step(name: str, dataset: xr.Dataset) -> float:
    """Return the uniform time step of a run."""
    if "time" not in dataset.coords or dataset.sizes["time"] < 2:
        checks.reject(f"{name}.sizes['time']", dataset.sizes["time"], "a time coordinate with two times or more")
    time = dataset["time"].values.astype(np.float64)
    step = float((time[-1] - time[0]) / (len(time) - 1))
    # The comparison allows for the rounding of the times themselves.
    if not step > 0 or not np.allclose(np.diff(time), step, rtol=1e-6, atol=4 * np.spacing(np.abs(time).max())):
        checks.reject(f"{name}['time']", time, "increasing with a uniform step")
    return step


def _common_step(truth: float, coarse: float) -> tuple[float, dict[str, int]]:
    """Return the coarser of two steps, and every how many samples of each source it is reached."""
    ratio = max(truth, coarse) / min(truth, coarse)
    if abs(ratio - round(ratio)) > 1e-6 * ratio:
        checks.reject("time steps", (truth, coarse), "(of truth and coarse run) a whole multiple one of the other")
    if coarse >= truth:
        return coarse, {"truth": round(ratio), "coarse": 1}
    return truth, {"truth": 1, "coarse": round(ratio)}


def _bin_edges(x: FloatArray, bins: int) -> FloatArray:
    """Edges of ``bins`` equal bins over the range of ``x`` and a margin; of unit length about a constant."""
    low, high = float(x.min()), float(x.max())
    margin = _MARGIN * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, bins + 1)
