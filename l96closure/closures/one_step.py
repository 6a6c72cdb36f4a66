"""Whether a closure sees psi of the steps before: how well psi is foreseen from one step to the next.

What remembers can be the noise, an autoregression that knows nothing of the predictors, or psi itself, drawn given what
it was a step before. The first has a longer memory. It is wrong where noise drives the predictors and these feed back:
the regression of psi on them then finds the noise of the past in them, as every regression in a closed loop does whose
errors remember (L. Ljung, *System Identification*, 2nd ed., 1999, Section 13.4), and the coarse model is driven by it
twice.

The second does not ask what drives what. Let psi_n be drawn from the truth's law given psi_{n-1} and z_n, and let
z_{n+1} follow from z_n and psi_n. If psi_{n-1} and z_n have the joint law that they have in the truth, so have psi_n
and z_n, and hence psi_n and z_{n+1}: the truth's stationary law is one of the coarse model, however long psi remembers.
It takes the law to be learned well, and errors of its mean are multiplied by 1 / (1 - a) if psi keeps the part a of
what it was. Where psi is smooth in time that is much, and there the noise remembers.

So psi of the step before is seen, or of two steps, where there is a memory, past noise explains some of what the
predictors are, so that there is a loop, and psi is foreseen nearly as well as by the trend and an autoregression of
what that leaves, so that nothing more of its past is needed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from l96closure.arrays import F64
from l96closure.bridge import AccuracyWarning
from l96closure.closures.choice import Candidate
from l96closure.closures.noise_fit import USUAL_ORDER, burg
from l96closure.closures.patterns import coefficients_of
from l96closure.closures.regression import blocks, fit_trend, highest_order
from l96closure.closures.trend import Regressor, Trend
from l96closure.record import Group, Record

_CALLER = 4  # whoever called fit of a closure, counted from a function that it calls

STEPS = 1, 2
"""Steps before now whose psi is tried."""

_VALUES = 40_000  # of a target that are looked at in each group of cells
_FEWEST = 2_000  # times, of larger grids at fewer sites
_GROUPS = 8  # that are looked at, evenly spread
_ORDER = 2  # of products of the trends
_NEARLY = 1.1  # squared error, relative to that of an autoregression, up to which psi of the steps before does
_BETTER = 0.97  # and relative to that with fewer steps, below which more are worth it
_FORGETS = 0.95  # squared error of an autoregression, relative to that of the trend, above which there is no memory
_DRIVEN = 0.15  # part of a predictor's variance that noise of so many steps explains, where there is a loop
_STEPS_OF_NOISE = 64
_SHORTEST, _TIMES = 40, 200  # times of the longest segment, and of all together, that tell one from the other


class Way(NamedTuple):
    """A way of foreseeing psi.

    Attributes
    ----------
    record : training data, with targets of the step before among the predictors or without.
    options : of the trend.
    candidate : what a site sees.
    """

    record: Record
    options: Trend | Regressor
    candidate: Candidate

    def with_error(self, error: float) -> Way:
        """Note the mean square error one step ahead."""
        return self._replace(candidate=self.candidate._replace(next=math.sqrt(error)))


class Compared(NamedTuple):
    """Result of :func:`compared`.

    Attributes
    ----------
    ways : all that were compared, with their errors one step ahead.
    taken : number of the one to take.
    driven : part of a predictor's variance that past noise explains where it drives one way all the same, else 0.
    """

    ways: list[Way]
    taken: int = 0
    driven: float = 0.0


def compared(remembering: Way, others: Iterable[Way]) -> Compared:
    """Compare noise that remembers with psi of the steps before.

    Parameters
    ----------
    remembering : without psi of the steps before.
    others : with psi of ever more of them; they are asked for where there is a loop.

    Returns
    -------
    Compared
    """
    times = [max(len(one) - remembering.candidate.features.longest, 0) for one in remembering.record.series]
    if max(times) < _SHORTEST or sum(times) < _TIMES:
        return Compared([remembering])
    with threadpool_limits(1, "blas"):  # lest the sums depend on the number of threads
        trend, ahead, driven = _errors(remembering, USUAL_ORDER)
        found = [remembering.with_error(ahead)]
        if not (driven > _DRIVEN and ahead < _FORGETS * trend):
            return Compared(found)
        best, number = _NEARLY * ahead, 0
        for other in others:
            error = _errors(other, 0)[1]
            found.append(other.with_error(error))
            if error < best:
                best, number = _BETTER * error, len(found) - 1
    return Compared(found, number, 0.0 if number else driven)


def warn_of_loop(driven: float) -> None:
    """Warn where noise remembers although it drives the predictors: by how much of their variance, 0 where it does not.

    Parameters
    ----------
    driven : of :class:`Compared`.
    """
    if driven:
        warnings.warn(
            f"past noise explains {driven:.0%} of the variance of a predictor, and psi is not foreseen by what it was "
            f"up to {STEPS[-1]} steps before: noise that remembers may drive a coarse model twice, which then varies "
            "too much. Compare coarse runs with those of larger Fields(previous=)",
            AccuracyWarning,
            stacklevel=_CALLER,
        )


def _errors(way: Way, order: int) -> tuple[float, float, float]:
    """Return :func:`_of_group`, with mean square errors, on average over all cells."""
    groups = way.record.groups
    some = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, min(_GROUPS, len(groups))).astype(int))]
    found = np.array([_of_group(way, group, order) for group in some])
    trend, ahead, driven = np.average(found, axis=0, weights=[group.cells.size for group in some]).tolist()
    return math.exp(trend), math.exp(ahead), driven


def _of_group(way: Way, group: Group, order: int) -> tuple[float, float, float]:
    """Return how well psi is foreseen at a group of cells.

    Returns
    -------
    Logarithms of the mean square errors of the trend and one step ahead, in variances of psi, and the part of a
    predictor's variance that past noise explains.
    """
    record, features = way.record, way.candidate.features
    longest = max(map(len, record.series))
    sites = min(group.sites.size, max(1, _VALUES // min(_FEWEST, longest)))
    kept = np.unique(np.linspace(0, group.sites.size - 1, sites).astype(int))
    part = record.of(Group(group.target, group.sites[kept], group.cells[kept]))
    series, target = _beginnings(part, _VALUES // sites)
    seen = features.of_sites(part.sites)
    few = way.options
    if isinstance(few, Trend):
        few = replace(few, order=highest_order(seen.size, _ORDER), hidden=0)
    fitted, first = fit_trend(series, target, seen, few, _VALUES), features.longest
    pairs = [
        (of[times] - trend.of_series(one, times), one[times][:, :, part.sites])
        for trend, parts in zip(fitted.without, blocks(series, first), strict=True)
        for one, of, times in zip(series, target, parts, strict=True)
        if times.size
    ]
    left = [residual for residual, _ in pairs]
    error = sum(float((one**2).sum()) for one in left) / sum(one.size for one in left)
    unexplained, driven = _noise(pairs, order) if order else (1.0, 0.0)
    tiny = np.finfo(np.float64).tiny
    trend = error / max(float(np.concatenate(target).var()), tiny)
    return math.log(max(trend, tiny)), math.log(max(trend * unexplained, tiny)), driven


def _beginnings(record: Record, times: int) -> tuple[list[F64], list[F64]]:
    """Return segments of a record, the longest first, and their targets, so many times of all together."""
    series: list[F64] = []
    target: list[F64] = []
    for number in np.argsort([-len(one) for one in record.series], kind="stable"):
        some = slice(times - sum(map(len, target)))
        if not some.stop > 0:
            break
        series.append(record.series[number][some])
        target.append(record.target[number][some])
    return series, target


def _noise(pairs: list[tuple[F64, F64]], order: int) -> tuple[float, float]:
    """Return what an autoregression leaves of residuals' variance, and the part of predictors' that its noise explains.

    Parameters
    ----------
    pairs : residuals (time, S) and predictors (time, P, S) of blocks of time.
    order : of the autoregression.
    """
    pairs = [(one - one.mean(), z) for one, z in pairs if len(one) > order]
    if not pairs:
        return 1.0, 0.0
    coefficients, innovation = coefficients_of(burg([one for one, _ in pairs], order, True))
    weights = np.append(-coefficients[-1][0].real[::-1], 1.0)
    steps = min(_STEPS_OF_NOISE, max(len(one) for one, _ in pairs) // 4)
    rows = []
    for one, z in pairs:
        if len(one) > order + steps:
            noise = sliding_window_view(one, order + 1, axis=0) @ weights
            rows.append((sliding_window_view(noise[:-1], steps, axis=0), z[order + steps :]))
    return float(innovation[0, -1]), _explained(rows)


def _explained(rows: list[tuple[F64, F64]]) -> float:
    """Return the largest part of a predictor's variance that past noise explains, on data that it is not fitted to.

    Parameters
    ----------
    rows : past noise (time, S, steps) and predictors (time, P, S) of blocks of time.
    """
    if len(rows) < 2:
        return 0.0
    mean = np.concatenate([z for _, z in rows]).mean(axis=0)
    (x, z), (x_other, z_other) = (
        (np.concatenate([x.reshape(-1, x.shape[2]) for x, _ in some]), np.concatenate([z - mean for _, z in some]))
        for some in (rows[::2], rows[1::2])
    )
    best = 0.0
    for p in range(mean.shape[0]):
        response, observed = np.linalg.lstsq(x, z[:, p].ravel(), rcond=None)[0], z_other[:, p].ravel()
        variance = float((observed**2).mean())
        if variance > 0.0:
            best = max(best, 1.0 - float(((observed - x_other @ response) ** 2).mean()) / variance)
    return best
