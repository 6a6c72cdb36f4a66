"""netCDF in and out: attributes, provenance, and files that are whole or not there."""

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
from l96closure.attributes import ATTRIBUTES

__all__ = ["FORMAT_VERSION", "atomic_path", "git_commit", "package_version", "read", "write"]

FORMAT_VERSION = 2
"""Version of the file layout; raised when a reader of the old layout would misread the new one."""


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

    Variables and coordinates get their attributes from :mod:`l96closure.attributes`; attributes that the dataset
    carries itself take precedence, None for one that does not apply. The file appears under its name only when it is
    complete.

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
        A variable has neither an entry in :data:`l96closure.attributes.ATTRIBUTES` nor a ``long_name`` of its own, or
        the folder of ``path`` does not exist.
    """
    prepared = dataset.drop_encoding()
    for name, variable in prepared.variables.items():
        named = {**ATTRIBUTES.get(str(name), {}), **variable.attrs}
        variable.attrs = {key: value for key, value in named.items() if value is not None}
        if "long_name" not in variable.attrs:
            checks.reject(
                "dataset", str(name), "made of variables in l96closure.attributes or with a long_name attribute"
            )
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
