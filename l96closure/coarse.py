"""The coarse model: resolved tendency + closure + integrator."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, loop
from l96closure.arrays import F64, I64
from l96closure.closures import Closure
from l96closure.closures import state as states
from l96closure.compiled_loop import CompiledLoop
from l96closure.fields import Fields
from l96closure.first_calls import check_tendency, first_state, take_step
from l96closure.histories import starts_from
from l96closure.layout import Layout
from l96closure.loop import Records
from l96closure.pairing import SchemeWarning, UnitsWarning, mismatch, scheme_of, step_of, tendency_of
from l96closure.restart import Restart
from l96closure.schemes import SCHEMES, Tendency, Timed, after, starting

__all__ = [
    "SCHEMES",
    "BlowUpError",
    "SchemeWarning",
    "UnitsWarning",
    "integrate",
]


class BlowUpError(FloatingPointError):
    """The coarse model stopped being finite.

    Parameters
    ----------
    last : Dataset with z and psi (member, k), or predictors and targets, of the step that led to it, and the attributes
        member (its number) and step, of the first state that is not finite; an attribute of the error.
    run : Dataset of :func:`integrate` with all records before that; an attribute of the error.
    """

    def __init__(self, last: xr.Dataset, run: xr.Dataset) -> None:
        self.last, self.run = last, run
        member, step, dt = last.attrs["member"], last.attrs["step"], run.attrs["dt"]
        super().__init__(
            f"the coarse model stopped being finite in member {member} in step {step} of dt = {dt:g} "
            f"(time {step * dt:.6g} in the unit of dt, scheme {run.attrs['scheme']})"
        )

    def __reduce__(self) -> tuple[type[BlowUpError], tuple[xr.Dataset, xr.Dataset]]:
        return BlowUpError, (self.last, self.run)

    @property
    def good(self) -> xr.Dataset:
        """The part of ``run`` before it ran away.

        That is before the largest of a slow variable was more than ten times what it usually is, the median over the
        records.
        """
        if self.run.sizes["time"] == 0:
            return self.run
        wild = np.zeros(self.run.sizes["time"], bool)
        for name, variable in self.run.data_vars.items():
            if "time" not in variable.dims or name == "psi":
                continue
            sizes = np.abs(variable.transpose("time", ...).to_numpy()).reshape(wild.size, -1)
            largest = np.fmax.reduce(sizes, axis=1)  # outside of a mask there may be NaN
            wild |= largest > 10.0 * np.median(largest)
        return self.run.isel(time=slice(int(wild.argmax()) if wild.any() else None))


_MEMBER_STEPS_PER_CALL = 400_000  # between two looks at the clock: less than a tenth of a second


def integrate(
    model: Any,
    closure: Closure,
    z0: npt.ArrayLike | xr.Dataset,
    steps: int = 40_000,
    rng: np.random.Generator | int | None = 0,
    dt: float | None = None,
    scheme: str | None = None,
    save_every: int = 1,
    member: npt.ArrayLike = 0,
    restart: Restart | None = None,
) -> xr.Dataset:
    """Integrate dz/dt = G(z) + psi, eq. (60), with psi drawn from a closure once a step.

    Parameters
    ----------
    model : a system, an object with ``resolved_tendency``, or any function z (member, K) -> dz/dt (member, K), which
        is tried first (:func:`l96closure.first_calls.check_tendency`); or (z, t) -> dz/dt, where t (member, 1) is the
        model time of each member, from 0 on, or from that of its history, also at the stages of a step. Where it is one
        of our systems or a function of z compiled by ``numba.njit``, and the closure is one of ours that has tables,
        the whole loop is compiled: of the same bits, and many times faster.
    closure : obeys :class:`l96closure.closures.Closure`. Where it has several predictors or targets, the state is the P
        predictors (member, P, K), and so is the model's tendency; target i is the subgrid tendency of predictor i, and
        predictors without one are moved by the model alone.
    z0 : initial slow variables (member, K), or (member, P, K), or a Dataset of them as for ``closure.fields.inputs``;
        or, where more is known of their past, what :func:`l96closure.history` returns: the closure then starts from it,
        else from a past that it draws.
    steps : number of coarse steps, >= 1.
    rng : seed or generator, which give the key of the closure's noise.
    dt : coarse step in model time units, > 0; None is the step that the closure was fitted for.
    scheme : ``rk4``, with psi held over the step, or ``euler``; None is the one that the definition of psi in the
        closure's training data is consistent with: ``euler`` for ``coarse``, ``rk4`` for all else.
    save_every : keep every n-th step, counted from the initial state, >= 1.
    member : number of the first member, or the numbers of all: some members of an ensemble run as they do in it.
    restart : where the run is kept, to be taken up again by the same call after it was stopped; the result has the
        same bits.

    Returns
    -------
    Dataset with z and psi of dims (member, time, k), or with several predictors and targets of dims (member, time,
    *dim): the state at step 0, save_every, ... < steps, and the subgrid tendency it was advanced with; the coordinate
    ``member`` is the numbers of the members, and attributes say which of several variables are what. Of our closures,
    ``features_outside`` (member) is how many of the values that all sites see lay outside of the range of the training
    data, a mean over the steps. Memory holds the saved steps alone.

    Raises
    ------
    ValueError
        An argument is out of its range, ``dt`` is given neither here nor by the closure, ``z0`` or ``dt`` does not fit
        the closure, the tendency or the closure gives something else than an array of numbers of the shape of z or
        writes into its arguments, or the tendency of a member depends on other members.
    BlowUpError
        The state stopped being finite; the message names the member and the time.

    Warns
    -----
    SchemeWarning
        The scheme is not the one that the closure's definition of psi is consistent with.
    UnitsWarning
        A target has other units than its predictor per unit of the time that the closure's step is in (seconds where
        times were dates), as far as the training data said.

    Examples
    --------
    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> truth = model.simulate(samples=1000, rng=1)
    >>> closure = lc.closures.PolynomialAR1.fit(truth)
    >>> run = lc.integrate(model, closure, truth["z"].values[:3], steps=100, rng=2)
    >>> dict(run.sizes), run.attrs["dt"], run.attrs["scheme"]
    ({'member': 3, 'time': 100, 'k': 8}, 0.005, 'rk4')
    """
    fields = getattr(closure, "fields", None)
    fields = fields if isinstance(fields, Fields) else None
    if isinstance(z0, xr.Dataset) and "lag" not in z0.dims and fields is not None:
        z0 = fields.inputs(z0)
    z, past = starts_from(z0, Layout.of(closure))
    layout = Layout.of(closure, z.shape[-1])
    steps, save_every = checks.integer("steps", steps, 1), checks.integer("save_every", save_every, 1)
    tendency, dt = tendency_of(model), step_of(closure, dt)
    scheme = scheme_of(closure) if scheme is None else checks.one_of("scheme", scheme, SCHEMES)
    if (why := mismatch(closure, scheme)) is not None:
        warnings.warn(why, SchemeWarning, stacklevel=2)
    for note in () if fields is None else fields.no_tendencies:
        warnings.warn(note, UnitsWarning, stacklevel=2)
    numbers = states.member_numbers(member, len(z)).astype(np.int64)
    tendency = _begun(tendency, z, past)
    check_tendency(tendency, z)
    state = first_state(closure, z.copy(), checks.generator("rng", rng), member, past)
    compiled = CompiledLoop.of(tendency, closure, scheme, dt, z.shape[1]) if z.ndim == 2 else None
    run = _Run(tendency, closure, scheme, dt, steps, save_every, numbers, (z, state), layout, compiled)
    depends = ("coarse model", model, closure, z, steps, dt, scheme, save_every, state)
    loop.run(run, restart and restart.of(*depends))
    return run.dataset(steps)


def _begun(tendency: Tendency, z: F64, past: xr.Dataset | None) -> Tendency:
    """Give a tendency that depends on time the time at which each member starts, unless it has it."""
    if not isinstance(tendency, Timed) or tendency.time is not None:
        return tendency
    times = np.zeros(len(z)) if past is None or "time" not in past.coords else past["time"].to_numpy()
    return starting(tendency, times, z.ndim)


@dataclass(eq=False)
class _Run:
    """The coarse run, for :func:`l96closure.loop.run`; a state is z (member, K) and the closure's state.

    A block is one step where model or closure are code of Python's that may be slow.
    """

    tendency: Tendency
    closure: Closure
    scheme: str
    dt: float
    steps: int
    save_every: int
    numbers: I64
    start: tuple[F64, Any]
    layout: Layout
    compiled: CompiledLoop | None

    def __post_init__(self) -> None:
        members = len(self.start[0])
        self.at_once = 1 if self.compiled is None else max(1, _MEMBER_STEPS_PER_CALL // members)
        self.label = f"coarse model ({self.scheme})"
        self._tried = False
        self._outside: I64 | None = None
        records = (self.steps - 1) // self.save_every + 1
        shapes = self.layout.state, self.layout.psi
        self._z, self._psi = (np.empty((members, records, *shape)) for shape in shapes)
        self.records = Records(
            z=(_dims("time", "member", of=shapes[0]), self._z.swapaxes(0, 1)),
            psi=(_dims("time", "member", of=shapes[1], several="q"), self._psi.swapaxes(0, 1)),
        )

    def begin(self) -> tuple[F64, Any]:
        """Return the initial state."""
        return self.start

    def advance(self, now: tuple[F64, Any], step: int, steps: int) -> tuple[tuple[F64, Any], int]:
        """Make steps; raises :class:`BlowUpError` after the first whose state is not finite."""
        made = 0 if self.compiled is None else steps
        while made:
            z, state = self._compiled_steps(now, step, made)
            if np.isfinite(z).all():
                return (z, state), made
            made //= 2  # the first steps stay finite, perhaps: what has blown up once stays so
        return self._python_step(now, step), 1

    def _compiled_steps(self, now: tuple[F64, Any], step: int, steps: int) -> tuple[F64, Any]:
        """Make steps in compiled code."""
        assert self.compiled is not None
        count = -(-step // self.save_every)
        z, state = self.compiled.advance(*now, step, steps, self.save_every, (self._z, self._psi, count))
        self.records.count = -(-(step + steps) // self.save_every)
        self._outside = state.outside
        return z, state

    def _python_step(self, now: tuple[F64, Any], step: int) -> tuple[F64, Any]:
        """Make a step in Python."""
        z, state = now
        with np.errstate(over="ignore", invalid="ignore"):  # a blow-up ends in the error below, not in warnings
            take = self.closure.step if self._tried else partial(take_step, self.closure, shape=self.layout.psi)
            psi, state = take(z, state)
            slope = after(self.tendency, step * self.dt)
            following = SCHEMES[self.scheme](slope, z, self.layout.added(psi), self.dt)
        self._tried, self._outside = True, getattr(state, "outside", None)
        self.records.count = -(-step // self.save_every)
        if step % self.save_every == 0:
            self.records.put(z=z, psi=psi)
        if not np.isfinite(known := self.layout.known(following)).all():
            raise self._blow_up(z, psi, known, step + 1)
        return following, state

    def kept(self, now: tuple[F64, Any]) -> xr.Dataset:
        """Return both parts of the state."""
        z, state = now
        return xr.Dataset({"z_now": (_dims("member", of=self.layout.state), z), **states.variables(state)})

    def restored(self, part: xr.Dataset, step: int) -> tuple[F64, Any]:
        """Return the state that :meth:`kept` has returned."""
        state = states.restored(part, self.start[1])
        self._outside = getattr(state, "outside", None)
        return part["z_now"].to_numpy(), state

    def dataset(self, steps: int) -> xr.Dataset:
        """Return the records, those of the first ``steps`` steps, as :func:`integrate` does."""
        n = self.records.count
        counted: dict[str, Any] = (
            {} if self._outside is None else {"features_outside": ("member", self._outside / steps)}
        )
        return xr.Dataset(
            {**self.layout.variables(self._z[:, :n], self._psi[:, :n], "member", "time"), **counted},
            coords={
                "member": self.numbers,
                "time": np.arange(n) * (self.save_every * self.dt),
                **self.layout.coordinates,
            },
            attrs={"scheme": self.scheme, "dt": self.dt, "steps": steps, "save_every": self.save_every}
            | self.layout.told,
        )

    def _blow_up(self, z: F64, psi: F64, following: F64, step: int) -> BlowUpError:
        wild = int(self.numbers[np.argwhere(~np.isfinite(following))[0, 0]])
        last = xr.Dataset(self.layout.variables(z, psi, "member"), {"member": self.numbers})
        return BlowUpError(last.assign_attrs(member=wild, step=step), self.dataset(step))


def _dims(*before: str, of: tuple[int, ...], several: str = "p") -> tuple[str, ...]:
    """Name the axes of plain arrays of a shape ``of`` for each of what is ``before``, as restart files have them."""
    return (*before, *((several,) if len(of) > 1 else ()), "k")
