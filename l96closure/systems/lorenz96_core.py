"""The compiled core of the two-scale Lorenz-96 model: RK4 steps of several rings side by side.

Numbers are laid out as :mod:`l96closure.systems.lorenz96_columns` says.

Units. The fast variables are kept as Y = (dt/2) c b y. Half a step along the tendencies of eq. (59) then is

    p = (dt/2) dY/dt = Y_{i+1} (Y_{i-1} - Y_{i+2}) - (dt/2) c Y_i + (dt/2)^2 h c^2 z_k
    q = (dt/2) dz/dt = (dt/2) (z_{k-1} (z_{k+1} - z_{k-2}) + F - z_k) - (h / b^2) sum_j Y

and the stages of RK4, numbered from 0, are X_1 = X + p_0, X_2 = X + p_1, X_3 = X + 2 p_2 and
X' = X + (p_0 + 2 p_1 + 2 p_2 + p_3) / 3.

Two sweeps make a step. The slow variables of stage n + 2 need the sums of the fast ones of stage n + 1, so two stages
can follow each other down the rows at a distance of two, what they read of each other held in registers. Sums go down
the rows in their order. No number depends on the members beside it, nor on how many columns hold a ring.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from l96closure.arrays import F64, Index
from l96closure.compiled import cached, called, shared
from l96closure.lanes import LANES, fma, lines, load, splat, store
from l96closure.systems.lorenz96_columns import ABOVE, Columns, Places, columns_of, laid_out, taken

_inlined = called(forceinline=True)


@called(forceinline=True)
def resolved(z: F64, F: float, out: F64) -> None:
    """Write the resolved tendency G(z) of eq. (60) for each row of ``z`` (n, K) into ``out`` (n, K)."""
    rows, size = z.shape
    for row in range(rows):
        ring, slope = z[row], out[row]
        two_before, before, here = ring[size - 2], ring[size - 1], ring[0]
        for k in range(size - 1):
            after = ring[k + 1]
            slope[k] = -before * (two_before - after) - here + F
            two_before, before, here = before, here, after
        slope[size - 1] = -before * (two_before - ring[0]) - here + F


# Python calls this one. Only such functions are cached on disk: one that comes from the cache is optimised into its
# compiled caller in another way than one compiled along with it, and the last bits would depend on which ran first.
resolved_from_python = cached(resolved)


class Scheme(NamedTuple):
    """RK4 with one time step, in the units above.

    Attributes
    ----------
    half : dt/2.
    damping : -(dt/2) c.
    drive : (dt/2)^2 h c^2.
    forcing : F.
    feedback : -h / b^2.
    unit : Y / y = (dt/2) c b.
    """

    half: float
    damping: float
    drive: float
    forcing: float
    feedback: float
    unit: float

    @classmethod
    def of(cls, dt: float, F: float, h: float, b: float, c: float) -> Scheme:
        """Return the scheme of a model."""
        half = dt / 2
        return cls(half, -half * c, half * half * h * c * c, float(F), -h / (b * b), half * c * b)


class _Work(NamedTuple):
    """Arrays of the columns that a step fills: fast, and slow ones, all with halos."""

    y2: F64
    gain: F64  # p_0 + 2 p_1
    z1: F64
    z2: F64
    z3: F64
    gain_z: F64  # q_0 + 2 q_1 + 2 q_2 in the end
    drive0: F64  # (dt/2)^2 h c^2 z of each stage
    drive1: F64
    drive2: F64
    drive3: F64
    sum0: F64  # over j of Y of each stage
    sum1: F64
    sum2: F64
    sum3: F64


@_inlined
def _work(fast: int, slow: int) -> _Work:
    return _Work(
        lines(fast), lines(fast),
        lines(slow), lines(slow), lines(slow), lines(slow),
        lines(slow), lines(slow), lines(slow), lines(slow),
        lines(slow), lines(slow), lines(slow), lines(slow),
    )  # fmt: skip


@_inlined
def _place(row: int) -> int:
    """Return where a row begins; those of the upper halo have negative numbers."""
    return LANES * (row + ABOVE)


@_inlined
def _fast_increment(before: Any, here: Any, after: Any, second: Any, drive: Any, damping: Any) -> Any:
    """Return p of the site ``here``."""
    return fma(after, before - second, fma(damping, here, drive))


@_inlined
def _first_stages(y: F64, work: _Work, columns: Columns, damping: float) -> None:
    """From Y to Y_2, p_0 + 2 p_1 and the sums of Y_1 and Y_2. Row i of Y_2 is made with row i + 2 of Y_1."""
    y2, gain, block = work.y2, work.gain, columns.block
    damping, two = splat(damping), splat(2.0)
    a0 = a1 = load(y, _place(-2))  # a_n is Y in row i + n, b_n is Y_1 there (m: i - 1), p_n its increment
    a2, a3 = load(y, _place(-1)), load(y, _place(0))
    bm = b0 = b1 = p0 = p1 = a0
    for i in range(-3, 0):
        a4 = load(y, _place(i + 4))
        p2 = _fast_increment(a1, a2, a3, a4, load(work.drive0, block[np.uintp(i + 2 + ABOVE)]), damping)
        bm, b0, b1, p0, p1 = b0, b1, a2 + p2, p1, p2
        a0, a1, a2, a3 = a1, a2, a3, a4
    for k in range(columns.blocks):
        drive = load(work.drive1, _place(k))
        total1 = total2 = splat(0.0)
        for i in range(k * columns.J, (k + 1) * columns.J):
            a4 = load(y, _place(i + 4))
            p2 = _fast_increment(a1, a2, a3, a4, load(work.drive0, block[np.uintp(i + 2 + ABOVE)]), damping)
            b2 = a2 + p2
            p = _fast_increment(bm, b0, b1, b2, drive, damping)
            state = a0 + p
            store(state, y2, _place(i))
            store(fma(two, p, p0), gain, _place(i))
            total1, total2 = total1 + b0, total2 + state
            bm, b0, b1, p0, p1 = b0, b1, b2, p1, p2
            a0, a1, a2, a3 = a1, a2, a3, a4
        store(total1, work.sum1, _place(k))
        store(total2, work.sum2, _place(k))


@_inlined
def _last_stages(y: F64, work: _Work, columns: Columns, damping: float) -> None:
    """From Y_2 to the next Y, in place, and the sums of Y_3 and of it. Row i is made with row i + 2 of Y_3."""
    Y2, gain, block = work.y2, work.gain, columns.block
    damping, two, third = splat(damping), splat(2.0), splat(1.0 / 3.0)
    a1, a2, a3 = load(Y2, _place(-2)), load(Y2, _place(-1)), load(Y2, _place(0))
    bm = b0 = b1 = g0 = g1 = y0 = y1 = a1  # a_n is Y_2 in row i + n, b_n is Y_3, g_n is p_0 + 2 p_1 + 2 p_2, y_n is Y
    for i in range(-3, 0):
        a4, y2 = load(Y2, _place(i + 4)), load(y, _place(i + 2))
        p2 = _fast_increment(a1, a2, a3, a4, load(work.drive2, block[np.uintp(i + 2 + ABOVE)]), damping)
        bm, b0, b1, g0, g1, y0, y1 = b0, b1, fma(two, p2, y2), g1, fma(two, p2, load(gain, _place(i + 2))), y1, y2
        a1, a2, a3 = a2, a3, a4
    for k in range(columns.blocks):
        drive = load(work.drive3, _place(k))
        total3 = total = splat(0.0)
        for i in range(k * columns.J, (k + 1) * columns.J):
            a4, y2 = load(Y2, _place(i + 4)), load(y, _place(i + 2))
            p2 = _fast_increment(a1, a2, a3, a4, load(work.drive2, block[np.uintp(i + 2 + ABOVE)]), damping)
            b2, g2 = fma(two, p2, y2), fma(two, p2, load(gain, _place(i + 2)))
            state = fma(third, _fast_increment(bm, b0, b1, b2, drive + g0, damping), y0)
            store(state, y, _place(i))
            total3, total = total3 + b0, total + state
            bm, b0, b1, g0, g1, y0, y1 = b0, b1, b2, g1, g2, y1, y2
            a1, a2, a3 = a2, a3, a4
        store(total3, work.sum3, _place(k))
        store(total, work.sum0, _place(k))


@_inlined
def _close(x: F64, ends: Places) -> None:
    """Fill the halos."""
    for i in range(ends.shape[1]):
        x[ends[0, i]] = x[ends[1, i]]


@_inlined
def _slow_increment(z: F64, sums: F64, i: int, scheme: Scheme) -> Any:
    """Return q of the slow sites at a place."""
    here, forcing = load(z, i), splat(scheme.forcing)
    resolved = fma(load(z, i - LANES), load(z, i + LANES) - load(z, i - 2 * LANES), forcing - here)
    return fma(splat(scheme.half), resolved, splat(scheme.feedback) * load(sums, i))


@_inlined
def _drive(z: F64, scheme: Scheme, drive: F64) -> None:
    """Write what the slow variables add to p."""
    factor = splat(scheme.drive)
    for i in range(0, z.size, LANES):
        store(factor * load(z, i), drive, i)


@_inlined
def _step(y: F64, z: F64, work: _Work, columns: Columns, scheme: Scheme) -> float:
    """Make a step in place; return a number that is finite if z is."""
    z1, z2, z3, gain, two = work.z1, work.z2, work.z3, work.gain_z, splat(2.0)
    first, last = _place(0), _place(columns.blocks)
    for i in range(first, last, LANES):
        q = _slow_increment(z, work.sum0, i, scheme)
        store(q, gain, i)
        store(load(z, i) + q, z1, i)
    _close(z1, columns.slow_ends)
    _drive(z, scheme, work.drive0)
    _drive(z1, scheme, work.drive1)
    _first_stages(y, work, columns, scheme.damping)
    _close(work.y2, columns.fast_ends)
    for i in range(first, last, LANES):
        q = _slow_increment(z1, work.sum1, i, scheme)
        store(fma(two, q, load(gain, i)), gain, i)
        store(load(z, i) + q, z2, i)
    _close(z2, columns.slow_ends)
    for i in range(first, last, LANES):
        q = _slow_increment(z2, work.sum2, i, scheme)
        store(fma(two, q, load(gain, i)), gain, i)
        store(fma(two, q, load(z, i)), z3, i)
    _close(z3, columns.slow_ends)
    _drive(z2, scheme, work.drive2)
    _drive(z3, scheme, work.drive3)
    _last_stages(y, work, columns, scheme.damping)
    _close(y, columns.fast_ends)
    level = splat(0.0)
    for i in range(first, last, LANES):
        q = _slow_increment(z3, work.sum3, i, scheme)
        state = fma(splat(1.0 / 3.0), load(gain, i) + q, load(z, i))
        store(state, z, i)
        level = level + state
    _close(z, columns.slow_ends)
    store(level, gain, 0)
    return gain[:LANES].sum()


@_inlined
def _add_up(y: F64, sums: F64, columns: Columns) -> None:
    """Sum the fast variables of every block as the sweeps do."""
    for k in range(columns.blocks):
        total = splat(0.0)
        for i in range(k * columns.J, (k + 1) * columns.J):
            total = total + load(y, _place(i))
        store(total, sums, _place(k))


@called
def _advance_columns(
    y: F64,
    z: F64,
    steps: int,
    first: int,
    every: int,
    lead: int,
    columns: Columns,
    scheme: Scheme,
    z_out: F64,
    psi_out: F64,
) -> int:
    """Advance the members of some columns; arguments and result as for :func:`_advance`."""
    work = _work(y.size, z.size)
    _add_up(y, work.sum0, columns)
    members, samples, K = z_out.shape
    row = -(-max(first, 0) // every)  # the next to be begun, and the next to be completed
    ending = -(-max(first - lead, 0) // every)
    to_psi = scheme.feedback / scheme.half
    for n in range(steps):
        if first + n == row * every and row < samples:
            for member in range(members):
                for k in range(K):
                    z_out[member, row, k] = z[columns.slow_places[member, k]]
            row += 1
        if first + n == ending * every + lead and ending < samples:
            for member in range(members):
                for k in range(K):
                    i = columns.slow_places[member, k]
                    psi_out[member, ending, k] = z[i] if lead > 0 else to_psi * work.sum0[i]
            ending += 1
        if not np.isfinite(_step(y, z, work, columns, scheme)):
            return n + 1
    return steps


@cached
def _advance(
    y: F64,
    z: F64,
    steps: int,
    first: int,
    every: int,
    lead: int,
    columns: Columns,
    scheme: Scheme,
    z_out: F64,
    psi_out: F64,
    made: Index,
    start: int,
    stop: int,
) -> None:
    """Advance members in place, and write records of the states before each step.

    Sample s belongs to step s * every. Its z is written when that step is to be made; what ``psi_out`` holds, when step
    s * every + lead is: z again, or the coupling term where ``lead`` is 0.

    Parameters
    ----------
    y, z : fast and slow variables (group, place) of groups of members that share columns.
    steps : number of steps to be made; fewer are where slow variables stop being finite.
    first : number of the first step.
    z_out, psi_out : records (member, sample, K).
    made : steps made by each group.
    start, stop : which groups.
    """
    members = columns.slow_places.shape[0]
    for group in range(start, stop):
        mine = slice(group * members, (group + 1) * members)
        made[group] = _advance_columns(
            y[group], z[group], steps, first, every, lead, columns, scheme, z_out[mine], psi_out[mine]
        )


@called
def _drive_columns(path: F64, site: Places, y: F64, columns: Columns, scheme: Scheme) -> None:
    """Advance the fast variables of some columns along ``path``, ``site`` being the slow site at each place."""
    work = _work(y.size, site.size)
    for i in range(site.size):
        work.drive3[i] = scheme.drive * path[0, site[i]]
    for half in range(1, path.shape[0], 2):
        for i in range(site.size):
            work.drive0[i] = work.drive3[i]
            work.drive1[i] = work.drive2[i] = scheme.drive * path[half, site[i]]
            work.drive3[i] = scheme.drive * path[half + 1, site[i]]
        _first_stages(y, work, columns, scheme.damping)
        _close(work.y2, columns.fast_ends)
        _last_stages(y, work, columns, scheme.damping)
        _close(y, columns.fast_ends)


@cached
def _drive_groups(path: F64, site: Places, y: F64, columns: Columns, scheme: Scheme, start: int, stop: int) -> None:
    """Advance the fast variables (group, place) of groups of members that share columns, in place, along ``path``."""
    for group in range(start, stop):
        _drive_columns(path, site, y[group], columns, scheme)


class Ensemble:
    """Members at work.

    Parameters
    ----------
    scheme : the time step.
    z : slow variables (member, K).
    Y : fast variables (member, K, J) in the units of the scheme.
    """

    def __init__(self, scheme: Scheme, z: F64, Y: F64) -> None:
        members, K, J = Y.shape
        self._scheme, self._shape = scheme, Y.shape
        self._columns = columns_of(K, J, members)
        share = len(self._columns.slow_places)
        self._y = laid_out(Y.reshape(members, K * J), self._columns.fast, share)
        self._z = laid_out(z, self._columns.slow, share)

    @property
    def z(self) -> F64:
        """The slow variables (member, K)."""
        return taken(self._z, self._columns.slow_places)[: self._shape[0]]

    @property
    def Y(self) -> F64:
        """The fast variables (member, K, J)."""
        return taken(self._y, self._columns.fast_places)[: self._shape[0]].reshape(self._shape)

    def advance(self, steps: int) -> int:
        """Advance without records; return the steps made, fewer where a member stopped being finite."""
        nothing = np.empty((self._shape[0], 0, self._shape[1]))
        return self.record(steps, 0, 1, 0, nothing, nothing)

    def record(self, steps: int, first: int, every: int, lead: int, z: F64, psi: F64) -> int:
        """Advance and write records; return the steps made, fewer where a member stopped being finite.

        Parameters
        ----------
        steps : number of steps.
        first : number of the first of them, that of the first sample being 0.
        every, lead : steps from a sample to the next, and to the state that its psi is made of.
        z, psi : records (member, sample, K). Sample s belongs to step s * every. Its z is written when that step is
            made; what ``psi`` holds, when step s * every + lead is: z again, or the coupling term where ``lead`` is 0.
        """
        made = np.empty(len(self._y), np.intp)
        arguments = self._y, self._z, steps, first, every, lead, self._columns, self._scheme, z, psi, made
        shared(_advance, len(made), *arguments)
        return int(made.min())


def driven(scheme: Scheme, path: F64, Y: F64) -> F64:
    """Advance fast variables by RK4 steps along slow variables that are given.

    Parameters
    ----------
    scheme : the time step.
    path : slow variables at every half step (2 steps + 1, K).
    Y : fast variables of each member (member, K, J) in the units of the scheme.

    Returns
    -------
    Of the shape of ``Y``, after the last step.
    """
    members, K, J = Y.shape
    columns = columns_of(K, J, members)
    y = laid_out(Y.reshape(members, K * J), columns.fast, len(columns.slow_places))
    shared(_drive_groups, len(y), path, columns.slow.ravel() % np.uintp(K), y, columns, scheme)
    return taken(y, columns.fast_places)[:members].reshape(Y.shape)
