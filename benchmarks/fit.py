"""Time, memory and accuracy of fitting a bridge to very many samples.

Six coordinates of the two-scale Lorenz-96 model (z and psi of a site and its neighbours, all sites pooled into one
dictionary), epsilon = 0.1, Sinkhorn tolerance 1e-4. The times of the largest and the smallest number of samples give
the exponent of growth. The residual max |v o (T v) - 1| is evaluated anew at random samples, densely and in double
precision. Run it with ``python benchmarks/fit.py``; a million samples take several minutes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

# `python benchmarks/fit.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import print_record

import l96closure as lc

EPSILON, TOLERANCE, CHECKED = 0.1, 1e-4, 300


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sizes = (10_000, 100_000, 1_000_000)
    arguments.add_argument("--samples", type=int, nargs="+", default=sizes, help="numbers of samples, pooled")
    arguments.add_argument("--every", type=int, default=1, help="fine steps between samples (default 1, as the paper)")
    arguments.add_argument("--progress", action="store_true", help="show the residual")
    given = arguments.parse_args()
    fit(30_000, given.every)  # compiles all that the others need
    with lc.progress.shown(given.progress):
        results = [fit(samples, given.every) for samples in sorted(given.samples)]
    print(f"{'samples':>10}{'seconds':>10}{'passes':>8}{'residual':>10}{'checked':>10}{'peak GB':>9}")
    for r in results:
        print(
            f"{r['samples']:10,}{r['seconds']:10.2f}{r['passes']:8}{r['residual']:10.1e}{r['checked']:10.1e}{r['GB']:9.2f}"
        )
    growth = None
    if len(results) > 1:
        first, last = results[0], results[-1]
        growth = float(np.log(last["seconds"] / first["seconds"]) / np.log(last["samples"] / first["samples"]))
        print(f"growth of the time: exponent {growth:.2f}")
    print_record(
        "fit",
        ("numpy", "numba"),
        every=given.every,
        exponent=growth,
        fits=results,
    )


def fit(samples: int, every: int) -> dict[str, float]:
    model = lc.TwoScaleLorenz96()
    truth = model.simulate(samples=-(-samples // model.K), every=every, rng=1, subgrid="fine")
    x = np.hstack([truth["z"].values, truth["psi"].values])
    scale = np.repeat([truth["z"].values.std(), truth["psi"].values.std()], model.K)
    sets, sites = lc.bridge.stacked(2, model.K, 1), range(model.K, 2 * model.K)
    start = time.perf_counter()
    bridge = lc.bridge.fit(x, EPSILON, sets, scale, components=sites, shared=True, tolerance=TOLERANCE)
    seconds = time.perf_counter() - start
    dictionary = bridge.dictionaries[0]
    points, v = dictionary.coordinates / dictionary.coordinate_scale, dictionary.v
    some = np.random.default_rng(0).integers(0, len(points), CHECKED)
    sums = [v @ np.exp(-((points - points[i]) ** 2).sum(axis=1) / (4 * EPSILON)) for i in some]
    return {
        "samples": len(points),
        "seconds": round(seconds, 3),
        "passes": int(bridge.iterations[0]),
        "residual": float(f"{bridge.residual[0]:.2e}"),
        "checked": float(f"{np.abs(v[some] * sums - 1).max():.2e}"),
        "GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
    }


if __name__ == "__main__":
    main()
