"""Regression of vectors on others for each wavevector, those of one ring together: how a spectral closure learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from l96closure import checks
from l96closure.arrays import C128, F64, Array, Index
from l96closure.closures.wavevectors import Wavevectors
from l96closure.record import Record

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
    means = np.concatenate([grid.means(values) for values in (predictors, target)])
    first, times = max(order, *lags, 0), 0
    products: Any = 0.0
    for z, psi in zip(predictors, target, strict=True):
        for start in range(first, len(z), _TIMES_AT_ONCE):
            some = slice(start - first, start + _TIMES_AT_ONCE)
            modes = np.concatenate([grid.modes(values[some]) for values in (z, psi)], axis=1)
            grid.shift(modes, -means)
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


@dataclass(frozen=True, eq=False)
class Groups:
    """Wavevectors that learn their coefficients together: the rings of a plane, else each by itself.

    Attributes
    ----------
    grid : the wavevectors.
    of : the group of each (M,).
    weight : how many of both signs each stands for in its group, 0 where psi is zero but for rounding (M,).
    shape : functions of the direction, of whose real multiples the coefficients of a ring are made (J, M), see
        :func:`_harmonics`; None where each wavevector has complex coefficients of its own.
    """

    grid: Wavevectors
    of: Index
    weight: F64
    shape: C128 | None

    @classmethod
    def select(cls, products: C128, grid: Wavevectors, harmonics: int) -> Groups:
        """Make the groups for mean products of psi (M, C, C)."""
        power = np.einsum("mcc->mc", products).real
        plane = len(grid.size) > 1
        of = grid.rings if plane else np.arange(len(power))
        largest = np.zeros((of.max() + 1, power.shape[1]))
        np.maximum.at(largest, of, power)
        there = (power > np.maximum(_SILENT * largest[of], _ROUNDING * power.mean(axis=0))).any(axis=1)
        weight = np.where(there, grid.counts, 0.0)
        if not plane:
            return cls(grid, of, weight, None)
        shape = _harmonics(grid, harmonics)
        enough = np.bincount(of, weight) >= 2 * len(shape)
        if enough.any():  # of the rings that corners cut the last ones are too few by themselves
            of = np.minimum(of, np.flatnonzero(enough)[-1])
        return cls(grid, of, weight, shape)

    def regression(self, products: C128, given: Index, drawn: Index, times: int) -> Gaussian:
        """Regress variables on others in each group, and find what that leaves at each wavevector.

        Parameters
        ----------
        products : mean products of all variables (M, V, V).
        given, drawn : numbers of the variables x and y.
        times : samples behind the products.
        """
        found = _solved(products, given, drawn) if self.shape is None else self._in_rings(products, given, drawn)
        coefficients = np.where(self.weight[:, None, None] > 0.0, found, 0.0)
        # What is left at a wavevector: of its own products, with the coefficients of its group.
        itself = np.broadcast_to(np.eye(drawn.size), (len(products), drawn.size, drawn.size))
        both = np.concatenate([-coefficients, itself], axis=1)
        every = np.concatenate([given, drawn])
        left = both.conj().transpose(0, 2, 1) @ products[:, every[:, None], every] @ both
        alike = 1.0 if self.shape is None else np.bincount(self.of, self.weight)[self.of] / len(self.shape)
        freedom = times * np.maximum(alike, 1.0)
        left *= ((self.weight > 0.0) * freedom / np.maximum(freedom - given.size, 1.0))[:, None, None]
        return Gaussian(*(np.ascontiguousarray(np.moveaxis(part, 0, -1)) for part in (coefficients, _root(left))))

    def _in_rings(self, products: C128, given: Index, drawn: Index) -> C128:
        """Regress in rings, which learn from those next to them too; coefficients are linear in the size between rings.

        Real factors b of the functions h_j of the direction make of x_f what is nearest to y: the sum over a ring of
        h_j* h_k <x_f* x_g>, its real part, takes the place of the products <x_f* x_g>.
        """
        assert self.shape is not None
        J, V = len(self.shape), products.shape[1]
        rings = int(self.of.max()) + 1
        total = np.empty((rings, J, V, J, V))
        for ring in range(rings):
            inside = np.flatnonzero(self.of == ring)
            pairs = self.weight[inside] * self.shape[:, None, inside].conj() * self.shape[:, inside]
            total[ring] = np.einsum("jkm,mvw->jvkw", pairs, products[inside], optimize=True).real
        scale = np.sqrt(_divided(np.einsum("gvv->gv", total[:, 0, :, 0]), np.bincount(self.of, self.weight)[:, None]))
        unit = _divided(total, scale[:, None, :, None, None] * scale[:, None, None, None, :])
        x = np.ravel(V * np.arange(J)[:, None] + given)
        found = _solved(_with_neighbours(unit).reshape(rings, J * V, J * V), x, drawn).reshape(rings, J, given.size, -1)
        found = _divided(found * scale[:, None, None, drawn], scale[:, None, given, None])
        place = np.minimum(self.grid.sizes, rings - 1.0)
        low = place.astype(np.intp)
        part = (place - low)[:, None, None, None]
        between = (1.0 - part) * found[low] + part * found[np.minimum(low + 1, rings - 1)]
        return np.einsum("jm,mjfc->mfc", self.shape, between)


def _solved(products: Array, given: Index, drawn: Index) -> Array:
    """Return the coefficients (n, F, C) of a regression on variables x of others y, of their products (n, V, V)."""
    scale = np.sqrt(np.einsum("nvv->nv", products).real)
    unit = _divided(products, scale[:, :, None] * scale[:, None, :])
    inverse = np.linalg.pinv(unit[:, given[:, None], given], rcond=_COLLINEAR, hermitian=True)
    found: Array = inverse @ unit[:, given[:, None], drawn]
    return np.asarray(_divided(found * scale[:, None, drawn], scale[:, given, None]))


def _harmonics(grid: Wavevectors, highest: int) -> C128:
    """Return cos and sin of multiples of the direction (J, M), the odd ones imaginary: then fields stay real."""
    multiples = np.arange(1, highest + 1)
    angles = multiples[:, None] * grid.directions
    unit = np.where(multiples % 2, 1j, 1.0)[:, None] * (grid.sizes > 0.0)
    waves = [unit * np.cos(angles), unit * np.sin(angles)]
    return np.concatenate([np.ones((1, grid.sizes.size), np.complex128), *waves])


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
    return root * spread[:, None, :]
