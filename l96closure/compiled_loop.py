"""The coarse model in compiled code: many steps of a block of members in one call.

The arithmetic is that of :mod:`l96closure.schemes`, operation by operation, so that a run has the same bits whether its
steps are made here or in Python.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from l96closure.closures import stepping
from l96closure.closures.stepping import Block, Rings, Tables
from l96closure.compiled import cached
from l96closure.vector import LANES, load, splat, store

__all__ = ["Ensemble", "advance"]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
Index = npt.NDArray[np.intp]

EULER, RK4 = range(2)


class Ensemble(NamedTuple):
    """An ensemble of coarse models and what its closure carries; arrays (n, ...), written to.

    Attributes
    ----------
    z : slow variables (n, K).
    memory, history, before : of the closure (n, p, K) and (n, H, P, K), and where the next history goes.
    outside : features outside of their ranges (n,).
    key, number, member : key, number of the first step and numbers of the members, for the noise.
    """

    z: F64
    memory: F64
    history: F64
    before: F64
    outside: Index
    key: Any
    number: Any
    member: U64


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _lorenz96(z: F64, first: int, e: int, M: int, F: Any) -> Any:
    """G(z) of :func:`l96closure.systems.lorenz96_core.resolved` at sixteen sites of a block."""
    at = first + e
    return F - (load(z, at - M) * (load(z, at - 2 * M) - load(z, at + M)) + load(z, at))


@numba.njit(forceinline=True, _nrt=False)  # type: ignore[untyped-decorator]
def _model_step(block: Block, scheme: int, dt: float, forcing: float, stage: Rings, slope: F64) -> None:
    """Advance z by a step with psi."""
    M, N, row = block.members, block.sites * block.members, block.stride
    z, y, psi, first, F = block.z.values, stage.values, block.psi, stage.first, splat(forcing)
    if scheme == EULER:
        for e in range(0, N, LANES):
            k = _lorenz96(z, first, e, M, F) + load(psi, e)
            store(load(z, first + e) + k * splat(dt), slope, e)
    else:
        half, two = splat(0.5 * dt), splat(2.0)
        for e in range(0, N, LANES):
            k = _lorenz96(z, first, e, M, F) + load(psi, e)
            store(k, slope, e)
            store(load(z, first + e) + half * k, y, first + e)
        stepping.close(stage, first, N)
        for e in range(0, N, LANES):
            k = _lorenz96(y, first, e, M, F) + load(psi, e)
            store(k, slope, row + e)
            store(load(z, first + e) + half * k, y, stage.stride + first + e)
        stepping.close(stage, stage.stride + first, N)
        for e in range(0, N, LANES):
            k = _lorenz96(y, stage.stride + first, e, M, F) + load(psi, e)
            store(load(slope, row + e) + k, slope, row + e)
            store(load(z, first + e) + splat(dt) * k, y, first + e)
        stepping.close(stage, first, N)
        for e in range(0, N, LANES):
            k = _lorenz96(y, first, e, M, F) + load(psi, e)
            total = load(slope, e) + two * load(slope, row + e) + k
            store(load(z, first + e) + splat(dt / 6.0) * total, slope, e)
    for e in range(0, N, LANES):
        store(load(slope, e), z, first + e)
    stepping.close(block.z, first, N)


@cached
def advance(
    tables: Tables, ensemble: Ensemble, begin: int, end: int, at_once: int, steps: int, scheme: int, dt: float,
    forcing: float, every: int, skip: int, record: int, out_z: F64, out_psi: F64,
) -> None:  # fmt: skip
    """Advance members from ``begin`` to ``end`` by so many steps."""
    K = ensemble.z.shape[1]
    for begin_of in range(begin, end, at_once):
        M = min(at_once, end - begin_of)
        block = stepping.block_of(tables, 1, M, steps)
        stage, slope = stepping.rings(2, K * M, 2 * M, M), np.zeros(2 * block.stride)
        member, outside = ensemble.member[begin_of : begin_of + M], ensemble.outside[begin_of : begin_of + M]
        state = ensemble.z.reshape((-1, 1, K))
        stepping.load_state(tables, block, steps, begin_of, state, ensemble.memory, ensemble.history)
        stepping.close(block.z, block.z.first, K * M)
        _steps(tables, block, stage, slope, ensemble.key, ensemble.number, member, outside, steps, scheme, dt, forcing, every, skip, record, begin_of, out_z, out_psi)
        for m in range(M):
            for k in range(K):
                ensemble.z[begin_of + m, k] = block.z.values[block.z.first + k * M + m]
        stepping.save_state(tables, block, steps, begin_of, ensemble.memory, ensemble.history, ensemble.before)

@numba.njit(_nrt=False)
def _steps(tables, block, stage, slope, key, number, member, outside, steps, scheme, dt, forcing, every, skip, record, begin_of, out_z, out_psi):
    M, K = block.members, block.sites
    for step in range(steps):
        stepping.draw(tables, block, steps, step, key, number, member, outside)
        if step % every == skip:
            for m in range(M):
                for k in range(K):
                    out_z[begin_of + m, record, k] = block.z.values[np.uintp(block.z.first + k * M + m)]
                    out_psi[begin_of + m, record, k] = block.psi[np.uintp(k * M + m)]
            record += 1
        _model_step(block, scheme, dt, forcing, stage, slope)
