"""The two-scale model against scalar loops, its invariants, its order, and what simulate records."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from mortal import Killed, MortalRestart
from oracles import order_of_convergence, resolved, rk4_step, tendency, trajectory
from scipy.integrate import solve_ivp

import l96closure as lc
from l96closure import TwoScaleLorenz96, schemes
from l96closure.systems import lorenz96, lorenz96_columns, lorenz96_core, lorenz96_held
from l96closure.systems.recording import Schedule

SIZES = [(12, 24), (8, 32), (4, 1), (5, 3), (7, 2), (4, 2)]


def random_model(K: int, J: int, rng: np.random.Generator) -> TwoScaleLorenz96:
    F, h = rng.uniform(-10.0, 25.0), rng.uniform(-2.0, 2.0)
    b, c = rng.uniform(0.5, 12.0, 2)
    return TwoScaleLorenz96(K, J, F, h, b, c)


def random_state(model: TwoScaleLorenz96, rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(3.0, 5.0, model.K), rng.normal(0.0, 1.0, (model.K, model.J))


class TestTendency:
    @pytest.mark.parametrize(("K", "J"), SIZES)
    def test_agrees_with_scalar_loops(self, K: int, J: int) -> None:
        rng = np.random.default_rng(K * J)
        for _ in range(5):
            model = random_model(K, J, rng)
            z, y = random_state(model, rng)
            for fast, slow in zip(model.tendency(z, y), tendency(model, z, y), strict=True):
                np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-13 * np.abs(slow).max())

    @pytest.mark.parametrize(("K", "J"), SIZES)
    def test_step_agrees_with_scalar_loops(self, K: int, J: int) -> None:
        rng = np.random.default_rng(K + J)
        model = random_model(K, J, rng)
        z, y = random_state(model, rng)
        fast, slow = model.step(z, y, 5e-4, steps=3), (z, y)
        for _ in range(3):
            slow = rk4_step(model, *slow, 5e-4)
        np.testing.assert_allclose(fast[0], slow[0], rtol=0, atol=1e-13 * np.abs(slow[0]).max())
        np.testing.assert_allclose(fast[1], slow[1], rtol=0, atol=1e-13 * np.abs(slow[1]).max())

    @pytest.mark.parametrize("leading", [(), (1,), (6,), (2, 3), (2, 1, 4)])
    @pytest.mark.parametrize("K", [4, 5, 12])
    def test_resolved_part_agrees_with_scalar_loops(self, leading: tuple[int, ...], K: int) -> None:
        z = np.random.default_rng(K).normal(3.0, 5.0, (*leading, K))
        expected = np.apply_along_axis(resolved, -1, z, 7.5)
        found = TwoScaleLorenz96(K, F=7.5).resolved_tendency(z)
        assert found.shape == z.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())

    def test_resolved_part_takes_a_view(self) -> None:
        z = np.random.default_rng(0).normal(size=(12, 5))
        resolved_tendency = TwoScaleLorenz96(12).resolved_tendency
        assert np.array_equal(resolved_tendency(z.T), resolved_tendency(z.T.copy()))

    @pytest.mark.parametrize(("K", "J"), SIZES)
    def test_advection_and_coupling_conserve_the_sum_of_squares(self, K: int, J: int) -> None:
        rng = np.random.default_rng(J)
        drawn = random_model(K, J, rng)
        model = TwoScaleLorenz96(K, J, 0.0, drawn.h, drawn.b, drawn.c)
        z, y = random_state(model, rng)
        dz, dy = model.tendency(z, y)
        terms = np.concatenate([z * (dz + z), (y * (dy + model.c * y)).ravel()])
        assert abs(terms.sum()) < 1e-13 * np.abs(terms).sum()

    @pytest.mark.parametrize(("K", "J"), SIZES)
    def test_commutes_with_a_shift_of_the_sites(self, K: int, J: int) -> None:
        rng = np.random.default_rng(1)
        model = random_model(K, J, rng)
        z, y = random_state(model, rng)
        dz, dy = model.tendency(z, y)
        for shift in range(1, K):
            shifted = model.tendency(np.roll(z, shift), np.roll(y, shift, axis=0))
            # Not bit for bit: a vectorised loop rounds its last elements differently from the others.
            np.testing.assert_allclose(shifted[0], np.roll(dz, shift), rtol=0, atol=1e-13 * np.abs(dz).max())
            np.testing.assert_allclose(shifted[1], np.roll(dy, shift, axis=0), rtol=0, atol=1e-13 * np.abs(dy).max())

    def test_fast_ring_without_coupling_commutes_with_any_shift(self) -> None:
        model = TwoScaleLorenz96(5, 3, h=0.0)
        z, y = random_state(model, np.random.default_rng(2))
        _, dy = model.tendency(z, y)
        for shift in range(1, 15):
            _, shifted = model.tendency(z, np.roll(y.ravel(), shift).reshape(5, 3))
            np.testing.assert_allclose(
                shifted.ravel(), np.roll(dy.ravel(), shift), rtol=0, atol=1e-13 * np.abs(dy).max()
            )

    def test_rk4_is_of_order_four(self) -> None:
        model = TwoScaleLorenz96(6, 4)
        z, y = model.step(*random_state(model, np.random.default_rng(3)), 5e-4, steps=4000)
        time = 0.1

        def rhs(_: float, x: Any) -> Any:
            dz, dy = model.tendency(x[:6], x[6:].reshape(6, 4))
            return np.concatenate([dz, dy.ravel()])

        exact = solve_ivp(rhs, (0.0, time), np.concatenate([z, y.ravel()]), method="DOP853", rtol=1e-13, atol=1e-13).y[
            :, -1
        ]

        def error(count: int) -> float:
            found = model.step(z, y, time / count, steps=count)
            return float(np.abs(np.concatenate([found[0], found[1].ravel()]) - exact).max())

        assert order_of_convergence(error, [40, 60, 80, 120, 160]) == pytest.approx(4.0, abs=0.15)


class TestSimulate:
    MODEL = TwoScaleLorenz96(5, 3)

    @pytest.mark.parametrize("K_J", [(12, 24), (4, 1), (5, 3)])
    @pytest.mark.parametrize("subgrid", ["fine", "coarse", "coupling", "step"])
    def test_agrees_with_scalar_loops(self, K_J: tuple[int, int], subgrid: str) -> None:
        model, dt, lead = TwoScaleLorenz96(*K_J), 5e-4, {"fine": 1, "coarse": 4, "coupling": 0, "step": 4}[subgrid]
        truth = model.simulate(samples=9, dt=dt, every=1, spinup=0.0, subgrid=subgrid, coarse_dt=4 * dt, rng=7)
        z, y = trajectory(model, 7, dt, 8 + lead)
        if subgrid == "coupling":
            psi = -(model.h * model.c / model.b) * y[:9].sum(axis=2)
        elif subgrid == "step":
            psi = schemes.held(model.resolved_tendency, z[:9], z[lead:], lead * dt)
        else:
            psi = (z[lead:] - z[:9]) / (lead * dt) - np.apply_along_axis(resolved, 1, z[:9], model.F)
        np.testing.assert_allclose(truth["z"], z[:9], rtol=0, atol=1e-12)
        np.testing.assert_allclose(truth["psi"], psi, rtol=0, atol=1e-9)  # z differences are divided by dt

    @pytest.mark.parametrize("K", [4, 9, 12])
    @pytest.mark.parametrize("dt", [5e-3, 4e-2])
    def test_psi_held_over_a_step_has_the_bits_of_the_plain_iteration(self, K: int, dt: float) -> None:
        """Of states near the truth and of others; each state takes as many iterations as it needs alone."""
        rng, model = np.random.default_rng(K), TwoScaleLorenz96(K)
        z = rng.normal(3.0, 5.0, (3, 35, K))
        following = z + dt * (model.resolved_tendency(z) + rng.normal(0.0, 1.0, (3, 35, 1)) ** 3)
        found = lorenz96_held.held(z, following, model.F, dt)
        np.testing.assert_array_equal(found, schemes.held(model.resolved_tendency, z, following, dt))
        np.testing.assert_array_equal(lorenz96_held.held(z[1, 7:8], following[1, 7:8], model.F, dt), found[1, 7:8])

    @pytest.mark.parametrize("spoilt", [np.nan, 1e3])
    def test_where_no_psi_is_found_it_says_so(self, spoilt: float) -> None:
        z = np.ones((20, 5))
        z[13, 2] = spoilt
        with pytest.raises(FloatingPointError, match=r"no subgrid tendency found .* dt = 0.05 is too long"):
            lorenz96_held.held(z, z + 0.1, 20.0, 0.05)

    def test_fine_is_the_difference_quotient_of_the_paper(self) -> None:
        truth = TwoScaleLorenz96().simulate(samples=500, spinup=2.0, every=1, subgrid="fine", rng=1)
        z, dt = truth["z"].values, truth.attrs["dt"]
        expected = (z[1:] - z[:-1]) / dt - np.apply_along_axis(resolved, 1, z[:-1], 20.0)
        np.testing.assert_allclose(truth["psi"].values[:-1], expected, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("members", [None, 2])
    @pytest.mark.parametrize("coarse_dt", [5e-4, 5e-3, 2e-2])
    def test_held_over_a_step_psi_takes_the_coarse_model_to_the_next_state(
        self, coarse_dt: float, members: int | None
    ) -> None:
        every = round(coarse_dt / 5e-4)
        truth = self.MODEL.simulate(samples=300, every=every, coarse_dt=coarse_dt, rng=3, members=members)
        assert truth.attrs["subgrid"] == "step"
        z, psi = truth["z"].values, truth["psi"].values
        reached = schemes.rk4(self.MODEL.resolved_tendency, z[..., :-1, :], psi[..., :-1, :], coarse_dt)
        rounding = 16 * np.spacing(np.abs(z).max()) + 1e-13 * coarse_dt * np.abs(psi).max()
        np.testing.assert_allclose(reached, z[..., 1:, :], rtol=0, atol=rounding)
        one = truth if members is None else truth.isel(member=0, drop=True)
        replayed = lc.replay(self.MODEL, one)
        # Rounding is all that there is to grow, by no more than e^5 a time unit.
        assert (replayed["error"] < 1e-14 * np.exp(5.0 * (truth["time"] + 1.0))).all()

    @pytest.mark.parametrize("every", [2, 3, 7, 10, 25])
    @pytest.mark.parametrize("subgrid", ["fine", "coarse", "coupling", "step"])
    def test_every_nth_sample_is_the_full_run_thinned(self, subgrid: str, every: int) -> None:
        arguments: dict[str, Any] = {"dt": 1e-3, "spinup": 0.5, "subgrid": subgrid, "coarse_dt": 5e-3, "rng": 2}
        full = self.MODEL.simulate(samples=20 * every, every=1, **arguments)
        thin = self.MODEL.simulate(samples=20, every=every, **arguments)
        for name in ("z", "psi"):
            assert np.array_equal(thin[name].values, full[name].values[::every])
        np.testing.assert_allclose(thin["time"], full["time"].values[::every], rtol=1e-14)

    @pytest.mark.parametrize("subgrid", ["fine", "coarse", "coupling", "step"])
    @pytest.mark.parametrize("steps_per_call", [1, 3, 17])
    def test_does_not_depend_on_how_the_run_is_cut(
        self, monkeypatch: pytest.MonkeyPatch, subgrid: str, steps_per_call: int
    ) -> None:
        arguments: dict[str, Any] = {"samples": 13, "dt": 1e-3, "every": 4, "spinup": 0.06, "subgrid": subgrid}
        whole = self.MODEL.simulate(**arguments)
        monkeypatch.setattr(lorenz96, "_STEPS_PER_CALL", steps_per_call)
        assert self.MODEL.simulate(**arguments).identical(whole)

    def test_same_seed_same_bits_other_seed_other_run(self) -> None:
        runs = [self.MODEL.simulate(samples=50, spinup=1.0, rng=seed) for seed in (3, 3, 4)]
        assert runs[0].identical(runs[1])
        assert not np.any(runs[0]["z"].values == runs[2]["z"].values)

    def test_spinup_is_integrated_and_dropped(self) -> None:
        arguments: dict[str, Any] = {"dt": 1e-3, "every": 1, "subgrid": "coupling", "rng": 5}
        whole = self.MODEL.simulate(samples=300, spinup=0.0, **arguments)
        late = self.MODEL.simulate(samples=100, spinup=0.2, **arguments)
        assert np.array_equal(late["z"].values, whole["z"].values[200:])
        assert np.array_equal(late["psi"].values, whole["psi"].values[200:])
        assert late["time"].values[0] == 0.0

    def test_says_what_it_did(self) -> None:
        truth = self.MODEL.simulate(samples=4, dt=1e-3, every=2, subgrid="coarse", coarse_dt=5e-3, rng=9)
        assert truth["z"].dims == truth["psi"].dims == ("time", "k")
        assert truth.sizes == {"time": 4, "k": 5}
        np.testing.assert_allclose(truth["time"], [0.0, 2e-3, 4e-3, 6e-3])
        expected = {
            "model_K": 5,
            "model_J": 3,
            "dt": 1e-3,
            "every": 2,
            "coarse_dt": 5e-3,
            "seed": 9,
            "subgrid": "coarse",
        }
        assert expected.items() <= truth.attrs.items()
        assert "coarse_dt" not in self.MODEL.simulate(samples=1, subgrid="fine").attrs

    @pytest.mark.parametrize("subgrid", ["coupling", "step"])
    @pytest.mark.parametrize("spinup", [0.0, 5.0])
    def test_an_unstable_run_names_the_time_and_the_step(self, spinup: float, subgrid: str) -> None:
        with pytest.raises(FloatingPointError, match=r"time -?[\d.e+-]+ .*dt = 0\.05") as caught:
            TwoScaleLorenz96().simulate(samples=1000, dt=0.05, spinup=spinup, subgrid=subgrid, coarse_dt=0.05)
        assert "\n" not in str(caught.value)

    def test_memory_holds_the_samples_alone(self) -> None:
        self.MODEL.simulate(samples=2, spinup=0.0)  # compiled before anything is measured
        tracemalloc.start()
        try:
            self.MODEL.simulate(samples=100, every=1000, spinup=5.0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        samples = 2 * 100 * 5 * 8
        every_step = 100_000 * 5 * 8
        assert samples < peak < 0.1 * every_step


RINGS = [(K, J) for K in (4, 5, 7, 12) for J in (1, 2, 3, 8, 24)]


def independent(model: TwoScaleLorenz96, members: int, **arguments: Any) -> tuple[Any, Any]:
    """z and psi (member, time, k) of runs one by one, each from its own stream."""
    runs = [model.simulate(**arguments, rng=stream) for stream in np.random.default_rng(6).spawn(members)]
    return tuple(np.array([run[name].values for run in runs]) for name in ("z", "psi"))


class TestMembers:
    """Each is a run of its own, whatever is computed beside it."""

    @pytest.mark.parametrize(("K", "J"), RINGS)
    def test_agree_with_scalar_loops(self, K: int, J: int) -> None:
        rng = np.random.default_rng(K * J)
        model = random_model(K, J, rng)
        truth = model.simulate(3, every=1, spinup=0.0, subgrid="coupling", rng=6, members=3)
        for member, stream in enumerate(np.random.default_rng(6).spawn(3)):
            z, y = trajectory(model, stream, 5e-4, 2)
            psi = -model.coupling * y.sum(axis=2)
            np.testing.assert_allclose(truth["z"][member], z, rtol=0, atol=1e-13 * np.abs(z).max())
            np.testing.assert_allclose(truth["psi"][member], psi, rtol=0, atol=1e-12 * np.abs(psi).max())

    @pytest.mark.parametrize(("K", "J"), RINGS)
    def test_have_the_bits_of_a_single_run(self, monkeypatch: pytest.MonkeyPatch, K: int, J: int) -> None:
        """However many there are, and however many share the columns."""
        model = random_model(K, J, np.random.default_rng(J))
        how: dict[str, Any] = {"samples": 4, "every": 7, "spinup": 0.02, "subgrid": "coupling"}
        z, psi = independent(model, 9, **how)
        for share in (None, 1, 2, 4, 8):
            if share is not None:
                monkeypatch.setattr(lorenz96_columns, "_sharing", lambda *_, share=share: share)
            for members in (1, 2, 3, 4, 5, 9):
                truth = model.simulate(**how, rng=6, members=members)
                assert np.array_equal(truth["z"], z[:members])
                assert np.array_equal(truth["psi"], psi[:members])

    @pytest.mark.parametrize("subgrid", ["fine", "coarse", "step"])
    @pytest.mark.parametrize("every", [1, 4])
    def test_have_the_records_of_a_single_run(self, subgrid: str, every: int) -> None:
        model = TwoScaleLorenz96(5, 3)
        how: dict[str, Any] = {"samples": 30, "every": every, "spinup": 0.03, "subgrid": subgrid}
        truth = model.simulate(**how, rng=6, members=3)
        assert truth["z"].dims == truth["psi"].dims == ("member", "time", "k")
        for name, expected in zip(("z", "psi"), independent(model, 3, **how), strict=True):
            assert np.array_equal(truth[name], expected)

    @pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
    def test_do_not_depend_on_threads(self) -> None:
        model, before, runs = TwoScaleLorenz96(7, 2), numba.get_num_threads(), []
        z, _ = random_state(model, np.random.default_rng(0))
        fast = np.random.default_rng(1).normal(size=(9, 7, 2))
        try:
            for threads in (1, 2):
                numba.set_num_threads(threads)
                truth = model.simulate(5, spinup=0.1, members=9)
                spun = model.spin_up(np.stack([z, z + 0.1]), 1e-2, members=9)
                runs.append((truth["z"], truth["psi"], model.trajectory(z, fast, 5e-4, 10, 3), spun))
        finally:
            numba.set_num_threads(before)
        assert all(np.array_equal(one, two) for one, two in zip(*runs, strict=True))

    @pytest.mark.parametrize("share", [1, 2, 4, 8])
    def test_go_on_whoever_shares_the_columns(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: int
    ) -> None:
        """As where an ensemble is taken up again with another number of threads; many samples are begun then."""
        model = TwoScaleLorenz96(5, 3)
        run = partial(model.simulate, 40, every=2, spinup=0.01, coarse_dt=1e-2, members=9)
        whole = run()
        monkeypatch.setattr(lorenz96, "_STEPS_PER_CALL", 9 * 11)
        with pytest.raises(Killed):
            run(restart=MortalRestart(tmp_path / "run", parts=4))
        monkeypatch.setattr(lorenz96_columns, "_sharing", lambda *_: share)
        assert run(restart=lc.Restart(tmp_path / "run", 0.0)).identical(whole)

    @pytest.mark.parametrize("share", [1, 2, 4, 8])
    def test_one_that_blows_up_stops_all_at_its_step(self, monkeypatch: pytest.MonkeyPatch, share: int) -> None:
        """The members beside it are untouched by it."""
        monkeypatch.setattr(lorenz96_columns, "_sharing", lambda *_: share)
        model, rng = TwoScaleLorenz96(7, 2), np.random.default_rng(3)
        z, fast = rng.normal(3.0, 5.0, 7), rng.normal(0.0, 1.0, (9, 7, 2))
        fast[4] *= 1e6
        scheme = lorenz96_core.Scheme.of(5e-4, model.F, model.h, model.b, model.c)
        alone, together = (
            lorenz96_core.Ensemble(scheme, np.tile(z, (len(y), 1)), scheme.unit * y) for y in (fast[4:5], fast)
        )
        steps = alone.advance(100)
        assert 1 < steps < 100
        assert together.advance(100) == steps
        assert np.isfinite(together.z).all(axis=1).tolist() == [member != 4 for member in range(9)]
        messages = []
        for y in (fast[4], fast):
            with pytest.raises(FloatingPointError) as caught:
                model.trajectory(z, y, 5e-4, 10, 11)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        assert f"at time {steps * 5e-4:.6g} " in messages[0]
        first = [member for member in range(9) if member // share == 4 // share and member != 4]
        for member in first:
            expected, _ = model.step(z, fast[member], 5e-4, steps)
            assert np.array_equal(together.z[member], expected)


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("lead", [0, 1, 7])
@pytest.mark.parametrize("spinup", [0, 3])
def test_a_schedule_counts_the_samples(every: int, lead: int, spinup: int) -> None:
    schedule = Schedule(4, every, lead, spinup)
    begins = spinup + every * np.arange(4)
    assert schedule.steps == begins[-1] + lead + 1
    for step in range(schedule.steps + 3):
        assert schedule.begun(step) == np.sum(begins < step)
        assert schedule.complete(step) == np.sum(begins + lead < step)


GOOD: dict[str, Any] = {"samples": 3, "dt": 1e-3, "spinup": 0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"K": 3}, r"^K = 3 .* >= 4"),
        ({"K": 4.0}, r"^K = 4\.0 .* integer"),
        ({"K": True}, r"^K = True .* integer"),
        ({"J": 0}, r"^J = 0 .* >= 1"),
        ({"F": np.nan}, r"^F = nan .* finite"),
        ({"F": np.inf}, r"^F = inf .* finite"),
        ({"F": "20"}, r"^F = '20' .* number"),
        ({"h": np.nan}, r"^h = nan .* finite"),
        ({"b": 0.0}, r"^b = 0\.0 .* > 0"),
        ({"c": -1.0}, r"^c = -1\.0 .* > 0"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TwoScaleLorenz96(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, r"^samples = 0 .* >= 1"),
        ({"samples": 2.0}, r"^samples = 2\.0 .* integer"),
        ({"dt": 0.0}, r"^dt = 0\.0 .* > 0"),
        ({"dt": -1e-3}, r"^dt = -0\.001 .* > 0"),
        ({"dt": np.nan}, r"^dt = nan .* > 0"),
        ({"every": 0}, r"^every = 0 .* >= 1"),
        ({"every": 1.5}, r"^every = 1\.5 .* integer"),
        ({"spinup": -1.0}, r"^spinup = -1\.0 .* >= 0"),
        ({"spinup": np.inf}, r"^spinup = inf .* finite"),
        ({"subgrid": "medium"}, r"^subgrid = 'medium' .* coarse, coupling, fine, step$"),
        *(
            ({"subgrid": subgrid, "coarse_dt": step}, rf"^coarse_dt = {step} .* {allowed}")
            for subgrid in ("coarse", "step")
            for step, allowed in ((2.5e-3, r"multiple of dt = 0\.001"), (4e-4, "multiple of dt"), (-1e-3, "> 0"))
        ),
        ({"rng": -1}, r"^rng = -1 .* >= 0"),
        ({"rng": 0.5}, r"^rng = 0\.5 .* integer"),
        ({"rng": True}, r"^rng = True .* integer"),
        ({"members": 0}, r"^members = 0 .* >= 1"),
        ({"members": 2.0}, r"^members = 2\.0 .* integer"),
    ],
)
def test_bad_arguments_of_simulate(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TwoScaleLorenz96(4, 1).simulate(**{**GOOD, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("z", "y", "message"),
    [
        (np.ones(4), np.ones((5, 3)), r"^z\.shape = \(4,\) .* \(5,\)"),
        (np.ones((1, 5)), np.ones((5, 3)), r"^z\.shape = \(1, 5\) .* 1-dimensional"),
        (np.ones(5), np.ones((3, 5)), r"^y\.shape = \(3, 5\) .* \(5, 3\)"),
        (np.ones(5), np.ones(15), r"^y\.shape = \(15,\) .* 2-dimensional"),
        (np.full(5, np.nan), np.ones((5, 3)), r"^z\[0\] = nan .* finite"),
        (np.ones(5), np.full((5, 3), np.inf), r"^y\[0, 0\] = inf .* finite"),
        (["a"] * 5, np.ones((5, 3)), r"^z = .* array of numbers"),
    ],
)
def test_bad_states(z: Any, y: Any, message: str) -> None:
    model = TwoScaleLorenz96(5, 3)
    for call in (lambda: model.tendency(z, y), lambda: model.step(z, y, 1e-3)):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("dt", "steps", "message"), [(0.0, 1, r"^dt = 0\.0 .* > 0"), (1e-3, 0, r"^steps = 0 .* >= 1")])
def test_bad_step(dt: float, steps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoScaleLorenz96(4, 1).step(np.ones(4), np.ones((4, 1)), dt, steps)


@pytest.mark.parametrize("shape", [(), (4,), (12, 6)])
def test_resolved_tendency_is_that_of_the_models_sites(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^z\.shape = .* \(\.\.\., 5\)"):
        TwoScaleLorenz96(5, 3).resolved_tendency(np.ones(shape))
