"""A closure with its state, for models that ask for a tendency and keep nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.closures import Closure
from l96closure.first_calls import first_state, take_step
from l96closure.layout import Layout

_ROUNDING = 1e-12  # in parts of the largest of z: climlab adds its increments and takes them off again


class Carried:
    """Draws psi once for each model time and state, and returns it again when the same is asked for again.

    Repeated diagnostic calls thus see one psi and leave the chain where it is, and so do the stages of a Runge-Kutta
    step where there are several: psi belongs to the state that comes first at its time. It serves one run of one
    ensemble, whose time goes on; another state at the same time, or an earlier time, is refused.

    Parameters
    ----------
    closure : obeys :class:`l96closure.closures.Closure`.
    rng : seed or generator, which give the key of the closure's noise.
    stages : states at which the model asks for psi in a step, >= 1.
    member : number of the first member, or the numbers of all, see :func:`l96closure.integrate`.
    history : what is known of the past of the first state, from :func:`l96closure.history`; None where the closure is
        to draw one.

    Attributes
    ----------
    state : what the closure carries from step to step, None before the first; put into a new one before its first
        call, it goes on with the run.
    time : of the last psi, None before the first.

    Raises
    ------
    ValueError
        ``stages`` is out of its range.
    """

    def __init__(
        self,
        closure: Closure,
        rng: np.random.Generator | int,
        stages: int = 1,
        member: npt.ArrayLike = 0,
        history: xr.Dataset | None = None,
    ) -> None:
        self.closure, self._rng = closure, np.random.default_rng(rng)
        self._member, self._history = member, history
        self.stages = checks.integer("stages", stages, 1)
        self.state: Any = None
        self.time: Any = None
        self._seen: list[F64] = []  # the states at this time, one for each stage
        self._psi: F64 | None = None
        self._shape: tuple[int, ...] = ()

    def psi(self, z: F64, time: Any) -> F64:
        """Subgrid tendency at ``time``.

        Parameters
        ----------
        z : slow variables (member, K), or predictors (member, P, K), of the same shape at every call.
        time : anything that is equal within a time step and greater than that of the step before.

        Returns
        -------
        psi (member, K), or (member, Q, K), in the units of the closure; the caller's own.

        Raises
        ------
        ValueError
            ``z`` has another shape than at the first call, does not fit the closure, or is one state more at its time
            than there are stages; ``time`` is before that of the last call.
        """
        if self._psi is None:
            if self.state is None:
                self.state = first_state(self.closure, z, self._rng, self._member, self._history)
            shape = Layout.of(self.closure, z.shape[-1]).psi
            self._psi, self.state = take_step(self.closure, z, self.state, shape)
            self.time, self._seen, self._shape = time, [z.copy()], z.shape
            return self._psi.copy()
        if z.shape != self._shape:
            checks.reject("z.shape", z.shape, f"{self._shape}, as at the first call")
        if time < self.time:
            checks.reject("time", str(time), f"at or after the last, {self.time}; another run needs another adapter")
        if time != self.time:
            self._psi, self.state = self.closure.step(z, self.state)
            self.time, self._seen = time, []
        self._take_down(z)
        return self._psi.copy()

    def _take_down(self, z: F64) -> None:
        """Note a state at this time; refuse it if it is one too many."""
        largest = np.abs(z).max()
        if any(np.abs(z - seen).max() <= _ROUNDING * largest for seen in self._seen):
            return
        if len(self._seen) == self.stages:
            checks.reject(
                f"z at time {self.time}",
                f"state {len(self._seen) + 1} of it",
                f"one of {self.stages} (stages={self.stages}); another ensemble needs another adapter, and a scheme "
                "that asks for psi at several stages of a step their number, stages=3 for sympl's SSPRungeKutta",
            )
        self._seen.append(z.copy())
