"""A closure as a process of climlab (Rose 2018, Journal of Open Source Software 3(24), 659)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.adapters import cannot_import
from l96closure.adapters.carried import Carried
from l96closure.arrays import F64
from l96closure.closures import Closure
from l96closure.layout import Layout
from l96closure.pairing import check_step

try:
    from climlab.process import TimeDependentProcess
except ImportError as error:
    raise cannot_import("climlab", error) from None


class ClosureProcess(TimeDependentProcess):
    """The subgrid tendency psi of state variables, to be attached to a process tree.

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
        variable; its K values in C order, e.g. the latitudes of (lat, depth = 1), are the sites of a single member. For
        a closure with several predictors it holds these, by their names.

    Attributes
    ----------
    carried : the closure and its state, see :class:`l96closure.adapters.carried.Carried`.

    Raises
    ------
    ValueError
        ``time_unit`` is out of its range, the state is not one variable, or those of the closure; on a step, a variable
        or the timestep does not fit the closure.
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
        several = Layout.of(closure).fields
        self._names = list(self.state) if several is None else list(several.predictors)
        if several is None and len(self.state) != 1:
            checks.reject("state", sorted(self.state), "one variable")
        if set(self._names) != set(self.state):
            checks.reject("state", sorted(self.state), f"the predictors of the closure, {', '.join(self._names)}")

    def _compute(self) -> dict[str, F64]:
        fields = {name: np.array(self.state[name], dtype=np.float64) for name in self._names}
        z = np.stack([field.ravel() for field in fields.values()])
        check_step(self.carried.closure, self.timestep * self._per_second)
        psi = self.carried.psi(z if len(z) == 1 else z[np.newaxis], self.time["steps"])
        tendencies = zip(self._names, psi.reshape(-1, z.shape[1]), strict=False)
        return {name: of.reshape(fields[name].shape) * self._per_second for name, of in tendencies}
