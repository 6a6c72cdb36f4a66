"""Distances between distributions, and the floor each must be read against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np

from l96closure import checks
from l96closure.arrays import F64, I64, Array

Distance = Callable[[Array, Array], Any]

_MAX_STRETCHES = 10  # 45 pairs of truth stretches; more would cost time and hardly sharpen the floor
_MAX_VALUES = 40_000  # per sample, of the distances that sort; neighbours in time are nearly copies anyway


def cells(values: F64, edges: F64) -> I64:
    """Find the number of the cell that each value falls into.

    Parameters
    ----------
    values : sample of any shape.
    edges : increasing bin edges (bins + 1,).

    Returns
    -------
    Integers of the shape of ``values``: 0 below the first edge, n from the n-th edge on, bins + 1 from the last one
    on. Values outside the edges are counted, not lost.
    """
    return np.searchsorted(edges, values, side="right")


def probabilities(cells: I64, number: int) -> F64:
    """Fraction of values in each cell.

    Parameters
    ----------
    cells : numbers of the cells that the values are in, as :func:`cells` gives them.
    number : how many cells there are.

    Returns
    -------
    (number,), summing to one.
    """
    return np.bincount(cells.ravel(), minlength=number) / cells.size


def hellinger(p: F64, q: F64) -> F64:
    """Hellinger distance H = sqrt(1 - sum_i sqrt(p_i q_i)) of two binned distributions, or of many pairs.

    Parameters
    ----------
    p, q : probabilities of the same cells (..., cell), summing to one.

    Returns
    -------
    (...), from 0 (equal) to 1 (no cell in common).
    """
    return np.sqrt(np.maximum(0.0, 1.0 - np.sqrt(p * q).sum(axis=-1)))


def wasserstein(a: F64, b: F64) -> float:
    """Wasserstein-1 distance of two samples: the mean shift that turns one into the other, in their units.

    Parameters
    ----------
    a, b : samples of any shape.

    Returns
    -------
    The distance, >= 0, in the units of the samples.
    """
    values, gap = _gap(a, b)
    return float(np.vecdot(gap[:-1], np.diff(values)))


def ks(a: F64, b: F64) -> float:
    """Kolmogorov-Smirnov distance of two samples: the largest gap of their distribution functions, 0 to 1.

    Parameters
    ----------
    a, b : samples of any shape.

    Returns
    -------
    The distance, dimensionless.
    """
    return float(_gap(a, b)[1].max())


def _gap(a: F64, b: F64) -> tuple[F64, F64]:
    """Return all values of two samples in order, and how far their distribution functions are apart at each."""
    values = np.sort(np.concatenate([a, b], axis=None))
    below_a, below_b = (np.sort(one, axis=None).searchsorted(values, "right") / one.size for one in (a, b))
    return values, np.abs(below_a - below_b)


@dataclass(frozen=True, eq=False)
class Stretches:
    """Truth and coarse run cut into pieces of one duration, the only fair basis of a distance and its floor.

    Attributes
    ----------
    truth : stretches of truth, each (length, k), at least two.
    coarse : pieces of the coarse run, each (length, k), at least one.
    length : number of times in each, members counted one after the other.
    note : how the cut was made, in words.
    """

    truth: tuple[Array, ...]
    coarse: tuple[Array, ...]
    length: int
    note: str

    def map(self, function: Callable[[Array], Array]) -> Stretches:
        """Apply a function to every piece.

        Parameters
        ----------
        function : of a piece (length, k).

        Returns
        -------
        Stretches
        """
        return Stretches(tuple(map(function, self.truth)), tuple(map(function, self.coarse)), self.length, self.note)

    def thinned(self) -> Stretches:
        """Keep every n-th time, so that a piece holds at most 40,000 values (for the distances that sort).

        Returns
        -------
        Stretches
        """
        every = -(-self.truth[0].size // _MAX_VALUES)
        return self.map(lambda piece: piece[::every])


def cut(truth: Array, coarse: Array) -> Stretches:
    """Cut the truth into disjoint stretches of the coarse run's total duration (members x time).

    The distance of two samples shrinks as they grow, so a distance and its floor must come from samples of
    one duration. When the truth is shorter than two coarse runs, its two halves are the stretches, and the
    coarse run is cut into pieces of that duration: the floor then belongs to the shorter duration, and so
    does the score.

    Parameters
    ----------
    truth : (time, k), values or the numbers of their cells.
    coarse : (member, time, k), at the same time step.

    Returns
    -------
    At most ten stretches of truth, spread evenly over it, and the pieces of the coarse run.
    """
    flat = coarse.reshape(-1, coarse.shape[-1])
    length = min(len(flat), len(truth) // 2)
    stretches = [truth[start : start + length] for start in range(0, len(truth) - length + 1, length)]
    pieces = [flat[start : start + length] for start in range(0, len(flat) - length + 1, length)]
    if length < len(flat):
        note = (
            "the truth is shorter than two coarse runs, so its two halves are the stretches "
            "and the coarse run is cut into pieces of their duration"
        )
    else:
        note = "the stretches are disjoint and as long as all members of the coarse run together"
    return Stretches(_spread(stretches), _spread(pieces), length, note)


def _spread(pieces: list[Array]) -> tuple[Array, ...]:
    """Choose at most ten pieces, evenly spread."""
    chosen = np.linspace(0, len(pieces) - 1, min(len(pieces), _MAX_STRETCHES)).round().astype(int)
    return tuple(pieces[i] for i in chosen)


class Comparison(NamedTuple):
    """A distance with its floor.

    Attributes
    ----------
    score : mean distance between the coarse run and a stretch of truth.
    floor : mean distance between two stretches of truth.
    floor_std : standard deviation of the latter over the pairs; NaN when there is only one pair.
    """

    score: float
    floor: float
    floor_std: float


def compare(distance: Distance, stretches: Stretches) -> Comparison:
    """Distance between coarse run and truth, and the floor: the same distance between two stretches of truth.

    Parameters
    ----------
    distance : function of two pieces.
    stretches : pieces of one duration, as :func:`cut` makes them.

    Returns
    -------
    The mean distance over all pairs, the floor, and the spread of the floor over pairs of stretches.

    Raises
    ------
    ValueError
        There are fewer than two stretches of truth.
    """
    if len(stretches.truth) < 2:
        checks.reject("stretches of truth", len(stretches.truth), "two or more")
    scores = [distance(piece, stretch) for piece, stretch in product(stretches.coarse, stretches.truth)]
    floors = [distance(a, b) for a, b in combinations(stretches.truth, 2)]
    spread = float(np.std(floors, ddof=1)) if len(floors) > 1 else float("nan")
    return Comparison(float(np.mean(scores)), float(np.mean(floors)), spread)
