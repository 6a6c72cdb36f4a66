"""What is known of the past: the history of a record, what a closure takes from it, and the record replayed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import l96closure as lc
from l96closure import schemes
from l96closure.closures import Analog, Noise, Polynomial, PolynomialAR1, Quantiles, SchrodingerBridge, Trend

F64 = npt.NDArray[np.float64]
MODEL = lc.TwoScaleLorenz96(K=6, J=4)
STEP = 0.01
LAGS = lc.Fields(radius=1, lags=(2 * STEP, 5 * STEP))


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=2000, every=20, coarse_dt=STEP, rng=1)


FITS: dict[str, Any] = {
    "lags": partial(Polynomial.fit, fields=LAGS, trend=Trend(degree=3, order=1)),
    "noise": PolynomialAR1.fit,
    "lags and coloured noise": partial(
        SchrodingerBridge.fit, fields=LAGS, law=Quantiles(centres=2000), noise=Noise(order=4)
    ),
    "psi of two steps before": partial(
        SchrodingerBridge.fit,
        fields=lc.Fields(radius=1, lags=(2 * STEP,), previous=2),
        trend=Trend(1, 1, filtered=False),
        law=Quantiles(centres=2000),
    ),
    "analogs": Analog.fit,
}


@pytest.fixture(scope="module")
def fits(truth: xr.Dataset) -> dict[str, Any]:
    return {name: fit(truth) for name, fit in FITS.items()}


class TestOfARecord:
    @pytest.mark.parametrize("scheme", ["rk4", "euler"])
    def test_psi_takes_each_state_to_the_one_after_it(self, truth: xr.Dataset, scheme: str) -> None:
        past = lc.history(MODEL, truth.isel(time=slice(50)), scheme=scheme)
        assert past["z"].dims == past["psi"].dims == ("member", "lag", "k")
        np.testing.assert_allclose(past["lag"], STEP * np.arange(50), rtol=1e-12)
        z, psi = past["z"].values[0], past["psi"].values[0]
        np.testing.assert_array_equal(z, truth["z"].values[49::-1])
        assert np.isnan(psi[0]).all()
        reached = schemes.SCHEMES[scheme](MODEL.resolved_tendency, z[1:], psi[1:], STEP)
        np.testing.assert_allclose(reached, z[:-1], rtol=0, atol=1e-12)

    def test_is_the_psi_of_a_record_of_that_definition(self, truth: xr.Dataset) -> None:
        past = lc.history(MODEL, truth)
        np.testing.assert_allclose(past["psi"].values[0, 1:], truth["psi"].values[-2::-1], rtol=0, atol=1e-10)

    @pytest.mark.parametrize("of", FITS)
    def test_of_a_coarse_run_gives_back_the_psi_it_used(self, truth: xr.Dataset, fits: dict[str, Any], of: str) -> None:
        run = lc.integrate(MODEL, fits[of], truth["z"].values[:3], steps=60, rng=2)
        past = lc.history(MODEL, run)
        np.testing.assert_allclose(past["psi"].values[:, 1:], run["psi"].values[:, -2::-1], rtol=0, atol=1e-10)

    @pytest.mark.parametrize("every", [2, 3, 7])
    def test_of_a_finer_record_is_that_of_every_nth_time_back_from_now(self, truth: xr.Dataset, every: int) -> None:
        fine = lc.history(MODEL, truth.isel(time=slice(100)), dt=every * STEP)
        thinned = truth.isel(time=slice(99 % every, 100, every))
        coarse = lc.history(MODEL, thinned, dt=every * STEP)
        xr.testing.assert_identical(fine, coarse)
        assert fine.attrs["dt"] == every * STEP

    def test_members_are_each_for_themselves(self) -> None:
        record = MODEL.simulate(samples=20, every=20, coarse_dt=STEP, members=3)
        past = lc.history(MODEL, record)
        for member in range(3):
            alone = lc.history(MODEL, record.isel(member=member, drop=True))
            np.testing.assert_array_equal(past.isel(member=[member])["psi"], alone["psi"])
            np.testing.assert_array_equal(past.isel(member=[member])["z"], alone["z"])

    def test_dates_count_in_seconds(self, truth: xr.Dataset) -> None:
        """As they do in a fit: psi is in units of z per second."""
        days = 86_400.0

        def tendency(z: F64) -> F64:
            return MODEL.resolved_tendency(z) * (STEP / days)

        record = truth.isel(time=slice(30))
        dates = record.assign_coords(time=np.datetime64("2001-01-01", "ns") + np.arange(30) * np.timedelta64(1, "D"))
        past, plain = lc.history(tendency, dates), lc.history(MODEL, record)
        np.testing.assert_allclose(past["lag"], days * np.arange(30))
        np.testing.assert_allclose(past["psi"][:, 1:] * (days / STEP), plain["psi"][:, 1:], rtol=0, atol=1e-9)

    def test_a_function_is_as_good_as_a_system(self, truth: xr.Dataset) -> None:
        record = truth.isel(time=slice(5))
        xr.testing.assert_identical(lc.history(MODEL, record), lc.history(MODEL.resolved_tendency, record))

    @pytest.mark.parametrize(
        ("changed", "more", "message"),
        [
            (lambda truth: truth.drop_vars("z"), {}, r"^record = .* a Dataset with z \(time, k\)"),
            (lambda truth: truth.rename(k="x"), {}, r"^record = .* a Dataset with z \(time, k\)"),
            (lambda truth: truth.where(truth["k"] != 1), {}, r"^record\['z'\]\[0, 1\] = nan .* finite"),
            (lambda truth: truth.drop_vars("time"), {}, r"^record\.sizes\['time'\] = .* a time coordinate"),
            (lambda truth: truth.isel(time=[0]), {}, r"^record\.sizes\['time'\] = 1 .* two times or more"),
            (lambda truth: truth.assign_coords(time=truth["time"] ** 2), {}, r"^record\['time'\]\[\d+\] = .*"),
            (lambda truth: truth["z"], {}, r"^record = .* Dataset"),
            (lambda truth: truth, {"dt": 0.015}, r"^dt = 0\.015 .* a multiple of the record's time step = 0\.01"),
            (lambda truth: truth, {"dt": 0.0}, r"^dt = 0\.0 .* > 0"),
            (lambda truth: truth, {"scheme": "heun"}, r"^scheme = 'heun' .* euler, rk4"),
            (lambda truth: truth, {"model": 8.0}, r"^model = 8\.0 .* an object with resolved_tendency"),
            (lambda truth: truth, {"model": lc.TwoScaleLorenz96(K=7)}, r"^z\.shape = .* \(\.\.\., 7\)"),
        ],
    )
    def test_bad_arguments(self, truth: xr.Dataset, changed: Any, more: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            lc.history(**{"model": MODEL, "record": changed(truth.isel(time=slice(20))), **more})
        assert "\n" not in str(caught.value)


class TestStart:
    """A closure that starts from the history of a coarse run is where it was in that run."""

    def test_without_noise_the_run_goes_on_bit_for_bit(self, truth: xr.Dataset, fits: dict[str, Any]) -> None:
        closure = fits["lags"]
        whole = lc.integrate(MODEL, closure, truth["z"].values[:3], steps=60)
        past = lc.history(MODEL, whole.isel(time=slice(31)))
        assert closure.past_steps == 5
        again = lc.integrate(MODEL, closure, past, steps=30)
        np.testing.assert_array_equal(again["z"], whole["z"].values[:, 30:])
        np.testing.assert_array_equal(again["psi"], whole["psi"].values[:, 30:])

    @pytest.mark.parametrize("of", FITS)
    def test_it_remembers_what_it_remembered(self, truth: xr.Dataset, fits: dict[str, Any], of: str) -> None:
        closure, z = fits[of], truth["z"].values[:4]
        state, zs = closure.init(z, 3), []
        for _ in range(40):
            zs.append(z)
            psi, state = closure.step(z, state)
            z = schemes.rk4(MODEL.resolved_tendency, z, psi, STEP)
        record = xr.Dataset(
            {"z": (("member", "time", "k"), np.stack([*zs, z], axis=1))}, coords={"time": STEP * np.arange(41)}
        )
        past = lc.history(MODEL, record, closure.dt)
        assert closure.past_steps <= 40
        found = closure.init(z, 3, history=past.isel(lag=slice(closure.past_steps + 1)))
        of_psi = 1e-10 if closure.fields.before else 0.0  # which is found from z
        np.testing.assert_allclose(found.history, state.history, rtol=0, atol=of_psi)
        assert (found.step, found.memory.shape) == (0, state.memory.shape)
        # Noise that asks for a psi beyond the training data is not seen from psi; all other is.
        if state.memory.size:
            off = np.abs(found.memory - state.memory) / np.abs(state.memory).max()
            assert (off < 1e-6).mean() > 0.9

    @pytest.mark.parametrize("of", FITS)
    def test_what_comes_before_what_it_needs_does_not_matter(
        self, truth: xr.Dataset, fits: dict[str, Any], of: str
    ) -> None:
        closure = fits[of]
        past = lc.history(MODEL, truth.isel(time=slice(100)), closure.dt)
        for lags in (closure.past_steps + 1, 50):
            run = lc.integrate(MODEL, closure, past.isel(lag=slice(lags)), steps=5, rng=1)
            xr.testing.assert_identical(run, lc.integrate(MODEL, closure, past, steps=5, rng=1))

    def test_a_closure_that_needs_no_past_starts_from_the_last_state(self, truth: xr.Dataset) -> None:
        closure = lc.closures.NoClosure.fit(truth)
        past = lc.history(MODEL, truth.isel(time=slice(100)))
        run = lc.integrate(MODEL, closure, past, steps=5)
        xr.testing.assert_identical(run, lc.integrate(MODEL, closure, truth["z"].values[99:100], steps=5))

    @pytest.mark.parametrize("of", FITS)
    @pytest.mark.parametrize("some", [[2, 0], [3], [4, 3, 2, 1, 0]])
    def test_members_do_not_depend_on_each_other(
        self, truth: xr.Dataset, fits: dict[str, Any], of: str, some: list[int]
    ) -> None:
        """With a known past, or with one that each draws by its number."""
        closure, z = fits[of], truth["z"].values[100:600:100]
        windows = [truth.isel(time=slice(end - 30, end + 1)).drop_vars("time") for end in range(100, 600, 100)]
        record = xr.concat(windows, "member").assign_coords(time=STEP * np.arange(31))
        for start in (z, lc.history(MODEL, record, closure.dt)):
            part = start.isel(member=some) if isinstance(start, xr.Dataset) else start[some]
            whole = lc.integrate(MODEL, closure, start, steps=5, rng=4)
            batch = lc.integrate(MODEL, closure, part, steps=5, rng=4, member=np.array(some))
            np.testing.assert_array_equal(batch["z"], whole["z"][some])

    @pytest.mark.parametrize("parts", [2, 3, 7, 400])
    def test_a_drawn_past_has_the_same_bits_in_every_batch(self, parts: int) -> None:
        model = lc.TwoScaleLorenz96()
        record = model.simulate(samples=1500, rng=1)
        fields = lc.Fields(radius=1, lags=(0.05, 0.1))
        closure, z = Polynomial.fit(record, fields, Trend(degree=2, order=1)), record["z"].values[::3][:400] + 0.3
        whole = closure.init(z, 3).history
        for some in np.array_split(np.arange(400), parts):
            np.testing.assert_array_equal(closure.init(z[some], 3, member=some).history, whole[some])

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            (lambda past: past.isel(lag=slice(5)), r"^history\.sizes\['lag'\] = 5 .* at least 10"),
            (lambda past: past.isel(lag=slice(None, None, 2)), r"^history\['lag'\] = .* multiples of 0\.01, the clos"),
            (lambda past: past.isel(lag=slice(1, None)), r"^history\['lag'\] = .* multiples of 0\.01"),
            (lambda past: past.assign_coords(lag=past["lag"] + 0.5 * STEP), r"^history\['lag'\] = .* multiples of"),
            (lambda past: past.rename(lag="before"), r"^history = .* lag"),
            (lambda past: past.drop_vars("psi"), r"^history = .* psi \(member, lag, sites\)"),
            (lambda past: past.isel(member=0), r"^history = .*\(member, lag, sites\)"),
            (lambda past: past.isel(member=[0, 0]), r"^history\.z\.shape = \(2, 10, 6\) .* \(1, 10, 6\)"),
            (lambda past: past.where(past["lag"] < 0.085), r"^history\.z\[0, 9, 0\] = nan .* finite"),
            (lambda past: past["z"], r"^history = .* Dataset"),
        ],
    )
    def test_bad_histories(self, truth: xr.Dataset, fits: dict[str, Any], changed: Any, message: str) -> None:
        closure = fits["lags and coloured noise"]
        past = lc.history(MODEL, truth.isel(time=slice(20)), closure.dt)
        with pytest.raises(ValueError, match=message) as caught:
            closure.init(truth["z"].values[19:20], 0, history=changed(past))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            (lambda past: past.rename(lag="before"), r"^dataset\.z\.dims = .*'before'.* it must be \('member', 'k'\)"),
            (lambda past: past.drop_vars("z"), r"^z0 = .* a Dataset with z \(member, lag, k\)"),
            (lambda past: past.isel(lag=slice(3)), r"^history\.sizes\['lag'\] = 3 .* at least 10"),
        ],
    )
    def test_bad_starts_of_a_run(self, truth: xr.Dataset, fits: dict[str, Any], changed: Any, message: str) -> None:
        closure = fits["lags and coloured noise"]
        past = lc.history(MODEL, truth.isel(time=slice(20)), closure.dt)
        with pytest.raises(ValueError, match=message):
            lc.integrate(MODEL, closure, changed(past), steps=2)


class TestReplay:
    def test_psi_that_is_held_over_a_step_replays_the_record(self, truth: xr.Dataset) -> None:
        record = truth.isel(time=slice(100))
        replayed = lc.replay(MODEL, record)
        assert replayed["z"].dims == replayed["recorded"].dims == ("time", "k")
        np.testing.assert_array_equal(replayed["recorded"], record["z"])
        expected = np.sqrt(((replayed["z"] - record["z"]) ** 2).mean("k")) / record["z"].std()
        np.testing.assert_allclose(replayed["error"], expected, rtol=1e-9, atol=1e-16)
        assert replayed["error"][0] == 0.0
        assert replayed["error"].max() < 1e-10

    @pytest.mark.parametrize("of", FITS)
    def test_a_coarse_run_replays_itself(self, truth: xr.Dataset, fits: dict[str, Any], of: str) -> None:
        run = lc.integrate(MODEL, fits[of], truth["z"].values[:1], steps=50, rng=3)
        replayed = lc.replay(MODEL, run.isel(member=0), scheme="rk4")
        np.testing.assert_allclose(replayed["z"], run["z"][0], rtol=0, atol=1e-11)

    @pytest.mark.parametrize(("subgrid", "scheme"), [("coarse", "euler"), ("step", "rk4")])
    def test_the_scheme_is_that_of_the_definition(self, subgrid: str, scheme: str) -> None:
        record = MODEL.simulate(samples=100, every=20, coarse_dt=STEP, subgrid=subgrid, rng=2)
        assert lc.replay(MODEL, record)["error"].max() < 1e-10
        xr.testing.assert_identical(lc.replay(MODEL, record), lc.replay(MODEL, record, scheme))
        other = {"euler": "rk4", "rk4": "euler"}[scheme]
        assert lc.replay(MODEL, record, other)["error"].max() > 1e-2

    def test_another_definition_leaves_the_record_at_once(self) -> None:
        how: dict[str, Any] = {"samples": 50, "every": 20, "coarse_dt": STEP, "rng": 2}
        step, instant = (lc.replay(MODEL, MODEL.simulate(subgrid=one, **how)) for one in ("step", "coupling"))
        assert instant["error"][5] > 1e6 * step["error"][5]

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            (lambda truth: truth.drop_vars("psi"), r"^record = .* a Dataset with psi \(time, k\)"),
            (lambda truth: truth.expand_dims("member"), r"^record = .* a Dataset with z \(time, k\)"),
            (lambda truth: truth.drop_vars("time"), r"^record\.sizes\['time'\] = .* a time coordinate"),
        ],
    )
    def test_bad_records(self, truth: xr.Dataset, changed: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            lc.replay(MODEL, changed(truth.isel(time=slice(20))))
        with pytest.raises(ValueError, match=r"^scheme = 'heun' .* euler, rk4"):
            lc.replay(MODEL, truth, "heun")
