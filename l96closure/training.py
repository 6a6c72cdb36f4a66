"""From gridded data to training samples: thinning, the polynomial trend, climatological scales, stacking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.fields import Fields
from l96closure.series import autocorrelation

__all__ = [
    "AdditiveTrend",
    "PolynomialTrend",
    "TrainingData",
    "fit_additive_trend",
    "fit_trend",
    "prepare",
    "read_fields",
    "residual_autocorrelation",
]

F64 = npt.NDArray[np.float64]

_BLOCK = 2**21  # values before thinning that are read at a time
_MOST_TREND_VALUES = 2_000_000  # of each field that the trend is fitted to


@dataclass(frozen=True, eq=False)
class PolynomialTrend:
    """A polynomial in one variable, the deterministic parametrization of Wilks (2005).

    Attributes
    ----------
    coefficients : (degree + 1,), lowest power first, in units of psi per power of z.
    lower, upper : range of z it was fitted on; it is constant beyond, where a high power would run away.
    """

    coefficients: F64
    lower: float
    upper: float

    def __call__(self, z: F64) -> F64:
        """Evaluate at ``z`` of any shape (Horner)."""
        inside = np.minimum(np.maximum(z, self.lower), self.upper)
        value = np.full_like(z, self.coefficients[-1])
        for a in self.coefficients[-2::-1]:
            value *= inside
            value += a
        return value


def fit_trend(z: F64, psi: F64, degree: int) -> PolynomialTrend:
    """Least-squares polynomial of psi in z, all sites pooled; of many times, two million values or so are used.

    Raises ``ValueError`` unless ``degree`` is an integer >= 0.
    """
    degree = checks.integer("trend_degree", degree, 0)
    z, psi = _some_times(z, psi)
    fitted = np.polynomial.Polynomial.fit(z.ravel(), psi.ravel(), degree)
    coefficients = np.zeros(degree + 1)
    plain = fitted.convert().coef
    coefficients[: plain.size] = plain
    return PolynomialTrend(coefficients, float(z.min()), float(z.max()))


@dataclass(frozen=True)
class AdditiveTrend:
    """A sum of polynomials, one in each of several predictors at the same site; made by :func:`fit_additive_trend`.

    Attributes
    ----------
    parts : the polynomial in each predictor; the constant term is in the first.
    """

    parts: tuple[PolynomialTrend, ...]

    def __call__(self, z: F64) -> F64:
        """Evaluate at ``z`` (..., P, K); returns (..., K)."""
        value = np.zeros_like(z[..., 0, :])
        for p, part in enumerate(self.parts):
            value += part(z[..., p, :])
        return value


def fit_additive_trend(z: F64, psi: F64, degree: int) -> AdditiveTrend:
    """Least-squares sum of polynomials of one degree in each predictor (an additive model), all sites pooled.

    Of many times, so many are used as make two million values of the target.

    Parameters
    ----------
    z : predictors (M, P, K).
    psi : target (M, K).
    degree : of each polynomial, >= 0.

    Raises
    ------
    ValueError
        ``degree`` is out of its range.
    """
    degree = checks.integer("trend_degree", degree, 0)
    z, psi = _some_times(z, psi)
    ranges = [(float(z[:, p].min()), float(z[:, p].max())) for p in range(z.shape[1])]
    powers = [
        np.polynomial.polynomial.polyvander(np.interp(z[:, p].ravel(), bounds, (-1.0, 1.0)), degree)[:, 1:]
        for p, bounds in enumerate(ranges)
    ]
    design = np.concatenate([np.ones((psi.size, 1)), *powers], axis=1)
    constant, *rest = np.linalg.lstsq(design, psi.ravel(), rcond=None)[0]
    coefficients = np.zeros((len(ranges), degree + 1))
    for own, bounds, fitted in zip(coefficients, ranges, np.reshape(rest, (len(ranges), degree)), strict=True):
        plain = np.polynomial.Polynomial([0.0, *fitted], domain=bounds).convert().coef
        own[: plain.size] = plain
    coefficients[:, 0] = [constant + coefficients[:, 0].sum(), *np.zeros(len(ranges) - 1)]
    return AdditiveTrend(tuple(PolynomialTrend(own, *bounds) for own, bounds in zip(coefficients, ranges, strict=True)))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Samples ready for the bridge.

    Attributes
    ----------
    samples : (M, (P + 1) K), the predictors one after the other, followed by the target less its trend.
    scale : ((P + 1) K,), one climatological standard deviation for each predictor and one for the residual
        (Section 5.1).
    trend : what was taken off the target, or None.
    fields : names, units and grid of predictors and target.
    """

    samples: F64
    scale: F64
    trend: PolynomialTrend | AdditiveTrend | None
    fields: Fields


def prepare(
    truth: xr.Dataset,
    thinning: int = 1,
    trend_degree: int | None = None,
    predictors: str | Sequence[str] = "z",
    target: str = "psi",
    dim: str | Sequence[str] = "k",
) -> TrainingData:
    """Turn gridded data into samples x^(j) = (z^(j), psi^(j)) for the bridge.

    Lazy data (dask or a file) are thinned first and read in blocks: memory holds what is left of them a few times, and
    one block.

    Parameters
    ----------
    truth : Dataset with predictors and target of dims (time, *``dim``), as :func:`l96closure.simulate` gives it.
    thinning : keep every n-th time, >= 1; consecutive fine steps are nearly copies of each other.
    trend_degree : degree of the polynomial in the predictor at the same site that is removed from the target; of
        several predictors, of the sum of polynomials in each. None removes nothing.
    predictors : names of the variables the target is to be drawn given.
    target : name of the variable to be drawn.
    dim : dimension of the sites; or several, which are stacked.

    Raises
    ------
    ValueError
        A variable is missing, has other dimensions, holds a non-finite value, has fewer than two distinct values or
        no variance; an argument is out of its range.
    """
    fields, (*z, psi) = read_fields(truth, thinning, predictors, target, dim)
    residual: F64 = psi
    trend: PolynomialTrend | AdditiveTrend | None = None
    if trend_degree is not None:
        if len(z) == 1:
            trend = fit_trend(z[0], psi, trend_degree)
            residual = psi - trend(z[0])
        else:
            together = np.stack(z, axis=1)
            trend = fit_additive_trend(together, psi, trend_degree)
            residual = psi - trend(together)
    spread = float(residual.std())
    if not spread > 1e-12 * float(psi.std()):
        checks.reject(f"std of {target} about its trend", spread, "> 0; there is nothing left to learn")
    scale = np.repeat([*(float(values.std()) for values in z), spread], fields.sites)
    return TrainingData(np.concatenate([*z, residual], axis=1), scale, trend, fields)


def read_fields(
    truth: xr.Dataset,
    thinning: int = 1,
    predictors: str | Sequence[str] = "z",
    target: str = "psi",
    dim: str | Sequence[str] = "k",
) -> tuple[Fields, list[F64]]:
    """Read and check predictors and target of every n-th time.

    Parameters
    ----------
    truth, thinning, predictors, target, dim : as in :func:`prepare`.

    Returns
    -------
    Names, units and grid of the fields, and each of them (M, K), the target last.

    Raises
    ------
    ValueError
        A variable is missing, has other dimensions, holds a non-finite value or has fewer than two distinct values; an
        argument is out of its range.
    """
    fields = Fields.of(truth, predictors, target, dim)
    thinning = checks.integer("thinning", thinning, 1)
    arrays = []
    for name in (*fields.predictors, target):
        values = _read(f"truth.{name}", truth[name], thinning)
        if np.ptp(values) == 0.0:
            checks.reject(f"truth.{name}", float(values.flat[0]), "an array of at least two distinct values")
        arrays.append(values)
    return fields, arrays


def residual_autocorrelation(truth: xr.Dataset, data: TrainingData, lags: int) -> F64:
    """Autocorrelation of the target less its trend, averaged over the sites, at lags of the interval of ``truth``.

    Parameters
    ----------
    truth : what ``data`` was made of; as many of its first times are read as make two million values of a field.
    data : result of :func:`prepare`.
    lags : number of lags; the first is 0.

    Returns
    -------
    (lags,)
    """
    fields = data.fields
    stretch = truth.isel(time=slice(None, max(lags, _MOST_TREND_VALUES // fields.sites)))
    *z, psi = (_read(f"truth.{name}", stretch[name], 1) for name in (*fields.predictors, fields.target))
    if data.trend is not None:
        psi = psi - data.trend(z[0] if len(z) == 1 else np.stack(z, axis=1))
    return autocorrelation(psi, lags)


def _some_times(z: F64, psi: F64) -> tuple[F64, F64]:
    """Keep every n-th time of predictors and target, so many as a trend is fitted to."""
    every = -(-psi.size // _MOST_TREND_VALUES)
    return z[::every], psi[::every]


def _read(name: str, variable: xr.DataArray, thinning: int) -> F64:
    """Read every n-th time of a variable (time, ...) as (time, K), a block at a time."""
    times = variable.sizes["time"]
    if variable.dtype.kind not in "biuf":
        checks.reject(name, variable.dtype, "an array of numbers")
    out = np.empty((len(range(0, times, thinning)), *variable.shape[1:]))
    for start, stop in _blocks(variable):
        first = -(-start // thinning)
        block = variable.isel(time=slice(first * thinning, stop, thinning))
        out[first : first + block.sizes["time"]] = block.values
    return checks.finite_array(name, out, out.ndim).reshape(len(out), -1)


def _blocks(variable: xr.DataArray) -> Iterator[tuple[int, int]]:
    """Cut the times into blocks: the chunks of a dask array, otherwise as many times as are read at once."""
    times = variable.sizes["time"]
    chunks = variable.chunksizes.get("time")
    if chunks is None:
        size = max(1, _BLOCK // max(1, variable.size // max(1, times)))
        chunks = tuple(min(size, times - start) for start in range(0, times, size))
    stops = np.cumsum(chunks)
    yield from zip((stops - chunks).tolist(), stops.tolist(), strict=True)
