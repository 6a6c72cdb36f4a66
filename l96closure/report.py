"""The report of a run: one self-contained HTML page, and the same scores as text for the terminal."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import quote

import xarray as xr
from jinja2 import Environment, StrictUndefined

from l96closure.figures import Picture
from l96closure.store import atomic_path, package_version

__all__ = ["headline", "score_table", "write_report"]

_SCORES = {
    "hellinger_z": ("Hellinger distance, z", "overlap of the two histograms: 0 the same, 1 no overlap"),
    "hellinger_psi": ("Hellinger distance, ψ", "the same for the subgrid tendency"),
    "wasserstein_z": ("Wasserstein-1 distance, z", "how far, on average, values of z would have to move"),
    "ks_z": ("Kolmogorov-Smirnov distance, z", "largest gap between the two distribution functions"),
}
_MOMENTS = {
    "mean": "mean of z",
    "std": "standard deviation of z",
    "psi_mean": "mean of ψ",
    "psi_std": "standard deviation of ψ",
}


class _Score(NamedTuple):
    name: str
    label: str
    meaning: str
    score: str
    floor: str
    ratio: str


class _Moment(NamedTuple):
    label: str
    truth: str
    coarse: str
    difference: str


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    settings_yaml: str,
    diagnostics: xr.Dataset,
    figures: Sequence[Picture],
    downloads: Mapping[str, str],
    provenance: Mapping[str, str],
    notes: Iterable[str] = (),
) -> None:
    """Write one HTML page that needs no other file: scores with their floors, figures, settings, origin.

    Parameters
    ----------
    path : the page, in an existing folder.
    title : heading of the page.
    settings_yaml : the resolved configuration.
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    figures : what :func:`l96closure.figures.save_all` returned; the pictures are copied into the page.
    downloads : file names relative to the page, each with a description, e.g. ``{"truth.nc": "the truth"}``.
    provenance : versions, wall times and the like, by name.
    notes : what else the reader should know, a sentence each.

    Raises
    ------
    ValueError
        The folder of ``path`` does not exist.
    """
    template = files("l96closure").joinpath("report_template.html").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            title=title,
            headline=headline(diagnostics),
            scores=_scores(diagnostics),
            moments=_moments(diagnostics),
            floor_note=_floor_note(diagnostics),
            figures=[(f.name, _embedded(f.path), f.caption) for f in map(Picture._make, figures)],
            settings=settings_yaml,
            downloads=[(quote(name), name, text) for name, text in downloads.items()],
            provenance=provenance,
            notes=list(notes),
            version=package_version(),
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def headline(diagnostics: xr.Dataset) -> str:
    """Say in two sentences how good the coarse climate is, against what chance allows.

    A difference of standard deviations counts from two standard errors on; a Hellinger distance counts as
    chance up to one standard deviation (over pairs of stretches of truth) above its floor.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    """
    truth, coarse = (diagnostics.sel(source=source) for source in ("truth", "coarse"))
    percent = 100 * (float(coarse["std"]) / float(truth["std"]) - 1)
    error = math.hypot(float(truth["std_se"]), float(coarse["std_se"]))
    if abs(float(coarse["std"]) - float(truth["std"])) <= 2 * error:
        spread = "The coarse run varies as much as the truth, within sampling error"
    else:
        spread = f"The coarse run varies {abs(percent):.1f} % {'more' if percent > 0 else 'less'} than the truth"
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


def score_table(diagnostics: xr.Dataset) -> str:
    """Return the scores with their floors and the moments with their standard errors as plain text.

    Parameters
    ----------
    diagnostics : result of :func:`l96closure.diagnostics.diagnose`.
    """
    scores = [("distance", "coarse run", "floor", "ratio")]
    scores += [(s.name, s.score, s.floor, s.ratio) for s in _scores(diagnostics)]
    moments = [("moment", "coarse run", "truth", "difference")]
    moments += [(m.label, m.coarse, m.truth, m.difference) for m in _moments(diagnostics)]
    widths = [max(map(len, column)) for column in zip(*scores, *moments, strict=True)]

    def line(row: tuple[str, ...]) -> str:
        first, *rest = zip(row, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])

    return "\n".join([*map(line, scores), "", *map(line, moments), "", _floor_note(diagnostics)])


def _scores(diagnostics: xr.Dataset) -> list[_Score]:
    rows = []
    for name, (label, meaning) in _SCORES.items():
        score, floor, floor_std = _with_floor(diagnostics, name)
        shown = _error_bar(floor, floor_std)
        rows.append(_Score(name, label, meaning, f"{score:.4f}", shown, _ratio(score, floor)))
    return rows


def _with_floor(diagnostics: xr.Dataset, name: str) -> tuple[float, float, float]:
    """Return a score, its floor and the floor's spread."""
    score, floor, floor_std = (float(diagnostics[name + suffix]) for suffix in ("", "_floor", "_floor_std"))
    return score, floor, floor_std


def _error_bar(floor: float, floor_std: float) -> str:
    return f"{floor:.4f}" if math.isnan(floor_std) else f"{floor:.4f} ± {floor_std:.4f}"


def _ratio(score: float, floor: float) -> str:
    return f"{score / floor:.2f}" if floor > 0 else "–"


def _moments(diagnostics: xr.Dataset) -> list[_Moment]:
    rows = []
    for name, label in _MOMENTS.items():
        truth, coarse = (float(x) for x in diagnostics[name].sel(source=["truth", "coarse"]))
        truth_se, coarse_se = (float(x) for x in diagnostics[f"{name}_se"].sel(source=["truth", "coarse"]))
        difference = _with_error(coarse - truth, math.hypot(truth_se, coarse_se), signed=True)
        rows.append(_Moment(label, _with_error(truth, truth_se), _with_error(coarse, coarse_se), difference))
    return rows


def _with_error(value: float, error: float, *, signed: bool = False) -> str:
    """Show a value with its standard error, both to the error's second significant digit."""
    sign = "+" if signed else ""
    if not (math.isfinite(error) and error > 0):
        return f"{value:{sign}.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:{sign}.{digits}f} ± {error:.{digits}f}"


def _floor_note(diagnostics: xr.Dataset) -> str:
    """Say what the floors are made of."""
    a = diagnostics.attrs
    pairs = int(a["floor_pairs"])
    spread = "one pair only: the floor itself is uncertain" if pairs == 1 else f"{pairs} pairs"
    return (
        f"Floor: the same distance between two stretches of truth ({a['floor_stretches']} stretches of "
        f"{float(a['floor_stretch_duration']):g} time units, {spread}), ± its standard deviation; a perfect "
        f"closure has ratio 1. Here {a['floor_method']}."
    )


def _embedded(path: str | os.PathLike[str]) -> str:
    """Return a PNG file as a data URI."""
    with open(path, "rb") as file:
        return "data:image/png;base64," + base64.b64encode(file.read()).decode("ascii")
