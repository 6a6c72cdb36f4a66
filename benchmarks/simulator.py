"""Nanoseconds per fine RK4 step and member of the two-scale Lorenz-96 model, beside its peers and the machine's limit.

The peers are the same scheme in plain loops, compiled by Numba, and DAPPER's LorenzUV where DAPPER is installed. All
advance the same state with the same parameters in short turns, one after the other, so that a slow spell of the machine
hits all of them; the best turn counts. What :mod:`limits` counts of our loop is set beside what one core can do. Before
any timing the models must agree on a step. Run it with ``python benchmarks/simulator.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

# `python benchmarks/simulator.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import limits
import numba
import numpy as np
import numpy.typing as npt
from common import in_turns, print_record

from l96closure import TwoScaleLorenz96
from l96closure.systems import lorenz96_core as core

F64 = npt.NDArray[np.float64]
State = tuple[F64, F64]

DT, EVERY = 5e-4, 10
PLAIN, DAPPER, SIMULATE = "plain loops in Numba", "DAPPER", "simulate, every tenth step recorded"
COMPILED = """
import time
import numpy as np
from l96closure import TwoScaleLorenz96
model, start = TwoScaleLorenz96(), time.process_time()
model.step(np.ones(model.K), np.ones((model.K, model.J)), 5e-4)
print(time.process_time() - start)
"""


class Contestant(NamedTuple):
    """Makes so many steps of some members; ``steps`` of them make a turn of about a millisecond."""

    run: Callable[[int], object]
    steps: int
    members: int = 1


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=200, help="turns of each contestant (default 200)")
    repeats = arguments.parse_args().repeats

    model = TwoScaleLorenz96(K=12, J=24, F=20.0, h=1.0, b=10.0, c=10.0)
    rng = np.random.default_rng(0)
    z, y = model.step(rng.normal(4.0, 5.0, model.K), rng.normal(0.0, 0.3, (model.K, model.J)), DT, steps=20_000)
    contestants = peers(model, z, y) | ours(model, z, y)
    turns = in_turns({name: (one.run, one.steps) for name, one in contestants.items()} | limits.contestants(), repeats)
    rates = limits.rates(turns)
    times = {name: [1e3 * each / contestants[name].members for each in turn] for name, turn in turns.items()}
    with tempfile.TemporaryDirectory() as cache:
        seconds = [float(python(COMPILED, NUMBA_CACHE_DIR=cache)) for _ in range(2)]
    report(times, limits.fine_step(model.K, model.J), rates, seconds)


def ours(model: TwoScaleLorenz96, z: F64, y: F64) -> dict[str, Contestant]:
    """Return a run as a user makes it, and steps of ensembles on one thread and on all."""

    def recorded(steps: int) -> None:
        model.simulate(steps // EVERY + 1, DT, EVERY, 0.0, "coupling")

    contestants = {SIMULATE: Contestant(recorded, 5000)}
    scheme = core.Scheme.of(DT, model.F, model.h, model.b, model.c)
    for threads in sorted({1, numba.config.NUMBA_NUM_THREADS}):
        numba.set_num_threads(threads)
        for members in (1, 4, 8, 64):
            one_each = core.Ensemble(scheme, np.tile(z, (members, 1)), scheme.unit * np.tile(y, (members, 1, 1)))

            def advance(steps: int, ensemble: core.Ensemble = one_each, threads: int = threads) -> None:
                numba.set_num_threads(threads)
                ensemble.advance(steps)

            contestants[f"members: {members}, threads: {threads}"] = Contestant(advance, 8000 // members, members)
    return contestants


def peers(model: TwoScaleLorenz96, z: F64, y: F64) -> dict[str, Contestant]:
    """Return the same model by others, once it agrees with ours on a step."""
    parameters = (DT, model.F, model.coupling, model.b, model.c)

    def loops(steps: int) -> State:
        rings = np.pad(z, (2, 1), mode="wrap"), np.pad(y.ravel(), (1, 2), mode="wrap")
        plain_steps(*rings, steps, *parameters)
        return rings[0][2:-1], rings[1][1:-2].reshape(y.shape)

    agree(model, z, y, loops(1))
    contestants = {PLAIN: Contestant(loops, 1000)}
    with suppress(ImportError):
        with redirect_stdout(sys.stderr):  # DAPPER greets on standard output
            from dapper.mods.integration import with_rk4
            from dapper.mods.LorenzUV import model_instance

        dapper = model_instance(nU=model.K, J=model.J, F=model.F, h=model.h, b=model.b, c=model.c)
        move = with_rk4(dapper.dxdt, autonom=True)

        def theirs(steps: int) -> State:
            state = np.concatenate([z, y.ravel()])  # the slow variables, then the ring of fast ones
            for _ in range(steps):
                state = move(state, 0.0, DT)
            return state[: model.K], state[model.K :].reshape(y.shape)

        agree(model, z, y, theirs(1))
        contestants[DAPPER] = Contestant(theirs, 10)
    return contestants


def agree(model: TwoScaleLorenz96, z: F64, y: F64, theirs: State) -> None:
    """Stop when the models are not the same."""
    for mine, other in zip(model.step(z, y, DT), theirs, strict=True):
        difference = float(np.abs(mine - other).max() / np.abs(mine).max())
        if difference > 1e-12:
            sys.exit(f"the two models do not compute the same: relative difference {difference:.1e}")


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def plain_steps(z: F64, y: F64, steps: int, dt: float, F: float, coupling: float, b: float, c: float) -> None:
    """RK4 steps in place, stage by stage, on rings with halos of 2 and 1 (z), 1 and 2 (y)."""
    K, N = z.size - 3, y.size - 3
    J = N // K
    dz, dy, stage_z, stage_y = np.empty((4, K)), np.empty((4, N)), z.copy(), y.copy()
    for _ in range(steps):
        for stage in range(4):
            plain_tendency(stage_z, stage_y, J, F, coupling, b, c, dz[stage], dy[stage])
            weight = dt if stage == 2 else dt / 2
            if stage < 3:
                plain_move(z, dz[stage], weight, stage_z, 2)
                plain_move(y, dy[stage], weight, stage_y, 1)
        for slopes in (dz, dy):
            for i in range(slopes.shape[1]):
                slopes[0, i] = (slopes[0, i] + 2.0 * (slopes[1, i] + slopes[2, i]) + slopes[3, i]) / 6.0
        plain_move(z, dz[0], dt, z, 2)
        plain_move(y, dy[0], dt, y, 1)
        stage_z[:], stage_y[:] = z, y


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def plain_tendency(z: F64, y: F64, J: int, F: float, coupling: float, b: float, c: float, dz: F64, dy: F64) -> None:
    for k in range(dz.size):
        total = 0.0
        for i in range(k * J, (k + 1) * J):
            total += y[i + 1]
        dy[k * J : (k + 1) * J] = coupling * z[k + 2]
        dz[k] = F - z[k + 2] - z[k + 1] * (z[k] - z[k + 3]) - coupling * total
    for i in range(dy.size):
        dy[i] -= c * y[i + 1] + c * b * y[i + 2] * (y[i + 3] - y[i])


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy")
def plain_move(x: F64, dx: F64, weight: float, out: F64, left: int) -> None:
    """Write x + weight dx, and close the ring, whose halos are three numbers."""
    n = dx.size
    for i in range(n):
        out[i + left] = x[i + left] + weight * dx[i]
    for i in range(left):
        out[i] = out[n + i]
    for i in range(3 - left):
        out[left + n + i] = out[left + i]


def python(script: str, **environment: str) -> str:
    """Run a script in a process of its own, and return what it prints."""
    root = str(Path(__file__).resolve().parents[1])
    given = {**os.environ, "PYTHONPATH": root, **environment}
    return subprocess.run([sys.executable, "-c", script], env=given, check=True, capture_output=True, text=True).stdout


def report(times: dict[str, list[float]], work: limits.Work, rates: dict[str, float], seconds: list[float]) -> None:
    print(f"Two-scale Lorenz-96, K = 12, J = 24, dt = {DT:g}: ns per RK4 step and member, {work.flops:.0f} flops each")
    print(f"{'':40}{'best':>9}{'median':>9}{'plain loops / this':>20}  {limits.HEAD}")
    best = {name: min(turn) for name, turn in times.items()}
    ours = {name: value for name, value in best.items() if name not in (PLAIN, DAPPER)}
    shares = {name: limits.shares(value, work, rates) for name, value in ours.items()}
    beside_dapper = {"simulate, beside DAPPER": best[DAPPER] / best[SIMULATE]} if DAPPER in best else {}
    for name, turn in times.items():
        print(
            f"{name:40}{best[name]:9.1f}{statistics.median(turn):9.1f}{best[PLAIN] / best[name]:20.3g}"
            f"  {limits.line(shares[name]) if name in shares else ''}".rstrip()
        )
    print(f"{limits.said(rates)}; seconds to compile: {seconds[0]:.1f}, from the cache {seconds[1]:.1f}")
    print_record(
        "simulator",
        ("numpy", "numba"),
        {name: best[PLAIN] / value for name, value in ours.items()} | beside_dapper,
        nanoseconds_per_step_and_member={
            name: {"best": round(best[name], 1), "median": round(statistics.median(turn), 1)}
            for name, turn in times.items()
        },
        work=work._asdict(),
        limits=rates,
        shares=shares,
        seconds_to_compile={"first": round(seconds[0], 2), "cached": round(seconds[1], 2)},
    )


if __name__ == "__main__":
    main()
