"""The smooth steps of a trend: how many there are, where they begin, and how they learn.

A step is s (3 - s^2) / 2 of a sum s of weighted features and a constant, held at -1 and 1. The steps are chosen one
after the other, each time the one that explains most of what is left, out of many random ones (orthogonal least
squares; Chen, Cowan & Grant 1991, IEEE Trans. Neural Netw. 2, 302-309). Then all their weights are improved together by
the method of Levenberg and Marquardt, while the coefficients of steps and other columns, which the target is linear in,
follow (variable projection; Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413-432, with the derivative of Kaufman
1975, BIT 15, 49-57), where there are at most 400 of them. A dozen that have learned do better than many random ones,
and are evaluated in a third of the time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy

from l96closure import noise
from l96closure.arrays import F64, Index

MOST_HIDDEN = 100
"""Smooth steps that a trend can have."""

_USUAL, _FEWEST, _USUAL_DRAWN = 12, 4, 32  # steps that learn, at most and at least, and where none can
_CANDIDATES = 256  # random steps to choose from
_KEY = 20120614  # of them
_STEEPEST, _FARTHEST = 2.4, 1.2  # of a random step: length of its weights, and its constant
_NEW = 1e-4  # part of a step's variance that the columns before leave, at least
_RIDGE = 1e-7  # beside 1, of a correlation matrix
_MOST_WEIGHTS = 400  # that are learned: the time a fit takes grows with their square
_ROWS_AT_ONCE = 500
_ITERATIONS = 10
_GAIN = 1e-4  # relative, of an iteration, below which it was the last
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-1, 1e-6, 1e4
_FLOOR = 1e-1  # in parts of the mean, of a derivative's square that damping is relative to
_PENALTY = 1e-4  # of the squares of weights, beside the target's: else steps become jumps
_NOTHING = 1e-20  # of the squares of a target, which other columns leave
_OUTPUT_RIDGE = 1e-6  # per row: else two steps that are nearly the same cancel


def usual_number(features: int) -> int:
    """Return how many steps a trend has that is free to have some.

    Parameters
    ----------
    features : number of features, F.

    Returns
    -------
    12, or as many as learn, from 4 on; 32 where there are more than 99 features, too many for so many to learn.
    """
    number = min(_USUAL, _learning(features))
    return number if number >= _FEWEST else _USUAL_DRAWN


def _learning(features: int) -> int:
    """Return how many steps can learn."""
    return _MOST_WEIGHTS // (features + 1)


def candidates(features: int, own: Index) -> F64:
    """Weights of random steps, always the same ones: every other one is a step in what the site itself has alone.

    Parameters
    ----------
    features : number of features, F.
    own : places among them of those of the site itself.

    Returns
    -------
    (F + 1, R), the last row being constants.
    """
    number = _CANDIDATES
    normals = noise.normals(_KEY, 0, 0, site=np.arange(features + 2)[:, None] * number + np.arange(number))
    others = np.setdiff1d(np.arange(features), own)
    normals[others[:, None], np.arange(0, number, 2)] = 0.0
    direction, length = normals[:features], _STEEPEST * np.sqrt(scipy.special.ndtr(normals[features]))
    weights = direction * (length / np.sqrt((direction**2).sum(axis=0)))
    constants = _FARTHEST * (2.0 * scipy.special.ndtr(normals[features + 1 :]) - 1.0)
    return np.concatenate([weights, constants])


def values(f: F64, weights: F64) -> F64:
    """Evaluate steps.

    Parameters
    ----------
    f : features (n, F).
    weights : of the steps (F + 1, R), the last row being constants.

    Returns
    -------
    (n, R), from -1 to 1.
    """
    s = _sums(f, weights)
    return s * (1.5 - 0.5 * s**2)


def _sums(f: F64, weights: F64) -> F64:
    return np.clip(f @ weights[:-1] + weights[-1], -1.0, 1.0)


def chosen(correlation: F64, along: F64, fixed: int, number: int) -> Index:
    """Return which steps explain most, one after the other, beside columns that are there already.

    Parameters
    ----------
    correlation : of all columns (C, C), those that are there first; 0 of one that does not vary.
    along : covariances of all with the target over their standard deviations (C,).
    fixed : how many are there already.
    number : how many steps are wanted.

    Returns
    -------
    Their numbers, the one that explains most first; fewer, if no more explain anything.
    """
    factor = scipy.linalg.cholesky(correlation[:fixed, :fixed] + _RIDGE * np.eye(fixed), lower=True)
    beside = np.column_stack([correlation[:fixed, fixed:], along[:fixed]])
    explained = scipy.linalg.solve_triangular(factor, beside, lower=True)
    rows = list(explained[:, :-1])  # of a Cholesky factor, one more for each step
    left = np.diag(correlation)[fixed:] - (explained[:, :-1] ** 2).sum(axis=0)
    wanted = along[fixed:] - explained[:, :-1].T @ explained[:, -1]
    found: list[int] = []
    for _ in range(min(number, left.size)):
        gain = np.where(left > _NEW, wanted**2 / np.maximum(left, _NEW), 0.0)
        gain[found] = 0.0
        best = int(np.argmax(gain))
        if not gain[best] > 0.0:
            break
        together = np.array(rows)
        row = (correlation[fixed + best, fixed:] - together[:, best] @ together) / math.sqrt(left[best])
        wanted = wanted - row * (wanted[best] / math.sqrt(left[best]))
        left = left - row**2
        rows.append(row)
        found.append(best)
    return np.array(found, np.intp)


def improved(weights: F64, f: F64, columns: F64, target: F64) -> F64:
    """Let steps learn: the first of them, as many as have 400 weights together.

    Parameters
    ----------
    weights : where they begin (F + 1, R).
    f : features (n, F).
    columns : the other columns of the regression (n, C), among them a constant.
    target : (n,)

    Returns
    -------
    Weights (F + 1, R), by which more of the target is explained; fewer, where steps no longer vary.
    """
    weights, others = np.split(weights, [_learning(f.shape[1])], axis=1)
    basis = np.linalg.qr(np.column_stack([columns, values(f, others)]))[0]
    rest = target - basis @ (basis.T @ target)
    if not weights.size or not rest @ rest > _NOTHING * (target @ target):
        return np.concatenate([weights, others], axis=1)
    seen, damping = np.column_stack([f, np.ones(len(f))]), _FIRST_DAMPING
    left = _Left.of(weights, f, basis, rest)
    for _ in range(_ITERATIONS):
        squares, along = left.normal_equations(seen, basis)
        scale = np.diag(squares) + _FLOOR * squares.trace() / len(squares)
        before = after = left
        while not after.error < before.error and damping < _MOST_DAMPING:
            factor = scipy.linalg.cho_factor(squares + np.diag(damping * scale), lower=True)
            change = scipy.linalg.cho_solve(factor, along)
            after = _Left.of(before.weights + change.reshape(weights.shape), f, basis, rest)
            damping *= 4.0
        if not after.error < before.error:
            break
        left, damping = after, max(damping / 12.0, _LEAST_DAMPING)
        if before.error - after.error < _GAIN * before.error:
            break
    varied = values(f, left.weights).var(axis=0) > _NEW
    return np.concatenate([left.weights[:, varied], others], axis=1)


class _Left(NamedTuple):
    """What steps leave of a target beside other columns.

    Attributes
    ----------
    weights : of the steps (F + 1, R).
    steps, slopes : their values, less what other columns explain of them, and their derivatives (n, R).
    factor : lower Cholesky factor of the products of the steps (R, R).
    output : coefficients of the steps (R,).
    residual : (n,)
    penalty : of the square of a weight.
    error : what is to be small: the squares of the residual, and of outputs and weights as they are penalised.
    """

    weights: F64
    steps: F64
    slopes: F64
    factor: F64
    output: F64
    residual: F64
    penalty: float
    error: float

    @classmethod
    def of(cls, weights: F64, f: F64, basis: F64, rest: F64) -> _Left:
        """Regress ``rest`` (n,) on steps, beside columns of the orthonormal ``basis`` (n, C)."""
        s = _sums(f, weights)
        steps = s * (1.5 - 0.5 * s**2)
        steps -= basis @ (basis.T @ steps)
        products = steps.T @ steps
        factor = scipy.linalg.cholesky(products + _OUTPUT_RIDGE * len(f) * np.eye(len(products)), lower=True)
        output = scipy.linalg.cho_solve((factor, True), steps.T @ rest)
        residual, penalty = rest - steps @ output, _PENALTY * float(rest @ rest)
        error = float(rest @ residual) + penalty * float((weights**2).sum())
        return cls(weights, steps, 1.5 - 1.5 * s**2, factor, output, residual, penalty, error)

    def normal_equations(self, seen: F64, basis: F64) -> tuple[F64, F64]:
        """Return the matrix and the right-hand side of a Gauss-Newton step of the weights.

        Derivatives are those of the fitted target, less what columns and steps explain of them; ``seen`` are features
        and a constant (n, F + 1).
        """
        size = self.weights.size
        squares, with_columns = np.zeros((size, size)), np.zeros((basis.shape[1], size))
        with_steps, along = np.zeros((len(self.output), size)), np.zeros(size)
        for first in range(0, len(seen), _ROWS_AT_ONCE):  # those of all would leave the cache
            some = slice(first, first + _ROWS_AT_ONCE)
            slopes = self.slopes[some] * self.output
            by_weight = (seen[some, :, None] * slopes[:, None, :]).reshape(-1, size)
            squares += by_weight.T @ by_weight
            with_columns += basis[some].T @ by_weight
            with_steps += self.steps[some].T @ by_weight
            along += by_weight.T @ self.residual[some]
        of_steps = scipy.linalg.solve_triangular(self.factor, with_steps, lower=True)
        squares -= with_columns.T @ with_columns + of_steps.T @ of_steps
        return squares + self.penalty * np.eye(size), along - self.penalty * self.weights.ravel()
