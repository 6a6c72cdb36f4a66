"""Settings of the data experiment: frozen dataclasses that check themselves; YAML only fills them in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from l96closure import checks
from l96closure.coarse import SCHEMES
from l96closure.experiments import sections
from l96closure.experiments.data import sources
from l96closure.experiments.own import TARGET, ChosenClosure, made
from l96closure.fields import Fields
from l96closure.layout import mask_of
from l96closure.pairing import tendency_of

SUPPLIED = ("selection", "dt", "rng", "restart")
"""Arguments of ``fit`` that the experiment gives itself, behind the truth."""

_positive = checks.optional(partial(checks.number, above=0.0))


@dataclass(frozen=True)
class Paths:
    """Where the data are.

    Parameters
    ----------
    truth : file that the closure is fitted to.
    reference : file that it is judged by.
    """

    truth: str | None
    reference: str | None


@dataclass(frozen=True)
class Names:
    """What the data call things, see :class:`l96closure.Fields`.

    Parameters
    ----------
    predictors : names of the variables that the target is drawn given.
    targets : names of the variables that are drawn together.
    dim : dimensions of the grid.
    sample_dim : dimensions whose entries are independent samples, such as the members of an ensemble.
    periodic : whether the grid is a ring; one answer, or one for each of ``dim``.
    mask : variable that is 1 at the sites that there are and else 0; ``auto`` is those that are not NaN at all times;
        None is every site.
    """

    predictors: str | Sequence[str]
    targets: str | Sequence[str]
    dim: str | Sequence[str]
    sample_dim: str | Sequence[str]
    periodic: bool | Sequence[bool]
    mask: str | None

    def __post_init__(self) -> None:
        answers = self.periodic if isinstance(self.periodic, list) else [self.periodic]
        if not answers or not all(isinstance(answer, bool) for answer in answers):
            checks.reject("fields.periodic", self.periodic, "true or false, or one of these for each of fields.dim")
        if self.mask is not None and not isinstance(self.mask, str):
            checks.reject("fields.mask", self.mask, f"the name of a variable, {sources.AUTO!r} or null")
        self.given()

    def given(self, closure: Fields | None = None) -> Fields:
        """Return the Fields of these names, otherwise as the settings of the closure have them."""
        names = {name: getattr(self, name) for name in ("predictors", "targets", "dim", "sample_dim", "periodic")}
        try:
            return replace(closure or Fields(), **names)
        except ValueError as error:
            raise ValueError(f"fields.{error}") from None


@dataclass(frozen=True)
class Offline:
    """The closure driven by the recorded predictors of the reference.

    Parameters
    ----------
    members : draws at every time, >= 2.
    steps : number of the closure's steps, >= 20, if the reference has so many.
    """

    members: int
    steps: int

    def __post_init__(self) -> None:
        checks.integer("offline.members", self.members, 2)
        checks.integer("offline.steps", self.steps, 20)


@dataclass(frozen=True)
class Coarse:
    """The coarse run; what is None follows from the data.

    Parameters
    ----------
    dt : step of closure and coarse run in the unit of the data's time, seconds for dates, > 0.
    scheme : ``euler`` or ``rk4``.
    members : ensemble members, >= 1.
    steps : of each member, >= 1.
    save_every : record every n-th step, >= 1.
    """

    dt: float | None
    scheme: str | None
    members: int
    steps: int | None
    save_every: int | None

    def __post_init__(self) -> None:
        _positive("coarse.dt", self.dt)
        checks.optional(partial(checks.one_of, allowed=SCHEMES))("coarse.scheme", self.scheme)
        checks.integer("coarse.members", self.members, 1)
        for name in ("steps", "save_every"):
            checks.optional(partial(checks.integer, minimum=1))(f"coarse.{name}", getattr(self, name))


@dataclass(frozen=True)
class Forecast:
    """Ensemble forecasts from the reference; what is None follows from the data.

    Parameters
    ----------
    starts : number of initial states, >= 2.
    members : ensemble members of each, >= 2.
    lead : longest lead time in the unit of the data's time, a multiple of ``every``.
    every : time between two records in that unit, > 0, a multiple of the coarse step and of the reference's interval.
    """

    starts: int | None
    members: int
    lead: float | None
    every: float | None

    def __post_init__(self) -> None:
        checks.integer("forecast.members", self.members, 2)
        checks.optional(partial(checks.integer, minimum=2))("forecast.starts", self.starts)
        _positive("forecast.lead", self.lead)
        _positive("forecast.every", self.every)
        if self.lead is not None and self.every is not None:
            checks.multiple("forecast.lead", self.lead, "forecast.every", self.every)


@dataclass(frozen=True)
class Diagnostics:
    """How closure and coarse run are compared with the reference.

    Parameters
    ----------
    bins : number of bins of the histograms, >= 2.
    max_lag : longest lag of the autocorrelations in the unit of the data's time, > 0; None follows from the data.
    """

    bins: int
    max_lag: float | None

    def __post_init__(self) -> None:
        checks.integer("diagnostics.bins", self.bins, 2)
        _positive("diagnostics.max_lag", self.max_lag)


@dataclass(frozen=True)
class Settings:
    """All settings of the experiment, checked before any work is done.

    Parameters
    ----------
    truth, reference : the user's files.
    fields : what their variables are, and what the closure sees of them, without a mask.
    mask : what of the files is the mask, see :class:`Names`.
    closure : the closure.
    model : the coarse model, an object with ``resolved_tendency`` or a function z -> dz/dt or (z, t) -> dz/dt; None for
        no coarse run.
    offline : the closure along the reference.
    coarse : the coarse run.
    forecast : the ensemble forecasts.
    diagnostics : the comparison.
    seed : every random number of the run follows from it.
    """

    truth: Path
    reference: Path
    fields: Fields
    mask: str | None
    closure: ChosenClosure
    model: Any
    offline: Offline
    coarse: Coarse
    forecast: Forecast
    diagnostics: Diagnostics
    seed: int

    def __post_init__(self) -> None:
        checks.integer("seed", self.seed, 0, below=math.inf)
        if self.model is not None:
            tendency_of(self.model)
            if len(self.fields.targets) > len(self.fields.predictors):
                allowed = "one for each of the first fields.predictors, whose tendencies they are in a coarse run"
                checks.reject("fields.targets", self.fields.targets, allowed)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read the sections of a configuration.

        Raises
        ------
        ValueError
            A section or one of its keys is missing or unknown, a value is out of its range, or a file is not there.
        """
        own = [name for name in ("model", "tendency") if name in config]
        wanted = ("data", "fields", "closure", "offline", "coarse", "forecast", "diagnostics")
        sections.check_sections(config, (*wanted, *own))
        if len(own) > 1:
            checks.reject("tendency", config["tendency"], "left out where there is a model")
        arguments = dict(config["closure"])
        if arguments.pop("selection", None) is not None:
            checks.reject("closure.selection", "coupled", "null with data of your own")
        closure = ChosenClosure.of(arguments, *SUPPLIED, *(["fields"] if TARGET in arguments else []))
        names = sections.build("fields", Names, config["fields"])
        fields = names.given(closure.arguments.get("fields") if not closure.own else None)
        paths = sections.build("data", Paths, config["data"])
        there = "read" in (config.get("stages") or ["read"])  # else what is used of them is in the run folder
        return cls(
            truth=sources.checked_path("truth", paths.truth, there),
            reference=sources.checked_path("reference", paths.reference, there),
            fields=fields,
            mask=names.mask,
            closure=closure,
            model=_model(own[0], config[own[0]]) if own else None,
            offline=sections.build("offline", Offline, config["offline"]),
            coarse=sections.build("coarse", Coarse, config["coarse"]),
            forecast=sections.build("forecast", Forecast, config["forecast"]),
            diagnostics=sections.build("diagnostics", Diagnostics, config["diagnostics"]),
            seed=config.get("seed", 0),
        )

    def of(self, run: xr.Dataset) -> Fields:
        """Return the fields of a run of the run folder, whose samples are members, with its mask if it has one."""
        return replace(self.fields, sample_dim=sources.SAMPLES, mask=mask_of(run, self.fields.dim))

    @property
    def seeds(self) -> dict[str, int]:
        """Independent seeds for every use of chance, spawned from ``seed``."""
        return sections.seeds(self.seed, ("fit", "offline", "coarse", "forecast", "intervals"))


def _model(name: str, section: Mapping[str, Any]) -> Any:
    """Return the user's coarse model; raises ``ValueError`` where it is none."""
    model = made(name, section)
    if not callable(getattr(model, "resolved_tendency", model if name == "tendency" else None)):
        allowed = "a class with resolved_tendency(z)" if name == "model" else "a function z -> dz/dt"
        checks.reject(f"{name}.{TARGET}", section[TARGET], allowed)
    return model
