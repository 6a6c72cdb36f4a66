"""Time and memory of a closure on a large plane, learned from data that are read in blocks.

A field of 256 x 256 sites and 2,000 times (65,536 sites, one target, radius 1), written to a temporary file and opened
with dask. Memory is sampled every 20 ms: what the process holds of its own, and the pages of mapped files beside it.
Run it with ``python benchmarks/grid_scale.py``; ``--size`` and ``--times`` choose less.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

# `python benchmarks/grid_scale.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import netCDF4
import numpy as np
import xarray as xr
from common import print_record

import l96closure as lc
from l96closure.closures import SchrodingerBridge

MEMORY, RATE, BLOCK = 0.9, 0.1, 50  # of z from a time to the next, of psi, and times of a block
FIELDS = lc.Fields(dim=("y", "x"), radius=1, lags=())


class Memory(threading.Thread):
    """Largest resident memory in GB, of the process's own pages and of mapped files."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = self.mapped = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        """Take samples until told that it is over."""
        while not self.over.wait(0.02):
            status = Path("/proc/self/status").read_text()
            own, mapped = (int(status.partition(f"{name}:")[2].split()[0]) / 1e6 for name in ("RssAnon", "RssFile"))
            self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)


def write(path: Path, size: int, times: int) -> None:
    """Write z, red in space and time, and psi, which answers to it and has noise of the same kind."""
    wave = np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.arange(size // 2 + 1)[None])
    shape = 1.0 / (1.0 + (wave / (size / 16)) ** 2)
    shape /= np.sqrt((shape**2 * np.where(np.arange(size // 2 + 1) > 0, 2.0, 1.0)).sum() / size**2)
    rng = np.random.default_rng(0)
    states = np.zeros((2, size, size))
    with netCDF4.Dataset(path, "w") as file:
        for name, length in {"time": times, "y": size, "x": size}.items():
            file.createDimension(name, length)
        file.createVariable("time", "f8", "time")[:] = RATE * np.arange(times)
        z, psi = (file.createVariable(name, "f4", ("time", "y", "x")) for name in ("z", "psi"))
        for n in range(-50, times):
            fresh = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(states.shape)) * shape, (size, size))
            states = MEMORY * states + np.sqrt(1.0 - MEMORY**2) * fresh
            if n >= 0:
                z[n], psi[n] = states[0], np.tanh(states[0]) - 0.5 * np.roll(states[0], 1, axis=1) + 0.5 * states[1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--size", type=int, default=256, help="sites along each side")
    arguments.add_argument("--times", type=int, default=2000)
    arguments.add_argument("--steps", type=int, default=20, help="of the closure, of which the fastest counts")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.nc"
        write(path, given.size, given.times)
        memory = Memory()
        memory.start()
        with xr.open_dataset(path, chunks={"time": BLOCK}) as truth:
            start = time.perf_counter()
            closure = SchrodingerBridge.fit(truth, FIELDS)
            seconds = time.perf_counter() - start
            z = truth["z"][-1].to_numpy().reshape(1, -1).astype(np.float64)
    state, least = closure.init(z, rng=1), np.inf
    for _ in range(given.steps + 1):
        start = time.perf_counter()
        _, state = closure.step(z, state)
        least = min(least, time.perf_counter() - start)
    memory.over.set()
    memory.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"fit {seconds:.1f} s, step {1e3 * least:.1f} ms, at most {memory.own:.2f} GB and {memory.mapped:.2f} of files"
    )
    print_record(
        "grid_scale",
        ("numpy", "numba", "dask"),
        sites=given.size**2,
        times=given.times,
        fit_seconds=round(seconds, 2),
        step_milliseconds=round(1e3 * least, 2),
        own_GB=round(memory.own, 3),
        mapped_GB=round(memory.mapped, 3),
        peak_GB=round(peak, 3),
    )


if __name__ == "__main__":
    main()
