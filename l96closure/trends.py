"""Polynomials in one variable, on the range of the training data.

A polynomial is kept by its coefficients in Chebyshev polynomials of the predictor mapped to [-1, 1], and never expanded
to powers: powers of a temperature of 300 K with weather of 5 K cancel in all their digits at degree eight, and the
trend would depend on the unit that a predictor is measured in. So a trend of a x + b is the trend of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l96closure import checks
from l96closure.arrays import F64

_MOST_VALUES = 2_000_000  # of the target that a trend is fitted to


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
        return 0.5 * twice * value - following + self.coefficients[0]


def fit_polynomial(z: F64, psi: F64, degree: int) -> PolynomialTrend:
    """Least-squares polynomial of psi in z, all sites pooled; of many times, two million values or so are used.

    Raises ``ValueError`` unless ``degree`` is an integer >= 0.
    """
    degree = checks.integer("degree", degree, 0)
    every = -(-psi.size // _MOST_VALUES)
    z, psi = z[::every], psi[::every]
    bounds = float(z.min()), float(z.max())
    design = np.polynomial.chebyshev.chebvander(on_unit_interval(z, *bounds).ravel(), degree)
    coefficients = np.asarray(np.linalg.lstsq(design, psi.ravel(), rcond=None)[0], np.float64)
    return PolynomialTrend(coefficients, *bounds)


def on_unit_interval(z: F64, lower: float, upper: float) -> F64:
    """Map ``z`` from [``lower``, ``upper``] to [-1, 1], and what lies beyond to the ends."""
    middle, half = lower + 0.5 * (upper - lower), 0.5 * (upper - lower)
    if half == 0.0:  # of a constant there is one value
        return np.zeros_like(z)
    return np.minimum(np.maximum((z - middle) / half, -1.0), 1.0)
