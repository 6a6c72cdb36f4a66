"""What an experiment is, and how any of them is run: stages in order, each from files to files of one folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import xarray as xr

from l96closure import checks
from l96closure.experiments.run_folder import File, RunFolder, locked
from l96closure.restart import Restart

__all__ = ["REPORT", "Stage", "Workflow"]

REPORT = "report"
"""Name of the last stage of every experiment: it reads all files and writes figures and page instead of netCDF."""

_log = logging.getLogger(__name__)


class _Settings(Protocol):
    @property
    def seeds(self) -> dict[str, int]:
        """Seed of every use of chance."""


_S = TypeVar("_S", bound=_Settings)


@dataclass(frozen=True)
class Stage(Generic[_S]):
    """One step of an experiment.

    Attributes
    ----------
    needs : names of the files it reads.
    run : makes datasets, by name of file, from the settings, the folder with those files, whether to show progress, and
        where to keep what it has done until it is finished.
    """

    needs: tuple[str, ...]
    run: Callable[[_S, RunFolder, bool, Restart], dict[str, xr.Dataset]]


@dataclass(frozen=True)
class Workflow(Generic[_S]):
    """An experiment: its settings, its stages and its files.

    Attributes
    ----------
    settings : reads and checks a configuration; raises ``ValueError``.
    stages : the stages that make files, by name, in the order they run; after them comes :data:`REPORT`.
    files : what each file is, by name, in the order they are made; one of them is ``diagnostics``.
    table : the scores in diagnostics as text for the terminal.
    write_report : draws the figures and writes the page of a finished run; the sentences are notes to be shown on it.
    """

    settings: Callable[[Mapping[str, Any]], _S]
    stages: Mapping[str, Stage[_S]]
    files: Mapping[str, File]
    table: Callable[[xr.Dataset], str]
    write_report: Callable[[RunFolder, Sequence[str]], None]

    def run(
        self,
        config: Mapping[str, Any],
        run_dir: str | os.PathLike[str],
        stages: Sequence[str] | None = None,
        *,
        command: str = "l96closure.experiments",
        progress: bool = False,
    ) -> None:
        """Run stages of the experiment in a folder; print the scores once the run has been diagnosed.

        A stage whose files are there, made with the same settings from the same files, is not run again, and one that
        was stopped goes on where it was (see :mod:`l96closure.restart`).

        Parameters
        ----------
        config : the configuration, as ``conf/`` describes it. With ``force``, stages are run again in any case.
        run_dir : the run folder, made when missing; a stage reads there what a stage left out has made earlier.
        stages : names of stages, run in the order the experiment has; None is all of them.
        command : the command that the files are to name as their origin.
        progress : show progress bars.

        Raises
        ------
        ValueError
            A setting is unknown or out of its range, a stage needs a file that is not there, its files were made with
            other settings, or another process works in the folder.
        FloatingPointError
            A model run stopped being finite.
        """
        settings = self.settings(config)
        needs = self._needs(stages)
        folder = RunFolder(Path(run_dir), self.files, config, command, settings.seeds)
        force = checks.boolean("force", config.get("force", False))
        folder.check_inputs(needs)
        with locked(folder.path):
            if not force:
                folder.check_settings(needs)
            notes = folder.differences(needs)
            for note in notes:
                _log.warning("note: %s", note)
            for name in needs:
                started = time.perf_counter()
                if name == REPORT:
                    self.write_report(folder, notes)
                elif force or not folder.up_to_date(name, needs[name]):
                    self._run_stage(name, settings, folder, progress, force)
                else:
                    _log.info("%-9s is up to date", name)
                    continue
                _log.info("%-9s %6.1f s", name, time.perf_counter() - started)
            if REPORT in needs or self.files["diagnostics"].made_by in needs:
                print(self.table(folder.read("diagnostics")))

    def _run_stage(self, name: str, settings: _S, folder: RunFolder, progress: bool, force: bool) -> None:
        """Run a stage that makes files, and write them."""
        stage, started = self.stages[name], time.perf_counter()
        restart = folder.restart(name, stage.needs)
        if force:
            restart.clear()
        products = stage.run(settings, folder, progress, restart)
        seconds = time.perf_counter() - started
        for file, data in products.items():
            folder.write(file, data, seconds, stage.needs)
        restart.clear()

    def _needs(self, stages: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
        """Return the files that each of the stages reads, in the order the stages run."""
        needs = {**{name: stage.needs for name, stage in self.stages.items()}, REPORT: tuple(self.files)}
        if stages is None:
            return needs
        if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
            checks.reject("stages", stages, f"a list of some of {', '.join(needs)}")
        for name in stages:
            checks.one_of("stages", name, needs)
        return {name: files for name, files in needs.items() if name in stages}
