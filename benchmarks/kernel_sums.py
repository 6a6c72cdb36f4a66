"""Microseconds per conditional mean of a bridge with 40,000 samples, beside other ways to compute the same sums.

The conditional mean m(q) = sum_j v_j t_j y_j / sum_j v_j t_j, t_j = exp(-|q - x_j|^2 / 4 epsilon), of psi at one site
of the two-scale Lorenz-96 model, given z and psi at the site and its two neighbours: six coordinates, scaled by their
standard deviations, epsilon = 0.1, samples at consecutive fine steps as in Gottwald & Reich (2024), Section 5. A
query is a training sample moved by noise of variance 2 epsilon.

- ``l96closure``: :meth:`l96closure.bridge.Bridge.moments` of a fitted bridge, over all samples or under a tolerance;
- NumPy, plain: blocks of queries against all samples, as the formula is usually written;
- NumPy, tuned: blocks of queries and samples, one matrix product for the exponents, with the weights in them, another
  for both sums; a pool of threads shares the blocks, as the exponential has one thread only;
- JAX, plain: the matrix product and the exponential, compiled, ``lax.map`` over batches of queries;
- JAX, tuned: the two products of tuned NumPy, also in blocks of samples, one virtual device a core;
- KeOps: a ``LazyTensor``, compiled with ``-march=native -ffast-math`` unless ``CXXFLAGS`` says otherwise;
- scikit-learn: ``KernelDensity``, a tree. It gives the denominator alone, so it computes less than all others.

All run in turns, so that a slow spell of the machine hits all of them, on every core that the process may use (for
one: ``taskset -c 0 python benchmarks/kernel_sums.py``). The block sizes, and whether NumPy takes exp or exp2, are the
fastest of a few on the machine. The accuracy is the largest difference, in standard deviations, from a dense
double-precision evaluation with the same weights at 200 queries; that of scikit-learn is relative to the denominator.
Run it with ``python benchmarks/kernel_sums.py`` after ``pip install "l96closure[bench]"``; a peer that is not
installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from common import available_cores, in_turns, print_record

# NumPy's matrix products are called by as many threads as there are cores.
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={available_cores()}"
os.environ.setdefault("CXXFLAGS", "-march=native -ffast-math")
# `python benchmarks/kernel_sums.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import limits
import numba
import numpy as np
from kernel_sums_peers import F64, PEERS, Contestant, Problem, value_columns

import l96closure as lc

SAMPLES, EPSILON, CHECKED = 40_000, 0.1, 200
# The options of `lc.bridge.Kernel` that choose how a bridge sums. The first is what the ratios refer to.
OURS: dict[str, dict[str, Any]] = {
    "l96closure, brute": {"sums": "brute"},
    "l96closure, 1e-4": {"sums": "tree", "rtol": 1e-4},
    "l96closure, 1e-3": {"sums": "tree", "rtol": 1e-3},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=25, help="timings of each contestant (default 25)")
    arguments.add_argument("--queries", type=int, default=2_000, help=f"queries, at least {CHECKED} (default 2000)")
    given = arguments.parse_args()
    if given.queries < CHECKED:
        arguments.error(f"argument --queries: {given.queries} is less than {CHECKED}")

    fitted = ours(given.queries)
    contestants = {name: contestant for name, (contestant, _) in fitted.items()}
    errors = {name: error(contestant, problem) for name, (contestant, problem) in fitted.items()}
    reference = next(problem for _, problem in fitted.values())
    absent: dict[str, str] = {}
    for package, names, build in PEERS:
        if importlib.util.find_spec(package) is None:
            absent |= dict.fromkeys(names, 'not installed (pip install "l96closure[bench]")')
            continue
        try:
            with redirect_stdout(sys.stderr):  # KeOps tells what it compiles
                built = dict(zip(names, build(reference), strict=True))
        except ImportError as reason:  # a compiler that KeOps needs, for one
            absent |= dict.fromkeys(names, f"does not run here: {reason}")
            continue
        contestants |= built
        errors |= {name: error(contestant, reference) for name, contestant in built.items()}
    runs = {name: (c.run, c.queries or given.queries) for name, c in contestants.items()}
    times = in_turns(runs | limits.contestants(), given.repeats)
    rates = limits.rates(times)
    report(contestants, times, errors, absent, rates)


def ours(count: int) -> dict[str, tuple[Contestant, Problem]]:
    """Fit the bridges; each comes with the problem it solves, which has its weights."""
    model = lc.TwoScaleLorenz96()
    truth = model.simulate(samples=SAMPLES, rng=1, every=1, subgrid="fine")
    samples = np.hstack([truth["z"].values, truth["psi"].values])
    scale, centre, component = samples.std(axis=0), samples.mean(axis=0), model.K
    rng = np.random.default_rng(0)
    states = samples[rng.choice(SAMPLES, count)] + rng.normal(0.0, np.sqrt(2 * EPSILON), (count, scale.size)) * scale
    sets = lc.bridge.stacked(2, model.K, 1)
    x, queries = (
        ((points - centre) / (scale * np.sqrt(4 * EPSILON)))[:, sets[component]] for points in (samples, states)
    )

    def contestant(bridge: lc.bridge.Bridge) -> tuple[Contestant, Problem]:
        def means(count: int) -> F64:
            return bridge.moments(states[:count], order=1)[0][:, 0] / scale[component]

        problem = Problem(x, samples[:, component] / scale[component], bridge.dictionaries[0].v, queries)
        return Contestant(means, numba.get_num_threads()), problem

    return {
        name: contestant(lc.bridge.fit(samples, lc.bridge.Kernel(epsilon=EPSILON, **engine), sets, scale, [component]))
        for name, engine in OURS.items()
    }


def error(contestant: Contestant, problem: Problem) -> float:
    """Largest difference of the mean, or relative difference of S_0, from a dense evaluation in double precision."""
    weighted = problem.v[:, None] * value_columns(problem)
    kernels = (np.exp(-((problem.x - query) ** 2).sum(axis=1)) for query in problem.queries[:CHECKED])
    zeroth, first = np.stack([t @ weighted for t in kernels]).T
    result = contestant.run(CHECKED)
    difference = result / zeroth - 1 if contestant.quantity == "S_0" else result - first / zeroth
    return float(np.abs(difference).max())


def report(
    contestants: dict[str, Contestant],
    times: dict[str, list[float]],
    errors: dict[str, float],
    absent: dict[str, str],
    rates: dict[str, float],
) -> None:
    brute = next(iter(OURS))
    reference = statistics.median(times[brute])
    print(f"conditional mean from {SAMPLES:,} samples, 6 coordinates, epsilon = {EPSILON:g}")
    print(f"microseconds per query, {len(times[brute])} turns; nanoseconds per query and sample (median)")
    print(f"{'':20}{'threads':>7}{'best':>10}{'median':>10}{'ns':>9}{'this / ours':>13}{'accuracy':>10}")
    results: dict[str, dict[str, Any]] = {}
    for name, values in times.items():
        contestant, best, median = contestants[name], min(values), statistics.median(values)
        print(
            f"{name:20}{contestant.threads:7}{best:10.2f}{median:10.2f}{median / SAMPLES * 1e3:9.3f}"
            f"{median / reference:13.2f}{errors[name]:10.1e}  {contestant.note}".rstrip()
        )
        results[name] = {
            "threads": contestant.threads,
            "best": round(best, 3),
            "median": round(median, 3),
            "ratio": round(median / reference, 3),
            "accuracy": float(f"{errors[name]:.1e}"),
            "note": contestant.note,
        }
    for name, reason in absent.items():
        print(f"{name:20}{reason}")
    of_a_core = 1e3 * min(times[brute]) * contestants[brute].threads / SAMPLES
    shares = {brute: limits.shares(of_a_core, limits.kernel_evaluation(6), rates, limits.SINGLE)}
    print(f"{limits.said(rates)}\n{'of each core':20}{limits.HEAD}\n{brute:20}{limits.line(shares[brute])}")
    distributions = {"numba": "numba"} | {package: package for package, _, _ in PEERS} | {"sklearn": "scikit-learn"}
    print_record(
        "kernel_sums",
        [name for package, name in distributions.items() if importlib.util.find_spec(package)],
        {name: result["ratio"] for name, result in results.items() if name != brute},
        samples=SAMPLES,
        limits=rates,
        shares=shares,
        microseconds_per_query=results,
    )


if __name__ == "__main__":
    main()
