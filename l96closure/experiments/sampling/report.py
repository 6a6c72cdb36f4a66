"""How the reports of the sampling experiments judge the chains: the table that both share, and warnings in words."""

from __future__ import annotations

import numpy as np
import xarray as xr

from l96closure import bridge
from l96closure.diagnostics import intervals
from l96closure.report import Row, Table, with_error

_MIN_EFFECTIVE = 100  # effective samples below which a standard error is itself uncertain by a tenth or more
_CONVERGED = 3.0  # standard errors that the last two points of a convergence curve may differ by


def chain_table(diagnostics: xr.Dataset) -> Table:
    """Return convergence, mixing and closeness to the training samples for each scheme."""
    schemes = [diagnostics.sel(scheme=scheme) for scheme in diagnostics["scheme"].values]
    median = [{str(k): float(v) for k, v in s.map(np.median).items()} for s in schemes]
    rows = (
        Row("burn-in", tuple(f"{int(s['burn_in'])}" for s in schemes), "steps before the first record"),
        Row(
            "states kept",
            tuple(f"{int(s['states'])}" for s in schemes),
            "of all chains of one training set",
        ),
        Row(
            "effective sample size",
            tuple(
                f"{m['effective_sample_size']:.0f} ({float(s['effective_sample_size'].min()):.0f})"
                for m, s in zip(median, schemes, strict=True)
            ),
            "independent states worth as much, more than were kept where these alternate: median over the components "
            "(smallest)",
        ),
        Row(
            "autocorrelation time",
            tuple(_rounded(m["autocorrelation_time"]) for m in median),
            "integrated, in steps: median over the components",
        ),
        Row(
            "training samples in a mean",
            tuple(_rounded(m["effective_samples"]) for m in median),
            "effective number behind a conditional mean: median over states and components",
        ),
        Row(
            "replay score",
            tuple(f"{m['replay_score']:.2f}" for m in median),
            "distance to the nearest training sample over the training set's own nearest-neighbour distance; "
            f"below {bridge.REPLAY_WARNING:g} the sampler replays",
        ),
    )
    residual, epsilon = float(diagnostics["sinkhorn_residual"]), float(diagnostics.attrs["epsilon"])
    note = f"Bandwidth {epsilon:.4g}; Sinkhorn residual at most {residual:.1e}."
    return Table("Chains", ("chains", *(str(s["scheme"].item()) for s in schemes)), rows, note)


def warnings(diagnostics: xr.Dataset, scored: str) -> list[str]:
    """Say, in a sentence each, why the scores of a scheme may not mean what they say.

    A scheme is reported when it replays its training samples, when the effective sample size of a component is below
    100, and when the last two points of its convergence curve differ by more than three standard errors or have none.

    Parameters
    ----------
    diagnostics : with the variables of :func:`l96closure.experiments.sampling.diagnostics.describe`.
    scored : name of the quantity whose convergence was recorded.
    """
    found = []
    for scheme in diagnostics["scheme"].values:
        data = diagnostics.sel(scheme=scheme)
        replay = float(data["replay_score"])
        if replay < bridge.REPLAY_WARNING:
            found.append(
                f"The {scheme} scheme replays its training samples: its states are only {replay:.3g} times as far from "
                "the nearest of them as these are from each other."
            )
        smallest = float(data["effective_sample_size"].min())
        if not smallest >= _MIN_EFFECTIVE:
            found.append(
                f"The chains of the {scheme} scheme mix slowly: the effective sample size of a component is only "
                f"{smallest:.0f}, so its standard errors are themselves uncertain."
            )
        curve = (
            data[["convergence", "convergence_se"]]
            .dropna("length", subset=["convergence"])
            .isel(length=slice(-2, None))
        )
        if curve.sizes["length"] < 2:
            continue
        (before, after), error = curve["convergence"].values, float(np.hypot(*curve["convergence_se"].values))
        if np.isnan(error):
            found.append(
                f"Whether the chains of the {scheme} scheme have converged is not told: fewer than "
                f"{intervals.MIN_REPLICATES} of them have no standard error."
            )
        if abs(after - before) > _CONVERGED * error:
            shorter, longer = curve["length"].values
            found.append(
                f"The chains of the {scheme} scheme have not converged: the {scored} still went from {before:.4g} to "
                f"{after:.4g} between {shorter} and {longer} steps, {abs(after - before) / error:.1f} standard errors."
            )
    return found


def judged(value: float, error: float, reference: float, reference_error: float, sides: float) -> str:
    """Say how a value compares with its reference: the same within sampling error, or by how many per cent not.

    Parameters
    ----------
    value, error : the value and its standard error.
    reference, reference_error : what it should be.
    sides : standard errors that make 95 %, :func:`l96closure.diagnostics.intervals.sides`.
    """
    both = float(np.hypot(error, reference_error))
    if abs(value - reference) <= sides * both:
        return f"{with_error(value, error)}, the same within sampling error"
    percent = 100 * (value / reference - 1)
    difference = f"{abs(percent):.1f} % {'more' if percent > 0 else 'less'}"
    if np.isnan(both):
        difference += f", of unknown error (fewer than {intervals.MIN_REPLICATES} chains or training sets)"
    return f"{with_error(value, error)}, {difference}"


def _rounded(value: float) -> str:
    """Show three significant digits, and all digits before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
