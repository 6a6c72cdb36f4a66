"""The workflow that all experiments on a known distribution share: training set, chains, statistics, page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import xarray as xr

from l96closure import report
from l96closure.experiments.run_folder import File, RunFolder
from l96closure.experiments.sampling.report import chain_table, warnings
from l96closure.experiments.workflow import Seeded, Stage, Workflow
from l96closure.plot.style import Drawing
from l96closure.restart import Restart

_S = TypeVar("_S", bound=Seeded)


@dataclass(frozen=True)
class Page:
    """What the page of an experiment says and shows of its diagnostics.

    Attributes
    ----------
    title : follows the name of the experiment.
    scored : the quantity whose convergence is recorded.
    headline : the result in a few sentences.
    table : the statistics of training set and schemes.
    pictures : figures with their captions, by name.
    """

    title: str
    scored: str
    headline: Callable[[xr.Dataset], str]
    table: Callable[[xr.Dataset], report.Table]
    pictures: Callable[[xr.Dataset], Mapping[str, Drawing]]

    def text(self, diagnostics: xr.Dataset) -> str:
        """Return tables, their notes and warnings as plain text."""
        tables = (self.table(diagnostics), chain_table(diagnostics))
        warned = (f"warning: {sentence}" for sentence in warnings(diagnostics, self.scored))
        return "\n\n".join(
            [*(f"{report.as_text([table])}\n\n{report.paragraph(table.note)}" for table in tables), *warned]
        )

    def write(self, folder: RunFolder) -> None:
        """Draw the figures of a run and write its page."""
        data = folder.read("diagnostics")
        folder.write_page(
            title=self.title,
            headline=self.headline(data),
            warnings=warnings(data, self.scored),
            tables=(self.table(data), chain_table(data)),
            figures=self.pictures(data),
        )


def sampling_workflow(
    name: str,
    settings: Callable[[Mapping[str, Any]], _S],
    simulate: Callable[[_S], xr.Dataset],
    sample: Callable[[_S, xr.Dataset, Restart], xr.Dataset],
    diagnose: Callable[[_S, xr.Dataset, xr.Dataset], xr.Dataset],
    page: Page,
    titles: tuple[str, str, str],
) -> Workflow[_S]:
    """Put the stages of an experiment on a known distribution together: simulate, sample, diagnose, report.

    Parameters
    ----------
    name : what the kinds of its files begin with.
    settings : reads and checks a configuration.
    simulate : settings -> training set.
    sample : settings, training set, restart files -> generated samples.
    diagnose : settings, training set, generated samples -> diagnostics.
    page : what is said and shown of the diagnostics.
    titles : of the files of the training set, the generated samples and the diagnostics.
    """

    def run_simulate(given: _S, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
        return {"training": simulate(given)}

    def run_sample(given: _S, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
        return {"generated": sample(given, folder.read("training"), restart)}

    def run_diagnose(given: _S, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
        return {"diagnostics": diagnose(given, folder.read("training"), folder.read("generated"))}

    training, generated, diagnostics = titles
    return Workflow(
        settings=settings,
        stages={
            "simulate": Stage((), run_simulate),
            "sample": Stage(("training",), run_sample),
            "diagnose": Stage(("training", "generated"), run_diagnose),
        },
        files={
            "training": File(f"{name} training", "simulate", ("target",), training),
            "generated": File(f"{name} generated", "sample", ("bridge", "sampling"), generated),
            "diagnostics": File(f"{name} diagnostics", "diagnose", ("target", "bridge"), diagnostics),
        },
        table=page.text,
        write_report=page.write,
    )
