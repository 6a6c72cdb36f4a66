"""The tables of a closure as compiled code takes them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from l96closure.bridge.look_up import LookUp
from l96closure.closures.features import Scale
from l96closure.closures.trend import Terms

__all__ = ["GAUSSIAN", "NO_LAW", "QUANTILES", "Tables"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

NO_LAW, GAUSSIAN, QUANTILES = range(3)


class Tables(NamedTuple):
    """The tables of a closure as compiled code takes them; made by :meth:`of`.

    Attributes
    ----------
    neighbour : sites that each site sees (K, W).
    shift : how far to the right they are, if they are the same on a ring for all sites (W,); else (0,).
    seen_by : number of sites that see each site (K,).
    lag : in steps (L,), from 0 on.
    scale : of the predictors.
    trend : whether there is one.
    terms : its coefficients.
    filter : weights of the trend in space (K,), as many as are a multiple of four; none without a filter.
    filter_offset : how far to the left of a site they are, to the right if negative.
    level : of the trend, about which it is filtered.
    bounds : of psi (2,).
    coordinate : number of the predictor that the law is given, -1 for the trend.
    law : one of ``NO_LAW``, ``GAUSSIAN``, ``QUANTILES``.
    log_deviation, log_deviation_scale : Chebyshev coefficients of log2 of the standard deviation, the highest first,
        and how its coordinate is scaled.
    look_up, dictionary : table of quantiles, and the dictionary of each site (K,).
    order : of the autoregression of the noise, p.
    tap : weights of white noise and of the last noise in the noise of a step (T,), as many as are a multiple of four.
    tap_row : what the weights are of: 0 the white noise, n the noise n steps before.
    tap_offset : how far to the left of a site, to the right if negative.
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
    level: float
    bounds: F64
    coordinate: int
    law: int
    log_deviation: F64
    log_deviation_scale: Scale
    look_up: LookUp
    dictionary: Index
    order: int
    tap: F64
    tap_row: Index
    tap_offset: Index
    conserve: bool

    @classmethod
    def of(cls, tables: dict[str, npt.NDArray[Any]], sites: int) -> Tables:
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
        weight, offset = tables.get("trend_filter", none), np.arange(tables.get("trend_filter", none).size)
        look_up, dictionary = _quantiles(tables, sites)
        order, tap, tap_row, tap_offset = _taps(tables, sites)
        return cls(
            neighbour=neighbour,
            shift=_shift(neighbour),
            seen_by=np.bincount(neighbour.ravel(), minlength=sites),
            lag=np.ascontiguousarray(tables.get("lag", np.zeros(1)), np.intp),
            scale=Scale.of(*ranges.T.copy()),
            trend="linear" in tables,
            terms=Terms.of(own, chebyshev, *trend),
            filter=_in_fours(weight),
            filter_offset=_in_fours(_signed(offset, sites)),
            level=float(tables.get("trend_level", 0.0)),
            bounds=tables.get("bounds", np.array([-np.inf, np.inf])),
            coordinate=int(tables.get("coordinate", -1)),
            law=QUANTILES if "quantile" in tables else GAUSSIAN if "log_variance" in tables else NO_LAW,
            log_deviation=np.ascontiguousarray(tables.get("log_variance", none)[::-1]) * (0.5 / math.log(2.0)),
            log_deviation_scale=Scale.of(*tables.get("log_variance_range", np.array([0.0, 1.0]))[:, None]),
            look_up=look_up,
            dictionary=dictionary,
            order=order,
            tap=tap,
            tap_row=tap_row,
            tap_offset=tap_offset,
            conserve=bool(tables.get("conserve", False)),
        )


def _shift(neighbour: Index) -> Index:
    """Return how far neighbours are to the right on a ring, on the short way; (0,) where it differs among sites."""
    K = len(neighbour)
    away = (neighbour - np.arange(K)[:, None]) % K
    return _signed(away[0], K) if (away == away[0]).all() else np.empty(0, np.intp)


def _signed(offset: npt.NDArray[Any], sites: int) -> Index:
    offset = np.asarray(offset, np.intp)
    return np.where(2 * offset > sites, offset - sites, offset)


def _quantiles(tables: dict[str, npt.NDArray[Any]], sites: int) -> tuple[LookUp, Index]:
    """Return the table of quantiles, and the dictionary of each site; where there is none, one that nobody reads."""
    if "quantile" not in tables:
        return LookUp.of(np.zeros((2, 2)), np.arange(2.0), np.array([[0, 1]])), np.zeros(sites, np.intp)
    of = LookUp.of(tables["quantile"], tables["quantile_node"], tables["quantile_nodes_of"])
    return of, np.ascontiguousarray(tables["dictionary_of_site"], np.intp)


def _taps(tables: dict[str, npt.NDArray[Any]], sites: int) -> tuple[int, F64, Index, Index]:
    """Return the order of the noise, and the taps of its kernels: weights, rows and offsets."""
    if "noise_fresh" not in tables:
        return 0, np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp)
    fresh, earlier = tables["noise_fresh"], tables["noise_earlier"]
    weight = np.concatenate([fresh, earlier.ravel()])
    row = np.repeat(np.arange(len(earlier) + 1), [fresh.size, *len(earlier) * [earlier.shape[1]]])
    offset = np.concatenate([tables["noise_fresh_offset"], np.tile(tables["noise_earlier_offset"], len(earlier))])
    return len(earlier), _in_fours(weight), _in_fours(row), _in_fours(_signed(offset, sites))


def _in_fours(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Fill up with zeros, as compiled sums take its terms."""
    return np.pad(values, (0, -values.size % 4))
