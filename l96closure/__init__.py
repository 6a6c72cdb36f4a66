"""Stochastic closures for coarse models, learned with the conditional localized Schrödinger bridge sampler."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what is asked for is imported then: numba and xarray take most of a second
    from l96closure import bridge, closures, noise, plot, progress, systems
    from l96closure.coarse import BlowUpError, SchemeWarning, UnitsWarning, integrate
    from l96closure.diagnostics import diagnose
    from l96closure.diagnostics.forecast import verify
    from l96closure.fields import Fields
    from l96closure.forecasts import forecast, mark
    from l96closure.histories import history, replay
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
    "UnitsWarning",
    "bridge",
    "closures",
    "diagnose",
    "forecast",
    "history",
    "integrate",
    "mark",
    "noise",
    "plot",
    "progress",
    "replay",
    "systems",
    "verify",
]

_MODULES = {
    **dict.fromkeys(("BlowUpError", "SchemeWarning", "UnitsWarning", "integrate"), "coarse"),
    **dict.fromkeys(("KuramotoSivashinsky", "TwoScaleLorenz96"), "systems"),
    **dict.fromkeys(("forecast", "mark"), "forecasts"),
    **dict.fromkeys(("history", "replay"), "histories"),
    **{"Fields": "fields", "Restart": "restart", "Selection": "selection", "TemporalProcess": "temporal"},
    **{"diagnose": "diagnostics", "verify": "diagnostics.forecast", "package_version": "provenance"},
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a name of :data:`_MODULES`, the version, or a module."""
    if name == "__version__":
        return __getattr__("package_version")()
    if name in _MODULES:
        value = getattr(import_module(f"l96closure.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        try:
            return import_module(f"l96closure.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"l96closure.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
