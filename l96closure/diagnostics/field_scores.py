"""Scores of ensembles of whole fields, which see whether the members vary together as the truth does.

Both are fair as the CRPS is here: their expectation does not depend on the number of members, and is that of the
distribution these are drawn from. A single ensemble may score below zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from l96closure.arrays import F64

_ORDER = 0.5  # of the variogram score
_MOST_PAIRS, _FEWEST_OFFSETS = 100_000, 16  # of sites that it looks at


def fair_energy_score(x: F64, y: F64) -> F64:
    """Fair energy score, mean |x_i - y| - mean |x_i - x_j| / 2, with the Euclidean norm over all sites.

    Gneiting & Raftery (2007, Journal of the American Statistical Association 102, 359-378), equation (22); with the
    mean over pairs i != j it is fair (Ferro 2014). For one site it is the fair CRPS. It sees errors of the mean first,
    of the spread next, and of correlations least.

    Parameters
    ----------
    x : members (..., k, member), two or more.
    y : the truth (..., k).

    Returns
    -------
    (...), in units of ``x``.
    """
    departure = x - y[..., np.newaxis]
    members = x.shape[-1]
    # An offset at a time: pairs (i, i + offset), so that no array is larger than the members themselves.
    spread = sum(
        weight * np.linalg.norm(np.roll(departure, -offset, axis=-1) - departure, axis=-2).sum(axis=-1)
        for offset, weight in _pairs(members)
    )
    return np.linalg.norm(departure, axis=-2).mean(axis=-1) - spread / (members * (members - 1))


def fair_variogram_score(x: F64, y: F64) -> F64:
    """Fair variogram score of order 0.5: how well the members' differences between sites are those of the truth.

    The mean over all pairs of sites k != l of (|y_k - y_l|^p - mean |x_k - x_l|^p)², p = 0.5, equal weights: Scheuerer
    & Hamill (2015, Monthly Weather Review 143, 1321-1334), equation (13), who sum over the pairs. Of each square the
    variance of |x_k - x_l|^p over the members, unbiased, over their number is taken off, which is what the mean over a
    finite ensemble adds to it. Of more than 447 sites some hundred thousand pairs are looked at, at offsets that are
    evenly spread: with all of them the cost would grow with the square of the number of sites.

    Parameters
    ----------
    x : members (..., k, member), two or more.
    y : the truth (..., k).

    Returns
    -------
    (...), in units of ``x``; NaN for a single site.
    """
    sites, members = x.shape[-2:]
    total, offsets = np.zeros(y.shape[:-1]), _some_pairs(sites)
    for offset, weight in offsets:
        forecast = np.abs(np.roll(x, -offset, axis=-2) - x) ** _ORDER
        observed = np.abs(np.roll(y, -offset, axis=-1) - y) ** _ORDER
        departure = forecast - observed[..., np.newaxis]  # zero where all members are the truth, round-off included
        squares = departure.mean(axis=-1) ** 2 - departure.var(axis=-1, ddof=1) / members
        total += weight * squares.sum(axis=-1)
    return total / (sites * sum(weight for _, weight in offsets)) if sites > 1 else np.full_like(total, np.nan)


def climatology(z: F64) -> tuple[float, float]:
    """Return the energy and the variogram score of the climatological distribution of fields.

    Parameters
    ----------
    z : a run (time, k). Fields half of it apart are taken as independent.

    Returns
    -------
    Energy score, variogram score; the second is NaN for a single site.
    """
    energy = np.linalg.norm(np.roll(z, len(z) // 2, axis=0) - z, axis=1).mean() / 2
    sites = z.shape[1]
    offsets = _some_pairs(sites)
    total = sum(
        weight * (np.abs(np.roll(z, -offset, axis=1) - z) ** _ORDER).var(axis=0).sum() for offset, weight in offsets
    )
    return float(energy), float(total / (sites * sum(weight for _, weight in offsets))) if sites > 1 else np.nan


def _some_pairs(sites: int) -> list[tuple[int, float]]:
    """Return :func:`_pairs`; of many sites evenly spread ones, of about a hundred thousand pairs, sixteen at least."""
    pairs = list(_pairs(sites))
    most = max(_MOST_PAIRS // sites, _FEWEST_OFFSETS)
    if len(pairs) <= most:
        return pairs
    return [pairs[number] for number in np.linspace(0, len(pairs) - 1, most).round().astype(int)]


def _pairs(number: int) -> Iterator[tuple[int, float]]:
    """Yield offsets, and the weights with which the pairs (i, i + offset), i taken around, are all pairs i != j."""
    for offset in range(1, number // 2 + 1):
        yield offset, 0.5 if 2 * offset == number else 1.0
