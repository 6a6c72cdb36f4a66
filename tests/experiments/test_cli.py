"""The command line, from overrides to a run folder."""

from __future__ import annotations

import argparse
import io
import math
import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import yaml
from command_line import FILES, TINY, Call
from omegaconf import DictConfig

import l96closure as lc
from l96closure import cli, closures
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.workflow import Stage

pytestmark = pytest.mark.slow  # whole runs, or many of them


def written_at(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in FILES}


@pytest.mark.pictures
def test_a_run_fills_its_folder(call: Call, tmp_path: Path) -> None:
    outcome = call(*TINY, "seed=7")
    assert outcome.status == 0, outcome.err
    folder = outcome.folder
    assert folder.parent == tmp_path / "runs" / "l96"
    assert {file.name for file in folder.iterdir()} == FILES | {
        "figures",
        "report.html",
        "manifest.json",
        ".hydra",
        "run.log",
    }
    assert list((folder / "figures").glob("*.png"))
    assert {item.name for item in tmp_path.iterdir()} == {"runs"}
    assert "hellinger_z" in outcome.out
    assert "CRPS" in outcome.out

    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "samples: 3000" in page
    with xr.open_dataset(folder / "diagnostics.nc") as scores, xr.open_dataset(folder / "reference.nc") as reference:
        assert "pit_error" in scores  # the law is held against the reference, which has the closure's steps
        assert scores.attrs["common_time_step"] == pytest.approx(5 * float(reference["time"][1]))
    with xr.open_dataset(folder / "forecast.nc") as forecasts:
        assert forecasts.attrs["past"] == "known"
    for name in FILES:
        with xr.open_dataset(folder / name, decode_times=False) as data:
            assert yaml.safe_load(data.attrs["config"])["training"]["samples"] == 3000
            assert data.attrs["seed_reference"] != data.attrs["seed_truth"]
            assert data.attrs["wall_time_seconds"] >= 0
            assert "l96closure" in data.attrs["history"]


def test_a_closure_that_states_its_law_is_held_to_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def probability(self: closures.Polynomial, run: xr.Dataset) -> xr.DataArray:
        below = run["psi"].values.argsort(axis=0).argsort(axis=0)  # a climatological law
        return run["psi"].copy(data=(below + 0.5) / len(below))

    tiny = (*TINY, "closure=polynomial", "run_dir=with")
    monkeypatch.setattr(closures.Polynomial, "probability", probability, raising=False)
    folder = call(*tiny).folder
    with xr.open_dataset(folder / "diagnostics.nc") as data:
        assert data["pit_largest_error"] < 0.5
    assert "Reliability of the law on held-out data" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "figures" / "reliability.png").exists()

    def too_coarse(self: closures.Polynomial, run: xr.Dataset) -> xr.DataArray:
        raise ValueError("run is recorded too coarsely")

    monkeypatch.setattr(closures.Polynomial, "probability", too_coarse)
    outcome = call(*tiny, "stages=[diagnose]", "force=true")
    assert "note: the law of the closure is not held against the reference: run is recorded too coarsely" in outcome.err
    with xr.open_dataset(folder / "diagnostics.nc") as data:
        assert "pit_largest_error" not in data


def test_training_data_are_not_the_judge(call: Call) -> None:
    folder = call(*TINY, "closure=none", "stages=[simulate]").folder
    with xr.open_dataset(folder / "truth.nc") as truth, xr.open_dataset(folder / "reference.nc") as reference:
        assert not set(truth["z"].values.ravel()) & set(reference["z"].values.ravel())


def test_the_same_seed_gives_the_same_run(call: Call) -> None:
    stages = {"a": (1, "simulate,fit,integrate"), "b": (1, "simulate,fit,integrate"), "c": (2, "simulate")}
    a, b, c = (call(*TINY, f"run_dir={name}", f"seed={seed}", f"stages=[{run}]").folder
               for name, (seed, run) in stages.items())  # fmt: skip
    one, same, first, other = (
        xr.load_dataset(path, decode_times=False)["z"]
        for path in (a / "coarse.nc", b / "coarse.nc", a / "truth.nc", c / "truth.nc")
    )
    assert one.identical(same)
    assert not first.equals(other)


def test_stages_left_out_are_taken_from_the_folder(call: Call) -> None:
    folder = call(*TINY, "closure=polynomial", "run_dir=mine").folder
    first = written_at(folder)
    euler = [*TINY, "closure=polynomial", "run_dir=mine", "coarse.scheme=euler", "force=true"]
    outcome = call(*euler, "stages=[diagnose,report,integrate,forecast]")
    assert outcome.status == 0, outcome.err
    assert outcome.folder == folder
    second = written_at(folder)
    assert {name for name in FILES if second[name] != first[name]} == {"coarse.nc", "forecast.nc", "diagnostics.nc"}
    for name in ("coarse.nc", "forecast.nc"):
        with xr.open_dataset(folder / name, decode_times=False) as made:
            assert made.attrs["scheme"] == "euler"
    assert "scheme: euler" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.pictures
def test_no_closure_is_the_bare_model(call: Call) -> None:
    outcome = call(*TINY, "closure=none")
    assert outcome.status == 0, outcome.err
    with xr.open_dataset(outcome.folder / "coarse.nc", decode_times=False) as coarse:
        assert (coarse["psi"] == 0).all()


def test_a_sweep_runs_every_job(call: Call, tmp_path: Path) -> None:
    outcome = call("-m", *TINY, "closure=none", "seed=1,2", "stages=[simulate]")
    assert outcome.status == 0, outcome.err
    folders = [Path(line) for line in outcome.out.splitlines()]
    (sweep,) = (tmp_path / "runs" / "l96").glob("sweep_*")
    assert folders == [sweep / "0", sweep / "1"]
    assert all((folder / "truth.nc").is_file() for folder in folders)


def test_a_sweep_goes_to_the_folder_given(call: Call, tmp_path: Path) -> None:
    outcome = call("-m", *TINY, "seed=1,2", "stages=[simulate]", "run_dir=mine")
    assert outcome.folder == tmp_path / "mine" / "1"


WRONG = [
    ("coarse.stepz=3", "there is no setting coarse.stepz; there is batches, dt, keep_good, members, "),
    ("sede=3", "there is no setting sede; there is "),
    (
        "+coarse.stepz=3",
        "coarse has no setting 'stepz'; it has scheme, dt, steps, members, save_every, batches, keep_good",
    ),
    ("+closure.bandwith=3", "closure has no setting 'bandwith'; it has "),
    ("+sede=3", "the configuration has no setting 'sede'"),
    ("coarse=heun", "there is no coarse/heun; there is crommelin, euler, rk4"),
    ("experiment=l97", "there is no experiment/l97; there is "),
    ("coarse.members=0", "coarse.members = 0 is not allowed; it must be an integer >= 1"),
    ("coarse.dt=fast", "coarse.dt = 'fast' is not allowed"),
    ("coarse.dt=0.00073", "coarse.dt = 0.00073 is not allowed"),
    ("forecast.starts=200", "forecast.starts = 200 is not allowed; it must be at most 18"),
    ("forecast.every=0.0625", "forecast.every = 0.0625 is not allowed; it must be a multiple of coarse.dt"),
    ("model.K=3", "K = 3 is not allowed; it must be an integer >= 4"),
    ("model=12", "group override must be a string"),
    ("training.subgrid=exact", "subgrid = 'exact' is not allowed; it must be one of "),
    ("closure.name=magic", "closure.name = 'magic' is not allowed; it must be one of "),
    ("closure/law=magic", "there is no closure/law/magic; there is chain, moments, quantiles"),
    ("closure.law=chain", "closure.law = 'chain' is not allowed; it must be a section of settings, chosen by "),
    ("closure.law.steps=3", "there is no setting closure.law.steps; there is centres, coordinates, name"),
    ("closure.law.coordinates=y", "closure.law.coordinates = 'y' is not allowed; it must be one of trend, z"),
    ("closure.kernel.estimator=variable", "closure.kernel.estimator = 'variable' is not allowed; it must be"),
    ("+closure.law.steps=3", "closure.law has no setting 'steps'; it has coordinates, centres"),
    ("+closure.fields.dim=x", "closure.fields has no setting 'dim'; it has radius, lags, previous, pool, conserve"),
    ("closure.fields.lags=[0.0025]", "closure.fields.lags = 0.0025 is not allowed; it must be a multiple of coarse.dt"),
    ("closure.fields.lags=[20]", "closure.fields.lags = [20.0] is not allowed; it must be less than the 15 time units"),
    ("training.every=20", "training.every = 20 is not allowed; it must be such that training.dt * every divides "),
    ("training.coarse_dt=0.01", "training.coarse_dt = 0.01 is not allowed; it must be coarse.dt = 0.005, the step"),
    ("seed=-1", "seed = -1 is not allowed"),
    ("seed=${nothing}", "nothing"),
    ("stages=[diagnose]", "reference.nc, which is not there; stage 'simulate' makes it"),
    ("stages=[simulate,cook]", "stages = 'cook' is not allowed; it must be one of "),
    ("stages=simulate", "stages = 'simulate' is not allowed; it must be a list"),
    ("stages=[]", "stages = [] is not allowed"),
    ("seed", "'seed' is not of the form key=value"),
    ("coarse.dt=[1", "'coarse.dt=[1' is not of the form key=value"),
]


@pytest.mark.parametrize(("override", "message"), WRONG, ids=[override for override, _ in WRONG])
def test_a_wrong_override_ends_in_one_line(call: Call, tmp_path: Path, override: str, message: str) -> None:
    outcome = call(*TINY, override)
    assert outcome.status == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[-1].startswith("l96closure: error: ")
    assert message in lines[-1]
    assert all(": error" not in line and "Traceback" not in line for line in lines[:-1])
    assert not (tmp_path / "runs").exists()


def test_a_wrong_value_in_a_sweep_is_told_in_the_end(call: Call, tmp_path: Path) -> None:
    """As Hydra has it: the other jobs are done first."""
    outcome = call("-m", *TINY, "seed=-1,2", "stages=[simulate]", "run_dir=mine")
    assert outcome.status == 2
    assert outcome.out.splitlines() == [str(tmp_path / "mine" / "1")]
    assert outcome.err.splitlines()[-1].startswith("l96closure: error: seed = -1 is not allowed")


def test_a_wrong_argument_of_the_closure_ends_in_one_line(call: Call) -> None:
    outcome = call(*TINY, "closure.kernel.epsilon=-1", "run_dir=mine")
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("l96closure: error: closure.kernel.epsilon = -1")
    assert not Path("mine").exists()


def test_a_failed_stage_keeps_the_files_of_the_ones_before(call: Call) -> None:
    outcome = call(*TINY, "run_dir=mine", "closure=analog", "closure.neighbours=1000000")
    assert outcome.status == 2
    assert "neighbours = 1000000 is not allowed; it must be at most the " in outcome.err.splitlines()[-1]
    assert Path("mine/truth.nc").is_file()
    assert not Path("mine/closure.nc").exists()


def test_an_interrupt_is_not_an_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("l96closure.experiments.climate.stages.simulate", interrupted)
    outcome = call(*TINY)
    assert outcome.status == 130
    *_, note, last = outcome.err.splitlines()
    assert last == "l96closure: error: interrupted"
    (folder,) = Path("runs/l96").iterdir()
    assert note.endswith(f"the same command with run_dir={folder.absolute()} resume=true goes on")
    swept = call("-m", *TINY, "seed=1,2", "run_dir=sweep")
    assert swept.status == 130
    assert swept.err.splitlines()[-2].endswith(f"run_dir={Path('sweep').absolute()} resume=true goes on")


def test_full_error_shows_the_traceback(tmp_path: Path) -> None:
    script = Path(sysconfig.get_path("scripts")) / "l96closure"
    done = subprocess.run(
        [script, "seed=-1"],
        cwd=tmp_path,
        env={**os.environ, "HYDRA_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("coarse.stepz=3", "coarse.steps"),
        ("sede=3", "seed"),
        ("epsilon=0.1", "closure.kernel.epsilon"),
        ("closure.noise.ordre=2", "closure.noise.order"),
        ("+coarse.membres=3", "members"),
        ("coarse=rk5", "rk4"),
        ("experiment=l96_papr", "l96_paper"),
    ],
)
def test_a_misspelt_name_is_answered_by_the_nearest(call: Call, override: str, meant: str) -> None:
    outcome = call(*TINY, override)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].endswith(f"; did you mean {meant}?")


def test_a_name_like_no_other_is_answered_by_none(call: Call) -> None:
    assert "did you mean" not in call("xylophone=3").err


def test_the_version_is_that_of_the_package_and_the_module_is_the_command(call: Call) -> None:
    told = call("--version")
    assert (told.status, told.out) == (0, f"l96closure {lc.__version__}\n")
    program = [sys.executable, "-m", "l96closure", "--version"]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout == told.out


def scores_told(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Return a list that what a sweeper is told of each run is put down in."""
    told: list[float | None] = []
    job = cli._job

    def recorded(config: DictConfig) -> float | None:
        told.append(job(config))
        return told[-1]

    monkeypatch.setattr(cli, "_job", recorded)
    return told


def test_a_sweeper_is_told_the_score_that_is_the_objective(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    told, quick = scores_told(monkeypatch), (*TINY, "closure=none", "run_dir=mine")
    assert call(*quick).status == 0
    for name in ("crps", "wasserstein_z", "spectrum_error_z", "pit_largest_error", "null"):
        outcome = call(*quick, "stages=[diagnose]", f"objective={name}")
        assert outcome.status == 0, outcome.err
    assert "note: this run has no pit_largest_error, the objective" in call(
        *quick, "stages=[diagnose]", "objective=pit_largest_error"
    ).err  # fmt: skip
    call(*quick, "stages=[simulate]")
    with xr.open_dataset("mine/diagnostics.nc") as data:
        expected = [float(data["hellinger_joint"]), float(data["crps"].sel(lead=0.25)), float(data["wasserstein_z"])]
        expected.append(float(data["spectrum_error_z"]))
    assert told[:4] == expected
    assert math.isnan(told[4])  # type: ignore[arg-type]
    assert told[5] is None
    assert told[7] is None


def test_an_unknown_objective_is_refused_before_anything_runs(call: Call, tmp_path: Path) -> None:
    outcome = call(*TINY, "objective=hellinger")
    assert outcome.status == 2
    assert (
        "objective = 'hellinger' is not allowed; it must be one of crps, energy_score, hellinger_joint, " in outcome.err
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_help_and_settings_are_printed(call: Call, tmp_path: Path, flag: str) -> None:
    outcome = call(flag)
    assert outcome.status == 0
    assert "experiment_name: l96" in outcome.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("experiment", ["l96", "ks", "data", "gaussian", "bistable"])
def test_help_says_what_every_setting_means(call: Call, experiment: str) -> None:
    """Beside the settings themselves; those of the sections by the code's docstrings."""
    told, known = (call(flag, f"experiment={experiment}") for flag in ("--help", "--cfg=job"))
    shown = told.out.partition("== Settings ==")[2].partition("\n\nl96closure ")[0]
    assert yaml.safe_load(shown) == yaml.safe_load(known.out)
    assert max(map(len, shown.splitlines())) <= 120
    assert "..." not in shown
    sections = shown[shown.index("\nfigures:") :].splitlines()[1:]
    leaves = [line.strip() for line in sections if ": " in line.partition("#")[0]]
    assert [line for line in leaves if "#" not in line and not line.startswith("name:")] == []


def test_argparse_of_python_3_14_looks_into_strings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its look, as Python 3.14 has it, would refuse Hydra's help of an option, which is made when it is shown."""

    def look(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
        if "%d" in action.help:  # type: ignore[operator]  # of a help that is no string
            raise ValueError("badly formed help string")

    monkeypatch.setattr(argparse.ArgumentParser, "_check_help", look, raising=False)
    cli._take_help_that_is_no_string()
    check: Any = argparse.ArgumentParser()._check_help  # type: ignore[attr-defined]
    check(argparse.Action([], "completion", help=object()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="badly formed"):
        check(argparse.Action([], "seed", help="%d"))


# Standard output: to be read, if it can be


class _Broken(io.TextIOWrapper):
    """Standard output that a reader has closed, or that a full disk takes nothing more of."""

    def __init__(self, error: OSError) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a sweep of two jobs that do little."""
    workflow = WORKFLOWS["closure"]
    stages = {**workflow.stages, "simulate": Stage((), lambda *_: {"truth": xr.Dataset(), "reference": xr.Dataset()})}
    monkeypatch.setitem(WORKFLOWS, "closure", replace(workflow, stages=stages))  # type: ignore[arg-type]
    return ["-m", *TINY, "stages=[simulate]", "seed=1,2", "run_dir='ψ'"]


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")])
def test_a_sweep_whose_output_nobody_takes_is_finished(
    call: Call, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    monkeypatch.setattr(sys, "stdout", _Broken(error))
    outcome = call(*quick)
    assert outcome.status == 0, outcome.err
    assert ("No space left" in outcome.err) == (error.errno == 28)
    assert all((tmp_path / "ψ" / number / "truth.nc").is_file() for number in "01")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(
    call: Call, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    outcome = call(*quick)
    assert outcome.status == 0, outcome.err
    lines = written.getvalue().decode(encoding).splitlines()
    assert lines == [
        str(tmp_path / "ψ" / number).encode(encoding, "backslashreplace").decode(encoding) for number in "01"
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, encoding: str) -> None:
    """In a process of its own, whose end would complain about what is left in the buffer."""
    program = "from l96closure.terminal import tell; tell('ψ' * 10_000); tell('ψ'); print('ψ'.isalpha())"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
