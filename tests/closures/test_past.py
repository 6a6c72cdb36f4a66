"""Known and drawn pasts: a start from a record goes on as the run that made it, an unknown past is one that occurs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import stats
from scipy.special import ndtr

import l96closure as lc
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles, Trend, load

F64 = npt.NDArray[np.float64]
K, DT = 5, 5e-3
MODEL = lc.TwoScaleLorenz96(K, 3, 10.0)
BACK = lc.Fields(radius=1, lags=(10 * DT, 30 * DT))
SMOOTH = Trend(3, 2, ridge=1e-3)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "polynomial": ("polynomial", {"fields": BACK, "trend": SMOOTH}),
    "AR(1)": ("polynomial_ar1", {}),
    "AR(3)": ("polynomial_ar1", {"fields": BACK, "trend": SMOOTH, "noise": Noise(3), "residual_degree": 2}),
    "quantiles": ("schrodinger_bridge", {"fields": BACK, "trend": SMOOTH, "law": Quantiles("trend")}),
    "quantiles of one site": ("schrodinger_bridge", {"fields": lc.Fields(radius=0, lags=()), "noise": Noise(2, None)}),
    "fresh noise": ("schrodinger_bridge", {"fields": BACK, "trend": SMOOTH, "noise": Noise(0, None)}),
    "without trend": ("schrodinger_bridge", {"fields": BACK, "trend": None, "law": Quantiles("z")}),
    "moments": ("schrodinger_bridge", {"fields": BACK, "trend": SMOOTH, "law": Moments(80, None), "noise": Noise(2)}),
    "chain": ("schrodinger_bridge", {"fields": BACK, "trend": SMOOTH, "law": Chain("split", centres=80)}),
    "analog": ("analog", {}),
}
DRIVEN = [name for name in CASES if name not in ("polynomial", "chain", "analog")]


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=2500, dt=1e-3, every=5, spinup=3.0, subgrid="step")


@pytest.fixture(scope="module", params=CASES)
def closure(request: pytest.FixtureRequest, truth: xr.Dataset) -> Any:
    name, settings = CASES[request.param]
    return CLOSURES[name].fit(truth, **settings)


def fed(closure: Any, truth: xr.Dataset, steps: int, members: int = 3) -> tuple[F64, F64, list[Any]]:
    """Feed a closure the records of some members step by step; z and psi (member, step, K), and the states."""
    z = np.stack([truth["z"].values[200 * n : 200 * n + steps] for n in range(members)])
    states, psi = [closure.init(z[:, 0], 4)], []
    for step in range(steps):
        drawn, state = closure.step(z[:, step], states[-1])
        psi.append(drawn)
        states.append(state)
    return z, np.stack(psi, axis=1), states


def backwards(z: F64, psi: F64, now: int, lags: int) -> xr.Dataset:
    """Return the history of time ``now``, where psi is not known."""
    before = np.arange(now, now - lags - 1, -1)
    found = {"z": z[:, before], "psi": psi[:, before].copy()}
    found["psi"][:, 0] = np.nan
    dims = ("member", "lag", "k")
    return xr.Dataset({name: (dims, one) for name, one in found.items()}, {"lag": DT * np.arange(lags + 1)})


def test_a_start_from_a_record_has_the_state_of_the_run_that_made_it(closure: Any, truth: xr.Dataset) -> None:
    now = 60
    z, psi, states = fed(closure, truth, now + 1)
    given = backwards(z, psi, now, closure.past_steps)
    found, reached = closure.init(z[:, now], 4, history=given), states[now]
    np.testing.assert_array_equal(found.history, reached.history)
    assert found.memory.shape == reached.memory.shape
    if type(closure).__name__ == "Analog":
        np.testing.assert_array_equal(found.memory, reached.memory)
        tells = np.ones(1, bool)
    else:
        # Where psi was cut at its bounds, or the noise is beyond the table, psi does not tell the noise.
        inside = (psi > closure.bounds[0]) & (psi < closure.bounds[1])
        tells = np.ones(reached.memory.shape, bool)
        if tells.size:
            order = tells.shape[1] if tells.ndim == 3 else 1
            tells &= np.stack([inside[:, now - lag] for lag in range(1, order + 1)], axis=1).reshape(tells.shape)
        tells &= np.abs(reached.memory) < 3.9
        assert tells.mean() > 0.8 if tells.size else True
        np.testing.assert_allclose(found.memory[tells], reached.memory[tells], rtol=0, atol=1e-6)
    following, _ = closure.step(z[:, now], found._replace(step=reached.step))
    expected, _ = closure.step(z[:, now], reached)
    if found.memory.size == 0 or tells.all():
        np.testing.assert_allclose(following, expected, rtol=0, atol=1e-6)
    # Longer histories are as good, and dims may come in any order.
    longer = backwards(z, psi, now, closure.past_steps + 3).transpose("k", "lag", "member")
    again = closure.init(z[:, now], 4, history=longer)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_psi_at_one_instant_the_steps_before_and_after_are_averaged(closure: Any, truth: xr.Dataset) -> None:
    if type(closure).__name__ == "Analog" or not closure.past_steps:
        return
    instant, now = replace(closure, subgrid="coupling"), 60
    assert instant.past_steps == closure.past_steps + 1
    z, psi, _ = fed(closure, truth, now + 1)
    held = backwards(z, psi, now, instant.past_steps)
    averaged = held["psi"].copy()
    averaged[:, 1:-1] = 0.5 * (held["psi"].values[:, 1:-1] + held["psi"].values[:, 2:])
    found = instant.init(z[:, now], 4, history=held)
    expected = closure.init(z[:, now], 4, history=held.assign(psi=averaged).isel(lag=slice(-1)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_history_that_does_not_fit_is_refused(closure: Any, truth: xr.Dataset) -> None:
    if not closure.past_steps:
        return
    z, psi, _ = fed(closure, truth, 61)
    good = backwards(z, psi, 60, closure.past_steps)
    for bad, message in (
        (good.isel(lag=slice(-1)), r"^history\.sizes\['lag'\] = "),
        (good.drop_vars("psi"), r"^history = .* psi"),
        (good.isel(k=slice(3)), r"^history\.z\.shape = "),
        (good.isel(member=slice(2)), r"^history\.z\.shape = "),
        (good.assign_coords(lag=2.0 * good["lag"]), r"^history\['lag'\] = .* multiples of 0\.005"),
        (good.assign(z=good["z"].where(good["k"] != 2)), r"^history\.z\[0, 0, 2\] = nan"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            closure.init(z[:, 60], 4, history=bad)
        assert "\n" not in str(caught.value)


class TestDrawn:
    @pytest.fixture(scope="module")
    @staticmethod
    def sees() -> Any:
        truth = MODEL.simulate(samples=2500, dt=1e-3, every=5, spinup=3.0, subgrid="step")
        runs = xr.concat(
            [truth.isel(time=slice(1200)), truth.isel(time=slice(1200, 2400)).assign_coords(time=truth["time"][:1200])],
            "member",
        )
        return runs, CLOSURES["polynomial"].fit(runs, **CASES["polynomial"][1])

    @pytest.mark.parametrize("turn", [0, 2])
    @pytest.mark.parametrize(("segment", "time"), [(0, 30), (0, 1199), (1, 30), (1, 700)])
    def test_that_of_a_training_state_is_its_own_as_often_as_any_of_the_nearest(
        self, sees: Any, segment: int, time: int, turn: int
    ) -> None:
        """Of a turned state too; from the first time of a segment that has a past."""
        runs, closure = sees
        series, members = np.roll(runs["z"].values[segment], turn, axis=1), 2000
        history = closure.init(np.tile(series[time], (members, 1)), 5).history[:, :, 0]
        own = series[time - 1 : time - 31 if time > 30 else None : -1]
        error = np.abs(history - own).max(axis=(1, 2)) / series.std()
        same, nearest = int((error < 1e-5).sum()), 20  # they are kept in single precision
        assert abs(same - members / nearest) < 4.5 * np.sqrt(members / nearest)
        assert np.sqrt(np.mean((history[:, -1] - own[-1]) ** 2)) < 0.5 * series.std()  # a lag of 30 steps

    def test_members_with_one_number_have_one_past_wherever_they_stand(self, sees: Any) -> None:
        runs, closure = sees
        z = runs["z"].values[0, 100:112]
        history = closure.init(z, 5, member=7).history
        order = np.random.default_rng(0).permutation(12)
        np.testing.assert_array_equal(closure.init(z[order], 5, member=7 + order).history, history[order])
        for n in (0, 5):
            np.testing.assert_array_equal(closure.init(z[n : n + 3], 5, member=7 + n).history, history[n : n + 3])
        same = closure.init(np.repeat(z[:1], 3, axis=0), 5, member=[3, 3, 4]).history
        np.testing.assert_array_equal(same[0], same[1])

    def test_it_comes_from_one_segment(self, sees: Any) -> None:
        """No past begins in one segment and ends in another: its first step is never a segment's first times."""
        _, closure = sees
        past = closure.past
        assert past.first.tolist() == [0, 1200]
        time, _ = past._nearest(past.fields[[0, 5, 1200, 1210]])
        assert (time % 1200 >= closure.features.longest).all()

    def test_a_file_draws_the_same(self, sees: Any, tmp_path: Any) -> None:
        runs, closure = sees
        closure.save(tmp_path / "closure.nc")
        z = runs["z"].values[1, :40]
        np.testing.assert_array_equal(load(tmp_path / "closure.nc").init(z, 1).history, closure.init(z, 1).history)


class TestProbability:
    @pytest.mark.parametrize("case", DRIVEN)
    def test_it_is_that_of_the_noise_which_made_a_run(self, truth: xr.Dataset, case: str) -> None:
        name, settings = CASES[case]
        closure = CLOSURES[name].fit(truth, **settings)
        z, psi, states = fed(closure, truth, 120, members=1)
        run = xr.Dataset({"z": (("time", "k"), z[0]), "psi": (("time", "k"), psi[0])}, {"time": DT * np.arange(120)})
        found = closure.probability(run)
        first = closure.features.longest
        assert found.dims == ("time", "k")
        assert np.isnan(found[:first]).all()
        if not closure.law.pattern.order:
            return
        noise = np.stack([state.memory[0, 0] for state in states[1:]])
        # a run begins with a past that was drawn, the record has its own from the longest lag on
        inside = (psi[0] > closure.bounds[0]) & (psi[0] < closure.bounds[1]) & (np.abs(noise) < 3.9)
        inside[:first] = False
        assert inside[first:].mean() > 0.8
        np.testing.assert_allclose(found.values[inside], ndtr(noise[inside]), rtol=0, atol=1e-6)
        turned = closure.probability(run.transpose())
        np.testing.assert_array_equal(turned.transpose("time", "k"), found)

    @pytest.mark.parametrize("case", ["fresh noise", "AR(1)"])
    def test_it_is_uniform_where_the_law_is_right(self, truth: xr.Dataset, case: str) -> None:
        """On draws with fresh noise, which are independent."""
        name, settings = CASES[case]
        closure = CLOSURES[name].fit(truth, **{**settings, "noise": Noise(0, None)})
        z, psi, _ = fed(closure, truth, 600, members=1)
        run = xr.Dataset({"z": (("time", "k"), z[0]), "psi": (("time", "k"), psi[0])}, {"time": DT * np.arange(600)})
        found = closure.probability(run).values[closure.features.longest :]
        inside = (psi[0] > closure.bounds[0]) & (psi[0] < closure.bounds[1])
        assert inside.mean() > 0.99
        assert stats.kstest(found.ravel(), "uniform").pvalue > 1e-4
        wrong = closure.probability(run.assign(psi=1.3 * run["psi"])).values[closure.features.longest :]
        assert stats.kstest(wrong.ravel(), "uniform").pvalue < 1e-4

    def test_segments_have_probabilities_of_their_own(self, truth: xr.Dataset) -> None:
        closure = CLOSURES["polynomial_ar1"].fit(truth)
        two = xr.concat(
            [truth.isel(time=slice(100)), truth.isel(time=slice(50, 150)).assign_coords(time=truth["time"][:100])],
            "member",
        )
        found = closure.probability(two)
        assert found.dims == ("segment", "time", "k")
        np.testing.assert_array_equal(found[0, 50:], found[1, :50])

    def test_data_that_do_not_fit_and_laws_without_one_are_refused(self, truth: xr.Dataset) -> None:
        closure = CLOSURES["schrodinger_bridge"].fit(truth, **CASES["quantiles of one site"][1])
        short = truth.isel(time=slice(200))
        for bad, message in (
            (short.isel(k=slice(4)), r"^dataset\.z\.shape = .* 5"),
            (xr.concat([short, short], "k"), r"^dataset\.z\.shape = .* 5"),
            (short.drop_vars("psi"), r"variable psi"),
            (short.assign(z=short["z"].assign_attrs(units="K")), r"^units of dataset = .*K"),
        ):
            with pytest.raises(ValueError, match=message) as caught:
                closure.probability(bad)
            assert "\n" not in str(caught.value)
        turned = short.isel(k=[2, 0, 1, 4, 3])
        np.testing.assert_array_equal(closure.probability(turned), closure.probability(short))
        chain = CLOSURES["schrodinger_bridge"].fit(truth, **CASES["chain"][1])
        with pytest.raises(ValueError, match=r"^law = 'ChainLaw' .* noise drives"):
            chain.probability(short)
