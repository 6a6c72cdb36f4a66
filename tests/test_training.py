"""From a truth run to training samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import l96closure as lc
from l96closure import training, trends


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
        trend = trends.fit_trend(z, psi, 4)
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
        trend = trends.fit_trend(z, z**3, 5)
        assert (trend.lower, trend.upper) == (-2.0, 3.0)
        np.testing.assert_allclose(trend(np.array([-1e9, -2.1, 3.1, 1e9])), [-8.0, -8.0, 27.0, 27.0], rtol=1e-9)

    @pytest.mark.parametrize("degree", [0, 1, 4, 7])
    def test_leaves_a_residual_orthogonal_to_every_power(self, truth: xr.Dataset, degree: int) -> None:
        z, psi = truth["z"].values, truth["psi"].values
        residual = psi - trends.fit_trend(z, psi, degree)(z)
        for power in range(degree + 1):
            column = ((z - z.mean()) / z.std()) ** power
            cosine = (residual * column).sum() / np.linalg.norm(residual) / np.linalg.norm(column)
            assert abs(cosine) < 1e-10

    @pytest.mark.parametrize("degree", [-1, 2.0, None])
    def test_bad_degree(self, degree: Any) -> None:
        with pytest.raises(ValueError, match=r"^trend_degree = .* integer >= 0"):
            trends.fit_trend(np.arange(5.0), np.arange(5.0), degree)


class TestPrepare:
    @pytest.mark.parametrize("thinning", [1, 3, 7])
    def test_without_a_trend_the_samples_are_z_and_psi(self, truth: xr.Dataset, thinning: int) -> None:
        data = training.prepare(truth, thinning)
        z, psi = truth["z"].values[::thinning], truth["psi"].values[::thinning]
        assert np.array_equal(data.samples, np.hstack([z, psi]))
        np.testing.assert_allclose(data.scale, [z.std()] * 5 + [psi.std()] * 5, rtol=1e-13)
        assert data.trend is None

    def test_with_a_trend_the_trend_can_be_added_back(self, truth: xr.Dataset) -> None:
        data = training.prepare(truth, 2, trend_degree=4)
        z, psi = truth["z"].values[::2], truth["psi"].values[::2]
        assert data.trend is not None
        assert np.array_equal(data.samples[:, :5], z)
        np.testing.assert_allclose(data.samples[:, 5:] + data.trend(z), psi, rtol=0, atol=1e-12)
        assert data.scale[5] == pytest.approx(data.samples[:, 5:].std())
        assert data.scale[5] < psi.std()

    def test_leaves_the_truth_alone(self, truth: xr.Dataset) -> None:
        before = truth.copy(deep=True)
        data = training.prepare(truth, 1, trend_degree=2)
        data.samples[:] = 0.0
        assert truth.identical(before)


RNG = np.random.default_rng(5)
Z, PSI = RNG.normal(size=(2, 30, 4))
HOLE = np.where(np.arange(120).reshape(30, 4) == 9, np.nan, PSI)


@pytest.mark.parametrize(
    ("truth", "arguments", "message"),
    [
        (made_of(Z, HOLE), {}, r"^truth\.psi\[2, 1\] = nan .* finite"),
        (made_of(np.where(np.isnan(HOLE), np.inf, Z), PSI), {}, r"^truth\.z\[2, 1\] = inf .* finite"),
        (made_of(np.ones_like(Z), PSI), {}, r"^truth\.z = 1\.0 .* two distinct"),
        (made_of(Z, np.zeros_like(Z)), {}, r"^truth\.psi = 0\.0 .* two distinct"),
        (made_of(Z, PSI).drop_vars("z"), {}, r"^truth = \['psi'\] .* variable z"),
        (made_of(Z, PSI).drop_vars("psi"), {}, r"^truth = \['z'\] .* variable psi"),
        (made_of(Z, PSI).transpose(), {}, r"^truth\.z\.dims = \('k', 'time'\) .* \('time', 'k'\)"),
        (made_of(Z, PSI).isel(k=0), {}, r"^truth\.z\.dims = \('time',\) .* \('time', 'k'\)"),
        (made_of(Z, PSI).isel(time=slice(0)), {}, r"^truth\.z\.shape = \(0, 4\) .* not empty"),
        (made_of(Z, 2.0 * Z + 1.0), {"trend_degree": 1}, r"^std of psi about its trend = .* > 0"),
        (made_of(Z, PSI), {"trend_degree": -1}, r"^trend_degree = -1 .* >= 0"),
        (made_of(Z, PSI), {"thinning": 0}, r"^thinning = 0 .* >= 1"),
        (made_of(Z, PSI), {"thinning": 2.5}, r"^thinning = 2\.5 .* integer"),
    ],
)
def test_bad_training_data(truth: xr.Dataset, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        training.prepare(truth, **arguments)
    assert "\n" not in str(caught.value)
