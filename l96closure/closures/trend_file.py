"""The trend of a closure as the variables of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from l96closure import checks
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, FilteredTrend
from l96closure.closures.parts import Parts, named
from l96closure.closures.trend import FittedTrend, RegressorTrend


def trend_variables(trend: AnyTrend) -> dict[str, Any]:
    """Everything :func:`trend_from` needs; raises ``ValueError`` where a trend cannot be written as arrays."""
    if isinstance(trend, FilteredTrend):
        return trend_variables(trend.of) | {
            "trend_filter": named("site_to_the_left", trend.kernel, "filter of the trend in space"),
            "trend_level": named((), np.array(trend.level), "mean of the trend"),
        }
    if isinstance(trend, RegressorTrend):
        checks.reject(
            "trend", type(trend.model).__qualname__, "a polynomial: somebody's regressor cannot be written as arrays"
        )
    assert isinstance(trend, FittedTrend)
    return {
        "chebyshev": named(
            ("own_feature", "degree"), trend.chebyshev, "trend: coefficients in Chebyshev polynomials of a predictor"
        ),
        "linear": named("feature", trend.linear, "trend: coefficients of the features"),
        "quadratic": named(
            ("feature", "second_feature"), trend.quadratic, "trend: coefficients of products of two features"
        ),
        "cubic": named(
            ("first_of_three", "second_of_three", "third_of_three"),
            trend.cubic,
            "trend: coefficients of products of three features",
        ),
        "hidden": named(
            ("weight_and_constant", "step_of_trend"), trend.hidden, "trend: weights of smooth steps and constants"
        ),
        "output": named("step_of_trend", trend.output, "trend: coefficients of smooth steps"),
    }


def trend_from(parts: Parts, features: Features, sites: int) -> FittedTrend | FilteredTrend:
    """Inverse of :func:`trend_variables`; raises ``ValueError`` when something is missing or does not fit."""
    trend = _polynomial_from(parts, features)
    if "trend_filter" not in parts:
        return trend
    kernel = parts.array("trend_filter", "site_to_the_left")
    if kernel.size != sites:
        checks.reject("trend_filter.size", kernel.size, f"{sites}, a weight of each site")
    return FilteredTrend(trend, kernel, parts.array("trend_level").item())


def _polynomial_from(parts: Parts, features: Features) -> FittedTrend:
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
