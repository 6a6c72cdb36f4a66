"""The compiled sums over samples: the only hot loop of the bridge.

For a query q and a dictionary of samples x^(j) with weights v^(j), everything the sampler needs is

    S_0 = sum_j v^(j) t^(j),   S_1 = sum_j v^(j) t^(j) y^(j),   S_2 = sum_j v^(j) t^(j) (y^(j))^2,
    t^(j) = 2^(-|q - x^(j)|^2),

in units in which the kernel exp(-|.|^2 / 4 epsilon) is 2^(-|.|^2), with y one of the coordinates or a value of its
own. No M x M matrix is ever formed. A query is tried in turn by

1. sums under a tolerance, where the dictionary has one, and
2. sums over all samples in single precision (:mod:`l96closure.kernel._group_sums`);
3. where S_0 is so small that the exponents ought to have been shifted (a query far from every sample), double
   precision: the largest exponent is found first and subtracted, so that S_0 >= min v and never 0/0. This path also
   serves the kernels that are not a plain function of the distance (variable bandwidth, dot product). It is compiled
   on first need: without it, every compiled loop ends at such a query and says so, and is taken up again with it.

Equal seeds give equal bits. In single precision the order of every sum is in the source
(:mod:`l96closure.vector`). The loops in double precision are left to the compiler, which takes two precautions.
No loop both sums and stores: where a loop stores, the compiler guards its vector form with a check that the arrays do
not overlap, and that check, being conservative, comes out differently for different addresses, while in a sum the
vector and the scalar form round differently. And only functions that Python calls are cached on disk. A function that
comes from the cache is optimised into its caller in another way than one compiled along with it, so that results would
depend, in their last bits, on what had been run before; what compiled code calls is therefore always compiled along
with it (``compiled_moments``).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from l96closure.compiled import cached, shared
from l96closure.kernel._group_sums import FAR, over_all, side_by_side
from l96closure.kernel._groups import GROUP
from l96closure.kernel._layout import DISTANCE, KernelPlan, Scratch, scratch_of
from l96closure.kernel._shifted_sums import query_coordinates, sums_shifted
from l96closure.kernel._tolerant_sums import tolerant
from l96closure.kernel._unmanaged import borrowed, keep_alive
from l96closure.vector import LANES

__all__ = ["compiled_moments", "moments", "moments_given", "runs_in_parallel"]

F64 = npt.NDArray[np.float64]

_FEWEST_SIDE_BY_SIDE = LANES // 2  # queries of a state, from which on a vector beats one after another
_PARALLEL_WORK = 400_000  # kernel evaluations (0.1 ms) that are worth waking a second thread for


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _one_query(
    x: F64, p: int, plan: KernelPlan, order: int, mean: F64, variance: F64, scratch: Scratch, double: bool | None
) -> tuple[int, int]:
    """Conditional moments of the targets of query ``p`` for the state ``x`` (d,).

    Returns the number of kernel evaluations, and of queries that are left (one, or none) for want of double precision.
    """
    h = plan.head[p]
    query = query_coordinates(x, p, plan, scratch.query)
    rows, sums = plan.value_rows[h], scratch.sums
    work, done = 0, False
    if plan.kind == DISTANCE:
        for a in range(query.size):
            scratch.single[a] = query[a]
        if plan.rtol[h] > 0.0:
            work = tolerant(h, plan, order, scratch)
            done = work >= 0
            work = max(work, -1 - work)
        if not done:
            over_all(h, plan, order, scratch)
            work += plan.number[h, 1] * GROUP
            done = sums[0, 0] > FAR
    if not done:
        if double is None:  # its type decides, so that what few runs need is compiled for few
            return work, 1
        sums_shifted(query, h, plan, sums)
        work += plan.charge.shape[1]
    for c in range(rows.size):
        first = sums[1, c] / sums[0, 0]
        target, row = plan.targets[p, c], rows[c]
        mean[target] = plan.centre[h, row] + first / plan.factor[h, row]
        if order > 1:
            spread = max(sums[2, c] / sums[0, 0] - first * first, 0.0)
            variance[target] = spread / plan.factor[h, row] ** 2
    return work, 0


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _several_queries(
    x: F64,
    start: int,
    stop: int,
    plan: KernelPlan,
    order: int,
    mean: F64,
    variance: F64,
    scratch: Scratch,
    double: bool | None,
) -> tuple[int, int]:
    """Do as :func:`_one_query` for the tasks ``start`` to ``stop``, task n P + p being query p of state n."""
    P, work, left = plan.head.size, 0, 0
    lanes = LANES if _suits_lanes(plan) else 1
    size, row, groups = plan.size[0], plan.value_rows[0, 0], plan.first[0, 1]
    centre, factor, sums = plan.centre[0, row], plan.factor[0, row], scratch.lane_sums
    for begin in range(start, stop, lanes):
        some = min(lanes, stop - begin)
        if lanes > 1:
            for a in range(size):
                for i in range(LANES):
                    task = begin + min(i, some - 1)
                    n, p = task // P, task % P
                    q = (x[n, plan.gather[p, a]] - plan.centre[0, a]) * plan.factor[0, a]
                    scratch.queries[a * LANES + i] = q
            last = groups + plan.number[0, 1]
            tables, out = (plan.nodes, plan.node_squares), (scratch.partial, scratch.lane_sums)
            side_by_side(scratch.queries, size, row, *tables, groups, last, order, *out)
            work += some * plan.number[0, 1] * GROUP
        for i in range(some):
            n, p = (begin + i) // P, (begin + i) % P
            if lanes > 1 and sums[0, i] > FAR:
                value, target = sums[1, i] / sums[0, i], plan.targets[p, 0]
                mean[n, target] = centre + value / factor
                variance[n, target] = max(sums[2, i] / sums[0, i] - value * value, 0.0) / factor**2
            else:
                done = _one_query(x[n], p, plan, order, mean[n], variance[n], scratch, double)
                work, left = work + done[0], left + done[1]
    return work, left


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def _suits_lanes(plan: KernelPlan) -> bool:
    """Whether queries are summed side by side; not a function of how many states there are, each has its own bits."""
    one = plan.charge.shape[0] == 1 and plan.value_rows.shape[1] == 1 and plan.size[0] > 0
    return one and plan.kind == DISTANCE and plan.rtol[0] == 0.0 and plan.head.size >= _FEWEST_SIDE_BY_SIDE


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def compiled_moments(
    x: F64, plan: KernelPlan, order: int, mean: F64, variance: F64, double: bool | None, start: int, stop: int
) -> tuple[int, int]:
    """Conditional mean (``order`` 1) and variance (2) of the targets of the tasks ``start`` to ``stop``.

    Task n P + p is query p of P for state n of x (n, d). Returns the number of kernel evaluations, and of queries that
    are left because ``double`` is None: those that single precision cannot answer.
    """
    memory = scratch_of(plan)
    out = borrowed(mean), borrowed(variance)
    done = _several_queries(borrowed(x), start, stop, borrowed(plan), order, *out, borrowed(memory), double)
    keep_alive(memory)
    return done  # type: ignore[no-any-return]


_moments = cached(compiled_moments)


def moments(x: F64, plan: KernelPlan, order: int, mean: F64, variance: F64) -> int:
    """Conditional mean (``order`` 1) and variance (2) of every query's targets, for each state x (n, d).

    Parameters
    ----------
    x : states (n, d).
    plan : of the bridge.
    order : 1 or 2.
    mean, variance : where the moments are written (n, d), in the places of the targets.

    Returns
    -------
    The number of kernel evaluations.
    """
    work, tasks = 0, x.shape[0] * plan.head.size
    for double in (None, True) if plan.kind == DISTANCE else (True,):
        arguments = x, plan, order, mean, variance, double
        several = runs_in_parallel(plan, len(x))
        done = shared(_moments, tasks, *arguments) if several else [_moments(*arguments, 0, tasks)]
        work += sum(more for more, _ in done)
        if not any(left for _, left in done):
            break
    return work


def moments_given(coordinates: F64, plan: KernelPlan, h: int, order: int = 2) -> tuple[F64, F64, int]:
    """Mean and variance (n, C) of the values of dictionary ``h`` given its coordinates (n, size), and evaluations."""
    size, values = plan.size[h], plan.targets.shape[1]
    x = np.zeros((len(coordinates), size + values))
    x[:, :size] = coordinates
    mean, variance = np.empty_like(x), np.empty_like(x)
    work = moments(x, plan.of_one(h), order, mean, variance)
    return mean[:, size:], variance[:, size:], work


def runs_in_parallel(plan: KernelPlan, n: int) -> bool:
    """Whether ``n`` states are enough work for more than one thread; a function of the work alone."""
    return bool(n * plan.head.size * plan.charge.shape[1] >= _PARALLEL_WORK)
