"""A closure with its state and its random numbers, for models that ask for a tendency and keep nothing."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.closures import Closure

__all__ = ["Carried"]

F64 = npt.NDArray[np.float64]


class Carried:
    """Draws psi once for each model time and returns it again when the same time is asked for again.

    The stages of a Runge-Kutta step and repeated diagnostic calls thus see one psi and leave the chain where it is.

    Parameters
    ----------
    closure : obeys :class:`l96closure.closures.Closure`.
    rng : generator or seed of the closure's noise.

    Attributes
    ----------
    state : what the closure carries from step to step, None before the first; with ``rng`` all that a restart needs.
    """

    def __init__(self, closure: Closure, rng: np.random.Generator | int) -> None:
        self.closure, self.rng = closure, np.random.default_rng(rng)
        self.state: F64 | None = None
        self._time: Hashable = None
        self._psi: F64 | None = None

    def psi(self, z: F64, time: Hashable) -> F64:
        """Subgrid tendency at ``time``.

        Parameters
        ----------
        z : slow variables (member, K), of the same shape at every call.
        time : anything that is equal within a time step and differs from that of the step before.

        Returns
        -------
        psi (member, K) in the units of the closure, not to be changed.

        Raises
        ------
        ValueError
            ``z`` has another shape than at the first call, or does not fit the closure.
        """
        if self.state is None:
            self.state = self.closure.init(z, self.rng)
        if self._psi is not None and z.shape != self._psi.shape:
            checks.reject("z.shape", z.shape, f"{self._psi.shape}, as at the first call")
        if self._psi is None or time != self._time:
            self._psi, self.state = self.closure.step(z, self.state, self.rng)
            self._time = time
        return self._psi
