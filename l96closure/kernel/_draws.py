"""Draws of a sample with the probabilities that a kernel gives it, inside compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from l96closure.arrays import F32, F64
from l96closure.compiled import called
from l96closure.kernel._group_sums import FAR, group_weights
from l96closure.kernel._groups import GROUP
from l96closure.kernel._layout import DISTANCE, Layout
from l96closure.kernel._shifted_sums import FAST, query_coordinates, weights
from l96closure.vector import store, total

_SEARCH_BLOCK = 32  # weights per block of the search behind a draw


@called(forceinline=True)
def _weights_single(query: F32, h: int, layout: Layout, out: F32) -> float:
    """Write v^(j) t^(j) of every node into ``out`` (nodes,), in single precision; return their sum."""
    result, n, last = 0.0, layout.groups.number[h, 1], layout.groups.nodes.shape[0] - 1
    for g in range(0, n, 2):
        one = layout.groups.first[h, 1] + g
        low, high = group_weights(query, query.size, layout.groups.nodes, one, one + 1 if g + 1 < n else last)
        store(low, out, g * GROUP)
        store(high, out, (g + 1) * GROUP)
        result += total(low + high)
    return result


@called(fastmath=FAST, forceinline=True)
def _search(w: Any, aim: float) -> Any:
    """First j at which the running sum of the weights exceeds ``aim``: block by block, then within one."""
    below = 0.0
    for start in range(0, w.size, _SEARCH_BLOCK):
        block = w[start : start + _SEARCH_BLOCK]
        total = w.dtype.type(0)
        for i in range(block.size):
            total += block[i]
        if below + total > aim:
            for i in range(block.size):
                below += block[i]
                if below > aim:
                    return start + i
            return start + block.size - 1  # the running sum fell short by rounding
        below += total
    return w.argmax()


@called(forceinline=True)
def draw(x: F64, p: int, layout: Layout, uniform: float) -> Any:
    """Draw a sample index from the probability vector of query ``p``, by inversion of ``uniform`` in [0, 1)."""
    h = layout.head[p]
    query = query_coordinates(x, p, layout, np.empty(layout.size[h]))
    if layout.kind == DISTANCE:
        nodes = layout.groups.number[h, 1] * GROUP
        single = np.empty(nodes + GROUP, np.float32)  # an odd group is paired with the empty one
        whole = _weights_single(query.astype(np.float32), h, layout, single)
        if whole > FAR:
            node = _search(single[:nodes], uniform * whole)
            return layout.groups.sample[layout.groups.first[h, 1] + node // GROUP, node % GROUP]
    w = np.empty(layout.weight.shape[1])
    whole = weights(query, h, layout, w)
    return _search(w, uniform * whole)
