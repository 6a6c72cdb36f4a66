"""What the Schrödinger bridge closure adds to the contract, and what a closure file survives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure import store
from l96closure.bridge import sinkhorn
from l96closure.closures import CLOSURES, SchrodingerBridge, load

F64 = npt.NDArray[np.float64]
K = 5


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K, 3, 10.0).simulate(samples=6000, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


def ensemble(truth: xr.Dataset, members: int) -> F64:
    return truth["z"].values[:members].copy()


class TestSchrodingerBridge:
    def test_pooled_sites_make_it_commute_with_shifts(self, truth: xr.Dataset) -> None:
        fitted = SchrodingerBridge.fit(truth, centres=200, radius=1, scheme="split").fitted
        x = np.hstack([truth["z"].values, truth["psi"].values])[::100]
        shifted = np.hstack([np.roll(x[:, :K], 2, axis=1), np.roll(x[:, K:], 2, axis=1)])
        for moment, of_shifted in zip(fitted.moments(x), fitted.moments(shifted), strict=True):
            np.testing.assert_allclose(of_shifted, np.roll(moment, 2, axis=1), rtol=0, atol=1e-12)

    def test_starts_from_residuals_of_the_training_data(self, truth: xr.Dataset) -> None:
        closure = SchrodingerBridge.fit(
            truth, trend_degree=None, centres=None, compressed=None, thinning=20, pooled=False, scheme="split"
        )
        state = closure.init(ensemble(truth, 9), 0)
        rows = truth["psi"].values[::20]
        assert all((rows == row).all(axis=1).any() for row in state.memory)

    def test_psi_is_the_residual_on_top_of_the_trend(self, truth: xr.Dataset) -> None:
        closure, z = SchrodingerBridge.fit(truth, centres=80, trend_degree=3, scheme="split"), ensemble(truth, 4)
        psi, state = closure.step(z, closure.init(z, 0))
        np.testing.assert_allclose(psi - state.memory, closure.trend(z), rtol=0, atol=1e-12)

    def test_the_seed_draws_the_centres(self, truth: xr.Dataset) -> None:
        first, again, other = (SchrodingerBridge.fit(truth, centres=50, seed=seed).to_dataset() for seed in (0, 0, 1))
        assert first.identical(again)
        assert not np.array_equal(first["coordinates"].values, other["coordinates"].values)

    def test_settings_are_checked_before_the_work_begins(
        self, truth: xr.Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_work(*_: Any) -> None:
            raise AssertionError("the scaling was begun")

        monkeypatch.setattr(sinkhorn, "solve", no_work)
        for setting in ({"scheme": "x"}, {"clamp": "x"}, {"noise_metric": "x"}, {"decorrelation_steps": 0}):
            (name,) = setting
            with pytest.raises(ValueError, match=f"^{name} = "):
                SchrodingerBridge.fit(truth, centres=50, **setting)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.assign(z=t["z"].where(t["k"] != 3)), r"^truth\.z\[0, 3\] = nan .* finite"),
        (lambda t: t.assign(psi=xr.zeros_like(t["psi"])), r"^truth\.psi = 0\.0 .* two distinct"),
        (lambda t: t.assign(psi=t["psi"].where(t["k"] != 3, 1.0)), r"^means of truth\.psi at its sites = "),
        (lambda t: t.drop_vars("psi"), r"^truth = \['z'\] .* variable psi"),
        (lambda t: t.transpose(), r"^truth\.z\.dims = \('k', 'time'\) .* \('time', 'k'\)"),
        (lambda t: t.isel(time=slice(1)), r"^truth\.sizes\['time'\] = 1 .* two times"),
        (lambda t: t.isel(time=slice(31)), r"^truth\.sizes\['time'\] = 31 .* at least 32 for memory=4"),
    ],
)
def test_bad_training_data(truth: xr.Dataset, damage: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SchrodingerBridge.fit(damage(truth), trend_degree=None, centres=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, r"^epsilon = 0\.0 .* > 0"),
        ({"epsilon": -0.1}, r"^epsilon = -0\.1 .* > 0"),
        ({"epsilon": np.nan}, r"^epsilon = nan .* finite"),
        ({"radius": 3}, r"^radius = 3 .* at most 2 on a ring of 5"),
        ({"radius": -1}, r"^radius = -1 .* >= 0"),
        ({"radius": 0.5}, r"^radius = 0\.5 .* integer"),
        ({"decorrelation_steps": 0}, r"^decorrelation_steps = 0 .* >= 1"),
        ({"decorrelation_steps": 2**16 + 1}, r"^decorrelation_steps = 65537 .* below 6\.6e\+04"),
        ({"scheme": "leapfrog"}, r"^scheme = 'leapfrog' .* ancestral, auto, conditional_variance, euler, moments"),
        ({"clamp": "vice"}, r"^clamp = 'vice' .* query, state"),
        ({"noise_metric": "imperial"}, r"^noise_metric = 'imperial' .* physical, scaled"),
        ({"thinning": 0}, r"^thinning = 0 .* >= 1"),
        ({"compressed": 1}, r"^compressed = 1 .* >= 2"),
        ({"memory": 0}, r"^memory = 0 .* >= 1"),
        ({"memory": 2.5}, r"^memory = 2\.5 .* integer"),
        ({"step": 0.0}, r"^step = 0\.0 .* > 0"),
        ({"scheme": "quantile", "radius": 1}, r"^neighbourhoods\[5\] = \[4, 0, 1\] .* a single component"),
        ({"centres": 1}, r"^centres = 1 .* >= 2"),
        ({"trend_degree": -1}, r"^trend_degree = -1 .* >= 0"),
        ({"tolerance": 0.0}, r"^tolerance = 0\.0 .* > 0"),
        ({"seed": -1}, r"^seed = -1 .* >= 0"),
    ],
)
def test_bad_settings(truth: xr.Dataset, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SchrodingerBridge.fit(truth, **{"thinning": 10, "centres": 40, **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["quantile", "sequential"])
def test_what_needs_every_sample_is_not_compressed(truth: xr.Dataset, scheme: str) -> None:
    closure = SchrodingerBridge.fit(truth, centres=400, scheme=scheme)
    assert closure.fitted.compression is None
    with pytest.raises(ValueError, match=f"^scheme = '{scheme}' .* one that averages"):
        closure.compress(40)


@pytest.mark.parametrize("shape", [(2, K + 1), (2, K - 1), (K,), (1, 2, K)])
def test_z_of_another_size(truth: xr.Dataset, shape: tuple[int, ...]) -> None:
    closure, z = SchrodingerBridge.fit(truth, centres=40), np.ones(shape)
    for call in (lambda: closure.init(z, 0), lambda: closure.step(z, closure.init(np.ones((2, K)), 0))):
        with pytest.raises(ValueError, match=r"^z\.shape = \(.*\) .* \(member, 5\)") as caught:
            call()
        assert "\n" not in str(caught.value)


class TestFiles:
    @pytest.fixture
    def saved(self, truth: xr.Dataset, tmp_path: Path) -> Path:
        path = tmp_path / "closure.nc"
        SchrodingerBridge.fit(truth, centres=60).save(path)
        return path

    @staticmethod
    def refusal(path: Path) -> str:
        with pytest.raises(ValueError, match=r".") as caught:
            load(path)
        message = str(caught.value)
        assert "\n" not in message
        assert path.name in message
        return message

    @pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9])
    def test_truncated(self, saved: Path, kept: float) -> None:
        content = saved.read_bytes()
        saved.write_bytes(content[: int(kept * len(content))])
        assert "complete file of kind 'closure'" in self.refusal(saved)

    def test_of_another_kind(self, truth: xr.Dataset, tmp_path: Path) -> None:
        store.write(truth, tmp_path / "truth.nc", kind="truth", title="A truth", history="a test")
        truth.to_netcdf(tmp_path / "foreign.nc")
        (tmp_path / "tale.nc").write_text("once upon a time")
        assert "'truth'" in self.refusal(tmp_path / "truth.nc")
        assert "of kind 'closure'" in self.refusal(tmp_path / "foreign.nc")
        assert "complete file" in self.refusal(tmp_path / "tale.nc")
        assert "existing closure file" in self.refusal(tmp_path / "nowhere.nc")

    def test_of_a_newer_format(self, saved: Path) -> None:
        with netCDF4.Dataset(saved, "a") as file:
            file.l96closure_format_version = np.int32(store.FORMAT_VERSION + 1)
        store.seal(saved)
        assert f"this one has {store.FORMAT_VERSION + 1}" in self.refusal(saved)

    def test_with_an_unknown_closure(self, saved: Path) -> None:
        with netCDF4.Dataset(saved, "a") as file:
            file.closure = "oracle"
        store.seal(saved)
        message = self.refusal(saved)
        assert "'oracle'" in message
        assert "schrodinger_bridge" in message

    @pytest.mark.parametrize(
        "name", ["coordinates", "sinkhorn_log_weight", "scale", "trend", "neighbour", "epsilon", "scheme"]
    )
    def test_without_one_of_its_parts(self, saved: Path, name: str) -> None:
        with netCDF4.Dataset(saved, "a") as file:
            if name in file.variables:
                file.renameVariable(name, "something_else")
            else:
                file.delncattr(name)
        store.seal(saved)
        assert name in self.refusal(saved)

    @pytest.mark.parametrize("name", CLOSURES)
    def test_saved_into_a_folder_that_is_not_there(self, truth: xr.Dataset, tmp_path: Path, name: str) -> None:
        closure = CLOSURES[name].fit(truth)
        with pytest.raises(ValueError, match=r"^path = .* existing folder"):
            closure.save(tmp_path / "nowhere" / "closure.nc")
        assert not list(tmp_path.iterdir())
