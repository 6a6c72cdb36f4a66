"""From a truth run to training samples."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import xarray as xr

import l96closure as lc
from l96closure import training, trends

HERE = lc.Fields(radius=0, lags=())


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(5, 3, 10.0).simulate(samples=600, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


def made_of(z: Any, psi: Any) -> xr.Dataset:
    return xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)})


class TestTrend:
    COEFFICIENTS = np.array([0.3, -1.2, 0.04, 0.007, -0.0005])

    def test_recovers_a_polynomial(self) -> None:
        z = np.random.default_rng(0).normal(4.0, 5.0, (200, 6))
        psi = np.polynomial.polynomial.polyval(z, self.COEFFICIENTS)
        trend = trends.fit_polynomial(z, psi, 4)
        np.testing.assert_allclose(trend(z), psi, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
    @pytest.mark.parametrize("degree", [0, 1, 4])
    def test_evaluates_at_any_shape_as_numpy_does(self, shape: tuple[int, ...], degree: int) -> None:
        coefficients = self.COEFFICIENTS[: degree + 1]
        z = np.random.default_rng(1).normal(size=shape)
        before = z.copy()
        found = trends.PolynomialTrend(coefficients, -6.0, 2.0)(np.asarray(z))
        expected = np.polynomial.Chebyshev(coefficients, domain=(-6.0, 2.0))(np.clip(z, -6.0, 2.0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
        assert np.array_equal(z, before)

    def test_is_constant_beyond_the_range_it_was_fitted_on(self) -> None:
        z = np.linspace(-2.0, 3.0, 60).reshape(20, 3)
        trend = trends.fit_polynomial(z, z**3, 5)
        assert (trend.lower, trend.upper) == (-2.0, 3.0)
        np.testing.assert_allclose(trend(np.array([-1e9, -2.1, 3.1, 1e9])), [-8.0, -8.0, 27.0, 27.0], rtol=1e-9)

    @pytest.mark.parametrize("degree", [0, 1, 4, 7])
    def test_leaves_a_residual_orthogonal_to_every_power(self, truth: xr.Dataset, degree: int) -> None:
        z, psi = truth["z"].values, truth["psi"].values
        residual = psi - trends.fit_polynomial(z, psi, degree)(z)
        for power in range(degree + 1):
            column = ((z - z.mean()) / z.std()) ** power
            cosine = (residual * column).sum() / np.linalg.norm(residual) / np.linalg.norm(column)
            assert abs(cosine) < 1e-10

    @pytest.mark.parametrize("degree", [-1, 2.0, None])
    def test_bad_degree(self, degree: Any) -> None:
        with pytest.raises(ValueError, match=r"^degree = .* integer >= 0"):
            trends.fit_polynomial(np.arange(5.0), np.arange(5.0), degree)


class TestRead:
    @pytest.mark.parametrize("every", [1, 3, 7])
    def test_the_record_is_z_and_psi_at_the_steps_of_the_closure(self, truth: xr.Dataset, every: int) -> None:
        record = training.read(truth, HERE, 5e-3 * every, ordered=True)
        z, psi = truth["z"].values[::every], truth["psi"].values[::every]
        assert np.array_equal(record.series[0], z[:, None])
        assert np.array_equal(record.target[0], psi)
        assert record.steps.dt == 5e-3 * every
        np.testing.assert_allclose(record.scales(), [z.std()], rtol=1e-13)

    def test_without_memory_every_time_counts(self, truth: xr.Dataset) -> None:
        record = training.read(truth, HERE, 0.035, ordered=False)
        assert np.array_equal(record.target[0], truth["psi"].values)

    @pytest.mark.parametrize("order", list(permutations(("member", "time", "k"))), ids=" ".join)
    def test_members_are_segments_in_any_order_of_the_dims(self, truth: xr.Dataset, order: tuple[str, ...]) -> None:
        runs = xr.concat([truth, 2.0 * truth], "member").transpose(*order)
        record = training.read(runs.assign(psi=runs["psi"].transpose("time", "member", "k")), HERE, ordered=True)
        for factor, series, target in zip((1.0, 2.0), record.series, record.target, strict=True):
            assert np.array_equal(series, factor * truth["z"].values[:, None])
            assert np.array_equal(target, factor * truth["psi"].values)

    def test_several_sample_dims_are_all_their_entries(self, truth: xr.Dataset) -> None:
        fields = lc.Fields(radius=0, lags=(), sample_dim=("member", "run"))
        runs = xr.concat([xr.concat([(a + 3 * b + 1.0) * truth for a in range(3)], "run") for b in range(2)], "member")
        record = training.read(runs, fields, ordered=True)
        assert sorted(float(one[0, 0] / truth["psi"].values[0, 0]) for one in record.target) == pytest.approx(
            [1, 2, 3, 4, 5, 6]
        )

    def test_leaves_the_truth_alone(self, truth: xr.Dataset) -> None:
        before = truth.copy(deep=True)
        record = training.read(truth, HERE)
        record.target[0][:] = 0.0
        record.series[0][:] = 0.0
        assert truth.identical(before)

    @pytest.mark.parametrize(("lags", "steps"), [((), []), ((0.005, 0.02), [1, 4])])
    def test_lags_are_whole_steps(self, truth: xr.Dataset, lags: tuple[float, ...], steps: list[int]) -> None:
        assert training.read(truth, HERE, ordered=True).in_steps(lags) == steps


def test_pieces_of_a_long_record_are_read_where_they_are_asked_for() -> None:
    values = np.arange(4000.0).reshape(1000, 4) + np.random.default_rng(0).standard_normal((1000, 4))
    data = made_of(values, -values).assign_coords(time=np.arange(1000.0))
    record = training.read(data, HERE, ordered=True, most=800)
    assert [len(one) for one in record.target] == [50] * 4
    for start, one in zip((0, 317, 633, 950), record.target, strict=True):  # evenly spread, the ends among them
        assert np.array_equal(one, -values[start : start + 50])
    assert len(training.read(data, HERE, ordered=True).target[0]) == 1000


RNG = np.random.default_rng(5)
Z, PSI = RNG.normal(size=(2, 30, 4))
HOLE = np.where(np.arange(120).reshape(30, 4) == 9, np.nan, PSI)
UNEVEN = {"time": np.append(np.arange(29.0), 28.4)}


@pytest.mark.parametrize(
    ("truth", "arguments", "message"),
    [
        (made_of(Z, HOLE), {}, r"^truth\.psi\[2, 1\] = nan .* finite"),
        (made_of(np.where(np.isnan(HOLE), np.inf, Z), PSI), {}, r"^truth\.z\[2, 1\] = inf .* finite"),
        (made_of(np.ones_like(Z), PSI), {}, r"^truth\.z = 1\.0 .* two distinct"),
        (made_of(Z, np.zeros_like(Z)), {}, r"^truth\.psi = 0\.0 .* two distinct"),
        (made_of(Z, PSI).drop_vars("z"), {}, r"^truth = \['psi'\] .* variable z"),
        (made_of(Z, PSI).drop_vars("psi"), {}, r"^truth = \['z'\] .* variable psi"),
        (made_of(Z, PSI).isel(k=0), {}, r"^truth\.psi\.dims = \('time',\) .* \('time', 'k'\)"),
        (made_of(Z, PSI).expand_dims("run"), {}, r"^truth\.z\.dims = \('run', .* \('time', 'k'\)"),
        (made_of(Z, PSI).isel(time=slice(0)), {}, r"^truth\.z\.shape = \(0, 4\) .* not empty"),
        (made_of(Z, PSI), {"dt": 1.0, "ordered": True}, r"^truth\.sizes\['time'\] = 30 .* a time coordinate"),
        (made_of(Z, PSI).assign_coords(UNEVEN), {"ordered": True}, r"^truth\['time'\]\[29\] = 28\.4 .* uniform step"),
        (
            made_of(Z, PSI).assign_coords(time=np.arange(30.0)),
            {"dt": 1.5, "ordered": True},
            r"^dt = 1\.5 .* multiple of 1,",
        ),
        ("truth.nc", {}, r"^truth = .* Dataset"),
    ],
)
def test_bad_training_data(truth: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        training.read(truth, HERE, **arguments)
    assert "\n" not in str(caught.value)


def test_nothing_left_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^std of psi about its trend = .* > 0"):
        lc.closures.Polynomial.fit(made_of(Z, 2.0 * Z + 1.0), trend=lc.closures.Trend(1, 1, ridge=0.0))
