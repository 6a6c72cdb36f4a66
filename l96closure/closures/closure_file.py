"""A composed closure as the variables of a file, and the tables that a step in another language is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks
from l96closure.closures import past
from l96closure.closures.bridge_file import bridge_from, bridge_variables, field_variables, fields_from, with_units
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, FilteredTrend
from l96closure.closures.fitted_laws import ChainLaw, Distribution, DrivenLaw, FittedLaw
from l96closure.closures.laws import Chain
from l96closure.closures.parts import Parts
from l96closure.closures.past import Past
from l96closure.closures.patterns import Pattern
from l96closure.closures.trend import FittedTrend
from l96closure.trends import PolynomialTrend

__all__ = ["from_dataset", "tables", "to_dataset"]

F64 = npt.NDArray[np.float64]

_LARGEST_LOG = 600.0  # of a variance that a double can hold
_QUANTILES, _MOMENTS, _GAUSSIAN, _CHAIN, _NONE = "quantiles", "moments", "gaussian", "chain", "none"
_COORDINATES = "coordinate", "second_coordinate"
_OF_CHAIN = "scheme", "steps", "clamp", "noise_metric"
_OF_TREND = "chebyshev", "linear", "quadratic", "cubic", "lowest", "highest"
_LAWS = _QUANTILES, _MOMENTS, _GAUSSIAN, _CHAIN, _NONE


def _named(dims: Any, values: Any, long_name: str) -> tuple[Any, Any, dict[str, str]]:
    return dims, values, {"long_name": long_name, "units": "1"}


def _kind(law: FittedLaw | None) -> str:
    if isinstance(law, DrivenLaw):
        if isinstance(law.of, bridge.ConditionalQuantiles):
            return _QUANTILES
        return _GAUSSIAN if isinstance(law.of, PolynomialTrend) else _MOMENTS
    return _NONE if law is None else _CHAIN


def to_dataset(closure: Any) -> xr.Dataset:
    """Everything :func:`from_dataset` needs, and nothing that can be derived from it."""
    features, law, kind = closure.features, closure.law, _kind(closure.law)
    dataset = field_variables(closure.fields).assign(
        neighbour=(("site", "place"), features.neighbour.astype(np.int32)),
        feature_lag=_named("feature_lag_number", features.lags.astype(np.int32), "lag of features in steps"),
        predictor_range=_named(
            ("predictor", "bound"),
            np.stack([features.lower, features.upper], axis=1),
            "range of a predictor in the training data, mapped to [-1, 1]",
        ),
    )
    dataset = dataset.assign_attrs(law=kind, **dict(zip(_COORDINATES, closure.coordinates, strict=False)))
    if closure.trend is not None:
        dataset = dataset.assign(_trend_variables(closure.trend))
        dataset.attrs |= {"lowest": closure.bounds[0], "highest": closure.bounds[1]}
    if isinstance(law, DrivenLaw):
        dataset = dataset.merge(_law_variables(law, closure.fields.sites), combine_attrs="no_conflicts")
        dataset = dataset.assign(_noise_variables(law.pattern))
    elif isinstance(law, ChainLaw):
        options = {f"chain_{name}": getattr(law.options, name) for name in _OF_CHAIN}
        dataset = dataset.merge(bridge_variables(law.fitted, closure.fields.sites), combine_attrs="no_conflicts")
        dataset = dataset.assign_attrs(options)
    if closure.selection is not None:
        dataset = dataset.assign({f"selection_{name}": one for name, one in closure.selection.data_vars.items()})
    if closure.past is not None:
        dataset = dataset.assign(
            past_field=_named(
                ("past_time", "predictor", "site"), closure.past.fields, "scaled predictors of training states"
            ),
            past_first=_named("segment", closure.past.first.astype(np.int32), "first time of a segment"),
            past_window=_named(
                ("site", "window_place"),
                closure.past.window.astype(np.int32),
                "sites that the regression backwards sees",
            ),
            past_backwards=_named(
                ("term", "step_before", "predictor"), closure.past.backwards, "coefficients of the regression backwards"
            ),
        ).assign_attrs(past_rotations=np.int8(closure.past.rotations))
    return with_units(dataset, closure.fields)


def _trend_variables(trend: AnyTrend) -> dict[str, Any]:
    if isinstance(trend, FilteredTrend):
        return _trend_variables(trend.of) | {
            "trend_filter": _named("site_to_the_left", trend.kernel, "filter of the trend in space"),
            "trend_level": _named((), np.array(trend.level), "mean of the trend"),
        }
    if not isinstance(trend, FittedTrend):
        checks.reject(
            "trend", type(trend.model).__qualname__, "a polynomial: somebody's regressor cannot be written as arrays"
        )
    return {
        "chebyshev": _named(
            ("own_feature", "degree"), trend.chebyshev, "trend: coefficients in Chebyshev polynomials of a predictor"
        ),
        "linear": _named("feature", trend.linear, "trend: coefficients of the features"),
        "quadratic": _named(
            ("feature", "second_feature"), trend.quadratic, "trend: coefficients of products of two features"
        ),
        "cubic": _named(
            ("first_of_three", "second_of_three", "third_of_three"),
            trend.cubic,
            "trend: coefficients of products of three features",
        ),
        "hidden": _named(
            ("weight_and_constant", "step_of_trend"), trend.hidden, "trend: weights of smooth steps and constants"
        ),
        "output": _named("step_of_trend", trend.output, "trend: coefficients of smooth steps"),
    }


def _coordinates(law: FittedLaw | None) -> int:
    """Return how many coordinates a law is given; none is given all features."""
    if not isinstance(law, DrivenLaw) or isinstance(law.of, bridge.Bridge):
        return 0
    return law.of.coordinates if isinstance(law.of, bridge.ConditionalQuantiles) else 1


def _law_variables(law: DrivenLaw, sites: int) -> xr.Dataset:
    if isinstance(law.of, bridge.ConditionalQuantiles):
        of = law.of
        levels = {"quantile_level": _named(("group", "level_of_second"), of.level, "second coordinate")}
        return xr.Dataset(
            (levels if of.coordinates > 1 else {})
            | {
                "quantile": _named(("node", "level"), of.table, "quantile of the residual given a coordinate"),
                "quantile_node": _named("node", of.nodes, "coordinate of the quantiles"),
                "quantile_nodes_of": _named(
                    ("dictionary", "end"), of.ends.astype(np.int32), "first and last node of a dictionary"
                ),
                "quantile_error": _named("dictionary", of.error, "error of the table in standard deviations"),
                "dictionary_of_site": ("site", of.of.astype(np.int32)),
            }
        )
    if isinstance(law.of, PolynomialTrend):
        return xr.Dataset(
            {
                "log_variance": ("log_variance_degree", law.of.coefficients),
                "log_variance_range": _named(
                    "bound", np.array([law.of.lower, law.of.upper]), "range of the coordinate of log_variance"
                ),
            }
        )
    return bridge_variables(law.of, sites)


def _noise_variables(pattern: Pattern) -> dict[str, Any]:
    parts = np.stack([pattern.reflection.real, pattern.reflection.imag], axis=-1)
    factor = (
        {}
        if pattern.factor is None
        else {
            "noise_factor": _named(
                ("noise_site", "white_site"), pattern.factor, "what makes white noise correlated in space"
            )
        }
    )
    return factor | {
        "reflection": _named(
            ("mode", "order", "complex_part"), parts, "reflection coefficients of the noise at a wavenumber"
        ),
        "noise_power": _named("noise_wavenumber", pattern.power, "part of the noise's variance at a wavenumber"),
    }


def from_dataset(dataset: xr.Dataset) -> dict[str, Any]:
    """Inverse of :func:`to_dataset`: the parts by name; raises ``ValueError`` when something is missing or wrong."""
    parts = Parts(dataset)
    fields = fields_from(parts)
    features = _features(parts, len(fields.predictors), fields.sites)
    kind = parts.text("law", _LAWS)
    trend = _trend(parts, features, fields.sites) if any(name in parts for name in _OF_TREND) else None
    bounds = (parts.number("lowest"), parts.number("highest")) if trend is not None else (-np.inf, np.inf)
    law = _law(parts, kind, features, fields.sites)
    names = tuple(parts.text(name, ("trend", *fields.predictors)) for name in _COORDINATES[: _coordinates(law)])
    return {
        "fields": fields,
        "features": features,
        "trend": trend,
        "law": law,
        "coordinates": names,
        "bounds": bounds,
        "past": _past(parts, features, fields.sites),
        "selection": _selection(dataset),
    }


def _features(parts: Parts, predictors: int, sites: int) -> Features:
    neighbour = parts.indices("neighbour", "site", "place", low=0, high=sites - 1)
    lags = parts.indices("feature_lag", "feature_lag_number", low=0, high=2**20)
    ranges = parts.array("predictor_range", "predictor", "bound")
    if neighbour.shape[0] != sites or neighbour.shape[1] == 0 or (neighbour[:, 0] != np.arange(sites)).any():
        checks.reject("neighbour", neighbour.shape, f"sets of {sites} sites, each with the site itself first")
    if lags.size == 0 or lags[0] != 0 or (np.diff(lags) <= 0).any():
        checks.reject("feature_lag", lags.tolist(), "ascending steps from 0")
    if ranges.shape != (predictors, 2) or not (ranges[:, 0] < ranges[:, 1]).all():
        checks.reject("predictor_range", ranges.tolist(), f"a lower and an upper bound of {predictors} predictors")
    return Features(neighbour, lags, ranges[:, 0].copy(), ranges[:, 1].copy())


def _trend(parts: Parts, features: Features, sites: int) -> FittedTrend | FilteredTrend:
    trend = _polynomial(parts, features)
    if "trend_filter" not in parts:
        return trend
    kernel = parts.array("trend_filter", "site_to_the_left")
    if kernel.size != sites:
        checks.reject("trend_filter.size", kernel.size, f"{sites}, a weight of each site")
    return FilteredTrend(trend, kernel, parts.array("trend_level").item())


def _polynomial(parts: Parts, features: Features) -> FittedTrend:
    chebyshev, linear = parts.array("chebyshev", "own_feature", "degree"), parts.array("linear", "feature")
    quadratic = parts.array("quadratic", "feature", "second_feature")
    cubic = parts.array("cubic", "first_of_three", "second_of_three", "third_of_three")
    hidden, output = (
        parts.array("hidden", "weight_and_constant", "step_of_trend"),
        parts.array("output", "step_of_trend"),
    )
    F, own = features.size, features.own.size
    if hidden.shape != (F + 1, output.size):
        checks.reject("hidden.shape", hidden.shape, f"({F + 1}, {output.size})")
    shapes = [one.shape for one in (chebyshev[:, :1], linear, quadratic, cubic)]
    if shapes not in ([(own, 1), (F,), (F, F), (size,) * 3] for size in (0, F)):
        checks.reject("shapes of chebyshev, linear, quadratic, cubic", shapes, f"of {own} own of {F} features")
    return FittedTrend(features, chebyshev, linear, quadratic, cubic, hidden, output)


def _law(parts: Parts, kind: str, features: Features, sites: int) -> FittedLaw | None:
    if kind == _NONE:
        return None
    if kind in (_QUANTILES, _GAUSSIAN):
        of: Distribution = _quantiles(parts, sites) if kind == _QUANTILES else _log_variance(parts)
        return DrivenLaw(of, _pattern(parts, sites))
    fitted = bridge_from(parts.dataset, features.lags.size * features.lower.size, sites, kind == _CHAIN)
    if kind == _MOMENTS:
        return DrivenLaw(fitted, _pattern(parts, sites))
    options: dict[str, Any] = {name: parts.dataset.attrs.get(f"chain_{name}") for name in _OF_CHAIN}
    return ChainLaw.made(fitted, Chain(**options))


def _quantiles(parts: Parts, sites: int) -> bridge.ConditionalQuantiles:
    table, nodes = parts.array("quantile", "node", "level"), parts.array("quantile_node", "node")
    ends = parts.indices("quantile_nodes_of", "dictionary", "end", low=0, high=nodes.size - 1)
    error = parts.array("quantile_error", "dictionary")
    level = parts.array("quantile_level", "group", "level_of_second") if "quantile_level" in parts else None
    groups = len(ends) if level is None else len(level)
    if level is not None and (level.size != len(ends) or level.shape[1] < 2 or not (np.diff(level) > 0.0).all()):
        checks.reject("quantile_level", level.tolist(), f"ascending levels of {len(ends)} dictionaries in each group")
    of = parts.indices("dictionary_of_site", "site", low=0, high=max(groups - 1, 0))
    starts = [0, *(ends[:-1, -1] + 1)] if ends.shape[1:] == (2,) and len(ends) else []
    fits = ends.shape[1:] == (2,) and np.array_equal(ends[:, 0], starts) and (ends[:, 1] > ends[:, 0]).all()
    if not fits or ends[-1, 1] != nodes.size - 1 or table.shape[1] < 2 or of.size != sites:
        checks.reject(
            "quantile_nodes_of", ends.tolist(), "the first and last of two nodes or more, one after the other"
        )
    rising = np.diff(nodes) > 0.0
    rising[ends[:-1, 1]] = True
    if not rising.all() or (np.diff(table, axis=1) < 0.0).any():
        checks.reject("quantile_node, quantile", "not ascending", "ascending in each dictionary, and with the noise")
    made = bridge.ConditionalQuantiles(table, nodes, ends, of, error, level)
    _ = made.look_up  # refuses levels whose nodes differ: now, not at the first step
    return made


def _log_variance(parts: Parts) -> PolynomialTrend:
    coefficients = parts.array("log_variance", "log_variance_degree")
    bounds = parts.array("log_variance_range", "bound")
    if coefficients.size == 0 or bounds.size != 2 or not bounds[0] <= bounds[1]:
        checks.reject("log_variance_range", bounds.tolist(), "a lower and an upper bound, and coefficients")
    log_variance = PolynomialTrend(coefficients, *bounds.tolist())
    if log_variance(np.linspace(bounds[0], bounds[1], 1000)).max() > _LARGEST_LOG:
        checks.reject("log_variance", coefficients.tolist(), f"at most {_LARGEST_LOG:g} everywhere")
    return log_variance


def _pattern(parts: Parts, sites: int) -> Pattern:
    both = parts.array("reflection", "mode", "order", "complex_part")
    power = parts.array("noise_power", "noise_wavenumber")
    modes = sites // 2 + 1
    if both.shape[0] not in (1, modes) or both.shape[2] != 2 or power.size not in (1, modes):
        checks.reject("reflection.shape, noise_power.size", (both.shape, power.size), f"of 1 or {modes} wavenumbers")
    if (power < 0.0).any() or not np.isclose(power.sum(), 1.0):
        checks.reject("noise_power", power.tolist(), ">= 0 and a sum of 1")
    factor = parts.array("noise_factor", "noise_site", "white_site") if "noise_factor" in parts else None
    if factor is not None and (factor.shape != (sites, sites) or np.triu(factor, 1).any() or power.size > 1):
        checks.reject("noise_factor.shape", factor.shape, f"({sites}, {sites}), lower triangular, beside a power of 1")
    return Pattern(both[..., 0] + 1j * both[..., 1], power, sites, factor)


def _past(parts: Parts, features: Features, sites: int) -> Past | None:
    if not features.longest:
        return None
    fields = parts.array("past_field", "past_time", "predictor", "site")
    first = parts.indices("past_first", "segment", low=0, high=max(len(fields) - 1, 0))
    if fields.shape[1:] != (features.lower.size, sites) or first.size == 0 or first[0] != 0 or len(fields) < 1:
        checks.reject("past_field.shape", fields.shape, f"(times, {features.lower.size}, {sites})")
    if (np.diff(np.append(first, len(fields))) <= features.longest).any():
        checks.reject("past_first", first.tolist(), f"segments of more than {features.longest} times")
    window = parts.indices("past_window", "site", "window_place", low=0, high=sites - 1)
    backwards = parts.array("past_backwards", "term", "step_before", "predictor")
    if window.shape[0] != sites or backwards.shape[1:] != (features.longest, features.lower.size):
        checks.reject("past_backwards.shape", backwards.shape, f"(terms, {features.longest}, {features.lower.size})")
    if len(backwards) != past.terms(features.lower.size * window.shape[1]):
        checks.reject("past_backwards.shape", backwards.shape, f"the terms of {window.shape[1]} places")
    return Past(fields.astype(np.float32), first, window, backwards, bool(parts.integer("past_rotations", 0, below=2)))


def _selection(dataset: xr.Dataset) -> xr.Dataset | None:
    """Return the table of candidates, for the reader alone, where there is one."""
    found = {
        str(name).removeprefix("selection_"): one
        for name, one in dataset.data_vars.items()
        if str(name).startswith("selection_") and one.dims == ("candidate",)
    }
    return xr.Dataset(found) if found else None


def tables(closure: Any) -> dict[str, npt.NDArray[Any]]:
    """Return what :meth:`l96closure.closures.composed.Composed.tables` says."""
    features, law, kind = closure.features, closure.law, _kind(closure.law)
    if kind in (_MOMENTS, _CHAIN):
        checks.reject("law", kind, "quantiles or Gaussian, for tables of a step")
    found: dict[str, npt.NDArray[Any]] = {
        "neighbour": features.neighbour,
        "lag": features.lags,
        "range": np.stack([features.lower, features.upper], axis=1),
        "conserve": np.array(bool(closure.fields.conserve)),
    }
    if closure.trend is not None:
        found |= {name: variable[1] for name, variable in _trend_variables(closure.trend).items()}
        found["bounds"] = np.array(closure.bounds)
    if isinstance(law, DrivenLaw):
        names = closure.fields.predictors
        found["coordinates"] = np.array([-1 if one == "trend" else names.index(one) for one in closure.coordinates])
        if isinstance(law.of, bridge.ConditionalQuantiles):
            found |= law.of.tables()
        else:
            assert isinstance(law.of, PolynomialTrend)
            found |= {"log_variance": law.of.coefficients, "log_variance_range": np.array([law.of.lower, law.of.upper])}
        found |= law.pattern.tables()
    return found if closure.coarse_dt is None else found | {"coarse_dt": np.array(closure.coarse_dt)}
