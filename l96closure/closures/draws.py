"""How a bridge draws a residual given the predictors: by the chain of the paper, or by noise that has a memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from l96closure import bridge, noise
from l96closure.bridge.sampler import SCHEMES as OF_A_CHAIN
from l96closure.bridge.sampler import SEQUENTIAL
from l96closure.closures.memory import Memory
from l96closure.closures.state import State

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
    """Draws residuals with the noise of a state, and says what it is to remember next."""

    @property
    def remembers(self) -> tuple[int, ...]:
        """Shape of what there is to remember of a member."""

    def initial(self, state: State) -> F64:
        """Return what there is to remember at the start."""

    def __call__(self, z: F64, state: State) -> tuple[F64, F64]:
        """Return the residual (member, K) given the predictors ``z`` (member, P K), and what to remember."""


@dataclass(frozen=True)
class FromChain:
    """The noising/denoising chain, started from the last residual (member, K), which is what it remembers.

    Attributes
    ----------
    chain : with the predictors given.
    fitted : its bridge.
    steps : of the chain, for a draw.
    """

    chain: bridge.Chain
    fitted: bridge.Bridge
    steps: int

    @property
    def remembers(self) -> tuple[int, ...]:
        """The sites."""
        return (self.fitted.components.size,)

    def initial(self, state: State) -> F64:
        """Residuals of training samples; where every site has a dictionary of its own, all sites from one time."""
        of = self.fitted.dictionary_of
        values = np.stack([dictionary.values[:, 0] for dictionary in self.fitted.dictionaries])
        uniform = state.uniforms(1, 1 if len(values) == of.size else of.size)[0]
        first: F64 = values[of, (values.shape[1] * uniform).astype(np.intp)]
        return first

    def __call__(self, z: F64, state: State) -> tuple[F64, F64]:
        """Draw; the residual is what to remember."""
        x = np.concatenate([z, state.memory], axis=1)
        self.chain.advance(x, self.steps, partial(self._noise, state))
        residual = x[:, z.shape[1] :]
        return residual.copy(), residual

    def _noise(self, state: State, first: int, steps: int) -> F64:
        """Noise of some steps of the chain, which are the draws of a step of the closure."""
        return noise.block(
            state.key, state.member, state.step, steps, self.chain.numbers, draw=first, normal=self.chain.normal
        )


@dataclass(frozen=True)
class FromNoise:
    """What the bridge makes of standard normal noise xi, given the predictors alone.

    Attributes
    ----------
    fitted : the bridge, whose neighbourhoods hold predictors only.
    quantiles : Q(Phi(xi) | z), which keeps the shape of the distribution; None for m(z) + sqrt(c(z)) xi.
    memory : of the noise, whose oscillators are remembered; None for fresh noise each time.
    """

    fitted: bridge.Bridge
    quantiles: bridge.ConditionalQuantiles | None
    memory: Memory | None

    @classmethod
    def of(cls, fitted: bridge.Bridge, scheme: str, memory: Memory | None) -> FromNoise:
        """Make it for a scheme of ``DRIVEN``."""
        return cls(fitted, bridge.tabulate(fitted) if scheme == _QUANTILE else None, memory)

    @property
    def remembers(self) -> tuple[int, ...]:
        """The sites and their oscillators, or nothing."""
        return (0,) if self.memory is None else (self.fitted.components.size, 2 * self.memory.weight.size)

    def initial(self, state: State) -> F64:
        """Noise as it is at any time."""
        return state.memory if self.memory is None else self.memory.initial(state, self.fitted.components.size)

    def __call__(self, z: F64, state: State) -> tuple[F64, F64]:
        """Draw, with the next values of the noise."""
        sites = self.fitted.components.size
        if self.memory is None:
            xi, following = state.normals(1, sites)[0], state.memory
        else:
            xi, following = self.memory.advance(state, sites)
        if self.quantiles is not None:
            return self.quantiles(z, xi), following
        mean, variance = self.fitted.moments(np.concatenate([z, xi], axis=1))  # it reads the predictors alone
        return mean + np.sqrt(variance) * xi, following
