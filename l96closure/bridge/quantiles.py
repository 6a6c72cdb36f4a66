"""Conditional quantiles of a fitted bridge: the distribution behind its conditional mean, tabulated.

The weights of a bridge are a probability vector over its samples, eq. (13), so they give not only the mean of a
component given its neighbourhood but its whole distribution,

    F(y | x) = sum_{j : y^(j) <= y} w^(j)(x).

A draw is the quantile Q(u | x) = F^{-1}(u | x) of a uniform u: the ancestral draw by inversion, the same whether u is
fresh or correlated with the last one. Where a single coordinate is given, Q is a function of two numbers; it is
tabulated at evenly spaced coordinates and at probabilities Phi(xi) with evenly spaced xi, so that the argument can be
the standard normal noise itself, and read off with linear interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy

from l96closure import checks
from l96closure.bridge.conditional import Bridge
from l96closure.bridge.dictionary import Dictionary

__all__ = ["ConditionalQuantiles", "tabulate"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_NODES = 128  # coordinates of the table
_LEVELS = 129  # probabilities
_FARTHEST = 4.0  # standard normal quantile of the last; beyond, the quantile stays as it is


@dataclass(frozen=True)
class ConditionalQuantiles:
    """Quantiles of one value given one coordinate, for each of D dictionaries; made by :func:`tabulate`.

    Attributes
    ----------
    table : Q(Phi(xi) | x) in the units of the samples (D, G, L).
    lowest, spacing : of the G coordinates of each dictionary (D,).
    of : dictionary of each of K sites (K,).
    """

    table: F64
    lowest: F64
    spacing: F64
    of: Index

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Return what is read off, as plain arrays by name."""
        return {
            "quantile": self.table,
            "quantile_lowest": self.lowest,
            "quantile_spacing": self.spacing,
            "quantile_noise": np.array([-_FARTHEST, _FARTHEST]),
            "dictionary_of_site": self.of,
        }

    def __call__(self, x: F64, noise: F64) -> F64:
        """Quantiles at the coordinates ``x`` (n, K) and the standard normal ``noise`` (n, K); (n, K).

        Both are held at the ends of the table, so that every quantile lies within the range of the samples (Lemma 1).
        Raises ``ValueError`` for another K than the table's.
        """
        if x.shape[1:] != self.of.shape or noise.shape != x.shape:
            checks.reject("shapes of x and noise", (x.shape, noise.shape), f"(n, {self.of.size}), both")
        out = np.empty_like(x)
        _look_up(x, noise, self.table, self.lowest, self.spacing, self.of, out)
        return out


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _look_up(x: F64, noise: F64, table: F64, lowest: F64, spacing: F64, of: Index, out: F64) -> None:
    G, L = table.shape[1:]
    for n in range(x.shape[0]):
        for k in range(x.shape[1]):
            if not np.isfinite(x[n, k]) or np.isnan(noise[n, k]):  # a run that is blowing up
                out[n, k] = np.nan
                continue
            h = of[k]
            row = min(max((x[n, k] - lowest[h]) / spacing[h], 0.0), G - 1.0)
            column = min(max((noise[n, k] + _FARTHEST) * ((L - 1) / (2.0 * _FARTHEST)), 0.0), L - 1.0)
            g, c = min(int(row), G - 2), min(int(column), L - 2)
            row, column = row - g, column - c
            lower = table[h, g, c] + column * (table[h, g, c + 1] - table[h, g, c])
            upper = table[h, g + 1, c] + column * (table[h, g + 1, c + 1] - table[h, g + 1, c])
            out[n, k] = lower + row * (upper - lower)


@np.errstate(under="ignore")  # weights of samples far away
def tabulate(bridge: Bridge) -> ConditionalQuantiles:
    """Tabulate the conditional quantiles of a bridge each of whose components sees one coordinate.

    Raises
    ------
    ValueError
        A neighbourhood has another size than one, or the bridge is compressed.
    """
    for alpha, members in zip(bridge.components, bridge.neighbourhoods, strict=True):
        if members.size != 1:
            checks.reject(f"neighbourhoods[{alpha}]", members.tolist(), "a single component, for a table of quantiles")
    if bridge.compression is not None:
        checks.reject("compression", bridge.compression.centres, "None; quantiles need every sample")
    levels = scipy.special.ndtr(np.linspace(-_FARTHEST, _FARTHEST, _LEVELS))
    ends = np.array([[one.coordinates.min(), one.coordinates.max()] for one in bridge.dictionaries])
    tables = [
        _quantiles(one, np.linspace(end[0], end[1], _NODES), bridge.kernel.factor(one.coordinate_scale)[0], levels)
        for one, end in zip(bridge.dictionaries, ends, strict=True)
    ]
    return ConditionalQuantiles(
        np.stack(tables), ends[:, 0].copy(), np.ptp(ends, axis=1) / (_NODES - 1), bridge.dictionary_of
    )


def _quantiles(dictionary: Dictionary, nodes: F64, factor: float, levels: F64) -> F64:
    """Q(u | x) for each coordinate and probability (G, L); linear between the midpoints of the steps of F."""
    order = np.argsort(dictionary.values[:, 0], kind="stable")
    values, x = dictionary.values[order, 0], dictionary.coordinates[order, 0]
    log_weight = dictionary.log_v[order] / np.log(2.0)
    table = np.empty((nodes.size, levels.size))
    for row, node in zip(table, nodes, strict=True):
        exponent = log_weight - ((node - x) * factor) ** 2
        w = np.exp2(exponent - exponent.max())
        below = np.cumsum(w) - 0.5 * w
        row[:] = np.interp(levels, below / (below[-1] + 0.5 * w[-1]), values)
    return table
