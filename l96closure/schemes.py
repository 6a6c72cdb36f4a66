"""Schemes of the coarse model, and the subgrid tendency that a record asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from l96closure.arrays import F64

Tendency = Callable[[F64], F64]

ITERATIONS = 200  # a step that RK4 is barely stable with takes most of them
CONVERGED = 1e-13  # change of psi in parts of the largest
ROUNDING = 8.0 * np.finfo(np.float64).eps  # of a state: over the step this is what its last place leaves open
_AT_ONCE = 1000  # states that an iteration takes; those of a long record would leave the cache with each operation


@dataclass(frozen=True, eq=False)
class Timed:
    """A tendency that depends on time, at a time; called, it is one that depends on the state alone.

    Attributes
    ----------
    function : (z, t) -> dz/dt.
    time : of each state (n, 1, ...), with as many dimensions as the states have; None where it is not known yet.
    """

    function: Callable[[F64, F64], F64]
    time: F64 | None = None

    def __call__(self, z: F64) -> F64:
        """Return dz/dt.

        Parameters
        ----------
        z : states (n, ...).

        Returns
        -------
        (n, ...)
        """
        assert self.time is not None
        return self.function(z, self.time)


def starting(tendency: Tendency, times: npt.ArrayLike, ndim: int) -> Tendency:
    """Give a tendency the time of each state; one that does not depend on time stays as it is.

    Parameters
    ----------
    tendency : of states.
    times : of each state (n,).
    ndim : number of dimensions of an array of states.

    Returns
    -------
    The tendency at those times.
    """
    if not isinstance(tendency, Timed):
        return tendency
    return replace(tendency, time=np.asarray(times, dtype=np.float64).reshape(-1, *(ndim - 1) * (1,)))


def after(tendency: Tendency, elapsed: float) -> Tendency:
    """Return a tendency some time later; one that does not depend on time stays as it is.

    Parameters
    ----------
    tendency : of states.
    elapsed : how much later.

    Returns
    -------
    The tendency at that time.
    """
    if not isinstance(tendency, Timed) or tendency.time is None:
        return tendency
    return replace(tendency, time=tendency.time + elapsed)


def euler(tendency: Tendency, z: F64, psi: F64, dt: float) -> F64:
    """Forward Euler, z + (G(z) + psi) dt, eq. (62); order 1.

    Parameters
    ----------
    tendency : resolved tendency G, (..., K) -> (..., K).
    z : state (..., K).
    psi : subgrid tendency (..., K).
    dt : the step.

    Returns
    -------
    State a step later (..., K).
    """
    return z + (tendency(z) + psi) * dt


def rk4(tendency: Tendency, z: F64, psi: F64, dt: float) -> F64:
    """Classical Runge-Kutta of G(z) + psi with psi held over the step; order 4 for constant psi.

    Parameters
    ----------
    tendency : resolved tendency G, (..., K) -> (..., K).
    z : state (..., K).
    psi : subgrid tendency (..., K).
    dt : the step.

    Returns
    -------
    State a step later (..., K).
    """
    middle, end = after(tendency, 0.5 * dt), after(tendency, dt)
    k1 = tendency(z) + psi
    k2 = middle(z + 0.5 * dt * k1) + psi
    k3 = middle(z + 0.5 * dt * k2) + psi
    k4 = end(z + dt * k3) + psi
    return z + (dt / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)


SCHEMES: dict[str, Callable[[Tendency, F64, F64, float], F64]] = {"euler": euler, "rk4": rk4}


def held(tendency: Tendency, z: F64, following: F64, dt: float, scheme: str = "rk4") -> F64:
    """Return the subgrid tendency which, held over a step, takes the coarse model from a state to the next.

    It is found by fixed-point iteration, psi += (z' - step(z, psi)) / dt, whose error shrinks by a factor of the order
    of dt times the rate of the resolved scales each time.

    Parameters
    ----------
    tendency : resolved tendency G, (..., K) -> (..., K), at the time of each of ``z`` where it depends on time.
    z, following : states a step apart (n, ..., K).
    dt : the step.
    scheme : ``rk4`` or ``euler``.

    Returns
    -------
    (..., K)

    Raises
    ------
    FloatingPointError
        The iteration does not converge: the step is too long for the scheme.

    Examples
    --------
    What a decaying state lacks, if it is to stay as it is:

    >>> import numpy as np
    >>> from l96closure.schemes import held
    >>> held(np.negative, np.ones(3), np.ones(3), dt=0.1).round(12)
    array([1., 1., 1.])
    """
    states, ends = np.atleast_2d(z), np.atleast_2d(following)
    psi = np.empty_like(ends)
    for first in range(0, len(states), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        psi[some] = _held(_of(tendency, some), states[some], ends[some], dt, scheme)
    return psi.reshape(following.shape)


def _of(tendency: Tendency, states: slice) -> Tendency:
    """Return a tendency for some of the states."""
    if not isinstance(tendency, Timed) or tendency.time is None:
        return tendency
    return replace(tendency, time=tendency.time[states])


def _held(tendency: Tendency, z: F64, following: F64, dt: float, scheme: str) -> F64:
    there = ~np.isnan(following)  # a model may have NaN where a mask leaves nothing
    psi = np.where(there, (following - z) / dt - tendency(z), 0.0)
    rounding = ROUNDING * np.abs(z).max(axis=-1, keepdims=True, initial=0.0, where=there) / dt
    allowed = CONVERGED * np.abs(psi).max(axis=-1, keepdims=True, initial=0.0) + rounding
    wanting = np.ones_like(allowed, dtype=bool)
    for _ in range(ITERATIONS):  # each state as long as it needs, so that its psi does not depend on the others
        change = np.where(wanting & there, (following - SCHEMES[scheme](tendency, z, psi, dt)) / dt, 0.0)
        psi = psi + change
        wanting = ~(np.abs(change).max(axis=-1, keepdims=True, initial=0.0) <= allowed)
        if not wanting.any():
            return psi
    raise too_long(dt, scheme)


def too_long(dt: float, scheme: str) -> FloatingPointError:
    """Return the error that no subgrid tendency was found for a step.

    Parameters
    ----------
    dt : the step.
    scheme : that was to take it, of :data:`SCHEMES`.

    Returns
    -------
    The error, to be raised.
    """
    return FloatingPointError(
        f"no subgrid tendency found that takes the coarse model from one state to the next: dt = {dt:g} is too long "
        f"for the scheme {scheme}"
    )
