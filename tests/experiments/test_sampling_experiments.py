"""The Gaussian and the bistable experiment, from the command line to a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import BISTABLE, GAUSSIAN, Call

from l96closure import targets

pytestmark = pytest.mark.slow  # whole runs, or many of them

FILES = {"training.nc", "generated.nc", "diagnostics.nc"}
GLOBAL = ("experiment=gaussian_global", *GAUSSIAN[1:])
NO_REPORT = "stages=[simulate,sample,diagnose]"
PICTURES = {
    GAUSSIAN: {"rows_and_histograms.png", "convergence.png", "bandwidth.png"},
    BISTABLE: {"trajectories.png", "histograms.png", "convergence.png", "bandwidth.png"},
}
PICTURES[GLOBAL] = PICTURES[GAUSSIAN]


@pytest.mark.parametrize("tiny", [GAUSSIAN, GLOBAL, BISTABLE], ids=["gaussian", "gaussian_global", "bistable"])
@pytest.mark.pictures
def test_a_run_fills_its_folder(call: Call, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    outcome = call(*tiny, "seed=7")
    assert outcome.status == 0, outcome.err
    folder = outcome.folder
    assert folder.parent == tmp_path / "runs" / tiny[0].removeprefix("experiment=")
    assert {file.name for file in folder.iterdir()} == FILES | {
        "figures",
        "report.html",
        "manifest.json",
        ".hydra",
        "run.log",
    }
    assert {file.name for file in (folder / "figures").iterdir()} == PICTURES[tiny]
    assert "replay score" in outcome.out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "samples: 60" in page
    assert page.count("data:image/png;base64,") == len(PICTURES[tiny])
    for name in FILES:
        with xr.open_dataset(folder / name, decode_times=False) as data:
            assert yaml.safe_load(data.attrs["config"])["target"]["samples"] == 60
            assert data.attrs["seed_training"] != data.attrs["seed_chains"]
            assert data.attrs["wall_time_seconds"] >= 0


def test_files_of_the_gaussian_hold_what_they_say(call: Call) -> None:
    folder = call(*GAUSSIAN, NO_REPORT).folder
    training, generated, data = (
        xr.load_dataset(folder / f"{name}.nc", decode_times=False) for name in ("training", "generated", "diagnostics")
    )
    assert training["x"].dims == ("realisation", "sample", "component")
    assert training["x"].shape == (2, 60, 7)
    assert generated["x"].dims == ("scheme", "realisation", "chain", "record", "component")
    assert generated["x"].shape == (2, 2, 6, 5, 7)
    assert generated["x"].dtype == np.float32
    assert generated["convergence"].sel(scheme="split").dropna("length")["length"].values.tolist() == [1, 2, 5, 10, 20]
    assert generated["convergence"].sel(scheme="sequential").dropna("length")["length"].values.tolist() == [1, 3]
    assert list(data["source"].values) == ["exact", "training", "split", "sequential"]
    np.testing.assert_allclose(
        data["covariance"].sel(source="exact", offset=[0, 1]), targets.ring_covariance(7)[0, :2], rtol=1e-12
    )


def test_files_of_the_bistable_case_hold_what_they_say(call: Call) -> None:
    folder = call(*BISTABLE, NO_REPORT).folder
    training, generated, data = (
        xr.load_dataset(folder / f"{name}.nc", decode_times=False) for name in ("training", "generated", "diagnostics")
    )
    assert training["x"].dims == ("sample", "time")
    np.testing.assert_array_equal(training["time"], 5.0 * np.arange(7))
    assert generated["x"].dims == ("scheme", "chain", "record", "time")
    assert generated["x"].shape == (2, 6, 5, 7)
    assert list(data["source"].values) == ["training", "split", "ancestral"]
    changes = (np.sign(training["x"].values[:, 1:]) != np.sign(training["x"].values[:, :-1])).mean()
    np.testing.assert_allclose(data["sign_changes"].sel(source="training"), changes)


def test_the_same_seed_gives_the_same_run(call: Call) -> None:
    runs = [
        call(*GAUSSIAN, "stages=[simulate,sample]", f"run_dir={name}", f"seed={seed}").folder
        for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    ]
    a, b, c = (xr.load_dataset(folder / "generated.nc", decode_times=False) for folder in runs)
    assert a["x"].identical(b["x"])
    assert not a["x"].equals(c["x"])


def test_a_bandwidth_can_be_chosen_from_the_data(call: Call) -> None:
    folder = call(*GAUSSIAN, NO_REPORT, "bridge.epsilon=auto").folder
    with xr.open_dataset(folder / "diagnostics.nc") as data:
        assert data.attrs["epsilon"] == float(data["chosen_bandwidth"])


def test_stages_left_out_are_taken_from_the_folder(call: Call) -> None:
    folder = call(*BISTABLE, NO_REPORT, "run_dir=mine").folder
    first = {name: (folder / name).stat().st_mtime_ns for name in FILES}
    again = [*BISTABLE, "run_dir=mine", "stages=[sample,diagnose]", "force=true"]
    outcome = call(*again, "target.noise=0.3")
    assert outcome.status == 2
    assert "training.nc was made with target.noise = 0.2, not 0.3; add simulate to the stages" in outcome.err
    assert call(*again, "sampling.records=6").status == 0
    assert {name for name in FILES if (folder / name).stat().st_mtime_ns != first[name]} == FILES - {"training.nc"}
    outcome = call("experiment=bistable", "run_dir=mine", "resume=true")
    assert outcome.status == 0, outcome.err
    assert "diagnose  is up to date" in outcome.err


def test_files_of_another_experiment_are_refused(call: Call) -> None:
    call(*GAUSSIAN, "run_dir=mine", "stages=[simulate]")
    outcome = call(*BISTABLE, "run_dir=mine", "stages=[sample]")
    assert outcome.status == 2
    assert "a file of kind 'bistable training' (this one is of kind 'gaussian training')" in outcome.err


WRONG = [
    (
        GAUSSIAN,
        "workflow=cooking",
        "workflow = 'cooking' is not allowed; it must be one of bistable, closure, data, gaussian",
    ),
    (GAUSSIAN, "workflow=closure", "the configuration has no setting 'target'"),
    (GAUSSIAN, "closure=none", "the configuration has no setting 'closure'"),
    (GAUSSIAN, "target.e=9", "there is no setting target.e; there is d, precision_scale, realisations, samples"),
    (GAUSSIAN, "~target.d", "target lacks the setting 'd'"),
    (GAUSSIAN, "target.d=2", "target.d = 2 is not allowed; it must be an integer >= 3"),
    (GAUSSIAN, "target.precision_scale=0", "target.precision_scale = 0 is not allowed"),
    (GAUSSIAN, "target.realisations=0", "target.realisations = 0 is not allowed"),
    (GAUSSIAN, "bridge.radius=4", "radius = 4 is not allowed; it must be at most 3 on a ring of 7 sites"),
    (GAUSSIAN, "bridge.epsilon=-1", "bridge.epsilon = -1 is not allowed"),
    (GAUSSIAN, "bridge.epsilon=best", "bridge.epsilon = 'best' is not allowed; it must be auto or a finite number > 0"),
    (GAUSSIAN, "sampling.chains=1", "sampling.chains = 1 is not allowed; it must be an integer >= 2"),
    (GAUSSIAN, "sampling.records=3", "sampling.records = 3 is not allowed; it must be an integer >= 4"),
    (GAUSSIAN, "sampling.schemes=split", "sampling.schemes = 'split' is not allowed; it must be a mapping"),
    (GAUSSIAN, "sampling.schemes.split=20", "sampling.schemes.split = 20 is not allowed; it must be burn_in and thin"),
    (GAUSSIAN, "sampling.schemes.split.thin=0", "thin = 0 is not allowed; it must be an integer >= 1"),
    (GAUSSIAN, "+sampling.schemes.magic={burn_in: 1, thin: 1}", "sampling.schemes = 'magic' is not allowed"),
    (GAUSSIAN, "stages=[report]", "training.nc, which is not there; stage 'simulate' makes it"),
    (GAUSSIAN, "stages=[fit]", "stages = 'fit' is not allowed; it must be one of diagnose, report, sample, simulate"),
    (BISTABLE, "target.dt=0.03", "target.dt = 0.03 is not allowed; it must be a divisor of target.interval = 5"),
    (BISTABLE, "bridge.sided=left", "bridge.sided = 'left' is not allowed; it must be one of causal, two_sided"),
    (BISTABLE, "bridge.sided=two_sided", "it must be causal for the scheme ancestral"),
    (BISTABLE, "bridge.radius=1", "there is no setting bridge.radius; there is epsilon, sided"),
]


@pytest.mark.parametrize(("tiny", "override", "message"), WRONG, ids=[override for _, override, _ in WRONG])
def test_a_wrong_override_ends_in_one_line(
    call: Call, tmp_path: Path, tiny: tuple[str, ...], override: str, message: str
) -> None:
    outcome = call(*tiny, override)
    assert outcome.status == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert message in lines[-1]
    assert all(": error" not in line and "Traceback" not in line for line in lines[:-1])
    assert not (tmp_path / "runs").exists()
