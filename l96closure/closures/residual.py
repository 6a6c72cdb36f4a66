"""What a trend leaves of the target: what the law and the noise of a closure are learned from."""

from __future__ import annotations

from typing import NamedTuple

from l96closure.arrays import F64
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend


class Residual(NamedTuple):
    """What a trend leaves, from the longest lag of each segment on.

    ``mean`` and ``values`` hold the trend and the residual of each segment (time, K); each block of time is seen by a
    trend that was fitted without it.
    """

    features: Features
    trend: AnyTrend | None
    mean: list[F64]
    values: list[F64]
