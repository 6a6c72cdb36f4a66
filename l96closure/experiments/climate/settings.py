"""Settings of the closure experiment: frozen dataclasses that check themselves; YAML only fills them in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from l96closure import checks, closures
from l96closure.arrays import F64
from l96closure.coarse import SCHEMES
from l96closure.compute import Compute
from l96closure.experiments import sections
from l96closure.experiments.own import TARGET, ChosenClosure, imported
from l96closure.selection import Selection
from l96closure.subgrid import HELD
from l96closure.systems import SYSTEMS

NO_SETTINGS = {
    "fit": ("truth", "selection", "dt", "rng", "restart"),
    "simulate": ("self", "rng", "members", "restart"),
    "selection": ("model", "rng"),
}
"""Arguments of ``fit``, ``simulate`` and ``lc.Selection`` that the experiment gives, or leaves, itself."""


@dataclass(frozen=True)
class Reference:
    """The independent truth that judges the coarse run; it is recorded at every coarse step, so that forecasts know it.

    Parameters
    ----------
    duration : length in model time units, > 0.
    spinup : model time that is integrated and dropped first, >= 0.
    model : parameters in which it and the coarse run differ from the model that the closure was fitted to, by name.
    """

    duration: float = 2000.0  # five times the coarse run gives ten pairs of stretches for the floors
    spinup: float = 10.0
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.number("reference.duration", self.duration, above=0.0)
        checks.number("reference.spinup", self.spinup, minimum=0.0)
        if not isinstance(self.model, Mapping):
            checks.reject("reference.model", self.model, "a section of parameters of the model, or {}")


@dataclass(frozen=True)
class Coarse:
    """The coarse run.

    Parameters
    ----------
    scheme : ``euler`` or ``rk4``.
    dt : coarse time step in model time units, > 0.
    steps : number of steps of every member, >= 1.
    members : ensemble members, >= 1.
    save_every : record every n-th step, 1 <= n <= ``steps``.
    batches : members are run in so many parts, 1 <= n <= ``members``, which a cluster runs at the same time; the
        results do not depend on it.
    keep_good : where a member stops being finite, go on with the records before that instead of ending the experiment.
    """

    scheme: str = "rk4"
    dt: float = 5e-3
    steps: int = 20_000  # 100 time units ...
    members: int = 4  # ... each
    save_every: int = 5
    batches: int = 1
    keep_good: bool = False

    def __post_init__(self) -> None:
        checks.boolean("coarse.keep_good", self.keep_good)
        checks.one_of("coarse.scheme", self.scheme, SCHEMES)
        checks.number("coarse.dt", self.dt, above=0.0)
        checks.integer("coarse.steps", self.steps, 1)
        checks.integer("coarse.members", self.members, 1)
        if checks.integer("coarse.batches", self.batches, 1) > self.members:
            checks.reject("coarse.batches", self.batches, f"at most coarse.members = {self.members}")
        if checks.integer("coarse.save_every", self.save_every, 1) > self.steps:
            checks.reject("coarse.save_every", self.save_every, f"at most coarse.steps = {self.steps}")


@dataclass(frozen=True)
class Forecast:
    """Ensemble forecasts from the reference, with the coarse run's scheme and step; see :func:`l96closure.forecast`.

    Parameters
    ----------
    starts : number of initial states, >= 2.
    members : ensemble members of each, >= 2.
    lead : longest lead time in model time units, a multiple of ``every``.
    every : model time between two records, > 0, a multiple of the coarse step.
    past : whether a closure that remembers starts from the recorded past of the reference; else it draws one.
    mark_starts : number of these starts, >= 2, that the full model is started from too (stage ``mark``), spread evenly;
        all, if there are no more. See :func:`l96closure.mark` for this and the next two.
    mark_members : members of its ensembles, >= 2.
    mark_spinup : model time that its fast variables are spun up along the recorded z, > 0.
    """

    starts: int = 200
    members: int = 20
    lead: float = 2.0
    every: float = 0.05
    past: bool = True
    mark_starts: int = 200
    mark_members: int = 10
    mark_spinup: float = 2.0

    def __post_init__(self) -> None:
        checks.integer("forecast.starts", self.starts, 2)
        checks.integer("forecast.members", self.members, 2)
        checks.integer("forecast.mark_starts", self.mark_starts, 2)
        checks.integer("forecast.mark_members", self.mark_members, 2)
        checks.number("forecast.mark_spinup", self.mark_spinup, above=0.0)
        checks.number("forecast.every", self.every, above=0.0)
        checks.multiple("forecast.lead", self.lead, "forecast.every", self.every)
        checks.boolean("forecast.past", self.past)

    @property
    def leads(self) -> F64:
        """Lead times of the records."""
        records = checks.multiple("forecast.lead", self.lead, "forecast.every", self.every)
        return float(self.every) * np.arange(records + 1, dtype=np.float64)


@dataclass(frozen=True)
class Diagnostics:
    """Arguments of :func:`l96closure.diagnose`, checked before the runs rather than after them.

    Parameters
    ----------
    bins : number of bins of the histograms, >= 2.
    max_lag : longest lag of the autocorrelations in model time units, > 0.
    """

    bins: int = 100
    max_lag: float = 5.0

    def __post_init__(self) -> None:
        checks.integer("diagnostics.bins", self.bins, 2)
        checks.number("diagnostics.max_lag", self.max_lag, above=0.0)


@dataclass(frozen=True)
class Settings:
    """All settings of the experiment, checked before any work is done.

    Parameters
    ----------
    model : the system, both truth and coarse model.
    training : arguments of its ``simulate`` for the training truth.
    reference : the truth that judges.
    closure : name of the closure, a key of :data:`l96closure.closures.CLOSURES`; or the ``_target_`` of one's own.
    closure_arguments : arguments of its ``fit``, values such as Fields among them.
    selection : arguments of :class:`l96closure.Selection`, where coupled runs choose what the closure sees; else None.
    coarse : the coarse run.
    forecast : the ensemble forecasts.
    diagnostics : the comparison of the two runs.
    compute : where the work is done.
    seed : every random number of the run follows from it.
    """

    model: Any
    training: Mapping[str, Any]
    reference: Reference
    closure: str
    closure_arguments: Mapping[str, Any]
    selection: Mapping[str, Any] | None
    coarse: Coarse
    forecast: Forecast
    diagnostics: Diagnostics
    compute: Compute
    seed: int

    def __post_init__(self) -> None:
        checks.integer("seed", self.seed, 0, below=math.inf)
        self.reference_every  # noqa: B018 - fails early where the steps do not fit each other
        if self.coarse.members > self._training("samples"):
            allowed = f"at most training.samples = {self._training('samples')}"
            checks.reject("coarse.members", self.coarse.members, allowed)
        self._check_psi()
        self._check_closure()
        self._check_memory()
        sections.arguments("reference.model", type(self.model), self.reference.model)
        self.judged  # noqa: B018 - checks the parameters
        checks.multiple("forecast.every", self.forecast.every, "coarse.dt", self.coarse.dt)
        most = int((self.reference_samples - 1) * self.coarse.dt / self.forecast.lead + 1e-9) - 1
        if self.forecast.starts > most:
            allowed = f"at most {most}, so many forecasts fit into the reference one after the other"
            checks.reject("forecast.starts", self.forecast.starts, allowed)

    def _check_psi(self) -> None:
        """Refuse a psi that is held over another step than that of the coarse run."""
        over = self.training.get("coarse_dt", self.coarse.dt)
        if self.training.get("subgrid") in HELD and not math.isclose(over, self.coarse.dt, rel_tol=1e-6):
            checks.reject(
                "training.coarse_dt",
                over,
                f"coarse.dt = {self.coarse.dt:g}, the step that psi = {self.training['subgrid']!r} is held over",
            )

    def _check_closure(self) -> None:
        """Refuse options of the closure that do not fit the ring or each other."""
        given = self.closure_arguments
        fields, law = given.get("fields"), given.get("law")
        if given.get("noise") is not None and isinstance(law, closures.Chain):
            checks.reject("closure.noise", given["noise"], "null for a chain, which draws noise of its own")
        if isinstance(law, closures.Quantiles):
            if given.get("kernel") is not None:
                checks.one_of("closure.kernel.estimator", given["kernel"].estimator, ("bridge", "kde"))
            known = ["z"] if given.get("trend") is None else ["z", "trend"]
            for name in law.coordinates or ():
                checks.one_of("closure.law.coordinates", name, known)
        if fields is not None and fields.radius is not None and 2 * fields.radius >= self.model.K:
            checks.reject("closure.fields.radius", fields.radius, f"less than half of the {self.model.K} sites")

    def _check_memory(self) -> None:
        """Refuse a training truth that lacks the steps, or the length, that a closure with memory asks for."""
        given = self.closure_arguments
        noise, lags = given.get("noise"), given["fields"].lags if "fields" in given else ()
        steps = [checks.multiple("closure.fields.lags", lag, "coarse.dt", self.coarse.dt) for lag in lags or ()]
        if lags == () and not given.get("memory", False) and (noise is None or noise.order == 0):
            return
        samples, interval = self._training("samples"), self._training("dt") * self._training("every")
        every = round(self.coarse.dt / interval)
        if every < 1 or not math.isclose(every * interval, self.coarse.dt, rel_tol=1e-6):
            allowed = f"such that training.dt * every divides coarse.dt = {self.coarse.dt:g}, for a closure with memory"
            checks.reject("training.every", self._training("every"), allowed)
        if max(steps, default=0) >= samples // every:
            allowed = f"less than the {samples * interval:g} time units of the training truth"
            checks.reject("closure.fields.lags", list(lags), allowed)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read the sections of a configuration.

        Raises
        ------
        ValueError
            A section or one of its keys is missing or unknown, or a value is out of its range.
        """
        sections.check_sections(
            config, ("model", "training", "reference", "closure", "coarse", "forecast", "diagnostics", "compute")
        )
        model = dict(config["model"])
        system = SYSTEMS[checks.one_of("model.name", model.pop("name", next(iter(SYSTEMS))), SYSTEMS)]
        arguments = dict(config["closure"])
        selection = arguments.pop("selection", None)
        closure = ChosenClosure.of(arguments, *NO_SETTINGS["fit"][1:])
        coarse = sections.build("coarse", Coarse, config["coarse"])  # first: settings of other sections follow from it
        return cls(
            model=sections.build("model", system, model),
            training=sections.arguments("training", system.simulate, config["training"], *NO_SETTINGS["simulate"]),
            reference=sections.build("reference", Reference, config["reference"]),
            closure=closure.label,
            closure_arguments=closure.arguments,
            selection=None if selection is None else _selection(closure, selection),
            coarse=coarse,
            forecast=sections.build("forecast", Forecast, config["forecast"]),
            diagnostics=sections.build("diagnostics", Diagnostics, config["diagnostics"]),
            compute=sections.build("compute", Compute, config["compute"]),
            seed=config.get("seed", 0),
        )

    def _training(self, name: str) -> Any:
        """Return a setting of the training truth, or what its function takes without it."""
        return self.training.get(name, inspect.signature(type(self.model).simulate).parameters[name].default)

    @property
    def chosen(self) -> ChosenClosure:
        """The closure of the run."""
        ours = closures.CLOSURES.get(self.closure)
        kind = imported(f"closure.{TARGET}", self.closure) if ours is None else ours
        return ChosenClosure(self.closure, kind, self.closure_arguments, own=ours is None)

    @property
    def judged(self) -> Any:
        """The model of the reference and of the coarse run."""
        return replace(self.model, **self.reference.model)

    @property
    def seeds(self) -> dict[str, int]:
        """Independent seeds for every use of chance, spawned from ``seed``."""
        return sections.seeds(
            self.seed, ("truth", "reference", "fit", "coarse", "forecast", "intervals", "mark", "selection")
        )

    @property
    def reference_samples(self) -> int:
        """Number of records of the reference."""
        return max(1, checks.steps("reference.duration", self.reference.duration, self.coarse.dt))

    @property
    def reference_every(self) -> int:
        """Fine steps between two records of the reference, which is recorded at every coarse step."""
        return checks.multiple("coarse.dt", self.coarse.dt, "training.dt", self._training("dt"))

    @property
    def judge(self) -> Selection | None:
        """What chooses among candidates for what the closure sees; None where held-out data do."""
        if self.selection is None:
            return None
        return Selection(self.model, **self.selection, rng=self.seeds["selection"])


def _selection(closure: ChosenClosure, given: Any) -> dict[str, Any]:
    """Return the arguments of a selection; raises ``ValueError`` where one is wrong or the closure takes none."""
    if closure.own or "selection" not in inspect.signature(closure.kind.fit).parameters:
        raise ValueError(f"closure has no setting 'selection' with closure = {closure.label}")
    if not isinstance(given, Mapping):
        checks.reject("closure.selection", given, "a section of settings, chosen by closure/selection=coupled, or null")
    try:
        taken = sections.arguments("closure.selection", Selection, given, *NO_SETTINGS["selection"])
        Selection(None, **taken)
    except ValueError as error:
        raise ValueError(f"closure.{str(error).removeprefix('closure.')}") from None
    return taken
