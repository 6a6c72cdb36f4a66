"""The localized Schrödinger bridge sampler on plain arrays; it knows nothing of climate."""

from l96closure.bridge.conditional import Bridge, fit
from l96closure.bridge.neighbourhoods import everywhere, markov, periodic, stacked
from l96closure.bridge.sampler import Chain, sample
from l96closure.bridge.sinkhorn import SinkhornWarning

__all__ = [
    "Bridge",
    "Chain",
    "SinkhornWarning",
    "everywhere",
    "fit",
    "markov",
    "periodic",
    "sample",
    "stacked",
]
