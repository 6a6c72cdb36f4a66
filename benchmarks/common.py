"""What the benchmarks share: timing contestants in turns, and naming the machine."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def in_turns(contestants: Mapping[Any, tuple[Callable[[int], Any], int]], repeats: int) -> dict[Any, list[float]]:
    """Time every contestant ``repeats`` times, one after the other; microseconds per step."""
    for run, _ in contestants.values():
        run(10)  # compiles, fills the caches
    times: dict[Any, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, (run, steps) in contestants.items():
            start = time.perf_counter()
            run(steps)
            times[name].append((time.perf_counter() - start) / steps * 1e6)
    return times


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the name of the processor, with the numbers of family and model, as one name may stand for several."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    first = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    if "model name" not in first:
        return platform.processor() or platform.machine()
    return f"{first['model name']}, family {first.get('cpu family')}, model {first.get('model')}"


def print_record(
    benchmark: str, packages: Iterable[str], ratios: Mapping[str, float] | None = None, **figures: Any
) -> None:
    """Print one line of JSON: what was measured, on what, with which versions, and the figures.

    ``ratios`` are times over times: how many times as long a peer takes; None for a benchmark without peers.
    """
    from l96closure.provenance import git_commit, package_version  # the scripts put the clone on the path first

    record = {
        "benchmark": benchmark,
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "l96closure": package_version(),
        "git_commit": git_commit(),
        "ratios": {name: float(f"{ratio:.3g}") for name, ratio in (ratios or {}).items()},
        **figures,
    }
    print(json.dumps(record))
