"""The data experiment: the user's truth read, a closure fitted to it, verified offline and, with a model, coupled.

Each stage is a plain function of the settings and of what the stages before it made; :data:`WORKFLOW` passes these
results through the files of a run folder, so that any stage can be repeated alone.
"""

from __future__ import annotations

import hashlib
import logging
import math
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.coarse import integrate
from l96closure.diagnostics import diagnose
from l96closure.diagnostics.forecast import verify
from l96closure.experiments.climate import closure_tables, failures, forecast_tables, tables
from l96closure.experiments.climate.batches import chosen_scheme
from l96closure.experiments.climate.figures import pictures
from l96closure.experiments.climate.stages import OBJECTIVES
from l96closure.experiments.data import figures, offline, report, sources
from l96closure.experiments.data.settings import Settings
from l96closure.experiments.own import Stepped, code_of
from l96closure.experiments.run_folder import File, RunFolder
from l96closure.experiments.workflow import Stage, Workflow
from l96closure.forecasts import forecast
from l96closure.pairing import mismatch, scheme_of, step_of
from l96closure.restart import Restart
from l96closure.series import time_step

__all__ = ["WORKFLOW", "score_table", "write_report"]

_log = logging.getLogger(__name__)

_NO_RING = (
    "the sites are no ring: covariances and correlations along it, spectra and waves are left out; sites are counted "
    "through in the order of the dimensions of the grid"
)
_PARTS, _LAGS = 5, 50  # of the reference, as long as the coarse run and as the longest lag
_MIN_LAGS = 20
_LEADS, _STEPS, _STARTS = 40, 10, 100  # leads, coarse steps between two of them at least, starts at most


def _read_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    truth, reference = sources.pair(settings.truth, settings.reference, settings.fields)
    return {"truth": truth, "reference": reference}


def _fitted(settings: Settings, folder: RunFolder, restart: Restart | None = None) -> Any:
    offered = {"fields": settings.known, "rng": settings.seeds["fit"], "restart": restart}
    truth = folder.read("truth")
    return settings.closure.fit(truth, dt=settings.coarse.dt or time_step("truth", truth), **offered)


def _fit_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    closure = _fitted(settings, folder, restart)
    if chosen := closure_tables.text(closure):
        _log.info("closure: %s", chosen)
    return {"closure": settings.closure.to_dataset(closure)}


def _closure(settings: Settings, folder: RunFolder) -> Any:
    """Return the closure of the run."""
    again = partial(_fitted, settings, folder)
    return settings.closure.from_file(folder.file("closure"), folder.read("closure"), again)


def _stepped(settings: Settings, folder: RunFolder) -> tuple[Any, float]:
    """Return the closure of the run, and the step of closure and coarse run."""
    closure = _closure(settings, folder)
    if any(getattr(closure, name, None) is not None for name in ("dt", "coarse_dt")):
        return closure, step_of(closure, settings.coarse.dt)
    dt = settings.coarse.dt or time_step("truth", folder.read("truth"))
    return Stepped(closure, dt), dt


def _without(folder: RunFolder, name: str) -> dict[str, xr.Dataset]:
    """Take the file away that a stage with nothing to do might have made in an earlier run."""
    folder.file(name).unlink(missing_ok=True)
    return {}


def _as_lorenz(settings: Settings, run: xr.Dataset) -> xr.Dataset:
    """Call the variables of a run as coarse model and diagnostics do, its sites counted through as ``k``."""
    (z,), dims = settings.known.predictors, ("time", *settings.known.dim)
    if set(run[z].dims) != set(dims):
        checks.reject(f"{z}.dims of the reference", run[z].dims, f"{dims}, one run, for a coarse run")
    named = {"z": run[z], "psi": run[settings.known.targets[0]]}
    flat = {name: each.transpose(*dims).to_numpy().reshape(run.sizes["time"], -1) for name, each in named.items()}
    variables = {name: (("time", "k"), flat[name], each.attrs) for name, each in named.items()}
    return xr.Dataset(variables, {"time": run["time"]}, run.attrs)


def _integrate_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    if settings.model is None:
        return _without(folder, "coarse")
    (closure, dt), coarse = _stepped(settings, folder), settings.coarse
    truth, reference = folder.read("truth"), _as_lorenz(settings, folder.read("reference"))
    field = truth[settings.known.predictors[0]].transpose(..., *settings.known.dim)
    states = field.to_numpy().reshape(-1, settings.known.of(truth).sites)
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
    with chosen_scheme():
        run = integrate(settings.model, closure, states[starts], steps=steps, save_every=min(every, steps), **how)
    for ours, theirs in (("z", settings.known.predictors[0]), ("psi", settings.known.targets[0]), ("time", "time")):
        run[ours].attrs.update(truth[theirs].attrs)
    return {"coarse": run}


def _forecast_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    if settings.model is None:
        return _without(folder, "forecast")
    (closure, dt), given = _stepped(settings, folder), settings.forecast
    reference = _as_lorenz(settings, folder.read("reference"))
    interval = time_step("reference", reference)
    ratio = Fraction(interval / dt).limit_denominator(1000)
    shortest = ratio.denominator * interval
    every = given.every or shortest * max(1, math.ceil(_STEPS / max(1, ratio.numerator)))
    records = _LEADS if given.lead is None else checks.multiple("forecast.lead", given.lead, "forecast.every", every)
    most = (reference.sizes["time"] - 1) // max(1, round(records * every / interval)) - 1
    if given.starts is None and most < 2:
        _log.warning("note: the reference is too short for forecasts of lead %g", records * every)
        return _without(folder, "forecast")
    how: dict[str, Any] = {"rng": settings.seeds["forecast"], "scheme": settings.coarse.scheme, "restart": restart}
    how |= {"starts": given.starts or min(_STARTS, most), "members": given.members}
    with chosen_scheme():
        made = forecast(settings.model, closure, reference, leads=every * np.arange(records + 1), **how)
    return {"forecast": made.astype(np.float32)}


def _diagnose_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    reference, closure, rng = folder.read("reference"), _closure(settings, folder), settings.seeds["intervals"]
    fields = settings.known.of(folder.read("truth"))
    interval = time_step("reference", reference)
    max_lag = settings.diagnostics.max_lag or max(_MIN_LAGS, reference.sizes["time"] // _LAGS) * interval
    offered = (_offline(settings, closure, reference, max_lag), offline.law(closure, reference, fields, max_lag))
    found = [each for each in offered if each is not None]
    if not folder.lacks("coarse"):
        coarse = folder.read("coarse")
        longest = min(max_lag, (coarse.sizes["time"] - 1) * time_step("coarse", coarse))
        how: dict[str, Any] = {"bins": settings.diagnostics.bins, "max_lag": longest, "ring": fields.ring}
        found.append(diagnose(_as_lorenz(settings, reference), coarse, **how))
    if not folder.lacks("forecast"):
        found.append(verify(folder.read("forecast"), _as_lorenz(settings, reference), rng=rng))
    judge = hashlib.sha256(reference[settings.known.targets[0]].to_numpy().tobytes()).hexdigest()
    return {"diagnostics": xr.merge(found, combine_attrs="no_conflicts").assign_attrs(reference_sha256=judge)}


def _offline(settings: Settings, closure: Any, reference: xr.Dataset, max_lag: float) -> xr.Dataset | None:
    """Score the closure along the reference; None, with a note, where it cannot be driven by it."""
    fields = getattr(closure, "fields", None) or settings.known.of(reference)
    dt, given = getattr(closure, "dt", None) or settings.coarse.dt, settings.offline
    try:
        drawn = offline.draw(closure, reference, fields, dt=dt, members=given.members, steps=given.steps,
                             seed=settings.seeds["offline"])  # fmt: skip
    except ValueError as error:
        if getattr(closure, "coarse_dt", None) is None:
            raise
        _log.warning("note: the closure is not driven by the reference: %s", error)
        return None
    return offline.scores(drawn, fields.of(reference).units[-1], max_lag)


def score_table(diagnostics: xr.Dataset) -> str:
    """Return the scores as plain text: offline, and of the coarse run and its forecasts where there are any."""
    parts = [report.score_table(diagnostics)]
    parts += [tables.score_table(diagnostics)] if "hellinger_z" in diagnostics else []
    parts += [forecast_tables.score_table(diagnostics)] if "crps" in diagnostics else []
    return "\n\n".join(part for part in parts if part)


def write_report(folder: RunFolder) -> None:
    """Draw the figures of a finished run and write its page."""
    settings = Settings.from_config(folder.config)
    diagnostics, closure = folder.read("diagnostics"), _closure(settings, folder)
    coarse, ensemble = (None if folder.lacks(name) else folder.read(name) for name in ("coarse", "forecast"))
    reference = None if coarse is None else _as_lorenz(settings, folder.read("reference"))
    coupled: dict[str, Any] = {"truth": reference, "coarse": coarse, "ensemble": ensemble, "closure": closure}
    says = [report.headline(diagnostics)]
    shown = [*report.tables(diagnostics), *tables.law(diagnostics)]
    found: dict[str, Any] = {}
    if coarse is not None:
        says.append(tables.headline(diagnostics))
        shown += tables.tables(diagnostics)
        if ensemble is not None:
            found["findings"] = (failures.HEADING, failures.failures(diagnostics), failures.CRITERIA)
    if ensemble is not None:
        says.append(forecast_tables.headline(diagnostics))
        shown += forecast_tables.tables(diagnostics)
    folder.write_page(
        title="a closure for data of your own",
        headline=" ".join(part for part in says if part),
        tables=[*shown, *closure_tables.tables(closure)],
        figures={**figures.pictures(diagnostics), **pictures(diagnostics, **coupled)},
        notes=[_NO_RING] if coarse is not None and "spectrum_z" not in diagnostics else [],
        **found,
    )


def _sources(settings: Settings) -> dict[str, tuple[Path, ...]]:
    """Return the user's files, data and code, that the files of the run are made of."""
    closure = code_of(settings.closure.kind) if settings.closure.own else ()
    coupled = (*closure, *code_of(settings.model)) if settings.model is not None else ()
    data = {"truth": (settings.truth,), "reference": (settings.reference,)}
    return data | {"closure": closure, "coarse": coupled, "forecast": coupled, "diagnostics": closure}


def _score(name: str, diagnostics: xr.Dataset) -> float:
    return float(diagnostics[name])


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
    objectives={
        **OBJECTIVES,
        **{name: partial(_score, name) for name in ("offline_crps", "offline_rmse", "offline_covariance_error")},
    },
    sources=_sources,
)
