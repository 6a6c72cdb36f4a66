"""The folder of one run: its files, which stage makes which of them, and what is written into each.

Its manifest says with which settings and from which files each was made, which tells whether it is up to date, and
whether it may stand beside what another command would make. One process at a time works in a folder.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from l96closure import checks, provenance, report, store
from l96closure.atomic import TEMPORARY
from l96closure.beside import Beside
from l96closure.experiments import manifest
from l96closure.experiments.stored import to_yaml
from l96closure.plot import style
from l96closure.restart import Restart

_log = logging.getLogger(__name__)

LOCK = ".lock"
_PLACES = (".hydra", "figures")  # inside a run folder, that hold files of the run

Product = xr.Dataset | Callable[[], xr.Dataset]
"""What a file is to hold, or what makes that."""


@dataclass(frozen=True)
class File:
    """What there is to know about one of the files of a run before it is made.

    Attributes
    ----------
    kind : stored in the file, so that no other is taken for it.
    made_by : the stage that makes it.
    sections : the settings, single ones or sections, that decide what it holds besides what the files before it do.
    title : one line for its reader.
    optional : whether the stages that read it do without where it is missing.
    """

    kind: str
    made_by: str
    sections: tuple[str, ...]
    title: str
    optional: bool = False


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, and what is written into each of them.

    All files of a folder are made with one set of settings: a command that would have some made with settings other
    than those that the rest depends on is refused by :meth:`check`.

    Parameters
    ----------
    path : the folder.
    files : what each of its files is, by name without the suffix, in the order they are made.
    needs : names of the files that each stage reads, by stage.
    config : the full configuration.
    command : the command that the files name as their origin.
    seeds : seed of every use of chance.
    sources : files or folders of the user's own, by the name of the file that is made of them.
    """

    path: Path
    files: Mapping[str, File]
    needs: Mapping[str, tuple[str, ...]]
    config: Mapping[str, Any]
    command: str
    seeds: Mapping[str, int]
    sources: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    _unsettled: dict[str, tuple[manifest.Record | None, manifest.Record, Beside[float]]] = field(
        default_factory=dict, init=False
    )

    @property
    def config_yaml(self) -> str:
        """The configuration as YAML."""
        return to_yaml(dict(self.config))

    def file(self, name: str) -> Path:
        """Return the path of a file, a key of ``files``."""
        return self.path / f"{name}.nc"

    def lacks(self, name: str) -> bool:
        """Tell whether a file is optional and not there."""
        return self.files[name].optional and not self.file(name).is_file()

    def read(self, name: str) -> xr.Dataset:
        """Read a file, of this run or a user's own; raises ``ValueError`` when it is missing, damaged or another's."""
        return store.read(self.file(name), kind=self.files[name].kind, foreign=True)

    def write(self, name: str, product: Product, started: float) -> None:
        """Write a file and put it down in the manifest, with the wall time of its stage.

        Parameters
        ----------
        name : of the file.
        product : what it holds; or what makes that, beside this process: :meth:`settle` waits for it.
        started : when its stage was begun, by ``time.perf_counter``.
        """
        earlier = manifest.read(self.path).get(self.file(name).name)
        record = manifest.Record(self._settings(name), self._inputs(self.files[name].made_by), 0.0, None, self.command)
        self._put_down(name, record)  # who kills us now leaves a file that is not trusted
        spent = time.perf_counter() - started
        with self._or_as_before(name, earlier):
            if callable(product):
                self._unsettled[name] = earlier, record, Beside(lambda: self._made(name, product, spent))
            else:
                self._finish(name, record, self._written(name, product, spent))

    def settle(self, *names: str) -> None:
        """Wait for those of these files that are being made beside this process."""
        for name in [name for name in names if name in self._unsettled]:
            earlier, record, made = self._unsettled[name]
            with self._or_as_before(name, earlier):
                seconds = made.result()
            self._finish(name, record, seconds)
            del self._unsettled[name]
            stage = self.files[name].made_by
            _log.info("%-9s %6.1f s, %s", stage, seconds, self.file(name).name)
            self.forget(stage)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Wait at the end for all files that are being made; where that comes early, for what there is to put aside."""
        try:
            yield
            self.settle(*self.files)
        finally:
            for name, (_, record, made) in self._unsettled.items():  # something failed or was stopped: that is the news
                with made, suppress(Exception):
                    if made.ready:
                        self._finish(name, record, made.result())
            self._unsettled.clear()

    def _made(self, name: str, make: Callable[[], xr.Dataset], spent: float) -> float:
        """Make a file, after so many seconds of its stage; return the seconds by then."""
        begun = time.perf_counter()
        data = make()
        return self._written(name, data, spent + time.perf_counter() - begun)

    def _written(self, name: str, data: xr.Dataset, seconds: float) -> float:
        """Write a file that says how long its stage took, and return that."""
        file, seconds = self.files[name], round(seconds, 3)
        self.write_aside(name, data.assign_attrs(wall_time_seconds=seconds), kind=file.kind, title=file.title)
        return seconds

    def _finish(self, name: str, record: manifest.Record, seconds: float) -> None:
        self._put_down(name, record._replace(seconds=seconds, sha256=store.checksum(self.file(name))))

    def _put_down(self, name: str, record: manifest.Record | None) -> None:
        """Write the record of a file into the manifest; None is none."""
        records: dict[str, manifest.Record | None] = {**manifest.read(self.path), self.file(name).name: record}
        manifest.write(self.path, {file: known for file, known in records.items() if known is not None})

    @contextmanager
    def _or_as_before(self, name: str, earlier: manifest.Record | None) -> Iterator[None]:
        try:
            yield
        except OSError:  # on a full disk, say: the file is as it was
            self._put_down(name, earlier)
            raise

    def write_aside(self, name: str, data: xr.Dataset, *, kind: str, title: str) -> None:
        """Write a file that is none of ``files``; arguments as for :func:`l96closure.store.write`."""
        store.write(
            data,
            self.file(name),
            kind=kind,
            title=title,
            history=self.command,
            config_yaml=self.config_yaml,
            seeds=self.seeds,
        )

    def sections(self, name: str) -> list[str]:
        """Return the settings that decide what a file holds: its own, and those of the files it is made from."""
        file = self.files[name]
        before = [section for given in self.needs[file.made_by] for section in self.sections(given)]
        return list(dict.fromkeys([*file.sections, *before]))

    def check_inputs(self, stages: Collection[str]) -> None:
        """Raise ``ValueError`` if a stage to be run needs a file that is missing or damaged and will not be made."""
        for stage in stages:
            for name in self.needs[stage]:
                maker = self.files[name].made_by
                if maker in stages or self.lacks(name):
                    continue
                if not self.file(name).is_file():
                    raise ValueError(
                        f"stage {stage!r} needs {self.file(name)}, which is not there; stage {maker!r} makes it"
                    )
                self._check(name)

    def check_settings(self, stages: Collection[str], *, force: bool, resume: bool) -> None:
        """Raise ``ValueError`` if files of the folder do not go with what the stages are to be run with.

        Parameters
        ----------
        stages : those to be run. What the others have made must fit in any case, whether it is read or not: the
            folder would hold results of two sets of settings, under the name of one.
        force : whether the stages may replace all that is there.
        resume : whether they may replace what they have made with other settings.
        """
        differing = {name: lines for name in self.files if (lines := self._differences(name))}
        kept = {name: lines for name, lines in differing.items() if self.files[name].made_by not in stages}
        if kept:
            line, makers = next(iter(kept.values()))[0], dict.fromkeys(self.files[name].made_by for name in kept)
            raise ValueError(
                f"{self.path}: {line}; add {', '.join(makers)} to the stages, with force=true, to make it again, or "
                "give a run_dir of its own"
            )
        if differing and not (force or resume):
            name, (line, *_) = next(iter(differing.items()))
            raise ValueError(f"{self.path}: {line}; with force=true stage {self.files[name].made_by!r} is run again")
        records = manifest.read(self.path)
        for name, file in self.files.items():
            path = self.file(name)
            theirs = path.name not in records and path.is_file() and file.made_by in stages
            if theirs and not force and not self.up_to_date(file.made_by):
                raise ValueError(
                    f"{path} was not made by this run, and stage {file.made_by!r} would write over it; with force=true "
                    "it does, or leave the stage out"
                )

    def up_to_date(self, stage: str) -> bool:
        """Whether every file of a stage is there, whole, and made with these settings from its inputs as they are.

        A file that the user has edited or put there is as good as one that the stage has made.
        """
        return all(map(self.is_current, self.made_by(stage)))

    def is_current(self, name: str) -> bool:
        """Whether a file is there, whole, and made as :meth:`up_to_date` says."""
        record, inputs = manifest.read(self.path).get(self.file(name).name), self._inputs(self.files[name].made_by)
        if record is not None and (record.inputs != inputs or record.settings != self._settings(name)):
            return False
        try:
            self._check(name)
        except ValueError:
            return False
        return True

    def note(self, names: Iterable[str]) -> None:
        """Tell of those files that are taken as they are, and are not as this run has made them."""
        records = manifest.read(self.path)
        for path in map(self.file, names):
            record = records.get(path.name)
            if path.is_file() and (record is None or record.sha256 != store.checksum(path)):
                how = "was not made by this run" if record is None else "was changed after it was made"
                _log.warning("note: %s %s; it is taken as it is", path.name, how)

    def made_by(self, *stages: str) -> list[str]:
        """Return the names of the files that some stages make."""
        return [name for name, file in self.files.items() if file.made_by in stages]

    def _check(self, name: str) -> None:
        """Raise ``ValueError`` unless a file is there and whole: as it was made, or else readable."""
        path, record = self.file(name), manifest.read(self.path).get(self.file(name).name)
        if record is not None and record.sha256 is None:
            raise ValueError(f"{path} was not written to its end; stage {self.files[name].made_by!r} makes it again")
        if record is None or not path.is_file() or record.sha256 != store.checksum(path):
            self.read(name)
        else:
            store.attributes(path, kind=self.files[name].kind)  # of another experiment, perhaps

    def restart(self, stage: str) -> Restart:
        """Return where a stage keeps what it has done while it is not finished, with these settings and inputs."""
        settings = {key: value for name in self.made_by(stage) for key, value in self._settings(name).items()}
        identity = to_yaml({"settings": settings, "inputs": self._inputs(stage)})
        label = hashlib.sha256(identity.encode()).hexdigest()[:12]
        every = self.config.get("checkpoint_every", 60.0)
        return Restart(self.path / f".{stage}-{label}", every, identity, keep=True)

    def forget(self, stage: str) -> None:
        """Remove all that a stage has kept while it was not finished."""
        for left in self.path.glob(f".{stage}-{'[0-9a-f]' * 12}"):
            Restart(left).clear()

    def _differences(self, name: str) -> list[str]:
        """Say, in a line each, where the configuration differs from that of a file; what is not there has none."""
        record = manifest.read(self.path).get(self.file(name).name)
        if record is None or record.sha256 is None or not self.file(name).is_file():
            return []
        then, now = record.settings, self._settings(name)
        return [
            f"{name}.nc was made with {key} = {_shown(then.get(key))}, not {_shown(now.get(key))}"
            for key in dict.fromkeys([*then, *now])
            if then.get(key) != now.get(key)
        ]

    def _settings(self, name: str) -> dict[str, Any]:
        """Return the settings that decide what a file holds, by their full names."""
        return manifest.plain(flat(self.config, self.sections(name)))

    def _inputs(self, stage: str) -> dict[str, str]:
        """Return the checksums of the files that a stage reads, as they are."""
        there = [self.file(name) for name in self.needs[stage] if self.file(name).is_file()]
        own = [path for name in self.made_by(stage) for path in self.sources.get(name, ())]
        return {path.name: store.checksum(path) for path in there} | {str(path): _checksum(path) for path in own}

    def write_page(self, title: str, figures: Mapping[str, style.Drawing], **said: Any) -> None:
        """Save figures, and write the page of the run with them, with links to all files and what they came from.

        Parameters
        ----------
        title : follows the name of the experiment.
        figures : what draws each, with its caption, by name.
        **said : what else :func:`l96closure.report.write_page` takes: headline, tables and the like.
        """
        report.write_page(
            self.path / "report.html",
            title=f"{self.config['experiment_name']}: {title}",
            figures=style.save_all(self.path / "figures", figures, figure_format(self.config)),
            downloads={self.file(name).name: file.title for name, file in self.files.items() if not self.lacks(name)},
            origin=report.Origin(self.config_yaml, self._provenance()),
            **said,
        )

    def _provenance(self) -> dict[str, str]:
        """Where the run came from, and by which command each stage ran and how long it took, whenever it ran."""
        records = manifest.read(self.path)
        known = {file.made_by: records.get(self.file(name).name) for name, file in self.files.items()}
        ran = {stage: record for stage, record in known.items() if record is not None}
        earlier = dict.fromkeys(record.command for record in ran.values() if record.command not in ("", self.command))
        stages = {command: [stage for stage, record in ran.items() if record.command == command] for command in earlier}
        return {
            **{f"command of {', '.join(made)}": command for command, made in stages.items()},
            **provenance.origin(self.command),
            **{f"seed ({use})": str(seed) for use, seed in self.seeds.items()},
            **{f"wall time of {stage}": f"{record.seconds:.1f} s" for stage, record in ran.items()},
        }


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from working in a folder, which is made when missing; a thread may do so repeatedly.

    Temporary files that a killed process has left among its files are removed; what is in other folders inside
    belongs to others, who may be at work there.

    Raises
    ------
    ValueError
        Another process works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another process works in {folder}; wait for it, or give a run_dir of its own") from None
    try:
        for place in (folder, *(folder / name for name in _PLACES)):
            for left in place.glob(TEMPORARY.replace("?", "[0-9a-f]")):
                left.unlink()
        yield
    finally:
        if lock.lock_counter == 1:
            (folder / LOCK).unlink()  # while it is held: who waits for this file sees that it is gone
        lock.release()


def _checksum(path: Path) -> str:
    """Return the checksum of a file, or of all files of a folder and their names; empty where there is nothing."""
    if path.is_file():
        return store.checksum(path)
    inside = sorted(each for each in path.rglob("*") if each.is_file())
    listed = "\n".join(f"{store.checksum(each)} {each.relative_to(path).as_posix()}" for each in inside)
    return hashlib.sha256(listed.encode()).hexdigest() if inside else ""


def figure_format(config: Mapping[str, Any]) -> str:
    """Return the setting ``figures.format``; raises ``ValueError`` where it is none of :data:`style.FORMATS`."""
    section = config.get("figures", {})
    if not isinstance(section, Mapping) or set(section) - {"format"}:
        checks.reject("figures", section, "a section with the setting format")
    return checks.one_of("figures.format", section.get("format", "png"), style.FORMATS)


def flat(config: Mapping[str, Any], sections: Iterable[str]) -> dict[str, Any]:
    """Return some settings and those of some sections by their full names, and the seed: everything depends on it."""
    named = {"seed": config.get("seed")}
    for name in sections:
        named |= leaves(config, name)
    return named


def leaves(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of a section by their full names; a setting, or an empty section, is itself one."""
    value: Any = config
    for key in name.split("."):  # what is no section, in a file from elsewhere, has no settings
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {key: leaf for inner in value for key, leaf in leaves(config, f"{name}.{inner}").items()}


def _shown(value: Any) -> str:
    """Return a setting in one line that is not too long."""
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
