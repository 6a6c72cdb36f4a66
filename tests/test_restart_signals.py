"""Signals wait until what is done is kept, and then reach whom they are for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from l96closure import store
from l96closure.restart import Restart

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
WARNINGS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


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


def test_a_signal_that_no_part_followed_comes_at_the_end_and_leaves_the_parts(
    tmp_path: Path, handlers: list[int]
) -> None:
    restart = Restart(tmp_path / "work", 1e6)
    restart.append(xr.Dataset({"z": 1.0}))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in place of the fixture's

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
    ignored = dict.fromkeys(STOPS, signal.SIG_IGN)
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
run = model.simulate(9, spinup=0.0, every=1, subgrid="fine", restart=Restart({str(tmp_path / "run")!r}, 0.0))
assert run.identical(model.simulate(9, spinup=0.0, every=1, subgrid="fine"))
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
restart = Restart({str(tmp_path / "run")!r}, 1e6)
lc.integrate(tendency, lc.closures.NoClosure(), np.ones((1, 4)), 99, dt=5e-3, scheme="euler", restart=restart)
"""
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=False)
    assert done.returncode == -number
    part = store.read(tmp_path / "run" / "000000.nc", kind="restart")
    assert part.attrs["step"] == part.sizes["time"] == 50
