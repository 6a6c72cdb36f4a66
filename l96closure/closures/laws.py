"""Options of the law of the residual: quantiles or moments that noise drives, or the chain of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from l96closure import checks, noise
from l96closure.bridge.sampler import CLAMPS, NOISE_METRICS
from l96closure.bridge.sampler import SCHEMES as OF_A_CHAIN

_CENTRES = 100_000


@dataclass(frozen=True)
class Quantiles:
    """psi is the quantile of the residual's law that noise asks for, Q(Phi(xi) | x), given one coordinate or two.

    Parameters
    ----------
    coordinates : what the law is given at the site itself: ``trend``, the value of the trend, or the name of a
        predictor, or two of these; None is chosen on held-out blocks of time. Of two, samples are sorted into bins of
        the second; each bin has a law given the first, and between bins their quantiles are interpolated.
    centres : at most so many samples make a law, drawn at random, >= 2; of two coordinates those of all bins together.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    coordinates: str | Sequence[str] | None = None
    centres: int = _CENTRES

    epsilon = 0.01  # a table of quantiles can be sharp, averages cannot

    def __post_init__(self) -> None:
        given = (self.coordinates,) if isinstance(self.coordinates, str) else self.coordinates
        if given is not None:
            names = tuple(given) if isinstance(given, Iterable) else (given,)
            if not (1 <= len(set(names)) == len(names) <= 2) or not all(isinstance(name, str) for name in names):
                allowed = "trend, the name of a predictor, two different ones of these, or None"
                checks.reject("law.coordinates", self.coordinates, allowed)
            object.__setattr__(self, "coordinates", names)
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
