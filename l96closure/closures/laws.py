"""Laws of the residual given what a closure sees: quantiles or moments that noise drives, or the chain of the paper."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from l96closure import bridge, checks, noise
from l96closure.bridge.sampler import CLAMPS, NOISE_METRICS
from l96closure.bridge.sampler import SCHEMES as OF_A_CHAIN
from l96closure.closures.patterns import Pattern
from l96closure.closures.state import State
from l96closure.trends import PolynomialTrend

__all__ = [
    "Chain",
    "ChainLaw",
    "DrivenLaw",
    "FittedLaw",
    "Law",
    "Moments",
    "Quantiles",
    "scores",
    "warn_of_few",
    "warn_of_loss",
]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

LARGEST_ERROR = 0.1  # of a compressed bridge's conditional mean, in standard deviations, without a word
_CENTRES = 100_000


@dataclass(frozen=True)
class Quantiles:
    """psi is the quantile of the residual's law that noise asks for, Q(Phi(xi) | x), given one coordinate x.

    Parameters
    ----------
    coordinate : what the law is given: ``trend``, the value of the trend, or the name of a predictor, at the site
        itself; None is chosen on held-out blocks of time.
    centres : at most so many samples make a law, drawn at random, >= 2.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    coordinate: str | None = None
    centres: int = _CENTRES

    epsilon = 0.005  # a table of quantiles can be sharp, averages cannot

    def __post_init__(self) -> None:
        if self.coordinate is not None and not isinstance(self.coordinate, str):
            checks.reject("law.coordinate", self.coordinate, "trend, the name of a predictor, or None")
        checks.integer("law.centres", self.centres, 2)


@dataclass(frozen=True)
class Moments:
    """psi = m(x) + sqrt(c(x)) xi, with the bridge's conditional mean and variance given all features x.

    Parameters
    ----------
    centres : at most so many samples make a law, drawn at random, >= 2; None takes all.
    compressed : then each law is compressed to so many weighted centres (:func:`l96closure.bridge.compress`), to four
        times as many where that changes the conditional mean by more than 0.1 standard deviations, and so on; where
        even 4,096 or a quarter of the samples do, as of many coordinates, none are compressed. None does not.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    centres: int | None = _CENTRES
    compressed: int | None = 128

    epsilon = 0.1

    def __post_init__(self) -> None:
        for name in ("centres", "compressed"):
            if getattr(self, name) is not None:
                checks.integer(f"law.{name}", getattr(self, name), 2)


@dataclass(frozen=True)
class Chain:
    """psi is drawn by the paper's noising and denoising chain, which starts from the last psi and sees it too.

    Parameters
    ----------
    scheme : of :class:`l96closure.bridge.Chain`.
    steps : of the chain for a step of the closure, 1 <= n_c <= 2^16.
    clamp, noise_metric : see :class:`l96closure.bridge.Chain`.
    centres, compressed : see :class:`Moments`; sequential draws need every sample and are not compressed.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    scheme: str = "split"
    steps: int = 1
    clamp: str = "query"
    noise_metric: str = "scaled"
    centres: int | None = _CENTRES
    compressed: int | None = None

    epsilon = 0.1

    def __post_init__(self) -> None:
        checks.one_of("law.scheme", self.scheme, OF_A_CHAIN)
        checks.integer("law.steps", self.steps, 1, below=noise.MOST_DRAWS + 1)
        checks.one_of("law.clamp", self.clamp, CLAMPS)
        checks.one_of("law.noise_metric", self.noise_metric, NOISE_METRICS)
        for name in ("centres", "compressed"):
            if getattr(self, name) is not None:
                checks.integer(f"law.{name}", getattr(self, name), 2)


Law = Quantiles | Moments | Chain
Distribution = bridge.ConditionalQuantiles | bridge.Bridge | PolynomialTrend


class FittedLaw(Protocol):
    """Draws residuals with the noise of a state, and says what it is to remember next."""

    @property
    def remembers(self) -> tuple[int, ...]:
        """Shape of what there is to remember of a member."""

    def initial(self, state: State) -> F64:
        """Return what there is to remember at the start.

        Parameters
        ----------
        state : gives key and members of the noise.

        Returns
        -------
        (member, *:attr:`remembers`)
        """

    def __call__(self, x: F64, state: State) -> tuple[F64, F64]:
        """Draw the residual.

        Parameters
        ----------
        x : the coordinate (member, K) of quantiles; all features field by field (member, L P K) of the others.
        state : gives the noise of the step and what is remembered.

        Returns
        -------
        The residual (member, K), and what to remember next.
        """

    def recalled(self, x: F64, residual: F64) -> F64:
        """Return what is remembered of a step.

        Parameters
        ----------
        x : what the law was given at the step, as for the call.
        residual : of the step (member, K).

        Returns
        -------
        (member, K), one step of what :meth:`initial` gives.
        """


@dataclass(frozen=True, eq=False)
class DrivenLaw:
    """What noise makes of the law: its quantile, or mean and standard deviation.

    Attributes
    ----------
    of : conditional quantiles, the bridge whose neighbourhoods hold predictors only, or, of a Gaussian of mean 0, the
        logarithm of its variance.
    pattern : of the noise.
    """

    of: Distribution
    pattern: Pattern

    @property
    def remembers(self) -> tuple[int, ...]:
        """The last values of the noise."""
        return self.pattern.order, self.pattern.sites

    def initial(self, state: State) -> F64:
        """Noise as it is at any time.

        Parameters
        ----------
        state : gives key and members of the noise.

        Returns
        -------
        The last values (member, p, K), the last first.
        """
        return self.pattern.initial(state)

    def __call__(self, x: F64, state: State) -> tuple[F64, F64]:
        """Draw, with the next values of the noise.

        Parameters
        ----------
        x : what the law is given, as for :class:`FittedLaw`.
        state : gives the noise of the step, and what is remembered as ``memory``.

        Returns
        -------
        The residual (member, K), and the last values of the noise (member, p, K).
        """
        xi, following = self.pattern.advance(state)
        return self.made_of(x, xi), following

    def made_of(self, x: F64, xi: F64) -> F64:
        """Return the residual that noise makes.

        Parameters
        ----------
        x : what the law is given, as for :class:`FittedLaw`.
        xi : standard normal noise (n, K).

        Returns
        -------
        (n, K)
        """
        if isinstance(self.of, bridge.ConditionalQuantiles):
            return self.of(x, xi)
        mean, variance = _moments(self.of, x, xi)
        return np.asarray(mean + np.sqrt(variance) * xi)

    def recalled(self, x: F64, residual: F64) -> F64:
        """Return the noise that makes a residual.

        Parameters
        ----------
        x : what the law is given, as for :class:`FittedLaw`.
        residual : (n, K).

        Returns
        -------
        Standard normal noise (n, K).
        """
        return scores(self.of, x, residual)


def _moments(of: bridge.Bridge | PolynomialTrend, x: F64, like: F64) -> tuple[F64 | float, F64]:
    """Return mean and variance (n, K) of the residual."""
    if isinstance(of, PolynomialTrend):
        return 0.0, np.exp(of(x))
    return of.moments(np.concatenate([x, like], axis=1))  # it reads the predictors alone


def scores(of: Distribution, x: F64, residual: F64) -> F64:
    """Return the standard normal noise that makes residuals of a distribution.

    Parameters
    ----------
    of : the distribution.
    x : what it is given, as for :class:`FittedLaw`.
    residual : (n, K).

    Returns
    -------
    (n, K)
    """
    if isinstance(of, bridge.ConditionalQuantiles):
        return of.scores(x, residual)
    mean, variance = _moments(of, x, residual)
    return np.asarray((residual - mean) / np.sqrt(variance))


@dataclass(frozen=True)
class ChainLaw:
    """The noising/denoising chain, started from the last residual (member, K), which is what it remembers.

    Attributes
    ----------
    chain : with the predictors given.
    fitted : its bridge.
    options : scheme and steps of a draw.
    """

    chain: bridge.Chain
    fitted: bridge.Bridge
    options: Chain

    @classmethod
    def made(cls, fitted: bridge.Bridge, options: Chain) -> ChainLaw:
        """Make it of a bridge whose last components, those that it has moments of, are the residual.

        Parameters
        ----------
        fitted : the bridge.
        options : scheme and steps of a draw.

        Returns
        -------
        ChainLaw
        """
        given = np.arange(fitted.d - fitted.components.size)
        chain = bridge.Chain(fitted, options.scheme, given, options.clamp, options.noise_metric)
        return cls(chain, fitted, options)

    @property
    def remembers(self) -> tuple[int, ...]:
        """The sites."""
        return (self.fitted.components.size,)

    def initial(self, state: State) -> F64:
        """Draw residuals of training samples; with a dictionary for each site, of all sites from one time.

        Parameters
        ----------
        state : gives key and members of the noise.

        Returns
        -------
        (member, K)
        """
        of = self.fitted.dictionary_of
        values = np.stack([dictionary.values[:, 0] for dictionary in self.fitted.dictionaries])
        uniform = state.uniforms(1, 1 if len(values) == of.size else of.size)[0]
        first: F64 = values[of, (values.shape[1] * uniform).astype(np.intp)]
        return first

    def __call__(self, x: F64, state: State) -> tuple[F64, F64]:
        """Draw; the residual is what to remember.

        Parameters
        ----------
        x : all features, field by field (member, L P K).
        state : gives the noise of the step, and what is remembered as ``memory``.

        Returns
        -------
        The residual (member, K), twice.
        """
        together = np.concatenate([x, state.memory], axis=1)
        self.chain.advance(together, self.options.steps, partial(self._noise, state))
        residual = together[:, x.shape[1] :]
        return residual.copy(), residual

    def recalled(self, x: F64, residual: F64) -> F64:
        """Return the residual.

        Parameters
        ----------
        x : not looked at.
        residual : of the step (member, K).

        Returns
        -------
        ``residual``
        """
        return residual

    def _noise(self, state: State, first: int, steps: int) -> F64:
        """Noise of some steps of the chain, which are the draws of a step of the closure."""
        return noise.block(
            state.key, state.member, state.step, steps, self.chain.numbers, draw=first, normal=self.chain.normal
        )


def warn_of_few(fitted: bridge.Bridge) -> None:
    """Warn where few samples stand behind the conditional means of a fitted bridge.

    Parameters
    ----------
    fitted : the bridge.

    Warns
    -----
    AccuracyWarning
        Fewer than :data:`l96closure.bridge.FEWEST_EFFECTIVE` effective samples stand behind the median mean.
    """
    effective = bridge.median_effective_samples(fitted)
    if effective < bridge.FEWEST_EFFECTIVE:
        warnings.warn(
            f"only {effective:.2g} effective samples stand behind the median conditional mean, and "
            f"{bridge.FEWEST_EFFECTIVE} are few: what is drawn varies too little. Take a larger epsilon than "
            f"{fitted.epsilon:.3g}, fewer coordinates than {max(map(len, fitted.neighbourhoods))}, or more data",
            bridge.AccuracyWarning,
            stacklevel=4,  # whoever called fit, which checks its arguments in between
        )


def warn_of_loss(compressed: bridge.Bridge) -> None:
    """Warn where compression has changed the conditional means.

    Parameters
    ----------
    compressed : the bridge, compressed or not.

    Warns
    -----
    AccuracyWarning
        The conditional mean has changed by more than a tenth of a standard deviation.
    """
    lost = compressed.compression
    if lost is not None and lost.mean_error > LARGEST_ERROR:
        warnings.warn(
            f"compression to {lost.centres} centres changes the conditional mean by {lost.mean_error:.2g} standard "
            f"deviations; keep more centres",
            bridge.AccuracyWarning,
            stacklevel=3,
        )
