"""A coarse model with a closure as dynamics in DAPPER (Raanes et al. 2024, J. Open Source Software 9(94), 5150)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.adapters import cannot_import
from l96closure.closures import Closure
from l96closure.coarse import SCHEMES, check_tendency, take_step
from l96closure.pairing import SchemeWarning, check_step, mismatch, scheme_of, tendency_of

try:
    from dapper.mods import Operator
    from dapper.tools.randvars import RV
except ImportError as error:
    raise cannot_import("dapper", error) from None

__all__ = ["Forecast"]

F64 = npt.NDArray[np.float64]


class Forecast:
    """Advances ensembles of the augmented state (z, closure state) by one coarse step a call.

    The closure's state is part of each member's state vector, behind the K slow variables, unobserved. It so passes
    through analyses, resampling and restarts with the member it belongs to, and an ensemble Kalman filter corrects it
    through its covariance with z. That asks for a state that may be averaged, such as the residual of psi which
    ``SchrodingerBridge`` carries; a closure whose state is an index must not be carried this way in such a filter.
    The psi of a step is drawn at its beginning and held over it, as in :func:`l96closure.integrate`.

    Parameters
    ----------
    model : a system, or any function z (member, K) -> dz/dt (member, K), see :func:`l96closure.integrate`.
    closure : obeys :class:`l96closure.closures.Closure`.
    K : number of slow variables, >= 1.
    scheme : ``euler`` or ``rk4``; None is the one that fits the closure, see :func:`l96closure.integrate`.
    rng : generator or seed of the closure's noise.

    Attributes
    ----------
    M : length of the augmented state vector, K + the size of a member's closure state.

    Raises
    ------
    ValueError
        An argument is out of its range, or K is not that of the closure.
    """

    def __init__(
        self,
        model: Any,
        closure: Closure,
        K: int,
        scheme: str | None = None,
        rng: np.random.Generator | int = 0,
    ) -> None:
        self.tendency, self.closure, self.K = tendency_of(model), closure, checks.integer("K", K, 1)
        self.scheme = scheme_of(closure) if scheme is None else checks.one_of("scheme", scheme, SCHEMES)
        if (why := mismatch(closure, self.scheme)) is not None:
            warnings.warn(why, SchemeWarning, stacklevel=2)
        self.rng = np.random.default_rng(rng)
        self._tried = 0  # members, two at most
        self._shape = closure.init(np.zeros((1, self.K)), 0).shape[1:]  # of one member's closure state
        self.M = self.K + int(np.prod(self._shape))

    def augment(self, z: F64) -> F64:
        """Put fresh closure states behind the slow variables z (member, K); returns (member, M).

        Raises ``ValueError`` when ``z`` is not (member, K).
        """
        z = checks.finite_array("z", z, 2)
        if z.shape[1] != self.K:
            checks.reject("z.shape", z.shape, f"(member, {self.K})")
        return self._joined(z, self.closure.init(z, self.rng))

    def __call__(self, x: F64, t: float, dt: float) -> F64:
        """Advance x, (M,) or (member, M), from time ``t`` by one coarse step ``dt``; the model does not depend on t.

        Raises ``ValueError`` when the closure remembers and is right for another step, and on the first call when the
        tendency or the closure is refused as by :func:`l96closure.integrate`.
        """
        check_step(self.closure, dt)
        members = np.atleast_2d(x)
        z = np.ascontiguousarray(members[:, : self.K])
        state = members[:, self.K :].reshape(len(z), *self._shape)
        several = min(len(z), 2)
        if self._tried < several:  # whether members are kept apart shows with two of them
            check_tendency(self.tendency, z)
            psi, state = take_step(self.closure, z, state, self.rng)
            self._tried = several
        else:
            psi, state = self.closure.step(z, state, self.rng)
        advanced = self._joined(SCHEMES[self.scheme](self.tendency, z, psi, dt), state)
        return advanced.reshape(np.shape(x))

    def operator(self) -> Operator:
        """Dyn of a ``HiddenMarkovModel``, without further noise: the closure brings its own."""
        return Operator(M=self.M, model=self, noise=0)

    def initial(self, sample: Callable[[int], F64]) -> RV:
        """X0 of a ``HiddenMarkovModel``: slow variables ``sample(N)`` (N, K), with closure states put behind them."""
        return RV(M=self.M, func=lambda N: self.augment(sample(N)))

    def _joined(self, z: F64, state: F64) -> F64:
        return np.concatenate([z, state.reshape(len(z), self.M - self.K)], axis=1)
