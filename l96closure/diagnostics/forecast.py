"""Scores of ensemble forecasts by lead time: error, spread, continuous ranked probability score, rank histogram.

They are written out here: a few lines each, kept by start for the intervals. The package ``scores`` has two of them,
without intervals, and brings Bottleneck, whose presence changes how xarray sums; it is the oracle of the tests instead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks

__all__ = ["fair_crps", "headline_leads", "mean_difference", "rank_shares", "verify"]

FloatArray = npt.NDArray[np.float64]

_RESAMPLES = 1000
_HEADLINE = (0.25, 0.5, 1.0)  # of the longest lead


def mean_difference(x: FloatArray) -> FloatArray:
    """Gini's mean difference: the mean of abs(x_i - x_j) over all pairs i != j, from the sorted values.

    Parameters
    ----------
    x : (..., n), n >= 2.

    Returns
    -------
    (...), in units of ``x``.
    """
    n = x.shape[-1]
    result: FloatArray = np.sort(x, axis=-1) @ ((2 * np.arange(n) - n + 1) * (2 / (n * (n - 1))))
    return result


def fair_crps(x: FloatArray, y: FloatArray) -> FloatArray:
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
    result: FloatArray = np.abs(departure).mean(axis=-1) - mean_difference(departure) / 2
    return result


def rank_shares(x: FloatArray, y: FloatArray) -> FloatArray:
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
    shares: FloatArray = possible / possible.sum(axis=-1, keepdims=True)
    return shares


def verify(forecast: xr.Dataset, reference: xr.Dataset, *, rng: np.random.Generator | int = 0) -> xr.Dataset:
    """Score ensemble forecasts by lead time.

    Parameters
    ----------
    forecast : ``z`` (start, member, lead, k) and ``observation`` (start, lead, k), from :func:`l96closure.forecast`.
    reference : ``z`` (time, k), whose climate is the forecast of no skill.
    rng : generator or seed of the resampling behind the intervals.

    Returns
    -------
    Dataset (all quantities dimensionless), with means over starts and sites:

    - ``rmse`` (lead), root mean square error of the ensemble mean, and ``ensemble_spread`` (lead), root of the mean
      unbiased variance of the ensemble;
    - ``spread_skill`` (lead), sqrt((N + 1) / N) ensemble_spread / rmse for N members, which is 1 where truth and
      members come from one distribution (Fortin et al. 2014, Journal of Hydrometeorology 15, 1708-1713); NaN where
      the error is zero, as at lead 0;
    - ``crps`` (lead), :func:`fair_crps`;
    - ``rank_histogram`` (lead, rank), relative frequencies by :func:`rank_shares`; 1 / (N + 1) for a reliable ensemble;
    - the bounds ``_low`` and ``_high`` of a 95 % interval for each of them: percentiles over a thousand draws of the
      starts with replacement (Efron & Tibshirani 1993, An Introduction to the Bootstrap, Chapter 13). Only the starts
      are drawn; the members and sites of one share their weather;
    - ``crps_climatology`` and ``rmse_climatology``, what the distribution of z in the reference would score.

    Raises
    ------
    ValueError
        A variable or dimension is missing, there are fewer than two starts or members, or a value is not finite.
    """
    x = checks.variable("forecast", forecast, "z", ("start", "lead", "k", "member"))
    y = checks.variable("forecast", forecast, "observation", ("start", "lead", "k"))
    climate = checks.variable("reference", reference, "z", ("time", "k"))
    for dim, size in (("start", x.shape[0]), ("member", x.shape[3])):
        checks.integer(f"forecast.sizes['{dim}']", size, 2)
    by_start = np.stack([_mean_scores(*start) for start in zip(x, y, strict=True)])
    # Every score is a function of means over starts, so a resample is a set of weights, and all means are one product.
    starts = len(by_start)
    weights = np.random.default_rng(rng).multinomial(starts, np.full(starts, 1 / starts), size=_RESAMPLES) / starts
    estimates = _summarise(by_start.mean(axis=0), x.shape[3])
    resampled = _summarise(np.tensordot(weights, by_start, axes=1), x.shape[3])
    scores = xr.Dataset(
        {"crps_climatology": mean_difference(climate.ravel()) / 2, "rmse_climatology": climate.std()},
        coords={"lead": forecast["lead"].to_numpy(), "rank": np.arange(x.shape[3] + 1)},
        attrs={"forecast_starts": starts, "forecast_members": x.shape[3]},
    )
    for name, estimate in estimates.items():
        low, high = np.quantile(resampled[name], [0.025, 0.975], axis=0)
        for part, values in (("", estimate), ("_low", low), ("_high", high)):
            scores[name + part] = ("lead", "rank")[: values.ndim], values
    return scores


def headline_leads(scores: xr.Dataset) -> list[float]:
    """Return the leads to be shown as numbers: those nearest to a quarter, a half and all of the longest.

    Parameters
    ----------
    scores : has the coordinate ``lead``.
    """
    longest = float(scores["lead"].max())
    return sorted({float(scores["lead"].sel(lead=part * longest, method="nearest")) for part in _HEADLINE})


def _mean_scores(x: FloatArray, y: FloatArray) -> FloatArray:
    """Means over the sites of one start, x (lead, k, member) and y (lead, k).

    Squared error of the ensemble mean, variance, score, and the shares of the ranks: (lead, 3 + rank).
    """
    departure = x - y[..., np.newaxis]  # zero at lead 0, while the mean of equal numbers is off by round-off
    scores = (departure.mean(axis=-1) ** 2, departure.var(axis=-1, ddof=1), fair_crps(x, y))
    means: FloatArray = np.concatenate([np.stack(scores, axis=-1), rank_shares(x, y)], axis=-1).mean(axis=1)
    return means


def _summarise(means: FloatArray, members: int) -> dict[str, FloatArray]:
    """Scores from the means over starts (..., lead, 3 + rank) of what :func:`verify` has of each."""
    error, variance, crps = (means[..., i] for i in range(3))
    ratio = np.divide(variance, error, out=np.full_like(error, np.nan), where=error > 0)
    return {
        "rmse": np.sqrt(error),
        "ensemble_spread": np.sqrt(variance),
        "spread_skill": np.sqrt((members + 1) / members * ratio),
        "crps": crps,
        "rank_histogram": means[..., 3:],
    }
