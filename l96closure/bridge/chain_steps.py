"""Steps of a chain in compiled code: of all states in one call, of each by itself, or in threads that help each other.

Random numbers are given, so that the bits of a state depend neither on the others nor on the threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from l96closure.arrays import F64, Index
from l96closure.claims import FREE, claim, finish, found
from l96closure.compiled import cached, called
from l96closure.kernel import KernelSums, memory_of, moments_of, moments_with

AVERAGING = ("split", "euler", "conditional_variance")
"""Schemes that average samples, by the number that compiled code knows them by."""

SPLIT, VARIANCE = AVERAGING.index("split"), AVERAGING.index("conditional_variance")
_ENOUGH, _NOT_ENOUGH = 1, 2  # single precision for a piece of the queries


class Rules(NamedTuple):
    """How a chain steps.

    Attributes
    ----------
    scheme : number of the scheme in :data:`AVERAGING`.
    sums : of the queries.
    noisy, amplitude : components that are noised, and how much each component is (d,).
    fixed : components that keep their values.
    """

    scheme: int
    sums: KernelSums
    noisy: Index
    amplitude: F64
    fixed: Index


@called(forceinline=True)
def _noised(x: F64, normals: F64, rules: Rules, query: F64) -> None:
    """Write what the denoiser is asked at, of states x (n, d) and normals (n, noisy), into ``query`` (n, d)."""
    for i in range(x.shape[0]):
        for a in range(x.shape[1]):
            query[i, a] = x[i, a]
        if rules.scheme == SPLIT:
            for a in range(rules.noisy.size):
                query[i, rules.noisy[a]] += rules.amplitude[rules.noisy[a]] * normals[i, a]


@called(forceinline=True)
def _moved(x: F64, normals: F64, rules: Rules, drift: F64, mean: F64, variance: F64) -> None:
    """Make a step of x (n, d) in place, given its moments, eq. (42) of the paper; ``mean`` is overwritten."""
    targets, fixed, noisy = rules.sums.targets, rules.fixed, rules.noisy
    for i in range(x.shape[0]):
        for p in range(targets.shape[0]):
            for target in targets[p]:
                mean[i, target] += drift[i, target]
        for a in range(fixed.size):
            mean[i, fixed[a]] = x[i, fixed[a]]
        if rules.scheme != SPLIT:
            for a in range(noisy.size):
                b = noisy[a]
                spread = np.sqrt(variance[i, b]) if rules.scheme == VARIANCE else rules.amplitude[b]
                mean[i, b] += spread * normals[i, a]
        for a in range(x.shape[1]):
            x[i, a] = mean[i, a]


@called(forceinline=True)
def _steps(x: F64, normals: F64, rules: Rules, drift: F64, double: bool | None) -> int:
    """Make ``normals.shape[0]`` steps in place; x (n, d), normals (steps, n, noisy), drift (n, d).

    Returns the number of steps made, fewer where ``double`` is None and single precision is not enough for the next.
    """
    query, mean, variance = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    order, tasks = 2 if rules.scheme == VARIANCE else 1, x.shape[0] * rules.sums.head.size
    for step in range(normals.shape[0]):
        _noised(x, normals[step], rules, query)
        left = moments_of(query, rules.sums, order, mean, variance, double, 0, tasks)[1]
        if left > 0:
            return step
        _moved(x, normals[step], rules, drift, mean, variance)
    return normals.shape[0]


advance = cached(_steps)


@cached
def advance_each(
    x: F64, normals: F64, rules: Rules, drift: F64, double: bool | None, made: Index, start: int, stop: int
) -> None:
    """Make all steps of one state after the other, of those from ``start`` to ``stop``.

    State i starts from step ``made[i]`` (n,), which is then the number of its steps made.
    """
    for i in range(start, stop):
        made[i] += _steps(x[i : i + 1], normals[made[i] :, i : i + 1], rules, drift[i : i + 1], double)


class Together(NamedTuple):
    """What threads share that make the same steps of the same states.

    Attributes
    ----------
    board : whether the moments of a piece of the queries are made at each step (steps, pieces).
    grain : queries to a piece.
    mean, variance : the moments at each step (steps, n, d).
    """

    board: Index
    grain: int
    mean: F64
    variance: F64


@called(forceinline=True)
def _make_moments(
    together: Together, step: int, piece: int, x: F64, rules: Rules, double: bool | None, memory: Any
) -> int:
    """Make the moments of a piece of the queries, and say and return whether single precision was enough."""
    begin, end = piece * together.grain, min((piece + 1) * together.grain, x.shape[0] * rules.sums.head.size)
    moments, order = (together.mean[step], together.variance[step]), 2 if rules.scheme == VARIANCE else 1
    left = moments_with(memory, x, rules.sums, order, *moments, double, begin, end)[1]
    result = _NOT_ENOUGH if left > 0 else _ENOUGH
    finish(together.board, step * together.board.shape[1] + piece, result)
    return result


@cached
def advance_together(
    x: F64,
    normals: F64,
    rules: Rules,
    drift: F64,
    double: bool | None,
    together: Together,
    thread: int,
    threads: int,
) -> tuple[F64, int]:
    """Make all steps as one of several threads; return the states (n, d) and how many steps were made.

    Each makes all of them with states of its own, but of the moments only what no other has claimed.
    """
    pieces, memory = together.board.shape[1], memory_of(rules.sums)
    state, query, mean = x.copy(), np.empty_like(x), np.empty_like(x)
    for step in range(normals.shape[0]):
        _noised(state, normals[step], rules, query)
        for turn in range(pieces):
            piece = (thread * pieces // threads + turn) % pieces
            if claim(together.board, step * pieces + piece):
                _make_moments(together, step, piece, query, rules, double, memory)
        enough = True
        for piece in range(pieces):
            result = found(together.board, step * pieces + piece)
            if result == FREE:
                result = _make_moments(together, step, piece, query, rules, double, memory)
            enough = enough and result == _ENOUGH
        if not enough:
            return state, step
        mean[:] = together.mean[step]
        _moved(state, normals[step], rules, drift, mean, together.variance[step])
    return state, normals.shape[0]
