"""Attributes of variables: long names, units and CF standard names.

What many files share stands here; what one function alone makes is named beside it, with :func:`labelled`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from l96closure.arrays import F64
from l96closure.durations import MODEL_TIME

BIN = "_bin"
"""Ending of the name of a coordinate that is the centres of evenly spaced bins."""

ERROR = "_se"
INTERVAL = ("_low", "_high")
"""Endings of the names of a standard error and of the bounds of an interval."""

_ENDINGS = {
    ERROR: "standard error of the {}",
    INTERVAL[0]: "lower bound of the 95 % interval of the {}",
    INTERVAL[1]: "upper bound of the 95 % interval of the {}",
    "_floor": "{} between two stretches of truth",
    "_floor_std": "standard deviation of the {} over pairs of stretches of truth",
    "_climatology": "{} of the climatological distribution",
}

_OF_TIME = {
    **dict.fromkeys(("lag", "time_lag", "pit_lag", "offline_lag", "lead", "return_period_z"), 1),
    **dict.fromkeys(("power_z", "power_psi"), 1),
    "frequency": -1,
}
"""Power of the unit of time in the units of a variable."""


_EXPONENT = re.compile(  # not that of a number, nor what belongs to a date or to a formula such as CO2
    r"(?<=[^\W\d_]|[°)])(?<![\d.][eE])(?:(?:\^|\*\*)([+-]?\d+)|(-\d+)|(?<![A-Z]{2})(\d+))(?![\w:]|\.\d)"
)
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+")


def _quantity(long_name: str, **more: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1", **more}


def labelled(dataset: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    """Give variables of a dataset their long names, and the unit 1 where they have none.

    Parameters
    ----------
    dataset : its variables change in place.
    names : long name of a variable; those of its standard error, the bounds of its interval, its floor and what
        climatology scores, variables with an ending more, follow from it.

    Returns
    -------
    The dataset.
    """
    endings = {"": "{}", **_ENDINGS}
    known = {f"{name}{ending}": say.format(long) for ending, say in endings.items() for name, long in names.items()}
    for name, variable in dataset.variables.items():
        long_name = names.get(str(name), known.get(str(name)))
        if long_name is not None:
            unit = {} if variable.dtype.kind in "OUS" else {"units": "1"}  # text has none
            variable.attrs = {**unit, **variable.attrs, "long_name": long_name}
    return dataset


def in_units(dataset: xr.Dataset, powers: Mapping[str, tuple[int, int]], z: str, psi: str) -> xr.Dataset:
    """Give variables of a dataset the units that follow from those of z and psi; where both are 1, nothing.

    Parameters
    ----------
    dataset : its variables change in place.
    powers : of the two units, by the name of a variable; its standard error and the like, as for :func:`labelled`,
        have the same.
    z, psi : units, as UDUNITS reads them.

    Returns
    -------
    The dataset.
    """
    for name, variable in dataset.variables.items():
        known = next(
            (powers[base] for end in ("", *_ENDINGS) if (base := str(name).removesuffix(end)) in powers), (0, 0)
        )
        factors = [_power(unit, power) for unit, power in zip((z, psi), known, strict=True) if power and unit != "1"]
        if factors:
            variable.attrs["units"] = " ".join(factors)
    return dataset


def in_time_unit(dataset: xr.Dataset, unit: str) -> xr.Dataset:
    """Give lags, leads, frequencies, spectra in time and return periods the unit of time; nothing of model time.

    Parameters
    ----------
    dataset : its variables change in place.
    unit : of time, :func:`l96closure.series.time_unit`.

    Returns
    -------
    The dataset.
    """
    for name, variable in dataset.variables.items() if unit != MODEL_TIME else ():
        endings = ("", *_ENDINGS)
        power = next((_OF_TIME[base] for end in endings if (base := str(name).removesuffix(end)) in _OF_TIME), 0)
        if not power:
            continue
        own = variable.attrs.get("units", "1")
        long_name = variable.attrs.get("long_name", ATTRIBUTES.get(str(name), {}).get("long_name", ""))
        for words, instead in ((", in model time units", ""), (" in model time units", ""),
                               ("model time unit", unit), ("model time", "time")):  # fmt: skip
            long_name = long_name.replace(words, instead)
        variable.attrs |= {
            "units": " ".join([*([own] if own != "1" else []), _power(unit, power)]),
            "long_name": long_name,
        }
    return dataset


def default(name: str, own: Mapping[str, Any]) -> dict[str, str]:
    """Return what :data:`ATTRIBUTES` says of a variable; of its axis nothing where it has units of its own.

    Parameters
    ----------
    name : of the variable.
    own : its attributes.

    Returns
    -------
    Attributes.
    """
    ours = ATTRIBUTES.get(name, {})
    return {key: value for key, value in ours.items() if "units" not in own or key not in _OF_OUR_UNIT}


def _power(unit: str, power: int) -> str:
    """Return the power of a unit, as UDUNITS reads it."""
    if power == 1:
        return unit
    return f"{unit}{power}" if unit.isalpha() else f"({unit})^{power}"


def printed(units: str) -> str:
    """Return units, as UDUNITS reads them, as print has them.

    Parameters
    ----------
    units : of a variable.

    Returns
    -------
    Units with their exponents raised.

    Examples
    --------
    >>> printed("kg m-2 s-1"), printed("(m.s-1)^2"), printed("1e-3 mol CO2")
    ('kg m⁻² s⁻¹', '(m.s⁻¹)²', '1e-3 mol CO2')
    """
    return _EXPONENT.sub(lambda found: found[found.lastindex or 0].translate(_RAISED), units)


def bin_edges(centre: F64) -> F64:
    """Return the edges of evenly spaced bins from their centres; a single one is of unit width."""
    half = (centre[1] - centre[0]) / 2 if centre.size > 1 else 0.5
    return np.append(centre - half, centre[-1] + half)


# Model time is dimensionless, but CF (section 4.4) accepts no time axis without a unit of time and a reference date,
# and CDO counts records in its place. CDO knows no "5 days", which Lorenz (1996) gives a model time unit, and rounds
# to milliseconds: of seconds it keeps every multiple of 0.001, of days not even 0.002. Our readers count dates in
# seconds, so that a file some tool has decoded has the same steps. UDUNITS, CDO and NCO read SINCE in either case,
# xarray only in lower case: written like this, it leaves the numbers as they are.
_TIME_AXIS = {
    "axis": "T",
    "units": "seconds SINCE 2000-01-01",
    "calendar": "standard",
    "units_metadata": "leap_seconds: none",
    "comment": "the values are dimensionless model time; a second to the unit and the date are there for programs that "
    "know no other time",
}
_OF_OUR_UNIT = ("calendar", "units_metadata", "comment")
_MODEL_TIME = {"long_name": "model time", "standard_name": "time", **_TIME_AXIS}

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    # dimensions
    "time": _MODEL_TIME,
    "k": _quantity("site of the slow variable"),
    "j": _quantity("fast variable within a site"),
    "mask": _quantity("whether there is a site"),
    "member": _quantity("ensemble member", standard_name="realization"),
    "sample": _quantity("training sample"),
    "start": {
        "long_name": "model time of the reference at which a forecast starts",
        "standard_name": "forecast_reference_time",
        **_TIME_AXIS,
    },
    "lead": _quantity("lead time of a forecast in model time units"),
    # states
    "z": _quantity("slow variable"),
    "y": _quantity("fast variable"),
    "psi": _quantity("subgrid tendency of the slow variable"),
    "features_outside": _quantity("values outside of the range of the training data that a closure was given a step"),
    "observation": _quantity("slow variable of the truth that a forecast should meet"),
    # closures
    "field": {"long_name": "predictors and target of the closure"},
    "field_units": {"long_name": "units of a field"},
    "dim": {"long_name": "dimension of the grid"},
    "grid_size": _quantity("number of sites along a dimension of the grid"),
    "neighbour": _quantity("sites that a site sees, itself first"),
    "pool_of_site": _quantity("sites with the same number share their samples"),
    "dictionary_of_site": _quantity("dictionary that a site draws from"),
    "coordinates": _quantity("training samples restricted to a neighbourhood"),
    "sinkhorn_log_weight": _quantity("logarithm of the weight of a training sample in the bridge"),
    "sinkhorn_residual": _quantity("largest departure of v (T v) from one"),
    "sinkhorn_iterations": _quantity("number of evaluations of T v"),
    "coordinate_scale": _quantity("what a coordinate is divided by in the distances"),
    "value": _quantity("residual of the target in a training sample"),
    "value_spread": _quantity("variance of the values behind a centre"),
    "scale": _quantity("climatological standard deviation of a component"),
    "log_variance": _quantity(
        "coefficient of the logarithm of the variance about the trend in Chebyshev polynomials on log_variance_range"
    ),
    # unfinished computations
    "z_now": _quantity("slow variable at the step the computation goes on with"),
    "y_now": _quantity("fast variable at that step, times half a fine step times c b"),
    "z_begun": _quantity("slow variable of samples whose subgrid tendency is not known yet"),
    "x": _quantity("state that the bridge learns and draws"),
    "x_now": _quantity("state of the chains at that step"),
    "u_hat_now": _quantity("real and imaginary parts of the spectrum of the solution at that step"),
    "closure_state": _quantity("state of the closure at that step"),
    "evaluation": _quantity("results of the costly steps of a computation, one after the other"),
    "evaluation_size": _quantity("number of values of each of these results"),
}
"""Attributes of dimensions, states, closures and unfinished computations, in memory and in files; all model quantities
are dimensionless."""
