"""What becomes of runs that are killed: each is resumed, and its result compared with that of the run nobody killed.

``python benchmarks/survival.py`` runs ``l96closure`` once, then kills it ``--kills`` times with SIGKILL, in each of its
stages in turn, at a moment drawn evenly over the time that stage took, and resumes it each time. Overrides for the
experiment follow the options.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

RUN = [sys.executable, "-c", "from l96closure.cli import main; main()"]
OF_THE_OCCASION = ("history", "wall_time_seconds", "inputs", "config")  # attributes that tell when, not what


def content(path: Path) -> xr.Dataset:
    data = xr.load_dataset(path, decode_times=False)
    return data.assign_attrs({name: None for name in OF_THE_OCCASION})


def same_bits(one: xr.Dataset, other: xr.Dataset) -> bool:
    numbers = [name for name, variable in one.variables.items() if variable.dtype.kind != "O"]  # text is just text
    return one.identical(other) and all(one[name].values.tobytes() == other[name].values.tobytes() for name in numbers)


def reached(folder: Path) -> str:
    """Name what a run had made when it was killed."""
    made = [path.name for path in sorted(folder.glob("*.nc"), key=lambda path: path.stat().st_mtime)]
    parts = {path.parent.name[1:]: path.name for path in sorted(folder.glob(".*/0*.nc"))}
    return f"{made[-1] if made else 'nothing'}" + "".join(
        f", {stage} part {part[:-3]}" for stage, part in parts.items()
    )


def stages_made(folder: Path) -> dict[str, float]:
    """Return the stages a run has finished, in order, with the seconds each took."""
    log = folder / "run.log"
    lines = log.read_text(encoding="utf-8") if log.exists() else ""
    return {name: float(seconds) for name, seconds in re.findall(r"(\w+) +([\d.]+) s$", lines, re.MULTILINE)}


def kill_in(run: subprocess.Popen[bytes], folder: Path, stages_before: int, seconds: float) -> None:
    """Kill a run so many seconds after it has begun the stage that follows so many others."""
    while run.poll() is None and len(stages_made(folder)) < stages_before:
        time.sleep(0.005)
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": scratch}
        subprocess.run([*RUN, *overrides, "stages=[simulate]"], check=True, **quiet)  # compiles
        started = time.perf_counter()
        subprocess.run([*RUN, *overrides, "run_dir=whole"], check=True, **quiet)
        duration = time.perf_counter() - started
        print(f"uninterrupted: {duration:.1f} s", flush=True)
        whole = content(Path(scratch) / "whole" / "diagnostics.nc")
        durations = list(stages_made(Path(scratch) / "whole").items())
        equal, rng = 0, np.random.default_rng(options.seed)
        for number in range(options.kills):
            stage, seconds = durations[number % len(durations)]
            moment = rng.uniform(0.0, seconds)
            folder = Path(scratch) / f"killed_{number}"
            arguments = [*overrides, f"run_dir={folder.name}"]
            with subprocess.Popen([*RUN, *arguments, "checkpoint_every=0.2"], **quiet) as run:
                kill_in(run, folder, number % len(durations), moment)
            state = reached(folder)
            again = ["resume=true"] if (folder / ".hydra" / "config.yaml").exists() else []
            done = subprocess.run(
                [*RUN, *(again and [f"run_dir={folder.name}"]), *(again or arguments)], check=False, **quiet
            )
            alike = done.returncode == 0 and same_bits(content(folder / "diagnostics.nc"), whole)
            equal += alike
            print(
                f"killed {moment:4.1f} s into {stage:9} ({state}): {'same bits' if alike else 'DIFFERENT'}", flush=True
            )
        print(json.dumps({"kills": options.kills, "same_bits": equal, "uninterrupted_s": round(duration, 1)}))
    sys.exit(equal != options.kills)


if __name__ == "__main__":
    main()
