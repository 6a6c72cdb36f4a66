"""How the tests have loops compiled: the costly ones once, and out of the sight of coverage."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from filelock import FileLock, Timeout

import l96closure as lc
from l96closure import bridge, compiled_loop
from l96closure.bridge import chain_steps
from l96closure.closures import stepping
from l96closure.compiled import numba_private
from l96closure.kernel._moments import moments_of_all
from l96closure.systems import lorenz96_core

MANY = 1000  # tests, of which most of these loops are needed


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function run unseen by coverage, which costs numba's compiler a quarter of its time."""

    def call(*arguments: Any) -> Any:
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*arguments)
        finally:
            sys.settrace(trace)

    return call


def _truth() -> None:
    lc.TwoScaleLorenz96(K=4, J=1).simulate(samples=2, spinup=0.0)


def _coarse_run() -> None:
    lc.integrate(lc.TwoScaleLorenz96(K=4), lc.closures.NoClosure(), np.ones((1, 4)), steps=1, dt=0.005)


def _step() -> None:
    rng = np.random.default_rng(0)
    data = {name: (("time", "k"), rng.standard_normal((400, 4))) for name in ("z", "psi")}
    fields, trend = lc.Fields(radius=0, lags=()), lc.closures.Trend(degree=2)
    closure = lc.closures.SchrodingerBridge.fit(xr.Dataset(data), fields, trend, noise=lc.closures.Noise(order=0))
    closure.step(np.zeros((1, 4)), closure.init(np.zeros((1, 4)), 0))


def _bridge() -> tuple[bridge.Bridge, Any]:
    x = np.random.default_rng(0).standard_normal((60, 3))
    return bridge.fit(x, 0.1, bridge.periodic(3, 1)), x


def _moments() -> None:
    fitted, x = _bridge()
    fitted.moments(x)


def _chain() -> None:
    fitted, x = _bridge()
    bridge.sample(fitted, x[:2], 1, 0)


LOOPS = (
    (chain_steps.advance, _chain),
    (lorenz96_core._advance, _truth),
    (compiled_loop._advance, _coarse_run),
    (moments_of_all, _moments),
    (stepping.step, _step),
)
"""Loops that take seconds to compile, and what has them compiled."""


def compile_in_turns(folder: Path) -> None:
    """Compile the loops that are not on disk yet; each worker begins with others, and waits in the end for all."""
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    first = worker * len(LOOPS) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for patience in (0, -1):
        for number in (*range(first, len(LOOPS)), *range(first)):
            loop, call = LOOPS[number]
            with suppress(Timeout), FileLock(folder / f"loop{number}.lock", timeout=patience):
                if not numba_private.is_on_disk(loop):
                    call()
