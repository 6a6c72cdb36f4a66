"""The trend, what of the target is a function of a site's features: its options, and how a fitted one is evaluated.

It is a polynomial of high degree in each predictor at the site itself, in Chebyshev polynomials of the scaled
predictor, plus all products of up to three features, plus random features (Rahimi & Recht 2007): smooth steps
s / sqrt(1 + s^2) of random linear combinations s of the features, with which a linear regression is a network of one
hidden layer. They are drawn once and for all, and need no functions but the square root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.closures.features import Features, gather, rows
from l96closure.compiled import cached

__all__ = ["MOST_HIDDEN", "FittedTrend", "Regressor", "RegressorTrend", "Trend", "trend_or_regressor"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

MOST_HIDDEN = 2**12
"""Fewer random features than this."""


@dataclass(frozen=True)
class Trend:
    """Options of the trend: what of the target is a function of the features.

    Parameters
    ----------
    degree : of the polynomial in each predictor at the site itself, >= 0.
    order : highest order of the products of features that are added, from 1, the features themselves, to 3; None is
        chosen on held-out blocks of time.
    ridge : weight of the penalty per row and standardised column, >= 0; None is chosen on held-out blocks of time.
    hidden : number of random features that are added where a site sees more than itself now, >= 0; None is 200 if
        ``order`` is open too and held-out blocks ask for them, else none.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    degree: int = 8
    order: int | None = None
    ridge: float | None = None
    hidden: int | None = None

    def __post_init__(self) -> None:
        checks.integer("trend.degree", self.degree, 0)
        if self.order is not None:
            checks.integer("trend.order", self.order, 1, below=4)
        if self.hidden is not None:
            checks.integer("trend.hidden", self.hidden, 0, below=MOST_HIDDEN)
        if self.ridge is not None:
            checks.number("trend.ridge", self.ridge, minimum=0.0)


@dataclass(frozen=True, eq=False)
class FittedTrend:
    """A trend with its coefficients, for P predictors and F features.

    Attributes
    ----------
    features : what it is a function of.
    chebyshev : coefficients of the Chebyshev polynomials of each predictor at the site itself (P, degree + 1).
    linear : of each feature (F,).
    quadratic : of products of two (F, F), where the first is no later than the second.
    cubic : of products of three (F, F, F), likewise; (0, 0, 0) without.
    hidden : weights of the R random features, and their constants in the last row (F + 1, R); (F + 1, 0) without.
    output : coefficients of the random features (R,).
    """

    features: Features
    chebyshev: F64
    linear: F64
    quadratic: F64
    cubic: F64
    hidden: F64
    output: F64

    def __call__(self, z: F64, history: F64) -> tuple[F64, Index]:
        """Evaluate for z (n, P, K) and what came before it (n, H, P, K), the last step first.

        Returns
        -------
        The trend (n, K), and how many features of each member were outside of the training range (n,).
        """
        values, first = rows(z, history)
        return self._at(values, first, 1)

    def of_series(self, series: F64, times: Index) -> F64:
        """Evaluate at some times of a series (time, P, K), each at least the longest lag; (len(times), K)."""
        return self._at(series, times, -1)[0]

    def _at(self, values: F64, row: Index, sign: int) -> tuple[F64, Index]:
        out, outside = np.empty((row.size, values.shape[2])), np.zeros(row.size, np.intp)
        order = 3 if self.cubic.size else 2 if self.quadratic.any() else 1
        arrays = self.chebyshev, self.linear, self.quadratic, self.cubic, self.hidden, self.output
        _evaluate(values, row, sign, *self.features.arguments(), *arrays, order, out, outside)
        return out, outside


class Regressor(Protocol):
    """Any regression in the manner of scikit-learn."""

    def fit(self, features: F64, target: F64) -> Any:
        """Learn from features (n, F) and the target (n,)."""

    def predict(self, features: F64) -> F64:
        """Predict the target (n,)."""


def trend_or_regressor(name: str, value: Any) -> None:
    """Raise ``ValueError`` unless a value is a :class:`Trend` or has ``fit`` and ``predict``."""
    regresses = all(callable(getattr(value, method, None)) for method in ("fit", "predict"))
    if not isinstance(value, Trend) and (not regresses or isinstance(value, type)):
        checks.reject(name, value, "made by Trend, a regressor with fit and predict, or None")


@dataclass(frozen=True, eq=False)
class RegressorTrend:
    """A trend that somebody's regressor has learned from the scaled features.

    Attributes
    ----------
    features : what it is a function of.
    model : the fitted regressor.
    """

    features: Features
    model: Regressor

    def __call__(self, z: F64, history: F64) -> tuple[F64, Index]:
        """Evaluate as :class:`FittedTrend` does; what is outside of the training range is not counted."""
        values, first = rows(z, history)
        return self._at(values, first, 1), np.zeros(len(z), np.intp)

    def of_series(self, series: F64, times: Index) -> F64:
        """Evaluate as :class:`FittedTrend` does."""
        return self._at(series, times, -1)

    def _at(self, values: F64, row: Index, sign: int) -> F64:
        f = self.features.at(values, row, sign)
        return np.asarray(self.model.predict(f.reshape(-1, f.shape[2])), np.float64).reshape(f.shape[:2])


@cached
def _evaluate(
    values: F64, row: Index, sign: int, neighbour: Index, lags: Index, middle: F64, half: F64,
    chebyshev: F64, linear: F64, quadratic: F64, cubic: F64, hidden: F64, output: F64, order: int,
    out: F64, outside: Index,
) -> None:  # fmt: skip
    F, places = linear.size, neighbour.shape[1]
    f, slope, sums = np.empty(F), np.empty(F), np.empty(output.size)
    for n in range(row.size):
        for k in range(values.shape[2]):
            outside[n] += gather(values, row[n], sign, k, neighbour, lags, middle, half, f)
            total = 0.0
            for p in range(middle.size):
                twice, here, after = 2.0 * f[p * places], 0.0, 0.0
                for a in chebyshev[p, :0:-1]:
                    here, after = twice * here - after + a, here
                total += 0.5 * twice * here - after + chebyshev[p, 0]
            slope[:] = linear  # what each feature is multiplied by; the loops over m and r run in vectors
            if order > 1:
                for i in range(F):
                    for m in range(i, F):
                        slope[m] += quadratic[i, m] * f[i]
                    if order > 2:
                        for j in range(i, F):
                            product = f[i] * f[j]
                            for m in range(j, F):
                                slope[m] += cubic[i, j, m] * product
            for m in range(F):
                total += slope[m] * f[m]
            sums[:] = hidden[F]
            for i in range(F):
                for r in range(output.size):
                    sums[r] += hidden[i, r] * f[i]
            for r in range(output.size):
                sums[r] = output[r] * (sums[r] / math.sqrt(1.0 + sums[r] * sums[r]))
            for r in range(output.size):
                total += sums[r]
            out[n, k] = total
