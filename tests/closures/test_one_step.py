"""Where psi remembers and drives what it is drawn given: whether the coarse model has the climate of the truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from oracles import standard_error

import l96closure as lc
from l96closure.closures import Moments, Noise, SchrodingerBridge
from l96closure.experiments.climate import closure_tables
from l96closure.experiments.data import offline, report

F64 = npt.NDArray[np.float64]

K, DT = 8, 0.1
Rule = Callable[[F64, F64, F64, F64], F64]
"""Returns psi of a step, of psi of two steps before, z now, and noise of unit variance."""

RULES: dict[str, tuple[int, Rule]] = {
    "damped by z": (1, lambda psi, _, z, noise: 0.8 * psi - 0.1 * z + 0.5 * noise),
    "relaxes to a function of z": (
        1,
        lambda psi, _, z, noise: 0.8 * psi - 0.3 * np.tanh(2.0 * z) + 0.4 * (0.6 + 0.4 * np.tanh(z) ** 2) * noise,
    ),
    "oscillates": (2, lambda psi, before, z, noise: 1.4 * psi - 0.6 * before - 0.1 * z + 0.3 * noise),
    "forgets at once": (0, lambda psi, before, z, noise: -0.5 * np.tanh(z) + 0.5 * noise),
}


def resolved(z: F64) -> F64:
    return -0.5 * z + 0.3 * (np.roll(z, 1, axis=-1) - z)


def truth(rule: Rule, times: int, seed: int) -> xr.Dataset:
    """Coarse model with psi by a rule, a unit cell of red noise that the model feeds back to."""
    rng = np.random.default_rng(seed)
    z, psi, before = np.zeros((3, K))
    zs, psis = np.empty((2, times, K))
    for n in range(-500, times):
        psi, before = rule(psi, before, z, rng.standard_normal(K)), psi
        zs[n], psis[n] = z, psi  # those of the start are written over
        z = z + DT * (resolved(z) + psi)
    names = {"z": zs, "psi": psis}
    return xr.Dataset({name: (("time", "k"), one) for name, one in names.items()}, {"time": DT * np.arange(times)})


def variances(of: xr.Dataset, name: str) -> tuple[float, float]:
    """Mean square of a variable and its standard error, of members that are independent."""
    squares = (of[name] ** 2).mean("k").transpose("time", ...).values.reshape(of.sizes["time"], -1)
    errors = [standard_error(one) for one in squares.T]
    return float(squares.mean()), float(np.sqrt(np.square(errors).sum()) / len(errors))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_climate_is_that_of_the_truth_where_the_memory_is_left_open(rule: str) -> None:
    """Variances agree within the errors of two samples and what 8,000 times leave open of the closure, some 2 %."""
    steps, step = RULES[rule]
    data, reference = truth(step, 8_000, 1), truth(step, 40_000, 2)
    closure = SchrodingerBridge.fit(data)
    assert closure.fields.previous == steps
    run = lc.integrate(resolved, closure, data["z"].values[:4], steps=12_000, rng=3, scheme="euler")
    for name in ("z", "psi"):
        (found, error), (wanted, other) = variances(run.isel(time=slice(500, None)), name), variances(reference, name)
        assert abs(found - wanted) < 4.0 * np.hypot(np.hypot(error, other), 0.02 * wanted)


@pytest.mark.slow
def test_noise_that_knows_nothing_of_a_loop_has_another_climate() -> None:
    """What the choice is for: asked to remember in the noise, the coarse model varies far too much."""
    data = truth(RULES["damped by z"][1], 8_000, 1)
    closure = SchrodingerBridge.fit(data, lc.Fields(previous=0))
    run = lc.integrate(resolved, closure, data["z"].values[:4], steps=8_000, rng=3, scheme="euler")
    (found, error), (wanted, other) = variances(run.isel(time=slice(500, None)), "z"), variances(data, "z")
    assert found - 1.3 * wanted > 4.0 * np.hypot(error, 1.3 * other)


def test_a_state_is_corrected_by_what_psi_was() -> None:
    data = truth(RULES["oscillates"][1], 2_000, 1)
    closure: Any = SchrodingerBridge.fit(data, lc.Fields(previous=2, radius=0, lags=()))
    z, psi = data["z"].values[:, None], data["psi"].values[:, None]
    drawn, state = closure.step(z[7], closure.init(z[7], 0))
    np.testing.assert_array_equal(closure.corrected(drawn, state).history, state.history)
    for time in (8, 9):
        state = closure.corrected(psi[time], closure.step(z[time], state)[1])
    np.testing.assert_array_equal(state.history[:, :, 1], np.stack([psi[9], psi[8]], axis=1))
    np.testing.assert_array_equal(state.history[:, :, 0], np.stack([z[9], z[8]], axis=1))
    white: Any = SchrodingerBridge.fit(data, lc.Fields(previous=0, radius=0, lags=()))
    _, state = white.step(z[7], white.init(z[7], 0))
    assert white.corrected(psi[7], state) is state


def test_draws_along_a_record_are_told_what_psi_was() -> None:
    """With a psi of their own, predictors and psi would not belong together, and a right law would look wrong."""
    data, reference = truth(RULES["damped by z"][1], 4_000, 1), truth(RULES["damped by z"][1], 2_000, 2)
    closure: Any = SchrodingerBridge.fit(data, lc.Fields(radius=0))
    drawn = offline.draw(closure, reference, lc.Fields(), dt=None, members=20, steps=2_000, seed=0)
    assert drawn.told
    scores = offline.scores(drawn, closure.fields, 5.0)
    assert abs(float(scores["offline_spread_skill"]) - 1.0) < 0.04  # standard error of the errors' size: 0.6 %
    assert float(scores["offline_crps"]) < 0.7 * float(scores["offline_crps_climatology"])
    assert scores["offline_autocorrelation"].sel(offline_source="closure").isnull().all()
    assert "and ψ of the steps before, which the closure was not fitted to" in report.headline(scores)
    assert [row.label for row in report.tables(scores)[1].rows][:3] == [
        "mean",
        "standard deviation",
        "distance of the covariance matrices",
    ]


@pytest.mark.parametrize("more", [{"noise": Noise(3)}, {"trend": None}, {"noise": Noise(0)}])
def test_what_is_asked_for_is_not_chosen(more: dict[str, Any]) -> None:
    data = truth(RULES["damped by z"][1], 2_000, 1)
    assert SchrodingerBridge.fit(data, lc.Fields(radius=0, lags=()), **more).fields.previous == 0


def test_the_choice_is_that_of_other_units_and_other_laws() -> None:
    data = truth(RULES["damped by z"][1], 2_000, 1)
    found: Any = SchrodingerBridge.fit(data, lc.Fields(radius=0))
    other = data.assign(z=100.0 + 1e3 * data["z"], psi=1e-5 * data["psi"])
    again: Any = SchrodingerBridge.fit(other, lc.Fields(radius=0))
    np.testing.assert_allclose(again.selection["next"], found.selection["next"], rtol=1e-6)
    assert found.fields.previous == again.fields.previous == 1
    assert found.features.lags.tolist() == [0]
    assert found.law.pattern.order == 0
    assert len(lc.plot.choice(found.selection)) == 2
    (names,) = (table for table in closure_tables.tables(found) if table.heading == "What the closure may see")
    assert [(row.label, row.cells[-1]) for row in names.rows][1:3] == [
        ("radius 0, lags none, ψ of the step before", "yes"),
        ("radius 0, lags none, ψ of 2 steps before", "no"),
    ]
    assert SchrodingerBridge.fit(data, lc.Fields(radius=0), law=Moments(80, None)).fields.previous == 1


def test_lorenz_96_is_not_driven_by_its_noise() -> None:
    data = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=4_000, rng=1)
    closure: Any = SchrodingerBridge.fit(data)
    assert closure.fields.previous == 0
    assert closure.law.pattern.order == 8


def test_a_loop_that_a_few_steps_do_not_describe_is_told() -> None:
    past = deque([np.zeros(K)] * 4, 4)

    def four_steps_ago(psi: F64, _: F64, z: F64, noise: F64) -> F64:
        past.appendleft(psi)
        return 0.7 * past[-1] - 0.1 * z + 0.5 * noise

    data = truth(four_steps_ago, 3_000, 1)
    with pytest.warns(lc.bridge.AccuracyWarning, match=r"^past noise explains \d\d% of the variance of a") as told:
        closure = SchrodingerBridge.fit(data, lc.Fields(radius=0))
    assert told[0].filename == __file__
    assert closure.fields.previous == 0
    assert (
        SchrodingerBridge.fit(data, lc.Fields(radius=0, lags=())).fields.previous == 0
    )  # as asked for, without a word


def test_short_pieces_of_a_record_tell_as_much_as_one_run() -> None:
    data = truth(RULES["damped by z"][1], 4_000, 1)
    pieces = [data.isel(time=slice(n, n + 80)).assign_coords(time=data["time"][:80]) for n in range(0, 4_000, 80)]
    ensemble = xr.concat(pieces, "member")
    closure: Any = SchrodingerBridge.fit(ensemble, lc.Fields(radius=0))
    assert closure.fields.previous == 1


def test_few_times_and_constant_stretches_are_no_reason_to_fail() -> None:
    data = truth(RULES["damped by z"][1], 1_200, 1)
    assert SchrodingerBridge.fit(data.isel(time=slice(150)), lc.Fields(radius=0, lags=())).fields.previous == 0
    still = data.assign(psi=data["psi"].where(data["time"] > 0.5 * data["time"][-1], 0.0))
    assert SchrodingerBridge.fit(still, lc.Fields(radius=0)).fields.previous in (0, 1, 2)
