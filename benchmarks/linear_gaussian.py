"""Forecasts of a linear-Gaussian closure that sees space and time: the yardstick for closures of Lorenz-96.

``python benchmarks/linear_gaussian.py --regime crommelin --starts 1000 --members 20``

Written in NumPy apart from the package's closures. The subgrid tendency is a ridge regression on z at the site and its
neighbours, now and some time ago (all products up to second order, and a Chebyshev series in the site's own z), plus
Gaussian noise: for each wavenumber of the residual an autoregression in time, from the Yule-Walker equations.
Fitted on 200 time units, scored by the fair CRPS of forecasts from states of another run, in two ways:

- ``space-time``: the past of z at the start is known, the noise starts from a draw;
- ``known past``: the noise goes on from the last residuals too, which the past of z implies: psi = dz/dt - G(z), by
  finite differences of the record up to the start.

``--target step`` takes for psi the constant with which one coarse step reaches the next record, which the record itself
gives exactly; with it and ``--order 12`` the known past is worth far more where the residual is smooth (crommelin).

``--save FILE`` keeps the scores by start (npz: ``start``, the times; ``lead``; a score (start, lead) for each way), for
differences to another closure on the same starts; ``--reference FILE`` takes the reference from a netCDF file with z.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# `python benchmarks/linear_gaussian.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import xarray as xr
from common import print_record

import l96closure as lc
from l96closure.diagnostics.forecast import fair_crps
from l96closure.forecasts import _forecast_times

TRAINING = 200.0  # time units
FINE_DT = 5e-4
SPINUP_OF_NOISE = 10.0  # time units


@dataclass(frozen=True)
class Regime:
    """A model, its coarse step, and what the closure sees: times in model time units."""

    model: Any
    dt: float
    lags: tuple[float, ...]
    degree: int  # of the series in the site's own z; 2 is none
    order: int  # of the autoregressions
    leads: tuple[float, ...]
    radius: int = 1
    ridge: float = 1e-6  # in units of the number of samples, for standardised terms
    accuracy: int = 8  # order of the finite differences
    target: str = "coupling"  # what psi is: the term of the model, or the residual of one coarse ``step``


_WILKS = {"K": 8, "J": 32}
REGIMES = {
    "paper": Regime(lc.TwoScaleLorenz96(), 0.005, (0.0, 0.04, 0.08, 0.16), 8, 8, (0.25, 0.5, 1.0, 2.0)),
    "wilks": Regime(lc.TwoScaleLorenz96(**_WILKS), 0.005, (0.0, 0.04, 0.08, 0.16), 8, 8, (0.25, 0.5, 1.0, 2.0)),
    "arnold_c4": Regime(lc.TwoScaleLorenz96(**_WILKS, c=4.0), 0.005, (0.0, 0.1, 0.2, 0.4), 8, 8, (0.25, 0.5, 1.0, 2.0)),
    "crommelin": Regime(
        lc.TwoScaleLorenz96(K=18, J=20, F=10.0, c=2.0, b=float(np.sqrt(40.0))),
        0.025,
        (0.0, 0.2, 0.4, 0.8),
        2,
        3,
        (0.5, 1.0, 2.0, 5.0),
    ),
}


def simulated(regime: Regime, duration: float, rng: int) -> xr.Dataset:
    every = round(regime.dt / FINE_DT)
    return regime.model.simulate(
        samples=round(duration / regime.dt) + 1, dt=FINE_DT, every=every, subgrid="coupling", rng=rng, spinup=20.0
    )


class Trend:
    """Regression of psi on z: all products up to second order over stencil and lags, and a series in the site's z."""

    def __init__(self, regime: Regime, z: np.ndarray, psi: np.ndarray) -> None:
        self.offsets = range(-regime.radius, regime.radius + 1)
        self.steps = [round(lag / regime.dt) for lag in regime.lags]
        self.degree = regime.degree
        self.mean, self.std = z.mean(), z.std()
        self.middle, self.half = (z.max() + z.min()) / 2, (z.max() - z.min()) / 2
        last = np.arange(self.longest, len(z))
        self.size = 1 + len(self.steps) * len(self.offsets)
        self.pairs = np.triu_indices(self.size)
        gram, right = 0.0, 0.0
        for part in np.array_split(last, max(1, len(last) * z.shape[1] // 50_000)):
            terms = self._terms(z[part[:, np.newaxis] - self.steps].swapaxes(0, 1))
            gram, right = gram + terms.T @ terms, right + terms.T @ psi[part].ravel()
        n = len(last) * z.shape[1]
        scale = np.sqrt(np.diag(gram) / n)
        penalty = np.full(len(scale), regime.ridge * n)
        penalty[0] = 0.0  # the constant
        solution = np.linalg.solve(gram / np.outer(scale, scale) + np.diag(penalty), right / scale) / scale
        self.products = np.zeros((self.size, self.size))
        self.products[self.pairs] = solution[: len(self.pairs[0])]
        self.series = np.zeros(self.degree + 1)
        self.series[3:] = solution[len(self.pairs[0]) :]

    @property
    def longest(self) -> int:
        """Steps that the longest lag goes back."""
        return max(self.steps)

    def __call__(self, past: np.ndarray) -> np.ndarray:
        """Trend (n, K) for z at the lags (lag, n, K)."""
        X = self._predictors(past)
        value = np.einsum("ij,ij->i", X @ self.products, X)
        if self.degree > 2:
            value += np.polynomial.chebyshev.chebval(self._scaled(past[0]).ravel(), self.series)
        return value.reshape(past.shape[1:])

    def along(self, z: np.ndarray) -> np.ndarray:
        """Trend along a record (time, K), from the first time on whose past is known."""
        n = len(z) - self.longest
        return self(np.stack([z[self.longest - step :][:n] for step in self.steps]))

    def _predictors(self, past: np.ndarray) -> np.ndarray:
        X = np.empty((past[0].size, self.size))
        X[:, 0] = 1.0
        scaled = (past - self.mean) / self.std
        for i, (field, offset) in enumerate((field, offset) for field in scaled for offset in self.offsets):
            X[:, i + 1] = np.roll(field, -offset, axis=-1).ravel()
        return X

    def _terms(self, past: np.ndarray) -> np.ndarray:
        X = self._predictors(past)
        series = np.polynomial.chebyshev.chebvander(self._scaled(past[0]).ravel(), max(self.degree, 2))
        return np.hstack([X[:, self.pairs[0]] * X[:, self.pairs[1]], series[:, 3:]])

    def _scaled(self, z: np.ndarray) -> np.ndarray:
        return np.clip((z - self.middle) / self.half, -1.0, 1.0)


class Noise:
    """Gaussian autoregression in time for each wavenumber of a ring, as matrices that act on the sites."""

    def __init__(self, residual: np.ndarray, order: int) -> None:
        K = residual.shape[1]
        weights, power = burg(np.fft.fft(residual - residual.mean(), axis=-1), order)
        rows = np.arange(K)
        circulant = (rows[np.newaxis] - rows[:, np.newaxis]) % K  # [from, to]
        self.weights = np.fft.ifft(weights, axis=-1).real[:, circulant].reshape(order * K, K)
        self.draw = np.fft.ifft(np.sqrt(np.maximum(power, 0.0) / K)).real[circulant]
        self.order, self.K = order, K

    def shifted(self, past: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Past residuals (order, n, K), the latest first, one step later."""
        flat = past.swapaxes(0, 1).reshape(past.shape[1], -1)
        following = flat @ self.weights + rng.standard_normal((len(flat), self.K)) @ self.draw
        return np.concatenate([following[np.newaxis], past[:-1]])

    def stationary(self, n: int, steps: int, rng: np.random.Generator) -> np.ndarray:
        """Draw a past (order, n, K)."""
        past = np.zeros((self.order, n, self.K))
        for _ in range(steps):
            past = self.shifted(past, rng)
        return past


def burg(waves: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit autoregressions to the columns of ``waves`` (time, mode): weights (order, mode) and innovation variances.

    Burg's method: every reflection coefficient is below one, so all roots are inside the unit circle, and the ends of
    the record do not bias it. The Yule-Walker equations give a smooth residual four times its innovation.
    """
    forward, backward = waves, waves
    weights, power = np.zeros((0, waves.shape[1]), complex), (np.abs(waves) ** 2).mean(axis=0)
    for _ in range(order):
        forward, backward = forward[1:], backward[:-1]
        total = (np.abs(forward) ** 2 + np.abs(backward) ** 2).sum(axis=0)
        reflection = 2 * (forward * backward.conj()).sum(axis=0) / total
        weights = np.concatenate([weights - reflection * weights[::-1].conj(), reflection[np.newaxis]])
        forward, backward = forward - reflection * backward, backward - reflection.conj() * forward
        power = power * (1 - np.abs(reflection) ** 2)
    return weights, power


class Closure:
    """Trend and noise, fitted to a truth."""

    def __init__(self, regime: Regime, truth: xr.Dataset) -> None:
        self.regime = regime
        z, psi = truth["z"].values, truth["psi"].values
        if regime.target == "step":
            z, psi = z[:-1], residual_of_step(regime, z)
        self.trend = Trend(regime, z, psi)
        self.lowest, self.highest = psi.min(), psi.max()
        self.residual = psi[self.trend.longest :] - self.trend.along(z)
        self.noise = Noise(self.residual, regime.order)

    @property
    def past(self) -> int:
        """Records before a start that the closure looks at."""
        return self.trend.longest + self.regime.order + self.regime.accuracy + 1

    def last_residuals(self, z: np.ndarray) -> np.ndarray:
        """Residuals (order, n, K), the latest first, that the record z (time, n, K) implies.

        The latest is at the end of the record; for the residual of a step, whose last is not known, one step before.
        """
        regime, order = self.regime, self.regime.order
        if regime.target == "step":
            psi = residual_of_step(regime, z[-order - 1 :])[::-1]
            z = z[:-1]
        else:
            psi = implied(regime, z, order)
        past = [[z[len(z) - 1 - back - step] for step in self.trend.steps] for back in range(order)]
        return np.stack([psi[back] - self.trend(np.stack(past[back])) for back in range(order)])

    def forecast(
        self, record: np.ndarray, members: int, leads: np.ndarray, *, known: bool, rng: np.random.Generator
    ) -> np.ndarray:
        """Forecasts (start, member, lead, K) that go on from a record (time, start, K), with the leads in steps."""
        starts, K = record.shape[1:]
        recent = [np.repeat(z, members, axis=0) for z in record[len(record) - 1 - self.trend.longest :][::-1]]
        if known:
            past = np.repeat(self.last_residuals(record), members, axis=1)
            if self.regime.target == "step":
                past = self.noise.shifted(past, rng)
        else:
            past = self.noise.stationary(starts * members, round(SPINUP_OF_NOISE / self.regime.dt), rng)
        out = np.empty((starts, members, len(leads), K))
        for step in range(1, leads[-1] + 1):
            z = self._step(recent[0], np.stack([recent[lag] for lag in self.trend.steps]), past[0])
            recent = [z, *recent[:-1]] if self.trend.longest else [z]
            past = self.noise.shifted(past, rng)
            if step in leads:
                out[:, :, np.flatnonzero(leads == step)[0]] = z.reshape(starts, members, K)
        return out

    def _step(self, z: np.ndarray, lagged: np.ndarray, residual: np.ndarray) -> np.ndarray:
        psi = np.clip(self.trend(lagged) + residual, self.lowest, self.highest)
        return rk4(self.regime.model, z, psi, self.regime.dt)


def rk4(model: Any, z: np.ndarray, psi: np.ndarray, dt: float) -> np.ndarray:
    """One step of dz/dt = G(z) + psi with psi held."""
    k1 = model.resolved_tendency(z) + psi
    k2 = model.resolved_tendency(z + dt / 2 * k1) + psi
    k3 = model.resolved_tendency(z + dt / 2 * k2) + psi
    k4 = model.resolved_tendency(z + dt * k3) + psi
    return z + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


def residual_of_step(regime: Regime, z: np.ndarray) -> np.ndarray:
    """Return the constant psi (time - 1, ..., K) with which a coarse step goes from each record of z to the next."""
    psi = (z[1:] - z[:-1]) / regime.dt - regime.model.resolved_tendency(z[:-1])
    for _ in range(6):  # each iteration gains a factor of the step times the Jacobian
        psi += (z[1:] - rk4(regime.model, z[:-1], psi, regime.dt)) / regime.dt
    return psi


def implied(regime: Regime, z: np.ndarray, count: int) -> np.ndarray:
    """Return psi = dz/dt - G(z) at the last ``count`` records of z (time, ..., K), the latest first.

    The derivative is that of the polynomial through the ``accuracy`` + 1 records around, none of them later than the
    last.
    """
    width = regime.accuracy + 1
    found = []
    for back in range(count):
        first = max(back - regime.accuracy // 2, 0)  # records from the end to the latest one used
        nodes = back - first - np.arange(width)  # times in steps from the one asked for, descending
        powers = np.vander(nodes, width, increasing=True).T
        weights = np.linalg.solve(powers, np.eye(width)[1]) / regime.dt
        used = z[len(z) - 1 - first - np.arange(width)]
        now = z[len(z) - 1 - back]
        slope = np.tensordot(weights, used, 1)
        found.append(slope - regime.model.resolved_tendency(now))
    return np.stack(found)


def crps_by_start(forecasts: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Fair CRPS (start, lead), the mean over sites."""
    return fair_crps(np.moveaxis(forecasts, 1, -1), observation).mean(axis=-1)


def standard_error(by_start: np.ndarray) -> np.ndarray:
    return by_start.std(axis=0, ddof=1) / np.sqrt(len(by_start))


def score(closure: Closure, z: np.ndarray, first: np.ndarray, members: int, *, known: bool) -> np.ndarray:
    """Return the CRPS (start, lead) of forecasts from the times ``first`` of a record z (time, K)."""
    regime, rng, parts = closure.regime, np.random.default_rng(3), []
    leads = np.round(np.divide(regime.leads, regime.dt)).astype(int)
    record = z[first - np.arange(closure.past, -1, -1)[:, np.newaxis]]
    for part in np.array_split(np.arange(first.size), max(1, first.size * members // 4000)):
        forecasts = closure.forecast(record[:, part], members, leads, known=known, rng=rng)
        parts.append(crps_by_start(forecasts, z[first[part][:, np.newaxis] + leads]))
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--regime", choices=REGIMES, default="crommelin")
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--target", choices=("coupling", "step"), default="coupling", help="what psi is")
    parser.add_argument("--order", type=int, help="of the autoregressions, in place of the regime's")
    parser.add_argument("--reference", type=Path, help="netCDF file with z (time, k) at the coarse step")
    parser.add_argument("--save", type=Path, help="where the scores by start go")
    given = parser.parse_args()
    regime = REGIMES[given.regime]
    regime = replace(regime, target=given.target, order=given.order or regime.order)
    closure = Closure(regime, simulated(regime, TRAINING, rng=1))
    leads = np.round(np.divide(regime.leads, regime.dt)).astype(int)
    if given.reference:
        reference = xr.open_dataset(given.reference)
    else:
        reference = simulated(regime, (given.starts + 1) * regime.leads[-1] + closure.past * regime.dt, rng=2)
    z = reference["z"].values
    first = closure.past + _forecast_times(len(z) - closure.past, given.starts, np.array([0, *leads]))[:, 0]
    ways = {"space-time": False, "known past": True}
    scores = {name: score(closure, z, first, given.members, known=known) for name, known in ways.items()}
    print_table(regime, scores)
    if given.save:
        arrays: dict[str, Any] = {"start": reference["time"].values[first], "lead": np.array(regime.leads), **scores}
        np.savez(given.save, **arrays)
    print_record(
        "linear_gaussian",
        ("numpy", "numba"),
        regime=given.regime,
        target=regime.target,
        order=regime.order,
        starts=given.starts,
        members=given.members,
        std_of_residual=round(float(closure.residual.std()), 4),
        crps={name: by_start.mean(axis=0).round(4).tolist() for name, by_start in scores.items()},
        crps_se={name: standard_error(by_start).round(4).tolist() for name, by_start in scores.items()},
    )


def print_table(regime: Regime, scores: dict[str, np.ndarray]) -> None:
    rows = dict(scores)
    rows["difference"] = scores["known past"] - scores["space-time"]
    print(f"{'CRPS at lead':14}" + "".join(f"{lead:>18g}" for lead in regime.leads))
    for name, by_start in rows.items():
        figures = zip(by_start.mean(axis=0), standard_error(by_start), strict=True)
        print(f"{name:14}" + "".join(f"{f'{mean:.4f} ± {error:.4f}':>18}" for mean, error in figures))


if __name__ == "__main__":
    main()
