"""Noise of several variables at once: an autoregression of vectors, for each wavevector where sites are alike.

Along axes on which the grid is periodic and its sites are alike, the field is taken apart into wavevectors k; what is
left, targets and sites that are not alike (levels, say), is a vector X_k of B components, with

    X_k(n) = sum_l A_k,l X_k(n - l) + L_k W_k(n),   l = 1 ... p,

and the transform W_k of white noise. So any covariance in space, among levels and among targets is met, and any that is
p steps apart. Coefficients and innovations follow from the covariances of the data by the recursion of Whittle (1963,
Biometrika 50, 129-134), which gives a stable process wherever the covariances are those of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.arrays import F64, Array
from l96closure.closures.state import State
from l96closure.closures.wavevectors import Wavevectors
from l96closure.compiled import cached

C128 = npt.NDArray[np.complexfloating]

LARGEST_VECTOR = 128
"""Components of a vector at most: targets times sites that are not alike."""

_AT_ONCE = 2**22  # numbers that are transformed at once
_LEAST = 1e-8  # variance that is added to each component's, beside its own, so that there is a factor
_ORDERS = 1, 2, 4, 8, 16, 32, 64, 128  # to choose among, up to what is asked for


class _Prediction(NamedTuple):
    """Best linear prediction from values before: coefficients (M, j, B, B), and a factor of its error (M, B, B)."""

    coefficients: C128
    factor: C128


@dataclass(frozen=True, eq=False)
class VectorPattern:
    """An autoregression of vectors; made by :func:`fit_vector_pattern`.

    Attributes
    ----------
    covariance : of the vectors with those l steps before, for l = 0 ... p (M, p + 1, B, B), in parts of those of white
        noise; every cell has variance 1.
    grid : where the cells are.
    """

    covariance: C128
    grid: Wavevectors
    _predictions: list[_Prediction] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            predictions = _whittle(self.covariance)
        except np.linalg.LinAlgError:
            checks.reject("noise_covariance", "indefinite", "the covariances of a process")
        object.__setattr__(self, "_predictions", predictions)

    @property
    def order(self) -> int:
        """Steps that are remembered, p."""
        return int(self.covariance.shape[1]) - 1

    @property
    def sites(self) -> int:
        """Number of all cells, C."""
        return self.grid.cells

    def tables(self) -> dict[str, Array]:
        """Return what a step is made of.

        Returns
        -------
        ``noise_of_earlier`` (M, p, B, B, 2) and ``noise_of_white`` (M, B, B, 2), real and imaginary parts of what the
        vectors of the values before and of white noise are multiplied by, for each wavevector of a real transform along
        the axes of ``noise_shape`` that ``noise_alike`` tells.
        """
        coefficients, factor = self._predictions[-1]
        return {
            "noise_of_earlier": np.stack([coefficients.real, coefficients.imag], axis=-1),
            "noise_of_white": np.stack([factor.real, factor.imag], axis=-1),
            "noise_shape": np.array(self.grid.shape),
            "noise_alike": np.array(self.grid.periodic),
        }

    def initial(self, state: State) -> F64:
        """Draw the last p values from their stationary distribution.

        Parameters
        ----------
        state : gives key, members and step of the normals.

        Returns
        -------
        (member, p, C), the last first.
        """
        members = len(state.member)
        drawn = np.empty((members, self.order, self.sites))
        if not self.order:
            return drawn
        white = _modes(self.grid, state.normals(self.order, self.sites))
        values = np.empty((members, self.order, *white.shape[2:]), np.complex128)
        for j in range(self.order):  # the first alone, each next one given those before it
            _next(values[:, self.order - j :], white[j], *self._predictions[j], values[:, self.order - 1 - j])
        return _fields(self.grid, values)

    def advance(self, state: State) -> tuple[F64, F64]:
        """Make a step.

        Parameters
        ----------
        state : gives the normals of the step; its ``memory`` is the last p values (member, p, C).

        Returns
        -------
        The noise (member, C), and the last p values (member, p, C) to remember next.
        """
        white = _modes(self.grid, state.normals(1, self.sites)[0])
        out = np.empty_like(white)
        _next(_modes(self.grid, state.memory), white, *self._predictions[-1], out)
        value = _fields(self.grid, out)
        if not self.order:
            return value, state.memory
        return value, np.concatenate([value[:, None], state.memory[:, :-1]], axis=1)

    def surprise(self, series: Sequence[F64]) -> float:
        """Return the mean negative log-likelihood of a value of series (time, C) given the p before, but a constant."""
        (coefficients, factor), p = self._predictions[-1], self.order
        inverse = np.linalg.inv(factor)
        weight = self.grid.counts
        total, times = 0.0, 0
        for values in _transformed(series, self.grid, p):
            error = values[p:].copy()
            for lag in range(1, p + 1):
                before = values[p - lag : len(values) - lag]
                error -= np.einsum("mij,tmj->tmi", coefficients[:, lag - 1], before, optimize=True)
            white = np.einsum("mij,tmj->tmi", inverse, error, optimize=True)
            total += float((weight[:, None] * np.abs(white) ** 2).sum())
            times += len(error)
        diagonal = np.abs(np.diagonal(factor, axis1=1, axis2=2))
        return 0.5 * total / (times * self.sites) + float((weight[:, None] * np.log(diagonal)).sum()) / self.sites


def _modes(grid: Wavevectors, values: F64) -> C128:
    """Transform fields (..., C) to vectors (..., M, B)."""
    return np.ascontiguousarray(np.swapaxes(grid.modes(values[..., None, :]), -1, -2))


def _fields(grid: Wavevectors, modes: C128) -> F64:
    """Inverse of :func:`_modes`."""
    return np.ascontiguousarray(grid.values(np.swapaxes(modes, -1, -2))[..., 0, :])


@cached
def _next(before: C128, white: C128, coefficients: C128, factor: C128, out: C128) -> None:
    """Predict vectors (n, M, B) from those before (n, p, M, B), the last first, and add noise."""
    members, M, B = white.shape
    for n in range(members):  # not by BLAS, whose bits depend on how many members there are
        for m in range(M):
            for i in range(B):
                total = 0.0j
                for j in range(i + 1):
                    total += factor[m, i, j] * white[n, m, j]
                for lag in range(before.shape[1]):
                    for j in range(B):
                        total += coefficients[m, lag, i, j] * before[n, lag, m, j]
                out[n, m, i] = total


def _whittle(covariance: C128) -> list[_Prediction]:
    """Return the predictions from 0 to p values before; ``LinAlgError`` where the covariances are none of a process."""
    first = ahead = behind = covariance[:, 0]  # covariances of the errors
    forward: list[C128] = []
    backward: list[C128] = []
    found = [_Prediction(np.empty((len(first), 0, *first.shape[1:]), np.complex128), np.linalg.cholesky(first))]
    for j in range(covariance.shape[1] - 1):
        left = covariance[:, j + 1] - sum((a @ covariance[:, j - i] for i, a in enumerate(forward)), 0.0)
        of_forward = _times_inverse(left, behind)
        of_backward = _times_inverse(_adjoint(left), ahead)
        new = [a - of_forward @ b for a, b in zip(forward, backward[::-1], strict=True)]
        backward = [b - of_backward @ a for b, a in zip(backward, forward[::-1], strict=True)] + [of_backward]
        forward = [*new, of_forward]
        ahead, behind = ahead - of_forward @ _adjoint(left), behind - of_backward @ left
        found.append(_Prediction(np.ascontiguousarray(np.stack(forward, axis=1)), np.linalg.cholesky(ahead)))
    return found


def _adjoint(matrices: C128) -> C128:
    return np.swapaxes(matrices.conj(), 1, 2)


def _times_inverse(left: C128, right: C128) -> C128:
    """Return ``left`` times the inverse of Hermitian ``right``."""
    return _adjoint(np.linalg.solve(right, _adjoint(left)))


def fit_vector_pattern(series: Sequence[F64], order: int, grid: Wavevectors) -> VectorPattern:
    """Fit the autoregression to series of the noise; the order is at most that, and chosen on held-out times.

    Parameters
    ----------
    series : of each segment (time, C), of variance 1 or nearly so.
    order : of the autoregression at most, p.
    grid : where the cells are.

    Returns
    -------
    VectorPattern, every cell of variance 1.
    """
    learned, judged = held_out(series)
    judged = [one for one in judged if len(one) > order]
    if grid.levels > 1 and order and judged:
        lags = [0, *(one for one in _ORDERS if one < order), order]
        whole = _covariances(learned, order, grid)
        surprise = [
            _pattern(whole[:, : lag + 1], grid).surprise([one[order - lag :] for one in judged]) for lag in lags
        ]
        order = lags[int(np.argmin(surprise))]
    return _pattern(_covariances(series, order, grid), grid)


def held_out(series: Sequence[F64]) -> tuple[list[F64], list[F64]]:
    """Return the first four fifths of each segment (time, C), and the rest, which judges what was learned from them.

    Parameters
    ----------
    series : of each segment.

    Returns
    -------
    Both.
    """
    return [one[: 4 * len(one) // 5] for one in series], [one[4 * len(one) // 5 :] for one in series]


def _pattern(covariance: C128, grid: Wavevectors) -> VectorPattern:
    """Scale covariances so that each component has variance 1 over all wavevectors, and make sure of a factor."""
    weight = grid.counts / grid.counts.sum()
    variance = np.einsum("m,mii->i", weight, covariance[:, 0].real)
    varied = variance > _LEAST * variance.max(initial=0.0)
    scale = np.where(varied, 1.0 / np.sqrt(np.where(varied, variance, 1.0)), 0.0)
    scaled = covariance * scale[:, None] * scale
    silent = np.flatnonzero(~varied)
    scaled[:, 0, silent, silent] = 1.0  # what never changes has noise that is correlated with nothing
    scaled[:, 0] = 0.5 * (scaled[:, 0] + _adjoint(scaled[:, 0])) / (1.0 + _LEAST)
    scaled[:, 1:] /= 1.0 + _LEAST
    scaled[:, 0] += _LEAST / (1.0 + _LEAST) * np.eye(grid.levels)
    return VectorPattern(scaled, grid)


def _covariances(series: Sequence[F64], order: int, grid: Wavevectors) -> C128:
    """Return mean products of vectors with those 0 to ``order`` steps before (M, order + 1, B, B).

    The products at each lag are divided by the number of all times: so they are those of a process.
    """
    total = np.zeros((grid.counts.size, order + 1, grid.levels, grid.levels), np.complex128)
    modes = np.zeros((grid.levels, grid.counts.size), np.complex128)
    grid.shift(modes, grid.means([one[:, None] for one in series]))
    mean = grid.values(modes)[0]
    for values in _transformed([one - mean for one in series], grid, order, whole=True):
        now = values[order:]
        for lag in range(order + 1):
            before = values[order - lag : len(values) - lag]
            total[:, lag] += np.einsum("tma,tmb->mab", now, before.conj(), optimize=True)
    return total / sum(map(len, series))


def _transformed(series: Sequence[F64], grid: Wavevectors, order: int, whole: bool = False) -> Any:
    """Yield vectors of parts of series, each with ``order`` times before it, zeros before the first if ``whole``."""
    size = max(order + 1, _AT_ONCE // grid.cells)
    for one in series:
        padded = np.concatenate([np.zeros((order, grid.cells)), one]) if whole else one
        for start in range(order, len(padded), size):
            yield _modes(grid, padded[start - order : start + size])
