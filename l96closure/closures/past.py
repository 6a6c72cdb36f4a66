"""What came before a state: what is known of it, or else a past drawn from the training data.

A past is drawn from the training states that are nearest in the Euclidean distance of the scaled predictors over the
whole field (on a ring all rotations of them count), one for each member at random among the nearest few. What such an
analog lacks is made up for by a regression backwards in time: with a polynomial b_l of the neighbourhood that predicts
z a lag l earlier, the past of z is that of its analog a plus b_l(z) - b_l(a). In the two-scale Lorenz-96 model that
more than halves the error of the nearest analog's past, and members differ by about as much as they err.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks, noise
from l96closure.arrays import F32, F64, Index
from l96closure.closures.features import Features
from l96closure.closures.state import State
from l96closure.record import Record
from l96closure.subgrid import FITTING_SCHEME

_MOST_VALUES = 2_000_000  # that are kept
_MOST_STATES = 100_000  # rotations counted, that a state is compared with
_AT_ONCE = 2**22  # distances held in memory
_GROUPS = 16  # of distances, so that few are sorted
_NEAREST = 20  # analogs that a member's is drawn from
_REACH = 3  # neighbours on either side that the regression sees
_MOST_TERMS = 200  # of the regression
_ROWS = 50_000  # that it is fitted to
_RIDGE = 1e-5
_DRAW = noise.MOST_DRAWS - 1  # of the first step, which no noise uses


@dataclass(frozen=True, eq=False)
class Past:
    """Training fields that a start looks for its likes in, and the regression backwards from them.

    Attributes
    ----------
    fields : scaled predictors (time, P, K), of one segment after the other.
    first : where each segment begins (segments,), ascending from 0.
    window : sites that the regression sees from each site, itself first (K, W).
    backwards : coefficients of its terms (C, H, P), for each step before now.
    rotations : whether rotated fields are as likely.
    known : how many of the P are known now, the first ones: states are compared in these, and regressed on these.
    """

    fields: F32
    first: Index
    window: Index
    backwards: F64
    rotations: bool
    known: int

    @classmethod
    def of(cls, record: Record, features: Features) -> Past:
        """Keep the first times of every segment, as many as memory is meant for, and fit the regression.

        Parameters
        ----------
        record : training data.
        features : of the closure, for their scales and longest lag, and the neighbourhood where there is no ring.

        Returns
        -------
        Past
        """
        known, rotations = len(record.fields.predictors), record.fields.homogeneous == (True,)
        H, series = features.longest, record.series
        P = record.fields.remembered
        if record.fields.before:  # targets beside the predictors of their own time
            H += record.fields.before
            series = [np.concatenate([one[:-1, :known], one[1:, known:P]], axis=1) for one in series]
        K = record.fields.sites
        share = max(4 * (H + 1), _MOST_VALUES // (P * K * len(series)))
        kept = [one[:share] for one in series if len(one) > H]
        scaled = np.concatenate(kept) - features.middle[:P, None]
        scaled /= features.half[:P, None]
        first = np.cumsum([0, *(len(one) for one in kept)])[:-1]
        around = np.arange(-min(_REACH, (K - 1) // 2), min(_REACH, (K - 1) // 2) + 1)
        around = around[np.argsort(np.abs(around), kind="stable")]
        window = (np.arange(K)[:, None] + around) % K if rotations else features.neighbour
        fields = scaled.astype(np.float32)
        ends = np.append(first[1:], len(fields))
        times = np.concatenate([np.arange(a + H, b) for a, b in zip(first, ends, strict=True)])
        times = times[:: -(-times.size * K // _ROWS)]
        design = _terms(fields[times, :known].astype(np.float64), window)
        before = fields[times[:, None] - np.arange(1, H + 1)].transpose(0, 3, 1, 2).reshape(len(design), -1)
        gram = design.T @ design + _RIDGE * len(design) * np.eye(design.shape[1])
        coefficients: F64 = np.asarray(np.linalg.solve(gram, design.T @ before)).reshape(-1, H, P)
        return cls(fields, first, window, coefficients, rotations, known)

    def drawn(self, z: F64, features: Features, state: State) -> F64:
        """Draw the history of states from the training data.

        Parameters
        ----------
        z : what is known now (n, :attr:`known`, K).
        features : of the closure, for their scales.
        state : gives the uniform numbers that choose among the nearest.

        Returns
        -------
        (n, H, P, K), the last step first, in the units of the training data.
        """
        middle, half = features.middle[: self.known, None], features.half[: self.known, None]
        wanted = ((z - middle) / half).astype(np.float32)
        wanted = np.nan_to_num(wanted, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3)
        unique, where = np.unique(wanted, axis=0, return_inverse=True)  # members of one forecast start alike
        time, turn = self._nearest(unique)
        uniform = noise.block(state.key, state.member, state.step, 1, 1, draw=_DRAW, normal=False)[0, :, 0]
        row, one = where.reshape(-1), (time.shape[1] * uniform).astype(np.intp)
        time, turn = time[row, one], turn[row, one]
        site = ((np.arange(z.shape[2]) + turn[:, None]) % z.shape[2])[:, None, None, :]
        lags = np.arange(self.backwards.shape[1] + 1)
        analog = np.take_along_axis(self.fields[time[:, None] - lags], site, axis=3).astype(np.float64)
        change = self._before(wanted.astype(np.float64)) - self._before(analog[:, 0, : self.known])
        P = analog.shape[2]
        return (analog[:, 1:] + change) * features.half[:P, None] + features.middle[:P, None]

    def _before(self, scaled: F64) -> F64:
        """Regression of the steps before (n, H, P, K) on scaled predictors (n, P, K)."""
        n, _, K = scaled.shape
        C, H, P = self.backwards.shape
        # A product for each member: the rounding of one for all would depend on how many there are.
        found = _terms(scaled, self.window).reshape(n, K, C) @ self.backwards.reshape(C, -1)
        return found.reshape(n, K, H, P).transpose(0, 2, 3, 1)

    def _nearest(self, wanted: F32) -> tuple[Index, Index]:
        """Return times and rotations of the fields nearest to each of the wanted ones (n, P, K); both (n, nearest)."""
        H, ends = self.backwards.shape[1], np.append(self.first[1:], len(self.fields))
        times = np.concatenate([np.arange(a + H, b) for a, b in zip(self.first, ends, strict=True)])
        turns = np.arange(wanted.shape[2] if self.rotations else 1)
        times = times[:: -(-times.size * turns.size // _MOST_STATES)]
        states = self.fields[times, : self.known].reshape(times.size, -1)
        squares, most, N = (states**2).sum(axis=1), min(2 * _NEAREST, times.size), turns.size * times.size
        groups = max(1, min(_GROUPS, N // most))
        parts = np.array_split(wanted, -(-len(wanted) * N // _AT_ONCE))
        room, found = np.full((len(parts[0]), -(-N // groups) * groups), np.inf, np.float32), []
        for some in parts:
            distance = room[: len(some)]
            for i, shift in enumerate(turns):  # the wanted ones are turned back in place of turning all states
                turned = np.roll(some, shift, axis=2).reshape(len(some), -1)
                here = (turned[:, None] @ states.T)[:, 0]  # one by one, as in _before
                distance[:, i * times.size : (i + 1) * times.size] = squares - 2.0 * here
            # The nearest are where the nearest one of each place of all groups is among the nearest.
            grouped = distance.reshape(len(some), groups, -1)
            place = np.argpartition(grouped.min(axis=1), most - 1, axis=1)[:, :most]
            near = (np.arange(groups)[:, None] * grouped.shape[2] + place[:, None]).reshape(len(some), -1)
            best = np.argsort(np.take_along_axis(distance, near, axis=1), axis=1, kind="stable")[:, :most]
            found.append(np.take_along_axis(near, best, axis=1))
        one = np.concatenate(found)
        return self._ordered(wanted, times[one % times.size], turns[one // times.size])

    def _ordered(self, wanted: F32, time: Index, turn: Index) -> tuple[Index, Index]:
        """Take the nearest of twice as many found, by distances whose rounding does not depend on who else asks."""
        distance = np.empty(time.shape)
        for i, one in enumerate(wanted.astype(np.float64)):
            site = ((np.arange(one.shape[1]) + turn[i, :, None]) % one.shape[1])[:, None]
            there = np.take_along_axis(self.fields[time[i], : self.known], site, axis=2)
            distance[i] = ((there - one) ** 2).sum(axis=(1, 2))
        best = np.argsort(distance, axis=1, kind="stable")[:, :_NEAREST]
        return np.take_along_axis(time, best, axis=1), np.take_along_axis(turn, best, axis=1)


def _terms(scaled: F64, window: Index) -> F64:
    """Products (n K, C) of up to three scaled predictors (n, P, K) of the window; of fewer where there are many."""
    seen = np.clip(scaled, -1.0, 1.0)[:, :, window]  # (n, P, K, W)
    f = seen.transpose(0, 2, 1, 3).reshape(len(scaled) * scaled.shape[2], -1)
    columns, size = [np.ones(len(f)), *f.T], f.shape[1]
    for order in range(2, _order(size) + 1):
        columns += [math.prod(f[:, i] for i in some) for some in combinations_with_replacement(range(size), order)]
    return np.stack(columns, axis=1)


def _order(size: int) -> int:
    """Highest order, three at most, of which the polynomials in so many variables have few enough terms."""
    return next((order for order in (3, 2) if math.comb(size + order, order) <= _MOST_TERMS), 1)


def terms(size: int) -> int:
    """Return the number of terms of the regression on so many values.

    Parameters
    ----------
    size : number of values.

    Returns
    -------
    C
    """
    return math.comb(size + _order(size), _order(size))


def known(history: xr.Dataset, closure: Any, members: int, steps: int) -> tuple[F64, F64]:
    """Take predictors (member, lag, P, K) and psi (member, lag, C) out of a history, from now to ``steps`` before.

    Parameters
    ----------
    history : from :func:`l96closure.history`, or like it.
    closure : has the fields, the definition of psi and the step, that of the lags.
    members : how many there are.
    steps : lags that are needed.

    Returns
    -------
    Predictors (member, 1 + steps, P, K) and psi of all targets (member, 1 + steps, Q K), that of now being unknown.

    Raises
    ------
    ValueError
        A variable is missing, of other dims or sizes, the lags are not as many steps as that, or psi is of another
        scheme than the closure's.
    """
    if "lag" not in checks.xarray_dataset("history", history).coords:
        checks.reject("history", sorted(map(str, history.coords)), "a Dataset with the coordinate lag")
    fields, dt, scheme = closure.fields, closure.dt, FITTING_SCHEME.get(closure.subgrid or "")
    if scheme is not None and history.attrs.get("scheme", scheme) != scheme:
        checks.reject(
            "scheme of history", history.attrs["scheme"], f"{scheme!r}, which psi = {closure.subgrid!r} goes with"
        )
    lag = checks.finite_array("history['lag']", history["lag"], 1)
    if lag.size <= steps:
        checks.reject(
            "history.sizes['lag']", lag.size, f"at least {steps + 1}: now, the longest lag, the noise's order"
        )
    if dt is not None and not all(math.isclose(value, n * dt, rel_tol=1e-6) for n, value in enumerate(lag)):
        checks.reject("history['lag']", lag[:3].tolist(), f"0 and the multiples of {dt:g}, the closure's step")
    near, arrays = history.isel(lag=slice(steps + 1)), []
    for name in fields.names:
        if name not in near or set(near[name].dims) != {"member", "lag", *fields.dim}:
            checks.reject("history", {str(key): one.dims for key, one in near.items()}, f"{name} (member, lag, sites)")
        ours = near[name].transpose("member", "lag", *fields.dim)
        values = checks.real_array(f"history.{name}", ours)
        if values.shape != (members, steps + 1, *fields.shape):
            checks.reject(f"history.{name}.shape", values.shape, repr((members, steps + 1, *fields.shape)))
        needed = fields.filled(ours[:, 1:] if name in fields.targets else ours)
        numbers = checks.real_array(f"history.{name}", needed)
        checks.finite_array(f"history.{name}", checks.decoded(f"history.{name}", needed, numbers), needed.ndim)
        arrays.append(fields.taken(values.reshape(members, steps + 1, -1)))
    predictors = len(fields.predictors)
    return np.stack(arrays[:predictors], axis=2), np.concatenate(arrays[predictors:], axis=2)
