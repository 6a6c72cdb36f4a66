"""Joint density, memory of the residual, spectra and tails, against closed forms and plain loops.

Tolerances of statistical claims are three standard errors or more, worked out next to the claim.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import signal, stats

from l96closure import diagnose
from l96closure.diagnostics import climate, intervals, ring, tails

F64 = npt.NDArray[np.float64]


def _ar1(shape: tuple[int, int, int], phi: float, seed: int) -> F64:
    """Stationary AR(1) of unit variance along the middle axis of (member, time, k)."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return signal.lfilter([1.0], [1.0, -phi], noise, axis=1)


def _runs(truth: tuple[F64, F64], coarse: tuple[F64, F64], step: float) -> tuple[xr.Dataset, xr.Dataset]:
    """Make datasets of (z, psi), the truth from its only member."""
    runs = [
        xr.Dataset(
            {name: (("member", "time", "k"), x) for name, x in zip(("z", "psi"), fields, strict=True)},
            coords={"time": step * np.arange(fields[0].shape[1])},
        )
        for fields in (truth, coarse)
    ]
    return runs[0].isel(member=0), runs[1]


def test_joint_density_against_a_loop_and_its_margins() -> None:
    z, psi = np.random.default_rng(0).standard_normal((2, 3, 200, 4))
    edges_z, edges_psi = np.linspace(-5.0, 5.0, 6), np.linspace(-1.0, 2.0, 4)
    density = climate.joint_density(z, psi, edges_z, edges_psi)
    for i in range(5):
        for j in range(3):
            inside = (z >= edges_z[i]) & (z < edges_z[i + 1]) & (psi >= edges_psi[j]) & (psi < edges_psi[j + 1])
            assert density[i, j] == pytest.approx(inside.mean() / (2.0 * 1.0))
    np.testing.assert_allclose(density.sum(axis=0) * 2.0, climate.density(psi, edges_psi))


def test_joint_score_sees_a_dependence_that_the_single_ones_miss() -> None:
    z, psi = (_ar1((1, 20_000, 3), 0.5, seed) for seed in (1, 2))
    truth, coarse = _runs((z, 0.9 * z + np.sqrt(0.19) * psi), (z[:, :4000], -psi[:, :4000]), 0.1)
    result = diagnose(truth, coarse)
    assert result["hellinger_psi"] < result["hellinger_psi_floor"] + 4 * result["hellinger_psi_floor_std"]
    assert result["hellinger_joint"] > result["hellinger_joint_floor"] + 20 * result["hellinger_joint_floor_std"]


def test_residual_forgets_at_its_own_rate() -> None:
    phi, step, times = 0.95, 0.005, 40_000
    fields = {
        seed: (z := _ar1((1, times, 4), 0.99, seed), np.tanh(z) + 0.3 * _ar1((1, times, 4), phi, seed + 1))
        for seed in (3, 5)
    }
    result = diagnose(*_runs(fields[3], fields[5], step))
    assert result.attrs["common_time_step"] == pytest.approx(step)
    np.testing.assert_allclose(result["lag"].isel(lag=[1, 10, 50]), [0.005, 0.05, 0.25])
    for source in ("truth", "coarse"):
        for steps in (1, 10, 50):
            at = result.sel(source=source).isel(lag=steps)
            # Four errors, since six are asked; the fit leaves a little of tanh in the residual.
            assert abs(at["autocorrelation_residual"] - phi**steps) < 4 * at["autocorrelation_residual_se"] + 0.01


def test_both_residuals_are_about_the_trend_of_the_truth() -> None:
    z = _ar1((1, 3000, 4), 0.9, seed=7)
    coarse = _ar1((2, 500, 4), 0.9, seed=8)
    result = diagnose(*_runs((z, 2 * z), (coarse, np.zeros_like(coarse)), 0.1))
    np.testing.assert_allclose(
        result["autocorrelation_residual"].sel(source="coarse"),
        result["autocorrelation_z"].sel(source="coarse"),
        atol=0.01,  # beyond the truth's range the trend is constant
    )


@pytest.mark.parametrize("size", [6, 7])
def test_wavenumber_spectrum_is_that_of_a_loop_and_sums_to_the_variance(size: int) -> None:
    x = np.random.default_rng(9).standard_normal((2, 50, size)).cumsum(axis=2)
    spectrum, errors = ring.spectrum(x)
    site, a = np.arange(size), x - x.mean()
    for m in range(size // 2 + 1):
        both = [m] if m in (0, size / 2) else [m, size - m]
        power = sum((np.abs((a * np.exp(-2j * np.pi * n * site / size)).mean(axis=2)) ** 2).mean() for n in both)
        assert spectrum[m] == pytest.approx(power)
    assert spectrum.sum() == pytest.approx(x.var())
    assert errors.shape == spectrum.shape


def test_wavenumber_spectrum_of_white_noise_is_flat_within_its_errors() -> None:
    spectrum, errors = ring.spectrum(_ar1((1, 20_000, 8), 0.8, seed=10))
    expected = np.array([1, 2, 2, 2, 1]) / 8
    # Nineteen degrees of freedom: four errors leave out one value in a thousand.
    assert (np.abs(spectrum - expected) < 4 * errors).all()


def test_frequency_spectrum_is_that_of_an_ar1_and_integrates_to_the_variance() -> None:
    phi, step, segment, shape = 0.7, 0.05, 200, (2, 20_000, 6)
    power = climate.power_spectrum(_ar1(shape, phi, seed=11), step, segment)
    frequency = np.fft.rfftfreq(segment, step)
    expected = 2 * step * (1 - phi**2) / np.abs(1 - phi * np.exp(-2j * np.pi * frequency * step)) ** 2
    segments = shape[0] * shape[2] * (2 * shape[1] / segment - 1)
    # Hann windows that overlap by half are correlated by 1 / 36 in power (Welch 1967); five errors for 99 frequencies.
    error = np.sqrt((1 + 2 / 36) / segments)
    assert (np.abs(power / expected - 1)[1:-1] < 5 * error + 0.01).all()  # 1 %: the window smooths the spectrum
    assert power.sum() / (segment * step) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("segment", [300, 301, 1500])
def test_frequency_spectrum_is_scipys(segment: int) -> None:
    x, step = _ar1((3, 1500, 4), 0.9, seed=13) + 2.0, 0.05
    _, power = signal.welch(x - x.mean(), fs=1 / step, nperseg=segment, detrend=False, axis=1)
    np.testing.assert_allclose(climate.power_spectrum(x, step, segment), power.mean(axis=(0, 2)), rtol=1e-12)


def test_return_periods_are_those_of_an_ar1() -> None:
    phi, step = 0.9, 0.1
    x = _ar1((2, 20_000, 5), phi, seed=12)
    levels = np.array([0.0, 1.0, 2.0, 3.0])
    period, low, high = tails.return_periods(x, levels, step)
    pair = stats.multivariate_normal([0.0, 0.0], [[1.0, phi], [phi, 1.0]])
    expected = step / np.array(
        [stats.norm.cdf(u) - pair.cdf([u, u]) for u in levels]
    )  # P(x0 < u <= x1) = P(<) - P(<, <)
    crossings = [((x[:, :-1] < u) & (x[:, 1:] >= u)).sum() for u in levels]
    np.testing.assert_allclose(period, x[:, 1:].size * step / np.array(crossings))
    # Half again as far as the 95 % bounds: 2.9 standard errors.
    assert (np.log(low / period) * 1.5 < np.log(expected / period)).all()
    assert (np.log(high / period) * 1.5 > np.log(expected / period)).all()


def test_return_period_of_a_level_never_crossed_has_a_lower_bound_only() -> None:
    x = _ar1((1, 4000, 2), 0.2, seed=15)
    period, low, high = tails.return_periods(x, np.array([9.0]), 0.5)
    assert period[0] == high[0] == np.inf
    # exp(-observed / period) = 0.025, with the cluster that twenty batches leave room for
    cluster = (intervals.SIDE / intervals.NORMAL) ** 2
    assert low[0] == pytest.approx(3999 * 2 * 0.5 / (cluster * -np.log(0.025)))


def test_clustered_crossings_widen_the_interval() -> None:
    lonely = np.zeros((1, 2000, 1))
    lonely[:, 10::40] = 1.0
    clustered = np.zeros((1, 2000, 1))
    clustered[:, 1:101:2] = 1.0
    widths = []
    for x in (lonely, clustered):
        period, low, high = tails.return_periods(x + _ar1(x.shape, 0.0, seed=16) / 100, np.array([0.5]), 1.0)
        assert period[0] == pytest.approx(1999 / 50)
        widths.append(np.log(high / low)[0])
    events = 50 * (intervals.NORMAL / intervals.SIDE) ** 2
    assert widths[0] == pytest.approx(np.log(stats.chi2.ppf(0.975, 2 * events + 2) / stats.chi2.ppf(0.025, 2 * events)))
    assert widths[1] > 2 * widths[0]


def test_levels_are_quantiles_of_the_truth() -> None:
    z, coarse = _ar1((1, 3000, 4), 0.9, seed=13), _ar1((2, 500, 4), 0.9, seed=14)
    result = diagnose(*_runs((z, z), (coarse, coarse), 0.1))
    np.testing.assert_allclose(result["threshold"], np.quantile(z, tails.THRESHOLDS))
    assert result["quantile_z"].sel(source="truth", probability=0.5) == pytest.approx(np.median(z))
