"""The coarse model in compiled code: many steps of many members in one call.

The arithmetic is that of :mod:`l96closure.schemes` and of the closures' ``step``, operation by operation, so that a run
has the same bits whether its steps are made here or one by one in Python.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from l96closure import noise
from l96closure.closures import NoClosure, blocks
from l96closure.closures.blocks import Block, Rings
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.composed import Composed
from l96closure.closures.state import State
from l96closure.closures.stepping import draw
from l96closure.compiled import cached, part, threads
from l96closure.lanes import lines
from l96closure.pairing import Tendency
from l96closure.schemes import SCHEMES
from l96closure.systems.lorenz96 import TwoScaleLorenz96
from l96closure.vector import LANES, load, splat, store

__all__ = ["CompiledLoop"]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
Index = npt.NDArray[np.intp]

_SCHEMES = tuple(SCHEMES)
_EULER = _SCHEMES.index("euler")
_ARRAY = types.float64[:, ::1]
_POINTER = types.CPointer(types.float64)
_CALL = types.void(_POINTER, _POINTER, types.intp, types.intp)


class _Model(NamedTuple):
    """The resolved part: scheme, step, and the forcing of Lorenz-96 or the address of a user's tendency, else 0."""

    scheme: int
    dt: float
    forcing: float
    tendency: int


class _Ensemble(NamedTuple):
    """Members and what their closure carries; all but ``history`` and ``member`` are written to.

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
    key: np.uint64
    number: np.uint64
    member: U64


class _Records(NamedTuple):
    """Where every how many-th step is written, z and psi (n, record, K); numbers of the first step and record."""

    z: F64
    psi: F64
    every: int
    step: int
    record: int


@dataclass(frozen=True)
class CompiledLoop:
    """A coarse model whose tendency and closure are compiled.

    Made by :meth:`of`, and used by :func:`l96closure.integrate`.
    """

    tables: Tables
    model: _Model
    call: Any = None  # keeps the machine code alive that the model's address points to

    @classmethod
    def of(cls, tendency: Tendency, closure: Any, scheme: str, dt: float, sites: int) -> CompiledLoop | None:
        """Make it, where all parts are compiled: else return None.

        Parameters
        ----------
        tendency : that of :class:`l96closure.TwoScaleLorenz96`, or a function z (member, K) -> dz/dt (member, K)
            compiled by ``numba.njit``.
        closure : one of ours that has tables.
        scheme : ``rk4`` or ``euler``.
        dt : the step.
        sites : K.

        Returns
        -------
        The loop, or None.
        """
        tables = None if numba.config.DISABLE_JIT else _tables(closure, sites)
        if tables is None:
            return None
        number = _SCHEMES.index(scheme)
        if getattr(tendency, "__func__", None) is TwoScaleLorenz96.resolved_tendency:
            model: TwoScaleLorenz96 = tendency.__self__  # type: ignore[attr-defined]
            return cls(tables, _Model(number, dt, float(model.F), 0))
        call = _callable(tendency)
        return None if call is None else cls(tables, _Model(number, dt, 0.0, call.address), call)

    def advance(
        self, z: F64, state: State, step: int, steps: int, every: int, records: tuple[F64, F64, int]
    ) -> tuple[F64, State]:
        """Make so many steps.

        Parameters
        ----------
        z : slow variables (n, K).
        state : of the closure.
        step : number of the first.
        steps : how many.
        every : every how many-th is recorded.
        records : for z and psi (n, record, K), and number of the next.

        Returns
        -------
        z after the steps, finite or not, and the state of the closure.
        """
        members, K = z.shape
        memory = state.memory.copy() if state.memory.ndim == 3 else np.empty((members, 0, K))
        history = state.history if state.history.ndim == 4 else np.empty((members, 0, 1, K))
        noise.check_step(state.step + steps)
        ensemble = _Ensemble(
            z.copy(), memory, history, np.empty_like(history), state.outside.copy(),
            np.uint64(state.key), np.uint64(state.step + 1), state.member,
        )  # fmt: skip
        where = _Records(*records[:2], every, step, records[2])
        calls = [(self.tables, self.model, ensemble, where, *share, steps) for share in self._shares(members, K)]
        if len(calls) == 1:
            _advance(*calls[0])
        else:
            with ThreadPoolExecutor(len(calls)) as pool:
                list(pool.map(lambda call: _advance(*call), calls))
        state = state._replace(step=state.step + steps, outside=ensemble.outside)
        if memory.size:
            state = state._replace(memory=memory)
        return ensemble.z, state._replace(history=ensemble.before) if history.size else state

    def _shares(self, members: int, sites: int) -> list[tuple[int, int, int]]:
        """Return the first member of each thread, the first after them, and how many make a block."""
        if self.model.tendency:  # a user's function may know the members by their places
            return [(0, members, members)]
        number = max(1, min(threads(), members // blocks.members_at_once(sites, members)))
        ends = np.linspace(0, members, number + 1).astype(int).tolist()
        at_once = blocks.members_at_once(sites, -(-members // number))
        return [(begin, end, at_once) for begin, end in pairwise(ends)]


def _tables(closure: Any, sites: int) -> Tables | None:
    step = getattr(closure.step, "__func__", None)  # somebody's own has another
    if step is NoClosure.step:
        return Tables.of({}, sites)
    ours = step is Composed.step and isinstance(closure, Composed)
    return closure.compiled if ours and closure.fields.input_shape == (sites,) else None


@functools.lru_cache(maxsize=16)
def _callable(tendency: Tendency) -> Any:
    """Return a user's compiled tendency as a function of addresses; None where it is not compiled, or for no arrays."""
    if not isinstance(tendency, numba.core.registry.CPUDispatcher):
        return None
    user: Callable[[F64], F64] = tendency

    @numba.cfunc(_CALL)  # type: ignore[untyped-decorator]
    def call(z: Any, out: Any, members: int, sites: int) -> None:
        slope = numba.carray(out, (members, sites))
        try:
            given = user(numba.carray(z, (members, sites)))
            for member in range(members):
                for k in range(sites):
                    slope[member, k] = given[member, k]
        except Exception:
            slope[0, 0] = np.nan  # the step is made again in Python, where it raises

    return call


@intrinsic  # type: ignore[untyped-decorator]
def _call_tendency(context: Any, address: Any, z: Any, out: Any, members: Any, sites: Any) -> Any:
    """Call a function of the type ``_CALL`` at an address with arrays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, z, out, members, sites = arguments
        pointers = [
            context.make_array(kind)(context, builder, one).data
            for kind, one in ((signature.args[1], z), (signature.args[2], out))
        ]
        kind = ir.FunctionType(ir.VoidType(), [one.type for one in (*pointers, members, sites)])
        builder.call(builder.inttoptr(address, kind.as_pointer()), [*pointers, members, sites])
        return context.get_dummy_value()

    return types.void(types.intp, z, out, types.intp, types.intp), generate


@part
def _lorenz96(z: F64, at: int, M: int, F: Any) -> Any:
    """G(z) of :func:`l96closure.systems.lorenz96_core.resolved` at sixteen sites of a ring."""
    return F - (load(z, at - M) * (load(z, at - 2 * M) - load(z, at + M)) + load(z, at))


@part
def _tendency(model: _Model, block: Block, z: F64, first: int, work: F64, slope: F64, at: int) -> None:
    """Write G(z) + psi of the row that begins at a place of z into ``slope[at]`` and what follows."""
    M, K = block.members, block.sites
    if model.tendency == 0:
        F = splat(model.forcing)
        for e in range(0, K * M, LANES):
            store(_lorenz96(z, first + e, M, F) + load(block.psi, e), slope, at + e)
        return
    for k in range(K):
        for m in range(M):
            work[0, np.uintp(m * K + k)] = z[np.uintp(first + k * M + m)]
    _call_tendency(model.tendency, work[0], work[1], M, K)
    for k in range(K):
        for m in range(M):
            slope[np.uintp(at + k * M + m)] = work[1, np.uintp(m * K + k)] + block.psi[np.uintp(k * M + m)]


@part
def _move(block: Block, dt: float, slope: F64, at: int, out: Rings, row: int) -> None:
    """Write z + dt slope as a row of ``out``."""
    first, N = row * out.stride + out.first, block.sites * block.members
    for e in range(0, N, LANES):
        moved = load(block.z.values, block.z.first + e) + splat(dt) * load(slope, at + e)
        store(moved, out.values, first + e)
    blocks.close(out, first, N)


@part
def _model_step(model: _Model, block: Block, stage: Rings, work: F64, slope: F64) -> None:
    """Advance z by a step with psi."""
    z, y, row = block.z, stage, block.stride
    _tendency(model, block, z.values, z.first, work, slope, 0)
    if model.scheme == _EULER:
        _move(block, model.dt, slope, 0, z, 0)
        return
    _move(block, 0.5 * model.dt, slope, 0, y, 0)
    _tendency(model, block, y.values, y.first, work, slope, row)
    _move(block, 0.5 * model.dt, slope, row, y, 1)
    _tendency(model, block, y.values, y.stride + y.first, work, slope, 2 * row)
    _move(block, model.dt, slope, 2 * row, y, 0)
    _tendency(model, block, y.values, y.first, work, slope, 3 * row)
    for e in range(0, block.sites * block.members, LANES):
        middle = splat(2.0) * (load(slope, row + e) + load(slope, 2 * row + e))
        store(load(slope, e) + middle + load(slope, 3 * row + e), slope, e)
    _move(block, model.dt / 6.0, slope, 0, z, 0)


@part
def _record(block: Block, begin: int, records: _Records, record: int) -> None:
    """Write z and psi of members from number ``begin`` on."""
    M = block.members
    for m in range(M):
        for k in range(block.sites):
            records.z[begin + m, record, k] = block.z.values[np.uintp(block.z.first + k * M + m)]
            records.psi[begin + m, record, k] = block.psi[np.uintp(k * M + m)]


@cached
def _advance(
    tables: Tables, model: _Model, ensemble: _Ensemble, records: _Records, first: int, last: int, at_once: int,
    steps: int,
) -> None:  # fmt: skip
    """Advance members from number ``first`` to before ``last`` by so many steps, in blocks."""
    K = ensemble.z.shape[1]
    for begin in range(first, last, at_once):
        M = min(at_once, last - begin)
        block = blocks.block_of(tables, 1, M, steps)
        stage, work, slope = blocks.rings(2, K * M, 2 * M, M), np.empty((2, K * M)), lines(4 * block.stride)
        member, outside = ensemble.member[begin : begin + M], ensemble.outside[begin : begin + M]
        z = ensemble.z.reshape((-1, 1, K))
        blocks.load_state(tables, block, steps, begin, z, ensemble.memory, ensemble.history)
        blocks.close(block.z, block.z.first, K * M)
        record = records.record
        for step in range(steps):
            draw(tables, block, steps, step, ensemble.key, ensemble.number, member, outside)
            if (records.step + step) % records.every == 0:
                _record(block, begin, records, record)
                record += 1
            _model_step(model, block, stage, work, slope)
        for m in range(M):
            for k in range(K):
                ensemble.z[begin + m, k] = block.z.values[block.z.first + k * M + m]
        blocks.save_state(tables, block, steps, begin, ensemble.memory, ensemble.history, ensemble.before)
