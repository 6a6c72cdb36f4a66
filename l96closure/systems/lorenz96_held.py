"""The subgrid tendency that is held over an RK4 step of Lorenz-96, of eight states side by side in compiled code.

The arithmetic is that of :func:`l96closure.schemes.held`, operation by operation, and so are the bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from l96closure.arrays import F64
from l96closure.compiled import cached, called, shared
from l96closure.lanes import LANES, lines, load, splat, store
from l96closure.schemes import CONVERGED, ITERATIONS, ROUNDING, too_long

_ABOVE, _HALO = 2, 3  # rows of a ring that stand before its first, and before and after it

_inlined = called(forceinline=True)


@_inlined
def _close(ring: F64, K: int) -> None:
    for row, same in ((0, K), (1, K + 1), (K + _ABOVE, _ABOVE)):
        store(load(ring, LANES * same), ring, LANES * row)


@_inlined
def _resolved(ring: F64, k: int, F: Any) -> Any:
    """G(z) of :func:`l96closure.systems.lorenz96_core.resolved` at a site of a ring whose ends are closed."""
    two_before, before = load(ring, LANES * k), load(ring, LANES * (k + 1))
    here, after = load(ring, LANES * (k + 2)), load(ring, LANES * (k + 3))
    return F - (before * (two_before - after) + here)


@_inlined
def _stage(z: F64, psi: F64, ring: F64, step: Any, F: Any, slope: F64, into: F64) -> None:
    """Write the slope at ``ring`` with psi, and the state so many time units along it from z."""
    K = slope.size // LANES
    for k in range(K):
        here, state = LANES * k, LANES * (k + _ABOVE)
        total = _resolved(ring, k, F) + load(psi, here)
        store(total, slope, here)
        store(load(z, state) + step * total, into, state)
    _close(into, K)


@_inlined
def _largest(values: F64, first: int, K: int, largest: F64) -> None:
    """Write the largest amount over the sites of each state; NaN where one is NaN."""
    for lane in range(LANES):
        largest[lane] = 0.0
    for k in range(K):
        for lane in range(LANES):
            amount = abs(values[first + LANES * k + lane])
            largest[lane] = amount if amount > largest[lane] or amount != amount else largest[lane]


@cached(error_model="numpy")  # type: ignore[untyped-decorator]
def _held(z: F64, following: F64, F: float, dt: float, psi: F64, start: int, stop: int) -> bool:
    """Write psi (n, K) of blocks of eight states; return whether all have converged."""
    rows, K = z.shape
    ring, middle, end = lines(LANES * (K + _HALO)), lines(LANES * (K + _HALO)), lines(LANES * (K + _HALO))
    k1, k2, k3, ends, held, change = (
        lines(LANES * K), lines(LANES * K), lines(LANES * K), lines(LANES * K), lines(LANES * K), lines(LANES * K),
    )  # fmt: skip
    allowed, largest, wanting = lines(LANES), lines(LANES), lines(LANES)
    forcing, step, half, sixth, two = splat(F), splat(dt), splat(0.5 * dt), splat(dt / 6.0), splat(2.0)
    for block in range(start, stop):
        first = block * LANES
        for lane in range(LANES):
            row = min(first + lane, rows - 1)  # beyond the last it stands in
            for k in range(K):
                ring[LANES * (k + _ABOVE) + lane] = z[row, k]
                ends[LANES * k + lane] = following[row, k]
        _close(ring, K)
        for k in range(K):
            here = LANES * k
            for lane in range(LANES):
                change[here + lane] = (ends[here + lane] - ring[here + LANES * _ABOVE + lane]) / dt
            store(load(change, here) - _resolved(ring, k, forcing), held, here)
        _largest(ring, LANES * _ABOVE, K, allowed)
        _largest(held, 0, K, largest)
        for lane in range(LANES):
            allowed[lane] = CONVERGED * largest[lane] + ROUNDING * allowed[lane] / dt
            wanting[lane] = 1.0
        for _ in range(ITERATIONS):
            _stage(ring, held, ring, half, forcing, k1, middle)
            _stage(ring, held, middle, half, forcing, k2, end)
            _stage(ring, held, end, step, forcing, k3, middle)
            for k in range(K):
                here, state = LANES * k, LANES * (k + _ABOVE)
                k4 = _resolved(middle, k, forcing) + load(held, here)
                mean = load(k1, here) + two * (load(k2, here) + load(k3, here)) + k4
                store(load(ends, here) - (load(ring, state) + sixth * mean), change, here)
                for lane in range(LANES):
                    change[here + lane] = change[here + lane] / dt if wanting[lane] != 0.0 else 0.0
                store(load(held, here) + load(change, here), held, here)
            _largest(change, 0, K, largest)
            unfinished = False
            for lane in range(LANES):
                wanting[lane] = 0.0 if largest[lane] <= allowed[lane] else 1.0
                unfinished |= wanting[lane] != 0.0
            if not unfinished:
                break
        else:
            return False
        for lane in range(min(LANES, rows - first)):
            for k in range(K):
                psi[first + lane, k] = held[LANES * k + lane]
    return True


def held(z: F64, following: F64, F: float, dt: float) -> F64:
    """Return the same as :func:`l96closure.schemes.held` with G of eq. (60) and RK4.

    Parameters
    ----------
    z, following : states a step apart (..., K).
    F : forcing.
    dt : the step.

    Returns
    -------
    (..., K)

    Raises
    ------
    FloatingPointError
        The iteration does not converge: the step is too long.
    """
    states, ends = (np.ascontiguousarray(values.reshape(-1, values.shape[-1])) for values in (z, following))
    psi = np.empty_like(ends)
    if not all(shared(_held, -(-len(states) // LANES), states, ends, float(F), float(dt), psi)):
        raise too_long(dt, "rk4")
    return psi.reshape(following.shape)
