"""How the noise of a closure is learned: its options, its memory and its correlation in space.

The coefficients of the autoregressions (:mod:`~l96closure.closures.patterns`) are found by Burg's method (1967; see Kay
& Marple 1981, Proc. IEEE 69, 1380-1419), whose reflection coefficients are less than 1 in size whatever the data: every
mode is stable. Errors count by the spread that the noise is given, hence as they do in the residual it makes: where a
residual is large it forgets faster than where it is small, and a memory of all the noise alike would be too long for
what counts. On grids other than rings white noise is correlated among all pairs of sites; or the noise is that of
:class:`~l96closure.closures.vector_pattern.VectorPattern`, where it foresees held-out times better, as of several
targets, levels of different memory, and wavevectors of a plane. Of more sites than there may be pairs of, a few modes
are drawn and a white remainder: the empirical orthogonal functions, by the method of snapshots (Sirovich 1987, Q. Appl.
Math. 45, 561-571), with the variances of probabilistic principal components (Tipping & Bishop 1999, J. R. Stat. Soc. B
61, 611-622), as many as foresee held-out times best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from l96closure import checks
from l96closure.arrays import C128, F64
from l96closure.closures.patterns import (
    LARGEST_RING,
    AnyPattern,
    Pattern,
    coefficients_of,
    real_wavenumbers,
    remainder_of,
)
from l96closure.closures.short_kernels import WITHIN, by_blocks, jackknife, reaches, shortest
from l96closure.closures.vector_pattern import LARGEST_VECTOR, fit_vector_pattern, held_out
from l96closure.closures.wavevectors import Wavevectors
from l96closure.fields import Fields

USUAL_ORDER = 8
"""Order of the autoregression where it is left open, and psi of the step before is not seen."""

LARGEST_GRID = 1024
"""Cells of a grid other than a ring of which all pairs have correlations of their own; more have modes in common."""

MOST_MODES = 128
"""Modes of the noise of larger grids."""

_WORTHWHILE = 0.005  # log-likelihood per value that coefficients for each wavenumber must win
_LEAST_WON = 10.0  # log-likelihood of all values that vectors must win, which may be few
_BLOCKS = 20  # of time, whose differences tell the error of a correlation
_MISSED = 0.05  # part of a wavenumber's variance that a shorter kernel may miss
_LEAST_SHRUNK = 1e-9  # so that a matrix of correlations has a factor
_ROUNDED = 1e-6  # in correlations of a matrix that is given, perhaps in single precision
_AUTO = "auto"
_SNAPSHOTS = 1500  # times, evenly spread, from which modes are found
_LEAST_WHITE = 1e-4  # part of a cell's variance that modes leave at least


@dataclass(frozen=True, eq=False)
class Noise:
    """Options of the noise that drives the law of the residual.

    Parameters
    ----------
    order : of the autoregression in time, >= 0; 0 is fresh noise at every step. None is
        :data:`~l96closure.closures.noise_fit.USUAL_ORDER`, and 0 where the targets of the step before are seen
        (``fields.previous``).
    covariance : of the noise in space and among targets. ``auto`` is that of the data: by wavenumber on a ring; on
        other grids the correlations of all pairs of up to :data:`~l96closure.closures.noise_fit.LARGEST_GRID` cells, or
        vectors of up to :data:`~l96closure.closures.vector_pattern.LARGEST_VECTOR` components for each wavevector;
        where cells are more, up to :data:`~l96closure.closures.noise_fit.MOST_MODES` modes and a white remainder. None
        is noise that is independent everywhere. A matrix prescribes it, (Q S, Q S) for Q targets on a grid of S sites
        in C order, q S + s being that of target q at site s, those outside of a mask among them, unused. Its
        correlations count, the variance of each cell is 1; the law of the residual, learned from the data as ever,
        makes psi of it. The memory is the same for all cells then.

    Raises
    ------
    ValueError
        A field is out of its range, or the matrix is not symmetric and positive semidefinite.

    Examples
    --------
    A Gaussian in the distance on a line of five sites, as stochastically perturbed tendencies have it:

    >>> import numpy as np
    >>> distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    >>> lc.closures.Noise(order=1, covariance=np.exp(-0.5 * (distance / 2.0) ** 2)).covariance.shape
    (5, 5)
    """

    order: int | None = None
    covariance: str | npt.ArrayLike | None = _AUTO

    def __post_init__(self) -> None:
        checks.optional(partial(checks.integer, minimum=0, below=129))("noise.order", self.order)
        if self.covariance is not None and not isinstance(self.covariance, str):
            object.__setattr__(self, "covariance", _correlation_of(self.covariance))
        elif self.covariance not in (None, _AUTO):
            checks.reject("noise.covariance", self.covariance, f"{_AUTO!r}, None, or a matrix")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Noise)
            and self.order == other.order
            and np.array_equal(np.asarray(self.covariance), np.asarray(other.covariance))
        )

    def on(self, fields: Fields) -> Noise:
        """Return the options with an order, and with a matrix of the cells of a closure alone.

        Parameters
        ----------
        fields : of the training data.

        Returns
        -------
        Noise

        Raises
        ------
        ValueError
            There is a matrix of another size.
        """
        if self.order is None:
            return replace(self, order=0 if fields.previous else USUAL_ORDER).on(fields)
        if not isinstance(self.covariance, np.ndarray):
            return self
        cells, targets = len(fields.targets) * fields.size, np.arange(len(fields.targets))
        if self.covariance.shape != (cells, cells):
            allowed = f"{(cells, cells)}, {len(fields.targets)} targets on a grid {fields.shape}"
            checks.reject("noise.covariance.shape", self.covariance.shape, allowed)
        kept = (fields.size * targets[:, None] + fields.kept).ravel()
        return replace(self, covariance=self.covariance[np.ix_(kept, kept)])


def arrangement(fields: Fields) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return how the cells of a closure are arranged, the first of several axes being its targets.

    Parameters
    ----------
    fields : of the training data.

    Returns
    -------
    Sizes of the axes, and along which of them cells are alike.
    """
    shape, alike = fields.shape, fields.homogeneous
    if fields.mask is not None:
        shape, alike = (fields.sites,), (False,)
    targets = len(fields.targets)
    return ((targets, *shape), (False, *alike)) if targets > 1 else (shape, alike)


def _correlation_of(given: npt.ArrayLike) -> F64:
    """Return the correlations of a covariance; raises ``ValueError`` where it is none, but for rounding."""
    matrix = checks.finite_array("noise.covariance", given, 2)
    if matrix.shape[0] != matrix.shape[1]:
        checks.reject("noise.covariance.shape", matrix.shape, "as many rows as columns")
    if not (np.diag(matrix) > 0.0).all():
        checks.reject("diagonal of noise.covariance", float(np.diag(matrix).min()), "> 0")
    spread = np.sqrt(np.diag(matrix))
    correlation: F64 = matrix / np.outer(spread, spread)
    if (apart := float(np.abs(correlation - correlation.T).max())) > _ROUNDED:
        checks.reject("noise.covariance", f"asymmetric by {apart:.2g} in correlation", "symmetric")
    correlation = 0.5 * (correlation + correlation.T)
    try:
        _factor_of(correlation)
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(correlation)[0])
        checks.reject("least eigenvalue of the correlations of noise.covariance", least, ">= 0")
    return correlation


def _factor_of(correlation: F64) -> F64:
    """Return a lower triangular factor of prescribed correlations, which may be singular; raises ``LinAlgError``."""
    off = ~np.eye(len(correlation), dtype=bool)
    return np.linalg.cholesky(np.where(off, (1.0 - _ROUNDED) * correlation, 1.0))


def fit_pattern(
    series: Sequence[F64],
    options: Noise,
    alike: tuple[bool, ...],
    shape: tuple[int, ...] | None = None,
    spread: Sequence[F64] | None = None,
) -> AnyPattern:
    """Fit the autoregression to series of the noise.

    Parameters
    ----------
    series : of each segment (time, K), of variance 1 or nearly so; its mean is taken off.
    options : order and covariance, that of the K sites where it is a matrix.
    alike : along which axes of the grid it is periodic and all sites are alike; of a ring the only one. Targets are an
        axis of their own, the first.
    shape : of the grid, whose K sites are numbered with the last axis first; None is (K,).
    spread : what the noise is multiplied by at each time and site, in series like those; None is 1 everywhere.

    Returns
    -------
    The autoregression, with a site's variance scaled to 1.

    Raises
    ------
    ValueError
        The segments are too short for the order.
    """
    sites = series[0].shape[1]
    shape = (sites,) if shape is None else shape
    order = USUAL_ORDER if options.order is None else options.order
    long_enough = [len(one) > order for one in series]
    noise = [one - one.mean() for one in compress(series, long_enough)]
    if sum(len(one) - order for one in noise) < 10 * (order + 1):
        checks.reject("noise.order", order, "at most a tenth of the times of the training data")
    together = burg(noise, order, True, None if spread is None else [*compress(spread, long_enough)])
    ring = alike == (True,)
    if isinstance(options.covariance, np.ndarray):
        return Pattern(together, np.ones(1), sites, _factor_of(options.covariance), prescribed=True)
    if options.covariance is None or sites < (3 if ring else 2):
        return Pattern(together, np.ones(1), sites)
    if not ring:
        of_residual = noise if spread is None else _weighted(noise, [*compress(spread, long_enough)])
        return _on_grid(of_residual, together, order, Wavevectors(shape, alike))
    modes = [np.fft.rfft(one, axis=1) for one in noise]
    both_signs = np.where(real_wavenumbers(sites), 1.0, 2.0)
    power = by_blocks(np.concatenate([np.abs(one) ** 2 for one in modes]) * both_signs)
    share, error = jackknife(lambda power: power / power.sum(), power)
    if sites > LARGEST_RING:
        return Pattern(together, share, sites)
    reflection = burg(modes, order, False)
    reflection[real_wavenumbers(sites)] = reflection[real_wavenumbers(sites)].real
    plain = burg(noise, order, True)
    unexplained = [coefficients_of(one)[1][:, -1] for one in (plain, reflection)]
    won = 0.5 * np.log(unexplained[0] / unexplained[1]) @ both_signs / sites
    if won > _WORTHWHILE:
        return Pattern(reflection, share, sites)
    return Pattern(together, _short(share, error, sites), sites)


def _short(share: F64, error: F64, sites: int) -> F64:
    """Return what white noise has of the variance of each wavenumber that is weighed no farther in space than needed.

    It is the estimate within its errors, or :data:`_MISSED` of it; (1,) if each site's is weighed alone.
    """
    both_signs = np.where(real_wavenumbers(sites), 1.0, 2.0) / sites
    whole = np.fft.irfft(np.sqrt(share / both_signs), sites)
    within = np.maximum(WITHIN * error, _MISSED * share)

    def share_of(kernel: F64) -> F64:
        power = np.abs(np.fft.rfft(kernel)) ** 2 * both_signs
        return np.asarray(power / power.sum())

    offset = np.arange(sites)
    away = np.minimum(offset, sites - offset)
    kernels = [np.where(away <= reach, whole, 0.0) for reach in reaches(sites)]
    kernel = shortest([*kernels, whole], lambda one: bool((np.abs(share_of(one) - share) <= within).all()))
    return share_of(kernel) if kernel[1:].any() else np.ones(1)


def _weighted(noise: Sequence[F64], spread: Sequence[F64]) -> list[F64]:
    """Multiply noise by its spread, each cell scaled to variance 1: correlations are then those of the residual."""
    products = [one * of for one, of in zip(noise, spread, strict=True)]
    size = np.sqrt(sum((one**2).sum(axis=0) for one in products) / sum(map(len, products)))
    size[size == 0.0] = 1.0
    return [one / size for one in products]


def _on_grid(noise: Sequence[F64], together: C128, order: int, grid: Wavevectors) -> AnyPattern:
    """Fit noise on a grid that is no ring, or of several targets.

    One memory for all and the correlations of all pairs of cells is what is simplest; vectors, each component of which
    remembers all others, are taken where they foresee held-out times better.
    """
    one_memory = partial(_factored, together=together, grid=grid)
    scalar = grid.cells <= LARGEST_GRID
    vector = grid.levels <= LARGEST_VECTOR
    if scalar and vector:
        early, late = held_out(noise)
        vectors = fit_vector_pattern(early, order, grid)
        judged = [one for one in late if len(one) > order]
        won = _surprise(one_memory(early), judged) - vectors.surprise(judged) if judged else 0.0
        scalar = won <= max(_WORTHWHILE, _LEAST_WON / sum(one.size for one in judged or noise))
    if scalar:
        return one_memory(noise)
    return fit_vector_pattern(noise, order, grid) if vector else _of_modes(noise, together)


def _factored(noise: Sequence[F64], together: C128, grid: Wavevectors) -> Pattern:
    """Return noise of one memory, as correlated as the cells are."""
    factor: F64 = np.linalg.cholesky(_correlations(np.concatenate(noise), grid.shape, grid.periodic)).astype(np.float64)
    return Pattern(together, np.ones(1), grid.cells, factor)


def _of_modes(noise: Sequence[F64], together: C128) -> Pattern:
    """Return noise of one memory, of as many modes as foresee held-out times best, and a white remainder."""
    every, sites = -(-sum(map(len, noise)) // _SNAPSHOTS), noise[0].shape[1]
    some = [one[::every] for one in noise]
    early, late = (np.concatenate(part) for part in held_out(some))
    ranks = [0, *(2**i for i in range(int(math.log2(MOST_MODES)) + 1) if 2**i < len(early))]
    known = _principal(early, ranks[-1])
    surprise = [_surprise_of_modes(_modes(*known, rank), late) for rank in ranks] if len(late) else [0.0]
    best = ranks[int(np.argmin(surprise))]
    if not best:
        return Pattern(together, np.ones(1), sites)
    return Pattern(together, np.ones(1), sites, modes=_modes(*_principal(np.concatenate(some), best), best))


def _principal(values: F64, number: int) -> tuple[F64, F64]:
    """Return variances (number,) and empirical orthogonal functions (number, K) of standardised values (time, K)."""
    spread = np.sqrt((values**2).mean(axis=0))
    scaled = values / np.where(spread > 0.0, spread, 1.0)
    times = len(values)
    if not number:
        return np.empty(0), np.empty((0, values.shape[1]))
    size, vectors = scipy.linalg.eigh(scaled @ scaled.T / times, subset_by_index=[times - number, times - 1])
    least = _ROUNDED * size[-1]
    there = size > least
    functions = (vectors * there / np.sqrt(times * np.maximum(size, least))).T @ scaled
    return np.where(there, size, 0.0)[::-1], functions[::-1]


def _modes(variance: F64, functions: F64, rank: int) -> F64:
    """Return modes (rank, K) of the first functions: what their variances are above those of all others, on average."""
    sites = functions.shape[1]
    others = max(sites - float(variance[:rank].sum()), 0.0) / (sites - rank)
    modes = np.sqrt(np.maximum(variance[:rank] - others, 0.0))[:, None] * functions[:rank]
    share = (modes**2).sum(axis=0)
    return modes * np.sqrt(np.minimum(1.0, (1.0 - _LEAST_WHITE) / np.maximum(share, _LEAST_WHITE)))


def _surprise_of_modes(modes: F64, values: F64) -> float:
    """Return the mean negative log-likelihood of values (time, K) at a time, but a constant."""
    variance = remainder_of(modes) ** 2
    weighed = modes / variance
    factor = np.linalg.cholesky(np.eye(len(modes)) + weighed @ modes.T)
    explained = scipy.linalg.solve_triangular(factor, weighed @ values.T, lower=True)
    squares = (values**2 / variance).sum() - (explained**2).sum()
    return float(0.5 * squares / len(values) + 0.5 * np.log(variance).sum() + np.log(np.diag(factor)).sum())


def _surprise(pattern: Pattern, series: Sequence[F64]) -> float:
    """Return the same as :meth:`VectorPattern.surprise` of noise of one memory with a factor."""
    assert pattern.factor is not None
    coefficients, innovation = coefficients_of(pattern.reflection)
    total, times, p, variance = 0.0, 0, pattern.order, float(innovation[0, -1])
    for one in series:
        error = one[p:] - sum(
            (a * one[p - lag : len(one) - lag] for lag, a in enumerate(coefficients[-1][0].real, 1)), 0.0
        )
        total += float((scipy.linalg.solve_triangular(pattern.factor, error.T, lower=True) ** 2).sum())
        times += len(error)
    log_size = float(np.log(np.diag(pattern.factor)).mean()) + 0.5 * math.log(variance)
    return 0.5 * total / (variance * times * pattern.sites) + log_size


def _correlations(noise: F64, shape: tuple[int, ...], alike: tuple[bool, ...]) -> F64:
    """Estimate the correlations of all pairs of sites (K, K) of a grid from noise (time, K).

    They are shrunk towards 0 by the part of their squares, summed, that is estimated to be their errors': what the
    differences among blocks of time leave in their mean.
    """
    found = [_covariances(part, shape, alike) for part in np.array_split(noise, min(_BLOCKS, len(noise) // 2))]
    blocks = np.stack(found)
    mean = blocks.mean(axis=0)
    spread = np.sqrt(np.diag(mean))
    spread[spread == 0.0] = 1.0  # where there is no noise, it is correlated with nothing
    scale = np.outer(spread, spread)
    correlation, error = mean / scale, (blocks / scale).var(axis=0, ddof=1) / len(blocks)
    off = ~np.eye(len(mean), dtype=bool)
    squares = float((correlation[off] ** 2).sum())
    shrunk = min(max(float(error[off].sum()) / squares, _LEAST_SHRUNK), 1.0) if squares > 0.0 else 1.0
    return np.where(off, (1.0 - shrunk) * correlation, 1.0)


def _covariances(noise: F64, shape: tuple[int, ...], alike: tuple[bool, ...]) -> F64:
    """Return the mean products of all pairs of sites (K, K), over time and over the axes on which sites are alike."""
    field = noise.reshape(-1, *shape)
    axes = [axis + 1 for axis, same in enumerate(alike) if same]
    others = [axis for axis in range(1, field.ndim) if axis not in axes]
    moved = np.transpose(field, (0, *axes, *others))
    lengths = moved.shape[1 : 1 + len(axes)]
    periods, rest = math.prod(lengths), math.prod(moved.shape[1 + len(axes) :])
    if not axes:
        return noise.T @ noise / len(noise)
    modes = np.fft.fftn(moved, axes=tuple(range(1, 1 + len(axes)))).reshape(-1, periods, rest)
    power = np.einsum("tpa,tpb->pab", modes.conj(), modes, optimize=True) / (len(noise) * periods)
    apart = np.fft.ifftn(power.reshape(*lengths, rest, rest), axes=tuple(range(len(axes)))).real
    # Of sites p and q along these axes the one has the offset q - p of the other.
    place = np.stack(np.unravel_index(np.arange(periods), lengths), axis=-1)
    offset = (place[None] - place[:, None]) % np.array(lengths)
    pairs = apart[tuple(np.moveaxis(offset, -1, 0))]  # (p, q, a, b)
    number = np.arange(noise.shape[1]).reshape(shape)
    number = np.transpose(number, [axis - 1 for axis in (*axes, *others)]).reshape(periods, rest)
    out = np.empty((noise.shape[1], noise.shape[1]))
    out[number[:, None, :, None], number[None, :, None, :]] = pairs
    return out


def burg(series: Sequence[Any], order: int, together: bool, spread: Sequence[F64] | None = None) -> C128:
    """Fit autoregressions by Burg's method.

    Parameters
    ----------
    series : segments (time, M).
    order : of the autoregressions.
    together : fit one of all columns.
    spread : by which errors of a prediction count, at the time it is made for and at the one that it is made from, in
        segments like those; None is 1 everywhere.

    Returns
    -------
    Reflection coefficients (M, order) of the columns, or (1, order) of all together.
    """
    forward, backward, found = list(series), list(series), []
    for i in range(order):
        ahead, behind = [one[1:] for one in forward], [one[:-1] for one in backward]
        weight: list[Any] = len(ahead) * [1.0] if spread is None else [one[i + 1 :] * one[: -i - 1] for one in spread]
        triples = [*zip(weight, ahead, behind, strict=True)]
        product = sum((w * f * b.conj()).sum(axis=0) for w, f, b in triples)
        size = sum((w * (np.abs(f) ** 2 + np.abs(b) ** 2)).sum(axis=0) for w, f, b in triples)
        if together:
            product, size = np.sum(product, keepdims=True), np.sum(size, keepdims=True)
        k = 2.0 * product / np.maximum(size, np.finfo(np.float64).tiny)  # of nothing there is no memory
        found.append(k)
        forward = [f - k * b for f, b in zip(ahead, behind, strict=True)]
        backward = [b - k.conj() * f for f, b in zip(ahead, behind, strict=True)]
    rows = 1 if together else series[0].shape[1]
    return np.stack(found, axis=1).astype(np.complex128) if found else np.empty((rows, 0), np.complex128)
