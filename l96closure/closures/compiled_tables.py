"""The tables of a closure as compiled code takes them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from l96closure.arrays import F64, Array, Index
from l96closure.bridge.look_up import LookUp
from l96closure.closures.features import Scale
from l96closure.closures.trend import Terms

NO_LAW, GAUSSIAN, QUANTILES = range(3)


class Tables(NamedTuple):
    """The tables of a closure as compiled code takes them; made by :meth:`of`.

    Weights that are summed over are as many as are a multiple of four.

    Attributes
    ----------
    neighbour : sites that each site sees (K, W).
    shift : how far to the left they are, to the right if negative, if they are the same on a ring for all sites (W,);
        else (0,).
    seen_by : number of sites that see each site (K,).
    lag : in steps (L,), from 0 on.
    scale : of the predictors.
    trend : whether there is one.
    terms : its coefficients.
    filter : weights of the trend in space, of the site itself and all that are not 0; none without a filter.
    filter_offset : how far to the left of a site they are, to the right if negative.
    reach : how far they are to either side, at most.
    level : of the trend, about which it is filtered, less what the filter leaves of it.
    bounds : of psi (2,).
    coordinate, second : number of the predictors that the law is given, -1 for the trend; twice the same, if only one.
    law : one of ``NO_LAW``, ``GAUSSIAN``, ``QUANTILES``.
    log_deviation, log_deviation_scale : Chebyshev coefficients of log2 of the standard deviation, the highest first,
        and how its coordinate is scaled.
    look_up, dictionary : table of quantiles, and the dictionary of each site, or group of dictionaries (K,).
    factor : lower triangular, which makes white noise correlated in space (K, K); (0, 0) where nothing does.
    order : of the autoregression of the noise, p.
    fresh, fresh_offset : weights of white noise in the noise of a step, and how far to the left of a site they are, to
        the right if negative; or one weight, of the site itself.
    earlier, earlier_step, earlier_offset : weights of the noise before, how many steps and how far to the left.
    conserve : whether the mean over the sites is taken off.
    """

    neighbour: Index
    shift: Index
    seen_by: Index
    lag: Index
    scale: Scale
    trend: bool
    terms: Terms
    filter: F64
    filter_offset: Index
    reach: int
    level: float
    bounds: F64
    coordinate: int
    second: int
    law: int
    log_deviation: F64
    log_deviation_scale: Scale
    look_up: LookUp
    dictionary: Index
    factor: F64
    order: int
    fresh: F64
    fresh_offset: Index
    earlier: F64
    earlier_step: Index
    earlier_offset: Index
    conserve: bool

    @classmethod
    def of(cls, tables: dict[str, Array], sites: int) -> Tables:
        """Make them of the tables of a closure.

        Parameters
        ----------
        tables : from :meth:`l96closure.closures.composed.Composed.tables`; empty for no closure.
        sites : K.

        Returns
        -------
        Tables
        """
        none, numbers = np.empty(0), np.arange(sites, dtype=np.intp)
        neighbour = np.ascontiguousarray(tables.get("neighbour", numbers[:, None]), np.intp)
        ranges = tables.get("range", np.empty((0, 2)))
        trend = [tables.get(name, none) for name in ("linear", "quadratic", "cubic", "hidden", "output")]
        if "linear" not in tables:
            trend = [np.zeros(1), np.zeros((1, 1)), none, np.empty((2, 0)), none]
        chebyshev = tables.get("chebyshev", np.empty((0, 1)))
        own = np.arange(len(chebyshev), dtype=np.intp) * neighbour.shape[1]
        weight = tables.get("trend_filter", none)
        offset = np.flatnonzero((weight != 0.0) | (np.arange(weight.size) == 0))
        look_up, dictionary = _quantiles(tables, sites)
        coordinates = tables.get("coordinates", np.array([-1]))
        fresh, earlier = tables.get("noise_fresh", none), tables.get("noise_earlier", np.empty((0, 1)))
        order, width = earlier.shape
        return cls(
            neighbour=neighbour,
            shift=_shift(neighbour),
            seen_by=np.bincount(neighbour.ravel(), minlength=sites),
            lag=np.ascontiguousarray(tables.get("lag", np.zeros(1)), np.intp),
            scale=Scale.of(*ranges.T.copy()),
            trend="linear" in tables,
            terms=Terms.of(own, chebyshev, *trend),
            filter=_in_fours(weight[offset]),
            filter_offset=_in_fours(_signed(offset, sites)),
            reach=int(np.abs(_signed(offset, sites)).max(initial=0)),
            level=float(tables.get("trend_level", 0.0)) * (1.0 - math.fsum(weight)),
            bounds=tables.get("bounds", np.array([-np.inf, np.inf])),
            coordinate=int(coordinates[0]),
            second=int(coordinates[-1]),
            law=QUANTILES if "quantile" in tables else GAUSSIAN if "log_variance" in tables else NO_LAW,
            log_deviation=np.ascontiguousarray(tables.get("log_variance", none)[::-1]) * (0.5 / math.log(2.0)),
            log_deviation_scale=Scale.of(*tables.get("log_variance_range", np.array([0.0, 1.0]))[:, None]),
            look_up=look_up,
            dictionary=dictionary,
            factor=np.ascontiguousarray(tables.get("noise_factor", np.empty((0, 0)))),
            order=order,
            fresh=fresh if fresh.size == 1 else _in_fours(fresh),
            fresh_offset=_in_fours(_signed(tables.get("noise_fresh_offset", none), sites)),
            earlier=_in_fours(earlier.ravel()),
            earlier_step=_in_fours(np.repeat(np.arange(1, order + 1), width), 1),  # this step's is not written yet
            earlier_offset=_in_fours(np.tile(_signed(tables.get("noise_earlier_offset", none), sites), order)),
            conserve=bool(tables.get("conserve", False)),
        )


def _shift(neighbour: Index) -> Index:
    """Return how far neighbours are to the left on a ring, on the short way; (0,) where it differs among sites."""
    K = len(neighbour)
    away = (np.arange(K)[:, None] - neighbour) % K
    return _signed(away[0], K) if (away == away[0]).all() else np.empty(0, np.intp)


def _signed(offset: Array, sites: int) -> Index:
    offset = np.asarray(offset, np.intp)
    return np.where(2 * offset > sites, offset - sites, offset)


def _quantiles(tables: dict[str, Array], sites: int) -> tuple[LookUp, Index]:
    """Return the table of quantiles, and the dictionary of each site; where there is none, one that nobody reads."""
    if "quantile" not in tables:
        return LookUp.of(np.zeros((2, 2)), np.arange(2.0), np.array([[0, 1]])), np.zeros(sites, np.intp)
    of = LookUp.of(
        tables["quantile"], tables["quantile_node"], tables["quantile_nodes_of"], tables.get("quantile_level")
    )
    return of, np.ascontiguousarray(tables["dictionary_of_site"], np.intp)


def _in_fours(values: Array, fill: int = 0) -> Array:
    """Fill up with what has the weight 0, as compiled sums take terms in fours."""
    return np.pad(values, (0, -values.size % 4), constant_values=fill)
