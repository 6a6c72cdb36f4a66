"""Time, memory and accuracy of fitting a bridge to very many samples.

Six coordinates of the two-scale Lorenz-96 model (z and psi of a site and its neighbours, all sites pooled into one
dictionary), epsilon = 0.1, Sinkhorn tolerance 1e-4. The times of the largest and the smallest number of samples give
the exponent of growth. The residual max |v o (T v) - 1| is evaluated anew at random samples, densely and in double
precision. The smallest fit, where it has 20,000 samples or fewer, is made in NumPy too: v <- sqrt(v / T v) with T in
memory. Run it with ``python benchmarks/fit.py``; a million samples take several minutes.
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
import numpy.typing as npt
from common import print_record

import l96closure as lc

F64 = npt.NDArray[np.float64]

EPSILON, TOLERANCE, CHECKED = 0.1, 1e-4, 300
MOST_DENSE = 20_000  # samples, whose matrix has 3.2 GB


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sizes = (10_000, 100_000, 1_000_000)
    arguments.add_argument("--samples", type=int, nargs="+", default=sizes, help="numbers of samples, pooled")
    arguments.add_argument("--every", type=int, default=1, help="fine steps between samples (default 1, as the paper)")
    arguments.add_argument("--progress", action="store_true", help="show the residual")
    given = arguments.parse_args()
    fit(30_000, given.every)  # compiles all that the others need
    with lc.progress.shown(given.progress):
        fits = [fit(samples, given.every) for samples in sorted(given.samples)]
    results, ratios = [result for result, _ in fits], {}
    if results[0]["samples"] <= MOST_DENSE:
        seconds = dense(fits[0][1])
        ratios = {"NumPy float64, dense": seconds / results[0]["seconds"]}
        print(f"{results[0]['samples']:,} samples with NumPy: {seconds:.2f} s")
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
        ratios,
        every=given.every,
        exponent=growth,
        fits=results,
    )


def dense(points: F64) -> float:
    """Return how many seconds the fit to ``points`` (M, D), in units of their scale, takes as it is usually written."""
    start = time.perf_counter()
    squares = (points**2).sum(axis=1)
    T = points @ points.T
    T *= 2.0
    T -= squares
    T -= squares[:, None]
    T /= 4.0 * EPSILON
    np.exp(T, out=T)
    v = 1.0 / np.sqrt(T.sum(axis=1))
    while np.abs(v * (sums := T @ v) - 1.0).max() > TOLERANCE:
        v = np.sqrt(v / sums)
    return time.perf_counter() - start


def fit(samples: int, every: int) -> tuple[dict[str, float], F64]:
    """Return the figures of a fit, and its points (M, D) in units of their scale."""
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
    figures = {
        "samples": len(points),
        "seconds": round(seconds, 3),
        "passes": int(bridge.iterations[0]),
        "residual": float(f"{bridge.residual[0]:.2e}"),
        "checked": float(f"{np.abs(v[some] * sums - 1).max():.2e}"),
        "GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
    }
    return figures, points


if __name__ == "__main__":
    main()
