"""The systems of the closure experiment: each a truth, with a coarse model of what it resolves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import xarray as xr

from l96closure import kuramoto_sivashinsky, lorenz96
from l96closure.coarse import Tendency

__all__ = ["SYSTEMS", "System"]


@dataclass(frozen=True)
class System:
    """A truth and its coarse model.

    Attributes
    ----------
    model : the dataclass of its parameters.
    simulate : runs the truth; takes the model, ``samples``, ``dt``, ``every``, ``spinup``, ``seed``, ``progress`` and
        ``restart``, and perhaps more; returns ``z`` and ``psi`` of dims (time, k).
    tendency : makes the tendency of the coarse model.
    """

    model: Callable[..., Any]
    simulate: Callable[..., xr.Dataset]
    tendency: Callable[[Any], Tendency]


SYSTEMS: Mapping[str, System] = {
    "two_scale_lorenz96": System(
        lorenz96.TwoScaleLorenz96,
        lorenz96.simulate,
        lambda model: partial(lorenz96.resolved_tendency, F=model.F),
    ),
    "kuramoto_sivashinsky": System(
        kuramoto_sivashinsky.KuramotoSivashinsky,
        kuramoto_sivashinsky.simulate,
        lambda model: partial(kuramoto_sivashinsky.resolved_tendency, L=model.L),
    ),
}
"""The systems by the name that the setting ``model.name`` has for them; the first where it is not there."""
