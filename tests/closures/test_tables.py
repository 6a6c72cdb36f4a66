"""The tables of a closure: a slow step made of them alone is the closure's step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import step_oracle
import xarray as xr

import l96closure as lc
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles, Trend, choice
from l96closure.closures.noise_fit import LARGEST_GRID

K, MEMBERS, STEPS, DT = 6, 5, 8, 5e-3
HERE = lc.Fields(radius=0, lags=())
AROUND = lc.Fields(radius=1, lags=(2 * DT, 5 * DT))
BOTH = ("z", "other")
RIDGE = 1e-3  # of features that are much alike: without it large coefficients cancel, and rounding with them
TARGETS = ("psi", "second")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "polynomial": ("polynomial", {}),
    "polynomial of neighbours and the past": ("polynomial", {"fields": AROUND, "trend": Trend(3, 2, ridge=RIDGE)}),
    "AR(1)": ("polynomial_ar1", {}),
    "AR(1) with a variance that depends on z": ("polynomial_ar1", {"residual_degree": 3}),
    "AR(3), coloured, with the past": (
        "polynomial_ar1",
        {"fields": AROUND, "residual_degree": 2, "noise": Noise(3)},
    ),
    "quantile": ("schrodinger_bridge", {"fields": HERE}),
    "quantile without trend": (
        "schrodinger_bridge",
        {"fields": lc.Fields(radius=0, lags=(DT,)), "trend": None, "noise": Noise(2, None)},
    ),
    "quantile, fresh noise": ("schrodinger_bridge", {"fields": HERE, "noise": Noise(0)}),
    "quantile, fresh and white": ("schrodinger_bridge", {"fields": HERE, "noise": Noise(0, None)}),
    "quantile, per site": (
        "schrodinger_bridge",
        {"fields": lc.Fields(radius=0, lags=(), pool=()), "law": Quantiles(centres=300)},
    ),
    "quantile, conserving": ("schrodinger_bridge", {"fields": lc.Fields(radius=0, lags=(), conserve=True)}),
    "quantile, of edges": ("schrodinger_bridge", {"fields": lc.Fields(radius=1, lags=(), periodic=False, pool="k")}),
    "quantile, of levels": (
        "schrodinger_bridge",
        {"fields": lc.Fields(radius=1, lags=(DT,), periodic=False), "law": Quantiles(centres=300), "noise": Noise(2)},
    ),
    "quantile, of a mask": (
        "schrodinger_bridge",
        {"fields": lc.Fields(radius=1, lags=(DT,), mask=xr.DataArray([True, True, False, True, True], dims="k"))},
    ),
    "two targets, a weighted sum of which is conserved": (
        "polynomial_ar1",
        {
            "fields": lc.Fields(targets=TARGETS, radius=0, lags=(), conserve=dict.fromkeys(TARGETS, 2.0)),
            "noise": Noise(1),
        },
    ),
    "AR(2), two targets": (
        "polynomial_ar1",
        {"fields": lc.Fields(targets=TARGETS, radius=1, lags=(DT,)), "noise": Noise(2)},
    ),
    "two targets given two coordinates": (
        "schrodinger_bridge",
        {"fields": lc.Fields(targets=TARGETS, radius=1, lags=()), "law": Quantiles(("trend", "z")), "noise": Noise(2)},
    ),
    "psi of the step before": ("schrodinger_bridge", {"fields": lc.Fields(radius=0, lags=(), previous=1)}),
    "psi of steps before, in the past": (
        "polynomial_ar1",
        {"fields": lc.Fields(radius=1, lags=(DT, 3 * DT), previous=2), "trend": Trend(3, 2, ridge=RIDGE)},
    ),
    "psi of steps before, of levels": (
        "schrodinger_bridge",
        {"fields": lc.Fields(radius=1, lags=(DT,), periodic=False, previous=2), "trend": Trend(2, 1, ridge=RIDGE)},
    ),
    **{
        f"space and time, {name}": (
            "schrodinger_bridge",
            {"fields": AROUND, "trend": Trend(5, order, ridge=RIDGE), "law": Quantiles(name), "noise": Noise(3)},
        )
        for name, order in (("trend", 3), ("z", 2))
    },
    "given two coordinates": (
        "schrodinger_bridge",
        {"fields": AROUND, "trend": Trend(5, 2, ridge=RIDGE), "law": Quantiles(("trend", "z")), "noise": Noise(3)},
    ),
    "given two predictors, per site": (
        "schrodinger_bridge",
        {"fields": lc.Fields(BOTH, radius=0, lags=(), pool=()), "law": Quantiles(("other", "z")), "noise": Noise(1)},
    ),
    "several predictors": (
        "schrodinger_bridge",
        {"fields": lc.Fields(BOTH, radius=1, lags=(DT,)), "trend": Trend(3, 3, ridge=RIDGE), "law": Quantiles("other")},
    ),
}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    data = lc.TwoScaleLorenz96(K, 3, 10.0).simulate(samples=1200, dt=1e-3, every=5, spinup=3.0, subgrid="step")
    other = np.sin(data["z"].roll(k=2, roll_coords=False)) + 0.5 * data["z"]
    return data.assign(other=other, second=3.0 - data["psi"].roll(k=1, roll_coords=False) * (1.0 + 0.1 * data["z"]))


@pytest.mark.parametrize("sites", [K, K - 1])
@pytest.mark.parametrize("case", CASES)
def test_a_slow_step_made_of_them_alone_is_the_step(truth: xr.Dataset, case: str, sites: int) -> None:
    name, settings = CASES[case]
    truth = truth.isel(k=slice(sites))
    if (mask := getattr(settings.get("fields"), "mask", None)) is not None:
        settings = {
            "fields": replace(settings["fields"], mask=mask.pad(k=(0, sites - mask.size), constant_values=True))
        }
    closure: Any = CLOSURES[name].fit(truth, **settings)
    names = getattr(closure, "fields", HERE).predictors
    tables = closure.tables()
    # beyond the training range, too
    z = 1.3 * np.stack([truth[one].values[:: 1200 // MEMBERS] for one in names], axis=1)
    assert all(isinstance(table, np.ndarray) and table.dtype.kind in "fib" for table in tables.values())
    shape = z.shape if len(names) > 1 else (MEMBERS, sites)
    state = closure.init(z.reshape(shape), 7, member=2**32 - MEMBERS)
    source = step_oracle.Noise(int(state.key), 2**32 - MEMBERS + np.arange(MEMBERS), 0)
    kept = step_oracle.Kept(state.memory, state.history, state.outside)
    tolerance, of_z = (1e-13 * float(truth[one].std()) for one in ("second", "z"))
    for step in range(1, STEPS):
        psi, state = closure.step(z.reshape(shape), state)
        found, kept = step_oracle.step(tables, z, kept, source._replace(step=step))
        np.testing.assert_allclose(psi, found, rtol=0, atol=tolerance)
        np.testing.assert_allclose(state.memory, kept.memory, rtol=0, atol=1e-13)
        np.testing.assert_allclose(state.history, kept.history, rtol=0, atol=of_z)
        assert state.outside.tolist() == np.asarray(kept.outside).tolist()
        z = z + 0.1


@pytest.mark.parametrize(
    ("law", "kind"), [(Moments(300), "moments"), (Chain("split", centres=300), "chain")], ids=["moments", "chain"]
)
def test_what_sums_over_samples_has_none(truth: xr.Dataset, law: Any, kind: str) -> None:
    closure = CLOSURES["schrodinger_bridge"].fit(truth, fields=HERE, law=law)
    with pytest.raises(ValueError, match=rf"^law = '{kind}' .* quantiles or Gaussian, for tables of a step$"):
        closure.tables()


@pytest.mark.parametrize("covariance", ["auto", "prescribed"])
def test_noise_of_modes_and_prescribed_noise_are_in_tables_and_files(covariance: str, tmp_path: Path) -> None:
    rng, sites = np.random.default_rng(0), LARGEST_GRID + 6 if covariance == "auto" else K
    z, shared = rng.standard_normal((300, sites)), rng.standard_normal((300, 1))
    data = xr.Dataset(
        {"z": (("time", "k"), z), "psi": (("time", "k"), 0.5 * z + shared + rng.standard_normal(z.shape))}
    )
    data = data.assign_coords(time=DT * np.arange(300))
    wanted = np.full((sites, sites), 0.3) + 0.7 * np.eye(sites)
    fields = lc.Fields(periodic=False, pool="k", radius=0, lags=())
    noise = Noise(1, "auto" if covariance == "auto" else wanted)
    closure: Any = CLOSURES["polynomial_ar1"].fit(data, fields, Trend(1, 1), noise)
    tables = closure.tables()
    assert ("noise_modes" in tables) == (covariance == "auto")
    state = closure.init(z[:2], 1)
    psi, following = closure.step(z[:2], state)
    kept = step_oracle.Kept(state.memory, state.history, state.outside)
    found, kept = step_oracle.step(tables, z[:2, None], kept, step_oracle.Noise(int(state.key), np.arange(2), 1))
    np.testing.assert_allclose(psi, found, rtol=0, atol=1e-12)
    np.testing.assert_allclose(following.memory, kept.memory, rtol=0, atol=1e-12)
    closure.save(tmp_path / "closure.nc")
    loaded: Any = lc.closures.load(tmp_path / "closure.nc")
    assert np.array_equal(loaded.step(z[:2], loaded.init(z[:2], 1))[0], psi)
    source = closure.to_dataset().get("noise_factor", xr.DataArray()).attrs.get("source")
    assert source == (None if covariance == "auto" else "prescribed")
    assert loaded.law.pattern.prescribed == (covariance != "auto")


def test_levels_of_a_skewed_coordinate_are_as_close_as_its_bins() -> None:
    """Of exp(1.5 a) most bins lie within a sixteenth of the range; the law knows the spread in each of them."""
    rng = np.random.default_rng(12)
    first, a = rng.standard_normal((2, 24_000, 1))
    second = np.exp(1.5 * a)
    values = first + np.where(second < 0.5, 0.5, 5.0) * rng.standard_normal(a.shape)
    law = choice.quantiles(
        [np.stack([first, second], axis=1)], [values], np.zeros(1, np.intp), 20_000, lc.bridge.Kernel(epsilon=0.01), 0
    )
    at = np.stack([np.zeros(4), [0.1, 0.25, 1.0, 5.0]], axis=1)[:, :, None]
    above = law(at, np.ones((4, 1)))[:, 0] - law(at, np.zeros((4, 1)))[:, 0]
    np.testing.assert_allclose(above, [0.5, 0.5, 5.0, 5.0], rtol=0.15)
