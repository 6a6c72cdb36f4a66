"""The coarse model in compiled code: many steps of many members in one call.

The arithmetic is that of the closures' ``step`` and of the schemes in Python (:mod:`l96closure.compiled_model`): a run
has the same bits whether its steps are made here or there, one by one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np

from l96closure import noise
from l96closure.arrays import F64, U64, Index
from l96closure.closures import NoClosure, blocks
from l96closure.closures.blocks import Block
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.composed import Composed
from l96closure.closures.state import State
from l96closure.closures.stepping import draw
from l96closure.compiled import await_ahead, cached, compile_ahead, part, threads
from l96closure.compiled_model import Model, memory_of, model_of, model_step
from l96closure.lanes import lines
from l96closure.schemes import Tendency
from l96closure.vector import LANES, aligned_stack, load, store

_KEPT = 16  # records of a block that are written together: a member's lie side by side, those of others far away
_ONE_STEP = """
import l96closure as lc
lc.integrate(lc.TwoScaleLorenz96(K=4), lc.closures.NoClosure(), [[1.0, 2.0, 3.0, 4.0]], steps=1, dt=0.005)
"""


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
    model: Model
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
        made = model_of(tendency, scheme, dt)
        return None if made is None else cls(tables, *made)

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
        z, before = _with_psi_before(z, history, history.shape[1] - int(self.tables.lag[-1]))
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
    tables: Tables, model: Model, ensemble: _Ensemble, records: _Records, first: int, last: int, at_once: int,
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
        (stage, work, slope), kept = memory_of(block), lines(2 * _KEPT * block.stride)
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
                model_step(model, block, stage, work, slope)
                _pass_on(block)
            for p in range(P):
                place = p * block.z.stride + block.z.first
                blocks.turn(block.z.values, place, M, K, M, z, (begin * P + p) * K, P * K)
            blocks.save_state(tables, block, steps, begin, ensemble.memory, ensemble.history, ensemble.before)
