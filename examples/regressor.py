"""Somebody else's regressor as the trend of a closure: gradient boosting of scikit-learn, beside our polynomials.

Run it with ``python examples/regressor.py``.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from sklearn.ensemble import HistGradientBoostingRegressor

import l96closure as lc


def unexplained(closure: lc.closures.SchrodingerBridge, held_out: xr.Dataset) -> float:
    """Return the part of the variance of psi that the trend leaves on data it was not fitted to."""
    z, psi = held_out["z"].values, held_out["psi"].values
    seen = np.arange(closure.features.longest, len(z))
    return float(np.var(psi[seen] - closure.trend.of_series(z[:, None], seen)) / np.var(psi[seen]))


def main() -> None:
    """Compare what two trends leave on held-out time, and the forecasts with them."""
    model = lc.TwoScaleLorenz96(K=12, J=24, F=20.0)
    truth, held_out = model.simulate(samples=4000, rng=1), model.simulate(samples=4000, rng=2)
    ours = lc.closures.SchrodingerBridge.fit(truth)
    boosting = HistGradientBoostingRegressor(random_state=0)
    theirs = lc.closures.SchrodingerBridge.fit(truth, ours.fields, trend=boosting)  # what ours has chosen to see
    score = lc.Selection(model, starts=10, members=5)
    for name, closure in {"polynomials": ours, "gradient boosting": theirs}.items():
        print(
            f"{name}: leaves {unexplained(closure, held_out):.1%} of the variance of psi, "
            f"CRPS of forecasts {score(closure, held_out):.3f} of climatology's"
        )


if __name__ == "__main__":
    main()
