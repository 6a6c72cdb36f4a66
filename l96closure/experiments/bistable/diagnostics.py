"""How far generated trajectories of the bistable Langevin dynamics are from those of the training set."""

from __future__ import annotations

import numpy as np
import xarray as xr

from l96closure.arrays import F64
from l96closure.attributes import labelled
from l96closure.diagnostics import climate, intervals

_NAMES = {
    "source": "origin of the statistics",
    "x_bin": "state, centre of the bin",
    "trajectory": "trajectory shown as an example",
    "density_x": "probability density of the components of the state",
    "sign_changes": "relative number of sign changes along a trajectory",
    "spread": "standard deviation of the absolute value",
    "example": "state along a trajectory",
}
_BINS = 100
_TAIL = 1e-3  # probability in either tail of the training set that need not be binned; the start's is long
_MARGIN = 0.15  # of the range between, by which the bins reach beyond it on either side
_EXAMPLES = 100  # trajectories of each source, as in Figure 2


def sign_changes(x: F64) -> F64:
    """Relative number of sign changes along trajectories: the fraction of consecutive times whose signs differ.

    Parameters
    ----------
    x : (..., time), two times or more.

    Returns
    -------
    (...), each from 0 to 1.
    """
    return (x[..., 1:] * x[..., :-1] < 0).mean(axis=-1)


def compare(training: xr.Dataset, generated: xr.Dataset) -> xr.Dataset:
    """Set generated trajectories beside those of the training set, Figures 2 and 3 of Gottwald & Reich (2024).

    Parameters
    ----------
    training : ``x`` (sample, time).
    generated : ``x`` (scheme, chain, record, time).

    Returns
    -------
    Dataset with the coordinate ``source`` = training and the schemes:

    - ``sign_changes`` (source) and ``spread`` (source), the standard deviation of abs(x), which tells how wide each of
      the two modes is; with the standard errors ``sign_changes_se`` and ``spread_se`` over trajectories, or over
      chains for the schemes, whose records are not independent; NaN for fewer than five of them;
    - ``density_x`` (source, x_bin), of all times;
    - ``example`` (source, trajectory, time), up to a hundred trajectories, each of a chain of its own.
    """
    states = {"training": training["x"].values[:, np.newaxis, :]}  # every trajectory a chain of one record
    states |= {str(s): generated["x"].sel(scheme=s).values.astype(np.float64) for s in generated["scheme"].values}
    low, high = np.quantile(training["x"], [_TAIL, 1 - _TAIL])
    reach = _MARGIN * (high - low)
    edges = np.linspace(low - reach, high + reach, _BINS + 1)
    examples = min(_EXAMPLES, *(len(x) for x in states.values()))
    rates = np.array([_with_error(sign_changes(x).mean(axis=1)) for x in states.values()])
    spreads = np.array([_spread(np.abs(x)) for x in states.values()])
    about = intervals.replicate_attributes(min(len(x) for x in states.values()), "trajectories or chains")
    result = xr.Dataset(
        {
            "sign_changes": ("source", rates[:, 0]),
            "sign_changes_se": ("source", rates[:, 1], about),
            "spread": ("source", spreads[:, 0]),
            "spread_se": ("source", spreads[:, 1], about),
            "density_x": (("source", "x_bin"), np.array([climate.density(x, edges) for x in states.values()])),
            "example": (("source", "trajectory", "time"), np.array([x[:examples, -1] for x in states.values()])),
        },
        coords={
            "source": list(states),
            "x_bin": (edges[1:] + edges[:-1]) / 2,
            "trajectory": np.arange(examples),
            "time": training["time"],
        },
    )
    return labelled(result, _NAMES)


def _with_error(by_chain: F64) -> tuple[float, float]:
    return float(by_chain.mean()), float(intervals.standard_error(by_chain))


def _spread(size: F64) -> tuple[float, float]:
    """Return the standard deviation of all values and its standard error over chains (chain, record, time).

    The error follows from that of the variance, se(s) = se(s^2) / 2 s.
    """
    squares = ((size - size.mean()) ** 2).mean(axis=(1, 2))
    spread = float(np.sqrt(squares.mean()))
    return spread, float(intervals.standard_error(squares)) / (2 * spread)
