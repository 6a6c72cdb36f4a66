"""Closures in sympl, climlab and DAPPER: with the same seed, bit for bit what our own coarse model gives."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import l96closure as lc
from l96closure.adapters.carried import Carried
from l96closure.closures import Closure, NoClosure, SchrodingerBridge

F64 = npt.NDArray[np.float64]
K, F, STEPS, SEED = 6, 8.0, 200, 4
DT = 2.0**-6  # a whole number of microseconds for sympl, and exact in differences of times, as DAPPER takes them
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
tendency = partial(lc.resolved_tendency, F=F)


class RedNoise:
    """A closure with a state and a use for random numbers; counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def init(self, z: F64, rng: Any) -> F64:
        return np.random.default_rng(rng).standard_normal(z.shape)

    def step(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        self.steps += 1
        state = 0.9 * state + 0.4 * rng.standard_normal(z.shape)
        return state - 0.3 * z, state


@pytest.fixture(scope="module")
def bridge() -> SchrodingerBridge:
    truth = lc.simulate(lc.TwoScaleLorenz96(K, 4, F), samples=2000, dt=1e-3, spinup=5.0, subgrid="coupling")
    fitted = SchrodingerBridge.fit(truth, compressed=16, step=DT)
    assert fitted.coarse_dt == DT
    return fitted


@pytest.fixture(params=["none", "red noise", "bridge"])
def closure(request: pytest.FixtureRequest, bridge: SchrodingerBridge) -> Any:
    return {"none": NoClosure(), "red noise": RedNoise(), "bridge": bridge}[request.param]


def start(members: int) -> F64:
    return np.random.default_rng(0).normal(2.0, 3.0, (members, K))


def expected(closure: Closure, members: int, scheme: str = "euler", dt: float = DT) -> F64:
    """Give z (member, time, k) of the coarse model."""
    run = lc.integrate(tendency, closure, start(members), steps=STEPS, dt=dt, scheme=scheme, rng=SEED)
    return run["z"].values


def installed(package: str) -> ModuleType:
    """Import the adapter of ``package``, or skip the test."""
    pytest.importorskip(package, reason=f'needs {package}: pip install "l96closure[{package}]"')
    return importlib.import_module(f"l96closure.adapters.{package}")


@pytest.mark.parametrize("package", ["sympl", "climlab", "dapper"])
def test_a_missing_package_is_one_line_that_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"l96closure.adapters.{package}", raising=False)
    with pytest.raises(ImportError, match=rf'^.* cannot import {package} .*pip install "l96closure\[{package}\]"$'):
        importlib.import_module(f"l96closure.adapters.{package}")


def test_the_loop_of_the_plain_example_is_the_coarse_model(closure: Closure) -> None:
    example = runpy.run_path(str(EXAMPLES / "plain.py"))
    z = example["run"](closure, start(3), F, DT, STEPS, SEED)
    np.testing.assert_array_equal(z.swapaxes(0, 1), expected(closure, 3))


class TestCarried:
    def test_draws_once_for_each_time(self) -> None:
        closure, z = RedNoise(), start(2)
        carried = Carried(closure, SEED)
        first, again, next_ = carried.psi(z, 0), carried.psi(z, 0), carried.psi(z, 1)
        assert closure.steps == 2
        np.testing.assert_array_equal(first, again)
        assert (first != next_).all()

    def test_rejects_another_number_of_members(self) -> None:
        carried = Carried(RedNoise(), SEED)
        carried.psi(start(2), 0)
        with pytest.raises(ValueError, match=r"z\.shape = \(3, 6\) .*\(2, 6\), as at the first call"):
            carried.psi(start(3), 1)


class TestSympl:
    @pytest.fixture
    def adapter(self) -> ModuleType:
        return installed("sympl")

    @pytest.fixture
    def resolved(self, adapter: ModuleType) -> Any:
        class Resolved(adapter.sympl.TendencyComponent):
            input_properties = {"z": {"dims": ["*", "k"], "units": "1"}}  # noqa: RUF012
            tendency_properties = {"z": {"units": "1 s^-1"}}  # noqa: RUF012
            diagnostic_properties = {}  # noqa: RUF012

            def array_call(self, state: dict[str, Any]) -> Any:
                return {"z": tendency(state["z"])}, {}

        return Resolved()

    def run(self, adapter: ModuleType, stepper: Any, z0: F64, dims: tuple[str, ...]) -> F64:
        step = timedelta(seconds=DT)
        state = {"time": timedelta(0), "z": adapter.sympl.DataArray(z0, dims=dims, attrs={"units": "1"})}
        kept = []
        for _ in range(STEPS):
            kept.append(state["z"].values)
            state.update(stepper(state, step)[1])
            state["time"] += step
        return np.array(kept)

    def test_its_euler_step_is_ours(self, adapter: ModuleType, resolved: Any, closure: Closure) -> None:
        component = adapter.ClosureTendency(closure, "z", rng=SEED)
        stepper = adapter.sympl.AdamsBashforth(resolved, component, order=1)
        z = self.run(adapter, stepper, start(3), ("member", "k"))
        np.testing.assert_array_equal(z.swapaxes(0, 1), expected(closure, 3))

    def test_a_state_without_members_is_one_member(self, adapter: ModuleType, resolved: Any) -> None:
        component = adapter.ClosureTendency(RedNoise(), "z", rng=SEED)
        z = self.run(adapter, adapter.sympl.AdamsBashforth(resolved, component, order=1), start(1)[0], ("k",))
        np.testing.assert_array_equal(z, expected(RedNoise(), 1)[0])

    def test_the_stages_of_a_step_see_one_psi(self, adapter: ModuleType, resolved: Any) -> None:
        closure = RedNoise()
        stepper = adapter.sympl.SSPRungeKutta(resolved, adapter.ClosureTendency(closure, "z"), stages=3)
        assert np.isfinite(self.run(adapter, stepper, start(2), ("member", "k"))).all()
        assert closure.steps == STEPS

    def test_psi_has_its_own_units(self, adapter: ModuleType) -> None:
        component = adapter.ClosureTendency(RedNoise(), "T", site="x", units="degK", time_unit="day", rng=SEED)
        temperature = adapter.sympl.DataArray(start(2), dims=["y", "x"], attrs={"units": "degK"})
        state = {"time": timedelta(0), "T": temperature}
        _, following = adapter.sympl.AdamsBashforth(component, order=1)(state, timedelta(hours=6))
        psi = Carried(RedNoise(), SEED).psi(start(2), 0)
        np.testing.assert_allclose(following["T"].values, start(2) + 0.25 * psi, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Cannot import:UserWarning")  # climlab's Fortran parts
class TestClimlab:
    UNIT = 2.0**19  # s in a time unit: a power of two, so that changing units rounds nothing

    @pytest.fixture
    def adapter(self) -> ModuleType:
        return installed("climlab")

    def model(self, adapter: ModuleType) -> Any:
        """Give Lorenz-96 on a ring of "latitudes", its resolved tendency as a process of the tree."""
        climlab = importlib.import_module("climlab")

        class Resolved(climlab.TimeDependentProcess):
            def _compute(process) -> dict[str, F64]:
                return {"Ts": tendency(np.array(process.Ts).T).T / self.UNIT}

        state = climlab.surface_state(num_lat=K)
        state.Ts[:] = start(1).T
        tree = climlab.TimeDependentProcess(state=state, timestep=DT * self.UNIT)
        tree.add_subprocess("resolved", Resolved(state=state, timestep=tree.timestep))
        return tree

    def attach(self, adapter: ModuleType, tree: Any, closure: Closure, every: int = 1) -> None:
        process = adapter.ClosureProcess(
            closure, time_unit=self.UNIT, rng=SEED, state={"Ts": tree.Ts}, timestep=every * tree.timestep
        )
        tree.add_subprocess("closure", process)

    def run(self, tree: Any, diagnose: bool = False) -> F64:
        kept = []
        for _ in range(STEPS):
            kept.append(np.array(tree.Ts).ravel())
            if diagnose:
                tree.compute_diagnostics()
            tree.step_forward()
        return np.array(kept)

    def test_its_step_is_our_euler_step(self, adapter: ModuleType, closure: Closure) -> None:
        tree = self.model(adapter)
        self.attach(adapter, tree, closure)
        np.testing.assert_array_equal(self.run(tree), expected(closure, 1)[0])

    def test_diagnostic_calls_do_not_advance_the_closure(self, adapter: ModuleType) -> None:
        closure, tree = RedNoise(), self.model(adapter)
        self.attach(adapter, tree, closure)
        # climlab adds and subtracts increments in every call, which rounds: not bit for bit.
        np.testing.assert_allclose(self.run(tree, diagnose=True), expected(RedNoise(), 1)[0], atol=1e-9)
        assert closure.steps == STEPS

    def test_psi_is_held_over_a_longer_step_of_its_own(self, adapter: ModuleType) -> None:
        closure, tree = RedNoise(), self.model(adapter)
        self.attach(adapter, tree, closure, every=4)
        self.run(tree)
        assert closure.steps == STEPS // 4

    def test_a_step_the_closure_was_not_fitted_for(self, adapter: ModuleType, bridge: SchrodingerBridge) -> None:
        tree = self.model(adapter)
        self.attach(adapter, tree, bridge, every=2)
        with pytest.raises(ValueError, match=r"^dt = 0\.03125 .* 0\.015625, the coarse step"):
            tree.step_forward()

    def test_takes_one_variable(self, adapter: ModuleType) -> None:
        tree = self.model(adapter)
        with pytest.raises(ValueError, match=r"state = \['Tatm', 'Ts'\] .*one variable"):
            adapter.ClosureProcess(RedNoise(), state={"Ts": tree.Ts, "Tatm": tree.Ts})
        with pytest.raises(ValueError, match="time_unit = 0"):
            adapter.ClosureProcess(RedNoise(), time_unit=0, state={"Ts": tree.Ts})


@pytest.mark.filterwarnings("ignore:unclosed file.*dpr_config:ResourceWarning")
class TestDapper:
    @pytest.fixture
    def adapter(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # DAPPER makes a folder in it on import
            yield installed("dapper")

    def hidden_markov_model(self, forecast: Any, z0: F64) -> Any:
        mods = importlib.import_module("dapper.mods")
        return mods.HiddenMarkovModel(
            forecast.operator(),
            {**mods.partial_Id_Obs(forecast.M, np.arange(K)), "noise": 1.0},
            mods.Chronology(dt=DT, dko=10, K=STEPS),
            forecast.initial(lambda members: z0[:members]),
        )

    def test_its_simulation_is_our_run(self, adapter: ModuleType, closure: Closure) -> None:
        forecast = adapter.Forecast(tendency, closure, K, rng=SEED)
        states, _ = self.hidden_markov_model(forecast, start(1)).simulate()
        np.testing.assert_array_equal(states[:-1, :K], expected(closure, 1)[0])

    @pytest.mark.parametrize("scheme", ["euler", "rk4"])
    def test_an_ensemble_forecast_is_our_ensemble(self, adapter: ModuleType, closure: Closure, scheme: str) -> None:
        model = self.hidden_markov_model(adapter.Forecast(tendency, closure, K, scheme, rng=SEED), start(3))
        ensemble, kept = model.X0.sample(3), []
        for _, _, t, dt in model.tseq.ticker:
            kept.append(ensemble[:, :K])
            ensemble = model.Dyn(ensemble, t - dt, dt)
        np.testing.assert_array_equal(np.stack(kept, axis=1), expected(closure, 3, scheme))

    def test_the_state_of_the_closure_goes_with_its_member(self, adapter: ModuleType) -> None:
        class Growing:
            def init(self, z: F64, rng: Any) -> F64:
                return np.arange(2.0 * len(z)).reshape(-1, 2, 1)  # of another shape than z

            def step(self, z: F64, state: F64, rng: Any) -> tuple[F64, F64]:
                return np.zeros_like(z) + state[:, 0], state + 1.0

        forecast = adapter.Forecast(tendency, Growing(), K)
        assert forecast.M == K + 2
        ensemble = forecast.augment(start(4))
        order = [2, 0, 3, 1]
        np.testing.assert_array_equal(forecast(ensemble[order], 0.0, DT), forecast(ensemble, 0.0, DT)[order])
        np.testing.assert_array_equal(forecast(ensemble, 0.0, DT)[:, K:], ensemble[:, K:] + 1.0)

    def test_a_filter_updates_the_state_of_the_closure(self, adapter: ModuleType) -> None:
        methods = importlib.import_module("dapper.da_methods")
        model = self.hidden_markov_model(adapter.Forecast(tendency, RedNoise(), K, rng=SEED), start(20))
        states, seen = model.simulate()
        filtered = methods.EnKF("Sqrt", N=20, infl=1.0)
        filtered.assimilate(model, states, seen)
        residual = filtered.stats.mu.a[:, K:] - filtered.stats.mu.f[:, K:]
        assert (np.abs(residual) > 0.0).all()
        assert np.isfinite(filtered.stats.err.rms.a).all()

    def test_rejects_what_does_not_fit(self, adapter: ModuleType, bridge: SchrodingerBridge) -> None:
        with pytest.raises(ValueError, match="K = 0"):
            adapter.Forecast(tendency, RedNoise(), 0)
        with pytest.raises(ValueError, match="scheme = 'heun'"):
            adapter.Forecast(tendency, RedNoise(), K, "heun")
        with pytest.raises(ValueError, match=r"z\.shape = \(1, 7\)"):
            adapter.Forecast(tendency, bridge, K + 1)
        with pytest.raises(ValueError, match=r"z\.shape = \(2, 5\)"):
            adapter.Forecast(tendency, RedNoise(), K).augment(start(2)[:, :5])
        forecast = adapter.Forecast(tendency, bridge, K)
        with pytest.raises(ValueError, match=r"^dt = 0\.01 .* 0\.015625, the coarse step the closure was fitted for"):
            forecast(forecast.augment(start(2)), 0.0, 0.01)
