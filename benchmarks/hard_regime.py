"""The figure that README opens with: closures where the scales are hardly separated.

``python benchmarks/hard_regime.py docs/hard_regime.png``

Variance of z by wavenumber in long runs and forecast error by lead, in the regime of Crommelin & Vanden-Eijnden
(2008), of a polynomial with AR(1) noise, of the bridge that sees one site at one instant, and of the recommended
closure; beside the truth, and beside what ensembles of the full model itself reach.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# `python benchmarks/hard_regime.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import print_record
from linear_gaussian import REGIMES
from regimes import MEMBERS, SPINUP, fitted, ratio, simulated, spectrum

import l96closure as lc
from l96closure.plot import style

CLOSURES = {
    "polynomial_ar1": ("polynomial + AR(1)", "#7f7f7f", "s"),
    "one_site": ("one site, one instant", "#e08214", "^"),
    "recommended": ("space and time (default)", "#2166ac", "o"),
}


@style.settings()
def main() -> None:
    """Run the models and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--climate", type=float, default=4000.0)
    parser.add_argument("--starts", type=int, default=200)
    given = parser.parse_args()
    model, dt = REGIMES["crommelin"].model, REGIMES["crommelin"].dt
    truth = simulated(model, dt, 200.0, 1)
    reference = simulated(model, dt, 5.0 * (given.starts + 2), 2)
    long = simulated(model, dt, given.climate / MEMBERS, 11, 2, MEMBERS)
    leads = np.arange(0.0, 5.01, 0.25)
    mark = lc.verify(lc.mark(model, reference, starts=given.starts, members=10, leads=leads, spinup=4.0), reference)
    figure, (left, right) = style.row(2, height=3.9)
    record: dict[str, Any] = {}
    for name, (label, color, marker) in CLOSURES.items():
        closure = fitted(name, truth, model)
        starts = truth["z"].values[np.linspace(0, truth.sizes["time"] - 1, MEMBERS).astype(int)]
        spun = round(SPINUP / dt / 2)
        steps = round(given.climate / MEMBERS / dt) + 2 * spun
        run = lc.integrate(model, closure, starts, steps, rng=12, save_every=2).isel(time=slice(spun, None))
        value, error = ratio(spectrum(run["z"].values), spectrum(long["z"].values))
        wavenumber = np.arange(value.size)
        left.errorbar(wavenumber, value, 2 * error, color=color, marker=marker, ms=4, lw=1.2, capsize=2, label=label)
        scores = lc.verify(
            lc.forecast(model, closure, reference, starts=given.starts, members=20, leads=leads), reference
        )
        right.plot(leads[1:], scores["crps"].values[1:], color=color, marker=marker, ms=3, lw=1.2, label=label)
        record[name] = {
            "variance_ratio": value.round(3).tolist(),
            "standard_error": error.round(3).tolist(),
            "crps_at_1": round(float(scores["crps"].sel(lead=1.0)), 4),
        }
    right.plot(leads[1:], mark["crps"].values[1:], color="black", ls="--", lw=1.2, label="full model, spun up along z")
    left.axhline(1.0, color="black", lw=0.8)
    left.set(xlabel="wavenumber", ylabel="variance of z over the truth's", title="climate")
    right.set(xlabel="lead (model time units)", ylabel="CRPS of z", title="forecasts", yscale="log")
    style.legend_above(figure, right)
    given.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.figure, dpi=130)
    print_record("hard_regime", ("numpy", "numba", "matplotlib"), starts=given.starts, climate=given.climate, **record)


if __name__ == "__main__":
    main()
