"""Closures judged by short coupled runs: what a fit chooses its features by where it has the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.closures import Closure
from l96closure.coarse import BlowUpError
from l96closure.diagnostics.forecast import verify
from l96closure.forecasts import forecast
from l96closure.layout import Layout
from l96closure.series import time_step

_LEADS = 8  # to score at, but for fewer steps
_MOST_VALUES = 2**22  # of all forecasts at a time


@dataclass(frozen=True)
class Selection:
    """Scores a closure by ensemble forecasts of the coarse model from held-out states with a known past.

    The score is the fair continuous ranked probability score over that of climatology, averaged over the leads up to
    where the ensembles forget: the error of the climate and of the forecasts in one. A closure whose coarse model
    stops being finite scores infinity.

    Parameters
    ----------
    model : the coarse model, a system or a function z -> dz/dt, see :func:`l96closure.integrate`.
    starts : held-out states that forecasts start from, at most as many as the data hold, >= 2; on large grids fewer, so
        that all forecasts together have about four million values at a time.
    members : of each forecast, >= 2.
    rng : seed of the forecasts; every candidate gets the same.

    Raises
    ------
    ValueError
        A field is out of its range.

    Examples
    --------
    Handed to a fit (``selection=``) it is asked of every candidate; it can be asked of any closure:

    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> truth = model.simulate(samples=3000, rng=1)
    >>> early, late = truth.isel(time=slice(2000)), truth.isel(time=slice(2000, None))
    >>> judge = lc.Selection(model, starts=5, members=4)
    >>> bool(judge(lc.closures.PolynomialAR1.fit(early), late) > 0.0)
    True
    """

    model: Any
    starts: int = 40
    members: int = 10
    rng: int = 0

    def __post_init__(self) -> None:
        checks.integer("selection.starts", self.starts, 2)
        checks.integer("selection.members", self.members, 2)

    def __call__(self, closure: Closure, held_out: xr.Dataset) -> float:
        """Return the score of a closure on data it was not fitted to.

        Parameters
        ----------
        closure : obeys :class:`l96closure.closures.Closure`.
        held_out : Dataset with z of dims (time, k), or the predictors of the closure, at a uniform time step.

        Returns
        -------
        The score, >= 0; the smaller the better, near 1 no better than climatology, infinite where the model blew up.

        Raises
        ------
        ValueError
            ``held_out`` is too short for so many starts.
        """
        steps, state = held_out.sizes["time"] - 1, math.prod(Layout.of(closure, held_out.sizes.get("k", 1)).state)
        starts = min(self.starts, max(2, _MOST_VALUES // (self.members * state)))
        longest = steps // (starts + 2)
        every = max(1, longest // _LEADS)
        leads = np.arange(longest // every + 1) * every * time_step("held_out", held_out)
        try:
            ensemble = forecast(
                self.model, closure, held_out, starts=starts, members=self.members, leads=leads, rng=self.rng
            )
        except BlowUpError:
            return float("inf")
        scores = verify(ensemble, held_out)
        return float((scores["crps"] / scores["crps_climatology"]).isel(lead=slice(1, None)).mean())
