"""Settings of the chains that generate samples, and the stage that runs them; shared by the sampling experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import xarray as xr

from l96closure import bridge, checks, loop
from l96closure.arrays import F64
from l96closure.attributes import labelled
from l96closure.bridge.neighbourhoods import Neighbourhoods
from l96closure.bridge.sampler import SCHEMES, Walk
from l96closure.diagnostics.intervals import standard_error
from l96closure.experiments import sections
from l96closure.restart import Restart

_MIN_RECORDS = 4  # of a chain, below which its autocorrelation cannot be estimated
_MAX_STATES = 200  # at which the effective number of samples is evaluated


class _Localized(Protocol):
    """Settings of a bridge."""

    def neighbourhoods(self, target: Any) -> Neighbourhoods:
        """Return the localization sets for a target; raises ``ValueError`` where they do not fit it."""


_T = TypeVar("_T")
_B = TypeVar("_B", bound=_Localized)

NAMES = {
    "component": "component of the state vector",
    "realisation": "training set",
    "scheme": "sampling scheme",
    "chain": "chain of the sampler",
    "record": "state kept of a chain",
    "length": "length of a chain in steps",
    "burn_in": "steps of a chain before its first record",
    "thin": "steps of a chain from one record to the next",
    "convergence": "scored quantity at a length of the chains, mean over the chains",
    "effective_samples": "effective number of training samples behind a conditional mean",
}
"""Long names of what training sets and chains consist of."""


@dataclass(frozen=True)
class Lengths:
    """How long the chains of one scheme are.

    Parameters
    ----------
    burn_in : steps (sweeps, for the schemes that sweep) before the first record's own, >= 1.
    thin : steps from one record to the next, >= 1.
    """

    burn_in: int
    thin: int

    def __post_init__(self) -> None:
        checks.integer("burn_in", self.burn_in, 1)
        checks.integer("thin", self.thin, 1)

    @property
    def scored(self) -> list[int]:
        """Chain lengths at which the burn-in is scored: 1, 2, 5, 10, 20, ... up to half of ``burn_in``, and that."""
        ladder = [mantissa * 10**power for power in range(len(str(self.burn_in))) for mantissa in (1, 2, 5)]
        return [*(length for length in ladder if 2 * length <= self.burn_in), self.burn_in]


@dataclass(frozen=True)
class Sampling:
    """The chains.

    Parameters
    ----------
    chains : independent chains of each scheme, >= 2; each starts from a training sample.
    records : states kept of each chain after its burn-in, >= 4.
    schemes : :class:`Lengths` of every scheme to be run, by a name of :data:`l96closure.bridge.sampler.SCHEMES`.
    """

    chains: int
    records: int
    schemes: Mapping[str, Lengths]

    def __post_init__(self) -> None:
        checks.integer("sampling.chains", self.chains, 2)
        checks.integer("sampling.records", self.records, _MIN_RECORDS)
        if not self.schemes:
            checks.reject("sampling.schemes", dict(self.schemes), "at least one scheme")

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> Sampling:
        """Read the section ``sampling`` of a configuration; raises ``ValueError`` for what is unknown or wrong."""
        given = sections.arguments("sampling", cls, section)
        schemes = given.get("schemes")
        if not isinstance(schemes, Mapping):
            checks.reject("sampling.schemes", schemes, "a mapping from scheme to burn_in and thin")
        for name, lengths in schemes.items():
            checks.one_of("sampling.schemes", name, SCHEMES)
            if not isinstance(lengths, Mapping):
                checks.reject(f"sampling.schemes.{name}", lengths, "burn_in and thin")
        built = {
            name: sections.build(f"sampling.schemes.{name}", Lengths, lengths) for name, lengths in schemes.items()
        }
        return sections.build("sampling", cls, {**given, "schemes": built})


@dataclass(frozen=True)
class Settings(Generic[_T, _B]):
    """All settings of an experiment on a known distribution, checked before any work is done.

    Parameters
    ----------
    target : the distribution and its training sets.
    bridge : the bridge fitted to each.
    sampling : the chains.
    seed : every random number of the run follows from it.
    """

    target: _T
    bridge: _B
    sampling: Sampling
    seed: int

    def __post_init__(self) -> None:
        checks.integer("seed", self.seed, 0, below=math.inf)
        self.neighbourhoods  # noqa: B018 - fails early where they do not fit the target

    @classmethod
    def from_config(cls, config: Mapping[str, Any], target: type[_T], bridge: type[_B]) -> Settings[_T, _B]:
        """Read the sections of a configuration; raises ``ValueError`` for what is missing, unknown or wrong."""
        sections.check_sections(config, ("target", "bridge", "sampling"))
        return cls(
            target=sections.build("target", target, config["target"]),
            bridge=sections.build("bridge", bridge, config["bridge"]),
            sampling=Sampling.from_section(config["sampling"]),
            seed=config.get("seed", 0),
        )

    @property
    def seeds(self) -> dict[str, int]:
        """Independent seeds for every use of chance, spawned from ``seed``."""
        return sections.seeds(self.seed, ("training", "chains"))

    @property
    def neighbourhoods(self) -> Neighbourhoods:
        """The localization sets."""
        return self.bridge.neighbourhoods(self.target)


def generate(
    fits: Sequence[tuple[bridge.Bridge, F64]],
    sampling: Sampling,
    score: Callable[[F64], F64],
    seed: int,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Run every scheme's chains of fitted bridges from training samples.

    Parameters
    ----------
    fits : bridges, each with its training samples (M, d); all of one dimension and bandwidth.
    sampling : the schemes and how long to run them.
    score : states (chain, d) -> the scored quantity of each (chain,), for the convergence curve.
    seed : of the starts and of all noise.
    restart : where the chains are kept, each scheme's of each bridge a piece of it, until it is cleared.

    Returns
    -------
    Dataset, in which a realisation is one of ``fits``, of

    - ``x`` (scheme, realisation, chain, record, component), in single precision;
    - ``convergence`` (scheme, realisation, length), the mean score over the chains after so many steps, and
      ``convergence_se``, both NaN beyond a scheme's burn-in;
    - ``effective_samples`` (scheme, realisation, component), the median over states of the number of training samples
      behind a conditional mean;
    - ``sinkhorn_residual`` (realisation), the largest of any component;

    with the coordinates ``burn_in`` and ``thin`` (scheme). The attribute ``epsilon`` is the bandwidth.

    Raises
    ------
    ValueError
        A scheme does not fit the bridge.
    """
    by_scheme = []
    for scheme_number, scheme in enumerate(sampling.schemes):
        runs = [
            _run(
                *fit,
                sampling,
                scheme,
                score,
                np.random.default_rng([seed, which, scheme_number]),
                restart and restart.of_piece(scheme_number * len(fits) + which),
            )
            for which, fit in enumerate(fits)
        ]
        by_scheme.append(xr.concat(runs, xr.Variable("realisation", np.arange(len(fits)))))
    result = xr.concat(by_scheme, xr.Variable("scheme", list(sampling.schemes)), join="outer")
    lengths = sampling.schemes.values()
    residuals = [fitted.residual.max() for fitted, _ in fits]
    result = (
        result.assign(sinkhorn_residual=("realisation", residuals))
        .assign_coords(
            burn_in=("scheme", [length.burn_in for length in lengths]),
            thin=("scheme", [length.thin for length in lengths]),
        )
        .assign_attrs(epsilon=fits[0][0].epsilon)
    )
    return labelled(result, NAMES)


def _run(
    fitted: bridge.Bridge,
    samples: F64,
    sampling: Sampling,
    scheme: str,
    score: Callable[[F64], F64],
    rng: np.random.Generator,
    restart: Restart | None,
) -> xr.Dataset:
    lengths = sampling.schemes[scheme]
    restart = restart and restart.of("chains", fitted, samples, sampling.chains, sampling.records, lengths, scheme, rng)
    states = samples[rng.choice(len(samples), sampling.chains, replace=sampling.chains > len(samples))]
    scored, thin = len(lengths.scored), lengths.thin
    marks = [*lengths.scored, *(lengths.burn_in + thin * np.arange(1, sampling.records + 1)).tolist()]
    found = loop.run(Walk(bridge.Chain(fitted, scheme), states, marks, rng, f"{scheme} chains"), restart)["x"]
    curve, kept = [score(x) for x in found[:scored]], np.ascontiguousarray(found[scored:].swapaxes(0, 1))
    flat = kept.reshape(-1, kept.shape[-1])
    behind = fitted.effective_samples(flat[:: -(-len(flat) // _MAX_STATES)])
    by_length = np.array(curve).T
    return xr.Dataset(
        {
            "x": (("chain", "record", "component"), kept.astype(np.float32)),
            "convergence": ("length", by_length.mean(axis=0)),
            "convergence_se": ("length", standard_error(by_length)),
            "effective_samples": ("component", np.median(behind, axis=0)),
        },
        coords={
            "chain": np.arange(kept.shape[0]),
            "record": np.arange(kept.shape[1]),
            "component": np.arange(kept.shape[2]),
            "length": lengths.scored,
        },
    )
