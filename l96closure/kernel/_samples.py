"""Sample sets with their weights, and the kernels that weigh them: what every conditional mean is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from l96closure import checks
from l96closure.arrays import F64
from l96closure.kernel._layout import DISTANCE, DOT_PRODUCT, VARIABLE

_SMALLEST_RTOL = 3e-5  # three times what single precision takes

SUMS = ("auto", "brute", "tree")
ESTIMATORS = {"bridge": DISTANCE, "kde": DISTANCE, "dot_product": DOT_PRODUCT, "variable": VARIABLE}


@dataclass(frozen=True)
class Kernel:
    """Which estimator of the conditional mean, and its bandwidth.

    Parameters
    ----------
    estimator : ``bridge``, t = exp(-|x - y|^2 / 4 epsilon) with Sinkhorn weights, eqs. (7)-(13); ``dot_product``,
        t = exp(x.y / 2 epsilon), the attention form (19)-(21), which gives the same means from other weights;
        ``variable``, t = exp(-|x - y|^2 / (2 epsilon (rho(x) + rho(y)))), the variable bandwidth K(x) = rho(x) I of
        Gottwald et al. (2024, arXiv:2401.04372), with rho(x) the squared distance to the ``nearest``-th sample,
        normalised to geometric mean one over the samples, so that ``epsilon`` keeps its meaning;
        ``kde``, t = exp(-|x - y|^2 / 2 gamma) with equal weights, eqs. (22)-(25) and Remark 5.
    epsilon : bandwidth in the scaled metric and step of the dynamics, > 0.
    gamma : bandwidth of ``kde``, > 0; None is ``epsilon``, as in the text before eq. (24).
    nearest : which nearest sample the distance of ``variable`` is taken to, a training sample counting itself, >= 2.
    sums : ``brute`` sums over all samples; ``tree`` leaves samples out and replaces runs of them under the tolerance
        ``rtol``, see :mod:`l96closure.kernel`; ``auto`` does so where it saves half of the work or more.
    rtol : largest error of a conditional mean in standard deviations of the component's samples, and of a variance in
        their square, from 3e-5.

    Raises
    ------
    ValueError
        A field is out of its range, or ``gamma`` is given to an estimator that has none.
    """

    estimator: str = "bridge"
    epsilon: float = 0.1
    gamma: float | None = None
    nearest: int = 16
    sums: str = "auto"
    rtol: float = 1e-4

    def __post_init__(self) -> None:
        checks.one_of("estimator", self.estimator, ESTIMATORS)
        checks.number("epsilon", self.epsilon, above=0.0)
        checks.integer("nearest", self.nearest, 2)
        checks.one_of("sums", self.sums, SUMS)
        if checks.number("rtol", self.rtol, above=0.0) < _SMALLEST_RTOL:
            checks.reject("rtol", self.rtol, f"at least {_SMALLEST_RTOL}, what single precision can promise")
        if self.gamma is not None:
            checks.number("gamma", self.gamma, above=0.0)
            if self.estimator != "kde":
                checks.reject("gamma", self.gamma, f"None for the estimator {self.estimator}")

    @property
    def kind(self) -> int:
        """What it is a function of: ``DISTANCE``, ``VARIABLE`` or ``DOT_PRODUCT``."""
        return ESTIMATORS[self.estimator]

    @property
    def of_distance(self) -> bool:
        """Whether it is a function of the distance alone, with one bandwidth: of ``bridge`` and ``kde``."""
        return self.kind == DISTANCE

    @property
    def epsilon_of_kernel(self) -> float:
        """The epsilon of exp(-|x - y|^2 / 4 epsilon), which for ``kde`` is gamma / 2."""
        if self.estimator == "kde":
            return (self.epsilon if self.gamma is None else self.gamma) / 2.0
        return self.epsilon

    def factor(self, scale: F64) -> F64:
        """Return what coordinates are multiplied by for the kernel to be 2^(-|x|^2).

        Parameters
        ----------
        scale : what each coordinate is divided by in the distances (d,), > 0.

        Returns
        -------
        (d,), in reciprocal units of the coordinates.
        """
        return np.sqrt(math.log2(math.e) / (4.0 * self.epsilon_of_kernel)) / scale


@dataclass(frozen=True, eq=False)
class WeightedSamples:
    """The samples one conditional mean is a weighted average of, in physical units.

    Attributes
    ----------
    coordinates : samples restricted to the neighbourhood (M, d_alpha).
    values : samples of the components whose moments are wanted (M, C).
    coordinate_scale, value_scale : what each is divided by in the distances, (d_alpha,) and (C,).
    log_v : logarithm of the weights (M,).
    residual : max |v o (T v) - 1|; NaN where the weights are not those of a bridge.
    iterations : evaluations of T v used.
    spread : variance of the values behind each sample (M, C), where one stands for several; None is zero.
    """

    coordinates: F64
    values: F64
    coordinate_scale: F64
    value_scale: F64
    log_v: F64
    residual: float
    iterations: int
    spread: F64 | None = None

    @classmethod
    def unweighted(cls, coordinates: F64, values: F64, coordinate_scale: F64, value_scale: F64) -> WeightedSamples:
        """Return a set of samples with equal weights."""
        none = np.zeros(len(coordinates))
        return cls(coordinates, values, coordinate_scale, value_scale, none, residual=float("nan"), iterations=0)

    @property
    def v(self) -> F64:
        """The weights v (M,)."""
        return np.exp(self.log_v)
