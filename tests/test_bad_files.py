"""Files from elsewhere: damaged, mixed up or made up. They are refused in one line or work; nothing in them is run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from command_line import Call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import TINY

import l96closure as lc
from l96closure import store
from l96closure.closures import CLOSURES, load

K = 5


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.simulate(lc.TwoScaleLorenz96(K=K, J=4), samples=300, dt=1e-3, every=5, spinup=1.0, subgrid="coupling")


@pytest.fixture(scope="module")
def saved(truth: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a file of every closure, and of bridges that hold other parts."""
    folder = tmp_path_factory.mktemp("closures")
    bridge = CLOSURES["schrodinger_bridge"]
    made = {name: closure.fit(truth) for name, closure in CLOSURES.items()}
    made["compressed bridge"] = bridge.fit(truth, scheme="moments", epsilon=0.1, compressed=16)
    made["bridge of sites"] = bridge.fit(truth, scheme="split", radius=1, pooled=False, memory=None, centres=40)
    for name, closure in made.items():
        closure.save(folder / f"{name}.nc")
    return folder


def refused_or_sound(path: Path) -> bool:
    """Load a closure and step it; False if it was refused in one line that names the file."""
    try:
        closure = load(path)
    except ValueError as error:
        message = str(error)
        if "\n" in message or path.name not in message:
            raise
        return False
    z = np.random.default_rng(0).normal(2.0, 3.0, (2, K))
    state = closure.init(z, 1)
    for _ in range(3):
        psi, state = closure.step(z, state, np.random.default_rng(2))
        assert psi.shape == z.shape
        assert np.isfinite(psi).all()
    return True


@pytest.mark.parametrize("kind", ["flip", "cut", "swap", "zero"])
@pytest.mark.parametrize("name", ["schrodinger_bridge", "polynomial_ar1"])
def test_no_random_damage_is_loaded(saved: Path, tmp_path: Path, name: str, kind: str) -> None:
    """125 of each kind, 1,000 in all."""
    path, rng, whole = (
        tmp_path / "closure.nc",
        np.random.default_rng(sum(map(ord, kind))),
        (saved / f"{name}.nc").read_bytes(),
    )
    for _ in range(125):
        damaged = bytearray(whole)
        at, length = int(rng.integers(len(whole) - 100)), int(rng.integers(1, 100))
        if kind == "flip":
            damaged[at] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            damaged = damaged[:at]
        elif kind == "swap":
            damaged[at : at + length], damaged[:length] = damaged[:length], damaged[at : at + length]
        else:
            damaged[at : at + length] = bytes(length)
        if damaged == whole:
            damaged[at] ^= 1
        path.write_bytes(damaged)
        assert not refused_or_sound(path)


KINDS = ["drop", "fill", "set", "cut", "transpose", "type", "attribute", "no attribute"]
VALUES = [np.nan, np.inf, -1.0, 0.0, 1e300, 1e9, 7.0]
ATTRIBUTES = [*VALUES, "text", "", [1.0, 2.0], 10**4]


def mutate(path: Path, what: str, which: int, place: int, value: int) -> None:
    """Change one thing in a file, and seal it again as if nothing had happened; the numbers choose, modulo."""
    data = xr.load_dataset(path, decode_times=False)
    if what in ("attribute", "no attribute"):
        key = sorted(data.attrs)[which % len(data.attrs)]
        changed: Any = {key: ATTRIBUTES[value % len(ATTRIBUTES)]} if what == "attribute" else {}
        data.attrs = {k: v for k, v in data.attrs.items() if k != key} | changed
    else:
        names = sorted(map(str, data.variables))
        name = names[which % len(names)]
        variable = data[name].variable
        values = variable.values.astype(object if variable.dtype.kind in "OUS" else float)
        new: Any = "text" if values.dtype == object else VALUES[value % len(VALUES)]
        data = data.drop_vars(name)
        if what == "fill":
            data[name] = variable.dims, np.full_like(values, new)
        elif what == "set" and values.size:
            values.flat[place % values.size] = new
            data[name] = variable.dims, values
        elif what == "cut" and values.ndim:
            data[name] = [*variable.dims[:-1], "another"], values[..., : max(values.shape[-1] - 1, 0)]
        elif what == "transpose":
            data[name] = [f"{dim}_of_{name}" for dim in reversed(variable.dims)], values.T
        elif what == "type":
            data[name] = variable.dims, values.astype(str)
    data.drop_encoding().to_netcdf(path)
    store.seal(path)


NUMBERS = st.integers(0, 10**6)


@pytest.mark.parametrize("name", [*sorted(set(CLOSURES) - {"none"}), "compressed bridge", "bridge of sites"])
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(what=st.sampled_from(KINDS), which=NUMBERS, place=NUMBERS, value=NUMBERS)
def test_plausible_damage_is_refused_or_harmless(
    saved: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    what: str,
    which: int,
    place: int,
    value: int,
) -> None:
    path = tmp_path_factory.mktemp("mutated") / "closure.nc"
    path.write_bytes((saved / f"{name}.nc").read_bytes())
    mutate(path, what, which, place, value)
    refused_or_sound(path)


class Bomb:
    """Leaves a trace if it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_nothing_in_a_file_is_run(saved: Path, tmp_path: Path) -> None:
    payload = np.frombuffer(pickle.dumps(Bomb(tmp_path / "trace")), np.uint8)
    for file in saved.iterdir():
        for field in ("closure", "scheme", "config", "history"):
            path = tmp_path / "closure.nc"
            data = xr.load_dataset(file, decode_times=False).assign_attrs({field: payload, "_target_": "os.system"})
            data.drop_encoding().to_netcdf(path)
            store.seal(path)
            refused_or_sound(path)
        assert not (tmp_path / "trace").exists(), file


def test_a_pickle_is_no_closure(tmp_path: Path) -> None:
    path = tmp_path / "closure.nc"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    store.seal(path)
    assert not refused_or_sound(path)
    assert not (tmp_path / "trace").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a finished run, by name."""
    from test_bad_settings import composed

    from l96closure.experiments import WORKFLOWS

    folder = tmp_path_factory.mktemp("run")
    config = composed(*TINY, "closure=polynomial", "run_dir=mine")
    WORKFLOWS["closure"].run(config, folder, ["simulate", "fit", "integrate", "forecast", "diagnose"])
    return {path.name: path.read_bytes() for path in folder.glob("*.nc")}


READERS = {
    "truth.nc": "[fit]",
    "reference.nc": "[diagnose]",
    "closure.nc": "[integrate]",
    "coarse.nc": "[diagnose]",
    "forecast.nc": "[diagnose]",
    "diagnostics.nc": "[report]",
}


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _other(path: Path) -> None:
    other = "truth.nc" if path.name != "truth.nc" else "coarse.nc"
    path.write_bytes((path.parent / other).read_bytes())


@pytest.mark.parametrize("damage", [_empty, _half, _flip, _folder, _loop, _other])
@pytest.mark.parametrize("name", READERS)
def test_a_stage_that_reads_a_bad_file_says_which(
    call: Call, tmp_path: Path, run: dict[str, bytes], name: str, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for file, content in run.items():
        (folder / file).write_bytes(content)
    damage(folder / name)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    outcome = call(*TINY, "closure=polynomial", "run_dir=mine", f"stages={READERS[name]}", "force=true")
    assert outcome.status == 2
    last = outcome.err.splitlines()[-1]
    assert last.startswith("l96closure: error: ")
    assert name in last
    assert "Traceback" not in outcome.err
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {key: value for key, value in after.items() if key in before} == before
    assert set(after) <= set(before) | {"run.log"}
