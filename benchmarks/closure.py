"""Microseconds per coarse step and member of the recommended closure, beside the fine steps that it replaces.

Both run on one thread, in turns. The fine model makes ten RK4 steps for every coarse one, one member after the other;
the closure steps its ensemble in one call. Run it with ``python benchmarks/closure.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "1"
# `python benchmarks/closure.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import in_turns, print_record

import l96closure as lc

DT, FINE_STEPS = 5e-4, 10


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=25, help="timings of each contestant (default 25)")
    arguments.add_argument("--members", type=int, default=64, help="ensemble members (default 64)")
    given = arguments.parse_args()

    model = lc.TwoScaleLorenz96()
    truth = model.simulate(samples=40_000, every=FINE_STEPS, rng=1)
    closure = lc.closures.SchrodingerBridge.fit(truth)
    z = truth["z"].values[np.linspace(0, 39_999, given.members).astype(int)].copy()
    state = closure.init(z, 0)
    fine_z, fine_y = model.step(z[0], np.zeros((model.K, model.J)), DT, steps=20_000)

    def fine(coarse_steps: int) -> None:
        model.step(fine_z, fine_y, DT, steps=FINE_STEPS * coarse_steps * given.members)

    def closed(coarse_steps: int) -> None:
        following = state
        for _ in range(coarse_steps):
            _, following = closure.step(z, following)

    contestants = {"ten fine steps": (fine, 20), "closure, one step": (closed, 20)}
    per_step = in_turns(contestants, given.repeats)
    times = {name: [value / given.members for value in values] for name, values in per_step.items()}
    ratio = statistics.median(times["ten fine steps"]) / statistics.median(times["closure, one step"])
    print(f"microseconds per coarse step and member, {given.members} members, one thread, {given.repeats} turns")
    for name, values in times.items():
        print(f"{name:24}{min(values):9.3f} best{statistics.median(values):9.3f} median")
    print(f"ratio of the medians: 1/{ratio:.1f}")
    print_record(
        "closure",
        ("numpy", "numba"),
        {"ten fine steps": ratio},
        members=given.members,
        median_microseconds={name: round(statistics.median(values), 3) for name, values in times.items()},
    )


if __name__ == "__main__":
    main()
