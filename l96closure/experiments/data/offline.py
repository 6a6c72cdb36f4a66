"""Offline verification: the closure driven by the recorded predictors of data that it was not fitted to."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from l96closure import training
from l96closure.arrays import F64, Index
from l96closure.attributes import ERROR, in_time_unit, labelled
from l96closure.diagnostics import climate, intervals
from l96closure.diagnostics.forecast import fair_crps
from l96closure.diagnostics.reliability import pit
from l96closure.diagnostics.scorecard import BOUNDED, Score
from l96closure.diagnostics.several import joined
from l96closure.fields import Fields
from l96closure.first_calls import first_state, take_step
from l96closure.series import time_unit

_log = logging.getLogger(__name__)

_CLIMATOLOGY = 1000  # values of the reference that stand for its distribution
_AT_ONCE = 4_000_000  # numbers
_MAX_SITES = 400  # of which all covariances are kept
_MAX_LAGS = 101
_SOURCES = ["reference", "closure"]

SCORES = {
    score.name: score
    for score in (
        Score(
            *("offline_crps", "fair continuous ranked probability score of the target given the recorded predictors"),
            symbol="offline CRPS",
            meaning="CRPS",
            parts=(*BOUNDED, "_climatology"),
        ),
        Score(
            *("offline_spread_skill", "spread of the draws over the error of their mean, corrected for their number"),
            symbol="spread/error",
            meaning="spread over error",
            parts=("",),
            target=1.0,
        ),
        Score(
            *("offline_rmse", "root mean square error of the mean of the draws"),
            symbol="RMSE",
            meaning="RMSE of the mean",
            parts=("",),
        ),
        Score(
            *("offline_covariance_error", "distance of the covariance matrices over the size of the reference's"),
            symbol="E(covariance)",
            meaning="error of the covariance matrix",
            parts=("", "_floor"),
        ),
    )
}
"""What a closure is judged by along a reference."""

_NAMES = {
    **{name: score.label for name, score in SCORES.items()},
    "offline_spread": "root mean variance of the draws",
    "offline_mean": "mean of the target",
    "offline_std": "standard deviation of the target",
    "offline_covariance": "covariance of the target between two sites at one time",
    "offline_autocorrelation": "autocorrelation of the target in time",
    "offline_source": "reference or closure",
    "offline_lag": "time lag",
}


class Drawn(NamedTuple):
    """What a closure draws along a record, and what happened.

    Attributes
    ----------
    psi : (segment, member, time, Q, K) of Q targets.
    target : (segment, time, Q, K).
    step : time between two values.
    time_unit : of the step.
    told : whether the closure was told of every step before what happened, so that draws do not follow each other.
    """

    psi: F64
    target: F64
    step: float
    time_unit: str
    told: bool = False

    def of(self, number: int) -> Drawn:
        """Return the same of one target, without the axis Q."""
        return self._replace(psi=self.psi[..., number, :], target=self.target[..., number, :])

    def anomalies(self, groups: Index) -> Drawn:
        """Return the same of one target less its means over the sites of each group; as it is where all are one."""
        if not groups.any():
            return self
        mean = self.target.mean(axis=(0, 1))
        off = (np.bincount(groups, mean) / np.bincount(groups))[groups]
        return self._replace(psi=self.psi - off, target=self.target - off)


def draw(
    closure: Any, reference: xr.Dataset, fields: Fields, *, dt: float | None, members: int, steps: int, seed: int
) -> Drawn:
    """Drive a closure by the predictors of a reference.

    One that sees psi of steps before is told what that was in the reference: with its own, predictors and psi would
    not belong together.

    Parameters
    ----------
    closure : has ``init`` and ``step``.
    reference : predictors and targets.
    fields : which variables are what.
    dt : the closure's step; None is the reference's interval.
    members : draws for each segment.
    steps : at most, from the first time on.
    seed : of the draws.

    Raises
    ------
    ValueError
        The closure remembers, and the reference was not recorded at its steps.
    """
    remembers = getattr(closure, "coarse_dt", None) is not None
    record = training.read(reference, fields, dt, ordered=remembers, grouped=True)
    fields = record.fields
    series, target = np.stack(record.series), np.stack(record.target)
    first = int(getattr(closure, "past_steps", 0))  # before, a past is drawn that does not go with the predictors
    last = min(series.shape[1], first + steps)
    z = fields.placed(np.repeat(series[:, :last], members, axis=0))
    z = z[:, :, 0] if z.shape[2] == 1 else z
    state = first_state(closure, z[:, 0].copy(), np.random.default_rng(seed))
    out = np.empty((len(z), last, *fields.output_shape))
    take = partial(take_step, closure, shape=out.shape[2:])
    known = target.reshape(*target.shape[:2], -1, series.shape[-1])
    told = getattr(getattr(closure, "fields", None), "before", 0) > 0
    for time in range(last):
        out[:, time], state = (closure.step if time else take)(z[:, time].copy(), state)
        if told:
            state = closure.corrected(fields.placed(np.repeat(known[:, time], members, axis=0)), state)
    psi = fields.taken(out.reshape(len(series), members, last, -1, fields.size))[:, :, first:]
    step = record.steps.dt if remembers and record.steps.dt is not None else float(np.diff(reference["time"][:2])[0])
    return Drawn(psi, known[:, first:last], step, time_unit(reference), told)


def scores(drawn: Drawn, fields: Fields, max_lag: float) -> xr.Dataset:
    """Score what a closure has drawn; of several predictors or targets along the dimension ``target``.

    Parameters
    ----------
    drawn : from :func:`draw`.
    fields : of the data, with units.
    max_lag : longest lag of the autocorrelations, cut to a quarter of the record.

    Returns
    -------
    Dataset with ``offline_crps`` (with its 95 % interval by batch means, NaN where that would not cover, and what the
    distribution of the target in the reference scores, ``_climatology``), ``offline_rmse``, ``offline_spread``,
    ``offline_spread_skill``; by ``offline_source`` mean and standard deviation of the target, their autocorrelation at
    ``offline_lag`` and, on few sites, ``offline_covariance`` with ``offline_covariance_error`` and its floor, the same
    between the halves of the reference. Where sites are unlike, mean, deviation and autocorrelation are of anomalies
    from the reference's mean at each place (attribute ``offline_anomalies_along``), and each has a climatology. Draws
    that do not follow each other (``offline_told``) have no autocorrelation.
    """
    units = dict(zip(fields.targets, fields.units[len(fields.predictors) :], strict=True))
    sites = drawn.target.shape[-1]
    groups = fields.groups if fields.shape else np.zeros(sites, np.intp)
    each = {
        name: _scores(drawn.of(number).anomalies(groups), unit, max_lag, groups)
        for number, (name, unit) in enumerate(units.items())
    }
    found = joined("target", each, len(fields.names) > 2)
    unlike = [dim for dim, ring in zip(fields.dim, fields.rings, strict=True) if not ring]
    return found.assign_attrs(offline_anomalies_along=" and ".join(unlike)) if groups.any() else found


def _scores(drawn: Drawn, units: str, max_lag: float, groups: Index) -> xr.Dataset:
    """Score the draws of one target (segment, member, time, K), sites of a group having one climate."""
    ensemble = np.moveaxis(drawn.psi, 1, -1)  # (segment, time, K, member)
    crps = fair_crps(ensemble, drawn.target)
    error = intervals.SIDE * float(intervals.batched_standard_error(crps.mean(axis=2)))
    mse = float(((ensemble.mean(axis=-1) - drawn.target) ** 2).mean())
    spread, members = float(ensemble.var(axis=-1, ddof=1).mean()), ensemble.shape[-1]
    found: dict[str, Any] = {
        "offline_crps": crps.mean(),
        "offline_crps_low": crps.mean() - error,
        "offline_crps_high": crps.mean() + error,
        "offline_crps_climatology": np.average(
            [_climatology(drawn.target[..., groups == group]) for group in range(groups.max() + 1)],
            weights=np.bincount(groups),
        ),
        "offline_rmse": np.sqrt(mse),
        "offline_spread": np.sqrt(spread),
    }
    data = xr.Dataset({name: ((), float(value), {"units": units}) for name, value in found.items()})
    data["offline_spread_skill"] = np.sqrt((1 + 1 / members) * spread / mse)
    runs = [drawn.target, drawn.psi.reshape(-1, *drawn.psi.shape[2:])]
    for name, statistic in (("mean", climate.mean), ("std", np.std)):
        data[f"offline_{name}"] = "offline_source", [float(statistic(run)) for run in runs], {"units": units}
    lags = max(2, min(round(max_lag / drawn.step) + 1, drawn.target.shape[1] // 4))
    every = -(-lags // _MAX_LAGS)
    values, errors = zip(*(climate.autocorrelation(run, lags) for run in runs), strict=True)
    alone = climate.autocorrelation(drawn.psi[:, 0], lags)[1]  # the members share their predictors
    if drawn.told:
        values, alone = (values[0], np.full_like(values[0], np.nan)), np.full_like(errors[0], np.nan)
    for ending, each in (("", values), (ERROR, (errors[0], alone))):
        data[f"offline_autocorrelation{ending}"] = ("offline_source", "offline_lag"), np.array(each)[:, ::every]
    data = data.assign_coords(offline_source=_SOURCES, offline_lag=drawn.step * np.arange(lags)[::every])
    if drawn.target.shape[2] <= _MAX_SITES:
        data = data.assign(_covariances(*runs))
    attributes = {"offline_values": drawn.target.size, "offline_members": members, "offline_told": np.int8(drawn.told)}
    return in_time_unit(labelled(data, _NAMES), drawn.time_unit).assign_attrs(attributes)


def _climatology(target: F64) -> float:
    """Return what the distribution of the target scores as a forecast of it."""
    values = np.sort(target.ravel())
    some = values[np.linspace(0, values.size - 1, min(_CLIMATOLOGY, values.size)).round().astype(int)]
    looked_at = values[:: -(-values.size * some.size // _AT_ONCE)]
    return float(fair_crps(np.broadcast_to(some, (looked_at.size, some.size)), looked_at).mean())


def _covariances(reference: F64, drawn: F64) -> dict[str, Any]:
    """Return the covariance matrices of both runs (n, time, K), and how far they are apart."""
    matrices = [_covariance(run) for run in (reference, drawn)]
    size, half = float(np.linalg.norm(matrices[0])), reference.shape[1] // 2
    halves = [_covariance(part) for part in (reference[:, :half], reference[:, half:])]
    off, floor = (float(np.linalg.norm(a - b)) / size for a, b in (matrices, halves))
    dims = ("offline_source", "site", "other_site")
    sites = {name: (name, np.arange(reference.shape[2]), {"long_name": "site"}) for name in dims[1:]}
    return sites | {
        "offline_covariance": (dims, matrices),
        "offline_covariance_error": off,
        "offline_covariance_error_floor": floor,
    }


def _covariance(run: F64) -> F64:
    return np.atleast_2d(np.cov(run.reshape(-1, run.shape[-1]), rowvar=False))


def law(closure: Any, reference: xr.Dataset, fields: Fields, max_lag: float) -> xr.Dataset | None:
    """Hold the law that a closure states against a reference; None, with a note, where it states none for it."""
    if not hasattr(closure, "probability"):
        return None
    try:
        found = closure.probability(reference)
        each = found.data_vars if isinstance(found, xr.Dataset) else {fields.targets[0]: found}
        laws = {str(name): pit(_flat(one, fields), max_lag=max_lag) for name, one in each.items()}
        return joined("target", laws, len(fields.names) > 2)
    except ValueError as error:
        _log.warning("note: the law of the closure is not held against the reference: %s", error)
        return None


def _flat(probability: xr.DataArray, fields: Fields) -> xr.DataArray:
    """Return probabilities with one dimension ``k`` of sites, and segments as members."""
    grid = [name for name in fields.dim if name in probability.dims]
    flat = probability.reset_coords(drop=True).stack(sites=grid).drop_vars(["sites", *grid]).rename(sites="k")
    return flat.rename(segment="member") if "segment" in flat.dims else flat
