"""Training data as arrays, one segment for each independent run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.fields import Fields
from l96closure.series import no_joint

_CONSTANT = 1e-12  # spread of a predictor at a site beside its size, that is rounding


class Steps(NamedTuple):
    """What a closure keeps of the times of its data.

    Attributes
    ----------
    every : intervals of the data from one step of the closure to the next.
    dt : that step; None where the data have no times, or they are not uniform and nothing hangs on them.
    subgrid : definition of psi, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    """

    every: int
    dt: float | None
    subgrid: str | None


class Group(NamedTuple):
    """Cells that learn together: one target at some sites.

    Attributes
    ----------
    target : its number, q.
    sites : at which (n,).
    cells : their numbers among the cells of all targets (n,), q K + k.
    """

    target: int
    sites: Index
    cells: Index


class Scaling(NamedTuple):
    """Scales of sites that are not alike: a closure sees (z - ``centre``) / ``spread``.

    Attributes
    ----------
    centre, spread : mean and standard deviation of each predictor at each site (P, K), > 0, the same for sites that
        learn together.
    """

    centre: F64
    spread: F64

    @classmethod
    def of(cls, series: Sequence[F64], labels: Index) -> Scaling:
        """Take them from data.

        Parameters
        ----------
        series : predictors of each segment (time, P, K).
        labels : of each site (K,), the same for those that learn together.

        Returns
        -------
        Scaling
        """
        centre, spread = np.empty((2, *series[0].shape[1:]))
        for label in range(int(labels.max()) + 1):
            values = np.concatenate([one[:, :, labels == label] for one in series])
            centre[:, labels == label] = values.mean(axis=(0, 2))[:, None]
            spread[:, labels == label] = values.std(axis=(0, 2))[:, None]
        return cls(centre, np.where(spread > _CONSTANT * np.abs(centre), spread, 1.0))

    def __call__(self, z: F64, first: int = 0) -> F64:
        """Scale variables.

        Parameters
        ----------
        z : some of the P variables, one after the other (..., V, K).
        first : number of the first of them.

        Returns
        -------
        (..., V, K)
        """
        some = slice(first, first + z.shape[-2])
        return (z - self.centre[some]) / self.spread[some]


@dataclass(frozen=True, eq=False)
class Record:
    """Training data as arrays, at the steps of the closure.

    Attributes
    ----------
    fields : names, units and grid.
    series : predictors of each segment (time, P, K), with the targets of steps before after them, if they are seen.
    target : of each segment (time, K), or (time, Q, K) of several targets.
    steps : time between two values, and the definition of psi.
    group : the target and the sites that ``target`` (time, sites) is of; None is all of them.
    scaling : what the predictors have been scaled by already; None where all sites have one scale.
    """

    fields: Fields
    series: list[F64]
    target: list[F64]
    steps: Steps
    group: Group | None = None
    scaling: Scaling | None = None

    def scales(self) -> F64:
        """Climatological standard deviation of each predictor (P,), one for all sites (Section 5.1)."""
        return np.array([np.std(np.concatenate([one[:, p] for one in self.series])) for p in range(self.predictors)])

    @property
    def predictors(self) -> int:
        """Number of all that a site sees, P."""
        return len(self.fields.seen)

    @property
    def groups(self) -> list[Group]:
        """What learns together: each target at the sites that pool."""
        labels = self.fields.groups
        sites = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
        return [Group(q, one, q * labels.size + one) for q in range(len(self.fields.targets)) for one in sites]

    @property
    def whole(self) -> list[Group]:
        """Each target at all sites: what learns together where a law takes the sites for alike."""
        every = np.arange(self.fields.sites)
        return [Group(q, every, q * every.size + every) for q in range(len(self.fields.targets))]

    def with_previous(self, steps: int | None = None) -> Record:
        """Return the record with the targets of steps before among the predictors, where these are seen.

        Parameters
        ----------
        steps : at how many steps before now they are; None is what the fields say.
        """
        if steps is not None:
            return replace(self, fields=replace(self.fields, previous=steps)).with_previous()
        n = self.fields.before
        if not n:
            return self
        series, target = [], []
        for one, of in zip(self.series, self.target, strict=True):
            values = of.reshape(len(of), -1, one.shape[2])
            before = [values[n - step : len(values) - step] for step in range(1, n + 1)]
            series.append(np.concatenate([one[n:], *before], axis=1))
            target.append(of[n:])
        return replace(self, series=series, target=target)

    def scaled(self) -> Record:
        """Return the record with a scale for each group of sites, if there are several."""
        labels = self.fields.groups
        if not labels.any():
            return self
        P, number = len(self.fields.predictors), np.arange(self.predictors)
        number[P:] = P + (number[P:] - P) % len(self.fields.targets)  # psi has one scale, however long ago it was
        kept = [one[:, : self.fields.remembered] for one in self.series]
        scaling = Scaling(*(values[number] for values in Scaling.of(kept, labels)))
        return replace(self, series=[scaling(one) for one in self.series], scaling=scaling)

    def of(self, group: Group) -> Record:
        """Return the record of the cells of a group."""
        cells = [one.reshape(len(one), -1)[:, group.cells] for one in self.target]
        return replace(self, target=cells, group=group)

    @property
    def sites(self) -> Index:
        """Sites that ``target`` is of."""
        return np.arange(self.fields.sites) if self.group is None else self.group.sites

    @property
    def target_name(self) -> str:
        """Name of the target."""
        return self.fields.targets[0 if self.group is None else self.group.target]

    @property
    def pools(self) -> Index:
        """Label of each of the sites, the same for those that share a law."""
        return np.unique(self.fields.pools[self.sites], return_inverse=True)[1].reshape(-1)

    def own(self, predictor: int) -> list[F64]:
        """Return a predictor at the sites, of each segment (time, sites)."""
        whole = self.group is None or self.group.sites.size == self.fields.sites
        return [one[:, predictor] if whole else one[:, predictor, self.sites] for one in self.series]

    @property
    def unit(self) -> float:
        """Time between two values, 1 where the data had no times: what lags count in."""
        return 1.0 if self.steps.dt is None else self.steps.dt

    def in_steps(self, times: Sequence[float]) -> list[int]:
        """Return times as whole numbers of steps; ``ValueError`` where one is none."""
        return [checks.multiple("lags", time, "the closure's step", self.unit) for time in times]

    def split(self) -> tuple[Record, xr.Dataset]:
        """Return the first three quarters of the longest segment and all others, and the last quarter as a Dataset."""
        longest = max(range(len(self.series)), key=lambda number: len(self.series[number]))
        end = 3 * len(self.series[longest]) // 4
        series, target = list(self.series), list(self.target)
        predictors = series[longest][end:]
        targets = target[longest][end:].reshape(len(predictors), -1, self.fields.sites)
        late = {
            name: (("time", *self.fields.dim), self.fields.placed(values).reshape(-1, *self.fields.shape))
            for name, values in zip(
                self.fields.names, np.moveaxis(np.concatenate([predictors, targets], axis=1), 1, 0), strict=True
            )
        }
        times = np.arange(len(predictors)) * self.unit
        series[longest], target[longest] = series[longest][:end], target[longest][:end]
        return replace(self, series=series, target=target), xr.Dataset(late, {"time": times})

    def one_run_each(self) -> None:
        """Refuse segments in which one run seems to follow another, see :func:`l96closure.series.no_joint`."""
        for one, of in zip(self.series, self.target, strict=True):
            fields = [*np.moveaxis(one, 1, 0), *np.moveaxis(of.reshape(len(of), -1, one.shape[2]), 1, 0)]
            for name, values in zip(self.fields.names, fields, strict=True):
                no_joint(f"truth.{name}", values)
