"""Conditional quantiles of a fitted bridge: the distribution behind its conditional mean, tabulated.

The weights of a bridge are a probability vector over its samples, eq. (13), so they give not only the mean of a
component given its neighbourhood but its whole distribution,

    F(y | x) = sum_{j : y^(j) <= y} w^(j)(x).

A draw is the quantile Q(u | x) = F^{-1}(u | x) of a uniform u: the ancestral draw by inversion, the same whether u is
fresh or correlated with the last one. Where a single coordinate is given, Q is a function of two numbers; it is
tabulated at probabilities Phi(xi) with evenly spaced xi, so that the argument can be the standard normal noise itself,
and at coordinates half a kernel's width or less apart wherever there are samples: Q varies over that width, however far
apart samples are elsewhere. It is read off with linear interpolation, and the table knows its own error.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.bridge.accuracy import AccuracyWarning
from l96closure.bridge.conditional import Bridge
from l96closure.bridge.look_up import FARTHEST
from l96closure.bridge.quantile_table import ConditionalQuantiles, Table
from l96closure.compiled import cached, shared
from l96closure.kernel import Kernel, WeightedSamples

_SPACING, _FINEST = 0.5, 0.05  # of the coordinates of the table, in standard deviations of the kernel
_MAX_NODES = 1024  # coordinates of the table
_LEVELS = 129  # probabilities
_LIGHTEST = 60.0  # weights smaller by so many powers of two are left out
_TRIALS = 256  # samples at least at which the error is measured, where there are some more
_GOOD_ERROR, _WORTHWHILE = 0.01, 0.85  # down to which the nodes are brought closer
_LARGEST_ERROR = 0.1  # that goes without a warning


def tabulate(bridge: Bridge, nodes: F64 | None = None, levels: int = _LEVELS) -> ConditionalQuantiles:
    """Tabulate the conditional quantiles of a bridge each of whose components sees one coordinate.

    Parameters
    ----------
    bridge : from :func:`l96closure.bridge.fit`, of the estimator ``bridge`` or ``kde``, not compressed.
    nodes : coordinates of the table (G,), ascending; None takes what is said above.
    levels : number of probabilities, two at least.

    Returns
    -------
    Q(Phi(xi) | x), to be called with coordinates and standard normal noise.

    Raises
    ------
    ValueError
        A neighbourhood has another size than one, the bridge is compressed, its kernel is none of distances with one
        bandwidth, or there are too few levels.

    Warns
    -----
    AccuracyWarning
        The ``error`` of the table exceeds 0.1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((500, 1))
    >>> samples = np.hstack([x, x**2])
    >>> fitted = lc.bridge.fit(samples, epsilon=0.01, neighbourhoods=[[0], [0]], components=[1])
    >>> median = lc.bridge.tabulate(fitted)(np.array([[1.0]]), noise=np.array([[0.0]]))
    >>> bool(0.8 < median[0, 0] < 1.2)
    True
    """
    checks.integer("levels", levels, 2)
    if not bridge.kernel.of_distance:
        checks.reject("estimator", bridge.kernel.estimator, "bridge or kde, for a table of quantiles")
    for alpha, members in zip(bridge.components, bridge.neighbourhoods, strict=True):
        if members.size != 1:
            checks.reject(f"neighbourhoods[{alpha}]", members.tolist(), "a single component, for a table of quantiles")
    if bridge.compression is not None:
        checks.reject("compression", bridge.compression.centres, "None; quantiles need every sample")
    made = ConditionalQuantiles.joined(
        [_table(_Sorted.of(one, bridge.kernel), nodes, levels) for one in bridge.dictionaries], bridge.dictionary_of
    )
    if made.error.max() > _LARGEST_ERROR:
        warnings.warn(
            f"the table of conditional quantiles is wrong by {made.error.max():.2g} standard deviations (root mean "
            f"square at the training states): epsilon = {bridge.epsilon:g} is too small for {_MAX_NODES} nodes or "
            "for so few samples",
            AccuracyWarning,
            stacklevel=2,
        )
    return made


class _Sorted(NamedTuple):
    """Samples in the order of their values: coordinates and values (M,), log2 of the weights, kernel units of 1."""

    x: F64
    values: F64
    log_weight: F64
    factor: float

    @classmethod
    def of(cls, dictionary: WeightedSamples, kernel: Kernel) -> _Sorted:
        order = np.argsort(dictionary.values[:, 0], kind="stable")
        log_weight, factor = dictionary.log_v[order] / np.log(2.0), kernel.factor(dictionary.coordinate_scale)[0]
        return cls(dictionary.coordinates[order, 0], dictionary.values[order, 0], log_weight, factor)

    def cells(self, spacing: float) -> tuple[F64, float]:
        """Cell of an even lattice that each sample is in (M,), and its length; ``spacing`` in widths of the kernel."""
        width = 1.0 / (self.factor * np.sqrt(2.0 * np.log(2.0)))
        length = float(np.ptp(self.x)) or width
        count = max(np.ceil(length / (spacing * width)), 1.0)
        return np.minimum(np.floor((self.x - self.x.min()) * (count / length)), count - 1.0), length / count

    def nodes(self, spacing: float) -> F64:
        """Both ends of every cell that holds a sample."""
        cell, length = self.cells(spacing)
        places: F64 = self.x.min() + np.union1d(cell, cell + 1.0) * length
        return np.unique(places)  # far from zero, two may be one number

    def trials(self, spacing: float) -> tuple[F64, Index]:
        """Coordinates of some samples, and how many each stands for: one of each cell, sparse tails included."""
        while True:
            cell = self.cells(spacing)[0]
            _, one, number = np.unique(cell, return_index=True, return_counts=True)
            if one.size >= min(_TRIALS, self.x.size // 4) or spacing < _FINEST * _FINEST:
                return self.x[one], number.astype(np.intp)
            spacing *= 0.5

    def quantiles(self, nodes: F64, noise: F64) -> F64:
        """Q(Phi(xi) | x) of each coordinate and noise (G, L); linear between the midpoints of the steps of F."""
        table = np.empty((nodes.size, noise.size))
        shared(_quantiles, nodes.size, *self, nodes, scipy.special.ndtr(noise), table)
        return table


@cached
def _quantiles(
    x: F64, values: F64, log_weight: F64, factor: float, nodes: F64, levels: F64, table: F64, start: int, stop: int
) -> None:
    """Write the quantiles at nodes ``start`` to ``stop``, at levels in ascending order, into the table (G, L)."""
    M, L = x.size, levels.size
    exponent, below, value = np.empty(M + 2), np.empty(M), np.empty(M)
    exponent[0] = exponent[M + 1] = -np.inf
    for g in range(start, stop):
        largest = -np.inf
        for j in range(M):
            exponent[j + 1] = log_weight[j] - ((nodes[g] - x[j]) * factor) ** 2
            largest = max(largest, exponent[j + 1])
        lightest, total, n = largest - _LIGHTEST, 0.0, 0
        for j in range(M):
            if max(exponent[j], exponent[j + 1], exponent[j + 2]) > lightest:  # those next to it bound the steps of F
                weight = np.exp2(exponent[j + 1] - largest)
                below[n], value[n] = total + 0.5 * weight, values[j]
                total += weight
                n += 1
        i = 0
        for level in range(L):
            at = levels[level] * total
            while i < n and below[i] <= at:
                i += 1
            if i == 0 or i == n:
                table[g, level] = value[min(i, n - 1)]
            else:
                along = (at - below[i - 1]) / (below[i] - below[i - 1])
                table[g, level] = value[i - 1] + along * (value[i] - value[i - 1])


def _table(samples: _Sorted, given: F64 | None, levels: int) -> Table:
    """Tabulate one dictionary, as finely as its error asks for and the number of nodes allows, or at given nodes."""
    noise = np.linspace(-FARTHEST, FARTHEST, levels)
    middles = 0.5 * (noise[1:] + noise[:-1])
    spacing, nodes = _SPACING, samples.nodes(_SPACING) if given is None else given
    while given is None and nodes.size > _MAX_NODES:
        spacing *= 2.0
        nodes = samples.nodes(spacing)
    x, number = samples.trials(spacing)
    exact, density, best = samples.quantiles(x, middles), np.exp(-0.5 * middles**2), None
    while True:
        table = samples.quantiles(nodes, noise)
        g = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, nodes.size - 2)
        row = ((x - nodes[g]) / (nodes[g + 1] - nodes[g]))[:, None]
        along = table[g] + row * (table[g + 1] - table[g])
        square = (0.5 * (along[:, 1:] + along[:, :-1]) - exact) ** 2 @ density / density.sum()
        error = float(np.sqrt(number @ square / number.sum()) / samples.values.std())
        if best is not None and error > _WORTHWHILE * best.error[0]:
            return best
        best = Table(nodes, table, np.array([error]))
        if given is not None:
            return best
        spacing *= 0.5
        nodes = samples.nodes(spacing)
        if error <= _GOOD_ERROR or spacing < _FINEST or nodes.size > _MAX_NODES:
            return best
