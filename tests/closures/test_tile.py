"""Tiles of a grid, with a halo of what their sites see: the bits of the whole grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import Chain, Noise, Polynomial, PolynomialAR1, Quantiles, SchrodingerBridge, Trend

K, DT = 14, 5e-3
HERE, AROUND = lc.Fields(radius=0, lags=()), lc.Fields(radius=2, lags=(DT, 3 * DT))
LOCAL = Trend(4, 2, ridge=1e-3, filtered=False)
WHITE: dict[str, Any] = {"trend": LOCAL, "law": Quantiles(centres=2000), "noise": Noise(3, None)}
CLOSURES: dict[str, tuple[Any, dict[str, Any]]] = {
    "polynomial": (Polynomial.fit, {"fields": AROUND, "trend": LOCAL}),
    "AR(1)": (PolynomialAR1.fit, {"fields": AROUND, "trend": LOCAL, "residual_degree": 2}),
    "quantiles": (SchrodingerBridge.fit, {"fields": AROUND, **WHITE}),
    "quantiles of one site": (SchrodingerBridge.fit, {"fields": HERE, **WHITE}),
    "two predictors": (SchrodingerBridge.fit, {"fields": lc.Fields(("z", "other"), radius=1, lags=()), **WHITE}),
    "noise correlated along the ring": (SchrodingerBridge.fit, {"fields": AROUND, **WHITE, "noise": Noise(3)}),
    "fresh noise correlated along the ring": (
        PolynomialAR1.fit,
        {"fields": HERE, "trend": LOCAL, "residual_degree": 2, "noise": Noise(0)},
    ),
    "noise of prescribed correlations, with edges": (
        SchrodingerBridge.fit,
        {
            "fields": lc.Fields(radius=1, lags=(), periodic=False, pool="k"),
            **WHITE,
            "noise": Noise(2, 0.4 * np.eye(K) + 0.6),
        },
    ),
    "two targets": (
        SchrodingerBridge.fit,
        {"fields": lc.Fields(("z", "other"), ("psi", "next"), radius=1, lags=(DT,)), **WHITE, "noise": Noise(2)},
    ),
    "two targets of levels": (
        SchrodingerBridge.fit,
        {
            "fields": lc.Fields(("z", "other"), ("psi", "next"), radius=1, lags=(), periodic=False),
            **WHITE,
            "law": Quantiles(("trend", "z"), 500),
        },
    ),
    "sites that do not pool": (
        PolynomialAR1.fit,
        {"fields": lc.Fields(radius=1, lags=(DT,), pool=()), "trend": LOCAL, "residual_degree": 1},
    ),
    "with edges": (
        SchrodingerBridge.fit,
        {"fields": lc.Fields(radius=1, lags=(DT,), periodic=False, pool="k"), **WHITE},
    ),
}
TILES = [np.arange(5), np.array([12, 13, 0, 1]), np.array([7]), np.arange(K), np.array([9, 3, 5])]


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    data = lc.TwoScaleLorenz96(K=K, J=4, F=16.0).simulate(samples=2500, dt=1e-3, every=5, rng=1)
    other = np.cos(data["z"]) + 0.3 * data["psi"].roll(k=1, roll_coords=False)
    return data.assign(other=other, next=1e-3 * data["psi"].roll(k=-1, roll_coords=False) + 1e-3 * np.sin(data["z"]))


@pytest.mark.parametrize("name", CLOSURES)
def test_tiles_draw_what_the_whole_grid_does(truth: xr.Dataset, name: str) -> None:
    fit, how = CLOSURES[name]
    closure = fit(truth, **how)
    now = [truth[one].values for one in closure.fields.predictors]
    z = np.stack([np.stack([one[n : n + 6] for one in now]) for n in (100, 700, 1300)])  # (member, P, time, K)
    z = 1.2 * (z if len(now) > 1 else z[:, 0])  # beyond the training range, too
    state = closure.init(z[..., 0, :], 3, member=7)
    tiles = [closure.tile(sites) for sites in TILES]
    states = [tile.part(state) for tile in tiles]
    for n in range(6):
        psi, state = closure.step(z[..., n, :], state)
        for number, tile in enumerate(tiles):
            halo = z[..., n, :][..., tile.needs]
            found, states[number] = tile.step(halo, states[number])
            assert np.array_equal(found, psi[..., tile.sites])
    apart = [
        tile.step(z[..., 5, :][..., tile.needs], tile.part(state))[1]
        for tile in map(closure.tile, (TILES[0], np.arange(5, K)))
    ]
    following = closure.step(z[..., 5, :], state)[1]
    assert np.array_equal(sum(one.outside - state.outside for one in apart), following.outside - state.outside)


def test_a_tile_is_given_no_more_than_it_sees(truth: xr.Dataset) -> None:
    closure = SchrodingerBridge.fit(truth, AROUND, **WHITE)
    assert closure.tile([5]).needs.tolist() == [3, 4, 5, 6, 7]
    assert closure.tile([0]).needs.tolist() == [0, 1, 2, 12, 13]
    assert SchrodingerBridge.fit(truth, HERE, **WHITE).tile([5, 9]).needs.tolist() == [5, 9]
    tile = closure.tile([5])
    z = truth["z"].values[:2]
    with pytest.raises(ValueError, match=r"^z\.shape = \(2, 14\) .* \(member, 5\), at the sites that a tile needs$"):
        tile.step(z, tile.part(closure.init(z, 0)))
    with pytest.raises(ValueError, match=r"^state\.memory\.shape"):
        tile.step(z[:, tile.needs], closure.init(z, 0))


@pytest.mark.parametrize(
    "how",
    [
        {"trend": Trend(4, 2)},
        {"fields": lc.Fields(radius=0, lags=(), conserve=True)},
        {"fields": lc.Fields(radius=0, lags=(), conserve={"psi": 1.0})},
        {"fields": lc.Fields(radius=0, lags=(), previous=True), "trend": Trend(1, 1, filtered=False)},
        {"fields": lc.Fields(radius=0, lags=(), mask=xr.DataArray(np.arange(K) != 2, dims="k"))},
        {"law": Chain(centres=100), "noise": None},
    ],
)
def test_a_tile_is_given_the_whole_grid_where_psi_depends_on_it(truth: xr.Dataset, how: dict[str, Any]) -> None:
    closure = SchrodingerBridge.fit(truth, **{"fields": HERE, **WHITE, **how})
    tile, z = closure.tile([3, 1, 2]), truth["z"].values[:2]
    assert tile.needs.tolist() == list(range(K))
    state = closure.init(z, 0)
    of_tile = tile.part(state)
    for _ in range(2):
        psi, state = closure.step(z, state)
        found, of_tile = tile.step(z, of_tile)
        assert np.array_equal(found, psi[:, [3, 1, 2]], equal_nan=True)


@pytest.mark.parametrize("sites", [[], [0, 0], [14], [-1], [0.5], [[1, 2]]])
def test_bad_sites_are_named(truth: xr.Dataset, sites: Any) -> None:
    with pytest.raises(ValueError, match=r"^sites = "):
        Polynomial.fit(truth).tile(sites)
