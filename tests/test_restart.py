"""Restart files: what was stopped goes on, and ends in the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure import kuramoto_sivashinsky, lorenz96, store
from l96closure.bridge import sinkhorn
from l96closure.closures import Analog, PolynomialAR1, SchrodingerBridge
from l96closure.coarse import BlowUpError
from l96closure.experiments.chains import Lengths, Sampling, generate
from l96closure.restart import Journal, Restart, generator_state, restore_generator

F64 = npt.NDArray[np.float64]
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
WARNINGS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.simulate(lc.TwoScaleLorenz96(K=6, J=4), samples=1500, dt=1e-3, every=5, spinup=5.0, subgrid="coupling")


def tendency(z: F64) -> F64:
    return lc.resolved_tendency(z, 20.0)


def start() -> F64:
    return np.random.default_rng(0).normal(2.0, 3.0, (3, 6))


def dying(wanted: int, step: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function work so many times and then raise :class:`Killed`."""
    count = iter(range(wanted))

    def once(*arguments: Any) -> Any:
        if next(count, None) is None:
            raise Killed
        return step(*arguments)

    return once


class Mortal:
    """A closure that dies after so many steps."""

    def __init__(self, closure: Any, steps: int) -> None:
        self.init, self.step = closure.init, dying(steps, closure.step)


class MortalRestart(Restart):
    """Restart files whose process dies once so many are written."""

    def __init__(self, folder: Path, parts: int) -> None:
        super().__init__(folder, 0.0)
        self._left = parts

    def append(self, part: xr.Dataset) -> None:
        super().append(part)
        self._left -= 1
        if self._left == 0:
            raise Killed


def journal(folder: Path) -> Journal:
    return Journal(Restart(folder, 0.0), "this test")


def test_a_folder_is_there_while_the_work_is_unfinished(tmp_path: Path) -> None:
    restart = Restart(tmp_path / "work", 0.0)
    assert restart.parts() == []
    assert not list(tmp_path.iterdir())
    for n in range(3):
        restart.append(xr.Dataset({"z": ("k", np.full(2, float(n)))}))
    assert [float(part["z"][0]) for part in Restart(tmp_path / "work", 0.0).parts()] == [0.0, 1.0, 2.0]
    restart.clear()
    assert not list(tmp_path.iterdir())


def flip_a_byte(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[-200] ^= 1
    part.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink])
def test_parts_after_a_damaged_one_are_not_used_but_written_anew(tmp_path: Path, damage: Any) -> None:
    restart = Restart(tmp_path, 0.0)
    for n in range(3):
        restart.append(xr.Dataset({"z": float(n)}))
    damage(tmp_path / "000001.nc")
    again = Restart(tmp_path, 0.0)
    assert [float(part["z"]) for part in again.parts()] == [0.0]
    again.append(xr.Dataset({"z": 7.0}))
    assert [float(part["z"]) for part in Restart(tmp_path, 0.0).parts()] == [0.0, 7.0]


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


@pytest.mark.parametrize("of", [PolynomialAR1, Analog, SchrodingerBridge], ids=lambda of: of.name)
@pytest.mark.parametrize(("steps", "save_every"), [(5, 3), (37, 1), (64, 7)])
def test_a_run_killed_again_and_again_is_the_uninterrupted_one(
    truth: xr.Dataset, tmp_path: Path, of: Any, steps: int, save_every: int
) -> None:
    closure = of.fit(truth)
    whole = lc.integrate(tendency, closure, start(), 80, save_every=save_every, rng=5)
    deaths = 0
    while True:
        try:
            mortal: Any = Mortal(closure, steps)
            restart = Restart(tmp_path / "run", 0.0)
            run = lc.integrate(tendency, mortal, start(), 80, save_every=save_every, rng=5, restart=restart)
            break
        except Killed:
            deaths += 1
    assert run.identical(whole)
    assert deaths >= 79 // steps


def test_forecasts_go_on(truth: xr.Dataset, tmp_path: Path) -> None:
    closure = PolynomialAR1.fit(truth)
    how: dict[str, Any] = {"starts": 3, "members": 2, "lead": 0.5, "every": 0.05, "rng": 3}
    whole = lc.forecast(tendency, closure, truth, **how)
    with pytest.raises(Killed):
        lc.forecast(tendency, closure, truth, **how, restart=MortalRestart(tmp_path, 60))
    assert lc.forecast(tendency, closure, truth, **how, restart=Restart(tmp_path, 0.0)).identical(whole)


@pytest.mark.parametrize("estimator", ["bridge", "dot_product", "variable"])
def test_a_fit_goes_on_evaluation_by_evaluation(tmp_path: Path, estimator: str) -> None:
    samples = np.random.default_rng(1).standard_normal((300, 4))
    arguments: dict[str, Any] = {"neighbourhoods": lc.bridge.periodic(4, 1), "estimator": estimator}
    taken: list[Callable[[], F64]] = []

    def counted(step: Callable[[], F64]) -> F64:
        taken.append(step)
        return step()

    whole = lc.bridge.fit(samples, 0.5, **arguments, remember=counted)
    for evaluations in range(1, len(taken)):
        remember = dying(evaluations, journal(tmp_path))
        with pytest.raises(Killed):
            lc.bridge.fit(samples, 0.5, **arguments, remember=remember)
    lc.bridge.fit(samples, 0.5, **arguments, remember=journal(tmp_path))
    known = journal(tmp_path)
    fitted = lc.bridge.fit(samples, 0.5, **arguments, remember=lambda step: known(dying(0, step)))
    for one, other in zip(fitted.dictionaries, whole.dictionaries, strict=True):
        assert np.array_equal(one.log_v, other.log_v)
        assert (one.residual, one.iterations) == (other.residual, other.iterations)


@pytest.mark.parametrize("consecutive", [True, False])
def test_the_nested_scaling_of_many_samples_goes_on(tmp_path: Path, consecutive: bool) -> None:
    """Both ways to a first guess: rules along a trajectory, and every n-th of scattered samples."""
    rng = np.random.default_rng(2)
    samples = rng.standard_normal((1, 24_000))
    if consecutive:
        samples = np.sin(0.01 * np.arange(24_000.0))[None]
    whole = sinkhorn.solve_samples(samples, 1e-4)
    with pytest.raises(Killed):
        sinkhorn.solve_samples(samples, 1e-4, remember=dying(6, journal(tmp_path)))
    again = sinkhorn.solve_samples(samples, 1e-4, remember=journal(tmp_path))
    assert np.array_equal(again.log_v, whole.log_v)


SIMULATIONS: dict[str, Callable[..., xr.Dataset]] = {
    **{
        subgrid: partial(
            lc.simulate, lc.TwoScaleLorenz96(K=5, J=3), 23, 1e-3, every=4, spinup=0.031, subgrid=subgrid, seed=3
        )
        for subgrid in ("fine", "coarse", "coupling")
    },
    "one sample": partial(lc.simulate, lc.TwoScaleLorenz96(K=5, J=3), 1, spinup=0.02, subgrid="coupling"),
    "Kuramoto-Sivashinsky": partial(
        kuramoto_sivashinsky.simulate, lc.KuramotoSivashinsky(L=20.0, K=8, J=8), 23, every=3, spinup=4.0
    ),
}


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_truth_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(lorenz96, "_STEPS_PER_CALL", 7)
    whole, deaths = SIMULATIONS[name](), 0
    while True:
        try:
            run = SIMULATIONS[name](restart=MortalRestart(tmp_path / "run", parts=4 if "Kura" in name else 1))
            break
        except Killed:
            deaths += 1
    assert run.identical(whole)
    assert deaths >= 1


@pytest.mark.parametrize("steps", [9, 40])
def test_chains_go_on_record_by_record(tmp_path: Path, steps: int) -> None:
    rng = np.random.default_rng(4)
    sets = [rng.standard_normal((50, 4)) for _ in range(2)]
    lengths = {"split": Lengths(1500, 3), "sequential": Lengths(4, 1), "ancestral": Lengths(1, 1)}
    sampling = Sampling(chains=5, records=6, schemes=lengths)

    def generated(remember: Any) -> xr.Dataset:
        fits = [(lc.bridge.fit(one, 0.1, lc.bridge.markov(4), remember=remember), one) for one in sets]
        return generate(fits, sampling, lambda x: x.var(axis=1), seed=3, remember=remember)

    whole, deaths = generated(sinkhorn.at_once), 0
    while True:
        try:
            again = generated(MortalJournal(journal(tmp_path), steps))
            break
        except Killed:
            deaths += 1
    assert again.identical(whole)
    assert deaths > 60 // steps


class MortalJournal:
    """A journal that dies after so many new steps."""

    def __init__(self, journal: Journal, steps: int) -> None:
        self._journal, self._steps = journal, steps

    def __call__(self, step: Callable[[], F64], rng: np.random.Generator | None = None) -> F64:
        def once() -> F64:
            self._steps -= 1
            if self._steps < 0:
                raise Killed
            return step()

        return self._journal(once, rng)


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """Take the signals of this test in place of the test runner."""
    taken: list[int] = []
    before = {number: signal.signal(number, lambda n, _: taken.append(n)) for number in (*STOPS, *WARNINGS)}
    yield taken
    for number, handler in before.items():
        signal.signal(number, handler)


@POSIX
@pytest.mark.parametrize("number", [*STOPS, *WARNINGS])
def test_every_signal_waits_for_the_next_part(tmp_path: Path, handlers: list[int], number: int) -> None:
    restart = Restart(tmp_path, 1e6, keep=True)
    with restart:
        for n in (1, 2, 3):
            assert not restart.due
            os.kill(os.getpid(), number)
            assert restart.due
            assert handlers == [number] * (n - 1)
            restart.append(xr.Dataset({"z": 1.0}))
            assert handlers == [number] * n
    assert len(restart.parts()) == 3


@POSIX
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("warning", WARNINGS)
def test_a_warning_takes_no_hold_off_what_follows_it(
    tmp_path: Path, handlers: list[int], warning: int, stop: int
) -> None:
    restart = Restart(tmp_path, 1e6)
    with restart:
        for number in (warning, warning, stop):
            os.kill(os.getpid(), number)
        assert handlers == []
        restart.append(xr.Dataset({"z": 1.0}))
        assert handlers == [warning, stop]


def test_a_second_stop_is_not_held_back(tmp_path: Path, handlers: list[int]) -> None:
    with Restart(tmp_path, 1e6):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert handlers == [signal.SIGINT] * 2
    assert handlers == [signal.SIGINT] * 2


def test_a_signal_that_no_part_followed_comes_at_the_end_and_leaves_the_parts(tmp_path: Path) -> None:
    restart = Restart(tmp_path / "work", 1e6)
    restart.append(xr.Dataset({"z": 1.0}))

    def interrupted() -> None:
        with restart:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(restart.parts()) == 1
    with restart:
        pass
    assert not (tmp_path / "work").exists()


@POSIX
@pytest.mark.parametrize("number", WARNINGS)
@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_signals_nobody_listens_to_are_left_alone(
    tmp_path: Path, handlers: list[int], number: int, handler: Any
) -> None:
    ignored = {stop: signal.SIG_IGN for stop in STOPS}
    for other, how in {number: handler, **ignored}.items():
        signal.signal(other, how)
    with Restart(tmp_path, 1e6):
        assert {other: signal.getsignal(other) for other in (number, *STOPS)} == {number: handler, **ignored}
        os.kill(os.getpid(), signal.SIGHUP)  # as under nohup


@POSIX
def test_handlers_of_another_language_are_left_alone(tmp_path: Path) -> None:
    """As where a program in C has them before it starts Python: no handler is known then."""
    program = f"""
import faulthandler, os, signal, sys
for number in {[int(number) for number in (*STOPS, *WARNINGS)]}:
    faulthandler.register(number, open({str(tmp_path / "told")!r}, "w"))
del sys.modules["_signal"]
import _signal
assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGUSR1) is None
import l96closure as lc
from l96closure.restart import Restart
model = lc.TwoScaleLorenz96(K=5, J=3)
run = lc.simulate(model, 9, spinup=0.0, restart=Restart({str(tmp_path / "run")!r}, 0.0))
assert run.identical(lc.simulate(model, 9, spinup=0.0))
os.kill(os.getpid(), signal.SIGTERM)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert "File" in (tmp_path / "told").read_text()


@POSIX
@pytest.mark.parametrize("number", STOPS)
def test_a_process_that_is_told_to_stop_has_written_what_it_has_done(tmp_path: Path, number: int) -> None:
    program = f"""
import os, signal
import numpy as np
import l96closure as lc
from l96closure.restart import Restart
steps = iter(range(1000))
def tendency(z):
    if next(steps) == 50:
        os.kill(os.getpid(), {int(number)})
    return -z
lc.integrate(tendency, lc.closures.NoClosure(), np.ones((1, 4)), 99, restart=Restart({str(tmp_path / "run")!r}, 1e6))
"""
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=False)
    assert done.returncode == -number
    part = store.read(tmp_path / "run" / "000000.nc", kind="restart")
    assert part.attrs["step"] == part.sizes["time"] == 50


def test_a_blow_up_keeps_the_last_state_and_what_was_good() -> None:
    z0, dt = start(), 0.01
    with pytest.raises(BlowUpError, match=r"in member \d at time ") as caught:
        lc.integrate(tendency, lc.closures.NoClosure(), z0, 10_000, dt=dt, save_every=2)
    last, good = caught.value.last, caught.value.good
    steps, member = last.attrs["step"], last.attrs["member"]
    assert np.isfinite(last["z"]).all()
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(lc.coarse.euler(tendency, last["z"].values, last["psi"].values, dt)[member]).all()
    before = lc.integrate(tendency, lc.closures.NoClosure(), z0, steps - 1, dt=dt, save_every=2)
    assert 10 < good.sizes["time"] < before.sizes["time"]
    assert good["z"].equals(before["z"].isel(time=slice(good.sizes["time"])))
    assert np.abs(good["z"]).max() < 200.0
    assert np.abs(before["z"][:, good.sizes["time"]]).max() > 100.0
