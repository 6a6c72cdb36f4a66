"""Trends of the target in the features of a site: additive polynomials and products of features, fitted by ridge.

The trend is a polynomial of high degree in each predictor at the site itself, in Chebyshev polynomials of the scaled
predictor, plus all products of up to three features, plus random features (Rahimi & Recht 2007): smooth steps
s / sqrt(1 + s^2) of random linear combinations s of the features, with which a linear regression is a network of one
hidden layer. They are drawn once and for all, and need no functions but the square root. The coefficients
minimise the squared error plus a penalty on
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
import scipy

from l96closure import checks, noise
from l96closure.closures.features import Features, gather, rows
from l96closure.compiled import cached

__all__ = ["FittedTrend", "Regressor", "RegressorTrend", "Trend", "fit_trend", "trend_or_regressor"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_MOST_ROWS = 60_000  # times and sites that a trend is fitted to
_BLOCKS = 5  # of time, held out in turn
_SINGULAR = 1e-13  # beside 1, of a correlation matrix whose columns may depend on each other
_RIDGES = tuple(10.0**power for power in range(-7, 1))  # per row and standardised column
_HIGHEST = 3  # order of products
_RANDOM = 4  # group of columns that are random features
_USUAL_HIDDEN, _MOST_HIDDEN = 200, 2**12
_KEY = 20120614  # of the random features
_STEEPEST, _FARTHEST = 4.0, 2.0  # of a random feature: slope, and distance of its centre from the middle
_CONSTANT = 1e-14  # variance of a column, of values up to 1, that is rounding
_BETTER = 0.95  # part of the held-out mean square that costlier columns must come below


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
            checks.integer("trend.hidden", self.hidden, 0, below=_MOST_HIDDEN)
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


class Columns(NamedTuple):
    """Which columns a regression has: polynomials in the own predictors, products of features, random features."""

    degree: int
    own: Index
    products: tuple[Index, ...]  # of one, two and three features: (n, 1), (n, 2), (n, 3)
    hidden: F64  # (F + 1, R)

    @classmethod
    def of(cls, features: Features, options: Trend) -> Columns:
        """Leave out the powers of own predictors that the polynomials have already."""
        products, more = [], features.size > features.own.size
        for power in range(1, (options.order or _HIGHEST) + 1):
            rows = combinations_with_replacement(range(features.size), power)
            some = np.array(list(rows), np.intp).reshape(-1, power)
            same = (some == some[:, :1]).all(axis=1) & np.isin(some[:, 0], features.own) & (power <= options.degree)
            products.append(some[~same])
        return cls(
            options.degree, features.own, tuple(products), _drawn(_number(options) if more else 0, features.size)
        )

    @property
    def group(self) -> Index:
        """Order of the product in each column, 0 of constant and polynomials, ``_RANDOM`` of random features."""
        sizes = [1 + self.own.size * self.degree, *(len(some) for some in self.products), self.hidden.shape[1]]
        return np.repeat([*range(len(self.products) + 1), _RANDOM], sizes)

    def choices(self, options: Trend) -> list[list[int]]:
        """Return the groups of columns to choose among, the simplest first; the last where nothing is open."""
        orders = [list(range(order + 1)) for order in range(1, len(self.products) + 1)]
        if options.order is not None:
            return [orders[-1] + ([_RANDOM] if self.hidden.size else [])]
        return orders + ([[*orders[1], _RANDOM]] if self.hidden.size else [])

    def design(self, f: F64) -> F64:
        """Return the columns (rows, C) of features (rows, F); the first is 1."""
        powers = [np.polynomial.chebyshev.chebvander(f[:, p], self.degree)[:, 1:] for p in self.own]
        products = [math.prod(f[:, column] for column in some.T) for some in self.products]
        sums = f @ self.hidden[:-1] + self.hidden[-1]
        return np.concatenate([np.ones((len(f), 1)), *powers, *products, sums / np.sqrt(1.0 + sums**2)], axis=1)

    def coefficients(self, features: Features, b: F64, used: list[int], level: float) -> tuple[F64, ...]:
        """Return what :class:`FittedTrend` has, from those of the columns of the groups ``used`` and a level."""
        group = self.group[np.isin(self.group, used)]
        P, F, D = self.own.size, features.size, self.degree
        chebyshev = np.zeros((P, D + 1))
        chebyshev[0, 0] = b[0] + level
        chebyshev[:, 1:] = b[1 : 1 + P * D].reshape(P, D)
        arrays = [np.zeros(F), np.zeros((F, F)), np.zeros((F if 3 in used else 0,) * 3)]
        for power in set(used) - {0, _RANDOM}:
            arrays[power - 1][tuple(self.products[power - 1].T)] = b[group == power]
        hidden = self.hidden if _RANDOM in used else self.hidden[:, :0]
        return chebyshev, *arrays, hidden, b[group == _RANDOM]


def _number(options: Trend) -> int:
    """Return how many random features are tried."""
    if options.hidden is not None:
        return options.hidden
    return _USUAL_HIDDEN if options.order is None else 0


def _drawn(number: int, size: int) -> F64:
    """Weights of random features, and their constants (size + 1, number): always the same ones."""
    normals = noise.normals(_KEY, 0, 0, site=np.arange(size + 2)[:, None] * _MOST_HIDDEN + np.arange(number))
    direction, length = normals[:size], _STEEPEST * np.sqrt(scipy.special.ndtr(normals[size]))
    weights = direction * (length / np.sqrt((direction**2).sum(axis=0)))
    constants = _FARTHEST * (2.0 * scipy.special.ndtr(normals[size + 1 :]) - 1.0)
    return np.concatenate([weights, constants])


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
    most_rows : times and sites, beyond which times are drawn.
    """
    total = sum(len(one) * one.shape[2] for one in series)
    share = min(1.0, most_rows / total)
    held_out = [_rows(series, target, features, parts, share) for parts in blocks(series, features.longest)]
    if not isinstance(options, Trend):
        return _learned(held_out, features, options)
    columns, sums = Columns.of(features, options), []
    level = float(np.mean(np.concatenate(target)))  # taken off, lest squares cancel where zero is far away
    for f, values in held_out:
        design, wanted = columns.design(f), values - level
        sums.append(_Sums(len(wanted), design.T @ design, design.T @ wanted, float(wanted @ wanted)))
    return _solve(sums, columns, features, options, level)


def _rows(
    series: Sequence[F64], target: Sequence[F64], features: Features, parts: list[Index], share: float
) -> tuple[F64, F64]:
    """Return features (n, F) and target (n,) of a share of the times of a block, drawn always alike."""
    rng = np.random.default_rng(0)  # every n-th time would see one phase of a cycle alone
    drawn = [np.sort(rng.permutation(times)[: math.ceil(share * times.size)]) for times in parts]
    some = [(one, of, times) for one, of, times in zip(series, target, drawn, strict=True) if times.size]
    seen = [features.at(one, times, -1).reshape(-1, features.size) for one, _, times in some]
    values = [of[times].ravel() for _, of, times in some]
    return np.concatenate([np.empty((0, features.size)), *seen]), np.concatenate([np.empty(0), *values])


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


def _solve(sums: list[_Sums], columns: Columns, features: Features, options: Trend, level: float) -> Fit:
    """Choose ridge, and columns where they are open, by the held-out error: the simpler where nearly as good."""
    ridges = _RIDGES if options.ridge is None else (options.ridge,)
    found: list[tuple[float, list[int], list[F64]]] = []
    for groups in columns.choices(options):
        kept = np.isin(columns.group, groups)
        some = [_Sums(one.n, one.xx[np.ix_(kept, kept)], one.xy[kept], one.yy) for one in sums]
        whole = _Sums(*(sum(parts[1:], parts[0]) for parts in zip(*some, strict=True)))
        paths = [_path(whole.without(one), ridges) for one in some]
        errors = [sum(one.squares(path[i]) for one, path in zip(some, paths, strict=True)) for i in range(len(ridges))]
        best = int(np.argmin(errors))
        error = errors[best] / whole.n
        if not found or error < _BETTER * found[-1][0]:
            each = [path[best] for path in paths]
            found.append((error, groups, [_path(whole, ridges[best : best + 1])[0], *each]))
    error, groups, coefficients = found[-1]
    made = [FittedTrend(features, *columns.coefficients(features, b, groups, level)) for b in coefficients]
    return Fit(made[0], made[1:], error)


def _path(sums: _Sums, ridges: Sequence[float]) -> list[F64]:
    """Coefficients for each ridge, of columns that are standardised but for the first, a constant; 0 of others."""
    mean, of_y = sums.xx[0, 1:] / sums.n, sums.xy[0] / sums.n
    centred = sums.xx[1:, 1:] / sums.n - np.outer(mean, mean)
    varied = np.diag(centred) > _CONSTANT
    per_spread = np.where(varied, 1.0 / np.sqrt(np.where(varied, np.diag(centred), 1.0)), 0.0)
    correlation = centred * np.outer(per_spread, per_spread)
    along = (sums.xy[1:] / sums.n - mean * of_y) * per_spread
    found = []
    for ridge in ridges:
        penalised = correlation + (ridge + _SINGULAR) * np.eye(along.size)
        slopes = scipy.linalg.solve(penalised, along, assume_a="pos") * per_spread if along.size else along
        found.append(np.concatenate([[of_y - mean @ slopes], slopes]))
    return found
