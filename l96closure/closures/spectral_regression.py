"""Regression of vectors on others for each wavevector, those of one ring together: how a spectral closure learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.closures.wavevectors import Wavevectors
from l96closure.training import Record

__all__ = ["Gaussian", "Groups", "products_of"]

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]
Index = npt.NDArray[np.intp]

_TIMES_AT_ONCE = 256  # whose transforms are in memory
_COLLINEAR = 1e-10  # eigenvalues of a matrix of correlations, in parts of the largest, that tell nothing
_SILENT = 1e-6  # power of a wavevector, in parts of the largest of its ring, that tells of none
_ROUNDING = 1e-8  # the same in parts of the mean of all wavevectors: differences of single precision


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A vector y given another, x, at each wavevector: y_c = sum_f c_fc x_f + sum_d root_dc w_d, w white.

    Attributes
    ----------
    coefficients : of the regression (F, C, M).
    root : what makes of white noise what is left (C, C, M).
    """

    coefficients: C128
    root: C128


def products_of(record: Record, grid: Wavevectors, order: int, lags: tuple[int, ...]) -> tuple[F64, C128, int]:
    """Return the means of predictors and targets, the mean products (M, V, V) of features and targets, and the times.

    Features are psi of the last p steps, the predictors now, and those of the lags.
    """
    predictors, target = record.series, [one.reshape(len(one), -1, one.shape[-1]) for one in record.target]
    means = np.concatenate([_means(values, grid) for values in (predictors, target)])
    first, times = max(order, *lags, 0), 0
    products: Any = 0.0
    for z, psi in zip(predictors, target, strict=True):
        for start in range(first, len(z), _TIMES_AT_ONCE):
            some = slice(start - first, start + _TIMES_AT_ONCE)
            modes = np.concatenate([grid.modes(values[some]) for values in (z, psi)], axis=1)
            modes[..., 0] -= np.sqrt(np.prod(grid.size)) * means
            seen, own = np.split(modes, [z.shape[1] * grid.levels], axis=1)
            n = np.arange(first, len(modes))
            past = [own[n - lag] for lag in range(1, order + 1)]
            driving = [seen[n - lag] for lag in (0, *lags)]
            vector = np.concatenate([*past, *driving, own[n]], axis=1).transpose(2, 1, 0)  # (M, V, time)
            products = products + vector.conj() @ vector.transpose(0, 2, 1)
            times += n.size
    if not times:
        checks.reject("times of truth", max(map(len, record.series)), f"more than {first}, its past, in one run")
    return means, products / times, times


def _means(segments: list[F64], grid: Wavevectors) -> F64:
    """Means of fields (time, V, K) over time and the periodic dims (V L,)."""
    total: Any = sum(grid.modes(one.sum(axis=0))[:, 0].real for one in segments)
    means: F64 = total / (np.sqrt(np.prod(grid.size)) * sum(len(one) for one in segments))
    return means


@dataclass(frozen=True, eq=False)
class Groups:
    """Wavevectors that learn their coefficients together.

    Attributes
    ----------
    grid : the wavevectors.
    of : the group of each (M,).
    weight : how many of both signs each stands for in its group, 0 where psi is zero but for rounding (M,).
    isotropic : whether the groups are rings, of real coefficients, which learn from the rings next to them too.
    """

    grid: Wavevectors
    of: Index
    weight: F64
    isotropic: bool

    @classmethod
    def select(cls, products: C128, grid: Wavevectors, isotropic: bool) -> Groups:
        """Make the groups for mean products of psi (M, C, C)."""
        power = np.einsum("mcc->mc", products).real
        of = grid.rings if isotropic else np.arange(len(power))
        largest = np.zeros((of.max() + 1, power.shape[1]))
        np.maximum.at(largest, of, power)
        there = (power > np.maximum(_SILENT * largest[of], _ROUNDING * power.mean(axis=0))).any(axis=1)
        return cls(grid, of, np.where(there, grid.counts if isotropic else 1.0, 0.0), isotropic)

    def regression(self, products: C128, given: Index, drawn: Index, times: int) -> Gaussian:
        """Regress variables on others in each group, and find what that leaves at each wavevector.

        Parameters
        ----------
        products : mean products of all variables (M, V, V).
        given, drawn : numbers of the variables x and y.
        times : samples behind the products.
        """
        counts: Any = np.bincount(self.of, self.weight)
        total = np.zeros((counts.size, *products.shape[1:]), np.complex128)
        np.add.at(total, self.of, self.weight[:, None, None] * products)
        scale = np.sqrt(_divided(np.einsum("gvv->gv", total).real, counts[:, None]))
        total = _divided(total, scale[:, :, None] * scale[:, None, :])
        if self.isotropic:
            total, counts = (_with_neighbours(values) for values in (total.real, counts))
        unit = _divided(total, counts[:, None, None])
        inverse = np.linalg.pinv(unit[:, given[:, None], given], rcond=_COLLINEAR, hermitian=True)
        found = inverse @ unit[:, given[:, None], drawn]
        found = _divided(found * scale[:, None, drawn], scale[:, given, None])
        coefficients = np.where(self.weight[:, None, None] > 0.0, self._at_wavevectors(found), 0.0)
        # What is left at a wavevector: of its own products, with the coefficients of its group.
        itself = np.broadcast_to(np.eye(drawn.size), (len(products), drawn.size, drawn.size))
        both = np.concatenate([-coefficients, itself], axis=1)
        every = np.concatenate([given, drawn])
        left = both.conj().transpose(0, 2, 1) @ products[:, every[:, None], every] @ both
        freedom = times * np.maximum(counts, 1.0)[self.of]
        left *= ((self.weight > 0.0) * freedom / np.maximum(freedom - given.size, 1.0))[:, None, None]
        return Gaussian(*(np.ascontiguousarray(np.moveaxis(part, 0, -1)) for part in (coefficients, _root(left))))

    def _at_wavevectors(self, values: npt.NDArray[Any]) -> C128:
        """Return coefficients of groups (group, F, C) at all wavevectors, linear in their size between rings."""
        if not self.isotropic:
            return values.astype(np.complex128)
        ring = np.minimum(self.grid.sizes, len(values) - 1.0)
        low = ring.astype(np.intp)
        part = (ring - low)[:, None, None]
        between: C128 = (1.0 - part) * values[low] + part * values[np.minimum(low + 1, len(values) - 1)] + 0j
        return between


def _with_neighbours(values: F64) -> F64:
    """Add to the values of each ring half those of the rings next to it; the mean, ring 0, stands for itself."""
    out = values.copy()
    out[2:] += 0.5 * values[1:-1]
    out[1:-1] += 0.5 * values[2:]
    return out


def _divided(a: Any, b: Any) -> Any:
    """Return a / b, 0 where b is 0."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0.0)


def _root(covariance: C128) -> C128:
    """Return root (M, C, C) for which the vectors sum_d root_dc w_d of white w have covariances (M, C, C)."""
    spread = np.sqrt(np.einsum("mcc->mc", covariance).real)
    unit = _divided(covariance, spread[:, :, None] * spread[:, None, :])
    size, directions = np.linalg.eigh(unit)
    root = (directions * np.sqrt(np.maximum(size, 0.0))[:, None, :]) @ directions.conj().transpose(0, 2, 1)
    scaled: C128 = root * spread[:, None, :]
    return scaled
