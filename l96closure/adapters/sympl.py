"""A closure as a component of sympl (Monteiro et al. 2018, Geosci. Model Dev. 11, 3781-3794)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
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
    import sympl
except ImportError as error:
    raise cannot_import("sympl", error) from None


class ClosureTendency(sympl.TendencyComponent):
    """The subgrid tendency psi of one quantity or several, to be added to other tendencies by any stepper of sympl.

    psi is drawn once for each value of ``state["time"]``, so the loop has to advance it, as every loop of sympl does.
    A component serves one run of one ensemble. The stages of ``SSPRungeKutta`` see the same psi, which suits a psi of
    the definition ``coupling``; their number is given as ``stages``, as without it another state at the same time is
    refused. ``AdamsBashforth(order=1)`` is forward Euler and suits ``coarse``. Higher orders of Adams-Bashforth
    extrapolate psi from the last steps and so change the variance of its noise: keep to order 1 with a stochastic
    closure.

    Parameters
    ----------
    closure : obeys :class:`l96closure.closures.Closure`.
    quantity : name of the quantity in the model's state that is the closure's z; for a closure with several predictors
        their names there, in its order.
    site : its dimension of K sites; the others, in their order, are taken together as the closure's members.
    units : units of z, or of each predictor, as the closure was fitted.
    time_unit : the time unit of psi, which is in ``units`` per ``time_unit``.
    rng : seed or generator, which give the key of the closure's noise.
    stages : states at which the stepper asks for a tendency in a step, >= 1: the stages of ``SSPRungeKutta``.
    member, history : numbers of the members, and what is known of their past, see
        :class:`l96closure.adapters.carried.Carried`.
    **options : ``name`` and ``tendencies_in_diagnostics``, see ``sympl.TendencyComponent``.

    Attributes
    ----------
    carried : the closure and its state, see :class:`l96closure.adapters.carried.Carried`.

    Raises
    ------
    ValueError
        ``stages`` is out of its range, or there are not as many quantities as predictors. On a call: the quantity does
        not fit the closure, changes its shape, or is another state at the same time; time goes back, or has gone on by
        another step than the closure was fitted for.
    """

    # Abstract in the base class; set for each instance.
    input_properties: dict[str, dict[str, Any]] = {}
    tendency_properties: dict[str, dict[str, Any]] = {}
    diagnostic_properties: dict[str, dict[str, Any]] = {}

    def __init__(
        self,
        closure: Closure,
        quantity: str | Sequence[str],
        site: str = "k",
        units: str | Sequence[str] = "1",
        time_unit: str = "s",
        rng: np.random.Generator | int = 0,
        stages: int = 1,
        member: npt.ArrayLike = 0,
        history: xr.Dataset | None = None,
        **options: Any,
    ) -> None:
        self.carried, layout = Carried(closure, rng, stages, member, history), Layout.of(closure)
        self._quantities = [quantity] if isinstance(quantity, str) else list(quantity)
        if len(self._quantities) != len(layout.predictors):
            checks.reject("quantity", quantity, f"a name for each predictor, {', '.join(layout.predictors)}")
        each = len(self._quantities) * [units] if isinstance(units, str) else list(units)
        known = dict(zip(self._quantities, each, strict=True))
        self._unit = float(sympl.DataArray(1.0, attrs={"units": time_unit}).to_units("s"))  # in s
        self.input_properties = {name: {"dims": ["*", site], "units": unit} for name, unit in known.items()}
        moved = self._quantities[: len(layout.targets)]
        self.tendency_properties = {name: {"units": f"{known[name]} {time_unit}^-1"} for name in moved}
        self.diagnostic_properties = {}
        super().__init__(**options)

    def array_call(self, state: dict[str, Any]) -> tuple[dict[str, F64], dict[str, F64]]:
        """Tendency of plain arrays; sympl calls it with each quantity as (member, K), and with the time."""
        fields = [np.ascontiguousarray(state[name], dtype=np.float64) for name in self._quantities]
        z = fields[0] if len(fields) == 1 else np.stack(fields, axis=1)
        time, before = state["time"], self.carried.time
        if before is not None and time > before:
            rounding = 2.0 * timedelta.resolution.total_seconds() / self._unit
            check_step(self.carried.closure, (time - before).total_seconds() / self._unit, rounding)
        psi = self.carried.psi(z, time)
        each = np.moveaxis(psi.reshape(len(psi), -1, psi.shape[-1]), 1, 0)
        return dict(zip(self._quantities, each, strict=False)), {}
