"""The Kuramoto-Sivashinsky equation and its box averages: spectral truth, finite-difference coarse model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks, loop
from l96closure.arrays import C128, F64
from l96closure.restart import Restart
from l96closure.schemes import held
from l96closure.subgrid import HELD
from l96closure.systems import recording

_CONTOUR_POINTS = 32  # as Kassam & Trefethen (2005) take
_LONG_NAMES = {
    "z": "box average of the solution",
    "psi": "subgrid tendency of the box average",
    "k": "number of the box",
}
_STEPS_PER_CALL = 1_000  # fine steps between two updates of the progress bar
_SUBGRID = ("step", "instant")


@dataclass(frozen=True)
class KuramotoSivashinsky:
    """The Kuramoto-Sivashinsky equation on a periodic domain, and the boxes its solution is averaged over.

        u_t = -u u_x - u_xx - u_xxxx,   u(x + L) = u(x)

    The second derivative feeds waves longer than 2 pi, most those of length 9; the fourth damps shorter ones; the
    advection passes energy from the former to the latter (Kuramoto & Tsuzuki 1976, Progress of Theoretical Physics 55,
    356-369; Sivashinsky 1977, Acta Astronautica 4, 1177-1206). All quantities are dimensionless. The fine grid has K J
    points, K boxes of J. Products are not dealiased: the spectrum falls off exponentially.

    The chaos of a short domain is a long transient: a run on L = 64 came to rest in the steady state of eight cells
    after some 115,000 time units. Judge by shorter runs, or look whether they still move.

    Parameters
    ----------
    L : length of the domain, > 0; chaos begins at about 20.
    K : number of boxes, the sites of the coarse model, >= 5.
    J : fine grid points in a box, >= 1.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    L: float = 64.0
    K: int = 48
    J: int = 3

    def __post_init__(self) -> None:
        checks.number("L", self.L, above=0.0)
        checks.integer("K", self.K, 5)
        checks.integer("J", self.J, 1)

    @cached_property
    def wavenumber(self) -> F64:
        """Wavenumbers q of the Fourier coefficients (K J // 2 + 1,)."""
        return 2.0 * np.pi * scipy.fft.rfftfreq(self.K * self.J, self.L / (self.K * self.J))

    @cached_property
    def growth(self) -> F64:
        """Growth rate q^2 - q^4 of every wave of small amplitude."""
        return self.wavenumber**2 - self.wavenumber**4

    @property
    def differences(self) -> tuple[float, float]:
        """Factors of the differences of the coarse model, 1 / D^2 and 1 / 6 D."""
        width = self.L / self.K
        return 1.0 / width**2, 1.0 / (6.0 * width)

    @cached_property
    def _advection(self) -> C128:
        factor = (-0.5j * self.wavenumber).astype(np.complex128)
        if self.K * self.J % 2 == 0:
            factor[-1] = 0.0  # the shortest wave of an even grid has no odd derivative there
        return factor

    def advection(self, v: C128) -> C128:
        """Fourier coefficients of -u u_x = -(u^2)_x / 2.

        Parameters
        ----------
        v : Fourier coefficients of u (..., K J // 2 + 1), as of scipy.fft.rfft along the last axis.

        Returns
        -------
        Of the shape of ``v``.
        """
        u = scipy.fft.irfft(v, self.K * self.J)
        return self._advection * scipy.fft.rfft(u * u)

    def tendency(self, u: npt.ArrayLike) -> F64:
        """Tendency -u u_x - u_xx - u_xxxx on the fine grid.

        Parameters
        ----------
        u : (..., K J); any leading dimensions.

        Returns
        -------
        Of the shape of ``u``.

        Raises
        ------
        ValueError
            ``u`` does not fit the fine grid.
        """
        return scipy.fft.irfft(self._tendency(scipy.fft.rfft(self._state(u))), self.K * self.J)

    def average(self, u: npt.ArrayLike) -> F64:
        """Return the averages over the boxes.

        Parameters
        ----------
        u : solution on the fine grid (..., K J).

        Returns
        -------
        (..., K)

        Raises
        ------
        ValueError
            ``u`` does not fit the fine grid.
        """
        u = self._state(u)
        return u.reshape(*u.shape[:-1], self.K, self.J).mean(axis=-1)

    def resolve(self, v: C128) -> tuple[F64, F64]:
        """Box averages of a solution and their subgrid tendency.

        psi is what the coarse model lacks at the instant: the average of the tendency less the coarse tendency of the
        average.

        Parameters
        ----------
        v : Fourier coefficients of u (..., K J // 2 + 1).

        Returns
        -------
        z and psi, both (..., K).
        """
        z, rate = (self.average(scipy.fft.irfft(x, self.K * self.J)) for x in (v, self._tendency(v)))
        return z, rate - self.resolved_tendency(z)

    def resolved_tendency(self, z: npt.ArrayLike) -> F64:
        """Tendency of the coarse model: second-order differences on the K boxes of width D = L / K.

            G_k(z) = -(z_{k+1} + z_k + z_{k-1}) (z_{k+1} - z_{k-1}) / 6 D - (d^2 z)_k / D^2 - (d^4 z)_k / D^4

        The advection is that of Zabusky & Kruskal (1965, Physical Review Letters 15, 240-243): it conserves the sums of
        z and of z^2. (d^2 z)_k = z_{k+1} - 2 z_k + z_{k-1}, and d^4 is d^2 twice. On few sites these differences damp
        short waves far too little: at sites 4/3 apart the shortest wave is damped at a ninth of its rate.

        Parameters
        ----------
        z : (..., K); any leading dimensions.

        Returns
        -------
        Of the shape of ``z``.

        Raises
        ------
        ValueError
            ``z`` does not fit the boxes.

        Examples
        --------
        >>> import numpy as np
        >>> KuramotoSivashinsky(L=5.0, K=5).resolved_tendency(np.array([1.0, 0.0, 0.0, 0.0, 0.0])).round(3)
        array([-4.   ,  3.167, -1.   , -1.   ,  2.833])
        """
        z = np.asarray(z, dtype=np.float64)
        if z.ndim == 0 or z.shape[-1] != self.K:
            checks.reject("z.shape", z.shape, f"(..., {self.K})")
        per_area, per_reach = self.differences
        after, before = np.roll(z, -1, axis=-1), np.roll(z, 1, axis=-1)
        second = (after - 2.0 * z + before) * per_area
        fourth = (np.roll(second, -1, axis=-1) - 2.0 * second + np.roll(second, 1, axis=-1)) * per_area
        return (after + z + before) * (before - after) * per_reach - second - fourth

    @checks.arguments(**recording.RULES, subgrid=partial(checks.one_of, allowed=_SUBGRID))
    def simulate(
        self,
        samples: int = 20_000,
        dt: float = 0.1,
        every: int = 2,
        spinup: float = 200.0,
        subgrid: str = "step",
        coarse_dt: float = 0.2,
        rng: np.random.Generator | int | None = 0,
        members: int | None = None,
        restart: Restart | None = None,
    ) -> xr.Dataset:
        """Run the equation and record the box averages with their subgrid tendency.

        Without arguments it makes the training data we recommend: 4,000 time units, recorded once a coarse step. The
        subgrid tendency psi is, of :data:`l96closure.subgrid.DEFINITIONS`, ``step``: what, held over a coarse step,
        takes the coarse model's RK4 from the box averages to those of the truth a step later; or ``instant``: what the
        coarse model lacks at the instant (:meth:`resolve`), with which it is off by what psi does within a step.

        Parameters
        ----------
        samples : number of samples to record, >= 1.
        dt : fine ETDRK4 time step, > 0.
        every : record every n-th fine step, >= 1.
        spinup : time that is integrated and dropped first, >= 0.
        subgrid : ``step`` or ``instant``.
        coarse_dt : the coarse step of the definition ``step``, a whole multiple of ``dt``; unused otherwise.
        rng : generator or seed of the random initial states, small waves of zero mean.
        members : number of independent runs, each from a stream of its own spawned from ``rng``, so that a member does
            not depend on how many there are; None makes one, straight from ``rng``. On a cluster
            (:class:`l96closure.compute.Compute`) they are run at the same time, unless there is a ``restart``.
        restart : where the run is kept, to be taken up again by the same call after it was stopped; the result has the
            same bits.

        Returns
        -------
        Dataset with ``z`` and ``psi`` of dims (time, k), or (member, time, k) with ``members``; time counts from the
        first sample on. The arguments are attributes.

        Raises
        ------
        ValueError
            An argument is out of its range.
        FloatingPointError
            The state stopped being finite; the message names the time and the step. Or ``coarse_dt`` is too long for
            the coarse model.
        """
        lead = checks.multiple("coarse_dt", coarse_dt, "dt", dt) if subgrid in HELD else 0
        step_of_psi = {"coarse_dt": float(coarse_dt)} if subgrid in HELD else {}
        schedule = recording.Schedule(samples, every, lead, checks.steps("spinup", spinup, dt))
        generators = recording.streams(rng, members)
        depends = ("Kuramoto-Sivashinsky", self, samples, dt, every, spinup, step_of_psi, generators)
        made = partial(self._members, dt, schedule, coarse_dt)
        z, psi = recording.together(made, generators, restart and restart.of(*depends))
        times = {**step_of_psi, "dt": dt, "every": every, "spinup": spinup}
        run = recording.dataset(self, z, psi, members, rng, subgrid, times)
        for name, meaning in _LONG_NAMES.items():
            run[name].attrs.update(long_name=meaning, units="1")
        return run

    def _members(
        self,
        dt: float,
        schedule: recording.Schedule,
        coarse_dt: float,
        generators: list[np.random.Generator],
        restart: Restart | None = None,
    ) -> tuple[F64, F64]:
        """Return z and psi (member, sample, K) of members with these generators."""
        at_work = partial(_Ensemble, self, dt, etdrk4(self.growth, self.advection, dt), schedule)
        truth = recording.Truth(
            "Kuramoto-Sivashinsky equation",
            schedule,
            (len(generators), self.K),
            max(_STEPS_PER_CALL // len(generators), 1),
            lambda: at_work(np.array([self._small_waves(each) for each in generators])),
            lambda part: at_work(part["u_hat_now"].to_numpy().view(np.complex128)),
        )
        loop.run(truth, restart)
        z, psi = truth.made
        if schedule.lead:  # what was recorded are the box averages a coarse step later
            psi = held(self.resolved_tendency, z, psi, coarse_dt)
        return z, psi

    def _small_waves(self, rng: np.random.Generator) -> C128:
        u = 0.1 * rng.standard_normal(self.K * self.J)
        return scipy.fft.rfft(u - u.mean())

    def _tendency(self, v: C128) -> C128:
        return self.growth * v + self.advection(v)

    def _state(self, u: npt.ArrayLike) -> F64:
        u = np.asarray(u, dtype=np.float64)
        if u.ndim == 0 or u.shape[-1] != self.K * self.J:
            checks.reject("u.shape", u.shape, f"(..., {self.K * self.J}), K J points")
        return u


def etdrk4(growth: F64, nonlinear: Callable[[C128], C128], dt: float) -> Callable[[C128], C128]:
    """Exponential time differencing of fourth order, v' = growth v + nonlinear(v), for real ``growth``.

    The scheme is that of Cox & Matthews (2002), Journal of Computational Physics 176, 430-455, their eqs. (26)-(29);
    its coefficients are means over a circle in the complex plane, which saves them from cancellation, after Kassam &
    Trefethen (2005), SIAM Journal on Scientific Computing 26, 1214-1233. The linear part is exact. Order 4; less
    while the step is long for stiff waves (Hochbruck & Ostermann 2005, SIAM Journal on Numerical Analysis 43,
    1069-1090).

    Parameters
    ----------
    growth : linear rates (d,).
    nonlinear : maps v (..., d) to the rest of its tendency.
    dt : time step, > 0.

    Returns
    -------
    One step, v (..., d) -> v (..., d).

    Raises
    ------
    ValueError
        ``dt`` is not > 0.
    """
    h = checks.number("dt", dt, above=0.0)
    circle = np.exp(1j * np.pi * (np.arange(_CONTOUR_POINTS) + 0.5) / _CONTOUR_POINTS)
    c = h * growth[:, np.newaxis] + circle  # half a circle about each: the other half gives the complex conjugates

    def mean(values: C128) -> F64:
        return h * values.mean(axis=1).real

    whole, half = np.exp(h * growth), np.exp(0.5 * h * growth)
    middle = mean((np.exp(0.5 * c) - 1.0) / c)
    first = mean((-4.0 - c + np.exp(c) * (4.0 - 3.0 * c + c**2)) / c**3)
    inner = mean((2.0 + c + np.exp(c) * (c - 2.0)) / c**3)
    last = mean((-4.0 - 3.0 * c - c**2 + np.exp(c) * (4.0 - c)) / c**3)

    @np.errstate(under="ignore")  # the shortest waves are damped to nothing
    def step(v: C128) -> C128:
        n_v = nonlinear(v)
        a = half * v + middle * n_v
        n_a = nonlinear(a)
        n_b = nonlinear(half * v + middle * n_a)
        n_c = nonlinear(half * a + middle * (2.0 * n_b - n_v))
        return whole * v + first * n_v + 2.0 * inner * (n_a + n_b) + last * n_c

    return step


@dataclass(frozen=True, eq=False)
class _Ensemble:
    """Runs of the equation: how they are made, and the Fourier coefficients of their states (member, wave)."""

    model: KuramotoSivashinsky
    dt: float
    move: Callable[[C128], C128]
    schedule: recording.Schedule
    v: C128

    def advance(self, step: int, steps: int, z: F64, psi: F64) -> int:
        """Make so many fine steps, and write the records of the states before each."""
        with np.errstate(over="ignore", invalid="ignore"):  # a blow-up ends in the error below, not in warnings
            for now in range(step, step + steps):
                for member in range(len(self.v)):  # one by one: a transform of several may round in another way
                    self._record(now, self.v[member], z[member], psi[member])
                    self.v[member] = self.move(self.v[member])
        time = (step + steps - self.schedule.spinup) * self.dt
        checks.still_finite("the Kuramoto-Sivashinsky equation", self.v, time, self.dt)
        return steps

    def _record(self, now: int, v: C128, z: F64, psi: F64) -> None:
        """Write what a state has for the sample that it begins, and for the one that it completes.

        Where psi is of a whole coarse step, the box averages at its end stand in the place of psi.
        """
        begun, complete = (slice(count(now), count(now + 1)) for count in (self.schedule.begun, self.schedule.complete))
        if begun.start < begun.stop or complete.start < complete.stop:
            here, instant = self.model.resolve(v)
            z[begun], psi[complete] = here, here if self.schedule.lead else instant

    def state(self) -> dict[str, Any]:
        """All that their further steps depend on."""
        return {"u_hat_now": (("member", "value_index"), self.v.view(np.float64))}
