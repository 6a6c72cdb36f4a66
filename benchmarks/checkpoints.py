"""What restart files cost: the closed loop of the recommended closure with and without them.

``python benchmarks/checkpoints.py [--every SECONDS]`` runs the default experiment, but longer; with
``--members 64 --save-every 1 --steps 100000`` nothing costs more than the records. The runs alternate and their medians
are compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from common import print_record

import l96closure as lc
from l96closure.restart import Restart

DT = 5e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    model = lc.TwoScaleLorenz96()
    truth = model.simulate(samples=20_000)
    closure = lc.closures.SchrodingerBridge.fit(truth)
    z0 = truth["z"].values[:: len(truth["time"]) // options.members][: options.members]
    seconds: dict[bool, list[float]] = {False: [], True: []}
    parts = 0
    for repeat in range(options.repeats + 1):
        results = []
        for kept in (False, True) if repeat % 2 else (True, False):  # the second of two runs may find a slower machine
            with tempfile.TemporaryDirectory() as scratch:
                restart = Restart(Path(scratch) / "run", options.every, keep=True) if kept else None
                started = time.perf_counter()
                results.append(
                    lc.integrate(
                        model,
                        closure,
                        z0,
                        options.steps,
                        rng=1,
                        save_every=options.save_every,
                        restart=restart,
                    )
                )
                if repeat:  # the first one compiles
                    seconds[kept].append(time.perf_counter() - started)
                parts = len(list(Path(scratch).rglob("*.nc")))
        first, second = (run["z"].values for run in results)
        assert np.array_equal(first, second)
    without, with_files = (statistics.median(seconds[kept]) for kept in (False, True))
    differences = np.subtract(seconds[True], seconds[False])
    standard_error = differences.std(ddof=1) / np.sqrt(len(differences))
    print_record(
        "checkpoints",
        ("numpy", "numba", "xarray"),
        steps=options.steps,
        members=options.members,
        save_every=options.save_every,
        checkpoint_every_s=options.every,
        restart_files=parts,
        seconds_without=round(without, 3),
        seconds_with=round(with_files, 3),
        cost_percent=round(100 * (with_files / without - 1), 2),
        cost_percent_se=round(100 * standard_error / without, 2),
    )


if __name__ == "__main__":
    main()
