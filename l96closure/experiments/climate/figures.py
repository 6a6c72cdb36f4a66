"""The pictures of a coarse run beside the truth, with the captions that they have on the page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import xarray as xr

from l96closure import plot
from l96closure.durations import MODEL_TIME, duration, unit_of
from l96closure.plot.climate import peaked
from l96closure.plot.selection import numbers_of
from l96closure.plot.style import Draw, Drawing

_CAPTIONS = {
    "covariance": "Rows of the covariance matrix of z, each centred at its own site. Thin lines: every row of the "
    "coarse run; thick line: their mean; markers: the truth, averaged over its rows.",
    "histograms": "Distribution of the resolved variable z and of the subgrid tendency ψ.{cut}",
    "autocorrelations": "Autocorrelation of z and of ψ, averaged over sites and members. Bands: 95 % intervals, by "
    "batches of time, where the runs are long enough for them.",
    "psi_against_z": "Subgrid tendency against resolved variable. Grey: density of the pairs, on a logarithmic scale; "
    "thick lines: mean of ψ given z; dotted lines: one standard deviation to either side. The truth's lines are "
    "repeated in the right panel.",
    "joint_density": "Joint density of z and ψ on a logarithmic colour scale, white where it was never met, and the "
    "difference on a linear one. The Hellinger distance of both together compares these cells.",
    "residual_autocorrelation": "Memory of the unresolved part: autocorrelation of ψ less its mean given z, a "
    "polynomial of degree eight fitted to the truth and used for both. Bands: 95 % intervals, by batches of time, "
    "where the runs are long enough for them. Left: the first records, {step} apart.",
    "spectra": "Above: how the variance is shared among waves around the ring, with 95 % intervals where the run is "
    "long enough for them. Below: power spectral density in time, by Welch's method.",
    "space_time": "Correlation of ψ at a site with itself at another site (distance along the ring) and a later time "
    "(lag), above; the same of ψ less its mean given z, below. Waves that travel lean to one side. The lags end where "
    "both correlations are below 0.1 for good, if they are at all. The difference has a colour scale of its own, "
    "and is white where it may be chance, by 95 % intervals, if the runs are long enough for these.",
    "tails": "Quantiles of z and ψ less the truth's, and the mean time between up-crossings of a high level of z at "
    "one site; the levels are quantiles of the truth. All bars are 95 % intervals; none is given that would not cover."
    "",
    "profiles": "Mean and standard deviation of z and ψ along the dimension that is not periodic, over members, times "
    "and all other dimensions. "
    "Bands: 95 % intervals where the runs are long enough for them.",
    "isotropic_spectra": "How the variance is shared among waves of the plane, by total wavenumber. Bands: 95 % "
    "intervals where the runs are long enough for them.",
    "hovmoeller": "Resolved variable over site and time, from the start of the truth and of the coarse run's first "
    "member. The two are different realisations: look for the same waves, not for the same picture.",
    "forecast_skill": "Ensemble forecasts from states of the reference, against lead. Above: error of the ensemble "
    "mean and spread of the ensemble; their ratio, corrected for the size of the ensemble; fair continuous ranked "
    "probability score. Below: fair energy score and variogram score of whole fields, which see whether sites vary "
    "together as in the truth. Bands: 95 % intervals, by resampling the starts, where these are enough. Climatology is "
    "what the distribution of z in the reference scores when it is the forecast.{mark}",
    "rank_histograms": "How many members lie below the truth. Flat: truth and members may come from one distribution; "
    "U-shaped: too little spread, or a bias; dome-shaped: too much spread. Bars: 95 % intervals, where starts are "
    "enough.",
    "plumes": "Forecasts from three states of the reference at the first site. All members start from the exact z.",
    "reliability": "The law of ψ that the closure states, held against ψ of the reference: u is the probability that "
    "the law gives to values below what happened. Left: its histogram, flat where the law is right, U-shaped where it "
    "is too narrow, dome-shaped where it is too wide. Middle: share of u up to a decile, less the decile. Right: what "
    "memory is left in u. Bands: 95 % intervals, by batches of time, where the reference is long enough for them.",
    "choice": "What the closure might see, neighbours on either side and times before now, and what the trend of each "
    "candidate leaves of ψ on blocks of time that it was not fitted to{chosen}{lags}",
}
_MARK = (
    " Full model is what ensembles of the model that made the truth score, whose fast variables were spun up along the "
    "recorded z before the start: a mark for what can be had."
)
_CUT = " A peak that leaves its panel is more than three times as high as the truth's."
_BY_RESIDUAL = ". The simplest is chosen beyond which little is left to win."
_BY_NEXT = (
    ". The simplest was taken beyond which little is left to win, and compared with candidates that see ψ of steps "
    "before by the error one step ahead."
)
_BY_FORECASTS = (
    "; right, the error of forecasts with it from held-out states, by which was chosen. A candidate without a point "
    "there blew up."
)


def pictures(
    diagnostics: xr.Dataset,
    *,
    truth: xr.Dataset | None = None,
    coarse: xr.Dataset | None = None,
    ensemble: xr.Dataset | None = None,
    closure: Any = None,
    unit: str = MODEL_TIME,
    sites: xr.DataArray | None = None,
) -> Mapping[str, Drawing]:
    """Draw every picture there are data for, by name, each with its caption, in the order a reader wants them.

    Parameters
    ----------
    diagnostics : climate, forecasts and law of a run, or some of these.
    truth, coarse : ``z`` and ``psi`` (time, k), and with ``member`` of the coarse run; for the pictures of the climate.
    ensemble : ``z`` (start, member, lead, k) and ``observation`` (start, lead, k); for those of the forecasts.
    closure : may have a ``selection``.
    unit : of the times of the data that the closure was fitted to.
    sites : coordinate of the sites of the runs; None numbers them.
    """
    drawn: dict[str, Draw] = {}
    told = {"step": "", "mark": _MARK if "crps_mark" in diagnostics else "", "chosen": "", "lags": "", "cut": ""}
    if truth is not None and coarse is not None:
        told["step"] = duration(diagnostics.attrs["common_time_step"], unit_of(diagnostics["lag"]), model="time units")
        told["cut"] = _CUT if any(peaked(diagnostics[f"density_{name}"]) for name in ("z", "psi")) else ""
        drawn |= _of_climate(diagnostics, truth, coarse, sites)
    if ensemble is not None:
        drawn |= {
            "forecast_skill": partial(plot.skill, diagnostics),
            "rank_histograms": partial(plot.rank_histograms, diagnostics),
            "plumes": partial(plot.plumes, ensemble),
        }
    if "pit_density" in diagnostics:
        drawn["reliability"] = partial(plot.reliability, diagnostics)
    if (selection := getattr(closure, "selection", None)) is not None:
        drawn["choice"] = partial(plot.choice, selection, unit=unit)
        told["lags"] = " Lags are in model time units." if unit == MODEL_TIME else ""
        shown = numbers_of(selection, ("next", "score"))
        told["chosen"] = _BY_FORECASTS if "score" in shown else _BY_NEXT if shown else _BY_RESIDUAL
    return {name: (draw, _CAPTIONS[name].format(**told)) for name, draw in drawn.items()}


def _of_climate(
    diagnostics: xr.Dataset, truth: xr.Dataset, coarse: xr.Dataset, sites: xr.DataArray | None
) -> dict[str, Draw]:
    longest = 2.0 * float(diagnostics["lag"][-1])
    ring = "spectrum_z" in diagnostics
    levels = "profile_mean_z" in diagnostics
    grid = "isotropic_spectrum_z" in diagnostics
    return {
        **({"covariance": partial(plot.covariance, diagnostics)} if ring else {}),
        "histograms": partial(plot.histograms, diagnostics),
        "autocorrelations": partial(plot.autocorrelations, diagnostics),
        "psi_against_z": partial(plot.psi_against_z, truth, coarse, diagnostics),
        "joint_density": partial(plot.joint_density, diagnostics),
        "residual_autocorrelation": partial(plot.residual_autocorrelation, diagnostics),
        **({"spectra": partial(plot.spectra, diagnostics)} if ring else {}),
        **({"space_time": partial(plot.space_time, diagnostics)} if ring else {}),
        "tails": partial(plot.tails, diagnostics),
        **({"profiles": partial(plot.profiles, diagnostics)} if levels else {}),
        **({"isotropic_spectra": partial(plot.isotropic_spectra, diagnostics)} if grid else {}),
        "hovmoeller": partial(plot.hovmoeller, truth, coarse, longest or None, sites=sites),
    }
