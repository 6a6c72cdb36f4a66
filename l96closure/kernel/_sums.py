"""The sums of a kernel over weighted samples, laid out once for many queries: moments, row sums, concentration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from l96closure import checks
from l96closure.arrays import F64, Array, Bools, Index
from l96closure.compiled import shared
from l96closure.kernel import _groups, _row_sums
from l96closure.kernel._groups import Groups
from l96closure.kernel._layout import DISTANCE, DOT_PRODUCT, VARIABLE, Layout
from l96closure.kernel._moments import moments_of_all, suits_lanes
from l96closure.kernel._samples import Kernel, WeightedSamples
from l96closure.vector import LANES

# Kernel evaluations that are worth a second thread: some tenths of a millisecond, where to share out a call costs 0.06.
_PARALLEL_WORK = 2_000_000
_TREE_SAMPLES = 2048  # from which on it is tried whether some of them can be left out
_TRIALS = 32


class KernelSums(Layout):
    """Weighted samples and queries, laid out for compiled loops, and the sums that are asked of them.

    It is a tuple of arrays, so that compiled loops take it as it is; its fields are the business of this package.
    """

    __slots__ = ()

    @classmethod
    def of(
        cls, several: Sequence[WeightedSamples], kernel: Kernel, head: Index, gather: Index, targets: Index
    ) -> KernelSums:
        """Lay sample sets and queries out.

        Parameters
        ----------
        several : sample sets, of one size.
        kernel : of the sums.
        head : which of them each query reads (P,).
        gather : components of the state that are its coordinates (P, R), padded.
        targets : components of the state whose moments it gives (P, C).

        Raises
        ------
        ValueError
            There are fewer samples than ``kernel.nearest`` asks for.
        """
        kind = kernel.kind
        tables = [_table(one, kernel) for one in several]
        grouped = [_groups_of(t, np.exp(one.log_v), kernel) for t, one in zip(tables, several, strict=True)]
        rows = max(table["table"].shape[0] for table in tables)
        table = _stack([t["table"] for t in tables], rows)
        squares = np.stack([t["squares"] for t in tables])
        size = np.array([one.coordinates.shape[1] for one in several], np.intp)
        log_v = np.stack([one.log_v for one in several])
        weight = np.ones_like(log_v) if kind == DOT_PRODUCT else np.exp(log_v)
        rho, rho_unit = np.empty((len(tables), 0)), np.ones(len(tables))
        if kind == VARIABLE:
            if kernel.nearest > log_v.shape[1]:
                checks.reject("nearest", kernel.nearest, f"at most the number of samples, {log_v.shape[1]}")
            squared = np.stack(
                [_row_sums.nearest_squared(t["table"][:s], kernel.nearest) for t, s in zip(tables, size, strict=True)]
            )
            least = 1e-12 * squared.mean(axis=1, keepdims=True) + np.finfo(float).tiny  # coinciding samples
            squared = np.maximum(squared, least)
            rho_unit = np.exp(np.log(squared).mean(axis=1))
            rho = squared / rho_unit[:, None]
        laid_out = cls(
            table=table,
            squares=squares,
            weight=weight,
            groups=_groups.joined(grouped, rows),
            centre=_stack([t["centre"] for t in tables], rows),
            factor=_stack([t["factor"] for t in tables], rows),
            size=size,
            value_rows=np.stack([t["value_rows"] for t in tables]),
            head=np.ascontiguousarray(head, np.intp),
            gather=np.ascontiguousarray(gather, np.intp),
            targets=np.ascontiguousarray(targets, np.intp),
            kind=kind,
            offset=log_v / np.log(2.0) if kind == DOT_PRODUCT else np.empty((len(tables), 0)),
            rho=rho,
            rho_unit=rho_unit,
            nearest=kernel.nearest,
        )
        if kernel.sums == "auto" and laid_out.groups.rtol.any() and not laid_out._pays():
            laid_out.groups.rtol[:] = 0.0
        return laid_out

    def of_queries(self, kept: Bools) -> KernelSums:
        """Keep some of the queries."""
        return self._replace(head=self.head[kept], gather=self.gather[kept], targets=self.targets[kept])

    @property
    def precisions(self) -> tuple[bool | None, ...]:
        """What a compiled loop is given as ``double``, in turn, until no query is left (:func:`moments_of`)."""
        return (None, True) if self.kind == DISTANCE else (True,)

    @property
    def grain(self) -> int:
        """How many queries are summed side by side, fewer taking as long; a function of the layout alone."""
        return LANES if suits_lanes(self) else 1

    def in_parallel(self, n: int) -> bool:
        """Whether ``n`` states, or steps of states, are enough work for more than one thread; of the work alone."""
        return bool(n * self.head.size * self.weight.shape[1] >= _PARALLEL_WORK)

    def moments(self, x: F64, order: int, mean: F64, variance: F64) -> int:
        """Conditional mean (``order`` 1) and variance (2) of every query's targets, for each state x (n, d).

        Parameters
        ----------
        x : states (n, d).
        order : 1 or 2.
        mean, variance : where the moments are written (n, d), in the places of the targets.

        Returns
        -------
        The number of kernel evaluations.
        """
        work, tasks = 0, x.shape[0] * self.head.size
        for double in self.precisions:
            arguments = x, self, order, mean, variance, double
            several = self.in_parallel(len(x))
            done = (
                shared(moments_of_all, tasks, *arguments, grain=self.grain)
                if several
                else [moments_of_all(*arguments, 0, tasks)]
            )
            work += sum(more for more, _ in done)
            if not any(left for _, left in done):
                break
        return work

    def moments_given(self, coordinates: F64, h: int, order: int = 2) -> tuple[F64, F64, int]:
        """Mean and variance (n, C) of the values of sample set ``h`` given its coordinates (n, size); evaluations."""
        size, values = self.size[h], self.targets.shape[1]
        x = np.zeros((len(coordinates), size + values))
        x[:, :size] = coordinates
        mean, variance = np.empty_like(x), np.empty_like(x)
        work = self._of_one(h).moments(x, order, mean, variance)
        return mean[:, size:], variance[:, size:], work

    def concentration(self, x: F64) -> F64:
        """sum_j (w^(j))^2 of the probability vector behind every query (n, P), for states x (n, d)."""
        out = np.empty((len(x), self.head.size))
        shared(_row_sums.weight_concentration, out.size, x, self, out)
        return out

    def concentration_given(self, coordinates: F64, h: int) -> F64:
        """Return :meth:`concentration` (n,) of sample set ``h`` given its coordinates (n, size)."""
        return self._of_one(h).concentration(coordinates)[:, 0]

    def log_row_sums(self, log_v: F64) -> F64:
        """Log (T v)_j for every sample j of the first sample set (M,), with the weights given, for any kernel."""
        weighted = self._replace(
            **{"offset": log_v[None] / np.log(2.0)} if self.kind == DOT_PRODUCT else {"weight": np.exp(log_v)[None]}
        )
        out = np.empty(log_v.size)
        shared(_row_sums.log_row_sums, out.size, weighted, 0, out)
        return out * np.log(2.0)

    def _of_one(self, h: int) -> KernelSums:
        """Keep one query of sample set ``h``, of states made of its coordinates and then its values."""
        here = np.arange(self.gather.shape[1])[None]
        values = np.intp(self.size[h]) + np.arange(self.targets.shape[1])[None]
        return self._replace(head=np.full(1, h, np.intp), gather=here, targets=values)

    def _pays(self) -> bool:
        """Tell whether the tolerance of the first dictionary saves half of the kernel evaluations or more.

        It is asked of states as the sampler meets them: samples, evenly spaced in order, moved by the noise
        sqrt(2 epsilon), which is sqrt(log2(e) / 2) in kernel units.
        """
        samples, size = self.weight.shape[1], self.size[0]
        some = np.linspace(0, samples - 1, _TRIALS).astype(np.intp)
        noise = np.sqrt(0.5 * math.log2(math.e)) * np.random.default_rng(0).standard_normal((_TRIALS, size))
        x = (self.table[0, :size, some] + noise) / self.factor[0, :size] + self.centre[0, :size]
        return bool(self.moments_given(x, 0, order=1)[2] < 0.5 * samples * _TRIALS)


def _groups_of(table: dict[str, Any], weight: F64, kernel: Kernel) -> Groups:
    """Lay the samples out for the sums in single precision, with a tolerance where leaving some out may pay."""
    rows, squares, size, values = table["table"], table["squares"], table["size"], table["value_rows"]
    if kernel.kind != DISTANCE:  # these are summed in double precision
        return _groups.group(rows[:, :0], squares[:, :0], weight[:0], size, values)
    many = weight.size >= _TREE_SAMPLES if kernel.sums == "auto" else kernel.sums == "tree"
    if many and values.size and size:
        return _groups.group(rows, squares, weight, size, values, kernel.rtol, recombine=table["spread"] is None)
    return _groups.group(rows, squares, weight, size, values)


def _table(samples: WeightedSamples, kernel: Kernel) -> dict[str, Any]:
    """Rows of coordinates, then of those values that are no coordinate, centred and in kernel units."""
    coordinates, values = samples.coordinates, samples.values
    rows, scale, value_rows = list(coordinates.T), list(samples.coordinate_scale), []
    for value, value_scale in zip(values.T, samples.value_scale, strict=True):
        same = [r for r in range(coordinates.shape[1]) if np.array_equal(coordinates[:, r], value)]
        if not same:
            rows.append(value)
            scale.append(value_scale)
        value_rows.append(same[0] if same else len(rows) - 1)
    physical = np.array(rows).reshape(len(rows), coordinates.shape[0])
    centre, factor = physical.mean(axis=1), kernel.factor(np.array(scale))
    table = (physical - centre[:, None]) * factor[:, None]
    squares = table[value_rows] ** 2
    if samples.spread is not None:
        squares += samples.spread.T * factor[value_rows][:, None] ** 2
    return {
        "size": coordinates.shape[1],
        "spread": samples.spread,
        "table": table,
        "squares": squares,
        "centre": centre,
        "factor": factor,
        "value_rows": np.array(value_rows, np.intp),
    }


def _stack(arrays: Sequence[Array], rows: int) -> Array:
    """Stack arrays along a new first axis, their first axes padded with zeros to ``rows``."""
    return np.stack([np.pad(a, [(0, rows - a.shape[0])] + [(0, 0)] * (a.ndim - 1)) for a in arrays])
