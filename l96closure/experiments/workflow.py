"""What an experiment is, and how any of them is run: stages in order, each from files to files of one folder."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import xarray as xr

from l96closure import checks
from l96closure.experiments.run_folder import File, Product, RunFolder, figure_format, locked
from l96closure.restart import Restart
from l96closure.terminal import tell

REPORT = "report"
"""Name of the last stage of every experiment: it reads all files and writes figures and page instead of netCDF."""

Objective = Callable[[xr.Dataset], float]
"""Takes a score out of diagnostics; raises ``KeyError`` where they have none."""

_log = logging.getLogger(__name__)


class Seeded(Protocol):
    """Settings of an experiment."""

    @property
    def seeds(self) -> dict[str, int]:
        """Seed of every use of chance."""


_S = TypeVar("_S", bound=Seeded)


@dataclass(frozen=True)
class Stage(Generic[_S]):
    """One step of an experiment.

    Attributes
    ----------
    needs : names of the files it reads.
    run : called with the settings, the run folder, and where to keep unfinished work. It returns, for each file name,
        the dataset to write or a function that makes it, which runs in a second process while later stages that do not
        read the file go on.
    asked_for : whether it runs only where it is asked for.
    prepare : begins what the settings allow to be done while the stages before it run.
    """

    needs: tuple[str, ...]
    run: Callable[[_S, RunFolder, Restart], Mapping[str, Product]]
    asked_for: bool = False
    prepare: Callable[[_S], None] | None = None


@dataclass(frozen=True)
class Workflow(Generic[_S]):
    """An experiment: its settings, its stages and its files.

    Attributes
    ----------
    settings : reads and checks a configuration; raises ``ValueError``.
    stages : the stages that make files, by name, in the order they run; after them comes :data:`REPORT`.
    files : what each file is, by name, in the order they are made; one of them is ``diagnostics``.
    table : the scores in diagnostics as text for the terminal.
    write_report : draws the figures and writes the page of a finished run.
    objectives : the scores that a search over settings may ask for, each the lower the better, by name.
    sources : takes from the settings the paths of the user's own files, data and code, by the name of the file of the
        run that is made of them.
    """

    settings: Callable[[Mapping[str, Any]], _S]
    stages: Mapping[str, Stage[_S]]
    files: Mapping[str, File]
    table: Callable[[xr.Dataset], str]
    write_report: Callable[[RunFolder], None]
    objectives: Mapping[str, Objective] = field(default_factory=dict)
    sources: Callable[[_S], Mapping[str, Sequence[Path]]] = lambda _: {}

    def run(
        self,
        config: Mapping[str, Any],
        run_dir: str | os.PathLike[str],
        stages: Sequence[str] | None = None,
        *,
        command: str = "l96closure.experiments",
        once_checked: Callable[[], None] | None = None,
    ) -> float | None:
        """Run stages of the experiment in a folder; print the scores once the run has been diagnosed.

        A stage whose files are there, made with the same settings from the same files, is not run again, and one that
        was stopped goes on where it was (see :mod:`l96closure.restart`); the report is always written.

        Parameters
        ----------
        config : the configuration, as ``conf/`` describes it. With ``force``, stages are run again in any case. With
            ``resume``, it is the one that the folder was last at work with, so that files made with another were about
            to be replaced, and are.
        run_dir : the run folder, made when missing; a stage reads there what a stage left out has made earlier.
        stages : names of stages, run in the order the experiment has; None is all but those that have to be asked for.
        command : the command that the files are to name as their origin.
        once_checked : called after all that can be checked has been, and before anything is written or removed.

        Returns
        -------
        The score named by ``objective``, NaN where the run has none; None where none is named, or no stage has looked
        at the scores.

        Raises
        ------
        ValueError
            A setting is unknown or out of its range, a stage needs a file that is not there, its files, or those of a
            stage left out, were made with other settings, or another process works in the folder. Nothing has changed.
        FloatingPointError
            A model run stopped being finite.
        """
        settings = self.settings(config)
        checks.number("checkpoint_every", config.get("checkpoint_every", 60.0), minimum=0.0)
        figure_format(config)
        force, resume = (checks.boolean(name, config.get(name, False)) for name in ("force", "resume"))
        chosen, objective = self._chosen(stages), config.get("objective")
        if objective is not None:
            checks.one_of("objective", objective, self.objectives)
        folder = RunFolder(
            Path(run_dir), self.files, self.needs, config, command, settings.seeds, self.sources(settings)
        )
        folder.check_inputs(chosen)
        with locked(folder.path):
            folder.check_settings(chosen, force=force, resume=resume)
            if once_checked is not None:
                once_checked()
            read = {name for stage in chosen for name in self.needs[stage]}
            folder.note(sorted(read.difference(folder.made_by(*chosen))))
            for name in chosen[1:]:
                if name != REPORT and (prepare := self.stages[name].prepare) is not None:
                    prepare(settings)
            with folder.settled():
                for name in chosen:
                    folder.settle(*self.needs[name])
                    self._run_stage(name, settings, folder, force)
            if REPORT not in chosen and self.files["diagnostics"].made_by not in chosen:
                return None
            diagnostics = folder.read("diagnostics")
        tell(self.table(diagnostics))
        return None if objective is None else self._score(objective, diagnostics)

    def _score(self, objective: str, diagnostics: xr.Dataset) -> float:
        """Return the score that a search is to make small; NaN, with a note, where the diagnostics lack it."""
        try:
            score = self.objectives[objective](diagnostics)
        except KeyError:
            score = math.nan
        if math.isnan(score):
            _log.warning("note: this run has no %s, the objective", objective)
        return score

    def _run_stage(self, name: str, settings: _S, folder: RunFolder, force: bool) -> None:
        """Run a stage unless its files are up to date, and say so."""
        started = time.perf_counter()
        if name == REPORT:
            self.write_report(folder)
        elif force or not folder.up_to_date(name):
            self._make_files(name, settings, folder, force)
        else:
            _log.info("%-9s is up to date", name)
            folder.note(folder.made_by(name))
            return
        _log.info("%-9s %6.1f s", name, time.perf_counter() - started)

    def _make_files(self, name: str, settings: _S, folder: RunFolder, force: bool) -> None:
        """Run a stage that makes files, and write them."""
        started = time.perf_counter()
        if force:
            folder.forget(name)
        products = self.stages[name].run(settings, folder, folder.restart(name))
        wanted = [file for file in products if force or not folder.is_current(file)]
        for file in wanted:
            folder.write(file, products[file], started)
        if not any(callable(products[file]) for file in wanted):
            folder.forget(name)

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """Names of the files that each stage reads, in the order the stages run."""
        return {**{name: stage.needs for name, stage in self.stages.items()}, REPORT: tuple(self.files)}

    def _chosen(self, stages: Sequence[str] | None) -> list[str]:
        """Return the stages that are asked for, in the order they run."""
        if stages is None:
            return [name for name in self.needs if name == REPORT or not self.stages[name].asked_for]
        if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
            checks.reject("stages", stages, f"a list of some of {', '.join(self.needs)}")
        for name in stages:
            checks.one_of("stages", name, self.needs)
        return [name for name in self.needs if name in stages]
