"""Climate, forecasts and reliability of a closure in the published regimes, over long runs, with standard errors.

``python benchmarks/regimes.py --regime crommelin --closure recommended``

The closure is fitted on 200 time units (``--training``) of truth with the package's defaults and judged on independent
runs: its climate over ``--climate`` time units of coarse run and of truth, in 20 members whose differences give the
errors; its forecasts from ``--starts`` states of another truth, with the past of z and of psi known, of z alone, and of
neither, the first two beside the linear-Gaussian closure of ``benchmarks/linear_gaussian.py`` that knows as much, on
the same starts; its conditional law by the frequencies of held-out psi below its deciles.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

# `python benchmarks/regimes.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import linear_gaussian
import numpy as np
import xarray as xr
from common import print_record
from linear_gaussian import REGIMES

import l96closure as lc
from l96closure.closures import PolynomialAR1, SchrodingerBridge
from l96closure.diagnostics.forecast import fair_crps

MEMBERS = 20  # of the long runs
FINE_DT = 5e-4
SPINUP = 10.0
PIT = 1000.0  # time units


def simulated(model: Any, dt: float, duration: float, rng: int, every: int = 1, members: int | None = None) -> Any:
    """Return truth recorded every so many coarse steps."""
    return model.simulate(
        samples=round(duration / (every * dt)),
        dt=min(FINE_DT, dt / 20),
        every=every * round(dt / min(FINE_DT, dt / 20)),
        coarse_dt=dt,
        spinup=SPINUP,
        rng=rng,
        members=members,
    )


def fitted(name: str, truth: xr.Dataset, model: Any) -> Any:
    """Return the closure of a name."""
    one_site = lc.Fields(radius=0, lags=())
    if name == "polynomial_ar1":
        return PolynomialAR1.fit(truth)
    if name == "one_site":
        return SchrodingerBridge.fit(truth, one_site)
    return SchrodingerBridge.fit(truth, selection=lc.Selection(model) if name == "selected" else None)


def spectrum(x: np.ndarray) -> np.ndarray:
    """Return the variance by wavenumber of each member (member, wavenumber), counted for both signs."""
    K = x.shape[-1]
    power = (np.abs(np.fft.rfft(x - x.mean(), axis=-1)) ** 2).mean(axis=1) / K**2
    wavenumber = np.arange(K // 2 + 1)
    return np.where((wavenumber == 0) | (2 * wavenumber == K), 1.0, 2.0) * power


def ratio(coarse: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of the means over members and its standard error."""
    value = coarse.mean(axis=0) / truth.mean(axis=0)
    parts = [(x.std(axis=0, ddof=1) / x.mean(axis=0)) ** 2 / len(x) for x in (coarse, truth)]
    return value, value * np.sqrt(sum(parts))


def hellinger(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Hellinger distance of two samples in 100 bins, as ``lc.diagnose`` counts."""
    bounds = min(x.min(), y.min()), max(x.max(), y.max())
    p, q = (np.histogram(one, 100, bounds)[0] / one.size for one in (x, y))
    return float(np.sqrt(0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum()))


def joint(x: np.ndarray, y: np.ndarray, other_x: np.ndarray, other_y: np.ndarray) -> float:
    """Return the Hellinger distance of the laws of pairs (x, y) in 100 x 100 bins, as ``lc.diagnose`` counts."""
    bounds = [(min(a.min(), b.min()), max(a.max(), b.max())) for a, b in ((x, other_x), (y, other_y))]
    pairs = ((x, y), (other_x, other_y))
    p, q = (np.histogram2d(a.ravel(), b.ravel(), 100, bounds)[0] / a.size for a, b in pairs)
    return float(np.sqrt(0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum()))


def half_distance(x: np.ndarray) -> float:
    """Return the Hellinger distance of half of the members to the rest: what the length of the runs leaves open."""
    return hellinger(x[: len(x) // 2], x[len(x) // 2 :])


def neighbours(psi: np.ndarray) -> np.ndarray:
    """Return the correlation of psi with its neighbour at distance 1, for each member."""
    anomaly = psi - psi.mean()
    return (anomaly * np.roll(anomaly, 1, axis=2)).mean(axis=(1, 2)) / (anomaly**2).mean(axis=(1, 2))


def autocorrelation(z: np.ndarray, lags: int) -> np.ndarray:
    """Return the autocorrelation of each member (member, lag)."""
    anomaly = z - z.mean()
    size = 2 * z.shape[1]
    power = np.abs(np.fft.rfft(anomaly, size, axis=1)) ** 2
    products = np.fft.irfft(power, size, axis=1)[:, :lags].mean(axis=2) / (z.shape[1] - np.arange(lags))
    return products / products[:, :1]


def climate(model: Any, closure: Any, truth: xr.Dataset, dt: float, duration: float) -> dict[str, Any]:
    """Return statistics of long runs."""
    every = max(1, round(0.05 / dt))
    started = time.perf_counter()
    long = simulated(model, dt, duration / MEMBERS, 11, every, MEMBERS)
    starts = truth["z"].values[np.linspace(0, truth.sizes["time"] - 1, MEMBERS).astype(int)]
    spun = round(SPINUP / (dt * every))
    steps = round(duration / MEMBERS / dt) + spun * every
    run = lc.integrate(model, closure, starts, steps, rng=12, save_every=every).isel(time=slice(spun, None))
    z, psi, true_z, true_psi = (one[name].values for one in (run, long) for name in ("z", "psi"))
    lags = round(5.0 / (dt * every))
    difference = autocorrelation(z, lags) - autocorrelation(true_z, lags)
    correlation = neighbours(psi), neighbours(true_psi)
    found: dict[str, Any] = {"time_units": z.shape[1] * MEMBERS * every * dt}
    for name, one, other in (("z", z, true_z), ("psi", psi, true_psi)):
        value, error = ratio(spectrum(one), spectrum(other))
        found[f"variance_{name}"], found[f"variance_{name}_se"] = value.round(4).tolist(), error.round(4).tolist()
        found[f"hellinger_{name}"] = round(hellinger(one, other), 5)
        found[f"hellinger_{name}_truth_halves"] = round(half_distance(other), 5)
    half = len(true_z) // 2
    found["hellinger_joint"] = round(joint(z, psi, true_z, true_psi), 5)
    halves = joint(true_z[:half], true_psi[:half], true_z[half:], true_psi[half:])
    found["hellinger_joint_truth_halves"] = round(halves, 5)
    found["autocorrelation_largest_difference"] = round(float(np.abs(difference.mean(axis=0)).max()), 4)
    found["autocorrelation_se"] = round(float((difference.std(axis=0, ddof=1) / MEMBERS**0.5).max()), 4)
    found["neighbour_correlation"] = [round(float(c.mean()), 4) for c in correlation]
    found["neighbour_correlation_se"] = [round(float(c.std(ddof=1) / MEMBERS**0.5), 4) for c in correlation]
    found["seconds"] = round(time.perf_counter() - started)
    return found


def fresh_noise(closure: Any) -> Any:
    """Return a closure that starts from the known past of z, but draws its noise anew."""

    class FreshNoise(type(closure)):  # type: ignore[misc]
        def init(self, z: np.ndarray, rng: Any, member: Any = 0, history: xr.Dataset | None = None) -> Any:
            state = super().init(z, rng, member, history)
            return state._replace(memory=self.law.initial(state))

    return FreshNoise(**{part.name: getattr(closure, part.name) for part in fields(closure)})


def forecasts(regime: str, closure: Any, reference: xr.Dataset, starts: int, yardstick: bool) -> dict[str, Any]:
    """Return scores of forecasts, beside those of the yardstick on the same starts."""
    given = REGIMES[regime]
    model, dt, leads = given.model, given.dt, given.leads
    found: dict[str, Any] = {"leads": leads}
    by_start = {}
    spacing = min(leads)
    grid = spacing * np.arange(round(max(leads) / spacing) + 1)
    at = [int(np.argmin(np.abs(grid - lead))) for lead in leads]
    modes = {"known": (closure, True), "z_known": (fresh_noise(closure), True), "drawn": (closure, False)}
    for name, (one, past) in modes.items() if closure.past_steps else [("drawn", (closure, False))]:
        made = lc.forecast(model, one, reference, starts=starts, members=20, leads=grid, past=past, rng=5)
        z, truth = made["z"].values[:, :, at], made["observation"].values[:, at]
        crps = by_start[name] = fair_crps(np.moveaxis(z, 1, -1), truth).mean(axis=-1)
        scores = lc.verify(made, reference).isel(lead=at)
        found[f"crps_{name}"], found[f"crps_{name}_se"] = crps.mean(axis=0).round(4).tolist(), error_of(crps)
        found[f"spread_skill_{name}"] = scores["spread_skill"].values.round(3).tolist()
        found[f"spread_skill_{name}_se"] = spread_skill_error(z, truth)
    if yardstick:
        first = np.rint((made["start"].values - float(reference["time"][0])) / dt).astype(int)
        other = linear_gaussian.Closure(given, linear_gaussian.simulated(given, linear_gaussian.TRAINING, rng=1))
        for ours in ("known", "z_known"):
            crps = linear_gaussian.score(other, reference["z"].values, first, 20, known=ours == "known")
            found[f"linear_gaussian_{ours}"] = crps.mean(axis=0).round(4).tolist()
            if ours in by_start:
                difference = by_start[ours] - crps
                found[f"difference_{ours}"] = difference.mean(axis=0).round(4).tolist()
                found[f"difference_{ours}_se"] = error_of(difference)
    return found


def full_model(regime: str, reference: xr.Dataset, starts: int, most: int) -> dict[str, Any]:
    """Return what ensembles of the full model reach, spun up along the recorded z before."""
    model, leads = REGIMES[regime].model, REGIMES[regime].leads
    spacing = min(leads)
    grid = spacing * np.arange(round(max(leads) / spacing) + 1)
    made = lc.mark(
        model, reference, starts=starts, most=most, members=10, leads=grid, spinup=max(2.0, 8 / model.c), rng=7
    )
    at = [int(np.argmin(np.abs(grid - lead))) for lead in leads]
    crps = fair_crps(np.moveaxis(made["z"].values[:, :, at], 1, -1), made["observation"].values[:, at]).mean(axis=-1)
    return {"mark_starts": len(crps), "crps_mark": crps.mean(axis=0).round(4).tolist(), "crps_mark_se": error_of(crps)}


def spread_skill_error(z: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the standard error of the spread-skill ratio, from the starts (start, member, lead, K)."""
    members = z.shape[1]
    spread = (1 + 1 / members) * z.var(axis=1, ddof=1).mean(axis=-1)
    error = ((z.mean(axis=1) - truth) ** 2).mean(axis=-1)
    ratio = spread.mean(axis=0) / error.mean(axis=0)
    of_ratio = (spread - ratio * error).std(axis=0, ddof=1) / len(z) ** 0.5 / error.mean(axis=0)
    found: list[float] = (0.5 * of_ratio / np.sqrt(ratio)).round(3).tolist()
    return found


def error_of(by_start: np.ndarray) -> list[float]:
    """Return the standard errors of the means over starts."""
    errors: list[float] = (by_start.std(axis=0, ddof=1) / len(by_start) ** 0.5).round(4).tolist()
    return errors


def reliability(closure: Any, held_out: xr.Dataset) -> dict[str, Any]:
    """Return the largest departure of the frequencies below the deciles, and its error from 20 stretches of time."""
    u = closure.probability(held_out).values
    levels = np.arange(1, 10) / 10
    below = np.stack([(u[np.isfinite(u).all(axis=1)] < level).mean(axis=1) for level in levels])
    means = np.stack([part.mean(axis=1) for part in np.array_split(below, 20, axis=1)])
    departure = below.mean(axis=1) - levels
    return {
        "pit_largest": round(float(np.abs(departure).max()), 4),
        "pit_se": round(float((means.std(axis=0, ddof=1) / 20**0.5).max()), 4),
    }


def main() -> None:
    """Run what the arguments ask for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--regime", choices=REGIMES, default="crommelin")
    parser.add_argument(
        "--closure", choices=("recommended", "selected", "one_site", "polynomial_ar1"), default="recommended"
    )
    parser.add_argument("--training", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=1, help="of the training truth")
    parser.add_argument("--climate", type=float, default=20_000.0)
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--mark", type=int, default=0, help="starts that the full model itself forecasts from")
    parser.add_argument("--no-yardstick", action="store_true", help="leave the linear-Gaussian closure out")
    given = parser.parse_args()
    regime = REGIMES[given.regime]
    model, dt, leads = regime.model, regime.dt, regime.leads
    truth = simulated(model, dt, given.training, given.seed)
    started = time.perf_counter()
    closure = fitted(given.closure, truth, model)
    figures: dict[str, Any] = {"fit_seconds": round(time.perf_counter() - started, 1)}
    print(closure, "" if closure.selection is None else f"\n{closure.selection.to_dataframe()}", file=sys.stderr)
    reference = simulated(model, dt, max((given.starts + 2) * max(leads), PIT), 2)
    figures |= forecasts(given.regime, closure, reference, given.starts, not given.no_yardstick)
    if given.mark:
        figures |= full_model(given.regime, reference, given.starts, given.mark)
    figures |= reliability(closure, reference.isel(time=slice(round(PIT / dt))))
    if given.climate > 0.0:
        figures |= climate(model, closure, truth, dt, given.climate)
    print_record("regimes", ("numpy", "numba", "scipy"), **vars(given), **figures)


if __name__ == "__main__":
    main()
