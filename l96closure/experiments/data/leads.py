"""The leads of forecasts from a reference of a user's own, as far as the settings leave them to the data."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.diagnostics import climate, resampling
from l96closure.experiments.data.settings import Forecast
from l96closure.layout import Layout
from l96closure.series import time_step

_LEADS, _STEPS = 40, 10  # leads, and coarse steps between two of them at most
_MEMORIES = 4  # decorrelation times, that the longest lead is
_SITES = 64  # whose memory is measured, or few more


def spacing_and_number(given: Forecast, reference: xr.Dataset, closure: Any, dt: float) -> tuple[float, int]:
    """Return the time between two leads, and how many of them there are after the start.

    Parameters
    ----------
    given : settings; a lead without a spacing is kept to, at the widest of ten coarse steps that divides it.
    reference, closure : what the forecasts are from, and with.
    dt : coarse step.

    Raises
    ------
    ValueError
        ``forecast.lead`` is no multiple of ``forecast.every``, or of what coarse step and reference have in common.
    """
    interval = time_step("reference", reference)
    ratio = Fraction(interval / dt).limit_denominator(1000)
    shortest = ratio.denominator * interval
    most = math.ceil(_STEPS / max(1, ratio.numerator))
    if given.lead is None:
        return given.every or shortest * between(reference, closure, shortest / interval, most), _LEADS
    every = given.every
    if every is None:
        longest = checks.multiple("forecast.lead", given.lead, "the shortest between two leads", shortest)
        every = shortest * max(n for n in range(1, most + 1) if longest % n == 0)
    return every, checks.multiple("forecast.lead", given.lead, "forecast.every", every)


def between(reference: xr.Dataset, closure: Any, records: float, most: int) -> int:
    """Return the spacing of leads, of which there are :data:`_LEADS`, in units of the shortest that there can be.

    The longest lead is four decorrelation times of the predictors, beyond which there is little to foresee.

    Parameters
    ----------
    reference, closure : what the forecasts are from, and with.
    records : of the reference in the shortest spacing.
    most : that the spacing may be.
    """
    states = Layout.of(closure).states("reference", reference, "time").reshape(reference.sizes["time"], -1)
    some = states[np.newaxis, :, :: -(-states.shape[1] // _SITES)]
    lags = max(1, min(states.shape[0] // 4, math.ceil(_LEADS * most * records)))
    correlation, _ = climate.autocorrelation(some - some.mean(axis=1, keepdims=True), lags)
    longest = _MEMORIES * resampling.decorrelation_time(correlation) / records
    return max(1, round(min(most, longest / _LEADS)))
