"""A polynomial in z: the deterministic parametrization of Wilks (2005)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.closures import origin
from l96closure.closures.files import save
from l96closure.closures.inputs import slow_variables
from l96closure.closures.parts import Parts
from l96closure.closures.state import State, begin, following
from l96closure.training import read_fields
from l96closure.trends import PolynomialTrend, as_arrays, removed

__all__ = ["Polynomial"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Polynomial:
    """psi = p(z), a polynomial in z at the same site, without noise; made by :meth:`fit` or a saved file.

    One polynomial serves all sites, and rings of any size K. Beyond the range of z it was fitted on it is constant,
    where a high power would run away. D. S. Wilks, *Effects of stochastic parametrizations in the Lorenz '96 system*,
    Q. J. R. Meteorol. Soc. 131, 389-407 (2005).

    Attributes
    ----------
    trend : the polynomial p.
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    dt : interval of the training data, the step that :func:`l96closure.integrate` takes unless told another.
    """

    trend: PolynomialTrend
    subgrid: str | None = None
    dt: float | None = None

    name, title = "polynomial", "Polynomial closure"
    save = save

    @classmethod
    @checks.arguments(truth=checks.xarray_dataset, degree=partial(checks.integer, minimum=0))
    def fit(cls, truth: xr.Dataset, degree: int = 4) -> Polynomial:
        """Fit the polynomial by least squares, all sites pooled.

        Parameters
        ----------
        truth : Dataset with z(time, k) and psi(time, k), from a system's ``simulate``.
        degree : of the polynomial, >= 0.

        Raises
        ------
        ValueError
            An argument is out of its range, or ``truth`` is no usable training data.
        """
        _, (z, psi) = read_fields(truth)
        trend, _ = removed([z], psi, degree)
        assert isinstance(trend, PolynomialTrend)
        return cls(trend, **origin.of(truth))

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        """Return a state that remembers nothing."""
        return begin(len(slow_variables(z)), rng, member)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Return psi = p(z) of the shape of ``z`` (member, K), in units of z per time unit, and the next state."""
        z = slow_variables(z)
        return self.trend(z), following(state, len(z), 0)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Everything a step needs, as plain arrays by name: what a step in another language is made of.

        Returns
        -------
        ``trend`` (1, degree + 1), coefficients of the Chebyshev polynomials of z mapped from ``trend_range`` (1, 2) to
        [-1, 1], beyond which z is held at the ends.
        """
        coefficients, bounds = as_arrays(self.trend)
        return {"trend": coefficients, "trend_range": bounds}

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs."""
        return xr.Dataset(
            {
                "trend": ("degree", self.trend.coefficients),
                "trend_range": ("bound", np.array([self.trend.lower, self.trend.upper])),
            },
            attrs={"closure": self.name, **origin.attributes(self)},
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Polynomial:
        """Inverse of :meth:`to_dataset`; raises ``ValueError`` when something is missing or wrong."""
        parts = Parts(dataset)
        return cls(polynomial(parts, "trend", "degree"), **origin.read(parts))


def polynomial(parts: Parts, name: str, dim: str) -> PolynomialTrend:
    """Return the polynomial whose coefficients have a name and a dim, in the range of the trend.

    Raises ``ValueError`` when there is none, or its range is empty.
    """
    coefficients, bounds = parts.array(name, dim), parts.array("trend_range", "bound")
    if coefficients.size == 0:
        checks.reject(name, [], "one coefficient or more")
    if bounds.size != 2 or not bounds[0] <= bounds[1]:
        checks.reject("trend_range", bounds.tolist(), "a lower and an upper bound")
    return PolynomialTrend(coefficients, *bounds.tolist())
