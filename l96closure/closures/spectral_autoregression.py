"""A linear inverse model of the subgrid tendency: an autoregression of psi driven by z, for each wavevector."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, noise
from l96closure.arrays import C128, F64
from l96closure.closures.bridge_file import field_variables, fields_from
from l96closure.closures.calibration import Tuning, calibrated, report_from, report_variables
from l96closure.closures.parts import Parts, save, told_of
from l96closure.closures.past import known
from l96closure.closures.spectral_regression import Gaussian, Groups, products_of
from l96closure.closures.state import State, begin, following, slow_variables
from l96closure.closures.wavevectors import Wavevectors
from l96closure.compiled import cached
from l96closure.fields import Fields
from l96closure.subgrid import HELD
from l96closure.training import RULES, read

_OF_LAW, _OF_PAST = ("feature", "target", "white"), ("now", "before", "white_before")
_IN_UNITS = {"comment": "in the units of the fields, see field_units"}


@dataclass(frozen=True, eq=False, repr=False)
class SpectralAutoregression:
    """psi(n) = sum_l A_l psi(n - l) + sum_l B_l z(n - l) + noise, for each wavevector of a periodic grid.

    Where psi answers to the state over time, its memory and its dependence on the state have to be fitted together: a
    regression on z with an autoregressive residual is the wrong structure, and a regression on z and its past without
    psi's runs away. Transforms over the periodic dims make of the fields one small vector for each wavevector, of the
    targets at the sites of the other dims (levels, layers); its noise is Gaussian, white in time, of each wavevector's
    own power, and correlated across targets and levels. On planes the coefficients depend smoothly on the size of the
    wavevector and on its direction: all wavevectors of a ring learn together. Draws do not depend on which members are
    drawn together.

    C. Penland and P. D. Sardeshmukh, *The optimal growth of tropical sea surface temperature anomalies*, J. Climate 8,
    1999-2024 (1995), for z alone; here psi is the vector, and z drives it.

    Attributes
    ----------
    fields : names and units of predictors and targets, and their grid.
    order : steps of psi's own past, p.
    lags : steps before now at which the predictors are seen too.
    means : of predictors, then targets, at each site of the other dims (P L + Q L,).
    law : of psi given the past of psi, z now and the past of z.
    past : the law of these pasts given z now, for a start from a state alone.
    calibration : what :meth:`calibrate` has changed, and how the spectra were before and after; None without.
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    dt : step it was fitted for; None where the training data had no times.
    """

    fields: Fields
    order: int
    lags: tuple[int, ...]
    means: F64
    law: Gaussian
    past: Gaussian
    calibration: xr.Dataset | None = None
    subgrid: str | None = None
    dt: float | None = None
    grid: Wavevectors = field(init=False)

    name, title = "spectral_autoregression", "Spectral autoregression of psi driven by z"
    save = save

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", Wavevectors.of(self.fields))
        self._check_shapes()
        if (largest := self._growth().max()) >= 1.0:
            checks.reject(
                "growth of psi in a step", f"{largest:.4f}", "below 1: the autoregression runs away, choose a longer dt"
            )

    def _check_shapes(self) -> None:
        """Raise ``ValueError`` where the parts do not fit each other: a file may hold anything."""
        (predictors, targets), M = self._channels, self.grid.counts.size
        past = self.order * targets + len(self.lags) * predictors
        laws = (past + predictors, targets, M), (targets, targets, M), (predictors, past, M), (past, past, M)
        parts = self.means, self.law.coefficients, self.law.root, self.past.coefficients, self.past.root
        if (found := tuple(part.shape for part in parts)) != ((predictors + targets,), *laws):
            checks.reject("shapes of means and laws", found, repr(((predictors + targets,), *laws)))

    def __repr__(self) -> str:
        of = f"{self.order} steps of {', '.join(self.fields.targets)}"
        return f"<SpectralAutoregression: {of}, driven by {', '.join(self.fields.predictors)}; dt = {self.dt:g}>"

    @classmethod
    @checks.arguments(
        **RULES,
        fields=partial(checks.instance, of=Fields),
        order=partial(checks.integer, minimum=0),
        harmonics=partial(checks.integer, minimum=0),
    )
    def fit(
        cls,
        truth: xr.Dataset,
        fields: Fields = Fields(),  # noqa: B008 - a value, never changed
        order: int = 3,
        harmonics: int = 4,
        dt: float | None = None,
    ) -> SpectralAutoregression:
        """Fit the coefficients by least squares, of a plane in each ring of wavevectors, else in each wavevector.

        Parameters
        ----------
        truth : Dataset with predictors and targets of dims time and ``fields.dim``, of one run or several.
        fields : which variables are what, on a grid of which one dim at least is periodic; its ``lags`` are those of
            the predictors, None being one step. All of a wavevector is seen: ``radius`` is unused, and ``previous`` and
            ``conserve`` are refused.
        order : steps of psi's own past, >= 0.
        harmonics : of the direction of a wavevector, that the coefficients of a ring of a plane are made of, >= 0: 0
            is isotropic, with real coefficients; a few do for a psi that drifts, or that feels shear or a beta plane;
            more of them want more data. Grid spacings count as equal.
        dt : step of the closure, a multiple of the interval of ``truth``; None is that interval. Neighbouring records
            of a slow psi give a false memory: choose a step over which psi changes.

        Returns
        -------
        SpectralAutoregression

        Raises
        ------
        ValueError
            An argument is out of its range, ``truth`` is no usable training data or too short, no dim is periodic, or
            the autoregression that was found grows.
        """
        if fields.previous:
            checks.reject("fields.previous", True, "False: what is seen of psi's own past is order")
        if fields.conserve:
            allowed = "None: the mean of psi is drawn as the data have it, zero where it always is"
            checks.reject("fields.conserve", fields.conserve, allowed)
        record = read(truth, fields, dt, ordered=True, grouped=True)
        grid = Wavevectors.of(record.fields)
        lags = (1,) if fields.lags is None else tuple(record.in_steps(fields.lags))
        means, products, times = products_of(record, grid, order, lags)
        targets = len(means) - record.predictors * grid.levels
        seen = products.shape[1] - targets
        if times < 2 * seen:
            checks.reject("times of truth", times, f"at least {2 * seen}, two for each of the coefficients")
        groups = Groups.select(products[:, seen:, seen:], grid, harmonics)
        now = np.arange(order * targets, order * targets + record.predictors * grid.levels)
        rest = np.setdiff1d(np.arange(seen), now)
        law = groups.regression(products, np.arange(seen), np.arange(seen, seen + targets), times)
        past = groups.regression(products, now, rest, times)
        return cls(record.fields, order, lags, means, law, past, None, record.steps.subgrid, record.steps.dt)

    @property
    def coarse_dt(self) -> float | None:
        """The one step it is right for; None where the training data had no times."""
        return self.dt

    @property
    def past_steps(self) -> int:
        """Steps before now that a history has to have."""
        return max(self.order + (self.order > 0 and self.subgrid not in HELD), self._longest)

    @property
    def _channels(self) -> tuple[int, int]:
        """Numbers of predictors and of targets at a wavevector, P L and Q L."""
        return len(self.fields.predictors) * self.grid.levels, len(self.fields.targets) * self.grid.levels

    @property
    def _longest(self) -> int:
        return max(self.lags, default=0)

    def _growth(self) -> F64:
        """Factor by which psi grows in a step without z at each wavevector (M,): the size of the largest root."""
        targets = self._channels[1]
        own = self.law.coefficients[: self.order * targets].transpose(2, 1, 0)
        if not self.order:
            return np.zeros(len(own))
        companion = np.zeros((len(own), self.order * targets, self.order * targets), np.complex128)
        companion[:, :targets] = own
        companion[:, targets:, :-targets] = np.eye((self.order - 1) * targets)
        return np.abs(np.linalg.eigvals(companion)).max(axis=1)

    def init(
        self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0, history: xr.Dataset | None = None
    ) -> State:
        """Start from a known past, or from one that is drawn given z.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several.
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.
        history : what is known of the past, from :func:`l96closure.history`, over :attr:`past_steps` steps at least.

        Returns
        -------
        A state with the transforms of the last psi and z.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``history`` does not fit it.
        """
        z = slow_variables(z, self.fields.input_shape)
        state = begin(len(z), rng, member)
        if history is not None and self.past_steps:
            return state._replace(memory=_as_numbers(self._from_past(*known(history, self, len(z), self.past_steps))))
        now = self._modes_of(z)
        drawn = self._drawn(self.past, now, state)
        own = self.order * self._channels[1]
        memory = np.zeros((len(z), own + self._longest * now.shape[1], now.shape[2]), np.complex128)
        memory[:, :own] = drawn[:, :own]
        for place, lag in enumerate(self.lags):
            at = own + place * now.shape[1], own + (lag - 1) * now.shape[1]
            memory[:, at[1] : at[1] + now.shape[1]] = drawn[:, at[0] : at[0] + now.shape[1]]
        return state._replace(memory=_as_numbers(memory))

    def _from_past(self, values: F64, psi: F64) -> C128:
        """Return what is remembered of known predictors (n, lag, P, K) and psi (n, lag, ..., K), now being lag 0."""
        psi = psi.reshape(*psi.shape[:2], -1, self.fields.sites)
        if self.subgrid not in HELD:  # of one instant: between the steps before and after it
            psi = np.concatenate([psi[:, :1], 0.5 * (psi[:, 1:-1] + psi[:, 2:])], axis=1)
        own = [self._centred(self.grid.modes(psi[:, lag]), False) for lag in range(1, self.order + 1)]
        seen = [self._centred(self.grid.modes(values[:, lag]), True) for lag in range(1, self._longest + 1)]
        return np.concatenate([*own, *seen], axis=1)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi given z and the past of both.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several, in the units of the training data.
        state : from :meth:`init` or the previous step.

        Returns
        -------
        psi (member, K), or (member, Q, K) for several targets, in the units of the training data, and the new state.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``state`` does not fit it.
        """
        return self.advanced(z, state)

    def advanced(self, z: F64, state: State, tuning: Tuning | None = None) -> tuple[F64, State]:
        """Make a step as :meth:`step` does, each member with changes of its own: what a calibration tries.

        Parameters
        ----------
        z, state : as for :meth:`step`.
        tuning : the changes; None makes none.

        Returns
        -------
        psi, and the new state.
        """
        z = slow_variables(z, self.fields.input_shape)
        (predictors, targets), own = self._channels, self.order * self._channels[1]
        state = following(state, len(z), own + self._longest * predictors, self.law.root.shape[2], 2)
        memory, now = state.memory.view(np.complex128)[..., 0], self._modes_of(z)
        lagged = [memory[:, own + (lag - 1) * predictors : own + lag * predictors] for lag in self.lags]
        psi = self._drawn(self.law, np.concatenate([memory[:, :own], now, *lagged], axis=1), state, tuning)
        kept = [psi, memory[:, : own - targets]] if self.order else []
        kept += [now, memory[:, own : memory.shape[1] - predictors]] if self._longest else []
        state = state._replace(memory=_as_numbers(np.concatenate([memory[:, :0], *kept], axis=1)))
        values = self.grid.values(self._centred(psi, False, -1.0))
        return values if len(self.fields.targets) > 1 else values[:, 0], state

    def _modes_of(self, z: F64) -> C128:
        return self._centred(self.grid.modes(z.reshape(len(z), -1, self.fields.sites)), True)

    def _centred(self, modes: C128, predictors: bool, sign: float = 1.0) -> C128:
        """Take the means off (sign 1), or put them back (sign -1)."""
        first = self._channels[0]
        mean = self.means[:first] if predictors else self.means[first:]
        self.grid.shift(modes, -sign * mean)
        return modes

    def _drawn(self, law: Gaussian, given: C128, state: State, tuning: Tuning | None = None) -> C128:
        """Draw from a law at all wavevectors, with the normals of the state's step."""
        white = np.empty((len(given), law.root.shape[0] // self.grid.levels, self.fields.sites))
        for target in range(white.shape[1]):
            white[:, target] = noise.block(state.key, state.member, state.step, 1, white.shape[2], target=target)[0]
        mean, left = _applied(law.coefficients, given), _applied(law.root, self.grid.modes(white))
        if tuning is None:
            return mean + left
        targets = left.shape[1]
        return mean + tuning.driven * given[:, self.order * targets : (self.order + 1) * targets] + tuning.gain * left

    @checks.arguments(
        reference=checks.xarray_dataset,
        bands=partial(checks.integer, minimum=2),
        members=partial(checks.integer, minimum=4),
        steps=partial(checks.integer, minimum=1),
        spinup=partial(checks.integer, minimum=0),
        iterations=partial(checks.integer, minimum=1),
    )
    def calibrate(
        self,
        model: Any,
        reference: xr.Dataset,
        *,
        bands: int = 8,
        members: int = 128,
        steps: int = 480,
        spinup: int = 240,
        iterations: int = 3,
        rng: np.random.Generator | int = 0,
    ) -> SpectralAutoregression:
        """Tune damping and noise by bands of wavenumber in coupled runs, until the spectra are those of a reference.

        In each band and for each target two coefficients are sought: how psi damps its own predictor, and the amplitude
        of its noise; target i belongs to predictor i. An ensemble of coupled runs, each with coefficients of its own,
        is drawn to the variances of predictors and targets in the bands, each by its own standard error in the
        reference, by an ensemble Kalman inversion (Emerick & Reynolds 2013, Comput. Geosci. 55, 3-15), which needs the
        package ``iterative_ensemble_smoother``. The runs of an iteration go on from where those before have ended. The
        last quarter of the reference is held out; runs with and without the result are judged by it, and where the
        result is no better, it is refused.

        Parameters
        ----------
        model : as for :func:`l96closure.integrate`.
        reference : Dataset with predictors and targets as for :meth:`fit`, of more than four times ``steps``.
        bands : of wavenumber, >= 2, evenly spaced up to the largest that psi has.
        members : runs of the ensemble, >= 4; a few times as many as there are coefficients, or these are found from the
            noise of the runs.
        steps, spinup : of each run, those that count and those before.
        iterations : of the inversion, >= 1.
        rng : seed or generator, which give the key of all noise.

        Returns
        -------
        A closure with other coefficients and noise, of which ``calibration`` tells.

        Raises
        ------
        ValueError
            An argument is out of its range, ``reference`` does not fit the closure, fewer than half of the runs stay
            finite, or the spectra of the held-out reference are missed by more than before.
        ImportError
            ``iterative_ensemble_smoother`` is not installed.
        """
        tuning, report = calibrated(self, model, reference, bands, members, steps, spinup, iterations, rng)
        targets = self._channels[1]
        own = np.arange(targets)
        coefficients, root = self.law.coefficients.copy(), self.law.root * tuning.gain[0]
        coefficients[self.order * targets + own, own] += tuning.driven[0]
        return replace(self, law=Gaussian(coefficients, root), calibration=report)

    def to_dataset(self) -> xr.Dataset:
        """Return everything :meth:`from_dataset` needs, and nothing that can be derived from it.

        Returns
        -------
        Dataset, what the file of the closure holds.
        """
        laws = {
            "coefficients": (_OF_LAW[:2], self.law.coefficients, "coefficients of the autoregression"),
            "root": (_OF_LAW[:0:-1], self.law.root, "what makes the noise of white noise"),
            "past_coefficients": (_OF_PAST[:2], self.past.coefficients, "coefficients of the past given z now"),
            "past_root": (_OF_PAST[:0:-1], self.past.root, "what makes of white noise what z leaves open of the past"),
        }
        pairs: dict[str, Any] = {
            name: ((*dims, "wavevector", "complex_part"), _as_numbers(values), {"long_name": long_name, **_IN_UNITS})
            for name, (dims, values, long_name) in laws.items()
        }
        lags = np.array(self.lags, np.int32)
        return (
            field_variables(self.fields)
            .assign(
                predictor_lag=("lag_number", lags, {"long_name": "lag of the predictors in steps", "units": "1"}),
                means=("channel", self.means, {"long_name": "means of predictors and targets", **_IN_UNITS}),
                **pairs,
                **({} if self.calibration is None else report_variables(self.calibration)),
            )
            .assign_attrs(told_of(self), order=self.order)
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> SpectralAutoregression:
        """Make the closure of what :meth:`to_dataset` gave.

        Parameters
        ----------
        dataset : from :meth:`to_dataset`, perhaps by way of a file.

        Returns
        -------
        The closure, whose steps have the same bits.

        Raises
        ------
        ValueError
            Something is missing or wrong.
        """
        parts = Parts(dataset)
        law, past = (
            Gaussian(
                _as_complex(parts.array(f"{of}coefficients", *dims[:2], "wavevector", "complex_part")),
                _as_complex(parts.array(f"{of}root", *dims[:0:-1], "wavevector", "complex_part")),
            )
            for of, dims in (("", _OF_LAW), ("past_", _OF_PAST))
        )
        return cls(
            fields_from(parts),
            parts.integer("order", 0, below=2**10),
            tuple(parts.indices("predictor_lag", "lag_number", low=1, high=2**20).tolist()),
            parts.array("means", "channel"),
            law,
            past,
            report_from(parts),
            **parts.origin(),
        )


def _applied(coefficients: C128, given: C128) -> C128:
    """Return sum_f c_fcm x_nfm of coefficients (F, C, M) and vectors (n, F, M), (n, C, M)."""
    out = np.empty((len(given), *coefficients.shape[1:]), np.complex128)
    _apply(np.ascontiguousarray(coefficients), np.ascontiguousarray(given), out)
    return out


@cached
def _apply(coefficients: C128, given: C128, out: C128) -> None:
    for n in range(out.shape[0]):  # not by BLAS, whose bits depend on how many members there are
        for c in range(out.shape[1]):
            out[n, c] = 0.0
            for f in range(given.shape[1]):
                for m in range(out.shape[2]):
                    out[n, c, m] += coefficients[f, c, m] * given[n, f, m]


def _as_numbers(values: C128) -> F64:
    """Return complex numbers as pairs of real ones, along a further axis."""
    return np.ascontiguousarray(values).view(np.float64).reshape(*values.shape, 2)


def _as_complex(pairs: F64) -> C128:
    """Inverse of :func:`_as_numbers`."""
    return np.ascontiguousarray(pairs).view(np.complex128)[..., 0]
