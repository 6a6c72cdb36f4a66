"""Definitions of the subgrid tendency psi that a record may follow, and the scheme of the coarse model each is for."""

from __future__ import annotations

from typing import Any

import xarray as xr

DEFINITIONS = {
    "fine": "(z(t + dt) - z(t)) / dt - G(z(t))",
    "coarse": "(z(t + coarse_dt) - z(t)) / coarse_dt - G(z(t))",
    "coupling": "-(h c / b) sum_j y_{j,k}(t)",
    "instant": "dz/dt(t) - G(z(t))",
    "step": "held over coarse_dt, it takes an RK4 step with G from z(t) to z(t + coarse_dt)",
}
"""The definitions by name, as formulas with the resolved tendency G; a system offers some of them."""

FITTING_SCHEME = {"fine": "rk4", "coarse": "euler", "coupling": "rk4", "instant": "rk4", "step": "rk4"}
"""The scheme of the coarse model that each is consistent with.

A forward Euler step with the difference over that step returns the truth, and so does an RK4 step with ``step``; the
tendency at one instant, of ``instant``, ``coupling`` and in the limit of ``fine``, wants an accurate integration.
"""

HELD = ("coarse", "step")
"""Definitions over a whole coarse step: with psi of one instant the coarse model is off by what psi does in a step."""


def definition_of(truth: xr.Dataset) -> str | None:
    """Return the definition of psi that a record names in its attribute ``subgrid``.

    Parameters
    ----------
    truth : the record.

    Returns
    -------
    A name of :data:`DEFINITIONS`; None where it names none of ours.
    """
    named: Any = truth.attrs.get("subgrid")
    return named if isinstance(named, str) and named in DEFINITIONS else None
