"""Fitted laws of the residual given what a closure sees: what a step draws from, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from l96closure import bridge, noise
from l96closure.arrays import F64, Index
from l96closure.closures.filtered_trend import put
from l96closure.closures.laws import Chain
from l96closure.closures.patterns import AnyPattern
from l96closure.closures.state import State
from l96closure.trends import PolynomialTrend

_NODES = 5  # of the quadrature over the noise


@dataclass(frozen=True, eq=False)
class Grouped:
    """Distributions of groups of cells, which learned apart: of several targets, or of sites that are not alike.

    Attributes
    ----------
    of : distribution of each group, given one coordinate or two.
    cells : numbers of its cells, of all targets at all sites.
    """

    of: tuple[Distribution, ...]
    cells: tuple[Index, ...]

    def each(self, function: Callable[..., F64], x: F64, *values: F64) -> F64:
        """Return what a function of a distribution, coordinates and values makes of each group.

        Parameters
        ----------
        function : of a distribution, the coordinates that it is given, and the values of its cells.
        x : coordinates (n, 2, C), of which a group that is given one has the first.
        *values : (n, C).

        Returns
        -------
        (n, C)
        """
        found = []
        for of, cells in zip(self.of, self.cells, strict=True):
            two = isinstance(of, bridge.ConditionalQuantiles) and of.coordinates > 1
            given = np.ascontiguousarray(x[:, :, cells] if two else x[:, 0, cells])
            found.append(function(of, given, *(np.ascontiguousarray(one[:, cells]) for one in values)))
        return put(found, self.cells)


Distribution = bridge.ConditionalQuantiles | bridge.Bridge | PolynomialTrend | Grouped


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
        x : the coordinate (member, K) of quantiles and Gaussians, or two of them (member, 2, K), as of groups of C
            cells; all features field by field (member, L P K) of the others.
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
    pattern: AnyPattern

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
        return _made_of(self.of, x, xi)

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


def _made_of(of: Distribution, x: F64, xi: F64) -> F64:
    """Return the residual that noise makes of a distribution."""
    if isinstance(of, Grouped):
        return of.each(_made_of, x, xi)
    if isinstance(of, bridge.ConditionalQuantiles):
        return of(x, xi)
    mean, variance = _moments(of, x, xi)
    return np.asarray(mean + np.sqrt(variance) * xi)


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
    if isinstance(of, Grouped):
        return of.each(scores, x, residual)
    if isinstance(of, bridge.ConditionalQuantiles):
        return of.scores(x, residual)
    mean, variance = _moments(of, x, residual)
    return np.asarray((residual - mean) / np.sqrt(variance))


def deviation(of: Distribution, x: F64) -> F64:
    """Return the standard deviation of residuals of a distribution, by Gauss-Hermite quadrature over the noise.

    Parameters
    ----------
    of : the distribution.
    x : what it is given, as for :class:`FittedLaw`.

    Returns
    -------
    (n, K)
    """
    if isinstance(of, Grouped):
        return of.each(deviation, x)
    if not isinstance(of, bridge.ConditionalQuantiles):
        return np.asarray(np.sqrt(_moments(of, x, x)[1]))
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    shape = len(x), x.shape[-1]
    values = np.stack([of(x, np.full(shape, node)) for node in nodes])
    weights /= weights.sum()
    return np.asarray(np.sqrt(np.tensordot(weights, (values - np.tensordot(weights, values, 1)) ** 2, 1)))


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
        return values[of, (values.shape[1] * uniform).astype(np.intp)]

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
