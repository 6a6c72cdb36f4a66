"""What all pictures share: colours, panels, and files that appear whole. Figures without pyplot and its state."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib.style
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from l96closure import checks
from l96closure.arrays import F64
from l96closure.atomic import atomic_path
from l96closure.attributes import printed
from l96closure.beside import Beside
from l96closure.durations import scaled

Panels = npt.NDArray[np.object_]
"""Axes, in an array."""

# A pair that stays apart for every common kind of colour blindness, and in grey: 2.3 times as light.
GIVEN = "#1e88e5"
GENERATED = "#9c0f48"
INK = "#37474f"

COLOURS = {"truth": GIVEN, "coarse": GENERATED}
LABELS = {"truth": "truth", "coarse": "coarse run"}
"""How truth and coarse run look in every picture of the two."""

_WORDS = {"z": "resolved variable $z$", "psi": r"subgrid tendency $\psi$"}

# For curves that are all alike: what is left of the eight of Okabe & Ito (2008) without black, and the yellow that
# white swallows; the dashes tell apart what comes after the sixth.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))
FORMATS = ("png", "svg", "pdf")
"""Of files of figures."""

_NUMBERS = {"axes.formatter.limits": (-3, 5)}  # small numbers have their power of ten at the end of the axis
_DPI = 200
_MAX_NAMES = 5  # in a line of the legend
_FREE_LINES = 2  # of the legend, which every figure has the height for
_SEEN = 0.6  # opacity of a line in a legend, at least
_LINE = 0.21  # inches that any further one takes
_LETTERS = 11  # of the legend in an inch
_LABEL = 38  # of a label, beside which a power of ten has room
_MAX_SITES = 6  # that an axis names, or few more
_HANDLE = 6  # letters that the handle of a name takes
_APART = 0.05  # of the width, between panels with one scale, whose first and last numbers would touch
_FEW_DECADES = 60.0  # largest value over the smallest, up to which 1, 2, 5, ... are labelled


Draw = Callable[[], Figure | Axes | Panels]
Drawing = tuple[Draw, str]
"""What draws a figure, and its caption."""


class Picture(NamedTuple):
    """A saved figure: its name, its file and a caption."""

    name: str
    path: Path
    caption: str


@contextmanager
def settings() -> Iterator[None]:
    """Draw with matplotlib's own defaults, whatever the user has chosen for other work; a context and a decorator.

    Every function that makes a figure is decorated: a text, say, is set in LaTeX or not from its making on.
    """
    with matplotlib.style.context(["default", _NUMBERS]):
        yield


def in_brackets(variable: xr.DataArray) -> str:
    """Return the units of a variable, to stand behind its name."""
    units = str(variable.attrs.get("units", "1"))
    return "(dimensionless)" if units == "1" else f"({literal(printed(units))})"


def label(name: str, variable: xr.DataArray) -> str:
    """Return what stands at an axis of ``z`` or ``psi``; ``variable`` has the units, and tells of anomalies."""
    anomaly = ", anomaly" if "anomalies" in str(variable.attrs.get("comment")) else ""
    words, units = f"{_WORDS[name]}{anomaly}", in_brackets(variable)
    between = " " if len(words) + len(units) < _LABEL else "\n"
    return f"{words}{between}{units}"


def times(variable: xr.DataArray) -> tuple[F64, str]:
    """Return lags or leads as an axis shows them, and the name of their unit there."""
    factor, unit = scaled(variable)
    return factor * variable.to_numpy(), unit


def coordinate(sites: xr.DataArray) -> str:
    """Return what stands at an axis of a coordinate of the grid: its name and its units, if it has any."""
    units = in_brackets(sites) if sites.attrs.get("units", "1") != "1" else ""
    return f"{literal(str(sites.name))} {units}".strip()


def site_axis(axis: Axis, number: int, sites: xr.DataArray | None) -> None:
    """Label an axis on which sites stand one after the other, at 0, 1, 2 and so on.

    Parameters
    ----------
    axis : an axis of a panel.
    number : of sites.
    sites : their coordinate; None numbers them.
    """
    at = range(0, number, max(1, number // _MAX_SITES))
    if sites is None:
        axis.set_ticks(at)
        axis.set_label_text("site $k$")
        return
    named = [sites.values[i] for i in at]
    axis.set_ticks(at, [literal(f"{one:.5g}" if sites.dtype.kind in "iuf" else str(one)) for one in named])
    axis.set_label_text(coordinate(sites))


def log_axis(axis: Axis, values: npt.ArrayLike) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, ... where its values span few decades, else at powers of ten."""
    low, high = np.min(values), np.max(values)
    if high < _FEW_DECADES * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def literal(text: str) -> str:
    """Return what makes matplotlib show a text from elsewhere, the name of a folder say, as it is.

    A dollar sign would begin a formula, and a label with an underscore before it is left out of legends.
    """
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


class _Sheet(Figure):
    """A figure made here, with room for a legend above its panels."""


def row(
    panels: int, *, ax: Axes | Panels | None = None, width: float = 8.4, height: float = 3.6, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels side by side, in the style all pictures share; arguments as for :func:`grid`."""
    figure, (panels_in_row,) = grid(1, panels, ax=ax, width=width, height=height, sharey=sharey)
    return figure, panels_in_row


def grid(
    rows: int,
    columns: int,
    *,
    ax: Axes | Panels | None = None,
    width: float,
    height: float,
    sharey: bool | Literal["row"] = False,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and its rows of panels, in the style all pictures share.

    Parameters
    ----------
    rows, columns : of panels.
    ax : the panels where they are there already, as many in any shape; None makes an empty figure with them.
    width, height : of the figure that is made, in inches.
    sharey : as matplotlib has it, in the figure that is made.

    Raises
    ------
    ValueError
        ``ax`` is not that many Axes.
    """
    if ax is None:
        layout = ConstrainedLayoutEngine(wspace=_APART if sharey else None)
        sheet = _Sheet(figsize=(width, height), layout=layout, facecolor="white")
        ax = np.asarray(sheet.subplots(rows, columns, squeeze=False, sharey=sharey))
    given = np.asarray(ax, dtype=object).ravel()
    if given.size != rows * columns or not all(isinstance(one, Axes) for one in given):
        checks.reject("ax", str(ax), f"matplotlib Axes, {rows * columns} of them")
    for axes in given:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(color=INK, labelcolor=INK, labelsize=9)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.title.set_color(INK)
    return given[0].figure, [list(line) for line in given.reshape(rows, columns)]


def figure_of(drawn: Figure | Axes | Panels) -> Figure:
    """Return the figure that holds what a function of :mod:`l96closure.plot` has drawn; a figure as it is."""
    return drawn if isinstance(drawn, Figure) else np.asarray(drawn, dtype=object).ravel()[0].figure


def legend_above(figure: Figure, *panels: Axes) -> None:
    """Put one legend for all panels above them, where no curve can run into it; ``panels`` hold what it names.

    In a figure that was not made here, where nothing is known of the room above, it goes into the first of them.
    """
    named = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if not isinstance(figure, _Sheet):
        panels[0].legend(named.values(), named.keys(), frameon=False)
        return
    lengths = [_HANDLE + len(name) for name in named]

    def letters(columns: int) -> int:
        filled = np.array_split(lengths, columns)  # as matplotlib does, each column as wide as its longest name
        return sum(int(column.max()) for column in filled)

    room = figure.get_figwidth() * _LETTERS
    columns = next((n for n in range(min(_MAX_NAMES, len(named)), 1, -1) if letters(n) <= room), 1)
    lines = -(-len(named) // columns)
    figure.set_figheight(figure.get_figheight() + _LINE * max(0, lines - _FREE_LINES))  # at no cost to the panels
    legend = figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns, frameon=False)
    for handle in legend.legend_handles:  # of many pale lines one alone would not be seen
        if isinstance(handle, Line2D) and (handle.get_alpha() or 1.0) < _SEEN:
            handle.set_alpha(_SEEN)


def curve(axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, **look: Any) -> None:
    """Draw a curve with the band of its intervals; ``look`` is for matplotlib's ``plot`` and has a ``color``."""
    axes.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(x, y, **{"linewidth": 1.6, **look})


def note(axes: Axes, text: str) -> None:
    """Say in the middle of a panel why nothing is drawn there."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=INK)


def line_style(number: int) -> dict[str, Any]:
    """Return colour and dashes of the curve with this number, counted from 0; the first eighteen differ."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number // len(_COLOURS) % len(_DASHES)],
    }


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure in the format of the suffix; the file appears under its name only when it is complete.

    The same figure makes the same bytes.

    Raises
    ------
    ValueError
        The folder of ``path`` does not exist.
    """
    _save_as(figure, [Path(path)])
    return Path(path)


def _save_as(figure: Figure, paths: Iterable[Path]) -> None:
    """Write a figure to several files, arranged once for all of them."""
    with settings(), matplotlib.rc_context({"svg.hashsalt": "l96closure"}), _laid_out(figure):
        for path in paths:
            kind = path.suffix.removeprefix(".")
            undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=_DPI, metadata=undated)


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Arrange a figure before it is saved; matplotlib would draw it a second time to do so."""
    engine, dpi = figure.get_layout_engine(), figure.dpi
    if engine is None:
        yield
        return
    figure.set_dpi(_DPI)
    engine.execute(figure)
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(dpi)


def save_all(folder: str | os.PathLike[str], figures: Mapping[str, Drawing], also: str = "png") -> list[Picture]:
    """Draw figures and save them as ``<folder>/<name>.png``, and in another format beside.

    Parameters
    ----------
    folder : where the files go; made when missing.
    figures : what draws each, with its caption, by name.
    also : the other format, of :data:`FORMATS`.

    Returns
    -------
    Name, path of the PNG file and caption of each picture, in the same order.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    kinds = dict.fromkeys((also, "png"))
    _save_each([(draw, [Path(folder, f"{name}.{kind}") for kind in kinds]) for name, (draw, _) in figures.items()])
    return [Picture(name, Path(folder, f"{name}.png"), caption) for name, (_, caption) in figures.items()]


def _save_each(figures: Sequence[tuple[Draw, Sequence[Path]]]) -> None:
    """Draw and save figures here from the first one on, and beside from the last one on, until both meet."""
    state = mmap.mmap(-1, len(figures) or 1)  # a byte for each, which a copy of the process sees too
    begun, saved = 1, 2

    def draw_and_save(number: int) -> None:
        draw, paths = figures[number]
        _save_as(figure_of(draw()), paths)
        state[number] = saved

    def save_those(numbers: Iterable[int]) -> None:
        for i in numbers:
            if state[i]:
                return
            state[i] = begun
            draw_and_save(i)

    with Beside(lambda: save_those(reversed(range(len(figures))))) as last:
        save_those(range(len(figures)))
        last.result()
    for i in range(len(figures)):
        if state[i] != saved:  # the copy was killed over it
            draw_and_save(i)
