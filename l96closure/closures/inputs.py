"""What closures are handed in a time loop, made into the arrays that they compute with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.arrays import F64


def numbers(name: str, value: npt.ArrayLike) -> F64:
    """Return an array, list or DataArray of real numbers of any type as a C-ordered float64 array of native bytes.

    It is ``value`` itself where that is one. Raises ``ValueError`` when it holds something else, or masked values.
    """
    if np.ma.is_masked(value):
        checks.reject(name, "masked values", "numbers everywhere")
    return np.ascontiguousarray(checks.real_array(name, value))


def slow_variables(z: npt.ArrayLike, fitted: tuple[int, ...] | None = None) -> F64:
    """Return z (member, ...) as :func:`numbers` does.

    Parameters
    ----------
    z : slow variables or predictors.
    fitted : shape of one member that the closure was fitted for; None takes (K,) for any K.

    Raises
    ------
    ValueError
        ``z`` is not of that shape, or not made of numbers.
    """
    array = numbers("z", z)
    if array.ndim < 2 or (array.ndim != 2 if fitted is None else array.shape[1:] != fitted):
        shape = ", ".join(map(str, fitted or ("K",)))
        size = "" if fitted is None else ", the size the closure was fitted for"
        checks.reject("z.shape", array.shape, f"(member, {shape}){size}")
    return array
