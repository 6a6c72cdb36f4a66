"""Ensemble forecasts and their scores, against closed forms, plain loops and the package ``scores``.

Tolerances of statistical claims are four standard errors, worked out next to the claim.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from overlaps import overlapping_in
from scipy import signal, stats

import l96closure as lc
from l96closure.closures.state import State, begin, following
from l96closure.diagnostics import forecast as diagnostics
from l96closure.experiments.climate import forecast_tables as report
from l96closure.experiments.climate.figures import pictures
from l96closure.plot import forecast as figures
from l96closure.plot import style

F64 = npt.NDArray[np.float64]
K, F = 6, 8.0
tendency = lc.TwoScaleLorenz96(K, F=F).resolved_tendency
STEP, EVERY = 0.01, 0.05
BOUNDS = ("", "_low", "_high")


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    """A run of the bare coarse model, recorded at 0.05."""
    z0 = np.random.default_rng(0).normal(2.0, 3.0, (1, K))
    run = lc.integrate(tendency, lc.closures.NoClosure(), z0, steps=2000, dt=STEP, scheme="rk4", save_every=5)
    return run.isel(member=0, drop=True)


class White:
    """psi is white noise of unit standard deviation."""

    dt = STEP

    def init(self, z: F64, rng: Any, member: Any = 0) -> State:
        return begin(len(z), rng, member)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        state = following(state, len(z), 0)
        return state.normals(1, z.shape[1])[0], state


def ensemble(starts: int, members: int, leads: int, sites: int, spread: float = 1.0, seed: int = 0) -> xr.Dataset:
    """Truth and members of one normal distribution about what the start makes predictable; ``spread`` spoils that."""
    rng = np.random.default_rng(seed)
    predictable = 3.0 * rng.standard_normal((starts, 1, leads, sites))
    noise = rng.standard_normal((starts, members + 1, leads, sites))
    noise[:, 1:] *= spread
    x = predictable + noise
    return xr.Dataset(
        {"z": (("start", "member", "lead", "k"), x[:, 1:]), "observation": (("start", "lead", "k"), x[:, 0])},
        coords={"lead": 0.5 * np.arange(leads), "start": 5.0 * np.arange(starts)},
    )


def standard_error(scores: xr.Dataset, name: str) -> F64:
    """Standard error behind an interval of 95 %."""
    return (scores[f"{name}_high"] - scores[f"{name}_low"]).to_numpy() / (2 * stats.norm.ppf(0.975))


climate = xr.Dataset({"z": (("time", "k"), np.random.default_rng(9).standard_normal((50, 4)))})


# The experiment


def test_the_model_that_made_the_reference_forecasts_it_exactly(reference: xr.Dataset) -> None:
    closure = lc.closures.NoClosure(dt=STEP)
    made = lc.forecast(tendency, closure, reference, starts=4, members=2, leads=np.linspace(0.0, 2.0, 21))
    for member in range(2):
        assert np.array_equal(made["z"].isel(member=member).values, made["observation"].values)
    scores = lc.verify(made, reference)
    assert not scores["rmse"].values.any()
    assert not scores["crps"].values.any()


def test_starts_are_spread_evenly_and_observations_follow_them(reference: xr.Dataset) -> None:
    made = lc.forecast(tendency, White(), reference, starts=5, members=3, leads=0.25 * np.arange(7))
    assert dict(made.sizes) == {"start": 5, "member": 3, "lead": 7, "k": K}
    np.testing.assert_allclose(made["lead"], 0.25 * np.arange(7))
    gaps = np.diff(made["start"])
    assert gaps.min() >= 1.5
    assert np.ptp(gaps) <= EVERY * (1 + 1e-9)
    assert float(made["start"][0]) == pytest.approx(1.5)  # a longest lead, in which there may be a past
    assert float(made["start"][-1]) + 1.5 == pytest.approx(float(reference["time"][-1]))
    for start, lead in product(made["start"].values, made["lead"].values):
        expected = reference["z"].sel(time=start + lead, method="nearest")
        assert np.array_equal(made["observation"].sel(start=start, lead=lead), expected)
    for member in made["member"].values:
        assert np.array_equal(made["z"].sel(member=member, lead=0.0), made["observation"].sel(lead=0.0))


def test_members_are_runs_of_the_coarse_model_that_differ_by_their_noise(reference: xr.Dataset) -> None:
    made = lc.forecast(tendency, White(), reference, starts=2, members=3, leads=EVERY * np.arange(11), rng=4)
    z0 = np.tile(made["observation"].isel(lead=0).values, (3, 1))  # the first members of all starts, then the second
    run = lc.integrate(tendency, White(), z0, steps=51, dt=STEP, save_every=5, rng=4)
    assert np.array_equal(made["z"].transpose("member", "start", ...).values.reshape(6, 11, K), run["z"].values)
    assert (made["z"].isel(lead=-1).std("member") > 0).all()


def test_members_do_not_depend_on_how_many_there_are(reference: xr.Dataset) -> None:
    few, many = (
        lc.forecast(tendency, White(), reference, starts=4, members=n, leads=EVERY * np.arange(11)) for n in (2, 5)
    )
    assert few.identical(many.isel(member=slice(2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"starts": 1}, r"^starts = 1 .* >= 2"),
        ({"members": 1}, r"^members = 1 .* >= 2"),
        ({"closure": lc.closures.NoClosure()}, r"^dt = None .* fitted for no step"),
        ({"leads": [0.0, 0.054]}, r"^spacing of leads = 0\.054 .* a multiple of dt = 0\.01"),
        ({"leads": [0.0, 0.06]}, r"^spacing of leads = 0\.06 .* a multiple of the reference's time step = 0\.05"),
        ({"leads": [0.0, 0.05, 0.15]}, r"^leads = .* evenly spaced from 0 on"),
        ({"leads": [0.05, 0.1]}, r"^leads = .* evenly spaced from 0 on"),
        ({"leads": [0.0, -0.05]}, r"^leads = .* evenly spaced from 0 on"),
        ({"leads": [0.0]}, r"^leads = .* two lead times or more"),
        ({"leads": 1.0}, r"^leads\.shape = \(\) .* 1-dimensional"),
        ({"leads": "long"}, r"^leads = 'long' .* numbers"),
        ({"starts": 19}, r"^starts = 19 .* at most 18, so that no two forecasts share"),
        ({"scheme": "leapfrog"}, r"^scheme = 'leapfrog' .* euler, rk4"),
    ],
)
def test_bad_arguments_of_a_forecast(reference: xr.Dataset, arguments: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"closure": White(), "starts": 2, "members": 2, "leads": EVERY * np.arange(21)}
    with pytest.raises(ValueError, match=message) as caught:
        lc.forecast(tendency, reference=reference, **{**usual, **arguments})
    assert "\n" not in str(caught.value)


def test_bad_references_are_refused(reference: xr.Dataset) -> None:
    make = partial(lc.forecast, tendency, White(), starts=2, members=2, leads=EVERY * np.arange(21))
    with pytest.raises(ValueError, match=r"^reference = .* a Dataset with z \(time, k\)"):
        make(reference.drop_vars("z"))
    with pytest.raises(ValueError, match=r"^reference = .* a Dataset with z \(time, k\)"):
        make(reference.expand_dims("member"))
    with pytest.raises(ValueError, match=r"^reference\['z'\]\[0, 1\] = nan .* finite"):
        make(reference.where(reference["k"] != 1))
    with pytest.raises(ValueError, match=r"^reference\.sizes\['time'\] = 1 .* two times or more"):
        make(reference.isel(time=[0]))
    time = reference["time"]
    with pytest.raises(ValueError, match=r"^reference\['time'\]\[\d+\] = .* uniform step"):
        make(reference.assign_coords(time=time + 0.01 * (time > 0.5) * (time < 9.0)))


def test_the_closure_forecasts_better_than_none() -> None:
    model = lc.TwoScaleLorenz96()
    training, judge = (model.simulate(samples=4000, rng=seed) for seed in (0, 1))
    made = partial(lc.forecast, model, starts=30, members=5, leads=np.linspace(0.0, 0.5, 6), rng=2)
    closure = lc.closures.SchrodingerBridge.fit(training, lc.Fields(radius=0, lags=()))
    bridge = lc.verify(made(closure, judge), judge)
    none = lc.verify(made(lc.closures.NoClosure.fit(training), judge), judge)
    assert bridge["crps_high"][-1] < none["crps_low"][-1]
    assert none["spread_skill"][-1] < 1e-12


# What is known of the past


@pytest.fixture(scope="module")
def remembers() -> tuple[lc.TwoScaleLorenz96, Any, xr.Dataset]:
    """A closure with lags and noise of order 3 for steps of 0.01, and a truth recorded at 0.005."""
    model = lc.TwoScaleLorenz96(K=6, J=4)
    training = model.simulate(samples=3000, every=20, coarse_dt=0.01, rng=1)
    fields = lc.Fields(radius=0, lags=(0.03, 0.06))
    closure = lc.closures.SchrodingerBridge.fit(training, fields, noise=lc.closures.Noise(order=3))
    assert closure.past_steps == 9
    return model, closure, model.simulate(samples=2001, every=10, rng=2)


LEADS = 0.05 * np.arange(7)


def history_at(remembers: Any, time: float) -> xr.Dataset:
    """History of a time of the truth, and of the nine steps before it."""
    model, closure, truth = remembers
    until = truth.isel(time=truth["time"] < time + 1e-6)
    return lc.history(model, until.isel(time=slice(-20, None)), closure.dt)


def test_starts_have_the_past_that_was_recorded(remembers: Any) -> None:
    model, closure, truth = remembers
    made = lc.forecast(model, closure, truth, starts=4, members=3, leads=LEADS, rng=5)
    assert made.attrs["past"] == "known"
    for n, start in enumerate(made["start"].values):
        past = history_at(remembers, start).isel(member=[0, 0, 0])
        numbers = n + 4 * np.arange(3)  # the first members of all starts, then the second
        run = lc.integrate(model, closure, past, steps=31, save_every=5, rng=np.random.default_rng(5), member=numbers)
        np.testing.assert_array_equal(made["z"].isel(start=n), run["z"])


@pytest.mark.parametrize("past", [True, False])
@pytest.mark.parametrize("order", [[2, 0, 3, 1], [1], [3, 2]])
def test_starts_do_not_depend_on_each_other(remembers: Any, past: bool, order: list[int]) -> None:
    """Neither on their order, nor on the batch they are in, whether their past is known or drawn."""
    model, closure, truth = remembers
    made = lc.forecast(model, closure, truth, starts=4, members=2, leads=LEADS, past=past, rng=5)
    z0: Any = made["observation"].isel(start=order, lead=0).values
    if past:
        known = [history_at(remembers, start) for start in made["start"].values[order]]
        z0 = xr.concat(known, dim="member", join="exact")
    run = lc.integrate(model, closure, z0, steps=31, save_every=5, rng=5, member=np.array(order))
    np.testing.assert_array_equal(made["z"].isel(start=order, member=0), run["z"])


@pytest.mark.parametrize(
    ("changed", "past"),
    [
        (lambda truth: truth, "known"),
        (lambda truth: truth.isel(time=slice(None, None, 2)), "known"),
        (lambda truth: truth.isel(time=slice(None, None, 5)), "drawn"),  # 0.025 does not divide the step
        (lambda truth: truth.isel(time=slice(None, None, 10)), "drawn"),  # coarser than the step
    ],
)
def test_a_past_is_known_where_the_steps_were_recorded(remembers: Any, changed: Any, past: str) -> None:
    model, closure, truth = remembers
    made = partial(lc.forecast, model, closure, changed(truth), starts=3, members=2, leads=LEADS, rng=5)
    assert made().attrs["past"] == past
    drawn = made(past=False)
    assert drawn.attrs["past"] == "drawn"
    np.testing.assert_array_equal(drawn["z"].isel(lead=0), made()["z"].isel(lead=0))
    assert np.array_equal(drawn["z"], made()["z"]) == (past == "drawn")


def test_a_record_too_short_for_the_past_leaves_it_to_the_closure(remembers: Any) -> None:
    """The first start comes one longest lead after the beginning; the past here is longer than that."""
    model, closure, truth = remembers
    for longest, past in ((0.1, "known"), (0.05, "drawn")):
        made = lc.forecast(model, closure, truth, starts=3, members=2, leads=[0.0, longest])
        assert made.attrs["past"] == past


@pytest.mark.parametrize("closure", [lc.closures.NoClosure(dt=0.01), White()])
def test_a_closure_without_a_past_needs_none(remembers: Any, closure: Any) -> None:
    model, _, truth = remembers
    made = partial(lc.forecast, model, closure, truth, starts=3, members=2, leads=LEADS)
    xr.testing.assert_identical(made(past=True), made(past=False))


def test_a_known_past_makes_better_forecasts_than_a_drawn_one(remembers: Any) -> None:
    """At the first lead, in the mean over 90 starts: the noise goes on from where it was."""
    model, closure, truth = remembers
    errors = []
    for past in (True, False):
        made = lc.forecast(model, closure, truth, starts=90, members=10, leads=[0.0, 0.05, 0.1], past=past, rng=5)
        crps = diagnostics.fair_crps(
            made["z"].isel(lead=1).transpose("start", "k", "member").values, made["observation"].isel(lead=1).values
        )
        errors.append(crps.mean(axis=1))
    gain = errors[1] - errors[0]
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))


# Scores


@pytest.mark.parametrize("members", [2, 7])
def test_fair_crps_is_that_of_a_loop_and_of_scores(members: int) -> None:
    from scores.probability import crps_for_ensemble

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, members)), rng.standard_normal(30)
    found = diagnostics.fair_crps(x, y)
    pairs = members * (members - 1)
    for i in range(30):
        spread = sum(abs(a - b) for a, b in product(x[i], x[i])) / pairs
        assert found[i] == pytest.approx(np.mean([abs(a - y[i]) for a in x[i]]) - spread / 2)
    judge = crps_for_ensemble(
        xr.DataArray(x, dims=("case", "member")), xr.DataArray(y, dims="case"), "member", method="fair",
        preserve_dims="case",
    )  # fmt: skip
    np.testing.assert_allclose(found, judge, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("members", [2, 20])
@pytest.mark.parametrize("y", [0.0, 1.7])
def test_fair_crps_of_normal_ensembles_is_the_closed_form_whatever_their_size(members: int, y: float) -> None:
    std, cases = 1.3, 20_000
    found = diagnostics.fair_crps(std * np.random.default_rng(2).standard_normal((cases, members)), np.full(cases, y))
    # Gneiting et al. (2005), Monthly Weather Review 133, 1098-1118, eq. (5).
    w, normal = y / std, stats.norm
    expected = std * (w * (2 * normal.cdf(w) - 1) + 2 * normal.pdf(w) - 1 / np.sqrt(np.pi))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(cases)


def test_climatology_scores_what_the_reference_scores_against_itself() -> None:
    scores = lc.verify(ensemble(5, 3, 2, 4), climate)
    z = climate["z"].values.ravel()
    pairs = np.abs(z[:, None] - z)
    # A value drawn from the reference, forecast by all the others: their fair score, averaged over the values.
    fair = [diagnostics.fair_crps(np.delete(z, i)[None], z[i : i + 1])[0] for i in range(z.size)]
    assert float(scores["crps_climatology"]) == pytest.approx(np.mean(fair))
    assert float(scores["crps_climatology"]) == pytest.approx(pairs.sum() / (z.size * (z.size - 1)) / 2)
    assert float(scores["rmse_climatology"]) == pytest.approx(z.std())


def test_rank_histogram_is_that_of_scores_ties_included() -> None:
    from scores.probability import rank_histogram

    data = ensemble(40, 6, 3, 5).round()
    ties = (data["z"] == data["observation"]).any("member")
    assert 0.2 < ties.mean() < 0.9
    judge = rank_histogram(data["z"], data["observation"], "member", preserve_dims="lead")
    np.testing.assert_allclose(lc.verify(data, climate)["rank_histogram"], judge.transpose("lead", "rank"), rtol=1e-12)


def test_error_and_spread_against_xarray() -> None:
    data = ensemble(12, 5, 3, 4, spread=0.5)
    scores = lc.verify(data, climate)
    error = data["z"].mean("member") - data["observation"]
    np.testing.assert_allclose(scores["rmse"], np.sqrt((error**2).mean(("start", "k"))))
    np.testing.assert_allclose(scores["ensemble_spread"], np.sqrt(data["z"].var("member", ddof=1).mean(("start", "k"))))


@pytest.mark.parametrize("members", [2, 20])
def test_a_reliable_ensemble_of_any_size_has_ratio_one_and_a_flat_histogram(members: int) -> None:
    data = ensemble(2000, members, 1, 2)
    scores = lc.verify(data, climate)
    ratio, error = float(scores["spread_skill"][0]), standard_error(scores, "spread_skill")[0]
    assert abs(ratio - 1) < 4 * error
    counts = scores["rank_histogram"][0] * 4000  # sites and starts are all independent here
    assert stats.chisquare(counts).pvalue > 2 * stats.norm.sf(4)
    if members == 2:  # without the correction for the size the ratio would be 0.82
        assert abs(ratio / np.sqrt(3 / 2) - 1) > 4 * error


@pytest.mark.parametrize(("spread", "deeper"), [(0.5, "ends"), (2.0, "middle")])
def test_scores_see_a_wrong_spread(spread: float, deeper: str) -> None:
    members = 9
    scores = lc.verify(ensemble(1000, members, 1, 2, spread=spread), climate).isel(lead=0)
    # The error of the mean has the variance 1 + spread² / N, the ensemble spread²; both normal.
    expected = spread * np.sqrt((1 + 1 / members) / (1 + spread**2 / members))
    assert abs(float(scores["spread_skill"]) - expected) < 4 * standard_error(scores, "spread_skill")
    flat = 1 / (members + 1)
    ends, middle = scores.isel(rank=[0, -1]), scores.isel(rank=[4, 5])
    if deeper == "ends":
        assert (ends["rank_histogram_low"] > flat).all()
        assert (middle["rank_histogram_high"] < flat).all()
    else:
        assert (ends["rank_histogram_high"] < flat).all()
        assert (middle["rank_histogram_low"] > flat).all()


def test_intervals_are_those_of_a_bootstrap_t_over_starts() -> None:
    starts, members = 24, 4
    data = ensemble(starts, members, 1, 3, spread=1.4)
    scores = lc.verify(data, climate, rng=1)
    x, y = (data[name].isel(lead=0).transpose("start", "k", ...).values for name in ("z", "observation"))
    error2 = ((x.mean(axis=-1) - y) ** 2).mean(axis=1)
    variance = x.var(axis=-1, ddof=1).mean(axis=1)
    crps = diagnostics.fair_crps(x, y).mean(axis=1)

    def studentised(chosen: Any) -> list[tuple[float, float]]:
        """Scores of some starts, logarithms but for the last, each with the standard error of the linearised score."""
        e, v, c = error2[chosen], variance[chosen], crps[chosen]
        of_e, of_v = e / e.mean(), v / v.mean()
        made = (
            (np.log(e.mean()) / 2, of_e / 2),
            (np.log(v.mean()) / 2, of_v / 2),
            (np.log((members + 1) / members * v.mean() / e.mean()) / 2, (of_v - of_e) / 2),
            (c.mean(), c),
        )
        return [(value, np.std(contributions) / np.sqrt(starts)) for value, contributions in made]

    weights = np.random.default_rng(1).multinomial(starts, np.full(starts, 1 / starts), size=1000)
    found = studentised(np.arange(starts))
    t = np.array(
        [[(r - v) / e for (r, e), (v, _) in zip(studentised(np.repeat(np.arange(starts), w)), found, strict=True)]
         for w in weights]
    )  # fmt: skip
    for i, name in enumerate(("rmse", "ensemble_spread", "spread_skill", "crps")):
        value, error = found[i]
        bounds = value - np.quantile(t[:, i], [0.975, 0.025]) * error
        bounds = bounds if name == "crps" else np.exp(bounds)
        np.testing.assert_allclose([scores[f"{name}_low"][0], scores[f"{name}_high"][0]], bounds, rtol=1e-9)


@pytest.mark.parametrize(("starts", "correlation"), [(2, 0.0), (5, 0.0), (19, 0.0), (200, 0.95)])
def test_too_few_independent_starts_have_scores_without_intervals_and_say_why(starts: int, correlation: float) -> None:
    data = ensemble(starts, 4, 3, 6)
    noise = data.transpose("start", ...)
    for name in data.data_vars:  # the weather of consecutive starts becomes alike
        data[name] = noise[name].copy(
            data=signal.lfilter([np.sqrt(1 - correlation**2)], [1.0, -correlation], noise[name].values, axis=0)
        )
    scores = lc.verify(data, climate)
    for name in (
        "rmse",
        "ensemble_spread",
        "spread_skill",
        "crps",
        "energy_score",
        "variogram_score",
        "rank_histogram",
    ):
        assert np.isfinite(scores[name]).all()
        assert scores[f"{name}_low"].isnull().all()
        assert scores[f"{name}_high"].isnull().all()
        assert scores[f"{name}_low"].attrs["interval_method"].startswith("none: ")
    assert scores.attrs["forecast_independent_starts"] < 20
    text = " ".join(report.score_table(scores).split())
    assert "nan" not in text
    assert "Intervals are not given, for they would not cover: " in text
    assert ("are alike" in text) == (correlation > 0)
    assert "whether the ensembles are as wide as their errors ask for is not told" in report.headline(scores)


def test_copies_of_a_site_make_no_interval_narrower() -> None:
    data = ensemble(30, 4, 2, 1)
    copies = xr.concat([data] * 5, dim="k")
    one, many = (lc.verify(each, climate, rng=3) for each in (data, copies))
    assert one["variogram_score"].isnull().all()
    assert not many["variogram_score"].any()
    for part in BOUNDS:  # the norm of five equal components
        many[f"energy_score{part}"] = many[f"energy_score{part}"] / np.sqrt(5)
    left_out = [f"variogram_score{part}" for part in BOUNDS]
    xr.testing.assert_allclose(one.drop_vars(left_out), many.drop_vars(left_out))


def test_seed_decides_the_intervals_and_nothing_else() -> None:
    data = ensemble(30, 4, 2, 3)
    first, again, other = (lc.verify(data, climate, rng=seed) for seed in (1, 1, 2))
    assert first.identical(again)
    assert first["crps"].identical(other["crps"])
    assert not first["crps_low"].equals(other["crps_low"])


def test_lead_zero_has_no_error_no_spread_and_no_ratio() -> None:
    data = ensemble(20, 3, 2, 4)
    data["z"][:, :, 0] = data["observation"][:, 0]
    first = lc.verify(data, climate).isel(lead=0)
    for name, part in product(("rmse", "ensemble_spread", "crps", "energy_score", "variogram_score"), BOUNDS):
        assert float(first[name + part]) == 0.0
    assert np.isnan([first[f"spread_skill{part}"] for part in BOUNDS]).all()
    np.testing.assert_allclose(first["rank_histogram"], 1 / 4)


def test_bad_forecasts_are_refused() -> None:
    data = ensemble(4, 3, 2, 4)
    for wrong, message in (
        (data.drop_vars("observation"), r"^forecast = .* a Dataset with observation \(start, lead, k\)"),
        (data.isel(k=0), r"^forecast = .* a Dataset with z \(start, lead, member, k\)"),
        (data.isel(member=[0]), r"^forecast\.sizes\['member'\] = 1 .* >= 2"),
        (data.isel(start=[0]), r"^forecast\.sizes\['start'\] = 1 .* >= 2"),
        (data.where(data["start"] > 0), r"^forecast\['z'\]\[0, 0, 0, 0\] = nan .* finite"),
    ):
        with pytest.raises(ValueError, match=message):
            lc.verify(wrong, climate)
    with pytest.raises(ValueError, match=r"^reference = .* a Dataset with z \(time, k\)"):
        lc.verify(data, climate.rename(time="lead"))


@pytest.mark.parametrize(("longest", "shown"), [(2.0, [0.5, 1.0, 2.0]), (4.0, [1.0, 2.0, 4.0]), (0.1, [0.0, 0.1])])
def test_the_leads_shown_are_parts_of_the_longest(longest: float, shown: list[float]) -> None:
    leads = 0.1 * np.arange(round(longest / 0.1) + 1)
    assert diagnostics.headline_leads(xr.Dataset(coords={"lead": leads})) == pytest.approx(shown)


# Figures and words


@pytest.fixture(scope="module")
def made() -> tuple[xr.Dataset, xr.Dataset]:
    data = ensemble(20, 6, 5, 4, spread=1.5)
    return data, lc.verify(data, climate)


def test_the_skill_figure_shows_scores_and_levels_of_no_skill(made: tuple[xr.Dataset, xr.Dataset]) -> None:
    scores = made[1]
    errors, ratio, crps, energy, variogram = (one for one in np.ravel(figures.skill(scores)) if one.lines)
    for axes, names in (
        (errors, ("rmse", "ensemble_spread")), (ratio, ("spread_skill",)), (crps, ("crps",)),
        (energy, ("energy_score",)), (variogram, ("variogram_score",)),
    ):  # fmt: skip
        for line, name in zip(axes.lines, names, strict=False):
            np.testing.assert_array_equal(line.get_ydata(), scores[name])
        assert len(axes.collections) == len(names)
    assert errors.lines[-1].get_ydata()[0] == float(scores["rmse_climatology"])
    assert crps.lines[-1].get_ydata()[0] == float(scores["crps_climatology"])
    for axes, name in ((energy, "energy_score"), (variogram, "variogram_score")):
        assert axes.lines[-1].get_ydata()[0] == float(scores[f"{name}_climatology"])
    assert ratio.lines[-1].get_ydata()[0] == 1.0


def test_rank_histograms_are_drawn_at_the_leads_shown(made: tuple[xr.Dataset, xr.Dataset]) -> None:
    scores = made[1]
    panels = np.ravel(figures.rank_histograms(scores))
    assert [axes.get_title() for axes in panels] == ["lead 0.5", "lead 1", "lead 2"]
    values, edges, _ = panels[1].patches[0].get_data()
    np.testing.assert_array_equal(values, scores["rank_histogram"].sel(lead=1.0))
    np.testing.assert_allclose(edges, np.arange(8) - 0.5)
    uneven = scores.copy(deep=True)
    uneven["rank_histogram"].loc[{"lead": 2.0, "rank": 0}] = 0.9  # above all that the first panel holds
    assert figures.rank_histograms(uneven)[0].get_ylim()[1] > 0.9


def test_plumes_show_every_member_and_the_truth(made: tuple[xr.Dataset, xr.Dataset]) -> None:
    data = made[0]
    panels = np.ravel(figures.plumes(data))
    assert len(panels) == 3
    lines = np.array([line.get_ydata() for line in panels[-1].lines])
    np.testing.assert_array_equal(lines[:-1], data["z"].isel(start=-1, k=0).transpose("member", "lead"))
    np.testing.assert_array_equal(lines[-1], data["observation"].isel(start=-1, k=0))


def test_pictures_are_written_also_of_one_forecast_without_spread(
    made: tuple[xr.Dataset, xr.Dataset], tmp_path: Path
) -> None:
    data = made[0].assign(z=made[0]["z"] * 0 + made[0]["z"].isel(member=0))
    saved = style.save_all(tmp_path, pictures(lc.verify(data, climate), ensemble=data))
    assert [picture.name for picture in saved] == ["forecast_skill", "rank_histograms", "plumes"]
    assert all(picture.path.read_bytes().startswith(b"\x89PNG") for picture in saved)
    assert all(picture.caption.endswith(".") for picture in saved)


@pytest.mark.parametrize(("spread", "verdict"), [(0.3, "too narrow"), (1.0, "as wide as"), (4.0, "too wide")])
def test_the_headline_judges_the_spread(spread: float, verdict: str) -> None:
    scores = lc.verify(ensemble(100, 6, 5, 4, spread=spread), climate)
    if spread == 1.0:  # the interval misses 1 in five of a hundred data sets; the words are not to depend on the seed
        scores["spread_skill_low"], scores["spread_skill_high"] = xr.full_like(scores["crps"], 0.9), scores["crps"] + 2
    text = report.headline(scores)
    assert verdict in text
    assert text.startswith("Forecasts of lead 1 have a CRPS of ")


def test_the_table_lines_up_and_holds_the_numbers(made: tuple[xr.Dataset, xr.Dataset]) -> None:
    scores = made[1]
    *blocks, note = report.score_table(scores).split("\n\n")  # what is too wide for a terminal goes on below
    note, lines = " ".join(note.split()), blocks[0].splitlines()
    for block in blocks:
        assert len({len(line) for line in block.splitlines()}) == 1
        assert len(block.splitlines()) == 4
    at = scores.sel(lead=1.0)
    crps, low, high, climatology = (float(at[name]) for name in ("crps", "crps_low", "crps_high", "crps_climatology"))
    assert lines[2].startswith("lead 1 ".ljust(len("lead (time units)")))
    assert f"{crps:.3f} ({low:.3f} to {high:.3f})  {f'{crps / climatology:.3f}':>13}" in lines[2]
    assert f"{climatology:.3f}" in note
    assert "20 starts of 6 members" in note


def test_no_text_of_a_figure_lies_upon_another(made: tuple[xr.Dataset, xr.Dataset]) -> None:
    drawn = pictures(made[1], ensemble=made[0])
    assert overlapping_in(drawn) == {}
