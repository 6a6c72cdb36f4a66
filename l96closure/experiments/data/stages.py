"""The data experiment: the user's truth read, a closure fitted to it, verified offline and, with a model, coupled.

Each stage is a plain function of the settings and of what the stages before it made; :data:`WORKFLOW` passes these
results through the files of a run folder, so that any stage can be repeated alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.coarse import integrate
from l96closure.diagnostics import diagnose
from l96closure.diagnostics.forecast import verify
from l96closure.diagnostics.scorecard import FIELDS
from l96closure.diagnostics.several import each
from l96closure.durations import duration
from l96closure.experiments.climate import closure_tables, failures, forecast_tables, tables
from l96closure.experiments.climate.batches import chosen_scheme
from l96closure.experiments.climate.figures import pictures
from l96closure.experiments.climate.stages import OBJECTIVES
from l96closure.experiments.climate.verdicts import CRITERIA
from l96closure.experiments.data import figures, leads, offline, report, sources
from l96closure.experiments.data.settings import Settings
from l96closure.experiments.own import Stepped, code_of
from l96closure.experiments.run_folder import File, RunFolder
from l96closure.experiments.workflow import Objective, Stage, Workflow
from l96closure.fields import Fields
from l96closure.forecasts import forecast
from l96closure.layout import named, observation_of
from l96closure.pairing import mismatch, scheme_of, step_of, tendency_of
from l96closure.report.parts import Part, said
from l96closure.restart import Restart
from l96closure.schemes import starting
from l96closure.series import time_step, time_unit

_log = logging.getLogger(__name__)

_NO_RING = (
    "The sites are not a ring, so covariances, correlations and spectra along one are not compared. Sites are "
    "numbered in the order of the dimensions of the grid, the last of them fastest."
)
_PARTS, _LAGS = 5, 50  # of the reference, as long as the coarse run and as the longest lag
_MIN_LAGS = 20
_SHOWN_WITH = {"truth": "hellinger_z", "coarse": "hellinger_z", "ensemble": "crps"}  # runs that figures show, by score
_STARTS = 100  # of forecasts, at most


def _read_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    truth, reference = sources.pair(settings.truth, settings.reference, settings.fields, settings.mask)
    return {"truth": truth, "reference": reference}


def _fitted(settings: Settings, folder: RunFolder, restart: Restart | None = None) -> Any:
    truth = folder.read("truth")
    offered = {"fields": settings.of(truth), "rng": settings.seeds["fit"], "restart": restart}
    return settings.closure.fit(truth, dt=settings.coarse.dt or time_step("truth", truth), **offered)


def _fit_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    closure = _fitted(settings, folder, restart)
    _log.info("closure: %s", closure_tables.text(closure, time_unit(folder.read("truth"))))
    return {"closure": settings.closure.to_dataset(closure)}


def _closure(settings: Settings, folder: RunFolder) -> Any:
    """Return the closure of the run."""
    again = partial(_fitted, settings, folder)
    return settings.closure.from_file(folder.file("closure"), folder.read("closure"), again)


def _stepped(settings: Settings, folder: RunFolder) -> tuple[Any, float]:
    """Return the closure of the run, and the step of closure and coarse run."""
    closure, truth = _closure(settings, folder), folder.read("truth")
    stated = any(getattr(closure, name, None) is not None for name in ("dt", "coarse_dt"))
    dt = step_of(closure, settings.coarse.dt) if stated else settings.coarse.dt or time_step("truth", truth)
    if stated and getattr(closure, "fields", None) is not None:
        return closure, dt
    return Stepped(closure, dt, settings.of(truth).of(truth)), dt


def _without(folder: RunFolder, name: str) -> dict[str, xr.Dataset]:
    """Take the file away that a stage with nothing to do might have made in an earlier run."""
    folder.file(name).unlink(missing_ok=True)
    return {}


def _reference(settings: Settings, folder: RunFolder) -> xr.Dataset:
    """Return the reference as the coarse model has its run: z and psi on ``k``, or several variables by their names."""
    run = folder.read("reference")
    known = settings.of(run)
    dims = ("time", *known.dim)
    for name in known.names:
        if set(run[name].dims) != set(dims):
            checks.reject(f"{name}.dims of the reference", run[name].dims, f"{dims}, one run, for a coarse run")
    return run if named(known) else _as_one(known, run, 0)


def _as_one(fields: Fields, run: xr.Dataset, number: int) -> xr.Dataset:
    """Call a predictor of a run z and its target psi, and count the sites that there are through as ``k``."""
    predictor = fields.predictors[number]
    called = {predictor: "z", observation_of(predictor): "observation"}
    called |= dict(zip(fields.targets[number : number + 1], ("psi",), strict=False))
    flat = {}
    for theirs, ours in called.items():
        if theirs in run:
            values = run[theirs].transpose(..., *fields.dim)
            dims = values.dims[: -len(fields.dim)]
            sites = fields.taken(values.to_numpy().reshape(*(run.sizes[dim] for dim in dims), -1))
            flat[ours] = ((*dims, "k"), sites, values.attrs)
    coordinates = {name: run[name] for dims, *_ in flat.values() for name in dims if name in run.coords}
    return xr.Dataset(flat, coordinates, run.attrs)


def _on_grid(fields: Fields, run: xr.Dataset) -> xr.Dataset:
    """Undo the counting through of sites: z, psi and observation of a run on the dims of its grid."""
    variables = {
        name: ((*one.dims[:-1], *fields.dim), one.to_numpy().reshape(*one.shape[:-1], *fields.shape), one.attrs)
        for name, each_of in run.data_vars.items()
        if "k" in (one := each_of.transpose(..., "k", missing_dims="ignore")).dims
    }
    coordinates = {name: run[name] for name in run.coords if name != "k"}
    return xr.Dataset(variables, {**coordinates, **fields.coordinates.coords})


def _integrate_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    if settings.model is None:
        return _without(folder, "coarse")
    (closure, dt), coarse = _stepped(settings, folder), settings.coarse
    truth, reference = folder.read("truth"), _reference(settings, folder)
    known = settings.of(truth).of(truth)
    fields = [truth[name].transpose(..., *known.dim).to_numpy().reshape(-1, known.size) for name in known.predictors]
    states = np.stack(fields, axis=1).reshape(-1, *known.input_shape)
    if coarse.members > len(states):
        checks.reject("coarse.members", coarse.members, f"at most the {len(states)} training samples")
    starts = np.linspace(0, len(states) - 1, coarse.members).round().astype(int)
    interval = time_step("reference", reference)
    usual = round(reference.sizes["time"] * interval / (_PARTS * coarse.members * dt))
    every = coarse.save_every or max(1, round(interval / dt))
    steps = coarse.steps or max(2 * every, usual)
    how: dict[str, Any] = {"dt": dt, "scheme": coarse.scheme, "rng": settings.seeds["coarse"], "restart": restart}
    if (why := mismatch(closure, coarse.scheme or scheme_of(closure))) is not None:
        _log.warning("note: %s", why)
    for note in known.no_tendencies:
        _log.warning("note: %s", note)
    times = np.tile(truth["time"].to_numpy(), truth.sizes.get(sources.SAMPLES, 1))[starts]
    model = starting(tendency_of(settings.model), times, states.ndim)
    with chosen_scheme():
        run = integrate(model, closure, states[starts], steps=steps, save_every=min(every, steps), **how)
    names = known.names if known.names[0] in run else ("z", "psi")
    return {"coarse": _described(run, truth, dict(zip((*names, "time"), (*known.names, "time"), strict=True)))}


def _described(run: xr.Dataset, truth: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    """Give variables of a run the attributes of those of the truth that they stand for, where they are in it."""
    for ours, theirs in names.items():
        if ours in run.variables:
            run[ours].attrs.update(truth[theirs].attrs)
    return run


def _forecast_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    if settings.model is None:
        return _without(folder, "forecast")
    (closure, dt), given = _stepped(settings, folder), settings.forecast
    reference = _reference(settings, folder)
    interval = time_step("reference", reference)
    every, records = leads.spacing_and_number(given, reference, closure, dt)
    most = (reference.sizes["time"] - 1) // max(1, round(records * every / interval)) - 1
    if given.starts is None and most < 2:
        lead = duration(records * every, time_unit(reference))
        _log.warning("note: the reference is too short for forecasts of lead %s", lead)
        return _without(folder, "forecast")
    how: dict[str, Any] = {"rng": settings.seeds["forecast"], "scheme": settings.coarse.scheme, "restart": restart}
    how |= {"starts": given.starts or min(_STARTS, most), "members": given.members}
    with chosen_scheme():
        made = forecast(settings.model, closure, reference, leads=every * np.arange(records + 1), **how)
    return {"forecast": _described(made.astype(np.float32), reference, {"z": "z", "observation": "z"})}


def _diagnose_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    reference, closure, rng = folder.read("reference"), _closure(settings, folder), settings.seeds["intervals"]
    fields = settings.of(reference).of(reference)
    interval = time_step("reference", reference)
    max_lag = settings.diagnostics.max_lag or max(_MIN_LAGS, reference.sizes["time"] // _LAGS) * interval
    offered = (_offline(settings, closure, reference, max_lag), offline.law(closure, reference, fields, max_lag))
    found = [each for each in offered if each is not None]
    grid: dict[str, Any] = {}
    on_grid: Callable[[xr.Dataset], xr.Dataset] = lambda run: run  # noqa: E731 - of several, runs say what they are of
    if not named(fields) and not fields.ring:
        grid, on_grid = {"dim": fields.dim, "periodic": list(fields.rings)}, partial(_on_grid, fields)
    if not folder.lacks("coarse"):
        coarse = folder.read("coarse")
        longest = min(max_lag, (coarse.sizes["time"] - 1) * time_step("coarse", coarse))
        how: dict[str, Any] = {"bins": settings.diagnostics.bins, "max_lag": longest}
        found.append(diagnose(on_grid(_reference(settings, folder)), on_grid(coarse), **how, **grid))
    if not folder.lacks("forecast"):
        ensemble = on_grid(folder.read("forecast"))
        found.append(verify(ensemble, on_grid(_reference(settings, folder)), rng=rng, **grid))
    judge = hashlib.sha256(b"".join(reference[name].to_numpy().tobytes() for name in fields.targets)).hexdigest()
    return {"diagnostics": xr.merge(found, combine_attrs="no_conflicts").assign_attrs(reference_sha256=judge)}


def _offline(settings: Settings, closure: Any, reference: xr.Dataset, max_lag: float) -> xr.Dataset | None:
    """Score the closure along the reference; None, with a note, where it cannot be driven by it."""
    fields = getattr(closure, "fields", None) or settings.of(reference)
    dt, given = getattr(closure, "dt", None) or settings.coarse.dt, settings.offline
    try:
        drawn = offline.draw(closure, reference, fields, dt=dt, members=given.members, steps=given.steps,
                             seed=settings.seeds["offline"])  # fmt: skip
    except ValueError as error:
        if getattr(closure, "coarse_dt", None) is None:
            raise
        _log.warning("note: the closure is not driven by the reference: %s", error)
        return None
    return offline.scores(drawn, fields.of(reference), max_lag)


def score_table(diagnostics: xr.Dataset) -> str:
    """Return the scores as plain text: offline, and of the coarse run and its forecasts where there are any."""
    parts = []
    for names, one in each(diagnostics):
        parts += [said(names)] if names else []
        parts.append(report.score_table(one))
        parts += [tables.score_table(one)] if "hellinger_z" in one else []
        parts += [forecast_tables.score_table(one)] if "crps" in one else []
    return "\n\n".join(part for part in parts if part)


def write_report(folder: RunFolder) -> None:
    """Draw the figures of a finished run and write its page."""
    settings = Settings.from_config(folder.config)
    diagnostics, closure = folder.read("diagnostics"), _closure(settings, folder)
    coarse, ensemble = (None if folder.lacks(name) else folder.read(name) for name in ("coarse", "forecast"))
    truth = None if coarse is None else _reference(settings, folder)
    runs = {"truth": truth, "coarse": coarse, "ensemble": ensemble}
    sites = _sites(settings, folder)
    parts = [
        _part(names, one, {name: _alone(settings, run, number) for name, run in runs.items() if run is not None}, sites)
        for number, (names, one) in enumerate(each(diagnostics))
    ]
    unit = time_unit(folder.read("truth"))
    found: dict[str, Any] = {}
    extrapolates = [] if coarse is None else failures.outside(coarse)
    if findings := [*extrapolates, *(finding for part in parts for finding in part.findings)]:
        found["findings"] = (failures.HEADING, findings, CRITERIA)
    drawn = {name: figure for part in parts for name, figure in part.figures.items()}
    theirs = dict(zip(FIELDS, settings.fields.names, strict=False))
    several = len(settings.fields.names) > len(theirs)  # each part of the page says what is what
    what = f"{said(theirs)} " if not several and theirs.keys() - theirs.values() else ""
    folder.write_page(
        title="a closure for data of your own",
        headline=what + "\n\n".join(part.headline for part in parts if part.headline),
        tables=[
            *(table for part in parts for table in part.tables),
            *report.covariances(diagnostics),
            *closure_tables.tables(closure, unit),
        ],
        figures={**drawn, **pictures(xr.Dataset(), closure=closure, unit=unit)},
        notes=_notes(settings, folder, diagnostics, coarse is not None),
        **found,
    )


def _notes(settings: Settings, folder: RunFolder, diagnostics: xr.Dataset, coarse: bool) -> list[str]:
    """Return what else the reader of a page should know, one with a coarse run perhaps."""
    truth = folder.read("truth")
    fields = settings.of(truth).of(truth)
    found = fields.no_tendencies if coarse else []
    found += [_NO_RING] if coarse and "spectrum_z" not in diagnostics else []
    there = f"{fields.sites} of {fields.size} sites are there; the others are neither read nor drawn nor scored."
    return found if fields.mask is None else [*found, there]


def _sites(settings: Settings, folder: RunFolder) -> xr.DataArray | None:
    """Return the coordinate of the sites that there are; None where it has none, or they have several."""
    truth = folder.read("truth")
    fields = settings.of(truth).of(truth)
    if len(fields.dim) > 1 or fields.dim[0] not in fields.coordinates:
        return None
    sites = fields.coordinates[fields.dim[0]]
    return sites if fields.mask is None else sites[fields.kept]


def _part(
    names: Mapping[str, str], diagnostics: xr.Dataset, runs: Mapping[str, xr.Dataset], sites: xr.DataArray | None
) -> Part:
    """Say how good closure, coarse run and forecasts are by the scores of one variable."""
    says = [report.headline(diagnostics)]
    shown = [*report.tables(diagnostics), *tables.law(diagnostics)]
    if "hellinger_z" in diagnostics:
        says.append(tables.headline(diagnostics))
        shown += tables.tables(diagnostics)
    if "crps" in diagnostics:
        says.append(forecast_tables.headline(diagnostics))
        shown += forecast_tables.tables(diagnostics)
    findings = failures.failures(diagnostics, report.CHECKS)
    kept: dict[str, Any] = {
        name: runs[name] for name, score in _SHOWN_WITH.items() if score in diagnostics and name in runs
    }
    drawn = {**figures.pictures(diagnostics, sites), **pictures(diagnostics, **kept, sites=sites)}
    return Part(" ".join(sentence for sentence in says if sentence), shown, drawn, findings).called(names)


def _alone(settings: Settings, run: xr.Dataset, number: int) -> xr.Dataset:
    """Return the variables of a run that belong to part ``number`` of the page, as z, psi and observation on ``k``."""
    fields = settings.of(run)
    return _as_one(fields, run, number) if named(fields) and number < len(fields.predictors) else run


def _sources(settings: Settings) -> dict[str, tuple[Path, ...]]:
    """Return the user's files, data and code, that the files of the run are made of."""
    closure = code_of(settings.closure.kind) if settings.closure.own else ()
    coupled = (*closure, *code_of(settings.model)) if settings.model is not None else ()
    data = {"truth": (settings.truth,), "reference": (settings.reference,)}
    return data | {"closure": closure, "coarse": coupled, "forecast": coupled, "diagnostics": closure}


def _alone_score(name: str, diagnostics: xr.Dataset) -> float:
    return float(diagnostics[name])


def _score(name: str, of_one: Objective, diagnostics: xr.Dataset) -> float:
    """Return a score; of several variables the mean over them, of what has units over what climatology has."""
    scores = [(names, one) for names, one in each(diagnostics) if name in one]
    if not scores:
        raise KeyError(name)
    return float(np.mean([of_one(one) / (_climatology(name, one) if names else 1.0) for names, one in scores]))


def _climatology(name: str, scores: xr.Dataset) -> float:
    """Return what makes a score of one variable a number without units."""
    if name == "wasserstein_z":
        return float(scores["std"].sel(source="truth"))
    level = "offline_crps_climatology" if name == "offline_rmse" else f"{name}_climatology"
    return float(scores[level]) if level in scores else 1.0


_OFFLINE = ("offline_crps", "offline_rmse", "offline_covariance_error")
_OBJECTIVES: Mapping[str, Objective] = {**OBJECTIVES, **{name: partial(_alone_score, name) for name in _OFFLINE}}


WORKFLOW = Workflow(
    settings=Settings.from_config,
    stages={
        "read": Stage((), _read_stage),
        "fit": Stage(("truth",), _fit_stage),
        "integrate": Stage(("truth", "reference", "closure"), _integrate_stage),
        "forecast": Stage(("truth", "reference", "closure"), _forecast_stage),
        "diagnose": Stage(("truth", "reference", "closure", "coarse", "forecast"), _diagnose_stage),
    },
    files={
        "truth": File("truth", "read", ("data", "fields"), "Truth: training data of a closure"),
        "reference": File("reference", "read", ("data", "fields"), "Truth: the independent record that judges"),
        "closure": File("closure", "fit", ("closure", "coarse.dt"), "Closure"),
        "coarse": File("coarse", "integrate", ("model", "tendency", "coarse"), "Coarse model with a closure", True),
        "forecast": File(
            "forecast",
            "forecast",
            ("model", "tendency", "forecast", "coarse.scheme"),
            "Ensemble forecasts with a closure, and the truth they should meet",
            optional=True,
        ),
        "diagnostics": File("diagnostics", "diagnose", ("diagnostics", "offline"), "The closure beside the reference"),
    },
    table=score_table,
    write_report=write_report,
    objectives={name: partial(_score, name, of_one) for name, of_one in _OBJECTIVES.items()},
    sources=_sources,
)
