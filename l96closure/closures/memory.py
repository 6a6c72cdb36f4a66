"""Noise with the memory that the subgrid tendency has: a sum of damped oscillators, standard normal at every time.

The residual of the subgrid tendency is neither white nor AR(1). The fast variables follow the slow ones smoothly and
overshoot, so its autocorrelation starts flat, falls within tens of steps and turns negative. A stationary Gaussian
process whose autocorrelation is a sum, with positive weights, of those of damped oscillators,

    x_i(n) = 2 r_i cos(w_i) x_i(n-1) - r_i^2 x_i(n-2) + s_i e_i(n),   xi(n) = sum_i sqrt(c_i) x_i(n),   sum_i c_i = 1,

has such a one. Each is a second-order autoregressive process with the poles r exp(+-i w) (Box & Jenkins 1970), whose
autocorrelation is r^l (cos(w l) + (1 - r^2) / (1 + r^2) cot(w) sin(w l)); it is stationary for every r < 1, and so is
any sum of them. The weights, rates and frequencies are fitted to the autocorrelation of the training data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks
from l96closure.closures.state import State
from l96closure.compiled import cached
from l96closure.series import time_step
from l96closure.training import TrainingData, residual_autocorrelation

__all__ = ["Memory", "fit_memory", "remembered"]

F64 = npt.NDArray[np.float64]

_RECURSION = "last", "before", "noise", "weight"  # names of what each oscillator takes
_LAGS = 150  # of the training interval, at which the memory is fitted
_SLOWEST, _FASTEST = 5e-3, 2.0  # damping, per interval
_HIGHEST = 0.5 * np.pi  # angular frequency, per interval; the lowest is _LOWEST, for the formula's sake
_LOWEST = 1e-3
_STARTS = 8  # of the least-squares fit
_COMPLEX_STEP = 1e-30
_AT_BOUND = 1e-3  # part of its range by which a parameter is from a bound that it has run into
_AS_GOOD = 1.001  # cost over the least, up to which fits are equally good


@dataclass(frozen=True, eq=False)
class Memory:
    """A sum of damped oscillators, standard normal at every time; made by :func:`fit_memory`.

    Attributes
    ----------
    damping : rate at which each oscillator forgets (m,), per unit of time, > 0.
    frequency : its angular frequency (m,), per unit of time.
    weight : its part of the variance (m,), adding up to 1.
    step : time between two values of the noise.
    """

    damping: F64
    frequency: F64
    weight: F64
    step: float
    _recursion: F64 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks.number("step", self.step, above=0.0)
        if not (self.damping > 0.0).all():
            checks.reject("damping", self.damping.tolist(), "rates > 0")
        decay, angle = np.exp(-self.damping * self.step), self.frequency * self.step
        first, second = 2.0 * decay * np.cos(angle), -(decay**2)
        noise = np.sqrt((1.0 + second) * ((1.0 - second) ** 2 - first**2) / (1.0 - second))
        object.__setattr__(self, "_recursion", np.stack([first, second, noise, np.sqrt(self.weight)]))

    def autocorrelation(self, lags: int) -> F64:
        """Autocorrelation of the noise at the lags 0, 1, ... ``lags`` - 1 steps (lags,)."""
        return _autocorrelations(self.damping * self.step, self.frequency * self.step, lags).T @ self.weight

    def tables(self) -> dict[str, F64]:
        """Return the recursion of the oscillators (m,): what each takes of its last value and of the one before.

        ``memory_noise`` is what it takes of the step's normals, one draw for each; ``memory_weight`` its weight in xi.
        """
        return {f"memory_{name}": row for name, row in zip(_RECURSION, self._recursion.copy(), strict=True)}

    def initial(self, state: State, sites: int) -> F64:
        """Draw the last two values of every oscillator from their stationary distribution (member, K, 2 m)."""
        first, second, *_ = self._recursion
        normals = state.normals(2 * self.weight.size, sites)
        last, before = (np.moveaxis(half, 0, 2) for half in np.split(normals, 2))
        together = first / (1.0 - second)  # correlation of one value with the next
        return np.concatenate([last, together * last + np.sqrt(1.0 - together**2) * before], axis=2)

    def advance(self, state: State, sites: int) -> tuple[F64, F64]:
        """Make a step; return the noise (member, K), standard normal, and what to remember next (member, K, 2 m)."""
        following, noise = np.empty_like(state.memory), np.empty(state.memory.shape[:2])
        _advance(state.memory, state.normals(self.weight.size, sites), self._recursion, following, noise)
        return noise, following


@cached
def _advance(state: F64, normals: F64, recursion: F64, following: F64, noise: F64) -> None:
    m = normals.shape[0]
    for n in range(state.shape[0]):
        for k in range(state.shape[1]):
            total = 0.0
            for i in range(m):
                last = state[n, k, i]
                value = (
                    recursion[0, i] * last + recursion[1, i] * state[n, k, m + i] + recursion[2, i] * normals[i, n, k]
                )
                following[n, k, i], following[n, k, m + i] = value, last
                total += recursion[3, i] * value
            noise[n, k] = total


def _autocorrelations(damping: F64, angle: F64, lags: int) -> F64:
    """Autocorrelation of each oscillator (m, lags); rates and frequencies per step."""
    lag = np.arange(lags)
    decay = np.exp(-damping)[:, None]
    phase = angle[:, None] * lag
    lean = (1.0 - decay**2) / (1.0 + decay**2) / np.tan(angle[:, None])
    result: F64 = decay**lag * (np.cos(phase) + lean * np.sin(phase))
    return result


def fit_memory(autocorrelation: F64, interval: float, oscillators: int, step: float | None = None) -> Memory:
    """Fit damped oscillators to an autocorrelation.

    The start of the least-squares fit is a non-negative one (Lawson & Hanson 1974) of the weights of many oscillators
    on a grid of rates and frequencies; the fit is repeated from others of these, the best is kept (of equally good ones
    the first) and polished, and its oscillators are put into the order of their weights: rounding in the last places of
    the autocorrelation must change neither which optimum is found nor which oscillator gets which random numbers.

    Parameters
    ----------
    autocorrelation : at the lags 0, 1, ... intervals (lags,).
    interval : time between lags, > 0.
    oscillators : how many, >= 1.
    step : time between two values of the noise, > 0; None is ``interval``.

    Returns
    -------
    Memory

    Raises
    ------
    ValueError
        An argument is out of its range.
    """
    m = checks.integer("oscillators", oscillators, 1)
    lags = autocorrelation.size
    trust = np.where(np.arange(lags) < 4, 5.0, 1.0)[1:]  # the first lags are what the resolved scales feel
    grid = np.meshgrid(np.geomspace(2 * _SLOWEST, 0.6, 16), np.linspace(_LOWEST, 0.5, 26), indexing="ij")
    damping, angle = (axis.ravel() for axis in grid)
    candidates = _autocorrelations(damping, angle, lags)[:, 1:].T * trust[:, None]
    whole = np.full((1, damping.size), 30.0)  # their weights add up to 1
    target = np.append(autocorrelation[1:] * trust, whole[0, 0])
    found, _ = scipy.optimize.nnls(np.concatenate([candidates, whole]), target)

    misfit = partial(_misfit, autocorrelation=autocorrelation, trust=trust)
    low, high = np.repeat([[np.log(_SLOWEST), _LOWEST, -20.0], [np.log(_FASTEST), _HIGHEST, 20.0]], m, axis=1)
    rng, used = np.random.default_rng(0), np.flatnonzero(found > 0.0)
    results = []
    for order in (np.argsort(-found[used]), *(rng.permutation(used.size) for _ in range(_STARTS - 1))):
        chosen = np.resize(used[order], m)
        start = np.concatenate([np.log(damping[chosen]), angle[chosen], np.log(np.maximum(found[chosen], 0.05))])
        start = np.clip(start, low, high)
        results.append(scipy.optimize.least_squares(misfit, start, bounds=(low, high), max_nfev=200))
    least = min(float(result.cost) for result in results)
    x = _polished(misfit, next(result.x for result in results if result.cost <= _AS_GOOD * least), low, high)
    rate, frequency, share = x.reshape(3, m)[:, np.argsort(-x[2 * m :], kind="stable")]
    c = np.exp(share - share.max())
    return Memory(np.exp(rate) / interval, frequency / interval, c / c.sum(), interval if step is None else step)


def _misfit(parameters: F64, autocorrelation: F64, trust: F64) -> F64:
    """Weighted errors (lags - 1,) of oscillators whose log rates, frequencies and log weights are ``parameters``."""
    rate, frequency, share = parameters.reshape(3, -1)
    c = np.exp(share - share.real.max())
    model = _autocorrelations(np.exp(rate), frequency, autocorrelation.size).T @ (c / c.sum())
    difference: F64 = trust * (model - autocorrelation)[1:]
    return difference


def _polished(misfit: Callable[[F64], F64], x: F64, low: F64, high: F64) -> F64:
    """Put parameters near a bound on it, and converge in the others (one share is redundant)."""
    for bound in (low, high):
        x = np.where(np.abs(x - bound) < _AT_BOUND * (high - low), bound, x)
    free = (x != low) & (x != high)
    shares = slice(2 * x.size // 3, None)
    free[shares.start + int(x[shares].argmax())] = False

    def of_free(values: F64) -> F64:
        full = x.astype(values.dtype)
        full[free] = values
        return misfit(full)

    def gradient(values: F64) -> F64:
        # Exact slopes, by complex steps (Squire & Trapp 1998); differences lose half the digits.
        steps = _COMPLEX_STEP * np.eye(values.size)
        slopes = np.stack([of_free(values + 1j * step).imag / _COMPLEX_STEP for step in steps])
        return np.asarray(slopes @ of_free(values))

    if not free.any():
        return x
    with np.errstate(all="ignore"):  # where there is no root nearby, the search runs away
        root = scipy.optimize.root(gradient, x[free], tol=1e-13).x  # the cost itself is too flat to tell its minimum
    inside = ((root > low[free]) & (root < high[free])).all()
    if inside and np.square(of_free(root)).sum() <= _AS_GOOD * np.square(misfit(x)).sum():
        x[free] = root
    return x


def remembered(truth: xr.Dataset, data: TrainingData, oscillators: int, step: float | None) -> Memory:
    """Fit the memory of the noise to the residual of training data, which :func:`l96closure.training.prepare` made.

    Without ``step`` and a coordinate ``time`` of ``truth``, the unit of time is the interval of ``truth``.
    Raises ``ValueError`` when ``truth`` is too short for so many oscillators, its times are not those of one run, or
    its target looks like several (:func:`l96closure.series.one_run`).
    """
    interval = 1.0 if step is None and "time" not in truth.coords else time_step("truth", truth)
    lags = min(_LAGS, truth.sizes["time"] // 2)
    if lags < 4 * oscillators:
        checks.reject(
            "truth.sizes['time']", truth.sizes["time"], f"at least {8 * oscillators} for memory={oscillators}"
        )
    return fit_memory(residual_autocorrelation(truth, data, lags), interval, oscillators, step)
