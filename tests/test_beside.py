"""Work in a copy of this process: results, errors, and what becomes of it where one of the two is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from l96closure import beside
from l96closure.beside import Beside
from l96closure.restart import Restart

copies = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no copies are made here")


@pytest.fixture(params=[1, 2], ids=["here", "beside"])
def processors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(beside, "threads", lambda: request.param)
    return request.param


def test_a_result_comes_back_whole(processors: int) -> None:
    made = np.random.default_rng(0).normal(size=300_000)  # more than a pipe holds
    work = Beside(lambda: {"made": 2.0 * made, "by": os.getpid()})
    found = work.result()
    np.testing.assert_array_equal(found["made"], 2.0 * made)
    assert (found["by"] == os.getpid()) == (processors == 1 or not sys.platform.startswith("linux"))


def test_an_error_is_raised_here(processors: int) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        Beside(lambda: 1 / 0).result()


@copies
@pytest.mark.parametrize("processors", [2], indirect=True)
def test_what_a_killed_copy_was_to_do_is_done_here(processors: int) -> None:
    def work() -> int:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    here = os.getpid()
    assert Beside(work).result() == here


@copies
@pytest.mark.parametrize("processors", [2], indirect=True)
def test_a_copy_that_is_stopped_puts_aside_what_it_has_done(processors: int, tmp_path: Path) -> None:
    restart = Restart(tmp_path / "parts", every=3600.0, keep=True)
    ready, begun = os.pipe()

    def work() -> None:
        with restart:
            os.write(begun, b".")
            while not restart.due:
                pass
            restart.append(xr.Dataset(attrs={"done": 7}))

    beside = Beside(work)
    os.read(ready, 1)
    copy = beside._process
    beside.stop()
    assert [part.attrs["done"] for part in restart.parts()] == [7]
    with pytest.raises(ChildProcessError):  # it was waited for
        os.waitpid(copy, os.WNOHANG)


@copies
def test_a_copy_does_not_outlive_its_maker() -> None:
    code = """
import os, signal, threading
from l96closure import beside

beside.threads = lambda: 2
ready, begun = os.pipe()
beside.Beside(lambda: os.write(begun, b"at work") and threading.Event().wait())
print(os.read(ready, 7), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    made = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )  # comes back when nobody holds the pipe any more
    assert (made.returncode, made.stdout) == (-signal.SIGKILL, "b'at work'\n")
