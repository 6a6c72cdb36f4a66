"""The two-scale Lorenz-96 model: parameters, tendencies, compiled RK4, training truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks, loop
from l96closure.arrays import F64
from l96closure.restart import Restart
from l96closure.subgrid import HELD
from l96closure.systems import lorenz96_core as core
from l96closure.systems import recording
from l96closure.systems.lorenz96_held import held

_STEPS_PER_CALL = 500_000  # fine steps, of all members, between two updates of the progress bar
_MEMBERS_PER_CALL = 100  # of more members, more steps: theirs are of use to the cache
_SUBGRID = ("step", "coupling", "fine", "coarse")


@dataclass(frozen=True)
class TwoScaleLorenz96:
    """Parameters of the two-scale Lorenz-96 model (Lorenz 1996; eq. 59 of Gottwald & Reich 2024).

        dz_k/dt     = -z_{k-1} (z_{k-2} - z_{k+1}) - z_k + F - (h c / b) sum_j y_{j,k}
        dy_{j,k}/dt = -c b y_{j+1,k} (y_{j+2,k} - y_{j-1,k}) - c y_{j,k} + (h c / b) z_k

    All quantities are dimensionless. The K J fast variables form one ring: y_{j+J,k} = y_{j,k+1}.

    Parameters
    ----------
    K : number of slow variables, >= 4.
    J : number of fast variables per slow one, >= 1.
    F : forcing.
    h : coupling strength.
    b : ratio of amplitudes, > 0.
    c : ratio of time scales, > 0.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    K: int = 12
    J: int = 24
    F: float = 20.0
    h: float = 1.0
    b: float = 10.0
    c: float = 10.0

    def __post_init__(self) -> None:
        checks.integer("K", self.K, 4)
        checks.integer("J", self.J, 1)
        checks.number("F", self.F)
        checks.number("h", self.h)
        checks.number("b", self.b, above=0.0)
        checks.number("c", self.c, above=0.0)

    @property
    def coupling(self) -> float:
        """The coupling coefficient h c / b."""
        return self.h * self.c / self.b

    def tendency(self, z: npt.ArrayLike, y: npt.ArrayLike) -> tuple[F64, F64]:
        """Time derivatives of one state, eq. (59).

        Parameters
        ----------
        z : slow variables (K,).
        y : fast variables (K, J).

        Returns
        -------
        dz/dt (K,) and dy/dt (K, J).

        Raises
        ------
        ValueError
            A shape does not fit the model, or a value is not finite.
        """
        z, y = self._state(z, y)
        before, after, second = (np.roll(y, shift) for shift in (1, -1, -2))  # on the ring of all y
        dz = self.resolved_tendency(z) - self.coupling * y.sum(axis=1)
        dy = -self.c * self.b * after * (second - before) - self.c * y + self.coupling * z[:, np.newaxis]
        return dz, dy

    def step(self, z: npt.ArrayLike, y: npt.ArrayLike, dt: float, steps: int = 1) -> tuple[F64, F64]:
        """Advance one state by ``steps`` classical RK4 steps of length ``dt``.

        Parameters
        ----------
        z : slow variables (K,).
        y : fast variables (K, J).
        dt : time step in model time units, > 0.
        steps : number of steps, >= 1.

        Returns
        -------
        z (K,) and y (K, J) after ``steps`` steps; non-finite if the step was unstable.

        Raises
        ------
        ValueError
            A shape does not fit the model, or an argument is out of its range.
        """
        z, y = self._state(z, y)
        scheme = self._scheme(checks.number("dt", dt, above=0.0))
        state = core.Ensemble(scheme, z[np.newaxis], scheme.unit * y[np.newaxis])
        state.advance(checks.integer("steps", steps, 1))
        return state.z[0], state.Y[0] / scheme.unit

    def resolved_tendency(self, z: npt.ArrayLike) -> F64:
        """Tendency of the resolved variables, G_k(z) = -z_{k-1} (z_{k-2} - z_{k+1}) - z_k + F.

        The part of eq. (60) of Gottwald & Reich (2024) that a coarse model knows.

        Parameters
        ----------
        z : slow variables (..., K); any leading dimensions.

        Returns
        -------
        G(z) of the shape of ``z``, in units of z per model time unit.

        Raises
        ------
        ValueError
            ``z`` does not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> TwoScaleLorenz96(K=4, F=8.0).resolved_tendency(np.ones((2, 4)))
        array([[7., 7., 7., 7.],
               [7., 7., 7., 7.]])
        """
        z = np.ascontiguousarray(z, dtype=np.float64)
        if z.ndim == 0 or z.shape[-1] != self.K:
            checks.reject("z.shape", z.shape, f"(..., {self.K})")
        out = np.empty_like(z)
        rows = (-1, self.K)
        core.resolved_from_python(z.reshape(rows), float(self.F), out.reshape(rows))
        return out

    @checks.arguments(**recording.RULES, subgrid=partial(checks.one_of, allowed=_SUBGRID))
    def simulate(
        self,
        samples: int = 40_000,
        dt: float = 5e-4,
        every: int = 10,
        spinup: float = 10.0,
        subgrid: str = "step",
        coarse_dt: float = 5e-3,
        rng: np.random.Generator | int | None = 0,
        members: int | None = None,
        restart: Restart | None = None,
    ) -> xr.Dataset:
        """Run the two-scale model and record the slow variables with their subgrid tendency.

        Without arguments it makes the training data we recommend: 200 time units, recorded once a coarse step.

        Four definitions of the subgrid tendency psi are offered (:data:`l96closure.subgrid.DEFINITIONS`): ``step`` is
        what, held over a coarse step, takes the coarse model's RK4 from z to the next z of the truth: with it the
        coarse model replays the truth. ``coupling`` is the exact term of eq. (59) at the instant, consistent with an
        accurate integration of the coarse model; ``fine`` is eq. (61) of Gottwald & Reich (2024); ``coarse`` is the
        same difference over a coarse step, consistent with a forward Euler coarse model by construction. Memory holds
        the samples and ``coarse_dt / dt`` states, nothing else.

        Parameters
        ----------
        samples : number of samples to record, >= 1.
        dt : fine RK4 time step in model time units, > 0.
        every : record every n-th fine step, >= 1.
        spinup : model time that is integrated and dropped first, >= 0.
        subgrid : ``step``, ``coupling``, ``fine`` or ``coarse``.
        coarse_dt : the coarse step of the definitions ``step`` and ``coarse``, a whole multiple of ``dt``; unused
            otherwise.
        rng : generator or seed of the random initial states.
        members : number of independent runs, each from a stream of its own spawned from ``rng``, so that a member does
            not depend on how many there are; None makes one, straight from ``rng``. On a cluster
            (:class:`l96closure.compute.Compute`) they are run at the same time, unless there is a ``restart``.
        restart : where the run is kept, to be taken up again by the same call after it was stopped; the result has the
            same bits.

        Returns
        -------
        Dataset with ``z`` and ``psi`` of dims (time, k), or (member, time, k) with ``members``; time is in model time
        units from the first sample on. The arguments are attributes.

        Raises
        ------
        ValueError
            An argument is out of its range.
        FloatingPointError
            The state stopped being finite; the message names the time and the step.
        """
        dt, spinup = float(dt), float(spinup)  # an integer would be another compilation
        once = {"fine": 1, "coupling": 0}
        lead = checks.multiple("coarse_dt", coarse_dt, "dt", dt) if subgrid in HELD else once[subgrid]
        schedule = recording.Schedule(samples, every, lead, checks.steps("spinup", spinup, dt))
        generators = recording.streams(rng, members)
        step_of_psi = {"coarse_dt": float(coarse_dt)} if subgrid in HELD else {}
        depends = ("two scales", self, samples, dt, every, spinup, subgrid, step_of_psi, generators)
        run = partial(self._members, dt, schedule, subgrid, step_of_psi.get("coarse_dt", dt))
        z, psi = recording.together(run, generators, restart and restart.of(*depends))
        times = {**step_of_psi, "dt": dt, "every": every, "spinup": spinup}
        return recording.dataset(self, z, psi, members, rng, subgrid, times)

    def _members(
        self,
        dt: float,
        schedule: recording.Schedule,
        subgrid: str,
        interval: float,
        generators: list[np.random.Generator],
        restart: Restart | None = None,
    ) -> tuple[F64, F64]:
        """Return z and psi (member, sample, K) of members with these generators, psi over ``interval``."""
        at_work = partial(_Ensemble, dt, schedule)
        truth = recording.Truth(
            "two-scale model",
            schedule,
            (len(generators), self.K),
            math.ceil(_STEPS_PER_CALL / min(len(generators), _MEMBERS_PER_CALL)),
            lambda: at_work(self._start(dt, generators)),
            lambda part: at_work(core.Ensemble(self._scheme(dt), part["z_now"].to_numpy(), part["y_now"].to_numpy())),
        )
        loop.run(truth, restart)
        z, psi = truth.made
        if schedule.lead:  # what was recorded are the slow variables at the end of the step
            psi = self._subgrid(subgrid, z, psi, interval)
        return z, psi

    def trajectory(self, z: npt.ArrayLike, y: npt.ArrayLike, dt: float, every: int, records: int) -> F64:
        """Run on from one state of the slow variables, and record them.

        Parameters
        ----------
        z : slow variables (K,).
        y : fast variables (K, J), or those of several members (member, K, J).
        dt : RK4 time step in model time units, > 0.
        every : steps from one record to the next, >= 1.
        records : their number, >= 1; the first is ``z``.

        Returns
        -------
        Slow variables (records, K) or (member, records, K) at steps 0, every, 2 every, ...

        Raises
        ------
        ValueError
            A shape does not fit the model, or an argument is out of its range.
        FloatingPointError
            The state stopped being finite; the message names the time and the step.
        """
        z, y = self._state(z, y, ndim=3 if np.ndim(y) == 3 else 2)
        dt, every = checks.number("dt", dt, above=0.0), checks.integer("every", every, 1)
        records = checks.integer("records", records, 1)
        members, scheme = y.reshape(-1, self.K, self.J), self._scheme(dt)
        run = core.Ensemble(scheme, np.tile(z, (len(members), 1)), scheme.unit * members)
        out, coupling = (np.empty((len(members), records, self.K)) for _ in range(2))
        made = run.record((records - 1) * every + 1, 0, every, 0, out, coupling)  # a record comes with the next step
        checks.still_finite("the two-scale model", run.z, made * dt, dt)
        return out.reshape(*y.shape[:-2], records, self.K)

    def spin_up(
        self,
        z: npt.ArrayLike,
        interval: float,
        dt: float = 5e-4,
        members: int = 1,
        rng: np.random.Generator | int | None = 0,
        y: npt.ArrayLike | None = None,
    ) -> F64:
        """Integrate the fast variables along recorded slow variables: fast states that fit the past of z.

        The equations of y, eq. (59), by RK4, with z(t) an interpolating quintic spline of the record (of lower degree
        through fewer than six records). Nothing but z is taken from the record, no subgrid tendency in particular.

        Parameters
        ----------
        z : slow variables (time, K), two records or more.
        interval : model time between two of them, > 0, a whole multiple of ``dt``.
        dt : RK4 time step in model time units, > 0.
        members : number of fast states, >= 1, each from random values of its own at the first record; a member's do
            not depend on how many there are.
        rng : generator or seed of these values, normal of standard deviation 0.1 as those of :meth:`simulate`.
        y : fast variables (K, J) of all members at the first record, in place of random ones.

        Returns
        -------
        Fast variables (members, K, J) at the last record.

        Raises
        ------
        ValueError
            A shape does not fit the model, or an argument is out of its range.
        FloatingPointError
            A state stopped being finite: the step is too long.

        Examples
        --------
        >>> model = lc.TwoScaleLorenz96(K=8, J=4)
        >>> record = model.simulate(samples=201)  # at intervals of 0.005
        >>> model.spin_up(record["z"], 0.005, members=3).shape
        (3, 8, 4)
        """
        z = checks.finite_array("z", z, 2)
        if len(z) < 2 or z.shape[1] != self.K:
            checks.reject("z.shape", z.shape, f"(time, {self.K}) with two times or more")
        dt, members = checks.number("dt", dt, above=0.0), checks.integer("members", members, 1)
        steps = checks.multiple("interval", checks.number("interval", interval, above=0.0), "dt", dt)
        if y is None:
            state = 0.1 * checks.generator("rng", rng).standard_normal((members, self.K, self.J))
        else:
            state = np.tile(self._state(z[0], y)[1], (members, 1, 1))
        spline = scipy.interpolate.make_interp_spline(np.arange(len(z)), z, k=_degree(len(z)))
        path = spline(np.arange(2 * steps * (len(z) - 1) + 1) / (2 * steps))
        scheme = self._scheme(dt)
        state = core.driven(scheme, path, scheme.unit * state) / scheme.unit
        checks.still_finite("the fast variables", state, (len(z) - 1) * interval, dt)
        return state

    def _scheme(self, dt: float) -> core.Scheme:
        return core.Scheme.of(dt, self.F, self.h, self.b, self.c)

    def _start(self, dt: float, generators: list[np.random.Generator]) -> core.Ensemble:
        """Return members at random states."""
        scheme, z, y = self._scheme(dt), [], []
        for rng in generators:
            z.append(self.F / 4 + rng.standard_normal(self.K))
            y.append(0.1 * rng.standard_normal((self.K, self.J)))
        return core.Ensemble(scheme, np.array(z), scheme.unit * np.array(y))

    def _subgrid(self, subgrid: str, z: F64, following: F64, interval: float) -> F64:
        """Return psi over an interval, of a definition that needs the slow variables at its end."""
        if subgrid == "step":
            return held(z, following, self.F, interval)
        return (following - z) / interval - self.resolved_tendency(z)

    def _state(self, z: npt.ArrayLike, y: npt.ArrayLike, ndim: int = 2) -> tuple[F64, F64]:
        z, y = checks.finite_array("z", z, 1), checks.finite_array("y", y, ndim)
        if z.shape != (self.K,):
            checks.reject("z.shape", z.shape, f"({self.K},)")
        if y.shape[-2:] != (self.K, self.J):
            checks.reject("y.shape", y.shape, f"({self.K}, {self.J})")
        return z, y


@dataclass(frozen=True, eq=False)
class _Ensemble:
    """Runs of the two-scale model: how they are recorded, and where they are."""

    dt: float
    schedule: recording.Schedule
    run: core.Ensemble

    def advance(self, step: int, steps: int, z: F64, psi: F64) -> int:
        """Make so many fine steps, and write the records of the states before each."""
        plan, first = self.schedule, step - self.schedule.spinup
        made = self.run.record(steps, first, plan.every, plan.lead, z, psi)
        checks.still_finite("the two-scale model", self.run.z, (first + made) * self.dt, self.dt)
        return made

    def state(self) -> dict[str, Any]:
        """All that their further steps depend on; the fast variables in the units of the scheme."""
        return {"z_now": (("member", "k"), self.run.z), "y_now": (("member", "k", "j"), self.run.Y)}


def _degree(records: int) -> int:
    """Return the degree of the spline through so many records: five, or the highest odd one that they allow."""
    return min(5, records - 1 - records % 2)
