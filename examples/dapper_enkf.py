"""An ensemble Kalman filter whose forecast model is the coarse model, with and without a closure, in DAPPER.

Truth is a run of the two-scale model; every slow variable is observed each 0.05 time units with noise of variance 1.
The members carry their closure's state through the analyses. The inflation of each forecast model is the best of one
list, chosen on a stretch of its own; 50 members for at most 24 variables need no localization. Run it with
``python examples/dapper_enkf.py`` after ``pip install "l96closure[dapper]"``; DAPPER makes a folder ~/dpr_data.
"""

from __future__ import annotations

import dapper.tools.progressbar
import numpy as np
from dapper.da_methods import EnKF
from dapper.mods import Chronology, HiddenMarkovModel, partial_Id_Obs
from dapper.tools.seeding import set_seed

import l96closure as lc
from l96closure.adapters.dapper import Forecast
from l96closure.diagnostics.climate import batch_standard_errors

MODEL = lc.TwoScaleLorenz96(K=12, J=24, F=20.0)
DT, EVERY = 5e-3, 10  # the coarse step in model time units; coarse steps from observation to observation
TUNING, JUDGED, SPINUP = 200, 2_000, 40  # analyses; those of the spin-up are left out of each
INFLATIONS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7)
MEMBERS = 50


def twin(analyses: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a truth at every coarse step, z (time, k), and its observations (analysis, k)."""
    truth = MODEL.simulate(analyses * EVERY + 1, rng=seed)["z"].values
    seen = truth[EVERY::EVERY]
    return truth, seen + np.random.default_rng(seed).standard_normal(seen.shape)


def assimilate(
    closure: lc.closures.Closure, truth: np.ndarray, seen: np.ndarray, inflation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Run the filter; returns RMSE and spread of z at the analyses after the spin-up."""
    forecast = Forecast(MODEL, closure, MODEL.K, rng=5)
    start = np.random.default_rng(6)
    hmm = HiddenMarkovModel(
        forecast.operator(),
        {**partial_Id_Obs(forecast.M, np.arange(MODEL.K)), "noise": 1.0},
        Chronology(dt=DT, dko=EVERY, K=len(truth) - 1),
        forecast.initial(lambda members: truth[0] + start.standard_normal((members, MODEL.K))),
        sectors={"z": np.arange(MODEL.K)},
    )
    set_seed(7)
    filtered = EnKF("Sqrt", N=MEMBERS, infl=inflation, rot=True)
    unknown = np.zeros((len(truth), forecast.M - MODEL.K))  # the full model has no closure state to compare with
    filtered.assimilate(hmm, np.concatenate([truth, unknown], axis=1), seen)
    return filtered.stats.err.rms.z.a[SPINUP:], filtered.stats.spread.rms.z.a[SPINUP:]


def main() -> None:
    """Print the analysis error of each forecast model, and how much it exceeds that of the last."""
    dapper.tools.progressbar.disable_progbar = True
    training = MODEL.simulate(samples=20_000, rng=1)
    kinds = (lc.closures.NoClosure, lc.closures.PolynomialAR1, lc.closures.SchrodingerBridge)
    tuning, judged = twin(TUNING, seed=2), twin(JUDGED, seed=3)
    rows = {}
    for closure in (kind.fit(training) for kind in kinds):
        errors = [assimilate(closure, *tuning, inflation)[0].mean() for inflation in INFLATIONS]
        inflation = INFLATIONS[int(np.argmin(errors))]
        rows[closure.name] = inflation, *assimilate(closure, *judged, inflation)
    print(f"{'':20}{'inflation':>9}{'analysis RMSE':>19}{'spread':>9}{'RMSE less the last':>25}")
    for name, (inflation, rmse, spread) in rows.items():
        print(
            f"{name:20}{inflation:9.2f}{with_error(rmse):>19}{spread.mean():9.3f}"
            f"{with_error(rmse - rows[closure.name][1]):>25}"
        )


def with_error(x: np.ndarray) -> str:
    """Write the time mean of x (time,) with its standard error."""
    return f"{x.mean():.4f} ± {batch_standard_errors(x[np.newaxis, :, np.newaxis])[0]:.4f}"


if __name__ == "__main__":
    main()
