"""The Schrödinger bridge closure on gridded data from anywhere: fields, grids, edges, lazy arrays, units, files."""

from __future__ import annotations

import re
import tracemalloc
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from dense import moments

import l96closure as lc
from l96closure import bridge, training
from l96closure.closures import (
    Chain,
    Moments,
    Noise,
    Polynomial,
    PolynomialAR1,
    Quantiles,
    SchrodingerBridge,
    Trend,
    load,
)

F64 = npt.NDArray[np.float64]
needs_dask = pytest.mark.skipif(find_spec("dask") is None, reason="dask is not installed")
FEW: dict[str, Any] = {"trend": None, "law": Chain("conditional_variance", centres=300)}


def made_of(dim: tuple[str, ...] = ("x",), units: dict[str, str] | None = None, **fields: F64) -> xr.Dataset:
    data = xr.Dataset({name: (("time", *dim), values) for name, values in fields.items()})
    for name, unit in (units or {}).items():
        data[name].attrs["units"] = unit
    return data


def noise(*shape: int, seed: int = 0) -> F64:
    return np.random.default_rng(seed).standard_normal(shape)


def on(dim: str | tuple[str, ...] = "x", radius: int = 0, **options: Any) -> lc.Fields:
    """Return fields that see the present alone."""
    return lc.Fields(**{"dim": dim, "radius": radius, "lags": (), **options})


def bridge_of(closure: Any) -> Any:
    """Return the bridge that a closure draws with."""
    return closure.law.fitted


def draw(closure: SchrodingerBridge, z: F64, steps: int = 3) -> list[F64]:
    state, drawn = closure.init(z, 5), []
    for _ in range(steps):
        psi, state = closure.step(z, state)
        drawn += [psi, state.memory]
    return drawn


def same(a: list[F64], b: list[F64]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class TestPredictors:
    @pytest.mark.parametrize(
        "law", [Quantiles("z", 300), Quantiles("trend", 300), Moments(300, 50), Chain(centres=200)]
    )
    def test_names_do_not_matter(self, law: Any) -> None:
        z = noise(400, 5)
        psi = np.sin(z) + 0.3 * noise(400, 5, seed=1)
        ours = SchrodingerBridge.fit(made_of(("k",), z=z, psi=psi), on("k", 1), law=law)
        renamed = made_of(("x",), wind=z, drag=psi, other=noise(400, 5))
        law = Quantiles("wind", 300) if law == Quantiles("z", 300) else law
        theirs = SchrodingerBridge.fit(renamed, on("x", 1, predictors=["wind"], targets="drag"), law=law)
        assert same(draw(ours, z[:3]), draw(theirs, z[:3]))

    @pytest.mark.parametrize("how", [{"trend": Trend(2, 2)}, {"trend": None, "law": Moments(3000, None)}])
    def test_two_predictors_are_both_heeded(self, how: dict[str, Any]) -> None:
        u, v = noise(2, 1500, 4)
        data = made_of(u=u, v=v, psi=u * v + 0.1 * noise(1500, 4, seed=1))
        z = np.stack([noise(150, 4, seed=2), noise(150, 4, seed=3)], axis=1)
        explained = {}
        for names in (["u"], ["u", "v"]):
            how = {**how, "kernel": bridge.Kernel(epsilon=0.03), "noise": Noise(0)}
            closure = SchrodingerBridge.fit(data, on(predictors=names), **how)
            inputs = z[:, 0] if len(names) == 1 else z
            psi, _ = closure.step(inputs, closure.init(inputs, 0))
            explained[len(names)] = np.corrcoef(psi.ravel(), (z[:, 0] * z[:, 1]).ravel())[0, 1]
        assert explained[2] > 0.8
        assert abs(explained[1]) < 0.3

    def test_moments_are_those_of_a_dense_bridge_of_all_fields(self) -> None:
        u, v, psi = noise(3, 60, 4)
        psi += u - np.roll(v, 1, axis=1)
        data = made_of(u=u, v=v, psi=psi)
        closure = SchrodingerBridge.fit(data, on(predictors=["u", "v"], radius=1, pool=()), **FEW)
        x = np.hstack([u, v, psi])[:7] + 0.1
        mean, variance = bridge_of(closure).moments(x)
        near = [3, 0, 1]  # the neighbours of site 0
        columns = [*near, *(4 + i for i in near), *(8 + i for i in near)]
        scale = np.repeat([u.std(), v.std(), psi.std()], 3)
        samples = np.hstack([u, v, psi])
        expected = moments(x[:, columns], samples[:, columns], psi[:, 0], 0.1, scale)
        np.testing.assert_allclose(mean[:, 0], expected[0], rtol=0, atol=2e-5)
        np.testing.assert_allclose(variance[:, 0], expected[1], rtol=0, atol=2e-5)

    @pytest.mark.parametrize("shape", [(2, 4), (2, 1, 4), (2, 8), (2, 3, 4), (2, 2, 5)])
    def test_predictors_of_another_shape(self, shape: tuple[int, ...]) -> None:
        u, v, psi = noise(3, 60, 4)
        closure = SchrodingerBridge.fit(made_of(u=u, v=v, psi=psi), on(predictors=["u", "v"]), **FEW)
        for call in (lambda: closure.init(np.ones(shape), 0), lambda: draw(closure, np.ones(shape))):
            with pytest.raises(ValueError, match=r"^z\.shape = \(.*\) .* \(member, 2, 4\)"):
                call()


class TestTrend:
    U, V = 3.0 + noise(300, 5), 50.0 * noise(300, 5, seed=1)

    def test_recovers_a_sum_of_polynomials(self) -> None:
        U, V = self.U, self.V
        psi = 1.0 - 2.0 * U + 0.1 * U**3 + 0.02 * V - 1e-4 * V**2
        z, seen = np.stack([U, V], axis=1), on(predictors=["u", "v"])
        noisy = made_of(u=U, v=V, psi=psi + noise(300, 5, seed=2))
        near = made_of(u=U, v=V, psi=psi + 1e-6 * noise(300, 5, seed=2))
        exact = Polynomial.fit(near, seen, Trend(3, 1, 0.0))
        np.testing.assert_allclose(exact.trend.of_series(z, np.arange(300)), psi, rtol=0, atol=1e-6)
        found = PolynomialAR1.fit(noisy, seen, Trend(3, 1, 0.0), Noise(0))
        # The residual is held out: it has the errors of 7 coefficients of 1500 values besides.
        assert np.exp(0.5 * found.law.of(np.zeros(1))) == pytest.approx(1.0, abs=5 / np.sqrt(2 * 1500))

    def test_products_of_neighbours_predictors_and_lags_are_found(self) -> None:
        u, v = noise(600, 5), noise(600, 5, seed=1)
        psi = u * np.roll(v, 1, axis=1) + np.roll(u, -1, axis=1) - 0.5
        psi[2:] += 0.3 * v[2:] * u[:-2]
        data = made_of(u=u, v=v, psi=psi + 1e-6 * noise(600, 5, seed=2))
        closure = Polynomial.fit(data, on(predictors=["u", "v"], radius=1, lags=(2,)), Trend(2, 2, 0.0))
        found = closure.trend.of_series(np.stack([u, v], axis=1), np.arange(2, 600))
        np.testing.assert_allclose(found, psi[2:], rtol=0, atol=2e-6)

    def test_members_of_an_ensemble_are_segments(self) -> None:
        """Nothing is taken across the end of a member: a lagged copy is found without an error."""
        z = noise(3, 200, 4)
        lagged = np.concatenate([np.zeros((3, 1, 4)), z[:, :-1]], axis=1) + 1e-6 * noise(3, 200, 4, seed=1)
        dims = ("k", "member", "time")
        data = xr.Dataset({"z": (dims, z.transpose(2, 0, 1)), "psi": (("member", "time", "k"), lagged)})
        closure = Polynomial.fit(data, on("k", lags=(1,)), Trend(1, 1, 0.0))
        for one, psi in zip(z, lagged, strict=True):
            found = closure.trend.of_series(one[:, None], np.arange(1, 200))
            np.testing.assert_allclose(found, psi[1:], rtol=0, atol=1e-5)

    @pytest.mark.filterwarnings("ignore:the table of conditional quantiles")  # of 28 samples
    @pytest.mark.parametrize("times", [2, 3, 4, 5, 7, 9, 12, 19])
    @pytest.mark.parametrize("lags", [(), (1, 3)])
    def test_few_times_are_refused_or_learned_from(self, times: int, lags: tuple[int, ...]) -> None:
        data = made_of(("k",), z=noise(times, 4), psi=noise(times, 4, seed=1))
        for fit in (Polynomial.fit, partial(PolynomialAR1.fit, noise=Noise(0)), SchrodingerBridge.fit):
            try:
                closure = fit(data, on("k", 1, lags=lags), trend=Trend(1, 1))
            except ValueError as error:
                assert re.match(  # noqa: PT017 - either way is right
                    r"^(truth\.sizes|trend|noise\.order)[^\n]* is not allowed; it must be [^\n]*$", str(error)
                )
            else:
                assert np.isfinite(draw(closure, data["z"].values[:2], 2)[0]).all()


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    """psi is the left neighbour, and at the left edge, where there is none, the negative right one."""
    z = noise(800, 6)
    return made_of(z=z, psi=np.hstack([-z[:, 1:2], z[:, :-1]]) + 0.1 * noise(800, 6, seed=1))


@pytest.mark.slow
class TestEdges:
    def test_edge_sites_have_a_law_of_their_own(self, data: xr.Dataset) -> None:
        how = {"trend": None, "law": Chain("conditional_variance", centres=800), "kernel": bridge.Kernel(epsilon=0.05)}
        closure = SchrodingerBridge.fit(data, on(periodic=False, radius=1, pool="x"), **how)
        assert bridge_of(closure).dictionary_of.tolist() == [0, 2, 2, 2, 2, 1]
        z = noise(300, 6, seed=2)
        x = np.hstack([z, np.hstack([-z[:, 1:2], z[:, :-1]])])
        mean = bridge_of(closure).conditional_mean(x)
        assert [np.corrcoef(mean[:, 0], z[:, 1])[0, 1] < -0.9] + [
            np.corrcoef(mean[:, k], z[:, k - 1])[0, 1] > 0.9 for k in range(1, 6)
        ] == [True] * 6

    @pytest.mark.parametrize("shape", [(7,), (4, 5)])
    def test_a_place_is_one_relative_neighbour_at_the_edges_too(self, shape: tuple[int, ...]) -> None:
        """A trend in the neighbour on one side is found, also where the edge is on the other."""
        z, dims = noise(300, *shape), tuple("yx"[-len(shape) :])
        left, right = z.copy(), z.copy()
        left[..., 1:], right[..., :-1] = z[..., :-1], z[..., 1:]  # beyond an edge there is the site itself
        psi = left + 0.1 * left * right - 2.0 * z
        data = made_of(dims, z=z, psi=psi + 1e-6 * noise(*z.shape, seed=1))
        closure = Polynomial.fit(data, on(dims, 1, periodic=False, pool=dims), Trend(1, 2, 0.0))
        flat = z.reshape(300, -1)
        found = closure.trend.of_series(flat[:, None], np.arange(300))
        np.testing.assert_allclose(found, psi.reshape(300, -1), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("how", [FEW, {"law": Moments(300, None)}, {"law": Quantiles(centres=300)}])
    def test_what_lies_beyond_an_edge_is_not_the_other_end(self, data: xr.Dataset, how: dict[str, Any]) -> None:
        closure = SchrodingerBridge.fit(data, on(periodic=False, radius=1, pool="x"), **how)
        z = noise(2, 6)
        moved = z.copy()
        moved[:, -1] += 1.0
        before, after = draw(closure, z, 1)[0], draw(closure, moved, 1)[0]
        assert np.array_equal(before[:, :4], after[:, :4])
        assert (before[:, 4:] != after[:, 4:]).all()

    @pytest.mark.parametrize(
        "law",
        [
            Chain("conditional_variance", centres=300, compressed=40),
            Chain("sequential", centres=300),
            Moments(300, 40),
            Quantiles(centres=300),
        ],
    )
    @pytest.mark.parametrize("pool", ["x", ()])
    def test_survives_a_file(self, data: xr.Dataset, tmp_path: Path, law: Any, pool: Any) -> None:
        closure = SchrodingerBridge.fit(data, on(periodic=False, radius=2, pool=pool, lags=(1,)), Trend(2, 1), law)
        closure.save(tmp_path / "closure.nc")
        loaded = load(tmp_path / "closure.nc")
        assert isinstance(loaded, SchrodingerBridge)
        assert same(draw(loaded, noise(3, 6)), draw(closure, noise(3, 6)))

    @pytest.mark.parametrize("radius", [0, 1, 2, 3])
    @pytest.mark.parametrize(
        ("shape", "periodic"),
        [((9,), False), ((9,), True), ((9, 8), False), ((9, 8), (True, False)), ((9, 8), True), ((3, 2), False)],
    )
    def test_sites_pool_where_the_same_neighbours_are_there(
        self, shape: tuple[int, ...], periodic: Any, radius: int
    ) -> None:
        rings = np.broadcast_to(periodic, len(shape))
        if any(ring and 2 * radius + 1 > size for ring, size in zip(rings, shape, strict=True)):
            with pytest.raises(ValueError, match=r"^radius = "):
                bridge.grid(shape, radius, periodic)
            return
        data = made_of(tuple("xy"[: len(shape)]), z=noise(8, *shape), psi=noise(8, *shape, seed=1))
        closure = SchrodingerBridge.fit(
            data,
            on(tuple("xy"[: len(shape)]), radius, periodic=periodic, pool=tuple("xy"[: len(shape)])),
            trend=None,
            law=Chain("conditional_variance", centres=None),
        )
        looks = []
        for site in np.ndindex(*shape):
            reach = [
                (-radius, radius) if ring else (max(-radius, -i), min(radius, size - 1 - i))
                for i, size, ring in zip(site, shape, rings, strict=True)
            ]
            looks.append(str(reach))
        expected = np.unique(looks, return_inverse=True)[1]
        pairs = set(zip(expected.tolist(), bridge_of(closure).dictionary_of.tolist(), strict=True))
        assert len(pairs) == len(set(looks)) == len(bridge_of(closure).dictionaries)


class TestPlanes:
    SHAPE = (4, 5)

    def plane(self) -> xr.Dataset:
        z = noise(200, *self.SHAPE)
        psi = np.roll(z, 1, axis=1) + 2.0 * np.roll(z, -1, axis=2) + 0.1 * noise(200, *self.SHAPE, seed=1)
        return made_of(("y", "x"), z=z, psi=psi)

    def test_commutes_with_shifts_of_a_doubly_periodic_plane(self) -> None:
        fitted = bridge_of(SchrodingerBridge.fit(self.plane(), on(("y", "x"), 1), **FEW))
        z, psi = noise(2, 10, *self.SHAPE)

        def mean(dy: int, dx: int) -> F64:
            shifted = [np.roll(field, (dy, dx), axis=(1, 2)).reshape(10, -1) for field in (z, psi)]
            return np.roll(fitted.conditional_mean(np.hstack(shifted)).reshape(z.shape), (-dy, -dx), axis=(1, 2))

        np.testing.assert_allclose(mean(2, 3), mean(0, 0), rtol=0, atol=1e-10)

    def test_given_neighbourhoods_are_used(self) -> None:
        sets = bridge.grid(self.SHAPE, 1)
        how = {**FEW, "trend": Trend(2, 1)}
        ours = SchrodingerBridge.fit(self.plane(), on(("y", "x"), 1), **how)
        theirs = SchrodingerBridge.fit(self.plane(), on(("y", "x"), neighbourhoods=sets), **how)
        stacked = self.plane().stack(site=["y", "x"]).reset_index("site", drop=True)
        flat = SchrodingerBridge.fit(stacked, on("site", neighbourhoods=[s.tolist() for s in sets]), **how)
        z = noise(3, 20)
        assert same(draw(ours, z), draw(theirs, z))
        assert same(draw(ours, z), draw(flat, z))

    def test_one_global_neighbourhood(self) -> None:
        z, psi = noise(2, 50, 3)
        closure = SchrodingerBridge.fit(
            made_of(z=z, psi=psi + z), on(neighbourhoods=bridge.everywhere(3), pool=()), **FEW
        )
        expected = bridge.fit(
            np.hstack([z, psi + z]), 0.1, None, np.repeat([z.std(), (psi + z).std()], 3), components=[3, 4, 5]
        )
        x = noise(4, 6)
        np.testing.assert_allclose(bridge_of(closure).moments(x), expected.moments(x), rtol=0, atol=2e-5)

    def test_from_dataset_to_dataset(self) -> None:
        closure = SchrodingerBridge.fit(self.plane(), on(("y", "x")), **FEW)
        here = self.plane().isel(time=slice(3)).rename(time="member")
        z = closure.fields.inputs(here.transpose("x", "member", "y"))
        assert np.array_equal(z, here["z"].values.reshape(3, -1))
        psi = closure.step(z, closure.init(z, 0))[0]
        labelled = closure.fields.output(psi)[closure.fields.targets[0]]
        assert labelled.name == "psi"
        assert labelled.dims == ("member", "y", "x")
        assert np.array_equal(labelled.values[1, 2], psi[1, 10:15])
        assert np.array_equal(closure.fields.inputs(here.isel(member=0)), z[:1])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lazy") / "data.nc"
    z = noise(40_000, 50).astype(np.float32)
    data = made_of(("k",), z=z, psi=z**2)
    data.to_netcdf(path, unlimited_dims=["time"], encoding={name: {"chunksizes": (500, 50)} for name in data})
    return path


class TestLazyData:
    @pytest.mark.parametrize("chunks", [None, pytest.param({"time": 2_000}, marks=needs_dask)])
    def test_is_read_in_blocks(self, file: Path, chunks: dict[str, int] | None) -> None:
        time = {"time": 0.1 * np.arange(40_000)}
        with xr.open_dataset(file) as data:
            expected = training.read(data.load().assign_coords(time), on("k"), 4.0, ordered=True)
        with xr.open_dataset(file, chunks=chunks, cache=False) as data:
            tracemalloc.start()
            found = training.read(data.assign_coords(time), on("k"), 4.0, ordered=True)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert len(found.target[0]) == 1000
        assert np.array_equal(found.series[0], expected.series[0])
        assert np.array_equal(found.target[0], expected.target[0])
        assert peak < 8e6  # all of it is 16 MB in single precision, what is left of it 0.8 MB

    @needs_dask
    @pytest.mark.parametrize("every", [1, 3, 7, 100])
    @pytest.mark.parametrize("chunks", [1, 5, 64, 200])
    def test_chunks_do_not_matter(self, every: int, chunks: int) -> None:
        data = self.small()
        whole, cut = (training.read(d, on("k"), every, ordered=True) for d in (data, data.chunk(time=chunks, k=3)))
        assert np.array_equal(whole.series[0], cut.series[0])
        assert np.array_equal(whole.series[0][:, 0], data["z"].values[::every])
        assert np.array_equal(whole.target[0], cut.target[0])

    def test_blocks_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = training.read(self.small(), on("k"), 3, ordered=True)
        monkeypatch.setattr(training, "_BLOCK", 28)
        assert np.array_equal(training.read(self.small(), on("k"), 3, ordered=True).target[0], whole.target[0])

    @staticmethod
    def small() -> xr.Dataset:
        data = made_of(("k",), z=noise(200, 4), psi=noise(200, 4, seed=1))
        return data.assign_coords(time=np.arange(200.0))


class TestUnits:
    UNITS = {"u": "m s-1", "T": "degC", "heating": "K day-1"}  # noqa: RUF012 - never changed

    @pytest.fixture
    def closure(self) -> SchrodingerBridge:
        u, T, heating = noise(3, 90, 4)
        data = made_of(units=self.UNITS, u=u, T=T, heating=heating)
        fields = on(predictors=["u", "T"], targets="heating")
        return SchrodingerBridge.fit(data, fields, Trend(2, 1), FEW["law"])

    def test_go_with_the_closure_and_its_file(self, closure: SchrodingerBridge, tmp_path: Path) -> None:
        closure.save(tmp_path / "closure.nc")
        loaded = load(tmp_path / "closure.nc")
        assert isinstance(loaded, SchrodingerBridge)
        assert loaded.to_dataset().identical(closure.to_dataset())
        assert closure.fields.units == ("m s-1", "degC", "K day-1")
        assert closure.fields.output(np.zeros((1, 4)))["heating"].attrs["units"] == "K day-1"
        assert same(draw(loaded, noise(3, 2, 4)), draw(closure, noise(3, 2, 4)))
        with xr.open_dataset(tmp_path / "closure.nc") as file:
            assert not {"units"} & (file["coordinates"].attrs.keys() | file["predictor_range"].attrs.keys())
            assert file["chebyshev"].attrs["units"] == "K day-1"
            assert dict(zip(file["field"].values, file["field_units"].values, strict=True)) == self.UNITS

    def test_of_another_kind_are_told(self, closure: SchrodingerBridge) -> None:
        good = made_of(units=self.UNITS, **dict.fromkeys(self.UNITS, noise(2, 4))).rename(time="member")
        assert closure.fields.inputs(good).shape == (2, 2, 4)
        bad = good.copy()
        bad["T"] = bad["T"].assign_attrs(units="K")
        with pytest.raises(ValueError, match=r"^dataset\.T\.units = 'K' .* 'degC', the units of the training data"):
            closure.fields.inputs(bad)
        bad["T"] = bad["T"].drop_attrs()
        with pytest.raises(ValueError, match=r"^dataset\.T\.units = '1' .* 'degC'"):
            closure.fields.inputs(bad)

    def test_are_one_without_and_stay_so_in_the_file(self, tmp_path: Path) -> None:
        closure = SchrodingerBridge.fit(made_of(("k",), z=noise(60, 4), psi=noise(60, 4, seed=1)), on("k"), **FEW)
        closure.save(tmp_path / "closure.nc")
        with xr.open_dataset(tmp_path / "closure.nc") as file:
            assert file["coordinates"].attrs["units"] == "1"
            assert file["field_units"].values.tolist() == ["1", "1"]


@pytest.mark.slow
class TestGrid:
    """The sites of a closure are those of its training data, wherever they stand in what it is given."""

    LAT, LON = np.linspace(-60.0, 60.0, 4), np.linspace(0.0, 288.0, 5)

    def fitted(self, **coordinates: Any) -> SchrodingerBridge:
        z = noise(60, 4, 5)
        data = made_of(("lat", "lon"), z=z, psi=z + noise(60, 4, 5, seed=1)).assign_coords(coordinates)
        return SchrodingerBridge.fit(data, on(("lat", "lon"), periodic=(False, True), pool=()), **FEW)

    def field(self, **coordinates: Any) -> xr.Dataset:
        return made_of(("lat", "lon"), z=noise(2, 4, 5, seed=3)).rename(time="member").assign_coords(coordinates)

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: d,
            lambda d: d.isel(lat=slice(None, None, -1)),
            lambda d: d.roll(lon=2, roll_coords=True),
            lambda d: d.isel(lat=[2, 0, 3, 1], lon=[4, 2, 0, 1, 3]),
            lambda d: d.assign_coords(lat=d["lat"].astype(np.float32), lon=d["lon"].astype(np.float32)),
            lambda d: d.drop_vars("lat"),
            lambda d: d.transpose("lon", "member", "lat"),
        ],
    )
    def test_order_is_put_right(self, change: Any, tmp_path: Path) -> None:
        closure, here = self.fitted(lat=self.LAT, lon=self.LON), self.field(lat=self.LAT, lon=self.LON)
        closure.save(tmp_path / "closure.nc")
        for one in (closure, load(tmp_path / "closure.nc")):
            assert isinstance(one, SchrodingerBridge)
            z = one.fields.inputs(change(here))
            assert np.array_equal(z, here["z"].values.reshape(2, -1))
            psi = one.fields.output(z)["psi"]
            xr.testing.assert_identical(psi.drop_attrs(), here["z"].rename("psi").drop_vars("member", errors="ignore"))

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"lat": np.linspace(-60.0, 61.0, 4)}, r"^dataset\.lat\[1\] = .* must be -20\.0, the coordinate in"),
            ({"lon": np.linspace(1.0, 289.0, 5)}, r"^dataset\.lon\[0\] = 1\.0 .* must be 0\.0"),
            ({"lat": list("abcd")}, r"^dataset\.lat\[0\] = 'a' .* must be -60\.0"),
        ],
    )
    def test_another_grid_of_the_same_size_is_refused(self, changed: dict[str, Any], message: str) -> None:
        closure = self.fitted(lat=self.LAT, lon=self.LON)
        with pytest.raises(ValueError, match=message):
            closure.fields.inputs(self.field(**{"lat": self.LAT, "lon": self.LON, **changed}))

    def test_coordinates_of_two_dims_and_names_of_sites(self) -> None:
        height = (("lat", "lon"), noise(4, 5, seed=4))
        names = ("lon", ["fa", "mi", "do", "si", "re"])
        closure, here = self.fitted(height=height, note=names), self.field(height=height, note=names)
        z = closure.fields.inputs(here)
        assert np.array_equal(closure.fields.inputs(here.isel(lon=slice(None, None, -1))), z)
        with pytest.raises(ValueError, match=r"^dataset\.height\[0, 0\] = "):
            closure.fields.inputs(here.assign_coords(height=here["height"] + 1.0))

    def test_stacked_sites(self) -> None:
        data = made_of(("lat", "lon"), z=noise(60, 4, 5), psi=noise(60, 4, 5, seed=1))
        data = data.assign_coords(lat=self.LAT, lon=self.LON)
        closure = SchrodingerBridge.fit(data.stack(site=("lat", "lon")), on("site", pool=()), **FEW)
        here = self.field(lat=self.LAT, lon=self.LON)
        backwards = here.isel(lat=slice(None, None, -1)).stack(site=("lat", "lon"))
        assert np.array_equal(closure.fields.inputs(backwards), here["z"].values.reshape(2, -1))


@pytest.mark.slow
class TestSitesThatDiffer:
    WEATHER = noise(400, 8)
    PROFILE = np.linspace(300.0, 200.0, 8)

    @pytest.mark.parametrize("of", ["schrodinger_bridge", "polynomial", "polynomial_ar1", "analog"])
    @pytest.mark.parametrize("which", ["z", "psi"])
    def test_by_more_than_their_spread_are_refused_and_their_anomalies_are_not(self, of: str, which: str) -> None:
        """Where they share one scale."""
        data = made_of(("k",), z=0.5 * self.WEATHER, psi=-self.WEATHER + noise(400, 8, seed=1))
        data = data.assign_coords(time=0.1 * np.arange(400))
        fit = partial(lc.closures.CLOSURES[of].fit, fields=on("k"))
        profile = data.assign({which: data[which] + self.PROFILE})
        with pytest.raises(ValueError, match=rf"^means of truth\.{which} at its sites = \[\d+\.\d*, .* \(std "):
            fit(profile)
        fit(profile - profile.mean("time"))
        uneven = data.assign({which: data[which] * np.geomspace(1.0, 30.0, 8)})
        with pytest.raises(ValueError, match=rf"^standard deviations of truth\.{which} at its sites = .* factor of 10"):
            fit(uneven)
        fit(uneven / uneven.std("time"))

    def test_analogs_of_each_site_alone_have_scales_of_their_own(self) -> None:
        data = made_of(("k",), z=0.5 * self.WEATHER, psi=-self.WEATHER + noise(400, 8, seed=1))
        data, scale = data.assign_coords(time=0.1 * np.arange(400)), 2.0 ** np.arange(8)
        fit = partial(lc.closures.CLOSURES["analog"].fit, fields=on("k", pool=()))
        closures = [fit(one) for one in (data, data * xr.DataArray(scale, dims="k"))]
        z = noise(5, 8, seed=2)
        one, other = (draw(closure, z * by, 3)[0] for closure, by in zip(closures, (1.0, scale), strict=True))
        assert np.array_equal(scale * one, other)

    def test_what_does_not_change_in_time_and_short_records_are_taken(self) -> None:
        height = np.broadcast_to(self.PROFILE, (400, 8))
        data = made_of(("k",), z=self.WEATHER, height=height, psi=self.WEATHER + noise(400, 8, seed=1))
        SchrodingerBridge.fit(data, on("k", predictors=("z", "height")))
        short = lc.TwoScaleLorenz96(8, 4, 12.0).simulate(samples=300, dt=1e-3, spinup=3.0, every=1, subgrid="fine")
        SchrodingerBridge.fit(short, on("k"))


GOOD = made_of(u=noise(40, 4), v=noise(40, 4, seed=1), psi=noise(40, 4, seed=2))
RING = [[0, 1], [1, 2], [2, 3], [3, 0]]


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (GOOD, {"predictors": []}, r"^predictors = \[\] .* a name or several"),
        (GOOD, {"predictors": ["u", "u"]}, r"^predictors = \['u', 'u'\] .* different"),
        (GOOD, {"predictors": ["u", "psi"]}, r"^targets = .* none of the predictors u, psi"),
        (GOOD, {"predictors": "w"}, r"^truth = \['psi', 'u', 'v'\] .* variable w"),
        (GOOD, {"targets": "w"}, r"^truth = .* variable w"),
        (GOOD, {"dim": "k"}, r"^truth\.u\.dims = \('time', 'x'\) .* \('time', 'k'\)"),
        (GOOD, {"dim": ("y", "x")}, r"^truth\.psi\.dims = \('time', 'x'\) .* \('time', 'y', 'x'\)"),
        (GOOD.assign(v=GOOD["v"] * 0), {"predictors": ["u", "v"]}, r"^truth\.v = 0\.0 .* two distinct"),
        (GOOD.assign(u=GOOD["u"].astype(str)), {}, r"^truth\.u = .* an array of numbers"),
        (GOOD, {"periodic": "no"}, r"^periodic = 'no' .* True, False or 1 of them"),
        (GOOD, {"periodic": (True, False)}, r"^periodic = \(True, False\) .* 1 of them"),
        (GOOD, {"neighbourhoods": RING[:3]}, r"^len\(neighbourhoods\) = 3 .* 4, one set a component"),
        (GOOD, {"neighbourhoods": [*RING[:3], [0]]}, r"^neighbourhoods\[3\] = \[0\] .* the site itself, 3"),
        (GOOD, {"neighbourhoods": [*RING[:3], [3, 4]]}, r"^neighbourhoods\[3\] = \[3, 4\] .* from 0 to 3"),
    ],
)
def test_bad_arguments(data: xr.Dataset, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SchrodingerBridge.fit(data, on(**{"predictors": "u", **arguments}), **FEW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (GOOD.drop_vars("u"), r"^dataset = \['psi', 'v'\] .* variable u"),
        (GOOD, r"^dataset\.u\.dims = \('time', 'x'\) .* \('member', 'x'\)"),
        (GOOD.isel(time=0, x=slice(3)), r"^dataset\.u\.shape = \(1, 3\) .* \(member, 4\)"),
        (GOOD.isel(time=0).where(GOOD["x"] != 2), r"^dataset\.u\[0, 2\] = nan .* finite"),
    ],
)
def test_bad_inputs(dataset: xr.Dataset, message: str) -> None:
    closure = SchrodingerBridge.fit(GOOD, on(predictors="u"), **FEW)
    with pytest.raises(ValueError, match=message):
        closure.fields.inputs(dataset)


@pytest.mark.parametrize("conserve", [False, True])
def test_a_conserved_quantity_keeps_its_mean(data: xr.Dataset, tmp_path: Path, conserve: bool) -> None:
    how = {"trend": Trend(2, 1), "law": FEW["law"]}
    closure = SchrodingerBridge.fit(data, on(conserve=conserve), **how)
    free = SchrodingerBridge.fit(data, on(), **how)
    closure.save(tmp_path / "closure.nc")
    loaded = load(tmp_path / "closure.nc")
    assert isinstance(loaded, SchrodingerBridge)
    z = noise(3, 6)
    psi, expected = draw(loaded, z, 1)[0], draw(free, z, 1)[0]
    if conserve:
        expected = expected - expected.mean(axis=1, keepdims=True)
    assert np.array_equal(psi, expected)


def test_labels_of_a_bridge_pool_its_components() -> None:
    samples = noise(80, 4)
    sets = bridge.periodic(4, 1)
    fitted = bridge.fit(samples, 0.3, sets, shared=[7, 2, 7, 2])
    assert fitted.dictionary_of.tolist() == [1, 0, 1, 0]
    x = noise(9, 4, seed=1)
    for pool in ([0, 2], [1, 3]):
        alone = bridge.fit(samples, 0.3, sets, components=pool, shared=True)
        np.testing.assert_allclose(fitted.conditional_mean(x)[:, pool], alone.conditional_mean(x), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"^shared = \[0, 1\] .* 4 labels"):
        bridge.fit(samples, 0.3, sets, shared=[0, 1])


def test_a_closure_of_a_coarse_run_of_another_system_runs_in_the_coarse_model() -> None:
    z = noise(300, 6)
    data = made_of(z=z, psi=-z + 0.1 * noise(300, 6, seed=1))
    closure = SchrodingerBridge.fit(data, on(periodic=False, radius=1), **FEW)
    run = lc.integrate(lambda z: 0.5 * z, closure, z[:3], steps=50, dt=0.05, scheme="rk4")
    assert np.isfinite(run["z"].values).all()


@pytest.mark.slow
@pytest.mark.parametrize("calendar", ["standard", "360_day"])
@pytest.mark.parametrize("closure", ["schrodinger_bridge", "polynomial_ar1", "analog"])
def test_dates_count_in_seconds(closure: str, calendar: str) -> None:
    z = noise(300, 4)
    data = made_of(("k",), z=z, psi=-z + noise(300, 4, seed=1))
    dates = xr.date_range("2026-01-01", periods=300, freq="10min", calendar=calendar)
    of_numbers, of_dates = (
        lc.closures.CLOSURES[closure].fit(data.assign_coords(time=("time", time)), on("k"), dt=1200.0)
        for time in (600.0 * np.arange(300), dates)
    )
    assert of_dates.coarse_dt == 1200.0
    assert same(draw(of_dates, z[:3]), draw(of_numbers, z[:3]))


@pytest.mark.parametrize("name", ["normal", "lognormal"])
def test_what_is_left_at_two_levels_is_drawn_as_correlated_as_it_was(name: str, tmp_path: Path) -> None:
    """A column, whose residuals have memory, and correlations as the data have."""
    rng, times, levels = np.random.default_rng(11), 6000, 5
    white = rng.standard_normal((times, levels))
    distance = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels)))
    noise_of = white @ np.linalg.cholesky(np.exp(-distance / 4.0)).T
    for t in range(1, times):
        noise_of[t] = 0.5 * noise_of[t - 1] + np.sqrt(0.75) * noise_of[t]
    z = rng.standard_normal((times, levels))
    left = noise_of if name == "normal" else np.exp(0.5 * noise_of)
    data = xr.Dataset(
        {"z": (("time", "lev"), z), "psi": (("time", "lev"), z**2 + left * np.linspace(1.0, 1.5, levels))},
        coords={"time": 600.0 * np.arange(times)},
    )
    fields = lc.Fields(dim=("lev",), radius=0, lags=(), periodic=False, pool=())
    SchrodingerBridge.fit(data, fields, trend=Trend(2, 1), noise=Noise(1)).save(tmp_path / "column.nc")
    closure: Any = lc.closures.load(tmp_path / "column.nc")
    members = 4000
    state, drawn = closure.init(z[:members], rng=5), np.empty((2, members, levels))
    for n in range(2):
        psi, state = closure.step(z[:members], state)
        drawn[n] = psi - z[:members] ** 2
    found, expected = np.corrcoef(drawn[0], rowvar=False), np.corrcoef(left, rowvar=False)
    # both estimated: 4000 members, and 6000 times of which 0.75 / 1.25 are independent; twice that for skewed values
    error = (1.0 - expected**2) * np.sqrt(1.0 / members + 1.25 / 0.75 / times) * (1.0 if name == "normal" else 2.0)
    off = ~np.eye(levels, dtype=bool)
    assert (np.abs(found - expected)[off] / error[off]).max() < 4.0
    memory = [np.corrcoef(drawn[0][:, k], drawn[1][:, k])[0, 1] for k in range(levels)]
    np.testing.assert_allclose(memory, 0.5 if name == "normal" else np.expm1(0.125) / np.expm1(0.25), atol=0.05)
