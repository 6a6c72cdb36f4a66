"""Fingerprints: the same for the same content in any process, another for anything that a result depends on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
import xarray as xr

import l96closure as lc
from l96closure import schemes
from l96closure.fingerprint import fingerprint

FORCING = 20.0


@dataclass(frozen=True)
class Parameters:
    forcing: float


class Pair(NamedTuple):
    first: float
    second: float


class Model:
    """A tendency as users write them: an object with attributes, called or by its method."""

    def __init__(self, forcing: float) -> None:
        self.forcing = forcing
        self._lock = threading.Lock()

    @cached_property
    def doubled(self) -> float:
        return 2.0 * self.forcing

    def tendency(self, z: Any) -> Any:
        return self.forcing - z

    __call__ = tendency


class Slotted:
    __slots__ = ("forcing",)

    def __init__(self, forcing: float) -> None:
        self.forcing = forcing


def with_code(body: str) -> Callable[..., Any]:
    """Return the function of a body, in a module of its own."""
    space: dict[str, Any] = {"__name__": "mine", "FORCING": FORCING}
    exec(f"def helper(z):\n    return {body}\ndef tendency(z):\n    return helper(z)", space)
    return space["tendency"]  # type: ignore[no-any-return]


def with_global(value: float) -> Callable[..., Any]:
    function = with_code("FORCING - z")
    function.__globals__["FORCING"] = value
    return function


def class_with_code(body: str) -> Any:
    space: dict[str, Any] = {"__name__": "mine"}
    exec(f"class Mine:\n    def step(self, z):\n        return {body}", space)
    return space["Mine"]()


def from_around(value: Any) -> Callable[..., Any]:
    return lambda z: value - z


def default(value: float) -> Callable[..., Any]:
    def tendency(z: Any, F: float = value, *, G: float = -value) -> Any:
        return F + G - z

    return tendency


def wrapped(value: float) -> Callable[..., Any]:
    return lru_cache(from_around(value))


def compiled(value: float) -> Callable[..., Any]:
    return numba.njit(from_around(value))  # type: ignore[no-any-return]


def recursive(value: float) -> Callable[..., Any]:
    def again(n: int) -> float:
        return value if n == 0 else again(n - 1)

    return again


def drawn(times: int) -> np.random.Generator:
    rng = np.random.default_rng(1)
    rng.standard_normal(times)
    return rng


def fitted(scale: float) -> Any:
    rng = np.random.default_rng(0)
    data = xr.Dataset({name: (("time", "k"), rng.standard_normal((50, 4))) for name in ("z", "psi")})
    return lc.closures.Polynomial.fit(data.assign(psi=scale * data["psi"]))


def dataset(value: float) -> xr.Dataset:
    return xr.Dataset({"z": ("x", [1.0, value])}, coords={"x": [0, 1]})


MAKERS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "number": (lambda x: x, 1.0, 1.0 + 2**-52),
    "text": (lambda x: x, "a", "b"),
    "path": (Path, "a", "b"),
    "bytes": (lambda x: x, b"a", b"b"),
    "nesting": (lambda x: x, [[1, 2], 3], [[1], 2, 3]),
    "set": (frozenset, ["a", "b", "c"], ["a", "b"]),
    "mapping": (dict, {"a": 1}, {"a": 2}),
    "named tuple": (lambda x: Pair(1.0, x), 1.0, 2.0),
    "array": (lambda x: np.array([1.0, x]), 2.0, np.nextafter(2.0, 3.0)),
    "shape": (np.zeros, (2, 3), (3, 2)),
    "type": (lambda x: np.zeros(2, x), np.float64, np.int64),
    "dates": (lambda x: np.array([x], "M8[ns]"), "2001-01-01", "2001-01-02"),
    "objects": (lambda x: np.array([x, None], object), "a", "b"),
    "mask": (lambda x: np.ma.masked_array([1.0, 2.0], [False, x]), True, False),
    "dataset": (dataset, 2.0, 3.0),
    "coordinate": (lambda x: dataset(2.0).assign_coords(x=[0, x]), 1, 2),
    "units": (lambda x: dataset(2.0).assign(y=("x", [0.0, 0.0], {"units": x})), "m", "km"),
    "data array": (lambda x: dataset(x)["z"], 2.0, 3.0),
    "name of a data array": (lambda x: dataset(2.0)["z"].rename(x), "z", "w"),
    "lazy": (lambda x: dataset(x).chunk(), 2.0, 3.0),
    "dataclass": (Parameters, 1.0, 2.0),
    "object": (Model, 1.0, 2.0),
    "object with slots": (Slotted, 1.0, 2.0),
    "method": (lambda x: Model(x).tendency, 1.0, 2.0),
    "class": (class_with_code, "z + 1", "z + 2"),
    "variable from around": (from_around, 1.0, 2.0),
    "array from around": (lambda x: from_around(np.full(3, x)), 1.0, 2.0),
    "default": (default, 1.0, 2.0),
    "constant": (with_code, "z + 1", "z + 2"),
    "operation": (with_code, "z + 1", "z - 1"),
    "function it calls": (with_code, "abs(z)", "z.real"),
    "global variable": (with_global, 1.0, 2.0),
    "arguments of a partial": (lambda x: partial(schemes.euler, dt=x), 1.0, 2.0),
    "decorated": (wrapped, 1.0, 2.0),
    "compiled": (compiled, 1.0, 2.0),
    "recursive": (recursive, 1.0, 2.0),
    "generator": (drawn, 1, 2),
    "bit generator": (lambda x: np.random.Generator(x(1)), np.random.PCG64, np.random.SFC64),
    "seed sequence": (np.random.SeedSequence, 1, 2),
    "model": (lambda x: lc.TwoScaleLorenz96(F=x), 8.0, 20.0),
    "closure": (fitted, 1.0, 2.0),
    "function of a package": (lambda x: x, np.sin, np.cos),
    "function of this package": (lambda x: x, schemes.rk4, schemes.euler),
    "type of an object": (lambda x: x(1.0), Parameters, Model),
}


@pytest.mark.parametrize("name", MAKERS)
def test_it_tells_content_and_nothing_else(name: str) -> None:
    make, one, other = MAKERS[name]
    assert fingerprint(make(one)) == fingerprint(make(one)) != fingerprint(make(other))


def everything() -> list[str]:
    return [fingerprint(make(value)) for make, *values in MAKERS.values() for value in values]


def test_it_is_the_same_in_every_process() -> None:
    """Whatever order sets have there, and whatever is imported in whatever order."""
    program = "import test_fingerprint; print(*test_fingerprint.everything(), sep='\\n')"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
        )
        assert done.stdout.split() == everything()


def test_things_that_look_alike_are_told_apart() -> None:
    array = np.arange(3.0)
    alike = [
        "1",
        1,
        1.0,
        True,
        b"1",
        [1],
        (1,),
        {1},
        {1: None},
        np.array(1),
        np.array([1]),
        [[1]],
        [1, 1],
        None,
        "None",
    ]
    assert len({fingerprint(one) for one in alike}) == len(alike)
    assert fingerprint(array, array) == fingerprint(array, array.copy()) != fingerprint(array)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        (np.arange(3.0), np.arange(3.0).astype(">f8")),
        (np.arange(6.0)[::2], np.array([0.0, 2.0, 4.0])),
        (np.int64(3), 3),
        (np.float64(0.1), 0.1),
        (np.ma.masked_array([1.0, 2.0], [False, True]), np.ma.masked_array([1.0, 3.0], [False, True])),
        (dataset(2.0), dataset(2.0).assign_attrs(history="2001-01-01 ncks")),
        (dataset(2.0), dataset(2.0).chunk()),
    ],
)
def test_what_does_not_matter_is_not_told(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)


def test_a_value_that_follows_from_others_is_not_told() -> None:
    model = Model(1.0)
    before = fingerprint(model)
    assert model.doubled == 2.0
    assert fingerprint(model) == before


def test_of_what_cannot_be_told_there_is_the_type(tmp_path: Path) -> None:
    """As the docstring says."""
    with (tmp_path / "a").open("w") as one, (tmp_path / "b").open("w") as other:
        assert fingerprint(one) == fingerprint(other)
    assert fingerprint(threading.Lock()) == fingerprint(threading.Lock()) != fingerprint(threading.RLock())


def test_what_holds_itself_can_be_told() -> None:
    def knot(value: float) -> list[Any]:
        run: list[Any] = [value]
        run.append(run)
        return run

    assert fingerprint(knot(1.0)) == fingerprint(knot(1.0)) != fingerprint(knot(2.0))
