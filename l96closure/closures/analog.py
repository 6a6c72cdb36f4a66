"""Analogs: psi resampled from the training data where z, and what came before it, were nearly the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import bridge, checks
from l96closure.closures import origin
from l96closure.closures.files import save
from l96closure.closures.inputs import slow_variables
from l96closure.closures.parts import Parts
from l96closure.closures.state import State, begin, following
from l96closure.series import one_run, time_step
from l96closure.training import prepare

__all__ = ["Analog"]

F64 = npt.NDArray[np.float64]

_FAR = 1e100  # standard deviations, beyond which the square of a distance is no number


@dataclass(frozen=True, eq=False)
class Analog:
    """Draws psi from the training samples that are nearest in z, with memory also in the step before; sites pooled.

    Of the ``neighbours`` nearest samples one is drawn, each as likely as the others; psi is its own, so it never leaves
    the range of the training data. With memory the nearness counts the change of z over the coarse step ``dt``
    that led to it, and the psi before that step; :func:`l96closure.integrate` refuses any other. Without the change of
    z, psi where z rises would be mixed with psi where it falls.

    Conditional resampling in the manner of D. Crommelin and E. Vanden-Eijnden, *Subgrid-scale parameterization with
    conditional Markov chains*, J. Atmos. Sci. 65, 2661-2675 (2008), whose chains know z at both ends of the step, and
    N. Verheul and D. Crommelin, *Data-driven stochastic representations of unresolved features in multiscale models*,
    Commun. Math. Sci. 14, 1213-1236 (2016). They sort the samples into bins; here the nearest are looked up.

    Attributes
    ----------
    K : number of slow variables it was fitted for.
    radius : a site sees z of so many neighbours on either side.
    neighbours : samples that one is drawn from.
    memory : the change of z over a coarse step and the psi before it count too.
    coordinates : what a sample is found by (M, C): z at the 2 ``radius`` + 1 sites, with memory also the change of z
        and the previous psi at the site itself.
    coordinate_scale : standard deviation that each is divided by in the distances (C,).
    psi : what is drawn (M,).
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    dt : coarse step in model time units it was fitted for, with ``memory`` the only one it is right for.
    """

    K: int
    radius: int
    neighbours: int
    memory: bool
    coordinates: F64
    coordinate_scale: F64
    psi: F64
    subgrid: str | None = None
    dt: float | None = None
    _tree: Any = field(init=False, repr=False, compare=False)
    _sites: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    name, title = "analog", "Analog closure"
    save = save

    def __post_init__(self) -> None:
        if checks.integer("neighbours", self.neighbours, 1) > self.psi.size:
            checks.reject("neighbours", self.neighbours, f"at most the {self.psi.size} samples")
        seen = 2 * self.radius + (3 if self.memory else 1)
        if self.coordinates.shape != (self.psi.size, seen):
            checks.reject("coordinates.shape", self.coordinates.shape, f"({self.psi.size}, {seen})")
        object.__setattr__(self, "_sites", np.stack(bridge.periodic(self.K, self.radius)))
        object.__setattr__(self, "_tree", scipy.spatial.cKDTree(self.coordinates / self.coordinate_scale))

    @property
    def coarse_dt(self) -> float | None:
        """The one coarse step it is right for; None without memory."""
        return self.dt if self.memory else None

    @classmethod
    @checks.arguments(
        truth=checks.xarray_dataset,
        radius=partial(checks.integer, minimum=0),
        neighbours=partial(checks.integer, minimum=1),
        memory=checks.boolean,
        step=checks.optional(partial(checks.number, above=0.0)),
    )
    def fit(
        cls,
        truth: xr.Dataset,
        radius: int = 0,
        neighbours: int = 10,
        memory: bool = True,
        step: float | None = None,
    ) -> Analog:
        """Store the samples.

        Parameters
        ----------
        truth : Dataset with z(time, k) and psi(time, k), from a system's ``simulate``.
        radius : a site sees z of so many neighbours on either side; 2 ``radius`` + 1 <= K.
        neighbours : samples that one is drawn from, >= 1.
        memory : draw given the change of z and the previous psi too.
        step : coarse step the closure is to be used with, in the unit of ``truth``'s time, read with ``memory`` alone:
            a whole multiple of the interval of ``truth``; None is that interval.

        Raises
        ------
        ValueError
            An argument is out of its range, ``truth`` is no usable training data, or, with ``memory``, its time is not
            uniform, too short for ``step`` or has no interval that divides it, or ``truth`` looks like several runs
            (:func:`l96closure.series.one_run`).
        """
        data = prepare(truth)
        K = data.fields.sites
        z, psi = np.split(data.samples, 2, axis=1)
        lag, step = _lag(truth, step) if memory else (0, step)
        seen = [z[lag:, np.stack(bridge.periodic(K, radius))].reshape(-1, 2 * radius + 1)]
        scale = [data.scale[0]] * seen[0].shape[1]
        if memory:
            one_run("truth.z", z)
            one_run("truth.psi", psi)
            change = z[lag:] - z[:-lag]
            if np.ptp(change) == 0.0:
                checks.reject("change of truth.z", float(change[0, 0]), "an array of at least two distinct values")
            seen += [change.reshape(-1, 1), psi[:-lag].reshape(-1, 1)]
            scale += [float(change.std()), data.scale[-1]]
        learned = np.hstack(seen), np.array(scale), psi[lag:].ravel()
        return cls(K, radius, neighbours, memory, *learned, **origin.of(truth, step))

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        """Draw what came before z from the samples that are nearest in z.

        Parameters
        ----------
        z : slow variables (member, K).
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.

        Returns
        -------
        A state that remembers psi and z of the step before (member, K, 2), or nothing without memory.

        Raises
        ------
        ValueError
            ``z`` is not (member, K) for the K the closure was fitted for.
        """
        z = slow_variables(z, (self.K,))
        state = begin(len(z), rng, member)
        if not self.memory:
            return state
        of_z = slice(self._sites.shape[1])
        scale = self.coordinate_scale[of_z]
        tree = scipy.spatial.cKDTree(self.coordinates[:, of_z] / scale)
        drawn = self._drawn(tree, z[:, self._sites] / scale, state)
        change, previous = np.moveaxis(self.coordinates[drawn, -2:], -1, 0)
        return state._replace(memory=np.stack([previous, z - change], axis=2))

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi from the samples that are nearest.

        Parameters
        ----------
        z : slow variables (member, K), finite.
        state : from :meth:`init` or the previous step.

        Returns
        -------
        psi (member, K) in units of z per model time unit, and the next state.

        Raises
        ------
        ValueError
            ``z`` is not (member, K) for the K the closure was fitted for, or ``state`` does not fit it.
        """
        z = slow_variables(z, (self.K,))
        state = following(state, len(z), *(self.K, 2) if self.memory else (0,))
        seen = z[:, self._sites]
        if self.memory:
            before = state.memory
            seen = np.concatenate([seen, (z - before[:, :, 1])[:, :, None], before[:, :, :1]], axis=2)
        psi: F64 = self.psi[self._drawn(self._tree, seen / self.coordinate_scale, state)]
        return psi, state._replace(memory=np.stack([psi, z], axis=2)) if self.memory else state

    def _drawn(self, tree: Any, points: F64, state: State) -> npt.NDArray[np.intp]:
        """Draw one of the samples nearest to each of the points (member, K, coordinate); its number (member, K)."""
        points = checks.finite_array("z", points.clip(-_FAR, _FAR), 3)
        _, near = tree.query(points, k=range(1, self.neighbours + 1))
        chosen = (self.neighbours * state.uniforms(1, self.K)[0]).astype(np.intp)
        drawn: npt.NDArray[np.intp] = np.take_along_axis(near, chosen[:, :, None], axis=2)[:, :, 0]
        return drawn

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs, and nothing that can be derived from it."""
        return xr.Dataset(
            {
                "coordinates": (("sample", "coordinate"), self.coordinates),
                "coordinate_scale": ("coordinate", self.coordinate_scale),
                "psi": ("sample", self.psi),
            },
            attrs={
                "closure": self.name,
                "K": self.K,
                "radius": self.radius,
                "neighbours": self.neighbours,
                "memory": np.int8(self.memory),
                **origin.attributes(self),
            },
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Analog:
        """Inverse of :meth:`to_dataset`; raises ``ValueError`` when something is missing or wrong."""
        parts = Parts(dataset)
        samples = parts.size("sample")
        K = parts.integer("K", 1, below=samples + 1)  # every site has given samples
        memory, found = bool(parts.integer("memory", 0, below=2)), origin.read(parts)
        if memory and found["dt"] is None:
            checks.reject("dt", None, "the coarse step of the memory")
        return cls(
            K,
            parts.integer("radius", 0, below=K),
            parts.integer("neighbours", 1, below=samples + 1),
            memory,
            parts.array("coordinates", "sample", "coordinate"),
            parts.array("coordinate_scale", "coordinate", positive=True),
            parts.array("psi", "sample"),
            **found,
        )


def _lag(truth: xr.Dataset, step: float | None) -> tuple[int, float]:
    """Return the coarse step in intervals of ``truth``, and in the unit of its time."""
    interval = time_step("truth", truth)
    step = interval if step is None else step
    lag = round(step / interval)
    if lag < 1 or not np.isclose(lag * interval, step, rtol=1e-6, atol=0.0):
        checks.reject("step", step, f"a whole multiple of {interval:g}, the interval of truth")
    if lag >= truth.sizes["time"]:
        checks.reject("step", step, f"less than {truth.sizes['time'] * interval:g}, the length of truth")
    return lag, step
