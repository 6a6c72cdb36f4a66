"""The coarse model: order of the integrators, the bare model, what is saved, and the truth it follows when fed psi."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from oracles import order_of_convergence
from scipy.integrate import solve_ivp

import l96closure as lc
from l96closure import coarse
from l96closure.bridge import kernel_sums
from l96closure.closures import NoClosure, SchrodingerBridge

F64 = npt.NDArray[np.float64]
K, F = 6, 8.0
tendency = partial(lc.resolved_tendency, F=F)


def start(members: int = 2, sites: int = K) -> F64:
    return np.random.default_rng(0).normal(2.0, 3.0, (members, sites))


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    model = lc.TwoScaleLorenz96(K, 4, F)
    return lc.simulate(model, samples=2000, dt=1e-3, spinup=5.0, subgrid="coarse", coarse_dt=5e-3)


class Stored:
    """The stored subgrid tendency of a run, replayed as a closure; its state counts the steps."""

    def __init__(self, psi: F64) -> None:
        self.psi = psi

    def init(self, z: F64, rng: Any) -> F64:
        return np.zeros((z.shape[0], 1))

    def step(self, z: F64, state: F64, rng: Any) -> tuple[F64, F64]:
        return self.psi[state[:, 0].astype(int)], state + 1

    def save(self, path: Any) -> None:
        raise NotImplementedError


class TestOrder:
    @pytest.mark.parametrize(("scheme", "order", "counts"), [("euler", 1, [400, 800, 1600, 3200]), ("rk4", 4, [25, 50, 100])])
    def test_by_regression_for_constant_psi(self, scheme: str, order: int, counts: list[int]) -> None:
        z0, psi, time = start(1), np.linspace(-3.0, 2.0, K)[None], 0.5
        exact = solve_ivp(
            lambda _, z: tendency(z) + psi[0], (0.0, time), z0[0], method="DOP853", rtol=1e-12, atol=1e-12
        ).y[:, -1]

        def error(count: int) -> float:
            z = z0
            for _ in range(count):
                z = coarse.SCHEMES[scheme](tendency, z, psi, time / count)
            return float(np.abs(z[0] - exact).max())

        assert order_of_convergence(error, counts) == pytest.approx(order, abs=0.15)


class TestBareModel:
    """NoClosure through the whole loop is the coarse model without a closure, bit for bit."""

    def test_euler(self) -> None:
        run = lc.integrate(tendency, NoClosure(), start(), steps=300, dt=5e-3, scheme="euler")
        z = start()
        for i in range(300):
            assert np.array_equal(run["z"].values[:, i], z)
            z = z + tendency(z) * 5e-3
        assert not run["psi"].values.any()

    def test_rk4(self) -> None:
        dt = 0.01
        run = lc.integrate(tendency, NoClosure(), start(), steps=300, dt=dt, scheme="rk4")
        z = start()
        for i in range(300):
            assert np.array_equal(run["z"].values[:, i], z)
            k1 = tendency(z)
            k2 = tendency(z + 0.5 * dt * k1)
            k3 = tendency(z + 0.5 * dt * k2)
            k4 = tendency(z + dt * k3)
            z = z + (dt / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)

    def test_members_do_not_see_each_other(self) -> None:
        z0 = start(4)
        together = lc.integrate(tendency, NoClosure(), z0, steps=50)
        for member in range(4):
            alone = lc.integrate(tendency, NoClosure(), z0[member : member + 1], steps=50)
            assert np.array_equal(together["z"].values[member], alone["z"].values[0])


class TestFedWithStoredPsi:
    """An Euler coarse model that is given the `coarse` psi of the truth follows the truth."""

    def test_one_step_from_every_sample(self, truth: xr.Dataset) -> None:
        z, psi = truth["z"].values, truth["psi"].values
        found = coarse.euler(tendency, z[:-5], psi[:-5], 5e-3)  # 5 fine steps of 1e-3 make a coarse one
        np.testing.assert_allclose(found, z[5:], rtol=0, atol=1e-12)

    def test_a_chain_of_a_hundred_steps(self, truth: xr.Dataset) -> None:
        # Each step adds a round-off of 1e-15, and the Lyapunov exponent of the coarse model (about 2 to 10 per
        # time unit, psi being prescribed) raises the sum by e^5 at most over 0.5 time units: 1e-8 is far above it.
        z, psi = truth["z"].values[::5], truth["psi"].values[::5]
        run = lc.integrate(tendency, Stored(psi), z[:1], steps=101, dt=5e-3, scheme="euler")
        np.testing.assert_allclose(run["z"].values[0], z[:101], rtol=0, atol=1e-8)
        assert np.array_equal(run["psi"].values[0], psi[:101])

    def test_fine_psi_does_not_do_it(self) -> None:
        model = lc.TwoScaleLorenz96(K, 4, F)
        z, psi = (
            lc.simulate(model, samples=2000, dt=1e-3, spinup=5.0, subgrid="fine")[name].values for name in ("z", "psi")
        )
        assert np.abs(coarse.euler(tendency, z[:-5], psi[:-5], 5e-3) - z[5:]).max() > 1e-4


class TestIntegrate:
    @pytest.mark.parametrize("save_every", [2, 3, 7, 100])
    @pytest.mark.parametrize("scheme", ["euler", "rk4"])
    def test_save_every_is_the_full_run_thinned(self, truth: xr.Dataset, scheme: str, save_every: int) -> None:
        closure = SchrodingerBridge.fit(truth, centres=60)
        full, thin = (
            lc.integrate(tendency, closure, start(), steps=100, scheme=scheme, save_every=n, rng=3)
            for n in (1, save_every)
        )
        for name in ("z", "psi"):
            assert np.array_equal(thin[name].values, full[name].values[:, ::save_every])
        np.testing.assert_allclose(thin["time"], full["time"].values[::save_every], rtol=1e-14)

    def test_seed_or_generator_decides_the_noise(self, truth: xr.Dataset) -> None:
        closure = SchrodingerBridge.fit(truth, centres=60)
        first, again, generator, other = (
            lc.integrate(tendency, closure, start(), steps=20, rng=rng) for rng in (1, 1, np.random.default_rng(1), 2)
        )
        assert first.identical(again)
        assert first.identical(generator)
        assert not np.array_equal(first["psi"].values, other["psi"].values)

    def test_leaves_z0_alone_and_starts_from_it(self) -> None:
        z0 = start()
        run = lc.integrate(tendency, NoClosure(), z0, steps=5, dt=0.01)
        assert np.array_equal(z0, start())
        assert np.array_equal(run["z"].values[:, 0], z0)
        assert run["z"].dims == run["psi"].dims == ("member", "time", "k")
        np.testing.assert_allclose(run["time"], [0.0, 0.01, 0.02, 0.03, 0.04])

    @pytest.mark.parametrize("scheme", ["euler", "rk4"])
    def test_a_member_that_blows_up_is_named_with_its_time(self, scheme: str) -> None:
        z0 = np.stack([np.full(K, F), 1e3 * np.arange(K)])  # the first is the steady state, the second is far off
        with pytest.raises(FloatingPointError, match=r"member 1 at time [\d.e+-]+ .*dt = 0\.5") as caught, np.errstate(all="ignore"):
            lc.integrate(tendency, NoClosure(), z0, steps=1000, dt=0.5, scheme=scheme)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"z0": np.ones(K)}, r"^z0\.shape = \(6,\) .* 2-dimensional"),
            ({"z0": np.ones((1, 1, K))}, r"^z0\.shape = .* 2-dimensional"),
            ({"z0": np.ones((0, K))}, r"^z0\.shape = .* not empty"),
            ({"z0": [[1.0, np.nan, 1.0, 1.0, 1.0, 1.0]]}, r"^z0\[0, 1\] = nan .* finite"),
            ({"z0": "here"}, r"^z0 = 'here' .* numbers"),
            ({"z0": np.ones((2, K + 1))}, r"^z\.shape = \(2, 7\) .* \(member, 6\)"),
            ({"steps": 0}, r"^steps = 0 .* >= 1"),
            ({"steps": 10.0}, r"^steps = 10\.0 .* integer"),
            ({"dt": 0.0}, r"^dt = 0\.0 .* > 0"),
            ({"dt": -1.0}, r"^dt = -1\.0 .* > 0"),
            ({"dt": np.inf}, r"^dt = inf .* finite"),
            ({"scheme": "leapfrog"}, r"^scheme = 'leapfrog' .* euler, rk4"),
            ({"save_every": 0}, r"^save_every = 0 .* >= 1"),
            ({"save_every": 1.5}, r"^save_every = 1\.5 .* integer"),
        ],
    )
    def test_bad_arguments(self, truth: xr.Dataset, arguments: dict[str, Any], message: str) -> None:
        closure = SchrodingerBridge.fit(truth, centres=20)
        with pytest.raises(ValueError, match=message) as caught:
            lc.integrate(**{"tendency": tendency, "closure": closure, "z0": start(), "steps": 2, **arguments})
        assert "\n" not in str(caught.value)


THREADS = """
import hashlib
from functools import partial
import l96closure as lc
from l96closure.bridge import kernel_sums

truth = lc.simulate(lc.TwoScaleLorenz96(), samples=3000, spinup=1.0, every=3)
closure = lc.closures.SchrodingerBridge.fit(
    truth, epsilon=0.1, decorrelation_steps=2, scheme="split", clamp="state", pooled=False,
    thinning=1, centres=None, trend_degree=None, tolerance=1e-4,
)
z0 = truth["z"].values[[0, 1000, 2000]]
assert kernel_sums.runs_in_parallel(closure.fitted.plan, len(z0))
run = lc.integrate(partial(lc.resolved_tendency, F=20.0), closure, z0, steps=60, rng=5)
print(hashlib.sha256(run["z"].values.tobytes() + run["psi"].values.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_one_and_two_threads_give_the_same_bits() -> None:
    def digest(threads: int) -> str:
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
        done = subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    one, two = digest(1), digest(2)
    assert len(one) == hashlib.sha256().digest_size * 2
    assert one == two


class TestClimate:
    """Mean and spread of z in closed loop against the truth, in standard errors that know of the autocorrelation."""
