"""Several targets, sites of different scale, and records in pieces: what learns apart, and what one noise drives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import (
    Analog,
    Chain,
    Moments,
    Noise,
    Polynomial,
    PolynomialAR1,
    Quantiles,
    SchrodingerBridge,
    Trend,
    smooth_steps,
)

F64 = npt.NDArray[np.float64]

LEVELS, DT = 4, 0.1
COLUMN: dict[str, Any] = {"dim": "lev", "periodic": False, "radius": 0, "lags": ()}
BOTH = lc.Fields(("T", "q"), ("heating", "moistening"), previous=True, **COLUMN)
FEW: dict[str, Any] = {"trend": Trend(2, 1), "law": Quantiles("trend", 400), "noise": Noise(1)}


def column(times: int, seed: int = 0) -> xr.Dataset:
    """T and q on levels, damped and driven by red noise of different memory, correlated among levels and targets."""
    rng = np.random.default_rng(seed)
    lev = np.arange(LEVELS)
    factor = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(lev, lev)) / 2.0))
    a, b, state = np.zeros(LEVELS), np.zeros(LEVELS), np.zeros((2, LEVELS))
    states, tendencies = np.empty((2, times, 2, LEVELS))
    for n in range(times):
        a, b = (
            0.9 * a + 0.4 * factor @ rng.standard_normal(LEVELS),
            0.7 * b + 0.6 * factor @ rng.standard_normal(LEVELS),
        )
        states[n] = state
        tendencies[n] = a - 0.3 * state[0] + 0.1 * state[1], b + 0.5 * a - 0.2 * state[1]
        state = state + DT * (-state + tendencies[n])
    profile = np.linspace(300.0, 200.0, LEVELS)
    names = {"T": states[:, 0] + profile, "q": 1e-3 * states[:, 1]}
    names |= {"heating": tendencies[:, 0], "moistening": 1e-3 * tendencies[:, 1]}
    data = xr.Dataset({name: (("time", "lev"), values) for name, values in names.items()})
    return data.assign_coords(time=DT * np.arange(times), lev=lev)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return column(6000)


@pytest.fixture(scope="module")
def closure(data: xr.Dataset) -> Any:
    return SchrodingerBridge.fit(data, BOTH, **FEW)


def model(z: F64) -> F64:
    """Damping towards the profile (member, P, K)."""
    return -(z - np.stack([np.linspace(300.0, 200.0, LEVELS), np.zeros(LEVELS)]))


def test_a_coarse_run_has_the_variances_and_correlations_of_the_truth(data: xr.Dataset, closure: Any) -> None:
    """Errors of both are those of stretches, as of the truth again."""
    names = ["T", "q", "heating", "moistening"]
    z = closure.fields.inputs(data.isel(time=slice(100, None, 750)).rename(time="member").drop_vars("member"))
    run = lc.integrate(model, closure, z, steps=1500, rng=2, scheme="euler").isel(time=slice(200, None))
    for first, second in (("T", "T"), ("q", "q"), ("heating", "heating"), ("T", "heating"), ("heating", "moistening")):
        pieces = [data.isel(time=slice(n, n + 1000)) for n in range(200, 5200, 1000)]
        wanted, found = (
            np.array([(one[first] * one[second]).mean(("time", "lev")) - _product(one, first, second) for one in some])
            for some in (pieces, [run.isel(member=m) for m in range(len(z))])
        )
        error = np.hypot(wanted.std(ddof=1) / np.sqrt(len(wanted)), found.std(ddof=1) / np.sqrt(len(found)))
        assert abs(found.mean() - wanted.mean()) < 4.0 * error
    assert list(run.data_vars)[:4] == names
    assert run["T"].dims == ("member", "time", "lev")


def _product(of: xr.Dataset, first: str, second: str) -> Any:
    return (of[first].mean("time") * of[second].mean("time")).mean("lev")


def test_residuals_are_as_correlated_as_they_were(data: xr.Dataset, closure: Any) -> None:
    """Among levels and between targets, about a regression on the state, in the first psi that is drawn."""
    names = ("heating", "moistening")
    fitted = np.concatenate([_linear(data, name) for name in names], axis=1)
    z = closure.fields.inputs(data.rename(time="member").drop_vars("member"))
    psi, _ = closure.step(z, closure.init(z, 0))
    left = np.concatenate([data[name].values for name in names], axis=1) - fitted
    found, wanted = (np.corrcoef(one, rowvar=False) for one in (psi.reshape(len(z), -1) - fitted, left))
    assert np.abs(found - wanted).max() < 0.1
    scores = closure.probability(data)
    assert all(0.45 < float(scores[name].mean()) < 0.55 for name in names)


def _linear(data: xr.Dataset, name: str) -> F64:
    """Regression of a target on T and q at its level."""
    out = np.empty(data[name].shape)
    for k in range(LEVELS):
        x = np.stack([np.ones(data.sizes["time"]), data["T"].values[:, k], data["q"].values[:, k]], axis=1)
        out[:, k] = x @ np.linalg.lstsq(x, data[name].values[:, k], rcond=None)[0]
    return out


@pytest.mark.parametrize(("radius", "seen"), [(0, "1"), (1, "2 to 3"), (LEVELS - 1, str(LEVELS))])
def test_what_a_site_sees_twice_counts_once(data: xr.Dataset, radius: int, seen: str) -> None:
    """At an edge a neighbour that is not there is the site itself."""
    weather = data.assign(T=data["T"] - data["T"].mean("time"))
    for targets, dim in (("heating", {}), (("heating", "moistening"), {}), ("heating", {"pool": "lev"})):
        closure = Polynomial.fit(weather, lc.Fields("T", targets, **{**COLUMN, "radius": radius}, **dim), Trend(1, 1))
        number = str(2 * radius + 1) if dim else seen
        assert f"given {number} features of T;" in repr(closure)


def test_file_units_order_and_batches(data: xr.Dataset, closure: Any, tmp_path: Path) -> None:
    z = closure.fields.inputs(data.isel(time=slice(500, 509)).rename(time="member").drop_vars("member"))
    closure.save(tmp_path / "column.nc")
    loaded: Any = lc.closures.load(tmp_path / "column.nc")
    here, there = (lc.integrate(model, one, z, steps=5, rng=1, scheme="euler") for one in (closure, loaded))
    xr.testing.assert_equal(here, there)
    few = lc.integrate(model, closure, z[4:6], steps=5, rng=1, member=4, scheme="euler")
    for name in ("T", "moistening"):
        assert np.array_equal(few[name], here[name].isel(member=slice(4, 6)))
    other = data.assign(q=1e3 * data["q"] + 7.0, heating=86400.0 * data["heating"])
    scaled: Any = SchrodingerBridge.fit(other, BOTH, **FEW)
    given = scaled.fields.inputs(other.isel(time=slice(500, 509)).rename(time="member").drop_vars("member"))
    psi, of_other = (one.step(x, one.init(x, 1))[0] for one, x in ((closure, z), (scaled, given)))
    np.testing.assert_allclose(of_other[:, 0] / 86400.0, psi[:, 0], rtol=0, atol=1e-6 * float(data["heating"].std()))
    np.testing.assert_allclose(of_other[:, 1], psi[:, 1], rtol=0, atol=1e-6 * float(data["moistening"].std()))
    output = closure.fields.output(psi)
    assert output["moistening"].dims == ("member", "lev")


def test_a_known_past_is_taken_up(data: xr.Dataset, closure: Any) -> None:
    """A history of the record gives the psi that the record has, up to the law's own noise; replay is exact."""
    assert float(lc.replay(model, data.isel(time=slice(300)), "euler", BOTH)["error"][-1]) < 1e-9
    past = lc.history(model, data.isel(time=slice(900, 1000)), scheme="euler", fields=closure.fields)
    xr.testing.assert_allclose(
        past["heating"].isel(member=0, lag=slice(1, None)).drop_vars(["lag", "member"]),
        data["heating"].isel(time=slice(998, 899, -1)).drop_vars("time").rename(time="lag"),
        atol=1e-8,
    )
    psi = np.stack([closure.step(*_started(closure, past, seed))[0][0, 0] for seed in range(300)])
    left = psi - data["heating"].values[999]
    expected = data["heating"].diff("time").std("time").values
    assert (np.abs(left.mean(axis=0)) < 3.0 * expected).all()
    assert (psi.std(axis=0) < 1.3 * expected).all()  # not as widely as without a past


def _started(closure: Any, past: xr.Dataset, seed: int) -> tuple[F64, Any]:
    z = np.stack([past[name].values[:, 0] for name in closure.fields.predictors], axis=1)
    return z, closure.init(z, seed, history=past)


@pytest.mark.parametrize("of", [Polynomial, PolynomialAR1, SchrodingerBridge])
def test_a_profile_with_weather_on_it_is_as_well_predicted_as_its_anomalies(of: Any) -> None:
    rng = np.random.default_rng(3)
    weather, profile = 0.5 * rng.standard_normal((2000, 6)), np.linspace(300.0, 200.0, 6)
    psi = np.sin(2.0 * weather) * np.geomspace(1.0, 30.0, 6) + 0.3 * rng.standard_normal((2000, 6))
    found = []
    for offset in (0.0, 1.0):
        data = xr.Dataset(
            {"z": (("time", "k"), weather + offset * profile), "psi": (("time", "k"), psi + offset * profile)}
        )
        fitted = of.fit(data.assign_coords(time=0.1 * np.arange(2000)), lc.Fields(periodic=False, radius=0, lags=()))
        z = data["z"].values
        drawn = np.mean([fitted.step(z, fitted.init(z, seed))[0] for seed in range(8)], axis=0)
        found.append(drawn - offset * profile)
    explained = [1.0 - ((one - psi) ** 2).sum(axis=0) / ((psi - psi.mean(axis=0)) ** 2).sum(axis=0) for one in found]
    np.testing.assert_allclose(explained[1], explained[0], rtol=0, atol=1e-6)
    assert explained[0].min() > (0.5 if of is Polynomial else 0.35)


def test_pieces_members_and_gaps_are_the_record(data: xr.Dataset) -> None:
    """The same closure, but for what the joints leave out."""
    fields = lc.Fields(("T", "q"), ("heating", "moistening"), **COLUMN)
    how = {**FEW, "law": Quantiles("trend", 6000)}  # all samples: which are drawn is no matter
    whole = SchrodingerBridge.fit(data, fields, **how)
    runs = [data.isel(time=slice(n, n + 1500)).assign_coords(time=DT * np.arange(1500)) for n in range(0, 6000, 1500)]
    keep = np.delete(np.arange(6000), np.r_[1000:1040, 3000:3100])
    states = np.repeat(np.arange(0, 6000, 300), 100)
    z = whole.fields.inputs(data.isel(time=states).rename(time="member").drop_vars("member"))

    def law(closure: Any) -> tuple[F64, F64]:
        """Mean and standard deviation of psi given each state, in standard deviations of the targets."""
        psi = closure.step(z, closure.init(z, 4))[0].reshape(20, 100, 2, LEVELS)
        size = np.array([data[name].std().item() for name in fields.targets])[:, None]
        return psi.mean(axis=1) / size, psi.std(axis=1) / size

    means, spreads = law(whole)
    for record in (xr.concat(runs, "member"), data.isel(time=keep), data.isel(time=keep).transpose("lev", "time")):
        other = SchrodingerBridge.fit(record, fields, **how)
        assert other.coarse_dt == pytest.approx(DT)
        mean, spread = law(other)
        assert np.median(np.abs(mean - means)) < np.sqrt(2.0 / 100)  # noise alone makes two thirds of it
        np.testing.assert_allclose(spread.mean(axis=0), spreads.mean(axis=0), rtol=0.1)


def test_static_and_pointwise_predictors_are_the_same_along_what_they_lack(data: xr.Dataset) -> None:
    surface, height = data["T"].isel(lev=0, drop=True), xr.DataArray(np.arange(LEVELS) ** 2.0, dims="lev")
    more = data.assign(surface=surface, height=height)
    spread = more.assign(surface=surface.broadcast_like(data["T"]), height=height.broadcast_like(data["T"]))
    fields = lc.Fields(("T", "surface", "height"), "heating", **COLUMN)
    one, other = (Polynomial.fit(given, fields, Trend(2, 1)) for given in (more, spread))
    z = one.fields.inputs(more.isel(time=[5, 9]).rename(time="member").drop_vars("member"))
    assert z.shape == (2, 3, LEVELS)
    assert np.array_equal(one.step(z, one.init(z, 0))[0], other.step(z, other.init(z, 0))[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ("heating", "T")}, r"^targets = 'T' .* none of the predictors"),
        ({"pool": "x"}, r"^pool = 'x' .* 'auto', or some of the dimensions lev"),
        ({"previous": -1}, r"^previous = -1 .* an integer >= 0"),
        ({"previous": 1.5}, r"^previous = 1\.5 .* an integer >= 0"),
        ({"previous": 9}, r"^previous = 9 .* an integer below 9"),
    ],
)
def test_bad_fields(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lc.Fields(**{"predictors": ("T", "q"), "targets": "heating", "dim": "lev", **change})


def test_analogs_draw_all_targets_of_one_sample(data: xr.Dataset, tmp_path: Path) -> None:
    """Of one neighbour, every state being a training sample, they replay the record; of several those of one time."""
    fields = replace(BOTH, previous=False)
    closure = Analog.fit(data, fields, neighbours=1)
    z = closure.fields.inputs(data.isel(time=[1, 300]).rename(time="member").drop_vars("member"))
    run = lc.integrate(model, closure, z, steps=50, scheme="euler")
    for name in fields.names:
        np.testing.assert_allclose(run[name][0], data[name][1:51], rtol=1e-9, atol=1e-12)
    several = Analog.fit(data, fields, neighbours=40)
    several.save(tmp_path / "analog.nc")
    loaded: Any = lc.closures.load(tmp_path / "analog.nc")
    psi, state = loaded.step(z, loaded.init(z, 0))
    assert np.array_equal(psi, several.step(z, several.init(z, 0))[0])
    assert np.array_equal(state.memory[:, :, :2], np.moveaxis(psi, 1, 2))
    heating, moistening = (data[name].values for name in fields.targets)
    for member, level in np.ndindex(len(z), LEVELS):
        when = np.flatnonzero(heating[:, level] == psi[member, 0, level])
        assert psi[member, 1, level] in moistening[when, level]


def test_moments_of_targets_given_all_that_is_seen_are_those_of_each_alone(data: xr.Dataset, tmp_path: Path) -> None:
    """One noise drives them; conserved is what the weights say."""
    weather = data.assign(T=data["T"] - data["T"].mean("time")).isel(time=slice(None, None, 30))
    how: dict[str, Any] = {"trend": Trend(2, 1), "law": Moments(None, None), "noise": Noise(1)}
    fields = replace(BOTH, previous=False, radius=1, conserve={"heating": 1.0, "moistening": 1e3})
    both: Any = SchrodingerBridge.fit(weather, fields, **how)
    z = both.fields.inputs(weather.isel(time=slice(5)).rename(time="member").drop_vars("member"))
    seen = z.reshape(len(z), -1)
    found = np.split(both.law.of.conditional_mean(np.concatenate([seen, seen], axis=1)), 2, axis=1)
    trends = np.split(both.trend(z, z[:, None])[0], 2, axis=1)
    for name, mean, trend in zip(fields.targets, found, trends, strict=True):
        alone: Any = SchrodingerBridge.fit(weather, replace(fields, targets=name, conserve=None), **how)
        of_law = alone.law.of.conditional_mean(np.concatenate([seen, seen[:, :LEVELS]], axis=1))
        np.testing.assert_allclose(mean, of_law, rtol=1e-9, atol=1e-12 * np.abs(of_law).max())
        np.testing.assert_allclose(trend, alone.trend(z, z[:, None])[0], rtol=1e-12)
    psi, _ = both.step(z, both.init(z, 0))
    parts = psi * np.array([1.0, 1e3])[:, None]
    expected = trends[0].sum(axis=1) + 1e3 * trends[1].sum(axis=1)
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), expected, atol=1e-10 * np.abs(parts).sum())
    _is_the_same_from_a_file(both, z, tmp_path)


def test_a_chain_draws_targets_together(tmp_path: Path) -> None:
    """Draws given all samples have the covariance of these."""
    white = np.random.default_rng(0).standard_normal((1000, 3))
    psi = white[:, 1:] @ np.array([[1.0, 0.8], [0.0, 0.6]]) * np.array([1.0, 1e-3])
    values = {"T": white[:, 0], "heating": psi[:, 0], "moistening": psi[:, 1]}
    data = xr.Dataset({name: (("time", "k"), one[:, None]) for name, one in values.items()})
    fields = lc.Fields("T", ("heating", "moistening"), radius=0, lags=())
    law = Chain("sequential", steps=4)
    closure: Any = SchrodingerBridge.fit(data, fields, trend=None, law=law, kernel=lc.bridge.Kernel(epsilon=0.05))
    z = white[:, :1]
    drawn = closure.step(z, closure.init(z, 0))[0][:, :, 0]
    found, wanted = (np.cov(one / np.array([1.0, 1e-3]), rowvar=False) for one in (drawn, psi))
    assert np.abs(found - wanted).max() < 4.0 * np.sqrt(2.0) * np.sqrt(2.0 / len(z))
    _is_the_same_from_a_file(closure, z[:3], tmp_path)


def _is_the_same_from_a_file(closure: Any, z: F64, folder: Path) -> None:
    closure.save(folder / "closure.nc")
    loaded: Any = lc.closures.load(folder / "closure.nc")
    assert np.array_equal(loaded.step(z, loaded.init(z, 0))[0], closure.step(z, closure.init(z, 0))[0])


def test_what_cannot_be_is_refused(data: xr.Dataset, closure: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^previous = True .* False: analogs know the psi of the step before by memory"
    ):
        lc.closures.Analog.fit(data, BOTH)
    more: Any = Polynomial.fit(data, lc.Fields("T", ("heating", "moistening"), **COLUMN), Trend(2, 1))
    with pytest.raises(ValueError, match=r"^targets = .* at most the 1 predictors"):
        lc.integrate(model, more, data["T"].values[:2], steps=3)
    with pytest.raises(ValueError, match=r"^z0\.shape = \(2, 1, 4\) .* \(member, 2, 4\)"):
        lc.integrate(model, closure, np.zeros((2, 1, LEVELS)), steps=3)
    wide = xr.Dataset(
        {name: (("time", "x"), np.random.default_rng(0).standard_normal((30, 500))) for name in ("z", "psi")}
    )
    with pytest.raises(ValueError, match=r"^pool = \(\) .* 500 groups are more than"):
        Polynomial.fit(wide, lc.Fields(dim="x", radius=0, lags=(), pool=()))


@pytest.mark.parametrize("stepped", [False, True])
def test_of_many_levels_a_few_tell_whether_smooth_steps_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, stepped: bool
) -> None:
    rng, levels, tried = np.random.default_rng(0), 13, []
    z, error = rng.standard_normal((2, 2000, levels))
    seen = z + np.roll(z, -1, axis=1)
    psi = (np.tanh(4.0 * seen) if stepped else seen) + 0.1 * error
    improved = smooth_steps.improved
    monkeypatch.setattr(smooth_steps, "improved", lambda *given: tried.append(1) or improved(*given))
    closure = lc.closures.Polynomial.fit(
        xr.Dataset({"z": (("time", "k"), z), "psi": (("time", "k"), psi)}),
        lc.Fields(radius=1, lags=(), periodic=False),
        Trend(degree=1),
    )
    steps = [trend.output.size for trend in closure.trend.of]
    assert len(tried) == 6 * (levels if stepped else 6)  # of each group the whole, and all but each of five blocks
    assert all(steps[:-1]) == stepped  # at the end two are seen, of which one does nothing
    assert any(steps) == stepped
