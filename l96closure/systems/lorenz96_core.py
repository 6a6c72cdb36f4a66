"""The compiled core of the two-scale Lorenz-96 model: tendencies on rings with halos, and RK4 steps."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from l96closure.compiled import cached

__all__ = [
    "Integration",
    "driven_steps",
    "padded",
    "resolved",
    "resolved_from_python",
    "rk4_steps",
    "tendency_from_python",
]

FloatArray = npt.NDArray[np.float64]


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def resolved(z: FloatArray, F: float, out: FloatArray) -> None:
    """Write the resolved tendency G(z) of eq. (60) for each row of ``z`` (n, K) into ``out`` (n, K)."""
    rows, size = z.shape
    for row in range(rows):
        for k in range(size):
            out[row, k] = -z[row, k - 1] * (z[row, k - 2] - z[row, (k + 1) % size]) - z[row, k] + F


# Python calls this one. Only such functions are cached on disk: one that comes from the cache is optimised into its
# compiled caller in another way than one compiled along with it, and the last bits would depend on which ran first.
resolved_from_python = cached(resolved)


# The rings are stored with halos, so that the inner loops have no modulo and vectorise:
# slow: two sites on the left, one on the right; fast: one on the left, two on the right.
_Z_LEFT, _Z_RIGHT = 2, 1
_Y_LEFT, _Y_RIGHT = 1, 2


def padded(z: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the slow (K,) and fast (K, J) variables as rings with halos, (K + 3,) and (K J + 3,)."""
    return np.pad(z, (_Z_LEFT, _Z_RIGHT), mode="wrap"), np.pad(y.ravel(), (_Y_LEFT, _Y_RIGHT), mode="wrap")


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _tendency(
    z: FloatArray,
    y: FloatArray,
    J: int,
    F: float,
    coupling: float,
    b: float,
    c: float,
    dz: FloatArray,
    dy: FloatArray,
) -> None:
    """Write eq. (59) for the padded rings ``z`` and ``y`` into ``dz`` (K,) and ``dy`` (K J,)."""
    cb = c * b
    for k in range(dz.size):
        total, drive = 0.0, coupling * z[k + 2]
        for i in range(k * J, (k + 1) * J):  # a loop that sums does not store; see bridge/kernel_sums.py
            total += y[i + 1]
        for i in range(k * J, (k + 1) * J):
            dy[i] = drive
        dz[k] = F - z[k + 2] - z[k + 1] * (z[k] - z[k + 3]) - coupling * total
    for i in range(dy.size):
        dy[i] -= c * y[i + 1] + cb * y[i + 2] * (y[i + 3] - y[i])


tendency_from_python = cached(_tendency)


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _move(x: FloatArray, dx: FloatArray, weight: float, out: FloatArray, left: int, right: int) -> None:
    """One RK stage on a padded ring: out = x + weight dx, then close the ring of ``out``."""
    n = dx.size
    for i in range(n):
        out[i + left] = x[i + left] + weight * dx[i]
    for i in range(left):
        out[i] = out[n + i]
    for i in range(right):
        out[left + n + i] = out[left + i]


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _rk4_average(slopes: FloatArray) -> None:
    """Overwrite the first of the four stage slopes (4, n) by their RK4 average."""
    for i in range(slopes.shape[1]):
        slopes[0, i] = (slopes[0, i] + 2.0 * (slopes[1, i] + slopes[2, i]) + slopes[3, i]) / 6.0


@cached(fastmath={"contract", "nsz"}, error_model="numpy")  # type: ignore[untyped-decorator]
def rk4_steps(
    z: FloatArray,
    y: FloatArray,
    steps: int,
    dt: float,
    J: int,
    F: float,
    coupling: float,
    b: float,
    c: float,
    lead: int,
    every: int,
    step0: int,
    history_z: FloatArray,
    out_z: FloatArray,
    out_psi: FloatArray,
    emitted: int,
) -> tuple[int, int]:
    """Advance the padded state in place and emit samples; return (steps done, samples emitted).

    Sample s belongs to fine step s * every. It is written once the step s * every + lead has been reached, from
    the ring buffer ``history_z`` (lead + 1, K). Stops early once a slow variable is not finite.
    """
    K, N = history_z.shape[1], y.size - 3
    dz, dy = np.empty((4, K)), np.empty((4, N))
    stage_z, stage_y = np.empty_like(z), np.empty_like(y)
    G = np.empty((1, K))
    depth = lead + 1
    for n in range(steps + 1):
        step = step0 + n
        if out_z.shape[0] > emitted:
            for k in range(K):
                history_z[step % depth, k] = z[2 + k]
            if step == emitted * every + lead:  # not written yet: a block begins with the step the last ended with
                slot = (step - lead) % depth
                old = history_z[slot]
                resolved(history_z[slot : slot + 1], F, G)
                for k in range(K):
                    out_z[emitted, k] = old[k]
                    if lead == 0:
                        total = 0.0
                        for i in range(k * J, (k + 1) * J):
                            total += y[i + 1]
                        out_psi[emitted, k] = -coupling * total
                    else:
                        out_psi[emitted, k] = (z[2 + k] - old[k]) / (lead * dt) - G[0, k]
                emitted += 1
        if n == steps:
            break
        _tendency(z, y, J, F, coupling, b, c, dz[0], dy[0])
        for stage in range(1, 4):
            weight = dt if stage == 3 else dt / 2
            _move(z, dz[stage - 1], weight, stage_z, _Z_LEFT, _Z_RIGHT)
            _move(y, dy[stage - 1], weight, stage_y, _Y_LEFT, _Y_RIGHT)
            _tendency(stage_z, stage_y, J, F, coupling, b, c, dz[stage], dy[stage])
        _rk4_average(dz)
        _rk4_average(dy)
        _move(z, dz[0], dt, z, _Z_LEFT, _Z_RIGHT)
        _move(y, dy[0], dt, y, _Y_LEFT, _Y_RIGHT)
        level = 0.0
        for k in range(K):
            level += z[2 + k]
        if not np.isfinite(level):
            return n + 1, emitted
    return steps, emitted


class Integration:
    """A running integration, in place.

    Parameters
    ----------
    z, y : slow (K,) and fast (K, J) variables.
    dt : fine step.
    parameters : J, F, coupling, b and c.
    """

    def __init__(
        self, z: FloatArray, y: FloatArray, dt: float, parameters: tuple[int, float, float, float, float]
    ) -> None:
        self._z, self._y = padded(z, y)
        self._K, self._dt, self._parameters = z.size, dt, parameters

    @property
    def z(self) -> FloatArray:
        """The slow variables (K,), without halos."""
        return self._z[_Z_LEFT:-_Z_RIGHT]

    @property
    def y(self) -> FloatArray:
        """The fast variables (K, J), without halos."""
        return self._y[_Y_LEFT:-_Y_RIGHT].reshape(self._K, -1)

    def advance(self, steps: int) -> int:
        """Advance without output; return the steps done (fewer than asked if the state blew up)."""
        nothing = np.empty((0, self._K))
        return self.sample(steps, 0, 1, 0, np.empty((1, self._K)), nothing, nothing, 0)[0]

    def sample(
        self,
        steps: int,
        lead: int,
        every: int,
        first: int,
        history: FloatArray,
        z: FloatArray,
        psi: FloatArray,
        emitted: int,
    ) -> tuple[int, int]:
        """Advance, the first step being number ``first``, and fill ``z`` and ``psi`` from row ``emitted`` on.

        Returns the steps done and the rows filled so far; other arguments as for :func:`rk4_steps`.
        """
        return rk4_steps(  # type: ignore[no-any-return]
            self._z, self._y, steps, self._dt, *self._parameters, lead, every, first, history, z, psi, emitted
        )


@cached(fastmath={"contract", "nsz"}, error_model="numpy")  # type: ignore[untyped-decorator]
def driven_steps(
    path: FloatArray, y: FloatArray, dt: float, J: int, F: float, coupling: float, b: float, c: float
) -> None:
    """Advance fast variables in place by RK4 steps along slow variables that are given.

    Parameters
    ----------
    path : slow variables as rings with halos at every half step, (2 steps + 1, K + 3); see :func:`padded`.
    y : fast variables of each member, (member, K J).
    dt : fine step.
    J, F, coupling, b, c : parameters of the model.
    """
    members, N = y.shape
    dz, dy = np.empty(path.shape[1] - 3), np.empty((4, N))
    now, stage_y = np.empty(N + 3), np.empty(N + 3)
    for member in range(members):
        for i in range(N + 3):
            now[i] = y[member, (i - _Y_LEFT) % N]
        for half in range(0, path.shape[0] - 2, 2):
            _tendency(path[half], now, J, F, coupling, b, c, dz, dy[0])
            for stage in range(1, 4):
                weight = dt if stage == 3 else dt / 2
                _move(now, dy[stage - 1], weight, stage_y, _Y_LEFT, _Y_RIGHT)
                _tendency(path[half + (2 if stage == 3 else 1)], stage_y, J, F, coupling, b, c, dz, dy[stage])
            _rk4_average(dy)
            _move(now, dy[0], dt, now, _Y_LEFT, _Y_RIGHT)
        for i in range(N):
            y[member, i] = now[i + _Y_LEFT]
