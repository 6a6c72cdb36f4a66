"""The trend, what of the target is a function of a site's features: its options, and how a fitted one is evaluated.

It is a polynomial of high degree in each predictor at the site itself, now and at each lag, in Chebyshev polynomials of
the scaled predictor, plus all products of up to three features, plus smooth steps s (3 - s^2) / 2 of linear
combinations s of the features, held at -1 and 1: a network of one hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.closures.features import Features, Scale, gather, rows
from l96closure.closures.smooth_steps import MOST_HIDDEN
from l96closure.compiled import cached, part
from l96closure.vector import LANES, element, fma, fnma, larger, load, smaller, splat, store
from l96closure.vector_places import load_each
from l96closure.vector_sums import dot, four_sums, quadratic

_IN_REGISTERS = 12  # features of sixteen sites, which take 24 of the 32 registers of the widest kind
_FEW = 4  # features, which leave room for what is made of them
_AT_ONCE = 256  # sites and times whose features are in memory

USUAL_DEGREE = 8
"""Degree of a trend whose options leave it open."""


@dataclass(frozen=True)
class Trend:
    """Options of the trend: what of the target is a function of the features.

    Parameters
    ----------
    degree : of the polynomial in each predictor at the site itself, now and at each lag, >= 0. None is 8; where the
        targets of the step before are predictors too, one of 1, 2, 4 and 8, chosen on held-out blocks of time: what a
        polynomial gets wrong where data are few is fed back there, and makes a coarse run vary too much.
    order : highest order of the products of features that are added, from 1, the features themselves, to 3; None is
        chosen on held-out blocks of time.
    ridge : weight of the penalty per row and standardised column, >= 0; None is chosen on held-out blocks of time.
    hidden : most smooth steps that are added where a site sees more than itself now, from 0 to 100; None is 12 (fewer
        with more than 32 features) if ``order`` is open too and held-out blocks ask for them, else none. Steps with 400
        weights together learn, those beyond stay as they are drawn.
    filtered : whether the trend is filtered in space (:class:`FilteredTrend`) where the sites are those of a ring and a
        filter would explain 1 % of what it leaves at some wavenumber, or change the variance there by 3 %.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    degree: int | None = None
    order: int | None = None
    ridge: float | None = None
    hidden: int | None = None
    filtered: bool = True

    def __post_init__(self) -> None:
        if self.degree is not None:
            checks.integer("trend.degree", self.degree, 0)
        if self.order is not None:
            checks.integer("trend.order", self.order, 1, below=4)
        if self.hidden is not None:
            checks.integer("trend.hidden", self.hidden, 0, below=MOST_HIDDEN + 1)
        if self.ridge is not None:
            checks.number("trend.ridge", self.ridge, minimum=0.0)
        checks.boolean("trend.filtered", self.filtered)


@dataclass(frozen=True, eq=False)
class FittedTrend:
    """A trend with its coefficients, for P predictors at L lags and F features.

    Attributes
    ----------
    features : what it is a function of.
    chebyshev : coefficients of the Chebyshev polynomials of each predictor at the site itself, lag by lag
        (L P, degree + 1).
    linear : of each feature (F,).
    quadratic : of products of two (F, F), where the first is no later than the second.
    cubic : of products of three (F, F, F), likewise; (0, 0, 0) without.
    hidden : weights of the R steps, and their constants in the last row (F + 1, R); (F + 1, 0) without.
    output : coefficients of the steps (R,).
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
        features = self.features
        out, outside = np.empty((row.size, len(features.neighbour))), np.zeros(row.size, np.intp)
        _evaluate(values, row, sign, features.neighbour, features.lags, features.scale, self.terms, out, outside)
        return out, outside

    @cached_property
    def terms(self) -> Terms:
        """The coefficients as compiled code takes them."""
        arrays = self.chebyshev, self.linear, self.quadratic, self.cubic, self.hidden, self.output
        return Terms.of(self.features.own, *arrays)


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


class Terms(NamedTuple):
    """The coefficients of a trend in the order in which :func:`polynomial` takes them.

    Attributes
    ----------
    order : of the products of features.
    padding : features of coefficient 0 before the others, where there are fewer than fill the registers.
    own : places among the features of each predictor at the site itself, now (P,).
    chebyshev : coefficients in each, the highest first, of a degree of 4, 8, ... (P, degree + 1).
    linear : of each feature (F,).
    products : of each pair i <= j of features, that of f_i f_j and those of f_i f_j f_k for k >= j; up to second order,
        of each feature its own and those of f_i f_k for k >= i.
    hidden : of the steps, in fours, of which the last may have coefficient 0: their constants, the weights of each
        feature, and what the sums are held at, q and 3 q^2. A step of the coefficient c is s (3 q^2 - s^2) of the sum s
        times q, where q^3 = c / 2.
    """

    order: int
    padding: int
    own: Index
    chebyshev: F64
    linear: F64
    products: F64
    hidden: F64

    @classmethod
    def of(cls, own: Index, chebyshev: F64, linear: F64, quadratic: F64, cubic: F64, hidden: F64, output: F64) -> Terms:
        """Put the coefficients of a :class:`FittedTrend` into order; ``own`` as in :class:`Features`."""
        degrees = chebyshev.shape[1]
        F, order = linear.size, 3 if cubic.size else 2 if quadratic.any() else 1
        padding, rows = max((_FEW if F <= _FEW else _IN_REGISTERS) - F, 0), [np.empty(0)]
        if order == 3:
            rows = [np.append(quadratic[i, j], cubic[i, j, j:]) for i in range(F) for j in range(i, F)]
        elif order == 2:
            rows = [np.append(linear[i], quadratic[i, i:]) for i in range(F)]
        return cls(
            order,
            padding,
            own + padding,
            np.pad(chebyshev, ((0, 0), (0, max(5 - degrees, (1 - degrees) % 4))))[:, ::-1].copy(),
            np.pad(linear, (padding, 0)),
            np.concatenate(rows),
            _steps_in_fours(hidden, output),
        )


def _steps_in_fours(hidden: F64, output: F64) -> F64:
    """Return the steps as :class:`Terms` has them."""
    q = np.cbrt(0.5 * output)
    rows = np.concatenate([q * hidden[-1:], q * hidden[:-1], np.abs(q)[None], 3.0 * q[None] ** 2])
    return np.pad(rows, ((0, 0), (0, -q.size % 4))).reshape(len(rows), -1, 4).swapaxes(0, 1).ravel()


@part
def polynomial(values: F64, place: Index, e: int, terms: Terms) -> Any:
    """Return the trend at sixteen sites: feature i of the first of them is ``values[place[i] + e]``.

    The padding has places too, which may be any.
    """
    own = splat(0.0)
    for p in range(terms.own.size):
        own = own + _series(values, place, e, terms, p)
    if terms.order == 1 and terms.hidden.size == 0:
        return own + _linear(values, place, e, terms)
    if place.size == _FEW:
        return own + _rest(values, place, e, terms, load_each(values, place, 0, e, _FEW))
    in_registers = load_each(values, place, place.size - _IN_REGISTERS, e, _IN_REGISTERS)
    return own + _rest(values, place, e, terms, in_registers)


@part
def _linear(values: F64, place: Index, e: int, terms: Terms) -> Any:
    total = splat(0.0)
    for i in range(terms.padding, place.size):
        total = fma(splat(terms.linear[i]), load(values, element(place, i) + e), total)
    return total


@part
def _rest(values: F64, place: Index, e: int, terms: Terms, f: Any) -> Any:
    """Return what does not wait for the series: products of features, of which the last stand in f, and steps."""
    if terms.order == 1:
        return _linear(values, place, e, terms) + _steps(values, place, e, terms, f)
    total, at = splat(0.0), 0
    if terms.order == 2:
        total, at = _rows(values, place, e, terms.products, 0, terms.padding, f, total)
    else:
        for i in range(terms.padding, place.size):
            slope, at = _rows(values, place, e, terms.products, at, i, f, splat(terms.linear[i]))
            total = fma(slope, load(values, element(place, i) + e), total)
    return total + _steps(values, place, e, terms, f)


@part
def _series(values: F64, place: Index, e: int, terms: Terms, p: int) -> Any:
    """Sum the Chebyshev series of predictor ``p``, its even and odd terms side by side.

    With y = T_2(x), T_2k(x) = T_k(y) and T_2k+1(x) = x W_k(y), and both have the recurrence of Chebyshev polynomials in
    y; so they are summed as Clenshaw (1955) does, in half as many steps of which each waits for the one before.
    """
    of, last = terms.chebyshev, terms.chebyshev.shape[1] - 1
    first = p * (last + 1)
    x = load(values, element(place, element(terms.own, p)) + e)
    y = fma(x + x, x, splat(-1.0))
    even_after, odd_after = splat(element(of, first)), splat(element(of, first + 1))
    even = fma(y + y, even_after, splat(element(of, first + 2)))
    odd = fma(y + y, odd_after, splat(element(of, first + 3)))
    for a in range(first + 4, first + last, 4):
        even_after = fma(y + y, even, splat(element(of, a)) - even_after)
        odd_after = fma(y + y, odd, splat(element(of, a + 1)) - odd_after)
        even = fma(y + y, even_after, splat(element(of, a + 2)) - even)
        odd = fma(y + y, odd_after, splat(element(of, a + 3)) - odd)
    return fma(x, odd - odd_after, fma(y, even, splat(element(of, first + last)) - even_after))


@part
def _steps(values: F64, place: Index, e: int, terms: Terms, f: Any) -> Any:
    """Sum the smooth steps, four at a time, which share what is loaded and do not wait for each other's sums."""
    a, at, leading = terms.hidden, 0, place.size - len(f)
    start = max(terms.padding - leading, 0)
    one, two = splat(0.0), splat(0.0)
    while at < a.size:
        p, q = splat(element(a, at)), splat(element(a, at + 1))
        r, s = splat(element(a, at + 2)), splat(element(a, at + 3))
        at += 4
        for i in range(leading):
            x = load(values, element(place, i) + e)
            p, q = fma(splat(element(a, at)), x, p), fma(splat(element(a, at + 1)), x, q)
            r, s = fma(splat(element(a, at + 2)), x, r), fma(splat(element(a, at + 3)), x, s)
            at += 4
        p, q, r, s = four_sums(a, at, start, f, (p, q, r, s))
        at += 4 * (len(f) - start)
        one, two = _step(a, at, p, one), _step(a, at + 1, q, two)
        one, two = _step(a, at + 2, r, one), _step(a, at + 3, s, two)
        at += 8
    return one + two


@part
def _step(a: F64, at: int, s: Any, total: Any) -> Any:
    """Add s (3 q^2 - s^2) of a sum that is held at -q and q; q stands in ``a[at]``, and 3 q^2 four numbers later."""
    limit = splat(element(a, at))
    s = smaller(limit, larger(splat(-element(a, at)), s))
    return fma(s, fnma(s, s, splat(element(a, at + 4))), total)


@part
def _rows(values: F64, place: Index, e: int, a: F64, at: int, i: int, f: Any, total: Any) -> Any:
    """Add f_j (b_j + sum_k>=j c_jk f_k) for all j >= i; b_j and its c_jk stand from ``a[at]`` on.

    Returns the sum, and where in ``a`` what follows stands.
    """
    leading = place.size - len(f)
    for j in range(i, leading):
        s = _leading(values, place, leading, e, a, at + 1, j, splat(a[at]))
        at += 1 + leading - j
        total = fma(dot(a, at, f, s), load(values, element(place, j) + e), total)
        at += len(f)
    start = max(i - leading, 0)
    rows = len(f) - start
    return quadratic(a, at, start, f, total), at + rows + rows * (rows + 1) // 2


@part
def _leading(values: F64, place: Index, leading: int, e: int, a: F64, at: int, i: int, total: Any) -> Any:
    """Add sum_k a_k f_k of the features from i on to the first in registers."""
    for k in range(i, leading):
        total = fma(splat(a[at + k - i]), load(values, element(place, k) + e), total)
    return total


@cached
def _evaluate(
    values: F64, row: Index, sign: int, neighbour: Index, lags: Index, scale: Scale, terms: Terms,
    out: F64, outside: Index,
) -> None:  # fmt: skip
    places = np.maximum(np.arange(terms.linear.size) - terms.padding, 0) * _AT_ONCE
    f, total, K = np.empty(terms.linear.size * _AT_ONCE), np.empty(_AT_ONCE), neighbour.shape[0]
    for first in range(0, out.size, _AT_ONCE):
        some = min(_AT_ONCE, out.size - first)
        for i in range(some):
            n, k = (first + i) // K, (first + i) % K
            outside[n] += gather(values, row[n], sign, k, neighbour, lags, scale, f, i, _AT_ONCE)
        for e in range(0, some, LANES):
            store(polynomial(f, places, e, terms), total, e)
        for i in range(some):
            out[(first + i) // K, (first + i) % K] = total[i]
