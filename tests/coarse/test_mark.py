"""The mark for forecasts: the full model, its fast variables spun up along the recorded z."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import oracles
import pytest
import xarray as xr
from command_line import TINY, Call
from scipy import stats

import l96closure as lc
from l96closure.diagnostics.marks import beside_mark
from l96closure.experiments.climate import forecast_tables as report
from l96closure.experiments.climate.stages import WORKFLOW
from l96closure.plot import forecast as figures

F64 = npt.NDArray[np.float64]
DT, EVERY = 1e-3, 25
MODELS = {
    "paper": lc.TwoScaleLorenz96(),
    "crommelin": lc.TwoScaleLorenz96(18, 20, 10.0, 1.0, 40**0.5, 2.0),
    "small": lc.TwoScaleLorenz96(4, 2, 12.0, 0.7, 5.0, 4.0),
}
LEADS = EVERY * DT * np.arange(11)


def settled(model: lc.TwoScaleLorenz96, seed: int, time: float = 10.0) -> tuple[F64, F64]:
    rng = np.random.default_rng(seed)
    z, y = model.F / 4 + rng.standard_normal(model.K), 0.1 * rng.standard_normal((model.K, model.J))
    return model.step(z, y, DT, round(time / DT))


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    return MODELS["small"].simulate(samples=1600, dt=DT, every=EVERY, rng=3)


def made(reference: xr.Dataset, **changes: Any) -> xr.Dataset:
    return lc.mark(
        MODELS["small"], reference, **{"starts": 12, "members": 3, "leads": LEADS, "spinup": 1.0, "rng": 5, **changes}
    )


# The model


@pytest.mark.parametrize("name", MODELS)
def test_a_trajectory_is_what_single_steps_make(name: str) -> None:
    model = MODELS[name]
    z, y = settled(model, 1, 1.0)
    records = model.trajectory(z, y, DT, 3, 4)
    for record in records:
        np.testing.assert_allclose(record, z, rtol=1e-12, atol=1e-12)
        z, y = model.step(z, y, DT, 3)


@pytest.mark.parametrize("members", [1, 3])
def test_fast_variables_along_constant_z_are_those_of_the_slow_oracle(members: int) -> None:
    """A scalar loop of RK4 with z held: constant, so that no interpolation stands between the two."""
    model, rng = MODELS["small"], np.random.default_rng(2)
    z = rng.normal(2.0, 3.0, model.K)
    found = model.spin_up(np.tile(z, (5, 1)), 4 * DT, DT, members, rng=7)
    start = 0.1 * np.random.default_rng(7).standard_normal((members, model.K, model.J))
    for y, expected in zip(found, start, strict=True):
        for _ in range(16):
            k = [oracles.tendency(model, z, expected)[1]]
            for weight in (0.5, 0.5, 1.0):
                k.append(oracles.tendency(model, z, expected + weight * DT * k[-1])[1])
            expected = expected + DT / 6 * (k[0] + 2 * k[1] + 2 * k[2] + k[3])
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
def test_true_fast_variables_follow_the_record(name: str) -> None:
    """The error falls with the fourth power of the interval or faster, the spline being of fifth degree."""
    model = MODELS[name]
    z, y = settled(model, 4)
    length = 96
    _, expected = model.step(z, y, DT, length)
    errors = []
    for every in (12, 6, 3):
        record = model.trajectory(z, y, DT, every, length // every + 1)
        (found,) = model.spin_up(record, every * DT, DT, y=y)
        errors.append(np.abs(found - expected).max())
    assert errors[-1] < 1e-4 * expected.std()
    assert errors[0] / errors[1] > 16
    assert errors[1] / errors[2] > 16 or errors[2] < 1e-10


@pytest.mark.parametrize("name", ["paper", "crommelin"])
def test_the_past_of_z_tells_much_about_psi_and_not_all(name: str) -> None:
    """The spun-up psi beside the true one, and beside that of another time with z to match: chance."""
    model, spinup, members = MODELS[name], {"paper": 2.0, "crommelin": 4.0}[name], 6
    z, y = settled(model, 6)
    spun, true = [], []
    for start in range(6):
        z, y = model.step(z, y, DT, 2000)
        record = model.trajectory(z, y, DT, EVERY, round(spinup / (EVERY * DT)) + 1)
        z, y = model.step(z, y, DT, round(spinup / DT))
        spun.append(-model.coupling * model.spin_up(record, EVERY * DT, DT, members, rng=start).sum(axis=-1))
        true.append(-model.coupling * y.sum(axis=-1))
    x, t = np.array(spun), np.array(true)
    correlation = stats.pearsonr(x.mean(axis=1).ravel(), t.ravel()).statistic
    error = (1 - correlation**2) / np.sqrt(len(t) * model.K / 2)  # neighbours share much: half as many count
    by_chance = abs(stats.pearsonr(np.roll(x, 1, axis=0).mean(axis=1).ravel(), t.ravel()).statistic)
    assert correlation - 4 * error > 0.85
    assert by_chance < 0.5
    assert 0.05 * t.std() < x.std(axis=1, ddof=1).mean() < 0.5 * t.std()


def test_members_of_a_spin_up_do_not_depend_on_how_many_there_are(reference: xr.Dataset) -> None:
    z = reference["z"].values[:30]
    few, many = (MODELS["small"].spin_up(z, EVERY * DT, DT, members, rng=8) for members in (2, 5))
    assert np.array_equal(few, many[:2])


@pytest.mark.parametrize("records", range(2, 8))
def test_any_number_of_records_will_do(reference: xr.Dataset, records: int) -> None:
    y = MODELS["small"].spin_up(reference["z"].values[:records], EVERY * DT, DT)
    assert y.shape == (1, 4, 2)
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": np.ones((5, 3))}, r"^z\.shape = \(5, 3\) .* \(time, 4\)"),
        ({"z": np.ones((1, 4))}, r"^z\.shape = \(1, 4\)"),
        ({"z": np.full((5, 4), np.nan)}, r"^z"),
        ({"interval": 2.5 * DT}, r"^interval = "),
        ({"interval": 0.0}, r"^interval = "),
        ({"dt": -1.0}, r"^dt = "),
        ({"members": 0}, r"^members = "),
        ({"rng": "text"}, r"^rng = "),
        ({"y": np.ones(8)}, r"^y"),
    ],
)
def test_spin_up_rejects(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"z": np.ones((5, 4)), "interval": 2 * DT, "dt": DT}
    with pytest.raises(ValueError, match=message):
        MODELS["small"].spin_up(**{**good, **change})


def test_steps_that_are_too_long_end_in_an_error(reference: xr.Dataset) -> None:
    z, y = settled(MODELS["small"], 1)
    with pytest.raises(FloatingPointError, match="stopped being finite"):
        MODELS["small"].trajectory(z, y, 1.0, 10, 10)
    with pytest.raises(FloatingPointError, match="stopped being finite"):
        MODELS["small"].spin_up(100.0 * reference["z"].values[:200], 1.0, 1.0)


# The forecasts


def test_starts_and_observations_are_those_of_the_forecasts(reference: xr.Dataset) -> None:
    model = MODELS["small"]
    closure = lc.closures.NoClosure(dt=5e-3)
    for starts, leads in ((12, LEADS), (7, None), (40, LEADS)):
        forecast = lc.forecast(model, closure, reference, starts=starts, members=2, leads=leads)
        mark = made(reference, starts=starts, leads=leads)
        known = forecast["start"].values >= 1.0
        assert known.sum() >= starts - 2
        assert np.array_equal(mark["start"], forecast["start"][known])
        assert mark["observation"].identical(forecast["observation"][known])
        assert dict(mark.sizes) == {**forecast.sizes, "member": 3, "start": known.sum()}
        assert np.array_equal(mark["z"].isel(lead=0, member=2), mark["observation"].isel(lead=0))


def test_members_and_chosen_starts_are_those_of_the_whole(reference: xr.Dataset) -> None:
    whole = made(reference)
    assert whole.isel(member=slice(2)).equals(made(reference, members=2))
    some = made(reference, most=4)
    assert some.sizes["start"] == 4
    assert some.equals(whole.sel(start=some["start"]))
    assert made(reference, most=100).identical(whole)


@pytest.mark.parametrize("subgrid", ["fine", "coarse", "coupling"])
def test_the_definition_of_psi_does_not_matter(reference: xr.Dataset, subgrid: str) -> None:
    other = MODELS["small"].simulate(samples=1600, dt=DT, every=EVERY, rng=3, subgrid=subgrid)
    assert made(other).equals(made(reference))
    assert made(reference.drop_vars("psi")).equals(made(reference))


def test_the_mark_is_better_than_a_closure_and_reliable() -> None:
    model = MODELS["crommelin"]
    reference = model.simulate(samples=2401, dt=2 * DT, every=EVERY, subgrid="coupling", rng=9)  # 120 time units
    leads = 0.25 * np.arange(9)
    mark = lc.mark(model, reference, starts=30, members=6, leads=leads, spinup=4.0, rng=2)
    truth = model.simulate(samples=2000, dt=2 * DT, every=EVERY, subgrid="coupling", rng=10)
    closure = lc.closures.PolynomialAR1.fit(truth)
    forecast = lc.forecast(model, closure, reference, starts=30, members=6, leads=leads, rng=4)
    scores = beside_mark(forecast, mark, reference)
    assert (scores["crps_above_mark_low"].sel(lead=[0.5, 1.0, 2.0]) > 0).all()
    assert (scores["crps_mark"].sel(lead=[0.5, 1.0]) < 0.5 * lc.verify(forecast, reference)["crps"]).all()
    spread_skill = lc.verify(mark, reference).sel(lead=[0.5, 1.0])
    assert (spread_skill["spread_skill_high"] > 0.8).all()
    assert (spread_skill["spread_skill_low"] < 1.25).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"starts": 1}, "^starts = 1 "),
        ({"members": 1}, "^members = 1 "),
        ({"most": 1}, "^most = 1 "),
        ({"spinup": 0.0}, "^spinup = 0.0 "),
        ({"spinup": 1e6}, "^spinup = .* two starts or more have such a past"),
        ({"dt": 2e-3}, "^the reference's time step = .* dt"),
        ({"leads": [0.0, 0.03]}, "^spacing of leads = "),
        ({"rng": -1}, "^rng = "),
    ],
)
def test_mark_rejects(reference: xr.Dataset, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(reference, **change)


def test_a_system_without_fast_variables_has_no_mark(reference: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"^model = .* whose fast variables can be spun up"):
        lc.mark(lc.KuramotoSivashinsky(), reference)


# Scores beside it


def test_the_difference_to_the_mark_is_paired(reference: xr.Dataset) -> None:
    mark = made(reference, starts=31)
    shifted = mark.assign(z=mark["z"] + 0.5 * (mark["lead"] > 0))
    scores = beside_mark(shifted, mark.isel(start=slice(None, None, 1)), reference)
    expected = [lc.verify(data, reference)["crps"] for data in (shifted, mark)]
    xr.testing.assert_allclose(scores["crps_above_mark"], expected[0] - expected[1])
    np.testing.assert_array_equal(scores["crps_mark"], expected[1])
    same = beside_mark(mark, mark, reference)
    assert not same["crps_above_mark"].values.any()
    part = beside_mark(shifted, mark.isel(start=slice(3, 30, 2)), reference)
    assert part.attrs["mark_starts"] == 14
    assert np.isnan(part["crps_above_mark_low"]).all()  # fewer than twenty
    assert np.isfinite(part["crps_above_mark"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mark: mark.assign_coords(lead=2 * mark["lead"]), r"^mark\.lead = "),
        (lambda mark: mark.isel(lead=slice(5)), r"^mark\.lead = "),
        (lambda mark: mark.assign_coords(start=mark["start"] + 0.01), r"^mark\.start = .* a start of the forecasts"),
    ],
)
def test_what_is_not_the_mark_of_the_forecasts_is_refused(reference: xr.Dataset, change: Any, message: str) -> None:
    mark = made(reference)
    with pytest.raises(ValueError, match=message):
        beside_mark(mark, change(mark), reference)


def test_table_and_figure_show_the_mark_where_there_is_one(reference: xr.Dataset) -> None:
    mark = made(reference, starts=24)
    alone = lc.verify(mark, reference)
    both = xr.merge([alone, beside_mark(mark, mark, reference)], combine_attrs="no_conflicts")
    assert "full model" not in report.score_table(alone)
    text = " ".join(report.score_table(both).split())
    assert "CRPS of full model" in text
    assert "last 1 time units" in text
    assert f"{mark.sizes['start']} of the starts, 3 members" in text
    labels = [
        {line.get_label() for axes in np.ravel(figures.skill(scores)) for line in axes.lines}
        for scores in (alone, both)
    ]
    assert labels[1] - labels[0] == {"full model, spun up along z"}


# The stage


@pytest.mark.slow
def test_the_stage_runs_where_it_is_asked_for_and_stays(call: Call) -> None:
    tiny = (*TINY, "closure=polynomial", "run_dir=mine", "forecast.mark_spinup=0.5", "forecast.mark_members=2")
    outcome = call(*tiny, "stages=[simulate,fit,integrate,forecast,diagnose]")
    assert outcome.status == 0, outcome.err
    assert not Path("mine/mark.nc").exists()
    assert "full model" not in outcome.out
    asked = call(*tiny, "stages=[mark,diagnose,report]")
    assert asked.status == 0, asked.err
    assert "CRPS of full model" in asked.out
    kept = Path("mine/mark.nc").read_bytes()
    again = call(*tiny, "stages=[mark,diagnose]")
    assert "mark      is up to date" in again.err
    assert "diagnose  is up to date" in again.err
    page = Path("mine/report.html").read_text(encoding="utf-8")
    assert "Full model: the CRPS of ensembles" in page
    with xr.open_dataset("mine/diagnostics.nc", decode_times=False) as scores:
        assert {"crps_mark", "crps_mark_low", "rmse_mark", "crps_above_mark"} <= set(scores.variables)
    other = tuple(each if each != "closure=polynomial" else "closure=none" for each in tiny)
    anew = call(*other, "force=true", "stages=[fit,integrate,forecast,diagnose]")
    assert anew.status == 0, anew.err
    assert "CRPS of full model" in anew.out
    assert Path("mine/mark.nc").read_bytes() == kept  # another closure has the same mark
    refused = call(*tiny, "forecast.mark_members=3", "stages=[diagnose]", "closure=none")
    assert refused.status == 2
    assert "add mark to the stages" in refused.err


@pytest.mark.slow
def test_the_stage_of_a_system_without_fast_variables_says_so(call: Call) -> None:
    assert {file.made_by for file in WORKFLOW.files.values() if file.optional} == {"mark"}
    ks = ("experiment=ks", "reference.duration=60", "training.samples=20", "training.spinup=1", "reference.spinup=1")
    tiny = ("forecast.starts=2", "forecast.lead=4", "coarse.members=2", "coarse.steps=20", "stages=[simulate,mark]")
    outcome = call(*ks, *tiny)
    assert outcome.status == 2
    assert "whose fast variables can be spun up" in outcome.err.splitlines()[-1]
