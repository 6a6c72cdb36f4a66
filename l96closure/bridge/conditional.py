"""The fitted bridge: conditional mean and variance of every component given its neighbourhood."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from l96closure import checks, compute
from l96closure.arrays import F64, I64, Index
from l96closure.bridge import bandwidth
from l96closure.bridge.full_conditionals import FullConditionals, full_conditionals
from l96closure.bridge.neighbourhoods import (
    Neighbourhoods,
    checked,
    checked_components,
    checked_pools,
    checked_scale,
    padded,
)
from l96closure.bridge.sinkhorn import weighted
from l96closure.kernel import Kernel, KernelSums, WeightedSamples
from l96closure.restart import Evaluations, Restart

_Problem = tuple[WeightedSamples, str]  # samples without their weights, and whose they are


class Compression(NamedTuple):
    """What a compressed bridge has lost.

    Attributes
    ----------
    centres : number of centres of each dictionary.
    samples : number of samples they stand for.
    mean_error, variance_error : root mean square, over training states, of the change of the conditional mean and
        variance, in units of the component's scale and its square.
    """

    centres: int
    samples: int
    mean_error: float
    variance_error: float


@dataclass(frozen=True, eq=False)
class Bridge:
    """A fitted (localized) Schrödinger bridge: x -> m(x) and c(x).

    Made by :func:`fit`; knows the conditional moments, not how to sample (that is :func:`l96closure.bridge.sample`).

    Attributes
    ----------
    d : dimension of the state.
    kernel : estimator and bandwidth.
    scale : what each component is divided by in the distances (d,).
    components : the components whose moments the bridge gives, (C,).
    neighbourhoods : Lambda(alpha) of each of ``components``.
    dictionaries : the sample sets; as many as ``components``, or fewer that several of them share. Either one gives all
        components (it has as many value columns), or each has a single value column.
    dictionary_of : which of ``dictionaries`` each of ``components`` has its moments from, (C,).
    tolerance : of the Sinkhorn iteration.
    compression : what :func:`l96closure.bridge.compress` did to it; None is nothing.
    """

    d: int
    kernel: Kernel
    scale: F64
    components: Index
    neighbourhoods: Neighbourhoods
    dictionaries: tuple[WeightedSamples, ...]
    dictionary_of: Index
    tolerance: float = 1e-6
    compression: Compression | None = None

    @property
    def epsilon(self) -> float:
        """The bandwidth, and the step of the Langevin dynamics, in the scaled metric."""
        return self.kernel.epsilon

    @property
    def weights(self) -> list[F64] | F64:
        """The Sinkhorn weights v of each dictionary: a list of (M,), or one (M,) when all components share one."""
        if len(self.dictionaries) == 1:
            return self.dictionaries[0].v
        return [dictionary.v for dictionary in self.dictionaries]

    @property
    def residual(self) -> F64:
        """The residual max |v_alpha o (T_alpha v_alpha) - 1| of each dictionary."""
        return np.array([dictionary.residual for dictionary in self.dictionaries])

    @property
    def iterations(self) -> I64:
        """Evaluations of T_alpha v_alpha that each dictionary's weights took."""
        return np.array([dictionary.iterations for dictionary in self.dictionaries], dtype=np.int64)

    def conditional_mean(self, x: npt.ArrayLike) -> F64:
        """Conditional mean m_alpha(x) = sum_j x_alpha^(j) w_alpha^(j)(x_[alpha]), eqs. (13) and (40).

        Parameters
        ----------
        x : states (n, d).

        Returns
        -------
        (n, C), one column for each of ``components`` (all d by default), in the units of the samples. Each lies
        within the range of its component's samples (Lemma 1), however far ``x`` is from them.

        Raises
        ------
        ValueError
            ``x`` is not (n, d) or not finite.
        """
        return self.moments(x, order=1)[0]

    def conditional_variance(self, x: npt.ArrayLike) -> F64:
        """Conditional variance c_alpha(x) = sum_j (x_alpha^(j) - m_alpha)^2 w_alpha^(j)(x_[alpha]).

        Parameters
        ----------
        x : states (n, d).

        Returns
        -------
        (n, C), one column for each of ``components``, in squared units of the samples.

        Raises
        ------
        ValueError
            ``x`` is not (n, d) or not finite.
        """
        return self.moments(x, order=2)[1]

    def effective_samples(self, x: npt.ArrayLike) -> F64:
        """Effective number of samples 1 / sum_j (w_alpha^(j))^2 behind each conditional mean (Kish 1965).

        Near 1, the mean is a copy of one sample; near M, it is that of all of them.

        Parameters
        ----------
        x : states (n, d).

        Returns
        -------
        (n, C), one column for each of ``components``.

        Raises
        ------
        ValueError
            ``x`` is not (n, d) or not finite.
        """
        concentration = self.kernel_sums.concentration(self._checked(x))
        return np.broadcast_to(1.0 / concentration, (len(concentration), self.components.size)).copy()

    @property
    def spread(self) -> F64:
        """Standard deviation of the samples of each component (d,), zero of those the bridge does not give."""
        spread = np.zeros(self.d)
        of_each = np.concatenate([one.values.std(axis=0) for one in self.dictionaries])
        spread[self.components] = of_each if self._one_for_all else of_each[self.dictionary_of]
        return spread

    @property
    def _one_for_all(self) -> bool:
        return bool(self.dictionaries[0].values.shape[1] == len(self.components))

    @cached_property
    def kernel_sums(self) -> KernelSums:
        """Dictionaries and queries as the compiled loops read them; laid out on first use.

        Raises ``ValueError`` when there are fewer samples than ``kernel.nearest`` asks for.
        """
        targets = self.components[None, :] if self._one_for_all else self.components[:, None]
        sets = self.neighbourhoods[:1] if self._one_for_all else self.neighbourhoods
        head = np.zeros(1, np.intp) if self._one_for_all else self.dictionary_of
        return KernelSums.of(self.dictionaries, self.kernel, head, padded(sets), targets)

    @cached_property
    def full_conditionals(self) -> FullConditionals:
        """Every component given the others of its neighbourhood, for the scheme ``sequential``; found on first use."""
        return self._conditionals(causal=False)

    @cached_property
    def causal_conditionals(self) -> FullConditionals:
        """Every component given those before it in its neighbourhood, for ``ancestral``; found on first use."""
        return self._conditionals(causal=True)

    def _conditionals(self, causal: bool) -> FullConditionals:
        if self.compression is not None:
            checks.reject("bridge", f"compressed to {self.compression.centres}", "uncompressed for a sequential scheme")
        dictionaries = self.dictionaries, self.dictionary_of, self.kernel, self.tolerance
        return full_conditionals(self.components, self.neighbourhoods, *dictionaries, causal)

    def _checked(self, x: npt.ArrayLike) -> F64:
        x = checks.finite_array("x", x, 2)
        if x.shape[1] != self.d:
            checks.reject("x.shape", x.shape, f"(n, {self.d})")
        return x

    def moments(self, x: npt.ArrayLike, order: int = 2) -> tuple[F64, F64]:
        """Conditional mean and variance in one pass over the samples.

        Parameters
        ----------
        x : states (n, d).
        order : 2 for both; 1 for the mean alone, the second array then means nothing.

        Returns
        -------
        Mean and variance (n, C), as of :meth:`conditional_mean` and :meth:`conditional_variance`.

        Raises
        ------
        ValueError
            ``x`` is not (n, d) or not finite.
        """
        x = self._checked(x)
        mean, variance = np.empty_like(x), np.empty_like(x)
        self.kernel_sums.moments(x, order, mean, variance)
        return mean[:, self.components], variance[:, self.components]


def fit(
    samples: npt.ArrayLike,
    epsilon: float | str | Kernel = 0.1,
    neighbourhoods: Sequence[Iterable[int]] | None = None,
    scale: npt.ArrayLike | None = None,
    components: Iterable[int] | None = None,
    shared: bool | Sequence[int] = False,
    centres: int | None = None,
    rng: np.random.Generator | int = 0,
    tolerance: float = 1e-6,
    restart: Restart | None = None,
) -> Bridge:
    """Fit the localized Schrödinger bridge to samples, eqs. (7)-(13) and (36)-(43) of Gottwald & Reich (2024).

    Independent dictionaries are found as :func:`l96closure.compute.mapped` says.

    Parameters
    ----------
    samples : (M, d) training samples.
    epsilon : bandwidth in the scaled metric, > 0; or ``auto``, see :func:`l96closure.bridge.choose_epsilon`; or a
        :class:`Kernel`, which says the estimator too.
    neighbourhoods : the d sets Lambda(alpha), see :mod:`l96closure.bridge.neighbourhoods`; None is no localization.
    scale : (d,) or scalar, what each component is divided by in the distances (Section 5.1); None is 1.
    components : which components' moments are wanted; None is all d.
    shared : the system looks the same from every component in ``components`` (translation symmetry): pool their
        restricted samples, in the order of their neighbourhoods, into one dictionary of M * len(components) samples.
        Where only some look the same, a label for each of ``components``: those of one label pool theirs.
    centres : keep only this many samples of each dictionary, drawn without replacement; None keeps all, or as many
        as the smallest dictionary has.
    rng : generator or seed that draws what ``auto`` looks at and then the centres of one dictionary after the other.
    tolerance : the Sinkhorn iteration stops at max |v o (T v) - 1| <= tolerance.
    restart : where the Sinkhorn iteration is kept, to be taken up again by the same call after it was stopped; the
        weights have the same bits.

    Returns
    -------
    Bridge

    Raises
    ------
    ValueError
        An argument is out of its range; a component has fewer than two distinct samples; a sample is not finite.

    Warns
    -----
    SinkhornWarning
        The weights have not reached the tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> samples = np.random.default_rng(0).standard_normal((200, 6))
    >>> fitted = lc.bridge.fit(samples, epsilon=0.2, neighbourhoods=lc.bridge.periodic(6, radius=1))
    >>> fitted.conditional_mean(samples[:3]).shape
    (3, 6)
    """
    samples = checks.finite_array("samples", samples, 2)
    M, d = samples.shape
    tolerance = checks.number("tolerance", tolerance, above=0.0)
    sets = checked(neighbourhoods, d)
    scales = checked_scale(scale, d)
    wanted = checked_components(components, d)
    if M < 2:
        checks.reject("samples.shape", samples.shape, "(M, d) with M >= 2")
    checks.varied("samples", samples, wanted)
    rng = np.random.default_rng(rng)  # one stream for all that is drawn, whether a seed is given or a generator
    depends = ("bridge", samples, epsilon, sets, scales, wanted, shared, centres, rng, tolerance)
    restart = restart and restart.of(*depends)
    if not isinstance(epsilon, Kernel):
        epsilon = bandwidth.checked_epsilon("epsilon", epsilon)
    if isinstance(epsilon, str):
        size = centres if centres is not None else M * (wanted.size if shared else 1)
        epsilon = bandwidth.choose_epsilon(samples, sets, scales, components=wanted, size=size, rng=rng).epsilon
    kernel = epsilon if isinstance(epsilon, Kernel) else Kernel(epsilon=epsilon)
    wanted_sets = [sets[alpha] for alpha in wanted]
    one_set = shared is False and all(np.array_equal(members, wanted_sets[0]) for members in wanted_sets)
    pools = np.zeros(1, np.intp) if one_set else checked_pools(shared, wanted_sets)
    problems = _problems(samples, scales, wanted_sets, wanted, pools, one_set, _checked_centres(centres, M, pools), rng)
    with nullcontext() if restart is None else Evaluations(restart):
        weigh = partial(_weighted, kernel=kernel, tolerance=tolerance)
        dictionaries = tuple(compute.each(weigh, problems))
    return Bridge(d, kernel, scales, wanted, wanted_sets, dictionaries, np.broadcast_to(pools, wanted.shape), tolerance)


def _checked_centres(centres: int | None, M: int, pools: Index) -> int:
    """Return how many samples of each dictionary are kept; all of the smallest for None."""
    available = M * int(np.bincount(pools).min())
    if centres is None:
        return available
    if checks.integer("centres", centres, 2) > available:
        checks.reject("centres", centres, f"at most the number of samples, {available}")
    return centres


def _problems(
    samples: F64,
    scales: F64,
    sets: Neighbourhoods,
    wanted: Index,
    pools: Index,
    one_set: bool,
    centres: int,
    rng: np.random.Generator,
) -> Iterator[_Problem]:
    """Gather the samples of one dictionary after the other; ``sets`` are those of the ``wanted`` components."""
    M = len(samples)
    for pool in range(pools.max() + 1):
        of_pool = np.flatnonzero(pools == pool)
        members, targets = sets[of_pool[0]], wanted if one_set else wanted[of_pool[:1]]
        kept = _kept(M * of_pool.size, centres, rng)
        if of_pool.size == 1:
            coordinates, values = samples[:, members][kept], samples[:, targets][kept]
        else:  # only what is kept is gathered: a grid of many sites has more samples than the memory holds
            which, row = np.divmod(np.arange(M * of_pool.size) if isinstance(kept, slice) else kept, M)
            coordinates = samples[row[:, None], np.stack([sets[i] for i in of_pool])[which]]
            values = samples[row, wanted[of_pool][which]][:, None]
        label = f"of component {targets[0]}" if pools.max() > 0 else ""
        yield WeightedSamples.unweighted(coordinates, values, scales[members], scales[targets]), label


def _weighted(problem: _Problem, kernel: Kernel, tolerance: float) -> WeightedSamples:
    samples, label = problem
    return weighted(samples, kernel, tolerance, label)


def _kept(samples: int, centres: int, rng: np.random.Generator) -> Index | slice:
    """Which samples of a dictionary are kept, in order."""
    if centres == samples:
        return slice(None)
    return np.sort(rng.choice(samples, centres, replace=False))
