"""Runs that were stopped, damaged or are asked for again: what is done is not done twice; the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import Call
from test_cli import FILES, TINY

from l96closure import cli, store
from l96closure.experiments.run_folder import LOCK, locked

SCRIPT = Path(sysconfig.get_path("scripts")) / "l96closure"
NO_REPORT = "stages=[simulate,fit,integrate,forecast,diagnose]"


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in FILES if (folder / name).exists()}


def content(path: Path) -> xr.Dataset:
    """Everything in a file but when and for how long it was made."""
    data = xr.load_dataset(path, decode_times=False)
    for name in ("history", "wall_time_seconds", "inputs", "config"):
        data.attrs.pop(name)
    return data


def test_what_is_up_to_date_is_not_made_again(call: Call) -> None:
    folder = call(*TINY, NO_REPORT, "run_dir=mine").folder
    first = stamps(folder)
    for overrides in ([*TINY, NO_REPORT], ["resume=true"]):
        outcome = call(*overrides, "run_dir=mine")
        assert outcome.status == 0, outcome.err
        assert stamps(folder) == first
        assert "hellinger_z" in outcome.out


def test_force_makes_it_again(call: Call) -> None:
    folder = call(*TINY, NO_REPORT, "run_dir=mine").folder
    first = stamps(folder)
    assert call(*TINY, "run_dir=mine", "force=true", "stages=[fit]").status == 0
    assert {name for name, when in stamps(folder).items() if when != first[name]} == {"closure.nc"}


def test_what_was_made_from_older_files_is_made_again(call: Call) -> None:
    folder = call(*TINY, NO_REPORT, "run_dir=mine").folder
    call(*TINY, "run_dir=mine", "force=true", "stages=[fit]")
    first, before = stamps(folder), content(folder / "diagnostics.nc")
    assert call("run_dir=mine", "resume=true", NO_REPORT).status == 0
    again = {name for name, when in stamps(folder).items() if when != first[name]}
    assert again == {"coarse.nc", "forecast.nc", "diagnostics.nc"}
    assert content(folder / "diagnostics.nc").identical(before)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_or_missing_file_is_made_again(call: Call, name: str) -> None:
    folder = call(*TINY, "closure=polynomial", NO_REPORT, "run_dir=mine").folder
    before = content(folder / "diagnostics.nc")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:1000] + b"?" + whole[1001:])
    assert call("run_dir=mine", "resume=true", NO_REPORT).status == 0
    (folder / name).unlink()
    assert call("run_dir=mine", "resume=true", NO_REPORT).status == 0
    assert content(folder / "diagnostics.nc").identical(before)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("coarse.members=3", "coarse.nc was made with coarse.members = 2, not 3; with force=true stage 'integrate'"),
        ("training.samples=2000", "truth.nc was made with training.samples = 3000, not 2000; with force=true"),
        ("seed=1", "truth.nc was made with seed = 0, not 1; with force=true stage 'simulate' is run again"),
    ],
)
def test_other_settings_stop_and_change_nothing(call: Call, override: str, message: str) -> None:
    folder = call(*TINY, "closure=polynomial", NO_REPORT, "run_dir=mine").folder
    first = stamps(folder)
    outcome = call(*TINY, "closure=polynomial", NO_REPORT, "run_dir=mine", override)
    assert outcome.status == 2
    assert message in outcome.err.splitlines()[-1]
    assert stamps(folder) == first


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
    overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
    assert set(TINY) <= set(overrides)


@pytest.mark.parametrize("overrides", [["resume=true"], ["resume=true", "run_dir=nowhere"], ["resume=perhaps"]])
def test_there_must_be_a_run_to_resume(call: Call, tmp_path: Path, overrides: list[str]) -> None:
    outcome = call(*overrides)
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


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
import time
from pathlib import Path
from l96closure.experiments.run_folder import locked
with locked(Path({str(tmp_path / "mine")!r})):
    print("locked", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
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
    (tmp_path / "figures").mkdir()
    with store.atomic_path(tmp_path / "truth.nc") as one, store.atomic_path(tmp_path / "figures" / "a.png") as other:
        names = one, other
        for name in names:
            name.touch()
    for name in (*names, tmp_path / ".hidden", tmp_path / "my.tmp"):
        name.touch()
    with locked(tmp_path):
        assert not any(name.exists() for name in names)
        assert (tmp_path / ".hidden").exists()
        assert (tmp_path / "my.tmp").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_goes_on_and_ends_in_the_same_bits(
    call: Call, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    long = [*TINY, "closure=polynomial_ar1", "stages=[simulate,fit,integrate]", "coarse.steps=40000"]
    whole = call(*long, "run_dir=whole").folder
    command = [SCRIPT, *long, "run_dir=stopped", f"checkpoint_every={0.2 if number == signal.SIGKILL else 60}"]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "0"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as run:
        part = Path("stopped/.integrate/000000.nc")
        while not (part if number == signal.SIGKILL else Path("stopped/closure.nc")).exists():
            time.sleep(0.01)
        time.sleep(0.0 if number == signal.SIGKILL else 0.6)
        run.send_signal(number)
        _, err = run.communicate()
    assert run.returncode == status
    assert "Traceback" not in err
    assert part.exists()
    assert not Path("stopped/coarse.nc").exists()
    outcome = call("run_dir=stopped", "resume=true")
    assert outcome.status == 0, outcome.err
    assert not Path("stopped/.integrate").exists()
    assert content(Path("stopped/coarse.nc")).identical(content(whole / "coarse.nc"))


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


@pytest.mark.parametrize("error", [cli._Terminated, KeyboardInterrupt])
def test_nothing_is_left_of_a_run_stopped_before_its_first_file(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("l96closure.experiments.closure.simulate", stopped)
    outcome = call(*TINY)
    assert outcome.status == (130 if error is KeyboardInterrupt else 143)
    assert not (tmp_path / "runs").exists()
    assert os.environ["HYDRA_FULL_ERROR"]
