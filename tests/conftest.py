"""Fixtures that several test modules share."""

from __future__ import annotations

import base64
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

# Before NumPy and numba are loaded. The threads of several workers outnumber the cores, and those of BLAS and OpenMP
# wait for each other in busy loops: a fit takes several times the processor time it needs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import FINISHED, Call, Outcome, composed
from compiling import MANY, compile_in_turns, untraced
from hydra._internal.hydra import Hydra
from matplotlib.figure import Figure
from numba.core.dispatcher import Dispatcher

from l96closure import bridge, cli, targets
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.bistable import diagnostics as bistable
from l96closure.experiments.gaussian import diagnostics as gaussian
from l96closure.experiments.sampling import diagnostics as chains
from l96closure.plot import style

POINT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg==")


Dispatcher.compile = untraced(Dispatcher.compile)
# In the background of a shell, or under nohup, these are ignored, and whatever a test starts would inherit that.
for name, usual in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, name), usual)

gc.set_threshold(20_000, 50, 50)  # nearly all of a million objects are modules' and the compiler's, and stay


@pytest.fixture(scope="session", autouse=True)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have several workers compile what most tests need before many of them, each loop by one of them."""
    if "PYTEST_XDIST_WORKER" in os.environ and len(request.session.items) >= MANY:
        compile_in_turns(tmp_path_factory.getbasetemp().parent)


@pytest.fixture
def sketched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save a point in the place of every figure that is drawn; only a test marked ``pictures`` has them arranged too.

    To arrange the panels of a figure takes longer than to draw it, and nearly as long as to render it.
    """
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr(style, "_laid_out", nullcontext)
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: Path(path).write_bytes(POINT))


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sketched: None
) -> Iterator[Call]:
    """Run the command line in this process, in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    # It composes all of the configuration once more, to find that nobody has set hydra.mode.
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)

    def run(*overrides: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["l96closure", *overrides])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        status = 0
        try:
            cli.main()
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        return Outcome(status, *capsys.readouterr())

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield run
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run of all stages but the report, as the command line would; to be copied by who changes it."""
    folder = tmp_path_factory.mktemp("finished") / "mine"
    config = composed(*FINISHED, f"run_dir={folder}")
    WORKFLOWS["closure"].run(config, folder, ["simulate", "fit", "integrate", "forecast", "diagnose"])
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "report.html").write_text("the page of the run")
    return folder


def _generated(x: np.ndarray, epsilon: float = 0.1) -> xr.Dataset:
    """Wrap states (scheme, realisation, chain, record, component) of the schemes split and euler."""
    schemes, realisations, *_, d = x.shape
    return xr.Dataset(
        {
            "x": (("scheme", "realisation", "chain", "record", "component"), x.astype(np.float32)),
            "convergence": (("scheme", "realisation", "length"), np.ones((schemes, realisations, 3))),
            "convergence_se": (("scheme", "realisation", "length"), np.full((schemes, realisations, 3), 0.1)),
            "effective_samples": (("scheme", "realisation", "component"), np.full((schemes, realisations, d), 4.0)),
            "sinkhorn_residual": ("realisation", np.full(realisations, 1e-7)),
        },
        coords={
            "scheme": ["split", "euler"][:schemes],
            "component": np.arange(d),
            "length": [1, 2, 5],
            "burn_in": ("scheme", np.full(schemes, 5)),
            "thin": ("scheme", np.full(schemes, 7)),
        },
        attrs={"epsilon": epsilon},
    )


@pytest.fixture(scope="session")
def gaussian_data() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Training set and "generated" states, all drawn exactly, with their diagnostics."""
    d, rng = 9, np.random.default_rng(6)
    given = np.array([targets.ring_gaussian(400, d, 1.0, rng) for _ in range(3)])
    states = targets.ring_gaussian(2 * 3 * 20 * 10, d, 1.0, rng).reshape(2, 3, 20, 10, d)
    training = xr.Dataset({"x": (("realisation", "sample", "component"), given)})
    generated = _generated(states)
    sets = bridge.periodic(d, 2)
    data = xr.merge(
        [
            gaussian.compare(training, generated, targets.ring_covariance(d), sets),
            chains.describe(given, generated),
            chains.bandwidth_criterion(given[0], sets),
        ]
    ).assign_attrs(epsilon=0.1)
    return training, generated, data


@pytest.fixture(scope="session")
def bistable_data() -> xr.Dataset:
    """Diagnostics of "generated" trajectories that are as good as those of the training set."""
    rng = np.random.default_rng(7)
    given = targets.double_well(200, 12, 5.0, 0.2, 0.02, rng)
    states = targets.double_well(2 * 20 * 10, 12, 5.0, 0.2, 0.02, rng).reshape(2, 1, 20, 10, 13)
    training = xr.Dataset({"x": (("sample", "time"), given)}, coords={"time": 5.0 * np.arange(13)})
    generated = _generated(states)
    over_time = generated.squeeze("realisation", drop=True).drop_vars("component").rename(component="time")
    described = chains.describe(given[np.newaxis], generated).drop_vars("component").rename(component="time")
    return xr.merge(
        [bistable.compare(training, over_time), described, chains.bandwidth_criterion(given, bridge.markov(13))],
        join="left",
    ).assign_attrs(epsilon=0.1)
