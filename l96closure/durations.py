"""How times are shown: seconds in the unit a reader would choose, times of other units, model time too, as they are."""

from __future__ import annotations

import numpy as np
import xarray as xr

MODEL_TIME = "1"
"""Unit of model time, which has none; :func:`l96closure.series.time_unit` tells the unit of data."""

_SECONDS = {"days": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
_WORDS = {MODEL_TIME: "model time units", "d": "days"}
_SHORT = 4  # letters of a number
_ENOUGH = 2.0  # units in the longest of the times on an axis


def unit_of(variable: xr.DataArray) -> str:
    """Return the unit of a lag, a lead or another time.

    Parameters
    ----------
    variable : the times, with their units.

    Returns
    -------
    The unit, :data:`MODEL_TIME` where there is none.
    """
    return str(variable.attrs.get("units", MODEL_TIME))


def scaled(times: xr.DataArray) -> tuple[float, str]:
    """Return in which unit times are best shown together, as on an axis.

    Parameters
    ----------
    times : lags, leads or the like, with their units; what is not finite does not count.

    Returns
    -------
    What they are to be multiplied by, and the name of the unit then.
    """
    unit = unit_of(times)
    if unit != "s":
        return 1.0, _WORDS.get(unit, unit)
    longest = float(np.abs(times.where(np.isfinite(times))).max())
    name = next((name for name, length in _SECONDS.items() if longest >= _ENOUGH * length), "s")
    return 1.0 / _SECONDS[name], name


def duration(time: float, unit: str, form: str = "g", *, model: str = "") -> str:
    """Show one time with its unit.

    Parameters
    ----------
    time : in the unit.
    unit : as :func:`unit_of` has it.
    form : format of the number.
    model : what stands behind a model time.

    Returns
    -------
    Such as "6 h": seconds in the longest unit of which there is one or more and that makes the number short.

    Examples
    --------
    >>> from l96closure.durations import duration
    >>> [duration(time, "s") for time in (432000.0, 86400.0, 90000.0, 5400.0, 20.0)]
    ['5 days', '1 day', '25 h', '1.5 h', '20 s']
    >>> duration(0.5, "h"), duration(0.05, "1"), duration(0.05, "1", model="time units")
    ('0.5 h', '0.05', '0.05 time units')
    """
    if unit == MODEL_TIME:
        return f"{plain(time, form)} {model}".rstrip()
    units = {name: length for name, length in _SECONDS.items() if unit == "s" and abs(time) >= length}
    shown = [(plain(time / length, form), name) for name, length in (units or {_WORDS.get(unit, unit): 1.0}).items()]
    number, name = next((each for each in shown if len(each[0]) <= _SHORT), shown[0])
    return f"{number} {'day' if (number, name) == ('1', 'days') else name}"


def plain(number: float, form: str) -> str:
    """Show a number in a format, one above 1 without an exponent and then to the last whole unit.

    Parameters
    ----------
    number : to be shown.
    form : its format.
    """
    text = f"{number:{form}}"
    return f"{number:.0f}" if "e+" in text else text
