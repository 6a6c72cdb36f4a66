"""Pictures of runs, which the pages of the reports show too: functions from datasets to matplotlib Axes.

Each draws into the Axes that it is given, ``ax``, or makes a figure, which has room for its legend. ``climate``,
``structure`` (memory, waves, extremes) and ``grids`` (levels, planes) draw a coarse run beside its truth, ``forecast``
ensembles, ``reliability`` the law on held-out data, ``selection`` what a closure chose; ``style`` is what they share.
"""

from l96closure.plot.climate import autocorrelations, covariance, histograms, hovmoeller, psi_against_z
from l96closure.plot.forecast import plumes, rank_histograms, skill
from l96closure.plot.grids import isotropic_spectra, profiles
from l96closure.plot.reliability import reliability
from l96closure.plot.selection import choice
from l96closure.plot.structure import joint_density, residual_autocorrelation, space_time, spectra, tails

__all__ = [
    "autocorrelations",
    "choice",
    "covariance",
    "histograms",
    "hovmoeller",
    "isotropic_spectra",
    "joint_density",
    "plumes",
    "profiles",
    "psi_against_z",
    "rank_histograms",
    "reliability",
    "residual_autocorrelation",
    "skill",
    "space_time",
    "spectra",
    "tails",
]
