"""A closure made of parts: features, a trend in them, a law of the residual, and the noise that drives the law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Array, Index
from l96closure.closures import closure_file, resizing, stepping
from l96closure.closures.compiled_tables import Tables
from l96closure.closures.conserved import Conserved
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, GroupedTrend
from l96closure.closures.fitted_laws import ChainLaw, DrivenLaw, FittedLaw, Grouped
from l96closure.closures.parts import Parts, save, told_of
from l96closure.closures.past import Past, known
from l96closure.closures.state import State, begin, following, slow_variables
from l96closure.closures.tile import Tile
from l96closure.closures.vector_pattern import VectorPattern
from l96closure.fields import Fields
from l96closure.record import Scaling
from l96closure.series import stretches
from l96closure.subgrid import HELD
from l96closure.training import read

TREND = "trend"
"""What a law is given where it is the value of the trend, not a predictor."""

_AT_ONCE = 2000  # times whose histories are in memory


@dataclass(frozen=True, eq=False, repr=False)
class Composed:
    """psi = trend + residual, the residual drawn from its law given what the site sees.

    What the fitted closures have in common: :class:`~l96closure.closures.Polynomial` has no law,
    :class:`~l96closure.closures.PolynomialAR1` a Gaussian one, :class:`~l96closure.closures.SchrodingerBridge` that of
    the bridge. Each is made by its ``fit`` or read from a file. Here z stands for the predictors and psi for the
    targets, whatever their names: ``fields`` has them. Of several targets, and where sites do not pool, every group of
    cells (a target at some sites) has a trend and a law of its own, and one noise drives them all.

    Attributes
    ----------
    fields : names and units of predictors and targets, and their grid of K sites; makes z from a Dataset
        (:meth:`~l96closure.fields.Fields.inputs`) and a DataArray from psi (:meth:`~l96closure.fields.Fields.output`).
    features : what a site sees, now and at lags.
    trend : what of psi is a function of the features, or None.
    law : of the residual; None where there is no residual.
    coordinates : what quantiles or a Gaussian are given, ``trend`` or the name of a predictor, or two of these; none
        for other laws. Of groups such names of each.
    bounds : smallest and largest psi of the training data, within which psi is held; of groups arrays of all cells.
    past : training states from which an unknown history is drawn; None where the closure sees the present alone.
    selection : candidates for the features, with the scores that one was chosen by; None where none were compared.
    scaling : what sites that do not pool divide the predictors by; None where all have one scale.
    conserved : the weighted sum over targets and sites that draws keep; None without, or where ``fields.conserve`` says
        that means over the sites are zero.
    subgrid : definition of psi in the training data, see :data:`l96closure.subgrid.DEFINITIONS`; None if unknown.
    dt : step it was fitted for; None where the training data had no times.
    """

    fields: Fields
    features: Features
    trend: AnyTrend | None
    law: FittedLaw | None
    coordinates: tuple[Any, ...] = ()
    bounds: Any = (-np.inf, np.inf)
    past: Past | None = None
    selection: xr.Dataset | None = None
    scaling: Scaling | None = None
    conserved: Conserved | None = None
    subgrid: str | None = None
    dt: float | None = None

    name: ClassVar[str]
    title: ClassVar[str]
    save = save

    def __repr__(self) -> str:
        seen_by = [self.features.of_sites(cells % self.fields.sites) for cells in self._groups] or [self.features]
        sizes = [one.size for one in seen_by]
        number = " to ".join(map(str, sorted({min(sizes), max(sizes)})))
        seen = f"{number} features of {', '.join(self.fields.predictors)}"
        drawn = ", ".join(self.fields.targets)
        return f"<{type(self).__name__}: {drawn} = trend + residual, given {seen}; dt = {self.dt:g}>"

    @property
    def coarse_dt(self) -> float | None:
        """The one step it is right for; None without memory, or where the training data had no times."""
        driven = isinstance(self.law, DrivenLaw) and self.law.pattern.order > 0
        return self.dt if driven or self._rows else None

    @property
    def past_steps(self) -> int:
        """Steps before now that a history has to have: the longest lag and what the law remembers; 0 if nothing is."""
        order = 0 if self.law is None else self._kept[0]
        return self._rows + order + (self.subgrid not in HELD) if order or self._rows else 0

    @property
    def _rows(self) -> int:
        """Steps before now whose predictors, and perhaps targets, are remembered."""
        return self.features.longest + self.fields.before

    def init(
        self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0, history: xr.Dataset | None = None
    ) -> State:
        """Start from a known past, or from one that is drawn: of the noise at random, of z from the training data.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several.
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.
        history : what is known of the past, from :func:`l96closure.history`, over :attr:`past_steps` steps at least.

        Returns
        -------
        A state with the last values of the noise and the predictors up to the longest lag.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``history`` does not fit it.
        """
        z = slow_variables(z, self.fields.input_shape)
        state = begin(len(z), rng, member)
        now = self._now(z)
        if history is not None and self.past_steps:
            return self._from_past(state, *known(history, self, len(z), self.past_steps))
        if self.law is not None:
            state = state._replace(memory=self.law.initial(state))
        return state if self.past is None else state._replace(history=self.past.drawn(now, self.features, state))

    def _from_past(self, state: State, values: F64, psi: F64) -> State:
        """Return the state of known predictors (n, lag, P, K) and psi (n, lag, C), now being lag 0."""
        H, P = self._rows, len(self.fields.predictors)
        values = self._scaled(values)
        if self.subgrid not in HELD:  # of one instant: between the steps before and after it
            psi = np.concatenate([psi[:, :1], 0.5 * (psi[:, 1:-1] + psi[:, 2:])], axis=1)
        pairs = self._beside(values[:, : psi.shape[1]], psi)
        remembered = []
        for lag in range(1, self._kept[0] + 1) if self.law is not None else ():
            mean, x = self.mean(*self._seen(pairs[:, lag, :P], pairs[:, lag + 1 : lag + 1 + H]))[:2]
            remembered.append(self.law.recalled(x, psi[:, lag] - mean))  # type: ignore[union-attr]
        none = state.memory if self.law is None else self.law.initial(state)
        memory = np.stack(remembered, axis=1) if remembered else none
        memory = memory[:, 0] if isinstance(self.law, ChainLaw) else memory
        return state._replace(memory=memory, history=pairs[:, 1 : H + 1].copy() if H else state.history)

    def _beside(self, z: F64, psi: F64) -> F64:
        """Put scaled psi (..., C) beside scaled predictors (..., P, K) of the same time, where psi is seen later."""
        if not self.fields.previous:
            return z
        of = psi.reshape(*z.shape[:-2], -1, z.shape[-1])
        return np.concatenate([z, of if self.scaling is None else self.scaling(of, z.shape[-2])], axis=-2)

    def _seen(self, now: F64, history: F64) -> tuple[F64, F64]:
        """Return what is seen now and at lags, of predictors now (n, P, K) and what is remembered (n, rows, ..., K)."""
        n = self.fields.before
        if not n:
            return now, history
        P, rows = now.shape[1], history.shape[1] - n
        psi = [history[:, steps : steps + rows, P:] for steps in range(1, n + 1)]
        earlier = np.concatenate([history[:, :rows, :P], *psi], axis=2)
        return np.concatenate([now, *(history[:, step, P:] for step in range(n))], axis=1), earlier

    @property
    def _kept(self) -> tuple[int, ...]:
        """Shape of what the law remembers, in steps first."""
        assert self.law is not None
        shape = self.law.remembers
        return (1, *shape) if isinstance(self.law, ChainLaw) else shape

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Draw psi given z: the trend, then the residual by its law.

        Parameters
        ----------
        z : predictors (member, K), or (member, P, K) for several, in the units of the training data.
        state : from :meth:`init` or the previous step.

        Returns
        -------
        psi (member, K), or (member, Q, K) of several targets, in the units of the training data (``fields.units``), NaN
        outside of the mask (``fields.mask``), and the new state.

        Raises
        ------
        ValueError
            ``z`` is not of that shape for the P and K the closure was fitted for, or ``state`` does not fit it.
        """
        z = slow_variables(z, self.fields.input_shape)
        H, shape = self._rows, (self.fields.remembered, self.fields.sites)
        remembers = (0,) if self.law is None else self.law.remembers
        state = following(state, len(z), *remembers, history=(H, *shape) if H else (0,))
        now = self._now(z)
        history = state.history if H else np.empty((len(z), 0, *shape))
        seen, earlier = self._seen(now, history)
        if self.compiled is not None:
            psi, state = stepping.take(self.compiled, seen, state, earlier)
            if self.fields.before:
                state = state._replace(history=self._remembered(now, psi, history))
            return self.fields.placed(psi), state
        mean, x, outside = self.mean(seen, earlier)
        psi = mean
        if self.law is not None:
            residual, memory = self.law(x, state)
            psi, state = mean + residual, state._replace(memory=memory)
        if self.trend is not None:
            psi = self.bounded(psi)
        if self.conserved is not None:
            psi = self.conserved(psi, self.bounded(mean))
        psi = psi.reshape(len(z), -1, self.fields.sites)
        psi = psi - psi.mean(axis=-1, keepdims=True) if self.fields.conserve else psi
        if H:
            state = state._replace(history=self._remembered(now, psi, history))
        psi = self.fields.placed(psi).reshape(len(z), *self.fields.output_shape)
        return psi, state._replace(outside=state.outside + outside)

    def _remembered(self, now: F64, psi: F64, history: F64) -> F64:
        """Return the history of the next step, given predictors and psi of this one."""
        return np.concatenate([self._beside(now, psi)[:, None], history[:, :-1]], axis=1)

    def corrected(self, psi: F64, state: State) -> State:
        """Return the state that a step would have left, had psi been what is known of it rather than what was drawn.

        What the noise remembers stays; the next step sees this psi where it sees psi of steps before.

        Parameters
        ----------
        psi : (member, K), or (member, Q, K) of several targets, as from :meth:`step`.
        state : from the step.

        Returns
        -------
        State
        """
        if not self.fields.before:
            return state
        values = self.fields.taken(psi.reshape(len(psi), -1, self.fields.size))
        first, history = len(self.fields.predictors), state.history.copy()
        history[:, 0, first:] = values if self.scaling is None else self.scaling(values, first)
        return state._replace(history=history)

    def bounded(self, psi: F64) -> F64:
        """Hold psi within its bounds.

        Parameters
        ----------
        psi : of all cells (n, C).

        Returns
        -------
        (n, C)
        """
        return np.minimum(np.maximum(psi, self.bounds[0]), self.bounds[1])

    @cached_property
    def compiled(self) -> Tables | None:
        """The tables of a step for compiled code; None where it has none."""
        pattern = self.law.pattern if isinstance(self.law, DrivenLaw) else None
        if self.grouped or self.conserved is not None:
            return None
        if self.fields.before and (self.scaling is not None or len(self.fields.targets) > 1):
            return None
        if isinstance(pattern, VectorPattern):
            return None
        if pattern is not None and pattern.modes is not None:
            return None
        try:
            return Tables.of(self.tables(), self.fields.sites)
        except ValueError:
            return None

    def mean(self, now: F64, history: F64) -> tuple[F64, F64, Any]:
        """Evaluate the trend, and what the law is given.

        Parameters
        ----------
        now : all that is seen, scaled (n, P, K).
        history : of the steps before (n, H, P, K), the last first.

        Returns
        -------
        The trend (n, C), what the law is given, and how many features were outside of their range (n,).
        """
        if self.trend is None:
            cells = len(self.fields.targets) * now.shape[2]
            mean, outside = np.zeros((len(now), cells)), np.zeros(len(now), np.intp)
        else:
            mean, outside = self.trend(now, history)
        if self.law is None:
            return mean, mean, outside
        if not self.coordinates:
            return mean, self.features.by_field(now, history), outside
        if isinstance(self.law, DrivenLaw) and isinstance(self.law.of, Grouped):
            return mean, self._given(mean, now, self.law.of.cells), outside
        given = [mean if name == TREND else now[:, self.fields.seen.index(name)] for name in self.coordinates]
        return mean, np.stack(given, axis=1) if len(given) > 1 else np.ascontiguousarray(given[0]), outside

    def _given(self, mean: F64, now: F64, groups: Sequence[Index]) -> F64:
        """Return the coordinates of the laws of groups (n, 2, C), those of one coordinate first."""
        x = np.zeros((len(mean), 2, mean.shape[1]))
        for names, cells in zip(self.coordinates, groups, strict=True):
            for place, name in enumerate(names):
                of = None if name == TREND else now[:, self.fields.seen.index(name)]
                x[:, place, cells] = mean[:, cells] if of is None else of[:, cells % self.fields.sites]
        return x

    def _now(self, z: F64) -> F64:
        """Return predictors on the grid (n, ...) as the closure sees them at its sites (n, P, K)."""
        return self._scaled(self.fields.taken(z.reshape(len(z), -1, self.fields.size)))

    def _scaled(self, z: F64) -> F64:
        """Return predictors (..., P, K), perhaps with targets of the step before, as the closure sees them."""
        return z if self.scaling is None else self.scaling(z)

    @property
    def grouped(self) -> bool:
        """Whether there are groups of cells, each with a trend and a law of its own."""
        return bool(self._groups)

    @property
    def _groups(self) -> tuple[Index, ...]:
        """Cells of each group; none where all cells share a trend and a law."""
        of = self.law.of if isinstance(self.law, DrivenLaw) else None
        grouped = next((one for one in (self.trend, of) if isinstance(one, (GroupedTrend, Grouped))), None)
        return () if grouped is None else grouped.cells

    def probability(self, dataset: xr.Dataset) -> xr.DataArray | xr.Dataset:
        """Probability that the law gives to residuals below the one that occurred, F(psi | what the site sees).

        Uniform on (0, 1) where the law is right, on data that the closure was not fitted to; the noise's memory is not
        used.

        Parameters
        ----------
        dataset : predictors and target, as for ``fit``, of dims (time, *dim), at the closure's step where it sees lags.

        Returns
        -------
        DataArray of the dims of the target at the steps of the closure, with their times where ``dataset`` has times;
        NaN before the longest lag and outside of the mask. Of several targets a Dataset of such.

        Raises
        ------
        ValueError
            ``dataset`` does not fit the closure, or the law is a chain, which has no distribution function.

        Examples
        --------
        >>> truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=2000, rng=1)
        >>> early, late = truth.isel(time=slice(1000)), truth.isel(time=slice(1000, None))
        >>> probability = lc.closures.PolynomialAR1.fit(early).probability(late)
        >>> probability.dims
        ('time', 'k')
        >>> bool(0.4 < probability.mean() < 0.6)
        True
        """
        if not isinstance(self.law, DrivenLaw):
            checks.reject("law", type(self.law).__name__, "one that noise drives: quantiles, moments or Gaussian")
        dataset = self.fields.in_order(checks.xarray_dataset("dataset", dataset))
        fields = self.fields
        # Whether sites that pool are alike has been looked at in the training data.
        record = read(dataset, replace(fields, pool=()), self.dt, ordered=self.past_steps > 0, grouped=True)
        record = record.with_previous()
        if record.fields.units != fields.units:
            checks.reject("units of dataset", record.fields.units, f"{fields.units}, those of the training data")
        any_one = {name: 0 for name in ("time", *fields.sample_dim) if name in dataset.dims}
        fields.inputs(dataset.isel(any_one))  # units, sizes and coordinates are those of the training data
        first, found = self.features.longest, []
        for series, target in zip(map(self._scaled, record.series), record.target, strict=True):
            wanted = target.reshape(len(target), -1)
            out = np.full_like(wanted, np.nan)
            lags = np.arange(1, first + 1)
            for some in np.array_split(np.arange(first, len(series)), -(-len(series) // _AT_ONCE)):
                mean, x, _ = self.mean(series[some], series[some[:, None] - lags])
                out[some] = scipy.special.ndtr(self.law.recalled(x, wanted[some] - mean))
            on_grid = fields.placed(out.reshape(len(out), -1, fields.sites))
            found.append(np.moveaxis(on_grid.reshape(len(out), -1, *fields.shape), 1, 0))
        dims, several = ("time", *fields.dim), any(name in dataset.dims for name in fields.sample_dim)
        if several and len({len(one) for one in record.target}) > 1:
            checks.reject("time", "gaps", "without gaps, of several runs; or one run")
        values = np.stack(found, axis=1) if several else np.concatenate(found, axis=1)
        made = {
            name: (("segment", *dims) if several else dims, one, {"long_name": f"probability of less than {name}"})
            for name, one in zip(fields.targets, values, strict=True)
        }
        times = {}
        if "time" in dataset.coords:
            cuts = stretches(dataset) if self.past_steps else [slice(None)]
            parts = [dataset["time"][part][:: record.steps.every] for part in cuts]
            times = {"time": xr.concat([part[fields.before :] for part in parts], "time")}
        probabilities = xr.Dataset(made).assign_coords(times)
        if len(fields.targets) > 1:
            return probabilities
        return probabilities[fields.targets[0]].assign_attrs(units="1").rename("probability")

    def resized(self, sizes: Mapping[str, int]) -> Self:
        """Return the closure on another size of its grid, whose periodic dims have more or fewer sites at one spacing.

        A site sees, and draws given what it sees, what it did; its noise has the same covariance with that of sites so
        many steps away. Where the past is not known, it is drawn from training states that go round the old grid.

        Parameters
        ----------
        sizes : sites along some of ``fields.dim``.

        Returns
        -------
        A closure of the same kind, the same one for the same sizes, without coordinates along dims of another size.

        Raises
        ------
        ValueError
            The sites along a dim are not alike, a size is too small for what a site sees, or noise or law are those of
            one grid: noise that is prescribed or of modes, and laws that sum over samples.

        Examples
        --------
        >>> import numpy as np
        >>> truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=1000, rng=1)
        >>> closure = lc.closures.PolynomialAR1.fit(truth).resized({"k": 20})
        >>> lc.integrate(lc.TwoScaleLorenz96(K=20, J=4), closure, np.eye(20)[:2], steps=10).sizes["k"]
        20
        """
        return replace(self, **resizing.resized(self, sizes))

    def tile(self, sites: npt.ArrayLike) -> Tile:
        """Return the closure at some sites of its grid, for a process that has these and what they see.

        Parameters
        ----------
        sites : their numbers on the grid (n,).

        Returns
        -------
        Tile

        Raises
        ------
        ValueError
            There are no such sites.

        Examples
        --------
        >>> truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=1000, rng=1)
        >>> closure = lc.closures.PolynomialAR1.fit(truth)
        >>> z, tile = truth["z"].values[:3], closure.tile([2, 3, 4])
        >>> psi, state = tile.step(z[:, tile.needs], tile.part(closure.init(z, rng=0)))
        >>> bool((psi == closure.step(z, closure.init(z, rng=0))[0][:, 2:5]).all())
        True
        """
        return Tile(self, np.asarray(sites))

    def tables(self) -> dict[str, Array]:
        """Everything a step needs, as plain arrays by name: what a step in another language is made of.

        Returns
        -------
        ``neighbour`` (K, W), the sites that each site sees, itself first; ``lag`` (L,) in steps, 0 first; ``range`` (P,
        2) of the predictors, mapped to [-1, 1] and held at the ends. With a trend ``chebyshev`` (L P, degree + 1) in
        each predictor at the site, lag by lag, ``linear`` (F,), ``quadratic`` (F, F) and ``cubic`` (F, F, F) or empty,
        of products of features by lag, predictor and place, and ``output`` (R,) of s (3 - s^2) / 2 for the sums s of
        features weighted by a column of ``hidden`` (F + 1, R), the last row being a constant, held at -1 and 1; on a
        ring perhaps ``trend_filter`` (K,), weights of the trend's departures from ``trend_level`` () at the site itself
        and at those 1, 2, ... to its left; ``bounds`` (2,) of psi. ``coordinates`` (C,), the predictors that the law is
        given, -1 for the trend. Of the law ``quantile`` (N, L) at the coordinates ``quantile_node`` (N,), of which
        dictionary d has those from the first to the last that ``quantile_nodes_of`` (D, 2) counts, and at L of the
        noise, evenly spaced from the first to the last of ``quantile_noise`` (2,), linear in both and held at the ends;
        ``dictionary_of_site`` (K,); of two coordinates also ``quantile_level`` (groups, B), of which dictionary B g + b
        belongs to level b of group g, linear between levels and held at their ends, the sites then being of groups; or
        ``log_variance`` (degree + 1,) on ``log_variance_range`` (2,) of the coordinate. Of the noise ``noise_earlier``
        (p, T), circular kernels in space of its last values, the last first, and ``noise_fresh``, of white noise, whose
        taps belong to the sites ``noise_earlier_offset`` and ``noise_fresh_offset`` to the left; perhaps
        ``noise_factor`` (K, K), which white noise is multiplied by before, or ``noise_modes`` (r, K), of as many
        normals of the next draw, and ``noise_remainder`` (K,), of white noise, which are added before. ``conserve`` (),
        whether the mean over the sites is taken off; ``previous`` (), at how many steps before now targets are
        predictors too, after the others, the last step first; ``coarse_dt`` () with memory. Where there is a ``mask``
        (size,) of all sites of the grid, the K sites are those at which it is True, in its order; at others psi is NaN.
        Of groups of cells the names of the trend and the law of group number g begin with ``group{g}_``; its cells, q K
        + k of target q at site k, are ``group{g}_cells`` and see ``group{g}_neighbour``, and K in what is said of
        ``bounds`` and the noise is the number of all cells; predictors are less ``scaling_centre`` (P, K) and divided
        by ``scaling_spread`` (P, K) before all, where these are there. Last, ``conserve_share`` (C,) of what the sum
        over all cells of ``conserve_weight`` (C,) times psi is off is taken from each, which is that sum where
        ``conserve_zero`` (), else that of psi less the trend, both within ``bounds``.

        Raises
        ------
        ValueError
            The law sums over samples at every step, or the trend is no polynomial.
        """
        return closure_file.tables(self)

    def to_dataset(self) -> xr.Dataset:
        """Return everything :meth:`from_dataset` needs, and nothing that can be derived from it.

        Returns
        -------
        Dataset, what the file of the closure holds.
        """
        return closure_file.to_dataset(self).assign_attrs(told_of(self))

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Self:
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
        return cls(**closure_file.from_dataset(dataset), **Parts(dataset).origin())
