"""How a bridge draws a residual given the predictors: by the chain of the paper, or by noise that has a memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from l96closure import bridge
from l96closure.bridge.sampler import SCHEMES as OF_A_CHAIN
from l96closure.bridge.sampler import SEQUENTIAL
from l96closure.closures.memory import Memory

__all__ = [
    "DRIVEN",
    "EXACT",
    "LARGEST_ERROR",
    "SCHEMES",
    "Draw",
    "FromChain",
    "FromNoise",
    "chosen_scheme",
    "usual_epsilon",
    "warn_of_few",
    "warn_of_loss",
]

F64 = npt.NDArray[np.float64]

_AUTO, _QUANTILE, _MOMENTS = "auto", "quantile", "moments"
DRIVEN = (_QUANTILE, _MOMENTS)
"""Schemes that noise drives, and that a memory is for."""

EXACT = (_QUANTILE, *SEQUENTIAL)
"""Schemes that need every sample."""

LARGEST_ERROR = 0.1
"""Of a compressed bridge's conditional mean, in standard deviations, without a word."""

SCHEMES = (_AUTO, *DRIVEN, *OF_A_CHAIN)
"""Schemes that a closure can be asked for; ``auto`` is one of ``DRIVEN``."""


def chosen_scheme(scheme: str, alone: bool) -> str:
    """Return a scheme, for ``auto`` what can be had; ``alone`` says that a site sees one predictor, its own."""
    if scheme != _AUTO:
        return scheme
    return _QUANTILE if alone else _MOMENTS


def usual_epsilon(scheme: str) -> float:
    """Return the bandwidth where none is given: a table of quantiles can be sharp, averages cannot."""
    return 0.005 if scheme == _QUANTILE else 0.1


def warn_of_few(fitted: bridge.Bridge) -> None:
    """Warn where few samples stand behind the conditional means of a fitted bridge."""
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
    """Warn where compression has changed the conditional means."""
    lost = compressed.compression
    if lost is not None and lost.mean_error > LARGEST_ERROR:
        warnings.warn(
            f"compression to {lost.centres} centres changes the conditional mean by {lost.mean_error:.2g} standard "
            f"deviations; keep more centres",
            bridge.AccuracyWarning,
            stacklevel=3,
        )


class Draw(Protocol):
    """Draws residuals: ``initial`` gives the state to start from, a call the residual and the next state."""

    def initial(self, members: int, rng: np.random.Generator) -> F64:
        """State of so many members."""

    def __call__(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Residual (member, K) given the predictors ``z`` (member, P K), and the next state."""


@dataclass(frozen=True)
class FromChain:
    """The noising/denoising chain, started from the last residual (member, K), which is the state.

    Attributes
    ----------
    chain : with the predictors given.
    fitted : its bridge.
    steps : of the chain, for a draw.
    """

    chain: bridge.Chain
    fitted: bridge.Bridge
    steps: int

    def initial(self, members: int, rng: np.random.Generator) -> F64:
        """Residuals of training samples; where every site has a dictionary of its own, all sites from one time."""
        of = self.fitted.dictionary_of
        values = np.stack([dictionary.values[:, 0] for dictionary in self.fitted.dictionaries])
        chosen = rng.integers(values.shape[1], size=(members, 1 if len(values) == of.size else of.size))
        first: F64 = values[of, chosen]
        return first

    def __call__(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Draw; the residual is the next state."""
        x = np.concatenate([z, state], axis=1)
        self.chain.advance(x, self.steps, rng)
        residual = x[:, z.shape[1] :]
        return residual.copy(), residual


@dataclass(frozen=True)
class FromNoise:
    """What the bridge makes of standard normal noise xi, given the predictors alone.

    Attributes
    ----------
    fitted : the bridge, whose neighbourhoods hold predictors only.
    quantiles : Q(Phi(xi) | z), which keeps the shape of the distribution; None for m(z) + sqrt(c(z)) xi.
    memory : of the noise, whose oscillators are the state; None for fresh noise each time, and no state.
    """

    fitted: bridge.Bridge
    quantiles: bridge.ConditionalQuantiles | None
    memory: Memory | None

    @classmethod
    def of(cls, fitted: bridge.Bridge, scheme: str, memory: Memory | None) -> FromNoise:
        """Make it for a scheme of ``DRIVEN``."""
        return cls(fitted, bridge.tabulate(fitted) if scheme == _QUANTILE else None, memory)

    def initial(self, members: int, rng: np.random.Generator) -> F64:
        """Noise as it is at any time."""
        if self.memory is None:
            return np.empty((members, 0))
        return self.memory.initial(members, self.fitted.components.size, rng)

    def __call__(self, z: F64, state: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        """Draw, with the next values of the noise."""
        if self.memory is None:
            noise, following = rng.standard_normal((len(z), self.fitted.components.size)), state
        else:
            noise, following = self.memory.advance(state, rng)
        if self.quantiles is not None:
            return self.quantiles(z, noise), following
        mean, variance = self.fitted.moments(np.concatenate([z, noise], axis=1))  # it reads the predictors alone
        return mean + np.sqrt(variance) * noise, following
