"""The equations written out once more, slowly: scalar loops with explicit modulo, held against the fast code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import TwoScaleLorenz96

F64 = npt.NDArray[np.float64]
State = tuple[F64, F64]


def resolved(z: F64, F: float) -> F64:
    """G_k(z) = -z_{k-1} (z_{k-2} - z_{k+1}) - z_k + F for one z (K,)."""
    K = len(z)
    out = np.zeros(K)
    for k in range(K):
        out[k] = -z[(k - 1) % K] * (z[(k - 2) % K] - z[(k + 1) % K]) - z[k] + F
    return out


def tendency(model: TwoScaleLorenz96, z: F64, y: F64) -> State:
    """Eq. (59) for z (K,) and y (K, J), y[k, j] being y_{j,k}; the ring rule y_{j+J,k} = y_{j,k+1} as it stands."""
    K, J, h, b, c = model.K, model.J, model.h, model.b, model.c

    def fast(j: int, k: int) -> float:
        return float(y[(k + j // J) % K, j % J])

    dz, dy = resolved(z, model.F), np.zeros((K, J))
    for k in range(K):
        for j in range(J):
            dz[k] -= h * c / b * fast(j, k)
            dy[k, j] = -c * b * fast(j + 1, k) * (fast(j + 2, k) - fast(j - 1, k)) - c * fast(j, k) + h * c / b * z[k]
    return dz, dy


def rk4_step(model: TwoScaleLorenz96, z: F64, y: F64, dt: float) -> State:
    """One classical Runge-Kutta step of :func:`tendency`."""
    a1, b1 = tendency(model, z, y)
    a2, b2 = tendency(model, z + dt / 2 * a1, y + dt / 2 * b1)
    a3, b3 = tendency(model, z + dt / 2 * a2, y + dt / 2 * b2)
    a4, b4 = tendency(model, z + dt * a3, y + dt * b3)
    return z + dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4), y + dt / 6 * (b1 + 2 * b2 + 2 * b3 + b4)


def trajectory(model: TwoScaleLorenz96, seed: int | np.random.Generator, dt: float, steps: int) -> State:
    """Run ``simulate``'s initial state, without spin-up; z (steps + 1, K) and y (steps + 1, K, J)."""
    rng = np.random.default_rng(seed)
    z = model.F / 4 + rng.standard_normal(model.K)
    y = 0.1 * rng.standard_normal((model.K, model.J))
    zs, ys = [z], [y]
    for _ in range(steps):
        z, y = rk4_step(model, z, y, dt)
        zs.append(z)
        ys.append(y)
    return np.array(zs), np.array(ys)


def order_of_convergence(error: Callable[[int], float], counts: list[int]) -> float:
    """Slope of log error against log step over runs of a fixed time in ``counts`` steps."""
    steps = [1.0 / count for count in counts]
    return float(np.polyfit(np.log(steps), np.log([error(count) for count in counts]), 1)[0])


def autocorrelation_time(x: F64) -> float:
    """Integrated autocorrelation time of x (time,) in samples, 1 + 2 sum rho, with Sokal's window of five times it."""
    x = x - x.mean()
    size = 2 * x.size
    spectrum: Any = np.abs(np.fft.rfft(x, size)) ** 2
    rho = np.fft.irfft(spectrum, size)[: x.size]
    cumulative = 2.0 * np.cumsum(rho / rho[0]) - 1.0
    window = int(np.argmax(np.arange(x.size) >= 5.0 * cumulative))
    return max(float(cumulative[window]), 1.0)


def standard_error(x: F64) -> float:
    """Standard error of the mean of a correlated series x (time,)."""
    return float(x.std() * np.sqrt(autocorrelation_time(x) / x.size))


def philox4x32(counter: npt.ArrayLike, key: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Ten rounds of Philox4x32 (Salmon et al. 2011): words (..., 4) of counters (..., 4) and keys (..., 2)."""
    word, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c, k = np.asarray(counter, np.uint64), np.asarray(key, np.uint64)
    c0, c1, c2, c3, k0, k1 = np.broadcast_arrays(*np.moveaxis(c, -1, 0), *np.moveaxis(k, -1, 0))
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (second >> half) ^ c1 ^ k0, second & word, (first >> half) ^ c3 ^ k1, first & word
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & word, (k1 + np.uint64(0xBB67AE85)) & word
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)
