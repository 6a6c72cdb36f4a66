"""How the report of the bistable experiment puts generated trajectories beside those of the training set."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.experiments.sampling.report import judged
from l96closure.report import Row, Table, where_errors, with_error

_SCORES = {
    "sign_changes": ("sign changes", "fraction of consecutive times whose signs differ"),
    "spread": ("standard deviation of |Z|", "width of each of the two modes"),
}
_SAID = {
    "sign_changes": "Trajectories of the training set change sign in {} of the intervals.",
    "spread": "The standard deviation of |Z| in the training set, the width of its modes, is {}.",
}


def headline(diagnostics: xr.Dataset) -> str:
    """Say how the statistics of the generated trajectories compare with those of the training set."""
    return " ".join(sentence for name in _SCORES for sentence in _compared(diagnostics, name))


def _compared(diagnostics: xr.Dataset, name: str) -> Iterator[str]:
    scores = diagnostics[[name, f"{name}_se"]]
    given, given_error = (float(x) for x in scores.sel(source="training").values())
    yield _SAID[name].format(with_error(given, given_error))
    sides = intervals.sides(scores[f"{name}_se"])
    for scheme in diagnostics["scheme"].values:
        value, error = (float(x) for x in scores.sel(source=scheme).values())
        yield f"The {scheme} scheme gives {judged(value, error, given, given_error, sides)}."


def table(diagnostics: xr.Dataset) -> Table:
    """Return the statistics of the trajectories."""
    sources = [str(source) for source in diagnostics["source"].values]
    rows = []
    for name, (label, meaning) in _SCORES.items():
        cells = [with_error(float(diagnostics[name].sel(source=s)), float(diagnostics[f"{name}_se"].sel(source=s)))
                 for s in sources]  # fmt: skip
        rows.append(Row(label, tuple(cells), meaning))
    note = where_errors(
        rows,
        "After ± stands the standard error, over the trajectories of the training set or the chains of a scheme. ",
    )
    if any(diagnostics[f"{name}_se"].isnull().any() for name in _SCORES):
        note += f"Standard errors of fewer than {intervals.MIN_REPLICATES} are not given."
    return Table("Trajectories", ("statistic", *sources), tuple(rows), note.rstrip())
