"""The data experiment: a closure for files of a user's own, with code of theirs."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from command_line import TINY, Call
from matplotlib.figure import Figure
from overlaps import overlapping_in
from scipy import signal

from l96closure import cli, compare, noise
from l96closure.experiments.comparison import figures as side_by_side
from l96closure.experiments.comparison import finished
from l96closure.experiments.data import figures, leads, offline, stages
from l96closure.experiments.data.settings import Forecast
from l96closure.fields import Fields

pytestmark = pytest.mark.slow  # whole runs

F64 = npt.NDArray[np.float64]

HALF_DAY = 43_200.0  # in seconds
DATA = ("experiment=data", "truth=truth.nc", "reference=reference.nc", "closure=polynomial_ar1", "run_dir=mine")
NO_REPORT = "stages=[read,fit,integrate,forecast,diagnose]"
SLOPE, MEMORY, SPREAD = 0.5, 0.8, 0.7  # of psi = SLOPE z + r, and the memory and standard deviation of r


def red(rng: np.random.Generator, shape: tuple[int, ...], memory: float) -> F64:
    """Red noise of unit variance along the first axis."""
    x = rng.standard_normal(shape)
    x[1:] *= math.sqrt(1 - memory**2)
    for t in range(1, shape[0]):
        x[t] += memory * x[t - 1]
    return x


def record(times: int, seed: int, **names: str) -> xr.Dataset:
    """A truth whose closure is known: linear in z, with red residuals."""
    rng = np.random.default_rng(seed)
    z = red(rng, (times, 6), 0.9)
    psi = SLOPE * z + SPREAD * red(rng, (times, 6), MEMORY)
    data = xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)}, {"time": 0.5 * np.arange(times)})
    return data.rename(names)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    record(2000, 1).to_netcdf(tmp_path / "truth.nc")
    record(1000, 2).to_netcdf(tmp_path / "reference.nc")
    return tmp_path


def scores(folder: Path) -> xr.Dataset:
    return xr.load_dataset(folder / "diagnostics.nc", decode_times=False)


# Code of the user's own, as it might stand beside their files


def relaxation(z: F64, rate: float = 1.0) -> F64:
    return -rate * z


class Relaxation:
    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate

    def resolved_tendency(self, z: F64) -> F64:
        return -self.rate * z


class White(NamedTuple):
    key: int
    member: F64
    step: int


class Line:
    """A line with white noise; no file holds it."""

    def __init__(self, slope: float, spread: float) -> None:
        self.slope, self.spread = slope, spread

    @classmethod
    def fit(cls, truth: xr.Dataset, wider: float = 1.0) -> Line:
        z, psi = truth["z"].values.ravel(), truth["psi"].values.ravel()
        slope = float(z @ psi / (z @ z))
        return cls(slope, wider * float((psi - slope * z).std()))

    def init(self, z: F64, rng: Any, member: Any = 0) -> White:
        return White(noise.key_of(rng), np.arange(len(z)) + member, 0)

    def step(self, z: F64, state: White) -> tuple[F64, White]:
        fresh = noise.normals(state.key, state.member[:, None], state.step, site=np.arange(z.shape[1]))
        return self.slope * z + self.spread * fresh, state._replace(step=state.step + 1)


class Kept(Line):
    """The same, which a file holds."""

    def to_dataset(self) -> xr.Dataset:
        return xr.Dataset({"slope": self.slope, "spread": self.spread})

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Kept:
        return cls(float(dataset["slope"]), float(dataset["spread"]))


HERE = __name__


@pytest.mark.pictures
def test_a_file_alone_gives_a_closure_that_is_held_against_the_reference(call: Call, files: Path) -> None:
    outcome = call(*DATA)
    assert outcome.status == 0, outcome.err
    assert outcome.folder == files / "mine"
    made = {path.name for path in outcome.folder.iterdir() if path.suffix == ".nc"}
    assert made == {"truth.nc", "reference.nc", "closure.nc", "diagnostics.nc"}
    page = (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert "Offline: draws along the reference" in page
    assert "Reliability of the law on held-out data" in page
    data = scores(outcome.folder)
    # A Gaussian law of standard deviation s has on average the CRPS s / sqrt(pi), Gneiting & Raftery (2007).
    independent = data.attrs["offline_values"] * (1 - MEMORY) / (1 + MEMORY)
    error = SPREAD / math.sqrt(independent)
    assert data["offline_crps"] == pytest.approx(SPREAD / math.sqrt(math.pi), abs=4 * error)
    assert data["offline_spread_skill"] == pytest.approx(1.0, abs=4 / math.sqrt(independent))
    whole = math.hypot(SLOPE, SPREAD)
    assert data["offline_crps_climatology"] == pytest.approx(whole / math.sqrt(math.pi), rel=0.1)
    assert data["pit_largest_error"] < 0.05
    np.testing.assert_allclose(data["offline_lag"], 0.5 * np.arange(data.sizes["offline_lag"]))
    assert data["offline_covariance_error"] < data["offline_covariance_error_floor"] + 0.2


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, sketched: None, tmp_path: Path) -> Callable[[], set[str]]:
    """Labels of the axes of all figures saved since it was asked last, by copies of this process too."""
    labels, save = tmp_path / "labels.txt", Figure.savefig

    def saved(figure: Figure, path: Path, **_: Any) -> None:
        with labels.open("a") as file:
            file.writelines(f"{label}\n" for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()))
        save(figure, path)

    def asked() -> set[str]:
        found = {*labels.read_text().splitlines()}
        labels.unlink()
        return found

    monkeypatch.setattr(Figure, "savefig", saved)
    return asked


def test_names_units_dates_and_packing_are_read_as_they_are_meant(
    call: Call, files: Path, shown: Callable[[], set[str]]
) -> None:
    plain = call(*DATA).folder
    assert "lag (model time units)" in shown()
    for name, seed, times in (("truth", 1, 2000), ("reference", 2, 1000)):
        given = record(times, seed, z="T", psi="Q", k="x")
        given = given.assign_coords(time=np.datetime64("2001-01-01") + 6 * np.arange(times).astype("m8[h]"))
        given = given.expand_dims(height=[2.0], axis=1).copy(deep=True)
        given["Q"] /= HALF_DAY  # psi of half a time unit for one of six hours
        given["T"].attrs["units"], given["Q"].attrs["units"] = "K", "K s-1"
        packed = {
            each: {"dtype": "i2", "scale_factor": scale, "_FillValue": -32768}
            for each, scale in (("T", 2e-4), ("Q", 2e-4 / HALF_DAY))
        }
        given.to_netcdf(f"packed_{name}.nc", encoding=packed)
    named = ("fields.predictors=T", "fields.targets=Q", "fields.dim=x")
    model = (f"tendency._target_={HERE}.relaxation", f"tendency.rate={1 / HALF_DAY}", "coarse.steps=400")
    forecasts = ("forecast.lead=432000", "forecast.every=43200")
    packed_files = ("truth=packed_truth.nc", "reference=packed_reference.nc", "run_dir=other")
    outcome = call(*DATA, *packed_files, *named, *model, *forecasts)
    assert outcome.status == 0, outcome.err
    ours, theirs = scores(plain), scores(outcome.folder)
    units = {name: 1 / HALF_DAY for name in ("offline_crps", "offline_rmse", "offline_std")}
    for name, unit in {**units, "pit_error": 1.0, "offline_lag": HALF_DAY}.items():
        np.testing.assert_allclose(unit * ours[name], theirs[name], atol=2e-3 * unit)
    _dates_are_told(outcome.folder, shown())
    assert "note:" not in outcome.err
    for name in ("truth", "reference"):
        xr.open_dataset(f"packed_{name}.nc").assign(Q=lambda data: data["Q"].assign_attrs(units="W m-2")).to_netcdf(
            f"fluxes_{name}.nc"
        )
    files_of_fluxes = ("truth=fluxes_truth.nc", "reference=fluxes_reference.nc", "run_dir=fluxes")
    fluxes = call(*DATA, *files_of_fluxes, *named, *model, "stages=[read,fit,integrate]")
    assert "note: The coarse run adds Q to the tendency of T as numbers in K s-1; the data say W m-2." in fluxes.err


def _dates_are_told(folder: Path, shown: set[str]) -> None:
    """Hold that times are seconds in files, and hours and days on the page, on axes and in tables."""
    diagnostics = scores(folder)
    of_time = {"offline_lag", "pit_lag", "lag", "time_lag", "lead", "return_period_z"}
    assert {diagnostics[name].attrs["units"] for name in of_time} == {"s"}
    assert diagnostics["frequency"].attrs["units"] == "s-1"
    assert diagnostics["power_z"].attrs["units"] == "K2 s"
    assert not any("model time" in one.attrs.get("long_name", "") for one in diagnostics.variables.values())
    for name, first in (("truth", "2001-01-01"), ("coarse", "2001-01-01"), ("forecast", None)):
        with xr.open_dataset(folder / f"{name}.nc") as decoded:
            time = decoded["start" if name == "forecast" else "time"]
            assert time.dtype.kind == "M"
            assert first is None or str(time.values[0]).startswith(first)
            assert not any("model time" in str(value) for value in time.attrs.values())
    axes = {"lag (days)", "time (days)", "lead (days)", "return period (days)", "frequency (cycles per day)"}
    assert axes <= shown
    page = (folder / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    for told in ("autocorrelation, lag 6 h<", "lag 2.5 days, 10 records", "Records are 6 h apart", "lead 5 days<"):
        assert told in page
    assert not re.search("time units?", page + " ".join(shown))


def test_a_zarr_folder_is_as_good_as_a_file(call: Call, files: Path) -> None:
    pytest.importorskip("zarr", reason='needs pip install "l96closure[zarr]"')
    for name in ("truth", "reference"):
        xr.load_dataset(f"{name}.nc").to_zarr(f"{name}.zarr", consolidated=False)
    ours = scores(call(*DATA, NO_REPORT).folder)
    theirs = scores(call(*DATA, "truth=truth.zarr", "reference=reference.zarr", "run_dir=other", NO_REPORT).folder)
    assert ours["offline_crps"] == theirs["offline_crps"]


def test_runs_of_an_ensemble_are_independent_samples(call: Call, files: Path) -> None:
    xr.concat([record(500, seed) for seed in (3, 4, 5)], "run").to_netcdf("truth.nc")
    xr.concat([record(300, seed) for seed in (6, 7)], "run").to_netcdf("reference.nc")
    outcome = call(*DATA, "fields.sample_dim=run", NO_REPORT)
    assert outcome.status == 0, outcome.err
    assert scores(outcome.folder).attrs["offline_values"] == pytest.approx(2 * 300 * 6, abs=2 * 6 * 5)
    assert scores(outcome.folder)["pit_largest_error"] < 0.08


def test_a_coarser_reference_serves_for_what_it_can(call: Call, files: Path) -> None:
    record(1000, 2).isel(time=slice(None, None, 2)).to_netcdf("reference.nc")
    outcome = call(*DATA, f"tendency._target_={HERE}.relaxation", NO_REPORT)
    assert outcome.status == 0, outcome.err
    assert "note: the closure is not driven by the reference" in outcome.err
    data = scores(outcome.folder)
    assert "offline_crps" not in data
    assert data.attrs["common_time_step"] == 1.0
    memoryless = call(*DATA, "closure=polynomial", "run_dir=other", NO_REPORT)
    assert "offline_crps" in scores(memoryless.folder), memoryless.err


@pytest.mark.parametrize("model", ["tendency._target_={}.relaxation", "model._target_={}.Relaxation"])
def test_a_model_of_ones_own_is_run_with_the_closure(call: Call, files: Path, model: str) -> None:
    section = model.partition(".")[0]
    brief = ("coarse.steps=400", "forecast.lead=20", "forecast.every=5")
    outcome = call(*DATA, model.format(HERE), f"{section}.rate=2.0", *brief, NO_REPORT)
    assert outcome.status == 0, outcome.err
    data = scores(outcome.folder)
    assert {"hellinger_joint", "crps", "offline_crps", "spectrum_z"} <= set(data)
    with xr.open_dataset(outcome.folder / "coarse.nc", decode_times=False) as run:
        z, psi = (run[name].transpose("member", "time", "k").values for name in ("z", "psi"))
    step = 1 - 1.0 + 0.5 - 1 / 6 + 1 / 24  # RK4 of dz/dt = -2 z + psi over half a time unit, psi held
    np.testing.assert_allclose(z[:, 1:], step * z[:, :-1] + (1 - step) / 2 * psi[:, :-1], atol=1e-12)
    without = call(*DATA, "force=true", NO_REPORT)
    assert without.status == 0, without.err
    assert not (outcome.folder / "coarse.nc").exists()
    assert "hellinger_joint" not in scores(outcome.folder)


@pytest.mark.pictures
@pytest.mark.parametrize(
    "grid",
    [
        ("fields.periodic=false",),
        ("fields.predictors=T", "fields.targets=Q", "fields.dim=[lat,lon]", "fields.periodic=[false,true]"),
    ],
)
def test_a_coarse_run_on_a_grid_that_is_no_ring_lacks_what_is_of_rings(
    call: Call, files: Path, grid: tuple[str, ...]
) -> None:
    if len(grid) > 1:
        for name, times, seed in (("truth", 2000, 1), ("reference", 1000, 2)):
            flat = record(times, seed)
            plane = {each: (("time", "lat", "lon"), flat[each].values.reshape(times, 2, 3)) for each in ("z", "psi")}
            xr.Dataset(plane, {"time": flat["time"]}).rename(z="T", psi="Q").to_netcdf(f"{name}.nc")
    brief = (f"tendency._target_={HERE}.relaxation", "coarse.steps=400", "forecast.lead=20", "forecast.every=5")
    outcome = call(*DATA, *grid, *brief)
    assert outcome.status == 0, outcome.err
    data = scores(outcome.folder)
    assert {"hellinger_joint", "crps", "offline_crps", "autocorrelation_residual"} <= set(data)
    assert not {"covariance", "spectrum_z", "space_time_correlation_psi"} & set(data)
    page = (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert "The sites are not a ring, so covariances, correlations and spectra along one are not compared." in page
    assert 'class="hovmoeller"' in page
    assert 'class="spectra"' not in page
    with xr.open_dataset(outcome.folder / "forecast.nc", decode_times=False) as made:
        assert made.attrs["past"] == "known"


@pytest.mark.pictures
def test_a_run_with_a_mask_is_that_of_the_sites_that_there_are(call: Call, files: Path) -> None:
    """From a file with missing values, or with a variable that says where they are, to the scores of all stages."""
    there = np.array([True, True, False, True, True, False])
    for name in ("truth", "reference"):
        data = xr.load_dataset(f"{name}.nc")
        data.where(xr.DataArray(there, dims="k")).to_netcdf(f"missing_{name}.nc")
        data.assign(sea=("k", there.astype("i1"))).to_netcdf(f"told_{name}.nc")
        data.isel(k=there).to_netcdf(f"{name}.nc")
    alike = ("fields.periodic=false", "closure.fields={radius:0,lags:[],pool:[k]}", "coarse.steps=300")
    alike += ("forecast.lead=10", f"tendency._target_={HERE}.relaxation")
    found = {}
    for kind, mask, report in (("", "null", ""), ("told_", "sea", ""), ("missing_", "auto", ",report")):
        given = (f"truth={kind}truth.nc", f"reference={kind}reference.nc", f"fields.mask={mask}", f"run_dir=run{kind}")
        outcome = call(*DATA, *alike, *given, f"stages=[read,fit,integrate,forecast,diagnose{report}]")
        assert outcome.status == 0, outcome.err
        found[kind] = scores(outcome.folder)
    assert {"hellinger_joint", "crps", "offline_crps", "pit_error", "offline_covariance"} <= set(found[""])
    for kind in ("told_", "missing_"):
        for name in set(found[""]) - {name for name in found[""] if str(name).startswith(("profile", "taken_off"))}:
            np.testing.assert_array_equal(found[kind][name], found[""][name], err_msg=str(name))
    page = (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert "4 of 6 sites are there; the others are neither read nor drawn nor scored" in page
    bare = call(*DATA, *alike[0:1], *alike[2:], *given[:-1], "closure=none", "stages=[read,fit,integrate]")
    assert bare.status == 0, bare.err
    with xr.open_dataset(bare.folder / "coarse.nc", decode_times=False) as run:
        assert run["psi"].isel(k=there).max() == 0.0
        assert run["z"].isel(k=there).notnull().all()


SEVERAL = ("fields.predictors=[T,q]", "fields.targets=[heating,moistening]", "fields.dim=lev", "fields.periodic=false")
SEVERAL += ("closure.fields.radius=0", "closure.fields.lags=[]", "coarse.steps=300", "forecast.lead=10")


def column(times: int, seed: int) -> xr.Dataset:
    """Two records whose targets share a part of their residuals, one of them with a profile."""
    first, second = record(times, seed), record(times, seed + 10)
    data = {"T": first["z"] + np.linspace(280.0, 220.0, 6), "q": second["z"]}
    data |= {"heating": first["psi"], "moistening": second["psi"] + 0.5 * first["psi"]}
    named = xr.Dataset(data).rename(k="lev").assign_coords(lev=np.linspace(1000.0, 100.0, 6))
    for name, units in (("T", "K"), ("q", "g kg-1"), ("heating", "K s-1"), ("moistening", "g kg-1 s-1")):
        named[name].attrs["units"] = units
    return named


def towards(z: F64) -> F64:
    """Relaxation of T towards its profile and of q towards zero (member, 2, lev)."""
    return np.stack([np.linspace(280.0, 220.0, 6), np.zeros(6)]) - z


@pytest.fixture
def columns(tmp_path: Path) -> Path:
    column(2000, 1).to_netcdf(tmp_path / "truth.nc")
    column(1000, 2).to_netcdf(tmp_path / "reference.nc")
    return tmp_path


def test_several_predictors_and_targets_go_all_the_way(
    call: Call, columns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = call(*DATA, *SEVERAL, f"tendency._target_={HERE}.towards")
    assert outcome.status == 0, outcome.err
    data = scores(outcome.folder)
    assert data["offline_crps"].dims == ("target",)
    assert data["crps"].dims == ("predictor", "lead")
    assert data["hellinger_z"].dims == ("pair",)
    assert set(data["profile_std_z"].dims) == {"source", "pair", "lev"}
    assert {"target_covariance", "pit_largest_error"} <= set(data)
    with xr.open_dataset(outcome.folder / "coarse.nc", decode_times=False) as run:
        assert [run[name].attrs["units"] for name in ("T", "moistening")] == ["K", "g kg-1 s-1"]
    page = (outcome.folder / "report.html").read_text(encoding="utf-8")
    for shown in ("Moments: T and heating", "Forecasts: q and moistening", "Covariances of the targets",
                  'class="profiles_T_and_heating"', "Here z is q and ψ is moistening."):  # fmt: skip
        assert shown in page
    assert list(data["target"].values) == ["heating", "moistening"]
    other = call(*DATA[:-1], *SEVERAL, f"tendency._target_={HERE}.towards", "run_dir=other", "closure.trend.degree=1",
                 NO_REPORT)  # fmt: skip
    assert other.status == 0, other.err
    capsys.readouterr()
    compare.main([str(outcome.folder), str(other.folder)])
    assert "Here z is T and ψ is heating." in capsys.readouterr().out
    assert Path("comparison_q_moistening.nc").exists()
    side = Path("comparison.html").read_text(encoding="utf-8")
    assert "Offline: draws along the reference: T and heating" in side
    assert side.count("Cost</h2>") == 1


def test_the_draws_of_each_target_are_scored_as_alone(columns: Path) -> None:
    rng = np.random.default_rng(0)
    psi, target = rng.standard_normal((1, 4, 60, 2, 3)), rng.standard_normal((1, 60, 2, 3))
    fields = Fields(("T", "q"), ("heating", "moistening"), dim="lev", units=("K", "1", "K s-1", "s-1"))
    both = offline.scores(offline.Drawn(psi, target, 0.5, "1"), fields, 5.0)
    for number, name in enumerate(("heating", "moistening")):
        one = offline.Drawn(psi[..., number : number + 1, :], target[..., number : number + 1, :], 0.5, "1")
        alone = offline.scores(one, Fields(units=("1", "1")), 5.0)
        for score in alone.data_vars:
            np.testing.assert_array_equal(both[score].sel(target=name), alone[score])


def test_an_objective_of_several_variables_is_a_mean_without_units(call: Call, columns: Path) -> None:
    outcome = call(*DATA, *SEVERAL[:-2], NO_REPORT)
    assert outcome.status == 0, outcome.err
    data = scores(outcome.folder)
    wanted = (data["offline_crps"] / data["offline_crps_climatology"]).mean()
    assert stages.WORKFLOW.objectives["offline_crps"](data) == pytest.approx(float(wanted), rel=1e-12)
    refused = call(*DATA, *SEVERAL, f"tendency._target_={HERE}.towards", "fields.predictors=T")
    assert refused.status == 2
    assert "fields.targets" in refused.err


@pytest.mark.parametrize("kind", ["Line", "Kept"])
def test_a_closure_of_ones_own_is_fitted_kept_and_run(call: Call, files: Path, kind: str) -> None:
    line = [each for each in DATA if not each.startswith("closure=")]
    own = (f"closure._target_={HERE}.{kind}", f"tendency._target_={HERE}.relaxation", "coarse.steps=400")
    own += ("forecast.lead=20", "forecast.every=5", NO_REPORT)
    first = call(*line, *own)
    assert first.status == 0, first.err
    data = scores(first.folder)
    assert data["offline_crps"] == pytest.approx(SPREAD / math.sqrt(math.pi), rel=0.1)
    run = xr.load_dataset(first.folder / "coarse.nc", decode_times=False)
    again = call(*line, *own, "stages=[integrate]", "force=true")
    assert again.status == 0, again.err
    assert run["z"].equals(xr.load_dataset(first.folder / "coarse.nc", decode_times=False)["z"])
    wider = call(*line, *own, "closure.wider=3.0", "run_dir=other")
    assert scores(wider.folder)["offline_spread"] == pytest.approx(3 * float(data["offline_spread"]), rel=0.02)


@pytest.mark.parametrize("kind", ["Line", "Kept"])
def test_a_closure_of_ones_own_stands_in_every_experiment(call: Call, kind: str) -> None:
    line = (*TINY, f"closure._target_={HERE}.{kind}", "run_dir=mine")
    outcome = call(*line)
    assert outcome.status == 0, outcome.err
    data = scores(outcome.folder)
    assert {"hellinger_joint", "crps"} <= set(data)
    truth, run = (xr.load_dataset(f"mine/{name}.nc", decode_times=False) for name in ("truth", "coarse"))
    slope = float((truth["z"] * truth["psi"]).sum() / (truth["z"] ** 2).sum())
    spread, drawn = (float((each["psi"] - slope * each["z"]).std()) for each in (truth, run))
    assert drawn == pytest.approx(spread, rel=4 / math.sqrt(2 * run["psi"].size))
    assert finished.read(outcome.folder).status == "finished"
    again = call(*line, "resume=true")
    assert again.status == 0, again.err
    assert again.err.count("is up to date") == 5


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose entry point calls its closure ``line``."""
    about = tmp_path / "site" / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[l96closure.closures]\nline = theirs:Line\n")
    (about.parent / "theirs.py").write_text(f"from {HERE} import Line\n")
    monkeypatch.syspath_prepend(about.parent)


@pytest.mark.pictures
def test_runs_on_the_same_data_are_laid_side_by_side(
    call: Call, files: Path, package: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a closure that an installed package has given a name."""
    own = ("closure._target_=line",)
    brief = ("coarse.steps=400", "forecast.lead=20", "forecast.every=5")
    coupled = (f"tendency._target_={HERE}.relaxation", *brief)
    chosen = {"theirs": own, "ours": (), "run": (*own, *coupled), "another": coupled}
    for name, words in chosen.items():
        line = [each for each in DATA if not (words[:1] == own and each.startswith("closure="))]
        outcome = call(*line, *words, f"run_dir={name}", NO_REPORT)
        assert outcome.status == 0, outcome.err
    compare.main(["theirs", "ours"])
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["closure=line", "closure=polynomial_ar1"]
    assert Path(out.splitlines()[-1]).read_text(encoding="utf-8").count("<figure") == 1
    data = xr.load_dataset("comparison.nc")
    for run, name in zip(data["run"], ("theirs", "ours"), strict=True):
        for score in ("offline_crps", "offline_spread_skill", "offline_autocorrelation"):
            np.testing.assert_array_equal(data[score].sel(run=run), scores(files / name)[score])
    for drawn in (side_by_side.pictures(data), figures.pictures(scores(files / "ours"))):
        assert overlapping_in(drawn) == {}
    compare.main(["run", "another"])
    data = xr.load_dataset("comparison.nc")
    assert {"hellinger_joint", "spectrum_error_z", "autocorrelation_residual", "crps", "offline_crps"} <= set(data)
    compare.main(["ours", "another"])
    assert "Scores of the coarse run are left out: not all runs have them." in capsys.readouterr().out
    assert "hellinger_z" not in xr.load_dataset("comparison.nc")


def test_runs_on_other_data_are_not_compared(call: Call, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "another"):
        assert call(*DATA, f"run_dir={name}", "stages=[read,fit,diagnose]").status == 0
        record(1000, 3).to_netcdf("reference.nc")
    with pytest.raises(SystemExit):
        compare.main(["one", "another"])
    assert "different truths judge them (sha256 of the reference " in capsys.readouterr().err


def test_a_run_that_was_stopped_never_names_the_code_to_be_run(call: Call, files: Path) -> None:
    own = f"tendency._target_={HERE}.relaxation"
    assert call(*DATA, own, "stages=[read]").status == 0
    refused = call("run_dir=mine", "resume=true")
    assert refused.status == 2
    assert f"runs code of your own: give tendency._target_={HERE}.relaxation on this command too" in refused.err
    assert call(*DATA, own, "resume=true", "stages=[read]").status == 0


def test_a_file_that_has_changed_is_read_again(call: Call, files: Path) -> None:
    run = (*DATA, NO_REPORT)
    assert call(*run).status == 0
    before = scores(files / "mine")
    for again in (run, ("run_dir=mine", "resume=true", NO_REPORT)):
        assert "read      is up to date" in call(*again).err
    record(1000, 8).to_netcdf("reference.nc")
    assert call(*run).status == 0
    assert scores(files / "mine")["offline_crps"] != before["offline_crps"]
    inputs = json.loads((files / "mine" / "manifest.json").read_text())["reference.nc"]["inputs"]
    assert set(inputs) == {str(files / "truth.nc"), str(files / "reference.nc")}


def test_code_that_has_changed_is_run_again(call: Call, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = files / "mended.py"
    module.write_text(f"from {HERE} import Line\nclass Mine(Line):\n    pass\n")
    own = [each for each in DATA if not each.startswith("closure=")] + ["closure._target_=mended.Mine"]
    assert call(*own, "stages=[read,fit,diagnose]").status == 0
    before = scores(files / "mine")
    assert "fit       is up to date" in call(*own, "stages=[read,fit,diagnose]").err
    module.write_text(module.read_text().replace("pass", "def step(self, z, state):\n        return 0 * z, state"))
    monkeypatch.delitem(sys.modules, "mended")
    assert call(*own, "stages=[read,fit,diagnose]").status == 0
    assert before["offline_spread"] > 0.5
    assert scores(files / "mine")["offline_spread"] == 0.0


def broken(name: str, data: xr.Dataset) -> xr.Dataset:
    if name == "missing":
        data["psi"][5, 2] = np.nan
    if name == "absent":
        data["psi"][:, 2] = np.nan
    if name == "units":
        data["z"].attrs["units"] = "m"
    if name == "times":
        data = data.assign_coords(time=data["time"].where(data["time"] != 3.0, 3.1))
    return {"variable": data.drop_vars("psi"), "sites": data.isel(k=slice(4)), "untimed": data.drop_vars("time")}.get(
        name, data
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "reference.nc: psi[5, 2] = nan is not allowed; it must be finite"),
        ("absent", "reference.nc: sites at which a variable is NaN at all times = '1 of 6' is not allowed; it must"),
        ("units", "reference.nc: units of z = 'm' is not allowed; it must be '1', as in "),
        ("times", "reference.nc['time'][6] = 3.1 is not allowed"),
        ("variable", "reference.nc = 'psi' is not allowed; it must be one of z"),
        ("sites", "reference.nc: sites along k = (4,) is not allowed; it must be (6,), as in "),
        ("untimed", "reference.nc: coordinates = [] is not allowed; it must be such that time is one of them"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(call: Call, files: Path, name: str, message: str) -> None:
    broken(name, xr.load_dataset("reference.nc")).to_netcdf("reference.nc")
    outcome = call(*DATA)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("l96closure: error: ")
    assert message in outcome.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reference=nowhere.nc", "reference = 'nowhere.nc' is not allowed; it must be there; nothing is at /"),
        ("reference=data.txt", "reference = 'data.txt' is not allowed; it must be the path of a file or folder that"),
        ("data.reference=null", "reference = None is not allowed; it must be the path of a file or folder that ends"),
        ("tendency._target_=nowhere.f", "tendency._target_ = 'nowhere.f' is not allowed; it must be module.name of"),
        (f"tendency._target_={HERE}.nothing", "has no attribute 'nothing'"),
        (f"tendency._target_={HERE}.SLOPE", "it must be a function z -> dz/dt"),
        (f"model._target_={HERE}.Line", "model: Line does not take these settings: missing a required argument"),
        (f"closure._target_={HERE}.Relaxation", "it must be a class with init and step; it has no init"),
        ("closure._target_=nothing", "module.name, or the name of an entry point of the group l96closure.closures"),
        ("fields.dim=[k,l]", "z.dims = ('time', 'k') is not allowed; it must be ('time', 'k', 'l')"),
        ("fields.periodic=perhaps", "fields.periodic = 'perhaps' is not allowed"),
        ("fields.mask=z", "fields.mask for /"),
        ("offline.members=1", "offline.members = 1 is not allowed; it must be an integer >= 2"),
        ("coarse.scheme=heun", "coarse.scheme = 'heun' is not allowed; it must be one of euler, rk4"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(call: Call, files: Path, override: str, message: str) -> None:
    outcome = call(*DATA, override)
    assert outcome.status == 2, outcome.err
    assert outcome.err.splitlines()[-1].startswith("l96closure: error: ")
    assert message in outcome.err.splitlines()[-1]


def test_the_command_line_tells_a_path_from_an_option_and_own_code_from_ours() -> None:
    spelt = cli._spelt_out
    assert spelt(["reference=crommelin"]) == ["reference=crommelin"]
    assert spelt(["experiment=data", "truth=a/b", "reference=c"]) == [
        "experiment=data",
        "data.truth=a/b",
        "data.reference=c",
    ]
    assert spelt(["truth=a.nc", "reference=b.zarr"]) == ["data.truth=a.nc", "data.reference=b.zarr"]
    assert spelt(["closure._target_=a.B", "closure.c=1"]) == ["++closure._target_=a.B", "++closure.c=1", "~closure"]
    assert spelt(["closure.noise.order=1"]) == ["closure.noise.order=1"]


def test_draws_do_not_depend_on_how_many_there_are() -> None:
    data, closure = record(60, 1), Line(SLOPE, SPREAD)
    how: dict[str, Any] = {"dt": None, "steps": 30, "seed": 3}
    few, many = (offline.draw(closure, data, Fields().of(data), members=n, **how) for n in (2, 5))
    np.testing.assert_array_equal(few.psi[0], many.psi[0, :2])
    np.testing.assert_array_equal(few.target[0, :, 0], data["psi"].values[:30])
    assert few.step == 0.5


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_model"


def test_the_example_to_copy_runs(tmp_path: Path) -> None:
    """With shorter data; in a process of its own, as its modules have everyday names."""
    mine = shutil.copytree(EXAMPLE, tmp_path / "mine")
    script = (mine / "make_data.py").read_text().replace("20_000", "1_500").replace("60_000", "2_000")
    (mine / "make_data.py").write_text(script)
    lines = [line for line in (mine / "README.md").read_text().splitlines() if line.startswith("    ")]
    commands = [line.split() for line in lines if "closure._target_" in line or "make_data" in line]
    assert len(commands) == 2
    for command in commands:
        program = ["-m", "l96closure"] if command[0] == "l96closure" else command[1:2]
        rest = command[1:] if command[0] == "l96closure" else []
        done = subprocess.run([sys.executable, *program, *rest], cwd=mine, capture_output=True, text=True, check=False,
                              env={**os.environ, "MPLBACKEND": "agg"})  # fmt: skip
        assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert (folder / "report.html").is_file()
    assert {"crps", "hellinger_joint", "offline_crps"} <= set(scores(folder))


@pytest.mark.parametrize(("memory", "spacing"), [(1.0, 1), (100.0, 5), (1000.0, 10)])
def test_leads_end_where_there_is_little_to_foresee(memory: float, spacing: int) -> None:
    phi = (memory - 1) / (memory + 1)
    noise = np.random.default_rng(1).standard_normal((60_000, 5))
    reference = xr.Dataset({"z": (("time", "k"), signal.lfilter([1.0], [1.0, -phi], noise, axis=0))})
    found = leads.between(reference, object(), records=1.0, most=10)
    assert abs(found - spacing) <= 0.2 * spacing
    assert leads.between(reference, object(), records=1.0, most=2) <= 2
    wave = xr.Dataset({"z": (("time", "k"), np.sin(np.arange(60_000)[:, np.newaxis] / 50 + np.arange(5)))})
    assert leads.between(wave, object(), records=1.0, most=10) == 10  # it is to be foreseen for ever


@pytest.mark.parametrize(
    ("lead", "every", "found"), [(12.0, None, (6.0, 2)), (20.0, None, (10.0, 2)), (12.0, 4.0, (4.0, 3))]
)
def test_a_lead_that_is_given_is_kept_to(lead: float, every: float | None, found: tuple[float, int]) -> None:
    reference = xr.Dataset(coords={"time": np.arange(100.0)})
    given = Forecast(starts=None, members=2, lead=lead, every=every)
    assert leads.spacing_and_number(given, reference, object(), dt=1.0) == found
    with pytest.raises(ValueError, match=r"forecast\.lead = 0\.5"):
        leads.spacing_and_number(replace(given, lead=0.5, every=None), reference, object(), dt=1.0)
