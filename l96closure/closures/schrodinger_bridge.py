"""The conditional localized Schrödinger bridge sampler as a closure (Section 5.1 of Gottwald & Reich 2024)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks, store
from l96closure.bridge.neighbourhoods import checked
from l96closure.bridge.sampler import CLAMPS, NOISE_METRICS, SCHEMES, SEQUENTIAL
from l96closure.closures import bridge_file
from l96closure.closures.bridge_file import Learned
from l96closure.fields import Fields
from l96closure.training import AdditiveTrend, PolynomialTrend, prepare

__all__ = ["SchrodingerBridge"]

F64 = npt.NDArray[np.float64]
Sites = npt.NDArray[np.intp]


@dataclass(frozen=True)
class SchrodingerBridge:
    """Draws psi ~ p(psi | z) with the conditional localized bridge sampler; made by :meth:`fit` or a saved file.

    Here z stands for the predictors and psi for the target, whatever their names: ``fields`` has them.

    Attributes
    ----------
    fields : names and units of predictors and target, and their grid of K sites; makes z from a Dataset
        (:meth:`~l96closure.fields.Fields.inputs`) and a DataArray from psi (:meth:`~l96closure.fields.Fields.output`).
    trend : polynomial in z that is added back to the bridge's residual, or None.
    fitted : the bridge of the (P + 1) K-dimensional state (P predictors, residual of psi), with moments of the residual
        alone.
    decorrelation_steps : steps of the chain per coarse step, n_c.
    scheme, clamp, noise_metric : see :class:`l96closure.bridge.Chain`.
    conserve : the mean over the sites is taken off every psi.
    """

    fields: Fields
    trend: PolynomialTrend | AdditiveTrend | None
    fitted: bridge.Bridge
    decorrelation_steps: int
    scheme: str
    clamp: str
    noise_metric: str
    conserve: bool = False
    _chain: bridge.Chain = field(init=False, repr=False, compare=False)

    name = "schrodinger_bridge"

    def __post_init__(self) -> None:
        checks.integer("decorrelation_steps", self.decorrelation_steps, 1)
        given = np.arange(self.fitted.d - self.fields.sites)
        chain = bridge.Chain(self.fitted, self.scheme, given, self.clamp, self.noise_metric)
        object.__setattr__(self, "_chain", chain)

    @classmethod
    def fit(
        cls,
        truth: xr.Dataset,
        epsilon: float | str = 0.1,
        radius: int = 0,
        decorrelation_steps: int = 1,
        scheme: str = "conditional_variance",
        clamp: str = "query",
        noise_metric: str = "scaled",
        pooled: bool = True,
        thinning: int = 10,
        centres: int | None = 20_000,
        compressed: int | None = 128,
        trend_degree: int | None = 8,
        tolerance: float = 1e-6,
        seed: int = 0,
        progress: bool = False,
        predictors: str | Sequence[str] = "z",
        target: str = "psi",
        dim: str | Sequence[str] = "k",
        periodic: bool | Sequence[bool] = True,
        neighbourhoods: Sequence[Iterable[int]] | None = None,
        conserve: bool = False,
    ) -> SchrodingerBridge:
        """Learn p(psi | z) from gridded data; the defaults are the settings we recommend for the Lorenz-96 model.

        Parameters
        ----------
        truth : Dataset with predictors and target of dims (time, *``dim``), from :func:`l96closure.simulate` or from
            anywhere else; lazy data are read as :func:`l96closure.training.prepare` says.
        epsilon : bandwidth in the scaled metric, > 0, or ``auto``, see :func:`l96closure.bridge.choose_epsilon`.
        radius : a site sees so many neighbours on either side, along every axis of the grid; 2 ``radius`` + 1 <= the
            size of every periodic axis. Unused with ``neighbourhoods``.
        decorrelation_steps : steps of the chain per coarse step, n_c >= 1.
        scheme, clamp, noise_metric : see :class:`l96closure.bridge.Chain`.
        pooled : one dictionary of the samples of all sites that look the same (translation symmetry) instead of one
            for each site. All do on a periodic grid. Sites so near to an edge that their neighbourhoods are cut pool
            with those at the same distances from the same edges alone, and every dictionary then has as many samples
            as the smallest. Sites with given ``neighbourhoods`` pool where these have one size and the site itself
            stands at one place in them: list them in such an order that one place means one relative neighbour.
        thinning : use every n-th time of ``truth``.
        centres : keep at most so many samples of each dictionary, drawn at random; None keeps all.
        compressed : then compress each to at most so many weighted centres, see :meth:`compress`; None does not.
        trend_degree : degree of the polynomial in z that is removed before the bridge and added back after it; of
            several predictors, of the sum of polynomials in each.
        tolerance : of the Sinkhorn iteration, max |v o (T v) - 1|.
        seed : seed of the draw of the centres and of the clustering.
        progress : show progress bars.
        predictors : name or names of what psi is drawn given.
        target : name of what is drawn.
        dim : dimension of the sites; or several, which are stacked in C order.
        periodic : whether the grid is a ring; or one answer for each of ``dim``. Unused with ``neighbourhoods``.
        neighbourhoods : a set of sites for each site, itself among them, for any other grid (masked, unstructured, on
            a sphere: stack it into one ``dim`` of its sites).
        conserve : take the mean over the sites, which stand for equal volumes, off every psi: for a quantity that the
            unresolved scales move about but do not make. Else its mean drifts by the errors of all sites.

        Raises
        ------
        ValueError
            An argument is out of its range, or ``truth`` is no usable training data.
        """
        checks.integer("decorrelation_steps", decorrelation_steps, 1)  # before the work, not after it
        checks.one_of("scheme", scheme, SCHEMES)
        checks.one_of("clamp", clamp, CLAMPS)
        checks.one_of("noise_metric", noise_metric, NOISE_METRICS)
        for name, most in (("centres", centres), ("compressed", compressed)):
            if most is not None:
                checks.integer(name, most, 2)
        data = prepare(truth, thinning, trend_degree, predictors, target, dim)
        fields = data.fields
        sites = _site_sets(neighbourhoods, fields.shape, radius, periodic)
        pools = _alike(sites) if pooled else np.arange(fields.sites)
        samples = len(data.samples) * int(np.bincount(pools).min())
        if centres is not None and centres < samples:
            samples = centres
        state = data.scale.size
        fitted = bridge.fit(
            data.samples,
            epsilon,
            bridge.in_every_field(state // fields.sites, sites),
            data.scale,
            components=range(state - fields.sites, state),
            shared=pools.tolist(),
            centres=samples,
            rng=checks.integer("seed", seed, 0),
            tolerance=tolerance,
            progress=progress,
        )
        closure = cls(fields, data.trend, fitted, decorrelation_steps, scheme, clamp, noise_metric, conserve)
        return closure if compressed is None or compressed >= samples else closure.compress(compressed, seed)

    def compress(self, centres: int, rng: np.random.Generator | int = 0) -> SchrodingerBridge:
        """Return the same closure with fewer centres, a few percent of its cost a step.

        Parameters
        ----------
        centres : number of weighted centres of each dictionary, see :func:`l96closure.bridge.compress`.
        rng : generator or seed of the clustering.

        Returns
        -------
        A closure whose ``fitted.compression`` tells the error of its conditional mean and variance.

        Raises
        ------
        ValueError
            ``centres`` is out of its range, the closure is compressed already, or its scheme draws samples.
        """
        if self.scheme in SEQUENTIAL:
            checks.reject("scheme", self.scheme, "one that averages; sequential draws need every sample")
        return replace(self, fitted=bridge.compress(self.fitted, centres, rng))

    def init(self, z: F64, rng: np.random.Generator | int) -> F64:
        """Start the chain of each member from the residual psi of a training sample.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several.
        rng : generator or seed.

        Returns
        -------
        The residual (member, K); where every site has a dictionary of its own, all sites from one time.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for.
        """
        self._check(z)
        rng = np.random.default_rng(rng)
        values = np.stack([dictionary.values[:, 0] for dictionary in self.fitted.dictionaries])
        own = len(values) == self.fields.sites
        chosen = rng.integers(values.shape[1], size=(len(z), 1 if own else self.fields.sites))
        first: F64 = values[self.fitted.dictionary_of, chosen]
        return first

    def step(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Draw psi given z: n_c steps of the chain from the last residual, with z clamped, then the trend.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several, in the units of the training data.
        state : the last residual (member, K), from :meth:`init` or the previous step.
        rng : source of the noise.

        Returns
        -------
        psi (member, K) in the units of the training data (``fields.units``), and the new state.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for.
        """
        self._check(z)
        x = np.concatenate([z.reshape(len(z), -1), state], axis=1)
        self._chain.advance(x, self.decorrelation_steps, rng)
        residual = x[:, -self.fields.sites :]
        psi = residual.copy() if self.trend is None else residual + self.trend(z)
        return (psi - psi.mean(axis=1, keepdims=True) if self.conserve else psi), residual

    def _check(self, z: F64) -> None:
        wanted = self.fields.input_shape
        if z.shape[1:] != wanted:
            shape = ", ".join(map(str, wanted))
            checks.reject("z.shape", z.shape, f"(member, {shape}), the size the closure was fitted for")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the closure to a netCDF file; raises ``ValueError`` when the folder does not exist."""
        title = "Schrödinger bridge closure"
        store.write(self.to_dataset(), path, kind="closure", title=title, history="l96closure.closures")

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs, and nothing that can be derived from it."""
        return bridge_file.to_dataset(Learned(self.fields, self.trend, self.fitted)).assign_attrs(
            closure=self.name,
            decorrelation_steps=self.decorrelation_steps,
            scheme=self.scheme,
            clamp=self.clamp,
            noise_metric=self.noise_metric,
            conserve=np.int8(self.conserve),
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> SchrodingerBridge:
        """Inverse of :meth:`to_dataset`; raises ``ValueError`` or ``KeyError`` when something is missing."""
        a = dataset.attrs
        return cls(
            decorrelation_steps=int(a["decorrelation_steps"]),
            scheme=str(a["scheme"]),
            clamp=str(a["clamp"]),
            noise_metric=str(a["noise_metric"]),
            conserve=bool(a.get("conserve", False)),
            **bridge_file.from_dataset(dataset)._asdict(),
        )


def _site_sets(
    given: Sequence[Iterable[int]] | None, shape: tuple[int, ...], radius: int, periodic: bool | Sequence[bool]
) -> list[Sites]:
    """Neighbours of each site, the site itself among them."""
    if given is None:
        return bridge.grid(shape, radius, periodic)
    sets = checked(given, math.prod(shape))
    for site, members in enumerate(sets):
        if site not in members:
            checks.reject(f"neighbourhoods[{site}]", members.tolist(), f"a set with the site itself, {site}")
    return sets


def _alike(sets: list[Sites]) -> Sites:
    """Label the sites: those with sets of one size, in which they stand at one place, look the same."""
    looks = [(members.size, int(np.flatnonzero(members == site)[0])) for site, members in enumerate(sets)]
    return np.unique(looks, axis=0, return_inverse=True)[1].reshape(-1)
