"""Broken settings: each ends in one line that names the thing, before anything is written or after nothing is."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from command_line import TINY, Call, composed

import l96closure as lc
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles, Trend
from l96closure.experiments import WORKFLOWS

pytestmark = pytest.mark.slow  # whole runs, or many of them

VALUES = ["text", "", None, [], [1], {}, {"a": 1}, math.nan, math.inf, -1, 0, 2.5, 1e300, 10**30, True]
# tested on the command line below
OF_A_RUN = {"workflow", "stages", "run_dir", "resume", "force", "checkpoint_every", "objective", "figures"}
EXPERIMENTS = {
    **{f"experiment={name}": () for name in ("l96", "forcing_shift", "ks", "gaussian", "bistable")},
    "experiment=data": ("data.truth=a.nc", "data.reference=b.nc", "stages=[fit]"),  # files that are read already
}


def keys(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from keys(value, (*above, key))


def changed(config: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    result: Any = copy.deepcopy(config)
    section = result
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return result  # type: ignore[no-any-return]


def one_line(error: BaseException) -> str:
    message = str(error)
    assert message
    assert "\n" not in message
    return message


CASES = [
    pytest.param((experiment, *more), path, id=f"{experiment.partition('=')[2]} {'.'.join(path)}")
    for experiment, more in EXPERIMENTS.items()
    for path in keys(composed(experiment, *more))
    if path[0] not in OF_A_RUN
]


@pytest.mark.parametrize(("experiment", "path"), CASES)
def test_a_wrong_setting_is_named_or_good(experiment: tuple[str, ...], path: tuple[str, ...]) -> None:
    config = composed(*experiment)
    settings = WORKFLOWS[config["workflow"]].settings
    refused = 0
    for value in VALUES:
        try:
            settings(changed(config, path, value))
        except ValueError as error:
            message = one_line(error)
            refused += 1
            assert path[-1] in message or any(key in message for key in path), (value, message)
    assert refused >= 5


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K=6, J=4).simulate(samples=300, dt=1e-3, every=5, spinup=1.0, subgrid="coupling")


ARGUMENTS = [
    pytest.param(name, key, id=f"{name} {key}")
    for name, closure in CLOSURES.items()
    for key in inspect.signature(closure.fit).parameters
    if key not in ("truth", "selection", "restart")
]


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_a_wrong_argument_of_a_closure_is_named_or_good(truth: xr.Dataset, name: str, argument: str) -> None:
    local = {"fields": lc.Fields(radius=0, lags=())} if name == "schrodinger_bridge" else {}  # what is quick to fit
    refused = 0
    for value in VALUES:
        try:
            CLOSURES[name].fit(truth, **{**local, argument: value})
        except ValueError as error:
            one_line(error)
            refused += 1
    assert refused >= 5


VALUES_OF = {
    lc.Fields: ("predictors", "targets", "dim", "sample_dim", "radius", "lags", "pool", "conserve"),
    **{
        kind: tuple(inspect.signature(kind).parameters)
        for kind in (Trend, Quantiles, Moments, Chain, Noise, lc.bridge.Kernel)
    },
}


@pytest.mark.parametrize(
    ("kind", "field"),
    [pytest.param(kind, name, id=f"{kind.__name__} {name}") for kind, names in VALUES_OF.items() for name in names],
)
def test_a_wrong_field_of_a_value_is_named_or_good(kind: Any, field: str) -> None:
    messages = []
    for value in VALUES:
        try:
            kind(**{field: value})
        except ValueError as error:
            messages.append(one_line(error))
    assert len(messages) >= 5
    assert all(field in message for message in messages)


@pytest.mark.parametrize("argument", ["samples", "dt", "every", "spinup", "subgrid", "coarse_dt", "rng", "members"])
def test_a_wrong_argument_of_a_simulation_is_named_or_good(argument: str) -> None:
    refused = 0
    short = {"samples": 10, "dt": 1e-3, "every": 2, "spinup": 0.1, "subgrid": "coarse", "coarse_dt": 5e-3}
    for value in VALUES:
        try:
            run = lc.TwoScaleLorenz96(K=6, J=4).simulate(**{**short, argument: value})
        except (ValueError, FloatingPointError) as error:
            refused += one_line(error).count(argument) > 0 or "dt" in str(error)
        else:
            assert np.isfinite(run["psi"]).all()
    assert refused >= 5


# What every value of every setting does is told above, without a command line; here each setting has what reaches other
# code on the way there: a number out of range, another type, what Hydra itself makes of it.
COMMANDS = [
    *((f"coarse.{key}={value}", f"coarse.{key}") for key in ("steps", "members") for value in ("-1", "2.5")),
    *((f"coarse.{key}={value}", f"coarse.{key}") for key in ("dt", "save_every") for value in ("null", "[1]")),
    *((f"forecast.{key}={value}", "forecast") for key in ("starts", "lead", "every") for value in ("0", "{}")),
    *(
        (f"closure.{key}={value}", f"closure.{key} = ")
        for key, values in {
            "kernel.epsilon": ("0", "auot", "[]"),
            "fields.radius": ("-1", "6"),  # six neighbours on either side of twelve sites: one twice
            "fields.lags": ("0.1", "[0]", "[x]"),
            "fields.pool": ("3", "null"),
            "trend.degree": ("-1", "many"),
            "trend.order": ("0", "4"),
            "law.centres": ("0", "many"),
            "law.coordinates": ("psi",),
            "noise.order": ("many", "129"),
            "law": ("3", "null", "moments"),
        }.items()
        for value in values
    ),
    ("coarse.members=3001", "coarse.members = 3001 is not allowed; it must be at most training.samples = 3000"),
    *((f"training.{key}={value}", f"training.{key}") for key in ("samples", "dt") for value in ("0", "few")),
    *((f"seed={value}", "seed") for value in ("1.5", "null", "true")),
    *((f"checkpoint_every={value}", "checkpoint_every") for value in ("-1", "nan", "[]")),
    *((f"figures.format={value}", "figures.format") for value in ("jpeg", "[]")),
    *((f"{key}={value}", key) for key in ("resume", "force") for value in ("1", "[true]")),
    *((f"workflow={value}", "workflow") for value in ("cook", "[closure]")),
    *((f"stages={value}", "stages") for value in ("fit", "[cook]", "{a: 1}", "[1]")),
    *((f"experiment_name={value}", "experiment_name") for value in ("null", "a/b", "[x]", "''")),
    *((f"{section}=null", section) for section in ("model", "closure", "coarse", "training", "forecast", "reference")),
    *((f"~{section}", section) for section in ("model", "closure", "coarse", "training", "diagnostics", "reference")),
    *((f"+{key}=1", key.split(".")[-1]) for key in ("extra", "model.extra", "reference.model.extra")),
    *((f"{group}=nothing", f"{group}/nothing") for group in ("model", "closure")),
    ("hydra/launcher=nothing", "nothing"),
    ("model.K=${model.nothing}", "nothing"),
    ("=3", "=3"),
    ("coarse.dt==", "coarse.dt"),
    ("coarse.steps=[1,2", "coarse.steps=[1,2"),
]


@pytest.mark.parametrize(("override", "named"), COMMANDS, ids=[override for override, _ in COMMANDS])
def test_a_wrong_override_ends_in_one_line_and_leaves_nothing(
    call: Call, tmp_path: Path, override: str, named: str
) -> None:
    outcome = call(*TINY, override)
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    (line,) = (line for line in outcome.err.splitlines() if not line[:8].replace(":", "").isdigit())
    assert line.startswith("l96closure: error: ")
    assert named in line
    assert not list(tmp_path.iterdir())


def test_a_run_folder_that_is_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a file")
    outcome = call(*TINY, "run_dir=mine")
    assert outcome.status == 2
    assert "mine" in outcome.err.splitlines()[-1]
    assert (tmp_path / "mine").read_text() == "a file"


def test_no_memory_is_one_line(call: Call, tmp_path: Path) -> None:
    outcome = call(*TINY, "training.samples=1000000000000000")
    assert outcome.status == 2
    assert "Unable to allocate" in outcome.err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.nc"))


def test_there_are_hundreds_of_them() -> None:
    assert len(VALUES) * (len(CASES) + len(ARGUMENTS) + 7) + len(COMMANDS) > 2000
    assert len(COMMANDS) > 70
    assert np.unique([override for override, _ in COMMANDS]).size == len(COMMANDS)
