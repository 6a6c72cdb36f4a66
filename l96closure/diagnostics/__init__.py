"""Diagnostics: how far the climate of a coarse run is from the truth, and how far it could be by chance.

:func:`diagnose` brings two runs to one step (``runs``), describes each (``statistics``, by what is in ``climate``,
along a ring in ``ring``, on levels and planes in ``grids``, of extremes in ``tails``) and measures their distances with
floors and intervals (``scores``, ``distances``, ``resampling``). Forecasts are scored in ``forecast``, of whole fields
in ``field_scores``, beside the full model in ``marks``; a law that a closure states is held against data in
``reliability``. Scores of several variables are put together and taken apart in ``several``. What a score is called
stands in ``scorecard``; its unit follows from those of z and psi in ``statistics``, ``scores`` and ``forecast``. When
an interval is given is decided in ``intervals``, which run is best in ``ranking``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.diagnostics import resampling
from l96closure.diagnostics.runs import align, lag_time
from l96closure.diagnostics.scores import score
from l96closure.diagnostics.several import joined
from l96closure.diagnostics.statistics import covariances, grid, statistics
from l96closure.layout import told_by

__all__ = ["diagnose"]


def diagnose(
    truth: xr.Dataset,
    coarse: xr.Dataset,
    *,
    dim: str | Sequence[str] | None = None,
    periodic: bool | Sequence[bool] | None = None,
    bins: int = 50,
    max_lag: float | timedelta | np.timedelta64 = 5.0,
    rng: np.random.Generator | int = 0,
) -> xr.Dataset:
    """Compare the climate of a coarse run with the truth's.

    Both are taken at the coarser of their two time steps. A distance shrinks as samples grow, so each score
    is the mean distance between the coarse run and stretches of truth of the *same total duration*, and
    ``<score>_floor`` is the mean distance between two such stretches: what a perfect closure would score.
    When the truth is shorter than two coarse runs, score and floor belong to the two halves of the truth
    and to pieces of the coarse run of that duration (attribute ``floor_method``).

    Parameters
    ----------
    truth : ``z`` and ``psi`` of dims (time, k), uniform time step; or the predictors and targets of the coarse run.
    coarse : ``z`` and ``psi`` of dims (member, time, k), uniform time step; one of the two steps
        is a whole multiple of the other. Or several predictors and targets, from :func:`l96closure.integrate`. Where it
        has a coordinate ``mask`` of truth values along the grid, as it has of a closure with a mask, sites where that
        is false count nowhere, and are not read.
    dim : dimension of the grid, or several; None is what the coarse run says, ``k`` of z and psi.
    periodic : whether the grid is periodic, one answer or one for each of ``dim``; None is what the coarse run says, a
        ring of z and psi. Along a ring there are covariances, correlations and spectra.
    bins : number of bins of z and of psi, >= 2; they span the truth's range and a tenth of it on either
        side. What lies outside counts in the Hellinger distance as two further bins.
    max_lag : longest lag in model time units, one time step or more; cut to half of the shorter record. Where times
        are dates a number counts in seconds, and a ``numpy.timedelta64`` or ``datetime.timedelta`` does as well.
    rng : generator or seed of the resampling behind the intervals.

    Returns
    -------
    Dataset with the coordinate ``source`` = truth, coarse. Of several targets z and psi stand for each and its
    predictor, along the dimension ``pair``, which is named by the predictor; further predictors are left out. Bins and
    levels of each are ``z_bin_of_pair`` and the like:

    Along dimensions that are not periodic sites are unlike, and statistics of all of them together are of anomalies
    from the truth's mean at each place there, ``taken_off_z`` and ``taken_off_psi`` (attribute ``anomalies_along``):
    of temperatures of 300 to 200 K all else would be the profile's. Profiles are of the variables themselves.

    - ``mean``, ``std``, ``psi_mean``, ``psi_std`` (source), each with its standard error ``<name>_se``
      (:func:`~l96closure.diagnostics.climate.batch_standard_errors`);
    - ``covariance`` (source, offset) of z along the ring, and ``covariance_rows`` (source, k, offset),
      Figure 4 (left) of Gottwald & Reich (2024);
    - ``density_z`` (source, z_bin), ``density_psi`` (source, psi_bin), ``density_joint`` (source, joint_z_bin,
      joint_psi_bin). The joint density has at most 25 bins either way: cells of a third of the standard deviation of
      either variable resolve the spread of psi given z, and the floor, which grows with the number of cells that are
      hit, stays within twice that of one variable; a hundred bins either way would make it four to six times as high;
    - ``autocorrelation_z``, ``autocorrelation_psi``, ``autocorrelation_residual`` (source, lag) at every common time
      step, each with ``_se``. The residual is psi less a polynomial in z of degree eight, fitted to the truth;
    - ``space_time_correlation_z``, ``_psi`` and ``_residual`` (source, offset, time_lag), between x_k(t) and
      x_{k + offset}(t + time_lag), at no more than 101 of these lags, :func:`ring.space_time_correlation`, and
      ``neighbour_correlation_z``, ``_psi`` and ``_residual`` (source), the same between neighbours at one time, each
      with ``_se``; NaN for a ring of one site, which has no neighbour;
    - ``spectrum_z``, ``spectrum_psi`` (source, wavenumber) with ``_se``, :func:`ring.spectrum`, and
      ``power_z``, ``power_psi`` (source, frequency) of segments four times ``max_lag`` long,
      :func:`climate.power_spectrum`;
    - ``spectrum_ratio_z``, ``spectrum_ratio_psi`` (wavenumber), coarse run over truth, and ``spectrum_error_z``,
      ``spectrum_error_psi``, the largest relative error over the wavenumbers that carry variance, each with the bounds
      ``_low`` and ``_high``, :func:`ring.compare`;
    - ``quantile_z``, ``quantile_psi`` (source, probability), :func:`tails.quantiles`, and ``return_period_z`` (source,
      threshold) at quantiles of the truth, :func:`tails.return_periods`, each with the bounds ``_low`` and ``_high``;
    - ``psi_given_z_mean``, ``psi_given_z_std`` (source, z_bin), NaN where a bin has fewer than thirty values;
    - on levels, the one dimension of a grid that is not periodic, ``profile_mean_z``, ``profile_std_z`` and those of
      psi (source, level), with ``_se``, :func:`grids.profile`; on planes, two that are, ``isotropic_spectrum_z`` and
      ``_psi`` (source, total_wavenumber) with ``_se``, :func:`grids.isotropic_spectrum`;
    - of several targets ``target_covariance`` (source, target, other_target) with ``_se``, between two of them at one
      site and time, each less its mean there, a mean over the sites;
    - the scalars ``hellinger_z``, ``hellinger_psi``, ``hellinger_joint``, ``wasserstein_z``, ``ks_z``, each with
      ``_floor`` and ``_floor_std`` (over pairs of stretches, NaN for a single pair), and the bounds ``_low`` and
      ``_high`` of a 95 % interval for what such runs score on average, :func:`resampling.interval`; NaN when the
      runs are short against their memory.

    Standard errors and bounds are NaN where they could not cover, :mod:`l96closure.diagnostics.intervals`, and say in
    the attribute ``interval_method`` how they are made. The attributes ``common_time_step``, ``floor_stretches``,
    ``floor_pairs``, ``floor_stretch_duration``, ``floor_method``, ``coarse_pieces``, ``decorrelation_time``,
    ``interval_blocks``, ``interval_block_duration`` and ``interval_method`` say how the comparison was made;
    ``left_out`` says what there is not because a mask cuts a ring or a plane.

    Raises
    ------
    ValueError
        A variable or dimension is missing, a value is not finite (for the coarse run the message names
        member and time), a time step is not uniform, neither step is a multiple of the other, the sites
        differ in number, ``max_lag`` is shorter than a step, or the truth looks like several runs
        (:func:`l96closure.series.one_run`).

    Examples
    --------
    >>> model = lc.TwoScaleLorenz96(K=8, J=4)
    >>> truth = model.simulate(samples=4000, rng=1)
    >>> closure = lc.closures.PolynomialAR1.fit(truth)
    >>> run = lc.integrate(model, closure, truth["z"].values[:2], steps=1000)
    >>> scores = lc.diagnose(truth, run, bins=20, max_lag=1.0)
    >>> bool(0.0 < scores["hellinger_z"] < 1.0)
    True
    """
    bins = checks.integer("bins", bins, 2)
    fields = told_by(checks.xarray_dataset("coarse", coarse), dim, periodic)
    names = dict(zip(fields.predictors, fields.targets, strict=False))
    truth = fields.in_order(checks.xarray_dataset("truth", truth), "truth")
    groups = replace(fields, shape=tuple(coarse.sizes.get(dim, 1) for dim in fields.dim)).groups
    pairs = {pair[0]: align(truth, coarse, fields, pair).anomalies(groups) for pair in names.items()}
    on = {name: grid(runs, truth, fields, bins, lag_time(max_lag, truth, runs.step)) for name, runs in pairs.items()}
    described = {name: statistics(runs, on[name]) for name, runs in pairs.items()}
    memory = max(
        resampling.decorrelation_time(correlation)
        for one in described.values()
        for name in ("z", "psi")
        for correlation in one[f"autocorrelation_{name}"].values
    )
    scores = {
        name: score(runs, on[name].edges, on[name].joint_edges, memory, np.random.default_rng(rng))
        .assign(described[name])
        .assign_attrs(described[name].attrs, common_time_step=runs.step, decorrelation_time=memory * runs.step)
        for name, runs in pairs.items()
    }
    together = joined("pair", scores, len(fields.names) > 2)
    if (cut := next(iter(on.values())).cut) is not None:
        together = together.assign_attrs(left_out=cut)
    return together if len(pairs) == 1 else together.assign(covariances(list(pairs.values()), list(names.values())))
