"""Scores of forecasts beside their mark: what ensembles of the full model reach from the same starts."""

from __future__ import annotations

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.attributes import labelled
from l96closure.diagnostics import intervals
from l96closure.diagnostics.forecast import fair_crps, verify

_NAMES = {
    "crps_mark": "fair continuous ranked probability score of the full model, spun up along z",
    "rmse_mark": "root mean square error of the ensemble mean of the full model, spun up along z",
    "crps_above_mark": "score of the forecasts less that of the full model, spun up along z",
}


def beside_mark(
    forecast: xr.Dataset, mark: xr.Dataset, reference: xr.Dataset, *, rng: np.random.Generator | int = 0
) -> xr.Dataset:
    """Score the mark of forecasts, and by how much these are above it.

    Parameters
    ----------
    forecast : result of :func:`l96closure.forecast`.
    mark : result of :func:`l96closure.mark` for the same reference and leads, and some of the same starts.
    reference, rng : as for :func:`verify`.

    Returns
    -------
    Dataset by ``lead``, dimensionless, each with the bounds ``_low`` and ``_high`` of its 95 % interval:

    - ``crps_mark`` and ``rmse_mark``, the scores of the mark, as :func:`verify` has them;
    - ``crps_above_mark``, the CRPS of the forecasts less that of the mark, on the starts of the mark alone: the weather
      is the same, so that this is known better than either. Interval by Student's t over independent starts or groups
      of starts, NaN with fewer than twenty.

    The attributes ``mark_starts``, ``mark_members`` and ``mark_spinup`` say how it was made.

    Raises
    ------
    ValueError
        A variable or dimension is missing, the leads differ, or the forecasts lack a start of the mark.
    """
    verified = verify(mark, reference, rng=rng)
    _check_alike(forecast, mark)
    difference = _by_start(forecast.sel(start=mark["start"])) - _by_start(mark)
    units, starts = int(verified.attrs["forecast_independent_starts"]), len(difference)
    groups = difference[: units * (starts // units)].reshape(units, starts // units, -1).mean(axis=1)
    half = intervals.standard_error(groups, intervals.MIN_VALUES) * intervals.student(max(units, 2))
    mean = difference.mean(axis=0)
    told = {"interval_method": f"Student's t over {units} independent starts or groups of them, 95 %"}
    scores = xr.Dataset(
        {
            f"{name}_mark{part}": verified[f"{name}{part}"]
            for name in ("crps", "rmse")
            for part in ("", "_low", "_high")
        },
        attrs={"mark_starts": starts, "mark_members": mark.sizes["member"], "mark_spinup": mark.attrs.get("spinup")},
    )
    scores["crps_above_mark"] = "lead", mean
    for part, values in (("_low", mean - half), ("_high", mean + half)):
        scores[f"crps_above_mark{part}"] = "lead", values, told
    return labelled(scores, _NAMES)


def _check_alike(forecast: xr.Dataset, mark: xr.Dataset) -> None:
    """Raise ``ValueError`` unless the leads are the same, and the forecasts have all starts of the mark."""
    ours, theirs = (data["lead"].to_numpy() for data in (mark, forecast))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs):
        checks.reject("mark.lead", ours.tolist(), f"that of the forecasts, {theirs.tolist()}")
    missing = ~np.isin(mark["start"].to_numpy(), forecast["start"].to_numpy())
    if missing.any():
        checks.reject("mark.start", mark["start"].to_numpy()[missing][0], "a start of the forecasts")


def _by_start(data: xr.Dataset) -> F64:
    """CRPS of each start (start, lead), the mean over the sites."""
    x = checks.variable("forecast", data, "z", ("start", "lead", "k", "member"))
    y = checks.variable("forecast", data, "observation", ("start", "lead", "k"))
    return np.stack([fair_crps(*start).mean(axis=-1) for start in zip(x, y, strict=True)])
