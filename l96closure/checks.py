"""Checks of user input: one line that names the thing, its value and what is allowed."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from l96closure.arrays import F64, Array, Bools, Index

Rule = Callable[[str, Any], object]
"""Raises the ``ValueError`` of :func:`reject` unless the value (second) of what is named (first) is allowed."""

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MAX_INTEGER = 2**53  # beyond it, a float does not tell one integer from the next
_LARGEST = 1e100  # the square of a number, and sums of many, can still be told
_FILL = 9.969209968386869e36  # what netCDF reads where no float was ever written (NC_FILL_FLOAT, NC_FILL_DOUBLE)
_PACKED = ("scale_factor", "add_offset", "_Unsigned")  # attributes of what is yet to be unpacked


def reject(name: str, value: object, allowed: str) -> NoReturn:
    """Raise the ``ValueError`` that every check in this package ends in.

    Parameters
    ----------
    name, value : the offending argument or field and what was given for it.
    allowed : what would have been accepted, e.g. ``"an integer >= 4"``.
    """
    shown = repr(value)
    if len(shown) > 80:  # the end of a path tells most
        shown = f"{shown[:37]}...{shown[-40:]}"
    raise ValueError(f"{name} = {' '.join(shown.split())} is not allowed; it must be {allowed}")


def arguments(**rules: Rule) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function check arguments, each by its own rule, when it is called.

    :func:`by_rules` checks by the same rules what a function is to be called with later.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        names = list(inspect.signature(function).parameters)

        @functools.wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            by_rules(checked, {**dict(zip(names, args, strict=False)), **kwargs})
            return function(*args, **kwargs)

        checked.rules = rules  # type: ignore[attr-defined]
        return checked

    return decorate


def by_rules(function: Callable[..., Any], given: Mapping[str, Any], owner: str = "") -> None:
    """Check arguments for a function by the rules that :func:`arguments` gave it, if it did.

    ``owner`` and a dot stand before the names in messages.
    """
    rules: Mapping[str, Rule] = getattr(function, "rules", {})
    for name, value in given.items():
        if name in rules:
            rules[name](f"{owner}.{name}" if owner else name, value)


def optional(rule: Rule) -> Rule:
    """Return the rule that allows None beside what ``rule`` allows."""
    return lambda name, value: None if value is None else rule(name, value)


def boolean(name: str, value: Any) -> bool:
    """Return ``value``; raise ``ValueError`` unless it is True or False."""
    if not isinstance(value, bool):
        reject(name, value, "true or false")
    return value


def integer(name: str, value: Any, minimum: int, below: float = _MAX_INTEGER) -> int:
    """Return ``value`` as an ``int``; raise ``ValueError`` unless it is an integer >= ``minimum`` and < ``below``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < minimum:
        reject(name, value, f"an integer >= {minimum}")
    if value >= below:
        reject(name, value, f"an integer below {below:.2g}")
    return int(value)


def generator(name: str, value: Any) -> np.random.Generator:
    """Return the generator of random numbers that ``numpy.random.default_rng`` makes of a seed or a generator.

    Raises ``ValueError`` unless it is an integer >= 0, a Generator, BitGenerator or SeedSequence of ``numpy.random``,
    or None, which stands for another seed every time.
    """
    if value is None or isinstance(value, (np.random.Generator, np.random.BitGenerator, np.random.SeedSequence)):
        return np.random.default_rng(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 0:
        reject(name, value, "an integer >= 0 or a numpy.random.Generator")
    return np.random.default_rng(int(value))


def steps(name: str, duration: float, dt: float) -> int:
    """Return how many steps ``dt`` a time is, rounded; raise ``ValueError`` if they cannot be counted."""
    if not duration / dt < _MAX_INTEGER:
        reject(name, duration, f"less than 2^53 steps of {dt:g}")
    return round(duration / dt)


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


def multiple(name: str, value: Any, of: str, unit: float) -> int:
    """Return ``value`` / ``unit``, two positive numbers; raise ``ValueError`` unless it is whole, up to round-off.

    Parameters
    ----------
    name, value : the field and what was given for it.
    of, unit : name and value of what it must be a multiple of.
    """
    times = steps(name, number(name, value, above=0.0), unit)
    if times < 1 or not math.isclose(times * unit, value, rel_tol=1e-9):
        reject(name, value, f"a multiple of {of} = {unit:g}")
    return times


def instance(name: str, value: Any, of: type | tuple[type, ...]) -> Any:
    """Return ``value``; raise ``ValueError`` unless it is an instance of a class, or of one of several."""
    if not isinstance(value, of):
        names = [one.__name__ for one in (of if isinstance(of, tuple) else (of,))]
        reject(name, value, f"made by {' or '.join(names)}")
    return value


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return ``value``; raise ``ValueError`` unless it is one of the strings ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        reject(name, value, "one of " + ", ".join(sorted(allowed)))
    return value


def real_array(name: str, value: Any) -> F64:
    """Return ``value`` as a float64 array, in which masked values are NaN.

    Raises ``ValueError`` unless it is made of real numbers: no texts, dates, objects or complex numbers.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # nested lists of unequal lengths
        reject(name, value, "an array of numbers")
    if array.dtype.kind not in "biuf":
        reject(name, value, "an array of numbers")
    masked = np.ma.getmask(value)
    array = array.astype(np.float64, copy=False)
    return array if masked is np.ma.nomask else np.where(masked, np.nan, array)


def finite_array(name: str, value: Any, ndim: int) -> F64:
    """Return ``value`` as a C-ordered float64 array of ``ndim`` dimensions without NaN or infinity.

    Raises ``ValueError`` when it is none of numbers, the dimensions differ, the array is empty, or it holds a value
    that is not finite, too large to be squared, or netCDF's fill value (the message gives the index of the first one).
    """
    array = np.asarray(real_array(name, value), order="C")
    if array.ndim != ndim or array.size == 0:
        reject(f"{name}.shape", array.shape, f"{ndim}-dimensional and not empty")
    usable = (array <= _LARGEST) & (array >= -_LARGEST) & (array != _FILL)
    if not usable.all():
        index = tuple(int(i) for i in np.argwhere(~usable)[0])
        if not np.isfinite(array[index]):
            allowed = "finite"
        elif array[index] == _FILL:
            allowed = "a value that was written; this is netCDF's fill value: drop what is missing"
        else:
            allowed = f"at most {_LARGEST:g} in size"
        reject(_at(name, index), float(array[index]), allowed)
    return array


def decoded(name: str, variable: xr.DataArray, values: F64) -> F64:
    """Return the values of a variable; raise ``ValueError`` if they are as a file holds them rather than data.

    That is: packed values (an attribute ``scale_factor``, ``add_offset`` or ``_Unsigned``), fill values (equal to
    ``_FillValue`` or ``missing_value``, or netCDF's default of the integer type), values outside of ``valid_range``,
    ``valid_min`` or ``valid_max``. When xarray decodes a file, it mends the first two and leaves the last as they are.

    Parameters
    ----------
    name : of the variable, for the message.
    variable : has the attributes, and the type that the values had in the file.
    values : those of ``variable``, or some of them, as float64 (...).
    """
    for key in _PACKED:
        if key in variable.attrs:
            reject(f"{name}.{key}", variable.attrs[key], "absent; the values are packed: xr.decode_cf(dataset) first")
    kind = variable.dtype
    fills = {key: variable.attrs[key] for key in ("_FillValue", "missing_value") if key in variable.attrs}
    if kind.kind in "iu" and kind.itemsize > 1:  # bytes have no default: every value of theirs is used
        fills["default fill value"] = np.iinfo(kind).min + 1 if kind.kind == "i" else np.iinfo(kind).max
    for key, fill in fills.items():
        missing = np.isin(values, _of_type(fill, kind))
        _refuse(
            name, values, missing, f"data; it is the {key} of the variable: xr.decode_cf(dataset), drop what is NaN"
        )
    for key, lower, upper in _valid(variable):
        outside = (values < lower) | (values > upper)
        _refuse(name, values, outside, f"from {lower:g} to {upper:g}, the {key} of the variable")
    return values


def _of_type(value: Any, kind: np.dtype[Any]) -> F64:
    """Return the numbers of an attribute, rounded as values of a type are."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.atleast_1d(real_array("attribute", value)).astype(kind).astype(np.float64)


def _valid(variable: xr.DataArray) -> list[tuple[str, float, float]]:
    """Return the names and bounds of the valid ranges that a variable announces, in the units of its values."""
    packing = {key: variable.encoding[key] for key in ("scale_factor", "add_offset") if key in variable.encoding}
    found = []
    for key in ("valid_range", "valid_min", "valid_max"):
        if key not in variable.attrs:
            continue
        bounds = np.asarray(variable.attrs[key])
        if packing and bounds.dtype.kind in "iu":  # in units of the packed values, as CF has it (Section 8.1)
            bounds = bounds * packing.get("scale_factor", 1.0) + packing.get("add_offset", 0.0)
        bounds = np.sort(_of_type(bounds, variable.dtype))
        lower = -math.inf if key == "valid_max" else bounds[0]
        found.append((key, float(lower), math.inf if key == "valid_min" else float(bounds[-1])))
    return found


def _refuse(name: str, values: F64, bad: Bools, allowed: str) -> None:
    """Raise ``ValueError`` at the first of the bad values, if there are any."""
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        reject(_at(name, index), float(values[index]), allowed)


def _at(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def varied(name: str, array: F64, columns: Index) -> None:
    """Raise ``ValueError`` if one of some columns of an array (M, d) is constant."""
    constant = columns[np.ptp(array[:, columns], axis=0) == 0.0]
    if constant.size:
        reject(
            f"{name}[:, {constant[0]}]", float(array[0, constant[0]]), "at least two distinct values, not a constant"
        )


def xarray_dataset(name: str, value: Any) -> xr.Dataset:
    """Return ``value``; raise ``ValueError`` unless it is an xarray Dataset."""
    if not isinstance(value, xr.Dataset):
        allowed = "an xarray Dataset"
        if hasattr(value, "shape"):
            allowed += "; it is made of arrays by xr.Dataset({'z': (('time', 'k'), z), 'psi': (('time', 'k'), psi)})"
        reject(name, f"{type(value).__module__}.{type(value).__qualname__}", allowed)
    return value


def variable(name: str, dataset: xr.Dataset, variable: str, dims: tuple[str, ...]) -> F64:
    """Return a variable of a dataset as :func:`finite_array` does, with its dimensions in the order of ``dims``.

    Raises ``ValueError`` when there is no such variable, or its dimensions are others.
    """
    xarray_dataset(name, dataset)
    if variable not in dataset or set(dataset[variable].dims) != set(dims):
        found = {str(key): value.dims for key, value in dataset.data_vars.items()}
        reject(name, found, f"a Dataset with {variable} ({', '.join(dims)})")
    data, shown = dataset[variable].transpose(*dims), f"{name}[{variable!r}]"
    return finite_array(shown, decoded(shown, data, real_array(shown, data)), len(dims))


def still_finite(model: str, state: Array, time: float, dt: float) -> None:
    """Raise ``FloatingPointError`` if the state of a model stopped being finite in a step ``dt`` up to ``time``."""
    if not np.isfinite(state).all():
        raise FloatingPointError(
            f"{model} stopped being finite at time {time:.6g} (0 is the end of the spin-up) "
            f"with the step dt = {dt:g}; take a smaller dt"
        )
