"""What every closure promises: pure functions of their arguments, whoever else is in the ensemble."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from mortal import Killed, MortalRestart

import l96closure as lc
from l96closure import bridge, coarse
from l96closure.closures import CLOSURES, Chain, Closure, Moments, Noise, Quantiles, Trend, load
from l96closure.closures.state import State
from l96closure.restart import Restart

pytestmark = pytest.mark.slow  # whole runs, or many of them

F64 = npt.NDArray[np.float64]
K, MEMBERS = 8, 19
MODEL = lc.TwoScaleLorenz96(K, 3, 10.0)
tendency = MODEL.resolved_tendency

DT = 5e-3
HERE = lc.Fields(radius=0, lags=())
AROUND = lc.Fields(radius=1, lags=())
BACK = lc.Fields(radius=1, lags=(4 * DT, 10 * DT))
EACH = {"radius": 1, "lags": (), "pool": ()}
FEW = bridge.Kernel(epsilon=0.02)

BRIDGES: dict[str, dict[str, Any]] = {
    "quantiles": {"fields": HERE},
    "quantiles, per site": {
        "fields": lc.Fields(**(EACH | {"radius": 0})),
        "law": Quantiles(centres=60),
        "noise": Noise(1),
    },
    "quantiles, fresh noise": {"fields": HERE, "law": Quantiles(centres=300), "noise": Noise(0), "trend": None},
    "quantiles of the trend in space and time": {
        "fields": BACK,
        "trend": Trend(4, 3),
        "law": Quantiles("trend"),
        "noise": Noise(3),
    },
    "quantiles in time, fresh white noise": {
        "fields": lc.Fields(radius=0, lags=(4 * DT,)),
        "noise": Noise(0, None),
    },
    "quantiles, conserving, with an edge": {
        "fields": lc.Fields(radius=1, lags=(4 * DT,), periodic=False, conserve=True),
        "trend": Trend(3, 2),
    },
    "quantiles, psi of two steps before": {
        "fields": lc.Fields(radius=1, lags=(4 * DT,), previous=2),
        "trend": Trend(2, 2),
    },
    "moments": {"fields": AROUND, "law": Moments(80, None)},
    "moments in space and time": {"fields": BACK, "trend": Trend(3, 2), "law": Moments(80, None), "noise": Noise(2)},
    "moments, per site, fresh noise": {"fields": lc.Fields(**EACH), "law": Moments(60, None), "noise": Noise(0)},
    "moments, compressed": {"fields": HERE, "law": Moments(400, 40)},
    "sums under a tolerance": {"fields": AROUND, "law": Moments(9000, None), "kernel": FEW},
    "chain under a tolerance": {"fields": AROUND, "law": Chain("split", centres=9000), "kernel": FEW},
    "chain in space and time": {"fields": BACK, "trend": Trend(3, 2), "law": Chain("split", 2, centres=80)},
    "pooled": {"fields": AROUND, "law": Chain("conditional_variance", centres=80)},
    "pooled without trend": {"fields": HERE, "trend": None, "law": Chain("conditional_variance", centres=80)},
    "pooled, compressed": {"fields": HERE, "law": Chain("conditional_variance", centres=400, compressed=40)},
    "per site, compressed": {"fields": lc.Fields(**EACH), "law": Chain(centres=300, compressed=30)},
    "sequential": {"fields": AROUND, "law": Chain("sequential", centres=200)},
    "all samples": {"fields": lc.Fields(**(EACH | {"radius": 0})), "law": Chain(steps=3, centres=None)},
    "per site": {"fields": lc.Fields(**EACH), "law": Chain(centres=60)},
    "per site without trend": {"fields": lc.Fields(**(EACH | {"radius": 2})), "trend": None, "law": Chain(centres=60)},
    **{  # no scheme but split reads what is clamped
        f"{scheme}, clamp {clamp}": {"fields": AROUND, "law": Chain(scheme, 4, clamp, centres=60)}
        for scheme, clamp in (
            ("split", "query"),
            ("split", "state"),
            ("euler", "query"),
            ("conditional_variance", "state"),
        )
    },
    "per site, physical noise": {
        "fields": lc.Fields(**(EACH | {"radius": 0})),
        "law": Chain("split", centres=60, noise_metric="physical"),
    },
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{name} as it comes": (name, {}) for name in CLOSURES if name != "schrodinger_bridge"},
    "constant": ("polynomial", {"trend": Trend(0, 1, ridge=0.0)}),
    "polynomial in space and time": ("polynomial", {"fields": BACK, "trend": Trend(3, 2)}),
    "AR(1) with a variance that depends on z": ("polynomial_ar1", {"residual_degree": 2}),
    "AR(2), coloured, in space and time": (
        "polynomial_ar1",
        {"fields": BACK, "trend": Trend(3, 2), "noise": Noise(2)},
    ),
    "analog without memory": ("analog", {"memory": False}),
    "analog of neighbourhoods": ("analog", {"fields": AROUND}),
    "the nearest analog": ("analog", {"neighbours": 1}),
    **{label: ("schrodinger_bridge", settings) for label, settings in BRIDGES.items()},
}
ARRAYS = ("member", "memory", "history", "outside")  # of a state, a row for each member


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=3000, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


@pytest.fixture(scope="module", params=CASES)
def closure(request: pytest.FixtureRequest, truth: xr.Dataset) -> Closure:
    name, settings = CASES[request.param]
    rare = truth.isel(time=slice(None, None, 60)) if request.param == "all samples" else truth
    fitted: Any = CLOSURES[name].fit(rare, **settings)
    if "tolerance" in request.param:
        law = fitted.law
        of = law.fitted if isinstance(settings["law"], Chain) else law.of
        assert of.kernel_sums.groups.rtol.all()  # else nothing is summed under a tolerance
    return fitted  # type: ignore[no-any-return]


def ensemble(truth: xr.Dataset, members: int) -> F64:
    return truth["z"].values[:members].copy()


class Run(NamedTuple):
    """Some steps of an ensemble: psi (step, member, K), and the state before the first and after each."""

    psi: F64
    states: list[State]


def draw(closure: Closure, z: F64, steps: int, seed: Any, member: Any = 0) -> Run:
    """Make some steps at a z that moves a little."""
    states, drawn = [closure.init(z, seed, member=member)], []
    for step in range(steps):
        psi, state = closure.step(z + 0.1 * step, states[-1])
        drawn.append(psi)
        states.append(state)
    return Run(np.array(drawn), states)


def assert_same(one: Any, other: Any) -> None:
    """Compare psi, states and tuples of these, every bit."""
    if not isinstance(one, tuple | list):
        np.testing.assert_array_equal(one, other, strict=isinstance(one, np.ndarray))
        return
    for a, b in zip(one, other, strict=True):
        assert_same(a, b)


def is_random(closure: Closure) -> bool:
    if getattr(closure, "past", None) is not None:  # at least what came before is drawn
        return True
    return type(closure).__name__ not in ("NoClosure", "Polynomial") and getattr(closure, "neighbours", 2) > 1


@pytest.fixture
def one_thread_and_several() -> Iterator[list[int]]:
    before = numba.get_num_threads()
    yield [1, min(2, numba.config.NUMBA_NUM_THREADS)]
    numba.set_num_threads(before)


@pytest.mark.parametrize("members", [1, 2, 7])
def test_shapes_and_finite_values(closure: Closure, truth: xr.Dataset, members: int) -> None:
    psi, states = draw(closure, ensemble(truth, members), 5, seed=0, member=3)
    assert psi.shape == (5, members, K)
    assert psi.dtype == np.float64
    assert np.isfinite(psi).all()
    for step, state in enumerate(states):
        assert state.step == step
        assert state.key == states[0].key
        assert state.member.tolist() == list(range(3, 3 + members))
        for name in ARRAYS:
            array, first = getattr(state, name), getattr(states[0], name)
            assert array.shape == first.shape
            assert array.dtype == first.dtype
            assert len(array) == members
            assert np.isfinite(array).all()


def test_far_from_every_training_sample_psi_is_finite(closure: Closure, truth: xr.Dataset) -> None:
    psi, states = draw(closure, 1e4 * np.sign(ensemble(truth, 2)), 3, seed=0)
    assert np.isfinite(psi).all()
    assert all(np.isfinite(getattr(state, name)).all() for state in states for name in ARRAYS)


def test_a_step_changes_nothing_and_draws_the_same_from_every_copy_of_a_state(
    closure: Closure, truth: xr.Dataset
) -> None:
    z = ensemble(truth, 3)
    state = draw(closure, z, 2, seed=1).states[-1]
    kept_z, kept_state = z.copy(), deepcopy(state)
    first = closure.step(z, state)
    for copied in (state, kept_state, pickle.loads(pickle.dumps(state))):
        assert_same(closure.step(z, copied), first)
    assert_same(z, kept_z)
    assert_same(state, kept_state)
    following = deepcopy(first[1])
    first[0][:] = np.nan  # psi is the caller's own
    assert_same(first[1], following)
    assert_same(state, kept_state)
    assert_same(closure.step(z, state)[1], following)


def test_the_noise_follows_from_the_key_of_a_seed_or_a_generator(closure: Closure, truth: xr.Dataset) -> None:
    z = ensemble(truth, 3)
    run = draw(closure, z, 3, seed=8)
    generator = np.random.default_rng(8)
    assert_same(run, draw(closure, z, 3, generator))
    for other in (draw(closure, z, 3, seed=9), draw(closure, z, 3, generator)):
        assert other.states[0].key != run.states[0].key
        assert (other.psi[-1] != run.psi[-1]).any() == is_random(closure)


def test_a_member_does_not_depend_on_the_others(closure: Closure, truth: xr.Dataset) -> None:
    z, numbers = ensemble(truth, MEMBERS), np.arange(100, 100 + MEMBERS)
    psi, states = draw(closure, z, 4, seed=2, member=100)
    parts = slice(0, 1), slice(0, 3), slice(3, 12), slice(12, None), slice(None, None, -1), slice(1, None, 4)
    for some in parts:
        member = numbers[some] if some.step is not None else int(numbers[some][0])
        found = draw(closure, z[some], 4, seed=2, member=member)
        assert_same(found.psi, psi[:, some])
        for one, whole in zip(found.states, states, strict=True):
            for name in ARRAYS:
                assert_same(getattr(one, name), getattr(whole, name)[some])


def test_members_put_into_another_order_between_two_steps(closure: Closure, truth: xr.Dataset) -> None:
    z, order = ensemble(truth, MEMBERS), np.random.default_rng(0).permutation(MEMBERS)[:12]
    state = draw(closure, z, 2, seed=2).states[-1]
    moved = state._replace(**{name: getattr(state, name)[order] for name in ARRAYS})
    psi, following = closure.step(z, state)
    psi_moved, following_moved = closure.step(z[order], moved)
    assert_same(psi_moved, psi[order])
    for name in ARRAYS:
        assert_same(getattr(following_moved, name), getattr(following, name)[order])


def test_threads_change_no_bit(closure: Closure, truth: xr.Dataset, one_thread_and_several: list[int]) -> None:
    runs = []
    for threads in one_thread_and_several:
        numba.set_num_threads(threads)
        runs.append([draw(closure, ensemble(truth, members), 3, seed=3) for members in (2, 200)])
    assert_same(*runs)


def test_members_and_steps_have_noise_of_their_own(closure: Closure, truth: xr.Dataset) -> None:
    """All start from one z; the correlation between neighbours has a standard error of 1 / sqrt(members)."""
    members = 900
    z = np.repeat(ensemble(truth, 1), members, axis=0)
    psi = draw(closure, z, 2, seed=4).psi
    if not is_random(closure):
        assert (psi == psi[:, :1]).all()
        return
    assert (psi[0] != psi[1]).any()
    x = np.sign(psi - np.median(psi, axis=1, keepdims=True))  # whatever the distribution, of variance 1
    for lag in (1, 2):
        assert np.abs((x[:, lag:] * x[:, :-lag]).mean(axis=1)).max() < 4.5 / np.sqrt(members - lag)


def test_memory_layout_of_z_does_not_matter(closure: Closure, truth: xr.Dataset) -> None:
    z = ensemble(truth, 3)
    assert_same(draw(closure, z, 2, seed=3), draw(closure, np.asfortranarray(z), 2, seed=3))


def test_a_file_keeps_every_bit(closure: Closure, truth: xr.Dataset, tmp_path: Path) -> None:
    z = ensemble(truth, 3)
    closure.save(tmp_path / "closure.nc")
    loaded = load(tmp_path / "closure.nc")
    assert type(loaded) is type(closure)
    assert_same(draw(loaded, z, 5, seed=4), draw(closure, z, 5, seed=4))
    loaded.save(tmp_path / "again.nc")
    with xr.open_dataset(tmp_path / "closure.nc") as one, xr.open_dataset(tmp_path / "again.nc") as two:
        xr.testing.assert_equal(one, two)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.nc", "closure.nc"]


def test_runs_in_the_coarse_model_stopped_and_resumed_or_not(
    closure: Closure, truth: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse, "_MEMBER_STEPS_PER_CALL", 1)  # a part is written after every step
    z = ensemble(truth, 4)
    run = partial(lc.integrate, tendency, steps=9, dt=5e-3, scheme="rk4", save_every=4, rng=1)
    whole = run(closure, z)
    assert np.isfinite(whole["z"].values).all()
    assert_same(whole["psi"].values[:, 0], draw(closure, z, 1, seed=1).psi[0])
    assert run(closure, z[1:3], member=1).identical(whole.isel(member=slice(1, 3)))
    with pytest.raises(Killed):
        run(closure, z[2:], member=2, restart=MortalRestart(tmp_path / "run", 4))
    resumed = run(closure, z[2:], member=2, restart=Restart(tmp_path / "run", 3600.0))
    assert resumed.identical(whole.isel(member=slice(2, None)))


MISFITS: dict[str, tuple[Any, str]] = {
    "no state": (lambda state: np.ones((3, K)), r"^state = 'ndarray' .* a State, as init makes it"),
    "None": (lambda state: None, r"^state = 'NoneType' .* a State, as init makes it"),
    "of fewer members": (
        lambda state: state._replace(member=state.member[:1], memory=state.memory[:1]),
        r"^state\.member\.shape = \(1,\) .* \(3,\), one number for each member of z",
    ),
    "that remembers another ensemble": (
        lambda state: state._replace(memory=state.memory[:2]),
        r"^state\.memory\.shape = \(2, .* \(3, .*\), as init makes it",
    ),
    "that remembers something else": (
        lambda state: state._replace(memory=np.ones((3, K, 1, 1))),
        r"^state\.memory\.shape = \(3, 8, 1, 1\) .* \(3, .*\), as init makes it",
    ),
    "with the past of another ensemble": (
        lambda state: state._replace(history=state.history[:2]),
        r"^state\.history\.shape = \(2, .* \(3, .*\), as init makes it",
    ),
    "with another past": (
        lambda state: state._replace(history=np.ones((3, 1, 1, K, 1))),
        r"^state\.history\.shape = \(3, 1, 1, 8, 1\) .* \(3, .*\), as init makes it",
    ),
    "that counts for others": (
        lambda state: state._replace(outside=state.outside[:2]),
        r"^state\.outside\.shape = \(2,\) .* \(3,\), as init makes it",
    ),
    "that remembers no numbers": (
        lambda state: state._replace(memory=state.memory.astype(str)),
        r"^state\.memory = .* an array of numbers",
    ),
}


def test_a_state_that_does_not_fit(closure: Closure, truth: xr.Dataset) -> None:
    z = ensemble(truth, 3)
    for damage, message in MISFITS.values():
        with pytest.raises(ValueError, match=message) as caught:
            closure.step(z, damage(closure.init(z, 0)))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("member", [-1, 2**32 - 2, [0, 1], [0, 1, 2**32], [[0, 1, 2]], 0.5, True, "first"])
def test_numbers_of_members_that_cannot_be(truth: xr.Dataset, member: Any) -> None:
    z = ensemble(truth, 3)
    polynomial = CLOSURES["polynomial"].fit(truth)
    allowed = r"^member = [^\n]+ an integer from 0 to 4294967293, or 3 of them$"
    for call in (polynomial.init, partial(lc.integrate, tendency, polynomial)):
        with pytest.raises(ValueError, match=allowed):
            call(z, rng=0, member=member)


@pytest.mark.parametrize("member", [2**32 - 3, np.uint64(7), np.int8(7), [9, 9, 0]])
def test_numbers_of_members_that_can_be(truth: xr.Dataset, member: Any) -> None:
    """Two members of one number are one member twice."""
    z = np.repeat(ensemble(truth, 1), 3, axis=0)
    run = draw(CLOSURES["polynomial_ar1"].fit(truth), z, 2, seed=0, member=member)
    numbers = member if isinstance(member, list) else [int(member) + n for n in range(3)]
    assert run.states[-1].member.tolist() == numbers
    assert (run.psi[:, 0] == run.psi[:, 1]).all() == (numbers[0] == numbers[1])
