"""Which of several runs are best by a score, as far as its intervals tell them apart."""

from __future__ import annotations

import numpy as np

from l96closure.arrays import F64, Bools


def departure(value: F64, low: F64, high: F64, target: float) -> tuple[F64, F64, F64]:
    """Distance of a score from what a perfect run has, with the interval that follows from the score's own.

    Parameters
    ----------
    value, low, high : the score and the bounds of its interval, arrays of one shape.
    target : the score of a perfect run.

    Returns
    -------
    abs(value - target), and the least and greatest such distance that the interval holds.
    """
    below, above = np.abs(low - target), np.abs(high - target)
    least = np.where((low <= target) & (target <= high), 0.0, np.minimum(below, above))
    return np.abs(value - target), least, np.maximum(below, above)


def comparable(value: F64, low: F64, high: F64) -> bool:
    """Tell whether every score has an interval; without, nothing tells a difference from chance.

    Parameters
    ----------
    value, low, high : the score of each run and its interval; NaN for a run without a score.

    Returns
    -------
    True or False.
    """
    scored = np.isfinite(value)
    return bool(np.isfinite([low[scored], high[scored]]).all())


def best(value: F64, low: F64, high: F64) -> Bools:
    """Tell the runs that are best: the one of the smallest score, and those whose intervals overlap with its own.

    No run is best where all intervals overlap with that one, where a score has no interval, or where there are fewer
    than two scores.

    Parameters
    ----------
    value, low, high : the score of each run, smaller is better, and its interval; NaN for a run without a score.

    Returns
    -------
    Which runs are (run,).
    """
    scored = np.isfinite(value)
    none = np.zeros(value.shape, dtype=bool)
    if scored.sum() < 2 or not comparable(value, low, high):
        return none
    first = int(np.nanargmin(value))
    overlap: Bools = scored & (low <= high[first]) & (high >= low[first])
    return none if overlap.sum() == scored.sum() else overlap
