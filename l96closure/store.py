"""netCDF in and out: attributes, and files that are whole or not there.

In files time comes first and is unlimited, for the programs that go through records one by one, and bins have their
bounds; in memory members come first, and bounds follow from the centres. A path that ends in ``.zarr`` is a Zarr store.

Variables carry netCDF's own checksums, by which every program sees damage. Closures and restart files, which nobody
edits, besides end in a seal, the SHA-256 of all bytes before it: HDF5 ignores what follows its own data, and
:func:`read` opens none whose seal is missing or wrong.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.atomic import atomic_path, no_room
from l96closure.attributes import BIN, bin_edges, default
from l96closure.provenance import git_commit, package_version

FORMAT_VERSION = 6
"""Version of the file layout; raised when a reader of the old layout would misread the new one."""

SEALED = ("closure", "restart")
"""Kinds of files that end in a seal."""

_MAX_COMPRESSED = 1032  # bytes that one byte of a file can stand for: the limit of deflate, netCDF's compression
_POINTER = 8  # bytes that a text takes in memory, at least
_RECORDS = ("time", "start")  # dimensions along which records follow one another
_CHUNK = 2**20  # bytes of a chunk of records, about: netCDF's own choice would be one record
_ZARR = ".zarr"


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` for a folder that takes its place when the block ends well."""
    if not path.parent.is_dir() or (path.exists() and kind_of(path) is None):
        checks.reject("path", str(path), "the name of a Zarr store in an existing folder")
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")  # see TEMPORARY
    try:
        yield temporary
        if path.exists():  # no system replaces a folder that is not empty
            earlier = temporary.with_suffix(".old")
            os.replace(path, earlier)
            os.replace(temporary, path)
            shutil.rmtree(earlier)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    """Write a netCDF-4 file, or a Zarr store, that follows CF-1.11 and says where it came from.

    Variables and coordinates get their attributes from :mod:`l96closure.attributes`; attributes that the dataset
    carries itself take precedence, None for one that does not apply. The file appears under its name only when it is
    complete. Of data, time (of forecasts, their start) comes first and is unlimited.

    Parameters
    ----------
    dataset : what to write; its own global attributes are kept.
    path : file name in an existing folder; where it ends in ``.zarr``, of a Zarr store (version 2), which needs zarr.
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
    OSError
        The file could not be written, as on a full disk; an earlier file of that name is as it was.
    """
    prepared = dataset.drop_encoding() if kind in SEALED else _for_tools(dataset.drop_encoding())
    for name, variable in prepared.variables.items():
        named = {**default(str(name), variable.attrs), **variable.attrs}
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
    if Path(path).suffix == _ZARR:
        if kind in SEALED:
            checks.reject("path", str(path), f"a netCDF file: a {kind} is one file with a seal")
        with _atomic_folder(Path(path)) as temporary:
            chunked = {name: {"chunks": shape} for name, shape in _chunks(prepared).items()}
            prepared.to_zarr(temporary, mode="w-", encoding=chunked, zarr_format=2, consolidated=True)
        return
    chunks = _chunks(prepared) if kind not in SEALED else {}
    with atomic_path(path) as temporary:
        try:
            prepared.to_netcdf(
                temporary, engine="netcdf4", format="NETCDF4", encoding=_encoding(prepared, chunks),
                unlimited_dims=[*_records(prepared)] if chunks else [],
            )  # fmt: skip
            if kind in SEALED:
                seal(temporary)
        except (OSError, RuntimeError) as error:  # HDF5 tells of no reason
            raise OSError(no_room(Path(path), error)) from error


def _records(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return the one dimension along which records follow one another, or none: members alone come before it."""
    dims = [list(map(str, variable.dims)) for variable in dataset.variables.values()]
    return tuple(
        name
        for name in _RECORDS
        if name in dataset.dims and all({*one[: one.index(name)]} <= {"member"} for one in dims if name in one)
    )[:1]


def _for_tools(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset with its records first and the bounds of its bins."""
    along = _records(dataset)
    arranged = dataset.transpose(*along, ...).copy()  # its attributes are its own
    for name, centre in dataset.coords.items():
        if str(name).endswith(BIN) and centre.dims == (name,) and centre.size:
            edge, bounds = bin_edges(centre.to_numpy()), f"{name}_bounds"
            arranged[bounds] = ((name, "bounds"), np.stack([edge[:-1], edge[1:]], axis=1))
            said = {**default(str(name), centre.attrs), **centre.attrs}
            arranged[bounds].attrs["long_name"] = said.get("long_name", name)
            arranged[name].attrs["bounds"] = bounds
    return arranged


def _for_us(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as it was before :func:`_for_tools`: members first, and no bounds."""
    bounds = {name: dataset[name].attrs.get("bounds") for name in dataset.coords}
    plain = dataset.drop_vars([name for name in bounds.values() if name in dataset])
    for name in [name for name, known in bounds.items() if known is not None and known not in plain]:
        plain[name].attrs.pop("bounds")
    return plain.transpose("member", "time", ...) if {"member", "time"} <= set(plain.dims) else plain


def checksum(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: str | os.PathLike[str]) -> None:
    """Put the seal of a file at its end."""
    end = _seal(Path(path).read_bytes())
    with Path(path).open("ab") as file:
        file.write(end)


def is_sealed(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file ends in the seal of what is before it."""
    content = Path(path).read_bytes()
    size = len(_seal(b""))
    return content[-size:] == _seal(content[:-size])


def _seal(content: bytes) -> bytes:
    return f"\nl96closure sha256 {hashlib.sha256(content).hexdigest()}\n".encode()


def attributes(path: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Return the global attributes of a file of :func:`write`; arguments and errors as for :func:`read`."""
    return _open(path, kind, xr.open_dataset).attrs


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return the kind of a file of :func:`write`, of any format version; None for any other file."""
    try:  # damage leads the libraries into all kinds of errors
        if Path(path).suffix == _ZARR:
            kind = xr.open_dataset(path, engine="zarr", decode_times=False).attrs.get("l96closure_kind")
        else:
            with netCDF4.Dataset(path) as dataset:
                kind = dataset.getncattr("l96closure_kind")
    except Exception:
        return None
    return kind if isinstance(kind, str) else None


def read(path: str | os.PathLike[str], *, kind: str, foreign: bool = False) -> xr.Dataset:
    """Read a file of :func:`write` into memory and close it.

    Parameters
    ----------
    path : the file, or a Zarr store where it ends in ``.zarr``.
    kind : the kind it must be of.
    foreign : whether a file that says nothing of its kind, a user's own, will do.

    Returns
    -------
    The dataset, with every attribute of the file; members come before time, and bounds of bins are left out.

    Raises
    ------
    ValueError
        The file is missing, damaged, not one of ours, of another kind, or of another format version; one line that
        names the file.
    """
    return _open(path, kind, xr.load_dataset, foreign)


def _open(path: str | os.PathLike[str], kind: str, how: Callable[..., xr.Dataset], foreign: bool = False) -> xr.Dataset:
    """Open a file and close it; errors as for :func:`read`."""
    shown = str(path)
    if Path(path).suffix == _ZARR:
        return _checked(_open_zarr(Path(path), kind, how), shown, kind, foreign)
    if not Path(path).is_file():
        checks.reject("path", shown, f"an existing {kind} file")
    if kind in SEALED and not is_sealed(path):
        checks.reject("path", shown, f"a complete file of kind {kind!r} (its checksum is missing or wrong)")
    unreadable = f"a netCDF file of kind {kind!r} (this one cannot be read)"
    try:  # damage leads the libraries into all kinds of errors
        declared = _declared(Path(path))
    except Exception:
        checks.reject("path", shown, unreadable)
    _check_size(Path(path), declared)
    try:
        with how(Path(path), engine="netcdf4", decode_times=False) as dataset:
            pass
    except Exception:
        checks.reject("path", shown, unreadable)
    return _checked(dataset if kind in SEALED else _for_us(dataset), shown, kind, foreign)


def _open_zarr(path: Path, kind: str, how: Callable[..., xr.Dataset]) -> xr.Dataset:
    """Open a Zarr store and close it; errors as for :func:`read`."""
    if not path.exists():
        checks.reject("path", str(path), f"an existing Zarr store of kind {kind!r}")
    try:
        with how(path, engine="zarr", decode_times=False) as dataset:
            return _for_us(dataset)
    except Exception as error:
        why = "zarr is not installed" if find_spec("zarr") is None else str(error).partition("\n")[0]
        checks.reject("path", str(path), f"a Zarr store of kind {kind!r} (this one cannot be read: {why})")


def _checked(dataset: xr.Dataset, shown: str, kind: str, foreign: bool) -> xr.Dataset:
    """Raise ``ValueError`` unless a file is of a kind, of our version; or says nothing of its kind, where it may."""
    found = dataset.attrs.get("l96closure_kind")
    if found is None and foreign:
        return dataset
    if not isinstance(found, str) or found != kind:
        checks.reject("path", shown, f"a file of kind {kind!r} (this one is of kind {found!r})")
    found_version = dataset.attrs.get("l96closure_format_version")
    if not isinstance(found_version, (int, np.integer)) or found_version != FORMAT_VERSION:
        checks.reject("path", shown, f"a file of format version {FORMAT_VERSION} (this one has {found_version})")
    return dataset


def _declared(path: Path) -> int:
    """Return how many bytes the variables of a file take in memory.

    A variable that was never written takes no room in a file, and all it declares in memory.
    """
    with netCDF4.Dataset(path) as file:
        return sum(
            math.prod(variable.shape) * getattr(variable.dtype, "itemsize", _POINTER)
            for variable in file.variables.values()
        )


def _check_size(path: Path, declared: int) -> None:
    """Raise ``ValueError`` if a file declares more numbers than it can hold, or than fit into memory."""
    size, memory = path.stat().st_size, _memory()
    if declared > _MAX_COMPRESSED * size:
        checks.reject("path", str(path), f"a file that holds what it declares, not {declared:.2g} bytes in {size:,}")
    if declared > memory:
        checks.reject("path", str(path), f"smaller than the memory of {memory:.2g} bytes (this one has {declared:.2g})")


def _memory() -> float:
    """Bytes of memory that this machine has; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _chunks(dataset: xr.Dataset) -> dict[Hashable, tuple[int, ...]]:
    """Return the shape of the chunks of variables with records: many of these, each of them whole."""
    shapes = {}
    for name, variable in dataset.variables.items():
        if set(_records(dataset)) & set(variable.dims) and variable.size:
            records, *rest = variable.shape
            shapes[name] = (min(records, max(1, _CHUNK // (math.prod(rest) * variable.dtype.itemsize))), *rest)
    return shapes


def _encoding(dataset: xr.Dataset, chunks: Mapping[Hashable, tuple[int, ...]]) -> dict[Hashable, dict[str, Any]]:
    """Encode the coordinates as CF wants them, ask for checksums of all numbers, and for these chunks.

    Coordinates and bounds have no missing values, so they must not announce a fill value; and a label along its own
    dimension is a character array, because a coordinate variable must be numeric.
    """
    encoding: dict[Hashable, dict[str, Any]] = {
        name: {"fletcher32": True} for name, variable in dataset.variables.items() if _has_numbers(variable)
    }
    for name, coordinate in dataset.coords.items():
        label = {"dtype": "S1"} if coordinate.dtype.kind in "OTU" else {}
        encoding[name] = {**encoding.get(name, {}), "_FillValue": None, **label}
    for bounds in [one.attrs["bounds"] for one in dataset.coords.values() if "bounds" in one.attrs]:
        encoding[bounds] = {**encoding.get(bounds, {}), "_FillValue": None}
    for name, shape in chunks.items():
        encoding[name] = {**encoding.get(name, {}), "chunksizes": shape}
    return encoding


def _has_numbers(variable: xr.Variable) -> bool:
    return variable.ndim > 0 and variable.size > 0 and variable.dtype.kind in "biuf"


def _storable(value: Any) -> Any:
    """Give an attribute a type netCDF has: bool becomes 0 or 1, an integer beyond 64 bits its digits."""
    if isinstance(value, (bool, np.bool_)):
        return np.int8(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value
