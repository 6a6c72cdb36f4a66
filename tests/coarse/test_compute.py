"""Work on a Dask cluster, and sweeps through other launchers: the results are those of this process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from command_line import TINY, Call, content

import l96closure as lc
from l96closure import compute
from l96closure.closures import Chain, SchrodingerBridge

NO_REPORT = "stages=[simulate,fit,integrate,forecast,diagnose]"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]  # of the cluster, when it ends


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason='needs pip install "l96closure[dask]"')
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def square(x: float) -> float:
    return x * x


def pid(_: int) -> int:
    time.sleep(0.2)  # noqa: TID251 - nothing is asserted about it
    return os.getpid()


def test_pieces_are_done_in_order_here() -> None:
    with compute.Compute().engaged():
        assert list(compute.each(square, [3.0, 1.0, 2.0])) == [9.0, 1.0, 4.0]


def test_a_mapping_holds_inside_its_context_alone() -> None:
    asked: list[str] = []

    def noted(name: str) -> compute.Each:
        return lambda function, items: [asked.append(name) or function(item) for item in items]  # type: ignore[func-returns-value]

    with compute.mapped(noted("outer")):
        with compute.mapped(noted("inner")):
            lc.bridge.fit(np.random.default_rng(0).standard_normal((30, 2)), 0.5, [[0], [1]])
        compute.each(square, [1.0])
    assert list(compute.each(square, [3.0])) == [9.0]
    assert asked == ["inner", "inner", "outer"]


@pytest.mark.slow
def test_pieces_are_done_in_order_by_several_processes(two_workers: Any) -> None:
    with compute.Compute("dask", two_workers.scheduler_address).engaged():
        assert list(compute.each(square, [3.0, 1.0, 2.0])) == [9.0, 1.0, 4.0]
        assert len({*compute.each(pid, range(6)), os.getpid()}) == 3


@pytest.mark.parametrize("items", [1, 3, 4, 11])
@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_groups_are_all_items_in_order_as_even_as_can_be(items: int, at_once: int) -> None:
    with compute.mapped(map, at_once):
        groups = compute.groups(range(items))
    assert [item for group in groups for item in group] == list(range(items))
    assert len(groups) == min(items, at_once)
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("model", [lc.TwoScaleLorenz96(K=6, J=4), lc.KuramotoSivashinsky(K=8, J=4)], ids=["L96", "KS"])
def test_members_of_a_truth_have_the_same_bits_on_a_cluster(model: Any, two_workers: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"samples": 40, "every": 2, "spinup": 0.1, "rng": 3}
    here = model.simulate(**how, members=5)
    asked: list[int] = []
    with compute.Compute("dask", two_workers.scheduler_address).engaged():
        there = model.simulate(**how, members=5)
        with compute.mapped(lambda function, items: [asked.append(len(item)) or function(item) for item in items], 2):
            model.simulate(**how, members=5)
            kept = model.simulate(**how, members=5, restart=lc.Restart(tmp_path / "kept"))
            model.simulate(**how)
    assert there.identical(here)
    assert kept.identical(here)
    assert asked == [2, 3]


@pytest.mark.slow
def test_a_fit_over_sites_has_the_same_bits_on_a_cluster(two_workers: Any) -> None:
    truth = lc.TwoScaleLorenz96(K=6, J=4).simulate(samples=400, dt=1e-3, every=5, spinup=2.0, subgrid="coupling")
    arguments: dict[str, Any] = {"fields": lc.Fields(radius=1, lags=(), pool=()), "trend": None, "law": Chain()}
    here = SchrodingerBridge.fit(truth, **arguments)
    with compute.Compute("dask", two_workers.scheduler_address).engaged():
        there = SchrodingerBridge.fit(truth, **arguments)
    assert len(here.law.fitted.dictionaries) == 6
    for one, other in zip(here.law.fitted.dictionaries, there.law.fitted.dictionaries, strict=True):
        assert np.array_equal(one.log_v, other.log_v)


@pytest.mark.slow
def test_an_experiment_has_the_same_bits_on_a_cluster(call: Call, two_workers: Any) -> None:
    run = [*TINY, NO_REPORT, "closure=polynomial_ar1", "coarse.batches=2"]
    here = call(*run, "run_dir=here")
    assert here.status == 0, here.err
    there = call(*run, "run_dir=there", "compute=dask", f"compute.address={two_workers.scheduler_address}")
    assert there.status == 0, there.err
    for name in ("closure", "coarse", "diagnostics"):
        one, other = (content(outcome.folder / f"{name}.nc") for outcome in (here, there))
        assert one.identical(other), name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_run_outlives_one_of_its_workers(call: Call, two_workers: Any) -> None:
    run = [*TINY, "closure=polynomial_ar1", "stages=[simulate,fit,integrate]", "coarse.batches=2", "coarse.steps=40000"]
    here = call(*run, "run_dir=here")
    killed: list[int] = []
    with compute.Compute("dask", two_workers.scheduler_address).engaged():
        victim = next(iter(compute.each(pid, [0])))

    def kill() -> None:
        while not Path("there/closure.nc").exists():
            time.sleep(0.01)  # noqa: TID251 - nothing is asserted about it
        time.sleep(0.5)  # noqa: TID251 - nothing is asserted about it
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    there = call(*run, "run_dir=there", "compute=dask", f"compute.address={two_workers.scheduler_address}")
    killer.join()
    assert killed
    assert there.status == 0, there.err
    assert content(there.folder / "coarse.nc").identical(content(here.folder / "coarse.nc"))


SHIFTED = ["+reference.model.F=9", "reference.spinup=0.25"]  # the coarse run spins up before its first record


@pytest.mark.parametrize(
    ("closure", "shifted"), [("polynomial_ar1", True), ("analog", False), ("schrodinger_bridge", True)]
)
def test_batches_change_no_bit(call: Call, closure: str, shifted: bool) -> None:
    run = [*TINY, "coarse.members=3", "coarse.steps=50", f"closure={closure}", "run_dir=mine"]
    run += SHIFTED if shifted else []
    run += ["closure.fields.radius=1", "closure.fields.lags=[0.01,0.03]"] if closure == "schrodinger_bridge" else []
    assert call(*run, "stages=[simulate,fit]").status == 0

    def coarse(*how: str) -> xr.Dataset:
        outcome = call(*run, "stages=[integrate]", "force=true", *how)
        assert outcome.status == 0, outcome.err
        return xr.load_dataset(outcome.folder / "coarse.nc", decode_times=False)

    one, *others = (coarse(f"coarse.batches={n}") for n in (1, 2, 3))
    others.append(coarse("coarse.batches=2", "checkpoint_every=0"))
    assert one["member"].values.tolist() == [0, 1, 2]
    assert not np.array_equal(one["z"][:, 0], one["z"][:, 1])
    for other in others:
        assert other.equals(one)


def test_dask_is_asked_for_and_not_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    outcome = call(*TINY, "compute=dask", "stages=[simulate,fit]")
    assert outcome.status == 2
    assert 'it must be local, or pip install "l96closure[dask]"' in outcome.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("compute.engine=spark", "compute.engine = 'spark' is not allowed; it must be one of dask, local"),
        ("compute.workers=0", "compute.workers = 0 is not allowed"),
        ("compute.address=3", "compute.address = 3 is not allowed"),
        ("coarse.batches=3", "coarse.batches = 3 is not allowed; it must be at most coarse.members = 2"),
    ],
)
def test_wrong_settings(call: Call, override: str, message: str) -> None:
    outcome = call(*TINY, override)
    assert outcome.status == 2
    assert message in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        ("hydra_plugins.hydra_joblib_launcher", ["hydra/launcher=joblib"]),
        ("hydra_plugins.hydra_submitit_launcher", ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=600"]),
        ("hydra_plugins.hydra_ray_launcher", ["hydra/launcher=ray"]),
    ],
)
def test_a_sweep_through_another_launcher(call: Call, tmp_path: Path, plugin: str, options: list[str]) -> None:
    pytest.importorskip(plugin, reason='needs the launcher: pip install "l96closure[joblib,slurm,ray]"')
    sweep = [*TINY, "closure=polynomial", "seed=1,2", "stages=[simulate,fit,integrate]"]
    outcome = call("-m", *sweep, *options, "run_dir=there")
    assert outcome.status == 0, outcome.err
    if "submitit" in plugin:  # joblib's processes write to the standard output that they share, past the test
        assert outcome.out.splitlines() == [str(tmp_path / "there" / number) for number in ("0", "1")]
    call("-m", *sweep, "run_dir=here")
    for number in ("0", "1"):
        one, other = (content(Path(folder) / number / "coarse.nc") for folder in ("here", "there"))
        assert one.identical(other)
        assert (tmp_path / "there" / number / ".hydra" / "config.yaml").is_file()


def test_the_settings_for_slurm_compose(call: Call) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason='needs pip install "l96closure[slurm]"')
    folder = Path(__file__).resolve().parents[2] / "examples" / "cluster" / "conf"
    outcome = call("--config-dir", str(folder), "+cluster=slurm", "--cfg=hydra")
    assert outcome.status == 0, outcome.err
    assert "SlurmLauncher" in outcome.out
    assert "max_num_timeout: 10" in outcome.out
