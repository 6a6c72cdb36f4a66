"""How the report of a coarse run puts its climate beside the truth's: headline, tables, and text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr

from l96closure.attributes import printed
from l96closure.diagnostics import intervals, ring
from l96closure.diagnostics.intervals import known
from l96closure.diagnostics.scorecard import (
    DISTANCES,
    FIELDS,
    LAW,
    MEMORY,
    MOMENTS,
    NEIGHBOURS,
    Score,
    difference,
    scalars,
)
from l96closure.durations import duration, plain, scaled, unit_of
from l96closure.report import (
    NONE,
    Row,
    Table,
    as_text,
    bracketed,
    finest,
    interval,
    number,
    paragraph,
    where_errors,
    with_error,
    with_interval,
)

_RECORDS = (1, 10, 50)  # lags of the residual's autocorrelation
_MAX_ROWS = 16  # of a table of wavenumbers
_ROUND_OFF = 1e-24  # of a variance, over the largest


def headline(diagnostics: xr.Dataset) -> str:
    """Say in two sentences how good the coarse climate is, against what chance allows.

    A difference of standard deviations counts where its 95 % interval leaves out zero; a Hellinger distance counts as
    chance up to one standard deviation (over pairs of stretches of truth) above its floor.
    """
    truth, coarse = (float(diagnostics["std"].sel(source=source)) for source in ("truth", "coarse"))
    error = float(difference(diagnostics, "std")[1])
    percent = 100 * (coarse / truth - 1)
    if abs(coarse - truth) <= intervals.SIDE * error:
        spread = "The coarse run varies as much as the truth, within sampling error"
    else:
        much = (
            f"{abs(percent):.1f} % {'more' if percent > 0 else 'less'} than" if abs(percent) >= 0.05 else "as much as"
        )
        spread = f"The coarse run varies {much} the truth"
        spread += ", as far as runs this short against their memory can tell" if math.isnan(error) else ""
    units = in_units(diagnostics["std"])
    score, floor, floor_std, low, _ = scalars(diagnostics, "hellinger_z", DISTANCES["hellinger_z"].parts)
    verdict = f"{_ratio(score, floor)} times its floor"
    if math.isnan(floor_std):
        verdict += ", which rests on one pair of stretches and is uncertain"
    elif low <= floor + floor_std:
        verdict += ", no more than chance"
    elif not known(low) and score <= floor + floor_std:
        verdict += ", within the spread of the floor"
    return (
        f"{spread} (standard deviation of z {number(coarse, 2)} against {number(truth, 2)}{units}). "
        f"The Hellinger distance between the two distributions of z is {verdict} "
        f"({score:.4f}; between two stretches of truth {_floor(floor, floor_std)})."
    )


def tables(diagnostics: xr.Dataset) -> list[Table]:
    """Return the scores with their intervals and floors, the moments, structure and memory, and the extremes."""
    of_ring = [_spectra_table(diagnostics), *_neighbour_table(diagnostics)] if "spectrum_z" in diagnostics else []
    return [*_scores_and_moments(diagnostics), *of_ring, _memory_table(diagnostics), _extremes_table(diagnostics)]


def score_table(diagnostics: xr.Dataset) -> str:
    """Return scores and moments as plain text."""
    scores, moments = _scores_and_moments(diagnostics)
    return f"{as_text([scores, moments])}\n\n{paragraph(scores.note)}"


def law(diagnostics: xr.Dataset) -> list[Table]:
    """Return the shares of held-out psi below the deciles of the law stated for it; none where the law states none.

    Parameters
    ----------
    diagnostics : has the variables of :func:`l96closure.diagnostics.reliability.pit`, or none of them.
    """
    if LAW.name not in diagnostics:
        return []
    rows = []
    for decile in diagnostics["decile"].to_numpy():
        error, low, high = scalars(diagnostics.sel(decile=decile), "pit_error")
        bounds = interval(low, high, "{:+.4f}".format)
        rows.append(Row(f"{decile:g}", (f"{error + decile:.4f}", f"{error:+.4f}", bounds)))
    largest, low, high = scalars(diagnostics, LAW.name)
    rows.append(Row("largest", (NONE, f"{largest:.4f}", interval(low, high, "{:.4f}".format))))
    note = (
        f"Share of ψ in the reference that lies below the deciles of the law the closure states for it, "
        f"{int(diagnostics.attrs['pit_values']):,} values in {_said(diagnostics, 'pit_duration', 'pit_lag', '.4g')}. "
        "Too much below the first and too little below the last deciles: the law is too narrow; the reverse: too wide. "
        "The interval of the largest difference holds all deciles at once."
        f"{_unless_known(diagnostics, ['pit_error_low'], 'Intervals')}"
    )
    columns = ("decile of the law", "ψ below it", "difference", "95 % interval")
    return [Table("Reliability of the law on held-out data", columns, tuple(rows), note)]


def _scores_and_moments(diagnostics: xr.Dataset) -> tuple[Table, Table]:
    moments = tuple(Row(score.label, compared(diagnostics, score.name)) for score in MOMENTS.values())
    return (
        Table(
            "Distances from the truth",
            ("distance", "coarse run", "95 % interval", "floor", "ratio"),
            tuple(_distance(diagnostics, score) for score in DISTANCES.values()),
            _floor_note(diagnostics),
        ),
        Table(
            "Moments",
            ("moment", "coarse run", "truth", "difference", "in errors"),
            moments,
            f"{_errors_note(moments, 'by batch means')} {_units_note(diagnostics)}"
            f"{_unless_known(diagnostics, [f'{name}_se' for name in MOMENTS])}".strip(),
        ),
    )


def _errors_note(rows: Sequence[Row], how: str) -> str:
    """Say what stands after ± in a table of differences."""
    return where_errors(
        rows,
        f"After ± stands the standard error, {how}; the last column is the difference over its error, of which "
        f"{intervals.SIDE:.1f} may be chance.",
    )


def _distance(diagnostics: xr.Dataset, score: Score) -> Row:
    value, floor, floor_std, low, high = scalars(diagnostics, score.name, score.parts)
    show = (
        partial(with_error, error=math.nan, beside=floor_std)
        if floor_std > 0
        else partial(number, digits=4, beside=max(value, floor))
    )
    cells = (show(value), interval(low, high, show), _floor(floor, floor_std, value), _ratio(value, floor))
    return Row(score.label, cells, score.meaning, short=score.name)


def _floor(floor: float, spread: float, beside: float = 0.0) -> str:
    """Show a floor with its standard deviation, if it has one, else like the number beside it."""
    return with_error(floor, spread) if spread > 0 else number(floor, 4, beside=beside)


def in_units(variable: xr.DataArray) -> str:
    """Return what stands behind a number of a variable in a sentence: its units, if it has any."""
    units = str(variable.attrs.get("units", "1"))
    return "" if units == "1" else f" {printed(units)}"


def compared(diagnostics: xr.Dataset, name: str) -> tuple[str, str, str, str]:
    """Return coarse run, truth, difference, each with its error, and the difference over its error.

    Parameters
    ----------
    diagnostics : has ``name`` and its standard error, of the dimension ``source`` alone.
    name : of a score.
    """
    (coarse, truth), (coarse_se, truth_se) = (
        diagnostics[each].sel(source=["coarse", "truth"]).values.tolist() for each in (name, f"{name}_se")
    )
    off, error = map(float, difference(diagnostics, name))
    beside = finest((coarse, truth), (coarse_se, truth_se))
    return (
        with_error(coarse, coarse_se, beside=beside),
        with_error(truth, truth_se, beside=beside),
        with_error(off, error, signed=True, beside=beside),
        f"{off / error:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0") if error > 0 else NONE,
    )


def _units_note(diagnostics: xr.Dataset) -> str:
    """Say what units moments have."""
    units = [str(diagnostics[name].attrs.get("units", "1")) for name in ("mean", "psi_mean")]
    if units == ["1", "1"]:
        return "All quantities are dimensionless."
    return f"Units: {printed(units[0])} of z, {printed(units[1])} of ψ.{_pooled_note(diagnostics)}"


def _pooled_note(diagnostics: xr.Dataset) -> str:
    """Say what is pooled of unlike sites; nothing where all are alike."""
    along = diagnostics.attrs.get("anomalies_along")
    return "" if along is None else f" z and ψ are anomalies from the truth's mean at each place along {along}."


def _unless_known(diagnostics: xr.Dataset, names: Sequence[str], what: str = "Standard errors") -> str:
    """Say why some of these variables are missing, where they are."""
    missing = any(bool(diagnostics[name].isnull().any()) for name in names)
    return f" {what} are {intervals.REASON}." if missing else ""


def _spectra_table(diagnostics: xr.Dataset) -> Table:
    """Compare the variances by wavenumber, and say by how much they are wrong at most."""
    wavenumbers = diagnostics["wavenumber"].to_numpy()
    shown = wavenumbers[: _MAX_ROWS - 1] if wavenumbers.size > _MAX_ROWS else wavenumbers
    rows = []
    for m in shown:
        cells = (cell for name in FIELDS for cell in _variance(diagnostics, name, m))
        rows.append(Row(f"wavenumber {m}", tuple(cells)))
    largest = tuple(cell for name in FIELDS for cell in ("", _largest(diagnostics, name)))
    rows.append(Row("largest error", largest, "of the wavenumbers that carry variance", "largest error"))
    columns = (cell for symbol in FIELDS.values() for cell in (f"{symbol}: truth", f"{symbol}: coarse / truth"))
    left_out = f" Wavenumbers beyond {shown[-1]} are in diagnostics.nc." if shown.size < wavenumbers.size else ""
    return Table(
        "Spectra along the ring",
        ("waves around the ring", *columns),
        tuple(rows),
        "Variance of the truth at each wavenumber, and the coarse run's over it, 1 for a perfect closure. "
        + where_errors(rows, "After ± stands the standard error, in brackets a 95 % interval, both by batch means. ")
        + "The largest error counts "
        f"wavenumbers with a tenth or more of the mean variance; its interval holds all ratios at once.{left_out}"
        f"{_unless_known(diagnostics, [f'spectrum_ratio_{name}_low' for name in FIELDS], 'Intervals')}",
    )


def _variance(diagnostics: xr.Dataset, name: str, wavenumber: int) -> tuple[str, str]:
    """Show the truth's variance at a wavenumber, and the ratio; not of round-off, as of a mean that is conserved."""
    at, spectrum = diagnostics.sel(wavenumber=wavenumber), f"spectrum_{name}"
    truth = diagnostics[spectrum].sel(source="truth")
    if float(truth.sel(wavenumber=wavenumber)) <= _ROUND_OFF * float(truth.max()):
        return "0", NONE
    return compared(at, spectrum)[1], with_interval(scalars(at, f"spectrum_ratio_{name}"), 3)


def _largest(diagnostics: xr.Dataset, name: str) -> str:
    """Show the largest relative error, with where it is and its interval."""
    error, low, high = (100 * value for value in scalars(diagnostics, f"spectrum_error_{name}"))
    if math.isnan(error):
        return NONE
    carries = ring.carrying(diagnostics[f"spectrum_{name}"].sel(source="truth").to_numpy())
    departure = np.where(carries, np.abs(diagnostics[f"spectrum_ratio_{name}"] - 1), 0.0)
    return f"{error:.1f} %{bracketed(low, high, '{:.1f}'.format)} at {int(np.argmax(departure))}"


def _neighbour_table(diagnostics: xr.Dataset) -> list[Table]:
    """Compare the correlations between neighbours; none on a ring of one site."""
    known = [score for score in NEIGHBOURS.values() if not diagnostics[score.name].isnull().all()]
    if not known:
        return []
    rows = tuple(Row(score.meaning, compared(diagnostics, score.name)) for score in known)
    return [
        Table(
            "Correlation of neighbours",
            ("quantity", "coarse run", "truth", "difference", "in errors"),
            rows,
            f"Correlation at distance 1 at one time. {_errors_note(rows, 'by batches of time')}".rstrip()
            + f"{_unless_known(diagnostics, [f'{score.name}_se' for score in known])}",
        )
    ]


def _memory_table(diagnostics: xr.Dataset) -> Table:
    """Compare the autocorrelation of the residual at a few lags."""
    step, unit = float(diagnostics.attrs["common_time_step"]), unit_of(diagnostics["lag"])
    rows = tuple(
        Row(
            f"lag {duration(records * step, unit)}, {records} record{'s' if records > 1 else ''}",
            compared(diagnostics.isel(lag=records), MEMORY.name),
        )
        for records in _RECORDS
        if records < diagnostics.sizes["lag"]
    )
    note = (
        "Autocorrelation of ψ less its mean given z, a polynomial of degree eight fitted to the truth. Records "
        f"are {_said(diagnostics, 'common_time_step')} apart. {_errors_note(rows, 'by batches of time')}".rstrip()
        + f"{_unless_known(diagnostics, [f'{MEMORY.name}_se'])}"
    )
    return Table("Memory of the residual of ψ", ("lag", "coarse run", "truth", "difference", "in errors"), rows, note)


def _extremes_table(diagnostics: xr.Dataset) -> Table:
    """Compare the return periods of the levels."""
    factor, unit = scaled(diagnostics["return_period_z"])
    levels = diagnostics["threshold"].to_numpy()
    apart = np.diff(levels)
    digits = max(1, -math.floor(math.log10(float(apart[apart > 0].min(initial=1.0)))))  # that tell them apart
    rows = tuple(
        Row(
            f"z above {level:.{digits}f}{in_units(diagnostics['threshold'])}",
            tuple(
                _period(diagnostics.isel(threshold=number).sel(source=source), factor) for source in ("coarse", "truth")
            ),
        )
        for number, level in enumerate(levels)
    )
    note = (
        f"Mean time, in {unit}, from one up-crossing of the level to the next at one site, with a 95 % "
        f"interval. The levels are quantiles of the truth.{_pooled_note(diagnostics)}"
        f"{_unless_known(diagnostics, ['return_period_z_low'], 'Intervals')}"
    )
    return Table("Return periods", ("level", "coarse run", "truth"), rows, note)


def _period(at: xr.Dataset, factor: float) -> str:
    """Show a return period with its interval."""
    value, low, high = (factor * each for each in scalars(at, "return_period_z"))
    return ("never" if math.isinf(value) else _time(value)) + bracketed(low, high, _time)


def _time(value: float) -> str:
    """Show a time to three digits without an exponent."""
    return "∞" if math.isinf(value) else plain(float(f"{value:.3g}"), "#.3g").rstrip(".")


def _said(diagnostics: xr.Dataset, attribute: str, lag: str = "lag", form: str = "g") -> str:
    """Say how long a time is that the attributes have, in the unit of a lag."""
    return duration(float(diagnostics.attrs[attribute]), unit_of(diagnostics[lag]), form, model="time units")


def _ratio(score: float, floor: float) -> str:
    return f"{score / floor:.2f}" if floor > 0 else NONE


def _floor_note(diagnostics: xr.Dataset) -> str:
    """Say what the floors are made of."""
    a = diagnostics.attrs
    pairs = int(a["floor_pairs"])
    spread = "one pair only: the floor itself is uncertain" if pairs == 1 else f"{pairs} pairs"
    of = "" if pairs == 1 else ", ± its standard deviation"
    return (
        f"Floor: the same distance between two stretches of truth ({a['floor_stretches']} stretches of "
        f"{_said(diagnostics, 'floor_stretch_duration')}, {spread}){of}; a perfect closure has ratio "
        f"1. Here {a['floor_method']}.{_pooled_note(diagnostics)} {_interval_note(diagnostics)}"
    )


def _interval_note(diagnostics: xr.Dataset) -> str:
    """Say what the intervals mean."""
    blocks = int(diagnostics.attrs["interval_blocks"])
    if not blocks:
        why = str(diagnostics.attrs["interval_method"]).removeprefix("none: ")
        return (
            f"Intervals are not given, for they would not cover: the runs are too short against their memory ({why})."
        )
    return (
        f"Interval: for what runs as long as these score on average, by resampling {blocks} blocks of "
        f"{_said(diagnostics, 'interval_block_duration', form='.3g')} in each; where it reaches down to the "
        "floor, or to its standard deviation above it, the closure may be perfect by this distance."
    )
