"""Sampling uncertainty of a distance between two runs, by resampling blocks of time."""

from __future__ import annotations

from itertools import product

import numpy as np

from l96closure.arrays import F64, I64
from l96closure.diagnostics import intervals
from l96closure.diagnostics.distances import Distance, Stretches

BLOCK = 20
"""Decorrelation times in a block: what its neighbours share is a few per cent of its variance."""

_RESAMPLES = 1000
_FORGOTTEN = 0.2  # root mean square autocorrelation at the last lags, above which the memory is longer than they reach
_MAX_BLOCKS = 200  # blocks of a piece; more would cost memory, longer blocks are nearer to independent


def decorrelation_time(autocorrelation: F64) -> float:
    """Decorrelation time 1 + 2 sum_l rho(l)^2 in time steps, the one that tells how well a variance is known.

    Bayley & Hammersley (1946, Supplement to the Journal of the Royal Statistical Society 8, 184-197). The squares
    keep an oscillating autocorrelation from cancelling itself.

    Parameters
    ----------
    autocorrelation : (lag,), from lag 0 on; NaN (that of a constant) counts as no memory.

    Returns
    -------
    In time steps, >= 1; infinite when the autocorrelation has not died out in the last quarter of its lags, so that its
    sum is not known.
    """
    squares = np.nan_to_num(autocorrelation[1:]) ** 2
    last = squares[3 * len(squares) // 4 :]
    if last.size and last.mean() > _FORGOTTEN**2:
        return np.inf
    return float(1 + 2 * np.sum(squares))


def blocks_in(length: int, memory: float) -> int:
    """Return how many blocks a piece of ``length`` times is cut into; 0 when it is too short for an interval.

    A block is twenty decorrelation times long, or longer when that leaves more than two hundred of them.

    Parameters
    ----------
    length : number of times.
    memory : decorrelation time in time steps, >= 1.

    Returns
    -------
    0, or from 20 to 200.
    """
    blocks = min(int(length / (BLOCK * memory)), _MAX_BLOCKS)
    return blocks if blocks >= intervals.MIN_VALUES else 0


def resampled_scores(distance: Distance, pieces: Stretches, cells: int, blocks: int, rng: np.random.Generator) -> F64:
    """Score runs put together at random from blocks of the ones at hand.

    Bootstrap with non-overlapping blocks (Carlstein 1986, Annals of Statistics 14, 1171-1179). Every stretch of truth
    is drawn anew from the blocks of all stretches, every piece of the coarse run from those of all pieces; a block
    keeps all its sites. Only the histograms of the blocks are needed.

    Parameters
    ----------
    distance : of two arrays of probabilities (resample, cell) -> (resample,).
    pieces : numbers of the cells that the values fall into.
    cells : number of cells.
    blocks : number of blocks in a piece, >= 1.
    rng : generator of the draws.

    Returns
    -------
    (1000,) resampled scores, each the mean over all pairs of a piece and a stretch.
    """
    truth, coarse = (
        [_draw(pool, blocks, rng) for _ in group]
        for group in (pieces.truth, pieces.coarse)
        for pool in [np.concatenate([_block_counts(piece, cells, blocks) for piece in group])]
    )
    return np.mean([distance(piece, stretch) for piece, stretch in product(coarse, truth)], axis=0)


def interval(score: float, resampled: F64, blocks: int) -> tuple[float, float]:
    """Return a 95 % interval for the expected score of two runs as long as these.

    The basic bootstrap interval (Davison & Hinkley 1997, Bootstrap Methods and their Application, Section 5.2) about
    the score. Only the departures of the resampled scores from their own mean are used: that mean lies too high, since
    a resampled histogram has the noise of the sample and that of the drawing, and a distance counts both (Arcones &
    Giné 1992, Annals of Statistics 20, 655-674). They are stretched by what a scatter of so few blocks falls short:
    Student's quantile over the normal one, and sqrt(blocks / (blocks - 1)).

    In repeated experiments with AR(1) runs of 20 to 80 blocks it held the expected score in 90 to 99 of 100; near the
    floor, where the noise of the drawing counts, it is up to a half too wide.

    Parameters
    ----------
    score : of the runs.
    resampled : what :func:`resampled_scores` gives for them.
    blocks : number of blocks in a piece, two or more.

    Returns
    -------
    Lower bound, >= 0, and upper bound.
    """
    low, high = np.quantile(resampled, [0.5 - intervals.PROBABILITY / 2, 0.5 + intervals.PROBABILITY / 2])
    centre = resampled.mean()
    stretch = intervals.student(blocks) / intervals.NORMAL * np.sqrt(blocks / (blocks - 1))
    return max(0.0, score - float(stretch * (high - centre))), score + float(stretch * (centre - low))


def _block_counts(piece: I64, cells: int, blocks: int) -> F64:
    """Histograms (blocks, cells) of consecutive blocks of a piece (length, k)."""
    length = len(piece) // blocks
    index = piece[: blocks * length].reshape(blocks, -1) + cells * np.arange(blocks)[:, np.newaxis]
    return np.bincount(index.ravel(), minlength=blocks * cells).reshape(blocks, cells).astype(np.float64)


def _draw(pool: F64, blocks: int, rng: np.random.Generator) -> F64:
    """Probabilities (resample, cell) of runs of so many blocks drawn from the histograms of a pool."""
    chosen = rng.integers(len(pool), size=(_RESAMPLES, blocks)) + len(pool) * np.arange(_RESAMPLES)[:, np.newaxis]
    times = np.bincount(chosen.ravel(), minlength=_RESAMPLES * len(pool)).reshape(_RESAMPLES, -1)
    counts: F64 = times.astype(np.float64) @ pool  # whole numbers: exact in any order of summation
    return np.asarray(counts / counts[0].sum())
