"""What the benchmarks share: timing contestants in turns, and naming the machine."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def in_turns(contestants: dict[Any, tuple[Callable[[int], object], int]], repeats: int) -> dict[Any, list[float]]:
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
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def print_record(benchmark: str, packages: Iterable[str], **figures: Any) -> None:
    """Print one line of JSON: what was measured, on what, with which versions, and the figures."""
    from l96closure.store import git_commit, package_version  # the scripts put the clone on the path first

    record = {
        "benchmark": benchmark,
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "l96closure": package_version(),
        "git_commit": git_commit(),
        **figures,
    }
    print(json.dumps(record))
