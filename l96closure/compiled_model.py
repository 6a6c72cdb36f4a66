"""A step of the resolved part of a coarse model in compiled code, for a block of members that lie side by side.

The arithmetic is that of :mod:`l96closure.schemes` and of the tendencies of our systems, operation by operation. No sum
depends on how wide the registers are: machines with AVX2 and fused multiply-adds make the same bits as those with
AVX-512.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from l96closure.arrays import F64, Index
from l96closure.closures import blocks
from l96closure.closures.blocks import BEFORE, Block, Rings, close
from l96closure.compiled import called, part
from l96closure.lanes import lines
from l96closure.schemes import SCHEMES, Tendency
from l96closure.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from l96closure.systems.lorenz96 import TwoScaleLorenz96
from l96closure.vector import LANES, load, shifted, splat, store

_SCHEMES = tuple(SCHEMES)
_EULER = _SCHEMES.index("euler")
_BACK, _TWO_BACK = LANES - 1, LANES - 2  # of a vector, the first that one begins with that is one or two sites back
_POINTER = types.CPointer(types.float64)
_CALL = types.void(_POINTER, _POINTER, types.intp, types.intp)


class Model(NamedTuple):
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


def model_of(tendency: Tendency, scheme: str, dt: float) -> tuple[Model, Any] | None:
    """Return the resolved part, and what keeps the machine code alive that its address points to.

    Parameters
    ----------
    tendency : that of one of our systems, or a function z (member, K) -> dz/dt (member, K) compiled by ``numba.njit``.
    scheme : ``rk4`` or ``euler``.
    dt : the step.

    Returns
    -------
    Both, or None where the tendency is not compiled.
    """
    number = _SCHEMES.index(scheme)
    method, system = getattr(tendency, "__func__", None), getattr(tendency, "__self__", None)
    if method is TwoScaleLorenz96.resolved_tendency and isinstance(system, TwoScaleLorenz96):
        return Model(number, dt, forcing=float(system.F)), None
    if method is KuramotoSivashinsky.resolved_tendency and isinstance(system, KuramotoSivashinsky):
        return Model(number, dt, 0.0, *system.differences), None
    call = _callable(tendency)
    return None if call is None else (Model(number, dt, tendency=call.address), call)


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
def _call_user(model: Model, block: Block, z: F64, first: int, work: F64, slope: F64, at: int) -> None:
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
def _slope(model: Model, members: int, psi: F64, z: F64, first: int, slope: F64, at: int, e: int) -> Any:
    """Return G(z) + psi at sixteen sites; a user's G(z) stands in ``slope``."""
    if model.tendency:
        return load(slope, at + e) + load(psi, e)
    if model.per_area > 0.0:
        areas, reaches = splat(model.per_area), splat(model.per_reach)
        return _kuramoto_sivashinsky(z, first + e, members, areas, reaches) + load(psi, e)
    return _lorenz96(z, first + e, members, splat(model.forcing)) + load(psi, e)


@part
def _stage(
    model: Model, block: Block, values: F64, first: int, out: Rings, into: int, work: F64, slope: F64, at: int,
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
def _step_of_one(model: Model, z: Rings, psi: F64, N: int, pieces: Index) -> None:
    """Advance the z of one member by a step of RK4, as :func:`model_step` does, in registers.

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
def model_step(model: Model, block: Block, stage: Rings, work: F64, slope: F64) -> None:
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
def memory_of(block: Block) -> tuple[Rings, F64, F64]:
    """Return rows for z at stages of a step, and for slopes."""
    K, M = block.sites, block.members
    return blocks.rings(2, K * M, 2 * M, 2 * M), np.empty((2, K * M)), lines(4 * block.stride)
