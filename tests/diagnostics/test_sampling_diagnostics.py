"""Statistics of generated samples against scalar loops, closed forms and simulations that share no code with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from l96closure import bridge, targets
from l96closure.experiments.bistable import diagnostics as bistable
from l96closure.experiments.gaussian import diagnostics as gaussian
from l96closure.experiments.sampling.chains import Lengths

# The Gaussian


def test_offset_covariance_averages_the_diagonals_of_the_matrix() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)) @ np.random.default_rng(1).standard_normal((5, 5))
    matrix = np.cov(x.reshape(12, 5), rowvar=False)
    expected = [np.mean([matrix[i, (i + offset) % 5] for i in range(5)]) for offset in (-2, -1, 0, 1, 2)]
    np.testing.assert_allclose(gaussian.offset_covariance(x).mean(axis=0), expected)


def test_offset_covariance_of_an_even_ring() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 4))
    matrix = np.cov(x.reshape(12, 4), rowvar=False)
    expected = [np.mean([matrix[i, (i + offset) % 4] for i in range(4)]) for offset in (-1, 0, 1, 2)]
    np.testing.assert_allclose(gaussian.offset_covariance(x).mean(axis=0), expected)


def test_variances_average_to_the_variance() -> None:
    x = np.random.default_rng(0).standard_normal((6, 3))
    np.testing.assert_allclose(gaussian.variances(x).mean(), x.var(axis=0, ddof=1).mean())


@pytest.mark.parametrize("epsilon", [0.05, 0.4])
def test_linear_mean_is_that_of_a_bridge_on_a_fine_grid(epsilon: float) -> None:
    variance = 0.7
    grid = np.linspace(-6.0, 6.0, 601) * np.sqrt(variance)
    mass = np.exp(-(grid**2) / (2 * variance))
    mass /= mass.sum()
    T = np.exp(-((grid[:, None] - grid) ** 2) / (4 * epsilon))
    v = np.ones(grid.size)
    for _ in range(200):
        v = np.sqrt(v / (T @ (v * mass)))
    weights = v * mass * np.exp(-((1.1 - grid) ** 2) / (4 * epsilon))
    A = gaussian.linear_mean(np.array([[variance]]), epsilon, bridge.everywhere(1))
    np.testing.assert_allclose(A[0, 0] * 1.1, weights @ grid / weights.sum(), rtol=1e-6)


def test_linear_mean_of_a_global_bridge_shares_the_eigenvectors() -> None:
    covariance, epsilon = targets.ring_covariance(6), 0.1
    A = gaussian.linear_mean(covariance, epsilon, bridge.everywhere(6))
    eigenvalues, vectors = np.linalg.eigh(covariance)
    rho = np.diag(vectors.T @ A @ vectors)
    np.testing.assert_allclose(vectors @ np.diag(rho) @ vectors.T, A, atol=1e-12)
    np.testing.assert_allclose(2 * epsilon * rho, eigenvalues * (1 - rho**2))
    np.testing.assert_allclose(gaussian.split_covariance(A, epsilon), vectors @ np.diag(rho * eigenvalues) @ vectors.T)


def test_linear_mean_is_local_and_symmetric_along_the_ring() -> None:
    A = gaussian.linear_mean(targets.ring_covariance(9), 0.05, bridge.periodic(9, 2))
    np.testing.assert_allclose(A[3], np.roll(A[0], 3))
    np.testing.assert_array_equal(A[4, [0, 1, 7, 8]], 0.0)
    marginal = targets.ring_covariance(9)[np.ix_(range(5), range(5))]
    np.testing.assert_allclose(A[2, :5], gaussian.linear_mean(marginal, 0.05, bridge.everywhere(5))[2])


def test_split_covariance_is_that_of_a_simulated_chain() -> None:
    d, n, epsilon = 5, 20_000, 0.1
    A = gaussian.linear_mean(targets.ring_covariance(d), epsilon, bridge.periodic(d, 1))
    rng = np.random.default_rng(5)
    x = np.zeros((n, d))
    for _ in range(60):
        x = (x + np.sqrt(2 * epsilon) * rng.standard_normal((n, d))) @ A.T
    S = gaussian.split_covariance(A, epsilon)
    error = np.sqrt((np.outer(np.diag(S), np.diag(S)) + S**2) / n)
    assert (np.abs(np.cov(x, rowvar=False) - S) < 4.5 * error).all()


# Trajectories


def test_sign_changes_by_hand() -> None:
    x = np.array([[1.0, -1.0, -2.0, 3.0, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0, -1.0]])
    np.testing.assert_array_equal(bistable.sign_changes(x), [0.5, 0.0, 1.0])


@pytest.mark.parametrize(
    ("burn_in", "scored"), [(1, [1]), (3, [1, 3]), (20, [1, 2, 5, 10, 20]), (60, [1, 2, 5, 10, 20, 60])]
)
def test_chain_lengths_at_which_the_burn_in_is_scored(burn_in: int, scored: list[int]) -> None:
    assert Lengths(burn_in, 1).scored == scored


# Both


def test_exact_samples_agree_with_the_exact_gaussian(gaussian_data: Any) -> None:
    _, generated, data = gaussian_data
    exact = data["covariance"].sel(source="exact")
    np.testing.assert_allclose(exact.sel(offset=[0, 1, -2]), targets.ring_covariance(9)[0, [0, 1, 2]])
    n = generated["x"][0].size / 9  # of one scheme; three realisations alone tell too little about their spread
    for source in ("split", "euler"):
        error = np.sqrt((exact.sel(offset=0) ** 2 + exact**2) / n)
        assert (np.abs(data["covariance"].sel(source=source) - exact) < 4.5 * error).all()
    np.testing.assert_allclose(data["density_x"].sum("x_bin") * np.diff(data["x_bin"])[0], 1.0, atol=2e-2)


def test_covariance_is_the_mean_over_realisations_and_its_error_their_spread(gaussian_data: Any) -> None:
    training, generated, data = gaussian_data
    assert data["covariance_se"].sel(source="training").isnull().all()  # three sets: too few
    training, generated = (each.isel(realisation=[0, 1, 2, 0, 1]) for each in (training, generated))
    data = gaussian.compare(training, generated, targets.ring_covariance(9), bridge.periodic(9, 2))
    by_set = [np.cov(x, rowvar=False).trace() / 9 for x in training["x"].values]
    row = data.sel(source="training", offset=0)
    np.testing.assert_allclose(row["covariance"], np.mean(by_set))
    np.testing.assert_allclose(row["covariance_se"], np.std(by_set, ddof=1) / np.sqrt(5))
    assert data["covariance_se"].attrs["degrees_of_freedom"] == 4


def test_covariance_error_of_one_realisation_is_over_chains(gaussian_data: Any) -> None:
    training, generated, _ = gaussian_data
    one = [data.isel(realisation=[0]) for data in (training, generated)]
    data = gaussian.compare(*one, targets.ring_covariance(9), bridge.periodic(9, 2))
    x = generated["x"].sel(scheme="euler", realisation=0).values.astype(float)
    squares = ((x - x.mean(axis=(0, 1))) ** 2).mean(axis=(1, 2))
    expected = squares.std(ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(data["covariance_se"].sel(source="euler", offset=0), expected, rtol=0.01)


def test_prediction_is_made_for_the_split_scheme_alone(gaussian_data: Any) -> None:
    training, generated, data = gaussian_data
    assert "predicted_covariance" in data
    without = generated.sel(scheme=["euler"])
    assert "predicted_covariance" not in gaussian.compare(
        training, without, targets.ring_covariance(9), bridge.periodic(9, 2)
    )


def test_description_averages_over_realisations(gaussian_data: Any) -> None:
    *_, data = gaussian_data
    np.testing.assert_allclose(data["convergence_se"], 0.1 / np.sqrt(3))
    assert (data["states"] == 200).all()
    # Independent states: an autocorrelation time of one record, seven steps; the estimate scatters by a tenth.
    assert abs(float(data["autocorrelation_time"].mean()) / 7 - 1) < 0.5
    assert ((data["replay_score"] > 0.8) & (data["replay_score"] < 1.2)).all()


def test_bistable_statistics_by_hand(bistable_data: xr.Dataset) -> None:
    example = bistable_data["example"].sel(source="training")
    assert example.sizes == {"trajectory": 20, "time": 13}
    for source in ("split", "euler"):
        difference = bistable_data.sel(source=source) - bistable_data.sel(source="training")
        for name in ("sign_changes", "spread"):
            error = np.hypot(*(bistable_data[f"{name}_se"].sel(source=s) for s in (source, "training")))
            assert abs(difference[name]) < 4.5 * error


def test_spread_is_the_standard_deviation_of_the_absolute_value() -> None:
    x = np.random.default_rng(8).standard_normal((50, 6))
    time = np.arange(6.0)
    training = xr.Dataset({"x": (("sample", "time"), x)}, coords={"time": time})
    generated = xr.Dataset(
        {"x": (("scheme", "chain", "record", "time"), x.reshape(1, 10, 5, 6))}, {"scheme": ["split"]}
    )
    data = bistable.compare(training, generated)
    np.testing.assert_allclose(data["spread"], np.abs(x).std())
    np.testing.assert_allclose(data["sign_changes"], (np.sign(x[:, 1:]) != np.sign(x[:, :-1])).mean())
    assert data["sign_changes_se"].sel(source="training") == pytest.approx(
        bistable.sign_changes(x).std(ddof=1) / np.sqrt(50)
    )
