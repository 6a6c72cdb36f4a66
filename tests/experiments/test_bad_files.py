"""Files from elsewhere: damaged, mixed up or made up. They are refused in one line or work; nothing in them is run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import FINISHED, Call, composed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import l96closure as lc
from l96closure import store
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles, Trend, load
from l96closure.experiments.comparison import finished as finished_runs

pytestmark = pytest.mark.slow  # whole runs, or many of them

K = 5
HERE, NEAR, SEEN = (lc.Fields(radius=radius, lags=lags) for radius, lags in ((0, ()), (1, ()), (1, (0.005, 0.015))))
SITES = lc.Fields(radius=1, lags=(), periodic=False, pool=())
FEW = Quantiles(centres=60)
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in CLOSURES if name != "schrodinger_bridge"},
    "schrodinger_bridge": ("schrodinger_bridge", {"fields": SEEN, "trend": Trend(3, 3), "law": FEW}),
    "without trend": ("schrodinger_bridge", {"fields": HERE, "trend": None, "law": FEW, "noise": Noise(1, None)}),
    "compressed": ("schrodinger_bridge", {"fields": NEAR, "trend": Trend(2, 1), "law": Moments(60, 16)}),
    "moments of sites": ("schrodinger_bridge", {"fields": SITES, "trend": Trend(2, 1), "law": Moments(40, None)}),
    "chain of sites": ("schrodinger_bridge", {"fields": SITES, "trend": Trend(2, 1), "law": Chain(centres=40)}),
    "chain of lags": ("schrodinger_bridge", {"fields": SEEN, "trend": None, "law": Chain("sequential", centres=40)}),
    "coloured": ("polynomial_ar1", {"fields": SEEN, "trend": Trend(2, 2), "noise": Noise(3), "residual_degree": 2}),
}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K=K, J=4).simulate(samples=300, dt=1e-3, every=5, spinup=1.0, subgrid="coupling")


@pytest.fixture(scope="module")
def saved(truth: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a file of every closure, and of bridges that hold other parts."""
    folder = tmp_path_factory.mktemp("closures")
    for name, (of, how) in MADE.items():
        CLOSURES[of].fit(truth, **how).save(folder / f"{name}.nc")
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
        psi, state = closure.step(z, state)
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


@pytest.mark.parametrize("name", sorted(set(MADE) - {"none"}))
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
        for field in ("closure", "law", "config", "history"):
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
def run(finished: Path) -> dict[str, bytes]:
    """Files of a finished run, by name."""
    return {path.name: path.read_bytes() for path in finished.glob("*.nc")}


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
    """Change a number; what stands beside them in words is not held by checksums."""
    content = bytearray(path.read_bytes())
    numbers = xr.load_dataset(path, decode_times=False).data_vars.values()
    largest = max((each for each in numbers if each.dtype.kind == "f"), key=lambda each: each.size)
    content[content.index(largest.values.tobytes()[:64])] ^= 4
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
    outcome = call(*FINISHED, "run_dir=mine", f"stages={READERS[name]}", "force=true")
    assert outcome.status == 2
    last = outcome.err.splitlines()[-1]
    assert last.startswith("l96closure: error: ")
    assert name in last
    assert "Traceback" not in outcome.err
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {key: value for key, value in after.items() if key in before} == before
    assert set(after) <= set(before) | {"run.log"}


# Files that declare more than they hold


def _boast(path: Path, values: int, dimension: str = "time", compressed: bool = False) -> None:
    """Make a small file of ours that declares many numbers, and holds none of them."""
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"l96closure_kind": "truth", "l96closure_format_version": np.int32(store.FORMAT_VERSION)})
        file.createDimension(dimension, values)
        file.createVariable("z", "f8", (dimension,), chunksizes=(2**16,), compression="zlib" if compressed else None)
        if compressed:
            file["z"][:] = 0.0
    store.seal(path)


@pytest.mark.parametrize("name", ["time", "z"])
@pytest.mark.parametrize("reader", [partial(store.read, kind="truth"), partial(store.attributes, kind="truth"), load])
def test_a_file_that_declares_more_than_it_holds_is_refused(
    tmp_path: Path, reader: Callable[[Path], object], name: str
) -> None:
    """A petabyte, as a variable and as a coordinate: who tried to take the memory would get a MemoryError."""
    path = tmp_path / "truth.nc"
    _boast(path, 2**47, "time" if name == "z" else "z")
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"truth\.nc' is not allowed; it must be a file that holds what it declares"):
        reader(path)


def test_a_file_too_large_for_the_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "truth.nc"
    _boast(path, 2**20, compressed=True)
    assert store.read(path, kind="truth").sizes == {"time": 2**20}  # a constant, in a thousandth of its size
    monkeypatch.setattr(store, "_memory", lambda: 1e6)
    with pytest.raises(ValueError, match=r"must be smaller than the memory of 1e\+06 bytes"):
        store.read(path, kind="truth")


# Settings that are stored with results


NO_SETTINGS = [
    5,
    np.array([1.0, 2.0]),
    "just a text",
    "[1, 2]",
    "{1: 2}",
    "a: [unclosed",
    "a: 2020-13-45",
    "[" * 3000,
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",  # a few more lines of this are more than all memory
    "coarse: 3\nmodel: [1]\nseed: 0",
    "",
]


def _with_config(path: Path, config: object) -> None:
    data = xr.load_dataset(path, decode_times=False).assign_attrs(config=config)
    data.drop_encoding().to_netcdf(path)


@pytest.mark.parametrize("config", NO_SETTINGS, ids=lambda config: repr(config)[:20])
def test_what_is_stored_in_the_place_of_settings_is_told(tmp_path: Path, run: dict[str, bytes], config: object) -> None:
    for file, content in run.items():
        (tmp_path / file).write_bytes(content)
    _with_config(tmp_path / "diagnostics.nc", config)
    with pytest.raises(ValueError, match=r"settings|YAML") as error:
        finished_runs.read(tmp_path)
    assert "\n" not in str(error.value)
    assert finished_runs.read(tmp_path, strict=False).status.startswith("cannot be read: ")


SECRETS = ["${oc.env:SECRET}", "${oc.decode:${oc.env:SECRET}}", "${hydra:runtime.cwd}", "${now:%Y}", "${seed}", "${"]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_read_from_the_notes_of_a_run_is_not_evaluated(
    call: Call, tmp_path: Path, run: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """A run folder from elsewhere: what its notes refer to on this machine is neither in its files nor in messages."""
    monkeypatch.setenv("SECRET", "7777777")
    notes = tmp_path / "mine" / ".hydra"
    notes.mkdir(parents=True)
    for file, content in run.items():
        (notes.parent / file).write_bytes(content)
    config = {**composed(*FINISHED, "run_dir=mine"), "experiment_name": secret}
    (notes / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = call("run_dir=mine", "resume=true", "stages=[report]", "experiment=l96")
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    written = b"".join(path.read_bytes() for path in notes.parent.rglob("*") if path.is_file())
    for shown in (outcome.out, outcome.err, written.decode("utf-8", "replace")):
        assert "7777777" not in shown


def test_notes_do_not_choose_who_gets_the_work(call: Call, tmp_path: Path, run: dict[str, bytes]) -> None:
    """Where the work is done is said by each command: this one, here."""
    notes = tmp_path / "mine" / ".hydra"
    notes.mkdir(parents=True)
    dask = ["compute=dask", "compute.address=tcp://elsewhere:1"]
    (notes / "config.yaml").write_text(yaml.safe_dump(composed(*FINISHED, "run_dir=mine", *dask)))
    assert call("run_dir=mine", "resume=true", "stages=[simulate,fit]").status == 0
