"""Correlations in space and time and the comparison of spectra, against plain loops and closed forms.

Tolerances of statistical claims are four standard errors, worked out next to the claim.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import signal

from l96closure import diagnose
from l96closure.diagnostics import climate, intervals, ring

F64 = npt.NDArray[np.float64]

_PHI = 0.7


def coloured(shape: tuple[int, int, int], gain: F64, rng: np.random.Generator) -> F64:
    """AR(1) in time on a ring (member, time, k); the variance at wavenumber m is gain[m]² times that of white noise."""
    noise = rng.standard_normal(shape)
    noise[:, 1:] *= np.sqrt(1 - _PHI**2)
    x = signal.lfilter([1.0], [1.0, -_PHI], noise, axis=1)
    return np.fft.irfft(np.fft.rfft(x, axis=-1) * gain, shape[-1], axis=-1)


def covariance_of(gain: F64, sites: int) -> F64:
    """Covariance along the ring at the distances 0, 1, ..., of what :func:`coloured` makes."""
    return np.fft.irfft(gain**2, sites)


def run(x: F64, psi: F64, step: float = 0.1) -> xr.Dataset:
    dims = ("member", "time", "k")
    return xr.Dataset({"z": (dims, x), "psi": (dims, psi)}, coords={"time": step * np.arange(x.shape[1])})


@pytest.mark.parametrize("sites", [1, 2, 5, 6])
@pytest.mark.parametrize("members", [1, 3])
def test_correlation_in_space_and_time_is_that_of_a_loop(sites: int, members: int) -> None:
    lags = 5
    x = np.random.default_rng(1).standard_normal((members, 60, sites)).cumsum(axis=1)
    found, errors = ring.space_time_correlation(x, lags)
    assert found.shape == errors.shape == (sites, lags)
    a = x - x.mean()
    for i, offset in enumerate(ring.offsets(sites)):
        for lag in range(lags):
            later = np.roll(a, -offset, axis=2)[:, lag:]
            assert found[i, lag] == pytest.approx((a[:, : 60 - lag] * later).mean() / x.var())
    every = ring.space_time_correlation(x, lags, every=2)
    np.testing.assert_allclose(every[0], found[:, ::2], rtol=1e-12)


def test_at_no_distance_it_is_the_autocorrelation_errors_included() -> None:
    x = coloured((2, 3000, 5), np.array([1.0, 2.0, 0.5]), np.random.default_rng(2))
    both = ring.space_time_correlation(x, 20), climate.autocorrelation(x, 20)
    here = int(np.argmin(np.abs(ring.offsets(5))))
    for in_space, in_time in zip(*both, strict=True):
        np.testing.assert_allclose(in_space[here], in_time, rtol=1e-9, atol=1e-12)


def test_a_wave_is_seen_to_travel() -> None:
    site = np.arange(8)
    x = np.cos(2 * np.pi * (site - 0.5 * np.arange(400)[:, None]) / 8)[None]
    correlation, _ = ring.space_time_correlation(x, 5)
    ahead, behind = (int(np.flatnonzero(ring.offsets(8) == offset)[0]) for offset in (2, -2))
    assert correlation[ahead, 4] == pytest.approx(1.0)  # half a site a step
    assert correlation[behind, 4] == pytest.approx(-1.0, abs=0.01)


def test_correlations_are_those_of_a_known_law_within_their_errors() -> None:
    gain = np.array([0.5, 1.5, 1.0, 0.7])
    x = coloured((1, 20_000, 6), gain, np.random.default_rng(3))
    found, errors = ring.space_time_correlation(x, 4)
    covariance = covariance_of(gain, 6)[np.abs(ring.offsets(6))]
    expected = covariance[:, None] / covariance_of(gain, 6)[0] * _PHI ** np.arange(4)
    assert (np.abs(found - expected) <= 4 * errors + 1e-12).all()


# The comparison of spectra


@pytest.mark.parametrize("sites", [1, 2, 7, 12])
def test_the_scores_of_structure_hold_for_a_ring_of_any_size(sites: int) -> None:
    rng = np.random.default_rng(sites)
    gain = np.linspace(1.0, 2.0, sites // 2 + 1)
    truth = run(*(coloured((1, 6000, sites), gain, rng) for _ in range(2))).isel(member=0)
    worse = np.ones_like(gain)
    worse[-1] = 1.5
    coarse = run(*(coloured((3, 2000, sites), gain * worse, rng) for _ in range(2)))
    result = diagnose(truth, coarse, max_lag=2.0)
    for name in ("z", "psi"):
        ratio, low, high = (result[f"spectrum_ratio_{name}{part}"].values for part in ("", "_low", "_high"))
        error = np.log(high / low) / (2 * intervals.SIDE)
        assert (np.abs(np.log(ratio) - 2 * np.log(worse)) < 4 * error).all()
        largest, least, most = (float(result[f"spectrum_error_{name}{part}"]) for part in ("", "_low", "_high"))
        assert largest == np.abs(ratio - 1).max()
        assert 0 < least < 1.25 < most  # 1.5² - 1
        neighbour = result[f"neighbour_correlation_{name}"]
        assert neighbour.isnull().all() if sites == 1 else neighbour.notnull().all()
        if sites > 1:
            beside = result[f"space_time_correlation_{name}"].sel(offset=1).isel(time_lag=0)
            np.testing.assert_array_equal(neighbour, beside)


@pytest.mark.parametrize(("truth_sites", "ratio", "error"), [(0.0, np.nan, np.nan), (1.0, 0.0, 1.0)])
def test_a_field_without_variance_has_no_ratio_or_none_of_it(truth_sites: float, ratio: float, error: float) -> None:
    """``closure=none`` has no psi; neither has a truth that is nothing but resolved."""
    rng = np.random.default_rng(4)
    z, other = (coloured((1, 4000, 4), np.ones(3), rng) for _ in range(2))
    truth, coarse = run(z, truth_sites * other).isel(member=0), run(other, 0.0 * z)
    result = diagnose(truth, coarse, max_lag=2.0)
    for part in ("", "_low", "_high"):
        np.testing.assert_array_equal(result[f"spectrum_ratio_psi{part}"], ratio)
        np.testing.assert_array_equal(result[f"spectrum_error_psi{part}"], error)
    assert result["neighbour_correlation_psi"].sel(source="coarse").isnull()


def test_runs_too_short_have_ratios_without_intervals() -> None:
    x = coloured((2, 200, 6), np.ones(4), np.random.default_rng(5))
    result = diagnose(run(x, x).isel(member=0), run(x, x), max_lag=1.0)
    for name in ("spectrum_ratio_z", "spectrum_error_psi"):
        assert result[name].notnull().all()
        assert result[f"{name}_low"].isnull().all()
        assert result[f"{name}_high"].isnull().all()
    assert result["neighbour_correlation_z_se"].isnull().all()


def test_wavenumbers_that_carry_little_do_not_decide() -> None:
    truth = np.array([1.0, 2.0, 1e-3, 0.0])
    compared = ring.compare(truth, 0.01 * truth, truth * np.array([1.1, 0.8, 9.0, 1.0]), 0.01 * truth)
    assert compared.error == pytest.approx(0.2)
    assert compared.error_low < 0.2 < compared.error_high < 0.3
    assert np.isnan(compared.ratio[3])
