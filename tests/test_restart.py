"""Restart files: what was stopped goes on, and ends in the same bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from command_line import composed
from mortal import Killed, Mortal, MortalRestart

import l96closure as lc
from l96closure import coarse, noise, schemes
from l96closure.bridge import sinkhorn
from l96closure.closures import Analog, PolynomialAR1, Quantiles, SchrodingerBridge
from l96closure.coarse import BlowUpError
from l96closure.experiments.climate import stages as closure
from l96closure.experiments.climate.settings import Settings
from l96closure.experiments.sampling.chains import Lengths, Sampling, generate
from l96closure.restart import Evaluations, Restart, generator_state, restore_generator
from l96closure.systems import kuramoto_sivashinsky, lorenz96, lorenz96_core

pytestmark = pytest.mark.slow  # whole runs, or many of them

F64 = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K=6, J=4).simulate(samples=1500, dt=1e-3, every=5, spinup=5.0)


tendency = lc.TwoScaleLorenz96(K=6, J=4).resolved_tendency


def start() -> F64:
    return np.random.default_rng(0).normal(2.0, 3.0, (3, 6))


@pytest.mark.parametrize("every", [-1.0, np.nan, "often"])
def test_the_interval_must_be_a_time(tmp_path: Path, every: Any) -> None:
    with pytest.raises(ValueError, match=r"^checkpoint_every = .* a finite number >= 0"):
        Restart(tmp_path, every)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_generator_comes_back_from_its_text(kind: Any) -> None:
    first, second = (np.random.Generator(kind(seed)) for seed in (1, 2))
    first.standard_normal(5)
    first.integers(3, dtype=np.uint32)  # leaves half a word behind
    restore_generator(second, generator_state(first))
    assert np.array_equal(first.standard_normal(100), second.standard_normal(100))
    assert first.integers(1 << 30, dtype=np.uint32) == second.integers(1 << 30, dtype=np.uint32)


SEES_LAGS = lc.Fields(radius=1, lags=(0.01, 0.03))
FITS: dict[str, Callable[[xr.Dataset], Any]] = {
    "PolynomialAR1": PolynomialAR1.fit,
    "Analog": Analog.fit,
    "SchrodingerBridge": partial(SchrodingerBridge.fit, fields=SEES_LAGS, law=Quantiles(centres=500)),
}


Fitted = Callable[[str], Any]


@pytest.fixture(scope="module")
def fitted(truth: xr.Dataset) -> Fitted:
    return cache(lambda of: FITS[of](truth))


@pytest.mark.parametrize(("of", "past"), [(of, "drawn") for of in FITS] + [("SchrodingerBridge", "known")])
@pytest.mark.parametrize(("steps", "save_every"), [(10, 3), (19, 1)])
def test_a_run_killed_again_and_again_is_the_uninterrupted_one(
    truth: xr.Dataset, fitted: Fitted, tmp_path: Path, of: str, past: str, steps: int, save_every: int
) -> None:
    closure, z0 = fitted(of), start()
    if past == "known":
        z0 = lc.history(tendency, truth.isel(time=slice(100))).isel(member=[0, 0, 0])
    whole = lc.integrate(tendency, closure, z0, 40, dt=5e-3, save_every=save_every, rng=5)
    deaths = 0
    while True:
        try:
            mortal: Any = Mortal(closure, steps)
            restart = Restart(tmp_path / "run", 0.0)
            run = lc.integrate(tendency, mortal, z0, 40, dt=5e-3, save_every=save_every, rng=5, restart=restart)
            break
        except Killed:
            deaths += 1
    assert run.identical(whole)
    assert deaths >= 39 // steps


class Mixed(NamedTuple):
    """A state of parts of every kind."""

    key: int
    step: np.int64
    word: np.uint64
    on: bool
    gain: float
    member: npt.NDArray[np.int32]
    flags: npt.NDArray[np.bool_]
    nothing: F64
    red: npt.NDArray[np.float32]


class Users:
    """A user's closure; its state is one array, or a NamedTuple, and what it gives depends on all of that."""

    def __init__(self, named: bool) -> None:
        self.named = named

    def init(self, z: F64, rng: Any, member: Any = 0) -> Any:
        if not self.named:
            return np.stack([np.zeros_like(z), np.ones_like(z)], axis=1)
        flags, member = z > 0, np.arange(len(z), dtype=np.int32)
        key = noise.key_of(rng)
        return Mixed(key, np.int64(0), np.uint64(key), True, 0.5, member, flags, np.empty((0, 2)), z.astype(np.float32))

    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        if not self.named:
            return state[:, 0] - z, state @ np.eye(z.shape[1]) + 0.1 * z[:, None] * np.array([[1.0], [0.0]])
        assert [type(part) for part in state] == [int, np.int64, np.uint64, bool, float, *[np.ndarray] * 4]
        assert [part.dtype for part in state[5:]] == [np.int32, np.bool_, np.float64, np.float32]
        assert state.nothing.shape == (0, 2)
        assert state.word == state.key
        e = noise.normals(state.key, state.member[:, None], state.step, site=np.arange(z.shape[1]))
        red = (0.9 * state.red + e).astype(np.float32)
        psi = np.where(state.flags == state.on, state.gain * red, -z)
        return psi, state._replace(
            step=state.step + 1, on=not state.on, gain=0.99 * state.gain, flags=~state.flags, red=red
        )


@pytest.mark.parametrize("named", [False, True], ids=["an array", "a NamedTuple"])
def test_a_users_own_closure_goes_on_from_its_state(tmp_path: Path, named: bool) -> None:
    run = partial(lc.integrate, tendency, Users(named), start(), 30, dt=5e-3, save_every=4, rng=3)
    whole = run()
    for parts in (3, 1, 9):
        with pytest.raises(Killed):
            run(restart=MortalRestart(tmp_path / "run", parts))
    assert run(restart=Restart(tmp_path / "run", 0.0)).identical(whole)


@pytest.mark.parametrize("past", [True, False])
@pytest.mark.parametrize("of", FITS)
def test_forecasts_go_on(
    truth: xr.Dataset, fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, past: bool
) -> None:
    monkeypatch.setattr(coarse, "_MEMBER_STEPS_PER_CALL", 1)  # a part is written after every step
    closure = fitted(of)
    how: dict[str, Any] = {"starts": 3, "members": 2, "leads": np.linspace(0.0, 0.25, 11), "rng": 3, "past": past}
    whole = lc.forecast(tendency, closure, truth, **how)
    with pytest.raises(Killed):
        lc.forecast(tendency, closure, truth, **how, restart=MortalRestart(tmp_path, 30))
    assert lc.forecast(tendency, closure, truth, **how, restart=Restart(tmp_path, 0.0)).identical(whole)


@pytest.mark.parametrize("estimator", ["bridge", "dot_product", "variable"])
def test_a_fit_goes_on_evaluation_by_evaluation(tmp_path: Path, estimator: str) -> None:
    samples, kernel = np.random.default_rng(1).standard_normal((300, 3)), lc.bridge.Kernel(estimator, 0.5)

    def fitted(restart: Restart | None) -> lc.bridge.Bridge:
        return lc.bridge.fit(samples, kernel, lc.bridge.markov(3), restart=restart)

    whole, deaths = fitted(None), 0
    while True:
        try:
            again = fitted(MortalRestart(tmp_path, parts=1))
            break
        except Killed:
            deaths += 1
    assert deaths == (whole.iterations + 1).sum()  # the first evaluation finds where to start from
    for one, other in zip(again.dictionaries, whole.dictionaries, strict=True):
        assert np.array_equal(one.log_v, other.log_v)
        assert (one.residual, one.iterations) == (other.residual, other.iterations)


@pytest.mark.parametrize("consecutive", [True, False])
def test_the_nested_scaling_of_many_samples_goes_on(tmp_path: Path, consecutive: bool) -> None:
    """Both ways to a first guess: rules along a trajectory, and every n-th of scattered samples."""
    samples = np.random.default_rng(2).standard_normal((2, 24_000))
    if consecutive:
        samples = np.sin(0.01 * np.outer([1.0, np.sqrt(2.0)], np.arange(24_000.0)))
    whole = sinkhorn.solve_samples(samples, 1e-4)
    with pytest.raises(Killed), Evaluations(MortalRestart(tmp_path, parts=6)):
        sinkhorn.solve_samples(samples, 1e-4)
    with Evaluations(Restart(tmp_path, 0.0)):
        again = sinkhorn.solve_samples(samples, 1e-4)
    assert np.array_equal(again.log_v, whole.log_v)


SIMULATIONS: dict[str, Callable[..., xr.Dataset]] = {
    **{
        subgrid: partial(
            lc.TwoScaleLorenz96(K=5, J=3).simulate, 23, 1e-3, every=4, spinup=0.031, subgrid=subgrid, rng=3
        )
        for subgrid in ("fine", "coarse", "coupling", "step")
    },
    "one sample": partial(lc.TwoScaleLorenz96(K=5, J=3).simulate, 1, spinup=0.02, subgrid="coupling"),
    **{
        f"Kuramoto-Sivashinsky, {subgrid}": partial(
            lc.KuramotoSivashinsky(L=20.0, K=8, J=8).simulate, 23, every=3, spinup=4.0, subgrid=subgrid, coarse_dt=0.5
        )
        for subgrid in ("instant", "step")
    },
    "members": partial(lc.TwoScaleLorenz96(K=5, J=3).simulate, 9, 1e-3, every=4, spinup=0.031, members=3, rng=3),
    "members of Kuramoto-Sivashinsky": partial(
        lc.KuramotoSivashinsky(L=20.0, K=8, J=8).simulate, 9, every=3, spinup=1.0, members=3
    ),
}


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_truth_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in (lorenz96, kuramoto_sivashinsky):
        monkeypatch.setattr(module, "_STEPS_PER_CALL", 7)
    whole, deaths = SIMULATIONS[name](), 0
    while True:
        try:
            run = SIMULATIONS[name](restart=MortalRestart(tmp_path / "run", parts=1))
            break
        except Killed:
            deaths += 1
    assert run.identical(whole)
    assert deaths >= 1


@pytest.mark.parametrize("parts", [4, 7])
def test_chains_go_on_record_by_record(tmp_path: Path, parts: int) -> None:
    rng = np.random.default_rng(4)
    sets = [rng.standard_normal((50, 4)) for _ in range(2)]
    lengths = {"split": Lengths(300, 3), "sequential": Lengths(4, 1), "ancestral": Lengths(1, 1)}
    sampling = Sampling(chains=5, records=6, schemes=lengths)
    fits = [(lc.bridge.fit(one, 0.1, lc.bridge.markov(4)), one) for one in sets]

    def generated(restart: Restart | None = None) -> xr.Dataset:
        return generate(fits, sampling, lambda x: x.var(axis=1), seed=3, restart=restart)

    whole, deaths = generated(), 0
    while True:
        try:
            again = generated(MortalRestart(tmp_path, parts))
            break
        except Killed:
            deaths += 1
    assert again.identical(whole)
    assert deaths >= 48 // parts


class DiesInTheReference(Restart):
    """Restart files whose process dies in the second piece of the work."""

    def append(self, part: xr.Dataset) -> None:
        super().append(part)
        if self._folder.name == "piece1":
            raise Killed


def test_a_finished_piece_stays_until_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is not run again where the process died in the reference."""
    settings = Settings.from_config(composed("training.samples=300", "reference.duration=10", "forecast.starts=3"))

    def simulated(restart: Restart | None = None) -> tuple[xr.Dataset, xr.Dataset]:
        truth, reference = closure.simulate(settings, restart)
        return truth, reference()

    whole, record, steps = simulated(), lorenz96_core.Ensemble.record, []
    with pytest.raises(Killed):
        simulated(DiesInTheReference(tmp_path / "work", 0.0))

    def counted(*arguments: Any) -> Any:
        steps.append(record(*arguments))
        return steps[-1]

    monkeypatch.setattr(lorenz96_core.Ensemble, "record", counted)
    again = simulated(Restart(tmp_path / "work", 1e6))
    assert all(one.identical(other) for one, other in zip(again, whole, strict=True))
    resumed = sum(steps)
    steps.clear()
    simulated()
    assert resumed <= sum(steps) - settings.training["samples"]
    Restart(tmp_path / "work").clear()
    assert not (tmp_path / "work").exists()


def test_a_blow_up_keeps_the_last_state_and_what_was_good() -> None:
    z0, dt = start(), 0.01
    with pytest.raises(BlowUpError, match=r"in member \d in step ") as caught:
        lc.integrate(tendency, lc.closures.NoClosure(), z0, 10_000, dt=dt, scheme="euler", save_every=2)
    last, good = caught.value.last, caught.value.good
    steps, member = last.attrs["step"], last.attrs["member"]
    assert np.isfinite(last["z"]).all()
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(schemes.euler(tendency, last["z"].values, last["psi"].values, dt)[member]).all()
    before = lc.integrate(tendency, lc.closures.NoClosure(), z0, steps - 1, dt=dt, scheme="euler", save_every=2)
    assert 10 < good.sizes["time"] < before.sizes["time"]
    assert good["z"].equals(before["z"].isel(time=slice(good.sizes["time"])))
    assert np.abs(good["z"]).max() < 200.0
    assert np.abs(before["z"][:, good.sizes["time"]]).max() > 100.0
