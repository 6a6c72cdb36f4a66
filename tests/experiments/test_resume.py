"""Runs that were stopped, damaged or are asked for again: what is done is not done twice; the result is the same."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import netCDF4
import numpy as np
import pytest
import xarray as xr
from command_line import FILES, FINISHED, TINY, Call, content

from l96closure import beside, store
from l96closure.atomic import atomic_path
from l96closure.experiments.climate.stages import WORKFLOW
from l96closure.experiments.run_folder import LOCK, File, RunFolder, locked
from l96closure.restart import Restart

pytestmark = pytest.mark.slow  # whole runs, or many of them

NO_REPORT = "stages=[simulate,fit,integrate,forecast,diagnose]"


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in FILES if (folder / name).exists()}


def test_what_is_up_to_date_is_not_made_again(call: Call) -> None:
    folder = call(*TINY, NO_REPORT, "run_dir=mine").folder
    first = stamps(folder)
    for overrides in ([*TINY, NO_REPORT], ["resume=true"]):
        outcome = call(*overrides, "run_dir=mine")
        assert outcome.status == 0, outcome.err
        assert stamps(folder) == first
        assert "hellinger_z" in outcome.out


@pytest.fixture
def mine(finished: Path, tmp_path: Path) -> Path:
    """A finished run in the current directory of ``call``."""
    return Path(shutil.copytree(finished, tmp_path / "mine"))


def test_force_makes_it_again(call: Call, mine: Path) -> None:
    first = stamps(mine)
    assert call(*FINISHED, "run_dir=mine", "force=true", "stages=[fit]").status == 0
    assert {name for name, when in stamps(mine).items() if when != first[name]} == {"closure.nc"}


def test_what_was_made_from_older_files_is_made_again(call: Call, mine: Path) -> None:
    call(*FINISHED, "run_dir=mine", "force=true", "stages=[fit]")
    first, before = stamps(mine), content(mine / "diagnostics.nc")
    assert call("run_dir=mine", "resume=true", NO_REPORT).status == 0
    again = {name for name, when in stamps(mine).items() if when != first[name]}
    assert again == {"coarse.nc", "forecast.nc", "diagnostics.nc"}
    assert content(mine / "diagnostics.nc").identical(before)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_or_missing_file_is_made_again(call: Call, mine: Path, name: str) -> None:
    before = content(mine / "diagnostics.nc")
    whole = (mine / name).read_bytes()
    (mine / name).write_bytes(whole[: len(whole) // 2])
    assert call("run_dir=mine", "resume=true", NO_REPORT).status == 0
    (mine / name).unlink()
    assert call("run_dir=mine", "resume=true", NO_REPORT).status == 0
    assert content(mine / "diagnostics.nc").identical(before)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("coarse.members=3", "coarse.nc was made with coarse.members = 2, not 3; with force=true stage 'integrate'"),
        ("training.samples=2000", "truth.nc was made with training.samples = 3000, not 2000; with force=true"),
        ("seed=1", "truth.nc was made with seed = 0, not 1; with force=true stage 'simulate' is run again"),
    ],
)
def test_other_settings_stop_and_change_nothing(call: Call, mine: Path, override: str, message: str) -> None:
    first = stamps(mine)
    outcome = call(*FINISHED, NO_REPORT, "run_dir=mine", override)
    assert outcome.status == 2
    assert message in outcome.err.splitlines()[-1]
    assert stamps(mine) == first


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("coarse.members=3", "was made with coarse.members = 2, not 3; resume=true changes no setting"),
        ("closure=none", "was made with closure.name = polynomial, not none; resume=true changes no setting"),
    ],
)
def test_a_resumed_run_has_the_settings_it_had(call: Call, override: str, message: str) -> None:
    folder = call(*TINY, "closure=polynomial", "stages=[simulate]", "run_dir=mine").folder
    notes = (folder / ".hydra" / "config.yaml").read_text()
    outcome = call("run_dir=mine", "resume=true", override)
    assert outcome.status == 2
    assert message in outcome.err.splitlines()[-1]
    assert (folder / ".hydra" / "config.yaml").read_text() == notes
    for again in (["stages=[fit]"], ["coarse.members=2", "stages=[integrate]"], []):
        assert call("run_dir=mine", "resume=true", *again).status == 0
    assert (folder / ".hydra" / "config.yaml").read_text() == notes


@pytest.mark.parametrize("overrides", [["resume=true"], ["resume=perhaps"]])
def test_there_must_be_a_run_to_resume(call: Call, tmp_path: Path, overrides: list[str]) -> None:
    outcome = call(*overrides)
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_there_yet_is_started_by_the_line_that_resumes_it(call: Call) -> None:
    line = (*TINY, "closure=none", "stages=[simulate]", "run_dir=mine", "resume=true")
    outcome = call(*line)
    assert outcome.status == 0, outcome.err
    assert "nothing to resume" in outcome.err
    made = Path("mine/truth.nc").stat().st_mtime_ns
    again = call(*line)
    assert again.status == 0, again.err
    assert "nothing to resume" not in again.err
    assert Path("mine/truth.nc").stat().st_mtime_ns == made


def test_a_sweep_is_resumed_job_by_job(call: Call) -> None:
    sweep = ("-m", *TINY, "seed=1,2", "closure=none", "run_dir=mine")
    call(*sweep, "stages=[simulate]")
    first = Path("mine/0/truth.nc").stat().st_mtime_ns
    Path("mine/1/truth.nc").unlink()
    for file in Path("mine/1/.hydra").iterdir():
        file.unlink()
    Path("mine/1/.hydra").rmdir()
    outcome = call(*sweep, "stages=[simulate]", "resume=true")
    assert outcome.status == 0, outcome.err
    assert Path("mine/0/truth.nc").stat().st_mtime_ns == first
    assert store.attributes("mine/1/truth.nc", kind="truth")["seed_truth"] > 0


def test_one_process_at_a_time_works_in_a_folder(call: Call, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from l96closure.experiments.run_folder import locked
with locked(Path({str(tmp_path / "mine")!r})):
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        outcome = call(*TINY, "run_dir=mine")
        other.kill()
    assert outcome.status == 2
    assert outcome.err == (
        f"l96closure: error: another process works in {tmp_path / 'mine'}; wait for it, or give a run_dir of its own\n"
    )
    assert {file.name for file in (tmp_path / "mine").iterdir()} <= {LOCK}
    assert call(*TINY, "closure=none", "run_dir=mine", "stages=[simulate]").status == 0  # the dead hold no lock


def test_the_lock_is_taken_again_by_who_has_it_and_leaves_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), locked(tmp_path / "a"):
        assert (tmp_path / "a" / LOCK).exists()
    assert not list((tmp_path / "a").iterdir())


def test_temporary_files_of_the_killed_are_removed(tmp_path: Path) -> None:
    """Those of the folder itself; in a folder inside somebody else may be at work, and what is no such file stays."""
    inside = tmp_path / "runs" / "other"
    for folder in (tmp_path / "figures", tmp_path / ".hydra", inside):
        folder.mkdir(parents=True)
    ours = [tmp_path / "truth.nc", tmp_path / "figures" / "a.png", tmp_path / ".hydra" / "config.yaml"]
    with ExitStack() as stack:
        *left, theirs = (stack.enter_context(atomic_path(path)) for path in (*ours, inside / "truth.nc"))
        for path in (*left, theirs):
            path.touch()
        others = [tmp_path / name for name in (".hidden", "my.tmp", ".my.workfile.tmp")]
        for path in others:
            path.touch()
        with locked(tmp_path):
            assert not any(path.exists() for path in left)
            assert all(path.exists() for path in (*others, theirs))
        for path in left:
            path.touch()  # the contexts end well


STOPPED = """
import os, signal, sys
from pathlib import Path
from l96closure import cli
from l96closure.closures import PolynomialAR1

number, step, steps = int(sys.argv.pop(1)), PolynomialAR1.step, iter(range(7))

def stopped(*arguments):
    if next(steps, None) is None:
        os.kill(os.getpid(), number)
    return step(*arguments)

PolynomialAR1.step = stopped
cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_goes_on_and_ends_in_the_same_bits(
    call: Call, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Stopped in the eighth step: asked to end, it keeps these; killed, it has kept the parts that were due before."""
    run = [*TINY, "closure=polynomial_ar1", "stages=[simulate,fit,integrate]"]
    whole = call(*run, "run_dir=whole").folder
    every = 0 if number == signal.SIGKILL else 3600
    command = [sys.executable, "-c", STOPPED, str(int(number)), *run, "run_dir=stopped", f"checkpoint_every={every}"]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert list(Path("stopped").glob(".integrate*/000000.nc"))
    assert not Path("stopped/coarse.nc").exists()
    outcome = call("run_dir=stopped", "resume=true")
    assert outcome.status == 0, outcome.err
    assert not list(Path("stopped").glob(".integrate*"))
    assert content(Path("stopped/coarse.nc")).identical(content(whole / "coarse.nc"))


EDITED = "note: coarse.nc was changed after it was made; it is taken as it is"


def test_a_file_that_the_user_has_edited_is_taken_with_a_note(call: Call, mine: Path) -> None:
    with netCDF4.Dataset(mine / "coarse.nc", "a") as file:
        file["z"][:] = file["z"][:] + 1.0
    first = stamps(mine)
    outcome = call(*FINISHED, "run_dir=mine", NO_REPORT)
    assert outcome.status == 0, outcome.err
    assert EDITED in outcome.err
    assert {name for name, when in stamps(mine).items() if when != first[name]} == {"diagnostics.nc"}
    again = call(*FINISHED, "run_dir=mine", "stages=[diagnose]")
    assert EDITED in again.err
    assert "diagnose  is up to date" in again.err
    changed = xr.load_dataset(mine / "diagnostics.nc", decode_times=False)["mean"]
    assert changed.sel(source="coarse") > changed.sel(source="truth") + 0.2


def test_a_file_of_the_users_own_is_taken_and_not_written_over(call: Call, mine: Path) -> None:
    """A truth from elsewhere, which says nothing of us; what is made of it says that it was there."""
    own = xr.load_dataset(mine / "truth.nc", decode_times=False)[["z", "psi"]].drop_attrs(deep=False)
    for file in FILES:
        (mine / file).unlink()
    (mine / "manifest.json").unlink()
    own.to_netcdf(mine / "truth.nc")
    bytes_of_it = (mine / "truth.nc").read_bytes()
    outcome = call(*FINISHED, "run_dir=mine", "stages=[fit]")
    assert outcome.status == 0, outcome.err
    assert "note: truth.nc was not made by this run; it is taken as it is" in outcome.err
    outcome = call(*FINISHED, "run_dir=mine", "stages=[simulate]", "resume=true")
    assert outcome.status == 2
    assert "truth.nc was not made by this run, and stage 'simulate' would write over it" in outcome.err
    assert (mine / "truth.nc").read_bytes() == bytes_of_it
    assert call(*FINISHED, "run_dir=mine", "stages=[simulate]", "force=true").status == 0


def test_a_file_that_was_being_written_when_the_run_was_killed_is_not_trusted(call: Call, mine: Path) -> None:
    """Whatever it holds: the manifest says that its writing was begun."""
    first, before = stamps(mine), content(mine / "diagnostics.nc")
    records = json.loads((mine / "manifest.json").read_text())
    records["coarse.nc"]["sha256"] = None
    (mine / "manifest.json").write_text(json.dumps(records))
    outcome = call(*FINISHED, "run_dir=mine", "stages=[diagnose]", "force=true")
    assert outcome.status == 2
    assert "coarse.nc was not written to its end; stage 'integrate' makes it again" in outcome.err
    assert call(*FINISHED, "run_dir=mine", NO_REPORT).status == 0
    assert {"coarse.nc"} <= {name for name, when in stamps(mine).items() if when != first[name]}
    assert content(mine / "diagnostics.nc").identical(before)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"truth.nc": 1}', '{"truth.nc": {"settings": 1}}', "[" * 5000])
def test_what_is_no_manifest_is_refused_in_one_line(call: Call, mine: Path, text: str) -> None:
    (mine / "manifest.json").write_text(text)
    outcome = call(*FINISHED, "run_dir=mine", NO_REPORT)
    assert outcome.status == 2
    assert "manifest.json' is not allowed" in outcome.err.splitlines()[-1]


def test_a_blow_up_ends_the_run_with_its_last_good_state(call: Call) -> None:
    wild = [*TINY, "closure=none", "coarse=euler", "coarse.dt=0.05", "coarse.steps=2000", "forecast.every=0.05"]
    wild += ["forecast.lead=0.1", "reference.duration=100", "forecast.starts=2", "coarse.members=2"]
    outcome = call(*wild, "run_dir=mine")
    assert outcome.status == 2
    assert "the coarse model stopped being finite in member" in outcome.err.splitlines()[-1]
    last = store.read("mine/blow_up.nc", kind="blow_up")
    assert {"member", "step"} <= set(last.attrs)
    assert not Path("mine/coarse.nc").exists()


def test_diagnostics_can_run_on_what_came_before_a_blow_up(call: Call) -> None:
    wild = [
        *TINY,
        "closure=none",
        "coarse=euler",
        "coarse.steps=20000",
        "coarse.save_every=1",
        "reference.duration=100",
    ]
    outcome = call(*wild, NO_REPORT, "coarse.keep_good=true")
    assert outcome.status == 0, outcome.err
    assert "what came before is kept" in outcome.err
    coarse = store.read(outcome.folder / "coarse.nc", kind="coarse")
    assert coarse.sizes["time"] < coarse.attrs["blow_up_step"] < 20000
    assert np.abs(coarse["z"]).max() < 1000.0
    assert np.isfinite(store.read(outcome.folder / "diagnostics.nc", kind="diagnostics")["std"]).all()
    assert (outcome.folder / "blow_up.nc").is_file()


def test_a_run_that_fails_while_the_reference_is_made_goes_on_with_the_truth_it_has(
    call: Call, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("no closure today")

    with monkeypatch.context() as patched:
        patched.setattr("l96closure.experiments.climate.stages.fit", fails)
        outcome = call(*FINISHED, "run_dir=other")
    assert (outcome.status, "no closure today" in outcome.err) == (2, True)
    first = stamps(Path("other"))
    again = call("run_dir=other", "resume=true", "stages=[simulate,fit,integrate]")
    assert again.status == 0, again.err
    assert stamps(again.folder)["truth.nc"] == first["truth.nc"]
    for name in ("truth", "reference", "coarse"):
        assert content(again.folder / f"{name}.nc").identical(content(mine / f"{name}.nc")), name


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no copies are made here")
def test_a_run_that_fails_in_the_fit_keeps_the_reference_that_is_done(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "threads", lambda: 2)

    def run(settings: Any, folder: RunFolder, restart: Restart) -> NoReturn:
        made = folder._unsettled["reference"][2]
        select.select([made._pipe], [], [])
        assert made.ready
        raise ValueError("no closure today")

    with monkeypatch.context() as patched:
        patched.setitem(WORKFLOW.stages, "fit", replace(WORKFLOW.stages["fit"], run=run))
        outcome = call(*FINISHED, "run_dir=other")
    assert (outcome.status, "no closure today" in outcome.err) == (2, True)
    first = stamps(Path("other"))
    assert set(first) == {"truth.nc", "reference.nc"}
    assert call("run_dir=other", "resume=true", "stages=[simulate]").status == 0
    assert stamps(Path("other"))["reference.nc"] == first["reference.nc"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_stopped_before_its_first_file_leaves_but_its_settings(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def stopped(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("l96closure.experiments.climate.stages.simulate", stopped)
    outcome = call(*TINY)
    assert outcome.status == (130 if number == signal.SIGINT else 143)
    assert not list(tmp_path.rglob("*.nc"))
    assert os.environ["HYDRA_FULL_ERROR"]


# What a command that fails may take away: what it has made itself


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("fail", ["coarse.members=0", "stages=[diagnose]"])
@pytest.mark.parametrize("run_dir", ["mine/run", "new/run", ".", "link", None])
def test_a_command_that_fails_takes_away_what_it_made_alone(
    call: Call, tmp_path: Path, run_dir: str | None, fail: str
) -> None:
    """A wrong setting, a missing file: nothing is left of it, and the empty folders of the user are."""
    for empty in ("mine/run", "elsewhere", "runs/l96"):
        (tmp_path / empty).mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere")
    before = tree(tmp_path)
    outcome = call(*TINY, fail, *([f"run_dir={run_dir}"] if run_dir else []))
    assert outcome.status == 2
    told = {"coarse.members=0": "coarse.members = 0 is not", "stages=[diagnose]": "stage 'diagnose' needs"}
    assert outcome.err.splitlines()[-1].startswith(f"l96closure: error: {told[fail]}")
    assert tree(tmp_path) == before
    if run_dir:
        assert call(*TINY, fail, f"run_dir={run_dir}", "resume=true").status == 2
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "mistyped", [["coarse.members=3"], ["coarse.stepz=1"], ["stages=[cook]"], ["seed=-1"], ["experiment=l97"]]
)
def test_the_notes_of_a_run_that_was_killed_early_outlive_a_mistyped_command(
    call: Call, tmp_path: Path, mistyped: list[str]
) -> None:
    folder = call(*TINY, "closure=polynomial", "run_dir=mine", "stages=[simulate]").folder
    for file in (*folder.glob("*.nc"), folder / "run.log"):  # killed before the first file
        file.unlink()
    before = tree(folder)
    assert call("run_dir=mine", "resume=true", *mistyped).status == 2
    assert tree(folder) == before
    assert call("run_dir=mine", "resume=true", "stages=[simulate]").status == 0


@pytest.mark.parametrize("several", [False, True])
def test_commands_of_the_same_second_have_folders_of_their_own(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Stopped:
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("hydra.core.utils.datetime", Stopped)
    run = [*(["-m", "seed=1,2"] if several else []), *TINY, "stages=[simulate]"]
    folders = [line for _ in range(3) for line in call(*run).out.splitlines()]
    assert len(set(folders)) == len(folders) == (6 if several else 3)
    prefix = "sweep_" if several else ""
    assert {item.name for item in (tmp_path / "runs" / "l96").iterdir()} == {
        f"{prefix}2026-01-02_03-04-05{number}" for number in ("", "_2", "_3")
    }
    assert all((Path(folder) / "truth.nc").is_file() for folder in folders)


def test_the_page_says_which_command_ran_each_stage(tmp_path: Path) -> None:
    files = {each: File("kind", f"make_{each}", (), "a file") for each in ("a", "b", "c")}
    needs: dict[str, tuple[str, ...]] = {file.made_by: () for file in files.values()}
    first = RunFolder(tmp_path, files, needs, {"experiment_name": "x"}, "l96closure seed=1", {})
    again = replace(first, command="l96closure resume=true")
    for each, folder in (("a", first), ("b", first), ("c", again)):
        folder.write(each, xr.Dataset(), 0.0)
    again.write_page("a run", {}, headline="", tables=[], notes=[])
    page = re.sub("</?span>", "", (tmp_path / "report.html").read_text(encoding="utf-8"))
    for row in ("command of make_a, make_b</th><td>l96closure seed=1", "command</th><td>l96closure resume=true"):
        assert f'<th scope="row">{row} </td>' in page


def test_an_override_that_refers_to_another_is_resumed_with_its_value(call: Call) -> None:
    given = ["coarse.members=${forecast.members}", "coarse.batches=${coarse.members}"]
    folder = call(*TINY, "closure=polynomial", "run_dir=mine", "stages=[simulate]", *given).folder
    outcome = call("run_dir=mine", "resume=true", "stages=[fit,integrate]")
    assert outcome.status == 0, outcome.err
    assert store.read(folder / "coarse.nc", kind="coarse").sizes["member"] == 3
