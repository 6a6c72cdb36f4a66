"""Finding runs of a closure, in a model of ours or on data of a user's own, and reading what they have come to."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr

from l96closure import closures, store
from l96closure.diagnostics.scorecard import LAW
from l96closure.diagnostics.several import each
from l96closure.durations import MODEL_TIME
from l96closure.experiments.climate import closure_tables as closure_report
from l96closure.experiments.climate.stages import BLOW_UP, WORKFLOW
from l96closure.experiments.data import offline
from l96closure.experiments.own import TARGET
from l96closure.experiments.stored import number, read_settings, settings_from

FINISHED = "finished"
_SCORES = "diagnostics"
_NOTES = Path(".hydra", "config.yaml")
_SECTIONS = {  # of the settings of an experiment, that a comparison looks into
    "closure": ("model", "training", "reference", "coarse", "diagnostics"),
    "data": ("data", "fields", "coarse", "diagnostics"),
}
_JUDGED_BY = ("hellinger_z", LAW.name, *offline.SCORES)  # one of these at least


@dataclass(frozen=True, eq=False)
class Run:
    """What is left of a run.

    Attributes
    ----------
    path : its folder.
    config : its configuration; empty when the run left none.
    scores : its diagnostics; None when it did not finish.
    status : how it ended, "finished" where as planned.
    fit_time : wall time of the fit in seconds; NaN when unknown.
    step_time : wall time of the coarse run per step and member in seconds; NaN when unknown.
    parts : what its closure is made of, in a line; empty where that is not known.
    dt : step of the coarse run; NaN where it has none.
    """

    path: Path
    config: Mapping[str, Any] = field(repr=False)
    scores: xr.Dataset | None = field(repr=False)
    status: str
    fit_time: float
    step_time: float
    parts: str = ""
    dt: float = math.nan

    @property
    def experiment(self) -> str:
        """The kind of experiment: ``closure``, or ``data`` for data of the user's own."""
        return str(self.config.get("workflow", "closure"))


def is_sweep(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is none of a run itself but has folders of runs."""
    return not _is_run(Path(path)) and bool(_runs_below(Path(path)))


def find(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the folders of runs, each once: those given, and those in the sweeps given, in the order of their numbers.

    Raises
    ------
    ValueError
        A folder is not there, holds no run, or is that of a run that did not finish; in a sweep such a run is found.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise ValueError(f"there is no folder {path}")
        below = _runs_below(path) if is_sweep(path) else [path]
        if not _is_run(below[0]):
            raise ValueError(f"{path} is the folder of neither a run of a closure nor a sweep of such runs")
        if below == [path] and not _scores(path).is_file():
            raise ValueError(f"the run in {path} did not finish: there is no {_scores(path).name}")
        for run in below:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def read(path: Path, strict: bool = True) -> Run:
    """Read the scores, the settings and the wall times of a run.

    Parameters
    ----------
    path : its folder.
    strict : whether a run that cannot be read is an error; if not, it has no scores, and a status that says why.

    Raises
    ------
    ValueError
        A file of the run is damaged, or the run is one of another experiment.
    """
    try:
        return _read(path)
    except ValueError as error:
        if strict:
            raise
        return Run(path, _notes(path), None, f"cannot be read: {error}", math.nan, math.nan)


def _read(path: Path) -> Run:
    scores = store.read(_scores(path), kind=WORKFLOW.files[_SCORES].kind) if _scores(path).is_file() else None
    if scores is not None and not any(name in scores for name in _JUDGED_BY):
        raise ValueError(f"the run in {path} is not one of a closure")
    made = {
        name: store.attributes(path / f"{name}.nc", kind=WORKFLOW.files[name].kind)
        for name in WORKFLOW.files
        if (path / f"{name}.nc").is_file()
    }
    coarse, closure = made.get("coarse", {}), made.get("closure", {})
    members, steps = number(_config(path, coarse).get("coarse"), "members"), number(coarse, "steps")
    config = _config(path, made[list(made)[-1]]) if made else _notes(path)
    run = Run(
        path,
        config=config,
        scores=scores,
        status=_status(path, coarse, scores is not None),
        fit_time=number(closure, "wall_time_seconds"),
        step_time=number(coarse, "wall_time_seconds") / (steps * members) if steps * members > 0 else math.nan,
        parts=_parts(path / "closure.nc", scores) if closure and not _is_own(config) else "",
        dt=_step(config, coarse),
    )
    if scores is not None:
        _check_settings(run)
    return run


def apart(runs: Sequence[Run]) -> list[tuple[dict[str, str], list[Run]]]:
    """Take the variables of runs apart, where they have several.

    Parameters
    ----------
    runs : from :func:`read`.

    Returns
    -------
    For each variable, or each predictor with its target, what ``z`` and ``psi`` stand for, and the runs with the scores
    of that alone.

    Raises
    ------
    ValueError
        The runs are of different variables.
    """
    finished = {run.path: list(each(run.scores)) for run in runs if run.scores is not None}
    if not finished:
        return [({}, list(runs))]
    first, parts = next(iter(finished.items()))
    for path, others in finished.items():
        if [names for names, _ in others] != [names for names, _ in parts]:
            raise ValueError(f"{path} cannot be compared with {first}: their scores are of different variables")
    return [
        (names, [replace(run, scores=finished[run.path][number][1]) if run.path in finished else run for run in runs])
        for number, (names, _) in enumerate(parts)
    ]


def _parts(path: Path, scores: xr.Dataset | None) -> str:
    """Say what the closure of a run is made of."""
    unit = MODEL_TIME if scores is None else closure_report.time_unit(scores)
    return closure_report.text(closures.load(path), unit)


def _is_own(config: Mapping[str, Any]) -> bool:
    """Tell whether the closure of a run is the user's own: its file is read by code of theirs."""
    section = config.get("closure")
    return isinstance(section, Mapping) and TARGET in section


def _step(config: Mapping[str, Any], coarse: Mapping[str, Any]) -> float:
    """Return the step of the coarse run, from the settings, or where these leave it open from the attributes of it."""
    section = config.get("coarse")
    given = isinstance(section, Mapping) and section.get("dt") is not None
    return number(section if given else coarse, "dt")


def _check_settings(run: Run) -> None:
    """Raise ``ValueError`` if the settings stored with finished runs lack what a comparison looks into."""
    for name in _SECTIONS.get(run.experiment, _SECTIONS["closure"]):
        if not isinstance(run.config.get(name), Mapping):
            raise ValueError(f"the settings stored with the run in {run.path} lack the section {name!r}")
    if run.scores is None or "hellinger_z" not in run.scores:
        return
    if not run.dt > 0:
        raise ValueError(f"the settings stored with the run in {run.path} lack coarse.dt, a number > 0")
    for name in ("floor_stretch_duration", "common_time_step"):
        if math.isnan(number(run.scores.attrs, name)):
            raise ValueError(f"{_scores(run.path)} lacks the attribute {name!r}, a number")


def _scores(path: Path) -> Path:
    return path / f"{_SCORES}.nc"


def _is_run(path: Path) -> bool:
    return (path / _NOTES).is_file() or any((path / f"{name}.nc").is_file() for name in WORKFLOW.files)


def _runs_below(path: Path) -> list[Path]:
    """Return the runs in a folder, by number, then by name."""
    runs = sorted(item for item in path.iterdir() if item.is_dir() and _is_run(item))
    return sorted(runs, key=lambda run: int(run.name) if run.name.isdecimal() else math.inf)


def _config(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return settings_from(attributes.get("config", ""), f"the config of a file in {path}")


def _notes(path: Path) -> dict[str, Any]:
    """Return the settings a run was begun with; none where they are lost."""
    try:
        return read_settings(path / _NOTES)
    except (ValueError, OSError):
        return {}


def _status(path: Path, coarse: Mapping[str, Any], finished: bool) -> str:
    """Say how a run ended."""
    if "blow_up_step" in coarse:
        return f"blew up at step {coarse['blow_up_step']}; the scores are of what was before"
    if finished:
        return FINISHED
    if (path / f"{BLOW_UP}.nc").is_file():
        last = store.attributes(path / f"{BLOW_UP}.nc", kind=BLOW_UP)
        return f"did not finish: blew up at step {last.get('step', 'unknown')}"
    return "did not finish"
