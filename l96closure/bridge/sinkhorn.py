"""The symmetric scaling v o (T v) = 1 that turns the kernel matrix T into a reversible Markov chain, eqs. (8)-(9)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

__all__ = ["Scaling", "SinkhornWarning", "solve"]

F64 = npt.NDArray[np.float64]

_SINGLE_PRECISION_FLOOR = 1e-5  # residuals below this are evaluated in double precision


class SinkhornWarning(UserWarning):
    """The Sinkhorn iteration ended before it reached its tolerance."""


class Scaling(NamedTuple):
    """Result of :func:`solve`: ``log_v`` (M,), ``residual`` max|v o (T v) - 1|, ``iterations`` used."""

    log_v: F64
    residual: float
    iterations: int


def solve(
    log_row_sums: Callable[[F64, bool], F64],
    M: int,
    tolerance: float = 1e-6,
    max_iterations: int = 200,
    label: str = "",
    progress: bool = False,
) -> Scaling:
    """Find v > 0 with v o (T v) = 1 for a positive symmetric T, eqs. (8)-(9), which need not be formed.

    In u = log v the equation is g(u) = u + log(T e^u) = 0. Its Jacobian I + P, P = D(v) T D(v), has its spectrum in
    [1, 2] at the solution where T is positive semi-definite, as the Gaussian and the dot-product kernel are, because
    P is a Markov matrix. The usual symmetric iteration v <- sqrt(v / T v) is u <- u - g/2 and gains a factor 2 a
    step; the Chebyshev semi-iteration on [1, 2] (Golub & Varga 1961) costs the same and gains a factor
    3 + sqrt(8) = 5.8. Where the residual rises, which it can only do far from the solution, one plain symmetric
    step is taken and the semi-iteration starts anew.

    Parameters
    ----------
    log_row_sums : (u, double) -> log(T e^u), both (M,); ``double`` asks for double precision.
    M : number of samples.
    tolerance : stop once max|v o (T v) - 1| is at most this, > 0.
    max_iterations : stop after this many evaluations of T v.
    label : what the progress bar and the warning call this problem.
    progress : show a progress bar with the residual.

    Returns
    -------
    Scaling
        A :class:`SinkhornWarning` is issued when its residual exceeds ``tolerance``.
    """
    u = -0.5 * log_row_sums(np.zeros(M), False)
    centre, half_width = 1.5, 0.5
    best_u, best = u, np.inf
    step, rho, double = None, 0.0, False
    with tqdm(total=max_iterations, desc=f"Sinkhorn {label}".strip(), disable=not progress, leave=False) as bar:
        for iteration in range(1, max_iterations + 1):
            g = u + log_row_sums(u, double)
            residual = float(np.abs(np.expm1(g)).max())
            bar.update()
            bar.set_postfix(residual=f"{residual:.1e}")
            if residual <= tolerance and (double or tolerance >= _SINGLE_PRECISION_FLOOR):
                return Scaling(u, residual, iteration)
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
    return Scaling(best_u, best, max_iterations)
