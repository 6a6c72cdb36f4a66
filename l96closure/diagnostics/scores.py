"""The distances of a coarse run from the truth, each with its floor and its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import xarray as xr

from l96closure.arrays import F64
from l96closure.attributes import in_units, labelled
from l96closure.diagnostics import distances, intervals, resampling
from l96closure.diagnostics.distances import Comparison, Distance, Stretches
from l96closure.diagnostics.runs import SOURCES, Runs
from l96closure.diagnostics.scorecard import DISTANCES, PARTS

_LEVELS = 256  # of equal probability, at which distribution functions are compared when they are resampled


def score(
    runs: Runs, edges: Sequence[F64], joint_edges: Sequence[F64], memory: float, rng: np.random.Generator
) -> xr.Dataset:
    """Return all distances with their floors and intervals, and in the attributes how they were made.

    Parameters
    ----------
    runs : truth and coarse run.
    edges : bin edges of z and of psi.
    joint_edges : bin edges of z and of psi for their joint distribution.
    memory : decorrelation time in time steps, which the blocks of the resampling are long against.
    rng : generator of the resampling.

    Returns
    -------
    Dataset of the scalars ``<score><part>`` for all of :data:`~scorecard.DISTANCES` and :data:`~scorecard.PARTS`.
    """
    pieces = distances.cut(runs.z["truth"][0], runs.z["coarse"])
    blocks = resampling.blocks_in(pieces.length, memory)
    scores = xr.Dataset(attrs=_attributes(pieces, blocks, memory, runs.step))
    for name, comparison, distance, cells, number in (
        *_histogram_scores(runs, edges, joint_edges),
        *_cdf_scores(pieces),
    ):
        low = high = math.nan
        if blocks:
            resampled = resampling.resampled_scores(distance, cells, number, blocks, rng)
            low, high = resampling.interval(comparison.score, resampled, blocks)
        for part, value in zip(PARTS, (*comparison, low, high), strict=True):
            told = {"interval_method": scores.attrs["interval_method"]} if part in ("_low", "_high") else {}
            scores[f"{name}{part}"] = xr.DataArray(value, attrs=told)
    scores = in_units(scores, {"wasserstein_z": (1, 0)}, *runs.units)
    return labelled(scores, {name: declared.label for name, declared in DISTANCES.items()})


_Scored = tuple[str, Comparison, Distance, Stretches, int]
"""Name and value of a score, and what resampling needs: the distance of probabilities, the cells, and their number."""


def _histogram_scores(runs: Runs, edges: Sequence[F64], joint_edges: Sequence[F64]) -> Iterator[_Scored]:
    """Yield the Hellinger distances of z, of psi and of both together."""
    fields = (runs.z, runs.psi)
    for name, binned, by in (
        ("hellinger_z", fields[:1], edges[:1]),
        ("hellinger_psi", fields[1:], edges[1:]),
        ("hellinger_joint", fields, joint_edges),
    ):
        shape = [len(e) + 1 for e in by]
        truth, coarse = (
            np.ravel_multi_index([distances.cells(x[source], e) for x, e in zip(binned, by, strict=True)], shape)
            for source in SOURCES
        )
        cells, number = distances.cut(truth[0], coarse), math.prod(shape)
        probabilities = cells.map(partial(distances.probabilities, number=number))
        comparison = distances.compare(distances.hellinger, probabilities)
        yield name, comparison, distances.hellinger, cells, number


def _cdf_scores(pieces: Stretches) -> Iterator[_Scored]:
    """Yield the distances of the distribution functions of z."""
    thinned = pieces.thinned()
    values = np.concatenate([x.ravel() for x in (*thinned.truth, *thinned.coarse)])
    levels = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _LEVELS + 1)))
    cells = thinned.map(lambda x: distances.cells(x, levels))

    def area(p: F64, q: F64) -> F64:
        return np.abs(np.cumsum(p - q, axis=-1)[..., : len(levels) - 1]) @ np.diff(levels)

    def gap(p: F64, q: F64) -> F64:
        return np.asarray(np.abs(np.cumsum(p - q, axis=-1)).max(axis=-1))

    for name, exact, of_cells in (("wasserstein_z", distances.wasserstein, area), ("ks_z", distances.ks, gap)):
        yield name, distances.compare(exact, thinned), of_cells, cells, len(levels) + 1


def _attributes(pieces: Stretches, blocks: int, memory: float, step: float) -> dict[str, float | str]:
    """Say how the comparison was made."""
    stretches = len(pieces.truth)
    if blocks:
        method = f"basic bootstrap of {blocks} blocks to a piece, stretched by Student's distribution, 95 %"
    elif math.isinf(memory):
        method = "none: z or ψ has not forgotten its past at the longest lag"
    else:
        method = (
            f"none: the pieces hold fewer than {intervals.MIN_VALUES} blocks of {resampling.BLOCK} decorrelation "
            "times, too few independent ones"
        )
    return {
        "floor_stretches": stretches,
        "floor_pairs": stretches * (stretches - 1) // 2,
        "floor_stretch_duration": pieces.length * step,
        "floor_method": pieces.note,
        "coarse_pieces": len(pieces.coarse),
        "interval_blocks": blocks,
        "interval_block_duration": pieces.length // blocks * step if blocks else math.nan,
        "interval_method": method,
    }
