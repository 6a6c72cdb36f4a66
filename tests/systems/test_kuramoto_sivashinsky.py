"""The Kuramoto-Sivashinsky equation: its known facts, the order of its integrator, and that psi closes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy
import xarray as xr
from command_line import Call

import l96closure as lc
from l96closure import schemes
from l96closure.systems import kuramoto_sivashinsky
from l96closure.systems.kuramoto_sivashinsky import KuramotoSivashinsky, etdrk4

F64 = npt.NDArray[np.float64]
MODEL = KuramotoSivashinsky(L=32.0, K=24, J=3)
COARSE = MODEL.resolved_tendency


def advance(u: F64, dt: float, steps: int, model: KuramotoSivashinsky = MODEL) -> F64:
    step, v = etdrk4(model.growth, model.advection, dt), scipy.fft.rfft(u)
    for _ in range(steps):
        v = step(v)
    return np.asarray(scipy.fft.irfft(v, u.shape[-1]))


@pytest.fixture(scope="module")
def states() -> F64:
    """Four states of the attractor (4, K J)."""
    u = 0.1 * np.random.default_rng(3).standard_normal((4, MODEL.K * MODEL.J))
    return advance(u - u.mean(axis=1, keepdims=True), 0.1, 1_500)


class TestTendency:
    @pytest.mark.parametrize("wave", [1, 3, 5])
    def test_of_a_sine_is_known(self, wave: int) -> None:
        x = MODEL.L * np.arange(MODEL.K * MODEL.J) / (MODEL.K * MODEL.J)
        q = 2 * np.pi * wave / MODEL.L
        expected = -0.5 * q * np.sin(2 * q * x) + (q**2 - q**4) * np.sin(q * x)
        np.testing.assert_allclose(MODEL.tendency(np.sin(q * x)), expected, rtol=0, atol=1e-11)

    def test_energy_comes_from_the_slope_and_goes_into_the_curvature(self, states: F64) -> None:
        slope, curvature = (scipy.fft.irfft((1j * MODEL.wavenumber) ** n * scipy.fft.rfft(states)) for n in (1, 2))
        gain = (states * MODEL.tendency(states)).mean(axis=1)
        np.testing.assert_allclose(gain, (slope**2 - curvature**2).mean(axis=1), rtol=0, atol=1e-9)

    @pytest.mark.parametrize("points", [(24, 3), (23, 3)])  # an even and an odd number
    def test_commutes_with_shifts_and_reflections(self, points: tuple[int, int]) -> None:
        model = KuramotoSivashinsky(30.0, *points)
        u = advance(np.random.default_rng(0).standard_normal(model.K * model.J), 0.1, 300, model)
        for function, symmetry in (
            (model.tendency, lambda x: np.roll(x, 7)),
            (model.tendency, lambda x: -x[..., ::-1]),
            (lambda x: advance(x, 0.1, 20, model), lambda x: np.roll(x, 7)),
            (lambda x: model.resolved_tendency(model.average(x)), lambda x: -x[..., ::-1]),
        ):
            np.testing.assert_allclose(function(symmetry(u)), symmetry(function(u)), rtol=0, atol=1e-9)
        z, psi = model.resolve(scipy.fft.rfft(u))
        for moved, still in zip(model.resolve(scipy.fft.rfft(np.roll(u, 2 * model.J))), (z, psi), strict=True):
            np.testing.assert_allclose(moved, np.roll(still, 2), rtol=0, atol=1e-10)

    def test_the_mean_is_conserved(self, states: F64) -> None:
        shifted = states + 0.3
        assert np.abs(advance(shifted, 0.1, 100).mean(axis=1) - 0.3).max() < 1e-12
        assert np.abs(MODEL.tendency(states).mean(axis=1)).max() < 1e-12
        z, psi = MODEL.resolve(scipy.fft.rfft(states))
        np.testing.assert_allclose(z.mean(axis=1), states.mean(axis=1), rtol=0, atol=1e-14)
        assert np.abs(psi.mean(axis=1)).max() < 1e-12


class TestCoarseTendency:
    def test_is_that_of_a_loop(self) -> None:
        z, width = np.random.default_rng(0).standard_normal(9), 12.0 / 9
        expected = np.empty(9)
        for k in range(9):
            far_before, before, here, after, far_after = (z[(k + i) % 9] for i in range(-2, 3))
            expected[k] = (
                -(after + here + before) * (after - before) / (6 * width)
                - (after - 2 * here + before) / width**2
                - (far_after - 4 * after + 6 * here - 4 * before + far_before) / width**4
            )
        np.testing.assert_allclose(KuramotoSivashinsky(12.0, 9).resolved_tendency(z), expected, rtol=0, atol=1e-12)

    def test_converges_to_the_equation(self) -> None:
        errors, sizes = [], np.array([100, 200, 400])
        for size in sizes:
            x = 2 * np.pi * np.arange(size) / size
            exact = -(np.sin(x) + 0.5) * np.cos(x)  # u = sin x + 1/2: the second and the fourth derivative cancel
            errors.append(
                np.abs(KuramotoSivashinsky(2 * np.pi, int(size)).resolved_tendency(np.sin(x) + 0.5) - exact).max()
            )
        assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(-2.0, abs=0.05)

    def test_advection_conserves_sum_and_energy(self) -> None:
        z = np.random.default_rng(1).standard_normal((3, 20))
        resolved_tendency = KuramotoSivashinsky(10.0, 20).resolved_tendency
        advection = 0.5 * (resolved_tendency(z) + resolved_tendency(-z))  # what is left is even in z
        assert np.abs(advection.sum(axis=1)).max() < 1e-12
        assert np.abs((z * advection).sum(axis=1)).max() < 1e-12
        assert np.abs(resolved_tendency(z).sum(axis=1)).max() < 1e-10


class TestIntegrator:
    def test_order_four(self) -> None:
        """With the waves of one point in a box: stiffer ones lower the order at any step that one would take."""
        model = KuramotoSivashinsky(L=32.0, K=24, J=1)
        u = 0.1 * np.random.default_rng(3).standard_normal((4, model.K))
        u = advance(u - u.mean(axis=1, keepdims=True), 0.1, 1_500, model)
        exact, steps = advance(u, 4.0 / 2048, 2048, model), np.array([128, 256, 512])
        errors = [np.abs(advance(u, 4.0 / n, n, model) - exact).max() for n in steps]
        assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-4.0, abs=0.15)

    def test_the_recommended_step_is_accurate(self, states: F64) -> None:
        assert np.abs(advance(states, 0.1, 40) - advance(states, 0.1 / 16, 640)).max() < 1e-5

    def test_small_waves_grow_at_their_rate_whatever_the_step(self) -> None:
        v = np.full(MODEL.growth.size, 1e-9 + 0j)
        v[0] = 0.0
        grown = etdrk4(MODEL.growth, MODEL.advection, 0.7)(v)
        np.testing.assert_allclose(grown[1:20], v[1:20] * np.exp(0.7 * MODEL.growth[1:20]), rtol=1e-6, atol=1e-15)

    def test_a_scalar_with_a_known_solution(self) -> None:
        """v' = -2 v + v^2 is v = 2 / (1 + (2 / v0 - 1) exp(2 t))."""
        v = np.array([1.0 + 0j])
        step = etdrk4(np.array([-2.0]), lambda v: v * v, 0.01)
        for _ in range(100):
            v = step(v)
        assert v[0] == pytest.approx(2.0 / (1.0 + np.exp(2.0)), rel=1e-8)


def follow(z: F64, psi: F64, h: float) -> F64:
    """Classical Runge-Kutta with psi at both ends of the step h and in the middle."""
    for start in range(0, len(psi) - 2, 2):
        a, b, c = psi[start : start + 3]
        k1 = COARSE(z) + a
        k2 = COARSE(z + 0.5 * h * k1) + b
        k3 = COARSE(z + 0.5 * h * k2) + b
        z = z + (h / 6) * (k1 + 2 * k2 + 2 * k3 + COARSE(z + h * k3) + c)
    return z


class TestPsiCloses:
    """The coarse model with the recorded psi follows the truth; without it, it does not."""

    @pytest.mark.parametrize("J", [1, 3])
    def test_to_the_accuracy_of_the_truth(self, J: int) -> None:
        model = KuramotoSivashinsky(MODEL.L, MODEL.K, J)
        truth = model.simulate(samples=257, dt=0.0125, every=1, spinup=100.0, subgrid="instant", rng=1)
        z, psi = truth["z"].values, truth["psi"].values
        errors = [np.abs(follow(z[0], psi[::n], 0.025 * n) - z[-1]).max() for n in (16, 8, 4)]
        assert errors[-1] < 2e-5
        assert np.abs(follow(z[0], 0.0 * psi, 0.025) - z[-1]).max() > 0.1
        if J == 1:  # with more points in a box the error is soon that of the truth's own steps
            assert np.polyfit(np.log([16, 8, 4]), np.log(errors), 1)[0] == pytest.approx(4.0, abs=0.3)

    @pytest.mark.parametrize("coarse_dt", [0.1, 0.2, 0.4])
    @pytest.mark.parametrize("members", [None, 2])
    def test_held_over_a_step_it_takes_the_coarse_model_to_the_next_state(
        self, coarse_dt: float, members: int | None
    ) -> None:
        how: dict[str, Any] = {"every": round(coarse_dt / 0.1), "spinup": 100.0, "rng": 1, "members": members}
        truth = MODEL.simulate(samples=100, coarse_dt=coarse_dt, **how)
        assert truth.attrs["subgrid"] == "step"
        z, psi = truth["z"].values, truth["psi"].values
        reached = schemes.rk4(COARSE, z[..., :-1, :], psi[..., :-1, :], coarse_dt)
        np.testing.assert_allclose(reached, z[..., 1:, :], rtol=0, atol=1e-12)
        assert np.abs(psi.mean(axis=-1)).max() < 1e-12
        one, instant = (
            run if members is None else run.isel(member=0, drop=True)
            for run in (truth, MODEL.simulate(samples=100, subgrid="instant", **how))
        )
        assert one["z"].equals(instant["z"])
        exact, off = (float(lc.replay(MODEL, run)["error"].max()) for run in (one, instant))
        assert exact < 1e-10
        assert off > 1e4 * exact


class TestSimulate:
    @pytest.mark.parametrize(("subgrid", "coarse_dt"), [("instant", 0.2), ("step", 0.1), ("step", 0.2), ("step", 0.7)])
    def test_records_are_those_of_the_run(self, subgrid: str, coarse_dt: float) -> None:
        arguments: dict[str, Any] = {"dt": 0.1, "spinup": 20.0, "rng": 4, "subgrid": subgrid, "coarse_dt": coarse_dt}
        often = MODEL.simulate(samples=41, every=1, **arguments)
        seldom = MODEL.simulate(samples=11, every=4, **arguments)
        xr.testing.assert_equal(seldom, often.isel(time=slice(None, None, 4)))
        late = MODEL.simulate(samples=1, every=1, **{**arguments, "spinup": 24.0})
        for name in ("z", "psi"):
            assert np.array_equal(late[name].values[0], often[name].values[-1])
        assert not np.array_equal(MODEL.simulate(samples=1, spinup=1.0, rng=5)["z"], late["z"])
        assert often.attrs["model_L"] == 32.0
        assert often.attrs["subgrid"] == subgrid
        assert ("coarse_dt" in often.attrs) == (subgrid == "step")

    @pytest.mark.parametrize("subgrid", ["instant", "step"])
    @pytest.mark.parametrize("steps_per_call", [1, 3, 17])
    def test_does_not_depend_on_how_the_run_is_cut(
        self, monkeypatch: pytest.MonkeyPatch, subgrid: str, steps_per_call: int
    ) -> None:
        arguments: dict[str, Any] = {"samples": 13, "every": 4, "spinup": 0.6, "subgrid": subgrid, "coarse_dt": 0.6}
        whole = MODEL.simulate(**arguments)
        monkeypatch.setattr(kuramoto_sivashinsky, "_STEPS_PER_CALL", steps_per_call)
        assert MODEL.simulate(**arguments).identical(whole)

    def test_a_blow_up_is_told(self) -> None:
        with pytest.raises(FloatingPointError, match=r"Kuramoto-Sivashinsky equation stopped .* dt = 5;"):
            KuramotoSivashinsky(L=200.0, K=200).simulate(samples=50, dt=5.0, spinup=5e4, subgrid="instant")

    def test_a_step_that_the_coarse_model_cannot_take_is_told(self) -> None:
        with pytest.raises(FloatingPointError, match=r"dt = 1 is too long for the scheme rk4$"):
            MODEL.simulate(samples=5, spinup=50.0, coarse_dt=1.0)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: KuramotoSivashinsky(L=0.0), r"^L = 0\.0 .* > 0"),
            (lambda: KuramotoSivashinsky(K=4), r"^K = 4 .* >= 5"),
            (lambda: KuramotoSivashinsky(J=0), r"^J = 0 .* >= 1"),
            (lambda: MODEL.tendency(np.ones(7)), r"^u\.shape = \(7,\) .* \(\.\.\., 72\)"),
            (lambda: MODEL.resolved_tendency(np.ones(4)), rf"^z\.shape = \(4,\) .* \(\.\.\., {MODEL.K}\)"),
            (lambda: MODEL.simulate(samples=0), r"^samples = 0 .* >= 1"),
            (lambda: MODEL.simulate(dt=0.0), r"^dt = 0\.0 .* > 0"),
            (lambda: MODEL.simulate(every=0), r"^every = 0 .* >= 1"),
            (lambda: MODEL.simulate(spinup=-1.0), r"^spinup = -1\.0 .* >= 0"),
            (lambda: MODEL.simulate(subgrid="fine"), r"^subgrid = 'fine' .* instant, step$"),
            (lambda: MODEL.simulate(coarse_dt=0.25), r"^coarse_dt = 0\.25 .* multiple of dt = 0\.1"),
            (lambda: MODEL.simulate(coarse_dt=0.0), r"^coarse_dt = 0\.0 .* > 0"),
        ],
    )
    def test_bad_arguments(self, call: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            call()


TINY = [
    "experiment=ks",
    "training.samples=600",
    "training.spinup=50",
    "reference.duration=200",
    "forecast.starts=5",
    "reference.spinup=50",
    "coarse.steps=100",
    "coarse.members=2",
    "diagnostics.max_lag=5",
]


class TestExperiment:
    @pytest.mark.slow
    @pytest.mark.pictures
    def test_runs_to_the_report(self, call: Call) -> None:
        outcome = call(*TINY, "closure.fields.radius=1", "closure.fields.lags=[]", "closure.law.centres=5000")
        assert outcome.status == 0, outcome.err
        assert (outcome.folder / "report.html").is_file()
        with xr.open_dataset(outcome.folder / "coarse.nc", decode_times=False) as coarse:
            assert coarse["z"].attrs["long_name"] == "box average of the solution"
        with xr.open_dataset(outcome.folder / "reference.nc", decode_times=False) as reference:
            assert reference.attrs["model_K"] == 48
            assert float(reference["time"][1]) == pytest.approx(0.2)

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("model.name=lorenz63", "model.name = 'lorenz63' is not allowed; it must be one of kuramoto_sivashinsky, "),
            ("+model.F=8", "model has no setting 'F'; it has L, K, J"),
            ("+training.J=3", "training has no setting 'J'; it has samples, dt, every, spinup, subgrid, coarse_dt"),
            ("training.subgrid=fine", "training.subgrid = 'fine' is not allowed; it must be one of instant, step"),
            ("coarse.dt=0.13", "coarse.dt = 0.13 is not allowed"),
        ],
    )
    def test_a_wrong_setting_ends_in_one_line(self, call: Call, override: str, message: str) -> None:
        outcome = call(*TINY, override)
        assert outcome.status == 2
        assert message in outcome.err.splitlines()[-1]
