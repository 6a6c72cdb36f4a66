"""Texts of a figure that lie upon each other, or run into each other."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from l96closure.plot import style

_APART = 3.0  # pixels between texts that stand side by side: nearer, they read as one


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap or nearly touch, of all that are shown."""
    with style.settings():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        drawn = axis._update_ticks()  # what is beyond the limits is not
        for tick in {*axis.majorTicks, *axis.minorTicks} - {*drawn} if axis.axes.axison else axis.majorTicks:
            hidden |= {tick.label1, tick.label2}
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    shown = [text for text in shown if text not in hidden]
    boxes = [
        (text.get_text(), text.get_window_extent(renderer), -1.0 if text.get_rotation() % 90 else _APART)
        for text in shown
    ]  # the box of a slanted text is larger than the text
    return [
        (a, b)
        for number, (a, box, apart) in enumerate(boxes)
        for b, other, too in boxes[:number]
        if min(box.x1, other.x1) - max(box.x0, other.x0) > -min(apart, too)
        and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
    ]


def overlapping_in(drawings: Mapping[str, style.Drawing]) -> dict[str, list[tuple[str, str]]]:
    """Return what lies upon another in figures that are drawn for this, by their names; nothing where all is well."""
    found = {name: overlapping(style.figure_of(draw())) for name, (draw, _) in drawings.items()}
    return {name: texts for name, texts in found.items() if texts}
