"""Ridge regression of the target on polynomials, products and smooth steps.

The coefficients of a :class:`~l96closure.closures.trend.Trend` minimise the squared error plus a penalty on
standardised columns (ridge regression; Hoerl & Kennard 1970), whose weight is chosen on held-out blocks of time. The
same blocks give residuals that the trend has not seen: what is left over on its own training data is too small.

The smooth steps (:mod:`l96closure.closures.smooth_steps`) are columns as well, once they have learned; for a block of
time that is held out, they have learned from the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import combinations_with_replacement, pairwise
from typing import NamedTuple

import numpy as np
import scipy
from threadpoolctl import threadpool_limits

from l96closure.arrays import F64, Index
from l96closure.closures import smooth_steps
from l96closure.closures.features import Features
from l96closure.closures.trend import USUAL_DEGREE, FittedTrend, Regressor, RegressorTrend, Trend
from l96closure.compiled import threads

MOST_ROWS = 60_000
"""Times and sites that a trend is fitted to, at most."""

_BLOCKS = 5  # of time, held out in turn
_ROWS_AT_ONCE = 2**14  # whose columns are in memory
_SINGULAR = 1e-13  # beside 1, of a correlation matrix whose columns may depend on each other
_RIDGES = tuple(10.0**power for power in range(-7, 1))  # per row and standardised column
_HIGHEST = 3  # order of products
_MOST_PRODUCTS = 2000  # where the order is open
_BESIDE_STEPS = 2  # order of products that steps stand beside, where it is open
_ROWS_OF_STEPS = 12_000  # times and sites that steps learn from
_LARGE = 10_000_000  # numbers of a design that is in memory once, and not for several blocks at a time
_CONSTANT = 1e-8  # variance of a column, of values up to 1, beside which rounding of sums is no less than a ridge
_BETTER = 0.95  # part of the held-out mean square that costlier columns must come below


class Columns(NamedTuple):
    """Which columns a regression has: polynomials in the own predictors, products of features, smooth steps."""

    degree: int
    own: Index
    products: tuple[Index, ...]  # of one, two and three features: (n, 1), (n, 2), (n, 3)
    hidden: F64  # (F + 1, R)

    @classmethod
    def of(cls, features: Features, options: Trend) -> Columns:
        """Leave out the powers of own predictors that the polynomials have already."""
        products, degree = [], USUAL_DEGREE if options.degree is None else options.degree
        for power in range(1, (options.order or highest_order(features.size)) + 1):
            rows = combinations_with_replacement(range(features.size), power)
            some = np.array(list(rows), np.intp).reshape(-1, power)
            same = (some == some[:, :1]).all(axis=1) & np.isin(some[:, 0], features.own) & (power <= degree)
            products.append(some[~same])
        return cls(degree, features.own, tuple(products), np.empty((features.size + 1, 0)))

    @property
    def size(self) -> int:
        """How many columns there are."""
        return int(1 + self.own.size * self.degree + sum(map(len, self.products)) + self.hidden.shape[1])

    def up_to(self, order: int) -> Columns:
        """Leave out products of a higher order, which come last."""
        return self._replace(products=self.products[:order])

    def design(self, f: F64) -> F64:
        """Return the columns (rows, C) of features (rows, F); the first is 1."""
        powers = [np.polynomial.chebyshev.chebvander(f[:, p], self.degree)[:, 1:] for p in self.own]
        products = [math.prod(f[:, column] for column in some.T) for some in self.products]
        steps = smooth_steps.values(f, self.hidden)
        return np.concatenate([np.ones((len(f), 1)), *powers, *products, steps], axis=1)

    def coefficients(self, features: Features, b: F64, level: float) -> tuple[F64, ...]:
        """Return what :class:`FittedTrend` has, from those of the columns and a level."""
        own, F, D = self.own.size, features.size, self.degree
        sizes = [1, own * D, *map(len, self.products)]
        constant, powers, *products, output = np.split(b, np.cumsum(sizes))
        chebyshev = np.zeros((own, D + 1))
        chebyshev[0, 0] = constant[0] + level
        chebyshev[:, 1:] = powers.reshape(own, D)
        arrays = [np.zeros(F), np.zeros((F, F)), np.zeros((F if len(products) == _HIGHEST else 0,) * 3)]
        for array, some, values in zip(arrays, self.products, products, strict=False):
            array[tuple(some.T)] = values
        return chebyshev, *arrays, self.hidden, output


def highest_order(size: int, at_most: int = _HIGHEST) -> int:
    """Return the highest order, one at least, of which products of so many features are few enough."""
    allowed = [order for order in range(1, at_most + 1) if math.comb(size + order, order) <= _MOST_PRODUCTS]
    return max(allowed, default=1)


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
    level = float(np.mean(np.concatenate(target)))  # taken off, lest squares cancel where zero is far away
    blocks_of_rows = [(f, values - level) for f, values in held_out]
    with threadpool_limits(1, "blas"):  # whose threads spin, and whose sums would depend on their number
        return _chosen(_tried(blocks_of_rows, features, options), features, options, level)


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
    def over_pieces(cls, columns: Columns, f: F64, target: F64) -> _Sums:
        """Take the sums of columns over many rows."""
        pieces = [slice(first, first + _ROWS_AT_ONCE) for first in range(0, max(len(f), 1), _ROWS_AT_ONCE)]
        return cls.total([cls.over(columns.design(f[some]), target[some]) for some in pieces])

    @classmethod
    def total(cls, parts: list[_Sums]) -> _Sums:
        """Add up sums over different rows."""
        return cls(*(sum(some[1:], some[0]) for some in zip(*parts, strict=True)))

    def without(self, other: _Sums) -> _Sums:
        """Return the sums over the rows that are not those of another."""
        return _Sums(self.n - other.n, self.xx - other.xx, self.xy - other.xy, self.yy - other.yy)

    def leading(self, columns: int) -> _Sums:
        """Return the sums of so many columns."""
        return _Sums(self.n, self.xx[:columns, :columns], self.xy[:columns], self.yy)

    def squares(self, b: F64) -> float:
        """Sum of squared errors of coefficients."""
        return max(float(self.yy - 2.0 * b @ self.xy + b @ self.xx @ b), 0.0)  # rounding

    def standardised(self) -> tuple[F64, F64, F64]:
        """Return correlations of the columns but for the first, a constant, theirs with y, and 1 / their spreads.

        Of what does not vary they are 0; those with y are in units of y.
        """
        mean, of_y = self.xx[0, 1:] / self.n, self.xy[0] / self.n
        centred = self.xx[1:, 1:] / self.n - np.outer(mean, mean)
        varied = np.diag(centred) > _CONSTANT
        per_spread = np.where(varied, 1.0 / np.sqrt(np.where(varied, np.diag(centred), 1.0)), 0.0)
        return centred * np.outer(per_spread, per_spread), (self.xy[1:] / self.n - mean * of_y) * per_spread, per_spread


class _Tried(NamedTuple):
    """Columns of the whole and of each block of time without it, the sums they learn from, and those held out."""

    columns: Sequence[Columns]
    learned_from: Sequence[_Sums]
    held_out: Sequence[_Sums]


def _tried(rows: list[tuple[F64, F64]], features: Features, options: Trend) -> Iterator[_Tried]:
    """Make the columns to choose among, the simplest first, with sums over blocks of features and target."""
    columns, number = Columns.of(features, options), _number(features, options)
    without_steps, last = options.order is None or not number, len(columns.products)
    sums = [_Sums.over_pieces(columns, *one) for one in rows] if without_steps else []
    with_steps = None if not number else last if options.order is not None else min(last, _BESIDE_STEPS)
    for order in range(1 if options.order is None else last, last + 1):
        some = columns.up_to(order)
        if without_steps:
            of_blocks = [one.leading(some.size) for one in sums]
            yield _Tried([some] * (len(rows) + 1), _without_each(of_blocks), of_blocks)
        if order == with_steps:
            yield _with_steps(rows, some, number)


def _number(features: Features, options: Trend) -> int:
    """Return how many steps are tried."""
    if features.size == features.lower.size:  # a site sees itself now, and polynomials do
        return 0
    if options.hidden is not None:
        return options.hidden
    return smooth_steps.usual_number(features.size) if options.order is None else 0


def _with_steps(rows: list[tuple[F64, F64]], columns: Columns, number: int) -> _Tried:
    """Add steps, which know of no block what they are held against."""
    drawn = columns._replace(hidden=smooth_steps.candidates(columns.hidden.shape[0] - 1, columns.own))
    some = [_some(*one) for one in rows]
    to_choose = _without_each([_Sums.over_pieces(drawn, *of) for of in some])

    def learned_without(block: int) -> Columns:
        correlation, along, _ = to_choose[block + 1].standardised()
        best = smooth_steps.chosen(correlation, along, columns.size - 1, number)  # the constant has been taken off
        f, values = (np.concatenate(of) for of in zip(*(of for i, of in enumerate(some) if i != block), strict=True))
        return columns._replace(hidden=smooth_steps.improved(drawn.hidden[:, best], f, columns.design(f), values))

    large = sum(len(f) for f, _ in some) * columns.size > _LARGE
    with ThreadPoolExecutor(1 if large else threads()) as pool:
        learned = list(pool.map(learned_without, range(-1, len(rows))))
    of_each = [[_Sums.over_pieces(one, *of) for of in rows] for one in learned]
    held_out = [sums[block] for block, sums in enumerate(of_each[1:])]
    totals = [_Sums.total(sums) for sums in of_each]
    without = [total.without(one) for total, one in zip(totals[1:], held_out, strict=True)]
    return _Tried(learned, [totals[0], *without], held_out)


def _some(f: F64, target: F64) -> tuple[F64, F64]:
    """Return as many rows of a block, drawn always alike, as steps learn from."""
    most = _ROWS_OF_STEPS // _BLOCKS
    drawn = np.sort(np.random.default_rng(0).permutation(len(f))[:most])
    return f[drawn], target[drawn]


def _without_each(sums: list[_Sums]) -> list[_Sums]:
    """Return the sums over all blocks, and over all but each."""
    whole = _Sums.total(sums)
    return [whole, *(whole.without(one) for one in sums)]


def _chosen(tried: Iterable[_Tried], features: Features, options: Trend, level: float) -> Fit:
    """Choose columns and ridge by the held-out error: the simpler columns where nearly as good."""
    ridges = _RIDGES if options.ridge is None else (options.ridge,)
    best: tuple[float, list[tuple[Columns, F64]]] | None = None
    for columns, learned_from, held_out in tried:
        paths = [_path(one, ridges) for one in learned_from[1:]]
        errors = [
            sum(one.squares(path[i]) for one, path in zip(held_out, paths, strict=True)) for i in range(len(ridges))
        ]
        at = int(np.argmin(errors))
        error = errors[at] / sum(one.n for one in held_out)
        if best is None or error < _BETTER * best[0]:
            coefficients = [*_path(learned_from[0], ridges[at : at + 1]), *(path[at] for path in paths)]
            best = error, list(zip(columns, coefficients, strict=True))
    assert best is not None
    made = [FittedTrend(features, *of.coefficients(features, b, level)) for of, b in best[1]]
    return Fit(made[0], made[1:], best[0])


def _path(sums: _Sums, ridges: Sequence[float]) -> list[F64]:
    """Coefficients for each ridge, of columns that are standardised but for the first, a constant; 0 of others."""
    correlation, along, per_spread = sums.standardised()
    found = []
    for ridge in ridges:
        penalised = correlation + (ridge + _SINGULAR) * np.eye(along.size)
        slopes = along
        if along.size:
            slopes = scipy.linalg.cho_solve(scipy.linalg.cho_factor(penalised), along) * per_spread
        found.append(np.concatenate([[(sums.xy[0] - sums.xx[0, 1:] @ slopes) / sums.n], slopes]))
    return found
