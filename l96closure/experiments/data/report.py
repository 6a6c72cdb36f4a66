"""How the report of the data experiment says what the closure draws along the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations_with_replacement

import xarray as xr

from l96closure.attributes import ERROR, printed
from l96closure.diagnostics import intervals
from l96closure.diagnostics.scorecard import of_both, scalars
from l96closure.durations import duration, unit_of
from l96closure.experiments.climate.failures import Check, at_lags, beside_climatology
from l96closure.experiments.climate.tables import compared, in_units
from l96closure.experiments.climate.verdicts import Failure, Judged
from l96closure.report import Row, Table, as_text, finest, interval, number, paragraph, where_errors, with_error

_NO_ERRORS = f"Standard errors are {intervals.REASON}."
_LAGS = (1, 2, 5, 10, 20, 50)


def headline(diagnostics: xr.Dataset) -> str:
    """Say how well the closure knows the target of the reference; or that it was not driven by it."""
    if "offline_crps" not in diagnostics:
        return "The closure was not driven by the reference, which was not recorded at its steps."
    crps, climatology = scalars(diagnostics, "offline_crps", ("", "_climatology"))
    units, relative = in_units(diagnostics["offline_crps"]), number(crps / climatology, 3)
    return (
        f"Given the predictors of the reference{_told(diagnostics)}, which the closure was not fitted to, its draws "
        f"have a CRPS of {_form(diagnostics)(crps)}{units}, {relative} times that of climatology; their spread is "
        f"{float(diagnostics['offline_spread_skill']):.2f} times what their errors ask for."
    )


def _told(diagnostics: xr.Dataset) -> str:
    """Say that the closure was told more than the predictors, if so."""
    return " and ψ of the steps before" if diagnostics.attrs.get("offline_told") else ""


def tables(diagnostics: xr.Dataset) -> list[Table]:
    """Return the scores of the draws, and what is to be the same in draws and reference."""
    if "offline_crps" not in diagnostics:
        return []
    return [_skill(diagnostics), _same(diagnostics)]


def covariances(diagnostics: xr.Dataset) -> list[Table]:
    """Return how the targets go together in coarse run and reference; nothing where there is one."""
    if "target_covariance" not in diagnostics:
        return []
    targets = [str(name) for name in diagnostics["target"].to_numpy()]
    rows = tuple(
        Row(f"{first}, {second}", compared(diagnostics.sel(target=first, other_target=second), "target_covariance"))
        for first, second in combinations_with_replacement(targets, 2)
    )
    note = (
        "Covariance at one site and time, each target less its mean there, a mean over the sites, in the product of "
        "the units of the data. "
    ) + where_errors(
        rows,
        "After ± stands the standard error, by batches of time, not given where it would not cover; the last column is "
        f"the difference over its error, of which {intervals.SIDE:.1f} may be chance.",
        _NO_ERRORS,
    )
    return [
        Table("Covariances of the targets", ("targets", "coarse run", "truth", "difference", "in errors"), rows, note)
    ]


def score_table(diagnostics: xr.Dataset) -> str:
    """Return the tables as plain text."""
    return "\n\n".join(f"{as_text([table])}\n\n{paragraph(table.note)}" for table in tables(diagnostics))


def _skill(diagnostics: xr.Dataset) -> Table:
    crps, low, high, climatology = scalars(diagnostics, "offline_crps", ("", "_low", "_high", "_climatology"))
    show, ratio = _form(diagnostics), float(diagnostics["offline_spread_skill"])
    rows = (
        Row("CRPS", (show(crps), interval(low, high, show)), short="offline_crps"),
        Row("CRPS of climatology", (show(climatology), "")),
        Row("RMSE of the mean", (show(float(diagnostics["offline_rmse"])), ""), short="offline_rmse"),
        Row("spread", (show(float(diagnostics["offline_spread"])), ""), short="offline_spread"),
        Row("spread over error", (f"{ratio:.3f}", ""), short="offline_spread_skill"),
    )
    units = diagnostics["offline_crps"].attrs.get("units", "1")
    known = "dimensionless" if units == "1" else f"in the units of the data ({printed(units)})"
    values, members = (int(diagnostics.attrs[f"offline_{name}"]) for name in ("values", "members"))
    note = (
        f"The target of the reference, {values:,} values, {known}, and {members} draws of each given the recorded "
        f"predictors{_told(diagnostics)}. "
        "CRPS: fair continuous ranked probability score, the lower the better; interval: 95 %, by batch means, not "
        "given where it would not cover. Spread over error, corrected for the number of draws, is 1 where these are as "
        "wide as their errors ask for."
    )
    return Table("Offline: draws along the reference", ("score", "closure", "95 % interval"), rows, note)


def _form(diagnostics: xr.Dataset) -> Callable[[float], str]:
    """Return what shows the scores of draws along the reference that have the units of the target."""
    values = (float(diagnostics[f"offline_{name}"]) for name in ("crps", "crps_climatology", "rmse", "spread"))
    return partial(with_error, error=math.nan, beside=finest(values))


def _same(diagnostics: xr.Dataset) -> Table:
    rows = []
    for name, label in (("offline_mean", "mean"), ("offline_std", "standard deviation")):
        values = diagnostics[name].values[::-1].tolist()
        rows.append(Row(label, tuple(with_error(value, math.nan, beside=finest(values)) for value in values)))
    step, unit = float(diagnostics["offline_lag"][1]), unit_of(diagnostics["offline_lag"])
    lags = () if diagnostics.attrs.get("offline_told") else _LAGS
    for lag in (lag for lag in lags if lag < diagnostics.sizes["offline_lag"]):
        at = diagnostics.isel(offline_lag=lag)
        value, error = (at[f"offline_autocorrelation{part}"].values.tolist() for part in ("", "_se"))
        cells = (with_error(value[source], error[source], beside=finest(value, error)) for source in (1, 0))
        rows.append(Row(f"autocorrelation, lag {duration(lag * step, unit, '.4g')}", tuple(cells)))
    note = where_errors(
        rows,
        "After ± stands the standard error, by batches of time (of the closure that of one draw alone), not given "
        f"where it would not cover; {intervals.SIDE:.1f} of them may be chance.",
        "" if diagnostics.attrs.get("offline_told") else _NO_ERRORS,
    )
    if (along := diagnostics.attrs.get("offline_anomalies_along")) is not None:
        note += f" All are of anomalies from the reference's mean at each place along {along}."
    if "offline_covariance_error" in diagnostics:
        error, floor = scalars(diagnostics, "offline_covariance_error", ("", "_floor"))
        rows.append(Row("distance of the covariance matrices", (number(error, 3), number(floor, 3))))
        note += (
            " Distance: Frobenius norm of the difference over that of the reference's matrix; in the column of the "
            "reference the same between its two halves."
        )
    return Table("Offline: climate of the draws", ("statistic", "closure", "reference"), tuple(rows), note.lstrip())


def _skill_of_draws(diagnostics: xr.Dataset) -> Judged:
    if "offline_crps" not in diagnostics:
        return
    judged = beside_climatology(diagnostics, "offline_crps", "CRPS")
    if isinstance(judged, str):
        yield Failure(f"draws along the reference score worse than climatology: {judged}")
    elif judged is not None:
        yield judged


def _memory_of_draws(diagnostics: xr.Dataset) -> Judged:
    name = "offline_autocorrelation"
    if name not in diagnostics or diagnostics.attrs.get("offline_told"):
        return
    value, error = diagnostics[name], diagnostics[name + ERROR]
    (given, drawn), (given_error, drawn_error) = (
        [each.sel(offline_source=source, drop=True) for source in ("reference", "closure")] for each in (value, error)
    )
    yield from at_lags("ψ drawn along the reference", drawn - given, of_both(given_error, drawn_error))


CHECKS: Mapping[str, Check] = {
    "skill of draws along the reference beside climatology": _skill_of_draws,
    "memory of these draws": _memory_of_draws,
}
"""What is judged of draws along the reference, for :func:`l96closure.experiments.climate.failures.failures`."""
