"""Diagnostics against closed forms, scipy and plain loops; floors that are fair; bad input in clear words.

Tolerances of statistical claims are three standard errors or more, worked out next to the claim.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import signal, stats

import l96closure as lc
from l96closure import diagnose
from l96closure.diagnostics import climate, distances, ring
from l96closure.diagnostics.scorecard import DISTANCES

F64 = npt.NDArray[np.float64]


def _ar1(shape: tuple[int, int, int], phi: float, seed: int) -> F64:
    """Stationary AR(1) of unit variance along the middle axis of (member, time, k)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return signal.lfilter([1.0], [1.0, -phi], noise, axis=1)


def _run(
    shape: tuple[int, int, int], seed: int, step: float = 0.05, phi: float = 0.8, scale: float = 1.0
) -> xr.Dataset:
    """Make a run with psi = -z / 2 + noise."""
    z = scale * _ar1(shape, phi, seed)
    psi = -0.5 * z + _ar1(shape, phi, seed + 1000)
    dims = ("member", "time", "k")
    return xr.Dataset(
        {"z": (dims, z), "psi": (dims, psi)},
        coords={"member": np.arange(shape[0]), "time": step * np.arange(shape[1]), "k": np.arange(shape[2])},
    )


def _truth(times: int, seed: int = 1, k: int = 6, step: float = 0.05, scale: float = 1.0) -> xr.Dataset:
    return _run((1, times, k), seed, step, scale=scale).isel(member=0, drop=True)


# Distances


def _gaussian_bins(mean: float, std: float, edges: F64) -> F64:
    cumulative = np.concatenate([[0.0], stats.norm(mean, std).cdf(edges), [1.0]])
    return np.diff(cumulative)


def _histogram(values: F64, edges: F64) -> F64:
    return distances.probabilities(distances.cells(values, edges), len(edges) + 1)


def _hellinger_of_gaussians(mean: float, std: float) -> float:
    """Distance of N(mean, std²) from N(0, 1)."""
    overlap = np.sqrt(2 * std / (1 + std**2)) * np.exp(-(mean**2) / (4 * (1 + std**2)))
    return float(np.sqrt(1 - overlap))


@pytest.mark.parametrize(("mean", "std"), [(0.5, 1.0), (0.0, 1.5), (-1.0, 0.6)])
def test_hellinger_of_fine_bins_is_the_closed_form(mean: float, std: float) -> None:
    edges = np.linspace(-12.0, 12.0, 4001)
    got = distances.hellinger(_gaussian_bins(0.0, 1.0, edges), _gaussian_bins(mean, std, edges))
    assert got == pytest.approx(_hellinger_of_gaussians(mean, std), abs=1e-5)


def test_hellinger_of_samples_is_the_closed_form_within_three_standard_errors() -> None:
    n, mean, std = 400_000, 0.7, 1.3
    rng = np.random.default_rng(3)
    edges = np.linspace(-6.0, 7.0, 101)
    p, q = (_histogram(m + s * rng.standard_normal(n), edges) for m, s in ((0.0, 1.0), (mean, std)))
    expected = _hellinger_of_gaussians(mean, std)
    overlap = 1 - expected**2
    # Delta method: var(overlap) = (1 - overlap²) / 4n from each sample, and dH = d(overlap) / 2H.
    error = np.sqrt((1 - overlap**2) / (2 * n)) / (2 * expected)
    assert abs(distances.hellinger(p, q) - expected) < 3 * error


def test_hellinger_ends() -> None:
    p, q = np.array([0.25, 0.75, 0.0]), np.array([0.0, 0.0, 1.0])
    assert distances.hellinger(p, p) == pytest.approx(0.0, abs=1e-7)
    assert distances.hellinger(p, q) == 1.0


def test_bins_lose_no_value() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    p = _histogram(np.array([[-5.0, 0.0], [0.5, 1.5], [2.0, 7.0], [9.0, 1e9]]), edges)
    np.testing.assert_allclose(p, np.array([1, 2, 1, 4]) / 8)


def test_wasserstein_and_ks_against_sorted_samples() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((300, 3)), 1.2 * rng.standard_normal((300, 3)) + 0.3
    assert distances.wasserstein(a, b) == pytest.approx(np.abs(np.sort(a.ravel()) - np.sort(b.ravel())).mean())
    assert distances.wasserstein(a, a + 0.7) == pytest.approx(0.7)
    at = np.concatenate([a.ravel(), b.ravel()])
    gap = max(abs((a <= x).mean() - (b <= x).mean()) for x in at)
    assert distances.ks(a, b) == pytest.approx(gap)


def test_wasserstein_and_ks_are_those_of_scipy_where_samples_differ_in_size_and_have_ties() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 9, 700) / 3.0, rng.standard_normal((40, 10)).round(1)
    for one, other in ((a, b), (b, a), (a, a)):
        oracle = stats.wasserstein_distance(one.ravel(), other.ravel())  # whose sums old versions order otherwise
        assert distances.wasserstein(one, other) == pytest.approx(oracle, rel=1e-13)
        assert distances.ks(one, other) == stats.ks_2samp(one.ravel(), other.ravel(), method="asymp").statistic


# Stretches and floors


def test_stretches_are_disjoint_and_as_long_as_the_coarse_run() -> None:
    truth = np.arange(1000.0).reshape(-1, 1)
    coarse = -np.arange(2 * 120.0).reshape(2, 120, 1)
    stretches = distances.cut(truth, coarse)
    assert stretches.length == 240
    assert [len(piece) for piece in (*stretches.truth, *stretches.coarse)] == [240] * 5
    assert len(np.unique(np.concatenate(stretches.truth))) == 4 * 240
    np.testing.assert_array_equal(stretches.coarse[0], coarse.reshape(-1, 1))


def test_short_truth_gives_two_halves_and_shorter_pieces_of_the_coarse_run() -> None:
    truth = np.arange(101.0).reshape(-1, 1)
    coarse = -np.arange(170.0).reshape(1, 170, 1)
    stretches = distances.cut(truth, coarse)
    assert len(stretches.truth) == 2
    assert len(stretches.coarse) == 3
    assert {len(piece) for piece in (*stretches.truth, *stretches.coarse)} == {50}
    assert "halves" in stretches.note


def test_long_truth_gives_ten_stretches_spread_over_it() -> None:
    truth = np.arange(5000.0).reshape(-1, 1)
    starts = [piece[0, 0] for piece in distances.cut(truth, np.zeros((1, 100, 1))).truth]
    assert len(starts) == 10
    assert (starts[0], starts[-1]) == (0.0, 4900.0)
    assert all(b - a >= 100 for a, b in pairwise(starts))


def test_floor_of_independent_samples_has_its_known_size() -> None:
    bins, n, samples = 20, 2000, 10
    rng = np.random.default_rng(5)
    pieces = tuple(rng.random((n, 1)) for _ in range(samples))
    edges = np.linspace(0.0, 1.0, bins + 1)
    stretches = distances.Stretches(pieces, pieces[:1], n, "").map(lambda x: _histogram(x, edges))
    floor = distances.compare(distances.hellinger, stretches).floor
    # 4 n H² of two samples of n is chi-squared with bins - 1 degrees of freedom, so sqrt(4 n) H is a chi variable.
    chi = stats.chi(bins - 1)
    # A pair's distance is half-shared with other pairs: the mean over pairs is no worse known than from samples / 2
    # independent pairs.
    error = chi.std() / np.sqrt(samples / 2)
    assert abs(np.sqrt(4 * n) * floor - chi.mean()) < 3 * error


def test_floor_is_higher_for_correlated_samples_of_the_same_size() -> None:
    floors = []
    for phi in (0.0, 0.95):
        truth = _ar1((1, 20_000, 2), phi, seed=6)[0]
        floors.append(distances.compare(distances.ks, distances.cut(truth, truth[np.newaxis, :2000])).floor)
    # The variance of a mean grows by (1 + phi) / (1 - phi) = 39, a distance by about its root; twice is a safe mark.
    assert floors[1] > 2 * floors[0]


@pytest.mark.parametrize("times", [1000, 9000])
def test_a_perfect_closure_scores_its_floor(times: int) -> None:
    # 20 stretches' worth of truth, or less than two: score and floor then are the same random quantity.
    truth, coarse = _truth(20_000, seed=7), _run((2, times, 6), seed=8)
    result = diagnose(truth, coarse)
    for name in DISTANCES:
        score, floor = float(result[name]), float(result[f"{name}_floor"])
        if times == 1000:
            spread = float(result[f"{name}_floor_std"])
            assert abs(score - floor) < 3 * spread, name
        else:
            assert result.attrs["floor_pairs"] == 1
            assert np.isnan(result[f"{name}_floor_std"])
            assert 1 / 4 < score / floor < 4, name


def test_scores_see_a_wrong_climate() -> None:
    result = diagnose(_truth(20_000), _run((2, 1000, 6), seed=2, scale=1.5))
    for name in DISTANCES:
        assert result[name] > result[f"{name}_floor"] + 5 * result[f"{name}_floor_std"], name


def test_score_does_not_shrink_when_the_coarse_run_is_far_away() -> None:
    coarse = _run((1, 1000, 6), seed=2)
    coarse["z"] = coarse["z"] + 1e6
    assert diagnose(_truth(4000), coarse)["hellinger_z"].item() == 1.0


def test_one_stretch_has_no_floor() -> None:
    piece = np.zeros((3, 1))
    with pytest.raises(ValueError, match="stretches of truth = 1"):
        distances.compare(distances.ks, distances.Stretches((piece,), (piece,), 3, ""))


# Climate


def test_covariance_rows_against_numpy_and_a_loop() -> None:
    x = np.random.default_rng(9).standard_normal((2, 50, 5)) @ np.random.default_rng(10).standard_normal((5, 5))
    matrix = np.cov(x.reshape(-1, 5).T)
    rows = ring.covariance_rows(x)
    for k in range(5):
        for column, offset in enumerate(ring.offsets(5)):
            assert rows[k, column] == pytest.approx(matrix[k, (k + offset) % 5])


@pytest.mark.parametrize(("size", "first", "last"), [(12, -5, 6), (5, -2, 2), (4, -1, 2)])
def test_ring_offsets(size: int, first: int, last: int) -> None:
    offsets = ring.offsets(size)
    assert (offsets[0], offsets[-1], len(offsets)) == (first, last, size)


def test_autocorrelation_against_a_loop() -> None:
    x = _ar1((2, 60, 3), 0.7, seed=11)
    a = x - x.mean()
    covariance = [np.mean([a[:, : 60 - lag] * a[:, lag:]]) for lag in range(20)]
    np.testing.assert_allclose(climate.autocorrelation(x, 20)[0], np.array(covariance) / covariance[0], atol=1e-12)


def test_autocorrelation_of_a_constant_is_undefined() -> None:
    assert np.isnan(climate.autocorrelation(np.full((1, 10, 2), 3.0), 4)).all()


def test_standard_error_of_the_autocorrelation_is_its_spread() -> None:
    phi, repetitions = 0.8, 150
    got = np.array([climate.autocorrelation(_ar1((2, 3000, 2), phi, seed), 6) for seed in range(repetitions)])
    spread, errors = got[:, 0, 1:].std(axis=0, ddof=1), got[:, 1, 1:]
    # The mean square of the errors is known to sqrt(2 / 19 repetitions), the squared spread to sqrt(2 / repetitions).
    # Batches of 300 values, with memory 1 / (1 - phi) = 5, miss 2 % of the correlations between them.
    tolerance = 3 * np.sqrt(2 / repetitions * (1 + 1 / 19)) + 0.02
    assert (np.abs((errors**2).mean(axis=0) / spread**2 - 1) < tolerance).all()
    assert (got[:, 1, 0] == 0.0).all()


def test_conditional_moments_against_scipy() -> None:
    rng = np.random.default_rng(12)
    z, psi = rng.standard_normal((2, 3, 500, 4))
    edges = np.linspace(-2.5, 2.5, 11)
    mean, std = climate.conditional_moments(psi, z, edges)
    for statistic, got in (("mean", mean), ("std", std), ("count", None)):
        expected = stats.binned_statistic(z.ravel(), psi.ravel(), statistic, bins=edges).statistic
        if got is None:
            assert (np.isnan(mean) == (expected < 30)).all()
        else:
            np.testing.assert_allclose(got[~np.isnan(got)], expected[~np.isnan(got)], rtol=1e-12)


def test_density_integrates_to_the_share_inside() -> None:
    x = np.array([[[0.5], [1.5], [1.6], [9.0]]])
    np.testing.assert_allclose(climate.density(x, np.array([0.0, 1.0, 2.0])), [0.25, 0.5])


def _variance_of_mean(n: int, phi: float) -> float:
    """Variance of the mean of n values of a stationary AR(1) of unit variance."""
    lags = np.arange(1, n)
    return float((1 + 2 * np.sum((1 - lags / n) * phi**lags)) / n)


@pytest.mark.parametrize(("members", "batches"), [(1, 20), (4, 20), (30, 30)])
def test_standard_error_of_the_mean_is_right_for_an_ar1(members: int, batches: int) -> None:
    phi, total, repetitions = 0.9, 24_000, 60
    squares = [
        climate.batch_standard_errors(_ar1((members, total // members, 1), phi, seed))[0] ** 2
        for seed in range(repetitions)
    ]
    expected = _variance_of_mean(total // members, phi) / members
    # (batches - 1) se² / expected is chi-squared. Batches of 800 values miss 1.2 % of the long correlations.
    error = np.sqrt(2 / (batches - 1) / repetitions)
    assert abs(np.mean(squares) / expected - 1) < 3 * error + 0.015


def test_standard_error_of_the_std_is_right_for_independent_gaussians() -> None:
    n, repetitions = 2000, 100
    rng = np.random.default_rng(13)
    squares = [climate.batch_standard_errors(3 * rng.standard_normal((1, n, 1)))[1] ** 2 for _ in range(repetitions)]
    error = np.sqrt(2 / 19 / repetitions)  # se² of 20 batches is chi-squared with 19 degrees of freedom
    assert abs(np.mean(squares) / (9 / (2 * n)) - 1) < 3 * error


def test_standard_errors_of_one_value_are_unknown() -> None:
    assert np.isnan(climate.batch_standard_errors(np.ones((1, 1, 5)))).all()


# diagnose


def test_result_has_the_promised_variables_all_of_them_described() -> None:
    result = diagnose(_truth(2000), _run((2, 300, 6), seed=2), bins=30, max_lag=1.0)
    dims = {
        "mean": ("source",), "std": ("source",), "mean_se": ("source",), "std_se": ("source",),
        "psi_mean": ("source",), "psi_std": ("source",), "psi_mean_se": ("source",), "psi_std_se": ("source",),
        "covariance": ("source", "offset"), "covariance_rows": ("source", "k", "offset"),
        "density_z": ("source", "z_bin"), "density_psi": ("source", "psi_bin"),
        "density_joint": ("source", "joint_z_bin", "joint_psi_bin"),
        **{f"autocorrelation_{name}{suffix}": ("source", "lag")
           for name in ("z", "psi", "residual") for suffix in ("", "_se")},
        **{f"spectrum_{name}{suffix}": ("source", "wavenumber") for name in ("z", "psi") for suffix in ("", "_se")},
        **{f"space_time_correlation_{name}{suffix}": ("source", "offset", "time_lag")
           for name in ("z", "psi", "residual") for suffix in ("", "_se")},
        **{f"neighbour_correlation_{name}{suffix}": ("source",)
           for name in ("z", "psi", "residual") for suffix in ("", "_se")},
        **{f"spectrum_{kind}_{name}{suffix}": of for kind, of in (("ratio", ("wavenumber",)), ("error", ()))
           for name in ("z", "psi") for suffix in ("", "_low", "_high")},
        **{f"power_{name}": ("source", "frequency") for name in ("z", "psi")},
        **{f"{name}{suffix}": ("source", dim)
           for name, dim in (("quantile_z", "probability"), ("quantile_psi", "probability"),
                             ("return_period_z", "threshold"))
           for suffix in ("", "_low", "_high")},
        "psi_given_z_mean": ("source", "z_bin"), "psi_given_z_std": ("source", "z_bin"),
        **{f"{name}{suffix}": () for name in DISTANCES for suffix in ("", "_floor", "_floor_std", "_low", "_high")},
    }  # fmt: skip
    assert {name: result[name].dims for name in result.data_vars} == dims
    assert list(result["source"].values) == ["truth", "coarse"]
    assert result.sizes == {
        "source": 2, "offset": 6, "k": 6, "z_bin": 30, "psi_bin": 30, "joint_z_bin": 25, "joint_psi_bin": 25, "lag": 21,
        "time_lag": 21,
        "wavenumber": 4, "frequency": 43, "probability": 11, "threshold": 7,
    }  # fmt: skip
    shared = {"k"}  # the file's attributes name it
    assert all("long_name" in each.attrs for name, each in result.variables.items() if name not in shared)
    assert result.attrs["floor_stretches"] == 3
    assert result.attrs["floor_stretch_duration"] == pytest.approx(2 * 300 * 0.05)
    np.testing.assert_allclose(result["lag"], 0.05 * np.arange(21))


def test_numbers_are_those_of_the_runs() -> None:
    truth, coarse = _truth(900), _run((2, 300, 6), seed=2)
    result = diagnose(truth, coarse)
    for source, run in (("truth", truth), ("coarse", coarse)):
        got = result.sel(source=source)
        assert got["mean"] == pytest.approx(run["z"].values.mean())
        assert got["std"] == pytest.approx(run["z"].values.std())
        assert got["psi_mean"] == pytest.approx(run["psi"].values.mean())
        assert got["psi_std"] == pytest.approx(run["psi"].values.std())
        np.testing.assert_allclose(got["covariance"], got["covariance_rows"].mean("k"))
        assert got["autocorrelation_z"][0] == pytest.approx(1.0)
    width = float(result["z_bin"][1] - result["z_bin"][0])
    assert result["density_z"].sel(source="truth").sum() * width == pytest.approx(1.0)


@pytest.mark.parametrize("finer", ["truth", "coarse"])
def test_runs_of_different_steps_are_compared_at_the_coarser(finer: str) -> None:
    truth, coarse = _truth(3000, step=0.01), _run((2, 500, 6), seed=2, step=0.01)
    thinned = {"time": slice(None, None, 5)}
    expected = diagnose(truth.isel(thinned), coarse.isel(thinned))
    got = diagnose(truth, coarse.isel(thinned)) if finer == "truth" else diagnose(truth.isel(thinned), coarse)
    assert got.attrs["common_time_step"] == pytest.approx(0.05)
    xr.testing.assert_allclose(got, expected)


def test_order_of_dimensions_does_not_matter() -> None:
    truth, coarse = _truth(900), _run((2, 300, 6), seed=2)
    xr.testing.assert_identical(
        diagnose(truth.transpose("k", "time"), coarse.transpose("k", "time", "member")), diagnose(truth, coarse)
    )


def test_lags_stop_at_half_of_the_shorter_run() -> None:
    assert diagnose(_truth(900), _run((2, 40, 6), seed=2))["lag"][-1] == pytest.approx(20 * 0.05)


def test_closure_without_tendency_is_compared_all_the_same() -> None:
    coarse = _run((2, 300, 6), seed=2)
    coarse["psi"] = xr.zeros_like(coarse["psi"])
    result = diagnose(_truth(900), coarse)
    assert result["psi_std"].sel(source="coarse") == 0.0
    assert result["hellinger_psi"] > 0.5
    assert np.isnan(result["autocorrelation_psi"].sel(source="coarse")).all()


def _with_nan(run: xr.Dataset, value: float, **where: int) -> xr.Dataset:
    run = run.copy(deep=True)
    run["z"][where] = value
    return run


@pytest.mark.parametrize(
    ("change_truth", "change_coarse", "message"),
    [
        (None, lambda c: _with_nan(c, np.nan, member=1, time=7, k=2), "member = 1, time = 0.35, k = 2"),
        (None, lambda c: _with_nan(c, -np.inf, member=0, time=3, k=5), "coarse['z'] at member = 0, time = 0.15"),
        (lambda t: _with_nan(t, np.nan, time=4, k=0), None, "truth['z'] at time = 0.2, k = 0"),
        (lambda t: t.drop_vars("psi"), None, "the variable 'psi'"),
        (lambda t: t.isel(k=slice(4)), None, "coarse.sizes['k'] = 6"),
        (None, lambda c: c.isel(member=0), "coarse['z'].dims"),
        (None, lambda c: c.drop_vars("time"), "time coordinate"),
        (None, lambda c: c.isel(time=[0]), "two times or more"),
        (None, lambda c: c.isel(time=[0, 1, 3, 4]), "uniform step"),
        (None, lambda c: c.isel(time=slice(None, None, -1)), "increasing"),
        (None, lambda c: c.assign_coords(time=1.5 * c["time"]), "whole multiple"),
    ],
)
def test_bad_runs_are_refused(
    change_truth: Callable[[xr.Dataset], xr.Dataset] | None,
    change_coarse: Callable[[xr.Dataset], xr.Dataset] | None,
    message: str,
) -> None:
    truth, coarse = _truth(300), _run((2, 50, 6), seed=2)
    truth = change_truth(truth) if change_truth else truth
    coarse = change_coarse(coarse) if change_coarse else coarse
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        diagnose(truth, coarse)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", [{"bins": 1}, {"bins": 2.5}, {"max_lag": 0.0}, {"max_lag": np.nan}])
def test_bad_arguments_are_refused(argument: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(argument))):
        diagnose(_truth(300), _run((2, 50, 6), seed=2), **argument)  # type: ignore[arg-type]


# Other grids


def _on_a_grid(members: int | None, rng: np.random.Generator) -> xr.Dataset:
    """White noise over three levels and two columns."""
    shape = (300, 3, 2) if members is None else (members, 300, 3, 2)
    dims = ("time", "lev", "column") if members is None else ("member", "time", "lev", "column")
    fields = {name: (dims, rng.standard_normal(shape)) for name in ("z", "psi")}
    return xr.Dataset(fields, coords={"time": 0.1 * np.arange(300)})


def test_several_dimensions_are_as_the_sites_of_one() -> None:
    rng = np.random.default_rng(0)
    truth, coarse = _on_a_grid(None, rng), _on_a_grid(2, rng)
    found = lc.diagnose(truth, coarse, dim=("lev", "column"), periodic=False, bins=10, max_lag=1.0)
    mean = truth.mean("time")  # of each site: with edges on both sides none is like another
    stacked = (
        (run - mean).stack(k=("lev", "column")).drop_vars(("k", "lev", "column")).transpose(..., "k")
        for run in (truth, coarse)
    )
    as_one = lc.diagnose(*stacked, bins=10, max_lag=1.0)
    off = ["taken_off_z", "taken_off_psi"]
    xr.testing.assert_allclose(found[off].rename(taken_off_z="z", taken_off_psi="psi"), mean)
    pooled = found.drop_vars(off)
    xr.testing.assert_allclose(pooled, as_one[list(pooled.variables)])
    assert not {"covariance", "spectrum_z", "neighbour_correlation_z"} & set(found.data_vars)


def test_a_ring_may_have_another_name() -> None:
    rng = np.random.default_rng(1)
    truth, coarse = (_on_a_grid(members, rng).isel(column=0) for members in (None, 2))
    found = lc.diagnose(truth, coarse, dim="lev", bins=10, max_lag=1.0)
    as_k = lc.diagnose(truth.rename(lev="k"), coarse.rename(lev="k"), bins=10, max_lag=1.0)
    xr.testing.assert_identical(found, as_k.rename(k="lev"))
    with pytest.raises(ValueError, match="periodic = "):
        lc.diagnose(truth, coarse, dim="lev", periodic=[True, False])


def test_forecasts_on_a_grid_are_scored_as_whole_fields() -> None:
    rng = np.random.default_rng(2)
    dims = ("start", "member", "lead", "lev", "column")
    forecast = xr.Dataset(
        {"z": (dims, rng.standard_normal((25, 4, 2, 3, 2))), "observation": (("start", "lead", "lev", "column"),
          rng.standard_normal((25, 2, 3, 2)))}, coords={"lead": [0.0, 0.1]},
    )  # fmt: skip
    reference = _on_a_grid(None, rng)
    found = lc.verify(forecast, reference, dim=("lev", "column"))
    flat = (data.stack(k=("lev", "column")).drop_vars(("k", "lev", "column")) for data in (forecast, reference))
    xr.testing.assert_identical(found, lc.verify(*flat))
