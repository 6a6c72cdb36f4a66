"""A closure on another size of its grid: what a site sees and draws, and what noise has to do with noise far away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import Moments, Noise, Polynomial, PolynomialAR1, Quantiles, SchrodingerBridge, Trend, resizing
from l96closure.closures.patterns import Pattern, by_offset
from l96closure.closures.state import begin
from l96closure.closures.vector_pattern import VectorPattern
from l96closure.closures.wavevectors import Wavevectors

F64 = npt.NDArray[np.float64]

K, DT = 12, 5e-3
SEEN = lc.Fields(radius=1, lags=(2 * DT, 4 * DT))
FEW: dict[str, Any] = {"law": Quantiles(centres=5000), "noise": Noise(3)}
LEVELS: dict[str, Any] = {"dim": ("lev", "k"), "periodic": (False, True), "radius": 1, "lags": (DT,)}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K=K, J=8, F=20.0).simulate(samples=4000, dt=1e-3, every=5, rng=1)


@pytest.fixture(scope="module")
def closure(truth: xr.Dataset) -> Any:
    return SchrodingerBridge.fit(truth, SEEN, **FEW)


@pytest.fixture(scope="module")
def layers(truth: xr.Dataset) -> xr.Dataset:
    """Two levels of different scale, each a ring, and two targets."""
    other = truth[["z", "psi"]].roll(k=5, roll_coords=False)
    both = xr.concat([truth[["z", "psi"]], 10.0 * other + 3.0], "lev")
    return both.assign(second=both["psi"] - 0.3 * both["z"])


def go_round(values: F64, sites: int) -> F64:
    """Continue values (..., K) around their ring."""
    return values[..., np.arange(sites) % values.shape[-1]]


def test_the_same_size_is_the_same_closure(closure: Any) -> None:
    xr.testing.assert_identical(closure.resized({"k": K}).to_dataset(), closure.to_dataset())


def test_fields_that_go_round_twice_have_trends_and_laws_that_do(truth: xr.Dataset, closure: Any) -> None:
    larger = closure.resized({"k": 2 * K})
    z = truth["z"].values[[100, 900, 1700]][:, None]
    history = np.stack([truth["z"].values[[100 - n, 900 - n, 1700 - n]] for n in range(1, 5)], axis=1)[:, :, None]
    mean, outside = closure.trend(z, history)
    of_larger, twice = larger.trend(go_round(z, 2 * K), go_round(history, 2 * K))
    np.testing.assert_allclose(of_larger, go_round(mean, 2 * K), rtol=0, atol=1e-10)
    assert np.array_equal(twice, 2 * outside)
    noise = np.random.default_rng(0).standard_normal(mean.shape)
    x = np.stack([mean, z[:, 0]], axis=1) if len(closure.coordinates) > 1 else mean
    drawn = larger.law.made_of(go_round(x, 2 * K), go_round(noise, 2 * K))
    assert np.array_equal(drawn, go_round(closure.law.made_of(x, noise), 2 * K))
    assert larger.bounds == closure.bounds
    assert larger.coarse_dt == closure.coarse_dt


@pytest.mark.parametrize("sites", [9, 24])
@pytest.mark.parametrize("shared", [True, False], ids=["one memory", "memories of wavenumbers"])
def test_noise_has_the_same_covariance_by_offset(sites: int, shared: bool) -> None:
    """Of values that are drawn, at one time: where it reaches less than half the way round, the same."""
    m = np.arange(K // 2 + 1)
    kernel = np.array([1.0, 0.6, 0.2, *np.zeros(K - 5), 0.2, 0.6]) / np.sqrt(1.8)
    power = np.abs(np.fft.rfft(kernel)) ** 2 * np.where((m == 0) | (2 * m == K), 1.0, 2.0) / K
    reflection = 0.8 * np.exp(-0.1 * m)[:, None].astype(complex)
    pattern = Pattern(reflection[:1] if shared else reflection, power, K)
    made = pattern.resized(sites)
    members = 20_000
    x = made.initial(begin(members, 3))[:, 0]
    wanted = by_offset(np.array([np.roll(kernel, d) @ kernel for d in range(K)]), sites)
    found = np.array([(x * np.roll(x, -d, axis=1)).mean() for d in range(sites)])
    assert np.abs(found - wanted).max() < 5.0 * np.sqrt(2.0 / members)  # the mean over sites is known better
    assert made.power.sum() == pytest.approx(1.0)
    assert (np.abs(made.reflection) < 1.0).all()


def test_a_wave_that_goes_round_the_ring_is_not_known_beyond() -> None:
    """Its covariance at a distance is that of the pairs so far apart that the first ring had without going round it."""
    m = np.arange(K // 2 + 1)
    wave = Pattern(np.zeros((1, 0), complex), np.where(m == 3, 1.0, 0.0), K)
    made = wave.resized(4 * K)
    found = np.fft.irfft(made.power * 2 * K * np.where((np.arange(2 * K + 1) % (2 * K)) == 0, 2.0, 1.0), 4 * K)
    kernel = np.cos(0.5 * np.pi * np.arange(-K // 2, K // 2 + 1)) * np.array([0.5, *np.ones(K - 1), 0.5])
    pairs = np.correlate(kernel, kernel, "full")[K:] / (kernel @ kernel)
    np.testing.assert_allclose(found[: K + 1], pairs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[K + 1 : -K], 0.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 9), (6, 16)])
def test_noise_of_a_plane_has_nearly_the_same_covariance_by_offset(shape: tuple[int, int]) -> None:
    """Between wavevectors covariances are interpolated: by offset they are multiplied by a smooth window."""
    old = (8, 8)
    near = np.zeros(old)
    near[0, 0], near[0, 1], near[0, -1], near[1, 0], near[-1, 0] = 1.0, 0.4, 0.4, 0.1, 0.1
    spectrum = np.fft.fft2(near).real.reshape(8, 8)[:, :5]
    spectrum = spectrum / spectrum.mean() if spectrum.min() > 0.0 else spectrum - spectrum.min() + 0.1
    fields = lc.Fields(dim=("y", "x"), shape=old, radius=0)
    grid = Wavevectors(old, (True, True))
    weight = grid.counts / grid.counts.sum()
    spectrum /= weight @ spectrum.ravel()
    pattern = VectorPattern(np.stack([spectrum, 0.5 * spectrum], axis=-1).reshape(-1, 2, 1, 1).astype(complex), grid)
    grids = resizing._Grids(fields, replace(fields, shape=shape), resizing._like(old, shape))
    made = resizing._between_wavevectors(pattern, grids)
    covariance = np.fft.irfft2(made.covariance[:, 0, 0, 0].reshape(shape[0], -1), shape)
    wanted = np.fft.irfft2(spectrum, old)
    assert covariance[0, 0] == pytest.approx(1.0)
    for place in ((0, 1), (1, 0), (0, -1), (1, 1)):
        assert abs(covariance[place] - wanted[place]) < 0.1 * abs(wanted[place]) + 0.01
    same = resizing._between_wavevectors(pattern, resizing._Grids(fields, fields, np.arange(64)))
    np.testing.assert_allclose(same.covariance, pattern.covariance, rtol=0, atol=1e-12)


@pytest.mark.parametrize("targets", ["psi", ("psi", "second")])
def test_noise_of_pairs_is_that_of_wavevectors(layers: xr.Dataset, targets: Any) -> None:
    """Correlations of all cells, in space and in time, of a fit that chose pairs."""
    fields = lc.Fields("z", targets, dim=("lev", "k"), periodic=(False, True), radius=0, lags=()).of(layers)
    cells = len(fields.targets) * 2 * K
    place = np.arange(cells)
    away = np.abs(np.subtract.outer(place % K, place % K))
    kind = np.subtract.outer(place // K, place // K) != 0
    correlation = np.where(kind, 0.3, 1.0) * np.exp(-np.minimum(away, K - away) / 1.5)
    pattern = Pattern(np.array([[0.7 + 0j, -0.2]]), np.ones(1), cells, np.linalg.cholesky(correlation))
    made = resizing._by_wavevector(pattern, fields)
    members = 4000
    x = np.concatenate([made.initial(begin(members, one)) for one in (1, 2)])
    steady = 0.7 * (1.0 + 0.2)  # of the autocorrelation at one step: a_1 = k_1 (1 - k_2)
    for lag, kept in ((0, 1.0), (1, 0.7)):
        assert pattern.autocorrelation[lag] == pytest.approx(kept)
        found = x[:, 0].T @ x[:, lag] / len(x)
        error = np.sqrt((1.0 + (kept * correlation) ** 2) / len(x))
        assert (np.abs(found - kept * correlation) / error).max() < 5.0
    assert pattern.autocorrelation[2] == pytest.approx(steady * 0.7 - 0.2)


def test_coarse_runs_of_both_sizes_have_the_same_variances(truth: xr.Dataset, closure: Any, tmp_path: Path) -> None:
    found = []
    for sites in (K, 2 * K):
        model, larger = lc.TwoScaleLorenz96(K=sites, J=8, F=20.0), closure.resized({"k": sites})
        starts = go_round(truth["z"].values[::500], sites)
        run = lc.integrate(model, larger, starts, steps=3000, rng=2, save_every=10).isel(time=slice(50, None))
        found.append([float(run[name].std()) for name in ("z", "psi")])
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)
    larger.save(tmp_path / "larger.nc")
    loaded: Any = lc.closures.load(tmp_path / "larger.nc")
    assert np.array_equal(
        loaded.step(starts, loaded.init(starts, 1))[0], larger.step(starts, larger.init(starts, 1))[0]
    )


@pytest.mark.parametrize("fit", [Polynomial.fit, PolynomialAR1.fit])
def test_along_the_ring_of_levels(layers: xr.Dataset, fit: Any) -> None:
    """Each level keeps its trend, its law and its scale; of several targets too."""
    fields = lc.Fields("z", ("psi", "second"), **LEVELS)
    fitted = fit(layers, fields, Trend(3, 2))
    larger = fitted.resized({"k": 30})
    z = fitted.fields.inputs(layers[["z"]].isel(time=[5, 700]).rename(time="member").drop_vars("member"))
    of_larger = go_round(z.reshape(2, 2, K), 30).reshape(2, 60)
    state, of_larger_state = fitted.init(z, 1), larger.init(of_larger, 1)
    history = np.stack([z, z], axis=1)[:, :1, None]
    scaled, of_scaled = (
        fitted._scaled(history),
        larger._scaled(go_round(history.reshape(2, 1, 1, 2, K), 30).reshape(2, 1, 1, 60)),
    )
    mean = fitted.trend(fitted._now(z), scaled)[0].reshape(2, 2, 2, K)
    found = larger.trend(larger._now(of_larger), of_scaled)[0].reshape(2, 2, 2, 30)
    some = slice(1, 2 * K)  # the first sees the last, which begins another round
    np.testing.assert_allclose(found[..., some], go_round(mean, 30)[..., some], rtol=1e-12, atol=1e-12)
    psi = larger.step(of_larger, of_larger_state)[0]
    assert psi.shape == (2, 2, 60)
    assert fitted.step(z, state)[0].shape == (2, 2, 24)
    assert larger.fields.output(psi)["psi"].dims == ("member", "lev", "k")


def test_noise_of_levels_and_targets_is_drawn_on_the_larger_ring(layers: xr.Dataset) -> None:
    """Of variance one, and as correlated among levels and targets at a site as it was."""
    fields = lc.Fields("z", ("psi", "second"), **{**LEVELS, "radius": 0, "lags": ()})
    fitted = PolynomialAR1.fit(layers, fields, Trend(2, 1), Noise(1))
    larger = fitted.resized({"k": 2 * K})
    found = []
    for closure, sites in ((fitted, K), (larger, 2 * K)):
        z = np.zeros((3000, 2 * sites))
        cells = closure.init(z, 2).memory[:, 0].reshape(3000, 4, sites)
        found.append(np.einsum("mck,mdk->cd", cells, cells) / (3000 * sites))
        assert np.isfinite(closure.step(z, closure.init(z, 2))[0]).all()
    np.testing.assert_allclose(np.diag(found[1]), 1.0, rtol=0, atol=0.03)
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("fields", "how", "sizes", "message"),
    [
        (lc.Fields(radius=0, lags=(), pool=()), {}, {"k": 24}, r"^a dim of sizes = 'k' .* having learned together$"),
        (lc.Fields(radius=0, lags=(), periodic=False), {}, {"k": 24}, r"^a dim of sizes = 'k' .* periodic"),
        (SEEN, {}, {"x": 24}, r"^a dim of sizes = 'x' .* one of k$"),
        (SEEN, {}, {"k": 0}, r"^sizes\['k'\] = 0 .* an integer >= 1$"),
        (SEEN, {}, {"k": 2}, r"^sizes\['k'\] = 2 .* at least 3, which a site sees$"),
        (
            lc.Fields(radius=0, lags=()),
            {"law": Moments(500)},
            {"k": 24},
            r"^law = 'a bridge of all sites' .* quantiles",
        ),
        (lc.Fields(radius=0, lags=()), {"noise": Noise(1, np.eye(K))}, {"k": 24}, r"^noise = 'prescribed'"),
        (lc.Fields(radius=0, lags=(), mask=xr.DataArray(np.arange(K) > 2, dims="k")), {}, {"k": 24}, r"without mask"),
    ],
)
def test_what_is_of_one_grid_is_refused(truth: xr.Dataset, fields: Any, how: Any, sizes: Any, message: str) -> None:
    closure = SchrodingerBridge.fit(truth, fields, **{"trend": Trend(3, 1), **FEW, **how})
    with pytest.raises(ValueError, match=message):
        closure.resized(sizes)


def test_a_file_does_not_hide_that_sites_learned_apart(truth: xr.Dataset, tmp_path: Path) -> None:
    apart = Polynomial.fit(truth, lc.Fields(radius=0, lags=(), pool=()))
    apart.save(tmp_path / "apart.nc")
    loaded: Any = lc.closures.load(tmp_path / "apart.nc")
    with pytest.raises(ValueError, match=r"^a dim of sizes = 'k'"):
        loaded.resized({"k": 24})
