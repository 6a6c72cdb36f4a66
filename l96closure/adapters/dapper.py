"""A coarse model with a closure as dynamics in DAPPER (Raanes et al. 2024, J. Open Source Software 9(94), 5150)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.adapters import cannot_import
from l96closure.arrays import F64
from l96closure.closures import Closure
from l96closure.closures.state import parts, with_parts
from l96closure.coarse import SCHEMES
from l96closure.first_calls import check_tendency, first_state, take_step
from l96closure.layout import Layout
from l96closure.pairing import SchemeWarning, check_step, mismatch, scheme_of, tendency_of
from l96closure.schemes import starting

try:
    from dapper.mods import Operator
    from dapper.tools.randvars import RV
except ImportError as error:
    raise cannot_import("dapper", error) from None


class Forecast:
    """Advances ensembles of the augmented state (z, closure state) by one coarse step a call.

    What the closure remembers of a member, the arrays of real numbers in its state (the last values of its noise, and
    the slow variables up to its longest lag), is part of the member's state vector, behind the K slow variables,
    unobserved. It so passes through analyses and resampling with the member it
    belongs to, and an ensemble Kalman filter corrects it through its covariance with z. That asks for a memory that may
    be averaged, such as the noise of ``SchrodingerBridge``; a closure that remembers an index in a plain array must not
    be carried this way in such a filter. The rest of the state stays here: key and step of the noise, and the
    numbers of the members, by which each has noise of its own whatever it is made from.
    The psi of a step is drawn at its beginning and held over it, as in :func:`l96closure.integrate`.

    Parameters
    ----------
    model : a system, or any function z (member, K) -> dz/dt (member, K) or (z, t) -> dz/dt, see
        :func:`l96closure.integrate`; t is DAPPER's time.
    closure : obeys :class:`l96closure.closures.Closure`.
    K : number of slow variables, >= 1; of a closure with several predictors that of all, one predictor after the other,
        while the model takes and gives (member, P, sites).
    scheme : ``euler`` or ``rk4``; None is the one that fits the closure, see :func:`l96closure.integrate`.
    rng : seed or generator, which give each ensemble the key of its closure's noise.

    Attributes
    ----------
    M : length of the augmented state vector, K + the size of what the closure remembers of a member.
    states : of the closure, by number of members of the ensemble; with the state vectors all that a restart needs.

    Raises
    ------
    ValueError
        An argument is out of its range, K is not that of the closure, or its state is made of something else than
        numbers.
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
        self._rng = np.random.default_rng(rng)
        self._tried = 0  # members, two at most
        self.states: dict[int, Any] = {}
        self._layout = Layout.of(closure, self.K)
        if math.prod(self._layout.state) != self.K:
            checks.reject("K", K, f"{math.prod(self._layout.state)}, of the predictors of the closure")
        one, two = (parts(closure.init(np.zeros((members, *self._layout.state)), 0)) for members in (1, 2))
        self._carried = [name for name, part in one.items() if _grows(part, two[name], alone=len(one) == 1)]
        self.M = self.K + sum(np.asarray(one[name]).size for name in self._carried)

    def augment(self, z: F64, member: npt.ArrayLike = 0, history: xr.Dataset | None = None) -> F64:
        """Begin an ensemble: put what a fresh closure state remembers behind z.

        Parameters
        ----------
        z : slow variables (member, K).
        member : number of the first member, or the numbers of all, see :func:`l96closure.integrate`.
        history : what is known of their past, from :func:`l96closure.history`; None where the closure is to draw one.

        Returns
        -------
        State vectors (member, M).

        Raises
        ------
        ValueError
            ``z`` is not (member, K), or ``member`` or ``history`` do not fit it.
        """
        z = checks.finite_array("z", z, 2)
        if z.shape[1] != self.K:
            checks.reject("z.shape", z.shape, f"(member, {self.K})")
        self.states[len(z)] = first_state(self.closure, self._shaped(z), self._rng, member, history)
        return self._joined(z, self.states[len(z)])

    def __call__(self, x: F64, t: float, dt: float) -> F64:
        """Advance x, (M,) or (member, M), from time ``t`` by one coarse step ``dt``.

        Raises ``ValueError`` when the closure remembers and is right for another step, and on the first call when the
        tendency or the closure is refused as by :func:`l96closure.integrate`.
        """
        check_step(self.closure, dt)
        members = np.atleast_2d(x)
        z = self._shaped(members[:, : self.K])
        state = self._split(self._state(z), members[:, self.K :])
        tendency, several = starting(self.tendency, np.full(len(z), t), z.ndim), min(len(z), 2)
        if self._tried < several:  # whether members are kept apart shows with two of them
            check_tendency(tendency, z)
            psi, state = take_step(self.closure, z, state, self._layout.psi)
            self._tried = several
        else:
            psi, state = self.closure.step(z, state)
        self.states[len(z)] = state
        advanced = self._joined(SCHEMES[self.scheme](tendency, z, self._layout.added(psi), dt), state)
        return advanced.reshape(np.shape(x))

    def operator(self) -> Operator:
        """Dyn of a ``HiddenMarkovModel``, without further noise: the closure brings its own."""
        return Operator(M=self.M, model=self, noise=0)

    def initial(self, sample: Callable[[int], F64]) -> RV:
        """X0 of a ``HiddenMarkovModel``: slow variables ``sample(N)`` (N, K), with closure states put behind them."""
        return RV(M=self.M, func=lambda N: self.augment(sample(N)))

    def _shaped(self, z: F64) -> F64:
        """Return slow variables (member, K) as model and closure take them."""
        return np.ascontiguousarray(z).reshape(len(z), *self._layout.state)

    def _state(self, z: F64) -> Any:
        """Return the state of the ensemble of this size, which has a key of its own."""
        if len(z) not in self.states:
            self.states[len(z)] = first_state(self.closure, z, self._rng)
        return self.states[len(z)]

    def _joined(self, z: F64, state: Any) -> F64:
        remembered = parts(state)
        return np.concatenate(
            [z.reshape(len(z), -1), *(remembered[name].reshape(len(z), -1) for name in self._carried)], axis=1
        )

    def _split(self, state: Any, x: F64) -> Any:
        """Put what stands in state vectors (member, M - K) into the state."""
        remembered, taken = parts(state), 0
        for name in self._carried:
            like = remembered[name]
            size = like[0].size
            remembered[name] = x[:, taken : taken + size].reshape(like.shape).astype(like.dtype)
            taken += size
        return with_parts(state, remembered)


def _grows(part: Any, of_two: Any, alone: bool) -> bool:
    """Whether a part of a state has an entry of real numbers for each member; ``alone`` if it is the whole state."""
    if not isinstance(part, np.ndarray) or np.shape(part)[:1] != (1,) or np.shape(of_two)[:1] != (2,):
        return False
    return alone or part.dtype.kind == "f"
