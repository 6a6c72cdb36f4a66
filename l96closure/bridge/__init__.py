"""The localized Schrödinger bridge sampler on plain arrays; it knows nothing of climate.

In the order of Gottwald & Reich (2024): the localization sets, eqs. (33) and (57), are in ``neighbourhoods``, the
Sinkhorn scaling, eqs. (8)-(9), in ``sinkhorn``, fit and conditional means, eqs. (7)-(13), localized as in (36)-(43), in
``conditional``, the chains, eqs. (5), (6), (14) and their localized denoising (42), in ``sampler``, and the compiled
steps of these in ``chain_steps``. Beyond the paper: ``full_conditionals``, one component drawn after the other;
``quantiles``, the whole law tabulated, which ``quantile_table`` and ``look_up`` read; ``compression`` to few centres;
``bandwidth``, the choice of epsilon, and what tells an honest chain; ``accuracy``, how many samples stand behind a
mean. The sums over samples are those of :mod:`l96closure.kernel`.
"""

from l96closure.bridge.accuracy import MIN_EFFECTIVE, AccuracyWarning, median_effective_samples
from l96closure.bridge.bandwidth import (
    REPLAY_WARNING,
    Bandwidth,
    Mixing,
    checked_epsilon,
    choose_epsilon,
    mixing,
    replay_score,
)
from l96closure.bridge.compression import compress, compress_within
from l96closure.bridge.conditional import Bridge, Compression, fit
from l96closure.bridge.neighbourhoods import everywhere, grid, in_every_field, markov, periodic, stacked
from l96closure.bridge.quantile_table import ConditionalQuantiles
from l96closure.bridge.quantiles import tabulate
from l96closure.bridge.sampler import Chain, sample
from l96closure.bridge.sinkhorn import SinkhornWarning
from l96closure.kernel import Kernel

__all__ = [
    "MIN_EFFECTIVE",
    "REPLAY_WARNING",
    "AccuracyWarning",
    "Bandwidth",
    "Bridge",
    "Chain",
    "Compression",
    "ConditionalQuantiles",
    "Kernel",
    "Mixing",
    "SinkhornWarning",
    "checked_epsilon",
    "choose_epsilon",
    "compress",
    "compress_within",
    "everywhere",
    "fit",
    "grid",
    "in_every_field",
    "markov",
    "median_effective_samples",
    "mixing",
    "periodic",
    "replay_score",
    "sample",
    "stacked",
    "tabulate",
]
