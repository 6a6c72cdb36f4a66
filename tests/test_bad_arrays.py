"""Broken arrays and datasets handed to the functions: each is refused in one line that names it, before any harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import l96closure as lc

F64 = npt.NDArray[np.float64]
K = 6
MODEL = lc.TwoScaleLorenz96(K=K, J=4)


def tendency(z: F64) -> F64:
    return lc.resolved_tendency(z, 20.0)


class Case(NamedTuple):
    """A call that takes an array, one that is good, and what an error must call it."""

    name: str
    good: F64
    call: Callable[[Any], Any]

    def __repr__(self) -> str:
        return self.name  # hypothesis would spell out the array


def somewhere(value: float) -> Callable[[F64, np.random.Generator], Any]:
    def put(good: F64, rng: np.random.Generator) -> F64:
        bad = good.copy()
        bad[tuple(rng.integers(size) for size in bad.shape)] = value
        return bad

    return put


def masked(good: F64, rng: np.random.Generator) -> Any:
    mask = np.zeros(good.shape, bool)
    mask[tuple(rng.integers(size) for size in good.shape)] = True
    return np.ma.masked_array(good, mask)


OF_VALUES: dict[str, Callable[[F64, np.random.Generator], Any]] = {
    "NaN": somewhere(np.nan),
    "infinite": somewhere(np.inf),
    "minus infinite": somewhere(-np.inf),
    "too large to be squared": somewhere(1e200),
    "masked": masked,
    "complex": lambda good, rng: good + 1j,
    "dates": lambda good, rng: np.full(good.shape, np.datetime64("2026-01-01", "ns")),
    "durations": lambda good, rng: np.full(good.shape, np.timedelta64(1, "ns")),
    "texts": lambda good, rng: good.astype(str),
    "objects": lambda good, rng: np.full(good.shape, None),
}
OF_SHAPES: dict[str, Callable[[F64, np.random.Generator], Any]] = {
    "None": lambda good, rng: None,
    "a text": lambda good, rng: "z",
    "a mapping": lambda good, rng: {"z": good},
    "ragged": lambda good, rng: [[1.0, 2.0], [3.0]],
    "a number": lambda good, rng: 1.0,
    "empty": lambda good, rng: good[:0],
    "of more dimensions": lambda good, rng: good[np.newaxis],
    "of fewer dimensions": lambda good, rng: good[0],
    "short": lambda good, rng: good[..., :-1],
    "long": lambda good, rng: np.repeat(good, 2, axis=-1),
}
OF_SEVERAL_SHAPES = {
    "fit of a bridge": {"short", "long"},
    "choice of epsilon": {"short", "long"},
    "scale": {"None", "a number", "of fewer dimensions"},
    "condition of a chain": {"a number", "of fewer dimensions"},
    "state of a process": {"None", "a number", "of fewer dimensions", "short", "long"},
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    truth = lc.simulate(MODEL, samples=400, dt=1e-3, every=5, spinup=1.0, subgrid="coupling")
    polynomial = lc.closures.Polynomial.fit(truth)
    learned = lc.closures.SchrodingerBridge.fit(truth)
    run = lc.integrate(tendency, polynomial, truth["z"].values[:3], steps=200)
    ensemble = lc.forecast(tendency, polynomial, truth, starts=4, members=3, lead=0.1, every=0.05)
    samples, few = truth["z"].values[::4], truth["z"].values[:3]
    bridge = lc.bridge.fit(samples, 0.5)
    process = xr.Dataset({"x": (("sample", "time"), truth["z"].values[:60])})
    made = {
        "fit of a bridge": Case("samples", samples, lambda x: lc.bridge.fit(x, 0.5)),
        "choice of epsilon": Case("samples", samples, lc.bridge.choose_epsilon),
        "scale": Case("scale", np.ones(K), lambda x: lc.bridge.fit(samples, 0.5, scale=x)),
        "conditional mean": Case("x", few, bridge.conditional_mean),
        "effective samples": Case("x", few, bridge.effective_samples),
        "chain": Case("initial", few, lambda x: lc.bridge.sample(bridge, x, 2, 0)),
        "condition of a chain": Case("given", few[:, 0], lambda x: lc.bridge.sample(bridge, few, 2, 0, given={0: x})),
        "replay score": Case("generated", few, lambda x: lc.bridge.replay_score(x, samples)),
        "start of a run": Case("z", few, lambda x: lc.integrate(tendency, learned, x, 3)),
        "slow variables of the truth": Case("z", few[0], lambda x: MODEL.tendency(x, np.ones((K, 4)))),
        "fast variables of the truth": Case("y", np.ones((K, 4)), lambda x: MODEL.step(few[0], x, 1e-3)),
        "state of a process": Case("initial", np.ones(1), lambda x: of_process(process, x)),
    }

    def of(whole: xr.Dataset, variable: str, name: str, call: Callable[[xr.Dataset], Any]) -> Case:
        def replaced(values: Any) -> Any:
            return call(whole.drop_vars(variable).assign({variable: (whole[variable].dims, values)}))

        return Case(name, whole[variable].values, replaced)

    for closure in ("polynomial", "polynomial_ar1", "analog", "schrodinger_bridge"):
        for variable in ("z", "psi"):
            fit = lc.closures.CLOSURES[closure].fit
            made[f"{variable} for {closure}"] = of(truth, variable, f"truth.{variable}", fit)
    for variable in ("z", "psi"):
        made[f"{variable} of the truth"] = of(truth, variable, "truth", lambda x: lc.diagnose(x, run))
        made[f"{variable} of the run"] = of(run, variable, "coarse", lambda x: lc.diagnose(truth, x))
    made["start of forecasts"] = of(
        truth, "z", "reference", lambda x: lc.forecast(tendency, polynomial, x, starts=2, members=2, lead=0.1)
    )
    made["forecasts"] = of(ensemble, "z", "forecast", lambda x: lc.verify(x, truth))
    made["observations"] = of(ensemble, "observation", "forecast", lambda x: lc.verify(x, truth))
    made["trajectories"] = of(process, "x", "x", lc.TemporalProcess.fit)
    return made


def of_process(process: xr.Dataset, initial: Any) -> xr.Dataset:
    return lc.TemporalProcess.fit(process).sample(2, 0, initial=initial)


NAMES = [
    *("fit of a bridge", "choice of epsilon", "scale", "conditional mean", "effective samples", "chain"),
    *("condition of a chain", "replay score", "start of a run", "slow variables of the truth"),
    *("fast variables of the truth", "state of a process", "start of forecasts", "forecasts", "observations"),
    *("trajectories", "z of the truth", "psi of the truth", "z of the run", "psi of the run"),
    *(f"{v} for {c}" for c in ("polynomial", "polynomial_ar1", "analog", "schrodinger_bridge") for v in ("z", "psi")),
]
ONCE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check_refused(case: Case, bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+ is not allowed; it must be [^\n]+$") as caught:
        case.call(bad)
    assert str(caught.value).startswith(case.name)


def test_every_case_is_listed(cases: dict[str, Case]) -> None:
    assert set(NAMES) == set(cases)
    for case in cases.values():
        case.call(case.good)


@pytest.mark.parametrize("name", NAMES)
@given(defect=st.sampled_from(sorted(OF_VALUES)), seed=st.integers(0, 2**32 - 1))
@ONCE
def test_values_that_are_no_numbers(cases: dict[str, Case], name: str, defect: str, seed: int) -> None:
    case = cases[name]
    check_refused(case, OF_VALUES[defect](case.good, np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("name", "defect"),
    [
        (name, defect)
        for name in NAMES[:12]
        for defect in OF_SHAPES
        if not (name in OF_SEVERAL_SHAPES and defect in OF_SEVERAL_SHAPES[name])
    ],
)
def test_shapes_that_do_not_fit(cases: dict[str, Case], name: str, defect: str) -> None:
    check_refused(cases[name], OF_SHAPES[defect](cases[name].good, np.random.default_rng(0)))


@pytest.mark.parametrize("given", [None, 1, "truth.nc", {}, np.zeros((3, 3)), xr.DataArray([1.0], dims="time")])
def test_what_is_no_dataset_is_named(given: Any) -> None:
    truth = lc.simulate(MODEL, samples=60, dt=1e-3, every=5, spinup=0.1)
    calls: list[Callable[[Any], Any]] = [
        *(closure.fit for name, closure in lc.closures.CLOSURES.items() if name != "none"),
        lambda x: lc.diagnose(x, truth),
        lambda x: lc.diagnose(truth, x),
        lambda x: lc.forecast(tendency, lc.closures.NoClosure(), x),
        lambda x: lc.verify(x, truth),
        lc.TemporalProcess.fit,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^\w+ = .* is not allowed; it must be .*Dataset"):
            call(given)


@pytest.mark.parametrize("defect", [np.nan, np.inf, "backwards", "uneven", "complex", "text"])
def test_times_that_are_none(defect: Any) -> None:
    truth = lc.simulate(MODEL, samples=60, dt=1e-3, every=5, spinup=0.1)
    time: Any = truth["time"].values.copy()
    if isinstance(defect, float):
        time[7] = defect
    else:
        time = {"backwards": time[::-1], "uneven": time**2, "complex": time + 1j, "text": time.astype(str)}[defect]
    with pytest.raises(ValueError, match=r"^truth\['time'\].* is not allowed; it must be [^\n]*$"):
        lc.closures.PolynomialAR1.fit(truth.assign_coords(time=("time", time)))


@pytest.mark.parametrize(
    "gives",
    [
        lambda z: z[:, 0],
        lambda z: z[0],
        lambda z: 0.0,
        lambda z: None,
        lambda z: z[np.newaxis],
        lambda z: z + 1j,
        lambda z: "tendency",
    ],
)
@pytest.mark.parametrize("who", ["tendency", "closure"])
def test_a_model_or_closure_that_gives_something_else(gives: Callable[[F64], Any], who: str) -> None:
    class Mine(lc.closures.NoClosure):
        def step(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[Any, F64]:
            return gives(z), state

    arguments: Any = (gives, lc.closures.NoClosure()) if who == "tendency" else (tendency, Mine())
    with pytest.raises(ValueError, match=r"^(tendency\(z\)|psi of the closure).* is not allowed; it must be [^\n]+$"):
        lc.integrate(*arguments, np.ones((3, K)), 5)
