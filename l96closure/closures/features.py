"""What a closure sees at a site: predictors at the site and its neighbours, now and at lags, scaled to [-1, 1].

The features of a site are ordered by lag (0 first), within a lag by predictor, within a predictor by place of the
stencil (the site itself first). Each predictor is mapped from its range in the training data, but for outliers, to
[-1, 1], and held at the ends beyond: a product of features cannot run away. How many were held is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from l96closure.arrays import F64, Index
from l96closure.compiled import part


@dataclass(frozen=True, eq=False)
class Features:
    """Which values a closure sees at every site, and how they are scaled.

    Attributes
    ----------
    neighbour : sites at the places of the stencil of each of K sites (K, W), the site itself first; of a part of the
        grid, after :meth:`of_sites`, of its sites alone.
    lags : in steps, ascending from 0 (L,).
    lower, upper : range of each predictor in the training data, but for outliers (P,).
    """

    neighbour: Index
    lags: Index
    lower: F64
    upper: F64
    middle: F64 = field(init=False, repr=False)
    half: F64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "middle", self.lower + 0.5 * (self.upper - self.lower))
        object.__setattr__(self, "half", 0.5 * (self.upper - self.lower))

    @cached_property
    def scale(self) -> Scale:
        """How predictors are scaled, as compiled code takes it."""
        return Scale.of(self.lower, self.upper)

    def of_sites(self, sites: Index) -> Features:
        """Return the features of some sites, without places that are the same as others at all of them.

        Parameters
        ----------
        sites : their numbers (n,).

        Returns
        -------
        Features
        """
        seen = self.neighbour[sites]
        first = np.sort(np.unique(seen, axis=1, return_index=True)[1])
        return replace(self, neighbour=np.ascontiguousarray(seen[:, first]))

    @property
    def longest(self) -> int:
        """The longest lag in steps."""
        return int(self.lags[-1])

    @property
    def own(self) -> Index:
        """Places among the features of each predictor at the site itself, lag by lag (L P,)."""
        return np.arange(self.lags.size * self.lower.size, dtype=np.intp) * self.neighbour.shape[1]

    @property
    def size(self) -> int:
        """Number of features of a site, F."""
        return int(self.lags.size * self.lower.size * self.neighbour.shape[1])

    def at(self, values: F64, row: Index, sign: int) -> F64:
        """Return the features in some rows of values.

        Parameters
        ----------
        values : predictors (R, P, K), a row for each time.
        row : rows that are now (n,).
        sign : where the past is: what was ``lag`` steps before is in ``row + sign * lag``.

        Returns
        -------
        (n, K, F), scaled to [-1, 1].
        """
        columns = [
            np.clip((values[row + sign * lag, p][:, self.neighbour] - self.middle[p]) / self.half[p], -1.0, 1.0)
            for lag in self.lags
            for p in range(self.lower.size)
        ]
        return np.concatenate(columns, axis=2)

    def by_field(self, now: F64, history: F64) -> F64:
        """Return what is seen anywhere, field by field and not scaled.

        Parameters
        ----------
        now : predictors (n, P, K).
        history : of the steps before (n, H, P, K), the last first.

        Returns
        -------
        (n, L P K), by lag, within a lag by predictor.
        """
        lagged = [history[:, lag - 1].reshape(len(now), -1) for lag in self.lags[1:]]
        return np.concatenate([now.reshape(len(now), -1), *lagged], axis=1)


class Scale(NamedTuple):
    """How predictors are scaled: (z - ``middle``) ``factor``.

    Parameters
    ----------
    lower, upper : what becomes -1 and 1 (P,).
    middle, factor : the map (P,).
    """

    lower: F64
    upper: F64
    middle: F64
    factor: F64

    @classmethod
    def of(cls, lower: F64, upper: F64) -> Scale:
        """Make it of ranges; the value of one that has but one becomes 0.

        Parameters
        ----------
        lower, upper : their ends (P,).

        Returns
        -------
        Scale
        """
        half = 0.5 * (upper - lower)
        factor = np.divide(1.0, half, out=np.zeros_like(half), where=half > 0.0)
        return cls(lower, upper, lower + half, factor)


@part
def gather(
    values: F64, row: int, sign: int, k: int, neighbour: Index, lags: Index, scale: Scale, out: F64, e: int, stride: int
) -> int:
    """Write feature i of site ``k`` to ``out[stride * i + e]``; return how many are outside of the training range.

    ``values`` (R, P, K) has what is now in ``row`` and what was a lag before in ``row + sign * lag``.
    """
    i, outside = e, 0
    for lag in lags:
        now = row + sign * lag
        for p in range(scale.lower.size):
            for w in range(neighbour.shape[1]):
                z = values[now, p, neighbour[k, w]]
                outside += z < scale.lower[p] or z > scale.upper[p]
                x = (z - scale.middle[p]) * scale.factor[p]
                out[i] = 1.0 if x > 1.0 else -1.0 if x < -1.0 else x
                i += stride
    return outside


def rows(z: F64, history: F64) -> tuple[F64, Index]:
    """Put predictors before their history, for :func:`gather`.

    Parameters
    ----------
    z : predictors now (n, P, K).
    history : of the steps before (n, H, P, K), the last first.

    Returns
    -------
    Rows (n (1 + H), P, K), and the row of each z (n,).
    """
    members, length = len(z), history.shape[1] + 1
    together = np.concatenate([z[:, None], history], axis=1).reshape(members * length, *z.shape[1:])
    return together, length * np.arange(members)
