"""Ridge regression of the target on polynomials, products and smooth steps.

The coefficients of a :class:`~l96closure.closures.trend.Trend` minimise the squared error plus a penalty on
standardised columns (ridge regression; Hoerl & Kennard 1970), whose weight is chosen on held-out blocks of time. The
same blocks give residuals that the trend has not seen: what is left over on its own training data is too small.

The smooth steps are chosen one after the other, each time the one that explains most of what is left, out of many
random ones (orthogonal least squares; Chen, Cowan & Grant 1991, IEEE Trans. Neural Netw. 2, 302-309): a few that fit
the data do better than many that do not know them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from itertools import combinations_with_replacement, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from l96closure import noise
from l96closure.closures.features import Features
from l96closure.closures.trend import MOST_HIDDEN, USUAL_DEGREE, FittedTrend, Regressor, RegressorTrend, Trend

__all__ = ["MOST_ROWS", "Columns", "Fit", "blocks", "fit_trend", "highest_order"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

MOST_ROWS = 60_000
"""Times and sites that a trend is fitted to, at most."""

_BLOCKS = 5  # of time, held out in turn
_ROWS_AT_ONCE = 2**14  # whose columns are in memory
_SINGULAR = 1e-13  # beside 1, of a correlation matrix whose columns may depend on each other
_RIDGES = tuple(10.0**power for power in range(-7, 1))  # per row and standardised column
_HIGHEST = 3  # order of products
_MOST_PRODUCTS = 2000  # where the order is open
_STEP = 4  # group of columns that are smooth steps
_USUAL_HIDDEN = 32
_CANDIDATES = MOST_HIDDEN  # random steps to choose from
_KEY = 20120614  # of them
_STEEPEST, _FARTHEST = 2.4, 1.2  # of a step: length of its weights, and its constant
_NEW = 1e-4  # part of a step's variance that the columns before leave, at least
_CONSTANT = 1e-14  # variance of a column, of values up to 1, that is rounding
_BETTER = 0.95  # part of the held-out mean square that costlier columns must come below


class Columns(NamedTuple):
    """Which columns a regression has: polynomials in the own predictors, products of features, candidates for steps."""

    degree: int
    own: Index
    products: tuple[Index, ...]  # of one, two and three features: (n, 1), (n, 2), (n, 3)
    hidden: F64  # (F + 1, R)

    @classmethod
    def of(cls, features: Features, options: Trend) -> Columns:
        """Leave out the powers of own predictors that the polynomials have already."""
        products, more = [], features.size > features.lower.size
        degree = USUAL_DEGREE if options.degree is None else options.degree
        for power in range(1, (options.order or highest_order(features.size)) + 1):
            rows = combinations_with_replacement(range(features.size), power)
            some = np.array(list(rows), np.intp).reshape(-1, power)
            same = (some == some[:, :1]).all(axis=1) & np.isin(some[:, 0], features.own) & (power <= degree)
            products.append(some[~same])
        candidates = _CANDIDATES if _number(options) and more else 0
        return cls(degree, features.own, tuple(products), _drawn(candidates, features))

    @property
    def group(self) -> Index:
        """Order of the product in each column, 0 of constant and polynomials, ``_STEP`` of steps."""
        sizes = [1 + self.own.size * self.degree, *(len(some) for some in self.products), self.hidden.shape[1]]
        return np.repeat([*range(len(self.products) + 1), _STEP], sizes)

    def choices(self, options: Trend) -> list[list[int]]:
        """Return the groups of columns to choose among, the simplest first; the last where nothing is open."""
        orders = [list(range(order + 1)) for order in range(1, len(self.products) + 1)]
        steps = [_STEP] if self.hidden.size else []
        if options.order is not None:
            return [orders[-1] + steps]
        return [*orders[:2], orders[:2][-1] + steps, *orders[2:]] if steps else orders

    def design(self, f: F64) -> F64:
        """Return the columns (rows, C) of features (rows, F); the first is 1."""
        powers = [np.polynomial.chebyshev.chebvander(f[:, p], self.degree)[:, 1:] for p in self.own]
        products = [math.prod(f[:, column] for column in some.T) for some in self.products]
        sums = np.clip(f @ self.hidden[:-1] + self.hidden[-1], -1.0, 1.0)
        return np.concatenate([np.ones((len(f), 1)), *powers, *products, sums * (1.5 - 0.5 * sums**2)], axis=1)

    def coefficients(self, features: Features, b: F64, used: Index, level: float) -> tuple[F64, ...]:
        """Return what :class:`FittedTrend` has, from those of the columns ``used`` and a level."""
        group = self.group[used]
        own, F, D = self.own.size, features.size, self.degree
        chebyshev = np.zeros((own, D + 1))
        chebyshev[0, 0] = b[0] + level
        chebyshev[:, 1:] = b[1 : 1 + own * D].reshape(own, D)
        arrays = [np.zeros(F), np.zeros((F, F)), np.zeros((F if 3 in group else 0,) * 3)]
        for power in set(group) - {0, _STEP}:
            arrays[power - 1][tuple(self.products[power - 1].T)] = b[group == power]
        hidden = self.hidden[:, used[group == _STEP] - (self.group.size - self.hidden.shape[1])]
        return chebyshev, *arrays, hidden, b[group == _STEP]


def highest_order(size: int, at_most: int = _HIGHEST) -> int:
    """Return the highest order, one at least, of which products of so many features are few enough."""
    allowed = [order for order in range(1, at_most + 1) if math.comb(size + order, order) <= _MOST_PRODUCTS]
    return max(allowed, default=1)


def _number(options: Trend) -> int:
    """Return how many steps are chosen."""
    if options.hidden is not None:
        return options.hidden
    return _USUAL_HIDDEN if options.order is None else 0


def _drawn(number: int, features: Features) -> F64:
    """Weights of random steps, and their constants (F + 1, number): always the same ones.

    Every other one is a step in what the site itself has alone.
    """
    size = features.size
    normals = noise.normals(_KEY, 0, 0, site=np.arange(size + 2)[:, None] * MOST_HIDDEN + np.arange(number))
    others = np.setdiff1d(np.arange(size), features.own)
    normals[others[:, None], np.arange(0, number, 2)] = 0.0
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
    most_rows: int = MOST_ROWS,
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
    total = sum(one.size for one in target)
    share = min(1.0, most_rows / total)
    held_out = [_rows(series, target, features, parts, share) for parts in blocks(series, features.longest)]
    if not isinstance(options, Trend):
        return _learned(held_out, features, options)
    columns, sums = Columns.of(features, options), []
    level = float(np.mean(np.concatenate(target)))  # taken off, lest squares cancel where zero is far away
    for f, values in held_out:
        pieces = [slice(first, first + _ROWS_AT_ONCE) for first in range(0, max(len(f), 1), _ROWS_AT_ONCE)]
        sums.append(_Sums.total([_Sums.over(columns.design(f[some]), values[some] - level) for some in pieces]))
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

    @classmethod
    def over(cls, x: F64, y: F64) -> _Sums:
        """Take the sums over rows."""
        return cls(len(y), x.T @ x, x.T @ y, float(y @ y))

    @classmethod
    def total(cls, parts: list[_Sums]) -> _Sums:
        """Add up sums over different rows."""
        return cls(*(sum(some[1:], some[0]) for some in zip(*parts, strict=True)))

    def without(self, other: _Sums) -> _Sums:
        """Return the sums over the rows that are not those of another."""
        return _Sums(self.n - other.n, self.xx - other.xx, self.xy - other.xy, self.yy - other.yy)

    def of(self, columns: Index) -> _Sums:
        """Return the sums of some columns."""
        return _Sums(self.n, self.xx[np.ix_(columns, columns)], self.xy[columns], self.yy)

    def squares(self, b: F64) -> float:
        """Sum of squared errors of coefficients."""
        return float(self.yy - 2.0 * b @ self.xy + b @ self.xx @ b)

    def standardised(self) -> tuple[F64, F64, F64]:
        """Return correlations of the columns but for the first, a constant, theirs with y, and 1 / their spreads.

        Of what does not vary they are 0; those with y are in units of y.
        """
        mean, of_y = self.xx[0, 1:] / self.n, self.xy[0] / self.n
        centred = self.xx[1:, 1:] / self.n - np.outer(mean, mean)
        varied = np.diag(centred) > _CONSTANT
        per_spread = np.where(varied, 1.0 / np.sqrt(np.where(varied, np.diag(centred), 1.0)), 0.0)
        return centred * np.outer(per_spread, per_spread), (self.xy[1:] / self.n - mean * of_y) * per_spread, per_spread


def _solve(sums: list[_Sums], columns: Columns, features: Features, options: Trend, level: float) -> Fit:
    """Choose ridge, and columns where they are open, by the held-out error: the simpler where nearly as good."""
    ridges = _RIDGES if options.ridge is None else (options.ridge,)
    whole = _Sums.total(sums)
    learned_from = [whole, *(whole.without(one) for one in sums)]
    best = None
    for groups in columns.choices(options):
        chosen = np.isin(columns.group, groups)
        fixed = np.flatnonzero(chosen & (columns.group != _STEP))
        open_to = np.flatnonzero(chosen & (columns.group == _STEP))
        used = [_greedy(one, fixed, open_to, _number(options)) for one in learned_from]
        paths = [_path(one.of(some), ridges) for one, some in zip(learned_from, used, strict=True)]
        errors = [
            sum(one.of(some).squares(path[i]) for one, some, path in zip(sums, used[1:], paths[1:], strict=True))
            for i in range(len(ridges))
        ]
        at = int(np.argmin(errors))
        error = errors[at] / whole.n
        if best is None or error < _BETTER * best[0]:
            best = error, [(path[at], some) for path, some in zip(paths, used, strict=True)]
    assert best is not None
    made = [FittedTrend(features, *columns.coefficients(features, *some, level)) for some in best[1]]
    return Fit(made[0], made[1:], best[0])


def _greedy(sums: _Sums, fixed: Index, candidates: Index, number: int) -> Index:
    """Return the columns ``fixed`` and those of the candidates that explain most, one after the other."""
    if not candidates.size:
        return fixed
    correlation, along, _ = sums.of(np.append(fixed, candidates)).standardised()
    m = fixed.size - 1  # the constant has been taken off
    factor = scipy.linalg.cholesky(correlation[:m, :m] + _RIDGES[0] * np.eye(m), lower=True)
    explained = scipy.linalg.solve_triangular(factor, np.column_stack([correlation[:m, m:], along[:m]]), lower=True)
    rows = list(explained[:, :-1])  # of a Cholesky factor, one more for each step
    left = np.diag(correlation)[m:] - (explained[:, :-1] ** 2).sum(axis=0)
    wanted = along[m:] - explained[:, :-1].T @ explained[:, -1]
    found: list[int] = []
    for _ in range(min(number, candidates.size)):
        gain = np.where(left > _NEW, wanted**2 / np.maximum(left, _NEW), 0.0)
        gain[found] = 0.0
        best = int(np.argmax(gain))
        if not gain[best] > 0.0:
            break
        together = np.array(rows)
        row = (correlation[m + best, m:] - together[:, best] @ together) / np.sqrt(left[best])
        wanted = wanted - row * (wanted[best] / np.sqrt(left[best]))
        left = left - row**2
        rows.append(row)
        found.append(best)
    return np.append(fixed, candidates[np.sort(np.array(found, np.intp))])


def _path(sums: _Sums, ridges: Sequence[float]) -> list[F64]:
    """Coefficients for each ridge, of columns that are standardised but for the first, a constant; 0 of others."""
    correlation, along, per_spread = sums.standardised()
    found = []
    for ridge in ridges:
        penalised = correlation + (ridge + _SINGULAR) * np.eye(along.size)
        slopes = scipy.linalg.solve(penalised, along, assume_a="pos") * per_spread if along.size else along
        found.append(np.concatenate([[(sums.xy[0] - sums.xx[0, 1:] @ slopes) / sums.n], slopes]))
    return found
