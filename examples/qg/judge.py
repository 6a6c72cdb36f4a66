"""Fit closures to a year of truth.nc, and hold coupled runs and forecasts against years that they have not seen."""

import platform
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import xarray as xr
from model import BANDS, STEP, YEAR, spectra, tendency

import l96closure as lc

FIELDS = lc.Fields(predictors="q", targets="psi", dim=("lev", "y", "x"), periodic=(False, True, True))
A_DAY, A_YEAR = round(86400.0 / STEP), round(YEAR / STEP)
SPINUP, RUN, RUNS = 240 * A_DAY, 1800 * A_DAY, 10  # of the coupled runs of each closure
STARTS, MEMBERS, LEADS = 40, 10, (2 * A_DAY, 5 * A_DAY, 10 * A_DAY, 20 * A_DAY)


def replay(record, days=300):
    """Return the correlation of a coarse run with exact psi and the truth after so many days."""
    run = lc.replay(tendency, record.isel(time=slice(days * A_DAY + 1)), fields=FIELDS)
    return float(np.corrcoef(run["q"][-1].values.ravel(), run["q_recorded"][-1].values.ravel())[0, 1])


def statistics(q, psi):
    """Return what a run (time, lev, y, x) is judged by: powers in bands, std of psi and its correlations in space."""
    variance = (psi**2).mean(axis=(0, 2, 3))
    lagged = [0.5 * sum((psi * np.roll(psi, lag, axis)).mean(axis=(0, 2, 3)) for axis in (2, 3)) for lag in (1, 2, 3)]
    safe = np.where(variance > 0.0, variance, 1.0)
    return {
        "power": spectra(q).mean(axis=0),
        "std": np.sqrt(variance),
        "correlation": np.array(lagged).T / safe[:, None],
    }


def averaged(runs):
    """Return the mean over runs of each statistic, and its standard error."""
    stacked = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    return {name: (x.mean(axis=0), x.std(axis=0, ddof=1) / np.sqrt(len(x))) for name, x in stacked.items()}


def coupled(closure, starts):
    """Return the statistics of coupled runs from states (run, lev, y, x)."""
    z = starts.reshape(len(starts), -1)
    run = lc.integrate(tendency, closure, z, steps=SPINUP + RUN, save_every=2 * A_DAY, rng=1)
    late = run.isel(time=slice(SPINUP // (2 * A_DAY), None))
    return averaged(
        [
            statistics(*(late[name][member].values.reshape(-1, *starts.shape[1:]) for name in ("z", "psi")))
            for member in range(len(starts))
        ]
    )


def report(name, found, truth):
    """Print ratios to and differences from the truth with 95 % intervals, truth's own error included."""
    print(f"\n{name}: variance of q and kinetic energy over the truth's, at wavenumbers {', '.join(BANDS)}")
    ratio, interval = over(found["power"], truth["power"])
    for v, quantity in enumerate(("q ", "KE")):
        for layer in (0, 1):
            bands = zip(ratio[v, layer], interval[v, layer], strict=True)
            print(f"  {quantity} of layer {layer + 1}: ", "  ".join(f"{r:.3f} ± {i:.3f}" for r, i in bands))
    spread, off = over(found["std"], truth["std"]), found["correlation"][0] - truth["correlation"][0]
    error = 2.0 * np.hypot(found["correlation"][1], truth["correlation"][1])
    for layer in (0, 1):
        at_lags = "  ".join(f"{o:+.3f} ± {e:.3f}" for o, e in zip(off[layer], error[layer], strict=True))
        std = f"{spread[0][layer]:.3f} ± {spread[1][layer]:.3f}"
        print(f"  psi of layer {layer + 1}: std {std}; correlation at lags 1 to 3 less the truth's {at_lags}")


def over(found, truth):
    """Return the ratio of two means with standard errors, and its 95 % interval."""
    (mean, error), (true, true_error) = found, truth
    return mean / true, 2.0 * np.hypot(error / true, mean / true * true_error / true)


def forecasts(closure, record, members):
    """Return the error of the ensemble mean in parts of the std of q at each lead, in each layer, and its CRPS."""
    q, psi = record["q"].values, record["psi"].values
    longest = max(LEADS)
    n = np.linspace(10, len(q) - longest - 1, STARTS).astype(int)
    z = np.repeat(q[n], members, axis=0).reshape(STARTS * members, -1)
    lagged = np.repeat(n, members)[:, None] - np.arange(5)
    dims = ("member", "lag", "lev", "y", "x")
    past = xr.Dataset({"q": (dims, q[lagged]), "psi": (dims, psi[lagged])}, {"lag": STEP * np.arange(5)})
    state = closure.init(z, 2, history=past)
    scores = []
    for lead in range(1, longest + 1):
        drawn, state = closure.step(z, state)
        z = z + STEP * (tendency(z) + drawn)
        if lead in LEADS:
            ensemble, true = z.reshape(STARTS, members, *q.shape[1:]), q[n + lead]
            mean_error = np.sqrt(((ensemble.mean(axis=1) - true) ** 2).mean(axis=(0, 2, 3)))
            absolute = np.abs(ensemble - true[:, None]).mean(axis=(0, 1, 3, 4))
            pairs = np.abs(ensemble[:, :, None] - ensemble[:, None]).mean(axis=(0, 1, 2, 4, 5)) if members > 1 else 0.0
            crps = absolute - 0.5 * pairs * members / max(members - 1, 1)  # fair, whatever the size of the ensemble
            scores.append(np.stack([mean_error, crps]) / q.std(axis=(0, 2, 3)))
    return np.array(scores)


def cost(closure, starts, repeats=30):
    """Return the least time of a coarse step with the closure, over that of one without."""
    z = starts.reshape(len(starts), -1)
    state, least = closure.init(z, 0), [np.inf, np.inf]
    for _ in range(repeats):
        begin = time.perf_counter()
        resolved = tendency(z)
        middle = time.perf_counter()
        psi, state = closure.step(z, state)
        z = z + STEP * (resolved + psi)
        least = [min(least[0], middle - begin), min(least[1], time.perf_counter() - begin)]
    return least[1] / least[0]


def deterministic(closure):
    """Return the closure without noise."""
    return replace(closure, law=replace(closure.law, root=np.zeros_like(closure.law.root)))


def main():
    """Replay, fit, calibrate, run and score."""
    data = xr.open_dataset("truth.nc").astype(np.float64)
    own, fresh = data.isel(member=0), data.isel(member=slice(1, None))
    print(f"exact psi replayed, correlation with the truth after 300 days: {replay(own):.6f}")
    year, more = own.isel(time=slice(A_YEAR)), own.isel(time=slice(A_YEAR, None))
    years = fresh.coarsen(time=A_YEAR, boundary="trim").construct(time=("year", "day"))
    some = years.isel(day=slice(None, None, 4 * A_DAY)).stack(run=("member", "year"))
    sample = some.transpose("run", "day", "lev", "y", "x")
    truth = averaged([statistics(sample["q"].values[i], sample["psi"].values[i]) for i in range(sample.sizes["run"])])
    starts = sample["q"].values[:: max(1, sample.sizes["run"] // RUNS), 0][:RUNS]
    fit = lc.closures.SpectralAutoregression.fit
    autoregression = fit(year, FIELDS)
    closures = {
        "no closure": lc.closures.NoClosure("coarse", STEP),
        "linear regression without noise": deterministic(fit(year, replace(FIELDS, lags=()), order=0)),
        "spectral autoregression": autoregression,
    }
    for name, closure in closures.items():
        report(name, coupled(closure, starts), truth)
    calibrated = "spectral autoregression, calibrated"
    closures[calibrated] = autoregression.calibrate(tendency, more)
    report(calibrated, coupled(closures[calibrated], starts), truth)
    one = fresh.isel(member=0)
    for name, closure in list(closures.items())[1:]:
        members = 1 if "without noise" in name else MEMBERS
        scores = forecasts(closure, one, members)
        print(f"\n{name}: error of the mean and CRPS of q at {[lead // A_DAY for lead in LEADS]} days, of {members}")
        print(scores[:, :, 0].T.round(3), scores[:, :, 1].T.round(3), sep="\n")
        print(f"  a coarse step takes {cost(closure, starts):.2f} times as long as without it")
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "jax", "pyqg-jax", "l96closure"))
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}, {packages}")


if __name__ == "__main__":
    main()
