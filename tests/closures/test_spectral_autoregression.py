"""The spectral autoregression against vector autoregressions whose coefficients are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures.spectral_autoregression import SpectralAutoregression

F64 = npt.NDArray[np.float64]
TIMES, RING, PLANE = 4000, 12, (2, 8, 8)  # two levels over a square that is periodic
LEVELS = lc.Fields(dim=("lev", "y", "x"), periodic=(False, True, True))
OWN = np.array([[0.5, 0.1], [-0.2, 0.4]])  # what psi of a level keeps of that of both
ACROSS = np.array([[1.0, 0.0], [0.6, 0.8]])  # makes noise of two levels correlated


def dataset(z: F64, psi: F64, dims: tuple[str, ...], **attrs: Any) -> xr.Dataset:
    return xr.Dataset({"z": (dims, z), "psi": (dims, psi)}, {"time": 0.5 * np.arange(len(z))}, attrs)


def on_a_ring(seed: int) -> xr.Dataset:
    """psi_k(n) = 0.5 psi_{k-1}(n-1) - 0.2 psi_k(n-2) + 0.4 z_{k+1}(n) + noise correlated with its neighbours'."""
    rng = np.random.default_rng(seed)
    z, white = 3.0 + rng.standard_normal((TIMES, RING)), rng.standard_normal((TIMES, RING))
    psi = np.zeros((TIMES, RING))
    for n in range(2, TIMES):
        psi[n] = 0.5 * np.roll(psi[n - 1], 1) - 0.2 * psi[n - 2] + 0.4 * np.roll(z[n] - 3.0, -1)
        psi[n] += white[n] + 0.5 * np.roll(white[n], 1)
    return dataset(z[100:], psi[100:] - 2.0, ("time", "k"))


def on_levels(seed: int) -> xr.Dataset:
    """Psi of each level follows that of both, by a coefficient that falls with the wavenumber, and z of its own."""
    rng = np.random.default_rng(seed)
    z, white = rng.standard_normal((2, TIMES // 4, *PLANE))
    psi = np.zeros_like(z)
    for n in range(1, len(z)):
        psi[n] = np.tensordot(OWN, smoothed(psi[n - 1]), 1) + 0.3 * z[n] + np.tensordot(ACROSS, white[n], 1)
    return dataset(z[50:], psi[50:], ("time", "lev", "y", "x"))


def smoothed(values: F64) -> F64:
    return np.fft.irfft2(np.fft.rfft2(values) * (1.0 - 0.05 * sizes()), s=PLANE[1:])


def sizes() -> F64:
    wave = np.fft.fftfreq(8, 1 / 8)
    return np.hypot(wave[:, None], np.arange(5))


@pytest.fixture(scope="module")
def ring() -> SpectralAutoregression:
    return SpectralAutoregression.fit(on_a_ring(0), lc.Fields(lags=()), order=2)


@pytest.fixture(scope="module")
def levels() -> SpectralAutoregression:
    return SpectralAutoregression.fit(on_levels(0), LEVELS, order=1)


def test_coefficients_of_each_wavenumber_of_a_ring_are_found(ring: SpectralAutoregression) -> None:
    shift = np.exp(-2j * np.pi * np.arange(RING // 2 + 1) / RING)
    true = np.stack([0.5 * shift, np.full(shift.size, -0.2 + 0j), 0.4 / shift], axis=1)
    # Of T complex samples a coefficient has the variance S / (T P): P of psi is >= S, of z it is 1.
    noise = np.abs(1.0 + 0.5 * shift) ** 2
    error = np.sqrt(np.stack([np.ones(shift.size), np.ones(shift.size), noise], axis=1) / TIMES)
    assert (np.abs(ring.law.coefficients[:, 0].T - true) < 5.0 * error).all()
    spread = np.abs(ring.law.root[0, 0]) ** 2
    np.testing.assert_allclose(spread, noise, rtol=5.0 * np.sqrt(2.0 / TIMES))
    np.testing.assert_allclose(ring.means, [3.0, -2.0], atol=5.0 * 3.0 / np.sqrt(TIMES * RING))


def test_rings_of_a_plane_have_their_own_coefficients_across_levels(levels: SpectralAutoregression) -> None:
    inside = np.flatnonzero((levels.grid.sizes >= 1.0) & (levels.grid.sizes <= 4.0))
    found = levels.law.coefficients[:2, :, inside].real.transpose(2, 1, 0)
    true = (1.0 - 0.05 * levels.grid.sizes[inside])[:, None, None] * OWN
    samples = (TIMES // 4) * np.pi  # of the ring of the fewest wavevectors, half its neighbours' not counted
    assert (np.abs(found - true) < 5.0 / np.sqrt(samples)).all()
    root = levels.law.root[:, :, inside].transpose(2, 1, 0)
    covariance = root @ root.conj().transpose(0, 2, 1)
    error = np.sqrt(np.outer(np.diag(ACROSS @ ACROSS.T), np.diag(ACROSS @ ACROSS.T)) * 2 / (TIMES // 4))
    assert (np.abs(covariance - ACROSS @ ACROSS.T) < 5.5 * error).all()


def test_harmonics_of_the_direction_find_a_drift() -> None:
    """psi(n) is 0.6 psi(n - 1), moved by a part of a grid spacing, and noise."""
    rng, spacing = np.random.default_rng(7), 2 * np.pi / 8
    waves = np.stack(np.meshgrid(np.fft.fftfreq(8, 1 / 8), np.arange(5), indexing="ij"))
    drift = np.exp(-1j * spacing * (0.2 * waves[0] - 0.3 * waves[1]))
    psi = np.zeros((TIMES // 2, 8, 8))
    for n in range(1, len(psi)):
        psi[n] = 0.6 * np.fft.irfft2(drift * np.fft.rfft2(psi[n - 1]), s=(8, 8)) + rng.standard_normal((8, 8))
    record = dataset(rng.standard_normal(psi.shape), psi, ("time", "y", "x"))
    fields = lc.Fields(dim=("y", "x"), lags=())
    closure = SpectralAutoregression.fit(record, fields, order=1)
    inside = np.flatnonzero((closure.grid.sizes > 0.0) & (closure.grid.sizes <= 2.0))
    off = closure.law.coefficients[0, 0, inside] - 0.6 * drift.ravel()[inside]
    # A ring of at least eight wavevectors has eight harmonics' coefficients; smoothing over rings adds 0.01.
    assert np.abs(off).max() < 0.01 + 5.0 / np.sqrt(TIMES // 2)
    isotropic = SpectralAutoregression.fit(record, fields, order=1, harmonics=0)
    assert not isotropic.law.coefficients.imag.any()


def free_run(closure: SpectralAutoregression, z: F64) -> F64:
    """Return psi (member, step, K) that a closure draws for z (member, step, K)."""
    state, drawn = closure.init(z[:, 0], rng=1), []
    for now in z.swapaxes(0, 1):
        psi, state = closure.step(now, state)
        drawn.append(psi)
    return np.stack(drawn, axis=1)


@pytest.mark.parametrize(("case", "simulate"), [("ring", on_a_ring), ("levels", on_levels)])
def test_draws_have_the_covariances_of_the_data_in_space_time_and_with_z(
    case: str, simulate: Any, request: pytest.FixtureRequest
) -> None:
    closure: SpectralAutoregression = request.getfixturevalue(case)
    runs = [simulate(seed) for seed in range(1, 9)]
    z = np.stack([run["z"].to_numpy().reshape(run.sizes["time"], -1)[:400] for run in runs])
    true = np.stack([run["psi"].to_numpy().reshape(run.sizes["time"], -1)[:400] for run in runs])
    drawn = free_run(closure, z)
    first, second = (np.stack([statistics(*one) for one in zip(z, psi, strict=True)]) for psi in (true, drawn))
    error = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / len(runs))
    assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < 6.0 * error).all()


def statistics(z: F64, psi: F64) -> F64:
    """Products of psi with itself, at other sites and at one and two steps before, and with z."""
    z, psi = z - z.mean(), psi - psi.mean()
    half = psi.shape[1] // 2
    others = [np.roll(psi, 1, axis=1), np.roll(psi, 2, axis=1), z, np.roll(z, -1, axis=1), np.roll(psi, half, axis=1)]
    lagged = [psi[lag:] * psi[: len(psi) - lag] for lag in (0, 1, 2)]
    return np.array([product.mean() for product in [*lagged, *(psi * other for other in others)]])


def test_a_start_from_a_state_alone_has_the_spread_of_the_data(levels: SpectralAutoregression) -> None:
    run = on_levels(3)
    z = run["z"].to_numpy().reshape(run.sizes["time"], -1)[::10]
    psi, _ = levels.step(z, levels.init(z, rng=2))
    true = run["psi"].to_numpy().reshape(run.sizes["time"], -1)
    for level in (slice(0, 64), slice(64, None)):
        assert psi[:, level].var() == pytest.approx(true[:, level].var(), rel=5 * np.sqrt(2 / psi[:, level].size) * 2)


def test_from_a_known_past_the_next_psi_is_off_by_the_noise_alone(ring: SpectralAutoregression) -> None:
    run = on_a_ring(5).assign_attrs(subgrid="coarse", coarse_dt=0.5)
    held = SpectralAutoregression.fit(run, lc.Fields(lags=()), order=2)
    n = np.arange(50, 1050, 10)
    lagged = n[:, None] - np.arange(held.past_steps + 1)
    dims = ("member", "lag", "k")
    history = xr.Dataset(
        {name: (dims, run[name].to_numpy()[lagged]) for name in ("z", "psi")},
        {"lag": 0.5 * np.arange(lagged.shape[1])},
    )
    z = run["z"].to_numpy()[n]
    drawn = np.stack([held.step(z, held.init(z, rng, history=history))[0] for rng in range(40)])
    unknown = run["psi"].to_numpy()[n] - drawn.mean(axis=0)
    # The noise has the variance 1 + 0.25 at a site, and its mean of 40 draws is off by a fortieth of that.
    assert unknown.var() == pytest.approx(1.25 * (1 + 1 / 40), rel=5 * np.sqrt(2 / unknown.size))


def test_draws_do_not_depend_on_which_members_are_drawn_together(levels: SpectralAutoregression) -> None:
    z = on_levels(4)["z"].to_numpy().reshape(-1, 128)[:7]
    state = levels.init(z, rng=3)
    for _ in range(3):
        together, state = levels.step(z, state)
    some = np.array([5, 2])
    state = levels.init(z[some], rng=3, member=some)
    for _ in range(3):
        alone, state = levels.step(z[some], state)
    np.testing.assert_array_equal(alone, together[some])


def test_units_do_not_matter(levels: SpectralAutoregression) -> None:
    run = on_levels(0)
    scaled = SpectralAutoregression.fit(run.assign(z=1e-6 * run["z"], psi=1e-12 * run["psi"]), LEVELS, order=1)
    z = run["z"].to_numpy().reshape(-1, 128)[:3]
    psi, _ = levels.step(z, levels.init(z, rng=4))
    of_scaled, _ = scaled.step(1e-6 * z, scaled.init(1e-6 * z, rng=4))
    np.testing.assert_allclose(of_scaled, 1e-12 * psi, rtol=1e-6, atol=1e-18)


def test_a_closure_from_a_file_steps_with_the_same_bits(levels: SpectralAutoregression, tmp_path: Path) -> None:
    levels.save(tmp_path / "closure.nc")
    stored = lc.closures.load(tmp_path / "closure.nc")
    z = on_levels(4)["z"].to_numpy().reshape(-1, 128)[:3]
    for closure in (levels, stored):
        state = closure.init(z, rng=5)
        _, state = closure.step(z, state)
        np.testing.assert_array_equal(closure.step(z, state)[0], levels.step(z, state)[0])


def test_a_wavevector_without_psi_in_the_data_is_left_alone() -> None:
    run = on_levels(0)
    modes = np.fft.rfft2(run["psi"].to_numpy())
    modes[:, :, 4], modes[:, :, :, 4], modes[:, :, 0, 0] = 0.0, 0.0, 0.0
    cut = run.assign(psi=(run["psi"].dims, np.fft.irfft2(modes, s=PLANE[1:])))
    closure = SpectralAutoregression.fit(cut, LEVELS, order=1)
    z = run["z"].to_numpy().reshape(-1, 128)[:3]
    drawn = np.abs(np.fft.rfft2(closure.step(z, closure.init(z, rng=6))[0].reshape(3, *PLANE)))
    assert max(drawn[:, :, 4].max(), drawn[:, :, :, 4].max(), drawn[:, :, 0, 0].max()) < 1e-12 * drawn.max()


def test_an_autoregression_that_grows_is_refused() -> None:
    rng = np.random.default_rng(0)
    psi = 1.01 ** np.arange(400)[:, None] * rng.standard_normal(6) + rng.standard_normal((400, 6))
    with pytest.raises(ValueError, match="growth of psi in a step"):
        SpectralAutoregression.fit(dataset(rng.standard_normal((400, 6)), psi, ("time", "k")), order=1)


def test_a_grid_without_a_periodic_dim_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fields\.periodic"):
        SpectralAutoregression.fit(on_a_ring(0), lc.Fields(periodic=False))


def decaying(z: F64) -> F64:
    return 0.2 * np.roll(z, 1, axis=-1) - 1.4 * z


def coupled_with_noise(factor: float) -> SpectralAutoregression:
    """Return an autoregression fitted to a ring, whose noise is multiplied by a factor."""
    run = on_a_ring(6)
    z = run["z"].to_numpy() - 3.0
    centred = run.assign(z=(run["z"].dims, z), psi=run["psi"] + 2.0).assign_attrs(subgrid="coarse", coarse_dt=0.5)
    closure = SpectralAutoregression.fit(centred, lc.Fields(lags=()), order=2)
    return replace(closure, law=replace(closure.law, root=factor * closure.law.root))


@pytest.mark.slow
def test_calibration_finds_the_amplitude_of_the_noise_and_is_kept_in_the_file(tmp_path: Path) -> None:
    pytest.importorskip("iterative_ensemble_smoother")
    run = lc.integrate(decaying, coupled_with_noise(1.0), np.zeros((1, RING)), steps=6000, rng=0)
    reference = run.isel(member=0).assign_attrs(subgrid="coarse", coarse_dt=0.5)
    wrong = coupled_with_noise(1.25)
    found = wrong.calibrate(decaying, reference, bands=2, members=24, steps=300, spinup=20, iterations=2)
    assert found.calibration is not None
    before, after = (np.log(found.calibration[name].to_numpy()) for name in ("before", "after"))
    assert np.abs(before).mean() > 2 * np.log(1.2)  # of variances
    # A held-out stretch of 1500 steps has so many times fewer independent values in a band: about 10 % is its error.
    assert np.abs(after).max() < 0.3
    assert np.abs(after).mean() < 0.5 * np.abs(before).mean()
    found.save(tmp_path / "closure.nc")
    stored = lc.closures.load(tmp_path / "closure.nc")
    assert isinstance(stored, SpectralAutoregression)
    xr.testing.assert_equal(stored.calibration, found.calibration)
    assert stored.calibration.attrs == found.calibration.attrs


def two_on_a_ring(seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Return a record of two predictors and two targets on a ring, and the same with two levels of one of each."""
    rng = np.random.default_rng(seed)
    z, white = rng.standard_normal((2, TIMES // 2, 2, RING))
    psi = np.zeros_like(z)
    for n in range(1, len(z)):
        psi[n] = OWN @ psi[n - 1] + 0.4 * np.roll(z[n], 1, axis=-1) + ACROSS @ white[n]
    levels = dataset(z, psi, ("time", "lev", "k"), subgrid="coarse", coarse_dt=0.5)
    names = {f"{name}{level}": levels[name][:, level] for name in ("z", "psi") for level in (0, 1)}
    return xr.Dataset(names, attrs=levels.attrs), levels


TWO = lc.Fields(predictors=("z0", "z1"), targets=("psi0", "psi1"), lags=())


def test_two_targets_are_what_two_levels_of_one_are() -> None:
    named, levels = two_on_a_ring(0)
    two = SpectralAutoregression.fit(named, TWO, order=1)
    one = SpectralAutoregression.fit(levels, lc.Fields(dim=("lev", "k"), periodic=(False, True), lags=()), order=1)
    np.testing.assert_allclose(two.means, one.means, atol=1e-12)
    for ours, theirs in ((two.law, one.law), (two.past, one.past)):
        np.testing.assert_allclose(ours.coefficients, theirs.coefficients, atol=1e-12)
        np.testing.assert_allclose(ours.root, theirs.root, atol=1e-12)
    z = levels["z"].to_numpy()[:5]
    history = xr.Dataset(
        {name: (("member", "lag", "k"), np.stack([named[name][5:0:-1], named[name][6:1:-1]])) for name in named},
        {"lag": 0.5 * np.arange(5)},
    )
    stacked = history.assign(
        {name: xr.concat([history[f"{name}0"], history[f"{name}1"]], "lev") for name in ("z", "psi")}
    )[["z", "psi"]].transpose("member", "lag", "lev", "k")
    drawn = []
    for closure, past, shape in ((two, history, (2, 2, RING)), (one, stacked, (2, 2 * RING))):
        silent = replace(closure, law=replace(closure.law, root=0.0 * closure.law.root))
        psi, _ = silent.step(z[:2].reshape(shape), silent.init(z[:2].reshape(shape), rng=0, history=past))
        assert psi.shape == shape
        drawn.append(psi.reshape(2, 2, RING))
    np.testing.assert_allclose(*drawn, atol=1e-12)


@pytest.mark.slow
def test_calibration_finds_the_amplitude_of_each_of_two_targets() -> None:
    pytest.importorskip("iterative_ensemble_smoother")
    named, _ = two_on_a_ring(1)
    right = SpectralAutoregression.fit(named, TWO, order=1)
    run = lc.integrate(decaying, right, np.zeros((1, 2, RING)), steps=4000, rng=0)
    factor = np.array([1.25, 0.8])[:, None]
    wrong = replace(right, law=replace(right.law, root=right.law.root * factor))
    reference = run.isel(member=0).assign_attrs(named.attrs)
    found = wrong.calibrate(decaying, reference, bands=2, members=24, steps=200, spinup=20, iterations=2)
    assert found.calibration is not None
    amplitude = found.calibration["amplitude"].to_numpy()
    # A band of six wavenumbers has hundreds of independent values in 3,000 steps, so the noise is known within 10 %.
    np.testing.assert_allclose(amplitude * factor, 1.0, atol=0.1)
