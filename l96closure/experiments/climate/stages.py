"""The closure experiment: truth, closure, coarse run, forecasts, diagnostics, report.

Each stage is a plain function of the settings and of what the stages before it made; :data:`WORKFLOW` passes these
results through the files of a run folder, so that any stage can be repeated alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks, closures
from l96closure.beside import Beside
from l96closure.coarse import BlowUpError
from l96closure.compiled_loop import CompiledLoop
from l96closure.diagnostics import diagnose
from l96closure.diagnostics.forecast import headline_leads, verify
from l96closure.diagnostics.marks import beside_mark
from l96closure.diagnostics.reliability import pit
from l96closure.diagnostics.scorecard import DISTANCES, FORECASTS, LAW, SPECTRA, scalars
from l96closure.experiments.climate import closure_tables, failures, forecast_tables, tables
from l96closure.experiments.climate.batches import chosen_scheme, run_batches
from l96closure.experiments.climate.figures import pictures
from l96closure.experiments.climate.settings import Settings
from l96closure.experiments.climate.verdicts import CRITERIA
from l96closure.experiments.own import Stepped, code_of
from l96closure.experiments.run_folder import File, Product, RunFolder
from l96closure.experiments.workflow import Objective, Stage, Workflow
from l96closure.forecasts import forecast as forecast_coarse
from l96closure.forecasts import mark as forecast_full
from l96closure.pairing import mismatch
from l96closure.restart import Restart

_log = logging.getLogger(__name__)

BLOW_UP = "blow_up"
"""Name and kind of the file that holds the last good state of a coarse run that blew up."""


_NEVER_COMPILED = (closures.Analog, closures.SpectralAutoregression)
_SUMMED = (closures.Chain, closures.Moments)  # laws that sum over samples at every step


def simulate(settings: Settings, restart: Restart | None = None) -> tuple[xr.Dataset, Callable[[], xr.Dataset]]:
    """Run the truth twice, from different seeds.

    Returns
    -------
    The training truth, and what makes the reference, as the model's ``simulate`` returns them.
    """
    seeds = settings.seeds
    truth = settings.model.simulate(**settings.training, rng=seeds["truth"], restart=restart and restart.of_piece(0))
    recorded = {
        "samples": settings.reference_samples,
        "every": settings.reference_every,
        "spinup": settings.reference.spinup,
    }
    reference = partial(
        settings.judged.simulate,
        **{**settings.training, **recorded},
        rng=seeds["reference"],
        restart=restart and restart.of_piece(1, last=True),
    )
    return truth, reference


def fit(settings: Settings, truth: xr.Dataset, restart: Restart | None = None) -> Any:
    """Fit the closure to the training truth, for the step of the coarse run.

    Returns
    -------
    An instance of the class that the settings name.
    """
    ours = {"rng": settings.seeds["fit"], "selection": settings.judge, "restart": restart}
    return settings.chosen.fit(truth, dt=settings.coarse.dt, **ours)


def _closure(settings: Settings, folder: RunFolder) -> Any:
    """Return the closure of a run, which states its step."""
    closure = settings.chosen.from_file(
        folder.file("closure"), folder.read("closure"), lambda: fit(settings, folder.read("truth"))
    )
    known = any(getattr(closure, name, None) is not None for name in ("dt", "coarse_dt"))
    return closure if known or not settings.chosen.own else Stepped(closure, settings.coarse.dt)


def integrate(
    settings: Settings,
    truth: xr.Dataset,
    closure: closures.Closure,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Run the coarse model with the closure, in as many pieces as there are batches of members.

    The members start from states of the training truth, spread evenly over its length: none of them starts on
    the reference that judges them. Where the reference has other parameters, they first run for its spin-up time.

    Raises
    ------
    ValueError
        There are more members than training samples.
    BlowUpError
        A member stopped being finite, see :func:`l96closure.experiments.climate.batches.run_batches`.
    """
    coarse = settings.coarse
    if coarse.members > truth.sizes["time"]:
        checks.reject("coarse.members", coarse.members, f"at most the {truth.sizes['time']} training samples")
    starts = np.linspace(0, truth.sizes["time"] - 1, coarse.members).round().astype(int)
    return _described(run_batches(settings, truth["z"].to_numpy()[starts], closure, restart), truth)


def _described(run: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Give the variables of a run the attributes they have in the truth: they are the same quantities."""
    for name in run.variables:
        run[name].attrs.update(truth[name].attrs if name in truth.variables else {})
    return run


def forecast(
    settings: Settings,
    reference: xr.Dataset,
    closure: closures.Closure,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Make ensemble forecasts from states of the reference.

    Returns
    -------
    The forecasts and the truth they should meet, as :func:`l96closure.forecast` returns them, in single precision.
    """
    with chosen_scheme():
        ensemble = forecast_coarse(
            settings.judged,
            closure,
            reference,
            starts=settings.forecast.starts,
            members=settings.forecast.members,
            leads=settings.forecast.leads,
            past=settings.forecast.past,
            rng=settings.seeds["forecast"],
            scheme=settings.coarse.scheme,
            restart=restart,
        )
    return ensemble.astype(np.float32)


def mark(settings: Settings, reference: xr.Dataset, restart: Restart | None = None) -> xr.Dataset:
    """Forecast with the full model, its fast variables spun up along the recorded z: the mark for the forecasts.

    Returns
    -------
    Forecasts and truth as :func:`l96closure.mark` returns them, in single precision.

    Raises
    ------
    ValueError
        The system has no fast variables to spin up, or the reference is too short for their spin-up.
    """
    return forecast_full(
        settings.judged,
        reference,
        starts=settings.forecast.starts,
        members=settings.forecast.mark_members,
        leads=settings.forecast.leads,
        spinup=settings.forecast.mark_spinup,
        most=settings.forecast.mark_starts,
        rng=settings.seeds["mark"],
        restart=restart,
    ).astype(np.float32)


def _simulate_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, Product]:
    truth, reference = simulate(settings, restart)
    return {"truth": truth, "reference": reference}


def _fit_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    with settings.compute.engaged():
        kept = restart if settings.compute.engine == "local" else None  # a cluster does a piece again that it has lost
        closure = fit(settings, folder.read("truth"), kept)
    fitted = settings.chosen.to_dataset(closure)
    _log.info("closure: %s", closure_tables.text(closure))
    if "sinkhorn_residual" in fitted:
        _log.info(
            "Sinkhorn: residual at most %.1e after at most %d iterations, %d samples",
            fitted["sinkhorn_residual"].max(),
            fitted["sinkhorn_iterations"].max(),
            fitted.sizes["sample"],
        )
    return {"closure": fitted}


def _prepare_integration(settings: Settings) -> None:
    """Let the compiled loop be compiled meanwhile, where the closure is to be one that it takes."""
    law = settings.chosen.arguments.get("law")
    if settings.chosen.kind not in _NEVER_COMPILED and not settings.chosen.own and not isinstance(law, _SUMMED):
        CompiledLoop.prepare()


def _integrate_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    truth, closure = folder.read("truth"), _closure(settings, folder)
    folder.file(BLOW_UP).unlink(missing_ok=True)
    if (why := mismatch(closure, settings.coarse.scheme)) is not None:
        _log.warning("note: %s", why)
    kept = restart if settings.compute.engine == "local" else None  # a cluster does a piece again that it has lost
    try:
        with settings.compute.engaged():
            run = integrate(settings, truth, closure, kept)
    except BlowUpError as error:
        folder.write_aside(BLOW_UP, error.last, kind=BLOW_UP, title="Last good state of a coarse run that blew up")
        good = error.good
        if not settings.coarse.keep_good or good.sizes["time"] == 0:
            raise
        _log.warning("note: %s; what came before is kept", error)
        when = {f"blow_up_{name}": error.last.attrs[name] for name in ("member", "step")}
        run = _described(good, truth).assign_attrs(when)
    return {"coarse": run}


def _forecast_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    reference, closure = folder.read("reference"), _closure(settings, folder)
    return {"forecast": forecast(settings, reference, closure, restart)}


def _mark_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    return {"mark": mark(settings, folder.read("reference"), restart)}


def _diagnose_stage(settings: Settings, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
    coarse, ensemble = (folder.read(name) for name in ("coarse", "forecast"))
    whole = folder.read("reference")
    reference = _as_often(whole, coarse)
    rng = settings.seeds["intervals"]
    closure = _closure(settings, folder)
    with Beside(partial(reliability, settings, whole, closure), foreign=settings.chosen.own) as law:
        scores = [diagnose(reference, coarse, **asdict(settings.diagnostics)), verify(ensemble, reference, rng=rng)]
        if not folder.lacks("mark"):
            scores.append(beside_mark(ensemble, folder.read("mark"), reference, rng=rng))
        try:
            stated = law.result()
        except ValueError as error:  # recorded too coarsely for the closure's lags, say
            _log.warning("note: the law of the closure is not held against the reference: %s", error)
            stated = None
    if stated is not None:
        scores.append(stated)
    return {"diagnostics": xr.merge(scores, combine_attrs="no_conflicts")}


def reliability(settings: Settings, reference: xr.Dataset, closure: Any) -> xr.Dataset | None:
    """Hold the closure's conditional law against the reference, which it was not fitted to.

    Parameters
    ----------
    closure : may have a method ``probability``, which gives for a run the probabilities (time, k) that the law gives to
        values of psi below those that happened, NaN where the past is too short for it.

    Returns
    -------
    Result of :func:`~l96closure.diagnostics.reliability.pit`; None where the closure states no law.

    Raises
    ------
    ValueError
        It states none for a record like this.
    """
    if not hasattr(closure, "probability"):
        return None
    return pit(closure.probability(reference), max_lag=settings.diagnostics.max_lag)


def _as_often(reference: xr.Dataset, coarse: xr.Dataset) -> xr.Dataset:
    """Take the reference, which is recorded at every coarse step, as often as the coarse run is."""
    return reference.isel(time=slice(None, None, int(coarse.attrs["save_every"])))


def score_table(diagnostics: xr.Dataset) -> str:
    """Return the scores of climate and forecasts as plain text."""
    return f"{tables.score_table(diagnostics)}\n\n{forecast_tables.score_table(diagnostics)}"


def write_report(folder: RunFolder) -> None:
    """Draw the figures of a finished run and write its page."""
    settings = Settings.from_config(folder.config)
    closure = _closure(settings, folder)
    coarse, ensemble, diagnostics = (folder.read(name) for name in ("coarse", "forecast", "diagnostics"))
    reference = _as_often(folder.read("reference"), coarse)
    folder.write_page(
        title="the coarse model beside the truth",
        headline=" ".join(
            [*judged_elsewhere(settings), tables.headline(diagnostics), forecast_tables.headline(diagnostics)]
        ),
        tables=[
            *tables.tables(diagnostics),
            *forecast_tables.tables(diagnostics),
            *tables.law(diagnostics),
            *closure_tables.tables(closure),
        ],
        findings=(failures.HEADING, [*failures.outside(coarse), *failures.failures(diagnostics)], CRITERIA),
        figures=pictures(diagnostics, truth=reference, coarse=coarse, ensemble=ensemble, closure=closure),
        notes=_blow_up_notes(coarse),
    )


def judged_elsewhere(settings: Settings) -> list[str]:
    """Say that a closure is judged elsewhere than it was fitted, if so."""
    changed = {name: (getattr(settings.model, name), new) for name, new in settings.reference.model.items()}
    told = [(f"{name} = {old:g}", f"{name} = {new:g}") for name, (old, new) in changed.items() if new != old]
    if not told:
        return []
    trained, judged = (", ".join(some) for some in zip(*told, strict=True))
    return [
        f"The closure was fitted to the model with {trained}; the coarse run, the truth beside it and all scores are "
        f"of {judged}, which it has not seen."
    ]


def _blow_up_notes(coarse: xr.Dataset) -> list[str]:
    """Say that a coarse run did not last, if so."""
    if "blow_up_step" not in coarse.attrs:
        return []
    member, step = coarse.attrs["blow_up_member"], int(coarse.attrs["blow_up_step"])
    time = f"{step * coarse.attrs['dt']:.6g} time units"
    return [f"The coarse model blew up in member {member} after {time}: this is what came before."]


def _alone(name: str, diagnostics: xr.Dataset) -> float:
    return scalars(diagnostics, name)[0]


def _at_middle_lead(name: str, diagnostics: xr.Dataset) -> float:
    leads = headline_leads(diagnostics)
    return _alone(name, diagnostics.sel(lead=leads[len(leads) // 2]))


OBJECTIVES: Mapping[str, Objective] = {
    **{name: partial(_alone, name) for name in (*DISTANCES, *SPECTRA, LAW.name)},
    **{name: partial(_at_middle_lead, name) for name, score in FORECASTS.items() if "_climatology" in score.parts},
}
"""Distances of the climate, largest errors of spectra and law, and scores of forecasts at the lead of the headline."""


def _sources(settings: Settings) -> dict[str, tuple[Path, ...]]:
    """Return the user's code that files of the run are made of."""
    code = code_of(settings.chosen.kind) if settings.chosen.own else ()
    return dict.fromkeys(("closure", "coarse", "forecast", "diagnostics"), code)


_FORECASTS = ("forecast.starts", "forecast.lead", "forecast.every")  # alike for a closure and for its mark


WORKFLOW = Workflow(
    settings=Settings.from_config,
    stages={
        "simulate": Stage((), _simulate_stage),
        "fit": Stage(("truth",), _fit_stage),
        "integrate": Stage(("truth", "closure"), _integrate_stage, prepare=_prepare_integration),
        "forecast": Stage(("reference", "closure"), _forecast_stage),
        "mark": Stage(("reference",), _mark_stage, asked_for=True),
        "diagnose": Stage(("reference", "closure", "coarse", "forecast", "mark"), _diagnose_stage),
    },
    files={
        "truth": File("truth", "simulate", ("model", "training"), "Truth: training data of a closure"),
        "reference": File(
            "reference",
            "simulate",
            ("model", "training", "reference", "coarse.dt"),
            "Truth: the independent run that judges the coarse one",
        ),
        "closure": File("closure", "fit", ("closure", "coarse.dt"), "Closure of the coarse model"),
        "coarse": File(
            "coarse",
            "integrate",
            ("model", "coarse", "reference.model", "reference.spinup"),
            "Coarse model with a closure",
        ),
        "forecast": File(
            "forecast",
            "forecast",
            ("model", "reference.model", *_FORECASTS, "forecast.members", "forecast.past", "coarse.scheme"),
            "Ensemble forecasts with a closure, and the truth they should meet",
        ),
        "mark": File(
            "mark",
            "mark",
            (
                *("model", "reference.model", *_FORECASTS),
                *("forecast.mark_starts", "forecast.mark_members", "forecast.mark_spinup"),
            ),
            "Ensemble forecasts with the full model, the mark for those with a closure",
            optional=True,
        ),
        "diagnostics": File(
            "diagnostics",
            "diagnose",
            ("diagnostics",),
            "Climate and forecasts of the coarse model beside the truth",
        ),
    },
    table=score_table,
    write_report=write_report,
    objectives=OBJECTIVES,
    sources=_sources,
)
