"""How the parts of a closure are learned: features, trend, law of the residual, and the noise that drives it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks
from l96closure.bridge.sampler import SEQUENTIAL
from l96closure.closures import choice
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, fit_filter
from l96closure.closures.fitted_laws import ChainLaw, Distribution, DrivenLaw, FittedLaw, deviation, scores
from l96closure.closures.laws import Chain, Law, Moments, Quantiles
from l96closure.closures.past import Past
from l96closure.closures.patterns import LARGEST_RING, Noise, fit_pattern
from l96closure.closures.regression import blocks, fit_trend
from l96closure.closures.residual import Residual
from l96closure.closures.trend import Regressor, Trend
from l96closure.restart import Restart
from l96closure.series import one_run
from l96closure.training import Record
from l96closure.trends import PolynomialTrend

__all__ = ["composed_of", "driven", "fit_law", "without_trend"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_CHECKED = 200_000  # values of the residual that are looked at for joints
_LARGEST_ERROR = 0.1  # of a compressed bridge's conditional mean, in standard deviations
_CALLER = 7  # whoever called SchrodingerBridge.fit, counted from a warning of the bridge
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
        fitted = fit_trend(record.series, record.target, features, options)
        mean = [np.empty_like(one) for one in target]
        bounds = min(one.min() for one in target), max(one.max() for one in target)  # as for psi: an outlier is far out
        for trend, parts in zip(fitted.without, blocks(record.series, first), strict=True):
            for out, one, times in zip(mean, record.series, parts, strict=True):
                if times.size:
                    out[times - first] = trend.of_series(one, times).clip(*bounds)
        made: AnyTrend = fitted.trend
        if _is_filtered(record, options):
            made = fit_filter(fitted.trend, mean, target)
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
    first, name = residual.features.longest, record.fields.target
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
    residual: Residual,
    options: Law,
    noise: Noise,
    kernel: bridge.Kernel | None,
    rng: np.random.Generator | int,
    restart: Restart | None,
) -> tuple[FittedLaw, tuple[str, ...]]:
    """Fit the law of a residual; return it and the names of its coordinates."""
    kernel = bridge.Kernel(epsilon=options.epsilon) if kernel is None else kernel
    if isinstance(options, Quantiles):
        names = choice.chosen_coordinates(record, residual, options, kernel, rng)
        x = choice.given(record, residual, names)
        of = choice.quantiles(x, residual.values, record.fields.pools, options.centres, kernel, rng)
        return driven(of, x, residual, noise, record), names
    fitted = _bridge(record, residual, options, kernel, rng, restart)
    if isinstance(options, Chain):
        return ChainLaw.made(fitted, options), ()
    # The conditional moments at every time would cost more than the fit: one scale serves for the noise.
    spread = float(np.concatenate(residual.values).std())
    constant = PolynomialTrend(np.array([2.0 * np.log(spread)]), 0.0, 1.0)
    zeros = [np.zeros_like(one) for one in residual.values]
    return DrivenLaw(fitted, driven(constant, zeros, residual, noise, record).pattern), ()


def driven(of: Distribution, x: list[F64], residual: Residual, noise: Noise, record: Record) -> DrivenLaw:
    """Let noise drive a distribution: such as makes the residuals, given ``x`` of each segment (time, K).

    The blocks of time, each about a trend of its own, are segments of the noise: between them the residual jumps.
    """
    found = [np.stack([scores(of, *pair), deviation(of, pair[0])]) for pair in zip(x, residual.values, strict=True)]
    if residual.trend is not None:
        first = residual.features.longest
        parts = [zip(found, times, strict=True) for times in blocks(record.series, first)]
        found = [one[:, times - first] for part in parts for one, times in part if times.size]
    series, spread = zip(*found, strict=True)
    fields = record.fields
    return DrivenLaw(of, fit_pattern(series, noise, fields.homogeneous, fields.shape, spread))


def _bridge(
    record: Record,
    residual: Residual,
    options: Moments | Chain,
    kernel: bridge.Kernel,
    rng: np.random.Generator | int,
    restart: Restart | None,
) -> bridge.Bridge:
    """Fit the bridge of all that is seen, field by field, and the residual, with moments of the residual alone."""
    features, K = residual.features, record.fields.sites
    seen = [
        [one[features.longest - lag : len(one) - lag, p] for lag in features.lags for p in range(record.predictors)]
        for one in record.series
    ]
    samples = np.concatenate(
        [np.concatenate([*ones, left], axis=1) for ones, left in zip(seen, residual.values, strict=True)]
    )
    fields = len(seen[0])
    of_fields = np.tile(record.scales(), features.lags.size)
    scale = np.repeat([*of_fields, np.concatenate(residual.values).std()], K)
    labels = record.fields.pools
    centres = len(samples) * int(np.bincount(labels).min())
    whole = options.centres is None or options.centres >= centres
    problem: dict[str, Any] = {
        "samples": samples,
        "neighbourhoods": _sets(record, fields, isinstance(options, Chain)),
        "scale": scale,
        "components": range(fields * K, (fields + 1) * K),
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


def _sets(record: Record, fields: int, chain: bool) -> list[Index]:
    """Localization sets of a state of several fields and the residual, which a chain sees too."""
    around = record.fields.around(record.fields.radius or 0)
    return bridge.in_every_field(fields + chain, around)[: len(around)] * (fields + 1)


def composed_of(
    record: Record,
    residual: Residual,
    law: FittedLaw | None,
    coordinates: tuple[str, ...],
    selection: xr.Dataset | None = None,
) -> dict[str, Any]:
    """Return the parts of a composed closure by name."""
    target = np.concatenate(record.target)
    features = residual.features
    return {
        "fields": record.fields,
        "features": features,
        "trend": residual.trend,
        "law": law,
        "coordinates": coordinates,
        "bounds": (float(target.min()), float(target.max())) if residual.trend is not None else (-np.inf, np.inf),
        "past": Past.of(record.series, features, record.fields.ring) if features.longest else None,
        "selection": selection,
        "subgrid": record.steps.subgrid,
        "dt": record.steps.dt,
    }
