"""The coarse model in compiled code: many steps of many members in one call.

The arithmetic is that of :mod:`l96closure.schemes` and of the closures' ``step``, operation by operation, so that a run
has the same bits whether its steps are made here or one by one in Python. No sum depends on how wide the registers are:
machines with AVX2 and fused multiply-adds make the same bits as those with AVX-512.
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
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from l96closure import noise
from l96closure.arrays import F64, U64, Index
from l96closure.closures import NoClosure, blocks
from l96closure.closures.blocks import BEFORE, Block, Rings, close
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.composed import Composed
from l96closure.closures.state import State
from l96closure.closures.stepping import draw
from l96closure.compiled import await_ahead, cached, called, compile_ahead, part, threads
from l96closure.lanes import lines
from l96closure.schemes import SCHEMES, Tendency
from l96closure.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from l96closure.systems.lorenz96 import TwoScaleLorenz96
from l96closure.vector import LANES, aligned_stack, load, shifted, splat, store

_SCHEMES = tuple(SCHEMES)
_EULER = _SCHEMES.index("euler")
_BACK, _TWO_BACK = LANES - 1, LANES - 2  # of a vector, the first that one begins with that is one or two sites back
_KEPT = 16  # records of a block that are written together: a member's lie side by side, those of others far away
_ARRAY = types.float64[:, ::1]
_POINTER = types.CPointer(types.float64)
_ONE_STEP = """
import l96closure as lc
lc.integrate(lc.TwoScaleLorenz96(K=4), lc.closures.NoClosure(), [[1.0, 2.0, 3.0, 4.0]], steps=1, dt=0.005)
"""
_CALL = types.void(_POINTER, _POINTER, types.intp, types.intp)


class _Model(NamedTuple):
    """The resolved part.

    Attributes
    ----------
    scheme, dt : number of the scheme, and step.
    forcing : of Lorenz-96.
    per_area, per_reach : 1 / D^2 and 1 / 6 D of Kuramoto and Sivashinsky's boxes, else 0.
    tendency : address of a user's, else 0.
    """

    scheme: int
    dt: float
    forcing: float = 0.0
    per_area: float = 0.0
    per_reach: float = 0.0
    tendency: int = 0


class _Ensemble(NamedTuple):
    """Members and what their closure carries; all but ``history`` and ``member`` are written to.

    Attributes
    ----------
    z : slow variables and, after them, psi of the steps before that the closure sees (n, P, K).
    memory, history, before : of the closure (n, p, K), the same of steps before (n, H, P, K), and where that of the
        steps before the next one goes.
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
    previous: int  # steps before now whose psi the closure sees
    call: Any = None  # keeps the machine code alive that the model's address points to

    @classmethod
    def of(cls, tendency: Tendency, closure: Any, scheme: str, dt: float, sites: int) -> CompiledLoop | None:
        """Make it, where all parts are compiled: else return None.

        Parameters
        ----------
        tendency : that of one of our systems, or a function z (member, K) -> dz/dt (member, K) compiled by
            ``numba.njit``.
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
        previous = closure.fields.before if isinstance(closure, Composed) else 0
        method, system = getattr(tendency, "__func__", None), getattr(tendency, "__self__", None)
        if method is TwoScaleLorenz96.resolved_tendency and isinstance(system, TwoScaleLorenz96):
            return cls(tables, _Model(number, dt, forcing=float(system.F)), previous)
        if method is KuramotoSivashinsky.resolved_tendency and isinstance(system, KuramotoSivashinsky):
            return cls(tables, _Model(number, dt, 0.0, *system.differences), previous)
        call = _callable(tendency)
        return None if call is None else cls(tables, _Model(number, dt, tendency=call.address), previous, call)

    @staticmethod
    def prepare() -> None:
        """Begin to compile the loop, which takes ten seconds the first time, for a run that is to come."""
        compile_ahead(_advance, _ONE_STEP)

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
        await_ahead(_advance)
        members, K = z.shape
        memory = state.memory.copy() if state.memory.ndim == 3 else np.empty((members, 0, K))
        history = state.history if state.history.ndim == 4 else np.empty((members, 0, 1, K))
        z, before = _with_psi_before(z, history, self.previous)
        noise.check_step(state.step + steps)
        ensemble = _Ensemble(
            z, memory, before, np.empty_like(before), state.outside.copy(),
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
        if history.size:
            state = state._replace(history=_with_psi(ensemble.z, ensemble.before))
        return ensemble.z[:, 0].copy(), state

    def _shares(self, members: int, sites: int) -> list[tuple[int, int, int]]:
        """Return the first member of each thread, the first after them, and how many make a block."""
        if self.model.tendency:  # a user's function may know the members by their places
            return [(0, members, members)]
        number = max(1, min(threads(), members // blocks.members_at_once(sites, members)))
        ends = np.linspace(0, members, number + 1).astype(int).tolist()
        at_once = blocks.members_at_once(sites, -(-members // number))
        return [(begin, end, at_once) for begin, end in pairwise(ends)]


def _with_psi_before(z: F64, history: F64, steps: int) -> tuple[F64, F64]:
    """Put psi of so many steps before beside z (n, K) and beside z of steps before, with which psi of its own time is.

    Psi of steps before all that are known is 0, and nobody looks at it.
    """
    H, psi = history.shape[1], history[:, :, -1]
    psi = np.concatenate([psi, np.zeros((len(z), steps, z.shape[1]))], axis=1)
    earlier = [psi[:, ago : ago + H] for ago in range(1, steps + 1)]
    return np.concatenate([z[:, None], psi[:, :steps]], axis=1), np.stack([history[:, :, 0], *earlier], axis=2)


def _with_psi(z: F64, before: F64) -> F64:
    """Return the history that :func:`_with_psi_before` would make these of."""
    if z.shape[1] == 1:
        return before
    psi = np.concatenate([z[:, 1:2], before[:, :-1, 1]], axis=1)
    return np.stack([before[:, :, 0], psi], axis=2)


def _tables(closure: Any, sites: int) -> Tables | None:
    step = getattr(closure.step, "__func__", None)  # somebody's own has another
    if step is NoClosure.step:
        return Tables.of({}, sites)
    ours = step is Composed.step and isinstance(closure, Composed)
    whole = ours and closure.fields.input_shape == (sites,) and closure.fields.mask is None
    return closure.compiled if whole else None


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
def _kuramoto_sivashinsky(z: F64, at: int, M: int, per_area: Any, per_reach: Any) -> Any:
    """G(z) of :meth:`l96closure.KuramotoSivashinsky.resolved_tendency` at sixteen sites of a ring."""
    before, here, after, two = load(z, at - M), load(z, at), load(z, at + M), splat(2.0)
    second = (after - two * here + before) * per_area
    second_before = (here - two * before + load(z, at - 2 * M)) * per_area
    second_after = (load(z, at + 2 * M) - two * after + here) * per_area
    fourth = (second_after - two * second + second_before) * per_area
    return (after + here + before) * (before - after) * per_reach - second - fourth


@part
def _call_user(model: _Model, block: Block, z: F64, first: int, work: F64, slope: F64, at: int) -> None:
    """Write the user's G(z) of the row that begins at a place of z into ``slope[at]`` and what follows."""
    M, K = block.members, block.sites
    for k in range(K):
        for m in range(M):
            work[0, np.uintp(m * K + k)] = z[np.uintp(first + k * M + m)]
    _call_tendency(model.tendency, work[0], work[1], M, K)
    for k in range(K):
        for m in range(M):
            slope[np.uintp(at + k * M + m)] = work[1, np.uintp(m * K + k)]


@part
def _slope(model: _Model, members: int, psi: F64, z: F64, first: int, slope: F64, at: int, e: int) -> Any:
    """Return G(z) + psi at sixteen sites; a user's G(z) stands in ``slope``."""
    if model.tendency:
        return load(slope, at + e) + load(psi, e)
    if model.per_area > 0.0:
        areas, reaches = splat(model.per_area), splat(model.per_reach)
        return _kuramoto_sivashinsky(z, first + e, members, areas, reaches) + load(psi, e)
    return _lorenz96(z, first + e, members, splat(model.forcing)) + load(psi, e)


@part
def _stage(
    model: _Model, block: Block, values: F64, first: int, out: Rings, into: int, work: F64, slope: F64, at: int,
    step: float,
) -> None:  # fmt: skip
    """Write the slope at the row that begins at a place of ``values`` into ``slope[at]`` and what follows.

    And write z + step slope into the row of ``out`` that begins at a place.
    """
    z, N = block.z, block.sites * block.members
    if model.tendency:
        _call_user(model, block, values, first, work, slope, at)
    for e in range(0, N, LANES):
        k = _slope(model, block.members, block.psi, values, first, slope, at, e)
        store(k, slope, at + e)
        store(load(z.values, z.first + e) + splat(step) * k, out.values, into + e)
    close(out, into, N)


@part
def _slopes(F: Any, y: Any, psi: Any) -> Any:
    """Return G(y) + psi of a stretch of 32 sites, in two vectors each, but for its first two and its last."""
    a, b = y
    left, right = a - a, b - b  # what is beyond the stretch does not matter
    first = shifted(left, a, _BACK) * (shifted(left, a, _TWO_BACK) - shifted(a, b, 1)) + a
    second = shifted(a, b, _BACK) * (shifted(a, b, _TWO_BACK) - shifted(b, right, 1)) + b
    return F - first + psi[0], F - second + psi[1]


@part
def _moved(z: Any, step: Any, slope: Any) -> Any:
    return z[0] + step * slope[0], z[1] + step * slope[1]


@part
def _step_of_one(model: _Model, z: Rings, psi: F64, N: int, pieces: Index) -> None:
    """Advance the z of one member by a step of RK4, as :func:`_model_step` does, in registers.

    Sites before the first and after the last go along: each stage has two and one of them less.
    """
    half, F = splat(0.5 * model.dt), splat(model.forcing)
    start, forced = blocks.stretch(z.values, z.first, pieces), blocks.stretch(psi, 0, pieces)
    k1 = _slopes(F, start, forced)
    k2 = _slopes(F, _moved(start, half, k1), forced)
    k3 = _slopes(F, _moved(start, half, k2), forced)
    k4 = _slopes(F, _moved(start, splat(model.dt), k3), forced)
    two = splat(2.0)
    mean = k1[0] + two * (k2[0] + k3[0]) + k4[0], k1[1] + two * (k2[1] + k3[1]) + k4[1]
    a, b = _moved(start, splat(model.dt / 6.0), mean)
    store(shifted(a, b, BEFORE), z.values, z.first)
    if N > LANES:
        store(shifted(b, b, BEFORE), z.values, z.first + LANES)


@part
def _model_step(model: _Model, block: Block, stage: Rings, work: F64, slope: F64) -> None:
    """Advance z by a step with psi."""
    z, y, row, N = block.z, stage, block.stride, block.sites * block.members
    euler, lorenz96 = model.scheme == _EULER, model.tendency == 0 and model.per_area == 0.0
    if block.pieces.size and lorenz96 and not euler:
        _step_of_one(model, z, block.psi, N, block.pieces)
        return
    close(z, z.first, N)
    values, first, into = z.values, z.first, y.first
    for i in range(1 if euler else 3):
        step = model.dt if euler or i == 2 else 0.5 * model.dt
        _stage(model, block, values, first, y, into, work, slope, i * row, step)
        values, first, into = y.values, into, y.stride + y.first if i == 0 else y.first
    if euler:
        for e in range(0, N, LANES):
            store(load(y.values, first + e), z.values, z.first + e)
        return
    if model.tendency:
        _call_user(model, block, values, first, work, slope, 3 * row)
    for e in range(0, N, LANES):
        middle = splat(2.0) * (load(slope, row + e) + load(slope, 2 * row + e))
        last = _slope(model, block.members, block.psi, values, first, slope, 3 * row, e)
        mean = load(slope, e) + middle + last
        store(load(z.values, z.first + e) + splat(model.dt / 6.0) * mean, z.values, z.first + e)


@called
def _memory(block: Block) -> tuple[Rings, F64, F64, F64]:
    """Return rows for z at stages of a step, for slopes and for records."""
    K, M = block.sites, block.members
    stages = blocks.rings(2, K * M, 2 * M, 2 * M)
    return stages, np.empty((2, K * M)), lines(4 * block.stride), lines(2 * _KEPT * block.stride)


@part
def _keep(block: Block, kept: F64, number: int) -> None:
    """Copy z and psi to the rows of a record that is not written yet."""
    first = 2 * number * block.stride
    for e in range(0, block.sites * block.members, LANES):
        store(load(block.z.values, block.z.first + e), kept, first + e)
        store(load(block.psi, e), kept, first + block.stride + e)


@part
def _pass_on(block: Block) -> None:
    """Let psi be that of the step before, where the closure sees that, and that of steps before one step older."""
    values, first, stride = block.z.values, block.z.first, block.z.stride
    for p in range(block.predictors - 1, 0, -1):
        for e in range(0, block.sites * block.members, LANES):
            psi = load(block.psi, e) if p == 1 else load(values, (p - 1) * stride + first + e)
            store(psi, values, p * stride + first + e)


@cached
def _advance(
    tables: Tables, model: _Model, ensemble: _Ensemble, records: _Records, first: int, last: int, at_once: int,
    steps: int,
) -> None:  # fmt: skip
    """Advance members from number ``first`` to before ``last`` by so many steps, in blocks."""
    aligned_stack()
    (_, P, K), H = ensemble.z.shape, ensemble.history.shape[1]
    rest, every = last - (last - first) % at_once, records.z.shape[1] * K
    outputs, z = (records.z.reshape(-1), records.psi.reshape(-1)), ensemble.z.reshape(-1)
    for start, end, M in ((first, rest, at_once), (rest, last, last - rest)):
        if start == end:
            continue
        block = blocks.block_of(tables, P, H, ensemble.member[start : start + M], steps)
        stage, work, slope, kept = _memory(block)
        for begin in range(start, end, M):
            blocks.number(block, ensemble.member[begin : begin + M])
            outside = ensemble.outside[begin : begin + M]
            blocks.load_state(tables, block, steps, begin, ensemble.z, ensemble.memory, ensemble.history, outside)
            number, record, to_go = 0, records.record, -records.step % records.every
            for step in range(steps):
                draw(tables, block, steps, step, ensemble.key, ensemble.number, outside)
                if to_go == 0:
                    _keep(block, kept, number)
                    number, to_go = number + 1, records.every
                to_go -= 1
                if number == _KEPT or step == steps - 1:
                    for which, out in enumerate(outputs):
                        for i in range(number):
                            first_of, place = (2 * i + which) * block.stride, begin * every + (record + i) * K
                            blocks.turn(kept, first_of, M, K, M, out, place, every)
                    number, record = 0, record + number
                _model_step(model, block, stage, work, slope)
                _pass_on(block)
            for p in range(P):
                place = p * block.z.stride + block.z.first
                blocks.turn(block.z.values, place, M, K, M, z, (begin * P + p) * K, P * K)
            blocks.save_state(tables, block, steps, begin, ensemble.memory, ensemble.history, ensemble.before)
