"""Microseconds per RK4 step of the two-scale Lorenz-96 model, beside DAPPER's LorenzUV.

Both models advance the same state with the same parameters on one core, in turns, so that a slow spell of the
machine hits both. Before any timing the two must agree on the tendency and on a step. Run it with
``python benchmarks/simulator.py`` after ``pip install "l96closure[bench]"``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

# `python benchmarks/simulator.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import in_turns, print_record

from l96closure import TwoScaleLorenz96

try:
    with redirect_stdout(sys.stderr):  # DAPPER greets on standard output
        from dapper.mods.integration import with_rk4
        from dapper.mods.LorenzUV import model_instance
except ImportError:
    sys.exit('this benchmark needs DAPPER: pip install "l96closure[bench]"')

DT = 5e-4


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=25, help="timings of each contestant (default 25)")
    repeats = arguments.parse_args().repeats
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    model = TwoScaleLorenz96(K=12, J=24, F=20.0, h=1.0, b=10.0, c=10.0)
    dapper = model_instance(nU=model.K, J=model.J, F=model.F, h=model.h, b=model.b, c=model.c)
    dapper_step = with_rk4(dapper.dxdt, autonom=True)
    z, y = on_the_attractor(model)
    x = np.concatenate([z, y.ravel()])  # DAPPER's layout: the slow variables, then the ring of fast ones
    difference = disagreement(model, dapper.dxdt, dapper_step, z, y)

    def ours(steps: int) -> None:
        model.step(z, y, DT, steps=steps)

    def ours_recorded(steps: int) -> None:
        model.simulate(samples=steps, dt=DT, every=1, spinup=0.0, subgrid="fine")

    def theirs(steps: int) -> None:
        state = x
        for _ in range(steps):
            state = dapper_step(state, 0.0, DT)

    contestants: dict[str, tuple[Callable[[int], None], int]] = {
        "l96closure, TwoScaleLorenz96.step": (ours, 20_000),
        "l96closure, simulate, every step recorded": (ours_recorded, 20_000),
        "DAPPER, LorenzUV with its rk4": (theirs, 200),
    }
    times = in_turns(contestants, repeats)
    report(times, difference, repeats)


def on_the_attractor(model: TwoScaleLorenz96) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    z, y = rng.normal(4.0, 5.0, model.K), rng.normal(0.0, 0.3, (model.K, model.J))
    return model.step(z, y, DT, steps=20_000)


def disagreement(
    model: TwoScaleLorenz96,
    dapper_tendency: Callable[[np.ndarray], np.ndarray],
    dapper_step: Callable[[np.ndarray, float, float], np.ndarray],
    z: np.ndarray,
    y: np.ndarray,
) -> float:
    """Return the largest relative difference of the two tendencies; stop when the models are not the same."""
    x = np.concatenate([z, y.ravel()])
    pairs = [
        (joined(*model.tendency(z, y)), dapper_tendency(x)),
        (joined(*model.step(z, y, DT)), dapper_step(x, 0.0, DT)),
    ]
    differences = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]
    if max(differences) > 1e-12:
        sys.exit(f"the two models do not compute the same: relative difference {max(differences):.1e}")
    return differences[0]


def joined(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.concatenate([z, y.ravel()])


def report(times: dict[str, list[float]], difference: float, repeats: int) -> None:
    reference = times["DAPPER, LorenzUV with its rk4"]
    print(f"Two-scale Lorenz-96, K = 12, J = 24, dt = {DT:g}")
    print(f"microseconds per RK4 step on one core, {repeats} turns")
    print(f"{'':44}{'best':>9}{'median':>9}{'DAPPER / this (medians)':>26}")
    for name, values in times.items():
        ratio = statistics.median(reference) / statistics.median(values)
        print(f"{name:44}{min(values):9.2f}{statistics.median(values):9.2f}{ratio:26.0f}")
    print(f"relative difference of the two tendencies: {difference:.1e}")
    print_record(
        "simulator",
        ("numpy", "numba", "dapper"),
        microseconds_per_step={
            name: {"best": round(min(values), 3), "median": round(statistics.median(values), 3)}
            for name, values in times.items()
        },
    )


if __name__ == "__main__":
    main()
