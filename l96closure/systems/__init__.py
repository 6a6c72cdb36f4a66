"""Systems: each a truth with its parameters, how it is simulated, and what of it a coarse model resolves.

A new one is a file here with a dataclass that has ``simulate`` and ``resolved_tendency``, and its name in
:data:`SYSTEMS`; its options follow from its fields. In Python a system of your own is any object with
``resolved_tendency(z)``, (..., K) -> (..., K), for :func:`l96closure.integrate` and :func:`l96closure.forecast`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l96closure.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from l96closure.systems.lorenz96 import TwoScaleLorenz96

__all__ = ["SYSTEMS", "KuramotoSivashinsky", "TwoScaleLorenz96"]

SYSTEMS: Mapping[str, Any] = {"two_scale_lorenz96": TwoScaleLorenz96, "kuramoto_sivashinsky": KuramotoSivashinsky}
"""The systems by the name they have in configurations; the first where there is none."""
