"""The scores of a coarse run and its forecasts, declared once: name, symbol and target, for files, tables and pages.

Their units follow from those of z and psi where they are computed. Scores that only held-out data have are declared in
:mod:`l96closure.experiments.data.offline`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from l96closure.attributes import ERROR, INTERVAL

BOUNDED = ("", *INTERVAL)
"""A score and the bounds of its interval, as endings of its name."""

PARTS = ("", "_floor", "_floor_std", *INTERVAL)
"""What a distance consists of."""

FIELDS = {"z": "z", "psi": "ψ"}
RESIDUAL = {"residual": "ψ less its mean given z"}
"""What scores are of, as parts of their names and in words."""


class Score(NamedTuple):
    """A number that a run is judged by.

    Attributes
    ----------
    name : of its variable.
    label : in words, as text of its own and within a sentence.
    symbol : short, above a column.
    meaning : a few words for who does not know it.
    parts : endings of the variables that belong to it.
    target : what a perfect run has, where that is no run's own.
    """

    name: str
    label: str
    symbol: str
    meaning: str = ""
    parts: tuple[str, ...] = BOUNDED
    target: float = 0.0

    @property
    def variables(self) -> list[str]:
        """Names of all variables that belong to the score."""
        return [self.name + part for part in self.parts]


def _by_name(*scores: Score) -> Mapping[str, Score]:
    return {score.name: score for score in scores}


DISTANCES = _by_name(
    *(
        Score(name, label, symbol, meaning, PARTS)
        for name, label, symbol, meaning in (
            ("hellinger_z", "Hellinger distance of z", "H(z)", "overlap of two histograms: 0 the same, 1 no overlap"),
            ("hellinger_psi", "Hellinger distance of ψ", "H(ψ)", "the same for the subgrid tendency"),
            (
                *("hellinger_joint", "Hellinger distance of z and ψ together", "H(z,ψ)"),
                "the same for their joint distribution, in coarser cells",
            ),
            ("wasserstein_z", "Wasserstein-1 distance of z", "W(z)", "how far, on average, values would have to move"),
            (
                *("ks_z", "Kolmogorov-Smirnov distance of z", "KS(z)"),
                "largest gap between the two distribution functions",
            ),
        )
    )
)
"""Distances between the distributions of coarse run and truth."""

MOMENTS = _by_name(
    *(
        Score(f"{prefix}{name}", f"{words} of {symbol}", f"{name}({symbol})", parts=("", ERROR))
        for prefix, symbol in (("", "z"), ("psi_", "ψ"))
        for name, words in (("mean", "mean"), ("std", "standard deviation"))
    )
)
"""Moments of coarse run and truth."""

_LEVEL = (*BOUNDED, "_climatology")

FORECASTS = _by_name(
    Score(
        *("crps", "fair continuous ranked probability score", "CRPS"),
        "Fair continuous ranked probability score of z, the lower the better; climatology is what the distribution of "
        "z in the reference scores.",
        _LEVEL,
    ),
    Score(
        *("energy_score", "fair energy score of the whole field", "energy score"),
        "Fair energy score of whole fields, the lower the better.",
        _LEVEL,
    ),
    Score(
        *("variogram_score", "fair variogram score of order 0.5 of the whole field", "variogram score"),
        "Fair variogram score of order 0.5 of whole fields, which sees whether sites vary together as in the truth.",
        _LEVEL,
    ),
    Score(
        *("spread_skill", "spread of the ensemble over the error of its mean, corrected for its size", "spread-skill"),
        "Spread of the ensemble over the error of its mean, corrected for the size of the ensemble.",
        target=1.0,
    ),
    Score("rmse", "root mean square error of the ensemble mean", "RMSE", "Error of the ensemble mean.", _LEVEL),
    Score("ensemble_spread", "root mean variance of the ensemble", "spread"),
)
"""Scores of forecasts, by lead; the proper ones, and the error, have what climatology scores beside them."""

SPECTRA = _by_name(
    *(
        Score(
            f"spectrum_error_{name}",
            f"largest relative error of the variance of {symbol} over the wavenumbers",
            f"E({symbol})",
            f"spectrum of {symbol}",
        )
        for name, symbol in FIELDS.items()
    )
)
"""Errors of the spectra along the ring."""

NEIGHBOURS = _by_name(
    *(
        Score(
            f"neighbour_correlation_{name}",
            f"correlation of {symbol} between neighbours",
            f"r1({'res' if name == 'residual' else symbol})",
            symbol,
            ("", ERROR),
        )
        for name, symbol in (FIELDS | RESIDUAL).items()
    )
)
"""Correlations of neighbouring sites."""

MEMORY = Score(
    "autocorrelation_residual", f"autocorrelation of {RESIDUAL['residual']}", "r", "memory of psi", ("", ERROR)
)
"""Memory of what the resolved variable does not explain."""

LAW = Score("pit_largest_error", "largest difference of a share of held-out values from its decile of the law", "PIT")
"""Error of the conditional law that a closure states."""


def scalars(data: xr.Dataset, name: str, parts: tuple[str, ...] = BOUNDED) -> tuple[float, ...]:
    """Return a score of one number and what belongs to it.

    Parameters
    ----------
    data : has the variables.
    name : of the score.
    parts : endings of the variables wanted.

    Returns
    -------
    A float for each part.
    """
    return tuple(float(data[name + part]) for part in parts)


def difference(data: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Return coarse run less truth, and the standard error of that.

    Parameters
    ----------
    data : has ``name`` and ``<name>_se``, of the dimension ``source`` among others.
    name : of the score.

    Returns
    -------
    Two arrays without ``source``.
    """
    truth, coarse = (data[[name, name + ERROR]].sel(source=source, drop=True) for source in ("truth", "coarse"))
    return coarse[name] - truth[name], of_both(truth[name + ERROR], coarse[name + ERROR])


def of_both(error: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Return the standard error of the difference of two independent estimates.

    Parameters
    ----------
    error, other : their standard errors.

    Returns
    -------
    Of the same dims.
    """
    # xarray 2024.10, told to drop the attributes, empties those of the coordinates that both were given, too.
    return xr.apply_ufunc(np.hypot, error, other, keep_attrs=True)
