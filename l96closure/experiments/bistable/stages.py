"""The bistable experiment, Section 4 of Gottwald & Reich (2024): trajectories of a Langevin equation, more of them.

Each stage is a plain function of the settings and of what the stages before it made; :data:`WORKFLOW` passes these
results through the files of a run folder, so that any stage can be repeated alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from l96closure import bridge, checks, targets
from l96closure.attributes import labelled
from l96closure.bridge.neighbourhoods import Neighbourhoods
from l96closure.experiments.bistable import diagnostics, figures, report
from l96closure.experiments.sampling import diagnostics as chain_diagnostics
from l96closure.experiments.sampling.chains import NAMES, Settings, generate
from l96closure.experiments.sampling.workflow import Page, sampling_workflow
from l96closure.restart import Restart

_SIDES = ("causal", "two_sided")


@dataclass(frozen=True)
class Target:
    """The Langevin equation dZ = (Z - Z^3) dt + sqrt(noise) dB and the trajectories of the training set.

    Parameters
    ----------
    samples : trajectories M, >= 2.
    intervals : number of intervals between records, >= 1; the state has one component more.
    interval : length of each, > 0.
    noise : square of the factor on the Brownian motion, > 0.
    dt : step of the Euler-Maruyama scheme, > 0; divides ``interval``.
    """

    samples: int
    intervals: int
    interval: float
    noise: float
    dt: float

    def __post_init__(self) -> None:
        checks.integer("target.samples", self.samples, 2)
        checks.integer("target.intervals", self.intervals, 1)
        checks.number("target.interval", self.interval, above=0.0)
        checks.number("target.noise", self.noise, above=0.0)
        steps = self.interval / checks.number("target.dt", self.dt, above=0.0)
        if round(steps) < 1 or not math.isclose(steps, round(steps), rel_tol=1e-9):
            checks.reject("target.dt", self.dt, f"a divisor of target.interval = {self.interval:g}")


@dataclass(frozen=True)
class BridgeSettings:
    """The bridge fitted to the trajectories.

    Parameters
    ----------
    epsilon : bandwidth, > 0; or ``auto``.
    sided : ``causal``, a time sees itself and the one before; ``two_sided``, also the one after.
    """

    epsilon: float | str
    sided: str

    def __post_init__(self) -> None:
        bridge.checked_epsilon("bridge.epsilon", self.epsilon)
        checks.one_of("bridge.sided", self.sided, _SIDES)

    def neighbourhoods(self, target: Target) -> Neighbourhoods:
        """Return the localization sets, eq. (57)."""
        return bridge.markov(target.intervals + 1, sided=self.sided)


BistableSettings = Settings[Target, BridgeSettings]


def read(config: Mapping[str, Any]) -> BistableSettings:
    """Read the sections of a configuration; raises ``ValueError`` for what is missing, unknown or wrong."""
    settings = Settings.from_config(config, Target, BridgeSettings)
    if "ancestral" in settings.sampling.schemes and settings.bridge.sided != "causal":
        checks.reject("bridge.sided", settings.bridge.sided, "causal for the scheme ancestral")
    return settings


def simulate(settings: BistableSettings) -> xr.Dataset:
    """Integrate the trajectories of the training set.

    Returns
    -------
    ``x`` (sample, time).
    """
    target, rng = settings.target, np.random.default_rng(settings.seeds["training"])
    x = targets.double_well(target.samples, target.intervals, target.interval, target.noise, target.dt, rng)
    time = target.interval * np.arange(target.intervals + 1)
    note = "the values are the dimensionless time of the Langevin equation; unit and reference date are arbitrary"
    training = xr.Dataset(
        {"x": (("sample", "time"), x)},
        coords={"sample": np.arange(target.samples), "time": ("time", time, {"comment": note})},
    )
    return labelled(training, NAMES)


def sample(settings: BistableSettings, training: xr.Dataset, restart: Restart | None = None) -> xr.Dataset:
    """Fit a bridge to the trajectories and run its chains.

    Returns
    -------
    The dataset of :func:`~l96closure.experiments.sampling.chains.generate`, but for its single realisation, and with
    ``time`` for ``component``; the scored quantity is the relative number of sign changes.
    """
    samples = training["x"].values
    chains, weights = (restart and restart.of_piece(number) for number in (0, 1))
    fitted = bridge.fit(samples, settings.bridge.epsilon, settings.neighbourhoods, restart=weights)
    generated = generate(
        [(fitted, samples)], settings.sampling, diagnostics.sign_changes, settings.seeds["chains"], chains
    )
    return _over_time(generated.squeeze("realisation", drop=True), training)


def diagnose(settings: BistableSettings, training: xr.Dataset, generated: xr.Dataset) -> xr.Dataset:
    """Compare generated trajectories with those of the training set.

    Returns
    -------
    What the diagnostics of the experiment and those of the chains tell, in one Dataset, with ``time`` for
    ``component``.
    """
    given = training["x"].values
    as_chains = generated.rename(time="component").expand_dims("realisation")
    return xr.merge(
        [
            diagnostics.compare(training, generated),
            _over_time(chain_diagnostics.describe(given[np.newaxis], as_chains), training),
            chain_diagnostics.bandwidth_criterion(given, settings.neighbourhoods),
        ]
    ).assign_attrs(epsilon=generated.attrs["epsilon"])


def _over_time(data: xr.Dataset, training: xr.Dataset) -> xr.Dataset:
    """Say which time each component of the state is."""
    return data.drop_vars("component").rename(component="time").assign_coords(time=training["time"])


PAGE = Page(
    "generated trajectories beside the training set",
    "relative number of sign changes",
    report.headline,
    report.table,
    figures.pictures,
)

WORKFLOW = sampling_workflow(
    "bistable",
    read,
    simulate,
    sample,
    diagnose,
    PAGE,
    (
        "Bistable Langevin dynamics: training trajectories",
        "Bistable Langevin dynamics: trajectories drawn by the bridge",
        "Bistable Langevin dynamics: generated trajectories beside the training set",
    ),
)
