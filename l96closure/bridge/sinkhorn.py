"""The symmetric scaling v o (T v) = 1 that turns the kernel matrix T into a reversible Markov chain, eqs. (8)-(9)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from l96closure.arrays import F64
from l96closure.kernel import Kernel, KernelSums, RowSums, WeightedSamples, representatives
from l96closure.progress import bar as progress_bar
from l96closure.restart import evaluated

_MAX_EVALUATIONS = 200  # of T v
_DOUBLE = 1e-5  # tolerances below this are met in double precision
_SINGLE_FLOOR = 1e-6  # what single precision can tell from nothing
_SHARE = 0.05  # part of the residual, or of the tolerance, that an evaluation may leave out
_DIRECT = 20_000  # samples up to which the iteration runs on all of them from the beginning
_THINNING = 8  # beyond, so many are represented by one
_FIRST = 1e-2  # accuracy of a first guess from scattered samples


class SinkhornWarning(UserWarning):
    """The Sinkhorn iteration ended before it reached its tolerance."""


class Scaling(NamedTuple):
    """Result of :func:`solve`: ``log_v`` (M,), ``residual`` max|v o (T v) - 1|, ``iterations`` used."""

    log_v: F64
    residual: float
    iterations: int


def solve(
    log_row_sums: Callable[[F64, float, bool], F64],
    M: int,
    tolerance: float = 1e-6,
    label: str = "",
    start: F64 | None = None,
    share: float = 1e-2,
) -> Scaling:
    """Find v > 0 with v o (T v) = 1 for a positive symmetric T, eqs. (8)-(9), which need not be formed.

    In u = log v the equation is g(u) = u + log(T e^u) = 0. Its Jacobian I + P, P = D(v) T D(v), has its spectrum in
    [1, 2] at the solution where T is positive semi-definite, as the Gaussian and the dot-product kernel are, because
    P is a Markov matrix. The usual symmetric iteration v <- sqrt(v / T v) is u <- u - g/2 and gains a factor 2 a
    step; the Chebyshev semi-iteration on [1, 2] (Golub & Varga 1961) costs the same and gains a factor
    3 + sqrt(8) = 5.8. Where the residual rises to twice the best, which it can only do far from the solution, one plain
    symmetric step is taken and the semi-iteration starts anew.

    Parameters
    ----------
    log_row_sums : (u, share, double) -> log(T e^u), u and result (M,); a part ``share`` of the sums may be left out,
        ``double`` asks for double precision.
    M : number of samples.
    tolerance : stop once max|v o (T v) - 1| is at most this, > 0, as evaluated with a share left out of the sums that
        is small beside it, and below 1e-5 in double precision.
    label : what the progress bar and the warning call this problem.
    start : log v to start from (M,); None is (T 1)^(-1/2).
    share : what the first evaluation may leave out; later ones may leave out less, by the residual.

    Returns
    -------
    Scaling
        A :class:`SinkhornWarning` is issued where 200 evaluations of T v did not suffice.
    """
    finest = _SHARE * tolerance
    share, double = max(share, finest), False
    u = -0.5 * log_row_sums(np.zeros(M), share, double) if start is None else start
    centre, half_width = 1.5, 0.5
    best_u, best = u, np.inf
    step, rho = None, 0.0
    name = f"Sinkhorn {label}".strip()
    with progress_bar(_MAX_EVALUATIONS, name, "iteration", leave=False) as bar:
        for iteration in range(1, _MAX_EVALUATIONS + 1):
            g = u + log_row_sums(u, share, double)
            residual = float(np.abs(np.expm1(g)).max())
            bar.update()
            bar.set_postfix(residual=f"{residual:.1e}")
            final = share <= finest and double == (tolerance < _DOUBLE)
            if residual <= tolerance and final:
                return Scaling(u, residual, iteration)
            if residual <= best:
                best_u, best = u, residual
            if not double and tolerance < _DOUBLE and residual <= max(tolerance, _SINGLE_FLOOR):
                double, best = True, np.inf
            share = min(max(_SHARE * residual / 6.0, finest), share)
            if residual > 2 * best:
                step, u = None, u - g / 2
                continue
            if step is None:
                rho = half_width / centre
                step = -g / centre
            else:
                rho_next = 1.0 / (2.0 * centre / half_width - rho)
                step = rho_next * rho * step - (2.0 * rho_next / half_width) * g
                rho = rho_next
            u = u + step
    warnings.warn(
        f"Sinkhorn {label} stopped after {_MAX_EVALUATIONS} evaluations at residual {best:.2e} > tolerance "
        f"{tolerance:.2e}".replace("  ", " "),
        SinkhornWarning,
        stacklevel=4,
    )
    return Scaling(best_u, best, _MAX_EVALUATIONS)


def solve_samples(samples: F64, tolerance: float = 1e-6, label: str = "") -> Scaling:
    """Find v > 0 with v o (T v) = 1 for T_jk = 2^(-|x_j - x_k|^2), which is not formed.

    1 / v is the value at the samples of a smooth function, the sum of kernels over them, and far fewer points than
    there are samples tell it nearly as well. The problem is solved for these first, and one sum over them starts the
    iteration for all. Along a trajectory they are Gauss rules (:func:`l96closure.kernel.representatives`), which tell
    it to the tolerance. Scattered samples are represented by every n-th, which tells it but for their scatter: with u
    their weights times n^(1/2),

        v_j (v_j + sum_(k != j) T_jk u_k) = 1.

    Samples of one coordinate need none of this where they are summed on a grid (``on_line``).

    Memory is proportional to M.

    Parameters
    ----------
    samples : x (D, M) in kernel units, trajectories one after the other.
    tolerance, label : see :func:`solve`.
    """
    M = samples.shape[1]
    product = RowSums(samples, on_line=True)

    def over(sums: RowSums, shift: F64 | float = 0.0) -> Callable[..., F64]:
        return lambda u, share, double=False, at=None: evaluated(lambda: sums.log(u + shift, share, double, at))

    if product.on_line or M <= _DIRECT:
        return solve(over(product), M, tolerance, label)
    points, weights = representatives(samples, max(tolerance, _DOUBLE))
    if 2 * weights.size <= M:
        log_weights = np.log(weights)
        among = over(RowSums(points), log_weights)
        u = solve(among, log_weights.size, max(0.3 * tolerance, _DOUBLE), label).log_v
        start = -among(u, _SHARE * tolerance, at=product)
        return solve(over(product), M, tolerance, label, start, _SHARE * tolerance)
    kept = np.ascontiguousarray(samples[:, ::_THINNING])
    u = solve_samples(kept, _FIRST, label).log_v + 0.5 * np.log(_THINNING)
    others = np.exp(over(RowSums(kept))(u, _FIRST, at=product))
    others[::_THINNING] = np.maximum(others[::_THINNING] - np.exp(u), 0.0)
    start = np.log(2.0) - np.log(others + np.sqrt(others**2 + 4.0))
    return solve(over(product), M, tolerance, label, start)


def weighted(samples: WeightedSamples, kernel: Kernel, tolerance: float, label: str = "") -> WeightedSamples:
    """Find the weights of a set of samples; ``tolerance`` and ``label`` as for :func:`solve_samples`.

    Raises ``ValueError`` when there are fewer samples than ``kernel.nearest`` asks for.
    """
    coordinates = samples.coordinates
    M, size = coordinates.shape
    if kernel.estimator == "kde":
        return samples
    if size == 0:  # every sample is as near as any other: T = 1, v = M^(-1/2)
        scaling = Scaling(np.full(M, -0.5 * np.log(M)), 0.0, 0)
    elif kernel.estimator == "bridge":
        factor = kernel.factor(samples.coordinate_scale)
        table = np.ascontiguousarray(((coordinates - coordinates.mean(axis=0)) * factor).T)
        scaling = solve_samples(table, tolerance, label)
    else:
        nothing = np.zeros((1, 0), np.intp)
        sums = KernelSums.of([samples], kernel, np.zeros(1, np.intp), nothing, nothing)
        scaling = solve(lambda u, share, double: evaluated(lambda: sums.log_row_sums(u)), M, tolerance, label)
    return replace(samples, **scaling._asdict())
