"""Quantiles of one value given one coordinate, read off a table with linear interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.bridge.look_up import FARTHEST, LookUp, find_row, lattice_of, read_off
from l96closure.compiled import cached
from l96closure.vector import LANES, load, store

__all__ = ["ConditionalQuantiles"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_ROUNDING = 1e-8  # of values, in parts of the range of the quantiles at a coordinate


@dataclass(frozen=True, eq=False)
class ConditionalQuantiles:
    """Quantiles of one value given one coordinate, for each of D dictionaries; made by :func:`tabulate`.

    Attributes
    ----------
    table : Q(Phi(xi) | x) in the units of the samples (N, L), at the nodes of one dictionary after the other's.
    nodes : the coordinates x (N,), ascending within each dictionary.
    ends : first and last node of each dictionary (D, 2).
    of : dictionary of each of K sites (K,).
    error : root mean square, over training states and noise, of the table less a direct evaluation, in standard
        deviations of the values of each dictionary (D,).
    """

    table: F64
    nodes: F64
    ends: Index
    of: Index
    error: F64

    @cached_property
    def look_up(self) -> LookUp:
        """The table as compiled code takes it."""
        return LookUp.of(self.table, self.nodes, self.ends)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Return what is read off, as plain arrays by name.

        Returns
        -------
        ``quantile`` (N, L) at the coordinates ``quantile_node`` (N,), of which dictionary d has those from the first to
        the last that ``quantile_nodes_of`` (D, 2) counts, and at L of the noise, evenly spaced from the first to the
        last of ``quantile_noise`` (2,); ``dictionary_of_site`` (K,).
        """
        return {
            "quantile": self.table,
            "quantile_node": self.nodes,
            "quantile_nodes_of": self.ends,
            "quantile_noise": np.array([-FARTHEST, FARTHEST]),
            "dictionary_of_site": self.of,
        }

    def __call__(self, x: F64, noise: F64) -> F64:
        """Return the quantiles that noise asks for.

        Coordinates and noise are held at the ends of the table, so that every quantile lies within the range of the
        samples (Lemma 1).

        Parameters
        ----------
        x : coordinates (n, K), in the units of the samples.
        noise : standard normal (n, K).

        Returns
        -------
        (n, K) in the units of the samples; NaN where ``x`` is not finite or the noise is NaN.

        Raises
        ------
        ValueError
            Another K than the table's.
        """
        if x.shape[1:] != self.of.shape or noise.shape != x.shape:
            checks.reject("shapes of x and noise", (x.shape, noise.shape), f"(n, {self.of.size}), both")
        out = np.empty_like(x)
        _look_up(x, noise, self.look_up, self.of, out)
        return out

    def scores(self, x: F64, values: F64) -> F64:
        """Inverse of the call: the noise that makes given values.

        Parameters
        ----------
        x : coordinates (n, K).
        values : at these coordinates (n, K), in the units of the samples.

        Returns
        -------
        (n, K) from -4 to 4; where a range of noise makes one value, its middle; NaN where ``x`` is not finite or the
        value is NaN.

        Raises
        ------
        ValueError
            Another K than the table's.
        """
        if x.shape[1:] != self.of.shape or values.shape != x.shape:
            checks.reject("shapes of x and values", (x.shape, values.shape), f"(n, {self.of.size}), both")
        out = np.empty_like(x)
        _invert(x, values, self.look_up, self.of, out)
        return out


@cached
def _look_up(x: F64, noise: F64, of: LookUp, dictionary: Index, out: F64) -> None:
    x_near, noise_near = np.zeros(LANES), np.zeros(LANES)
    for k in range(x.shape[1]):
        lattice = lattice_of(of, dictionary[k])
        for first in range(0, x.shape[0], LANES):
            some = min(LANES, x.shape[0] - first)
            for i in range(some):
                x_near[i], noise_near[i] = x[first + i, k], noise[first + i, k]
            store(read_off(load(x_near, 0), load(noise_near, 0), lattice, of), x_near, 0)
            for i in range(some):
                out[first + i, k] = np.nan if np.isnan(noise[first + i, k]) else x_near[i]


@cached
def _invert(x: F64, values: F64, of: LookUp, dictionary: Index, out: F64) -> None:
    row, away = np.empty(LANES), np.empty(LANES)
    for k in range(x.shape[1]):
        lattice = lattice_of(of, dictionary[k])
        for first in range(0, x.shape[0], LANES):
            some = min(LANES, x.shape[0] - first)
            row[:] = 0.0
            row[:some] = x[first : first + some, k]
            rows, on = find_row(load(row, 0), lattice, of)
            store(rows, row, 0)
            store(on, away, 0)
            for i in range(some):
                wanted = values[first + i, k]
                known = np.isfinite(x[first + i, k]) and not np.isnan(wanted)
                out[first + i, k] = _noise_of(of.table, np.intp(row[i]), away[i], wanted) if known else np.nan


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _noise_of(table: F64, g: int, row: float, wanted: float) -> float:
    """Return the noise that makes a value.

    Where the quantile is the same for a range of noise, any of it makes the value: the middle is taken, wherever in the
    range rounding has put the value.
    """
    L = table.shape[1]
    span = _between(table, g, row, L - 1) - _between(table, g, row, 0)
    if span == 0.0 and wanted == _between(table, g, row, 0):
        return 0.0
    below = _crossing(table, g, row, wanted - _ROUNDING * span)
    above = _crossing(table, g, row, wanted + _ROUNDING * span)
    return 0.5 * (below + above) * (2.0 * FARTHEST / (L - 1)) - FARTHEST  # type: ignore[no-any-return]


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _between(table: F64, g: int, row: float, c: int) -> float:
    return table[g, c] + row * (table[g + np.uintp(1), c] - table[g, c])  # type: ignore[no-any-return]


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _crossing(table: F64, g: int, row: float, wanted: float) -> float:
    """Return where among the columns the quantiles ``row`` of the way from node ``g`` to the next pass a value."""
    first, last = 0, table.shape[1] - 1
    while last - first > 1:
        c = (first + last) // 2
        if _between(table, g, row, c) <= wanted:
            first = c
        else:
            last = c
    lower, upper = _between(table, g, row, first), _between(table, g, row, last)
    if wanted <= lower:
        return float(first)
    return float(last) if wanted >= upper else first + (wanted - lower) / (upper - lower)
