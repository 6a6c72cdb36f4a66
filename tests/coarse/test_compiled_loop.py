"""The coarse model in compiled code: the bits of the loop in Python, whatever the closure, calls and threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from mortal import Killed, MortalRestart

import l96closure as lc
from l96closure import coarse, noise
from l96closure.closures import CLOSURES, Noise, Quantiles, Trend
from l96closure.compiled_loop import CompiledLoop

F64 = npt.NDArray[np.float64]
K, DT, STEPS = 6, 5e-3, 50
MODEL = lc.TwoScaleLorenz96(K, 3, 10.0)
RIDGE = 1e-3
HERE, AROUND = lc.Fields(radius=0, lags=()), lc.Fields(radius=1, lags=(2 * DT, 5 * DT))
FAR = lc.Fields(radius=2, lags=(DT, 3 * DT, 4 * DT))  # more features than registers hold
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "polynomial": ("polynomial", {}),
    "polynomial in the past": ("polynomial", {"fields": AROUND, "trend": Trend(3, 2, ridge=RIDGE)}),
    "AR(1)": ("polynomial_ar1", {"residual_degree": 2}),
    "AR(3), coloured": ("polynomial_ar1", {"fields": AROUND, "noise": Noise(3)}),
    "quantiles": ("schrodinger_bridge", {"fields": HERE}),
    "quantiles without trend": ("schrodinger_bridge", {"fields": HERE, "trend": None, "noise": Noise(2, None)}),
    "quantiles, fresh noise": ("schrodinger_bridge", {"fields": HERE, "noise": Noise(0)}),
    "conserving": ("schrodinger_bridge", {"fields": lc.Fields(radius=0, lags=(), conserve=True)}),
    "edges": ("schrodinger_bridge", {"fields": lc.Fields(radius=1, lags=(DT,), periodic=False, pool="k")}),
    "space and time": (
        "schrodinger_bridge",
        {"fields": AROUND, "trend": Trend(5, 3, ridge=RIDGE), "law": Quantiles("z"), "noise": Noise(3)},
    ),
    "psi of the step before": ("schrodinger_bridge", {"fields": lc.Fields(radius=0, lags=(), previous=1)}),
    "psi of steps before, in the past": (
        "polynomial_ar1",
        {"fields": lc.Fields(radius=1, lags=(DT, 3 * DT), previous=2), "trend": Trend(3, 2, ridge=RIDGE)},
    ),
    "many features": ("polynomial_ar1", {"fields": FAR, "trend": Trend(4, 3, ridge=RIDGE)}),
    "smooth steps": ("polynomial_ar1", {"fields": FAR, "trend": Trend(2, 1, ridge=RIDGE, hidden=9)}),
}


@numba.njit
def lorenz96(z: Any) -> Any:
    """A tendency as a user writes it."""
    out = np.empty_like(z)
    for member in range(z.shape[0]):
        for k in range(z.shape[1]):
            change = z[member, k - 1] * (z[member, k - 2] - z[member, (k + 1) % z.shape[1]])
            out[member, k] = -change - z[member, k] + 10.0
    return out


def in_python(z: F64) -> F64:
    """The same tendency, which only the loop in Python can call."""
    return MODEL.resolved_tendency(z)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=3000, dt=1e-3, every=5, spinup=3.0, subgrid="step")


@pytest.fixture(scope="module")
def fitted(truth: xr.Dataset) -> Callable[[str], Any]:
    known: dict[str, Any] = {}

    def fit(case: str) -> Any:
        if case not in known:
            name, settings = CASES[case]
            known[case] = CLOSURES[name].fit(truth, **settings)
        return known[case]

    return fit


def start(members: int) -> F64:
    """States some of whose sites lie outside of the range of the training data."""
    return np.random.default_rng(0).normal(2.0, 6.0, (members, K))


def both(closure: Any, members: int, model: Any = MODEL, **how: Any) -> tuple[xr.Dataset, xr.Dataset]:
    """The compiled run, and the one made in Python."""
    how = {"z0": start(members), "steps": STEPS, "rng": 3, **how}
    assert CompiledLoop.of(coarse.tendency_of(model), closure, "rk4", DT, K) is not None
    assert CompiledLoop.of(in_python, closure, "rk4", DT, K) is None
    return lc.integrate(model, closure, **how), lc.integrate(in_python, closure, **how)


@pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
@pytest.mark.parametrize("case", CASES)
def test_bits_are_those_of_the_loop_in_python(fitted: Callable[[str], Any], case: str) -> None:
    for members, scheme in ((1, "rk4"), (5, "euler")):
        compiled, plain = both(fitted(case), members, scheme=scheme, save_every=3)
        assert compiled.identical(plain)
        assert np.abs(compiled["psi"]).max() > 0.0 or case == "none"


@pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
@pytest.mark.parametrize(("K", "members", "scheme"), [(5, 1, "rk4"), (12, 1, "rk4"), (21, 3, "rk4"), (48, 6, "euler")])
def test_bits_of_kuramoto_and_sivashinsky_are_those_of_the_loop_in_python(K: int, members: int, scheme: str) -> None:
    model = lc.KuramotoSivashinsky(L=1.5 * K, K=K)
    truth = model.simulate(samples=400, spinup=50.0)
    closure = lc.closures.PolynomialAR1.fit(truth, lc.Fields(radius=0, lags=()))
    assert CompiledLoop.of(coarse.tendency_of(model), closure, scheme, closure.dt, K) is not None
    how = {"z0": truth["z"].values[:members], "steps": 40, "rng": 3, "scheme": scheme}
    compiled = lc.integrate(model, closure, **how)
    assert compiled.identical(lc.integrate(lambda z: model.resolved_tendency(z), closure, **how))


def test_bits_of_a_plane_are_those_of_the_loop_in_python() -> None:
    z, psi = np.random.default_rng(0).standard_normal((2, 400, 3, 4))
    truth = xr.Dataset(
        {n: (("time", "y", "x"), one) for n, one in (("z", z), ("psi", psi - z))}, {"time": np.arange(400)}
    )
    fields = lc.Fields(dim=("y", "x"), periodic=True, radius=0, lags=(), previous=1)
    closure = lc.closures.PolynomialAR1.fit(truth, fields, Trend(2, 2))

    @numba.njit
    def damped(z: Any) -> Any:
        return -z

    assert CompiledLoop.of(damped, closure, "rk4", 1.0, 12) is not None
    runs = [lc.integrate(one, closure, z[:3].reshape(3, 12), 30, rng=1, dt=1.0) for one in (damped, lambda z: -z)]
    assert runs[0].identical(runs[1])


@pytest.mark.parametrize("members", range(2, 10))
def test_bits_do_not_depend_on_the_other_members(fitted: Callable[[str], Any], members: int) -> None:
    closure = fitted("space and time")
    together = both(closure, members)[0]
    alone = lc.integrate(MODEL, closure, start(members)[-1:], STEPS, rng=3, member=members - 1)
    assert together.isel(member=[-1]).identical(alone)


@pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
@pytest.mark.parametrize("scheme", ["rk4", "euler"])
def test_a_tendency_that_a_user_has_compiled(fitted: Callable[[str], Any], scheme: str) -> None:
    compiled, plain = both(fitted("space and time"), 3, lorenz96, scheme=scheme)
    assert compiled.identical(plain)
    assert compiled.identical(both(fitted("space and time"), 3, scheme=scheme)[0])


def test_a_tendency_that_knows_the_members_by_their_places(fitted: Callable[[str], Any]) -> None:
    forcing = np.linspace(5.0, 10.0, 70)[:, None]

    @numba.njit
    def forced(z: Any) -> Any:
        return forcing - z

    runs = [lc.integrate(one, fitted("AR(1)"), start(70), 5, rng=1) for one in (forced, lambda z: forcing - z)]
    assert CompiledLoop.of(forced, fitted("AR(1)"), "rk4", DT, K) is not None
    assert runs[0].identical(runs[1])


@pytest.mark.parametrize("sites", [4, 7, 8, 12, 16, 17, 20, 21, 40])
def test_rings_of_any_length_of_few_members_and_many(sites: int) -> None:
    """Up to twenty sites of one member stay in registers: nothing but the bits of the loop in Python may come of it."""
    model = lc.TwoScaleLorenz96(sites, 2, 10.0)
    closure = lc.closures.PolynomialAR1.fit(model.simulate(samples=4000, dt=1e-3, every=5, spinup=3.0, rng=1))
    z = np.random.default_rng(0).normal(2.0, 4.0, (5, sites))
    for members in (1, 2, 4, 5):
        runs = [
            lc.integrate(tendency, closure, z[:members], 20, rng=2)
            for tendency in (model, lambda z: model.resolved_tendency(z))
        ]
        assert runs[0].identical(runs[1])


@pytest.mark.parametrize("every", [1, 3])
def test_records_are_those_of_every_so_many_steps(fitted: Callable[[str], Any], every: int) -> None:
    """More of them than are written at a time, of more members than make a block, a part of which is left over."""
    closure, z, steps = fitted("AR(1)"), start(70), 80
    run = lc.integrate(MODEL, closure, z, steps, rng=3, save_every=every)
    plain = lc.integrate(in_python, closure, z, steps, rng=3, save_every=every)
    assert run.identical(plain)


@pytest.fixture
def threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("model", [MODEL, lorenz96], ids=["ours", "a user's"])
def test_bits_do_not_depend_on_threads(fitted: Callable[[str], Any], model: Any) -> None:
    runs = []
    for number in sorted({1, numba.get_num_threads()}):
        numba.set_num_threads(number)
        runs.append(lc.integrate(model, fitted("edges"), start(100), 20, rng=1))
    assert runs[0].identical(runs[-1])


def test_bits_do_not_depend_on_calls(fitted: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("space and time", "edges", "psi of steps before, in the past"):
        expected = both(fitted(case), 2, save_every=4)[0]
        for steps in (1, 3, 7):
            monkeypatch.setattr(coarse, "_MEMBER_STEPS_PER_CALL", 2 * steps)
            assert both(fitted(case), 2, save_every=4)[0].identical(expected)


def test_a_run_that_was_stopped_goes_on(
    fitted: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(coarse, "_MEMBER_STEPS_PER_CALL", 2 * 9)
    closure = fitted("space and time")
    expected = both(closure, 2, save_every=4)[1]
    for parts in (1, 2):
        with pytest.raises(Killed):
            lc.integrate(MODEL, closure, start(2), STEPS, rng=3, save_every=4, restart=MortalRestart(tmp_path, parts))
    again = lc.integrate(MODEL, closure, start(2), STEPS, rng=3, save_every=4, restart=lc.Restart(tmp_path))
    assert again.identical(expected)


@pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
@pytest.mark.parametrize("case", ["none", "quantiles, fresh noise"])
@pytest.mark.parametrize("model", [MODEL, lorenz96], ids=["ours", "a user's"])
def test_a_blow_up_ends_in_the_same_error(fitted: Callable[[str], Any], case: str, model: Any) -> None:
    errors = []
    for one in (model, in_python):
        with pytest.raises(lc.BlowUpError) as caught:
            lc.integrate(one, fitted(case), 3.0 * start(4), 2000, dt=0.035, scheme="euler", save_every=2, rng=3)
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    assert errors[0].last.identical(errors[1].last)
    assert errors[0].run.identical(errors[1].run)
    assert 10 < errors[0].last.attrs["step"] < 2000


def test_what_a_tendency_raises_is_raised(fitted: Callable[[str], Any]) -> None:
    @numba.njit
    def fragile(z: Any) -> Any:
        if (z > 1e3).any():
            raise ValueError("out of range")
        return z

    with pytest.raises(ValueError, match=r"^out of range$"):
        lc.integrate(fragile, fitted("none"), np.ones((2, K)), 2000, dt=0.01)


def test_a_step_of_somebody_is_left_to_python() -> None:
    class Mine(lc.closures.NoClosure):
        def step(self, z: F64, state: Any) -> tuple[F64, Any]:
            psi, state = super().step(z, state)
            return psi + 1.0, state

    assert CompiledLoop.of(MODEL.resolved_tendency, Mine(), "rk4", DT, K) is None
    run = lc.integrate(MODEL, Mine(), start(1), 2, dt=DT)
    assert (run["psi"] == 1.0).all()


def test_steps_that_the_noise_cannot_tell_apart(fitted: Callable[[str], Any]) -> None:
    closure = fitted("quantiles")
    loop = CompiledLoop.of(MODEL.resolved_tendency, closure, "rk4", DT, K)
    assert loop is not None
    z, out = start(1), np.empty((1, 20, K))
    state = closure.init(z, 0)._replace(step=2**32 - 10)
    with pytest.raises(ValueError, match=r"^step = "):
        loop.advance(z, state, 0, 10, 1, (out, out.copy(), 0))
    assert np.isfinite(loop.advance(z, state, 0, 9, 1, (out, out.copy(), 0))[0]).all()


@numba.njit
def filled(key: int, member: Any, first: Any, steps: int, draws: int, normal: bool, out: Any) -> None:
    counter = np.zeros((4, noise.evaluated(out.size // 4)), np.uint64)
    number = noise.count(member, steps, np.uint64(0), draws, 3, counter)
    word, value = np.empty_like(counter), np.empty(counter.shape)
    noise.fill(key, first, np.uint64(0), normal, number, member.size, counter, word, value, out)


@pytest.mark.parametrize(("members", "steps", "draws"), list(itertools.product([1, 3], [1, 4], [1, 2])))
def test_normals_of_several_steps_are_those_of_each(members: int, steps: int, draws: int) -> None:
    key, member, first = noise.key_of(1), 7 + np.arange(members), 2**31
    for normal, drawn in ((True, noise.normals), (False, noise.uniforms)):
        out = np.empty((steps, draws, 12, members))
        numbers = np.uint64(key), member.astype(np.uint64), np.uint64(first)
        filled(*numbers, steps, draws, normal, out.reshape(-1))
        step, draw, site = (np.arange(size) for size in out.shape[:3])
        where = member, (first + step)[:, None, None, None], draw[:, None, None], 0, site[:, None]
        assert np.array_equal(out, drawn(key, *where))
