"""Microseconds per decorrelation step of the published closure, beside NumPy in double precision.

Gottwald & Reich (2024), Section 5, literally: 12 sites, a dictionary of 40,000 samples for each, six coordinates,
epsilon = 0.1, the split scheme with the state clamp. A step needs the conditional mean at each site, and the next step
needs this one, so that there are never more than 12 queries to share work. NumPy evaluates them as
exp(2 q.x - |x|^2 - |q|^2) with the norms made once. Both start from the same states; the hours are those of
40,000 coarse steps of 100 decorrelation steps at this pace. Run it with ``python benchmarks/closed_loop.py``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

# `python benchmarks/closed_loop.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import in_turns, print_record

import l96closure as lc

SAMPLES, EPSILON, STEPS = 40_000, 0.1, 40_000 * 100


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=5, help="timings of each contestant (default 5)")
    given = arguments.parse_args()

    model = lc.TwoScaleLorenz96()
    K = model.K
    truth = model.simulate(samples=SAMPLES, rng=1, every=1, subgrid="fine")
    samples = np.hstack([truth["z"].values, truth["psi"].values])
    scale = np.repeat([truth["z"].values.std(), truth["psi"].values.std()], K)
    sets = lc.bridge.stacked(2, K, 1)
    bridge = lc.bridge.fit(samples, EPSILON, sets, scale, components=range(K, 2 * K))
    chain = lc.bridge.Chain(bridge, "split", range(K), "state")
    unit = scale * np.sqrt(4 * EPSILON)
    tables = [np.ascontiguousarray((samples[:, members] / unit[members]).T) for members in sets[K:]]
    values = [samples[:, K + k].copy() for k in range(K)]
    v = bridge.weights
    norms = [(table**2).sum(axis=0) for table in tables]
    starts = samples[np.linspace(0, SAMPLES - 1, 16).astype(int)]

    def closed(steps: int) -> None:
        for start in starts:
            chain.advance(start[None].copy(), steps // len(starts), chain.drawn_from(np.random.default_rng(0), 1))

    def with_numpy(steps: int) -> None:
        rng = np.random.default_rng(0)
        for start in starts[:steps]:
            query = start + np.sqrt(2 * EPSILON) * scale * rng.standard_normal(2 * K)
            for k in range(K):
                q = query[sets[K + k]] / unit[sets[K + k]]
                w = (2 * q) @ tables[k]
                w -= norms[k]
                w -= q @ q
                np.exp(w, out=w)
                w *= v[k]
                (w @ values[k]) / w.sum()

    times = in_turns({"l96closure": (closed, 16_000), "NumPy float64": (with_numpy, 16)}, given.repeats)
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = median["NumPy float64"] / median["l96closure"]
    for name, value in median.items():
        print(f"{name:16}{value:12.1f} microseconds a step{value * STEPS / 3.6e9:10.3f} hours in all")
    print(f"ratio of the medians: {ratio:.0f}")
    print_record(
        "closed_loop",
        ("numpy", "numba"),
        {"NumPy float64": ratio},
        median_microseconds={name: round(value, 2) for name, value in median.items()},
    )


if __name__ == "__main__":
    main()
