"""Sequential draws of one component at a time from p(x_alpha | the others of its neighbourhood).

The noising/denoising schemes of the paper lose variance: their law is that of the bridge's conditional means, smoothed.
Drawing instead of averaging keeps it. For component alpha let n be its neighbours, Lambda(alpha) without alpha, and

    x_alpha^(j) = a + b.x_n^(j) + r^(j)          least squares over the samples, residuals scaled by sqrt(M / (M - p)),
    w(x_n) = v o t(x_n) / (v.t(x_n))             eqs. (37)-(38) of Gottwald & Reich (2024) on the coordinates n alone,
    draw J with probability w^(J)(x_n),  x_alpha <- a + b.x_n + r^(J).

One sweep does so for every component in turn, each reading what the sweep has already drawn: a Gibbs sampler (Geman &
Geman 1984) whose full conditionals are estimated by the bridge. The linear part carries what the kernel would flatten,
so that the bandwidth has to resolve the residual's dependence on x_n alone; p = |n| + 1 coefficients are paid for by
the scaled residuals. With ``causal``, n holds only components before alpha: one sweep then is an exact ancestral draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.bridge.neighbourhoods import Neighbourhoods, padded
from l96closure.bridge.sinkhorn import weighted
from l96closure.compiled import cached, called
from l96closure.kernel import Kernel, KernelSums, WeightedSamples, draw

_TRIALS, _TRIAL_SWEEPS = 256, 300
_LARGEST_GROWTH = 1.5  # of the samples' standard deviation; sampling error alone makes some percent


class FullConditionals(NamedTuple):
    """What a sweep needs, in the form the compiled loops take.

    Attributes
    ----------
    sums : the weights w(x_n) of every component; its ``targets`` (P, 1) are the components in the order of the sweep.
    intercept, slope : a (H,) and b (H, R) of each dictionary, in physical units.
    residual : r of each dictionary (H, M).
    """

    sums: KernelSums
    intercept: F64
    slope: F64
    residual: F64

    def without(self, fixed: Index) -> FullConditionals:
        """Leave out the components that are held fixed."""
        free = ~np.isin(self.sums.targets[:, 0], fixed)
        return self._replace(sums=self.sums.of_queries(free))


def full_conditionals(
    components: Index,
    neighbourhoods: Neighbourhoods,
    dictionaries: Sequence[WeightedSamples],
    dictionary_of: Index,
    kernel: Kernel,
    tolerance: float,
    causal: bool,
) -> FullConditionals:
    """Fit the full conditionals of a bridge on its own samples, neighbourhoods, scales and kernel.

    Parameters
    ----------
    components, neighbourhoods, dictionaries, dictionary_of, kernel, tolerance : of the bridge.
    causal : condition on components with a smaller index only.

    Raises
    ------
    ValueError
        Components share a dictionary in which their neighbours stand in different places, or there are fewer samples
        than the linear part has coefficients.
    """
    places = [
        np.flatnonzero(members < alpha if causal else members != alpha)
        for alpha, members in zip(components, neighbourhoods, strict=True)
    ]
    one_set = dictionaries[0].values.shape[1] == components.size
    head = np.arange(len(places)) if one_set else dictionary_of
    first = np.unique(head, return_index=True)[1]
    if any(not np.array_equal(place, places[first[which]]) for place, which in zip(places, head, strict=True)):
        checks.reject("shared", True, "False for a sequential scheme in which the neighbours stand in different places")
    fitted = []
    for which, i in enumerate(first):
        place, source = places[i], dictionaries[0 if one_set else which]
        coordinates = source.coordinates[:, place]
        fitted.append(
            _Conditional(
                *_linear_part(coordinates, source.values[:, i if one_set else 0]),
                weighted(
                    WeightedSamples.unweighted(
                        coordinates, np.empty((len(coordinates), 0)), source.coordinate_scale[place], np.empty(0)
                    ),
                    kernel,
                    tolerance,
                    f"of the neighbours of component {components[i]}",
                ),
            )
        )
    gather = padded([members[place] for members, place in zip(neighbourhoods, places, strict=True)])
    slope = np.zeros((len(fitted), gather.shape[1]))
    for row, one in zip(slope, fitted, strict=True):
        row[: one.slope.size] = one.slope
    return FullConditionals(
        KernelSums.of([one.dictionary for one in fitted], kernel, head, gather, components[:, None]),
        np.array([one.intercept for one in fitted]),
        slope,
        np.stack([one.residual for one in fitted]),
    )


def check_sweeps(conditionals: FullConditionals, spread: F64) -> None:
    """Raise ``ValueError`` where repeated sweeps leave the samples, of standard deviation ``spread`` (d,), behind.

    Conditionals of neighbourhoods that are too small for the correlations belong to no joint distribution: on a smooth
    ring each component is the mean of its two neighbours plus the more, the smoother, b_1 + b_2 > 1, and every sweep
    makes the state larger. What is drawn about the linear part is bounded, so that the linear part alone decides. It is
    swept with normal residuals from zero; with conditionals that belong together it comes to rest at the samples'
    variance, or below where components are held fixed.
    """
    drawn = conditionals.sums.targets[:, 0]
    if drawn.size == 0:
        return
    before, after = _linear_sweep(conditionals, spread.size)
    noise = conditionals.residual.std(axis=1)[conditionals.sums.head][:, None]
    unit, rng = spread[drawn][:, None], np.random.default_rng(0)
    x = np.zeros((drawn.size, _TRIALS))
    for _ in range(_TRIAL_SWEEPS):
        x = before.solve(after @ x + noise * rng.standard_normal(x.shape))
        growth = float(np.sqrt(np.mean((x / unit) ** 2)))
        if growth > _LARGEST_GROWTH:
            checks.reject(
                "scheme",
                "sequential",
                "another, or have larger neighbourhoods: each component given so few others belongs to no joint "
                f"distribution, and its draws grow to {growth:.2g} standard deviations of the samples and beyond",
            )


def _linear_sweep(conditionals: FullConditionals, d: int) -> tuple[Any, Any]:
    """Factored I - L and U of a sweep x <- L x_new + U x + noise of the drawn components, in their order."""
    sums, slope = conditionals.sums, conditionals.slope
    P = sums.head.size
    place = np.full(d, -1)
    place[sums.targets[:, 0]] = np.arange(P)
    b = np.where(np.arange(sums.gather.shape[1]) < sums.size[sums.head][:, None], slope[sums.head], 0.0)
    row, column = np.repeat(np.arange(P), sums.gather.shape[1]), place[sums.gather].ravel()
    kept = column >= 0  # components that are held fixed add the same to every state
    whole = scipy.sparse.csc_array((b.ravel()[kept], (row[kept], column[kept])), shape=(P, P))
    lower = scipy.sparse.eye_array(P, format="csc") - scipy.sparse.tril(whole, format="csc")
    return scipy.sparse.linalg.splu(lower, permc_spec="NATURAL"), scipy.sparse.triu(whole, format="csr")


class _Conditional(NamedTuple):
    intercept: float
    slope: F64
    residual: F64
    dictionary: WeightedSamples


def _linear_part(coordinates: F64, values: F64) -> tuple[float, F64, F64]:
    """Least squares of ``values`` on ``coordinates``: intercept, slope, residuals of the right total variance."""
    M, size = coordinates.shape
    if size + 1 >= M:
        checks.reject("samples.shape", (M, "d"), f"more than {size + 1} samples for a sequential scheme")
    centre, unit = coordinates.mean(axis=0), coordinates.std(axis=0)
    unit[unit == 0.0] = 1.0
    centred = coordinates - centre
    slope = np.linalg.lstsq(centred / unit, values - values.mean(), rcond=None)[0] / unit
    intercept = float(values.mean() - slope @ centre)
    residual = values - values.mean() - centred @ slope
    return intercept, slope, residual * np.sqrt(M / (M - size - 1))


@called(forceinline=True)
def _sweep_one(x: F64, uniforms: F64, sums: KernelSums, intercept: F64, slope: F64, residual: F64) -> None:
    """Make one sweep of the state ``x`` (d,) in place for every row of ``uniforms`` (steps, P)."""
    for step in range(uniforms.shape[0]):
        for p in range(sums.head.size):
            h = sums.head[p]
            value = intercept[h] + residual[h, draw(x, p, sums, uniforms[step, p])]
            for a in range(sums.size[h]):
                value += slope[h, a] * x[sums.gather[p, a]]
            x[sums.targets[p, 0]] = value


@cached
def sweep(
    x: F64, uniforms: F64, sums: KernelSums, intercept: F64, slope: F64, residual: F64, start: int, stop: int
) -> None:
    """Make ``len(uniforms)`` sweeps of the states ``start`` to ``stop``; x (n, d), uniforms (steps, n, P) in [0, 1)."""
    for n in range(start, stop):
        _sweep_one(x[n], uniforms[:, n], sums, intercept, slope, residual)
