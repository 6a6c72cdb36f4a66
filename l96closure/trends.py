"""Deterministic trends of the target in its predictors: polynomials on the range of the training data.

A polynomial is kept by its coefficients in Chebyshev polynomials of the predictor mapped to [-1, 1], and never expanded
to powers: powers of a temperature of 300 K with weather of 5 K cancel in all their digits at degree eight, and the
trend would depend on the unit that a predictor is measured in. So a trend of a x + b is the trend of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l96closure import checks

__all__ = [
    "AdditiveTrend",
    "PolynomialTrend",
    "Trend",
    "as_arrays",
    "fit_additive_trend",
    "fit_trend",
    "on_unit_interval",
    "removed",
]

F64 = npt.NDArray[np.float64]

_MOST_VALUES = 2_000_000  # of the target that a trend is fitted to
_WORSE = 1.0 + 1e-6  # residual over target, beyond which a least-squares fit that has a constant term is broken


@dataclass(frozen=True, eq=False)
class PolynomialTrend:
    """A polynomial in one variable, the deterministic parametrization of Wilks (2005).

    Attributes
    ----------
    coefficients : (degree + 1,) of the Chebyshev polynomials of the first kind T_0, T_1, ... in z mapped from
        [``lower``, ``upper``] to [-1, 1], in units of psi.
    lower, upper : range of z it was fitted on; it is constant beyond, where a high power would run away.
    """

    coefficients: F64
    lower: float
    upper: float

    def __call__(self, z: F64) -> F64:
        """Evaluate at ``z`` of any shape (Clenshaw 1955)."""
        twice = 2.0 * on_unit_interval(z, self.lower, self.upper)
        value, following = np.zeros_like(twice), np.zeros_like(twice)
        for a in self.coefficients[:0:-1]:
            value, following = twice * value - following + a, value
        return 0.5 * twice * value - following + self.coefficients[0]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class AdditiveTrend:
    """A sum of polynomials, one in each of several predictors at the same site; made by :func:`fit_additive_trend`.

    Attributes
    ----------
    parts : the polynomial in each predictor; the constant term is in the first.
    """

    parts: tuple[PolynomialTrend, ...]

    def __call__(self, z: F64) -> F64:
        """Evaluate at ``z`` (..., P, K); returns (..., K)."""
        value = np.zeros_like(z[..., 0, :])
        for p, part in enumerate(self.parts):
            value += part(z[..., p, :])
        return value


Trend = PolynomialTrend | AdditiveTrend


def as_arrays(trend: Trend | None) -> tuple[F64, F64]:
    """Return coefficients (P, degree + 1) and range (P, 2) of the polynomial in each of P predictors, of None no P."""
    if trend is None:
        return np.empty((0, 0)), np.empty((0, 2))
    parts = trend.parts if isinstance(trend, AdditiveTrend) else (trend,)
    return np.stack([part.coefficients for part in parts]), np.array([(part.lower, part.upper) for part in parts])


def fit_trend(z: F64, psi: F64, degree: int) -> PolynomialTrend:
    """Least-squares polynomial of psi in z, all sites pooled; of many times, two million values or so are used.

    Raises ``ValueError`` unless ``degree`` is an integer >= 0.
    """
    (trend,) = _least_squares([z], psi, degree)
    return trend


def fit_additive_trend(z: F64, psi: F64, degree: int) -> AdditiveTrend:
    """Least-squares sum of polynomials of one degree in each predictor (an additive model), all sites pooled.

    Of many times, so many are used as make two million values of the target.

    Parameters
    ----------
    z : predictors (M, P, K).
    psi : target (M, K).
    degree : of each polynomial, >= 0.

    Raises
    ------
    ValueError
        ``degree`` is out of its range.
    """
    return AdditiveTrend(tuple(_least_squares(list(np.moveaxis(z, 1, 0)), psi, degree)))


def removed(predictors: Sequence[F64], target: F64, degree: int | None) -> tuple[Trend | None, F64]:
    """Fit the trend of a target in its predictors, and take it off.

    Parameters
    ----------
    predictors, target : each (M, K).
    degree : of the polynomial in each predictor, >= 0; None removes nothing.

    Returns
    -------
    The trend, or None, and the residual (M, K).

    Raises
    ------
    ValueError
        ``degree`` is out of its range, or the residual varies more than the target did.
    """
    if degree is None:
        return None, target
    z = predictors[0] if len(predictors) == 1 else np.stack(predictors, axis=1)
    trend = fit_trend(z, target, degree) if len(predictors) == 1 else fit_additive_trend(z, target, degree)
    residual = target - trend(z)
    before, after = float(target.std()), float(residual.std())
    if not after <= _WORSE * before:
        checks.reject(
            "trend_degree", degree, f"lower: about the trend the target has std {after:.3g}, without it {before:.3g}"
        )
    return trend, residual


def on_unit_interval(z: F64, lower: float, upper: float) -> F64:
    """Map ``z`` from [``lower``, ``upper``] to [-1, 1], and what lies beyond to the ends."""
    middle, half = lower + 0.5 * (upper - lower), 0.5 * (upper - lower)
    if half == 0.0:  # of a constant there is one value
        return np.zeros_like(z)
    return np.minimum(np.maximum((z - middle) / half, -1.0), 1.0)


def _least_squares(predictors: Sequence[F64], psi: F64, degree: int) -> list[PolynomialTrend]:
    """Fit one polynomial in each predictor, all of the shape of psi; the constant term goes to the first."""
    degree = checks.integer("trend_degree", degree, 0)
    every = -(-psi.size // _MOST_VALUES)
    predictors, psi = [z[::every] for z in predictors], psi[::every]
    ranges = [(float(z.min()), float(z.max())) for z in predictors]
    columns = [
        np.polynomial.chebyshev.chebvander(on_unit_interval(z, *bounds).ravel(), degree)[:, 1:]
        for z, bounds in zip(predictors, ranges, strict=True)
    ]
    design = np.concatenate([np.ones((psi.size, 1)), *columns], axis=1)
    constant, *rest = np.linalg.lstsq(design, psi.ravel(), rcond=None)[0]
    coefficients = np.zeros((len(ranges), degree + 1))
    coefficients[0, 0] = constant
    coefficients[:, 1:] = np.reshape(rest, (len(ranges), degree))
    return [PolynomialTrend(own, *bounds) for own, bounds in zip(coefficients, ranges, strict=True)]
