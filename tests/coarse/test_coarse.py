"""The coarse model: order, the bare model, what is saved, the truth it follows when fed psi; threads and memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from oracles import order_of_convergence, standard_error
from scipy.integrate import solve_ivp

import l96closure as lc
from l96closure import first_calls, schemes
from l96closure.closures import NoClosure, Noise, Polynomial, Quantiles, SchrodingerBridge, Trend

F64 = npt.NDArray[np.float64]
K, F = 6, 8.0
MODEL = lc.TwoScaleLorenz96(K, 4, F)
tendency = MODEL.resolved_tendency

PAPER = lc.TwoScaleLorenz96()
STEP = 5e-3  # its coarse step, ten fine ones
resolved = PAPER.resolved_tendency


ONE_SITE = lc.Fields(radius=0, lags=())
FIELDS = {"present": ONE_SITE, "lags": lc.Fields(radius=0, lags=(0.01, 0.03))}
FEW = Quantiles(centres=60)


def start(members: int = 2, sites: int = K) -> F64:
    return np.random.default_rng(0).normal(2.0, 3.0, (members, sites))


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=2000, dt=1e-3, spinup=5.0, subgrid="coarse", coarse_dt=5e-3, every=1)


@pytest.fixture(scope="module")
def paper_run() -> xr.Dataset:
    return PAPER.simulate(samples=2000, spinup=5.0, subgrid="coarse", coarse_dt=STEP, every=1)


class Stored:
    """The stored subgrid tendency of a run, replayed as a closure; its state counts the steps."""

    def __init__(self, psi: F64) -> None:
        self.psi = psi

    def init(self, z: F64, rng: Any, member: Any = 0) -> F64:
        return np.zeros((z.shape[0], 1))

    def step(self, z: F64, state: F64) -> tuple[F64, F64]:
        return self.psi[state[:, 0].astype(int)], state + 1


class TestOrder:
    @pytest.mark.parametrize(
        ("scheme", "order", "counts"), [("euler", 1, [400, 800, 1600, 3200]), ("rk4", 4, [25, 50, 100])]
    )
    def test_by_regression_for_constant_psi(self, scheme: str, order: int, counts: list[int]) -> None:
        z0, psi, time = start(1), np.linspace(-3.0, 2.0, K)[None], 0.5
        exact = solve_ivp(
            lambda _, z: tendency(z) + psi[0], (0.0, time), z0[0], method="DOP853", rtol=1e-12, atol=1e-12
        ).y[:, -1]

        def error(count: int) -> float:
            z = z0
            for _ in range(count):
                z = schemes.SCHEMES[scheme](tendency, z, psi, time / count)
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
        together = lc.integrate(tendency, NoClosure(), z0, steps=50, dt=STEP)
        for member in range(4):
            alone = lc.integrate(tendency, NoClosure(), z0[member : member + 1], steps=50, dt=STEP)
            assert np.array_equal(together["z"].values[member], alone["z"].values[0])


class TestFedWithStoredPsi:
    """An Euler coarse model that is given the `coarse` psi of the truth follows the truth."""

    def test_one_step_from_every_sample(self, paper_run: xr.Dataset) -> None:
        z, psi = paper_run["z"].values, paper_run["psi"].values
        found = schemes.euler(resolved, z[:-10], psi[:-10], STEP)
        np.testing.assert_allclose(found, z[10:], rtol=0, atol=1e-12)

    def test_a_chain_of_a_hundred_steps(self, paper_run: xr.Dataset) -> None:
        # Each step leaves a round-off of about 1e-15 behind. The coarse model with psi prescribed is chaotic and
        # raises it by a factor of about e^3 a time unit, so by less than 10 over these 0.5 time units: 1e-8 would
        # take six time units to reach, and an error in psi itself shows at once.
        z, psi = paper_run["z"].values[::10], paper_run["psi"].values[::10]
        chain = lc.integrate(resolved, Stored(psi), z[:1], steps=101, dt=STEP, scheme="euler")
        np.testing.assert_allclose(chain["z"].values[0], z[:101], rtol=0, atol=1e-8)
        assert np.array_equal(chain["psi"].values[0], psi[:101])

    def test_fine_psi_does_not_do_it(self) -> None:
        run = PAPER.simulate(samples=2000, spinup=5.0, subgrid="fine", every=1)
        z, psi = run["z"].values, run["psi"].values
        assert np.abs(schemes.euler(resolved, z[:-10], psi[:-10], STEP) - z[10:]).max() > 1e-3


class TestIntegrate:
    @pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
    @pytest.mark.parametrize("save_every", [2, 3, 7, 100])
    @pytest.mark.parametrize("scheme", ["euler", "rk4"])
    @pytest.mark.parametrize("fields", FIELDS)
    def test_save_every_is_the_full_run_thinned(
        self, truth: xr.Dataset, fields: str, scheme: str, save_every: int
    ) -> None:
        closure = SchrodingerBridge.fit(truth, FIELDS[fields], law=FEW, dt=STEP)
        full, thin = (
            lc.integrate(tendency, closure, start(), steps=100, scheme=scheme, save_every=n, rng=3)
            for n in (1, save_every)
        )
        for name in ("z", "psi"):
            assert np.array_equal(thin[name].values, full[name].values[:, ::save_every])
        np.testing.assert_allclose(thin["time"], full["time"].values[::save_every], rtol=1e-14)

    @pytest.mark.parametrize("fields", FIELDS)
    def test_seed_or_generator_decides_the_noise(self, truth: xr.Dataset, fields: str) -> None:
        closure = SchrodingerBridge.fit(truth, FIELDS[fields], law=FEW, dt=STEP)
        first, again, generator, other = (
            lc.integrate(tendency, closure, start(), steps=20, rng=rng) for rng in (1, 1, np.random.default_rng(1), 2)
        )
        assert first.identical(again)
        assert first.identical(generator)
        assert not np.array_equal(first["psi"].values, other["psi"].values)

    @pytest.mark.parametrize("fields", FIELDS)
    @pytest.mark.parametrize("order", [0, 2])
    def test_a_step_that_the_memory_is_not_for(
        self, truth: xr.Dataset, fields: str, order: int, tmp_path: Path
    ) -> None:
        own = truth.assign_attrs(subgrid="a definition of its own")
        closure = SchrodingerBridge.fit(own, FIELDS[fields], law=FEW, noise=Noise(order), dt=0.01)
        closure.save(tmp_path / "closure.nc")
        for one in (closure, lc.closures.load(tmp_path / "closure.nc")):
            if fields == "present" and order == 0:
                lc.integrate(tendency, one, start(), steps=2, dt=STEP)
                continue
            with pytest.raises(ValueError, match=r"^dt = 0\.005 .* 0\.01, the coarse step the closure was fitted for"):
                lc.integrate(tendency, one, start(), dt=STEP)

    def test_a_closure_of_data_without_times_takes_any_step(self, truth: xr.Dataset) -> None:
        without_times = SchrodingerBridge.fit(truth.drop_vars("time"), ONE_SITE, law=FEW)
        assert without_times.coarse_dt is None
        lc.integrate(tendency, without_times, start(), steps=2, dt=STEP)

    def test_leaves_z0_alone_and_starts_from_it(self) -> None:
        z0 = start()
        run = lc.integrate(tendency, NoClosure(), z0, steps=5, dt=0.01)
        assert np.array_equal(z0, start())
        assert np.array_equal(run["z"].values[:, 0], z0)
        assert run["z"].dims == run["psi"].dims == ("member", "time", "k")
        np.testing.assert_allclose(run["time"], [0.0, 0.01, 0.02, 0.03, 0.04])

    @pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
    @pytest.mark.parametrize("scheme", ["euler", "rk4"])
    @pytest.mark.parametrize("bare", [True, False])
    def test_a_member_that_blows_up_is_named_with_its_time(self, truth: xr.Dataset, scheme: str, bare: bool) -> None:
        closure = NoClosure() if bare else SchrodingerBridge.fit(truth, ONE_SITE, law=FEW, noise=Noise(0), dt=STEP)
        z0 = np.stack([np.full(K, F), 1e3 * np.arange(K)])
        with pytest.raises(
            FloatingPointError, match=r"member [01] in step \d+ of dt = 0\.5 \(time [\d.e+-]+ "
        ) as caught:
            lc.integrate(tendency, closure, z0, steps=1000, dt=0.5, scheme=scheme)
        assert "\n" not in str(caught.value)
        if bare:
            assert "member 1" in str(caught.value)  # the other one rests in the steady state z = F

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"z0": np.ones(K)}, r"^z0\.shape = \(6,\) .* \(member, K\)"),
            ({"z0": np.ones((1, 1, K))}, r"^z0\.shape = .* \(member, K\)"),
            ({"z0": np.ones((0, K))}, r"^z0\.shape = .* not empty"),
            ({"z0": [[1.0, np.nan, 1.0, 1.0, 1.0, 1.0]]}, r"^z0\[0, 1\] = nan .* finite"),
            ({"z0": "here"}, r"^z0 = 'here' .* numbers"),
            ({"z0": np.ones((2, K + 1))}, r"^z\.shape = \(2, 7\) .* \(\.\.\., 6\)"),
            ({"z0": np.ones((2, K + 1)), "model": np.negative}, r"^z\.shape = \(2, 7\) .* \(member, 6\)"),
            ({"model": 8.0}, r"^model = 8\.0 .* an object with resolved_tendency\(z\), or a function"),
            ({"model": lc.TwoScaleLorenz96}, r"^model = .* an object with resolved_tendency\(z\), or a function"),
            ({"closure": NoClosure()}, r"^dt = None .* fitted for no step"),
            ({"rng": -1}, r"^rng = -1 .* >= 0"),
            ({"rng": "today"}, r"^rng = 'today' .* an integer >= 0 or a numpy\.random\.Generator"),
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
        closure = SchrodingerBridge.fit(truth, ONE_SITE, law=Quantiles(centres=20), dt=STEP)
        with pytest.raises(ValueError, match=message) as caught:
            lc.integrate(**{"model": MODEL, "closure": closure, "z0": start(), "steps": 2, **arguments})
        assert "\n" not in str(caught.value)


MIXING: dict[str, Callable[[F64], F64]] = {
    "np.roll without an axis": lambda z: np.roll(z, 1) - z,
    "a mean over the members": lambda z: z.mean(axis=0) - z,
    "a mean over all": lambda z: z.mean() - z,
    "the first member for all": lambda z: z[0] - z,
    "the last member for all": lambda z: z[-1] - z,
    "in single precision": lambda z: np.roll(z.astype(np.float32), 1) - z.astype(np.float32),
}
NOISE = np.random.default_rng(0)
KEEPING: dict[str, Callable[[F64], F64]] = {
    "compiled": tendency,
    "its argument": lambda z: z,
    "an axis": lambda z: np.roll(z, 1, axis=1) - z,
    "a matrix": lambda z: z @ np.linspace(-1.0, 1.0, K * K).reshape(K, K),
    "a transform": lambda z: np.fft.irfft(np.arange(K // 2 + 1) ** 4 * np.fft.rfft(z), K),
    "single precision": lambda z: np.tanh(z.astype(np.float32) @ np.full((K, K), 0.1, np.float32)),
    "a forcing of each member": lambda z: np.arange(4.0)[:, np.newaxis] - z,
    "noise of its own": lambda z: NOISE.standard_normal(z.shape) - z,
    "not finite": lambda z: np.where(z > 0.0, np.inf, z),
}


class TestCallbacks:
    """A model or closure that would make a wrong run without a word is named at the start."""

    @pytest.mark.parametrize("which", MIXING)
    @pytest.mark.parametrize("z0", [start(4), start(3), np.repeat(start(1), 4, axis=0), np.eye(2, K)])
    def test_members_that_depend_on_each_other(self, which: str, z0: F64) -> None:
        with pytest.raises(ValueError, match=r"^tendency\(z\) of a member = 'changed by the others' .* axis=1\)$"):
            lc.integrate(MIXING[which], NoClosure(), z0, steps=2, dt=STEP)

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    @pytest.mark.parametrize("which", KEEPING)
    def test_members_that_do_not(self, which: str) -> None:
        first_calls.check_tendency(KEEPING[which], start(4))

    def test_a_single_member_has_no_others(self) -> None:
        run = lc.integrate(MIXING["np.roll without an axis"], NoClosure(), start(1), steps=2, dt=STEP)
        np.testing.assert_array_equal(
            run["z"], lc.integrate(KEEPING["an axis"], NoClosure(), start(1), steps=2, dt=STEP)["z"]
        )

    @pytest.mark.parametrize("who", ["tendency", "closure's z", "closure's state"])
    @pytest.mark.parametrize("forecast", [False, True])
    def test_what_writes_into_its_arguments(self, who: str, forecast: bool, truth: xr.Dataset) -> None:
        def writes(x: F64) -> F64:
            x *= 0.5
            return x

        class Mine(NoClosure):
            def init(self, z: F64, rng: Any, member: Any = 0) -> Any:
                return np.ones((len(z), 1))

            def step(self, z: F64, state: Any) -> tuple[F64, Any]:
                return np.zeros_like(z), writes(state if who == "closure's state" else z)[:, :1]

        model, closure = (writes, NoClosure(dt=STEP)) if who == "tendency" else (tendency, Mine(dt=STEP))
        name = "state" if who == "closure's state" else "z"
        if forecast:
            run = partial(lc.forecast, model, closure, truth, starts=2, members=2, leads=[0.0, 0.05, 0.1])
        else:
            run = partial(lc.integrate, model, closure, start(), steps=2)
        with pytest.raises(ValueError, match=rf"^{name} after .* = 'changed' .* work on a copy"):
            run()


THREADS = """
import hashlib
import numpy as np
import l96closure as lc

model = lc.TwoScaleLorenz96(K=8, J=4)
truth = model.simulate(samples=1500, spinup=1.0, every=3, subgrid="fine")
fit, law = lc.closures.SchrodingerBridge.fit, lc.closures
one_site = lc.Fields(radius=0, lags=())
literal = fit(
    truth, lc.Fields(radius=0, lags=(), pool=()), trend=None, law=law.Chain(steps=2, clamp="state", centres=None)
)
moments = fit(truth, lc.Fields(radius=1, lags=(0.03,)), law=law.Moments(centres=300, compressed=None), dt=6e-3)
recommended = fit(truth, lc.Fields(radius=1, lags=(0.03,)), dt=6e-3)
sequential = fit(truth, one_site, law=law.Chain("sequential", centres=500))
z0 = truth["z"].values[::8]
assert literal.law.fitted.kernel_sums.in_parallel(len(z0))
result = hashlib.sha256(truth["z"].values.tobytes() + truth["psi"].values.tobytes())
for name, table in recommended.tables().items():
    result.update(table.tobytes())
for closure in (literal, moments, recommended, sequential):
    for members in (len(z0), 1):
        run = lc.integrate(model, closure, z0[:members], steps=4, rng=5, dt=6e-3)
        result.update(run["z"].values.tobytes() + run["psi"].values.tobytes())
print(result.hexdigest())
"""


@pytest.mark.slow
def test_one_and_two_threads_give_the_same_bits() -> None:
    def digest(threads: int) -> str:
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
        done = subprocess.run(
            [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    one, two = digest(1), digest(2)
    assert len(one) == hashlib.sha256().digest_size * 2
    assert one == two


RECOMMENDED = """
import hashlib
import l96closure as lc

model = lc.TwoScaleLorenz96(K=8, J=4)
truth = model.simulate(samples=1500, spinup=1.0)
closure = lc.closures.SchrodingerBridge.fit(truth, lc.Fields(radius=1, lags=(0.03,)))
run = lc.integrate(model, closure, truth["z"].values[::100], steps=10, rng=5)
print(hashlib.sha256(run["z"].values.tobytes() + run["psi"].values.tobytes()).hexdigest())
"""
WARM_UP = """
import l96closure as lc
import numpy as np
import xarray as xr

lc.TwoScaleLorenz96(K=4).resolved_tendency(np.ones((2, 4)))
lc.noise.normals(1, 0, 0, site=np.arange(3))
z = np.random.default_rng(0).standard_normal((200, 4))
data = xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), z**2)}, {"time": 0.1 * np.arange(200)})
lc.closures.PolynomialAR1.fit(data, lc.Fields(radius=0, lags=()), trend=lc.closures.Trend(2, 1))
"""


@pytest.mark.slow
def test_the_bits_do_not_depend_on_what_was_compiled_before(tmp_path: Path) -> None:
    """Find all of it in the cache of earlier processes, or compile the rest beside a part that is there."""
    digests = []
    for cache, programs in (({}, [RECOMMENDED]), ({"NUMBA_CACHE_DIR": str(tmp_path)}, [WARM_UP, RECOMMENDED])):
        for program in programs:
            environment = {**os.environ, **cache}
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        digests.append(done.stdout)
    assert digests[0] == digests[1]


PAPER_FIT = """
from pathlib import Path
import l96closure as lc

truth = lc.TwoScaleLorenz96().simulate(samples=40_000, every=1, subgrid="fine")
closure = lc.closures.SchrodingerBridge.fit(
    truth, lc.Fields(radius=0, lags=(), pool=()), trend=None,
    law=lc.closures.Chain("split", steps=100, clamp="state", centres=None),
)
assert len(closure.law.fitted.dictionaries) == 12
assert closure.law.fitted.dictionaries[0].v.size == 40_000
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_the_fit_of_the_paper_stays_under_a_gigabyte() -> None:
    """Twelve dictionaries of 40,000 samples."""
    done = subprocess.run([sys.executable, "-c", PAPER_FIT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 1e9


def moments(z: F64) -> tuple[F64, F64]:
    """Mean and standard deviation of z (member, time, k), and their standard errors.

    Members and sites are averaged first; what is left is one correlated series.
    """
    mean, std = z.mean(), z.std()
    squares = ((z - mean) ** 2).mean(axis=(0, 2))
    return np.array([mean, std]), np.array([standard_error(z.mean(axis=(0, 2))), standard_error(squares) / (2 * std)])


@pytest.mark.slow
def test_the_closure_mends_the_climate_of_z() -> None:
    """Mean and spread within four standard errors of the truth's, where the bare model misses the spread by ten."""
    training = PAPER.simulate(samples=4000)
    truth = PAPER.simulate(samples=20_000, rng=1)["z"].values
    expected, expected_error = moments(truth[None])

    def distance(closure: Any) -> F64:
        run = lc.integrate(PAPER, closure, truth[:20_000:5000], steps=5000, rng=2, dt=STEP)
        found, error = moments(run["z"].values)
        return np.abs(found - expected) / np.hypot(error, expected_error)

    assert (distance(SchrodingerBridge.fit(training)) < 4.0).all()
    assert distance(NoClosure())[1] > 10.0


@pytest.mark.parametrize(
    ("predictor", "unit", "fits", "other"),
    [
        ("K", "s", ("K s-1", "K/s", "K s**-1", "K second-1", "1"), ("K day-1", "K h-1", "W m-2", "K")),
        ("m s-1", "s", ("m s-2",), ("m s-1 day-1",)),
        ("m/s", "s", ("m/s2", "m/s^2"), ("m/s/day",)),
        ("1", "d", ("d-1", "day-1", "1"), ("s-1",)),
        ("K", "1", ("K day-1", "W m-2", "anything"), ()),
    ],
)
def test_units_of_a_target_are_those_of_its_predictor_per_time(
    predictor: str, unit: str, fits: tuple[str, ...], other: tuple[str, ...]
) -> None:
    fields = lc.Fields("T", "Q", time_unit=unit)
    assert not any(replace(fields, units=(predictor, one)).no_tendencies for one in fits)
    assert all(len(replace(fields, units=(predictor, one)).no_tendencies) == 1 for one in other)


def test_a_target_of_a_day_is_not_added_to_a_tendency_of_a_second_without_a_word(tmp_path: Path) -> None:
    """The step counts in seconds where times are dates; a closure from a file knows it too."""
    values = np.random.default_rng(0).standard_normal((2, 200, 3))
    data = xr.Dataset(
        {
            "T": (("time", "k"), values[0], {"units": "K"}),
            "Q": (("time", "k"), values[1], {"units": "K day-1"}),
            "time": np.datetime64("2000-01-01", "ns") + np.arange(200) * np.timedelta64(6, "h"),
        }
    )
    Polynomial.fit(data, lc.Fields("T", "Q", radius=0, lags=()), Trend(1, 1)).save(tmp_path / "closure.nc")
    with pytest.warns(lc.UnitsWarning, match=r"adds Q to the tendency of T as numbers in K s-1; the data say K day"):
        lc.integrate(lambda z: -1e-5 * z, lc.closures.load(tmp_path / "closure.nc"), values[0, :2], steps=2)
    with pytest.raises(ValueError, match=r"^z0\.shape = \(2, 3, 1\) .* \(member, K\), all sites along one axis"):
        lc.integrate(lambda z: -z, NoClosure(), values[0, :2, :, None], steps=2, dt=1.0)
