"""What a file of a run depends on: what is declared is what the stages read, and what does not fit is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import BISTABLE, FINISHED, GAUSSIAN, TINY, Call, composed

from l96closure import store
from l96closure.closures import PolynomialAR1
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.run_folder import RunFolder
from l96closure.experiments.workflow import Workflow

pytestmark = pytest.mark.slow  # whole runs, or many of them

RUNS = {
    "closure": (*FINISHED, "+reference.model.F=18.0", "forecast.mark_spinup=0.1"),
    "ks": (
        *(
            "experiment=ks",
            "closure=polynomial",
            "model.L=20",
            "+reference.model.L=21",
            "model.K=8",
            "training.samples=300",
        ),
        *("training.spinup=1", "reference.duration=40", "reference.spinup=1", "coarse.steps=40", "forecast.starts=2"),
        *("forecast.members=2", "forecast.lead=4", "coarse.members=2", "diagnostics.max_lag=4"),
    ),
    "data": (
        *("experiment=data", "closure=polynomial_ar1", f"+tendency._target_={__name__}.relaxation"),
        *("coarse.steps=100", "coarse.members=2", "forecast.lead=20", "forecast.every=5"),
    ),
    "gaussian": GAUSSIAN,
    "bistable": BISTABLE,
}
NAMES = {  # of fields as settings, by workflow
    "closure": {"closure": "closure.name", "closure_arguments": "closure", "selection": "closure.selection"},
    "data": {"truth": "data.truth", "reference": "data.reference", "model": "tendency", "mask": "fields.mask"},
}
DECIDE_NOTHING = ("compute",)  # sections that no result depends on


def relaxation(z: Any) -> Any:
    return -z


def made_by_others(folder: Path) -> dict[str, str]:
    """Write a truth and a reference as a user might have them; return their paths."""
    rng, paths = np.random.default_rng(4), {}
    for name in ("truth", "reference"):
        values = {each: (("time", "k"), rng.standard_normal((400, 4))) for each in ("z", "psi")}
        paths[name] = str(folder / f"{name}_of_theirs.nc")
        xr.Dataset(values, {"time": 0.5 * np.arange(400)}).to_netcdf(paths[name])
    return paths


@contextmanager
def recorded(settings: Any) -> Iterator[set[str]]:
    """Record by their full names the settings that are read, and "config" when the configuration itself is."""
    read: set[str] = set()
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    sections = {name: value for name, value in values.items() if is_dataclass(value) and name != "model"}
    told = NAMES["data" if "fields" in values else "closure"]
    names: dict[type, dict[str, str]] = {
        RunFolder: {"config": "config"},
        type(settings): {name: told.get(name, name) for name in values if name not in sections},
        **{
            type(value): {each.name: f"{name}.{each.name}" for each in fields(value)}
            for name, value in sections.items()
        },
    }

    def recording(cls: type) -> Callable[[Any, str], Any]:
        def get(self: Any, name: str) -> Any:
            read.update(label for field, label in names[cls].items() if field == name)
            return object.__getattribute__(self, name)

        return get

    with pytest.MonkeyPatch.context() as patch:
        for cls in names:
            patch.setattr(cls, "__getattribute__", recording(cls))
        yield read


def reads_of(workflow: Workflow[Any], config: Mapping[str, Any], path: Path) -> dict[str, set[str]]:
    """Run every stage that makes files, on those of the stages before it; return what each reads of the settings."""
    settings = workflow.settings(config)
    folder = RunFolder(path, workflow.files, workflow.needs, config, "test", settings.seeds)
    reads = {}
    for name, stage in workflow.stages.items():
        restart = folder.restart(name)
        with recorded(settings) as read:
            products = stage.run(settings, folder, restart)
            made = {file: product() if callable(product) else product for file, product in products.items()}
        assert set(made) == {file for file, what in workflow.files.items() if what.made_by == name}
        for file, data in made.items():
            folder.write(file, data, 0.0)
        reads[name] = read
    return reads


def without_optional_files(workflow: Workflow[Any]) -> Workflow[Any]:
    """Return the workflow without the stages that make them: they are never there, and depend on nothing."""
    optional = {name: file for name, file in workflow.files.items() if file.optional}
    makers = {file.made_by for file in optional.values()}
    stages = {
        name: replace(stage, needs=tuple(need for need in stage.needs if need not in optional))
        for name, stage in workflow.stages.items()
        if name not in makers
    }
    bare = {name: replace(file, sections=()) for name, file in optional.items()}
    return replace(workflow, files={**workflow.files, **bare}, stages=stages)


def covers(declared: str, setting: str) -> bool:
    return f"{setting}.".startswith(f"{declared}.")


def undeclared(workflow: Workflow[Any], reads: Mapping[str, set[str]]) -> set[str]:
    """Return what stages read and none of their files says it depends on, itself or through what it is made from."""
    folder = RunFolder(Path(), workflow.files, workflow.needs, {}, "test", {})
    found = set()
    for stage, read in reads.items():
        declared = {"seed", *DECIDE_NOTHING}
        for name, file in workflow.files.items():
            if file.made_by == stage:
                declared |= set(folder.sections(name))
        found |= {f"{stage}: {each}" for each in read if not any(covers(one, each) for one in declared)}
    return found


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, set[str]]]:
    config, folder = composed(*RUNS[request.param]), tmp_path_factory.mktemp("run")
    workflow: Workflow[Any] = WORKFLOWS[config["workflow"]]
    if request.param == "ks":  # it has no fast variables to spin up
        workflow = without_optional_files(workflow)
    if request.param == "data":
        config = {**config, "data": made_by_others(folder)}
        files = {  # a run has a model or a tendency
            name: replace(file, sections=tuple(each for each in file.sections if each != "model"))
            for name, file in workflow.files.items()
        }
        workflow = replace(workflow, files=files)
    return workflow, reads_of(workflow, config, folder)


def test_every_setting_that_a_stage_reads_is_declared(run: tuple[Any, dict[str, set[str]]]) -> None:
    workflow, reads = run
    assert all(reads.values())
    assert not undeclared(workflow, reads)


def test_every_setting_that_is_declared_is_read(run: tuple[Any, dict[str, set[str]]]) -> None:
    """What no stage reads would make it refuse files that are right."""
    workflow, reads = run
    for name, file in workflow.files.items():
        for declared in file.sections:
            assert any(covers(declared, each) for each in reads[file.made_by]), f"{name}: {declared}"


def test_the_recorder_finds_what_is_not_declared(run: tuple[Any, dict[str, set[str]]]) -> None:
    """Take each declaration away, from every file that inherits it too: its reads are found."""
    workflow, reads = run
    for lost in {section for file in workflow.files.values() for section in file.sections}:
        files = {
            name: replace(
                file, sections=tuple(each for each in file.sections if not covers(each, lost) and each != lost)
            )
            for name, file in workflow.files.items()
        }
        found = undeclared(replace(workflow, files=files), reads)
        assert any(covers(lost, each.partition(": ")[2]) for each in found), lost


def test_the_recorder_sees_through_every_way_to_read(tmp_path: Path) -> None:
    config = composed(*TINY)
    workflow = WORKFLOWS["closure"]
    settings = workflow.settings(config)
    folder = RunFolder(tmp_path, workflow.files, workflow.needs, config, "test", settings.seeds)
    for read, expected in (
        (lambda: settings.judged, {"model", "reference.model"}),
        (lambda: replace(settings.diagnostics), {"diagnostics.bins", "diagnostics.max_lag"}),
        (lambda: settings.reference_samples, {"reference.duration", "coarse.dt"}),
        (lambda: settings.seeds, {"seed"}),
        (lambda: folder.config["coarse"], {"config"}),
    ):
        with recorded(settings) as found:
            read()
        assert found == expected


# Commands on a folder whose files have other settings


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


CHANGES = [
    # setting, value, stages that cannot be left out when it changes
    ("model.F=24", "model.F = 20.0, not 24", ["simulate", "fit", "integrate", "forecast", "diagnose"]),
    ("seed=3", "seed = 0, not 3", ["simulate", "fit", "integrate", "forecast", "diagnose"]),
    ("training.spinup=2", "training.spinup = 1, not 2", ["simulate", "fit", "integrate", "forecast", "diagnose"]),
    ("reference.spinup=2", "reference.spinup = 1, not 2", ["simulate", "integrate", "forecast", "diagnose"]),
    ("closure.trend.degree=2", "closure.trend.degree = 4, not 2", ["fit", "integrate", "forecast", "diagnose"]),
    ("coarse.steps=150", "coarse.steps = 200, not 150", ["integrate", "diagnose"]),
    ("coarse.scheme=euler", "coarse.scheme = rk4, not euler", ["integrate", "forecast", "diagnose"]),
    ("coarse.save_every=4", "coarse.save_every = 5, not 4", ["integrate", "diagnose"]),
    ("forecast.members=4", "forecast.members = 3, not 4", ["forecast", "diagnose"]),
    ("forecast.past=false", "forecast.past = True, not False", ["forecast", "diagnose"]),
    ("diagnostics.bins=20", "diagnostics.bins = 100, not 20", ["diagnose"]),
]


@pytest.mark.parametrize(("change", "told", "makers"), CHANGES, ids=[change for change, *_ in CHANGES])
def test_files_of_a_stage_left_out_have_the_settings_or_nothing_is_done(
    finished: Path, change: str, told: str, makers: list[str]
) -> None:
    """Whichever stage of those whose files depend on a setting is left out: the command is refused, forced or not."""
    before = bytes_of(finished)
    config = composed(*FINISHED, f"run_dir={finished}", change)
    run = WORKFLOWS["closure"].run
    for left_out in makers:
        chosen = [*(stage for stage in makers if stage != left_out), "report"]
        for force in (False, True):
            with pytest.raises(ValueError, match=f"add {left_out} to the stages, with force=true") as refused:
                run({**config, "force": force}, finished, chosen)
            assert told in str(refused.value)
    with pytest.raises(ValueError, match=f"with force=true stage '{makers[0]}' is run again") as refused:
        run(config, finished, makers)
    assert told in str(refused.value)
    assert bytes_of(finished) == before


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.F=24", "stages=[integrate,forecast,diagnose,report]"],
        ["coarse.scheme=euler", "stages=[integrate,diagnose,report]"],
        ["coarse.scheme=euler", "stages=[integrate,diagnose,report]", "force=true"],
        ["diagnostics.bins=20", "stages=[report]"],
        ["checkpoint_every=-1", "stages=[report]"],
        ["stages=[report,cook]"],
    ],
)
def test_a_refused_command_leaves_the_folder_as_it_was(
    call: Call, tmp_path: Path, finished: Path, overrides: list[str]
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "mine"))
    before = bytes_of(folder)
    outcome = call(*FINISHED, "run_dir=mine", *overrides)
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert bytes_of(folder) == before
    outcome = call("run_dir=mine", "resume=true", "stages=[diagnose]")
    assert outcome.status == 0, outcome.err


def test_a_forced_run_leaves_files_of_one_set_of_settings(call: Call, tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "mine")
    given = [*FINISHED, "run_dir=mine", "coarse.scheme=euler"]
    outcome = call(*given, "force=true", "stages=[integrate,forecast,diagnose]")
    assert outcome.status == 0, outcome.err
    assert call(*given, "stages=[diagnose]").status == 0  # and it goes on without force
    for name in ("coarse", "forecast", "diagnostics"):
        stored = store.attributes(tmp_path / "mine" / f"{name}.nc", kind=name)["config"]
        assert yaml.safe_load(stored)["coarse"]["scheme"] == "euler"


def test_a_forced_run_that_was_stopped_is_resumed(
    call: Call, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that it was about to replace do not stop it, and none of them is taken for one of its own."""
    shutil.copytree(finished, tmp_path / "mine")

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("l96closure.experiments.climate.stages.forecast", stopped)
        given = [*FINISHED, "run_dir=mine", "coarse.scheme=euler"]
        assert call(*given, "force=true", "stages=[integrate,forecast,diagnose]").status == 130
    assert call(*given, "stages=[report]", "force=true").status == 2
    outcome = call("run_dir=mine", "resume=true")
    assert outcome.status == 0, outcome.err
    assert "integrate is up to date" in outcome.err
    for name in ("coarse", "forecast"):
        assert store.attributes(tmp_path / "mine" / f"{name}.nc", kind=name)["scheme"] == "euler"


def test_a_stopped_stage_goes_on_with_the_settings_it_began_with_alone(
    call: Call, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the integration with one setting, run with another: the same bits as one that nobody stopped."""
    folder = Path(shutil.copytree(finished, tmp_path / "mine"))
    (folder / "coarse.nc").unlink()
    given = [*FINISHED, "run_dir=mine", "stages=[integrate]", "checkpoint_every=0"]
    step, taken = PolynomialAR1.step, iter(range(10))

    def killed(*arguments: Any) -> Any:
        if next(taken, None) is None:
            raise KeyboardInterrupt
        return step(*arguments)

    for file in ("forecast.nc", "diagnostics.nc"):
        (folder / file).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(PolynomialAR1, "step", killed)
        assert call(*given).status == 130
    assert list(folder.glob(".integrate*/*.nc"))
    assert call(*given, "coarse.scheme=euler").status == 0
    with xr.open_dataset(folder / "coarse.nc", decode_times=False) as made:
        assert made.attrs["scheme"] == "euler"
        found = made["z"].load()
    assert not list(folder.glob(".integrate*"))
    assert call(*given, "coarse.scheme=euler", "force=true").status == 0
    assert found.identical(xr.load_dataset(folder / "coarse.nc", decode_times=False)["z"])
