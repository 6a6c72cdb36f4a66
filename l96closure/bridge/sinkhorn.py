"""The symmetric scaling v o (T v) = 1 that turns the kernel matrix T into a reversible Markov chain, eqs. (8)-(9)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from l96closure.bridge import kernel_sums

__all__ = ["Scaling", "SinkhornWarning", "solve"]

F64 = npt.NDArray[np.float64]

_SINGLE_PRECISION_FLOOR = 1e-5  # residuals below this are evaluated in double precision


class SinkhornWarning(UserWarning):
    """The Sinkhorn iteration ended before it reached its tolerance."""


class Scaling(NamedTuple):
    """Result of :func:`solve`: weights ``v`` (M,), ``residual`` max|v o (T v) - 1|, ``iterations`` used."""

    v: F64
    residual: float
    iterations: int


def solve(
    coordinates: F64,
    tolerance: float = 1e-6,
    max_iterations: int = 200,
    label: str = "",
    progress: bool = False,
) -> Scaling:
    """Find v > 0 with v o (T v) = 1 for T_jk = 2^(-|x_j - x_k|^2), eqs. (7)-(9), without forming T.

    In u = log v the equation is g(u) = u + log(T e^u) = 0. Its Jacobian I + P, P = D(v) T D(v), has its spectrum in
    [1, 2] at the solution, because the Gaussian kernel is positive semi-definite and P is a Markov matrix. The
    usual symmetric iteration v <- sqrt(v / T v) is u <- u - g/2 and gains a factor 2 a step; the Chebyshev
    semi-iteration on [1, 2] (Golub & Varga 1961) costs the same and gains a factor 3 + sqrt(8) = 5.8. Where the
    residual rises, which it can only do far from the solution, one plain symmetric step is taken and the
    semi-iteration starts anew.

    Parameters
    ----------
    coordinates : samples in kernel units (D, M).
    tolerance : stop once max|v o (T v) - 1| is at most this, > 0.
    max_iterations : stop after this many evaluations of T v.
    label : what the progress bar and the warning call this problem.
    progress : show a progress bar with the residual.

    Returns
    -------
    Scaling
        A :class:`SinkhornWarning` is issued when its residual exceeds ``tolerance``.
    """
    single = coordinates.astype(np.float32)
    M = coordinates.shape[1]
    u = -0.5 * np.log(kernel_sums.row_sums(coordinates, single, np.ones(M), False))
    centre, half_width = 1.5, 0.5
    best_u, best = u, np.inf
    step, rho, double = None, 0.0, False
    with tqdm(total=max_iterations, desc=f"Sinkhorn {label}".strip(), disable=not progress, leave=False) as bar:
        for iteration in range(1, max_iterations + 1):
            g = u + np.log(kernel_sums.row_sums(coordinates, single, np.exp(u), double))
            residual = float(np.abs(np.expm1(g)).max())
            bar.update()
            bar.set_postfix(residual=f"{residual:.1e}")
            if residual <= tolerance and (double or tolerance >= _SINGLE_PRECISION_FLOOR):
                return Scaling(np.exp(u), residual, iteration)
            if residual <= best:
                best_u, best = u, residual
            if not double and residual <= _SINGLE_PRECISION_FLOOR:
                double, best = True, np.inf
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
        f"Sinkhorn {label} stopped after max_iterations = {max_iterations} at residual {best:.2e} > tolerance "
        f"{tolerance:.2e}".replace("  ", " "),
        SinkhornWarning,
        stacklevel=3,
    )
    return Scaling(np.exp(best_u), best, max_iterations)
