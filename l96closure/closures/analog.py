"""Analogs: psi resampled from the training data where z, and what came before it, were nearly the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Bools, Index
from l96closure.closures import choice
from l96closure.closures.bridge_file import field_variables, fields_from, with_units
from l96closure.closures.parts import Parts, save, told_of
from l96closure.closures.past import known
from l96closure.closures.state import State, begin, following, slow_variables
from l96closure.fields import Fields
from l96closure.series import one_run
from l96closure.training import RULES, read

_FAR = 1e100  # standard deviations, beyond which the square of a distance is no number


@dataclass(frozen=True, eq=False, repr=False)
class Analog:
    """Draws psi from the training samples that are nearest in z, with memory also in the step before.

    Of the ``neighbours`` nearest samples of the sites that learn together (``fields.pool``) one is drawn, each as
    likely as the others; psi is its own, less its mean over the sites where ``fields.conserve`` says so. Several
    targets of a site are those of one sample, so that they go together as in the data. With memory the nearness counts
    the change of z over the coarse step ``dt`` that led to it, and the psi before that step;
    :func:`l96closure.integrate` refuses any other. Without the change of z, psi where z rises would be mixed with psi
    where it falls.

    Conditional resampling in the manner of D. Crommelin and E. Vanden-Eijnden, *Subgrid-scale parameterization with
    conditional Markov chains*, J. Atmos. Sci. 65, 2661-2675 (2008), whose chains know z at both ends of the step, and
    N. Verheul and D. Crommelin, *Data-driven stochastic representations of unresolved features in multiscale models*,
    Commun. Math. Sci. 14, 1213-1236 (2016). They sort the samples into bins; here the nearest are looked up.

    Attributes
    ----------
    fields : names, units and grid of predictors and target.
    neighbour : sites that each site sees (K, W), itself first.
    pool : label of each site (K,), the same for those whose samples one is drawn from.
    neighbours : samples that one is drawn from.
    memory : the change of z over a coarse step and the psi before it count too.
    coordinates : what a sample is found by (M, C), all sites of one time after another: the predictors at the W sites,
        with memory also their change and the previous psi at the site itself.
    coordinate_scale : standard deviation of each in each pool, that it is divided by in the distances (pools, C).
    psi : what is drawn (M, Q).
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    dt : coarse step in model time units it was fitted for, with ``memory`` the only one it is right for.
    """

    fields: Fields
    neighbour: Index
    pool: Index
    neighbours: int
    memory: bool
    coordinates: F64
    coordinate_scale: F64
    psi: F64
    subgrid: str | None = None
    dt: float | None = None
    _trees: list[tuple[Index, Index, Any]] = field(init=False, repr=False, compare=False)

    name, title = "analog", "Analog closure"
    save = save

    def __post_init__(self) -> None:
        samples, targets = len(self.psi), len(self.fields.targets)
        if samples % self.fields.sites or self.psi.shape != (samples, targets):
            checks.reject(
                "psi.shape", self.psi.shape, f"{targets} targets of a multiple of the {self.fields.sites} sites"
            )
        most = samples // self.fields.sites * int(np.unique(self.pool, return_counts=True)[1].min())
        if checks.integer("neighbours", self.neighbours, 1) > most:
            checks.reject("neighbours", self.neighbours, f"at most the {most} samples of a site and those alike")
        predictors = len(self.fields.predictors)
        seen = predictors * self.neighbour.shape[1] + (predictors + targets if self.memory else 0)
        if self.coordinates.shape != (samples, seen):
            checks.reject("coordinates.shape", self.coordinates.shape, f"({samples}, {seen})")
        if self.coordinate_scale.shape != (int(self.pool.max()) + 1, seen):
            checks.reject(
                "coordinate_scale.shape", self.coordinate_scale.shape, f"({int(self.pool.max()) + 1}, {seen})"
            )
        object.__setattr__(self, "_trees", self._trees_of(seen))

    def __repr__(self) -> str:
        targets = ", ".join(self.fields.targets)
        return f"<Analog: {targets} of one of the {self.neighbours} nearest of {len(self.psi)} samples>"

    @property
    def coarse_dt(self) -> float | None:
        """The one coarse step it is right for; None without memory."""
        return self.dt if self.memory else None

    @property
    def past_steps(self) -> int:
        """Steps before now that a history has to have."""
        return int(self.memory)

    @classmethod
    @checks.arguments(
        **RULES,
        fields=partial(checks.instance, of=Fields),
        neighbours=partial(checks.integer, minimum=1),
        memory=checks.boolean,
    )
    def fit(
        cls,
        truth: xr.Dataset,
        fields: Fields = Fields(radius=0, lags=()),  # noqa: B008 - a value, never changed
        neighbours: int = 10,
        memory: bool = True,
        dt: float | None = None,
    ) -> Analog:
        """Store the samples.

        Parameters
        ----------
        truth, fields : as for :meth:`l96closure.closures.SchrodingerBridge.fit`; a ``radius`` left open is 0, and no
            lags are seen, but for what ``memory`` says.
        neighbours : samples that one is drawn from, >= 1.
        memory : draw given the change of z over the last step and the previous psi too.
        dt : as for :meth:`l96closure.closures.SchrodingerBridge.fit`.

        Returns
        -------
        Analog

        Raises
        ------
        ValueError
            An argument is out of its range, ``truth`` is no usable training data, or, with ``memory``, its time is not
            uniform, too short for ``dt`` or has no interval that divides it, or ``truth`` looks like several runs
            (:func:`l96closure.series.one_run`).
        """
        if fields.lags:
            checks.reject("lags", fields.lags, "(): analogs see the present and, with memory, the step before")
        if fields.previous:
            checks.reject("previous", True, "False: analogs know the psi of the step before by memory")
        if isinstance(fields.conserve, Mapping):
            checks.reject("conserve", sorted(fields.conserve), "true, false or None for analogs")
        record = read(truth, replace(fields, radius=fields.radius or 0, lags=()), dt, ordered=memory, grouped=True)
        if memory and record.steps.dt is None:
            checks.reject("truth.coords", sorted(map(str, truth.coords)), "with the times that memory is about")
        neighbour = choice.of(record, record.fields.radius or 0, ()).neighbour
        first = int(memory)
        if min(map(len, record.target)) <= first:
            checks.reject("truth.sizes['time']", min(map(len, record.target)), "two times or more, for memory")
        seen, drawn = [], []
        for z, of in zip(record.series, record.target, strict=True):
            psi = of.reshape(len(of), -1, z.shape[2])
            coordinates = [_seen(z[first:], neighbour)]
            if memory:
                both = np.moveaxis(np.concatenate([z, psi], axis=1), 1, 0)
                for name, values in zip(record.fields.names, both, strict=True):
                    one_run(f"truth.{name}", values)
                coordinates += [np.moveaxis(part, 1, 2) for part in (z[1:] - z[:-1], psi[:-1])]
            seen.append(np.concatenate(coordinates, axis=2).reshape(-1, sum(one.shape[2] for one in coordinates)))
            drawn.append(np.moveaxis(psi[first:], 1, 2).reshape(-1, psi.shape[1]))
        samples, pools = np.concatenate(seen), record.fields.pools
        labels, places = range(int(pools.max()) + 1), neighbour.shape[1]
        scale = np.stack([_scales(record.series, samples, pools == pool, places) for pool in labels])
        if not (scale > 0.0).any(axis=0).all():
            checks.reject("change of truth.z", 0.0, "an array of at least two distinct values")
        scale[scale == 0.0] = 1.0  # of what never changes at some sites
        parts = neighbour, pools, neighbours, memory, samples, scale, np.concatenate(drawn)
        return cls(record.fields, *parts, record.steps.subgrid, record.steps.dt)

    def init(
        self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0, history: xr.Dataset | None = None
    ) -> State:
        """Take what came before z from a history, or draw it from the samples that are nearest in z.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several.
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.
        history : what is known of the past, see :func:`l96closure.history`.

        Returns
        -------
        A state that remembers psi and the predictors of the step before (member, K, Q + P), or nothing without memory.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``history`` does not fit it.
        """
        now = self._now(z)
        state = begin(len(now), rng, member)
        if not self.memory:
            return state
        if history is not None:
            values, psi = known(history, self, len(now), 1)
            both = np.concatenate([psi[:, 1].reshape(len(now), -1, self.fields.sites), values[:, 1]], axis=1)
            return state._replace(memory=np.moveaxis(both, 1, 2).copy())
        places = self.neighbour.shape[1] * now.shape[1]
        nearest = self._drawn(self._trees_of(places), _seen(now, self.neighbour), state)
        drawn = self.coordinates[nearest][:, :, places:]
        before = np.moveaxis(now, 1, 2) - drawn[:, :, : now.shape[1]]
        return state._replace(memory=np.concatenate([drawn[:, :, now.shape[1] :], before], axis=2))

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi from the samples that are nearest.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several, finite.
        state : from :meth:`init` or the previous step.

        Returns
        -------
        psi (member, K), or (member, Q, K) of several targets, in the units of the training data, NaN outside of the
        mask, and the next state.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``state`` does not fit it.
        """
        now, targets = self._now(z), len(self.fields.targets)
        own = np.moveaxis(now, 1, 2)
        state = following(state, len(now), *(own.shape[1], targets + own.shape[2]) if self.memory else (0,))
        seen = _seen(now, self.neighbour)
        if self.memory:
            seen = np.concatenate([seen, own - state.memory[:, :, targets:], state.memory[:, :, :targets]], axis=2)
        psi = self.psi[self._drawn(self._trees, seen, state)]
        psi = psi - psi.mean(axis=1, keepdims=True) if self.fields.conserve else psi
        state = state._replace(memory=np.concatenate([psi, own], axis=2)) if self.memory else state
        on_grid = self.fields.placed(np.moveaxis(psi, 2, 1).copy())
        return on_grid.reshape(len(now), *self.fields.output_shape), state

    def _now(self, z: F64) -> F64:
        z = slow_variables(z, self.fields.input_shape)
        return self.fields.taken(z.reshape(len(z), len(self.fields.predictors), self.fields.size))

    def _trees_of(self, seen: int) -> list[tuple[Index, Index, Any]]:
        """Return the sites of each pool, their samples, and a tree of the first ``seen`` coordinates of these."""
        pool_of, found = np.resize(self.pool, len(self.psi)), []
        for label, scale in enumerate(self.coordinate_scale[:, :seen]):
            samples = np.flatnonzero(pool_of == label)
            tree = scipy.spatial.cKDTree(self.coordinates[samples, :seen] / scale)
            found.append((np.flatnonzero(self.pool == label), samples, tree))
        return found

    def _drawn(self, trees: list[tuple[Index, Index, Any]], seen: F64, state: State) -> Index:
        """Draw one of the samples nearest to what each site sees (member, K, coordinate); its number (member, K)."""
        points = (seen / self.coordinate_scale[self.pool, : seen.shape[2]]).clip(-_FAR, _FAR)
        points = checks.finite_array("z", points, 3)
        near = np.empty((*points.shape[:2], self.neighbours), np.intp)
        for sites, samples, tree in trees:
            near[:, sites] = samples[tree.query(points[:, sites], k=range(1, self.neighbours + 1))[1]]
        chosen = (self.neighbours * state.uniforms(1, self.fields.sites)[0]).astype(np.intp)
        return np.take_along_axis(near, chosen[:, :, None], axis=2)[:, :, 0]

    def to_dataset(self) -> xr.Dataset:
        """Return everything :meth:`from_dataset` needs, and nothing that can be derived from it.

        Returns
        -------
        Dataset, what the file of the closure holds.
        """
        dataset = (
            field_variables(self.fields)
            .assign(
                neighbour=(("site", "place"), self.neighbour.astype(np.int32)),
                pool_of_site=("site", self.pool.astype(np.int32)),
                coordinates=(("sample", "coordinate"), self.coordinates),
                coordinate_scale=(("pool", "coordinate"), self.coordinate_scale),
                psi=(("sample", "target"), self.psi),
            )
            .assign_attrs(told_of(self), neighbours=self.neighbours, memory=np.int8(self.memory))
        )
        return with_units(dataset, self.fields)

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Analog:
        """Make the closure of what :meth:`to_dataset` gave.

        Parameters
        ----------
        dataset : from :meth:`to_dataset`, perhaps by way of a file.

        Returns
        -------
        The closure, whose steps have the same bits.

        Raises
        ------
        ValueError
            Something is missing or wrong.
        """
        parts = Parts(dataset)
        samples, fields = parts.size("sample"), fields_from(parts)
        memory, found = bool(parts.integer("memory", 0, below=2)), parts.origin()
        if memory and found["dt"] is None:
            checks.reject("dt", None, "the coarse step of the memory")
        return cls(
            fields,
            parts.neighbours(fields.sites),
            parts.indices("pool_of_site", "site", low=0, high=fields.sites - 1),
            parts.integer("neighbours", 1, below=samples + 1),
            memory,
            parts.array("coordinates", "sample", "coordinate"),
            parts.array("coordinate_scale", "pool", "coordinate", positive=True),
            parts.array("psi", "sample", "target"),
            **found,
        )


def _scales(series: Sequence[F64], samples: F64, own: Bools, places: int) -> F64:
    """Return the standard deviation of each coordinate of samples (M, C) of some sites (K,), at all places one of z."""
    of_z = [np.std(np.concatenate([one[:, p, own] for one in series])) for p in range(series[0].shape[1])]
    rest = samples[np.resize(own, len(samples)), len(of_z) * places :].std(axis=0)
    return np.concatenate([np.repeat(of_z, places), rest])


def _seen(z: F64, neighbour: Index) -> F64:
    """Return the predictors (n, P, K) at the sites that each site sees (n, K, P W)."""
    seen = np.moveaxis(z[:, :, neighbour], 1, 2)
    return seen.reshape(*seen.shape[:2], -1)
