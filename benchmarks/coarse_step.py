"""Nanoseconds per member of a whole coarse step, beside the ten fine steps of the two-scale model that it replaces.

One thread, the paper's parameters: tendency, closure, RK4. The closures are the recommended one as it is fitted by
default, that of one site and one instant, and polynomial + AR(1); with 1, 4, 16, 64 and 1,024 members. The fine steps
are made by plain loops in Numba (as version 0.1 made them) and by ours, for one member. Last, what ``lc.integrate``
takes as a user calls it, all states recorded, over the steps alone. All take turns in one process, and the shortest of
many short timings counts. What :mod:`limits` counts is set beside what one core can do. Run it with
``python benchmarks/coarse_step.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# `python benchmarks/coarse_step.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import limits
import numba
import numpy as np
from common import in_turns, print_record
from simulator import DT, PLAIN, peers

import l96closure as lc
from l96closure.compiled_loop import CompiledLoop

COARSE, MEMBERS = 5e-3, (1, 4, 16, 64, 1024)
STEPS = 100_000  # of all members in a call; `integrate` makes up to 400,000
OURS = "ours"


def steps_of(model: lc.TwoScaleLorenz96, closure: Any, z: Any) -> Callable[[int], None]:
    """Return a function that makes so many coarse steps from z, none of them recorded."""
    loop = CompiledLoop.of(model.resolved_tendency, closure, "rk4", COARSE, model.K)
    assert loop is not None
    state, nothing = closure.init(z, 1), np.empty((len(z), 1, model.K))
    return lambda steps: loop.advance(z, state, 1, steps, 2**40, (nothing, nothing, 0)) and None


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=200, help="timings of each contestant (default 200)")
    repeats = arguments.parse_args().repeats
    numba.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    model = lc.TwoScaleLorenz96()
    truth = model.simulate(rng=1)
    closures = {
        "recommended": lc.closures.SchrodingerBridge.fit(truth),
        "one-site": lc.closures.SchrodingerBridge.fit(truth, lc.Fields(radius=0, lags=())),
        "polynomial + AR(1)": lc.closures.PolynomialAR1.fit(truth),
    }
    z = truth["z"].values[np.linspace(0, truth.sizes["time"] - 1, max(MEMBERS)).astype(int)]
    y = model.spin_up(np.tile(z[:1], (3, 1)), COARSE, DT)[0]

    contestants: dict[Any, tuple[Callable[[int], object], int]] = {
        PLAIN: (peers(model, z[0], y)[PLAIN].run, 1000),
        OURS: (lambda steps: model.step(z[0], y, DT, steps), 1000),
    }
    for name, closure in closures.items():
        for members in MEMBERS:
            contestants[name, members] = steps_of(model, closure, z[:members]), max(400, STEPS // members)
    times = in_turns(contestants | limits.contestants(), repeats)
    rates = limits.rates(times)
    best = {name: 1e3 * min(values) for name, values in times.items()}
    fine = {name: 10 * best.pop(name) for name in (PLAIN, OURS)}
    print("ten fine steps: " + ", ".join(f"{name} {value:.0f} ns" for name, value in fine.items()))
    print(f"{limits.said(rates)}\n{'':34}ns per member{'of ten fine steps':>20}  {limits.HEAD}")
    shares = {}
    for (name, members), value in best.items():
        tables = closures[name].compiled
        assert tables is not None
        work = limits.coarse_step(tables, model.K)
        shares[f"{name}, {members}"] = share = limits.shares(value / members, work, rates)
        of = ", ".join(f"1/{one * members / value:.0f}" for one in fine.values())
        print(f"{name:20}{members:6} members{value / members:13.1f}{of:>20}  {limits.line(share)}")

    called: dict[tuple[str, int], tuple[Callable[[int], Any], int]] = {}
    for members in (1, 64):
        some = z[:members]
        called["steps", members] = steps_of(model, closures["one-site"], some), 20_000
        called["integrate", members] = partial(lc.integrate, model, closures["one-site"], some), 20_000
    shortest = {name: min(values) for name, values in in_turns(called, max(3, repeats // 20)).items()}
    ratios = {members: shortest["integrate", members] / shortest["steps", members] for members in (1, 64)}
    for members, ratio in ratios.items():
        written = 2 * 8 * model.K * members / shortest["integrate", members] / 1e3  # z and psi of every step
        print(
            f"integrate, 20,000 steps of {members} members: {ratio:.2f} times the steps alone; "
            f"writes {written:.1f} GB/s"
        )
    print_record(
        "coarse_step",
        ("numpy", "numba"),
        {f"{name}, {members}": fine[PLAIN] * members / value for (name, members), value in best.items()},
        ten_fine_steps_ns={name: round(value) for name, value in fine.items()},
        ns_per_member={f"{name}, {members}": round(value / members, 1) for (name, members), value in best.items()},
        limits=rates,
        shares=shares,
        integrate_over_steps={str(members): round(ratio, 2) for members, ratio in ratios.items()},
    )


if __name__ == "__main__":
    main()
