"""Options of the law of the residual: quantiles or moments that noise drives, or the chain of the paper."""

from __future__ import annotations

from dataclasses import dataclass

from l96closure import checks, noise
from l96closure.bridge.sampler import CLAMPS, NOISE_METRICS
from l96closure.bridge.sampler import SCHEMES as OF_A_CHAIN

__all__ = ["Chain", "Law", "Moments", "Quantiles"]

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
