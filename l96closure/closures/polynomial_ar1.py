"""A polynomial in z with autoregressive noise about it: Wilks (2005); Arnold, Moroz & Palmer (2013)."""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.closures import choice, fitting
from l96closure.closures.composed import Composed
from l96closure.closures.filtered_trend import Residual
from l96closure.closures.noise_fit import Noise
from l96closure.closures.trend import Trend
from l96closure.fields import Fields
from l96closure.record import Record
from l96closure.training import RULES, read
from l96closure.trends import PolynomialTrend, on_unit_interval


class PolynomialAR1(Composed):
    """psi = p(z) + s(z) e, with e a first-order autoregressive process of its own at every site.

    The process e(n+1) = phi e(n) + sqrt(1 - phi^2) xi, xi ~ N(0, 1), has variance 1, so that s(z) is the standard
    deviation of psi about p(z). Beyond the range of z they were fitted on, p and s are constant. With other ``fields``,
    ``trend`` and ``noise`` it sees neighbours and the past, and its noise has a higher order or colour in space, so
    that other closures can be compared with the best of its kind.

    D. S. Wilks, *Effects of stochastic parametrizations in the Lorenz '96 system*, Q. J. R. Meteorol. Soc. 131,
    389-407 (2005), with s constant; H. M. Arnold, I. M. Moroz and T. N. Palmer, *Stochastic parametrizations and model
    uncertainty in the Lorenz '96 system*, Phil. Trans. R. Soc. A 371, 20110479 (2013), who also let it depend on z.
    """

    name, title = "polynomial_ar1", "Polynomial closure with AR(1) noise"

    @classmethod
    @checks.arguments(
        **RULES,
        fields=partial(checks.instance, of=Fields),
        trend=partial(checks.instance, of=Trend),
        noise=partial(checks.instance, of=Noise),
        residual_degree=partial(checks.integer, minimum=0),
    )
    def fit(
        cls,
        truth: xr.Dataset,
        fields: Fields = Fields(radius=0, lags=()),  # noqa: B008 - a value, never changed
        trend: Trend = Trend(degree=4, order=1, ridge=0.0, filtered=False),  # noqa: B008
        noise: Noise = Noise(order=1, covariance=None),  # noqa: B008
        residual_degree: int = 0,
        dt: float | None = None,
    ) -> PolynomialAR1:
        """Fit the polynomial, then the residual's variance, then its autocorrelation, all sites that pool together.

        Parameters
        ----------
        truth, fields, trend, noise : as for :meth:`l96closure.closures.SchrodingerBridge.fit`.
        residual_degree : of the polynomial log s(z)^2 in the first predictor at the site, >= 0; 0 makes the noise the
            same at every z.
        dt : as for :meth:`l96closure.closures.SchrodingerBridge.fit`.

        Returns
        -------
        PolynomialAR1

        Raises
        ------
        ValueError
            An argument is out of its range, ``truth`` is no usable training data, its time is not uniform, or it looks
            like several runs (:func:`l96closure.series.one_run`).
        """
        record = read(truth, fields, dt, ordered=True, grouped=True, most=fitting.MOST_VALUES).with_previous().scaled()
        choice.warn_of_degree(record, trend)
        trend = choice.with_degree(record, trend)
        record, features, selection = choice.chosen(record, fields, trend)
        noise = noise.on(record.fields)

        def gaussian(part: Record, residual: Residual, names: tuple[str, ...]) -> PolynomialTrend:
            x, left = np.concatenate(choice.given(part, residual, names)), np.concatenate(residual.values)
            bounds = float(features.lower[0]), float(features.upper[0])
            return _fit_log_variance(x, left, residual_degree, bounds)

        laws = fitting.Distributions(lambda _: (record.fields.predictors[0],), gaussian)
        return cls(**fitting.composed(record, features, trend, noise, laws), selection=selection)


def _fit_log_variance(z: F64, residual: F64, degree: int, bounds: tuple[float, float]) -> PolynomialTrend:
    """Fit a polynomial to the logarithm of the residual's variance given z, which is held at the bounds.

    Gamma regression of the squares with a logarithmic link (McCullagh & Nelder 1989), a convex problem: whatever the
    distribution of the residual, the squares have the fitted mean, and their ratio to it has mean 1.
    """
    design = np.polynomial.chebyshev.chebvander(on_unit_interval(z, *bounds).ravel(), degree)
    squares = residual.ravel() ** 2
    mean = float(squares.mean())  # the unit of the problem, so that its solution does not depend on that of psi
    squares /= mean

    def ratio(c: F64) -> F64:
        with np.errstate(over="ignore", under="ignore"):  # far from the minimum; such a step is taken back
            return squares * np.exp(-(design @ c))

    found = scipy.optimize.minimize(
        lambda c: (design @ c + ratio(c)).mean(),
        np.zeros(degree + 1),
        jac=lambda c: (1.0 - ratio(c)) @ design / squares.size,
        hess=lambda c: (design.T * ratio(c)) @ design / squares.size,
        method="trust-exact",
        options={"gtol": 1e-10},
    )
    coefficients = np.asarray(found.x, np.float64)
    coefficients[0] += np.log(mean)
    return PolynomialTrend(coefficients, *bounds)
