"""The conditional localized Schrödinger bridge sampler as a closure (Section 5.1 of Gottwald & Reich 2024)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks, store
from l96closure.bridge.conditional import assemble
from l96closure.bridge.dictionary import Dictionary, Kernel
from l96closure.bridge.sampler import CLAMPS, NOISE_METRICS, SCHEMES, SEQUENTIAL
from l96closure.training import PolynomialTrend, prepare

__all__ = ["SchrodingerBridge"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SchrodingerBridge:
    """Draws psi ~ p(psi | z) with the conditional localized bridge sampler; made by :meth:`fit` or a saved file.

    Attributes
    ----------
    K : number of slow variables it was fitted for.
    radius : radius of the neighbourhoods.
    decorrelation_steps : steps of the chain per coarse step, n_c.
    scheme, clamp, noise_metric : see :class:`l96closure.bridge.Chain`.
    trend : polynomial in z that is added back to the bridge's residual, or None.
    fitted : the bridge of the 2K-dimensional state (z, residual of psi), with moments of the residual alone.
    """

    K: int
    radius: int
    decorrelation_steps: int
    scheme: str
    clamp: str
    noise_metric: str
    trend: PolynomialTrend | None
    fitted: bridge.Bridge
    _chain: bridge.Chain = field(init=False, repr=False, compare=False)

    name = "schrodinger_bridge"

    def __post_init__(self) -> None:
        checks.integer("decorrelation_steps", self.decorrelation_steps, 1)
        chain = bridge.Chain(self.fitted, self.scheme, np.arange(self.K), self.clamp, self.noise_metric)
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
    ) -> SchrodingerBridge:
        """Learn p(psi | z) from a truth run; the defaults are the settings we recommend.

        Parameters
        ----------
        truth : Dataset with z(time, k) and psi(time, k), from :func:`l96closure.simulate`.
        epsilon : bandwidth in the scaled metric, > 0, or ``auto``, see :func:`l96closure.bridge.choose_epsilon`.
        radius : a site sees so many neighbours on either side; 2 ``radius`` + 1 <= K.
        decorrelation_steps : steps of the chain per coarse step, n_c >= 1.
        scheme, clamp, noise_metric : see :class:`l96closure.bridge.Chain`.
        pooled : one dictionary of the samples of all sites (translation symmetry) instead of one for each site.
        thinning : use every n-th time of ``truth``.
        centres : keep at most so many samples of each dictionary, drawn at random; None keeps all.
        compressed : then compress each to at most so many weighted centres, see :meth:`compress`; None does not.
        trend_degree : degree of the polynomial in z that is removed before the bridge and added back after it.
        tolerance : of the Sinkhorn iteration, max |v o (T v) - 1|.
        seed : seed of the draw of the centres and of the clustering.
        progress : show progress bars.

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
        data = prepare(truth, thinning, trend_degree)
        K = data.scale.size // 2
        samples = len(data.samples) * (K if pooled else 1)
        if centres is not None and centres < samples:
            samples = centres
        fitted = bridge.fit(
            data.samples,
            epsilon,
            bridge.stacked(2, K, radius),
            data.scale,
            components=range(K, 2 * K),
            shared=pooled,
            centres=samples,
            rng=checks.integer("seed", seed, 0),
            tolerance=tolerance,
            progress=progress,
        )
        closure = cls(K, radius, decorrelation_steps, scheme, clamp, noise_metric, data.trend, fitted)
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
        z : slow variables (member, K).
        rng : generator or seed.

        Returns
        -------
        The residual (member, K).

        Raises
        ------
        ValueError
            ``z`` is not (member, K) for the K the closure was fitted for.
        """
        self._check(z)
        rng = np.random.default_rng(rng)
        dictionaries = self.fitted.dictionaries
        samples = dictionaries[0].values.shape[0]
        if len(dictionaries) == 1:
            first: F64 = dictionaries[0].values[rng.integers(samples, size=z.shape), 0]
            return first
        chosen = rng.integers(samples, size=z.shape[0])
        return np.stack([dictionary.values[chosen, 0] for dictionary in dictionaries], axis=1)

    def step(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Draw psi given z: n_c steps of the chain from the last residual, with z clamped, then the trend.

        Parameters
        ----------
        z : slow variables (member, K).
        state : the last residual (member, K), from :meth:`init` or the previous step.
        rng : source of the noise.

        Returns
        -------
        psi (member, K) in units of z per model time unit, and the new state.

        Raises
        ------
        ValueError
            ``z`` is not (member, K) for the K the closure was fitted for.
        """
        self._check(z)
        x = np.concatenate([z, state], axis=1)
        self._chain.advance(x, self.decorrelation_steps, rng)
        residual = x[:, self.K :]
        return (residual.copy() if self.trend is None else residual + self.trend(z)), residual

    def _check(self, z: F64) -> None:
        if z.ndim != 2 or z.shape[1] != self.K:
            checks.reject("z.shape", z.shape, f"(member, {self.K}), the size the closure was fitted for")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the closure to a netCDF file; raises ``ValueError`` when the folder does not exist."""
        title = "Schrödinger bridge closure"
        store.write(self.to_dataset(), path, kind="closure", title=title, history="l96closure.closures")

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs, and nothing that can be derived from it."""
        dictionaries, compression = self.fitted.dictionaries, self.fitted.compression
        return xr.Dataset(
            {
                "coordinates": (
                    ("dictionary", "sample", "coordinate"),
                    np.stack([dictionary.coordinates for dictionary in dictionaries]),
                ),
                "sinkhorn_log_weight": (
                    ("dictionary", "sample"),
                    np.stack([dictionary.log_v for dictionary in dictionaries]),
                ),
                "sinkhorn_residual": ("dictionary", self.fitted.residual),
                "sinkhorn_iterations": ("dictionary", self.fitted.iterations.astype(np.int32)),
                "coordinate_scale": (
                    ("dictionary", "coordinate"),
                    np.stack([dictionary.coordinate_scale for dictionary in dictionaries]),
                ),
                "scale": ("component", self.fitted.scale),
                **({} if compression is None else {"value_spread": (("dictionary", "sample"), _spreads(dictionaries))}),
                "trend": ("power", np.empty(0) if self.trend is None else self.trend.coefficients),
                "trend_range": (
                    "bound",
                    np.empty(0) if self.trend is None else np.array([self.trend.lower, self.trend.upper]),
                ),
            },
            attrs={
                "closure": self.name,
                "K": self.K,
                "radius": self.radius,
                "epsilon": self.fitted.epsilon,
                "decorrelation_steps": self.decorrelation_steps,
                "scheme": self.scheme,
                "clamp": self.clamp,
                "noise_metric": self.noise_metric,
                **({} if compression is None else {f"compression_{k}": v for k, v in compression._asdict().items()}),
            },
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> SchrodingerBridge:
        """Inverse of :meth:`to_dataset`; raises ``ValueError`` or ``KeyError`` when something is missing."""
        a = dataset.attrs
        K, radius = int(a["K"]), int(a["radius"])
        scale = dataset["scale"].values
        sets = bridge.stacked(2, K, radius)[K:]
        compressed = "compression_centres" in a
        own = 2 * radius + 1 + radius  # where a component stands in its own neighbourhood
        dictionaries = tuple(
            Dictionary(
                coordinates=one["coordinates"].values,
                values=one["coordinates"].values[:, own : own + 1],
                coordinate_scale=one["coordinate_scale"].values,
                value_scale=scale[K : K + 1],
                log_v=one["sinkhorn_log_weight"].values,
                residual=float(one["sinkhorn_residual"]),
                iterations=int(one["sinkhorn_iterations"]),
                spread=one["value_spread"].values[:, None] if compressed else None,
            )
            for one in (dataset.isel(dictionary=i) for i in range(dataset.sizes["dictionary"]))
        )
        fitted = assemble(2 * K, Kernel(epsilon=float(a["epsilon"])), scale, np.arange(K, 2 * K), sets, dictionaries)
        if compressed:
            lost = (float(a["compression_mean_error"]), float(a["compression_variance_error"]))
            compression = bridge.Compression(int(a["compression_centres"]), int(a["compression_samples"]), *lost)
            fitted = replace(fitted, compression=compression)
        trend = dataset["trend"].values
        return cls(
            K,
            radius,
            int(a["decorrelation_steps"]),
            str(a["scheme"]),
            str(a["clamp"]),
            str(a["noise_metric"]),
            PolynomialTrend(trend, *dataset["trend_range"].values) if trend.size else None,
            fitted,
        )


def _spreads(dictionaries: tuple[Dictionary, ...]) -> F64:
    """Variance of the values behind each centre (dictionary, sample)."""
    return np.stack([dictionary.spread[:, 0] for dictionary in dictionaries if dictionary.spread is not None])
