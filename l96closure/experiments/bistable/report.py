"""How the report of the bistable experiment puts generated trajectories beside those of the training set."""

from __future__ import annotations

import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.experiments.sampling.report import judged
from l96closure.report import Row, Table, with_error

__all__ = ["headline", "table"]

_SCORES = {
    "sign_changes": ("sign changes", "fraction of consecutive times whose signs differ"),
    "spread": ("standard deviation of |Z|", "width of each of the two modes"),
}


def headline(diagnostics: xr.Dataset) -> str:
    """Say how the sign changes of the generated trajectories compare with those of the training set."""
    rates = diagnostics[["sign_changes", "sign_changes_se"]]
    given, given_error = (float(x) for x in rates.sel(source="training").values())
    sentences = [f"Trajectories of the training set change sign in {with_error(given, given_error)} of the intervals."]
    sides = intervals.sides(rates["sign_changes_se"])
    for scheme in diagnostics["scheme"].values:
        value, error = (float(x) for x in rates.sel(source=scheme).values())
        sentences.append(f"The {scheme} scheme gives {judged(value, error, given, given_error, sides)}.")
    return " ".join(sentences)


def table(diagnostics: xr.Dataset) -> Table:
    """Return the statistics of the trajectories."""
    sources = [str(source) for source in diagnostics["source"].values]
    rows = []
    for name, (label, meaning) in _SCORES.items():
        cells = [with_error(float(diagnostics[name].sel(source=s)), float(diagnostics[f"{name}_se"].sel(source=s)))
                 for s in sources]  # fmt: skip
        rows.append(Row(label, tuple(cells), meaning))
    note = (
        "After ± stands the standard error, over the trajectories of the training set and over the chains of a scheme; "
        f"none is given for fewer than {intervals.MIN_REPLICATES}."
    )
    return Table("Trajectories", ("statistic", *sources), tuple(rows), note)
