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
from l96closure import bridge, store
from l96closure.bridge import sinkhorn
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles, SchrodingerBridge, Trend, load

F64 = npt.NDArray[np.float64]
K, DT = 5, 5e-3
HERE = lc.Fields(radius=0, lags=())
AROUND = lc.Fields(radius=1, lags=())
BACK = lc.Fields(radius=1, lags=(10 * DT, 20 * DT))


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K, 3, 10.0).simulate(samples=2000, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


def ensemble(truth: xr.Dataset, members: int) -> F64:
    return truth["z"].values[:members].copy()


class TestSchrodingerBridge:
    def test_pooled_sites_make_it_commute_with_shifts(self, truth: xr.Dataset) -> None:
        fitted = SchrodingerBridge.fit(truth, fields=AROUND, law=Chain("split", centres=200)).law.fitted
        x = np.hstack([truth["z"].values, truth["psi"].values])[::100]
        shifted = np.hstack([np.roll(x[:, :K], 2, axis=1), np.roll(x[:, K:], 2, axis=1)])
        for moment, of_shifted in zip(fitted.moments(x), fitted.moments(shifted), strict=True):
            np.testing.assert_allclose(of_shifted, np.roll(moment, 2, axis=1), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("fields", [HERE, BACK], ids=["here", "in space and time"])
    @pytest.mark.parametrize("law", [Quantiles("z"), Quantiles("trend"), Moments(200)], ids=["z", "trend", "moments"])
    def test_what_is_not_random_commutes_with_shifts(self, truth: xr.Dataset, fields: lc.Fields, law: Any) -> None:
        """Trend, and the law of one noise; the history turns with the sites."""
        closure = SchrodingerBridge.fit(truth, fields=fields, trend=Trend(3, 2), law=law, noise=Noise(0, None))
        z, state = ensemble(truth, 4), closure.init(ensemble(truth, 4), 0)
        state = state._replace(member=np.zeros(4, np.uint64))
        xi = state._replace(step=1).normals(1, K)[0]

        def law_of(shift: int) -> F64:
            turned = np.roll(z, shift, axis=1)
            history = np.roll(state.history, shift, axis=-1) if state.history.size else np.empty((4, 0, 1, K))
            mean, x, _ = closure.mean(turned[:, None], history)
            return mean + closure.law.made_of(x, np.roll(xi, shift, axis=1))

        np.testing.assert_allclose(law_of(2), np.roll(law_of(0), 2, axis=1), rtol=0, atol=1e-11)

    def test_starts_from_residuals_of_the_training_data(self, truth: xr.Dataset) -> None:
        fields = lc.Fields(radius=0, lags=(), pool=())
        law = Chain("split", centres=None)
        rare = truth.isel(time=slice(None, None, 20))
        closure = SchrodingerBridge.fit(rare, fields=fields, trend=None, law=law)
        state, rows = closure.init(ensemble(truth, 9), 0), rare["psi"].values
        assert all((rows == row).all(axis=1).any() for row in state.memory)

    def test_psi_is_the_residual_on_top_of_the_trend(self, truth: xr.Dataset) -> None:
        closure = SchrodingerBridge.fit(truth, fields=HERE, trend=Trend(3, 1), law=Chain("split", centres=80))
        z = ensemble(truth, 4)
        psi, state = closure.step(z, closure.init(z, 0))
        trend, _ = closure.trend(z[:, None], np.empty((4, 0, 1, K)))
        np.testing.assert_allclose(psi, (trend + state.memory).clip(*closure.bounds), rtol=0, atol=1e-12)
        assert closure.bounds == (truth["psi"].min(), truth["psi"].max())

    def test_the_seed_draws_the_centres(self, truth: xr.Dataset) -> None:
        first, again, other = (
            SchrodingerBridge.fit(truth, fields=HERE, law=Chain("split", centres=50), rng=rng).to_dataset()
            for rng in (0, 0, 1)
        )
        assert first.identical(again)
        assert not np.array_equal(first["coordinates"].values, other["coordinates"].values)

    def test_settings_are_checked_before_the_work_begins(
        self, truth: xr.Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_work(*_: Any) -> None:
            raise AssertionError("the scaling was begun")

        monkeypatch.setattr(sinkhorn, "solve", no_work)
        for name, settings in {
            "noise": {"noise": Noise(3), "law": Chain()},
            "law": {"law": "quantile"},
            "trend": {"trend": 4},
            "kernel": {"kernel": 0.1},
            "dt": {"dt": 0.0},
            "law.coordinates": {"law": Quantiles("y")},
        }.items():
            with pytest.raises(ValueError, match=f"^{name} = "):
                SchrodingerBridge.fit(truth, **{"fields": HERE, **settings})

    def test_dims_in_any_order_and_segments(self, truth: xr.Dataset) -> None:
        """Runs along ``sample_dim`` are segments; the fit does not depend on the order of the dims of each."""
        settings: dict[str, Any] = {"fields": BACK, "trend": Trend(3, 2), "noise": Noise(2)}
        runs = xr.concat(
            [truth.isel(time=slice(900)), truth.isel(time=slice(1100, 2000)).assign_coords(time=truth["time"][:900])],
            "member",
        )
        first = SchrodingerBridge.fit(runs, **settings)
        turned = SchrodingerBridge.fit(runs.transpose("k", "time", "member"), **settings)
        assert first.to_dataset().identical(turned.to_dataset())
        twice = xr.concat([truth.isel(time=slice(900))] * 2, "member")
        settings["trend"] = Trend(3, 2, ridge=1e-3, filtered=False)
        double, alone = (SchrodingerBridge.fit(one, **settings) for one in (twice, truth.isel(time=slice(900))))
        np.testing.assert_allclose(double.trend.chebyshev, alone.trend.chebyshev, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.assign(z=t["z"].where(t["k"] != 3)), r"^truth\.z\[0, 3\] = nan .* finite"),
        (lambda t: t.assign(psi=xr.zeros_like(t["psi"])), r"^truth\.psi = 0\.0 .* two distinct"),
        (lambda t: t.assign(psi=t["psi"].where(t["k"] != 3, 1.0)), r"^means of truth\.psi at its sites = "),
        (lambda t: t.drop_vars("psi"), r"^truth = \['z'\] .* variable psi"),
        (lambda t: t.rename(k="x"), r"^truth\.z\.dims = \('time', 'x'\) .* \('time', 'k'\)"),
        (lambda t: t.isel(time=slice(1)), r"^truth\.sizes\['time'\] = 1 .* two times"),
        (lambda t: t.isel(time=slice(31)), r"^noise\.order = 8 .* a tenth of the times"),
    ],
)
def test_bad_training_data(truth: xr.Dataset, damage: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SchrodingerBridge.fit(damage(truth), fields=HERE, trend=None)
    assert "\n" not in str(caught.value)


def kernel(epsilon: float) -> dict[str, Any]:
    return {"kernel": bridge.Kernel(epsilon=epsilon)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: kernel(0.0), r"^epsilon = 0\.0 .* > 0"),
        (lambda: kernel(-0.1), r"^epsilon = -0\.1 .* > 0"),
        (lambda: kernel(np.nan), r"^epsilon = nan .* finite"),
        (lambda: {"fields": lc.Fields(radius=3, lags=())}, r"^radius = 3 .* at most 2 on a ring of 5"),
        (lambda: {"fields": lc.Fields(radius=-1)}, r"^radius = -1 .* >= 0"),
        (lambda: {"fields": lc.Fields(radius=0.5)}, r"^radius = 0\.5 .* integer"),
        (lambda: {"fields": lc.Fields(lags=(0.0,))}, r"^lags = 0\.0 .* > 0"),
        (lambda: {"fields": lc.Fields(lags=(0.1, 0.1))}, r"^lags = \(0\.1, 0\.1\) .* different"),
        (lambda: {"fields": lc.Fields(radius=0, lags=(1.5 * DT,))}, r"^lags = 0\.0075 .* the closure's step"),
        (lambda: {"fields": lc.Fields(radius=0, lags=(1e4 * DT,))}, r"^truth\.sizes\['time'\] = 2000 .* longest lag"),
        (lambda: {"fields": lc.Fields(pool="x")}, r"^pool = 'x' .* 'auto'"),
        (lambda: {"law": Chain(steps=0)}, r"^law\.steps = 0 .* >= 1"),
        (lambda: {"law": Chain(steps=2**16 + 1)}, r"^law\.steps = 65537 .* below 6\.6e\+04"),
        (lambda: {"law": Chain("leapfrog")}, r"^law\.scheme = 'leapfrog' .* ancestral, .*split"),
        (lambda: {"law": Chain(clamp="vice")}, r"^law\.clamp = 'vice' .* query, state"),
        (lambda: {"law": Chain(noise_metric="imperial")}, r"^law\.noise_metric = 'imperial' .* physical, scaled"),
        (lambda: {"law": Moments(compressed=1)}, r"^law\.compressed = 1 .* >= 2"),
        (lambda: {"law": Quantiles(centres=1)}, r"^law\.centres = 1 .* >= 2"),
        (lambda: {"law": Quantiles(coordinates="y")}, r"^law\.coordinates = 'y' .* trend, z"),
        (lambda: {"law": Quantiles("trend"), "trend": None}, r"^law\.coordinates = 'trend' .* z"),
        (lambda: {"noise": Noise(-1)}, r"^noise\.order = -1 .* >= 0"),
        (lambda: {"noise": Noise(2.5)}, r"^noise\.order = 2\.5 .* integer"),
        (lambda: {"dt": 0.0}, r"^dt = 0\.0 .* > 0"),
        (lambda: {"dt": 1.5 * DT}, r"^dt = 0\.0075 .* multiple of 0\.005"),
        (lambda: {"trend": Trend(-1)}, r"^trend\.degree = -1 .* >= 0"),
        (lambda: {"trend": Trend(order=4)}, r"^trend\.order = 4 .* below 4"),
        (lambda: {"trend": Trend(ridge=-1.0)}, r"^trend\.ridge = -1\.0 .* >= 0"),
        (lambda: {"rng": -1}, r"^rng = -1 .* >= 0"),
    ],
)
def test_bad_settings(truth: xr.Dataset, settings: Callable[[], dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SchrodingerBridge.fit(truth, **{"fields": HERE, "trend": Trend(2, 1), **settings()})
    assert "\n" not in str(caught.value)


def test_what_needs_every_sample_is_not_compressed(truth: xr.Dataset) -> None:
    law = Chain("sequential", centres=400, compressed=40)
    assert SchrodingerBridge.fit(truth, fields=HERE, law=law).law.fitted.compression is None


@pytest.mark.parametrize("shape", [(2, K + 1), (2, K - 1), (K,), (1, 2, K)])
@pytest.mark.parametrize("fields", [HERE, BACK], ids=["here", "in space and time"])
def test_z_of_another_size(truth: xr.Dataset, shape: tuple[int, ...], fields: lc.Fields) -> None:
    closure = SchrodingerBridge.fit(truth, fields=fields, trend=Trend(2, 1), law=Quantiles("z", centres=200))
    z = np.ones(shape)
    for call in (lambda: closure.init(z, 0), lambda: closure.step(z, closure.init(np.ones((2, K)), 0))):
        with pytest.raises(ValueError, match=r"^z\.shape = \(.*\) .* \(member, 5\)") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def closures(truth: xr.Dataset) -> dict[str, SchrodingerBridge]:
    few: dict[str, Any] = {"fields": BACK, "trend": Trend(3, 3), "noise": Noise(2)}
    return {
        "quantiles": SchrodingerBridge.fit(truth, **few),
        "moments": SchrodingerBridge.fit(truth, **few, law=Moments(60)),
        "chain": SchrodingerBridge.fit(truth, fields=AROUND, law=Chain(centres=60)),
        "gaussian": CLOSURES["polynomial_ar1"].fit(truth),
    }


class TestFiles:
    @pytest.fixture
    def saved(self, closures: dict[str, SchrodingerBridge], tmp_path: Path) -> Path:
        path = tmp_path / "closure.nc"
        closures["quantiles"].save(path)
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
        assert "of kind 'closure'" in self.refusal(tmp_path / "truth.nc")  # others have no seal: none is opened
        assert "of kind 'closure'" in self.refusal(tmp_path / "foreign.nc")
        assert "complete file" in self.refusal(tmp_path / "tale.nc")
        assert "existing closure file" in self.refusal(tmp_path / "nowhere.nc")

    def test_of_a_newer_format(self, saved: Path) -> None:
        with netCDF4.Dataset(saved, "a") as file:
            file.l96closure_format_version = np.int32(store.FORMAT_VERSION + 1)
        store.seal(saved)
        assert f"this one has {store.FORMAT_VERSION + 1}" in self.refusal(saved)

    @pytest.mark.parametrize("name", ["quantile_node", "quantile_level", "noise_factor"])
    def test_with_tables_of_two_coordinates_that_do_not_belong_together(
        self, truth: xr.Dataset, tmp_path: Path, name: str
    ) -> None:
        path, fields = tmp_path / "closure.nc", lc.Fields(radius=1, lags=(), periodic=False, pool="k")
        SchrodingerBridge.fit(truth, fields, Trend(2, 1), Quantiles(("trend", "z")), Noise(0)).save(path)
        load(path)
        with netCDF4.Dataset(path, "a") as file:
            values = file[name][:]
            values[{"quantile_node": 1, "quantile_level": (0, 0), "noise_factor": (0, 1)}[name]] += (
                3.0 * np.abs(values).max()
            )
            file[name][:] = values
        store.seal(path)
        refused = self.refusal(path)
        assert any(said in refused for said in (name, "nodes"))

    def test_with_an_unknown_closure(self, saved: Path) -> None:
        with netCDF4.Dataset(saved, "a") as file:
            file.closure = "oracle"
        store.seal(saved)
        message = self.refusal(saved)
        assert "'oracle'" in message
        assert "schrodinger_bridge" in message

    SHARED = ("neighbour", "feature_lag", "predictor_range", "law", "grid_size", "conserve")
    TREND = ("linear", "quadratic", "cubic", "lowest", "highest")
    PAST = ("past_field", "past_first", "past_window", "past_backwards", "past_rotations")
    NOISE = ("reflection", "noise_power")
    BRIDGE = ("coordinates", "sinkhorn_log_weight", "scale", "localization", "epsilon")

    @pytest.mark.parametrize(
        ("law", "names"),
        [
            ("quantiles", (*SHARED, *TREND, *PAST, *NOISE, "quantile", "quantile_node", "quantile_nodes_of")),
            ("moments", (*SHARED, *TREND, *PAST, *NOISE, *BRIDGE)),
            ("chain", (*SHARED, *TREND, *BRIDGE, "chain_scheme", "chain_steps", "chain_clamp")),
            ("gaussian", (*SHARED, *TREND, *NOISE, "coordinate", "log_variance", "log_variance_range")),
        ],
    )
    def test_without_one_of_its_parts(
        self, closures: dict[str, SchrodingerBridge], tmp_path: Path, law: str, names: tuple[str, ...]
    ) -> None:
        for name in names:
            path = tmp_path / f"{name}.of.nc"
            closures[law].save(path)
            with netCDF4.Dataset(path, "a") as file:
                if name in file.variables:
                    file.renameVariable(name, "something_else")
                else:
                    file.delncattr(name)
            store.seal(path)
            assert name.removeprefix("chain_") in self.refusal(path).partition(" is not a complete closure: ")[2]

    @pytest.mark.parametrize("name", CLOSURES)
    def test_saved_into_a_folder_that_is_not_there(self, truth: xr.Dataset, tmp_path: Path, name: str) -> None:
        settings = {"fields": HERE} if name == "schrodinger_bridge" else {}
        closure = CLOSURES[name].fit(truth, **settings)
        with pytest.raises(ValueError, match=r"^path = .* existing folder"):
            closure.save(tmp_path / "nowhere" / "closure.nc")
        assert not list(tmp_path.iterdir())
