"""The report of a run: one self-contained HTML page, and the same scores as text for the terminal."""

from __future__ import annotations

import base64
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from l96closure.atomic import atomic_path
from l96closure.diagnostics.intervals import known
from l96closure.plot.style import Picture
from l96closure.provenance import package_version

__all__ = [
    "NONE",
    "WIDTH",
    "Origin",
    "Row",
    "Table",
    "as_text",
    "bracketed",
    "finest",
    "interval",
    "listed",
    "number",
    "paragraph",
    "where_errors",
    "with_error",
    "with_interval",
    "write_page",
]

NONE = "–"
"""Stands for a number that is not there."""

WIDTH = 120
"""Letters in a line of the terminal."""

_DIGITS = 3  # of a small number, at least
_DECIMALS = 6  # of a value and its error
_SMALLEST = 1e-3  # number that is shown without a power of ten
_MEGABYTE_FROM = 100_000  # bytes
_MOST_OF_A_NUMBER = 40  # letters, with its error or interval


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    label : what stands before the numbers on the page.
    cells : the numbers, as text.
    meaning : a few words below the label on the page.
    short : the label on the terminal; empty means ``label``.
    """

    label: str
    cells: tuple[str, ...]
    meaning: str = ""
    short: str = ""


@dataclass(frozen=True)
class Table:
    """Scores under a heading.

    Attributes
    ----------
    heading : of the section of the page.
    columns : head of the column of labels, then of each column of numbers.
    rows : the lines.
    note : what the numbers mean, below the table.
    group : what the contents of the page name once for all tables of it, in place of their headings.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str
    group: str = ""

    @property
    def wordy(self) -> bool:
        """Whether there are words in it that want lines, not numbers alone that stay on one."""
        cells = [cell for row in self.rows for cell in row.cells]
        sentences = any(", " in cell or len(cell) > _MOST_OF_A_NUMBER for cell in cells)
        return sentences or (any(map(str.isalpha, "".join(cells))) and not any(map(str.isdigit, "".join(cells))))


class Origin(NamedTuple):
    """Where a page comes from: the resolved configuration, if any, and versions, wall times and the like by name."""

    settings: str
    provenance: Mapping[str, str]


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    headline: str,
    tables: Iterable[Table],
    figures: Iterable[Picture],
    downloads: Mapping[str, str],
    origin: Origin,
    warnings: Iterable[str] = (),
    findings: tuple[str, Sequence[str], str] | None = None,
    notes: Iterable[str] = (),
) -> None:
    """Write one HTML page that needs no other file: scores, figures, settings, origin.

    Parameters
    ----------
    path : the page, in an existing folder.
    title : heading of the page.
    headline : the result in a sentence or two.
    tables : the scores.
    figures : pictures, which are copied into the page.
    downloads : file names relative to the page, each with a description, e.g. ``{"truth.nc": "the truth"}``.
    origin : settings, versions, wall times and the like.
    warnings : why the scores may not mean what they say, a sentence each; shown before them.
    findings : heading of a list of what the scores come to, its sentences, and by what they were found; shown before
        the scores.
    notes : what else the reader should know, a sentence each.

    Raises
    ------
    ValueError
        The folder of ``path`` does not exist.
    """
    template, style, script = (
        files("l96closure.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("template.html", "page.css", "page.js")
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"anchor": _anchor, "typeset": _typeset}
    tables, notes = list(tables), list(notes)
    contents = {findings[0]: findings[0]} if findings else {}
    for table in tables:
        contents.setdefault(table.group or table.heading, table.heading)
    further = [*(["Notes"] if notes else []), "Figures", "Files", *(["Settings"] if origin.settings else []), "Origin"]
    contents |= {heading: heading for heading in further}
    page = environment.from_string(template).render(
        style=Markup(style),
        script=Markup(script),
        contents=contents,
        title=title,
        headline=headline,
        warnings=list(warnings),
        findings=findings,
        tables=tables,
        notes=notes,
        figures=[(f.name, _embedded(f.path), f.caption) for f in figures],
        settings=origin.settings,
        downloads=[(quote(name), name, text, _size(Path(path).parent / name)) for name, text in downloads.items()],
        provenance=origin.provenance,
        version=package_version(),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _anchor(heading: str) -> str:
    """Return what a link to a section is called."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def _typeset(text: str) -> str:
    """Return a text with the minus sign of numbers below zero, where no line ends beside a sign or inside a unit."""
    minus = re.sub(r"(?<!\w)-(?=\d)|(?<=\de)-(?=\d)", "−", text)
    return re.sub(
        r" (?=[%±→=])|(?<=[±/†*→=]) |(?<=\d) (?=(?:s|min|h|d|days)\b)|(?<=\w) (?=[^\W\d_]+[⁻²³])", "\u00a0", minus
    )


def _size(path: Path) -> str:
    """Show the size of a file, nothing where there is none."""
    size = path.stat().st_size if path.is_file() else 0
    amount = f"{size / 1e6:.1f} MB" if size >= _MEGABYTE_FROM else f"{size / 1e3:.1f} kB"
    return amount.replace(" ", "\N{NO-BREAK SPACE}") if size else ""


def as_text(tables: Sequence[Table]) -> str:
    """Return tables, which have equally many columns, as plain text with columns that line up.

    Columns that find no room in :data:`WIDTH` letters follow below, beside the labels again.
    """
    blocks = [[table.columns, *((row.short or row.label, *row.cells) for row in table.rows)] for table in tables]
    widths = [max(map(len, column)) for column in zip(*(line for block in blocks for line in block), strict=True)]
    groups: list[list[int]] = [[]]
    for number, width in enumerate(widths[1:], start=1):
        if groups[-1] and widths[0] + sum(2 + widths[other] for other in groups[-1]) + 2 + width > WIDTH:
            groups.append([])
        groups[-1].append(number)

    def text(line: tuple[str, ...], group: list[int]) -> str:
        return "  ".join([line[0].ljust(widths[0]), *(line[number].rjust(widths[number]) for number in group)])

    return "\n\n".join("\n".join(text(line, group) for line in block) for block in blocks for group in groups)


def paragraph(text: str) -> str:
    """Return a text in lines of at most :data:`WIDTH` letters, none of which begins with a unit of per cent."""
    return textwrap.fill(text.replace(" %", "\N{NO-BREAK SPACE}%"), WIDTH).replace("\N{NO-BREAK SPACE}", " ")


def listed(words: Sequence[str]) -> str:
    """Return words as a sentence has them: with commas, and "and" before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def with_error(value: float, error: float, *, signed: bool = False, beside: float = math.nan) -> str:
    """Show a value with its standard error, both to the error's second significant digit.

    Parameters
    ----------
    value, error : NaN, or 0, is an error that is not shown.
    signed : whether what is above zero has a sign, too.
    beside : what :func:`finest` says of numbers that are to have the same form: a value without an error has decimals
        by it, and where it is too small for decimals all have powers of ten.
    """
    if math.isnan(value):
        return NONE
    known, sign = math.isfinite(error) and error > 0, "+" if signed else ""
    if value == 0 and not known:
        return "0"
    own = error if known else beside
    if not own > 0:
        return f"{value:{sign}#.4g}".rstrip(".")
    if _decimals(min(own, beside) if beside > 0 else own) > _DECIMALS:
        digits = _decimals(own) + math.floor(math.log10(abs(value))) if value else 0
        shown, form = f"{value:{sign}.{min(max(digits, 1), 9)}e}" if value else "0", ".1e"
    else:
        shown, form = f"{value:{sign}z.{_decimals(own)}f}", f".{_decimals(own)}f"
    return f"{shown} ± {error:{form}}" if known else shown


def finest(values: Iterable[float], errors: Iterable[float] = ()) -> float:
    """Return the smallest known error of numbers that stand side by side, or one that leaves the largest four digits.

    Parameters
    ----------
    values : the numbers.
    errors : their standard errors, NaN where there are none.

    Returns
    -------
    The error; NaN where all numbers are zero or NaN.
    """
    if known := [error for error in errors if error > 0]:
        return min(known)
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 10.0 ** (math.floor(math.log10(largest)) - 2) if largest else math.nan


def _decimals(error: float) -> int:
    """Return the decimals that show an error to its second significant digit."""
    return max(0, 1 - math.floor(math.log10(error)))


def with_interval(bounded: Sequence[float], digits: int, *, beside: float = 0.0) -> str:
    """Show a value, and in brackets the bounds of its interval if it has any; all in one form, as :func:`number`."""
    value, low, high = bounded
    if math.isnan(value):
        return NONE
    largest = max(abs(each) for each in (beside, *bounded) if math.isfinite(each))
    show = partial(number, digits=digits, beside=largest)
    return show(value) + bracketed(low, high, show)


def number(value: float, digits: int, *, signed: bool = False, beside: float = 0.0) -> str:
    """Show a value to so many decimals, a small one to as many significant digits, or three.

    Scores have the units of their variables, and specific humidities are some thousandths.

    Parameters
    ----------
    value : the number.
    digits : decimals.
    signed : whether what is above zero has a sign, too.
    beside : the largest number beside it, which tells whether they are small.
    """
    largest, sign = max(abs(value), abs(beside)), "+" if signed else ""
    if not 0.0 < largest < 10.0 ** min(1 - digits, -1):
        return f"{value:{sign}z.{digits}f}"
    more = max(_DIGITS, digits) - 1
    return (
        f"{value:{sign}.{more}e}"
        if largest < _SMALLEST
        else f"{value:{sign}z.{more - math.floor(math.log10(largest))}f}"
    )


def interval(low: float, high: float, show: Callable[[float], str]) -> str:
    """Show an interval, each bound by ``show``."""
    return f"{show(low)} to {show(high)}" if known(low) else NONE


def bracketed(low: float, high: float, show: Callable[[float], str]) -> str:
    """Show an interval in brackets behind its number; nothing where it is not known."""
    return f" ({interval(low, high, show)})" if known(low) else ""


def where_errors(rows: Iterable[Row], said: str, otherwise: str = "") -> str:
    """Return what is said of the standard errors in a table.

    Parameters
    ----------
    rows : of the table.
    said : where one of them has a standard error.
    otherwise : where none has.
    """
    return said if any("±" in cell for row in rows for cell in row.cells) else otherwise


def _embedded(path: str | os.PathLike[str]) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode("ascii")
