"""A closure as a process of climlab (Rose 2018, Journal of Open Source Software 3(24), 659)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.adapters import cannot_import
from l96closure.adapters.carried import Carried
from l96closure.closures import Closure
from l96closure.pairing import check_step

try:
    from climlab.process import TimeDependentProcess
except ImportError as error:
    raise cannot_import("climlab", error) from None

__all__ = ["ClosureProcess"]

F64 = npt.NDArray[np.float64]


class ClosureProcess(TimeDependentProcess):
    """The subgrid tendency psi of one state variable, to be attached to a process tree.

    ``model.add_subprocess("closure", ClosureProcess(closure, state={"Ts": model.Ts}, timestep=model.timestep))``

    An explicit process: climlab adds its tendency to those of its siblings at the same state, so the model takes a
    forward Euler step. psi is drawn once for each of the process's own steps; ``compute_diagnostics`` and other
    repeated calls do not advance the closure, and with a longer ``timestep`` than its parent's it is held in between.

    Parameters
    ----------
    closure : obeys :class:`l96closure.closures.Closure`.
    time_unit : length of the time unit of psi in s, > 0; psi is in units of the state variable per ``time_unit``.
    rng : seed or generator, which give the key of the closure's noise.
    member, history : number of the member, and what is known of its past, see
        :class:`l96closure.adapters.carried.Carried`.
    **options : ``state``, ``timestep`` and what else climlab's ``TimeDependentProcess`` takes. The state holds one
        variable; its K values in C order, e.g. the latitudes of (lat, depth = 1), are the sites of a single member.

    Attributes
    ----------
    carried : the closure and its state, see :class:`l96closure.adapters.carried.Carried`.

    Raises
    ------
    ValueError
        ``time_unit`` is out of its range, the state is not one variable; on a step, the variable or the timestep does
        not fit the closure.
    """

    def __init__(
        self,
        closure: Closure,
        time_unit: float = 1.0,
        rng: np.random.Generator | int = 0,
        member: npt.ArrayLike = 0,
        history: xr.Dataset | None = None,
        **options: Any,
    ) -> None:
        self.carried = Carried(closure, rng, member=member, history=history)
        self._per_second = 1.0 / checks.number("time_unit", time_unit, above=0.0)
        super().__init__(**options)
        if len(self.state) != 1:
            checks.reject("state", sorted(self.state), "one variable")

    def _compute(self) -> dict[str, F64]:
        ((name, field),) = self.state.items()
        z = np.array(field, dtype=np.float64).reshape(1, -1)
        check_step(self.carried.closure, self.timestep * self._per_second)
        psi = self.carried.psi(z, self.time["steps"])
        return {name: psi.reshape(field.shape) * self._per_second}
