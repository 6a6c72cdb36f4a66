"""Closures in sympl, climlab and DAPPER: with the same seed, bit for bit what our own coarse model gives."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure import noise
from l96closure.adapters.carried import Carried
from l96closure.closures import Chain, Closure, NoClosure, Noise, Quantiles, SchrodingerBridge

F64 = npt.NDArray[np.float64]
K, F, STEPS, SEED = 6, 8.0, 200, 4
DT = 2.0**-6  # a whole number of microseconds for sympl, and exact in differences of times, as DAPPER takes them
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODEL = lc.TwoScaleLorenz96(K, 4, F)
tendency = MODEL.resolved_tendency
pytestmark = pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")  # every scheme is compared, fitting or not


class Red(NamedTuple):
    """Red noise, with all that its next values follow from."""

    key: int
    step: int
    member: npt.NDArray[np.int64]
    e: F64


class NamedNoise:
    """A user's closure with a NamedTuple for a state and a use for random numbers; counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    def init(self, z: F64, rng: Any, member: Any = 0) -> Any:
        key, numbers = noise.key_of(rng), np.arange(len(z)) + member
        return Red(key, 0, numbers, noise.normals(key, numbers[:, None], 0, site=np.arange(z.shape[1])))

    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        self.steps += 1
        key, step, member, e = state
        e = 0.9 * e + 0.4 * noise.normals(key, member[:, None], step + 1, site=np.arange(z.shape[1]))
        return e - 0.3 * z, Red(key, step + 1, member, e)


class RedNoise(NamedNoise):
    """The same noise with one plain array (member, 2 + K) for a state: number and step of each member stand before."""

    KEY = 12345

    def init(self, z: F64, rng: Any, member: Any = 0) -> Any:
        _, _, numbers, e = NamedNoise.init(self, z, rng, member)
        return np.concatenate([np.stack([numbers, 0 * numbers], axis=1), e], axis=1)

    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        numbers, steps = state[:, :2].T.round().astype(int)
        psi, now = NamedNoise.step(self, z, Red(self.KEY, int(steps[0]), numbers, state[:, 2:]))
        return psi, np.concatenate([np.stack([numbers, steps + 1], axis=1), now.e], axis=1)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=1500, dt=DT / 16, every=16, coarse_dt=DT, spinup=5.0)


@pytest.fixture(scope="module")
def bridge(truth: xr.Dataset) -> SchrodingerBridge:
    """It remembers the last three values of its noise, and z up to four steps before."""
    fields = lc.Fields(radius=0, lags=(2 * DT, 4 * DT))
    fitted = SchrodingerBridge.fit(truth, fields, law=Quantiles(centres=1000), noise=Noise(order=3), dt=DT)
    assert (fitted.coarse_dt, fitted.past_steps) == (DT, 7)
    return fitted


@pytest.fixture(scope="module")
def chain(truth: xr.Dataset) -> SchrodingerBridge:
    return SchrodingerBridge.fit(truth, lc.Fields(radius=0, lags=()), law=Chain("euler", centres=200), dt=DT)


@pytest.fixture(params=["none", "an array", "a NamedTuple", "bridge", "a chain"])
def closure(request: pytest.FixtureRequest, bridge: SchrodingerBridge, chain: SchrodingerBridge) -> Any:
    of = {"none": NoClosure(), "an array": RedNoise(), "a NamedTuple": NamedNoise(), "bridge": bridge, "a chain": chain}
    return of[request.param]


@pytest.fixture(scope="module")
def past(truth: xr.Dataset, bridge: SchrodingerBridge) -> xr.Dataset:
    """Three members with a past."""
    windows = [truth.isel(time=slice(end - 9, end + 1)).drop_vars("time") for end in (200, 500, 900)]
    return lc.history(MODEL, xr.concat(windows, "member").assign_coords(time=DT * np.arange(10)), bridge.dt)


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
    for inside in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, inside)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"l96closure.adapters.{package}", raising=False)
    with pytest.raises(ImportError, match=rf'^.* cannot import {package} .*pip install "l96closure\[{package}\]"$'):
        importlib.import_module(f"l96closure.adapters.{package}")


class Plain:
    """Our own coarse model."""

    def run(self, closure: Closure, z0: F64, dt: float = DT) -> F64:
        return lc.integrate(tendency, closure, z0, steps=STEPS, dt=dt, scheme="euler", rng=SEED)["z"].values


class Example:
    """The loop of examples/plain.py, which anyone may write."""

    def run(self, closure: Closure, z0: F64, dt: float = DT) -> F64:
        z: F64 = runpy.run_path(str(EXAMPLES / "plain.py"))["run"](MODEL, closure, z0, dt, STEPS, SEED)
        return z.swapaxes(0, 1)


class OfCarried:
    """What the adapters of models without a place for the closure's state are made of."""

    def asker(self, closure: Closure, **more: Any) -> Callable[[F64, int], F64]:
        return Carried(closure, SEED, **more).psi


class OfSympl:
    def __init__(self) -> None:
        self.adapter = installed("sympl")
        self.sympl = self.adapter.sympl

        class Resolved(self.sympl.TendencyComponent):  # type: ignore[name-defined,misc]
            input_properties = {"z": {"dims": ["*", "k"], "units": "1"}}  # noqa: RUF012
            tendency_properties = {"z": {"units": "1 s^-1"}}  # noqa: RUF012
            diagnostic_properties = {}  # noqa: RUF012

            def array_call(self, state: dict[str, Any]) -> Any:
                return {"z": tendency(state["z"])}, {}

        self.resolved = Resolved()

    def state(self, z: F64, seconds: float = 0.0) -> dict[str, Any]:
        dims = ("member", "k")[-z.ndim :]
        return {"time": timedelta(seconds=seconds), "z": self.sympl.DataArray(z, dims=dims, attrs={"units": "1"})}

    def steps(self, stepper: Any, z0: F64, dt: float = DT) -> F64:
        state, kept = self.state(z0), []
        for _ in range(STEPS):
            kept.append(state["z"].values)
            state.update(stepper(state, timedelta(seconds=dt))[1])
            state["time"] += timedelta(seconds=dt)
        return np.array(kept)

    def run(self, closure: Closure, z0: F64, dt: float = DT) -> F64:
        component = self.adapter.ClosureTendency(closure, "z", rng=SEED)
        return self.steps(self.sympl.AdamsBashforth(self.resolved, component, order=1), z0, dt).swapaxes(0, 1)

    def asker(self, closure: Closure, **more: Any) -> Callable[[F64, int], F64]:
        component = self.adapter.ClosureTendency(closure, "z", rng=SEED, **more)
        return lambda z, step: component(self.state(z, step * DT))[0]["z"].values  # type: ignore[no-any-return]


class OfClimlab:
    UNIT = 2.0**19  # s in a time unit: a power of two, so that changing units rounds nothing
    members = 1

    def __init__(self) -> None:
        self.adapter = installed("climlab")
        self.climlab = importlib.import_module("climlab")

    def model(self, dt: float = DT) -> Any:
        """Give Lorenz-96 on a ring of "latitudes", its resolved tendency as a process of the tree."""

        class Resolved(self.climlab.TimeDependentProcess):  # type: ignore[name-defined,misc]
            def _compute(process) -> dict[str, F64]:
                return {"Ts": tendency(np.array(process.Ts).T).T / self.UNIT}

        state = self.climlab.surface_state(num_lat=K)
        state.Ts[:] = start(1).T
        tree = self.climlab.TimeDependentProcess(state=state, timestep=dt * self.UNIT)
        tree.add_subprocess("resolved", Resolved(state=state, timestep=tree.timestep))
        return tree

    def attach(self, tree: Any, closure: Closure, every: int = 1) -> Any:
        process = self.adapter.ClosureProcess(
            closure, time_unit=self.UNIT, rng=SEED, state={"Ts": tree.Ts}, timestep=every * tree.timestep
        )
        tree.add_subprocess("closure", process)
        return process

    def steps(self, tree: Any, diagnose: bool = False) -> F64:
        kept = []
        for _ in range(STEPS):
            kept.append(np.array(tree.Ts).ravel())
            if diagnose:
                tree.compute_diagnostics()
            tree.step_forward()
        return np.array(kept)

    def run(self, closure: Closure, z0: F64, dt: float = DT) -> F64:
        tree = self.model(dt)
        self.attach(tree, closure)
        return self.steps(tree)[np.newaxis]

    def asker(self, closure: Closure) -> Callable[[F64, int], F64]:
        tree = self.model()
        process = self.attach(tree, closure)

        def ask(z: F64, step: int) -> F64:
            tree.Ts[:] = z.T
            process.time["steps"] = step
            handed: F64 = process._compute()["Ts"]  # compute() makes arrays of climlab's own of it
            handed *= self.UNIT
            return handed.T

        return ask


class OfDapper:
    def __init__(self) -> None:
        self.adapter = installed("dapper")

    def run(self, closure: Closure, z0: F64, dt: float = DT) -> F64:
        forecast = self.adapter.Forecast(tendency, closure, K, "euler", rng=SEED)
        x, kept = forecast.augment(z0), []
        for step in range(STEPS):
            kept.append(x[:, :K])
            x = forecast(x, step * dt, dt)
        return np.stack(kept, axis=1)


DOORS: dict[str, type[Any]] = {
    "integrate": Plain,
    "a loop": Example,
    "sympl": OfSympl,
    "climlab": OfClimlab,
    "dapper": OfDapper,
    "carried": OfCarried,
}


@pytest.fixture
def door(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOME", str(tmp_path))  # DAPPER makes a folder in it on import
    return DOORS[request.param]()


def through(*, without: tuple[str, ...] = (), having: str) -> pytest.MarkDecorator:
    """Do a test through every way in that can, ``having`` the method it needs."""
    return pytest.mark.parametrize(
        "door", [name for name, of in DOORS.items() if hasattr(of, having) and name not in without], indirect=True
    )


ODD: list[Any] = [None, "red", [1.0, 2.0], {"e": np.ones(3)}, np.array(["red"]), NamedNoise().init(np.ones((2, 2)), 0)]
ODD[-1] = ODD[-1]._replace(member="first")


class Writing(RedNoise):
    """A closure that works in place on what it is handed."""

    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        state *= 0.9
        return state[:, 2:] - 0.3 * z, state


class WritingNamed(NamedNoise):
    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        e = state.e
        e *= 0.9
        return e - 0.3 * z, state


@pytest.mark.filterwarnings("ignore:Cannot import:UserWarning")  # climlab's Fortran parts
@pytest.mark.filterwarnings("ignore:unclosed file.*dpr_config:ResourceWarning")
class TestEveryWayIn:
    """What holds wherever a closure is run, and what a foreign model that asks for tendencies can rely on."""

    @through(having="run")
    def test_a_run_is_that_of_the_coarse_model(self, door: Any, closure: Closure) -> None:
        members = getattr(door, "members", 3)
        np.testing.assert_array_equal(door.run(closure, start(members)), expected(closure, members))

    @through(having="run", without=("a loop",))
    def test_a_step_the_closure_was_not_fitted_for(self, door: Any, bridge: SchrodingerBridge) -> None:
        with pytest.raises(
            ValueError, match=r"^dt = 0\.03125 .* 0\.015625, the coarse step the closure was fitted for"
        ):
            door.run(bridge, start(getattr(door, "members", 3)), 2 * DT)

    @through(having="run", without=("a loop",))
    @pytest.mark.parametrize(("closure", "part"), [(Writing(), "state"), (WritingNamed(), r"state\.e")])
    def test_a_closure_that_writes_into_its_arguments(self, door: Any, closure: Any, part: str) -> None:
        with pytest.raises(ValueError, match=rf"^{part} after closure\.step\(z, state\) = 'changed'"):
            door.run(closure, start(getattr(door, "members", 3)))

    @through(having="run", without=("a loop",))
    @pytest.mark.parametrize(
        "state", [None, "red", [1.0, 2.0], {"e": np.ones(3)}, np.array(["red"]), Red(1, 2, "a", "b")]
    )  # type: ignore[arg-type]
    def test_a_state_that_no_file_could_hold(self, door: Any, state: Any) -> None:
        class Odd(NoClosure):
            def init(self, z: F64, rng: Any, member: Any = 0) -> Any:
                return state

            def step(self, z: F64, state: Any) -> tuple[F64, Any]:
                return np.zeros_like(z), state

        with pytest.raises(ValueError, match=r"^state(\.member)? = .* must be an array of numbers, or a NamedTuple"):
            door.run(Odd(), start(getattr(door, "members", 3)))

    @through(having="asker")
    def test_one_time_and_state_have_one_psi(self, door: Any) -> None:
        closure, z = RedNoise(), start(getattr(door, "members", 2))
        ask = door.asker(closure)
        first, again, later = ask(z, 0).copy(), ask(z, 0).copy(), ask(z, 1)
        assert closure.steps == 2
        np.testing.assert_array_equal(first, again)
        assert (first != later).all()

    @through(having="asker")
    def test_what_is_handed_out_is_the_callers_own(self, door: Any) -> None:
        z = start(getattr(door, "members", 2))
        ask = door.asker(RedNoise())
        handed = ask(z, 0)
        first = handed.copy()
        handed[:] = np.nan
        np.testing.assert_array_equal(ask(z, 0), first)
        np.testing.assert_array_equal(z, start(len(z)))

    @through(having="asker")
    def test_another_state_at_the_same_time(self, door: Any) -> None:
        closure, z = RedNoise(), start(getattr(door, "members", 2))
        ask = door.asker(closure)
        ask(z, 0)
        for other in (z + 1.0, z * (1.0 + 1e-9)):
            with pytest.raises(ValueError, match=r"^z at time 0.* = 'state 2 of it' .* another adapter, .* stages=3"):
                ask(other, 0)
        assert closure.steps == 1

    @through(having="asker", without=("climlab",))
    def test_members_have_numbers_and_a_past(self, door: Any, bridge: Any, past: xr.Dataset) -> None:
        z, numbers = past["z"].values[:, 0], np.array([5, 2, 9])
        ask = door.asker(bridge, member=numbers, history=past)
        run = lc.integrate(lambda z: 0.0 * z, bridge, past, steps=3, dt=DT, scheme="euler", rng=SEED, member=numbers)
        for step in range(3):
            np.testing.assert_array_equal(ask(run["z"].values[:, step], step), run["psi"].values[:, step])
        assert not np.array_equal(door.asker(bridge)(z, 0), run["psi"].values[:, 0])

    def test_a_state_put_into_a_new_one_goes_on_with_the_run(self, closure: Closure) -> None:
        whole, first, again = (Carried(closure, SEED) for _ in range(3))
        z = start(3)
        expected = [whole.psi(z + step, step) for step in range(6)]
        for step in range(3):
            first.psi(z + step, step)
        again.state = first.state
        found = [again.psi(z + step, step) for step in range(3, 6)]
        np.testing.assert_array_equal(found, expected[3:])

    @through(having="asker")
    def test_an_earlier_time(self, door: Any) -> None:
        z = start(getattr(door, "members", 2))
        ask = door.asker(RedNoise())
        ask(z, 3)
        with pytest.raises(ValueError, match=r"^time = '.*' .* at or after the last, .* another adapter"):
            ask(z, 2)

    @through(having="asker", without=("climlab",))
    def test_another_number_of_members(self, door: Any) -> None:
        ask = door.asker(RedNoise())
        ask(start(2), 0)
        with pytest.raises(ValueError, match=r"z\.shape = \(3, 6\) .*\(2, 6\), as at the first call"):
            ask(start(3), 1)


class TestSympl:
    @pytest.fixture
    def door(self) -> OfSympl:
        return OfSympl()

    def test_a_state_without_members_is_one_member(self, door: OfSympl) -> None:
        component = door.adapter.ClosureTendency(RedNoise(), "z", rng=SEED)
        z = door.steps(door.sympl.AdamsBashforth(door.resolved, component, order=1), start(1)[0])
        np.testing.assert_array_equal(z, expected(RedNoise(), 1)[0])

    @pytest.mark.parametrize("stages", [2, 3])
    def test_the_stages_of_a_step_see_one_psi(self, door: OfSympl, stages: int) -> None:
        closure = RedNoise()
        component = door.adapter.ClosureTendency(closure, "z", stages=stages)
        stepper = door.sympl.SSPRungeKutta(door.resolved, component, stages=stages)
        assert np.isfinite(door.steps(stepper, start(2))).all()
        assert closure.steps == STEPS

    def test_stages_that_it_was_not_told_of(self, door: OfSympl) -> None:
        stepper = door.sympl.SSPRungeKutta(door.adapter.ClosureTendency(RedNoise(), "z"), stages=3)
        with pytest.raises(ValueError, match=r"^z at time 0:00:00 = 'state 2 of it' .* stages=3"):
            door.steps(stepper, start(2))

    def test_psi_has_its_own_units(self, door: OfSympl) -> None:
        component = door.adapter.ClosureTendency(RedNoise(), "T", site="x", units="degK", time_unit="day", rng=SEED)
        temperature = door.sympl.DataArray(start(2), dims=["y", "x"], attrs={"units": "degK"})
        state = {"time": timedelta(0), "T": temperature}
        _, following = door.sympl.AdamsBashforth(component, order=1)(state, timedelta(hours=6))
        psi = Carried(RedNoise(), SEED).psi(start(2), 0)
        np.testing.assert_allclose(following["T"].values, start(2) + 0.25 * psi, rtol=1e-12)

    def test_the_step_is_in_the_time_unit_of_psi(self, door: OfSympl, bridge: SchrodingerBridge) -> None:
        component = door.adapter.ClosureTendency(bridge, "z", time_unit="day")
        hours = 24 * DT
        component(door.state(start(2)))
        component(door.state(start(2), 3600 * hours))
        with pytest.raises(ValueError, match=r"^dt = .* 0\.015625, the coarse step"):
            component(door.state(start(2), 3600 * hours + DT))


@pytest.mark.filterwarnings("ignore:Cannot import:UserWarning")  # climlab's Fortran parts
class TestClimlab:
    @pytest.fixture
    def door(self) -> OfClimlab:
        return OfClimlab()

    def test_diagnostic_calls_do_not_advance_the_closure(self, door: OfClimlab) -> None:
        closure, tree = RedNoise(), door.model()
        door.attach(tree, closure)
        # climlab adds and subtracts increments in every call, which rounds: not bit for bit.
        np.testing.assert_allclose(door.steps(tree, diagnose=True), expected(RedNoise(), 1)[0], atol=1e-9)
        assert closure.steps == STEPS

    def test_psi_is_held_over_a_longer_step_of_its_own(self, door: OfClimlab) -> None:
        closure, tree = RedNoise(), door.model()
        door.attach(tree, closure, every=4)
        door.steps(tree)
        assert closure.steps == STEPS // 4

    def test_its_own_step_is_what_counts(self, door: OfClimlab, bridge: SchrodingerBridge) -> None:
        tree = door.model()
        door.attach(tree, bridge, every=2)
        with pytest.raises(ValueError, match=r"^dt = 0\.03125 .* 0\.015625, the coarse step"):
            tree.step_forward()

    def test_the_member_has_a_number_and_a_past(self, door: OfClimlab, bridge: Any, past: xr.Dataset) -> None:
        one, tree = past.isel(member=[1]), door.model()
        tree.Ts[:] = one["z"].values[:, 0].T
        process = door.adapter.ClosureProcess(
            bridge, time_unit=door.UNIT, rng=SEED, member=4, history=one, state={"Ts": tree.Ts}, timestep=tree.timestep
        )
        tree.add_subprocess("closure", process)
        run = lc.integrate(tendency, bridge, one, steps=STEPS, scheme="euler", rng=SEED, member=4)
        np.testing.assert_array_equal(door.steps(tree), run["z"].values[0])

    def test_takes_one_variable(self, door: OfClimlab) -> None:
        tree = door.model()
        with pytest.raises(ValueError, match=r"state = \['Tatm', 'Ts'\] .*one variable"):
            door.adapter.ClosureProcess(RedNoise(), state={"Ts": tree.Ts, "Tatm": tree.Ts})
        with pytest.raises(ValueError, match="time_unit = 0"):
            door.adapter.ClosureProcess(RedNoise(), time_unit=0, state={"Ts": tree.Ts})


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
        forecast = adapter.Forecast(tendency, closure, K, "euler", rng=SEED)
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
            def init(self, z: F64, rng: Any, member: Any = 0) -> F64:
                return np.arange(2.0 * len(z)).reshape(-1, 2, 1)  # of another shape than z

            def step(self, z: F64, state: F64) -> tuple[F64, F64]:
                return np.zeros_like(z) + state[:, 0], state + 1.0

        forecast = adapter.Forecast(tendency, Growing(), K)
        assert forecast.M == K + 2
        ensemble = forecast.augment(start(4))
        order = [2, 0, 3, 1]
        np.testing.assert_array_equal(forecast(ensemble[order], 0.0, DT), forecast(ensemble, 0.0, DT)[order])
        np.testing.assert_array_equal(forecast(ensemble, 0.0, DT)[:, K:], ensemble[:, K:] + 1.0)

    def test_what_stands_in_no_state_vector(self, adapter: ModuleType) -> None:
        """Key, step, numbers of members, and what belongs to none, also where it is as long as there are members."""

        class Phased(NamedTuple):
            phase: F64
            red: F64
            regime: npt.NDArray[np.int64]

        class Mine:
            def init(self, z: F64, rng: Any, member: Any = 0) -> Any:
                return Phased(np.zeros(1), np.ones((len(z), 2)), np.arange(len(z)))

            def step(self, z: F64, state: Any) -> tuple[F64, Any]:
                psi = np.cos(state.phase) + state.red[:, :1] + np.zeros_like(z) + state.regime[:, None]
                return psi, state._replace(phase=state.phase + 0.1, red=0.5 * state.red)

        for members in (1, 3):
            forecast = adapter.Forecast(tendency, Mine(), K, "euler")
            assert forecast.M == K + 2
            x, kept = forecast.augment(start(members)), []
            for step in range(STEPS):
                kept.append(x[:, :K])
                x = forecast(x, step * DT, DT)
            np.testing.assert_array_equal(np.stack(kept, axis=1), expected(Mine(), members))  # type: ignore[arg-type]

    def test_each_ensemble_begins_with_noise_of_its_own(self, adapter: ModuleType) -> None:
        forecast = adapter.Forecast(tendency, NamedNoise(), K, rng=SEED)
        first, again = (forecast.augment(start(4)) for _ in range(2))
        assert (first[:, K:] != again[:, K:]).all()
        assert (forecast(again, 0.0, DT)[:2] != forecast(forecast.augment(start(4)), 0.0, DT)[:2]).all()
        same = adapter.Forecast(tendency, NamedNoise(), K, rng=SEED)
        np.testing.assert_array_equal(same.augment(start(4)), first)

    def test_members_made_of_one_member_have_noise_of_their_own(self, adapter: ModuleType, bridge: Any) -> None:
        """As after resampling, or the update of an ensemble without spread."""
        forecast = adapter.Forecast(tendency, bridge, K)
        x = np.repeat(forecast.augment(start(3))[:1], 3, axis=0)
        after = forecast(forecast(x, 0.0, DT), DT, DT)
        assert len(np.unique(after[:, 0])) == 3

    def test_what_a_bridge_remembers_is_in_the_state_vector(self, adapter: ModuleType, bridge: Any) -> None:
        """Noise and history, not the count of features outside of their range; an analysis changes them with z."""
        forecast = adapter.Forecast(tendency, bridge, K, rng=SEED)
        assert forecast.M == K + 3 * K + 4 * K
        x = forecast.augment(start(4))
        state = forecast.states[4]
        np.testing.assert_array_equal(x[:, K : 4 * K], state.memory.reshape(4, -1))
        np.testing.assert_array_equal(x[:, 4 * K :], state.history.reshape(4, -1))
        moved = x.copy()
        moved[:, 4 * K :] += 0.5
        unlike = state._replace(history=state.history + 0.5)
        psi, following = bridge.step(start(4), unlike)
        np.testing.assert_allclose(
            forecast(moved, 0.0, DT)[:, :K], lc.coarse.SCHEMES[forecast.scheme](tendency, start(4), psi, DT), rtol=1e-14
        )
        np.testing.assert_array_equal(forecast.states[4].outside, following.outside)
        assert forecast.states[4].outside.dtype.kind == "i"

    def test_an_ensemble_begins_with_numbers_and_a_past(
        self, adapter: ModuleType, bridge: Any, past: xr.Dataset
    ) -> None:
        forecast, numbers, kept = adapter.Forecast(tendency, bridge, K, rng=SEED), np.array([5, 2, 9]), []
        x = forecast.augment(past["z"].values[:, 0], numbers, past)
        for step in range(STEPS):
            kept.append(x[:, :K])
            x = forecast(x, step * DT, DT)
        run = lc.integrate(tendency, bridge, past, steps=STEPS, rng=SEED, member=numbers)
        np.testing.assert_array_equal(np.stack(kept, axis=1), run["z"])

    @pytest.mark.parametrize("of", [NamedNoise(), "bridge"])
    def test_a_filter_updates_the_state_of_the_closure(self, adapter: ModuleType, bridge: Any, of: Any) -> None:
        methods = importlib.import_module("dapper.da_methods")
        forecast = adapter.Forecast(tendency, bridge if of == "bridge" else of, K, rng=SEED)
        model = self.hidden_markov_model(forecast, start(20))
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

    def test_members_are_kept_apart_from_the_first_ensemble_on(self, adapter: ModuleType) -> None:
        forecast = adapter.Forecast(lambda z: np.roll(z, 1) - z, RedNoise(), K)
        forecast(forecast.augment(start(1)), 0.0, DT)  # alone it has no others to depend on
        with pytest.raises(ValueError, match=r"^tendency\(z\) of a member = 'changed by the others'"):
            forecast(forecast.augment(start(2)), 0.0, DT)
