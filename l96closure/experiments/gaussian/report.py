"""How the report of the Gaussian experiment puts generated samples beside the exact distribution."""

from __future__ import annotations

import xarray as xr

from l96closure.diagnostics import intervals
from l96closure.experiments.sampling.report import judged
from l96closure.report import Row, Table, where_errors, with_error

_OFFSETS = 4  # distances shown, from 0


def headline(diagnostics: xr.Dataset) -> str:
    """Say how the variance of the generated samples compares with the exact one."""
    variance = diagnostics[["covariance", "covariance_se"]].sel(offset=0)
    exact = float(variance["covariance"].sel(source="exact"))
    sentences = [f"The exact variance of a component is {exact:.4g}."]
    sides = intervals.sides(diagnostics["covariance_se"])
    for scheme in diagnostics["scheme"].values:
        value, error = (float(x) for x in variance.sel(source=scheme).values())
        sentence = f"The {scheme} scheme gives {judged(value, error, exact, 0.0, sides)}"
        if scheme == "split" and "predicted_covariance" in diagnostics:
            predicted = float(diagnostics["predicted_covariance"].sel(offset=0))
            sentence += f"; with infinitely many training samples it would give {predicted:#.4g}"
        sentences.append(sentence + ".")
    return " ".join(sentences)


def table(diagnostics: xr.Dataset) -> Table:
    """Return the covariances by distance along the ring."""
    sources = [str(source) for source in diagnostics["source"].values]
    predicted = diagnostics.get("predicted_covariance")
    most = min(_OFFSETS, int(diagnostics["offset"].max()) + 1)
    rows = []
    for offset in range(most):
        here = diagnostics.sel(offset=offset)
        cells = [with_error(float(here["covariance"].sel(source=s)), float(here["covariance_se"].sel(source=s)))
                 for s in sources]  # fmt: skip
        if predicted is not None:
            cells.append(f"{float(predicted.sel(offset=offset)):#.4g}")
        rows.append(Row("variance" if offset == 0 else f"covariance at distance {offset}", tuple(cells)))
    variance = diagnostics.sel(offset=0)
    exact = float(variance["covariance"].sel(source="exact"))
    factors = [with_error(float(variance["covariance"].sel(source=s)) / exact,
                          float(variance["covariance_se"].sel(source=s)) / exact) for s in sources]  # fmt: skip
    if predicted is not None:
        factors.append(f"{float(predicted.sel(offset=0)) / exact:.4g}")
    rows.append(Row("variance over exact variance", tuple(factors)))
    columns = ("covariance", *sources, *(["split, M → ∞"] if predicted is not None else []))
    note = "Averages over the sites and the training sets. " + where_errors(
        rows, "After ± stands the standard error over training sets, or over chains if there is but one. "
    )
    if diagnostics["covariance_se"].sel(source=[source for source in sources if source != "exact"]).isnull().any():
        note += f"Standard errors of fewer than {intervals.MIN_REPLICATES} are not given. "
    if predicted is not None:
        note += "M → ∞: what the split scheme would give after infinitely many training samples, in closed form."
    return Table("Covariance along the ring", columns, tuple(rows), note.rstrip())
