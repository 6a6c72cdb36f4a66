"""The Gaussian experiment, Section 3.1.1 of Gottwald & Reich (2024): a known Gaussian, samples of it, more samples.

Each stage is a plain function of the settings and of what the stages before it made; :data:`WORKFLOW` passes these
results through the files of a run folder, so that any stage can be repeated alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from l96closure import bridge, checks, targets
from l96closure.attributes import labelled
from l96closure.bridge.neighbourhoods import Neighbourhoods
from l96closure.experiments.gaussian import diagnostics, figures, report
from l96closure.experiments.sampling import diagnostics as chain_diagnostics
from l96closure.experiments.sampling.chains import NAMES, Settings, generate
from l96closure.experiments.sampling.workflow import Page, sampling_workflow
from l96closure.restart import Restart


@dataclass(frozen=True)
class Target:
    """The Gaussian on a ring and the training sets drawn from it.

    Parameters
    ----------
    d : components, >= 3.
    precision_scale : factor on the precision matrix tridiag(-0.5, 2, -0.5), > 0.
    samples : training samples M of each set, >= 2.
    realisations : independent training sets, >= 1; their spread gives the standard errors.
    """

    d: int
    precision_scale: float
    samples: int
    realisations: int

    def __post_init__(self) -> None:
        checks.integer("target.d", self.d, 3)
        checks.number("target.precision_scale", self.precision_scale, above=0.0)
        checks.integer("target.samples", self.samples, 2)
        checks.integer("target.realisations", self.realisations, 1)


@dataclass(frozen=True)
class BridgeSettings:
    """The bridge fitted to each training set.

    Parameters
    ----------
    epsilon : bandwidth, > 0; or ``auto``, chosen on the first training set.
    radius : neighbours on either side in the localization sets, >= 0; None is no localization.
    """

    epsilon: float | str
    radius: int | None

    def __post_init__(self) -> None:
        bridge.checked_epsilon("bridge.epsilon", self.epsilon)
        if self.radius is not None:
            checks.integer("bridge.radius", self.radius, 0)

    def neighbourhoods(self, target: Target) -> Neighbourhoods:
        """Return the localization sets on the ring; raises ``ValueError`` if it is too small for the radius."""
        return bridge.everywhere(target.d) if self.radius is None else bridge.periodic(target.d, self.radius)


GaussianSettings = Settings[Target, BridgeSettings]


def simulate(settings: GaussianSettings) -> xr.Dataset:
    """Draw the training sets.

    Returns
    -------
    ``x`` (realisation, sample, component).
    """
    target, rng = settings.target, np.random.default_rng(settings.seeds["training"])
    sets = [
        targets.ring_gaussian(target.samples, target.d, target.precision_scale, rng) for _ in range(target.realisations)
    ]
    training = xr.Dataset(
        {"x": (("realisation", "sample", "component"), np.array(sets))},
        coords={
            "realisation": np.arange(target.realisations),
            "sample": np.arange(target.samples),
            "component": np.arange(target.d),
        },
    )
    return labelled(training, NAMES)


def sample(settings: GaussianSettings, training: xr.Dataset, restart: Restart | None = None) -> xr.Dataset:
    """Fit a bridge to each training set and run its chains.

    Returns
    -------
    The dataset of :func:`~l96closure.experiments.sampling.chains.generate`; the scored quantity is the variance,
    averaged over the components.
    """
    epsilon: float | str = settings.bridge.epsilon
    fits = []
    for number, samples in enumerate(training["x"].values):
        kept = restart and restart.of_piece(1 + number)
        fits.append((bridge.fit(samples, epsilon, settings.neighbourhoods, restart=kept), samples))
        epsilon = fits[0][0].epsilon
    kept = restart and restart.of_piece(0)
    return generate(fits, settings.sampling, diagnostics.variances, settings.seeds["chains"], kept)


def diagnose(settings: GaussianSettings, training: xr.Dataset, generated: xr.Dataset) -> xr.Dataset:
    """Compare training and generated samples with the exact Gaussian.

    Returns
    -------
    What the diagnostics of the experiment and those of the chains tell, in one Dataset.
    """
    covariance = targets.ring_covariance(settings.target.d, settings.target.precision_scale)
    given = training["x"].values
    return xr.merge(
        [
            diagnostics.compare(training, generated, covariance, settings.neighbourhoods),
            chain_diagnostics.describe(given, generated),
            chain_diagnostics.bandwidth_criterion(given[0], settings.neighbourhoods),
        ]
    ).assign_attrs(epsilon=generated.attrs["epsilon"])


PAGE = Page("generated samples beside the exact Gaussian", "variance", report.headline, report.table, figures.pictures)

WORKFLOW = sampling_workflow(
    "gaussian",
    partial(Settings.from_config, target=Target, bridge=BridgeSettings),
    simulate,
    sample,
    diagnose,
    PAGE,
    (
        "Gaussian on a ring: training samples",
        "Gaussian on a ring: samples drawn by the bridge",
        "Gaussian on a ring: generated samples beside the exact distribution",
    ),
)
