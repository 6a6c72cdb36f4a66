"""What a page says of one of several variables: the same as of one alone, with the names of what z and ψ stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from l96closure.diagnostics.scorecard import FIELDS
from l96closure.plot.style import Drawing
from l96closure.report import Table


class Part(NamedTuple):
    """A part of a page.

    Attributes
    ----------
    headline : sentences.
    tables : the scores.
    figures : what draws each, with its caption, by the name of its file.
    findings : what is wrong, a sentence each.
    """

    headline: str
    tables: list[Table]
    figures: Mapping[str, Drawing]
    findings: list[str]

    def called(self, names: Mapping[str, str]) -> Part:
        """Return the same with the names of its variables; as it is where there is but one.

        Parameters
        ----------
        names : what ``z`` and ``psi`` stand for, from :func:`l96closure.diagnostics.several.each`.

        Returns
        -------
        Part
        """
        if not names:
            return self
        label, of = " and ".join(names.values()), said(names)
        file = re.sub(r"\W+", "_", label)
        return Part(
            f"{of} {self.headline}" if self.headline else "",
            [
                replace(table, heading=f"{table.heading}: {label}", note=f"{of} {table.note}", group=label)
                for table in self.tables
            ],
            {f"{name}_{file}": (drawn, f"{of} {caption}") for name, (drawn, caption) in self.figures.items()},
            [f"{label}: {finding}" for finding in self.findings],
        )


def said(names: Mapping[str, str]) -> str:
    """Say in a sentence what ``z`` and ``psi`` stand for."""
    return f"Here {' and '.join(f'{FIELDS[ours]} is {theirs}' for ours, theirs in names.items())}."
