"""The conditional localized Schrödinger bridge sampler as a closure (Section 5.1 of Gottwald & Reich 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks, noise
from l96closure.bridge.neighbourhoods import alike, around_sites
from l96closure.bridge.sampler import CLAMPS, NOISE_METRICS
from l96closure.bridge.sampler import SCHEMES as OF_A_CHAIN
from l96closure.closures import bridge_file, origin
from l96closure.closures.bridge_file import Learned
from l96closure.closures.draws import (
    DRIVEN,
    EXACT,
    LARGEST_ERROR,
    SCHEMES,
    Draw,
    FromChain,
    FromNoise,
    chosen_scheme,
    usual_epsilon,
    warn_of_few,
    warn_of_loss,
)
from l96closure.closures.files import save
from l96closure.closures.inputs import slow_variables
from l96closure.closures.memory import Memory, remembered
from l96closure.closures.parts import Parts
from l96closure.closures.state import State, begin, following
from l96closure.fields import Fields
from l96closure.restart import Restart
from l96closure.training import prepare
from l96closure.trends import Trend, as_arrays

__all__ = ["SchrodingerBridge"]

F64 = npt.NDArray[np.float64]

_chain_steps = partial(checks.integer, minimum=1, below=noise.MOST_DRAWS + 1)  # each is a draw of the coarse step


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
    memory : of the noise, or None.
    scheme, decorrelation_steps, clamp, noise_metric : see :meth:`fit`.
    conserve : the mean over the sites is taken off every psi.
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    dt : coarse step it was fitted for, with ``memory`` the only one it is right for; None where the training data had
        no times.
    """

    fields: Fields
    trend: Trend | None
    fitted: bridge.Bridge
    memory: Memory | None
    scheme: str
    decorrelation_steps: int
    clamp: str
    noise_metric: str
    conserve: bool = False
    subgrid: str | None = None
    dt: float | None = None
    _draw: Draw = field(init=False, repr=False, compare=False)

    name, title = "schrodinger_bridge", "Schrödinger bridge closure"
    save = save

    def __post_init__(self) -> None:
        _chain_steps("decorrelation_steps", self.decorrelation_steps)
        if self.memory is not None and self.dt not in (None, self.memory.step):
            checks.reject("dt", self.dt, f"{self.memory.step}, the step of the memory")
        if self.scheme in DRIVEN:
            draw: Draw = FromNoise.of(self.fitted, self.scheme, self.memory)
        else:
            given = np.arange(self.fitted.d - self.fields.sites)
            chain = bridge.Chain(self.fitted, self.scheme, given, self.clamp, self.noise_metric)
            draw = FromChain(chain, self.fitted, self.decorrelation_steps)
        object.__setattr__(self, "_draw", draw)

    @property
    def coarse_dt(self) -> float | None:
        """The one coarse step it is right for; None without memory, or where the training data had no times."""
        return None if self.memory is None else self.dt

    @classmethod
    @checks.arguments(
        truth=checks.xarray_dataset,
        epsilon=checks.optional(bridge.checked_epsilon),
        radius=partial(checks.integer, minimum=0),
        scheme=partial(checks.one_of, allowed=SCHEMES),
        memory=checks.optional(partial(checks.integer, minimum=1)),
        step=checks.optional(partial(checks.number, above=0.0)),
        decorrelation_steps=_chain_steps,
        clamp=partial(checks.one_of, allowed=CLAMPS),
        noise_metric=partial(checks.one_of, allowed=NOISE_METRICS),
        pooled=checks.boolean,
        thinning=partial(checks.integer, minimum=1),
        centres=checks.optional(partial(checks.integer, minimum=2)),
        compressed=checks.optional(partial(checks.integer, minimum=2)),
        trend_degree=checks.optional(partial(checks.integer, minimum=0)),
        tolerance=partial(checks.number, above=0.0),
        seed=partial(checks.integer, minimum=0, below=math.inf),
        conserve=checks.boolean,
    )
    def fit(
        cls,
        truth: xr.Dataset,
        epsilon: float | str | None = None,
        radius: int = 0,
        scheme: str = "auto",
        memory: int | None = 4,
        step: float | None = None,
        decorrelation_steps: int = 1,
        clamp: str = "query",
        noise_metric: str = "scaled",
        pooled: bool = True,
        thinning: int = 5,
        centres: int | None = 100_000,
        compressed: int | None = 128,
        trend_degree: int | None = 8,
        tolerance: float = 1e-6,
        seed: int = 0,
        restart: Restart | None = None,
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
        truth : Dataset with predictors and target of dims (time, *``dim``), from a system's ``simulate`` or from
            anywhere else; lazy data are read as :func:`l96closure.training.prepare` says.
        epsilon : bandwidth in the scaled metric, > 0, or ``auto``, see :func:`l96closure.bridge.choose_epsilon`;
            None is 0.005 for the scheme ``quantile`` and 0.1 for others.
        radius : a site sees so many neighbours on either side, along every axis of the grid; 2 ``radius`` + 1 <= the
            size of every periodic axis. Unused with ``neighbourhoods``.
        scheme : ``quantile``, psi is the quantile of p(psi | z) that standard normal noise xi asks for, Q(Phi(xi) | z),
            given one predictor at the same site (see :mod:`l96closure.bridge.quantiles`); ``moments``,
            psi = m(z) + sqrt(c(z)) xi with the conditional mean and variance, for any predictors; ``auto``, the first
            where it can be had, else the second; or a scheme of :class:`l96closure.bridge.Chain`, started from the
            last psi.
        memory : number of damped oscillators that make the noise xi and give it the autocorrelation of the training
            residual (see :mod:`l96closure.closures.memory`); None for fresh noise at every step. Of the schemes
            ``quantile`` and ``moments``; a chain has only the memory that few steps leave.
        step : coarse step in the unit of ``truth``'s time, > 0, for the memory (seconds where times are dates); None is
            the interval of ``truth``, which then needs no coordinate ``time``.
        decorrelation_steps : steps of the chain per coarse step, 1 <= n_c <= 2^16.
        clamp, noise_metric : of the chain, see :class:`l96closure.bridge.Chain`.
        pooled : one dictionary of the samples of all sites that look the same (translation symmetry) instead of one
            for each site. All do on a periodic grid. Sites so near to an edge that their neighbourhoods are cut pool
            with those at the same distances from the same edges alone, and every dictionary then has as many samples
            as the smallest. Sites with given ``neighbourhoods`` pool where these have one size and the site itself
            stands at one place in them: list them in such an order that one place means one relative neighbour.
        thinning : use every n-th time of ``truth``.
        centres : keep at most so many samples of each dictionary, drawn at random; None keeps all.
        compressed : then compress each to so many weighted centres, see :meth:`compress`; None does not. Where that
            changes the conditional mean by more than 0.1 standard deviations, four times as many are tried, and so on;
            where even 4,096 or a quarter of the samples do, as of many coordinates, none are compressed. Of the schemes
            that average: quantiles and sequential draws need every sample.
        trend_degree : degree of the polynomial in z that is removed before the bridge and added back after it; of
            several predictors, of the sum of polynomials in each.
        tolerance : of the Sinkhorn iteration, max |v o (T v) - 1|.
        seed : seed of the draw of the centres and of the clustering.
        restart : where the Sinkhorn iteration is kept, to be taken up again by the same call after it was stopped.
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

        Warns
        -----
        AccuracyWarning
            Fewer than 30 effective samples stand behind the median conditional mean, as with many coordinates (sites
            that are seen, predictors) or a small bandwidth: variance and quantiles are then far too narrow.
        """
        data = prepare(truth, thinning, trend_degree, predictors, target, dim)
        fields = data.fields
        sites = around_sites(neighbourhoods, fields.shape, radius, periodic)
        pools = alike(sites) if pooled else np.arange(fields.sites)
        samples = len(data.samples) * int(np.bincount(pools).min())
        if centres is not None and centres < samples:
            samples = centres
        scheme = chosen_scheme(scheme, len(fields.predictors) == 1 and all(members.size == 1 for members in sites))
        xi = remembered(truth, data, memory, step) if memory is not None and scheme in DRIVEN else None
        state = data.scale.size
        seen = len(fields.predictors) + (scheme not in DRIVEN)  # the chain sees the last psi too
        problem: dict[str, Any] = {
            "samples": data.samples,
            "epsilon": usual_epsilon(scheme) if epsilon is None else epsilon,
            "neighbourhoods": bridge.in_every_field(seen, sites)[: fields.sites] * len(fields.units),
            "scale": data.scale,
            "components": range(state - fields.sites, state),
            "shared": pools.tolist(),
            "centres": samples,
            "rng": seed,
            "tolerance": tolerance,
        }
        fitted = bridge.fit(**problem, restart=restart)
        warn_of_few(fitted)
        if compressed is not None and compressed < samples and scheme not in EXACT:
            fitted = bridge.compress_within(fitted, compressed, LARGEST_ERROR, seed)
        how = scheme, decorrelation_steps, clamp, noise_metric, conserve
        return cls(fields, data.trend, fitted, xi, *how, **origin.of(truth, step))

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

        Warns
        -----
        AccuracyWarning
            The conditional mean changes by more than 0.1 standard deviations.
        """
        if self.scheme in EXACT:
            checks.reject("scheme", self.scheme, "one that averages; draws and quantiles need every sample")
        small = bridge.compress(self.fitted, centres, rng)
        warn_of_loss(small)
        return replace(self, fitted=small)

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        """Start each member from the noise, or from the residual psi of a training sample, see :meth:`fit`.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several.
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.

        Returns
        -------
        A state that remembers the noise (member, K, 2 ``memory``), or of a chain the residual (member, K).

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for.
        """
        state = begin(len(slow_variables(z, self.fields.input_shape)), rng, member)
        return state._replace(memory=self._draw.initial(state))

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi given z: the residual by the scheme, then the trend.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several, in the units of the training data.
        state : from :meth:`init` or the previous step.

        Returns
        -------
        psi (member, K) in the units of the training data (``fields.units``), and the new state.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``state`` does not fit it.
        """
        z = slow_variables(z, self.fields.input_shape)
        state = following(state, len(z), *self._draw.remembers)
        residual, memory = self._draw(z.reshape(len(z), -1), state)
        psi = residual if self.trend is None else residual + self.trend(z)
        psi = psi - psi.mean(axis=1, keepdims=True) if self.conserve else psi
        return psi, state._replace(memory=memory)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Everything a step needs, as plain arrays by name: what a step in another language is made of.

        Returns
        -------
        ``trend`` (P, degree + 1) and ``trend_range`` (P, 2), see :class:`~l96closure.closures.Polynomial`, the
        polynomials of P predictors being added up, none without a trend; ``quantile`` (N, L), at the values
        ``quantile_node`` (N,) of z, of which dictionary d has those from the first to the last that
        ``quantile_nodes_of`` (D, 2) counts, and at L of the noise, evenly spaced from the first to the last of
        ``quantile_noise`` (2,), to be interpolated linearly in both and held at the ends;
        ``dictionary_of_site`` (K,); ``conserve`` (), whether the mean over the sites is taken off;
        and, with memory, ``coarse_dt`` () and the arrays of :meth:`l96closure.closures.memory.Memory.tables`.

        Raises
        ------
        ValueError
            The scheme is another one than ``quantile``, which sums over samples at every step.
        """
        if not isinstance(self._draw, FromNoise) or self._draw.quantiles is None:
            checks.reject("scheme", self.scheme, "quantile, for tables of a step")
        coefficients, bounds = as_arrays(self.trend)
        return {
            "trend": coefficients,
            "trend_range": bounds,
            **self._draw.quantiles.tables(),
            "conserve": np.array(self.conserve),
            **({} if self.memory is None else self.memory.tables()),
            **({} if self.coarse_dt is None else {"coarse_dt": np.array(self.coarse_dt)}),
        }

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs, and nothing that can be derived from it."""
        return bridge_file.to_dataset(Learned(self.fields, self.trend, self.fitted, self.memory)).assign_attrs(
            closure=self.name,
            decorrelation_steps=self.decorrelation_steps,
            scheme=self.scheme,
            clamp=self.clamp,
            noise_metric=self.noise_metric,
            conserve=np.int8(self.conserve),
            **origin.attributes(self),
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> SchrodingerBridge:
        """Inverse of :meth:`to_dataset`; raises ``ValueError`` when something is missing or wrong."""
        parts = Parts(dataset)
        return cls(
            decorrelation_steps=parts.integer("decorrelation_steps", 1, below=noise.MOST_DRAWS + 1),
            scheme=parts.text("scheme", (*DRIVEN, *OF_A_CHAIN)),
            clamp=parts.text("clamp", CLAMPS),
            noise_metric=parts.text("noise_metric", NOISE_METRICS),
            conserve=bool(parts.integer("conserve", 0, below=2)),
            **origin.read(parts),
            **bridge_file.from_dataset(dataset)._asdict(),
        )
