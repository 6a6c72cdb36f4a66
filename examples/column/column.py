"""A column of air with unresolved convection: T and q on levels, many columns as samples, both tendencies at once.

The column is a toy of ours, not a published model: T (K) and q (g kg-1) on levels relax towards a profile that is
unstable; convection, which a coarse model does not see, heats and dries by a mass flux with memory of its own (it is
fed by the instability, and its noise grows with it) up to a height that wanders. What a coarse model lacks is
correlated between levels and between T and q, remembers, and differs in scale from level to level.

Run it with ``python examples/column/column.py``: it fits a closure to some columns, judges it on others, runs columns
for ten days, and draws ``column.png``.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray as xr

import l96closure as lc
from l96closure.closures import Noise, SchrodingerBridge, Trend

F64 = npt.NDArray[np.float64]

LEVELS, DT, FINE = 20, 0.5, 6  # hours of a coarse step, and fine steps in it
HEIGHT = (np.arange(LEVELS) + 0.5) / LEVELS
STABLE, MOIST = 300.0 - 70.0 * HEIGHT, 16.0 * np.exp(-3.0 * HEIGHT)
RADIATIVE = STABLE + 12.0 * (0.5 - HEIGHT)  # warm below and cold above: it convects


class Convection(NamedTuple):
    """What the coarse model does not see of each column: mass flux and height of the clouds, (column,)."""

    flux: F64
    top: F64


def resolved(z: F64) -> F64:
    """Return the resolved tendency (column, 2, level) per hour: radiation and evaporation relax T and q."""
    T, q = z[:, 0], z[:, 1]
    moister = MOIST * (1.3 - 0.2 * HEIGHT)
    return np.stack([(RADIATIVE - T) / 120.0, (moister - q) / 60.0], axis=1)


def convective(z: F64, state: Convection) -> F64:
    """Return heating and moistening (column, 2, level) per hour by convection."""
    depth = HEIGHT / state.top[:, None]
    inside = np.where(depth < 1.0, np.maximum(np.sin(np.pi * np.minimum(depth, 1.0)), 0.0) * depth, 0.0)
    heating = state.flux[:, None] * (2.0 * inside - 0.5 * np.exp(-((HEIGHT / 0.15) ** 2)))
    detrained = np.exp(-(((HEIGHT - state.top[:, None]) / 0.1) ** 2))
    drying = state.flux[:, None] * (-2.0 * np.exp(-((HEIGHT / 0.25) ** 2)) - 0.4 * inside + 0.3 * detrained)
    return np.stack([heating, drying], axis=1)


def instability(z: F64) -> F64:
    """Return how much warmer and moister the low levels are than those in the middle (column,)."""
    warm = z[:, 0] - STABLE
    low, middle = HEIGHT < 0.25, (HEIGHT > 0.4) & (HEIGHT < 0.8)
    return warm[:, low].mean(axis=1) - warm[:, middle].mean(axis=1) + 0.5 * (z[:, 1] - MOIST)[:, low].mean(axis=1)


def columns(number: int, days: float, seed: int) -> xr.Dataset:
    """Simulate columns and record T, q and what a coarse Euler step lacks of their change."""
    rng, steps, spinup = np.random.default_rng(seed), round(days * 24.0 / DT), round(40 * 24.0 / DT)
    z = np.stack([np.tile(STABLE, (number, 1)), np.tile(MOIST, (number, 1))], axis=1)
    state, h = Convection(np.full(number, 0.1), np.full(number, 0.7)), DT / FINE
    states = np.empty((steps + 1, number, 2, LEVELS))
    for step in range(-spinup, steps + 1):
        if step >= 0:
            states[step] = z
        for _ in range(FINE):
            wanted = np.maximum(0.25 * (instability(z) - 1.0), 0.0)
            white = rng.standard_normal((3, number))
            flux = state.flux + h * (wanted - state.flux) / 0.7 + np.sqrt(h * 0.03 * state.flux) * white[0]
            top = state.top + h * (0.7 - state.top) / 4.0 + 0.08 * np.sqrt(h / 2.0) * white[1]
            local = 0.008 * rng.standard_normal((number, 2, LEVELS)) / np.sqrt(h)
            z = z + h * (resolved(z) + convective(z, state) + local)
            state = Convection(np.maximum(flux, 0.0), top.clip(0.35, 0.98))
    lacking = (states[1:] - states[:-1]) / DT - resolved(states[:-1].reshape(-1, 2, LEVELS)).reshape(states[1:].shape)
    dims = ("time", "column", "lev")
    fields = {"T": (states[:-1, :, 0], "K"), "q": (states[:-1, :, 1], "g kg-1")}
    fields |= {"heating": (lacking[:, :, 0], "K h-1"), "moistening": (lacking[:, :, 1], "g kg-1 h-1")}
    data = xr.Dataset({name: (dims, values, {"units": unit}) for name, (values, unit) in fields.items()})
    coordinates = {"time": DT * np.arange(steps), "lev": HEIGHT}
    return data.assign_coords(coordinates).assign_attrs(subgrid="coarse", coarse_dt=DT)


FIELDS = lc.Fields(
    ("T", "q"), ("heating", "moistening"), dim="lev", sample_dim="column", periodic=False, lags=(), previous=True
)


TARGETS = ("heating", "moistening")


def flat(data: xr.Dataset, *names: str) -> F64:
    """Return variables (sample, name, level) of all columns at all times but the first."""
    return np.stack([data[name].values[1:].reshape(-1, LEVELS) for name in names], axis=1)


def explained(psi: F64, predicted: F64) -> F64:
    """Return R2 of each target, over all levels."""
    return 1.0 - ((psi - predicted) ** 2).sum(axis=(0, 2)) / ((psi - psi.mean(axis=0)) ** 2).sum(axis=(0, 2))


def linear(train: xr.Dataset, test: xr.Dataset, before: bool) -> tuple[F64, F64]:
    """Regress both tendencies on T and q at all levels, and perhaps on the tendencies before; return R2 and rest."""
    both = []
    for data in (train, test):
        x = [flat(data, "T", "q").reshape(-1, 2 * LEVELS)]
        if before:
            x.append(
                np.stack([data[name].values[:-1].reshape(-1, LEVELS) for name in TARGETS], axis=1).reshape(
                    len(x[0]), -1
                )
            )
        both.append((np.column_stack([np.ones(len(x[0])), *x]), flat(data, *TARGETS)))
    (x, y), (new, wanted) = both
    found = (new @ np.linalg.lstsq(x, y.reshape(len(y), -1), rcond=None)[0]).reshape(wanted.shape)
    return explained(wanted, found), wanted - found


def foreseen(closure: SchrodingerBridge, data: xr.Dataset, draws: int = 20) -> F64:
    """Return R2 of each target, over all levels, of what a closure that knows the past expects.

    What it expects is the mean of draws, whose own error is taken off.
    """
    steps = closure.past_steps
    times = np.arange(steps, data.sizes["time"], 120)
    back = data.isel(time=xr.DataArray(times[:, None] - np.arange(steps + 1), dims=("start", "lag")))
    past = back.drop_vars("time").stack(member=("start", "column")).reset_index("member", drop=True)
    past = (
        past.transpose("member", "lag", "lev").assign_coords(lag=DT * np.arange(steps + 1)).assign_attrs(scheme="euler")
    )
    now = past.isel(lag=0)
    z = np.stack([now[name].values for name in ("T", "q")], axis=1)
    drawn = np.stack([closure.step(z, closure.init(z, seed, history=past))[0] for seed in range(draws)])
    psi, own = np.stack([now[name].values for name in TARGETS], axis=1), drawn.var(axis=0, ddof=1) / draws
    return explained(psi, drawn.mean(axis=0)) + own.sum(axis=(0, 2)) / ((psi - psi.mean(axis=0)) ** 2).sum(axis=(0, 2))


def correlations(left: F64, number: int) -> tuple[F64, F64]:
    """Return the correlations of all levels and both targets, and their errors: each column is left out in turn."""
    of_column = left.reshape(-1, number, 2 * LEVELS)
    means, products = of_column.mean(axis=0), np.einsum("tci,tcj->cij", of_column, of_column) / len(of_column)

    def correlation(mean: F64, product: F64) -> F64:
        covariance = product - np.outer(mean, mean)
        spread = np.sqrt(np.diag(covariance))
        return covariance / np.outer(spread, spread)

    every = range(number)
    without = [correlation(*((one.sum(axis=0) - one[c]) / (number - 1) for one in (means, products))) for c in every]
    return correlation(means.mean(axis=0), products.mean(axis=0)), np.sqrt(number - 1) * np.std(without, axis=0)


def main(number: int, days: float, judged: int) -> None:
    """Fit, judge and draw."""
    train, test = columns(number, days, 1), columns(judged, days, 2)
    replay = lc.replay(resolved, test.isel(column=0), "euler", FIELDS)
    print(f"replayed with the recorded tendencies: error {replay['error'].values[-1]:.1e} std after {days:g} days")
    closure = SchrodingerBridge.fit(train, FIELDS, trend=Trend(degree=1, order=1), noise=Noise(order=1))
    print(closure)
    print("R2 on new columns, heating and moistening:")
    print(f"  closure that knows the past       {foreseen(closure, test).round(3)}")
    print(f"  linear in T and q now             {linear(train, test, before=False)[0].round(3)}")
    print(f"  linear in these and psi before    {linear(train, test, before=True)[0].round(3)}")

    z = np.stack([test[name].values[0] for name in ("T", "q")], axis=1)
    run = lc.integrate(resolved, closure, z, steps=round(240 / DT), rng=3, scheme="euler").rename(member="column")
    coarse = run.transpose("time", "column", "lev")
    test = test.isel(time=slice(coarse.sizes["time"]))
    (of_truth, of_coarse), errors = zip(
        *(correlations(linear(train, data, before=False)[1], judged) for data in (test, coarse)), strict=True
    )
    pairs = np.triu_indices(2 * LEVELS, 1)
    apart, error = np.abs(of_truth - of_coarse)[pairs], np.hypot(*errors)[pairs]
    print(
        f"correlations of residuals, coarse less truth, of {apart.size}: largest {apart.max():.3f} (error "
        f"{error[apart.argmax()]:.3f}), median {np.median(apart):.3f}, above 0.05 {(apart > 0.05).sum()}"
    )
    print("ten days of the coarse model, the worst level of each:")
    for name in ("T", "q", *TARGETS):
        print(f"  {name:11s} {compared(test, coarse, name)}")
    draw(test, coarse, of_truth, of_coarse)


def compared(test: xr.Dataset, coarse: xr.Dataset, name: str) -> str:
    """Say how far mean, spread and hourly changes of a variable are from the truth's."""
    there, here = (data[name].transpose("column", "time", "lev").values for data in (test, coarse))
    spread = there.std(axis=(0, 1))
    error = np.hypot(*(one.mean(axis=1).std(axis=0) / np.sqrt(len(one)) for one in (there, here))) / spread
    bias = np.abs(here.mean(axis=(0, 1)) - there.mean(axis=(0, 1))) / spread
    of_std = here.std(axis=(0, 1)) / spread
    steps = round(1 / DT)
    hourly = np.divide(*((one[:, steps:] - one[:, :-steps]).std(axis=(0, 1)) for one in (here, there)))
    return (
        f"bias {bias.max():.2f} std (standard error {error[bias.argmax()]:.2f}), std ratio {of_std.min():.2f} to "
        f"{of_std.max():.2f}, hourly changes {hourly.min():.2f} to {hourly.max():.2f}"
    )


def draw(test: xr.Dataset, coarse: xr.Dataset, of_truth: F64, of_coarse: F64) -> None:
    """Draw spreads by height, and correlations of residuals, into ``column.png``."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
    for ax, name in zip(axes, ("T", "heating"), strict=False):
        for label, data in (("truth", test), ("coarse", coarse)):
            ax.plot(data[name].std([dim for dim in data[name].dims if dim != "lev"]), HEIGHT, label=label)
        ax.set(xlabel=f"std of {name} ({test[name].attrs['units']})", ylabel="height")
    axes[0].legend()
    for ax, title, values in zip(axes[2:], ("truth", "coarse"), (of_truth, of_coarse), strict=True):
        image = ax.imshow(values, vmin=-1.0, vmax=1.0, cmap="RdBu_r", origin="lower")
        ax.set(title=f"residuals, {title}", xlabel="level of heating, of moistening", xticks=[], yticks=[])
    figure.colorbar(image, ax=axes[2:], label="correlation")
    figure.savefig("column.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=40, help="to learn from")
    parser.add_argument("--judged", type=int, default=400, help="to judge by")
    parser.add_argument("--days", type=float, default=20.0)
    given = parser.parse_args()
    main(given.columns, given.days, given.judged)
