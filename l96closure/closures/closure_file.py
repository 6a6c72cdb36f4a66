"""A composed closure as the variables of a file, and the tables that a step in another language is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from l96closure import bridge, checks
from l96closure.arrays import Array, Index
from l96closure.attributes import ATTRIBUTES
from l96closure.closures import past
from l96closure.closures.bridge_file import bridge_from, bridge_variables, field_variables, fields_from, with_units
from l96closure.closures.conserved import Conserved
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, GroupedTrend
from l96closure.closures.fitted_laws import ChainLaw, Distribution, DrivenLaw, FittedLaw, Grouped
from l96closure.closures.laws import Chain
from l96closure.closures.noise_file import noise_variables, pattern_from
from l96closure.closures.parts import Parts, named
from l96closure.closures.past import Past
from l96closure.closures.trend_file import trend_from, trend_variables
from l96closure.fields import Fields
from l96closure.record import Scaling
from l96closure.trends import PolynomialTrend

_LARGEST_LOG = 600.0  # of a variance that a double can hold
_QUANTILES, _MOMENTS, _GAUSSIAN, _CHAIN, _NONE = "quantiles", "moments", "gaussian", "chain", "none"
_COORDINATES = "coordinate", "second_coordinate"
_OF_CHAIN = "scheme", "steps", "clamp", "noise_metric"
_OF_TREND = "chebyshev", "linear", "quadratic", "cubic", "lowest", "highest"
_LAWS = _QUANTILES, _MOMENTS, _GAUSSIAN, _CHAIN, _NONE
_OF_ALL = _MOMENTS, _CHAIN  # laws of all cells, even of several targets


def _kind(law: FittedLaw | None) -> str:
    if isinstance(law, DrivenLaw):
        one = law.of.of[0] if isinstance(law.of, Grouped) else law.of
        if isinstance(one, bridge.ConditionalQuantiles):
            return _QUANTILES
        return _GAUSSIAN if isinstance(one, PolynomialTrend) else _MOMENTS
    return _NONE if law is None else _CHAIN


def to_dataset(closure: Any) -> xr.Dataset:
    """Everything :func:`from_dataset` needs, and nothing that can be derived from it."""
    features, law, kind = closure.features, closure.law, _kind(closure.law)
    dataset = field_variables(closure.fields).assign(
        neighbour=(("site", "place"), features.neighbour.astype(np.int32)),
        feature_lag=named("feature_lag_number", features.lags.astype(np.int32), "lag of features in steps"),
        predictor_range=named(
            ("predictor", "bound"),
            np.stack([features.lower, features.upper], axis=1),
            "range of a predictor in the training data, mapped to [-1, 1]",
        ),
    )
    dataset = dataset.assign_attrs(law=kind)
    if closure.grouped:
        dataset = _put_groups(dataset, closure)
    if isinstance(law, DrivenLaw) and not isinstance(law.of, Grouped):
        dataset.attrs |= dict(zip(_COORDINATES, closure.coordinates, strict=False))
        dataset = dataset.merge(_law_variables(law.of, closure.fields.sites), combine_attrs="no_conflicts")
    if closure.trend is not None and not closure.grouped:
        dataset = dataset.assign(trend_variables(closure.trend))
        dataset.attrs |= {"lowest": closure.bounds[0], "highest": closure.bounds[1]}
    if closure.scaling is not None:
        for name, values in closure.scaling._asdict().items():
            dataset[f"scaling_{name}"] = named(("predictor", "site"), values, f"{name} of a predictor at a site")
    if closure.conserved is not None:
        shape = len(closure.fields.targets), closure.fields.sites
        for name, values in zip(("weight", "share"), closure.conserved, strict=False):
            told = f"{name} of a cell in a sum that is conserved"
            dataset[f"conserve_{name}"] = named(("target", "site"), values.reshape(shape), told)
        dataset.attrs["conserve_zero"] = np.int8(closure.conserved.zero)
    if isinstance(law, DrivenLaw):
        dataset = dataset.assign(noise_variables(law.pattern))
    elif isinstance(law, ChainLaw):
        options = {f"chain_{name}": getattr(law.options, name) for name in _OF_CHAIN}
        dataset = dataset.merge(bridge_variables(law.fitted, closure.fields.sites), combine_attrs="no_conflicts")
        dataset = dataset.assign_attrs(options)
    if closure.selection is not None:
        dataset = dataset.assign({f"selection_{name}": one for name, one in closure.selection.data_vars.items()})
    if closure.past is not None:
        dataset = dataset.assign(_past_variables(closure.past))
        dataset.attrs["past_rotations"] = np.int8(closure.past.rotations)
    return with_units(dataset, closure.fields)


def _past_variables(of: Past) -> dict[str, Any]:
    return {
        "past_field": named(("past_time", "past_variable", "site"), of.fields, "scaled predictors of training states"),
        "past_first": named("segment", of.first.astype(np.int32), "first time of a segment"),
        "past_window": named(
            ("site", "window_place"), of.window.astype(np.int32), "sites that the regression backwards sees"
        ),
        "past_backwards": named(
            ("term", "step_before", "past_variable"), of.backwards, "coefficients of the regression backwards"
        ),
    }


def _group_name(number: int) -> str:
    """Return what stands before the names of variables and dims of a group."""
    return f"group{number}_"


def _groups_of(closure: Any) -> Iterator[tuple[str, Index, tuple[Any, Any, tuple[str, ...]]]]:
    """Return name, cells, trend, distribution and coordinates of each group of a closure."""
    trend, law = closure.trend, closure.law
    cells = law.of.cells if trend is None else trend.cells
    trends = len(cells) * [None] if trend is None else trend.of
    of = law.of if isinstance(law, DrivenLaw) else None
    laws = of.of if isinstance(of, Grouped) else len(cells) * [None]
    names = closure.coordinates or len(cells) * [()]
    for number, (where, *drawn) in enumerate(zip(cells, trends, laws, names, strict=True)):
        yield _group_name(number), where, tuple(drawn)


def _put_groups(dataset: xr.Dataset, closure: Any) -> xr.Dataset:
    """Add trends and laws of groups, each with names of its own."""
    shape = len(closure.fields.targets), closure.fields.sites
    group_of = np.empty(math.prod(shape), np.int32)
    for number, (name, cells, (trend, of, coordinates)) in enumerate(_groups_of(closure)):
        group_of[cells] = number
        part = xr.Dataset({} if trend is None else trend_variables(trend))
        part = part if of is None else part.merge(_law_variables(of, cells.size))
        part = part.rename({one: f"{name}{one}" for one in (*part.data_vars, *part.dims)})
        for one, variable in part.data_vars.items():
            variable.attrs = {**ATTRIBUTES.get(str(one).removeprefix(name), {}), **variable.attrs}
        dataset = dataset.assign(part.variables)
        dataset.attrs |= {f"{name}{key}": one for key, one in zip(_COORDINATES, coordinates, strict=False)}
    dataset["group_of_cell"] = named(("target", "site"), group_of.reshape(shape), "what learned together")
    if closure.trend is not None:
        for name, bound in zip(("lowest", "highest"), closure.bounds, strict=True):
            dataset[name] = named(("target", "site"), bound.reshape(shape), f"{name} psi")
    return dataset


def _coordinates(parts: Parts, of: Distribution | None, predictors: Sequence[str], prefix: str = "") -> Any:
    """Return the names of the coordinates that a law is given; none is given all features."""
    if of is None or isinstance(of, bridge.Bridge):
        return ()
    number = of.coordinates if isinstance(of, bridge.ConditionalQuantiles) else 1
    return tuple(parts.text(f"{prefix}{name}", ("trend", *predictors)) for name in _COORDINATES[:number])


def _law_variables(of: Distribution, sites: int) -> xr.Dataset:
    if isinstance(of, bridge.ConditionalQuantiles):
        levels = {"quantile_level": named(("group", "level_of_second"), of.level, "second coordinate")}
        return xr.Dataset(
            (levels if of.coordinates > 1 else {})
            | {
                "quantile": named(("node", "level"), of.table, "quantile of the residual given a coordinate"),
                "quantile_node": named("node", of.nodes, "coordinate of the quantiles"),
                "quantile_nodes_of": named(
                    ("dictionary", "end"), of.ends.astype(np.int32), "first and last node of a dictionary"
                ),
                "quantile_error": named("dictionary", of.error, "error of the table in standard deviations"),
                "dictionary_of_site": ("site", of.of.astype(np.int32)),
            }
        )
    if isinstance(of, PolynomialTrend):
        return xr.Dataset(
            {
                "log_variance": ("log_variance_degree", of.coefficients),
                "log_variance_range": named(
                    "bound", np.array([of.lower, of.upper]), "range of the coordinate of log_variance"
                ),
            }
        )
    assert isinstance(of, bridge.Bridge)
    return bridge_variables(of, sites)


def from_dataset(dataset: xr.Dataset) -> dict[str, Any]:
    """Inverse of :func:`to_dataset`: the parts by name; raises ``ValueError`` when something is missing or wrong."""
    parts = Parts(dataset)
    fields = fields_from(parts)
    features = _features(parts, len(fields.seen), fields.sites)
    kind = parts.text("law", _LAWS)
    if "group_of_cell" in parts:
        drawn = _groups(parts, kind, features, fields)
    else:
        trend = trend_from(parts, features, fields.sites) if any(name in parts for name in _OF_TREND) else None
        if len(fields.targets) > 1 and (trend is not None or kind not in _OF_ALL):
            checks.reject("targets", fields.targets, "one name, or groups of cells")
        law = _law(parts, kind, features, fields)
        drawn = {
            "trend": trend,
            "law": law,
            "coordinates": _coordinates(parts, law.of if isinstance(law, DrivenLaw) else None, fields.seen),
            "bounds": (parts.number("lowest"), parts.number("highest")) if trend is not None else (-np.inf, np.inf),
        }
    return drawn | {
        "fields": fields,
        "features": features,
        "scaling": _scaling(parts, len(fields.seen), fields.sites),
        "conserved": _conserved(parts, fields),
        "past": _past(parts, features, fields),
        "selection": _selection(parts),
    }


def _groups(parts: Parts, kind: str, features: Features, fields: Fields) -> dict[str, Any]:
    """Return trends, laws, coordinates and bounds of groups."""
    shape = len(fields.targets), fields.sites
    group_of = parts.indices("group_of_cell", "target", "site", low=0, high=math.prod(shape) - 1)
    number = int(group_of.max()) + 1
    cells = tuple(np.flatnonzero(group_of.ravel() == one) for one in range(number))
    if group_of.shape != shape or any(one.size == 0 or np.ptp(one // fields.sites) for one in cells):
        checks.reject("group_of_cell", group_of.shape, f"{shape}, each group of one target, none empty")
    trends, laws, names = [], [], []
    for one, where in enumerate(cells):
        prefix = _group_name(one)
        part = Parts(_of_group(parts.dataset, prefix))
        seen = features.of_sites(where % fields.sites)
        trends.append(trend_from(part, seen, where.size) if any(name in part for name in _OF_TREND) else None)
        if kind in (_QUANTILES, _GAUSSIAN):
            of = _quantiles(part, where.size) if kind == _QUANTILES else _log_variance(part)
            laws.append(of)
            names.append(_coordinates(parts, of, fields.seen, prefix))
    known = [one for one in trends if one is not None]
    if len(known) not in (0, number):
        checks.reject("group_of_cell", f"{len(known)} of {number} groups with a trend", "all or none")
    ends = [parts.array(name, "target", "site").ravel() for name in ("lowest", "highest")] if known else []
    law: FittedLaw | None = None if laws else _law(parts, kind, features, fields)
    if laws:
        law = DrivenLaw(Grouped(tuple(laws), cells), pattern_from(parts, math.prod(shape)))
    return {
        "trend": GroupedTrend(tuple(known), cells) if known else None,
        "law": law,
        "coordinates": tuple(names),
        "bounds": np.stack(ends) if known else (-np.inf, np.inf),
    }


def _of_group(dataset: xr.Dataset, prefix: str) -> xr.Dataset:
    """Return the variables of a group, without what stands before their names."""
    own = dataset[[name for name in dataset.data_vars if str(name).startswith(prefix)]]
    return own.rename({name: str(name).removeprefix(prefix) for name in (*own.data_vars, *own.dims)})


def _scaling(parts: Parts, predictors: int, sites: int) -> Scaling | None:
    if "scaling_spread" not in parts:
        return None
    spread = parts.array("scaling_spread", "predictor", "site", positive=True)
    centre = parts.array("scaling_centre", "predictor", "site")
    if not spread.shape == centre.shape == (predictors, sites):
        checks.reject("scaling_spread.shape", spread.shape, repr((predictors, sites)))
    return Scaling(centre, spread)


def _conserved(parts: Parts, fields: Fields) -> Conserved | None:
    if "conserve_weight" not in parts:
        return None
    weight, share = (parts.array(f"conserve_{name}", "target", "site") for name in ("weight", "share"))
    shape = len(fields.targets), fields.sites
    if not weight.shape == share.shape == shape or not math.isclose(float((weight * share).sum()), 1.0, rel_tol=1e-9):
        checks.reject("conserve_share", share.shape, f"{shape}, shares that times weights sum to 1")
    return Conserved(weight.ravel(), share.ravel(), bool(parts.integer("conserve_zero", 0, below=2)))


def _features(parts: Parts, predictors: int, sites: int) -> Features:
    neighbour = parts.neighbours(sites)
    lags = parts.indices("feature_lag", "feature_lag_number", low=0, high=2**20)
    ranges = parts.array("predictor_range", "predictor", "bound")
    if lags.size == 0 or lags[0] != 0 or (np.diff(lags) <= 0).any():
        checks.reject("feature_lag", lags.tolist(), "ascending steps from 0")
    if ranges.shape != (predictors, 2) or not (ranges[:, 0] < ranges[:, 1]).all():
        checks.reject("predictor_range", ranges.tolist(), f"a lower and an upper bound of {predictors} predictors")
    return Features(neighbour, lags, ranges[:, 0].copy(), ranges[:, 1].copy())


def _law(parts: Parts, kind: str, features: Features, fields: Fields) -> FittedLaw | None:
    """Return the one law of all cells, where there is one."""
    if kind == _NONE:
        return None
    cells = len(fields.targets) * fields.sites
    if kind in (_QUANTILES, _GAUSSIAN):
        of: Distribution = _quantiles(parts, cells) if kind == _QUANTILES else _log_variance(parts)
        return DrivenLaw(of, pattern_from(parts, cells))
    seen = features.lags.size * features.lower.size
    fitted = bridge_from(parts.dataset, seen, fields.sites, len(fields.targets), kind == _CHAIN)
    if kind == _MOMENTS:
        return DrivenLaw(fitted, pattern_from(parts, cells))
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


def _past(parts: Parts, features: Features, of: Fields) -> Past | None:
    steps, P, sites, known = features.longest + of.before, of.remembered, of.sites, len(of.predictors)
    if not steps:
        return None
    fields = parts.array("past_field", "past_time", "past_variable", "site")
    first = parts.indices("past_first", "segment", low=0, high=max(len(fields) - 1, 0))
    if fields.shape[1:] != (P, sites) or first.size == 0 or first[0] != 0 or len(fields) < 1:
        checks.reject("past_field.shape", fields.shape, f"(times, {P}, {sites})")
    if (np.diff(np.append(first, len(fields))) <= steps).any():
        checks.reject("past_first", first.tolist(), f"segments of more than {steps} times")
    window = parts.indices("past_window", "site", "window_place", low=0, high=sites - 1)
    backwards = parts.array("past_backwards", "term", "step_before", "past_variable")
    if window.shape[0] != sites or backwards.shape[1:] != (steps, P):
        checks.reject("past_backwards.shape", backwards.shape, f"(terms, {steps}, {P})")
    if len(backwards) != past.terms(known * window.shape[1]):
        checks.reject("past_backwards.shape", backwards.shape, f"the terms of {window.shape[1]} places")
    rotations = bool(parts.integer("past_rotations", 0, below=2))
    return Past(fields.astype(np.float32), first, window, backwards, rotations, known)


def _selection(parts: Parts) -> xr.Dataset | None:
    """Return the table of candidates, for the reader alone, where there is one."""
    found = {name: one for name, one in parts.named("selection_").items() if one.dims == ("candidate",)}
    return xr.Dataset(found) if found else None


def tables(closure: Any) -> dict[str, Array]:
    """Return what :meth:`l96closure.closures.composed.Composed.tables` says."""
    features, law, kind = closure.features, closure.law, _kind(closure.law)
    if kind in _OF_ALL:
        checks.reject("law", kind, "quantiles or Gaussian, for tables of a step")
    found: dict[str, Array] = {
        "neighbour": features.neighbour,
        "lag": features.lags,
        "range": np.stack([features.lower, features.upper], axis=1),
        "conserve": np.array(bool(closure.fields.conserve)),
        "previous": np.array(closure.fields.before),
    }
    if closure.fields.mask is not None:
        found["mask"] = closure.fields.mask.values.ravel()
    if closure.scaling is not None:
        found |= {f"scaling_{name}": values for name, values in closure.scaling._asdict().items()}
    if closure.conserved is not None:
        found |= {f"conserve_{name}": np.asarray(values) for name, values in closure.conserved._asdict().items()}
    if closure.trend is not None:
        found["bounds"] = np.array(closure.bounds)
    predictors = closure.fields.seen
    if closure.grouped:
        for name, cells, drawn in _groups_of(closure):
            seen = features.of_sites(cells % closure.fields.sites).neighbour
            own = _tables_of(*drawn, predictors) | {"cells": cells, "neighbour": seen}
            found |= {f"{name}{key}": values for key, values in own.items()}
    else:
        of = law.of if isinstance(law, DrivenLaw) else None
        found |= _tables_of(closure.trend, of, closure.coordinates, predictors)
    if isinstance(law, DrivenLaw):
        found |= law.pattern.tables()
    return found if closure.coarse_dt is None else found | {"coarse_dt": np.array(closure.coarse_dt)}


def _tables_of(
    trend: AnyTrend | None, of: Distribution | None, coordinates: tuple[str, ...], predictors: Sequence[str]
) -> dict[str, Array]:
    """Return the tables of a trend and a law of its rest."""
    found = {} if trend is None else {name: variable[1] for name, variable in trend_variables(trend).items()}
    if of is None:
        return found
    found["coordinates"] = np.array([-1 if one == "trend" else predictors.index(one) for one in coordinates])
    if isinstance(of, bridge.ConditionalQuantiles):
        return found | of.tables()
    assert isinstance(of, PolynomialTrend)
    return found | {"log_variance": of.coefficients, "log_variance_range": np.array([of.lower, of.upper])}
