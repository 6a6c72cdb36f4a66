"""An energy balance model of climlab, forced by weather that a closure stands in for.

The full model is climlab's diffusive energy balance model at twelve latitudes, stepped every six hours, with heating
by weather: red noise with a memory of six hours that damps temperature anomalies and is the stronger the colder it is,
which skews temperature. It is synthetic, in the manner of Hasselmann (1976, Tellus 28, 473-485). The coarse model is
the same energy balance model stepped once a day, without weather; the closure learns the mean heating of a day given
the temperature at its beginning. Run it with ``python examples/climlab_ebm.py`` after
``pip install "l96closure[climlab]"``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import skew

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Cannot import", UserWarning)  # of climlab's Fortran parts, not needed here
    import climlab

    from l96closure.adapters.climlab import ClosureProcess

import l96closure as lc
from l96closure.diagnostics.climate import batch_standard_errors

DAY = 86_400.0  # s
FULL_STEP, COARSE_STEP = 0.25 * DAY, DAY
TRAINING_YEARS, JUDGED_YEARS = 20, 50
MEMORY = 0.25 * DAY  # of the weather
HEATING, DAMPING, COLD = 60.0, 15.0, 0.2  # W m-2; W m-2 K-1; K-1


class Weather(climlab.TimeDependentProcess):
    """Heating q in W m-2 with dq = -(q + DAMPING T') dt / MEMORY + HEATING (1 - COLD T') sqrt(2 / MEMORY) dW."""

    def __init__(self, normal: np.ndarray, rng: np.random.Generator, **options) -> None:
        super().__init__(**options)
        self.normal, self.rng, self.q = normal, rng, np.zeros(normal.shape)

    def _compute(self):
        anomaly = np.array(self.Ts) - self.normal
        kept = np.exp(-self.timestep / MEMORY)
        noise = HEATING * np.maximum(1.0 - COLD * anomaly, 0.0) * self.rng.standard_normal(anomaly.shape)
        self.q = kept * self.q - (1.0 - kept) * DAMPING * anomaly + np.sqrt(1.0 - kept**2) * noise
        return {"Ts": self.q / self.Ts.domain.heat_capacity}


def balance_model(timestep: float, start: np.ndarray | None = None) -> climlab.EBM:
    """Energy balance model over two metres of water, from temperatures (lat, 1) where they are given."""
    # It never freezes: the ice-albedo feedback has a second equilibrium, into which noise could tip either model.
    model = climlab.EBM(num_lat=12, water_depth=2.0, Tf=-100.0, timestep=timestep)
    if start is not None:
        model.Ts[:] = start
    return model


def full_run(normal: np.ndarray) -> xr.Dataset:
    """Temperature z at the coarse steps, and psi, the mean heating in K per day until the next one."""
    model = balance_model(FULL_STEP, normal)
    weather = Weather(normal, np.random.default_rng(1), state={"Ts": model.Ts}, timestep=FULL_STEP)
    model.add_subprocess("weather", weather)
    inner = round(COARSE_STEP / FULL_STEP)
    z, psi = [], []
    for _ in range(round(TRAINING_YEARS * 365 * DAY / COARSE_STEP)):
        z.append(np.array(model.Ts).ravel())
        heating = 0.0
        for _ in range(inner):
            model.step_forward()
            heating = heating + np.array(weather.tendencies["Ts"]).ravel()
        psi.append(heating / inner * DAY)
    return xr.Dataset({"z": (("time", "k"), np.array(z)), "psi": (("time", "k"), np.array(psi))})


@dataclass(frozen=True)
class Standardized:
    """A closure of anomalies in units of each latitude's own standard deviation; obeys the protocol itself."""

    inner: lc.closures.Closure
    mean: xr.Dataset
    std: xr.Dataset

    @classmethod
    def fit(cls, run: xr.Dataset) -> Standardized:
        """Fit a closure to ``run`` that draws psi afresh each step, given the temperature of a latitude alone.

        Temperature adds up past heating, so a psi that remembers its past and is drawn given temperature would count
        that past twice: the noise has no memory, and no lags are seen.
        """
        mean, std = run.mean("time"), run.std("time")
        fitted = lc.closures.SchrodingerBridge.fit(
            (run - mean) / std,
            lc.Fields(radius=0, lags=()),
            trend=lc.closures.Trend(degree=2, order=1),
            noise=lc.closures.Noise(order=0, covariance=None),
        )
        return cls(fitted, mean, std)

    def init(self, z, rng, member=0):
        """Start the inner closure."""
        return self.inner.init(self._anomaly(z), rng, member)

    def step(self, z, state):
        """Draw psi in K per day."""
        psi, state = self.inner.step(self._anomaly(z), state)
        return self.mean["psi"].values + self.std["psi"].values * psi, state

    def _anomaly(self, z):
        return (z - self.mean["z"].values) / self.std["z"].values


def coarse_run(closure: Standardized | None, start: np.ndarray) -> np.ndarray:
    """Temperature (time, lat) of the coarse model, with a closure as one more process of its tree or without."""
    model = balance_model(COARSE_STEP, start)
    if closure is not None:
        process = ClosureProcess(closure, time_unit=DAY, rng=2, state={"Ts": model.Ts}, timestep=COARSE_STEP)
        model.add_subprocess("closure", process)
    kept = []
    for _ in range(round(JUDGED_YEARS * 365 * DAY / COARSE_STEP)):
        model.step_forward()
        kept.append(np.array(model.Ts).ravel())
    return np.array(kept)


def main() -> None:
    """Print the mean and the standard deviation of temperature at some latitudes."""
    quiet = balance_model(FULL_STEP)
    quiet.integrate_years(5, verbose=False)
    normal = np.array(quiet.Ts)
    truth = full_run(normal)
    runs = {
        "full model": truth["z"].values,
        "no closure": coarse_run(None, normal),
        "closure": coarse_run(Standardized.fit(truth), normal),
    }
    print(f"{'':20}" + "".join(f"{name:>28}" for name in runs))
    for k in range(6):
        cells = ""
        for T in runs.values():
            mean_se, std_se = batch_standard_errors(T[np.newaxis, :, [k]])
            cells += f"{T[:, k].mean():9.2f} ± {mean_se:.2f}{T[:, k].std():7.2f} ± {std_se:.2f}"
        print(f"mean, std (K) at {-quiet.lat[k]:2.0f}S{cells}")
    print(f"{'skewness':20}" + "".join(f"{skewness(T):>28}" for T in runs.values()))


def skewness(T: np.ndarray) -> str:
    """Write the skewness of T (time, lat) about each latitude's mean, with the standard error of twenty batches."""
    anomaly = T - T.mean(axis=0)
    if anomaly.std() < 1e-6:
        return "-"
    batches = [skew(batch, axis=None) for batch in np.array_split(anomaly, 20)]
    return f"{skew(anomaly, axis=None):.2f} ± {np.std(batches, ddof=1) / np.sqrt(20):.2f}"


if __name__ == "__main__":
    main()
