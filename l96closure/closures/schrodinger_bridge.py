"""The conditional localized Schrödinger bridge sampler as a closure (Section 5.1 of Gottwald & Reich 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from l96closure import bridge, checks
from l96closure.closures import choice, fitting, one_step
from l96closure.closures.composed import Composed
from l96closure.closures.laws import Chain, Law, Moments, Quantiles
from l96closure.closures.noise_fit import Noise
from l96closure.closures.trend import Regressor, Trend, trend_or_regressor
from l96closure.fields import Fields
from l96closure.record import Record
from l96closure.restart import Restart
from l96closure.training import RULES, read

Judge = Callable[[Any, xr.Dataset], float]
"""Scores a closure on held-out data, the smaller the better."""


class SchrodingerBridge(Composed):
    """The closure we recommend: psi ~ p(psi | z), a trend and a residual whose law is that of the bridge.

    Made by :meth:`fit` or a saved file. The parts are those of :class:`~l96closure.closures.composed.Composed`: the
    trend is a polynomial in what a site sees, the law of the residual is read off a Schrödinger bridge fitted to it
    (:func:`l96closure.bridge.fit`), and the noise that drives the law remembers. With ``law=Chain()`` and without trend
    it follows Section 5.1 of Gottwald & Reich (2024).
    """

    name, title = "schrodinger_bridge", "Schrödinger bridge closure"

    @classmethod
    @checks.arguments(
        **RULES,
        trend=checks.optional(trend_or_regressor),
        law=partial(checks.instance, of=(Quantiles, Moments, Chain)),
        noise=checks.optional(partial(checks.instance, of=Noise)),
        kernel=checks.optional(partial(checks.instance, of=bridge.Kernel)),
        rng=checks.generator,
    )
    def fit(
        cls,
        truth: xr.Dataset,
        fields: Fields | Sequence[Fields] = Fields(),  # noqa: B008 - a value, never changed
        trend: Trend | Regressor | None = Trend(),  # noqa: B008
        law: Law = Quantiles(),  # noqa: B008
        noise: Noise | None = None,
        kernel: bridge.Kernel | None = None,
        selection: Judge | None = None,
        dt: float | None = None,
        rng: np.random.Generator | int = 0,
        restart: Restart | None = None,
    ) -> SchrodingerBridge:
        """Learn p(psi | z) from gridded data; the defaults are what we recommend in every regime.

        Parameters
        ----------
        truth : Dataset with predictors and target of dims time and those of ``fields``, from a system's ``simulate`` or
            from anywhere else.
        fields : which variables are what, where they live, and what a site sees; several, which differ in radius and
            lags, are candidates to choose among.
        trend : what of the target is a function of what a site sees: our polynomials, or any regressor with ``fit`` and
            ``predict``, as scikit-learn's; a closure with one cannot be saved. None leaves all to the law.
        law : of the residual: :class:`~l96closure.closures.Quantiles` given one coordinate or two,
            :class:`~l96closure.closures.Moments` given all features, both driven by noise, or the paper's
            :class:`~l96closure.closures.Chain`.
        noise : that drives the law; None is ``Noise()``, and what a chain takes, which has noise of its own. Where its
            order and ``fields.previous`` are left open, held-out data tell whether the noise remembers or psi itself
            does (:mod:`l96closure.closures.one_step`).
        kernel : bandwidth and estimator of the bridge; None is epsilon = 0.01 for quantiles, 0.1 for others.
        selection : judges closures by short coupled runs (:class:`l96closure.Selection`): the features are then chosen
            by it rather than by the held-out error of the trend, which does not rank closures well.
        dt : step of the coarse model in the unit of ``truth``'s time (seconds where times are dates), a multiple of the
            interval of ``truth``; None is that interval, and then needs no coordinate ``time``. Where psi is defined
            over a coarse step (``truth.attrs["coarse_dt"]``), it has to be that step.
        rng : seed or generator of the draw of the samples that make the law.
        restart : where the Sinkhorn iteration is kept, to be taken up again by the same call after it was stopped; the
            result has the same bits.

        Returns
        -------
        SchrodingerBridge

        Raises
        ------
        ValueError
            An argument is out of its range, or ``truth`` is no usable training data.

        Warns
        -----
        AccuracyWarning
            Lags are left open, and past noise drives what is seen with those that are taken; or fewer than 30 effective
            samples stand behind the median conditional mean, as with many coordinates (sites that are seen, predictors)
            or a small bandwidth: variance and quantiles are then far too narrow.

        Examples
        --------
        >>> truth = lc.TwoScaleLorenz96(K=8, J=4).simulate(samples=2000, rng=1)
        >>> closure = lc.closures.SchrodingerBridge.fit(truth)
        >>> psi, state = closure.step(truth["z"].values[:3], closure.init(truth["z"].values[:3], rng=0))
        >>> psi.shape
        (3, 8)
        """
        several = _several(fields)
        _check_law(law, several[0], trend, noise)
        noise = Noise() if noise is None else noise
        remembers = not isinstance(law, Chain) and noise.order != 0
        ordered = remembers or any(one.lags != () for one in several)
        grouped = isinstance(law, Quantiles)
        most = fitting.MOST_VALUES if grouped else None
        record = read(truth, several[0], dt, ordered=ordered, grouped=grouped, most=most)
        found, number, trends, driven = _choices(record, several, trend, noise.order is None and remembers, grouped)
        one_step.warn_of_loop(driven if several[0].lags is None else 0.0)  # what lags leave out is no noise
        choice.warn_of_degree(_seeing(record, found[number].previous, grouped), trend)
        kernel = bridge.Kernel(epsilon=law.epsilon) if kernel is None else kernel

        def learned(record: Record, number: int, kept: Restart | None) -> SchrodingerBridge:
            one, features = found[number], found[number].features
            record = choice.settled(_seeing(record, one.previous, grouped), one)
            options, driving = trends[one.previous], noise.on(record.fields)
            if isinstance(law, Quantiles):
                given = partial(choice.chosen_coordinates, options=law, kernel=kernel, rng=rng)
                tabulated = partial(choice.tabulated, options=law, kernel=kernel, rng=rng)
                laws = fitting.Distributions(given, tabulated)
                return cls(**fitting.composed(record, features, options, driving, laws))
            fitted = partial(fitting.fit_law, options=law, noise=driving, kernel=kernel, rng=rng, restart=kept)
            drives = None if isinstance(law, Chain) else driving
            return cls(**fitting.composed(record, features, options, drives, fitting.Whole(fitted)))

        scores: list[float] = []
        if selection is not None and len(found) > 1:
            early, late = record.split()
            scores = [selection(learned(early, one, None), late) for one in range(len(found))]
            number = int(np.argmin(scores))
        table = choice.report(record, found, number, scores) if len(found) > 1 else None
        return replace(learned(record, number, restart), selection=table)


def _seeing(record: Record, steps: int, grouped: bool) -> Record:
    """Return a record with psi of so many steps before among the predictors, scaled where sites are."""
    record = record.with_previous(steps)
    return record.scaled() if grouped else record


def _choices(
    record: Record, several: list[Fields], trend: Trend | Regressor | None, memory_is_open: bool, grouped: bool
) -> tuple[list[choice.Candidate], int, dict[int, Any], float]:
    """Return what a site may see, the number of the best, options of the trend by the steps before, and what is driven.

    The last is what :func:`l96closure.closures.one_step.warn_of_loop` takes.
    """
    asked = several[0].before
    seen = _seeing(record, asked, grouped)
    trends: dict[int, Any] = {asked: choice.with_degree(seen, trend)}
    compared = len(several) > 1
    found = [one for these in several for one in choice.candidates(seen, these, trends[asked], compared)]
    number, driven = choice.simplest(found), 0.0
    if trend is not None and memory_is_open and all(one.previous is None for one in several):

        def others() -> Iterator[one_step.Way]:
            options, ask = trend, replace(several[0], lags=several[0].lags or ())
            for steps in one_step.STEPS:  # what one step is best with is taken for all
                other = _seeing(record, steps, grouped)
                trends[steps] = options = choice.with_degree(other, options)
                candidates = choice.candidates(other, ask, options)
                best = candidates[choice.simplest(candidates)]
                ask = replace(ask, radius=best.radius)
                yield one_step.Way(other, options, best)

        ways, taken, driven = one_step.compared(one_step.Way(seen, trend, found[number]), others())
        found[number : number + 1], number = [way.candidate for way in ways], number + taken
    return found, number, trends, driven


def _several(fields: Any) -> list[Fields]:
    """Return fields, one or several, as a list."""
    several = list(fields) if isinstance(fields, (list, tuple)) else [fields]
    if not several or not all(isinstance(one, Fields) for one in several):
        checks.reject("fields", fields, "made by Fields, or several of them")
    return several


def _check_law(law: Law, fields: Fields, trend: Any, noise: Noise | None) -> None:
    """Refuse a law that is given what there is not, or noise beside its own."""
    if isinstance(law, Chain) and noise is not None:
        checks.reject("noise", noise, "None for a chain, which draws noise of its own")
    for name in law.coordinates or () if isinstance(law, Quantiles) else ():
        checks.one_of("law.coordinates", name, choice.coordinates(fields, trend))
