"""Checks of user input: one line that names the thing, its value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

__all__ = ["finite_array", "integer", "number", "one_of", "reject"]


def reject(name: str, value: object, allowed: str) -> NoReturn:
    """Raise the ``ValueError`` that every check in this package ends in.

    Parameters
    ----------
    name, value : the offending argument or field and what was given for it.
    allowed : what would have been accepted, e.g. ``"an integer >= 4"``.
    """
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    raise ValueError(f"{name} = {' '.join(shown.split())} is not allowed; it must be {allowed}")


def integer(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an ``int``; raise ``ValueError`` unless it is an integer >= ``minimum``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < minimum:
        reject(name, value, f"an integer >= {minimum}")
    return int(value)


def number(name: str, value: Any, *, above: float = -math.inf, minimum: float = -math.inf) -> float:
    """Return ``value`` as a ``float``; raise ``ValueError`` unless finite, > ``above`` and >= ``minimum``."""
    allowed = "a finite number"
    if above > -math.inf:
        allowed += f" > {above:g}"
    if minimum > -math.inf:
        allowed += f" >= {minimum:g}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        reject(name, value, allowed)
    if not (math.isfinite(value) and value > above and value >= minimum):
        reject(name, value, allowed)
    return float(value)


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return ``value``; raise ``ValueError`` unless it is one of the strings ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        reject(name, value, "one of " + ", ".join(sorted(allowed)))
    return value


def finite_array(name: str, value: Any, ndim: int) -> npt.NDArray[np.float64]:
    """Return ``value`` as a C-ordered float64 array of ``ndim`` dimensions without NaN or infinity.

    Raises ``ValueError`` when the dimensions differ, the array is empty, or it holds a non-finite
    value (the message gives the index of the first one).
    """
    try:
        array = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        reject(name, value, "an array of numbers")
    if array.ndim != ndim or array.size == 0:
        reject(f"{name}.shape", array.shape, f"{ndim}-dimensional and not empty")
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        reject(f"{name}[{', '.join(map(str, index))}]", float(array[index]), "finite")
    return array
