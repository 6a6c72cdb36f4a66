"""Scores of ensemble forecasts by lead time: error, spread, ranks, and proper scores of sites and of whole fields.

They are written out here: a few lines each, kept by start for the intervals. The package ``scores`` has two of them,
without intervals, and brings Bottleneck, whose presence changes how xarray sums; it is the oracle of the tests instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.attributes import labelled
from l96closure.diagnostics import field_scores, intervals
from l96closure.diagnostics.scorecard import BOUNDED, FORECASTS
from l96closure.diagnostics.several import joined
from l96closure.fields import Fields
from l96closure.layout import observation_of, told_by

_PROPER = ("crps", "energy_score", "variogram_score")
_RANKS = 2 + len(_PROPER)  # where they begin among the means of a start, behind squared error, variance, proper scores
_IN_UNITS = (*_PROPER, "rmse", "ensemble_spread")  # of the variable; the variogram score squares its roots
_RESAMPLES = 1000
_ALIKE = 0.25  # correlation of consecutive observations, from which on their starts are not independent
_GROUP = 5  # autocorrelation times in a group of starts that is independent of the next
_HEADLINE = (0.25, 0.5, 1.0)  # of the longest lead
_NAMES = {
    "rank": "number of members below the truth",
    "rank_histogram": "relative frequency of the rank of the truth among the members",
    **{name: score.label for name, score in FORECASTS.items()},
}


def mean_difference(x: F64) -> F64:
    """Gini mean difference: the mean of abs(x_i - x_j) over all pairs i != j, from the sorted values.

    Parameters
    ----------
    x : (..., n), n >= 2.

    Returns
    -------
    (...), in units of ``x``.
    """
    n = x.shape[-1]
    return np.sort(x, axis=-1) @ ((2 * np.arange(n) - n + 1) * (2 / (n * (n - 1))))


def fair_crps(x: F64, y: F64) -> F64:
    """Fair continuous ranked probability score of an ensemble, mean abs(x_i - y) - mean abs(x_i - x_j) / 2.

    With the mean over pairs i != j its expectation does not depend on the size of the ensemble: it is that of the
    distribution the members are drawn from (Ferro 2014, Quarterly Journal of the Royal Meteorological Society 140,
    1917-1923). A single ensemble may score below zero.

    Parameters
    ----------
    x : members (..., member), two or more.
    y : the truth (...).

    Returns
    -------
    (...), in units of ``x``.
    """
    departure = x - y[..., np.newaxis]
    return np.abs(departure).mean(axis=-1) - mean_difference(departure) / 2


def rank_shares(x: F64, y: F64) -> F64:
    """Rank of the truth among the members, as shares of the ranks 0 to N.

    The rank is the number of members below the truth; a truth equal to some members has a share in every rank that
    an infinitely small disturbance could give it (Hamill 2001, Monthly Weather Review 129, 550-560).

    Parameters
    ----------
    x : members (..., member).
    y : the truth (...).

    Returns
    -------
    (..., rank), each row summing to one.
    """
    lowest, highest = ((x < y[..., np.newaxis]).sum(axis=-1), (x <= y[..., np.newaxis]).sum(axis=-1))
    rank = np.arange(x.shape[-1] + 1)
    possible = (lowest[..., np.newaxis] <= rank) & (rank <= highest[..., np.newaxis])
    return possible / possible.sum(axis=-1, keepdims=True)


def verify(
    forecast: xr.Dataset,
    reference: xr.Dataset,
    *,
    dim: str | Sequence[str] | None = None,
    periodic: bool | Sequence[bool] | None = None,
    rng: np.random.Generator | int = 0,
) -> xr.Dataset:
    """Score ensemble forecasts by lead time.

    Parameters
    ----------
    forecast : ``z`` (start, member, lead, k) and ``observation`` (start, lead, k), or several predictors, from
        :func:`l96closure.forecast`. Sites where a coordinate ``mask`` of truth values is false count nowhere, as in
        :func:`l96closure.diagnose`.
    reference : ``z`` (time, k), or the predictors, whose climate is the forecast of no skill.
    dim : dimension of the grid, or several; None is what the forecasts say, ``k`` of z.
    periodic : whether the grid is periodic, one answer or one for each of ``dim``; None is what the forecasts say, and
        true of z. Along other dimensions every place has a climate of its own.
    rng : generator or seed of the resampling behind the intervals.

    Returns
    -------
    Dataset with means over starts and sites, in the units of the predictor; of several predictors with the dimension
    ``predictor``, each scored as it would be alone, but for the groups of starts, which are those of all:

    - ``rmse`` (lead), root mean square error of the ensemble mean, and ``ensemble_spread`` (lead), root of the mean
      unbiased variance of the ensemble;
    - ``spread_skill`` (lead), sqrt((N + 1) / N) ensemble_spread / rmse for N members, which is 1 where truth and
      members come from one distribution (Fortin et al. 2014, Journal of Hydrometeorology 15, 1708-1713); NaN where
      the error is zero, as at lead 0;
    - ``crps`` (lead), :func:`fair_crps`; ``energy_score`` and ``variogram_score`` (lead) of the whole fields,
      :func:`field_scores.fair_energy_score` and :func:`field_scores.fair_variogram_score`;
    - ``rank_histogram`` (lead, rank), relative frequencies by :func:`rank_shares`; 1 / (N + 1) for a reliable ensemble;
    - the bounds ``_low`` and ``_high`` of a 95 % interval for each of them: bootstrap-t over a thousand draws of the
      starts with replacement (Efron & Tibshirani 1993, An Introduction to the Bootstrap, Chapter 12), of the logarithm
      where a score is positive; for the rank histogram :func:`intervals.proportion_bounds`. Only the starts are drawn;
      the members and sites of one share their weather. Where consecutive starts are alike, groups of them are drawn.
      NaN with fewer than twenty starts or groups (attributes ``forecast_independent_starts`` and
      ``forecast_interval_method``);
    - ``crps_climatology``, ``energy_score_climatology``, ``variogram_score_climatology`` and ``rmse_climatology``, what
      the distribution of z in the reference would score, that of all sites or, on levels, that of each of them.

    Raises
    ------
    ValueError
        A variable or dimension is missing, there are fewer than two starts or members, or a value is not finite.

    Examples
    --------
    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> truth = model.simulate(samples=2000, rng=1)
    >>> early, late = truth.isel(time=slice(1000)), truth.isel(time=slice(1000, None))
    >>> ensemble = lc.forecast(model, lc.closures.PolynomialAR1.fit(early), late, starts=5, members=4, leads=[0, 0.1])
    >>> scores = lc.verify(ensemble, late)
    >>> bool(scores["crps"][-1] < scores["crps_climatology"])
    True
    """
    fields = told_by(checks.xarray_dataset("forecast", forecast), dim, periodic)
    reference = fields.in_order(checks.xarray_dataset("reference", reference), "reference")
    ensembles = [_Ensemble.of(name, forecast, reference, fields) for name in fields.predictors]
    size = max(_group_size(ensemble.observation) for ensemble in ensembles)
    scores = {one.name: one.scores(size, np.random.default_rng(rng)) for one in ensembles}
    return joined("predictor", scores, len(fields.names) > 2)


class _Ensemble(NamedTuple):
    """Forecasts of one variable.

    Attributes
    ----------
    name, units : of the variable.
    leads : lead times.
    members : (start, lead, site, member).
    observation : the truth (start, lead, site).
    climate : of the reference (time, site).
    groups : label of each site, the same for those of one climate.
    """

    name: str
    units: str
    leads: xr.DataArray
    members: F64
    observation: F64
    climate: F64
    groups: Index

    @classmethod
    def of(cls, name: str, forecast: xr.Dataset, reference: xr.Dataset, fields: Fields) -> _Ensemble:
        """Take a variable out of forecasts, and its climate out of a reference; ``ValueError`` where it cannot be."""
        x = fields.values("forecast", forecast, name, ("start", "lead", "member"))
        x = np.ascontiguousarray(x.swapaxes(-2, -1))
        for dim, size in (("start", x.shape[0]), ("member", x.shape[3])):
            checks.integer(f"forecast.sizes['{dim}']", size, 2)
        y = fields.values("forecast", forecast, observation_of(name), ("start", "lead"))
        climate = fields.values("reference", reference, name, ("time",))
        units = str(forecast[name].attrs.get("units", "1"))
        if reference[name].attrs.get("units", units) != units and "units" in forecast[name].attrs:
            checks.reject(f"reference[{name!r}].units", reference[name].attrs["units"], f"{units!r}, of the forecasts")
        leads = forecast["lead"]
        groups = replace(fields, shape=tuple(reference.sizes[dim] for dim in fields.dim)).groups
        return cls(name, units, leads, x, y, climate, groups)

    def _of_climate(self, statistic: Callable[[F64], float]) -> float:
        """Return the mean over sites of a statistic of the values at those of one climate."""
        sizes = np.bincount(self.groups)
        values = np.array([statistic(self.climate[:, self.groups == group].ravel()) for group in range(sizes.size)])
        return float(values @ (sizes / sizes.sum()))

    def scores(self, size: int, rng: np.random.Generator) -> xr.Dataset:
        """Return the scores, with intervals from groups of ``size`` starts."""
        by_start = np.stack([_mean_scores(*start) for start in zip(self.members, self.observation, strict=True)])
        (starts, _, sites, members), units = self.members.shape, _grouped(by_start, size)
        energy, variogram = field_scores.climatology(self.climate)
        scores = xr.Dataset(
            {
                "crps_climatology": self._of_climate(lambda values: float(mean_difference(values)) / 2),
                "energy_score_climatology": energy,
                "variogram_score_climatology": variogram,
                "rmse_climatology": np.sqrt(self._of_climate(np.var)),
            },
            coords={"lead": self.leads.variable, "rank": np.arange(members + 1)},
            attrs={
                "forecast_starts": starts,
                "forecast_members": members,
                "forecast_independent_starts": len(units),
                "forecast_interval_method": _method(starts, len(units)),
            },
        )
        estimates = _summarise(by_start.mean(axis=0), members)
        bounds = _bounds(units, estimates, members, rng, sites * starts)
        told = {"interval_method": scores.attrs["forecast_interval_method"]}
        for name, estimate in estimates.items():
            dims = ("lead", "rank")[: estimate.ndim]
            scores[name] = dims, estimate
            for part, values in zip(("_low", "_high"), bounds[name], strict=True):
                scores[name + part] = dims, values, told
        for name in _IN_UNITS:
            for part in (*BOUNDED, "_climatology"):
                if name + part in scores:
                    scores[name + part].attrs["units"] = self.units
        return labelled(scores, _NAMES)


def headline_leads(scores: xr.Dataset) -> list[float]:
    """Return the leads to be shown as numbers: those nearest to a quarter, a half and all of the longest.

    Parameters
    ----------
    scores : has the coordinate ``lead``.

    Returns
    -------
    Lead times, ascending, without repetition.
    """
    longest = float(scores["lead"].max())
    return sorted({float(scores["lead"].sel(lead=part * longest, method="nearest")) for part in _HEADLINE})


def _mean_scores(x: F64, y: F64) -> F64:
    """Scores of one start, x (lead, k, member) and y (lead, k); means over the sites, or of the whole field.

    Squared error of the ensemble mean, variance, the proper scores, and the shares of the ranks: (lead, 5 + rank).
    """
    departure = x - y[..., np.newaxis]  # zero at lead 0, while the mean of equal numbers is off by round-off
    by_site = (departure.mean(axis=-1) ** 2, departure.var(axis=-1, ddof=1), fair_crps(x, y))
    of_field = (field_scores.fair_energy_score(x, y), field_scores.fair_variogram_score(x, y))
    scores = np.stack([*(each.mean(axis=1) for each in by_site), *of_field], axis=-1)
    return np.concatenate([scores, rank_shares(x, y).mean(axis=1)], axis=-1)


def _summarise(means: F64, members: int) -> dict[str, F64]:
    """Scores from the means over starts (lead, 5 + rank) of what :func:`verify` has of each."""
    error, variance, *proper = (means[:, i] for i in range(_RANKS))
    ratio = np.divide(variance, error, out=np.full_like(error, np.nan), where=error > 0)
    return {
        "rmse": np.sqrt(error),
        "ensemble_spread": np.sqrt(variance),
        "spread_skill": np.sqrt((members + 1) / members * ratio),
        **dict(zip(_PROPER, proper, strict=True)),
        "rank_histogram": means[:, _RANKS:],
    }


def _group_size(observed: F64) -> int:
    """Return how many consecutive starts make a group that is independent of the next; mostly one.

    Forecasts from starts that follow each other closely are of nearly the same weather. That shows in the correlation
    of consecutive observations, averaged over sites and leads. Scores go with their squares, so that up to a
    quarter does no harm; else a group has five of the autocorrelation times of an AR(1) of this correlation.

    Parameters
    ----------
    observed : the truth (start, lead, k).
    """
    starts = len(observed)
    anomaly = observed - observed.mean(axis=0)
    products, squares = (anomaly[1:] * anomaly[:-1]).sum(), (anomaly**2).sum()
    correlation = float(products / squares) + 1 / starts if squares > 0 else 1.0  # the mean takes 1 / starts
    if correlation <= _ALIKE:
        return 1
    return min(starts, int(np.ceil(_GROUP * (1 + correlation) / max(1 - correlation, 1 / starts))))


def _grouped(by_start: F64, size: int) -> F64:
    """Return the means (group, lead, score) of groups of consecutive starts (start, lead, score)."""
    groups = len(by_start) // size
    return np.asarray(by_start[: groups * size].reshape(groups, size, *by_start.shape[1:]).mean(axis=1))


def _method(starts: int, units: int) -> str:
    """Say how the intervals are made, or why there are none."""
    what = "starts" if units == starts else "groups of starts"
    if units >= intervals.MIN_VALUES:
        return f"bootstrap-t over {units} {what}, 95 %; of the rank histogram Korn & Graubard (1998)"
    alike = "" if units == starts else f", since consecutive ones of the {starts} starts are alike"
    return f"none: fewer than {intervals.MIN_VALUES} independent {what} ({units}){alike}"


def _bounds(
    units: F64, estimates: dict[str, F64], members: int, rng: np.random.Generator, most: int
) -> dict[str, tuple[F64, F64]]:
    """Bounds of the 95 % intervals of all scores, from means of independent groups of starts (group, lead, 5 + rank).

    Bootstrap-t: the departure of a resampled score from that of the sample, in standard errors of the resample, is
    distributed as that of the sample from the truth. Every standard error follows from the second moments.
    """
    if len(units) < intervals.MIN_VALUES:
        return {name: (np.full_like(x, np.nan), np.full_like(x, np.nan)) for name, x in estimates.items()}
    n = len(units)
    scores = units[..., :_RANKS]
    products = np.concatenate([scores, scores**2, scores[..., :1] * scores[..., 1:2]], axis=-1)
    # A resample is a set of weights, and all means are one product.
    weights = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n
    centre, spread = _studentised(products.mean(axis=0))
    resampled, its_spread = _studentised(np.tensordot(weights, products, axes=1))
    t = np.divide(resampled - centre[:, np.newaxis], its_spread, out=np.zeros_like(resampled), where=its_spread > 0)
    tail = (1 - intervals.PROBABILITY) / 2
    high, low = centre - np.quantile(t, [tail, 1 - tail], axis=1) * spread
    bounds = {}
    for i, name in enumerate(_PROPER, start=3):
        unknown = np.isnan(estimates[name])
        bounds[name] = np.where(unknown, np.nan, low[i]), np.where(unknown, np.nan, high[i])
    of_few = np.sqrt((members + 1) / members)  # makes the ratio one for a reliable ensemble of any size
    for i, (name, factor) in enumerate((("rmse", 1.0), ("ensemble_spread", 1.0), ("spread_skill", of_few))):
        zero = np.where(np.isnan(estimates[name]), np.nan, 0.0)  # where it is zero, or undefined, for every start
        bounds[name] = tuple(np.where(estimates[name] > 0, factor * np.exp(x[i]), zero) for x in (low, high))  # type: ignore[assignment]
    ranks = estimates["rank_histogram"]
    bounds["rank_histogram"] = intervals.proportion_bounds(
        ranks, intervals.standard_error(units[..., _RANKS:]), most, n
    )
    return bounds


def _studentised(moments: F64) -> tuple[F64, F64]:
    """Scores on the scale on which they are studentised, with what their standard errors are proportional to.

    Parameters
    ----------
    moments : means (..., lead, 11) of error, variance and proper scores, of their squares, and of error times variance.

    Returns
    -------
    Two arrays (6, ..., lead): logarithms of rmse, spread and of their ratio, and the proper scores. The second is the
    standard deviation of what a start contributes; the root of their number is common to all resamples.
    """
    (error, variance, *proper), (error2, variance2, *proper2) = (
        np.moveaxis(moments[..., at], -1, 0) for at in (slice(_RANKS), slice(_RANKS, 2 * _RANKS))
    )
    both = moments[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_error, log_variance = np.log(error) / 2, np.log(variance) / 2
        of_error, of_variance, of_both = error2 / error**2 - 1, variance2 / variance**2 - 1, both / error / variance - 1
        squares = [of_error / 4, of_variance / 4, (of_error + of_variance - 2 * of_both) / 4]
        squares += [square - mean**2 for mean, square in zip(proper, proper2, strict=True)]
        scores = np.stack([log_error, log_variance, log_variance - log_error, *proper])
    unknown = ~np.isfinite(scores)
    return np.where(unknown, 0.0, scores), np.sqrt(np.maximum(0.0, np.where(unknown, 0.0, np.stack(squares))))
