"""Finished runs laid side by side: one Dataset, and what its reader has to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from l96closure.attributes import ERROR, labelled
from l96closure.diagnostics.scorecard import (
    BOUNDED,
    DISTANCES,
    FIELDS,
    FORECASTS,
    LAW,
    MEMORY,
    MOMENTS,
    NEIGHBOURS,
    RESIDUAL,
    SPECTRA,
)
from l96closure.experiments.comparison.finished import FINISHED, Run
from l96closure.experiments.comparison.labels import abridged, labels
from l96closure.experiments.data import offline
from l96closure.experiments.stored import number
from l96closure.subgrid import HELD

_LAGS = (1, 10, 50)  # of the residual's autocorrelation, in coarse steps
_FORECASTS = [variable for score in FORECASTS.values() for variable in score.variables]
_CLIMATE, _RING = (
    [variable for scores in each for score in scores.values() for variable in score.variables]
    for each in ((DISTANCES, MOMENTS), (SPECTRA, NEIGHBOURS))
)
_RATIOS = [f"spectrum_ratio_{name}{part}" for name in FIELDS for part in BOUNDED]
_DENSITIES = [f"density_{name}" for name in FIELDS]
_SPACE_TIME = [f"space_time_correlation_{name}{part}" for name in (*FIELDS, *RESIDUAL) for part in ("", ERROR)]
_OFFLINE = [
    *(variable for score in offline.SCORES.values() for variable in score.variables),
    *("offline_autocorrelation", f"offline_autocorrelation{ERROR}"),
]
_OF_DATA = {
    "draws along the reference": _OFFLINE,
    "the coarse run": [*_CLIMATE, *_DENSITIES, *MEMORY.variables],
    "structure along the ring": [*_RING, *_RATIOS],
    "forecasts": _FORECASTS,
}
"""What a run on data of the user's own may have or not."""

_NAMES = {
    "run": "run, named by the settings that tell it from the others",
    "folder": "folder of the run",
    "status": "how the run ended",
    "parts": "what the fitted closure is made of",
    "fit_time": "wall time of the fit of the closure",
    "step_time": "wall time of the coarse run per step and member",
    LAW.name: LAW.label,
}


def compare(runs: Sequence[Run], folder: Path) -> tuple[xr.Dataset, list[str]]:
    """Lay runs side by side.

    All must be judged by a truth of the same parameters; another stretch of it, by another seed, say, will do. What
    the runs do not measure in the same way is left out, or left unranked where it still means something beside its own
    floor.

    Parameters
    ----------
    runs : result of :func:`l96closure.experiments.comparison.finished.read` for each; one or more have finished.
    folder : where the comparison goes; the folders of the runs are named as seen from there.

    Returns
    -------
    - Dataset with the dimension ``run``, whose coordinate holds the labels. The variables have the names they have
      in ``diagnostics.nc``: distances with floor and interval, moments, densities, ratios and largest relative errors
      of the spectra along the ring, correlations between neighbours and in space and time (where all runs have them),
      the largest error of the law (NaN where a closure states none), scores of forecasts by ``lead``, and the
      autocorrelation of the residual at 1, 10 and 50
      coarse steps, where stored; of runs on data of the user's own those of these that all have, and the scores of
      draws along the reference; further ``fit_time`` and ``step_time`` in seconds, ``folder``, ``status`` and the
      ``parts`` of the closure. A run that did not finish has NaN. The attribute ``unranked`` names the distances that
      are not measured alike, ``coarse_dt`` is the coarse step behind the lags.
    - Sentences about what is left out or unranked, and why.

    Raises
    ------
    ValueError
        No run has finished, one has diagnostics that lack something, or they were judged by different truths.
    """
    finished = [run for run in runs if run.scores is not None]
    if not finished:
        raise ValueError(f"none of the {len(runs)} runs can be compared; {runs[0].path}: {runs[0].status}")
    _check_scores(finished)
    _check_truth(finished)
    paths = [str(run.path) for run in runs]
    short = [run.path.name for run in runs]
    configs = [run.config for run in runs]
    label = labels(configs, short if len(set(short)) == len(runs) else paths)
    leads, left_out, unranked, notes = _common(finished)
    dt = finished[0].dt
    columns = [_column(run.scores, leads, left_out, dt) for run in finished if run.scores is not None]
    data = xr.concat(
        columns, dim="run", coords="minimal", compat="override", join="override", combine_attrs="drop_conflicts"
    ).drop_attrs(deep=False)
    data = data.assign_coords(
        run=[name for name, run in zip(label, runs, strict=True) if run.scores is not None]
    ).reindex(run=label)
    for name, values in (("fit_time", [run.fit_time for run in runs]), ("step_time", [run.step_time for run in runs])):
        data[name] = "run", values, {"units": "s"}
    data = data.assign_coords(
        folder=("run", [relpath(run.path.resolve(), folder.resolve()) for run in runs]),
        status=("run", [run.status for run in runs]),
        parts=("run", [run.parts for run in runs]),
    )
    notes += abridged(configs, label)
    notes += [f"{name}: {run.status}." for name, run in zip(label, runs, strict=True) if run.status != FINISHED]
    return labelled(data, _NAMES).assign_attrs(unranked=" ".join(unranked), coarse_dt=dt), notes


def _common(runs: Sequence[Run]) -> tuple[list[float], list[str], list[str], list[str]]:
    """Return the leads all have, variables to be left out, distances not to be ranked, and notes on all three."""
    scores = [run.scores for run in runs if run.scores is not None]
    notes: list[str] = []
    unranked: list[str] = []
    left_out = [name for names in _OF_DATA.values() for name in names if any(name not in data for data in scores)]
    for what, names in _OF_DATA.items():
        have = [any(name in data for name in names) for data in scores]
        if any(have) and not all(have):
            notes.append(f"Scores of {what} are left out: not all runs have them.")
    if found := _values(runs, _realisation):
        notes.append(f"The runs are judged by different stretches of truth ({found}): each has a floor of its own.")
    if found := _values(runs, _definition_of_psi):
        of_psi = ("psi", "joint", "residual", "pit")
        every = (*_CLIMATE, *_RING, *_RATIOS, *_DENSITIES, *_SPACE_TIME, *MEMORY.variables, *LAW.variables)
        left_out += [name for name in every if any(part in name for part in of_psi)]
        notes.append(f"Scores of ψ are left out: the runs define it differently ({found}).")
    if "hellinger_z" not in left_out and (found := _values(runs, _length)):
        unranked += DISTANCES
        notes.append(
            f"Distances of the climate are not ranked: they shrink as runs grow, and these differ ({found}). "
            "Read each beside its own floor."
        )
    for along in dict.fromkeys(data.attrs["anomalies_along"] for data in scores if "anomalies_along" in data.attrs):
        notes.append(f"z and ψ are anomalies from the truth's mean at each place along {along}.")
    bins = _values(runs, lambda run: {"diagnostics.bins": run.config["diagnostics"].get("bins")})
    if "hellinger_z" not in left_out and (found := bins):
        unranked += [name for name in DISTANCES if name.startswith("hellinger") and name not in unranked]
        notes.append(f"Hellinger distances are not ranked: they depend on the bins, and these differ ({found}).")
    for name in _DENSITIES:
        at = name.replace("density_", "") + "_bin"
        if name not in left_out and not _same(scores, at):
            left_out.append(name)
            notes.append(f"Densities of {name.removeprefix('density_')} are left out: the runs have different bins.")
    left_out += (apart := _not_alike(scores))
    if apart and any(name in data for data in scores for name in apart):
        notes.append(
            "Correlations in space and time are left out: not all runs have them at the same distances and lags."
        )
    if told_apart(scores):
        unranked += offline.SCORES
        notes.append("Draws along the reference are not ranked: closures that see earlier ψ are told it, others not.")
    left_out += _OFFLINE[-2:] if not _same(scores, "offline_lag") else []
    leads, said = _leads(scores)
    return leads, left_out, unranked, notes + said


def told_apart(scores: Sequence[xr.Dataset]) -> bool:
    """Tell whether some closures were told psi of the steps before along the reference, and others were not."""
    return len({bool(data.attrs.get("offline_told")) for data in scores if "offline_crps" in data}) > 1


def _leads(scores: Sequence[xr.Dataset]) -> tuple[list[float], list[str]]:
    """Return the leads that all runs have, and a note where these are not all."""
    if any("lead" not in data for data in scores):
        return [], []
    leads = [
        float(lead)
        for lead in scores[0]["lead"].to_numpy()
        if all(np.isclose(data["lead"], lead).any() for data in scores)
    ]
    if all(data.sizes["lead"] == len(leads) for data in scores):
        return leads, []
    if not leads:
        return leads, ["Scores of forecasts are left out: the runs have no lead in common."]
    return leads, [f"Forecasts are compared at the {len(leads)} leads that all runs have."]


def _same(scores: Sequence[xr.Dataset], coordinate: str) -> bool:
    """Tell whether all runs have a coordinate with the same values."""
    return all(coordinate in data and np.array_equal(data[coordinate], scores[0][coordinate]) for data in scores)


def _not_alike(scores: Sequence[xr.Dataset]) -> list[str]:
    """Return the names of the correlations in space and time unless all runs have them on one grid."""
    grids = [data[_SPACE_TIME] if {*_SPACE_TIME} <= {*data.data_vars} else xr.Dataset() for data in scores]
    return [] if all(_same(grids, name) for name in ("offset", "time_lag")) else _SPACE_TIME


def _column(scores: xr.Dataset, leads: list[float], left_out: list[str], dt: float) -> xr.Dataset:
    """Take from the diagnostics of a run what stands in the comparison."""
    alike = (*_OFFLINE, *_CLIMATE, *_RING, *_RATIOS, *_DENSITIES, *_SPACE_TIME)
    parts = [scores[[name for name in alike if name not in left_out]]]
    if MEMORY.name not in left_out:
        lags = xr.Variable("lag", dt * np.array(_LAGS), scores["lag"].attrs)
        parts.append(scores[MEMORY.variables].reindex(lag=lags, method="nearest", tolerance=1e-6 * dt))
    if leads:
        same = xr.Variable("lead", leads, scores["lead"].attrs)
        parts.append(scores[_FORECASTS].sel(lead=leads, method="nearest").assign_coords(lead=same))
    taken = xr.merge(parts, combine_attrs="drop_conflicts")
    law = {name: scores[name] if name in scores else xr.DataArray(np.nan) for name in LAW.variables}
    taken = taken.assign({name: value for name, value in law.items() if name not in left_out})
    return taken.drop_vars([name for name in taken.dims if not any(name in v.dims for v in taken.data_vars.values())])


def _check_scores(runs: Sequence[Run]) -> None:
    """Raise ``ValueError`` if the diagnostics of a run lack a variable that stands in a comparison.

    What runs on data of the user's own have depends on these data, and on whether there is a model.
    """
    wanted = [
        *_CLIMATE,
        *_RING,
        *_RATIOS,
        *_DENSITIES,
        *MEMORY.variables,
        *_FORECASTS,
        "lead",
        "lag",
        "wavenumber",
        "z_bin",
        "psi_bin",
    ]
    for run in (run for run in runs if run.experiment != "data"):
        lacking = [name for name in wanted if run.scores is not None and name not in run.scores]
        if lacking:
            raise ValueError(f"the diagnostics of the run in {run.path} lack {', '.join(lacking)}")


def _check_truth(runs: Sequence[Run]) -> None:
    """Raise ``ValueError`` unless the truth that judges, or that of which it is a stretch, is the same for all."""
    for run in runs[1:]:
        alike = run.experiment == runs[0].experiment
        if found := _values([runs[0], run], _judge if alike else lambda one: {"workflow": one.experiment}):
            raise ValueError(
                f"{run.path} cannot be compared with {runs[0].path}: different truths judge them ({found}); "
                "compare runs of one truth at a time"
            )


def _judge(run: Run) -> dict[str, Any]:
    """Return the parameters of the truth that judges a run; of data of the user's own the data themselves."""
    if run.experiment == "data":
        names = run.config["fields"]
        data = None if run.scores is None else run.scores.attrs.get("reference_sha256")
        return {"fields.targets": names.get("targets"), "sha256 of the reference": data}
    changed = run.config["reference"].get("model")
    model = {**run.config["model"], **(changed if isinstance(changed, Mapping) else {})}
    return {f"model.{name}": value for name, value in model.items()}


def _realisation(run: Run) -> dict[str, Any]:
    """Return what decides, besides its parameters, which stretch of truth judges a run."""
    if run.experiment == "data":
        return {}
    reference = {f"reference.{name}": run.config["reference"].get(name) for name in ("duration", "spinup")}
    return {"seed": run.config.get("seed"), "training.dt": run.config["training"].get("dt"), **reference}


def _definition_of_psi(run: Run) -> dict[str, Any]:
    training = run.config.get("training", {})
    names = ("subgrid", "coarse_dt") if training.get("subgrid") in HELD else ("subgrid",)
    return {f"training.{name}": training.get(name) for name in names}


def _length(run: Run) -> dict[str, Any]:
    """Return how much of a run its distances are measured on."""
    attributes = {} if run.scores is None else run.scores.attrs
    return {
        "stretches of": number(attributes, "floor_stretch_duration"),
        "time between records": number(attributes, "common_time_step"),
    }


def _values(runs: Sequence[Run], of: Callable[[Run], dict[str, Any]]) -> str:
    """Say in which of some values runs differ, and which they have; empty when they do not differ."""
    values = [of(run) for run in runs]
    words = []
    for key in dict.fromkeys(key for each in values for key in each):
        shown = dict.fromkeys(f"{v:g}" if isinstance(v := each.get(key), float) else str(v) for each in values)
        if len(shown) > 1:
            words.append(f"{key} {' and '.join(shown)}")
    return ", ".join(words)
