"""Files are whole or absent, say where they came from, and are understood by tools that know nothing of us."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from cf_checker import cf_complaints

import l96closure as lc
from l96closure import provenance, store
from l96closure.atomic import atomic_path
from l96closure.attributes import ATTRIBUTES
from l96closure.experiments import WORKFLOWS

pytestmark = pytest.mark.slow  # whole runs, or many of them


def _coarse() -> xr.Dataset:
    rng = np.random.default_rng(0)
    dims = ("member", "time", "k")
    return xr.Dataset(
        {name: (dims, rng.standard_normal((2, 40, 5))) for name in ("z", "psi")},
        coords={"member": np.arange(2), "time": 0.05 * np.arange(40), "k": np.arange(5)},
        attrs={"scheme": "rk4", "adaptive": False},
    )


def _write(dataset: xr.Dataset, path: Path, kind: str = "coarse", **more: object) -> None:
    store.write(dataset, path, kind=kind, title="A title", history="l96closure seed=1", **more)  # type: ignore[arg-type]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    dataset = _coarse()
    _write(dataset, tmp_path / "coarse.nc")
    again = store.read(tmp_path / "coarse.nc", kind="coarse")
    xr.testing.assert_equal(again, dataset)
    assert again.attrs["scheme"] == "rk4"
    assert again.attrs["adaptive"] == 0


def test_writing_leaves_the_dataset_as_it_was(tmp_path: Path) -> None:
    dataset = _coarse()
    before = dataset.copy(deep=True)
    _write(dataset, tmp_path / "coarse.nc")
    xr.testing.assert_identical(dataset, before)


def test_file_says_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path, config_yaml="model:\n  K: 5\n", seeds={"truth": 3, "coarse": 2**70})
    attributes = store.read(path, kind="coarse").attrs
    assert attributes["Conventions"] == "CF-1.11"
    assert attributes["title"] == "A title"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ l96closure seed=1", attributes["history"])
    assert attributes["config"] == "model:\n  K: 5\n"
    assert attributes["seed_truth"] == 3
    assert attributes["seed_coarse"] == str(2**70)
    assert attributes["l96closure_kind"] == "coarse"
    assert attributes["l96closure_format_version"] == store.FORMAT_VERSION == 6
    assert attributes["l96closure_version"] == provenance.package_version()
    assert attributes["l96closure_git_commit"] == provenance.git_commit()


def test_history_grows_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path)
    first = store.read(path, kind="coarse")
    store.write(first, path, kind="coarse", title="A title", history="second command")
    newest, oldest = store.read(path, kind="coarse").attrs["history"].splitlines()
    assert newest.endswith("second command")
    assert oldest == first.attrs["history"]


def test_commit_is_unknown_outside_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "site-packages" / "l96closure" / "store.py"))
    assert provenance.git_commit.__wrapped__() == "unknown"


def _clone(folder: Path, text: str) -> tuple[Path, str]:
    """Make a repository of one file; return that and the commit."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    source = folder / "l96closure" / "store.py"
    source.parent.mkdir(parents=True)
    source.write_text(text)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", text)
    return source, git("rev-parse", "HEAD")


def test_commit_of_a_clone_tells_changed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, commit = _clone(tmp_path, "1")
    monkeypatch.setattr(provenance, "__file__", str(source))
    assert provenance.git_commit.__wrapped__() == commit
    source.write_text("2\n")
    assert provenance.git_commit.__wrapped__() == f"{commit}-dirty"


_OF_ANOTHER = {
    **{"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index", "GIT_COMMON_DIR": ".git"},
    **{"GIT_OBJECT_DIRECTORY": ".git/objects"},
}


@pytest.mark.parametrize("names", [*([name] for name in _OF_ANOTHER), list(_OF_ANOTHER)])
def test_commit_is_of_no_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """As in the hook of one, where git sets these."""
    source, commit = _clone(tmp_path / "ours", "1")
    _clone(tmp_path / "theirs", "2")
    monkeypatch.setattr(provenance, "__file__", str(source))
    monkeypatch.chdir(tmp_path / "theirs")
    for name in names:
        monkeypatch.setenv(name, str(tmp_path / "theirs" / _OF_ANOTHER[name]))
    assert provenance.git_commit.__wrapped__() == commit


def test_a_broken_clone_has_no_commit_of_the_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = _clone(tmp_path, "1")
    inner = source.parent / "l96closure" / "store.py"
    (source.parent / ".git").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(inner))
    assert provenance.git_commit.__wrapped__() == "unknown"


def test_plain_xarray_sees_numbers_as_time_and_labels_as_source(tmp_path: Path) -> None:
    _write(_coarse(), tmp_path / "coarse.nc")
    with xr.open_dataset(tmp_path / "coarse.nc") as plain:
        np.testing.assert_array_equal(plain["time"], 0.05 * np.arange(40))
        assert plain["time"].dtype == np.float64
    labelled = xr.Dataset(
        {"mean": ("source", [1.0, 2.0], {"long_name": "mean", "units": "1"})},
        coords={"source": ("source", ["truth", "coarse"], {"long_name": "origin of the statistics"})},
    )
    _write(labelled, tmp_path / "diagnostics.nc", kind="diagnostics")
    with xr.open_dataset(tmp_path / "diagnostics.nc") as plain:
        assert plain["mean"].sel(source="coarse").item() == 2.0


def test_in_files_time_comes_first_and_is_unlimited(tmp_path: Path) -> None:
    _write(_coarse(), tmp_path / "coarse.nc")
    rng = np.random.default_rng(1)
    forecast = xr.Dataset(
        {"z": (("start", "member", "lead", "k"), rng.standard_normal((4, 2, 3, 5)))},
        coords={"start": np.arange(4.0), "member": [0, 1], "lead": 0.1 * np.arange(3), "k": np.arange(5)},
    )
    _write(forecast, tmp_path / "forecast.nc", kind="forecast")
    for name, first in {"coarse": "time", "forecast": "start"}.items():
        with netCDF4.Dataset(tmp_path / f"{name}.nc") as file:
            assert file["z"].dimensions[:2] == (first, "member")
            assert [dim for dim, about in file.dimensions.items() if about.isunlimited()] == [first]
            assert file["z"].chunking() == list(file["z"].shape)  # not a record each, netCDF's own choice
    assert store.read(tmp_path / "coarse.nc", kind="coarse")["z"].dims == ("member", "time", "k")
    again = store.read(tmp_path / "forecast.nc", kind="forecast")
    xr.testing.assert_equal(again, forecast)
    assert again["z"].dims == forecast["z"].dims


def test_files_from_before_time_came_first_are_read(tmp_path: Path) -> None:
    """Members first, time in units that only UDUNITS knows."""
    _write(_coarse(), tmp_path / "coarse.nc")
    with xr.load_dataset(tmp_path / "coarse.nc", decode_times=False) as new:
        old = new.transpose("member", "time", "k")
    old["time"].attrs |= {"units": "5 days SINCE 0001-01-01", "calendar": "none"}
    old.to_netcdf(tmp_path / "old.nc")
    xr.testing.assert_equal(store.read(tmp_path / "old.nc", kind="coarse"), _coarse())


def test_bins_have_bounds_in_files_alone(tmp_path: Path) -> None:
    attributes = {"long_name": "centre of the bin", "units": "1"}
    dataset = xr.Dataset(
        {"density": ("z_bin", [0.25, 0.75], {"long_name": "density"})}, {"z_bin": ("z_bin", [0.5, 1.5], attributes)}
    )
    _write(dataset, tmp_path / "diagnostics.nc", kind="diagnostics")
    with xr.open_dataset(tmp_path / "diagnostics.nc") as file:
        np.testing.assert_array_equal(file[file["z_bin"].attrs["bounds"]], [[0.0, 1.0], [1.0, 2.0]])
    assert not cf_complaints(tmp_path / "diagnostics.nc")
    again = store.read(tmp_path / "diagnostics.nc", kind="diagnostics")
    xr.testing.assert_equal(again, dataset)
    assert again["z_bin"].attrs == attributes
    assert dataset["z_bin"].attrs == attributes


def _of_a_tool(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("cdo") is None, reason="CDO is not installed")
def test_cdo_keeps_times_and_means(tmp_path: Path) -> None:
    run, path = _coarse(), tmp_path / "coarse.nc"
    run["time"] = 5000.0 + 0.001 * run["time"] / 0.05
    _write(run, path)
    for operator in ("seltimestep,3/5", "timmean", "fldmean"):
        _of_a_tool("cdo", "-s", operator, str(path), str(tmp_path / f"{operator[:3]}.nc"))
    some, mean, ring = (store.read(tmp_path / f"{name}.nc", kind="coarse") for name in ("sel", "tim", "fld"))
    np.testing.assert_allclose(some["time"], run["time"][2:5], rtol=0, atol=1e-9)
    xr.testing.assert_equal(some["z"].drop_vars("time"), run["z"][:, 2:5].drop_vars("time"))
    np.testing.assert_allclose(mean["z"].squeeze("time"), run["z"].mean("time"), rtol=1e-12)
    np.testing.assert_allclose(ring["z"].to_numpy().ravel(), run["z"].mean(("member", "k")), rtol=1e-12)
    np.testing.assert_allclose(ring["time"], run["time"], rtol=0, atol=1e-9)
    with xr.open_dataset(tmp_path / "sel.nc") as plain:  # numbers still, no dates
        assert plain["time"].dtype == np.float64


@pytest.mark.skipif(shutil.which("ncra") is None, reason="NCO is not installed")
def test_nco_keeps_times_and_means(tmp_path: Path) -> None:
    run, path = _coarse(), tmp_path / "coarse.nc"
    _write(run, path)
    _of_a_tool("ncra", str(path), str(tmp_path / "mean.nc"))
    _of_a_tool("ncks", "-d", "time,2,4", str(path), str(tmp_path / "some.nc"))
    mean, some = (store.read(tmp_path / f"{name}.nc", kind="coarse") for name in ("mean", "some"))
    np.testing.assert_allclose(mean["z"].squeeze("time"), run["z"].mean("time"), rtol=1e-12)
    xr.testing.assert_equal(some, run.isel(time=slice(2, 5)))


def test_a_zarr_store_holds_what_a_file_does(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "coarse.zarr"
    for run in (_coarse(), 2.0 * _coarse()):  # the second in place of the first
        _write(run, path)
        xr.testing.assert_equal(store.read(path, kind="coarse"), run)
    assert store.kind_of(path) == "coarse"
    assert [file.name for file in tmp_path.iterdir()] == ["coarse.zarr"]
    with pytest.raises(ValueError, match="of kind 'coarse'"):
        store.read(path, kind="truth")
    (tmp_path / "mine.zarr").mkdir()
    for name in ("mine.zarr", "nowhere/coarse.zarr"):
        with pytest.raises(ValueError, match="the name of a Zarr store"):
            _write(_coarse(), tmp_path / name)
    with pytest.raises(ValueError, match="a netCDF file"):
        _write(_coarse(), tmp_path / "closure.zarr", kind="closure")


def test_a_zarr_store_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    for name, message in {"none.zarr": "an existing Zarr store", "empty.zarr": "cannot be read"}.items():
        with pytest.raises(ValueError, match=message) as caught:
            store.read(tmp_path / name, kind="truth")
        assert "\n" not in str(caught.value)


def test_every_variable_has_its_attributes_and_coordinates_no_fill_value(tmp_path: Path) -> None:
    _write(_coarse(), tmp_path / "coarse.nc")
    with netCDF4.Dataset(tmp_path / "coarse.nc") as file:
        for name, variable in file.variables.items():
            for attribute, value in ATTRIBUTES[name].items():
                assert variable.getncattr(attribute) == value
        for name in ("member", "time", "k"):
            assert "_FillValue" not in file[name].ncattrs()


def test_own_attributes_come_before_the_table(tmp_path: Path) -> None:
    dataset = _coarse().assign(extra=("k", np.zeros(5), {"long_name": "something of the user's", "units": "K"}))
    dataset["z"].attrs["long_name"] = "temperature"
    _write(dataset, tmp_path / "coarse.nc")
    again = store.read(tmp_path / "coarse.nc", kind="coarse")
    assert again["z"].attrs == {"long_name": "temperature", "units": "1"}
    assert again["extra"].attrs["units"] == "K"


def test_variable_nobody_describes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'mystery' is not allowed"):
        _write(_coarse().assign(mystery=1.0), tmp_path / "coarse.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the ne")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_written(tmp_path: Path, links: int, relative: bool, there: bool) -> None:
    (tmp_path / "scratch").mkdir()
    place = tmp_path / "scratch" / "big.nc"
    if there:
        place.write_text("old")
    path = place
    for number in range(links):
        link = tmp_path / f"coarse{number}.nc"
        link.symlink_to(path.relative_to(tmp_path) if relative else path)
        path = link
    _write(_coarse(), path)
    assert path.is_symlink()
    assert not place.is_symlink()
    assert store.read(path, kind="coarse").equals(store.read(place, kind="coarse"))
    assert [file.name for file in (tmp_path / "scratch").iterdir()] == ["big.nc"]


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nc").symlink_to(tmp_path / "b.nc")
    (tmp_path / "b.nc").symlink_to(tmp_path / "a.nc")
    (tmp_path / "c.nc").symlink_to(tmp_path / "nowhere" / "c.nc")
    for name in ("a.nc", "c.nc"):
        with pytest.raises(ValueError, match=name) as caught:
            _write(_coarse(), tmp_path / name)
        assert "\n" not in str(caught.value)
    assert all(path.is_symlink() for path in tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_who_could_not_read_a_file_cannot_when_it_is_written_anew(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path)
    path.chmod(mode)
    with atomic_path(path) as temporary:
        _coarse().drop_attrs().to_netcdf(temporary, engine="netcdf4")
        assert stat.S_IMODE(temporary.stat().st_mode) & ~mode & 0o077 == 0
    assert stat.S_IMODE(path.stat().st_mode) == mode
    _write(_coarse(), path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    (tmp_path / "new.txt").touch()
    _write(_coarse(), tmp_path / "new.nc")
    assert (tmp_path / "new.nc").stat().st_mode == (tmp_path / "new.txt").stat().st_mode


def test_the_kind_of_a_file_is_told_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path)
    assert store.kind_of(path) == "coarse"
    _newer(path)
    assert store.kind_of(path) == "coarse"
    for damage in (_text, _foreign):
        damage(path)
        assert store.kind_of(path) is None


def test_failing_netcdf_write_leaves_nothing(tmp_path: Path) -> None:
    dataset = _coarse().assign_attrs(unwritable=object())
    with pytest.raises(TypeError):
        _write(dataset, tmp_path / "coarse.nc")
    assert list(tmp_path.iterdir()) == []


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        _write(_coarse(), tmp_path / "nowhere" / "coarse.nc")
    with pytest.raises(ValueError, match="existing folder"):
        _write(_coarse(), tmp_path)


def _missing(path: Path) -> None:
    path.unlink()


def _text(path: Path) -> None:
    path.write_text("not netCDF")


def _other_kind(path: Path) -> None:
    _write(_coarse(), path, kind="truth")


def _newer(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file.l96closure_format_version = np.int32(store.FORMAT_VERSION + 1)


def _foreign(path: Path) -> None:
    _coarse()[["z"]].drop_attrs().to_netcdf(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, "an existing coarse file"),
        (_text, "cannot be read"),
        (_other_kind, "of kind 'truth'"),
        (_newer, f"this one has {store.FORMAT_VERSION + 1}"),
        (_foreign, "of kind None"),
    ],
)
def test_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path)
    damage(path)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        store.read(path, kind="coarse")
    assert "\n" not in str(caught.value)
    assert "coarse.nc" in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"coarse\.nc' is not allowed.*cannot be read"):
        store.read(path, kind="coarse")


def test_a_closure_is_refused_where_its_seal_is_not_that_of_what_is_before_it(tmp_path: Path) -> None:
    path = tmp_path / "closure.nc"
    _write(_coarse(), path, kind="closure")
    whole = path.read_bytes()
    digits = hashlib.sha256(whole[:-84]).hexdigest()
    assert whole[-84:] == f"\nl96closure sha256 {digits}\n".encode()
    with netCDF4.Dataset(path, "a") as file:
        file.title = "Another title"
    assert not store.is_sealed(path)
    with pytest.raises(ValueError, match="its checksum is missing or wrong"):
        store.read(path, kind="closure")
    store.seal(path)
    assert store.read(path, kind="closure").attrs["title"] == "Another title"


def test_no_changed_byte_of_a_closure_goes_unnoticed(tmp_path: Path) -> None:
    path, rng = tmp_path / "closure.nc", np.random.default_rng(0)
    _write(_coarse(), path, kind="closure")
    whole = path.read_bytes()
    for place in [0, len(whole) - 1, *rng.integers(0, len(whole), 100)]:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"closure\.nc' is not allowed"):
            store.read(path, kind="closure")


def test_no_number_that_damage_has_changed_is_read(tmp_path: Path) -> None:
    """The file's own checksums tell, to any program that reads it; what is beside the numbers may change."""
    path, rng, refused = tmp_path / "coarse.nc", np.random.default_rng(0), 0
    _write(_coarse(), path)
    whole, data = path.read_bytes(), _coarse()
    for place in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = store.read(path, kind="coarse")
        except ValueError:
            refused += 1
        else:
            assert found.equals(data)
    assert refused > 20


def test_a_file_of_the_user_is_read_where_it_will_do(tmp_path: Path) -> None:
    path = tmp_path / "coarse.nc"
    _foreign(path)
    assert store.read(path, kind="coarse", foreign=True)["z"].equals(_coarse()["z"])
    _other_kind(path)
    with pytest.raises(ValueError, match="of kind 'truth'"):
        store.read(path, kind="coarse", foreign=True)


def test_file_is_closed_after_reading(tmp_path: Path) -> None:
    path = tmp_path / "coarse.nc"
    _write(_coarse(), path)
    dataset = store.read(path, kind="coarse")
    path.unlink()
    assert np.isfinite(dataset["z"]).all()


# The CF checker


def test_every_kind_of_file_passes_the_cf_checker(tmp_path: Path) -> None:
    model = lc.TwoScaleLorenz96(K=5, J=4)
    truth = model.simulate(samples=600, dt=2e-3, every=5, spinup=1.0, subgrid="coupling", rng=1)
    coarse = xr.Dataset(
        {name: (("member", "time", "k"), truth[name].values.reshape(2, 300, 5)) for name in ("z", "psi")},
        coords={"member": [0, 1], "time": truth["time"].values[:300], "k": truth["k"]},
    )
    none = lc.closures.NoClosure(dt=0.01)
    forecast = lc.forecast(lambda z: -z, none, truth, starts=5, members=3, leads=np.linspace(0.0, 0.5, 6))
    diagnostics = xr.merge([lc.diagnose(truth, coarse), lc.verify(forecast, truth)], combine_attrs="no_conflicts")
    kinds = {"truth": truth, "coarse": coarse, "forecast": forecast, "diagnostics": diagnostics}
    for kind, dataset in kinds.items():
        _write(dataset, tmp_path / f"{kind}.nc", kind=kind, config_yaml="K: 5\n", seeds={"truth": 2**63})
    seen, of = lc.Fields(radius=1, lags=(0.01, 0.03)), lc.closures
    laws = {
        "quantiles": of.Quantiles(centres=50),
        "moments": of.Moments(50, 20),
        "chain": of.Chain(centres=50),
    }
    for name, law in laws.items():
        of.SchrodingerBridge.fit(truth, seen, of.Trend(3, 3), law).save(tmp_path / f"{name}.nc")
    for closure in (lc.closures.NoClosure, lc.closures.Polynomial, lc.closures.PolynomialAR1, lc.closures.Analog):
        closure.fit(truth).save(tmp_path / f"{closure.name}.nc")
    for path in sorted(tmp_path.glob("*.nc")):
        assert not cf_complaints(path)


_SAMPLING = {
    "chains": 4,
    "records": 4,
    "schemes": {"split": {"burn_in": 5, "thin": 1}, "euler": {"burn_in": 2, "thin": 1}},
}
_SAMPLING_EXPERIMENTS = {
    "gaussian": {
        "target": {"d": 6, "precision_scale": 1.0, "samples": 40, "realisations": 2},
        "bridge": {"epsilon": 0.1, "radius": 1},
    },
    "bistable": {
        "target": {"samples": 40, "intervals": 5, "interval": 5.0, "noise": 0.2, "dt": 0.05},
        "bridge": {"epsilon": 0.1, "sided": "causal"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("workflow", sorted(_SAMPLING_EXPERIMENTS))
def test_every_file_of_a_sampling_experiment_passes_the_cf_checker(tmp_path: Path, workflow: str) -> None:
    config = {**_SAMPLING_EXPERIMENTS[workflow], "sampling": _SAMPLING, "seed": 1}
    WORKFLOWS[workflow].run(config, tmp_path, ["simulate", "sample", "diagnose"])
    paths = sorted(tmp_path.glob("*.nc"))
    assert [path.stem for path in paths] == ["diagnostics", "generated", "training"]
    for path in paths:
        assert not cf_complaints(path)
        with netCDF4.Dataset(path) as file:
            named = {name for name, variable in file.variables.items() if "long_name" in variable.ncattrs()}
            bounds = {variable.bounds for variable in file.variables.values() if "bounds" in variable.ncattrs()}
            assert named | bounds == {*file.variables}  # bounds are called what their bins are


def test_cf_checker_would_notice(tmp_path: Path) -> None:
    dataset = _coarse()
    dataset["time"].attrs = {"units": "parsecs"}
    dataset["z"].attrs = {"standard_name": "no_such_name"}
    _write(dataset, tmp_path / "wrong.nc")
    assert "no_such_name" in cf_complaints(tmp_path / "wrong.nc")
