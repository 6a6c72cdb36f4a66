"""From a truth run to training samples: thinning, the polynomial trend in z, climatological scales, stacking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks

__all__ = ["PolynomialTrend", "TrainingData", "fit_trend", "prepare"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
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
    """Least-squares polynomial of psi in z, all sites pooled.

    Raises ``ValueError`` unless ``degree`` is an integer >= 0.
    """
    degree = checks.integer("trend_degree", degree, 0)
    fitted = np.polynomial.Polynomial.fit(z.ravel(), psi.ravel(), degree)
    coefficients = np.zeros(degree + 1)
    plain = fitted.convert().coef
    coefficients[: plain.size] = plain
    return PolynomialTrend(coefficients, float(z.min()), float(z.max()))


@dataclass(frozen=True)
class TrainingData:
    """Samples ready for the bridge.

    Attributes
    ----------
    samples : (M, 2K), the slow variables followed by the subgrid tendency less its trend.
    scale : (2K,), one climatological standard deviation for z and one for the residual (Section 5.1).
    trend : what was taken off psi, or None.
    """

    samples: F64
    scale: F64
    trend: PolynomialTrend | None


def prepare(truth: xr.Dataset, thinning: int = 1, trend_degree: int | None = None) -> TrainingData:
    """Turn a truth run into samples x^(j) = (z^(j), psi^(j)) for the bridge.

    Parameters
    ----------
    truth : Dataset with z(time, k) and psi(time, k), as :func:`l96closure.simulate` gives it.
    thinning : keep every n-th time, >= 1; consecutive fine steps are nearly copies of each other.
    trend_degree : degree of the polynomial in z that is removed from psi; None removes nothing.

    Raises
    ------
    ValueError
        z or psi is missing, has other dimensions, holds a non-finite value, has fewer than two distinct values or
        no variance; an argument is out of its range.
    """
    for name in ("z", "psi"):
        if name not in truth:
            checks.reject("truth", sorted(map(str, truth.data_vars)), f"a Dataset with the variable {name}")
        if truth[name].dims != ("time", "k"):
            checks.reject(f"truth.{name}.dims", truth[name].dims, "('time', 'k')")
    thinning = checks.integer("thinning", thinning, 1)
    kept = truth.isel(time=slice(None, None, thinning))  # before it is read: the file may be larger than the memory
    z = checks.finite_array("truth.z", kept["z"].values, 2)
    psi = checks.finite_array("truth.psi", kept["psi"].values, 2)
    for name, values in (("truth.z", z), ("truth.psi", psi)):
        if np.ptp(values) == 0.0:
            checks.reject(name, float(values.flat[0]), "an array of at least two distinct values")
    trend = None if trend_degree is None else fit_trend(z, psi, trend_degree)
    residual = psi if trend is None else psi - trend(z)
    spread = float(residual.std())
    if not spread > 1e-12 * float(psi.std()):
        checks.reject("std of psi about its trend", spread, "> 0; there is nothing left to learn")
    scale = np.repeat([float(z.std()), spread], z.shape[1])
    return TrainingData(np.concatenate([z, residual], axis=1), scale, trend)
