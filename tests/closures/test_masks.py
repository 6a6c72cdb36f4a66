"""Masks: sites that are not there are neither read nor learned from nor drawn, and a coast is an edge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import (
    Analog,
    Chain,
    Moments,
    Noise,
    Polynomial,
    PolynomialAR1,
    Quantiles,
    SchrodingerBridge,
    SpectralAutoregression,
    Trend,
)

F64 = npt.NDArray[np.float64]

DT, TIMES, SHAPE = 0.1, 1200, (4, 5)
SEA = np.array([[1, 1, 0, 1, 1], [1, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0]], bool)
GRID: dict[str, Any] = {"dim": ("y", "x"), "periodic": (False, True), "pool": ("y", "x"), "radius": 0, "lags": ()}
FIELDS = lc.Fields("T", "heating", **GRID, mask=xr.DataArray(SEA, dims=("y", "x")))
FEW: dict[str, Any] = {"trend": Trend(3, 1), "law": Quantiles("trend", 2000), "noise": Noise(2)}


def damped(z: F64) -> F64:
    """Resolved tendency, each site for itself."""
    return -z


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    """Red noise that drives a damped field, correlated along x."""
    rng = np.random.default_rng(0)
    noise, state = np.zeros((2, *SHAPE))
    T, heating = np.empty((2, TIMES, *SHAPE))
    for n in range(TIMES):
        white = rng.standard_normal(SHAPE)
        noise = 0.8 * noise + 0.4 * (white + np.roll(white, 1, axis=1))
        T[n], heating[n] = state, noise
        state = state + DT * (noise - state)
    data = xr.Dataset({"T": (("time", "y", "x"), T, {"units": "K"}), "heating": (("time", "y", "x"), heating)})
    return data.assign_coords(time=DT * np.arange(TIMES), y=np.arange(4.0), x=10.0 * np.arange(5))


@pytest.fixture(scope="module")
def data(whole: xr.Dataset) -> xr.Dataset:
    return whole.where(xr.DataArray(SEA, dims=("y", "x")))


@pytest.fixture(scope="module")
def closure(data: xr.Dataset) -> Any:
    return SchrodingerBridge.fit(data, FIELDS, **FEW)


def starts(closure: Any, data: xr.Dataset, times: list[int]) -> F64:
    z: F64 = closure.fields.inputs(data.isel(time=times).rename(time="member").drop_vars("member"))
    return z


@pytest.mark.parametrize("fit", [SchrodingerBridge.fit, PolynomialAR1.fit, Polynomial.fit, Analog.fit])
def test_what_is_left_of_a_grid_is_as_the_same_sites_without_a_grid(data: xr.Dataset, fit: Any) -> None:
    """Trend, law, memory and correlation of the noise: the same bits."""
    how = {name: value for name, value in FEW.items() if fit == SchrodingerBridge.fit}
    sites = data.stack(site=("y", "x")).isel(site=np.flatnonzero(SEA)).drop_vars(["site", "y", "x"])
    masked = fit(data, FIELDS, **how)
    listed = fit(sites, lc.Fields("T", "heating", "site", periodic=False, pool="site", radius=0, lags=()), **how)
    z, of_sites = (starts(one, of, [5, 700, 900]) for one, of in ((masked, data), (listed, sites)))
    assert z.shape == (3, 20)
    assert np.isnan(z[:, ~SEA.ravel()]).all()
    state, of_listed = masked.init(z, 1), listed.init(of_sites, 1)
    for _ in range(3):
        psi, state = masked.step(z, state)
        wanted, of_listed = listed.step(of_sites, of_listed)
        assert np.isnan(psi[:, ~SEA.ravel()]).all()
        assert np.array_equal(psi[:, SEA.ravel()], wanted)
    assert np.array_equal(state.memory, of_listed.memory)


def test_a_mask_that_leaves_all_sites_is_none(whole: xr.Dataset) -> None:
    ring = lc.Fields("T", "heating", dim=("y", "x"), periodic=True, radius=1, lags=(DT,))
    everywhere = lc.Fields(
        "T", "heating", dim=("y", "x"), periodic=True, radius=1, lags=(DT,), mask=xr.ones_like(whole["T"][0], bool)
    )
    one, other = (SchrodingerBridge.fit(whole, fields, **FEW) for fields in (ring, everywhere))
    xr.testing.assert_identical(one.to_dataset(), other.to_dataset())


def test_what_stands_outside_is_not_read(whole: xr.Dataset, data: xr.Dataset, closure: Any) -> None:
    """Neither in training data, be they in memory or in blocks, nor in what is given to a step."""
    for other in (whole, data.fillna(1e300), data.chunk({"time": 100})):
        xr.testing.assert_identical(SchrodingerBridge.fit(other, FIELDS, **FEW).to_dataset(), closure.to_dataset())
    z = starts(closure, data, [5, 6])
    psi = closure.step(z, closure.init(z, 1))[0]
    for fill in (0.0, np.inf):
        filled = np.where(np.isnan(z), fill, z)
        assert np.array_equal(closure.step(filled, closure.init(filled, 1))[0], psi, equal_nan=True)
    hole = data.copy(deep=True)
    hole["T"][17, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"^truth\.T\[17, 2, 3\] = nan is not allowed; it must be finite$"):
        SchrodingerBridge.fit(hole, FIELDS, **FEW)
    with pytest.raises(ValueError, match=r"^dataset\.T\[0, 2, 3\] = nan"):
        closure.fields.inputs(hole.isel(time=17))


@pytest.mark.parametrize("periodic", [False, True])
def test_no_gradient_is_seen_through_a_coast(whole: xr.Dataset, periodic: bool) -> None:
    """The exchange with those neighbours that there are is found exactly, at coasts and edges as elsewhere."""
    sea = xr.DataArray(SEA, dims=("y", "x"))
    T = whole["T"].where(sea)
    exchange = sum(
        (_shifted(T, dim, by, periodic) - T).fillna(0.0) for dim in ("y", "x") for by in (-1, 1)
    )  # NaN beyond
    fields = lc.Fields("T", "heating", dim=("y", "x"), periodic=periodic, pool=("y", "x"), radius=1, lags=(), mask=sea)
    data = whole.assign(heating=exchange.where(sea))
    noisy = data.assign(heating=data["heating"] + 1e-6 * whole["heating"])  # something to draw is left
    closure = Polynomial.fit(noisy, fields, Trend(1, 1, ridge=0.0))
    z = starts(closure, data, list(range(0, TIMES, 50)))
    psi = closure.step(z, closure.init(z, 0))[0]
    wanted = data["heating"].values[::50].reshape(psi.shape)
    np.testing.assert_allclose(psi, wanted, rtol=0, atol=1e-5)


def _shifted(field: xr.DataArray, dim: str, by: int, periodic: bool) -> xr.DataArray:
    return field.roll({dim: by}, roll_coords=False) if periodic else field.shift({dim: by})


def test_a_coast_has_a_law_of_its_own(whole: xr.Dataset) -> None:
    """Where what is left is larger at coasts than elsewhere, so is what is drawn."""
    sea = np.ones(SHAPE, bool)
    sea[1, 1] = False
    coast = np.zeros(SHAPE, bool)
    coast[:3, :3] = sea[:3, :3]
    rng = np.random.default_rng(1)
    left = np.where(coast, 3.0, 1.0) * rng.standard_normal((TIMES, *SHAPE))
    fields = lc.Fields("T", "heating", dim=("y", "x"), radius=1, lags=(), mask=xr.DataArray(sea, dims=("y", "x")))
    closure = SchrodingerBridge.fit(whole.assign(heating=0.5 * whole["T"] + left), fields, **FEW)
    z = np.zeros((2000, 20))
    spread = closure.step(z, closure.init(z, 3))[0].std(axis=0).reshape(SHAPE)
    np.testing.assert_allclose(spread[sea], np.where(coast, 3.0, 1.0)[sea], rtol=0.1)


def test_coarse_runs_leave_to_the_model_what_is_outside(data: xr.Dataset, closure: Any) -> None:
    """It may be NaN there or not; the sites that there are do not notice, and blow up as ever."""
    z = starts(closure, data, [5, 800])
    run = lc.integrate(damped, closure, z, steps=30, rng=2, scheme="euler")
    assert run["heating"].dims == ("member", "time", "y", "x")
    assert run["T"].attrs["units"] == "K"
    assert run["x"].values.tolist() == data["x"].values.tolist()
    of_dataset = data.isel(time=[5, 800], x=slice(None, None, -1)).rename(time="member").drop_vars("member")
    same = lc.integrate(damped, closure, of_dataset, steps=30, rng=2, scheme="euler")
    assert same.equals(run)
    assert np.array_equal(np.isnan(run["T"]), np.broadcast_to(~SEA, run["T"].shape))
    other = lc.integrate(damped, closure, np.where(np.isnan(z), 7.0, z), steps=30, rng=2, scheme="euler")
    assert np.array_equal(other["T"].values[..., SEA], run["T"].values[..., SEA])
    np.testing.assert_allclose(other["T"].values[..., ~SEA][0, :, 0], 7.0 * (1.0 - DT) ** np.arange(30))
    assert np.isnan(other["heating"].values[..., ~SEA]).all()
    with pytest.raises(lc.BlowUpError, match=r"\(time 6\d") as caught:
        lc.integrate(lambda z: 20.0 * z, closure, z, steps=1000, scheme="euler")
    assert 1 < caught.value.good.sizes["time"] < caught.value.run.sizes["time"]
    z[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"^z0\[1, 0, 0\] = nan"):
        lc.integrate(damped, closure, z, steps=30, scheme="euler")


def test_histories_replays_and_probabilities_know_the_mask(data: xr.Dataset, closure: Any) -> None:
    assert float(lc.replay(damped, data.isel(time=slice(200)), "euler", FIELDS)["error"][-1]) < 1e-9
    past = lc.history(damped, data.isel(time=slice(600, 640)), scheme="euler", fields=closure.fields)
    np.testing.assert_allclose(past["heating"][0, 1:], data["heating"].values[638:599:-1], rtol=0, atol=1e-9)
    run = lc.integrate(damped, closure, past, steps=2, scheme="euler")
    assert np.array_equal(run["T"][0, 0], data["T"][639], equal_nan=True)
    drawn = np.stack([closure.step(*_started(closure, past, seed))[0][0] for seed in range(200)])[:, SEA.ravel()]
    usual = data["heating"].std().item()
    assert np.abs(drawn.mean(axis=0) - 0.8 * data["heating"].values[638][SEA]).max() < usual
    assert (drawn.std(axis=0) < 0.8 * usual).all()  # red noise that is known
    probability = closure.probability(data)
    assert np.array_equal(np.isnan(probability), np.broadcast_to(~SEA, probability.shape))
    assert 0.45 < float(probability.mean()) < 0.55


def _started(closure: Any, past: xr.Dataset, seed: int) -> tuple[F64, Any]:
    z = past["T"].values[:, 0].reshape(1, -1)
    return z, closure.init(z, seed, history=past)


def test_a_file_and_a_mean_that_is_kept(data: xr.Dataset, tmp_path: Path) -> None:
    """Of the sites that there are; two targets; and the targets of the step before among the predictors."""
    sea = xr.DataArray(SEA, dims=("y", "x"))
    other = (data["T"].roll(time=3, roll_coords=False) + 0.3 * data["heating"]).rename("other")
    fields = lc.Fields("T", ("heating", "other"), **GRID, mask=sea, previous=True, conserve=True)
    closure = SchrodingerBridge.fit(data.assign(other=other), fields, **{**FEW, "trend": Trend(1, 1)})
    closure.save(tmp_path / "masked.nc")
    loaded: Any = lc.closures.load(tmp_path / "masked.nc")
    xr.testing.assert_equal(loaded.fields.mask, closure.fields.mask)
    z = starts(closure, data, [3, 4, 5])
    state = closure.init(z, 1)
    psi, following = closure.step(z, state)
    assert psi.shape == (3, 2, 20)
    assert np.abs(np.nanmean(psi, axis=-1)).max() < 1e-12
    assert np.array_equal(psi, loaded.step(z, loaded.init(z, 1))[0], equal_nan=True)
    few = closure.step(z[1:], closure.init(z[1:], 1, member=1))[0]
    assert np.array_equal(few, psi[1:], equal_nan=True)
    assert np.isfinite(following.history).all()


@pytest.mark.parametrize("zero", [False, True])
def test_a_weighted_sum_over_targets_levels_and_sites_is_kept(data: xr.Dataset, tmp_path: Path, zero: bool) -> None:
    """It is zero where it is so in the data, else what the trend says, whose closure draws nothing."""
    weight = xr.DataArray([1.0, 2.0, 3.0, 5.0], {"y": data["y"]}, "y")
    heating, latent = data["heating"], 0.1 * data["heating"].roll(time=7, roll_coords=False) - 0.3 * data["T"]
    if zero:
        latent = latent - (weight * heating + 20.0 * latent).sum(("y", "x")) / (20.0 * SEA.sum())
    kept = {"heating": weight[::-1], "latent": 20.0}
    fields = lc.Fields("T", ("heating", "latent"), **GRID | {"pool": "x"}, mask=FIELDS.mask, conserve=kept)
    learned = data.assign(latent=latent)
    closures = [SchrodingerBridge.fit(learned, fields, **FEW), Polynomial.fit(learned, fields, FEW["trend"])]
    closures[0].save(tmp_path / "closure.nc")
    loaded: Any = lc.closures.load(tmp_path / "closure.nc")
    z = starts(closures[0], data, [3, 400, 700, 900])
    psi, means = (one.step(z, one.init(z, 1))[0].reshape(4, 2, *SHAPE) for one in closures)
    assert np.array_equal(loaded.step(z, loaded.init(z, 1))[0].reshape(psi.shape), psi, equal_nan=True)
    assert np.nanstd(psi - means) > 0.1 * np.nanstd(psi)
    of_psi, of_means = (np.nansum(weight.values[:, None] * x[:, 0] + 20.0 * x[:, 1], axis=(1, 2)) for x in (psi, means))
    np.testing.assert_allclose(of_psi, 0.0 if zero else of_means, rtol=0, atol=1e-10)
    if zero:
        np.testing.assert_allclose(of_means, 0.0, atol=1e-10)
        return
    # What it is off is taken from the cells as the mean of independent residuals given their sum has it.
    free = SchrodingerBridge.fit(learned, replace(fields, conserve=False), **FEW)
    change = psi - free.step(z, free.init(z, 1))[0].reshape(psi.shape)
    past = starts(closures[1], data, list(range(TIMES)))
    left = np.stack([heating, latent], axis=1) - closures[1].step(past, closures[1].init(past, 0))[0].reshape(
        -1, 2, *SHAPE
    )
    expected = np.stack([weight.values, np.full(4, 20.0)]) * np.nanvar(left, axis=(0, 3))
    found = np.nanmean(change, axis=3) / change[:, 1, 2, 2][:, None, None]
    np.testing.assert_allclose(found, np.broadcast_to(expected / expected[1, 2], found.shape), rtol=0.05)


def test_a_mask_goes_by_its_coordinates(data: xr.Dataset, closure: Any) -> None:
    turned = closure.fields.mask.isel(y=slice(None, None, -1)).transpose("x", "y")
    fields = lc.Fields("T", "heating", **GRID, mask=turned)
    xr.testing.assert_identical(fields.of(data).mask, closure.fields.mask)
    output = closure.fields.output(closure.step(*_now(closure, data))[0])["heating"]
    assert np.array_equal(np.isnan(output[0]), ~SEA)


def listed(run: xr.Dataset) -> xr.Dataset:
    """The sites that there are one after the other, without a grid."""
    sites = run.drop_vars("mask", errors="ignore").stack(site=("y", "x")).isel(site=np.flatnonzero(SEA))
    said = {**run.attrs, "dim": ["site"], "periodic": ["site"]}
    return sites.drop_vars(["site", "y", "x"]).assign_attrs(said if "dim" in run.attrs else {})


def test_scores_are_those_of_the_sites_that_there_are(data: xr.Dataset, closure: Any) -> None:
    """Whatever stands elsewhere, and in whatever order the reference has its sites; profiles are those of xarray."""
    run = lc.integrate(damped, closure, starts(closure, data, [5, 800]), steps=400, rng=2, scheme="euler")
    made = lc.forecast(damped, closure, data, starts=20, members=4, leads=[0.0, 0.5], scheme="euler")
    turned = data.fillna(1e300).isel(y=slice(None, None, -1))
    found = lc.diagnose(turned, run, bins=10, max_lag=2.0)
    np.testing.assert_allclose(found["profile_std_psi"][1], run["heating"].std(("member", "time", "x")), rtol=1e-12)
    means = data["T"].mean(("time", "x"))
    np.testing.assert_allclose(found["taken_off_z"], means.where(FIELDS.mask).transpose("y", "x"), rtol=1e-9)
    pooled = lc.diagnose(turned, run, periodic=[True, True], bins=10, max_lag=2.0)
    alone = lc.diagnose(listed(data), listed(run), bins=10, max_lag=2.0)
    assert {"hellinger_joint", "power_psi", "return_period_z"} <= set(pooled) < set(alone)
    assert pooled.attrs["left_out"] == "isotropic spectra: a mask cuts the plane"
    for name in pooled:
        np.testing.assert_array_equal(pooled[name], alone[name], err_msg=str(name))
    scores, of_sites = lc.verify(made, turned), lc.verify(listed(made), listed(data))
    for name in set(of_sites) - {"crps_climatology", "rmse_climatology"}:  # of one climate there
        np.testing.assert_array_equal(scores[name], of_sites[name], err_msg=str(name))
    squares = ((data["T"] - data["T"].mean(("time", "x"))) ** 2).mean("time")  # of all sites of a row one climate
    assert scores["rmse_climatology"].item() == pytest.approx(float(np.sqrt(squares.mean())), rel=1e-12)


def test_what_a_mask_cuts_is_said_to_be_left_out() -> None:
    rng = np.random.default_rng(0)
    z, psi = rng.standard_normal((2, 60, 2, 6))
    there = xr.DataArray(np.arange(6) != 4, dims="k")
    runs = [
        xr.Dataset({"z": (("time", "k"), z[:, n]), "psi": (("time", "k"), psi[:, n])}, {"time": np.arange(60.0)})
        for n in range(2)
    ]
    coarse = runs[1].expand_dims("member").assign_coords(mask=there)
    found = lc.diagnose(runs[0].where(there), coarse, bins=5, max_lag=2.0)
    assert found.attrs["left_out"].startswith("covariances and correlations along the ring")
    assert not {"covariance", "spectrum_z", "neighbour_correlation_z"} & set(found)
    assert found["std"][0] == pytest.approx(z[:, 0, np.arange(6) != 4].std(), rel=1e-12)


def _now(closure: Any, data: xr.Dataset) -> tuple[F64, Any]:
    z = starts(closure, data, [3])
    return z, closure.init(z, 0)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (SEA, r"^mask = 'ndarray' .* None, or a DataArray of True and False of the dims \(y, x\)$"),
        (xr.DataArray(SEA.astype(int), dims=("y", "x")), r"^mask = \('int64', \('y', 'x'\)\)"),
        (xr.DataArray(SEA[0], dims="x"), r"^mask = \('bool', \('x',\)\)"),
        (xr.DataArray(SEA[1:], dims=("y", "x")), r"^mask\.shape = \(3, 5\) .* \(4, 5\), the sizes of y, x$"),
        (xr.DataArray(~SEA & SEA, dims=("y", "x")), r"^mask = 'False everywhere' .* True at one site at least$"),
        (xr.DataArray(SEA, {"y": np.arange(4.0) + 1.0}, ("y", "x")), r"^mask\.y\[0\] = 1\.0 .* 0\.0, the coordinate"),
    ],
)
def test_wrong_masks_are_refused(data: xr.Dataset, mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SchrodingerBridge.fit(data, lc.Fields("T", "heating", **GRID, mask=mask), **FEW)


@pytest.mark.parametrize("law", [Moments(300, None), Chain("conditional_variance", centres=300)])
def test_laws_of_all_that_is_seen_are_those_of_the_sites_that_there_are(data: xr.Dataset, law: Any) -> None:
    """As of an unstructured grid of these sites."""
    how: dict[str, Any] = {"trend": Trend(2, 1), "law": law}
    masked = SchrodingerBridge.fit(data, FIELDS, **how)
    sites = data.stack(site=("y", "x")).isel(site=np.flatnonzero(SEA)).drop_vars(("site", "y", "x"))
    unstructured = lc.Fields("T", "heating", dim="site", lags=(), neighbourhoods=[[k] for k in range(SEA.sum())])
    of_sites = SchrodingerBridge.fit(sites, unstructured, **how)
    z, on_sites = starts(masked, data, [3, 500]), sites["T"].values[[3, 500]]
    psi, drawn = (one.step(at, one.init(at, 0))[0] for one, at in ((masked, z), (of_sites, on_sites)))
    assert np.array_equal(psi[:, SEA.ravel()], drawn)
    assert np.isnan(psi[:, ~SEA.ravel()]).all()


def test_what_knows_no_mask_refuses_it(data: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"^fields\.periodic = .* whose sites are alike, without mask$"):
        SpectralAutoregression.fit(data, FIELDS)


@pytest.mark.parametrize(
    ("fit", "options", "message"),
    [
        (
            SpectralAutoregression.fit,
            {"previous": True},
            r"^fields\.previous = True .* False: what is seen of psi's own",
        ),
        (
            SpectralAutoregression.fit,
            {"conserve": True},
            r"^fields\.conserve = True .* None: the mean of psi is drawn as",
        ),
        (Analog.fit, {"conserve": {"heating": 1.0}}, r"^conserve = \['heating'\] .* true, false or None for analogs$"),
        (Polynomial.fit, {"conserve": {"T": 1.0}}, r"^conserve = \['T'\] .* weights of some of the targets heating$"),
        (
            Polynomial.fit,
            {"conserve": {"heating": xr.DataArray(np.ones(3), dims="x")}},
            r"^conserve\['heating'\]\.sizes",
        ),
        (Polynomial.fit, {"conserve": {"heating": np.nan}}, r"^conserve\['heating'\] = nan .* a finite number"),
        (Polynomial.fit, {"conserve": {"heating": 0.0}}, r"^conserve = 'zero everywhere'"),
    ],
)
def test_what_a_closure_cannot_keep_is_refused(whole: xr.Dataset, fit: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(whole, lc.Fields("T", "heating", dim=("y", "x"), lags=(), **options))
