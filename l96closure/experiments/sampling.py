"""The workflow that all experiments on a known distribution share: training set, chains, statistics, page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol, TypeVar

import xarray as xr

from l96closure import report
from l96closure.experiments.run_folder import File, RunFolder
from l96closure.experiments.workflow import Stage, Workflow
from l96closure.figures.style import Picture
from l96closure.restart import Restart

__all__ = ["sampling_workflow"]


class _Settings(Protocol):
    @property
    def seeds(self) -> dict[str, int]:
        """Seed of every use of chance."""


class _Words(Protocol):
    """What a page says of its diagnostics: the module of :mod:`l96closure.report` for the experiment."""

    def headline(self, diagnostics: xr.Dataset, /) -> str: ...

    def warnings(self, diagnostics: xr.Dataset, /) -> list[str]: ...

    def tables(self, diagnostics: xr.Dataset, /) -> Sequence[report.Table]: ...

    def score_table(self, diagnostics: xr.Dataset, /) -> str: ...


_S = TypeVar("_S", bound=_Settings)


def sampling_workflow(
    name: str,
    settings: Callable[[Mapping[str, Any]], _S],
    simulate: Callable[[_S], xr.Dataset],
    sample: Callable[[_S, xr.Dataset, Restart], xr.Dataset],
    diagnose: Callable[[_S, xr.Dataset, xr.Dataset], xr.Dataset],
    *,
    words: _Words,
    save_figures: Callable[[str | PathLike[str], xr.Dataset], Sequence[Picture]],
    page_title: str,
    file_titles: tuple[str, str, str],
) -> Workflow[_S]:
    """Put the stages of an experiment on a known distribution together: simulate, sample, diagnose, report.

    Parameters
    ----------
    name : what the kinds of its files begin with.
    settings : reads and checks a configuration.
    simulate : settings -> training set.
    sample : settings, training set, restart files -> generated samples.
    diagnose : settings, training set, generated samples -> diagnostics.
    words : headline, warnings and tables of the page and the table for the terminal.
    save_figures : folder, diagnostics -> the pictures of the page.
    page_title : follows the name of the experiment in the title of the page.
    file_titles : of the training set, the generated samples and the diagnostics.
    """

    def run_simulate(given: _S, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
        return {"training": simulate(given)}

    def run_sample(given: _S, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
        return {"generated": sample(given, folder.read("training"), restart)}

    def run_diagnose(given: _S, folder: RunFolder, restart: Restart) -> dict[str, xr.Dataset]:
        return {"diagnostics": diagnose(given, folder.read("training"), folder.read("generated"))}

    def write_report(folder: RunFolder) -> None:
        data = folder.read("diagnostics")
        report.write_page(
            folder.path / "report.html",
            title=f"{folder.config['experiment_name']}: {page_title}",
            headline=words.headline(data),
            warnings=words.warnings(data),
            tables=words.tables(data),
            figures=save_figures(folder.path / "figures", data),
            downloads=folder.downloads(),
            origin=report.Origin(folder.config_yaml, folder.provenance()),
        )

    training, generated, diagnostics = file_titles
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
        table=words.score_table,
        write_report=write_report,
    )
