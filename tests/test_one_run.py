"""Records of several runs along one time are refused where they are remembered, and one run is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy.signal import lfilter

import l96closure as lc
from l96closure import targets
from l96closure.series import one_run


@cache
def runs(number: int = 8, samples: int = 800) -> xr.Dataset:
    """Give runs of the Lorenz-96 model (run, time, k)."""
    model = lc.TwoScaleLorenz96(12, 24, 20.0)
    simulate = partial(model.simulate, samples, every=10, spinup=3.0, subgrid="coupling")
    return xr.concat([simulate(rng=seed) for seed in range(number)], "run")


TOGETHER: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "two joined": lambda x: x.isel(run=slice(2)).stack(t=("run", "time")),
    "eight joined": lambda x: x.stack(t=("run", "time")),
    "two stacked": lambda x: x.isel(run=slice(2)).stack(t=("time", "run")),
    "eight stacked": lambda x: x.stack(t=("time", "run")),
    "columns of other means": lambda x: (x + 100.0 * x["run"] * (x > -1e9)).stack(t=("time", "run")),
}
REMEMBERING: dict[str, Callable[[xr.Dataset], Any]] = {
    "bridge": partial(lc.closures.SchrodingerBridge.fit, fields=lc.Fields(radius=0, lags=())),
    "bridge that sees the past": partial(
        lc.closures.SchrodingerBridge.fit, fields=lc.Fields(radius=0, lags=(0.05,)), noise=lc.closures.Noise(order=0)
    ),
    "polynomial_ar1": lc.closures.PolynomialAR1.fit,
    "analog": lc.closures.Analog.fit,
    "diagnose": lambda x: lc.diagnose(x, x.expand_dims("member"), max_lag=0.1),
    "forecast": lambda x: lc.forecast(
        np.negative, lc.closures.NoClosure(dt=5e-3), x, starts=2, members=2, leads=[0.0, 0.05, 0.1]
    ),
}


def together(how: str, times: bool) -> xr.Dataset:
    data = TOGETHER[how](runs().assign_coords(run=np.arange(runs().sizes["run"])))
    data = data.drop_vars(["t", "run", "time"]).rename(t="time").transpose("time", "k")
    return data.assign_coords(time=0.005 * np.arange(data.sizes["time"])) if times else data


@pytest.mark.parametrize("use", REMEMBERING)
@pytest.mark.parametrize("how", TOGETHER)
def test_runs_along_one_time_are_refused_where_it_is_remembered(use: str, how: str) -> None:
    with pytest.raises(ValueError, match=r"^(jump|autocorrelation) of (truth|reference)\.(z|psi).*isel\(time=slice"):
        REMEMBERING[use](together(how, times=True))


def test_the_joint_and_the_number_of_columns_are_named() -> None:
    fit = partial(lc.closures.SchrodingerBridge.fit, fields=lc.Fields(radius=0, lags=()))
    with pytest.raises(ValueError, match=r"before time index 800 = .* \.isel\(time=slice\(800\)\)$"):
        fit(together("two joined", times=False))
    with pytest.raises(ValueError, match=r"at the lags 1 and 8 = .*; 8 columns .*slice\(None, None, 8\)\)$"):
        fit(together("eight stacked", times=False))
    # without memory the order of the samples is nothing
    fit(together("eight joined", times=False), noise=lc.closures.Noise(order=0))


def red(n: int, K: int, kept: float, draw: Any) -> npt.NDArray[np.float64]:
    drawn: npt.NDArray[np.float64] = lfilter([1.0], [1.0, -kept], draw((n, K)), axis=0)
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("K", [1, 2, 4, 12, 30])
@pytest.mark.parametrize("seed", range(3))
def test_one_run_of_noise_is_not_taken_for_several(K: int, seed: int) -> None:
    rng, n = np.random.default_rng(seed), 4000
    t = np.arange(n)[:, np.newaxis]
    heavy = red(n, K, 0.99, lambda size: rng.standard_t(3, size))
    for series in (
        *(red(n, K, kept, rng.standard_normal) for kept in (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)),
        *(red(n, 1, kept, rng.standard_normal) + 0.1 * rng.standard_normal((n, K)) for kept in (0.9, 0.999)),
        heavy,
        np.exp(heavy / heavy.std()),
        lfilter([1.0], [1.0, -1.9, 0.905], rng.standard_normal((n, K)), axis=0),
        *(
            3.0 * np.cos(2 * np.pi * t / p) + red(n, K, 0.9, rng.standard_normal)
            for p in (2, 3, 4, 24, 2.07, 3.1, 12.4)
        ),
        *(
            np.maximum(np.cos(2 * np.pi * t / p), 0.1) * (2 + np.cos(t / 200)) + rng.normal(0, 0.1, (n, K))
            for p in (4, 8)
        ),
        np.where(rng.random((n, K)) < 0.01, rng.exponential(size=(n, K)), 0.0),
        np.full((n, K), 3.0),
    ):
        for part in (series, series[:600], series[:40]):
            one_run("series", np.broadcast_to(part, (len(part), K)))


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 5, 10, 37, 50, 80, 160])
def test_one_run_of_a_model_is_not_taken_for_several(every: int) -> None:
    for name in ("z", "psi"):
        for data in _models():
            x = data[name].values[::every]
            for sites in (slice(None), slice(1), slice(2)):
                one_run(name, x[:, sites])
                one_run(name, x[:300, sites])


@cache
def _models() -> list[xr.Dataset]:
    """Give chaotic and periodic regimes, another equation and a double well."""
    lorenz = [
        lc.TwoScaleLorenz96(K, J, F).simulate(20_000, dt=1e-3, every=5, spinup=20.0, subgrid=subgrid)
        for K, J, F in ((4, 4, 8.0), (6, 4, 8.0), (12, 24, 20.0))
        for subgrid in ("coupling", "coarse")
    ]
    well = targets.double_well(1, 5000, 1.0, 0.2, 0.02, np.random.default_rng(0)).T
    wells = xr.Dataset({name: (("time", "k"), well) for name in ("z", "psi")})
    return [*lorenz, lc.KuramotoSivashinsky().simulate(samples=2000), wells]
