"""What the page says in words: each kind of failure is named, and nothing else is, nor what may be chance."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from scipy import signal

from l96closure import diagnose
from l96closure.experiments.climate import failures
from l96closure.experiments.data.report import CHECKS

_FIELDS = ("z", "psi", "residual")
_ALL = (
    "No failure found in overall means and standard deviations, distributions, variances by wavenumber, correlations "
    "of neighbours, memory, extremes, spread of the ensembles, skill beside climatology, skill beside the full model "
    "and the law on held-out data."
)


@pytest.fixture
def perfect() -> xr.Dataset:
    """Scores of a run that is the truth, with small errors and narrow intervals."""
    decay = 0.9 ** np.arange(60)
    both: dict[str, tuple[object, object]] = {
        **{f"neighbour_correlation_{name}": ("source", [0.14, 0.14]) for name in _FIELDS},
        **{f"autocorrelation_{name}": (("source", "lag"), [decay, decay]) for name in _FIELDS},
        **{f"{prefix}{name}": ("source", [5.0, 5.0]) for prefix in ("", "psi_") for name in ("mean", "std")},
    }
    bounded: dict[str, tuple[object, object]] = {
        **{f"hellinger_{name}": ((), 0.02) for name in ("z", "psi", "joint")},
        **{f"spectrum_ratio_{name}": ("wavenumber", [1.0, 1.0, 1.0]) for name in ("z", "psi")},
        "spread_skill": ("lead", [np.nan, 1.0, 1.0, 1.0]),
        **{name: ("lead", [0.0, 1.0, 1.0, 1.0]) for name in ("crps", "energy_score", "variogram_score")},
        "crps_above_mark": ("lead", [0.0, 0.0, 0.0, 0.0]),
        "pit_error": ("decile", np.zeros(9)),
        "pit_largest_error": ((), 0.0),
    }
    data = {name: (dims, np.array(value, dtype=float)) for name, (dims, value) in (both | bounded).items()}
    data |= {f"{name}_se": (both[name][0], 0.01 * np.ones_like(data[name][1])) for name in both}
    for part, side in (("_low", -1), ("_high", 1)):
        data |= {f"{name}{part}": (bounded[name][0], data[name][1] + side * 0.01) for name in bounded}
    data["pit_largest_error_low"] = (), np.array(0.0)
    return xr.Dataset(
        {
            **data,
            **{f"hellinger_{name}_floor": 0.02 for name in ("z", "psi", "joint")},
            **{f"hellinger_{name}_floor_std": 0.002 for name in ("z", "psi", "joint")},
            **{
                f"spectrum_{name}": (("source", "wavenumber"), np.array([[1.0, 4.0, 0.01]] * 2))
                for name in ("z", "psi")
            },
            **{
                f"return_period_z{part}": (("source", "threshold"), np.array([[5.0, 40.0]] * 2) * factor)
                for part, factor in (("", 1.0), ("_low", 0.99), ("_high", 1.01))
            },
            **{f"{name}_climatology": 3.0 for name in ("crps", "energy_score", "variogram_score")},
            "crps_mark": ("lead", np.ones(4)),
        },
        coords={
            "source": ["truth", "coarse"],
            "lag": 0.02 * np.arange(60),
            "wavenumber": np.arange(3),
            "lead": [0.0, 0.5, 1.0, 2.0],
            "decile": np.arange(1, 10) / 10,
            "threshold": [10.0, 12.0],
        },
    )


def moved(data: xr.Dataset, name: str, by: float | np.ndarray, **where: object) -> xr.Dataset:
    """Move a number of the coarse run, and the interval about it."""
    data = data.copy(deep=True)
    for part in ("", "_low", "_high"):
        if name + part in data:
            data[name + part].loc[where] = data[name + part].loc[where] + by
    return data


def test_a_perfect_run_has_no_failure(perfect: xr.Dataset) -> None:
    assert failures.failures(perfect) == [_ALL]


_NARROW = np.array([0.06, 0.04, 0.03, 0.02, 0.0, -0.02, -0.03, -0.04, -0.05])
_LAW = "the share of ψ below one of its deciles is off by up to"
FAILURES = [
    ("mean", -0.2, {"source": "coarse"}, "Mean of z is 0.0400 std too small (interval 0.0341 to 0.0459 std)."),
    ("psi_std", 0.5, {"source": "coarse"}, "Standard deviation of ψ is 10.00 % too large (interval 9.41 to 10.59 %)."),
    ("hellinger_psi", 0.06, {}, "Hellinger distance of ψ is 4.0 times its floor (interval 3.5 to 4.5)."),
    (
        "spectrum_ratio_z",
        -0.31,
        {"wavenumber": 1},
        "Variance of z at wavenumber 1 is 31 % too small (interval 30 to 32",
    ),
    (
        "spectrum_ratio_psi",
        0.2,
        {},
        "Variance of ψ is off at 2 wavenumbers: at 0: 20 % too large (interval 19 to 2",
    ),
    ("spectrum_ratio_psi", -0.98, {"wavenumber": 0}, "Variance of ψ at wavenumber 0 is 98 % too small"),
    (
        "neighbour_correlation_psi",
        0.05,
        {"source": "coarse"},
        "Correlation of ψ between neighbours is 0.050 too large ",
    ),
    ("autocorrelation_z", 0.2, {"source": "coarse"}, "Autocorrelation of z at lag"),
    ("spread_skill", -0.3, {"lead": 1.0}, "Ensembles are too narrow at lead 1 (spread over error 0.70, interval 0.69 "),
    ("spread_skill", 0.3, {"lead": 2.0}, "Ensembles are too wide at lead 2 (spread over error 1.30, interval 1.29 to"),
    (
        "variogram_score",
        2.5,
        {"lead": 2.0},
        "Forecasts of lead 2 score worse than climatology: variogram score by 17 %",
    ),
    (
        "crps_above_mark",
        0.4,
        {"lead": 1.0},
        "CRPS at lead 1 exceeds that of the full model by 0.4 (interval 0.39 to 0.",
    ),
    (
        "return_period_z",
        80.0,
        {"source": "coarse", "threshold": 12.0},
        "Return period of z above 12 is 3.0 times the truth's (interval 3.0 to 3.0).",
    ),
    ("pit_error", _NARROW, {}, f"Law of ψ is too narrow: {_LAW} 0.0600 (interval 0.0550 to 0.0650), and 31.0 %"),
    ("pit_error", -_NARROW, {}, f"Law of ψ is too wide: {_LAW} 0.060"),
    ("pit_error", 0.05 + 0 * _NARROW, {}, f"Law of ψ is too high: {_LAW} 0.050"),
    ("pit_error", -0.05 + 0 * _NARROW, {}, f"Law of ψ is too low: {_LAW} 0.050"),
]


@pytest.mark.parametrize(("name", "by", "where", "said"), FAILURES)
def test_each_failure_is_named_and_nothing_else(perfect: xr.Dataset, name: str, by, where, said: str) -> None:
    wrong = moved(perfect, name, by, **where)
    if name == "pit_error":
        largest = np.abs(by).max()
        for part, value in (("", largest), ("_low", largest - 0.005), ("_high", largest + 0.005)):
            wrong[f"pit_largest_error{part}"][()] = value
    found, rest = failures.failures(wrong)
    assert found.startswith(said)
    assert rest.startswith("No failure found in ")
    assert len(re.split(", | and ", rest.replace("means and", "means &"))) == 9


@pytest.mark.parametrize(("name", "by", "where", "said"), FAILURES)
def test_what_may_be_chance_or_does_not_matter_is_not_named(perfect: xr.Dataset, name, by, where, said) -> None:
    small = moved(perfect, name, 0.02 * by, **where)
    uncertain = moved(perfect, name, by, **where)
    for part, side in (("_se", 1.0), ("_low", -3.0), ("_high", 3.0)):
        if name + part in uncertain:
            uncertain[name + part][...] = 10.0**side if "ratio" in name or "period" in name else side
    if name == "pit_error":
        uncertain["pit_largest_error"][()] = np.abs(by).max()
    assert failures.failures(uncertain) == [_ALL]
    whole, *few = failures.failures(small)
    assert whole == _ALL
    assert all(sentence.startswith(failures.SMALL) for sentence in few)


def test_what_is_small_but_no_chance_is_named_apart(perfect: xr.Dataset) -> None:
    off = moved(moved(perfect, "mean", 0.05, source="coarse"), "crps_above_mark", 0.05, lead=1.0)
    assert failures.failures(off) == [
        _ALL,
        f"{failures.SMALL}: mean of z is 0.0100 std too large (interval 0.0041 to 0.0159 std); CRPS at lead 1 exceeds "
        "that of the full model by 0.05 (interval 0.04 to 0.06), 5.0 %.",
    ]


@pytest.mark.parametrize(
    ("by", "se", "crps", "said"),
    [
        (0.0, 0.01, 1.0, "No failure found in skill of draws along the reference beside climatology and memory of"),
        (0.2, 0.01, 1.0, "Autocorrelation of ψ drawn along the reference at lag 2 h is 0.200 too large"),
        (
            0.0,
            0.01,
            3.3,
            "Draws along the reference score worse than climatology: CRPS by 10.0 % (interval 6.7 to 13 %)",
        ),
        (0.2, np.nan, 1.0, "No failure found in skill of draws along the reference beside climatology"),
    ],
)
def test_draws_along_a_reference_are_judged(by: float, se: float, crps: float, said: str) -> None:
    lags, sources = np.arange(4) * 7200.0, ("offline_source", ["reference", "closure"])
    offline = xr.Dataset(
        {
            "offline_autocorrelation": (("offline_source", "offline_lag"), np.array([[1, 0.5, 0.2, 0.1]] * 2)),
            "offline_autocorrelation_se": (("offline_source", "offline_lag"), np.full((2, 4), se)),
            **{f"offline_crps{part}": crps + off for part, off in (("", 0.0), ("_low", -0.1), ("_high", 0.1))},
            "offline_crps_climatology": 3.0,
        },
        {"offline_source": sources, "offline_lag": ("offline_lag", lags, {"units": "s"})},
    )
    offline["offline_autocorrelation"][1, 1] += by
    first, *_ = failures.failures(offline, CHECKS)
    assert first.startswith(said)


def test_what_has_no_interval_is_not_judged(perfect: xr.Dataset) -> None:
    for name in list(perfect):
        if re.search("_(se|low|high)$", str(name)):
            perfect[name] = perfect[name] * np.nan
    (sentence,) = failures.failures(perfect)
    assert sentence.startswith("Not told, for want of intervals: overall means and standard deviations, distributions,")
    assert sentence.endswith("skill beside the full model and the law on held-out data.")


@pytest.mark.parametrize(
    ("name", "near", "far", "said"),
    [
        ("std", 0.5, 21.5, "Standard deviation of z is 430 % too large (no interval is known)."),
        ("hellinger_psi", 0.05, 0.2, "Hellinger distance of ψ is 11.0 times its floor (no interval is known)."),
        ("spectrum_ratio_z", -0.4, -0.9, "90 % too small (no interval is known)"),
        ("neighbour_correlation_z", 0.1, 0.4, "is 0.40 too large (no interval is known)."),
        ("autocorrelation_z", -0.2, -0.5, "is 0.50 too small (no interval is known)."),
        ("return_period_z", 5.0, 200.0, "above 10 is 41 times the truth's (no interval is known)."),
        ("spread_skill", 0.2, 2.0, "too wide at lead 0.5 (spread over error 3.00; no interval is known)."),
        ("crps", 4.0, 8.0, "score worse than climatology: CRPS by 200 % (no interval is known)."),
        ("crps_above_mark", 0.5, 2.0, "exceeds that of the full model by 2 (no interval is known), 200 %."),
        ("pit_largest_error", 0.1, 0.4, "is off by up to 0.400 (no interval is known)."),
    ],
)
def test_what_is_off_by_far_is_named_without_an_interval(
    perfect: xr.Dataset, name: str, near: float, far: float, said: str
) -> None:
    bare = perfect.map(lambda each: each * np.nan if re.search("_(se|low|high)$", str(each.name)) else each)
    where = {"source": "coarse"} if "source" in bare[name].dims else {}
    (untold,) = failures.failures(moved(bare, name, near, **where))
    assert untold.startswith("Not told, for want of intervals:")
    assert any(said in sentence for sentence in failures.failures(moved(bare, name, far, **where)))


def test_what_has_intervals_in_part_is_judged_in_part(perfect: xr.Dataset) -> None:
    perfect["neighbour_correlation_residual_se"][:] = np.nan
    whole, part = failures.failures(perfect)
    assert "neighbours" not in whole
    assert part == "No failure found, as far as there are intervals, in correlations of neighbours."


def test_a_target_that_does_not_vary_is_named_once(perfect: xr.Dataset) -> None:
    perfect["psi_std"].loc["coarse"] = 0.0
    perfect["neighbour_correlation_psi"].loc["coarse"] = np.nan
    for name in ("psi", "joint"):
        perfect[f"hellinger_{name}_low"] += 0.8
    for part in ("", "_low", "_high"):
        perfect[f"spectrum_ratio_psi{part}"] *= 0.0
    first, *others = failures.failures(perfect)
    assert first == "In the coarse run ψ does not vary; what follows is not said of it."
    assert others == [_ALL]


def test_of_many_wavenumbers_the_clearest_are_named(perfect: xr.Dataset) -> None:
    many = perfect.isel(wavenumber=np.zeros(30, dtype=int)).assign_coords(wavenumber=np.arange(30))
    ratio = np.where(np.isin(np.arange(30), (3, 9, 21, 28)), 2.0, 1.5)
    for part, side in (("", 0.0), ("_low", -0.01), ("_high", 0.01)):
        many[f"spectrum_ratio_z{part}"] = "wavenumber", ratio + side
    found, *_ = failures.failures(many)
    assert found.startswith("Variance of z is off at 30 wavenumbers, most clearly: at 3: 100 % too large")
    assert re.findall(r"at (\d+): \d", found) == ["3", "9", "21", "28"]


def test_of_return_periods_one_that_matters_goes_before_one_that_is_surer(perfect: xr.Dataset) -> None:
    for part, both in (("", (1.4, 3.0)), ("_low", (1.39, 1.2)), ("_high", (1.41, 7.0))):
        perfect[f"return_period_z{part}"].loc["coarse"] *= np.array(both)
    first, _ = failures.failures(perfect)
    assert first.startswith("Return period of z above 12 is 3.0 times the truth's (interval 1.")
    twice = perfect.isel(threshold=[1, 1])
    assert failures.failures(twice)[0] == first


def test_of_a_truth_that_does_not_vary_any_difference_is_named(perfect: xr.Dataset) -> None:
    perfect["std"][:] = 0.0
    perfect["mean"].attrs["units"] = "K"
    first, _ = failures.failures(moved(perfect, "mean", 5.0, source="coarse"))
    assert first == "Mean of z is 5.000 K too large (interval 4.970 to 5.030 K)."


def test_levels_without_variance_are_left_out_and_their_coordinates_said_as_they_are() -> None:
    levels = {"source": ["truth", "coarse"], "lev": ["top", "floor"]}
    both = xr.Dataset(coords=levels)
    for name in ("z", "psi"):
        both[f"profile_std_{name}"] = ("source", "lev"), np.array([[0.0, 2.0]] * 2)
        both[f"profile_mean_{name}"] = ("source", "lev"), np.array([[1.0, 1.0], [9.0, 2.0 if name == "z" else 1.0]])
        for what in ("mean", "std"):
            both[f"profile_{what}_{name}_se"] = ("source", "lev"), np.full((2, 2), 0.01)
    (sentence,) = failures.failures(both)
    assert sentence.startswith("Mean of z at lev floor is 0.500 std too large (interval 0.4")
    assert failures.failures(both * np.nan) == ["Not told, for want of intervals: profiles."]


def test_a_level_that_is_never_exceeded_is_named_where_the_run_is_long_enough(perfect: xr.Dataset) -> None:
    perfect["return_period_z"].loc["coarse", 10.0] = perfect["return_period_z_high"].loc["coarse", 10.0] = np.inf
    assert failures.failures(perfect) == [_ALL]  # its lower bound is below the truth's period
    perfect["return_period_z_low"].loc["coarse", 10.0] = 6.0
    first, _ = failures.failures(perfect)
    assert first == "In the coarse run z never exceeds 10, for which it is long enough."


@pytest.mark.parametrize(("by", "se"), [(0.0, 0.02), (0.3, 0.02), (0.3, np.nan), (1.2, np.nan)])
def test_of_planes_the_clearest_error_of_their_spectra_is_named(by: float, se: float) -> None:
    power = np.array([[[9.0, 4.0, 2.0, 1e-3]] * 2] * 2)
    planes = xr.Dataset(
        {
            f"isotropic_spectrum_{name}{part}": (("source", "lev", "total_wavenumber"), factor * power)
            for name in ("z", "psi")
            for part, factor in (("", 1.0), ("_se", se))
        },
        {"source": ["truth", "coarse"], "lev": ("lev", [200, 500], {"units": "hPa"}), "total_wavenumber": np.arange(4)},
    )
    planes["isotropic_spectrum_z"][1] *= 1.0 - by * np.array([[0.0, 0.2, 0.1, 2.0], [1.0, 0.1, 0.5, 0.1]])
    first, *_ = failures.failures(planes)
    of_all = "in variances by total wavenumber."
    if by == 0.0:
        assert first == f"No failure found {of_all}"
    elif np.isnan(se) and by < 1.0:
        assert first == f"Not told, for want of intervals: {of_all.removeprefix('in ')}"
    else:
        assert first.startswith(f"Variance of z at lev 500 hPa, total wavenumber 2 is {50 * by:.0f}")


@pytest.mark.slow
def test_a_run_of_the_law_of_the_truth_is_seldom_found_to_fail() -> None:
    """Whatever its length, and however small what is told."""
    rng, repetitions, said = np.random.default_rng(1), 6, 0
    for _ in range(repetitions):
        noise = rng.standard_normal((2, 5, 3000, 6))
        x = signal.lfilter([0.8], [1.0, -0.6], noise, axis=2)[:, :, 100:]
        x += np.roll(x, 1, axis=3)
        runs = xr.Dataset(
            {"z": (("member", "time", "k"), x[0]), "psi": (("member", "time", "k"), 0.5 * x[1] - x[0])},
            coords={"time": 0.1 * np.arange(x.shape[2])},
        )
        result = diagnose(runs.isel(member=0), runs.isel(member=slice(1, None)), max_lag=2.0)
        told = failures.failures(result)
        assert not any(sentence.startswith("Not told") for sentence in told)
        said += sum(1 + sentence.count("); ") for sentence in told if not sentence.startswith("No failure"))
    # Of sixteen numbers, large or small, no more than 5 % of fifteen may be false; three standard errors.
    assert said / repetitions < 0.75 + 3 * np.sqrt(0.75 / repetitions)


def test_wavenumbers_without_variance_are_not_judged(perfect: xr.Dataset) -> None:
    assert failures.failures(moved(perfect, "spectrum_ratio_z", 5.0, wavenumber=2)) == [_ALL]


def test_of_a_run_without_forecasts_law_or_neighbours_the_rest_is_judged(perfect: xr.Dataset) -> None:
    gone = [name for name in perfect if {"lead", "decile"} & set(perfect[name].dims) or "pit" in str(name)]
    alone = perfect.drop_vars([*gone, "lead", "decile"])
    alone = alone.assign({name: alone[name] * np.nan for name in alone if "neighbour" in str(name)})
    assert failures.failures(alone) == [
        "No failure found in overall means and standard deviations, distributions, variances by wavenumber, memory and "
        "extremes."
    ]


def test_a_coarse_run_that_leaves_the_training_data_is_named() -> None:
    run = xr.Dataset({"z": (("member", "time", "k"), np.zeros((2, 3, 4))), "features_outside": ("member", [0.0, 0.02])})
    assert failures.outside(run.drop_vars("features_outside")) == []
    assert failures.outside(run) == []
    (sentence,) = failures.outside(run.assign(features_outside=("member", [1.0, 2.0])))
    assert "of the values that a site sees at a step, 0.38 on average lie outside" in sentence
