"""Trends of the target in the features of a site: additive polynomials and products of features, fitted by ridge.

The trend is a polynomial of high degree in each predictor at the site itself, in Chebyshev polynomials of the scaled
predictor, plus all products of up to three features. Its coefficients minimise the squared error plus a penalty on
standardised columns (ridge regression; Hoerl & Kennard 1970), whose weight is chosen on held-out blocks of time. The
same blocks give residuals that the trend has not seen: what is left over on its own training data is too small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.closures.features import Features, gather, rows
from l96closure.compiled import cached

__all__ = ["FittedTrend", "Regressor", "RegressorTrend", "Trend", "fit_trend", "trend_or_regressor"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_MOST_ROWS = 100_000  # times and sites that a trend is fitted to
_BLOCKS = 8  # of time, held out in turn
_RIDGES = tuple(10.0**power for power in range(-8, 2))  # per row and standardised column
_HIGHEST = 3  # order of products
_BETTER = 0.98  # part of the held-out mean square that a higher order must come below


@dataclass(frozen=True)
class Trend:
    """Options of the trend: what of the target is a function of the features.

    Parameters
    ----------
    degree : of the polynomial in each predictor at the site itself, >= 0.
    order : highest order of the products of features that are added, from 1, the features themselves, to 3; None is
        chosen on held-out blocks of time.
    ridge : weight of the penalty per row and standardised column, >= 0; None is chosen on held-out blocks of time.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    degree: int = 8
    order: int | None = None
    ridge: float | None = None

    def __post_init__(self) -> None:
        checks.integer("trend.degree", self.degree, 0)
        if self.order is not None:
            checks.integer("trend.order", self.order, 1, below=4)
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
    """

    features: Features
    chebyshev: F64
    linear: F64
    quadratic: F64
    cubic: F64

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
        arrays = self.chebyshev, self.linear, self.quadratic, self.cubic
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
    chebyshev: F64, linear: F64, quadratic: F64, cubic: F64, order: int, out: F64, outside: Index,
) -> None:  # fmt: skip
    f, places = np.empty(linear.size), neighbour.shape[1]
    for n in range(row.size):
        for k in range(values.shape[2]):
            outside[n] += gather(values, row[n], sign, k, neighbour, lags, middle, half, f)
            total = 0.0
            for p in range(middle.size):
                twice, here, after = 2.0 * f[p * places], 0.0, 0.0
                for a in chebyshev[p, :0:-1]:
                    here, after = twice * here - after + a, here
                total += 0.5 * twice * here - after + chebyshev[p, 0]
            for i in range(f.size):
                slope = linear[i]
                if order > 1:
                    for j in range(i, f.size):
                        curvature = quadratic[i, j]
                        if order > 2:
                            for m in range(j, f.size):
                                curvature += cubic[i, j, m] * f[m]
                        slope += curvature * f[j]
                total += f[i] * slope
            out[n, k] = total


class Columns(NamedTuple):
    """Which columns a regression has: degree of the polynomials in the own predictors, and products of features."""

    degree: int
    own: Index
    products: tuple[Index, ...]  # of one, two and three features: (n, 1), (n, 2), (n, 3)

    @classmethod
    def of(cls, features: Features, degree: int, order: int) -> Columns:
        """Leave out the powers of own predictors that the polynomials have already."""
        products = []
        for power in range(1, order + 1):
            rows = combinations_with_replacement(range(features.size), power)
            some = np.array(list(rows), np.intp).reshape(-1, power)
            same = (some == some[:, :1]).all(axis=1) & np.isin(some[:, 0], features.own) & (power <= degree)
            products.append(some[~same])
        return cls(degree, features.own, tuple(products))

    @property
    def orders(self) -> Index:
        """Order of the product in each column, 0 of the constant and the polynomials."""
        sizes = [1 + self.own.size * self.degree, *(len(some) for some in self.products)]
        return np.repeat(np.arange(len(sizes)), sizes)

    def design(self, f: F64) -> F64:
        """Return the columns (rows, C) of features (rows, F); the first is 1."""
        powers = [np.polynomial.chebyshev.chebvander(f[:, p], self.degree)[:, 1:] for p in self.own]
        products = [math.prod(f[:, column] for column in some.T) for some in self.products]
        return np.concatenate([np.ones((len(f), 1)), *powers, *products], axis=1)

    def coefficients(self, features: Features, b: F64) -> tuple[F64, ...]:
        """Return Chebyshev, linear, quadratic and cubic coefficients from those of the columns (C,)."""
        P, F, D = self.own.size, features.size, self.degree
        chebyshev = np.zeros((P, D + 1))
        chebyshev[0, 0] = b[0]
        chebyshev[:, 1:] = b[1 : 1 + P * D].reshape(P, D)
        order, of = len(self.products), self.orders
        arrays = [np.zeros((F,) * power) for power in (1, 2)] + [np.zeros((F if order > 2 else 0,) * 3)]
        for power, some in enumerate(self.products, start=1):
            arrays[power - 1][tuple(some.T)] = b[of == power]
        return chebyshev, *arrays


class Fit(NamedTuple):
    """Result of a regression: the trend, that of each block of time without it, and the held-out mean square."""

    trend: FittedTrend | RegressorTrend
    without: Sequence[FittedTrend | RegressorTrend]
    held_out: float


def blocks(series: Sequence[F64], first: int) -> list[list[Index]]:
    """Cut the times of some segments, from ``first`` of each on, into blocks: the times in each segment of each."""
    lengths = [max(len(one) - first, 0) for one in series]
    ends = np.linspace(0, sum(lengths), _BLOCKS + 1).round().astype(int)
    starts = np.cumsum([0, *lengths])
    return [
        [
            first + np.arange(max(low, start), min(high, start + length)) - start
            for start, length in zip(starts, lengths, strict=False)
        ]
        for low, high in pairwise(ends)
    ]


def fit_trend(
    series: Sequence[F64],
    target: Sequence[F64],
    features: Features,
    options: Trend | Regressor,
    most_rows: int = _MOST_ROWS,
) -> Fit:
    """Fit a trend by ridge regression.

    Parameters
    ----------
    series : predictors of each segment (time, P, K).
    target : of each segment (time, K).
    features : what the trend sees.
    options : its form, or a regressor that has not been fitted.
    most_rows : times and sites, beyond which only every n-th time is used.
    """
    total = sum(len(one) * one.shape[2] for one in series)
    every = max(1, -(-total // most_rows))
    held_out = [_rows(series, target, features, parts, every) for parts in blocks(series, features.longest)]
    if not isinstance(options, Trend):
        return _learned(held_out, features, options)
    columns, sums = Columns.of(features, options.degree, options.order or _HIGHEST), []
    for f, wanted in held_out:
        design = columns.design(f)
        sums.append(_Sums(len(wanted), design.T @ design, design.T @ wanted, float(wanted @ wanted)))
    return _solve(sums, columns, features, options)


def _rows(
    series: Sequence[F64], target: Sequence[F64], features: Features, parts: list[Index], every: int
) -> tuple[F64, F64]:
    """Return features (n, F) and target (n,) of every n-th time of a block."""
    some = [(one, of, times[::every]) for one, of, times in zip(series, target, parts, strict=True) if times.size]
    seen = [features.at(one, times, -1).reshape(-1, features.size) for one, _, times in some]
    return np.concatenate(seen), np.concatenate([of[times].ravel() for _, of, times in some])


def _learned(held_out: list[tuple[F64, F64]], features: Features, regressor: Regressor) -> Fit:
    """Have a regressor learn from all blocks, and from all but each of them."""
    made, error = [], 0.0
    for without in (None, *range(len(held_out))):
        x, y = (
            np.concatenate(parts) for parts in zip(*(b for i, b in enumerate(held_out) if i != without), strict=True)
        )
        model = deepcopy(regressor)
        model.fit(x, y)
        made.append(RegressorTrend(features, model))
        if without is not None:
            error += float(((model.predict(held_out[without][0]) - held_out[without][1]) ** 2).sum())
    return Fit(made[0], made[1:], error / sum(len(y) for _, y in held_out))


class _Sums(NamedTuple):
    """Sums over the rows of a block: their number, X'X, X'y and y'y."""

    n: int
    xx: F64
    xy: F64
    yy: float

    def without(self, other: _Sums) -> _Sums:
        """Return the sums over the rows that are not those of another."""
        return _Sums(self.n - other.n, self.xx - other.xx, self.xy - other.xy, self.yy - other.yy)

    def squares(self, b: F64) -> float:
        """Sum of squared errors of coefficients."""
        return float(self.yy - 2.0 * b @ self.xy + b @ self.xx @ b)


def _solve(sums: list[_Sums], columns: Columns, features: Features, options: Trend) -> Fit:
    """Choose ridge, and order where it is open, by the held-out error, the lower order where that is as good."""
    ridges = _RIDGES if options.ridge is None else (options.ridge,)
    found: list[tuple[float, int, list[F64]]] = []
    for order in range(1, len(columns.products) + 1) if options.order is None else [options.order]:
        kept = columns.orders <= order
        some = [_Sums(one.n, one.xx[np.ix_(kept, kept)], one.xy[kept], one.yy) for one in sums]
        whole = _Sums(*(sum(parts[1:], parts[0]) for parts in zip(*some, strict=True)))
        paths = [_path(whole.without(one), ridges) for one in some]
        errors = [sum(one.squares(path[i]) for one, path in zip(some, paths, strict=True)) for i in range(len(ridges))]
        best = int(np.argmin(errors))
        error = errors[best] / whole.n
        if not found or error < _BETTER * found[-1][0]:
            each = [path[best] for path in paths]
            found.append((error, order, [_path(whole, ridges[best : best + 1])[0], *each]))
    error, order, coefficients = found[-1]
    used = columns._replace(products=columns.products[:order])
    made = [FittedTrend(features, *used.coefficients(features, b)) for b in coefficients]
    return Fit(made[0], made[1:], error)


def _path(sums: _Sums, ridges: Sequence[float]) -> list[F64]:
    """Coefficients for each ridge, of columns that are standardised but for the first, a constant."""
    mean, of_y = sums.xx[0, 1:] / sums.n, sums.xy[0] / sums.n
    centred = sums.xx[1:, 1:] / sums.n - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(centred), 1e-300))
    values, vectors = np.linalg.eigh(centred / np.outer(spread, spread))
    along = vectors.T @ ((sums.xy[1:] / sums.n - mean * of_y) / spread)
    found = []
    for ridge in ridges:
        slopes = vectors @ (along / (np.maximum(values, 0.0) + ridge + 1e-14)) / spread
        found.append(np.concatenate([[of_y - mean @ slopes], slopes]))
    return found
