"""How the report of a coarse run puts its climate beside the truth's: headline, tables, and text for the terminal."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.report import Row, Table, as_text, structure
from l96closure.report.compared import compared, unless_known

__all__ = ["headline", "score_table", "tables"]

_SCORES = {
    "hellinger_z": ("Hellinger distance, z", "overlap of the two histograms: 0 the same, 1 no overlap"),
    "hellinger_psi": ("Hellinger distance, ψ", "the same for the subgrid tendency"),
    "hellinger_joint": ("Hellinger distance, z and ψ", "the same for their joint distribution, in coarser cells"),
    "wasserstein_z": ("Wasserstein-1 distance, z", "how far, on average, values of z would have to move"),
    "ks_z": ("Kolmogorov-Smirnov distance, z", "largest gap between the two distribution functions"),
}
_MOMENTS = {
    "mean": "mean of z",
    "std": "standard deviation of z",
    "psi_mean": "mean of ψ",
    "psi_std": "standard deviation of ψ",
}
_STEPS = (1, 10, 50)  # lags of the residual's autocorrelation, in steps between records


def headline(diagnostics: xr.Dataset) -> str:
    """Say in two sentences how good the coarse climate is, against what chance allows.

    A difference of standard deviations counts where its 95 % interval leaves out zero; a Hellinger distance counts as
    chance up to one standard deviation (over pairs of stretches of truth) above its floor.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    """
    truth, coarse = (diagnostics.sel(source=source) for source in ("truth", "coarse"))
    percent = 100 * (float(coarse["std"]) / float(truth["std"]) - 1)
    error = math.hypot(float(truth["std_se"]), float(coarse["std_se"]))
    if abs(float(coarse["std"]) - float(truth["std"])) <= intervals.SIDE * error:
        spread = "The coarse run varies as much as the truth, within sampling error"
    else:
        spread = f"The coarse run varies {abs(percent):.1f} % {'more' if percent > 0 else 'less'} than the truth"
        spread += ", by chance or not: the runs are too short against their memory" if math.isnan(error) else ""
    score, floor, floor_std = _with_floor(diagnostics, "hellinger_z")
    if math.isnan(floor_std):
        verdict = f"{_ratio(score, floor)} times its floor, which rests on one pair of stretches and is uncertain"
    elif score <= floor + floor_std:
        verdict = "as small as chance allows"
    else:
        verdict = f"{_ratio(score, floor)} times its floor"
    return (
        f"{spread} (standard deviation of z {float(coarse['std']):.2f} against {float(truth['std']):.2f}). "
        f"The Hellinger distance between the two distributions of z is {verdict} "
        f"({score:.4f}; between two stretches of truth {_error_bar(floor, floor_std)})."
    )


def tables(diagnostics: xr.Dataset) -> tuple[Table, ...]:
    """Return the scores with their intervals and floors, the moments, structure and memory, and the extremes.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    """
    return (
        *_scores_and_moments(diagnostics),
        *structure.tables(diagnostics),
        _memory_table(diagnostics),
        _extremes_table(diagnostics),
    )


def score_table(diagnostics: xr.Dataset) -> str:
    """Return scores and moments as plain text.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    """
    scores, moments = _scores_and_moments(diagnostics)
    return f"{as_text([scores, moments])}\n\n{scores.note}"


def _scores_and_moments(diagnostics: xr.Dataset) -> tuple[Table, Table]:
    return (
        Table(
            "Distances from the truth",
            ("distance", "coarse run", "95 % interval", "floor", "ratio"),
            tuple(_score(diagnostics, name) for name in _SCORES),
            _floor_note(diagnostics),
        ),
        Table(
            "Moments",
            ("moment", "coarse run", "truth", "difference", "in errors"),
            tuple(_moment(diagnostics, name) for name in _MOMENTS),
            "After ± stands the standard error, by batch means; the last column is the difference over its error, of "
            f"which {intervals.SIDE:.1f} may be chance. All quantities are dimensionless."
            f"{unless_known(diagnostics, [f'{name}_se' for name in _MOMENTS])}",
        ),
    )


def _memory_table(diagnostics: xr.Dataset) -> Table:
    """Compare the autocorrelation of the residual at a few lags."""
    step = float(diagnostics.attrs["common_time_step"])
    rows = tuple(
        Row(
            f"lag {steps * step:g}, {steps} step{'s' if steps > 1 else ''}",
            compared(diagnostics.isel(lag=steps), "autocorrelation_residual"),
        )
        for steps in _STEPS
        if steps < diagnostics.sizes["lag"]
    )
    note = (
        "Autocorrelation of ψ less its mean given z, a polynomial of degree eight fitted to the truth. One step "
        f"between records is {step:g} time units; after ± stands the standard error, by batches of time."
        f"{unless_known(diagnostics, ['autocorrelation_residual_se'])}"
    )
    return Table("Memory of the residual of ψ", ("lag", "coarse run", "truth", "difference", "in errors"), rows, note)


def _extremes_table(diagnostics: xr.Dataset) -> Table:
    """Compare the return periods of the levels."""
    rows = tuple(
        Row(f"z above {float(level):.1f}", tuple(_period(at.sel(source=source)) for source in ("coarse", "truth")))
        for level, at in diagnostics[[f"return_period_z{part}" for part in ("", "_low", "_high")]].groupby("threshold")
    )
    note = (
        "Mean time, in model time units, from one up-crossing of the level to the next at one site, with a 95 % "
        "interval. The levels are quantiles of the truth."
        f"{unless_known(diagnostics, ['return_period_z_low'], 'Intervals')}"
    )
    return Table("Return periods", ("level", "coarse run", "truth"), rows, note)


def _score(diagnostics: xr.Dataset, name: str) -> Row:
    label, meaning = _SCORES[name]
    score, floor, floor_std = _with_floor(diagnostics, name)
    low, high = (float(diagnostics[f"{name}{part}"]) for part in ("_low", "_high"))
    interval = "–" if math.isnan(low) else f"{low:.4f} to {high:.4f}"
    return Row(
        label, (f"{score:.4f}", interval, _error_bar(floor, floor_std), _ratio(score, floor)), meaning, short=name
    )


def _moment(diagnostics: xr.Dataset, name: str) -> Row:
    return Row(_MOMENTS[name], compared(diagnostics, name))


def _period(at: xr.Dataset) -> str:
    """Show a return period with its interval."""
    value, low, high = (float(at[f"return_period_z{part}"].item()) for part in ("", "_low", "_high"))
    interval = "" if math.isnan(low) else f" ({_time(low)} to {_time(high)})"
    return ("never" if math.isinf(value) else _time(value)) + interval


def _time(value: float) -> str:
    """Show a time to three digits without an exponent."""
    if math.isinf(value):
        return "∞"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _with_floor(diagnostics: xr.Dataset, name: str) -> tuple[float, float, float]:
    """Return a score, its floor and the floor's spread."""
    score, floor, floor_std = (float(diagnostics[name + suffix]) for suffix in ("", "_floor", "_floor_std"))
    return score, floor, floor_std


def _error_bar(floor: float, floor_std: float) -> str:
    return f"{floor:.4f}" if math.isnan(floor_std) else f"{floor:.4f} ± {floor_std:.4f}"


def _ratio(score: float, floor: float) -> str:
    return f"{score / floor:.2f}" if floor > 0 else "–"


def _floor_note(diagnostics: xr.Dataset) -> str:
    """Say what the floors are made of."""
    a = diagnostics.attrs
    pairs = int(a["floor_pairs"])
    spread = "one pair only: the floor itself is uncertain" if pairs == 1 else f"{pairs} pairs"
    return (
        f"Floor: the same distance between two stretches of truth ({a['floor_stretches']} stretches of "
        f"{float(a['floor_stretch_duration']):g} time units, {spread}), ± its standard deviation; a perfect "
        f"closure has ratio 1. Here {a['floor_method']}. {_interval_note(a)}"
    )


def _interval_note(attributes: dict[str, Any]) -> str:
    """Say what the intervals mean."""
    blocks = int(attributes["interval_blocks"])
    if not blocks:
        why = str(attributes["interval_method"]).removeprefix("none: ")
        return (
            f"Intervals are not given, for they would not cover: the runs are too short against their memory ({why})."
        )
    return (
        f"Interval: for what runs as long as these score on average, by resampling {blocks} blocks of "
        f"{float(attributes['interval_block_duration']):.3g} time units in each; a floor inside it means that the "
        "closure may be perfect by this distance."
    )
