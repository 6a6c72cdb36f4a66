"""Stochastic closures for coarse models, learned with the conditional localized Schrödinger bridge sampler."""

from typing import Any

from l96closure import bridge, closures, noise, progress, systems
from l96closure.coarse import BlowUpError, SchemeWarning, integrate
from l96closure.diagnostics import diagnose
from l96closure.diagnostics.forecast import verify
from l96closure.fields import Fields
from l96closure.forecasts import forecast, mark
from l96closure.history import history, replay
from l96closure.restart import Restart
from l96closure.selection import Selection
from l96closure.systems import KuramotoSivashinsky, TwoScaleLorenz96
from l96closure.temporal import TemporalProcess

__all__ = [
    "BlowUpError",
    "Fields",
    "KuramotoSivashinsky",
    "Restart",
    "SchemeWarning",
    "Selection",
    "TemporalProcess",
    "TwoScaleLorenz96",
    "bridge",
    "closures",
    "diagnose",
    "forecast",
    "history",
    "integrate",
    "mark",
    "noise",
    "progress",
    "replay",
    "systems",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Look the version up when it is asked for."""
    if name == "__version__":
        from l96closure.store import package_version

        return package_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
