"""The calls that compose without arguments, systems as objects, and what a closure tells the coarse model."""

from __future__ import annotations

import doctest
import importlib
import runpy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from command_line import TINY, Call

import l96closure as lc
from l96closure import provenance, store, subgrid
from l96closure.closures import (
    CLOSURES,
    Chain,
    NoClosure,
    Noise,
    Polynomial,
    PolynomialAR1,
    Quantiles,
    SchrodingerBridge,
)
from l96closure.pairing import scheme_of

F64 = npt.NDArray[np.float64]
SYSTEMS: dict[str, Any] = {
    "two-scale Lorenz-96": lc.TwoScaleLorenz96(K=5, J=3),
    "Kuramoto-Sivashinsky": lc.KuramotoSivashinsky(L=20.0, K=16, J=4),
}
MODEL = SYSTEMS["two-scale Lorenz-96"]
FITTED = [name for name in CLOSURES if name != "none"]


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=1500, rng=1)


@pytest.fixture(scope="module")
def instant() -> xr.Dataset:
    """The same run with psi of one instant, for closures of any step."""
    return MODEL.simulate(samples=1500, subgrid="coupling", rng=1)


ONE_SITE = lc.Fields(radius=0, lags=())


@pytest.mark.slow
def test_what_a_user_writes_with_types_runs() -> None:
    """Its types are held by ``make lint``."""
    runpy.run_path(str(Path(__file__).with_name("typed_use.py")), run_name="__main__")


def fitted(name: str, data: xr.Dataset, **more: Any) -> Any:
    usual = {"law": Quantiles(centres=200)} if name == "schrodinger_bridge" else {}
    return CLOSURES[name].fit(data, **{"fields": ONE_SITE, **usual, **more})


def run(closure: Any, **more: Any) -> xr.Dataset:
    return lc.integrate(MODEL, closure, np.random.default_rng(0).normal(2.0, 3.0, (2, 5)), steps=5, **more)


class TestTheFirstProgram:
    """Simulate, fit, integrate, diagnose, forecast, verify compose with nothing added but how long they run."""

    @pytest.mark.parametrize("name", SYSTEMS)
    def test_composes(self, name: str) -> None:
        model = SYSTEMS[name]
        truth = model.simulate(samples=1500, rng=1)
        reference = model.simulate(samples=2600, rng=2)
        closure = SchrodingerBridge.fit(truth)
        coarse = lc.integrate(model, closure, truth["z"].values[:4], steps=600, rng=3)
        interval = float(truth["time"][1])
        assert closure.dt == coarse.attrs["dt"] == pytest.approx(interval)
        assert coarse.attrs["scheme"] == "rk4"
        scores = lc.diagnose(reference, coarse, max_lag=20 * interval)
        assert np.isfinite(scores["hellinger_joint"])
        forecasts = lc.forecast(model, closure, reference, starts=4, members=3)
        assert forecasts.sizes["lead"] == 41
        assert float(forecasts["lead"][1]) == pytest.approx(10 * interval)
        assert np.isfinite(lc.verify(forecasts, reference)["crps"]).all()
        assert (forecasts.attrs["past"] == "known") == (closure.past_steps <= 400)
        probability = closure.probability(reference)
        assert probability.dims == reference["z"].dims
        assert lc.replay(model, truth)["error"][1] < 1e-12

    def test_forecasts_share_times_with_a_reference_of_another_interval(self, truth: xr.Dataset) -> None:
        closure = Polynomial.fit(truth)  # for steps of 0.005
        for every, spacing in ((4, 0.05), (7, 0.07), (15, 0.06), (300, 0.15)):
            reference = MODEL.simulate(samples=round(165 * spacing / (every * 5e-4)), every=every)
            made = lc.forecast(MODEL, closure, reference, starts=2, members=2)
            assert float(made["lead"][1]) == pytest.approx(spacing)


@pytest.mark.parametrize("name", SYSTEMS)
class TestMembers:
    def test_are_independent_runs_of_one_truth(self, name: str) -> None:
        truth = SYSTEMS[name].simulate(samples=30, spinup=1.0, rng=5, members=3)
        assert truth["z"].dims == truth["psi"].dims == ("member", "time", "k")
        z = truth["z"].values
        assert not any(np.any(z[i] == z[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        alone = SYSTEMS[name].simulate(samples=30, spinup=1.0, rng=np.random.default_rng(5).spawn(3)[2])
        assert np.array_equal(z[2], alone["z"])
        assert alone["z"].dims == ("time", "k")

    def test_do_not_depend_on_how_many_there_are(self, name: str) -> None:
        few, many = (SYSTEMS[name].simulate(samples=30, spinup=1.0, rng=5, members=n) for n in (1, 4))
        xr.testing.assert_identical(few, many.isel(member=[0]))

    def test_a_seed_and_its_generator_are_the_same(self, name: str) -> None:
        for members in (None, 2):
            seed, generator = (
                SYSTEMS[name].simulate(samples=30, spinup=1.0, rng=rng, members=members)
                for rng in (3, np.random.default_rng(3))
            )
            xr.testing.assert_equal(seed, generator)
            assert seed.attrs["seed"] == 3
            assert "seed" not in generator.attrs


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_shown_by_what_makes_it(name: str) -> None:
    namespace = {"TwoScaleLorenz96": lc.TwoScaleLorenz96, "KuramotoSivashinsky": lc.KuramotoSivashinsky}
    assert eval(repr(SYSTEMS[name]), namespace) == SYSTEMS[name]
    assert len(repr(SYSTEMS[name])) < 100


class TestModelAndFunction:
    def test_are_the_same(self, truth: xr.Dataset) -> None:
        closure = PolynomialAR1.fit(truth)
        xr.testing.assert_identical(
            run(closure), lc.integrate(MODEL.resolved_tendency, closure, run(closure)["z"].values[:, 0], steps=5)
        )

    def test_any_object_with_a_resolved_tendency_will_do(self) -> None:
        class Mine:
            def resolved_tendency(self, z: F64) -> F64:
                return -z

        made = lc.integrate(Mine(), NoClosure(), np.ones((1, 5)), steps=3, dt=0.1)
        xr.testing.assert_identical(made, lc.integrate(np.negative, NoClosure(), np.ones((1, 5)), steps=3, dt=0.1))


class TestWhatAClosureTells:
    """The definition of psi and the step of its training data, through the file, to the coarse model."""

    @pytest.mark.parametrize("name", FITTED)
    @pytest.mark.parametrize("definition", subgrid.DEFINITIONS)
    def test_scheme_and_step_follow_from_it(
        self, name: str, definition: str, truth: xr.Dataset, tmp_path: Path
    ) -> None:
        closure = fitted(name, truth.isel(time=slice(400)).assign_attrs(subgrid=definition))
        lc.closures.save(closure, tmp_path / "closure.nc")
        for one in (closure, lc.closures.load(tmp_path / "closure.nc")):
            assert (one.subgrid, one.dt) == (definition, pytest.approx(5e-3))
            made = run(one)
            assert made.attrs["dt"] == pytest.approx(5e-3)
            assert made.attrs["scheme"] == subgrid.FITTING_SCHEME[definition] == scheme_of(one)

    @pytest.mark.parametrize("system", SYSTEMS)
    def test_a_system_says_how_psi_is_defined(self, system: str) -> None:
        for definition in ("step", "instant" if system == "Kuramoto-Sivashinsky" else "coupling"):
            data = SYSTEMS[system].simulate(samples=3, spinup=1.0, subgrid=definition)
            assert data.attrs["subgrid"] == subgrid.definition_of(data) == definition
            assert data.attrs["subgrid_definition"] == subgrid.DEFINITIONS[definition]
            assert ("coarse_dt" in data.attrs) == (definition in subgrid.HELD)

    @pytest.mark.parametrize("name", ["polynomial_ar1", "analog", "schrodinger_bridge"])
    def test_a_memory_has_a_step_of_its_own(self, name: str, instant: xr.Dataset) -> None:
        closure = fitted(name, instant, dt=0.01)
        assert closure.dt == closure.coarse_dt == run(closure).attrs["dt"] == 0.01
        with pytest.raises(ValueError, match=r"^dt = 0\.02 .* 0\.01, the coarse step the closure was fitted for"):
            run(closure, dt=0.02)

    @pytest.mark.parametrize(
        ("name", "more"),
        [
            ("polynomial", {}),
            ("polynomial_ar1", {"noise": Noise(order=0)}),
            ("analog", {"memory": False}),
            ("schrodinger_bridge", {"noise": Noise(order=0)}),
            ("schrodinger_bridge", {"law": Chain(centres=200)}),
        ],
    )
    def test_a_closure_without_memory_takes_any_step(self, name: str, more: Any, instant: xr.Dataset) -> None:
        closure = fitted(name, instant, dt=0.01, **more)
        assert (closure.dt, closure.coarse_dt) == (0.01, None)
        assert run(closure).attrs["dt"] == 0.01
        assert run(closure, dt=0.02).attrs["dt"] == 0.02

    @pytest.mark.parametrize("name", CLOSURES)
    @pytest.mark.parametrize("definition", subgrid.HELD)
    def test_psi_of_another_step_is_refused(self, name: str, definition: str, truth: xr.Dataset) -> None:
        data = truth.assign_attrs(subgrid=definition)
        with pytest.raises(ValueError, match=r"^dt = 0\.01 .* 0\.005, the coarse step over which psi is defined"):
            NoClosure.fit(data, dt=0.01) if name == "none" else fitted(name, data, dt=0.01)

    @pytest.mark.parametrize(
        "data",
        [
            lambda truth: truth.drop_vars("time"),
            lambda truth: truth.assign_coords(time=truth["time"] ** 2),
            lambda truth: truth.isel(time=slice(None, None, -1)),
        ],
    )
    def test_data_without_a_step_give_none(self, data: Any, truth: xr.Dataset) -> None:
        closure = Polynomial.fit(data(truth))
        assert closure.dt is None
        with pytest.raises(ValueError, match=r"^dt = None .* fitted for no step") as caught:
            run(closure)
        assert "\n" not in str(caught.value)
        run(closure, dt=5e-3)

    @pytest.mark.parametrize("named", ["Smagorinsky", 3, None])
    def test_data_with_a_definition_of_their_own_are_run_with_rk4(self, named: Any, truth: xr.Dataset) -> None:
        closure = Polynomial.fit(truth.assign_attrs(subgrid=named))
        assert closure.subgrid is None
        for scheme in ("rk4", "euler"):
            assert run(closure, scheme=scheme).attrs["scheme"] == scheme
        assert run(closure).attrs["scheme"] == "rk4"

    @pytest.mark.parametrize("scheme", ["euler", "rk4"])
    @pytest.mark.parametrize("definition", subgrid.DEFINITIONS)
    def test_a_scheme_that_does_not_fit_is_told(self, definition: str, scheme: str, truth: xr.Dataset) -> None:
        closure = Polynomial.fit(truth.assign_attrs(subgrid=definition))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run(closure, scheme=scheme)
        assert len(told) == (scheme != subgrid.FITTING_SCHEME[definition])
        for warning in told:
            assert warning.category is lc.SchemeWarning
            assert warning.filename == __file__
            assert f"subgrid = {definition!r}" in str(warning.message)
            assert "\n" not in str(warning.message)

    @pytest.mark.parametrize("name", FITTED)
    @pytest.mark.parametrize(
        "spoilt",
        [{"subgrid": "coarsest"}, {"subgrid": 1}, {"dt": -5e-3}, {"dt": np.nan}, {"dt": "0.005"}],
        ids=lambda one: str(*one.items()),
    )
    def test_nonsense_in_a_file_is_refused(self, name: str, spoilt: dict[str, Any], truth: xr.Dataset) -> None:
        data = fitted(name, truth).to_dataset()
        with pytest.raises(ValueError, match=rf"^{next(iter(spoilt))} = .* is not allowed"):
            CLOSURES[name].from_dataset(data.assign_attrs(spoilt))


def test_a_command_tells_once_what_does_not_fit(call: Call) -> None:
    run = [*TINY, "closure=polynomial", "stages=[simulate,fit,integrate,forecast]"]
    outcome = call(*run, "coarse.scheme=euler", "coarse.batches=2")
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("scheme = 'euler' does not fit") == 1
    assert "does not fit" not in call(*run).err


@pytest.mark.parametrize("name", CLOSURES)
def test_save_is_the_method_of_every_closure(name: str, truth: xr.Dataset, tmp_path: Path) -> None:
    closure = fitted(name, truth) if name != "none" else NoClosure()
    closure.save(tmp_path / "one.nc")
    lc.closures.save(closure, tmp_path / "two.nc")
    one, two = (store.read(tmp_path / f"{file}.nc", kind="closure") for file in ("one", "two"))
    xr.testing.assert_equal(one, two)
    assert one.attrs["title"] == two.attrs["title"] == closure.title


@pytest.mark.parametrize(
    "module",
    [
        "bridge.bandwidth",
        "bridge.conditional",
        "bridge.neighbourhoods",
        "bridge.quantiles",
        "bridge.sampler",
        "closures.composed",
        "closures.noise_fit",
        "closures.polynomial",
        "closures.schrodinger_bridge",
        "coarse",
        "compute",
        "diagnostics",
        "diagnostics.forecast",
        "fields",
        "forecasts",
        "histories",
        "noise",
        "progress",
        "restart",
        "schemes",
        "selection",
        "systems.kuramoto_sivashinsky",
        "systems.lorenz96",
        "temporal",
    ],
)
def test_the_examples_of_docstrings(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"l96closure.{module}"), extraglobs={"lc": lc})
    assert found.attempted
    assert not found.failed


def test_the_version_is_that_of_the_package() -> None:
    assert lc.__version__ == provenance.package_version()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lc.nothing  # noqa: B018
    assert (Path(lc.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", lc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(lc, name).__doc__
