"""netCDF in and out: the table of attributes, provenance, and files that are whole or not there."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks

__all__ = ["ATTRIBUTES", "FORMAT_VERSION", "atomic_path", "git_commit", "package_version", "read", "write"]

FORMAT_VERSION = 2
"""Version of the file layout; raised when a reader of the old layout would misread the new one."""


def _quantity(long_name: str, **more: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1", **more}


def _with_se(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {name: _quantity(long_name), f"{name}_se": _quantity(f"standard error of the {long_name}")}


def _interval(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {
        f"{name}_{end}": _quantity(f"{bound} bound of the 95 % interval of the {long_name}")
        for end, bound in (("low", "lower"), ("high", "upper"))
    }


def _with_interval(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {name: _quantity(long_name), **_interval(name, long_name)}


def _score(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {
        name: _quantity(f"{long_name} between coarse run and truth"),
        f"{name}_floor": _quantity(f"{long_name} between two stretches of truth"),
        f"{name}_floor_std": _quantity(f"standard deviation of the {long_name} over pairs of stretches of truth"),
        **_interval(name, f"{long_name} between coarse run and truth"),
    }


# Model time is dimensionless, but CF (section 4.4) and its checker accept no time axis without a unit of
# time and a reference date. The unit is the one Lorenz (1996) gives a model time unit; the date means
# nothing. UDUNITS reads SINCE in either case, xarray only in lower case: written like this, it leaves the
# numbers as they are.
_MODEL_TIME = {
    "long_name": "model time",
    "standard_name": "time",
    "axis": "T",
    "units": "5 days SINCE 0001-01-01",
    "calendar": "none",
    "comment": "the values are dimensionless model time; five days to the unit is the convention "
    "of Lorenz (1996), and the reference date is arbitrary",
}

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    # dimensions
    "time": _MODEL_TIME,
    "k": _quantity("site of the slow variable"),
    "j": _quantity("fast variable within a site"),
    "member": _quantity("ensemble member", standard_name="realization"),
    "sample": _quantity("training sample"),
    "component": _quantity("component of the state vector"),
    "offset": _quantity("distance along the ring of sites"),
    "lag": _quantity("time lag in model time units"),
    "z_bin": _quantity("slow variable, centre of the bin"),
    "psi_bin": _quantity("subgrid tendency, centre of the bin"),
    "joint_z_bin": _quantity("slow variable, centre of the bin of the joint density"),
    "joint_psi_bin": _quantity("subgrid tendency, centre of the bin of the joint density"),
    "wavenumber": _quantity("cycles around the ring of sites"),
    "frequency": _quantity("frequency in cycles per model time unit"),
    "probability": _quantity("probability of a smaller value"),
    "threshold": _quantity("level of the slow variable that is crossed upwards"),
    "start": _quantity("time of the reference at which a forecast starts, in model time units"),
    "lead": _quantity("lead time of a forecast in model time units"),
    "rank": _quantity("number of members below the truth"),
    "source": {"long_name": "origin of the statistics"},  # text has no unit
    "scheme": {"long_name": "sampling scheme"},
    "realisation": _quantity("training set", standard_name="realization"),
    "chain": _quantity("chain of the sampler"),
    "record": _quantity("state kept of a chain"),
    "length": _quantity("length of a chain in steps"),
    "trajectory": _quantity("trajectory shown as an example"),
    "x_bin": _quantity("state, centre of the bin"),
    "bandwidth": _quantity("candidate for the bandwidth of the bridge"),
    # states
    "z": _quantity("slow variable"),
    "y": _quantity("fast variable"),
    "psi": _quantity("subgrid tendency of the slow variable"),
    "observation": _quantity("slow variable of the truth that a forecast should meet"),
    # closures
    "field": {"long_name": "predictors and target of the closure"},
    "field_units": {"long_name": "units of a field"},
    "dim": {"long_name": "dimension of the grid"},
    "grid_size": _quantity("number of sites along a dimension of the grid"),
    "neighbour": _quantity("sites in the neighbourhood of a site, -1 where there are no more"),
    "dictionary_of_site": _quantity("dictionary that a site draws from"),
    "coordinates": _quantity("training samples restricted to a neighbourhood"),
    "sinkhorn_log_weight": _quantity("logarithm of the weight of a training sample in the bridge"),
    "sinkhorn_residual": _quantity("largest departure of v (T v) from one"),
    "sinkhorn_iterations": _quantity("number of evaluations of T v"),
    "coordinate_scale": _quantity("what a coordinate is divided by in the distances"),
    "value": _quantity("residual of the target in a training sample"),
    "memory_damping": _quantity("rate at which an oscillator of the noise forgets"),
    "memory_frequency": _quantity("angular frequency of an oscillator of the noise"),
    "memory_weight": _quantity("part of the variance of the noise that an oscillator has"),
    "value_spread": _quantity("variance of the values behind a centre"),
    "scale": _quantity("climatological standard deviation of a component"),
    "trend_range": _quantity("range of the slow variable that the trend was fitted on"),
    "trend": _quantity("coefficient of the polynomial trend of the subgrid tendency, lowest power first"),
    "log_variance": _quantity(
        "coefficient of the polynomial in the slow variable of the logarithm of the variance about the trend, "
        "lowest power first"
    ),
    # climate
    **_with_se("mean", "mean of the slow variable"),
    **_with_se("std", "standard deviation of the slow variable"),
    **_with_se("psi_mean", "mean of the subgrid tendency"),
    **_with_se("psi_std", "standard deviation of the subgrid tendency"),
    "covariance": _quantity("covariance along the ring, averaged over the sites"),
    "covariance_rows": _quantity("row of the covariance matrix along the ring, centred at its site"),
    "density_z": _quantity("probability density of the slow variable"),
    "density_psi": _quantity("probability density of the subgrid tendency"),
    "density_joint": _quantity("joint probability density of the slow variable and the subgrid tendency"),
    **_with_se("autocorrelation_z", "autocorrelation of the slow variable"),
    **_with_se("autocorrelation_psi", "autocorrelation of the subgrid tendency"),
    **_with_se(
        "autocorrelation_residual", "autocorrelation of the subgrid tendency less its trend in the slow variable"
    ),
    **_with_se("spectrum_z", "variance of the slow variable at a wavenumber along the ring"),
    **_with_se("spectrum_psi", "variance of the subgrid tendency at a wavenumber along the ring"),
    "power_z": _quantity("power spectral density of the slow variable in time"),
    "power_psi": _quantity("power spectral density of the subgrid tendency in time"),
    **_with_interval("quantile_z", "quantile of the slow variable"),
    **_with_interval("quantile_psi", "quantile of the subgrid tendency"),
    **_with_interval(
        "return_period_z", "mean model time between up-crossings of a level by the slow variable at a site"
    ),
    "psi_given_z_mean": _quantity("mean of the subgrid tendency given the slow variable"),
    "psi_given_z_std": _quantity("standard deviation of the subgrid tendency given the slow variable"),
    # forecasts
    **_with_interval("rmse", "root mean square error of the ensemble mean"),
    **_with_interval("ensemble_spread", "root mean variance of the ensemble"),
    **_with_interval("spread_skill", "spread of the ensemble over the error of its mean, corrected for its size"),
    **_with_interval("crps", "fair continuous ranked probability score"),
    **_with_interval("rank_histogram", "relative frequency of the rank of the truth among the members"),
    "crps_climatology": _quantity("continuous ranked probability score of the climatological distribution"),
    "rmse_climatology": _quantity("root mean square error of the climatological mean"),
    # sampling experiments
    "x": _quantity("state that the bridge learns and draws"),
    "burn_in": _quantity("steps of a chain before its first record"),
    "thin": _quantity("steps of a chain from one record to the next"),
    "states": _quantity("number of states kept of all chains of one training set"),
    "convergence": _quantity("scored quantity at a length of the chains, mean over the chains"),
    "convergence_se": _quantity("standard error of the scored quantity over the chains"),
    "effective_samples": _quantity("effective number of training samples behind a conditional mean"),
    "effective_sample_size": _quantity("effective number of independent states of all chains of one training set"),
    "autocorrelation_time": _quantity("integrated autocorrelation time of a chain in steps"),
    "replay_score": _quantity("distance to the nearest training sample over that of the training samples themselves"),
    "bandwidth_criterion": _quantity("leave-one-out log-likelihood of the training samples"),
    "chosen_bandwidth": _quantity("bandwidth that maximises the criterion"),
    "covariance_se": _quantity("standard error of the covariance"),
    "predicted_covariance": _quantity("covariance of the split scheme after infinitely many training samples"),
    "density_x": _quantity("probability density of the components of the state"),
    "sign_changes": _quantity("relative number of sign changes along a trajectory"),
    "sign_changes_se": _quantity("standard error of the relative number of sign changes"),
    "spread": _quantity("standard deviation of the absolute value"),
    "spread_se": _quantity("standard error of the standard deviation of the absolute value"),
    "example": _quantity("state along a trajectory"),
    # scores
    **_score("hellinger_z", "Hellinger distance of the slow variable"),
    **_score("hellinger_psi", "Hellinger distance of the subgrid tendency"),
    **_score("hellinger_joint", "Hellinger distance of the slow variable and the subgrid tendency together"),
    **_score("wasserstein_z", "Wasserstein-1 distance of the slow variable"),
    **_score("ks_z", "Kolmogorov-Smirnov distance of the slow variable"),
}
"""Attributes of every variable and coordinate in our files; all model quantities are dimensionless."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends well.

    The temporary name keeps the suffix. Whatever ends the block early, an interrupt included, removes
    the temporary file and leaves an earlier ``path`` untouched.

    Parameters
    ----------
    path : the final file name, in an existing folder.

    Raises
    ------
    ValueError
        The folder of ``path`` does not exist, or ``path`` is itself a folder.
    """
    final = Path(path)
    if not final.parent.is_dir() or final.is_dir():
        checks.reject("path", str(final), "a file name in an existing folder")
    temporary = final.with_name(f".{final.stem}.{secrets.token_hex(4)}.tmp{final.suffix}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def write(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    kind: str,
    title: str,
    history: str,
    config_yaml: str | None = None,
    seeds: Mapping[str, int] | None = None,
) -> None:
    """Write a netCDF-4 file that follows CF-1.11 and says where it came from.

    Variables and coordinates get the attributes of :data:`ATTRIBUTES`; attributes that the dataset carries
    itself take precedence, None for one that does not apply. The file appears under its name only when it is complete.

    Parameters
    ----------
    dataset : what to write; its own global attributes are kept.
    path : file name in an existing folder.
    kind : what :func:`read` will ask for, e.g. ``"truth"``; stored as ``l96closure_kind``.
    title : one line for the reader.
    history : the command that made the data; a UTC time stamp is put before it, earlier history after it.
    config_yaml : the resolved configuration, stored as ``config``.
    seeds : random seeds by name, stored as ``seed_<name>``.

    Raises
    ------
    ValueError
        A variable has neither an entry in :data:`ATTRIBUTES` nor a ``long_name`` of its own, or the folder of
        ``path`` does not exist.
    """
    prepared = dataset.drop_encoding()
    for name, variable in prepared.variables.items():
        named = {**ATTRIBUTES.get(str(name), {}), **variable.attrs}
        variable.attrs = {key: value for key, value in named.items() if value is not None}
        if "long_name" not in variable.attrs:
            checks.reject("dataset", str(name), "made of variables in store.ATTRIBUTES or with a long_name attribute")
    stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    earlier = dataset.attrs.get("history")
    attributes: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": title,
        "history": f"{stamp} {history}" + (f"\n{earlier}" if earlier else ""),
        "source": f"l96closure {package_version()}",
        "l96closure_kind": kind,
        "l96closure_format_version": np.int32(FORMAT_VERSION),
        "l96closure_version": package_version(),
        "l96closure_git_commit": git_commit(),
    }
    if config_yaml is not None:
        attributes["config"] = config_yaml
    attributes |= {f"seed_{name}": seed for name, seed in (seeds or {}).items()}
    prepared.attrs = {name: _storable(value) for name, value in {**dataset.attrs, **attributes}.items()}
    with atomic_path(path) as temporary:
        prepared.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=_encoding(prepared))


def read(path: str | os.PathLike[str], *, kind: str) -> xr.Dataset:
    """Read a file of :func:`write` into memory and close it.

    Parameters
    ----------
    path : the file.
    kind : the kind it must be of.

    Returns
    -------
    The dataset, with every attribute of the file.

    Raises
    ------
    ValueError
        The file is missing, truncated, not netCDF, not one of ours, of another kind, or of a newer format
        version; one line that names the file.
    """
    shown = str(path)
    if not Path(path).is_file():
        checks.reject("path", shown, f"an existing {kind} file")
    try:
        dataset = xr.load_dataset(Path(path), engine="netcdf4", decode_times=False)
    except (OSError, RuntimeError, ValueError):
        checks.reject("path", shown, f"a complete netCDF file of kind {kind!r} (this one cannot be read)")
    found = dataset.attrs.get("l96closure_kind")
    if found != kind:
        checks.reject("path", shown, f"a file of kind {kind!r} (this one is of kind {found!r})")
    found_version = int(dataset.attrs.get("l96closure_format_version", 0))
    if not 1 <= found_version <= FORMAT_VERSION:
        checks.reject(
            "path",
            shown,
            f"a file of format version {FORMAT_VERSION} or older (this one has {found_version})",
        )
    return dataset


def _encoding(dataset: xr.Dataset) -> dict[Hashable, dict[str, Any]]:
    """Encode the coordinates as CF wants them.

    Coordinates have no missing values, so they must not announce a fill value; and a label along its own
    dimension is a character array, because a coordinate variable must be numeric.
    """
    return {
        name: {"_FillValue": None} | ({"dtype": "S1"} if coordinate.dtype.kind in "OTU" else {})
        for name, coordinate in dataset.coords.items()
    }


def _storable(value: Any) -> Any:
    """Give an attribute a type netCDF has: bool becomes 0 or 1, an integer beyond 64 bits its digits."""
    if isinstance(value, (bool, np.bool_)):
        return np.int8(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


@cache
def package_version() -> str:
    """Version of the installed package, ``"unknown"`` when it is used without having been installed."""
    try:
        return version("l96closure")
    except PackageNotFoundError:
        return "unknown"


@cache
def git_commit() -> str:
    """Return the commit the package runs from (``-dirty``: files changed); ``"unknown"`` outside a clone."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # installed; a repository further up would be somebody else's
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
