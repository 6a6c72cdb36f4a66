"""How truth and coarse run look in every picture of the two."""

from __future__ import annotations

from l96closure.figures import style

__all__ = ["COLOURS", "LABELS", "PSI_LABEL", "Z_LABEL"]

COLOURS = {"truth": style.GIVEN, "coarse": style.GENERATED}
LABELS = {"truth": "truth", "coarse": "coarse run"}

Z_LABEL = "resolved variable $z$ (dimensionless)"
PSI_LABEL = r"subgrid tendency $\psi$ (dimensionless)"
