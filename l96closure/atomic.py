"""Files that are whole or not there: written beside their place, on the disk, and only then given their name."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l96closure import checks

TEMPORARY = ".*.????????.tmp*"
"""Pattern of the temporary names of :func:`atomic_path`."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends well.

    The temporary name keeps the suffix. Whatever ends the block early, an interrupt included, removes
    the temporary file and leaves an earlier ``path`` untouched. What was written is on the disk, not only in the
    system's memory, before it takes the name. It may be read and written by whom an earlier ``path`` could be; where
    that is a symbolic link, the file it leads to is replaced, not the link.

    Parameters
    ----------
    path : the final file name, in an existing folder.

    Raises
    ------
    ValueError
        The folder of ``path`` does not exist, or ``path`` is itself a folder or a link that leads nowhere else than
        to itself.
    OSError
        The disk is full, or the file cannot be written for another reason.
    """
    final = _destination(Path(path))
    if not final.parent.is_dir() or final.is_dir():
        checks.reject("path", str(path), "a file name in an existing folder")
    temporary = final.with_name(f".{final.stem}.{secrets.token_hex(4)}.tmp{final.suffix}")  # see TEMPORARY
    mode = stat.S_IMODE(final.stat().st_mode) if final.exists() else None
    try:
        if mode is not None:  # from the first byte, nobody else may read what they could not read before
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR))
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, final)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(no_room(final, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def no_room(path: Path, error: Exception) -> str:
    """Say that a file could not be written, and how much room there is.

    Parameters
    ----------
    path : the file.
    error : what was raised.

    Returns
    -------
    One line.
    """
    free = shutil.disk_usage(path.parent).free
    return f"cannot write {path}: {error} ({free / 1e6:.1f} MB are free on its disk)"


def _destination(path: Path) -> Path:
    """Return where the symbolic links lead that ``path`` may be."""
    if not path.is_symlink():
        return path
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # round in a circle
        checks.reject("path", str(path), "a file name, or a link to one")
