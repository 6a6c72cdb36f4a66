"""What all pictures share: colours, panels, and files that appear whole. Figures without pyplot and its state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l96closure.store import atomic_path

__all__ = [
    "COLOURS",
    "GENERATED",
    "GIVEN",
    "INK",
    "LABELS",
    "PSI_LABEL",
    "Z_LABEL",
    "Picture",
    "grid",
    "legend_above",
    "line_style",
    "literal",
    "row",
    "save",
    "save_all",
    "settings",
]

# A pair that stays apart for every common kind of colour blindness, and in grey.
GIVEN = "#1e88e5"
GENERATED = "#d81b60"
INK = "#37474f"

COLOURS = {"truth": GIVEN, "coarse": GENERATED}
LABELS = {"truth": "truth", "coarse": "coarse run"}
Z_LABEL = "resolved variable $z$ (dimensionless)"
PSI_LABEL = r"subgrid tendency $\psi$ (dimensionless)"
"""How truth and coarse run look in every picture of the two."""

# For curves that are all alike: what is left of the eight of Okabe & Ito (2008) without black, and the yellow that
# white swallows; the dashes tell apart what comes after the sixth.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))
_DPI = 200
_MOST_NAMES = 4  # in a line of the legend
_FREE_LINES = 2  # of the legend, which every figure has the height for
_LINE = 0.21  # inches that any further one takes
_LETTERS = 11  # of the legend in an inch
_HANDLE = 6  # letters that the handle of a name takes


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
    with matplotlib.style.context("default"):
        yield


def literal(text: str) -> str:
    """Return what makes matplotlib show a text from elsewhere, the name of a folder say, as it is.

    A dollar sign would begin a formula, and a label with an underscore before it is left out of legends.
    """
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def row(panels: int, *, width: float = 8.4, height: float = 3.6, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with panels side by side, in the style all pictures share."""
    figure, (panels_in_row,) = grid(1, panels, width=width, height=height, sharey=sharey)
    return figure, panels_in_row


def grid(
    rows: int, columns: int, *, width: float, height: float, sharey: bool | Literal["row"] = False
) -> tuple[Figure, list[list[Axes]]]:
    """Return an empty figure with rows of panels, in the style all pictures share."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    panels = [list(row) for row in figure.subplots(rows, columns, squeeze=False, sharey=sharey)]
    for axes in (axes for row in panels for axes in row):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(color=INK, labelcolor=INK, labelsize=9)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.title.set_color(INK)
    return figure, panels


def legend_above(figure: Figure, *panels: Axes) -> None:
    """Put one legend for all panels above them, where no curve can run into it; ``panels`` hold what it names."""
    named = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    room = int(figure.get_figwidth() * _LETTERS / (_HANDLE + max(map(len, named))))
    columns = max(1, min(_MOST_NAMES, len(named), room))
    lines = -(-len(named) // columns)
    figure.set_figheight(figure.get_figheight() + _LINE * max(0, lines - _FREE_LINES))  # at no cost to the panels
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns, frameon=False)


def line_style(number: int) -> dict[str, Any]:
    """Return colour and dashes of the curve with this number, counted from 0; the first eighteen differ."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number // len(_COLOURS) % len(_DASHES)],
    }


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG; the file appears under its name only when it is complete.

    Raises
    ------
    ValueError
        The folder of ``path`` does not exist.
    """
    with atomic_path(path) as temporary, settings():
        figure.savefig(temporary, format="png", dpi=_DPI)
    return Path(path)


def save_all(folder: str | os.PathLike[str], figures: Mapping[str, tuple[Figure, str]]) -> list[Picture]:
    """Save figures as ``<folder>/<name>.png``.

    Parameters
    ----------
    folder : where the files go; made when missing.
    figures : each figure with its caption, by name.

    Returns
    -------
    Name, path and caption of each picture, in the same order.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    return [
        Picture(name, save(figure, Path(folder, f"{name}.png")), caption) for name, (figure, caption) in figures.items()
    ]
