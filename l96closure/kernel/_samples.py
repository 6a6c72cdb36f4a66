"""Sample sets with their weights, and the kernels that weigh them: what every conditional mean is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.bridge import sinkhorn
from l96closure.kernel import _groups as groups
from l96closure.kernel import _moments as kernel_sums
from l96closure.kernel import _row_sums as row_sums
from l96closure.kernel._groups import Groups
from l96closure.kernel._layout import DISTANCE, DOT_PRODUCT, VARIABLE, KernelPlan
from l96closure.restart import evaluated

__all__ = ["ESTIMATORS", "SUMS", "Dictionary", "Kernel", "plan", "weigh"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_FEWEST = 2048  # samples from which on it is tried whether some of them can be left out
_TRIALS = 32
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
        ``rtol``, see :mod:`l96closure.kernel._moments`; ``auto`` does so where it saves half of the work or more.
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
        return np.sqrt(math.log2(math.e) / (4.0 * self.epsilon_of_kernel)) / scale  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Dictionary:
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
    def unweighted(cls, coordinates: F64, values: F64, coordinate_scale: F64, value_scale: F64) -> Dictionary:
        """Return a set of samples with equal weights."""
        none = np.zeros(len(coordinates))
        return cls(coordinates, values, coordinate_scale, value_scale, none, residual=float("nan"), iterations=0)

    @property
    def v(self) -> F64:
        """The weights v (M,)."""
        return np.exp(self.log_v)


def weigh(samples: Dictionary, kernel: Kernel, tolerance: float, label: str = "") -> Dictionary:
    """Find the weights of a set of samples; ``tolerance`` and ``label`` as for :func:`sinkhorn.solve_samples`.

    Raises ``ValueError`` when there are fewer samples than ``kernel.nearest`` asks for.
    """
    coordinates = samples.coordinates
    M, size = coordinates.shape
    if kernel.estimator == "kde":
        return samples
    if size == 0:  # every sample is as near as any other: T = 1, v = M^(-1/2)
        scaling = sinkhorn.Scaling(np.full(M, -0.5 * np.log(M)), 0.0, 0)
    elif kernel.estimator == "bridge":
        factor = kernel.factor(samples.coordinate_scale)
        table = np.ascontiguousarray(((coordinates - coordinates.mean(axis=0)) * factor).T)
        scaling = sinkhorn.solve_samples(table, tolerance, label)
    else:
        nothing = np.zeros((1, 0), np.intp)
        bare = plan([samples], kernel, np.zeros(1, np.intp), nothing, nothing)

        def log_row_sums(u: F64, share: float, double: bool) -> F64:
            weighted = {"offset": u[None, :] / np.log(2.0)} if bare.kind == DOT_PRODUCT else {"charge": np.exp(u)[None]}
            return evaluated(lambda: row_sums.log_row_sums(bare._replace(**weighted), 0) * np.log(2.0))

        scaling = sinkhorn.solve(log_row_sums, M, tolerance, label)
    return replace(samples, **scaling._asdict())


def plan(dictionaries: Sequence[Dictionary], kernel: Kernel, head: Index, gather: Index, targets: Index) -> KernelPlan:
    """Lay dictionaries and queries out for the compiled loops; arguments and result as for :class:`KernelPlan`.

    Raises ``ValueError`` when there are fewer samples than ``kernel.nearest`` asks for.
    """
    kind = ESTIMATORS[kernel.estimator]
    tables = [_table(dictionary, kernel) for dictionary in dictionaries]
    several = [_groups(t, np.exp(one.log_v), kernel) for t, one in zip(tables, dictionaries, strict=True)]
    rows = max(table["table"].shape[0] for table in tables)
    table = _stack([t["table"] for t in tables], rows)
    squares = np.stack([t["squares"] for t in tables])
    size = np.array([dictionary.coordinates.shape[1] for dictionary in dictionaries], np.intp)
    log_v = np.stack([dictionary.log_v for dictionary in dictionaries])
    charge = np.ones_like(log_v) if kind == DOT_PRODUCT else np.exp(log_v)
    rho, rho_unit = np.empty((len(tables), 0)), np.ones(len(tables))
    if kind == VARIABLE:
        if kernel.nearest > log_v.shape[1]:
            checks.reject("nearest", kernel.nearest, f"at most the number of samples, {log_v.shape[1]}")
        squared = np.stack(
            [row_sums.nearest_squared(t["table"][:s], kernel.nearest) for t, s in zip(tables, size, strict=True)]
        )
        least = 1e-12 * squared.mean(axis=1, keepdims=True) + np.finfo(float).tiny  # coinciding samples
        squared = np.maximum(squared, least)
        rho_unit = np.exp(np.log(squared).mean(axis=1))
        rho = squared / rho_unit[:, None]
    laid_out = KernelPlan(
        table=table,
        squares=squares,
        charge=charge,
        **groups.joined(several, rows)._asdict(),
        centre=_stack([t["centre"] for t in tables], rows),
        factor=_stack([t["factor"] for t in tables], rows),
        size=size,
        value_rows=np.stack([t["value_rows"] for t in tables]),
        head=np.ascontiguousarray(head, np.intp),
        gather=np.ascontiguousarray(gather, np.intp),
        targets=np.ascontiguousarray(targets, np.intp),
        kind=kind,
        offset=log_v / np.log(2.0) if kind == DOT_PRODUCT else np.empty((len(tables), 0)),
        rho=rho,
        rho_unit=rho_unit,
        nearest=kernel.nearest,
    )
    if kernel.sums == "auto" and laid_out.rtol.any() and not _pays(laid_out):
        laid_out.rtol[:] = 0.0
    return laid_out


def _groups(table: dict[str, Any], charge: F64, kernel: Kernel) -> Groups:
    """Lay the samples out for the sums in single precision, with a tolerance where leaving some out may pay."""
    rows, squares, size, values = table["table"], table["squares"], table["size"], table["value_rows"]
    if ESTIMATORS[kernel.estimator] != DISTANCE:  # these are summed in double precision
        return groups.group(rows[:, :0], squares[:, :0], charge[:0], size, values)
    many = charge.size >= _FEWEST if kernel.sums == "auto" else kernel.sums == "tree"
    if many and values.size and size:
        return groups.group(rows, squares, charge, size, values, kernel.rtol, recombine=table["spread"] is None)
    return groups.group(rows, squares, charge, size, values)


def _pays(plan: KernelPlan) -> bool:
    """Tell whether the tolerance of the first dictionary saves half of the kernel evaluations or more.

    It is asked of states as the sampler meets them: samples, evenly spaced in order, moved by the noise
    sqrt(2 epsilon), which is sqrt(log2(e) / 2) in kernel units.
    """
    samples, size = plan.charge.shape[1], plan.size[0]
    some = np.linspace(0, samples - 1, _TRIALS).astype(np.intp)
    noise = np.sqrt(0.5 * math.log2(math.e)) * np.random.default_rng(0).standard_normal((_TRIALS, size))
    x = (plan.table[0, :size, some] + noise) / plan.factor[0, :size] + plan.centre[0, :size]
    return bool(kernel_sums.moments_given(x, plan, 0, order=1)[2] < 0.5 * samples * _TRIALS)


def _table(dictionary: Dictionary, kernel: Kernel) -> dict[str, Any]:
    """Rows of coordinates, then of those values that are no coordinate, centred and in kernel units."""
    coordinates, values = dictionary.coordinates, dictionary.values
    rows, scale, value_rows = list(coordinates.T), list(dictionary.coordinate_scale), []
    for value, value_scale in zip(values.T, dictionary.value_scale, strict=True):
        same = [r for r in range(coordinates.shape[1]) if np.array_equal(coordinates[:, r], value)]
        if not same:
            rows.append(value)
            scale.append(value_scale)
        value_rows.append(same[0] if same else len(rows) - 1)
    physical = np.array(rows).reshape(len(rows), coordinates.shape[0])
    centre, factor = physical.mean(axis=1), kernel.factor(np.array(scale))
    table = (physical - centre[:, None]) * factor[:, None]
    squares = table[value_rows] ** 2
    if dictionary.spread is not None:
        squares += dictionary.spread.T * factor[value_rows][:, None] ** 2
    return {
        "size": coordinates.shape[1],
        "spread": dictionary.spread,
        "table": table,
        "squares": squares,
        "centre": centre,
        "factor": factor,
        "value_rows": np.array(value_rows, np.intp),
    }


def _stack(arrays: Sequence[npt.NDArray[Any]], rows: int) -> npt.NDArray[Any]:
    """Stack arrays along a new first axis, their first axes padded with zeros to ``rows``."""
    return np.stack([np.pad(a, [(0, rows - a.shape[0])] + [(0, 0)] * (a.ndim - 1)) for a in arrays])
