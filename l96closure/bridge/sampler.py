"""The noising/denoising chain: schemes, conditioning, likelihood (Section 2, eqs. 5, 6, 14; Section 3, eq. 42)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, loop
from l96closure.arrays import F64, Index
from l96closure.bridge.chain_steps import AVERAGING, SPLIT, Rules, Together, advance, advance_each, advance_together
from l96closure.bridge.conditional import Bridge
from l96closure.bridge.full_conditionals import FullConditionals, check_sweeps, sweep
from l96closure.compiled import at_once, shared
from l96closure.loop import Records
from l96closure.restart import generator_state, restore_generator

SEQUENTIAL = ("sequential", "ancestral")  # schemes that draw samples where the others average them
SCHEMES = (*AVERAGING, *SEQUENTIAL)
CLAMPS = ("query", "state")
NOISE_METRICS = ("scaled", "physical")
Noise = Callable[[int, int], F64]
"""Random numbers of a chain: (first step, steps) -> (steps, n, numbers of a step)."""

_NUMBERS_PER_CALL = 1_000_000
_MANY_STATES = 8  # from here on threads share out the states, and not the queries of each step


class Chain:
    """A chain of one bridge with everything checked and laid out once, to be advanced many times.

    Parameters
    ----------
    bridge : the fitted bridge.
    scheme : ``split``, X <- m(X + sqrt(2) Xi), eq. (14), with the denoising of eq. (42); ``euler``, X <- m(X) + sqrt(2)
        Xi, eq. (5) (the text's sqrt(2 epsilon) in eq. (52) counts epsilon twice); ``conditional_variance``, X <- m(X) +
        N(0, c(X)), which keeps the variance of the training samples that ``split`` loses and ``euler`` inflates;
        ``sequential``, one component after the other drawn given its neighbours, which keeps the shape of its
        distribution too, see :mod:`l96closure.bridge.full_conditionals`; ``ancestral``, the same given only the
        neighbours before it: for causal sets, where one step is an exact independent draw whatever it starts from.
    given : the components that are held fixed; every component the bridge gives no moments of must be among them.
    clamp : ``query`` gives the denoiser the exact fixed values; ``state``, as the paper has it, resets them after
        each step, so that in the split scheme the denoiser reads them with noise (no other scheme noises first).
    noise_metric : ``scaled``, Xi ~ N(0, epsilon scale^2) (the preconditioned dynamics of Gottwald et al. 2024 with
        K = diag scale^2); ``physical``, Xi ~ N(0, epsilon) as literally written.

    Raises
    ------
    ValueError
        An argument is not one of those allowed, a component is neither sampled nor given, or draws of the scheme
        ``sequential`` would grow without bound.
    """

    def __init__(
        self,
        bridge: Bridge,
        scheme: str = "split",
        given: npt.ArrayLike = (),
        clamp: str = "query",
        noise_metric: str = "scaled",
    ) -> None:
        self._scheme = SCHEMES.index(checks.one_of("scheme", scheme, SCHEMES))
        clamp = checks.one_of("clamp", clamp, CLAMPS)
        metric = checks.one_of("noise_metric", noise_metric, NOISE_METRICS)
        fixed = _checked_given(given, bridge.d)
        free = np.setdiff1d(bridge.components, fixed)
        missing = np.setdiff1d(np.arange(bridge.d), np.union1d(bridge.components, fixed))
        if missing.size:
            checks.reject(
                "given",
                fixed.tolist(),
                f"a set with component {missing[0]}, which the bridge does not sample",
            )
        noised_fixed = self._scheme == SPLIT and clamp == "state"
        noisy = np.arange(bridge.d) if noised_fixed else free
        unit = bridge.scale if metric == "scaled" else np.ones(bridge.d)
        amplitude = np.sqrt(2.0 * bridge.epsilon) * unit
        self.drift_scale: F64 = bridge.epsilon * unit**2
        self._conditionals: FullConditionals | None = None
        if scheme == "sequential":
            self._conditionals = bridge.full_conditionals.without(fixed)
            check_sweeps(self._conditionals, bridge.spread)
        elif scheme == "ancestral":
            if free.size and fixed.size and fixed.max() > free.min():
                checks.reject("given", fixed.tolist(), f"components before {free.min()}, the first that is drawn")
            self._conditionals = bridge.causal_conditionals.without(fixed)
        needed = np.asarray(np.isin(bridge.kernel_sums.targets, free).any(axis=1))
        self._rules = Rules(self._scheme, bridge.kernel_sums.of_queries(needed), noisy, amplitude, fixed)

    @property
    def numbers(self) -> int:
        """How many random numbers a step of one state takes."""
        return int(self._rules.noisy.size if self._conditionals is None else self._conditionals.sums.head.size)

    @property
    def normal(self) -> bool:
        """Whether these are standard normal; else they are uniform on [0, 1)."""
        return self._conditionals is None

    def drawn_from(self, rng: np.random.Generator, n: int) -> Noise:
        """Let a generator give the random numbers of :meth:`advance`, step by step: splitting a run changes nothing.

        Parameters
        ----------
        rng : of all numbers.
        n : number of states.

        Returns
        -------
        Function (first step, steps) -> (steps, n, :attr:`numbers`), to be called for one step after the other.
        """

        def drawn(first: int, steps: int) -> F64:
            shape = steps, n, self.numbers
            return rng.standard_normal(shape) if self.normal else rng.random(shape)

        return drawn

    def advance(self, x: F64, steps: int, noise: Noise, drift: F64 | None = None) -> None:
        """Make ``steps`` steps in place.

        Parameters
        ----------
        x : states (n, d), C-ordered float64; the fixed components hold their values and keep them.
        steps : number of steps.
        noise : gives the random numbers, see :attr:`numbers` and :attr:`normal`.
        drift : (n, d), added after each denoising; None is zero.

        Raises
        ------
        ValueError
            A drift is given to a scheme that draws instead of denoising.
        """
        if self._conditionals is not None:
            if drift is not None:
                checks.reject("grad_log_likelihood", "given", f"None for the scheme {SCHEMES[self._scheme]}")
            self._sweep(x, steps, noise, self._conditionals)
            return
        if drift is None:
            drift = np.zeros_like(x)
        parallel = self._rules.sums.in_parallel(x.shape[0] * steps)
        block = max(1, _NUMBERS_PER_CALL // max(1, x.shape[0] * self._rules.noisy.size))
        for start in range(0, steps, block):
            normals = noise(start, min(block, steps - start))
            if parallel and x.shape[0] < _MANY_STATES:
                self._advance_together(x, normals, drift)
            else:
                self._advance_apart(x, normals, drift, parallel)

    def _advance_together(self, x: F64, normals: F64, drift: F64) -> None:
        """Make all steps of all states in every thread, which share the queries of each step."""
        sums = self._rules.sums
        pieces = -(-len(x) * len(sums.head) // sums.grain)
        for double in sums.precisions:
            mean, variance = np.empty((2, len(normals), *x.shape))
            together = Together(np.zeros((len(normals), pieces), np.int64), sums.grain, mean, variance)
            x[:], made = at_once(advance_together, pieces, x.copy(), normals, self._rules, drift, double, together)
            normals = normals[made:]
            if not len(normals):
                break

    def _advance_apart(self, x: F64, normals: F64, drift: F64, parallel: bool) -> None:
        """Make all steps in one call, or in one for some of the states each."""
        made = np.zeros(len(x), np.intp)
        for double in self._rules.sums.precisions:
            if parallel:
                shared(advance_each, len(x), x, normals, self._rules, drift, double, made)
            else:
                made += advance(x, normals[made[0] :], self._rules, drift, double)
            if made.min() == len(normals):
                break

    def _sweep(self, x: F64, steps: int, noise: Noise, conditionals: FullConditionals) -> None:
        parallel = conditionals.sums.in_parallel(x.shape[0])
        size = conditionals.sums.head.size
        block = max(1, _NUMBERS_PER_CALL // max(1, x.shape[0] * size))
        for start in range(0, steps, block):
            uniforms = noise(start, min(block, steps - start))
            if parallel:
                shared(sweep, len(x), x, uniforms, *conditionals)
            else:
                sweep(x, uniforms, *conditionals, 0, len(x))


@dataclass(eq=False)
class Walk:
    """The run of chains from given states, for :func:`l96closure.loop.run`.

    Parameters
    ----------
    chain : what is run.
    start : states (n, d), with the values of the fixed components.
    marks : numbers of steps after which the states are recorded, ascending, >= 1; the run ends with the last.
    rng : of all noise.
    label : what the progress bar calls the run.
    grad_log_likelihood : see :func:`sample`.
    """

    chain: Chain
    start: F64
    marks: Sequence[int]
    rng: np.random.Generator
    label: str
    grad_log_likelihood: Callable[[F64], F64] | None = None
    at_once = 1000

    def __post_init__(self) -> None:
        self.steps, self._noise = self.marks[-1], self.chain.drawn_from(self.rng, len(self.start))
        self.records = Records(x=(("record", "chain", "component"), np.empty((len(self.marks), *self.start.shape))))

    def begin(self) -> F64:
        """Return the states that the chains start from."""
        return self.start.copy()

    def advance(self, x: F64, step: int, steps: int) -> tuple[F64, int]:
        """Make steps in place, up to the next mark at most."""
        mark = self.marks[self.records.count]
        made = min(steps, mark - step)
        if self.grad_log_likelihood is None:
            self.chain.advance(x, made, self._noise)
        else:
            for _ in range(made):
                self.chain.advance(x, 1, self._noise, self.chain.drift_scale * self.grad_log_likelihood(x))
        if step + made == mark:
            self.records.put(x=x)
        return x, made

    def kept(self, x: F64) -> xr.Dataset:
        """Return the states of the chains and of their generator."""
        return xr.Dataset({"x_now": (("chain", "component"), x)}, attrs={"generator": generator_state(self.rng)})

    def restored(self, part: xr.Dataset, step: int) -> F64:
        """Return the states of the chains, and put the generator where it was."""
        restore_generator(self.rng, part.attrs["generator"])
        return part["x_now"].to_numpy()


def sample(
    bridge: Bridge,
    initial: npt.ArrayLike,
    steps: int,
    rng: np.random.Generator | int,
    scheme: str = "split",
    given: Mapping[int, npt.ArrayLike] | None = None,
    clamp: str = "query",
    grad_log_likelihood: Callable[[F64], F64] | None = None,
    keep_every: int | None = None,
    noise_metric: str = "scaled",
) -> F64:
    """Run the noising/denoising chain of a bridge from given states (the paper's Algorithm 1).

    Parameters
    ----------
    bridge : a fitted bridge.
    initial : (n, d) states the n chains start from, usually training samples.
    steps : number of steps, >= 1.
    rng : generator or seed.
    scheme : see :class:`Chain`.
    given : {component: value or (n,) values} to condition on (Section 5).
    clamp : see :class:`Chain`.
    grad_log_likelihood : x (n, d) -> (n, d), the gradient of log pi(y | x); adds epsilon times it (times scale^2 in
        the scaled metric) to each step, eq. (6). The printed sign is minus; the posterior needs plus.
    keep_every : also return the states after every so many steps; it divides ``steps``.
    noise_metric : see :class:`Chain`.

    Returns
    -------
    The final states (n, d), or (n, steps / keep_every, d).

    Raises
    ------
    ValueError
        An argument is out of its range or does not fit the bridge.

    Examples
    --------
    Samples of two components that are nearly equal, drawn anew given the first:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(300)
    >>> samples = np.stack([x, x + 0.1 * rng.standard_normal(300)], axis=1)
    >>> fitted = lc.bridge.fit(samples, epsilon=0.02)
    >>> drawn = lc.bridge.sample(fitted, samples, steps=10, rng=1, scheme="conditional_variance", given={0: 1.0})
    >>> drawn.shape
    (300, 2)
    >>> bool(0.7 < drawn[:, 1].mean() < 1.3)
    True
    """
    x = checks.finite_array("initial", initial, 2).copy()
    if x.shape[1] != bridge.d:
        checks.reject("initial.shape", x.shape, f"(n, {bridge.d})")
    steps = checks.integer("steps", steps, 1)
    stride = steps if keep_every is None else checks.integer("keep_every", keep_every, 1)
    if steps % stride:
        checks.reject("keep_every", keep_every, f"a divisor of steps = {steps}")
    rng = np.random.default_rng(rng)
    given = {} if given is None else given
    chain = Chain(bridge, scheme, list(given), clamp, noise_metric)
    for component, value in given.items():
        held = checks.real_array(f"given[{component}]", value)
        if held.shape not in ((), (x.shape[0],)):
            checks.reject(f"given[{component}]", value, f"a finite number or {x.shape[0]} of them")
        checks.finite_array(f"given[{component}]", held, held.ndim)
        x[:, component] = held

    marks = range(stride, steps + 1, stride)
    kept = loop.run(Walk(chain, x, marks, rng, f"{scheme} chain", grad_log_likelihood))["x"]
    return kept[-1] if keep_every is None else np.ascontiguousarray(kept.swapaxes(0, 1))


def _checked_given(given: npt.ArrayLike, d: int) -> Index:
    fixed = np.asarray(given)
    if fixed.size == 0:
        return np.empty(0, np.intp)
    if not np.issubdtype(fixed.dtype, np.integer) or fixed.min() < 0 or fixed.max() >= d:
        checks.reject("given", fixed.tolist(), f"components from 0 to {d - 1}")
    return np.unique(fixed).astype(np.intp)
