"""Count operations by running the source of compiled loops in Python, with numbers that only count.

A script: it reads pickled tables of closures from standard input, for rings of twelve sites, and prints counts as JSON.
It has to run with ``NUMBA_DISABLE_JIT``, so that the parts of loops are plain functions. What is the same in all places
of a vector, and what was computed from the same numbers before, is computed once, as compilers see to.
"""

from __future__ import annotations

import json
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from l96closure import compiled_model, noise
from l96closure.bridge import look_up
from l96closure.closures import blocks, stepping, trend
from l96closure.compiled_model import Model, memory_of, model_step
from l96closure.kernel import _group_sums
from l96closure.schemes import SCHEMES
from l96closure.systems import lorenz96_columns, lorenz96_core
from l96closure.vector import LANES

SITES, MEMBERS, STEPS, COORDINATES = 12, 16, 4, 6
count = {"flops": 0.0, "bytes": 0.0}
done: dict[Any, Number] = {}


class Number:
    """A vector, or one place of it; what is the ``same`` everywhere costs nothing."""

    def __init__(self, same: bool = False) -> None:
        self.same = same

    def __add__(self, other: Any) -> Number:
        return operation("+", 1, self, other)

    def __sub__(self, other: Any) -> Number:
        return operation("-", 1, self, other)

    def __mul__(self, other: Any) -> Number:
        return operation("*", 1, self, other)

    def __truediv__(self, other: Any) -> Number:
        return operation("/", 1, self, other)

    __rmul__ = __mul__


def operation(name: str, flops: int, *operands: Any) -> Number:
    same = all(getattr(one, "same", True) for one in operands)
    if (name, *operands) not in done:
        count["flops"] += 0 if same else flops
        done[name, *operands] = Number(same)
    return done[name, *operands]


def moved(size: float, result: Any) -> Any:
    count["bytes"] += size
    return result


def fma(a: Any, b: Any, c: Any) -> Number:
    return operation("fma", 2, a, b, c)


def dot(a: Any, first: int, x: Any, total: Any) -> Any:
    for one in x:
        total = fma(Number(same=True), one, total)
    return total


def quadratic(a: Any, first: int, start: int, x: Any, total: Any) -> Any:
    for i in range(start, len(x)):
        total = fma(dot(a, first, x[i:], Number(same=True)), x[i], total)
    return total


STAND_INS: dict[str, Any] = {
    "load": lambda values, index: moved(8, Number()),
    "store": lambda value, values, index: moved(8, None),
    "store_whole": lambda value, values, index: moved(4, None),
    "load_each": lambda values, place, first, e, number: moved(8 * number, tuple(Number() for _ in range(number))),
    "load_fours": lambda *_: moved(4 + 4 * 8, tuple(Number() for _ in range(4))),
    "splat": lambda number: Number(same=True),
    "element": lambda array, index: array.reshape(-1)[index],
    "fma": fma,
    "fnma": fma,
    "exp2": lambda x: operation("exp2", 3 + 2 * 11, x),
    "smaller": lambda a, b: Number(),
    "larger": lambda a, b: Number(),
    "total": lambda a: 0.0,
    "floor": lambda a: Number(),
    "exceeds": lambda a, b: False,
    "dot": dot,
    "quadratic": quadratic,
    "four_sums": lambda a, first, start, x, totals: tuple(dot(a, first, x[start:], total) for total in totals),
    "close": lambda *_: None,  # halos, and what goes on before a number is normal, are not counted
    "fill": lambda *_: None,
    "_bits": lambda number: 0,
    "_of_bits": lambda bits: Number(),
    "math": SimpleNamespace(sqrt=lambda x: operation("root", 1, x)),
}


def counted(function: Any) -> dict[str, float]:
    done.clear()
    count.update(flops=0.0, bytes=0.0)
    function()
    return dict(count)


def fine_step(K: int, J: int) -> None:
    columns = lorenz96_columns._columns(K, J, 8)  # a ring in each
    y, z = np.zeros(columns.fast.size), np.zeros(columns.slow.size)
    work = lorenz96_core._work(y.size, z.size)
    lorenz96_core._step(y, z, work, columns, lorenz96_core.Scheme.of(5e-4, 20.0, 1.0, 10.0, 10.0))


def coarse_steps(tables: Any) -> None:
    block = blocks.block_of(tables, 1, int(tables.lag[-1]), np.arange(MEMBERS, dtype=np.uint64), 1000)
    stage, work, slope = memory_of(block)
    model = Model(tuple(SCHEMES).index("rk4"), 5e-3, 20.0)
    for step in range(STEPS):
        stepping.draw(tables, block, 1000, step, np.uint64(0), np.uint64(1), np.zeros(MEMBERS, np.intp))
        model_step(model, block, stage, work, slope)


def kernel_evaluations() -> None:
    near, rows, groups = np.arange(_group_sums.FLUSH + 1), np.array([3]), _group_sums.FLUSH
    nodes, squares = np.zeros((groups + 1, 1 + COORDINATES, LANES)), np.zeros((groups + 1, 1, LANES))
    scratch: Any = SimpleNamespace(near=near, partial=np.zeros(0))
    query, sums = np.zeros(COORDINATES), np.zeros((3, 1))
    _group_sums.add_groups(query, sums, groups, COORDINATES, rows, nodes, squares, 1, scratch)


def main() -> None:
    closures = pickle.load(sys.stdin.buffer)
    for module in (lorenz96_core, blocks, trend, look_up, stepping, compiled_model, noise, _group_sums):
        for name in STAND_INS.keys() & vars(module).keys():
            setattr(module, name, STAND_INS[name])
    _group_sums.exp2 = lambda x: operation("exp2", 3 + 2 * 5, x)  # in single precision
    vectors = STEPS * SITES * MEMBERS / LANES
    results = {
        "fine_step": {f"{K}, {J}": counted(lambda K=K, J=J: fine_step(K, J)) for K in (4, 7) for J in (3, 8)},
        "coarse_step": [
            {name: number / vectors for name, number in counted(lambda one=one: coarse_steps(one)).items()}
            for one in closures
        ],
    }
    kernel = counted(kernel_evaluations)
    results["kernel_evaluation"] = {name: number / _group_sums.FLUSH for name, number in kernel.items()}
    noise.np = SimpleNamespace(float64=lambda _: Number(), int64=int)
    results["two_normals"] = counted(lambda: noise.pair(0, 0))["flops"]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
