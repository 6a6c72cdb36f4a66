"""A disk that fills up while a stage writes: a clear error, and every file that was there is as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import TINY, Call

STAGES = ["simulate", "fit", "integrate", "forecast", "diagnose", "report"]
SIZE = 12_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk; what the kernel does not let us do is no fault of the package."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(disk: Path, room: int) -> None:
    """Leave so many bytes."""
    with (disk / "filler").open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - room))


@pytest.mark.slow
def test_every_stage_leaves_the_files_as_they_were(call: Call, disk: Path) -> None:
    run = [*TINY, "closure=polynomial_ar1", f"run_dir={disk / 'run'}"]
    assert call(*run).status == 0
    before = contents(disk / "run")
    fill(disk, 16_000)
    for stage in STAGES:
        outcome = call(*run, f"stages=[{stage}]", "force=true")
        assert outcome.status == 2, stage
        last = outcome.err.splitlines()[-1]
        assert last.startswith("l96closure: error: ")
        assert "cannot write" in last or "No space left on device" in last
        assert "Traceback" not in outcome.err
        after = contents(disk / "run")
        assert set(after) == set(before), stage
        for name, content in before.items():
            assert after[name] == content or name.startswith((".hydra", "run.log")), (stage, name)
    (disk / "filler").unlink()
    assert call(*run, "resume=true").status == 0


@pytest.mark.slow
def test_restart_files_that_find_no_room_end_the_run(call: Call, disk: Path) -> None:
    run = [*TINY, "closure=polynomial_ar1", f"run_dir={disk / 'run'}", "coarse.steps=4000", "forecast.starts=2"]
    assert call(*run, "stages=[simulate,fit]").status == 0
    fill(disk, 200_000)
    outcome = call(*run, "stages=[integrate]", "checkpoint_every=0.01")
    assert outcome.status == 2
    assert "cannot write" in outcome.err.splitlines()[-1]
    assert not (disk / "run" / "coarse.nc").exists()
    os.unlink(disk / "filler")
    assert call(f"run_dir={disk / 'run'}", "resume=true").status == 0
    assert (disk / "run" / "coarse.nc").exists()
