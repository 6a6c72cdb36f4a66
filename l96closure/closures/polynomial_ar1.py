"""A polynomial in z with autoregressive noise about it: Wilks (2005); Arnold, Moroz & Palmer (2013)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks
from l96closure.closures import origin
from l96closure.closures.files import save
from l96closure.closures.inputs import slow_variables
from l96closure.closures.parts import Parts
from l96closure.closures.polynomial import Polynomial, polynomial
from l96closure.closures.state import State, begin, following
from l96closure.series import autocorrelation, no_joint, one_run, time_step
from l96closure.training import prepare
from l96closure.trends import PolynomialTrend, as_arrays, on_unit_interval

__all__ = ["PolynomialAR1"]

F64 = npt.NDArray[np.float64]

_LARGEST_LOG = 600.0  # of a variance that a double can hold


@dataclass(frozen=True, eq=False)
class PolynomialAR1:
    """psi = p(z) + s(z) e, with e a first-order autoregressive process of its own at every site.

    The process e(n+1) = phi e(n) + sqrt(1 - phi^2) xi, xi ~ N(0, 1), has variance 1, so that s(z) is the standard
    deviation of psi about p(z). The coefficient phi belongs to one coarse step, ``dt``;
    :func:`l96closure.integrate` refuses any other. One closure serves all sites, and rings of any size K. Beyond the
    range of z they were fitted on, p and s are constant.

    D. S. Wilks, *Effects of stochastic parametrizations in the Lorenz '96 system*, Q. J. R. Meteorol. Soc. 131,
    389-407 (2005), with s constant; H. M. Arnold, I. M. Moroz and T. N. Palmer, *Stochastic parametrizations and model
    uncertainty in the Lorenz '96 system*, Phil. Trans. R. Soc. A 371, 20110479 (2013), who also let it depend on z.

    Attributes
    ----------
    trend : the polynomial p.
    log_variance : the polynomial log s(z)^2.
    phi : correlation of e from one coarse step to the next, -1 < phi < 1.
    dt : that step in model time units.
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    """

    trend: PolynomialTrend
    log_variance: PolynomialTrend
    phi: float
    dt: float
    subgrid: str | None = None

    name, title = "polynomial_ar1", "Polynomial closure with AR(1) noise"
    save = save

    def __post_init__(self) -> None:
        checks.number("dt", self.dt, above=0.0)
        if not -1.0 < self.phi < 1.0:
            checks.reject("phi", self.phi, "> -1 and < 1; the residual of psi has no stationary AR(1) process")

    @property
    def coarse_dt(self) -> float:
        """The one coarse step it is right for, ``dt``."""
        return self.dt

    @classmethod
    @checks.arguments(
        truth=checks.xarray_dataset,
        degree=partial(checks.integer, minimum=0),
        residual_degree=partial(checks.integer, minimum=0),
        step=checks.optional(partial(checks.number, above=0.0)),
    )
    def fit(
        cls, truth: xr.Dataset, degree: int = 4, residual_degree: int = 0, step: float | None = None
    ) -> PolynomialAR1:
        """Fit the polynomial, then the residual's variance, then its autocorrelation, all sites pooled.

        Parameters
        ----------
        truth : Dataset with z(time, k) and psi(time, k), from a system's ``simulate``.
        degree : of the polynomial p, fitted by least squares, >= 0.
        residual_degree : of the polynomial log s(z)^2, >= 0; 0 makes the noise the same at every z.
        step : coarse step the closure is to be used with, in the unit of ``truth``'s time, > 0; None is the interval of
            ``truth``. phi is the autocorrelation of the standardised residual at the whole number of intervals nearest
            to it, one at least, raised to the power that leads from there to ``step``.

        Raises
        ------
        ValueError
            An argument is out of its range, ``truth`` is no usable training data, its time is not uniform or too short
            for ``step``, it looks like several runs (:func:`l96closure.series.one_run`), or a negative autocorrelation
            would have to be raised to a power.
        """
        interval = time_step("truth", truth)
        step = interval if step is None else step
        data = prepare(truth, trend_degree=degree)
        z, residual = np.split(data.samples, 2, axis=1)
        no_joint("truth.z", z)
        log_variance = _fit_log_variance(z, residual, residual_degree)
        phi = _phi(residual * np.exp(-0.5 * log_variance(z)), interval, step)
        assert isinstance(data.trend, PolynomialTrend)
        return cls(data.trend, log_variance, phi, **origin.of(truth, step))

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        """Draw e (member, K), which the state remembers, from its stationary distribution, N(0, 1).

        Parameters
        ----------
        z : slow variables (member, K).
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.
        """
        z = slow_variables(z)
        state = begin(len(z), rng, member)
        return state._replace(memory=state.normals(1, z.shape[1])[0])

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Advance e by a step and add it to the polynomial.

        Parameters
        ----------
        z : slow variables (member, K).
        state : from :meth:`init` or the previous step.

        Returns
        -------
        psi (member, K) in units of z per model time unit, and the next state.

        Raises
        ------
        ValueError
            ``z`` is not (member, K), or ``state`` does not fit it.
        """
        z = slow_variables(z)
        state = following(state, len(z), z.shape[1])
        e = self.phi * state.memory + np.sqrt(1.0 - self.phi**2) * state.normals(1, z.shape[1])[0]
        return self.trend(z) + np.exp(0.5 * self.log_variance(z)) * e, state._replace(memory=e)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Everything a step needs, as plain arrays by name: what a step in another language is made of.

        Returns
        -------
        ``trend`` and ``trend_range`` as of :class:`~l96closure.closures.Polynomial`; ``log_variance`` (1, degree + 1),
        in the same range; ``phi`` and ``coarse_dt`` (). The noise of step n is the draw 0 of that step, the state at
        the start that of step 0 (:func:`l96closure.noise.normals`).
        """
        return Polynomial(self.trend).tables() | {
            "log_variance": as_arrays(self.log_variance)[0],
            "phi": np.array(self.phi),
            "coarse_dt": np.array(self.coarse_dt),
        }

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs."""
        trend = Polynomial(self.trend).to_dataset()
        return trend.assign(log_variance=("log_variance_degree", self.log_variance.coefficients)).assign_attrs(
            closure=self.name, phi=self.phi, **origin.attributes(self)
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> PolynomialAR1:
        """Inverse of :meth:`to_dataset`; raises ``ValueError`` when something is missing or wrong."""
        parts = Parts(dataset)
        trend = polynomial(parts, "trend", "degree")
        log_variance = polynomial(parts, "log_variance", "log_variance_degree")
        if log_variance(np.linspace(trend.lower, trend.upper, 1000)).max() > _LARGEST_LOG:
            checks.reject("log_variance", log_variance.coefficients.tolist(), f"at most {_LARGEST_LOG:g} everywhere")
        found = origin.read(parts) | {"dt": parts.number("dt", above=0.0)}
        return cls(trend, log_variance, parts.number("phi"), **found)


def _fit_log_variance(z: F64, residual: F64, degree: int) -> PolynomialTrend:
    """Fit a polynomial to the logarithm of the residual's variance given z.

    Gamma regression of the squares with a logarithmic link (McCullagh & Nelder 1989), a convex problem: whatever the
    distribution of the residual, the squares have the fitted mean, and their ratio to it has mean 1.
    """
    lower, upper = float(z.min()), float(z.max())
    design = np.polynomial.chebyshev.chebvander(on_unit_interval(z, lower, upper).ravel(), degree)
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
    return PolynomialTrend(coefficients, lower, upper)


def _phi(standardised: F64, interval: float, step: float) -> float:
    """Correlation over a step of the standardised residual (time, K), which is known once an interval."""
    lag = max(1, round(step / interval))
    if lag >= len(standardised):
        checks.reject("step", step, f"less than {len(standardised) * interval:g}, the length of truth")
    one_run("truth.psi", standardised)
    phi = float(autocorrelation(standardised, lag + 1)[lag])
    power = step / (lag * interval)
    if np.isclose(power, 1.0, rtol=1e-6):
        return phi
    if phi <= 0.0:
        allowed = f"a whole multiple of {interval:g}, the interval of truth: the autocorrelation there, {phi:.3g}"
        checks.reject("step", step, f"{allowed}, cannot be raised to a power")
    return float(phi**power)
