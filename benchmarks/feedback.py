"""Climates of coarse models whose psi remembers and drives what it is drawn given, by closure.

dz/dt = -z / 2 + 0.3 (the left neighbour's z - z) + psi on a ring of 12 sites, in Euler steps of 0.1, with psi by rules
that are known exactly. Closures are fitted by their defaults to 8,000 times; runs are 20 members of 10,000 steps, of
the truth too, whose differences give the standard errors. Run it with ``python benchmarks/feedback.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# `python benchmarks/feedback.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import xarray as xr
from common import print_record

import l96closure as lc

F64 = npt.NDArray[np.float64]
K, DT, MEMBERS, SPINUP, LAG = 12, 0.1, 20, 500, 5


class Past(NamedTuple):
    """psi one and two steps ago, z one step ago, and unit noise one step ago."""

    psi: F64
    before: F64
    z: F64
    noise: F64


Rule = Callable[[Past, F64, F64], F64]
"""Returns psi of a step, of the past, z now, and unit noise."""

RULES: Mapping[str, Rule] = {
    "damped by z": lambda past, z, noise: 0.8 * past.psi - 0.1 * past.z + 0.5 * noise,
    "relaxes to a function of z, noise by z": lambda past, z, noise: (
        0.8 * past.psi - 0.3 * np.tanh(2.0 * past.z) + 0.4 * (0.6 + 0.4 * np.tanh(past.z) ** 2) * noise
    ),
    "oscillates": lambda past, z, noise: 1.4 * past.psi - 0.6 * past.before - 0.1 * past.z + 0.3 * noise,
    "remembers its noise, as a mean over a step does": lambda past, z, noise: (
        0.8 * past.psi - 0.1 * past.z + 0.4 * (noise + 0.27 * past.noise)
    ),
    "function of z, and red noise": lambda past, z, noise: (
        -0.5 * np.tanh(z) + 0.8 * (past.psi + 0.5 * np.tanh(past.z)) + 0.3 * noise
    ),
}


def resolved(z: F64) -> F64:
    """Tendency of the resolved variables."""
    return -0.5 * z + 0.3 * (np.roll(z, 1, axis=-1) - z)


def simulated(rule: Rule, members: int, steps: int, seed: int) -> xr.Dataset:
    """Simulate the truth from rest, without its first steps."""
    rng = np.random.default_rng(seed)
    z = np.zeros((members, K))
    past, psi = Past(z, z, z, z), z
    names = {name: np.empty((members, steps, K)) for name in ("z", "psi")}
    for n in range(-SPINUP, steps):
        noise = rng.standard_normal(z.shape)
        psi = rule(past, z, noise)
        if n >= 0:
            names["z"][:, n], names["psi"][:, n] = z, psi
        past, z = Past(psi, past.psi, z, noise), z + DT * (resolved(z) + psi)
    dims = ("member", "time", "k")
    return xr.Dataset({name: (dims, one) for name, one in names.items()}, {"time": DT * np.arange(steps)})


def statistics(run: xr.Dataset) -> dict[str, F64]:
    """Return standard deviation and autocorrelation of each member, of z and psi."""
    found = {}
    for name in ("z", "psi"):
        values = run[name].transpose("member", "time", "k").values[:, SPINUP:]
        found[f"std {name}"] = values.std(axis=(1, 2))
        product = (values[:, LAG:] * values[:, :-LAG]).mean(axis=(1, 2)) - values.mean(axis=(1, 2)) ** 2
        found[f"autocorrelation {name}"] = product / values.var(axis=(1, 2))
    return found


def shown(of: F64) -> str:
    return f"{of.mean():8.3f} ± {of.std(ddof=1) / np.sqrt(len(of)):5.3f}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--steps", type=int, default=10_000, help="of each member (default 10000)")
    steps = arguments.parse_args().steps
    fits: dict[str, Callable[[xr.Dataset], Any]] = {
        "default": lc.closures.SchrodingerBridge.fit,
        "noise remembers": lambda data: lc.closures.SchrodingerBridge.fit(data, lc.Fields(previous=0)),
        "polynomial + AR(1)": lc.closures.PolynomialAR1.fit,
    }
    figures: dict[str, Any] = {}
    for title, rule in RULES.items():
        training = simulated(rule, 1, 8_000, 1)
        runs = {"truth": statistics(simulated(rule, MEMBERS, SPINUP + steps, 2))}
        print(f"\npsi {title}\n{'':20}" + "".join(f"{name:>20}" for name in runs["truth"]), flush=True)
        for name, fit in fits.items():
            closure = fit(training.isel(member=0))
            z = training["z"].values[0, :: -(-8_000 // MEMBERS)]
            run = lc.integrate(resolved, closure, z, steps=SPINUP + steps, rng=3, dt=DT, scheme="euler")
            runs[name] = statistics(run)
        for name, found in runs.items():
            print(f"{name:20}" + "".join(f"{shown(one):>20}" for one in found.values()))
        figures[title] = {
            name: {what: round(float(one.mean()), 4) for what, one in found.items()} for name, found in runs.items()
        }
    print_record("feedback", ["numpy", "numba"], steps=steps, scores=figures)


if __name__ == "__main__":
    main()
