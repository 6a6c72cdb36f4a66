"""How the parts of a closure are learned: features, trend, law of the residual, and the noise that drives it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from l96closure import bridge, checks
from l96closure.arrays import F64, Index
from l96closure.bridge.sampler import SEQUENTIAL
from l96closure.closures import choice
from l96closure.closures.conserved import Conserved
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, FilteredTrend, GroupedTrend, Residual, fit_filter, put
from l96closure.closures.fitted_laws import (
    ChainLaw,
    Distribution,
    DrivenLaw,
    FittedLaw,
    Grouped,
    deviation,
    scores,
)
from l96closure.closures.laws import Chain, Moments
from l96closure.closures.noise_fit import Noise, arrangement, fit_pattern
from l96closure.closures.past import Past
from l96closure.closures.patterns import LARGEST_RING, AnyPattern
from l96closure.closures.regression import MOST_ROWS, blocks, fit_trend
from l96closure.closures.trend import FittedTrend, Regressor, Trend
from l96closure.fields import Fields
from l96closure.record import Group, Record
from l96closure.restart import Restart
from l96closure.series import one_run
from l96closure.trends import PolynomialTrend

MOST_VALUES = 12_000_000
"""Values of a variable that a composed closure learns from; of longer records pieces of time are taken."""

_CHECKED = 200_000  # values of the residual that are looked at for joints
_LARGEST_ERROR = 0.1  # of a compressed bridge's conditional mean, in standard deviations
_CALLER = 8  # whoever called SchrodingerBridge.fit, counted from a warning of the bridge
_ROWS_OF_A_GROUP = 10_000  # that its trend is fitted to, at least
_FEW_GROUPS = 6  # evenly spread, that tell whether smooth steps are worth their price
_MOST_GROUPS = 400  # each with a trend and a law of its own
_WORSE = 1.05  # residual over target, beyond which a trend is broken


def without_trend(
    record: Record, features: Features, options: Trend | Regressor | None, ordered: bool = False
) -> Residual:
    """Fit the trend and take it off; with lags, or ``ordered``, what is left has to be of one run in each segment.

    Raises
    ------
    ValueError
        Nothing is left of the target, or more than there was, or it looks like several runs.
    """
    first = features.longest
    fewest = first + (1 if len(record.target) > 1 else 2)  # the trend of a block of time is learned from others
    if (shortest := min(len(one) for one in record.target)) < fewest:
        checks.reject("truth.sizes['time']", shortest, f"at least {fewest}, for the longest lag and something to learn")
    target = [one[first:] for one in record.target]
    if options is None:
        residual = Residual(features, None, [np.zeros_like(one) for one in target], target)
    else:
        rows = MOST_ROWS if record.group is None else max(MOST_ROWS // len(record.groups), _ROWS_OF_A_GROUP)
        fitted = fit_trend(record.series, record.target, features, options, rows)
        mean = [np.empty_like(one) for one in target]
        bounds = min(one.min() for one in target), max(one.max() for one in target)  # as for psi: an outlier is far out
        for trend, parts in zip(fitted.without, blocks(record.series, first), strict=True):
            for out, one, times in zip(mean, record.series, parts, strict=True):
                if times.size:
                    out[times - first] = trend.of_series(one, times).clip(*bounds)
        made: AnyTrend = fitted.trend
        if _is_filtered(record, options):
            made = fit_filter(fitted.trend, mean, target)
            if isinstance(made, FilteredTrend):
                mean = [made.filtered(one) for one in mean]
        left = [one - off for one, off in zip(target, mean, strict=True)]
        residual = Residual(features, made, mean, left)
    _check(record, target, residual, options, ordered)
    return residual


def _is_filtered(record: Record, options: Trend | Regressor) -> bool:
    fields = record.fields
    alike = fields.homogeneous == (True,) and 2 < fields.sites <= LARGEST_RING
    return alike and (not isinstance(options, Trend) or options.filtered)


def _check(record: Record, target: list[F64], residual: Residual, options: Any, ordered: bool) -> None:
    """Refuse a trend that leaves nothing, or more than there was, and what looks like several runs."""
    first, name = residual.features.longest, record.target_name
    spread = float(np.concatenate(residual.values).std())
    if not spread > 1e-12 * float(np.concatenate(target).std()):
        checks.reject(f"std of {name} about its trend", spread, "> 0; there is nothing left to learn")
    for one, of in zip(record.series, target, strict=True):
        some = np.arange(min(len(of), max(_CHECKED // of.shape[1], 2000)))  # of one trend: blocks' own differ at joints
        about = of[some] - (0.0 if residual.trend is None else residual.trend.of_series(one, first + some))
        before, after = of[some].std(), about.std()
        if not after <= _WORSE * before:
            allowed = f"a simpler one: about it the target has std {after:.3g}, without it {before:.3g}"
            checks.reject("trend", options, allowed)
        if first or ordered:
            one_run(f"truth.{name}", about)


def fit_law(
    record: Record,
    learned: Sequence[Residual],
    options: Moments | Chain,
    noise: Noise,
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
    restart: Restart | None,
) -> FittedLaw:
    """Fit the law of the residuals of all targets given all that is seen."""
    fitted = _bridge(record, learned, options, kernel, rng, restart)
    if isinstance(options, Chain):
        return ChainLaw.made(fitted, options)
    # The conditional moments at every time would cost more than the fit: one scale serves for the noise of a target.
    of_targets = []
    for residual in learned:
        spread = float(np.concatenate(residual.values).std())
        constant = PolynomialTrend(np.array([2.0 * np.log(spread)]), 0.0, 1.0)
        of_targets.append(_scores(constant, [np.zeros_like(one) for one in residual.values], residual))
    found = [np.concatenate(segment, axis=2) for segment in zip(*of_targets, strict=True)]
    return DrivenLaw(fitted, _pattern(record, learned[0], found, noise))


def _scores(of: Distribution, x: list[F64], residual: Residual) -> list[F64]:
    """Return the normal scores of a residual and its standard deviation, in each segment (2, time, K)."""
    return [np.stack([scores(of, *pair), deviation(of, pair[0])]) for pair in zip(x, residual.values, strict=True)]


def _pattern(record: Record, residual: Residual, found: list[F64], noise: Noise) -> AnyPattern:
    """Fit noise to scores and deviations (2, time, C) of each segment.

    The blocks of time, each about a trend of its own, are segments of the noise: between them the residual jumps.
    """
    if residual.trend is not None:
        first = residual.features.longest
        parts = [zip(found, times, strict=True) for times in blocks(record.series, first)]
        found = [one[:, times - first] for part in parts for one, times in part if times.size]
    series, spread = zip(*found, strict=True)
    shape, alike = arrangement(record.fields)
    return fit_pattern(series, noise, alike, shape, spread)


def _bridge(
    record: Record,
    learned: Sequence[Residual],
    options: Moments | Chain,
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
    restart: Restart | None,
) -> bridge.Bridge:
    """Fit the bridge of all that is seen, field by field, and the residuals, with moments of the residuals alone."""
    features, K, targets = learned[0].features, record.fields.sites, len(learned)
    seen = [
        [one[features.longest - lag : len(one) - lag, p] for lag in features.lags for p in range(record.predictors)]
        for one in record.series
    ]
    left = zip(*(residual.values for residual in learned), strict=True)
    samples = np.concatenate([np.concatenate([*ones, *rest], axis=1) for ones, rest in zip(seen, left, strict=True)])
    fields = len(seen[0])
    of_fields = np.tile(record.scales(), features.lags.size)
    scale = np.repeat([*of_fields, *(np.concatenate(residual.values).std() for residual in learned)], K)
    pools = record.fields.pools
    labels = (np.arange(targets)[:, None] * (int(pools.max()) + 1) + pools).ravel()
    centres = len(samples) * int(np.bincount(labels).min())
    whole = options.centres is None or options.centres >= centres
    problem: dict[str, Any] = {
        "samples": samples,
        "neighbourhoods": _sets(record, fields, targets, isinstance(options, Chain)),
        "scale": scale,
        "components": range(fields * K, (fields + targets) * K),
        "shared": labels.tolist(),
        "centres": centres if whole else options.centres,
        "rng": rng,
    }
    fitted = bridge.fit(epsilon=kernel, restart=restart, **problem)
    _warn_of_few(fitted)
    compressed = options.compressed
    exact = isinstance(options, Chain) and options.scheme in SEQUENTIAL
    if compressed is not None and compressed < problem["centres"] and not exact:
        return bridge.compress_within(fitted, compressed, _LARGEST_ERROR, rng)
    return fitted


def _warn_of_few(fitted: bridge.Bridge) -> None:
    """Warn where few samples stand behind the median conditional mean."""
    effective = bridge.median_effective_samples(fitted)
    if effective < bridge.MIN_EFFECTIVE:
        warnings.warn(
            f"only {effective:.2g} effective samples stand behind the median conditional mean, and "
            f"{bridge.MIN_EFFECTIVE} are few: what is drawn varies too little. Take a larger epsilon than "
            f"{fitted.epsilon:.3g}, fewer coordinates than {max(map(len, fitted.neighbourhoods))}, or more data",
            bridge.AccuracyWarning,
            stacklevel=_CALLER,
        )


def _sets(record: Record, fields: int, targets: int, chain: bool) -> list[Index]:
    """Localization sets of a state of several fields and the residuals, which a chain sees too."""
    around = record.fields.around(record.fields.radius or 0)
    return bridge.in_every_field(fields + targets * chain, around)[: len(around)] * (fields + targets)


class Whole(NamedTuple):
    """How one law of the residuals of all targets is fitted.

    Attributes
    ----------
    fitted : fits it to a record and what the trend of each target leaves.
    """

    fitted: Callable[[Record, Sequence[Residual]], FittedLaw]


class Distributions(NamedTuple):
    """How distributions of residuals are fitted, of each group apart.

    Attributes
    ----------
    names : returns what those of a target are given, from records and residuals of its groups.
    fitted : fits one to the residual of a record, given what names say.
    """

    names: Callable[[Sequence[tuple[Record, Residual]]], tuple[str, ...]]
    fitted: Callable[[Record, Residual, tuple[str, ...]], Distribution]


def composed(
    record: Record,
    features: Features,
    trend: Trend | Regressor | None,
    noise: Noise | None = None,
    laws: Distributions | Whole | None = None,
) -> dict[str, Any]:
    """Learn trend and law from each group of a record, and the noise of all; return the parts by name.

    Parameters
    ----------
    record : training data.
    features : what the sites see.
    trend : its options.
    noise : drives the distributions; None where the law has noise of its own, or there is none.
    laws : fits them; None has no residual drawn.
    """
    groups, ordered = record.whole if isinstance(laws, Whole) else record.groups, noise is not None and noise.order != 0
    _check_groups(record.fields, groups)
    parts = [record] if len(groups) == 1 else [record.of(group) for group in groups]
    learned = _without_trends(parts, features, trend, ordered)
    law: FittedLaw | None = None
    names: list[tuple[str, ...]] = []
    if isinstance(laws, Whole):
        law = laws.fitted(record, learned)
    elif noise is not None and laws is not None:
        law, names = _driven(record, parts, learned, noise, laws)
    cells = tuple(group.cells for group in groups)
    spreads = [np.full(one.size, np.concatenate(left.values).var()) for one, left in zip(cells, learned, strict=True)]
    conserved = Conserved.of(record.fields, record.target, put(spreads, cells))
    if conserved is not None:
        record = replace(record, fields=replace(record.fields, conserve=False))
    if len(groups) == 1:
        return _composed_of(record, learned[0], law, names[0] if names else ()) | {"conserved": conserved}
    made = _composed_of(record, learned[0]._replace(features=features), law, tuple(names)) | {"conserved": conserved}
    if trend is None:
        return made
    ends = [np.repeat([_ends(part)], part.sites.size, axis=0).T for part in parts]
    trends = tuple(residual.trend for residual in learned if residual.trend is not None)
    return made | {"trend": GroupedTrend(trends, cells), "bounds": put(ends, cells)}


def _without_trends(
    parts: Sequence[Record], features: Features, options: Trend | Regressor | None, ordered: bool
) -> list[Residual]:
    """Take the trends of groups off; of many, all have smooth steps tried where one of a few is better with them."""

    def left(part: Record, options: Trend | Regressor | None) -> Residual:
        return without_trend(part, features.of_sites(part.sites), options, ordered)

    if len(parts) <= 2 * _FEW_GROUPS or not isinstance(options, Trend) or options.hidden is not None:
        return [left(part, options) for part in parts]
    few = {int(group): left(parts[group], options) for group in np.linspace(0, len(parts) - 1, _FEW_GROUPS).astype(int)}
    trends = [one.trend.of if isinstance(one.trend, FilteredTrend) else one.trend for one in few.values()]
    stepped = any(isinstance(trend, FittedTrend) and trend.output.size for trend in trends)
    options = options if stepped else replace(options, hidden=0)
    return [few[group] if group in few else left(part, options) for group, part in enumerate(parts)]


def _driven(
    record: Record, parts: list[Record], learned: list[Residual], noise: Noise, distributions: Distributions
) -> tuple[DrivenLaw, list[tuple[str, ...]]]:
    """Fit distributions of the residuals of groups, and the noise that drives all of them."""
    groups = record.groups
    of_target = [
        distributions.names(
            [(part, left) for part, left, group in zip(parts, learned, groups, strict=True) if group.target == q]
        )
        for q in range(len(record.fields.targets))
    ]
    names = [of_target[group.target] for group in groups]
    of = [distributions.fitted(*three) for three in zip(parts, learned, names, strict=True)]
    found = [
        _scores(one, choice.given(part, left, given), left)
        for one, part, left, given in zip(of, parts, learned, names, strict=True)
    ]
    cells = tuple(group.cells for group in groups)
    together = [put(segment, cells) for segment in zip(*found, strict=True)]
    pattern = _pattern(record, learned[0], together, noise)
    return DrivenLaw(of[0] if len(groups) == 1 else Grouped(tuple(of), cells), pattern), names


def _check_groups(fields: Fields, groups: Sequence[Group]) -> None:
    """Refuse more groups than a closure can learn from one by one."""
    if len(groups) > _MOST_GROUPS:
        allowed = f"dimensions along which sites learn together; {len(groups)} groups are more than {_MOST_GROUPS}"
        checks.reject("pool", fields.pool, allowed)


def _ends(record: Record) -> tuple[float, float]:
    """Return the smallest and the largest psi."""
    return float(min(map(np.min, record.target))), float(max(map(np.max, record.target)))


def _composed_of(
    record: Record, residual: Residual, law: FittedLaw | None, coordinates: tuple[Any, ...] = ()
) -> dict[str, Any]:
    """Return the parts of a composed closure by name."""
    features = residual.features
    return {
        "fields": record.fields,
        "features": features,
        "trend": residual.trend,
        "law": law,
        "coordinates": coordinates,
        "bounds": _ends(record) if residual.trend is not None else (-np.inf, np.inf),
        "past": Past.of(record, features) if features.longest or record.fields.previous else None,
        "scaling": record.scaling,
        "subgrid": record.steps.subgrid,
        "dt": record.steps.dt,
    }
