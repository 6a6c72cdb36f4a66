"""Restart files belong to one computation by all that its result depends on; another never gets them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from mortal import Killed, MortalRestart

import l96closure as lc
from l96closure import bridge, coarse, fingerprint
from l96closure.closures import (
    Chain,
    Moments,
    NoClosure,
    Noise,
    Polynomial,
    PolynomialAR1,
    Quantiles,
    SchrodingerBridge,
    Trend,
)
from l96closure.restart import Restart
from l96closure.systems import KuramotoSivashinsky, TwoScaleLorenz96, kuramoto_sivashinsky, lorenz96

F64 = npt.NDArray[np.float64]
pytestmark = pytest.mark.filterwarnings("ignore::l96closure.SchemeWarning")
Arguments = dict[str, Any]
REFUSED = r"^.* belongs to another computation: other arguments, settings, data or versions; clear it to begin anew$"
NOT_OF_THE_RESULT = {"restart", "selection"}  # a selection judges closures that are kept nowhere


def made(seed: int, samples: int = 300) -> xr.Dataset:
    model = TwoScaleLorenz96(K=6, J=4)
    truth = model.simulate(samples, 1e-3, every=5, spinup=1.0, subgrid="coupling", rng=seed)
    rng = np.random.default_rng(seed)
    return truth.assign(w=truth["z"] + rng.standard_normal(truth["z"].shape), other=truth["psi"] ** 2)


TRUTH, OTHER = made(1), made(2)
LONG, OTHER_LONG = made(1, 500), made(2, 500)


def forced(z: F64, F: float) -> F64:
    return TwoScaleLorenz96(6, F=F).resolved_tendency(z)


def tendency(z: F64) -> F64:
    return forced(z, 20.0)


def of_a_variable(F: float) -> Callable[[F64], F64]:
    return lambda z: forced(z, F)


_Z0 = np.random.default_rng(0).normal(2.0, 3.0, (3, 6))
_COARSE: dict[str, list[Arguments]] = {
    "model": [
        *({"model": of_a_variable(20.5)}, {"model": partial(forced, F=19.0)}),
        *({"model": TwoScaleLorenz96(6, F=F)} for F in (19.0, 20.0)),
    ],
    "closure": [{"closure": Polynomial.fit(OTHER)}, {"closure": NoClosure()}],
    "dt": [{"dt": 4e-3}],
    "scheme": [{"scheme": "rk4"}],
    "rng": [{"rng": 4}, {"rng": np.random.default_rng(7)}],
}


NEAR = lc.Fields(radius=1, lags=())
_CHAINS: list[Arguments] = [
    *({}, {"scheme": "euler"}, {"steps": 2}, {"clamp": "state"}, {"noise_metric": "physical"}),
]

# What is called, with what, and each argument of it changed in one way or more
CALLS: dict[str, tuple[Callable[..., Any], Arguments, dict[str, list[Arguments]]]] = {
    "two-scale model": (
        TwoScaleLorenz96.simulate,
        {
            **{"self": TwoScaleLorenz96(K=5, J=3), "samples": 23, "dt": 1e-3, "every": 4, "spinup": 0.031},
            **{"subgrid": "coarse", "coarse_dt": 5e-3, "rng": 3, "members": 2},
        },
        {
            "self": [{"self": TwoScaleLorenz96(K=5, J=3, F=8.0)}, {"self": TwoScaleLorenz96(K=5, J=4)}],
            "samples": [{"samples": 24}],
            "dt": [{"dt": 5e-4}],
            "every": [{"every": 3}],
            "spinup": [{"spinup": 0.03}],
            "subgrid": [{"subgrid": "coupling"}, {"subgrid": "fine"}, {"subgrid": "step"}],
            "coarse_dt": [{"coarse_dt": 4e-3}],
            "rng": [{"rng": 4}, {"rng": np.random.default_rng(7)}],
            "members": [{"members": 1}, {"members": 3}, {"members": None}],
        },
    ),
    "Kuramoto-Sivashinsky": (
        KuramotoSivashinsky.simulate,
        {
            **{"self": KuramotoSivashinsky(20.0, 8, 8), "samples": 23, "dt": 0.1, "every": 3, "spinup": 0.5},
            **{"subgrid": "step", "coarse_dt": 0.2, "rng": 0, "members": None},
        },
        {
            "self": [{"self": KuramotoSivashinsky(21.0, 8, 8)}],
            "subgrid": [{"subgrid": "instant"}],
            "coarse_dt": [{"coarse_dt": 0.1}],
            "samples": [{"samples": 22}],
            "dt": [{"dt": 0.05}],
            "every": [{"every": 4}],
            "spinup": [{"spinup": 0.6}],
            "rng": [{"rng": 1}],
            "members": [{"members": 1}],
        },
    ),
    "coarse model": (
        lc.integrate,
        {
            **{"model": tendency, "closure": Polynomial.fit(TRUTH), "z0": _Z0, "steps": 20, "dt": 5e-3},
            **{"scheme": "euler", "save_every": 3, "rng": 5, "member": 0},
        },
        {
            **_COARSE,
            "z0": [{"z0": _Z0 + 1e-9}, {"z0": _Z0[:2]}],
            "member": [{"member": 1}, {"member": [1, 0, 2]}],
            "steps": [{"steps": 21}],
            "save_every": [{"save_every": 4}],
        },
    ),
    "forecasts": (
        lc.forecast,
        {
            **{"model": tendency, "closure": PolynomialAR1.fit(TRUTH), "reference": TRUTH, "starts": 3, "members": 2},
            **{"leads": [0.0, 0.02, 0.04], "past": True, "scheme": "euler", "rng": 3},
        },
        {
            **{name: changes for name, changes in _COARSE.items() if name != "dt"},
            "closure": [
                *_COARSE["closure"][:1],
                {"closure": NoClosure(dt=5e-3)},
                {"closure": Polynomial.fit(TRUTH, dt=1e-2)},
            ],
            "past": [{"past": False}],
            "reference": [{"reference": OTHER}, {"reference": TRUTH.isel(time=slice(1, None))}],
            "starts": [{"starts": 4}],
            "members": [{"members": 3}],
            "leads": [{"leads": [0.0, 0.02, 0.04, 0.06]}, {"leads": [0.0, 0.05, 0.1]}],
        },
    ),
    "mark": (
        lc.mark,
        {
            **{
                "model": TwoScaleLorenz96(K=6, J=4),
                "reference": LONG,
                "starts": 4,
                "members": 2,
                "leads": [0.0, 0.02, 0.04],
            },
            **{"spinup": 0.1, "most": None, "rng": 3, "dt": None},
        },
        {
            "model": [{"model": TwoScaleLorenz96(K=6, J=4, F=19.0)}, {"model": TwoScaleLorenz96(K=6, J=5)}],
            "reference": [{"reference": OTHER_LONG}, {"reference": LONG.isel(time=slice(1, None))}],
            "starts": [{"starts": 3}],
            "members": [{"members": 3}],
            "leads": [{"leads": [0.0, 0.02, 0.04, 0.06]}],
            "spinup": [{"spinup": 0.11}],
            "most": [{"most": 2}],
            "rng": [{"rng": 4}, {"rng": np.random.default_rng(7)}],
            "dt": [{"dt": 5e-4}],
        },
    ),
    "fit": (
        SchrodingerBridge.fit,
        {
            **{"truth": TRUTH, "fields": NEAR, "trend": Trend(3, 1, 0.0), "law": Moments(100, None)},
            **{"noise": Noise(0), "kernel": bridge.Kernel(epsilon=0.2), "dt": None, "rng": 0},
        },
        {
            "truth": [{"truth": OTHER}, {"truth": TRUTH.assign(psi=TRUTH["psi"] * 2.0)}],
            "fields": [
                {"fields": lc.Fields(radius=0, lags=())},
                {"fields": lc.Fields(radius=1, lags=(0.005,))},
                {"fields": lc.Fields("w", radius=1, lags=())},
                {"fields": lc.Fields(["z", "w"], radius=1, lags=())},
                {"fields": lc.Fields(targets="other", radius=1, lags=())},
                {"fields": lc.Fields(radius=1, lags=(), pool=()), "law": Moments(50, None)},
                {"fields": lc.Fields(radius=1, lags=(), periodic=False), "law": Moments(50, None)},
                {"fields": lc.Fields(lags=(), neighbourhoods=[[i, (i + 2) % 6] for i in range(6)])},
                {"fields": lc.Fields(radius=1, lags=(), conserve=True)},
                {"fields": lc.Fields(dim="x", radius=1, lags=()), "truth": TRUTH.rename(k="x")},
            ],
            "trend": [{"trend": Trend(2, 1, 0.0)}, {"trend": Trend(3, 2, 0.0)}, {"trend": None}],
            "law": [
                *({"law": Moments(90, None)}, {"law": Moments(100, 20)}, {"law": Quantiles(centres=100)}),
                *({"law": Chain(**how, centres=100), "noise": None} for how in _CHAINS),
            ],
            "noise": [{"noise": Noise(1)}, {"noise": Noise(1, None)}],
            "kernel": [
                *({"kernel": bridge.Kernel(epsilon=0.3)}, {"kernel": None}),
                *({"kernel": bridge.Kernel("kde", 0.2)}, {"kernel": bridge.Kernel(epsilon=0.2, rtol=1e-3)}),
            ],
            "dt": [{"dt": 0.01, "noise": Noise(1)}, {"dt": 0.01}],
            "rng": [{"rng": 1}, {"rng": np.random.default_rng(7)}],
        },
    ),
}
CHANGES = [(name, argument) for name, (_, _, changes) in CALLS.items() for argument in changes]


@pytest.fixture(autouse=True)
def short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lorenz96, kuramoto_sivashinsky):
        monkeypatch.setattr(module, "_STEPS_PER_CALL", 7)
    monkeypatch.setattr(coarse, "_MEMBER_STEPS_PER_CALL", 21)


def fresh(arguments: Arguments) -> Arguments:
    """Return the arguments with generators that have not drawn yet."""
    return {name: np.random.default_rng(7) if name == "rng" and not isinstance(value, int) else value
            for name, value in arguments.items()}  # fmt: skip


def result(name: str, arguments: Arguments, restart: Restart | None = None) -> xr.Dataset:
    found = CALLS[name][0](**fresh(arguments), restart=restart)
    return found if isinstance(found, xr.Dataset) else found.to_dataset()


@contextmanager
def raises_or_not(message: str) -> Iterator[list[ValueError]]:
    """Yield a list that holds the error if there is one, which must say so."""
    errors: list[ValueError] = []
    try:
        yield errors
    except ValueError as error:
        if not re.search(message, str(error)):
            raise
        errors.append(error)


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_tried(name: str) -> None:
    call, base, changes = CALLS[name]
    assert set(inspect.signature(call).parameters) - NOT_OF_THE_RESULT == set(base) == set(changes)


@pytest.mark.filterwarnings("ignore::l96closure.bridge.sinkhorn.SinkhornWarning")
@pytest.mark.parametrize(("name", "argument"), CHANGES)
def test_nothing_is_taken_from_a_call_with_another_argument(tmp_path: Path, name: str, argument: str) -> None:
    """It is refused; or the argument does not matter to what is kept, and the result is that without it."""
    _, base, changes = CALLS[name]
    with pytest.raises(Killed):
        result(name, base, MortalRestart(tmp_path / "run", 1))
    for change in changes[argument]:
        with raises_or_not(REFUSED) as refused:
            found = result(name, {**base, **change}, Restart(tmp_path / "run", 1e6, keep=True))
        if not refused:
            assert name == "fit"
            assert found.identical(result(name, {**base, **change}))
    kept = Restart(tmp_path / "run", 1e6, keep=True)
    assert result(name, base, kept).identical(result(name, base))


@pytest.mark.parametrize("name", CALLS)
def test_finished_parts_go_so_that_the_next_call_begins_anew(tmp_path: Path, name: str) -> None:
    _, base, changes = CALLS[name]
    restart = Restart(tmp_path / "run", 0.0)
    for change in [{}, {}, next(iter(changes.values()))[0]]:
        assert result(name, {**base, **change}, restart).identical(result(name, {**base, **change}))
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", CALLS)
def test_kept_parts_serve_the_same_call_alone(tmp_path: Path, name: str) -> None:
    _, base, changes = CALLS[name]
    whole = result(name, base)
    for _ in range(2):
        assert result(name, base, Restart(tmp_path / "run", 0.0, keep=True)).identical(whole)
    with pytest.raises(ValueError, match=REFUSED):
        result(name, {**base, **next(iter(changes.values()))[0]}, Restart(tmp_path / "run", 0.0, keep=True))
    Restart(tmp_path / "run").clear()
    assert not (tmp_path / "run").exists()


def test_the_user_can_tell_what_cannot_be_told(tmp_path: Path) -> None:
    base = CALLS["coarse model"][1]
    with pytest.raises(Killed):
        lc.integrate(**base, restart=MortalRestart(tmp_path, 1))
    with pytest.raises(ValueError, match=REFUSED):
        lc.integrate(**base, restart=Restart(tmp_path, identity="forcing.csv of May"))


@pytest.mark.parametrize("package", ["l96closure", "numba"])
def test_another_version_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    base = CALLS["two-scale model"][1]
    with pytest.raises(Killed):
        TwoScaleLorenz96.simulate(**base, restart=MortalRestart(tmp_path, 1))
    monkeypatch.setattr(fingerprint, "package_version", lambda name: "99" if name == package else "1")
    with pytest.raises(ValueError, match=REFUSED):
        TwoScaleLorenz96.simulate(**base, restart=Restart(tmp_path))
