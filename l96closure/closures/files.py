"""Closures in netCDF files of their own."""

from __future__ import annotations

import os
from typing import Any

from l96closure import store


def save(closure: Any, path: str | os.PathLike[str]) -> None:
    """Write a closure to a netCDF file, which :func:`l96closure.closures.load` reads.

    Parameters
    ----------
    closure : a closure of this package.
    path : of the file; one that is there is replaced.

    Raises
    ------
    ValueError
        The folder does not exist.
    """
    store.write(closure.to_dataset(), path, kind="closure", title=closure.title, history="l96closure.closures")
