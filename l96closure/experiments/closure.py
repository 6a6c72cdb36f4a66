"""The closure experiment: two-scale truth, closure, coarse run, diagnostics, report.

Each stage is a plain function of the settings and of what the stages before it made; :func:`run` passes these
results through the files of a run folder, so that any stage can be repeated alone.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks, closures, figures, lorenz96, report
from l96closure.coarse import integrate as integrate_coarse
from l96closure.diagnostics import diagnose
from l96closure.experiments.run_folder import TITLES, RunFolder
from l96closure.experiments.settings import Settings

__all__ = ["STAGES", "fit", "integrate", "run", "simulate", "write_report"]

STAGES = ("simulate", "fit", "integrate", "diagnose", "report")

_log = logging.getLogger(__name__)


def simulate(settings: Settings, progress: bool = False) -> tuple[xr.Dataset, xr.Dataset]:
    """Run the two-scale model twice, from different seeds.

    Returns
    -------
    The training truth and the reference, as :func:`l96closure.simulate` returns them.
    """
    seeds = settings.seeds
    truth = lorenz96.simulate(settings.model, **settings.training, seed=seeds["truth"], progress=progress)
    reference = lorenz96.simulate(
        settings.model,
        **{
            **settings.training,
            "samples": max(1, round(settings.reference.duration / settings.coarse.interval)),
            "every": settings.reference_every,
            "spinup": settings.reference.spinup,
        },
        seed=seeds["reference"],
        progress=progress,
    )
    return truth, reference


def fit(settings: Settings, truth: xr.Dataset, progress: bool = False) -> Any:
    """Fit the closure to the training truth.

    Returns
    -------
    An instance of the class of :data:`l96closure.closures.CLOSURES` that the settings name.
    """
    method = closures.CLOSURES[settings.closure].fit
    ours = {"seed": settings.seeds["fit"], "progress": progress}
    taken = {name: value for name, value in ours.items() if name in inspect.signature(method).parameters}
    return method(truth, **settings.closure_arguments, **taken)


def integrate(settings: Settings, truth: xr.Dataset, closure: closures.Closure, progress: bool = False) -> xr.Dataset:
    """Run the coarse model with the closure.

    The members start from states of the training truth, spread evenly over its length: none of them starts on
    the reference that judges them.

    Raises
    ------
    ValueError
        There are more members than training samples.
    """
    coarse = settings.coarse
    if coarse.members > truth.sizes["time"]:
        checks.reject("coarse.members", coarse.members, f"at most the {truth.sizes['time']} training samples")
    starts = np.linspace(0, truth.sizes["time"] - 1, coarse.members).round().astype(int)
    return integrate_coarse(
        partial(lorenz96.resolved_tendency, F=settings.model.F),
        closure,
        truth["z"].to_numpy()[starts],
        steps=coarse.steps,
        dt=coarse.dt,
        scheme=coarse.scheme,
        save_every=coarse.save_every,
        rng=settings.seeds["coarse"],
        progress=progress,
    )


def run(
    config: Mapping[str, Any],
    run_dir: str | os.PathLike[str],
    stages: Sequence[str] = STAGES,
    *,
    command: str = "l96closure.experiments.closure.run",
    progress: bool = False,
) -> None:
    """Run stages of the experiment in a folder; print the scores once the run has been diagnosed.

    Parameters
    ----------
    config : the configuration, as ``conf/`` describes it.
    run_dir : the run folder, made when missing; a stage reads there what a stage left out has made earlier.
    stages : any of :data:`STAGES`; they run in the order of that list.
    command : the command that the files are to name as their origin.
    progress : show progress bars.

    Raises
    ------
    ValueError
        A setting is unknown or out of its range, or a stage needs a file that is not there.
    FloatingPointError
        A model run stopped being finite.
    """
    settings = Settings.from_config(config)
    wanted = _in_order(stages)
    folder = RunFolder(Path(run_dir), config, command, settings.seeds)
    folder.check_inputs(wanted)
    notes = folder.differences(wanted)
    for note in notes:
        _log.warning("note: %s", note)
    folder.path.mkdir(parents=True, exist_ok=True)
    for stage in wanted:
        started = time.perf_counter()
        if stage == "report":
            write_report(folder, notes)
        else:
            products = _products(stage, settings, folder, progress)
            seconds = time.perf_counter() - started
            for kind, data in products.items():
                folder.write(kind, data, seconds)
        _log.info("%-9s %6.1f s", stage, time.perf_counter() - started)
    if "diagnose" in wanted or "report" in wanted:
        print(report.score_table(folder.read("diagnostics")))


def _products(stage: str, settings: Settings, folder: RunFolder, progress: bool) -> dict[str, xr.Dataset]:
    """Run one stage on the files that it needs; return what it made, by kind of file."""
    match stage:
        case "simulate":
            truth, reference = simulate(settings, progress)
            return {"truth": truth, "reference": reference}
        case "fit":
            fitted = fit(settings, folder.read("truth"), progress).to_dataset()
            if "sinkhorn_residual" in fitted:
                _log.info(
                    "Sinkhorn: residual at most %.1e after at most %d iterations, %d samples",
                    fitted["sinkhorn_residual"].max(),
                    fitted["sinkhorn_iterations"].max(),
                    fitted.sizes["sample"],
                )
            return {"closure": fitted}
        case "integrate":
            truth, closure = folder.read("truth"), closures.load(folder.file("closure"))
            return {"coarse": integrate(settings, truth, closure, progress)}
        case _:
            reference, coarse = folder.read("reference"), folder.read("coarse")
            return {"diagnostics": diagnose(reference, coarse, **asdict(settings.diagnostics))}


def write_report(folder: RunFolder, notes: Sequence[str] = ()) -> None:
    """Draw the figures of a finished run and write its page; ``notes`` are shown on it."""
    reference, coarse, diagnostics = (folder.read(kind) for kind in ("reference", "coarse", "diagnostics"))
    pictures = figures.save_all(folder.path / "figures", reference, coarse, diagnostics)
    report.write_report(
        folder.path / "report.html",
        title=f"{folder.config['experiment_name']}: the coarse model beside the truth",
        settings_yaml=folder.config_yaml,
        diagnostics=diagnostics,
        figures=pictures,
        downloads={folder.file(kind).name: title for kind, title in TITLES.items()},
        provenance=folder.provenance(),
        notes=list(notes),
    )


def _in_order(stages: Sequence[str]) -> list[str]:
    if isinstance(stages, str) or not stages:
        checks.reject("stages", stages, f"a list of some of {', '.join(STAGES)}")
    for stage in stages:
        checks.one_of("stages", stage, STAGES)
    return [stage for stage in STAGES if stage in stages]
