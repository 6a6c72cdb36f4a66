"""The attributes of every variable and coordinate in our files: long names, units and CF standard names."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ATTRIBUTES"]


def _quantity(long_name: str, **more: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1", **more}


def _with_se(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {name: _quantity(long_name), f"{name}_se": _quantity(f"standard error of the {long_name}")}


def _in_space(name: str, of: str) -> dict[str, dict[str, str]]:
    return {
        **_with_se(f"space_time_correlation_{name}", f"correlation of the {of} at two sites and times"),
        **_with_se(f"neighbour_correlation_{name}", f"correlation of the {of} between neighbours"),
    }


def _interval(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {
        f"{name}_{end}": _quantity(f"{bound} bound of the 95 % interval of the {long_name}")
        for end, bound in (("low", "lower"), ("high", "upper"))
    }


def _with_interval(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {name: _quantity(long_name), **_interval(name, long_name)}


def _score(name: str, long_name: str) -> dict[str, dict[str, str]]:
    return {
        name: _quantity(f"{long_name} between coarse run and truth"),
        f"{name}_floor": _quantity(f"{long_name} between two stretches of truth"),
        f"{name}_floor_std": _quantity(f"standard deviation of the {long_name} over pairs of stretches of truth"),
        **_interval(name, f"{long_name} between coarse run and truth"),
    }


# Model time is dimensionless, but CF (section 4.4) and its checker accept no time axis without a unit of
# time and a reference date. The unit is the one Lorenz (1996) gives a model time unit; the date means
# nothing. UDUNITS reads SINCE in either case, xarray only in lower case: written like this, it leaves the
# numbers as they are.
_MODEL_TIME = {
    "long_name": "model time",
    "standard_name": "time",
    "axis": "T",
    "units": "5 days SINCE 0001-01-01",
    "calendar": "none",
    "comment": "the values are dimensionless model time; five days to the unit is the convention "
    "of Lorenz (1996), and the reference date is arbitrary",
}

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    # dimensions
    "time": _MODEL_TIME,
    "k": _quantity("site of the slow variable"),
    "j": _quantity("fast variable within a site"),
    "member": _quantity("ensemble member", standard_name="realization"),
    "sample": _quantity("training sample"),
    "component": _quantity("component of the state vector"),
    "offset": _quantity("distance along the ring of sites"),
    "lag": _quantity("time lag in model time units"),
    "time_lag": _quantity("time lag of correlations in space and time, in model time units"),
    "z_bin": _quantity("slow variable, centre of the bin"),
    "psi_bin": _quantity("subgrid tendency, centre of the bin"),
    "joint_z_bin": _quantity("slow variable, centre of the bin of the joint density"),
    "joint_psi_bin": _quantity("subgrid tendency, centre of the bin of the joint density"),
    "wavenumber": _quantity("cycles around the ring of sites"),
    "frequency": _quantity("frequency in cycles per model time unit"),
    "probability": _quantity("probability of a smaller value"),
    "threshold": _quantity("level of the slow variable that is crossed upwards"),
    "start": _quantity("time of the reference at which a forecast starts, in model time units"),
    "lead": _quantity("lead time of a forecast in model time units"),
    "rank": _quantity("number of members below the truth"),
    "source": {"long_name": "origin of the statistics"},  # text has no unit
    "scheme": {"long_name": "sampling scheme"},
    "realisation": _quantity("training set", standard_name="realization"),
    "chain": _quantity("chain of the sampler"),
    "record": _quantity("state kept of a chain"),
    "length": _quantity("length of a chain in steps"),
    "trajectory": _quantity("trajectory shown as an example"),
    "x_bin": _quantity("state, centre of the bin"),
    "bandwidth": _quantity("candidate for the bandwidth of the bridge"),
    # states
    "z": _quantity("slow variable"),
    "y": _quantity("fast variable"),
    "psi": _quantity("subgrid tendency of the slow variable"),
    "features_outside": _quantity("values outside of the range of the training data that a closure was given a step"),
    "observation": _quantity("slow variable of the truth that a forecast should meet"),
    # closures
    "field": {"long_name": "predictors and target of the closure"},
    "field_units": {"long_name": "units of a field"},
    "dim": {"long_name": "dimension of the grid"},
    "grid_size": _quantity("number of sites along a dimension of the grid"),
    "neighbour": _quantity("sites that a site sees, itself first"),
    "pool_of_site": _quantity("sites with the same number share their samples"),
    "dictionary_of_site": _quantity("dictionary that a site draws from"),
    "coordinates": _quantity("training samples restricted to a neighbourhood"),
    "sinkhorn_log_weight": _quantity("logarithm of the weight of a training sample in the bridge"),
    "sinkhorn_residual": _quantity("largest departure of v (T v) from one"),
    "sinkhorn_iterations": _quantity("number of evaluations of T v"),
    "coordinate_scale": _quantity("what a coordinate is divided by in the distances"),
    "value": _quantity("residual of the target in a training sample"),
    "value_spread": _quantity("variance of the values behind a centre"),
    "scale": _quantity("climatological standard deviation of a component"),
    "log_variance": _quantity(
        "coefficient of the logarithm of the variance about the trend in Chebyshev polynomials on log_variance_range"
    ),
    # unfinished computations
    "z_now": _quantity("slow variable at the step the computation goes on with"),
    "y_now": _quantity("fast variable at that step, times half a fine step times c b"),
    "z_begun": _quantity("slow variable of samples whose subgrid tendency is not known yet"),
    "x_now": _quantity("state of the chains at that step"),
    "u_hat_now": _quantity("real and imaginary parts of the spectrum of the solution at that step"),
    "closure_state": _quantity("state of the closure at that step"),
    "evaluation": _quantity("results of the costly steps of a computation, one after the other"),
    "evaluation_size": _quantity("number of values of each of these results"),
    # climate
    **_with_se("mean", "mean of the slow variable"),
    **_with_se("std", "standard deviation of the slow variable"),
    **_with_se("psi_mean", "mean of the subgrid tendency"),
    **_with_se("psi_std", "standard deviation of the subgrid tendency"),
    "covariance": _quantity("covariance along the ring, averaged over the sites"),
    "covariance_rows": _quantity("row of the covariance matrix along the ring, centred at its site"),
    "density_z": _quantity("probability density of the slow variable"),
    "density_psi": _quantity("probability density of the subgrid tendency"),
    "density_joint": _quantity("joint probability density of the slow variable and the subgrid tendency"),
    **_with_se("autocorrelation_z", "autocorrelation of the slow variable"),
    **_with_se("autocorrelation_psi", "autocorrelation of the subgrid tendency"),
    **_with_se(
        "autocorrelation_residual", "autocorrelation of the subgrid tendency less its trend in the slow variable"
    ),
    **_in_space("z", "slow variable"),
    **_in_space("psi", "subgrid tendency"),
    **_in_space("residual", "subgrid tendency less its trend in the slow variable"),
    **_with_se("spectrum_z", "variance of the slow variable at a wavenumber along the ring"),
    **_with_se("spectrum_psi", "variance of the subgrid tendency at a wavenumber along the ring"),
    **_with_interval("spectrum_ratio_z", "variance of the slow variable at a wavenumber over the truth's"),
    **_with_interval("spectrum_ratio_psi", "variance of the subgrid tendency at a wavenumber over the truth's"),
    **_with_interval(
        "spectrum_error_z", "largest relative error of the variance of the slow variable over the wavenumbers"
    ),
    **_with_interval(
        "spectrum_error_psi", "largest relative error of the variance of the subgrid tendency over the wavenumbers"
    ),
    "power_z": _quantity("power spectral density of the slow variable in time"),
    "power_psi": _quantity("power spectral density of the subgrid tendency in time"),
    **_with_interval("quantile_z", "quantile of the slow variable"),
    **_with_interval("quantile_psi", "quantile of the subgrid tendency"),
    **_with_interval(
        "return_period_z", "mean model time between up-crossings of a level by the slow variable at a site"
    ),
    "psi_given_z_mean": _quantity("mean of the subgrid tendency given the slow variable"),
    "psi_given_z_std": _quantity("standard deviation of the subgrid tendency given the slow variable"),
    # forecasts
    **_with_interval("rmse", "root mean square error of the ensemble mean"),
    **_with_interval("ensemble_spread", "root mean variance of the ensemble"),
    **_with_interval("spread_skill", "spread of the ensemble over the error of its mean, corrected for its size"),
    **_with_interval("crps", "fair continuous ranked probability score"),
    **_with_interval("energy_score", "fair energy score of the whole field"),
    **_with_interval("variogram_score", "fair variogram score of order 0.5 of the whole field"),
    **_with_interval("rank_histogram", "relative frequency of the rank of the truth among the members"),
    **_with_interval("crps_mark", "fair continuous ranked probability score of the full model, spun up along z"),
    **_with_interval("rmse_mark", "root mean square error of the ensemble mean of the full model, spun up along z"),
    **_with_interval("crps_above_mark", "score of the forecasts less that of the full model, spun up along z"),
    "crps_climatology": _quantity("continuous ranked probability score of the climatological distribution"),
    "energy_score_climatology": _quantity("energy score of the climatological distribution"),
    "variogram_score_climatology": _quantity("variogram score of order 0.5 of the climatological distribution"),
    "rmse_climatology": _quantity("root mean square error of the climatological mean"),
    # reliability of the law
    "decile": _quantity("probability that the law gives to smaller values"),
    "pit_bin": _quantity("probability that the law gives to smaller values, centre of the bin"),
    "pit_lag": _quantity("time lag in model time units"),
    **_with_interval("pit_error", "share of held-out values below a decile of the law, less the decile"),
    **_with_interval("pit_largest_error", "largest difference of such a share from its decile"),
    **_with_interval("pit_density", "probability density of the law's probabilities of held-out values"),
    **_with_se("pit_autocorrelation", "autocorrelation in time of the law's probabilities of held-out values"),
    # comparisons of runs
    "run": {"long_name": "run, named by the settings that tell it from the others"},
    "folder": {"long_name": "folder of the run"},
    "status": {"long_name": "how the run ended"},
    "parts": {"long_name": "what the fitted closure is made of"},
    "fit_time": _quantity("wall time of the fit of the closure", units="s"),
    "step_time": _quantity("wall time of the coarse run per step and member", units="s"),
    # sampling experiments
    "x": _quantity("state that the bridge learns and draws"),
    "burn_in": _quantity("steps of a chain before its first record"),
    "thin": _quantity("steps of a chain from one record to the next"),
    "states": _quantity("number of states kept of all chains of one training set"),
    "convergence": _quantity("scored quantity at a length of the chains, mean over the chains"),
    "convergence_se": _quantity("standard error of the scored quantity over the chains"),
    "effective_samples": _quantity("effective number of training samples behind a conditional mean"),
    "effective_sample_size": _quantity("effective number of independent states of all chains of one training set"),
    "autocorrelation_time": _quantity("integrated autocorrelation time of a chain in steps"),
    "replay_score": _quantity("distance to the nearest training sample over that of the training samples themselves"),
    "bandwidth_criterion": _quantity("leave-one-out log-likelihood of the training samples"),
    "chosen_bandwidth": _quantity("bandwidth that maximises the criterion"),
    "covariance_se": _quantity("standard error of the covariance"),
    "predicted_covariance": _quantity("covariance of the split scheme after infinitely many training samples"),
    "density_x": _quantity("probability density of the components of the state"),
    "sign_changes": _quantity("relative number of sign changes along a trajectory"),
    "sign_changes_se": _quantity("standard error of the relative number of sign changes"),
    "spread": _quantity("standard deviation of the absolute value"),
    "spread_se": _quantity("standard error of the standard deviation of the absolute value"),
    "example": _quantity("state along a trajectory"),
    # scores
    **_score("hellinger_z", "Hellinger distance of the slow variable"),
    **_score("hellinger_psi", "Hellinger distance of the subgrid tendency"),
    **_score("hellinger_joint", "Hellinger distance of the slow variable and the subgrid tendency together"),
    **_score("wasserstein_z", "Wasserstein-1 distance of the slow variable"),
    **_score("ks_z", "Kolmogorov-Smirnov distance of the slow variable"),
}
"""Attributes of every variable and coordinate in our files; all model quantities are dimensionless."""
