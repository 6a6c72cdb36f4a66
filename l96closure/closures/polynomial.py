"""A polynomial in z: the deterministic parametrization of Wilks (2005)."""

from __future__ import annotations

from functools import partial

import xarray as xr

from l96closure import checks
from l96closure.closures import choice, fitting
from l96closure.closures.composed import Composed
from l96closure.closures.trend import Trend
from l96closure.fields import Fields
from l96closure.training import RULES, read


class Polynomial(Composed):
    """psi = p(z), a polynomial in what a site sees, by default in z at the same site, without noise.

    Made by :meth:`fit` or a saved file. Beyond the range of z it was fitted on it is constant, where a high power would
    run away. D. S. Wilks, *Effects of stochastic parametrizations in the Lorenz '96 system*, Q. J. R. Meteorol. Soc.
    131, 389-407 (2005).
    """

    name, title = "polynomial", "Polynomial closure"

    @classmethod
    @checks.arguments(
        **RULES,
        fields=partial(checks.instance, of=Fields),
        trend=partial(checks.instance, of=Trend),
    )
    def fit(
        cls,
        truth: xr.Dataset,
        fields: Fields = Fields(radius=0, lags=()),  # noqa: B008 - a value, never changed
        trend: Trend = Trend(degree=4, order=1, ridge=0.0, filtered=False),  # noqa: B008
        dt: float | None = None,
    ) -> Polynomial:
        """Fit the polynomial by least squares, all sites that pool together.

        Parameters
        ----------
        truth, fields, trend, dt : as for :meth:`l96closure.closures.SchrodingerBridge.fit`.

        Returns
        -------
        Polynomial

        Raises
        ------
        ValueError
            An argument is out of its range, or ``truth`` is no usable training data.

        Examples
        --------
        >>> truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=500, rng=1)
        >>> closure = lc.closures.Polynomial.fit(truth)
        >>> z = truth["z"].values[:2]
        >>> closure.step(z, closure.init(z, rng=0))[0].shape
        (2, 8)
        """
        record = (
            read(truth, fields, dt, ordered=fields.lags != (), grouped=True, most=fitting.MOST_VALUES)
            .with_previous()
            .scaled()
        )
        choice.warn_of_degree(record, trend)
        trend = choice.with_degree(record, trend)
        record, features, selection = choice.chosen(record, fields, trend)
        return cls(**fitting.composed(record, features, trend), selection=selection)
