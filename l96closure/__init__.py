"""Stochastic closures for coarse models, learned with the conditional localized Schrödinger bridge sampler."""

from l96closure import bridge, closures, noise
from l96closure.coarse import forecast, integrate
from l96closure.diagnostics import diagnose
from l96closure.diagnostics.forecast import verify
from l96closure.kuramoto_sivashinsky import KuramotoSivashinsky
from l96closure.lorenz96 import TwoScaleLorenz96, resolved_tendency, simulate
from l96closure.temporal import TemporalProcess

__all__ = [
    "KuramotoSivashinsky",
    "TemporalProcess",
    "TwoScaleLorenz96",
    "bridge",
    "closures",
    "diagnose",
    "forecast",
    "integrate",
    "noise",
    "resolved_tendency",
    "simulate",
    "verify",
]
