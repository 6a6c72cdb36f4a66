"""What a bridge can be trusted with: how many samples stand behind its means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l96closure.bridge.conditional import Bridge

MIN_EFFECTIVE = 30
"""With fewer effective samples behind a conditional mean, its variance and quantiles are little more than theirs."""

_MAX_QUERIES = 400  # over all dictionaries


class AccuracyWarning(UserWarning):
    """A result is less accurate than its use suggests; the message has the number."""


def median_effective_samples(bridge: Bridge) -> float:
    """Median over training states of the effective number of samples 1 / sum_j (w^(j))^2 behind a conditional mean.

    A state is itself one of the samples, so that it is never below one. Every dictionary is asked at samples of its
    own, evenly spaced in their order.

    Parameters
    ----------
    bridge : from :func:`l96closure.bridge.fit`.

    Returns
    -------
    Between 1, where each mean is a copy of one sample, and the number of samples; below :data:`MIN_EFFECTIVE`
    variances and quantiles are far too narrow.
    """
    each = max(-(-_MAX_QUERIES // len(bridge.dictionaries)), 8)
    plain = replace(bridge, kernel=replace(bridge.kernel, sums="brute"))  # all samples count, so no tree is grown
    found = []
    for h, one in enumerate(bridge.dictionaries):
        some = np.unique(np.linspace(0, len(one.coordinates) - 1, each).round().astype(int))
        found.append(1.0 / plain.kernel_sums.concentration_given(one.coordinates[some], h))
    return float(np.median(np.concatenate(found)))
