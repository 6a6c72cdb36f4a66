"""Choosing epsilon, and telling an honest chain from one that replays its samples or has not left them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from l96closure import checks, progress
from l96closure.arrays import F64, Bools
from l96closure.bridge import sinkhorn
from l96closure.bridge.neighbourhoods import checked, checked_components, checked_scale

REPLAY_WARNING = 0.5
"""A replay score below this says that the sampler repeats its training samples rather than their distribution."""

_CANDIDATES = np.geomspace(1e-3, 1.0, 19)  # in units of the mean variance of the scaled samples: six to a decade
_MAX_SAMPLES = 800
_MAX_COMPONENTS = 6
_MIN_BLOCKS = 8  # that a record is made of, however slowly it forgets


class Bandwidth(NamedTuple):
    """Result of :func:`choose_epsilon`.

    Attributes
    ----------
    epsilon : the choice.
    candidates : the bandwidths tried (n,), for as many samples as the choice is made for.
    criterion : mean conditional log-likelihood of samples that were left out, for each (n,); higher is better.
    """

    epsilon: float
    candidates: F64
    criterion: F64


def checked_epsilon(name: str, value: Any) -> float | str:
    """Check a bandwidth.

    Parameters
    ----------
    name : what the message calls it.
    value : a number, or ``auto`` for :func:`choose_epsilon`.

    Returns
    -------
    ``value``, a number as a float.

    Raises
    ------
    ValueError
        ``value`` is neither ``auto`` nor a finite number > 0.
    """
    if isinstance(value, str):
        if value == "auto":
            return value
        checks.reject(name, value, "auto or a finite number > 0")
    return checks.number(name, value, above=0.0)


def choose_epsilon(
    samples: npt.ArrayLike,
    neighbourhoods: Sequence[Iterable[int]] | None = None,
    scale: npt.ArrayLike | None = None,
    *,
    components: Iterable[int] | None = None,
    size: int | None = None,
    rng: np.random.Generator | int = 0,
) -> Bandwidth:
    """Choose epsilon by cross-validated conditional likelihood (Hall, Racine & Li 2004) of the bridge's own weights.

    For component alpha with neighbours n = Lambda(alpha) without alpha, residual r about the least-squares linear
    part of x_alpha in x_n, and the Sinkhorn weights v of T on the neighbours, the criterion is the mean over j of

        log sum_k w_k N(r^(j); r^(k), 2 epsilon),   w_k ~ v^(k) exp(-|x_n^(j) - x_n^(k)|^2 / 4 epsilon),

    over those k that tell nothing of j: samples are taken to be in the order of time, and a block about j is left out,
    three times as long on either side as r keeps an autocorrelation of 1/e (h-block cross-validation, Burman, Chow &
    Nolan 1994); j alone where r forgets at once. Else a record of near-copies asks for a bandwidth that finds the copy.
    The mean is averaged over at most six components and 800 samples drawn at random. A parabola in log epsilon through
    the best candidate and its neighbours gives the choice; it is then scaled from the samples used to all, as the
    optimal bandwidth of a conditional density scales: epsilon ~ M^(-2 / (|n| + 5)) (same source), where those that r
    remembers count as one.

    Parameters
    ----------
    samples, neighbourhoods, scale, components : as for :func:`l96closure.bridge.fit`.
    size : number of samples in a dictionary of the bridge that the choice is for; None is all of them.
    rng : generator or seed that draws the samples when there are more than needed.

    Returns
    -------
    The choice, and the candidates with their criterion.

    Raises
    ------
    ValueError
        An argument is out of its range; there are fewer than 20 samples, too few to leave one out.
    """
    samples = checks.finite_array("samples", samples, 2)
    M, d = samples.shape
    if M < 20:
        checks.reject("samples.shape", samples.shape, "(M, d) with M >= 20 to choose epsilon from")
    sets, scales, wanted = checked(neighbourhoods, d), checked_scale(scale, d), checked_components(components, d)
    checks.varied("samples", samples, wanted)
    kept = np.sort(np.random.default_rng(rng).choice(M, min(M, _MAX_SAMPLES), replace=False))
    x = samples[kept] / scales
    chosen = wanted[np.unique(np.linspace(0, wanted.size - 1, _MAX_COMPONENTS).round().astype(int))]
    candidates = _CANDIDATES * x[:, wanted].var(axis=0).mean()
    neighbours = [sets[alpha][sets[alpha] != alpha] for alpha in chosen]
    both = list(zip(chosen, neighbours, strict=True))
    memory = np.array([_memory(samples[:, n], samples[:, alpha]) for alpha, n in both])
    apart = np.abs(kept[:, None] - kept)
    criterion = np.mean(
        [
            _log_likelihood(x[:, n], x[:, alpha], candidates, apart < _block(lags, M))
            for (alpha, n), lags in zip(both, memory, strict=True)
        ],
        axis=0,
    )
    rate = -2.0 / (np.mean([n.size for n in neighbours]) + 5.0)
    lags = memory.mean()
    independent, used = (M if size is None else size) / lags, len(x) / max(1.0, lags * len(x) / M)
    candidates = candidates * (independent / used) ** rate
    return Bandwidth(_peak(candidates, criterion), candidates, criterion)


def _residual(x: F64, y: F64) -> F64:
    """Residual of y (m,) about its least-squares linear part in x (m, n)."""
    centred = x - x.mean(axis=0)
    spread = centred.std(axis=0)
    design = np.column_stack([np.ones(len(y)), centred / np.where(spread > 0.0, spread, 1.0)])
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


def _memory(x: F64, y: F64) -> int:
    """Lag at which the autocorrelation of the residual of a record y (M,) given x (M, n) is below 1/e; at least 1."""
    r = _residual(x, y)
    autocorrelation = scipy.signal.correlate(r, r, method="fft")[len(r) - 1 :]
    below = autocorrelation < np.exp(-1.0) * autocorrelation[0]
    return max(int(below.argmax()), 1)


def _block(memory: int, M: int) -> int:
    """Return how many samples on either side, with the one itself, are left out."""
    return 1 if memory == 1 else max(min(3 * memory, M // _MIN_BLOCKS), 1)


@progress.shown(False)  # many small problems
@np.errstate(under="ignore")  # weights of samples far away
def _log_likelihood(x: F64, y: F64, candidates: F64, near: Bools) -> F64:
    """Mean log-likelihood of y (m,) given x (m, n) and samples that are not ``near``, for every candidate epsilon."""
    residual = _residual(x, y)[:, None]
    between = scipy.spatial.distance.cdist(x, x, "sqeuclidean") if x.shape[1] else np.zeros((len(y), len(y)))
    apart = scipy.spatial.distance.cdist(residual, residual, "sqeuclidean")
    out = np.empty(candidates.size)
    for i, epsilon in enumerate(candidates):
        exponent = -between / (4.0 * epsilon)
        T = np.exp(exponent)

        def log_row_sums(u: F64, share: float, double: bool, T: F64 = T) -> F64:
            return np.log(T @ np.exp(u))

        exponent += sinkhorn.solve(log_row_sums, len(y), tolerance=1e-3).log_v
        exponent[near] = -np.inf
        joint = scipy.special.logsumexp(exponent - apart / (4.0 * epsilon), axis=1)
        out[i] = (joint - scipy.special.logsumexp(exponent, axis=1)).mean() - 0.5 * np.log(4.0 * np.pi * epsilon)
    return out


def _peak(candidates: F64, criterion: F64) -> float:
    """Where the parabola through the best candidate and its neighbours has its top; the candidate itself at an end."""
    best = int(criterion.argmax())
    if not 0 < best < candidates.size - 1:
        return float(candidates[best])
    below, at, above = criterion[best - 1 : best + 2]
    shift = 0.5 * (below - above) / (below - 2.0 * at + above)
    return float(candidates[best] * (candidates[1] / candidates[0]) ** shift)


def replay_score(generated: npt.ArrayLike, training: npt.ArrayLike) -> float:
    """Median distance of generated to nearest training samples, over the training set's own median such distance.

    Near one, new samples lie among the old as the old among each other; near zero, they are copies. Below
    :data:`REPLAY_WARNING` a sampler replays its data.

    Parameters
    ----------
    generated : (n, d).
    training : (M, d), M >= 2.

    Returns
    -------
    The score, >= 0, dimensionless.

    Raises
    ------
    ValueError
        The arrays do not fit each other or are not finite; the training samples coincide.

    Examples
    --------
    >>> import numpy as np
    >>> training = np.random.default_rng(0).standard_normal((100, 2))
    >>> lc.bridge.replay_score(training, training)
    0.0
    """
    training = checks.finite_array("training", training, 2)
    generated = checks.finite_array("generated", generated, 2)
    if generated.shape[1] != training.shape[1]:
        checks.reject("generated.shape", generated.shape, f"(n, {training.shape[1]})")
    if len(training) < 2:
        checks.reject("training.shape", training.shape, "(M, d) with M >= 2")
    tree = scipy.spatial.KDTree(training)
    own = float(np.median(tree.query(training, k=2)[0][:, 1]))
    if own == 0.0:
        checks.reject("training", "coinciding samples", "samples most of which differ from all others")
    return float(np.median(tree.query(generated)[0])) / own


class Mixing(NamedTuple):
    """Result of :func:`mixing`.

    Attributes
    ----------
    effective_sample_size : of the mean of each component, all chains together (d,).
    autocorrelation_time : integrated, in units of kept steps (d,).
    """

    effective_sample_size: F64
    autocorrelation_time: F64


def mixing(kept: npt.ArrayLike) -> Mixing:
    """Effective sample size and integrated autocorrelation time of chains (Vehtari et al. 2021), by arviz-stats.

    Parameters
    ----------
    kept : states of the chains (chains, kept, d), from :func:`l96closure.bridge.sample` with ``keep_every``.

    Returns
    -------
    Both, for each component.

    Raises
    ------
    ValueError
        ``kept`` is not of that shape or not finite, or holds fewer than four states of a chain.
    """
    from arviz_stats.base import array_stats  # takes a second to import, and only this function needs it

    kept = checks.finite_array("kept", kept, 3)
    if kept.shape[1] < 4:
        checks.reject("kept.shape", kept.shape, "(chains, kept, d) with at least four kept states")
    ess = partial(array_stats.ess, chain_axis=0, draw_axis=1, method="mean")
    size = np.array([ess(kept[:, :, i]) for i in range(kept.shape[2])])
    return Mixing(size, kept.shape[0] * kept.shape[1] / size)
