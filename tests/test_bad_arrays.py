"""Broken arrays and datasets handed to the functions: each is refused in one line that names it, before any harm."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import l96closure as lc
from l96closure import training
from l96closure.closures import stepping

F64 = npt.NDArray[np.float64]
K = 6
MODEL = lc.TwoScaleLorenz96(K=K, J=4)


LEADS = [0.0, 0.05, 0.1]


def tendency(z: F64) -> F64:
    return MODEL.resolved_tendency(z)


FEW: dict[str, Any] = {"law": lc.closures.Quantiles(centres=200), "trend": lc.closures.Trend(3, 1)}
HERE = lc.Fields(radius=0, lags=())
SEEN = lc.Fields(radius=1, lags=(5e-3, 15e-3))
FITS: dict[str, Callable[..., Any]] = {
    "polynomial": lc.closures.Polynomial.fit,
    "polynomial_ar1": lc.closures.PolynomialAR1.fit,
    "analog": lc.closures.Analog.fit,
    "schrodinger_bridge": partial(lc.closures.SchrodingerBridge.fit, fields=HERE, **FEW),
    "all that is seen": partial(lc.closures.SchrodingerBridge.fit, fields=SEEN, noise=lc.closures.Noise(2), **FEW),
}


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
    truth = MODEL.simulate(samples=400, dt=1e-3, every=5, spinup=1.0, subgrid="coupling")
    polynomial = lc.closures.Polynomial.fit(truth)
    learned = FITS["schrodinger_bridge"](truth)
    remembering = FITS["all that is seen"](truth)
    past = lc.history(tendency, truth)
    run = lc.integrate(tendency, polynomial, truth["z"].values[:3], steps=200)
    ensemble = lc.forecast(tendency, polynomial, truth, starts=4, members=3, leads=LEADS)
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

    for closure, fit in FITS.items():
        for variable in ("z", "psi"):
            made[f"{variable} for {closure}"] = of(truth, variable, f"truth.{variable}", fit)
    dims, some = ("member", "lag", "k"), past.isel(lag=slice(remembering.past_steps + 1))
    started = partial(remembering.init, few[:1], 0)
    made["z of a history"] = of(some, "z", "history.z", lambda x: started(history=x))
    made["psi of a history"] = Case(
        "history.psi", some["psi"].values[:, 1:], lambda x: started(history=some.assign(psi=(dims, since_now(x))))
    )
    for variable in ("z", "psi"):
        made[f"{variable} judged"] = of(truth, variable, f"truth.{variable}", learned.probability)
        made[f"{variable} replayed"] = of(truth, variable, f"record['{variable}']", lambda x: lc.replay(tendency, x))
    made["z of a record"] = of(truth, "z", "record['z']", lambda x: lc.history(tendency, x))
    for variable in ("z", "psi"):
        made[f"{variable} of the truth"] = of(truth, variable, "truth", lambda x: lc.diagnose(x, run))
        made[f"{variable} of the run"] = of(run, variable, "coarse", lambda x: lc.diagnose(truth, x))
    made["start of forecasts"] = of(
        truth, "z", "reference", lambda x: lc.forecast(tendency, polynomial, x, starts=2, members=2, leads=LEADS)
    )
    made["forecasts"] = of(ensemble, "z", "forecast", lambda x: lc.verify(x, truth))
    made["observations"] = of(ensemble, "observation", "forecast", lambda x: lc.verify(x, truth))
    made["trajectories"] = of(process, "x", "x", lc.TemporalProcess.fit)
    return made


def of_process(process: xr.Dataset, initial: Any) -> xr.Dataset:
    return lc.TemporalProcess.fit(process).sample(2, 0, initial=initial)


def since_now(before: Any) -> Any:
    """Put a value of now, which need not be known, before those of a past (member, lag, K)."""
    return (np.ma if np.ma.isMaskedArray(before) else np).concatenate([before[:, :1], before], axis=1)


NAMES = [
    *("fit of a bridge", "choice of epsilon", "scale", "conditional mean", "effective samples", "chain"),
    *("condition of a chain", "replay score", "start of a run", "slow variables of the truth"),
    *("fast variables of the truth", "state of a process", "start of forecasts", "forecasts", "observations"),
    *("trajectories", "z of the truth", "psi of the truth", "z of the run", "psi of the run"),
    *(f"{v} {what}" for what in ("of a history", "judged", "replayed") for v in ("z", "psi")),
    "z of a record",
    *(f"{v} for {c}" for c in FITS for v in ("z", "psi")),
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
    truth = MODEL.simulate(samples=60, dt=1e-3, every=5, spinup=0.1, subgrid="fine")
    calls: list[Callable[[Any], Any]] = [
        *(closure.fit for name, closure in lc.closures.CLOSURES.items() if name != "none"),
        lambda x: lc.diagnose(x, truth),
        lambda x: lc.diagnose(truth, x),
        lambda x: lc.forecast(tendency, lc.closures.NoClosure(dt=5e-3), x),
        lambda x: lc.history(tendency, x),
        lambda x: lc.replay(tendency, x),
        FITS["polynomial_ar1"](truth, trend=lc.closures.Trend(1, 1)).probability,
        lambda x: lc.verify(x, truth),
        lc.TemporalProcess.fit,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^\w+ = .* is not allowed; it must be .*Dataset"):
            call(given)


@pytest.mark.parametrize("name", [name for name in lc.closures.CLOSURES if name != "none"])
def test_what_is_no_dataset_or_no_target_is_told_what_to_do(name: str) -> None:
    truth = MODEL.simulate(samples=60, dt=1e-3, every=5, spinup=0.1, subgrid="fine")
    fit = lc.closures.CLOSURES[name].fit
    for arrays in ((truth["z"].values, truth["psi"].values), (truth["z"], truth["psi"])):
        with pytest.raises(ValueError, match=r"^truth = .* must be an xarray Dataset; .* xr\.Dataset\("):
            fit(*arrays)


@pytest.mark.parametrize("field", ["predictors", "targets", "dim", "sample_dim"])
@pytest.mark.parametrize("given", [None, 3, ["a", "a"], [1], "", [""]])
def test_names_that_are_none(field: str, given: Any) -> None:
    if given in ("", [""]):  # a name like any other: it is found in no data
        lc.Fields(**{field: given})
        return
    with pytest.raises(ValueError, match=rf"^{field} = [^\n]+ a name or several different names$"):
        lc.Fields(**{field: given})


def no_lag(past: xr.Dataset) -> xr.Dataset:
    return past.drop_vars("lag")


HISTORIES: dict[str, tuple[Callable[[xr.Dataset], Any], str]] = {
    "None of the lags": (no_lag, r"^history = .* coordinate lag"),
    "too short": (lambda p: p.isel(lag=slice(3)), r"^history\.sizes\['lag'\] = 3 .* at least \d+: now"),
    "of another step": (lambda p: p.assign_coords(lag=2.0 * p["lag"]), r"^history\['lag'\] = .* multiples of 0\.005"),
    "that begins before now": (lambda p: p.isel(lag=slice(1, None)), r"^history\['lag'\] = .* 0 and the multiples"),
    "with a gap": (lambda p: p.isel(lag=[0, 1, 2, *range(4, 30)]), r"^history\['lag'\] = .* multiples"),
    "of too many members": (lambda p: p.isel(member=[0, 0, 0]), r"^history\.z\.shape = \(3, .* \(2, "),
    "of one member": (lambda p: p.isel(member=[0]), r"^history\.z\.shape = \(1, .* \(2, "),
    "of other sites": (lambda p: p.isel(k=slice(5)), r"^history\.z\.shape = .*, 5\) .*, 6\)"),
    "of other dims": (lambda p: p.rename(k="x"), r"^history = .* z \(member, lag, sites\)"),
    "without psi": (lambda p: p.drop_vars("psi"), r"^history = .* psi \(member, lag, sites\)"),
    "no Dataset": (lambda p: p["z"].values, r"^history = .* an xarray Dataset"),
}


@pytest.mark.parametrize("name", ["schrodinger_bridge", "all that is seen", "polynomial_ar1"])
@pytest.mark.parametrize("misfit", HISTORIES)
def test_a_history_that_does_not_fit(short: xr.Dataset, name: str, misfit: str) -> None:
    damage, message = HISTORIES[misfit]
    if name == "polynomial_ar1" and misfit in ("too short", "with a gap"):
        pytest.skip("three records are enough for noise of order one")
    closure, past = FITS[name](short), lc.history(tendency, short).isel(member=[0, 0])
    z = past["z"].values[:, 0]
    with pytest.raises(ValueError, match=message) as caught:
        closure.init(z, 0, history=damage(past))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["schrodinger_bridge", "all that is seen", "polynomial_ar1"])
def test_a_history_of_any_order_of_dims_is_the_same(short: xr.Dataset, name: str) -> None:
    closure, past = FITS[name](short), lc.history(tendency, short).isel(member=[0, 0])
    z = past["z"].values[:, 0]
    one, other = (closure.init(z, 0, history=h) for h in (past, past.transpose("k", "lag", "member")))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def dates(count: int, step: str, start: str = "2000-01-01") -> Any:
    return np.datetime64(start, "s") + np.arange(count) * np.timedelta64(*step.split()).astype("timedelta64[s]")


def of_cftime(count: int, days: float) -> Any:
    cftime = pytest.importorskip("cftime")
    return cftime.num2date(days * np.arange(count), "days since 0001-01-01", calendar="noleap")


TIMES: dict[str, tuple[Callable[[int], Any], float]] = {
    "integers": (lambda n: np.arange(n), 1.0),
    "doubles": (lambda n: 0.005 * np.arange(n), 0.005),
    "single precision": (lambda n: (0.005 * np.arange(n)).astype(np.float32), 0.005),
    "single precision, late": (lambda n: (900.0 + 0.01 * np.arange(n)).astype(np.float32), 0.01),
    "single precision once": (lambda n: (0.005 * np.arange(n)).astype(np.float32).astype(float), 0.005),
    "durations": (lambda n: np.arange(n) * np.timedelta64(6, "h").astype("timedelta64[s]"), 21600.0),
    "dates": (lambda n: dates(n, "6 h"), 21600.0),
    "dates over 700 years": (lambda n: dates(n, "1000 D", "1500-01-01"), 86_400_000.0),
    "dates of cftime": (lambda n: of_cftime(n, 0.25), 21600.0),
    "dates of cftime over 2,000 years": (lambda n: of_cftime(n, 3650.0), 315_360_000.0),
}
_NANOSECONDS = tuple(map(int, xr.__version__.split(".")[:3])) < (2025, 1, 2)  # these xarrays keep dates in nothing else
KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(_NANOSECONDS and "700" in kind, reason="xarray cannot hold such dates"))
    for kind in TIMES
]


@pytest.fixture(scope="module")
def short() -> xr.Dataset:
    return MODEL.simulate(samples=250, dt=1e-3, every=5, spinup=0.1, subgrid="fine")


@pytest.mark.parametrize("kind", KINDS)
def test_times_of_every_kind_have_their_step(short: xr.Dataset, kind: str) -> None:
    make, step = TIMES[kind]
    closure = lc.closures.PolynomialAR1.fit(short.assign_coords(time=("time", make(short.sizes["time"]))))
    assert closure.coarse_dt == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_part_a_record_whose_step_is_that_of_its_pieces(short: xr.Dataset, kind: str) -> None:
    make, step = TIMES[kind]
    time = make(short.sizes["time"] + 7)[np.r_[:100, 107:257]]
    record = training.read(short.assign_coords(time=("time", time)), lc.Fields(), ordered=True)
    assert record.steps.dt == pytest.approx(step, rel=1e-6)
    assert [len(one) for one in record.target] == [100, 150]
    assert np.array_equal(np.concatenate(record.target), short["psi"].values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("defect", "advice"),
    [
        ("repeated", r"later than the time before it, .*; drop repeated records"),
        ("again", r"later than the time before it, .* another run begins, .* \.isel\(time=slice\(100\)\)"),
    ],
)
def test_a_break_in_times_is_named_by_its_index(short: xr.Dataset, kind: str, defect: str, advice: str) -> None:
    time = TIMES[kind][0](short.sizes["time"] + 7)
    index = {
        "repeated": np.r_[:100, 99:249],
        "again": np.r_[:100, :150],
    }[defect]
    with pytest.raises(ValueError, match=rf"^truth\['time'\]\[100\] = .* it must be {advice}"):
        lc.closures.PolynomialAR1.fit(short.assign_coords(time=("time", time[index])))


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (np.r_[np.arange(7.0), np.nan, np.arange(8.0, 250.0)], r"\['time'\]\[7\] = nan .* finite"),
        (np.r_[np.arange(7.0), np.inf, np.arange(8.0, 250.0)], r"\['time'\]\[7\] = inf .* finite"),
        (np.arange(250.0)[::-1], r"\['time'\]\[1\] = 248\.0 .* increasing.*slice\(None, None, -1\)"),
        (np.arange(250.0) ** 2, r"\['time'\]\[\d+\] = .* uniform step"),
        (np.repeat(np.arange(50.0), 5), r"\['time'\]\[1\] = 0\.0 .* columns or runs were stacked .* unstack"),
        (np.arange(250) + 1j, r"\['time'\] = .* numbers"),
        (np.arange(250).astype(str), r"\['time'\] = .* numbers"),
        (np.r_[dates(9, "1 D"), np.datetime64("NaT"), dates(240, "1 D")], r"\['time'\]\[9\] = 'not a time'"),
        ((1e5 + 0.005 * np.arange(250)).astype(np.float32), r"\['time'\] = 'float32 with a step .* must be float64"),
    ],
    ids=["NaN", "infinite", "backwards", "uneven", "stacked", "complex", "texts", "NaT", "too near"],
)
def test_times_that_are_none(short: xr.Dataset, time: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^truth{message}[^\n]*$"):
        lc.closures.PolynomialAR1.fit(short.assign_coords(time=("time", time)))


def test_a_stack_of_time_and_column_is_named(short: xr.Dataset) -> None:
    several = xr.concat([short, short + 1.0], "column").rename(time="day").transpose("day", "column", "k")
    for fit in (lc.closures.SchrodingerBridge.fit, lc.closures.PolynomialAR1.fit, lc.closures.Analog.fit):
        with pytest.raises(ValueError, match=r"^truth\['time'\] = 'stack of day, column' .* unstack"):
            fit(several.stack(time=("day", "column")).transpose("time", "k"))


@pytest.mark.parametrize("max_lag", [np.timedelta64(2, "D"), timedelta(days=2), 172_800, 172_800.0])
def test_the_longest_lag_of_dates(short: xr.Dataset, max_lag: Any) -> None:
    dated = short.assign_coords(time=dates(250, "6 h"))
    lag = lc.diagnose(dated, dated.expand_dims("member"), max_lag=max_lag)["lag"]
    np.testing.assert_array_equal(lag, 21_600.0 * np.arange(9))


def test_a_longest_lag_below_one_step_or_without_dates(short: xr.Dataset) -> None:
    dated, run = short.assign_coords(time=dates(250, "6 h")), short.expand_dims("member")
    for max_lag in (5.0, timedelta(hours=1)):
        with pytest.raises(
            ValueError, match=r"^max_lag = .* at least the common time step of the runs, 21600 s; .* dates"
        ):
            lc.diagnose(dated, dated.expand_dims("member"), max_lag=max_lag)
    with pytest.raises(ValueError, match=r"^max_lag = .* at least the common time step of the runs, 0\.005$"):
        lc.diagnose(short, run, max_lag=0.001)
    with pytest.raises(ValueError, match=r"^max_lag = .* a number, in the unit of the truth's time"):
        lc.diagnose(short, run, max_lag=np.timedelta64(1, "s"))


CLOSURES: dict[str, Callable[[xr.Dataset], Any]] = {
    "none": lc.closures.NoClosure.fit,
    "polynomial": lc.closures.Polynomial.fit,
    "polynomial_ar1": lc.closures.PolynomialAR1.fit,
    "analog": lc.closures.Analog.fit,
    "analog without memory": partial(lc.closures.Analog.fit, memory=False),
    "polynomial, all that is seen": partial(lc.closures.Polynomial.fit, fields=SEEN),
    "bridge": FITS["schrodinger_bridge"],
    "bridge, all that is seen": FITS["all that is seen"],
    **{
        f"bridge, {name}": partial(
            lc.closures.SchrodingerBridge.fit, fields=HERE, trend=lc.closures.Trend(3, 1), law=law
        )
        for name, law in {
            "moments": lc.closures.Moments(centres=200),
            **{scheme: lc.closures.Chain(scheme, centres=200) for scheme in ("split", "euler", "sequential")},
        }.items()
    },
}


@pytest.fixture(scope="module", params=CLOSURES)
def closure(request: pytest.FixtureRequest, short: xr.Dataset) -> Any:
    return CLOSURES[request.param](short)


LIKE: dict[str, Callable[[F64], Any]] = {
    "big-endian": lambda x: x.astype(">f8"),
    "single precision": lambda x: x.astype(np.float32),
    "integers": lambda x: x.astype(np.int32),
    "in another order": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "a list": np.ndarray.tolist,
    "a DataArray": lambda x: xr.DataArray(x, dims=["member", "k", "i"][: x.ndim]),
    "masked nowhere": np.ma.masked_array,
}


@pytest.mark.parametrize("kind", LIKE)
def test_a_closure_takes_any_real_numbers(closure: Any, short: xr.Dataset, kind: str) -> None:
    z = np.round(short["z"].values[::80])  # numbers that every kind holds
    state = closure.init(z, 0)
    expected = closure.step(z, state)
    compiled = len(stepping.step.signatures)
    np.testing.assert_array_equal(closure.init(LIKE[kind](z), 0).memory, state.memory)
    exact = kind not in ("integers", "single precision") and state.memory.size > 0
    like = state._replace(memory=LIKE[kind](state.memory)) if exact else state
    psi, following = closure.step(LIKE[kind](z), like)
    for one, other in zip((psi, following.memory), (expected[0], expected[1].memory), strict=True):
        assert type(one) is np.ndarray
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)
    assert len(stepping.step.signatures) == compiled


@pytest.mark.parametrize("bad", ["None", "a text", "ragged", "complex", "texts", "objects", "masked", "of one member"])
def test_a_closure_refuses_in_one_line_what_is_none(closure: Any, short: xr.Dataset, bad: str) -> None:
    z = short["z"].values[:3]
    made = {**OF_VALUES, **OF_SHAPES, "of one member": OF_SHAPES["of fewer dimensions"]}[bad](
        z, np.random.default_rng(0)
    )
    state = closure.init(z, 0)
    for call in (lambda: closure.init(made, 0), lambda: closure.step(made, state)):
        with pytest.raises(ValueError, match=r"^z(\.shape)? = [^\n]+ is not allowed; it must be [^\n]+$"):
            call()


@pytest.mark.slow
def test_underflow_is_no_error(short: xr.Dataset) -> None:
    """Weights of far samples and damped waves vanish; a user may yet have asked NumPy to raise at everything."""
    z, samples = short["z"].values[:3], short["z"].values
    trajectories = xr.Dataset({"x": (("sample", "time"), samples[:60])})
    with np.errstate(all="raise"):
        for name, fit in CLOSURES.items():
            learned = fit(short)
            learned = type(learned).from_dataset(learned.to_dataset())
            run = lc.integrate(tendency, learned, z, 60, dt=5e-3)
            assert np.isfinite(run["z"]).all(), name
        forecasts = lc.forecast(tendency, learned, short, starts=2, members=2, leads=LEADS)
        lc.verify(forecasts, short)
        lc.diagnose(short, run, max_lag=0.1)
        for epsilon in (0.5, 1e-3, "auto"):
            fitted = lc.bridge.fit(samples, epsilon)
            for scheme in ("split", "euler", "sequential"):
                lc.bridge.sample(fitted, z, 3, 0, scheme)
            fitted.conditional_mean(5.0 * z), fitted.effective_samples(5.0 * z)
        lc.TemporalProcess.fit(trajectories).sample(2, 0)
        lc.KuramotoSivashinsky().simulate(samples=5)


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
        def step(self, z: F64, state: Any) -> tuple[Any, Any]:
            return gives(z), state

    arguments: Any = (gives, lc.closures.NoClosure()) if who == "tendency" else (tendency, Mine())
    with pytest.raises(ValueError, match=r"^(tendency\(z\)|psi of the closure).* is not allowed; it must be [^\n]+$"):
        lc.integrate(*arguments, np.ones((3, K)), 5, dt=5e-3)
