"""What a closure is left to choose by itself, on held-out blocks of time: features, and what its law is given."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy
import xarray as xr

from l96closure import bridge, checks
from l96closure.arrays import F64, Index
from l96closure.closures.composed import TREND
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import Residual
from l96closure.closures.laws import Quantiles
from l96closure.closures.regression import fit_trend, highest_order
from l96closure.closures.trend import Regressor, Trend
from l96closure.fields import Fields
from l96closure.record import Record
from l96closure.series import autocorrelation

_Options = TypeVar("_Options", bound=Trend | Regressor | None)


_STRETCHES = 10  # of time, every other of which judges a law fitted to the rest
_TRIALS = 20_000  # samples of such a law
_ROWS, _FEWEST_ROWS, _ORDER = 30_000, 2000, 2  # of the regressions that compare features
_BETTER = 0.985  # part of the held-out std that more features must come below
_SHORTEST = 2  # steps
_DEGREES, _CURVED = (1, 2, 4, 8), 0.9975  # and part of the held-out std that a higher one must come below
_FAR = 2  # times the degree that held-out data ask for
_CALLER = 4  # whoever called fit of a closure, counted from a function that it calls
_SHARPER = 0.99, 0.997  # part of the best quantile score that another coordinate, or a second one, must come below
_MOST_BINS, _PER_BIN = 12, 1000  # of a second coordinate, and samples in each
_MOST_LEVELS = 64  # of a second coordinate
_MOST_TABLES, _NODES, _PROBABILITIES = 120, 65, 65  # bins of all pools of sites together, and the size of each
_TAIL, _BEYOND = 1e-3, 0.5  # share of a predictor on either side, and how far beyond the rest it may lie, in ranges
_FEWEST = 100  # values that tell an outlier
_ALONE = np.zeros(1, np.intp)  # labels of one site
_LEVELS = (np.arange(20) + 0.5) / 20


class Candidate(NamedTuple):
    """What a closure may see.

    Attributes
    ----------
    features : of a site.
    radius, lags : neighbours on either side, and steps before now.
    left : held-out std of what the trend leaves, relative to that of the target.
    previous : at how many steps before now targets are seen.
    next : held-out error one step ahead, relative to the std of the target; NaN where it was not asked for.
    """

    features: Features
    radius: int
    lags: tuple[int, ...]
    left: float
    previous: int = 0
    next: float = math.nan


def candidates(
    record: Record, asked: Fields, options: Trend | Regressor | None, compared: bool = False
) -> list[Candidate]:
    """Return the features that ``asked`` leaves to choose among, the simplest first.

    These are radii of 0 and 1, on levels that do not pool also the whole column, and lags of none or of once, twice and
    four times the time in which the residual of a one-site trend forgets (its autocorrelation falls to 1/e). Wider
    stencils of rings and shorter lags are not tried: with both, the past of the predictors holds their time derivative,
    hence psi itself, and a coarse model that is told its own psi runs away.

    Parameters
    ----------
    record : training data.
    asked : what is asked for, or left open.
    options : of the trend; without one there is nothing to compare by.
    compared : the error is wanted even of one candidate.
    """
    fields = record.fields
    radii = _radii(fields) if asked.radius is None and options is not None else (asked.radius or 0,)
    if asked.lags is not None:
        lags = [record.in_steps(asked.lags)]
    else:
        lags = [[]] if options is None else _candidate_lags(record, options)
    found = []
    for before in lags:
        for radius in radii:
            seen, left = of(record, radius, before), np.nan
            if options is not None and (compared or len(lags) * len(radii) > 1):
                left = _left(record, seen, options)
            found.append(Candidate(seen, radius, tuple(before), left, fields.before))
    return found


def _radii(fields: Fields) -> tuple[int, ...]:
    """Return the radii to choose among."""
    if fields.ring and fields.sites >= 3:
        return 0, 1
    if fields.neighbourhoods is None and len(fields.dim) == 1 and int(fields.groups.max()) == fields.sites - 1 > 0:
        return (0, 1, fields.sites - 1) if fields.sites > 2 else (0, 1)
    return (0,)


def _left(record: Record, seen: Features, options: Trend | Regressor, order: int = _ORDER) -> float:
    """Return the held-out std of what a trend leaves, relative to that of the target, over all cells."""
    groups, total, cells = record.groups, 0.0, 0
    for group in groups:
        part, own = record if len(groups) == 1 else record.of(group), seen.of_sites(group.sites)
        few = options
        if isinstance(options, Trend):
            few = replace(options, order=highest_order(own.size, order), hidden=0)
        left = fit_trend(record.series, part.target, own, few, max(_ROWS // len(groups), _FEWEST_ROWS)).held_out
        total += group.cells.size * left / float(np.concatenate(part.target).var())
        cells += group.cells.size
    return math.sqrt(total / cells)


def with_degree(record: Record, options: _Options) -> _Options:
    """Return the options of a trend with a degree, if they leave it open where psi of steps before is seen."""
    if not isinstance(options, Trend) or options.degree is not None or not record.fields.before:
        return options
    return replace(options, degree=_best_degree(record, options))


def warn_of_degree(record: Record, options: Trend | Regressor | None) -> None:
    """Warn where the options of a trend ask for a degree far above what held-out data do, and psi is fed back."""
    if not isinstance(options, Trend) or options.degree is None or not record.fields.before:
        return
    if options.degree > _FAR * (best := _best_degree(record, options)):
        warnings.warn(
            f"trend.degree = {options.degree} where held-out data ask for {best}: what a polynomial gets wrong where "
            "data are few is fed back by psi of the step before, and a coarse run may vary far too much. Leave the "
            "degree open",
            bridge.AccuracyWarning,
            stacklevel=_CALLER,
        )


def _best_degree(record: Record, options: Trend) -> int:
    """Return the lowest degree beyond which little is left to win on held-out data."""
    seen, best = of(record, 0, ()), _DEGREES[0]
    left = {degree: _left(record, seen, replace(options, degree=degree), order=1) for degree in _DEGREES}
    for degree, error in left.items():
        if error < _CURVED * left[best]:
            best = degree
    return best


def simplest(found: Sequence[Candidate]) -> int:
    """Return the number of the simplest candidate beyond which little is left to win on held-out data."""
    best = 0
    for number, one in enumerate(found):
        if one.left < _BETTER * found[best].left:
            best = number
    return best


def chosen(
    record: Record, asked: Fields, options: Trend | Regressor | None
) -> tuple[Record, Features, xr.Dataset | None]:
    """Choose features among :func:`candidates`; return the record that says which, they, and the :func:`report`."""
    found = candidates(record, asked, options)
    number = simplest(found)
    table = report(record, found, number) if len(found) > 1 else None
    return settled(record, found[number]), found[number].features, table


def settled(record: Record, one: Candidate) -> Record:
    """Return a record whose fields say what was chosen."""
    lags = tuple(lag * record.unit for lag in one.lags)
    return replace(record, fields=replace(record.fields, radius=one.radius, lags=lags))


def report(record: Record, found: Sequence[Candidate], best: int, scores: Sequence[float] = ()) -> xr.Dataset:
    """Return what was chosen among which candidates, and why, as a table."""
    lags = [", ".join(f"{lag * record.unit:.4g}" for lag in one.lags) or "none" for one in found]
    named = {
        "radius": ([one.radius for one in found], {"long_name": "neighbours seen on either side", "units": "1"}),
        "lags": (lags, {"long_name": "times before now that are seen"}),
        "features": ([one.features.size for one in found], {"long_name": "features of a site", "units": "1"}),
        "left": (
            [one.left for one in found],
            {"long_name": "std of the held-out residual over that of the target", "units": "1"},
        ),
        "previous": (
            [one.previous for one in found],
            {"long_name": "steps before now at which targets are seen", "units": "1"},
        ),
        "next": (
            [one.next for one in found],
            {"long_name": "held-out error one step ahead over the std of the target", "units": "1"},
        ),
        "score": (list(scores) or [np.nan] * len(found), {"long_name": "score of coupled runs", "units": "1"}),
        "chosen": (np.arange(len(found)) == best, {"long_name": "whether it was chosen", "units": "1"}),
    }
    return xr.Dataset({name: ("candidate", *value) for name, value in named.items()})


def _candidate_lags(record: Record, options: Trend | Regressor) -> list[list[int]]:
    """Return no lags, and those that follow from the memory of the residual, where there is one."""
    local, groups = of(record, 0, ()), record.groups
    number = int(np.argmax([len(one) for one in record.series]))
    longest, parts = record.series[number], []
    for group in groups:
        own, seen = record.of(group) if len(groups) > 1 else record, local.of_sites(group.sites)
        rows = max(_ROWS // len(groups), _FEWEST_ROWS)
        trend = fit_trend(record.series, own.target, seen, options, rows).trend
        target = own.target[number]
        left = target - trend.of_series(longest, np.arange(len(longest)))
        parts.append(left if len(groups) == 1 else (left - left.mean()) / target.std())
    left = np.concatenate(parts, axis=1)
    correlation = autocorrelation(left, max(2, len(left) // 20))
    below = np.flatnonzero(correlation < math.exp(-1.0))
    if not below.size or below[0] < _SHORTEST:
        return [[]]
    lags = [int(below[0]) * times for times in (1, 2, 4)]
    return [[], lags] if 20 * lags[-1] < len(longest) else [[]]


def of(record: Record, radius: int, lags: Sequence[int]) -> Features:
    """Return the features of a radius and lags in steps."""
    ranges = [_range(np.concatenate([one[:, p] for one in record.series]).ravel()) for p in range(record.predictors)]
    lower, upper = np.array(ranges).T.copy()
    upper[upper == lower] += 1.0  # of what never changes, once sites have scales of their own
    return Features(_stencils(record.fields, radius), np.array([0, *lags]), lower, upper)


def _range(values: F64) -> tuple[float, float]:
    """Return the range of a predictor (n,) without outliers, which would leave all others a corner of [-1, 1].

    Outliers lie further beyond the quantiles at 0.1 % and 99.9 % than half the distance of these, which next to no
    sample of a normal distribution does. Few values have none, nor has what is nearly always the same.
    """
    if values.size >= _FEWEST:
        few = int(_TAIL * values.size) + 1  # are left out on either side, one at least
        low, high = np.partition(values, (few, values.size - 1 - few))[[few, -1 - few]]
        if high > low:
            values = values[np.abs(values - 0.5 * (low + high)) <= (0.5 + _BEYOND) * (high - low)]
    return float(values.min()), float(values.max())


def _stencils(fields: Fields, radius: int) -> Index:
    """Return the sites at the places of the stencil of each site (K, W), the site itself first.

    On a grid a place means the same relative neighbour everywhere; beyond an edge, and outside of a mask, there is the
    site itself, so that what is seen does not change across a coast: there is no gradient through it. Sets of
    sites that are given keep their order, the small ones filled up with the site itself.
    """
    sets = fields.around(radius)
    if fields.neighbourhoods is not None:
        places = max(members.size for members in sets)
        filled = [[k, *members[members != k], *[k] * (places - members.size)] for k, members in enumerate(sets)]
        return np.array(filled, np.intp)
    offsets = sorted(product(range(-radius, radius + 1), repeat=len(fields.shape)), key=any)
    site, sizes = fields.kept[:, None], np.array(fields.shape)
    moved = np.stack(np.unravel_index(site, fields.shape), axis=-1) + np.array(offsets)
    moved = np.where(fields.periodic, moved % sizes, moved)
    inside = ((moved >= 0) & (moved < sizes)).all(axis=2)
    found: Index = np.ravel_multi_index(tuple(np.moveaxis(moved.clip(0, sizes - 1), 2, 0)), fields.shape)
    number = np.full(fields.size, -1)
    number[fields.kept] = np.arange(fields.sites)
    found = np.where(inside, number[found], -1)
    return np.where(found >= 0, found, number[site])


def given(record: Record, residual: Residual, names: Sequence[str]) -> list[F64]:
    """Return what a law is given for each segment: one coordinate (time, K), or two (time, 2, K)."""
    own = {name: record.own(record.fields.seen.index(name)) for name in names if name != TREND}
    first = residual.features.longest
    found = []
    for number, mean in enumerate(residual.mean):
        both = [mean if name == TREND else own[name][number][first:] for name in names]
        found.append(np.stack(both, axis=1) if len(both) > 1 else np.ascontiguousarray(both[0]))
    return found


def quantiles(
    x: list[F64], left: list[F64], labels: Index, centres: int, kernel: bridge.Kernel, rng: np.random.Generator | int
) -> bridge.ConditionalQuantiles:
    """Tabulate the quantiles of residuals (time, K) given :func:`given`, both of each segment; ``labels`` of pools."""
    values, along = np.concatenate(left), np.concatenate(x)
    if along.ndim == 2:
        return _tabulated(along, values, labels, centres, kernel, rng, float(along.std()))
    tables: list[bridge.ConditionalQuantiles] = []
    levels, of_pools, number = [], [], _bins(min(int(np.bincount(labels).min()) * len(values), centres))
    for pool in range(int(labels.max()) + 1):
        own = labels == pool
        first, second, of = along[:, 0, own].ravel(), along[:, 1, own].ravel(), values[:, own].ravel()
        bins, medians = _binned(second, number)
        nodes = np.linspace(*_range(first), _NODES)
        if (np.diff(medians) <= 0.0).any() or (np.diff(nodes) <= 0.0).any():
            checks.reject("law.coordinates", "two, one of them of few values", "two that vary, or one alone")
        spread = float(first.std())  # one bandwidth for all bins
        pairs = [(first[one, None], of[one, None]) for one in bins]
        made = [_tabulated(*pair, _ALONE, centres // len(bins), kernel, rng, spread, nodes) for pair in pairs]
        fine = math.ceil(float(np.ptp(medians) / np.diff(medians).min())) + 1  # no cell wider than any between medians
        of_pools.append((made, medians, fine))
    number = min(max(fine for _, _, fine in of_pools), _MOST_LEVELS)
    for made, medians, _ in of_pools:
        levels.append(np.linspace(medians[0], medians[-1], number))
        tables += _between(made, medians, levels[-1])
    return bridge.ConditionalQuantiles.joined(tables, labels, np.array(levels))


def _between(tables: list[bridge.ConditionalQuantiles], at: F64, levels: F64) -> list[bridge.ConditionalQuantiles]:
    """Interpolate between tables of the same nodes, which belong to ascending numbers: one for each level."""
    weights = np.stack([np.interp(levels, at, one) for one in np.eye(at.size)], axis=1)
    table, error = (np.stack([getattr(one, name) for one in tables]) for name in ("table", "error"))
    return [replace(tables[0], table=np.tensordot(w, table, 1), error=w @ error) for w in weights]


def _bins(samples: int) -> int:
    """Return into how many bins of a second coordinate so many samples are sorted."""
    return min(max(samples // _PER_BIN, 2), _MOST_BINS)


def _binned(second: F64, number: int) -> tuple[list[Index], F64]:
    """Sort samples into bins of a second coordinate (n,); return the samples of each, and the medians."""
    bins = np.array_split(np.argsort(second, kind="stable"), number)
    return bins, np.array([np.median(second[one]) for one in bins])


def _tabulated(
    x: F64,
    values: F64,
    labels: Index,
    centres: int,
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
    spread: float,
    nodes: F64 | None = None,
) -> bridge.ConditionalQuantiles:
    """Tabulate the quantiles of values (n, K) given one coordinate (n, K), the bandwidth being in units of a spread."""
    K = labels.size
    fitted = bridge.fit(
        np.concatenate([x, values], axis=1),
        kernel,
        [[k] for k in range(K)] * 2,
        np.repeat([spread, values.std()], K),
        components=range(K, 2 * K),
        shared=labels.tolist(),
        centres=min(max(centres, 2), len(x) * int(np.bincount(labels).min())),
        rng=rng,
    )
    return bridge.tabulate(fitted) if nodes is None else bridge.tabulate(fitted, nodes, _PROBABILITIES)


def coordinates(fields: Fields, trend: Any) -> list[str]:
    """Return the names of all that a law of one coordinate may be given: the trend, if there is one, and predictors."""
    return [*([TREND] if trend is not None else []), *fields.seen]


def chosen_coordinates(
    pairs: Sequence[tuple[Record, Residual]],
    options: Quantiles,
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
) -> tuple[str, ...]:
    """Return the names of what a law of quantiles is given: as told, or what makes its held-out quantile score least.

    Where the trend sees more than the site at one instant, there is a choice: the trend, a predictor, or the trend and
    a predictor together. What is simpler is taken where it is nearly as good. Groups of one target choose together.

    Parameters
    ----------
    pairs : records and residuals of groups, some of which stand for all.
    options : of the law.
    kernel : of the bridge.
    rng : of the samples that make a law.
    """
    if options.coordinates is not None:
        return tuple(options.coordinates)
    some = [pairs[number] for number in sorted({0, len(pairs) // 2, len(pairs) - 1})]
    record, residual = some[0]
    names = coordinates(record.fields, residual.trend)
    if len(names) == 1 or residual.features.size == 1:
        return (record.fields.predictors[0],)
    if sum(map(len, residual.values)) < 2 * _STRETCHES:  # too few times to tell
        return (names[0],)
    tried: list[tuple[str, ...]] = [(name,) for name in names]
    if names[0] == TREND and all(np.ptp(np.concatenate(left.mean)) > 0.0 for _, left in some):
        tried += [(TREND, name) for name in names[1:] if all(_can_be_second(one, name) for one, _ in some)]
    best, least = tried[0], np.inf
    for one in tried:
        score = sum(_held_out(*pair, one, kernel, rng) for pair in some)
        if score < (_SHARPER[len(one) - 1] if np.isfinite(least) else 1.0) * least:
            best, least = one, score
    return best


def tabulated(
    record: Record,
    residual: Residual,
    names: tuple[str, ...],
    options: Quantiles,
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
) -> bridge.ConditionalQuantiles:
    """Return the law of quantiles of a residual given what names say."""
    x = given(record, residual, names)
    return quantiles(x, residual.values, record.pools, options.centres, kernel, rng)


def _can_be_second(record: Record, name: str) -> bool:
    """Tell whether every pool of sites has samples and values enough for bins of a predictor, and pools are few."""
    values = np.concatenate(record.own(record.fields.seen.index(name)))
    labels = record.pools
    pools = [values[:, labels == pool].ravel() for pool in range(int(labels.max()) + 1)]
    if min(one.size for one in pools) < 2 * _PER_BIN or _MOST_BINS * len(pools) > _MOST_TABLES:
        return False
    return all(bool((np.diff(_binned(one, _MOST_BINS)[1]) > 0.0).all()) for one in pools)


def _held_out(
    record: Record,
    residual: Residual,
    names: tuple[str, ...],
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
) -> float:
    """Mean quantile score of every other stretch of time under the law of the rest, of all sites together."""
    x, left = np.concatenate(given(record, residual, names)), np.concatenate(residual.values)
    stretch = np.arange(len(x)) * _STRETCHES // len(x)
    learned, judged = stretch % 2 == 0, stretch % 2 == 1
    with warnings.catch_warnings():  # the law that is taken in the end warns for itself
        warnings.simplefilter("ignore", bridge.AccuracyWarning)
        law = [_pooled(x[learned])], [_pooled(left[learned])], _ALONE
        of = quantiles(*law, _TRIALS, kernel, rng)
    every = max(1, judged.sum() * left.shape[1] // _TRIALS)
    where, wanted = (np.ascontiguousarray(_pooled(values[judged])[::every]) for values in (x, left))
    total = 0.0
    for level in _LEVELS:
        error = wanted - of(where, np.full_like(wanted, scipy.special.ndtri(level)))
        total += float(np.maximum(level * error, (level - 1.0) * error).mean())
    return total / (_LEVELS.size * float(left.std()))


def _pooled(values: F64) -> F64:
    """Return values of all sites as of one: (n, K) to (n K, 1), (n, C, K) to (n K, C, 1)."""
    return np.moveaxis(values, -1, 1).reshape(-1, *values.shape[1:-1], 1)
