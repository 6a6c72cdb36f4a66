"""Forecasts, climates and scores of several predictors and targets at once: what they are of each alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import Polynomial, PolynomialAR1
from l96closure.diagnostics import grids
from l96closure.diagnostics.several import each

F64 = npt.NDArray[np.float64]

LEVELS, DT = 3, 0.1
PROFILE = np.stack([np.linspace(300.0, 200.0, LEVELS), np.zeros(LEVELS)])
FIELDS = lc.Fields(("T", "q"), ("heating", "moistening"), dim="lev", periodic=False, radius=0, lags=())
SINGLE = {"T": "heating", "q": "moistening"}


def model(z: F64) -> F64:
    """Damping towards a profile (member, 2, lev)."""
    return -(z - PROFILE)


def column(times: int, seed: int) -> xr.Dataset:
    """T and q on levels, damped and driven by red noise that both share in part."""
    rng = np.random.default_rng(seed)
    noise, state = np.zeros((2, LEVELS)), np.zeros((2, LEVELS))
    states, psi = np.empty((2, times, 2, LEVELS))
    for n in range(times):
        noise = 0.5 * noise + np.array([[1.0, 0.0], [0.6, 0.8]]) @ rng.standard_normal((2, LEVELS))
        states[n], psi[n] = state + PROFILE, noise - 0.2 * state
        state = state + DT * (psi[n] - state)
    data = {"T": (states[:, 0], "K"), "q": (states[:, 1], "g kg-1")}
    data |= {"heating": (psi[:, 0], "K s-1"), "moistening": (psi[:, 1], "g kg-1 s-1")}
    variables = {name: (("time", "lev"), values, {"units": unit}) for name, (values, unit) in data.items()}
    return xr.Dataset(variables, {"time": DT * np.arange(times), "lev": [1000.0, 500.0, 100.0]})


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return column(3000, 1)


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    return column(2000, 2)


@pytest.fixture(scope="module")
def closure(truth: xr.Dataset) -> PolynomialAR1:
    return PolynomialAR1.fit(truth, FIELDS)


@pytest.fixture(scope="module")
def coarse(closure: PolynomialAR1, reference: xr.Dataset) -> xr.Dataset:
    z = closure.fields.inputs(reference.isel(time=[0, 700]).rename(time="member").drop_vars("member"))
    return lc.integrate(model, closure, z, steps=900, scheme="euler", rng=5)


@pytest.fixture(scope="module")
def ensemble(closure: PolynomialAR1, reference: xr.Dataset) -> xr.Dataset:
    return lc.forecast(model, closure, reference, starts=30, members=4, leads=[0.0, 0.5, 1.0], scheme="euler")


def test_forecasts_have_the_names_units_and_truth_of_their_predictors(ensemble: xr.Dataset, reference: Any) -> None:
    assert list(ensemble.data_vars) == ["T", "q", "T_observation", "q_observation"]
    assert ensemble["T"].dims == ("start", "member", "lead", "lev")
    assert [ensemble[name].attrs["units"] for name in ("T", "q_observation")] == ["K", "g kg-1"]
    np.testing.assert_array_equal(ensemble["lev"], reference["lev"])
    for name in SINGLE:
        met = reference[name].sel(time=ensemble["start"].values[3] + ensemble["lead"].values, method="nearest")
        np.testing.assert_array_equal(ensemble[f"{name}_observation"][3], met)
        np.testing.assert_array_equal(
            ensemble[name][:, :, 0], ensemble[f"{name}_observation"][:, 0].expand_dims(member=4, axis=1)
        )


def test_a_forecast_without_noise_is_the_coarse_run_from_its_start(truth: xr.Dataset, reference: xr.Dataset) -> None:
    closure = Polynomial.fit(truth, FIELDS)
    made = lc.forecast(model, closure, reference, starts=3, members=2, leads=[0.0, 0.5, 1.0], scheme="euler")
    z = np.stack([made[f"{name}_observation"].values[:, 0] for name in SINGLE], axis=1)
    run = lc.integrate(model, closure, z, steps=11, save_every=5, scheme="euler")
    for name in SINGLE:
        np.testing.assert_array_equal(made[name].values[:, 1], run[name])


def test_members_do_not_depend_on_how_many_there_are(closure: Any, reference: xr.Dataset, ensemble: Any) -> None:
    more = lc.forecast(model, closure, reference, starts=30, members=6, leads=[0.0, 0.5, 1.0], scheme="euler")
    np.testing.assert_array_equal(more["q"][:, :4], ensemble["q"])


def test_forecasts_of_each_predictor_are_scored_as_alone(ensemble: xr.Dataset, reference: xr.Dataset) -> None:
    both = lc.verify(ensemble, reference)
    assert both["crps"].dims == ("predictor", "lead")
    assert both["crps"].attrs["units_of_predictor"] == ["K", "g kg-1"]
    assert "units" not in both["crps"].attrs
    assert both["spread_skill"].attrs["units"] == "1"
    for name in SINGLE:
        alone = ensemble[[name, f"{name}_observation"]].rename({name: "z", f"{name}_observation": "observation"})
        of_one = lc.verify(alone.drop_attrs(deep=False), reference.rename({name: "z"}), dim="lev", periodic=False)
        for score in of_one.data_vars:
            np.testing.assert_array_equal(both[score].sel(predictor=name), of_one[score])


def test_closures_are_selected_by_all_predictors_at_all_leads_but_the_first(closure: Any, reference: Any) -> None:
    judge = lc.Selection(model, starts=10, members=4)
    made = lc.forecast(model, closure, reference, starts=10, members=4, leads=2.0 * np.arange(9))
    ratios = []
    for name in SINGLE:
        alone = made[[name, f"{name}_observation"]].rename({name: "z", f"{name}_observation": "observation"})
        of_one = lc.verify(alone.drop_attrs(deep=False), reference.rename({name: "z"}), dim="lev", periodic=False)
        ratios.append((of_one["crps"][1:] / of_one["crps_climatology"]).values)
    assert judge(closure, reference) == pytest.approx(np.mean(ratios), rel=1e-12)


def test_the_climate_of_each_pair_is_that_of_it_alone(coarse: xr.Dataset, reference: xr.Dataset) -> None:
    """But for intervals, whose blocks are long against the memory of all of them."""
    both = lc.diagnose(reference, coarse, bins=12, max_lag=2.0)
    for (called, one), (name, target) in zip(each(both), SINGLE.items(), strict=True):
        assert called == {"z": name, "psi": target}
        names = {name: "z", target: "psi"}
        alone = lc.diagnose(
            reference[list(names)].rename(names),
            coarse[list(names)].rename(names).drop_attrs(deep=False),
            dim="lev", periodic=False, bins=12, max_lag=2.0,
        )  # fmt: skip
        assert set(alone.data_vars) == set(one.data_vars) - {"target_covariance", "target_covariance_se"}
        for score, values in alone.data_vars.items():
            if not str(score).endswith(("_low", "_high")):
                np.testing.assert_array_equal(one[score], values, err_msg=str(score))
        for coordinate in ("z_bin", "psi_bin", "threshold"):
            xr.testing.assert_identical(one[coordinate].variable, alone[coordinate].variable)
        assert one["density_joint"].attrs == alone["density_joint"].attrs


def test_the_order_of_the_variables_does_not_matter(coarse: xr.Dataset, reference: xr.Dataset) -> None:
    first = lc.diagnose(reference, coarse, bins=12, max_lag=2.0)
    turned = coarse.assign_attrs({name: coarse.attrs[name][::-1] for name in ("predictors", "targets")})
    second = lc.diagnose(reference, turned, bins=12, max_lag=2.0)
    for name, values in first.data_vars.items():
        dims = {dim: values[dim] for dim in ("pair", "target", "other_target") if dim in values.dims}
        np.testing.assert_array_equal(second[name].sel(dims), values, err_msg=str(name))


def test_what_is_of_one_predictor_is_not_that_of_another(truth: xr.Dataset, reference: xr.Dataset) -> None:
    """Of two predictors and one target there is one pair, whose scores are those of the first alone."""
    fields = replace(FIELDS, targets="heating")
    closure = PolynomialAR1.fit(truth, fields)
    z = np.stack([reference[name].values[[0, 700]] for name in SINGLE], axis=1)
    run = lc.integrate(model, closure, z, steps=500, scheme="euler")
    made = lc.forecast(model, closure, reference, starts=5, members=2, leads=[0.0, 0.5], scheme="euler")
    scores = xr.merge([lc.diagnose(reference, run, bins=12, max_lag=2.0), lc.verify(made, reference)])
    (first, of_first), (second, of_second) = each(scores)
    assert (first, second) == ({"z": "T"}, {"z": "q"})
    assert {"std", "crps"} <= set(of_first)
    assert "std" not in of_second
    assert "crps" in of_second


def test_covariances_of_targets_are_those_of_numpy(coarse: xr.Dataset, reference: xr.Dataset) -> None:
    found = lc.diagnose(reference, coarse, bins=12, max_lag=2.0)["target_covariance"]
    for source, run in (("truth", reference), ("coarse", coarse)):
        psi = np.stack([run[name].transpose(..., "lev").values.reshape(-1, LEVELS) for name in SINGLE.values()])
        wanted = np.mean([np.cov(psi[:, :, level], bias=True) for level in range(LEVELS)], axis=0)
        np.testing.assert_allclose(found.sel(source=source), wanted, rtol=1e-12)


def test_a_run_says_what_it_is_through_a_file(tmp_path: Path, coarse: xr.Dataset, reference: xr.Dataset) -> None:
    coarse.to_netcdf(tmp_path / "coarse.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "coarse.nc", engine="netcdf4") as again:
        xr.testing.assert_equal(
            lc.diagnose(reference, again, bins=12, max_lag=2.0), lc.diagnose(reference, coarse, bins=12, max_lag=2.0)
        )


def test_other_units_are_refused(closure: Any, coarse: xr.Dataset, ensemble: Any, reference: xr.Dataset) -> None:
    other = reference.assign(q=1e-3 * reference["q"].assign_attrs(units="1"))
    other["q"].attrs["units"] = "kg kg-1"
    with pytest.raises(ValueError, match="units"):
        lc.forecast(model, closure, other, starts=3, members=2, leads=[0.0, 0.5])
    with pytest.raises(ValueError, match="units"):
        lc.verify(ensemble, other)
    with pytest.raises(ValueError, match="units"):
        lc.diagnose(other, coarse)


def test_profiles_are_means_and_spreads_at_each_level(coarse: xr.Dataset, reference: xr.Dataset) -> None:
    found = lc.diagnose(reference, coarse, bins=12, max_lag=2.0)
    np.testing.assert_array_equal(found["lev"], reference["lev"])
    for source, run in (("truth", reference), ("coarse", coarse)):
        over = [dim for dim in run["T"].dims if dim != "lev"]
        at = found.sel(source=source, pair="T")
        np.testing.assert_allclose(at["profile_mean_z"], run["T"].mean(over), rtol=1e-12)
        np.testing.assert_allclose(at["profile_std_psi"], run["heating"].std(over), rtol=1e-12)


def test_what_is_pooled_over_unlike_levels_does_not_depend_on_their_profiles(
    coarse: xr.Dataset, reference: xr.Dataset
) -> None:
    """Of 300 to 200 K, say, which would be nearly all of the variance, and never forget."""
    profile = xr.DataArray(np.linspace(300.0, 200.0, reference.sizes["lev"]), dims="lev")
    shift = {"T": profile, "heating": -0.1 * profile}
    warm, warm_run = (run.assign({name: run[name] + off for name, off in shift.items()}) for run in (reference, coarse))
    how: dict[str, Any] = {"dim": "lev", "periodic": False, "bins": 11, "max_lag": 2.0}  # no edge at the extremes
    plain, shifted = (
        lc.diagnose(*(run.drop_attrs(deep=False)[["T", "heating"]].rename(T="z", heating="psi") for run in pair), **how)
        for pair in ((reference, coarse), (warm, warm_run))
    )
    assert shifted.attrs["anomalies_along"] == "lev"
    of_profile = {f"{name}_{field}": off for name in ("profile_mean", "taken_off")
                  for field, off in (("z", profile), ("psi", -0.1 * profile))}  # fmt: skip
    for name, values in plain.data_vars.items():
        scale = float(np.abs(values.where(np.isfinite(values))).max())
        np.testing.assert_allclose(
            shifted[name] - of_profile.get(str(name), 0.0), values, 1e-6, 1e-6 * scale, err_msg=str(name)
        )
    assert (plain["autocorrelation_z"].isel(lag=-1) < 0.9).all()
    assert plain["mean"].sel(source="truth") == 0.0


def plane(times: int, shape: tuple[int, ...], seed: int) -> F64:
    return np.random.default_rng(seed).standard_normal((1, times, *shape))


def test_an_isotropic_spectrum_sums_to_the_variance_of_each_layer() -> None:
    x = plane(50, (2, 6, 9), 0) * np.array([1.0, 3.0])[:, None, None]
    found, _ = grids.isotropic_spectrum(x.reshape(1, 50, -1), (2, 6, 9), (1, 2))
    np.testing.assert_allclose(found.sum(axis=1), x.std(axis=(0, 1, 3, 4)) ** 2, rtol=1e-12)


@pytest.mark.parametrize("wave", [(0, 3), (3, 0), (2, 2), (-2, 1), (0, 4), (4, 4)])
def test_a_wave_lies_at_its_total_wavenumber_whatever_its_direction(wave: tuple[int, int]) -> None:
    y, x = np.indices((8, 8))
    field = np.cos(2 * np.pi * (wave[0] * y + wave[1] * x) / 8 + np.arange(16)[:, None, None])
    found, _ = grids.isotropic_spectrum(field.reshape(1, 16, -1), (8, 8), (0, 1))
    expected = np.zeros_like(found)
    expected[round(np.hypot(*wave))] = field.var()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_white_noise_has_the_same_variance_in_every_wave() -> None:
    """Each wave of 2,000 fields is known to 1 part in sqrt(2,000) or so; a shell, better; four of these."""
    shape, times = (8, 12), 2000
    found, _ = grids.isotropic_spectrum(plane(times, shape, 1).reshape(1, times, -1), shape, (0, 1))
    waves = np.rint(12 * np.hypot(np.fft.fftfreq(8)[:, None], np.fft.fftfreq(12))).astype(int)
    number = np.bincount(waves.ravel())
    np.testing.assert_allclose(found[1:] * 96 / number[1:], 1.0, atol=4 * np.sqrt(2.0 / times))


def test_planes_have_isotropic_spectra_and_rings_do_not() -> None:
    dims = ("time", "y", "x")
    runs = [
        xr.Dataset({name: (dims, plane(200, (4, 6), seed + i)[0]) for i, name in enumerate(("z", "psi"))},
                   {"time": np.arange(200.0)})
        for seed in (0, 2)
    ]  # fmt: skip
    found = lc.diagnose(runs[0], runs[1].expand_dims("member"), dim=("y", "x"), bins=5)
    assert found["isotropic_spectrum_psi"].dims == ("source", "total_wavenumber")
    assert "spectrum_z" not in found
    assert "profile_mean_z" not in found
    levels = lc.diagnose(runs[0], runs[1].expand_dims("member"), dim=("y", "x"), periodic=[False, True], bins=5)
    assert levels["profile_mean_z"].dims == ("source", "y")
    assert "isotropic_spectrum_z" not in levels
