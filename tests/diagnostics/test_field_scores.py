"""Scores of ensembles of fields against plain loops, closed forms and the package ``scores``.

Tolerances of statistical claims are four standard errors, worked out next to the claim.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.diagnostics import field_scores

F64 = npt.NDArray[np.float64]


def fields(cases: int, sites: int, members: int, correlation: float, seed: int) -> F64:
    """Normal fields (case, site, member) of unit variance, any two sites of a member correlated alike."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((cases, 1, members))
    own = rng.standard_normal((cases, sites, members))
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


@pytest.mark.parametrize("members", [2, 3, 6])
@pytest.mark.parametrize("sites", [1, 2, 3, 6])
def test_both_scores_are_those_of_a_loop(sites: int, members: int) -> None:
    x, y = fields(4, sites, members, 0.3, 1), fields(4, sites, 1, 0.3, 2)[..., 0]
    energy, variogram = field_scores.fair_energy_score(x, y), field_scores.fair_variogram_score(x, y)
    for case in range(4):
        a, b = x[case].T, y[case]
        to_truth = np.mean([np.sqrt(((one - b) ** 2).sum()) for one in a])
        apart = [np.sqrt(((a[i] - a[j]) ** 2).sum()) for i, j in product(range(members), repeat=2) if i != j]
        assert energy[case] == pytest.approx(to_truth - np.mean(apart) / 2)
        squares = []
        for k, m in combinations(range(sites), 2):
            roots = [abs(one[k] - one[m]) ** 0.5 for one in a]
            squares.append((abs(b[k] - b[m]) ** 0.5 - np.mean(roots)) ** 2 - np.var(roots, ddof=1) / members)
        assert variogram[case] == pytest.approx(np.mean(squares) if squares else np.nan, nan_ok=True)


def test_pairs_of_many_sites_stand_for_all() -> None:
    """Of fields that are no field: all pairs have one expectation, so that some of them have the mean of all."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 900, 5)), 1.5 * rng.standard_normal((2, 900))
    some = field_scores.fair_variogram_score(x, y)
    first, second = np.triu_indices(900, 1)
    roots = np.abs(x[:, first] - x[:, second]) ** 0.5
    squares = (np.abs(y[:, first] - y[:, second]) ** 0.5 - roots.mean(axis=2)) ** 2 - roots.var(axis=2, ddof=1) / 5
    np.testing.assert_allclose(some, squares.mean(axis=1), atol=4 * squares.std() / np.sqrt(900))
    assert (some != squares.mean(axis=1)).all()


def test_the_energy_score_of_one_site_is_the_fair_crps_of_scores() -> None:
    from scores.probability import crps_for_ensemble

    x, y = fields(50, 1, 5, 0.0, 3), fields(50, 1, 1, 0.0, 4)[..., 0]
    judge = crps_for_ensemble(
        xr.DataArray(x[:, 0], dims=("case", "member")), xr.DataArray(y[:, 0], dims="case"), "member", method="fair",
        preserve_dims="case",
    )  # fmt: skip
    np.testing.assert_allclose(field_scores.fair_energy_score(x, y), judge, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("score", [field_scores.fair_energy_score, field_scores.fair_variogram_score])
def test_the_expected_score_does_not_depend_on_the_number_of_members(score) -> None:
    y = fields(20_000, 4, 1, 0.6, 5)[..., 0]
    few, many = (score(fields(20_000, 4, members, 0.2, members), y) for members in (2, 12))
    error = np.hypot(few.std(), many.std()) / np.sqrt(20_000)
    assert abs(few.mean() - many.mean()) < 4 * error


@pytest.mark.parametrize("score", [field_scores.fair_energy_score, field_scores.fair_variogram_score])
def test_the_right_correlation_scores_best(score) -> None:
    y = fields(20_000, 6, 1, 0.6, 6)[..., 0]
    right, wrong = (score(fields(20_000, 6, 8, correlation, 7), y) for correlation in (0.6, 0.0))
    difference = wrong - right  # the same noise, so that it is paired
    assert difference.mean() > 4 * difference.std() / np.sqrt(20_000)


@pytest.mark.parametrize("sites", [1, 3])
def test_climatology_is_what_independent_draws_of_it_score(sites: int) -> None:
    x, y = fields(20_000, sites, 4, 0.4, 8), fields(20_000, sites, 1, 0.4, 9)[..., 0]
    found = field_scores.climatology(fields(20_000, sites, 1, 0.4, 10)[..., 0])
    for value, score in zip(found, (field_scores.fair_energy_score, field_scores.fair_variogram_score), strict=True):
        scored = score(x, y)
        if sites == 1 and np.isnan(value):
            assert np.isnan(scored).all()
        else:  # the climate is itself known from as many fields, whose differences scatter no more than the scores
            assert abs(value - scored.mean()) < 4 * np.sqrt(2) * scored.std() / np.sqrt(20_000)


@pytest.mark.parametrize("sites", [1, 5])
def test_verify_has_both_with_intervals_that_hold_the_expected_score(sites: int) -> None:
    starts, members = 400, 4
    x = fields(starts, sites, members + 1, 0.5, 11)[:, np.newaxis]
    data = xr.Dataset(
        {"z": (("start", "lead", "k", "member"), x[..., 1:]), "observation": (("start", "lead", "k"), x[..., 0])},
        coords={"lead": [1.0]},
    )
    climate = xr.Dataset({"z": (("time", "k"), fields(5000, sites, 1, 0.5, 12)[..., 0])})
    scores = lc.verify(data, climate).isel(lead=0)
    for name in ("energy_score", "variogram_score"):
        low, value, high = (float(scores[f"{name}{part}"]) for part in ("_low", "", "_high"))
        if sites == 1 and name == "variogram_score":
            assert np.isnan([low, value, high, scores[f"{name}_climatology"]]).all()
            continue
        # What is forecast is the climate itself; twice as far as the bounds are 3.9 standard errors.
        assert low < value < high
        assert value + 2 * (low - value) < float(scores[f"{name}_climatology"]) < value + 2 * (high - value)
