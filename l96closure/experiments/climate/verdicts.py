"""How a number that is wrong is judged: against its interval, and by what matters; and how that is said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.experiments.climate.tables import in_units


class Limits(NamedTuple):
    """What differs by more matters, where it is no chance. A moment is measured in standard deviations of the truth."""

    moment: float = 0.02
    ratio: float = 1.5
    spectrum: float = 0.05
    neighbour: float = 0.02
    memory: float = 0.03
    spread: float = 0.05
    mark: float = 0.1
    decile: float = 0.02
    period: float = 1.5


MATTERS = Limits()
_FAR = 10.0  # times that, what differs by more is named without an interval too
NO_INTERVAL = "no interval is known"

CRITERIA = (
    "Named is what differs from the truth by more than chance, by 95 % intervals (of several levels, wavenumbers or "
    f"lags taken together), and by more than {100 * MATTERS.moment:g} % of the standard deviation (means and standard "
    f"deviations), {MATTERS.ratio:g} times the floor (Hellinger distances), {100 * MATTERS.spectrum:g} % (variance "
    f"at a wavenumber, where that carries variance), {MATTERS.neighbour:g} (correlation of neighbours), "
    f"{MATTERS.memory:g} (autocorrelation), {100 * MATTERS.spread:g} % (ratio of spread to error), "
    f"{100 * MATTERS.mark:g} % (CRPS above the full model's), {MATTERS.decile:g} (share of ψ below a decile of the "
    f"law) or a factor of {MATTERS.period:g} (return periods). Where no interval is known, named is what differs by "
    f"more than {_FAR:g} times as much, and a score of forecasts above {1 + _FAR * MATTERS.mark:g} times climatology's."
)
"""What is counted as a failure."""


class Failure(NamedTuple):
    """A number that is wrong.

    Attributes
    ----------
    said : what is wrong with it.
    matters : whether by enough to be counted as a failure.
    """

    said: str
    matters: bool = True


Judged = Iterator[Failure | bool]
"""For each number that is judged: its failure, True where there is none, False where that cannot be told."""


def judge_clearest(what: str, off: xr.DataArray, error: xr.DataArray, matters: float, unit: str) -> Failure | bool:
    """Judge the one of several differences that is furthest beyond chance, of all of which intervals are to hold.

    Parameters
    ----------
    what : beginning of the sentence, which goes on with where it is.
    off, error : the differences and their standard errors, any of which counts for none where one is not known.
    matters, unit : as for :func:`judge`.
    """
    if not np.isfinite(off).any():
        return False
    half = intervals.together(off.size) * (xr.full_like(error, np.nan) if error.isnull().any() else error)
    clear = abs(off).where(~(abs(off) <= half), 0.0).fillna(0.0)
    worst = {dim: int(index) for dim, index in clear.argmax(...).items()}
    at = ", ".join(
        f"{str(dim).replace('_', ' ')} {_place(off[dim][index]) if dim in off.coords else index}"
        for dim, index in worst.items()
    )
    return judge(f"{what} at {at} is", float(off[worst]), float(half[worst]), matters, unit)


def _place(coordinate: xr.DataArray) -> str:
    """Return a value of a coordinate with its unit."""
    said = f"{coordinate.item():.6g}" if coordinate.dtype.kind == "f" else str(coordinate.to_numpy())
    return said + in_units(coordinate)


def judge(what: str, difference: float, half: float, matters: float, unit: str = "") -> Failure | bool:
    """Return a difference as a failure with its interval, True where it may be chance, False where that is unknown.

    What is off by far is a failure without an interval too.

    Parameters
    ----------
    what : beginning of the sentence.
    difference : coarse run less truth.
    half : half of the width of its interval.
    matters : what differs by more is counted as a failure.
    unit : what stands behind the numbers.
    """
    if not math.isfinite(difference):
        return False
    size, side = abs(difference), "small" if difference < 0 else "large"
    if not math.isfinite(half):
        digits = max(0, 1 - math.floor(math.log10(size))) if size else 0
        return unless_far(f"{what} {size:.{digits}f}{unit} too {side} ({NO_INTERVAL})", size, matters)
    if size <= half:
        return True
    digits = max(0, 1 - math.floor(math.log10(max(half, 1e-3 * size))))
    return Failure(
        f"{what} {size:.{digits}f}{unit} too {side} "
        f"(interval {size - half:.{digits}f} to {size + half:.{digits}f}{unit})",
        size > matters,
    )


def unless_far(said: str, size: float, matters: float) -> Failure | Literal[False]:
    """Return as a failure what is wrong by far, False where it is not: of no interval, it may be chance."""
    return Failure(said) if far(size, matters) else False


def far(size: float, matters: float) -> bool:
    """Tell whether something is wrong by so much that it counts without an interval.

    Parameters
    ----------
    size : what it is wrong by.
    matters : what differs by more matters.
    """
    return size > _FAR * matters


def in_percent(value: float) -> str:
    """Show a percentage."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
