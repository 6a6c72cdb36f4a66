"""The folder of one run: its files, which stage makes which of them, and what is written into each.

A file records the settings and the checksums of the files it was made from, which tells whether it is up to date. One
process at a time works in a folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
import yaml
from filelock import FileLock, Timeout

from l96closure import store
from l96closure.restart import Restart

__all__ = ["LOCK", "File", "RunFolder", "flat", "locked"]

LOCK = ".lock"


@dataclass(frozen=True)
class File:
    """What there is to know about one of the files of a run before it is made.

    Attributes
    ----------
    kind : stored in the file, so that no other is taken for it.
    made_by : the stage that makes it.
    sections : the settings, single ones or sections, that decide what it holds besides what the files before it do.
    title : one line for its reader.
    """

    kind: str
    made_by: str
    sections: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, and what is written into each of them.

    Parameters
    ----------
    path : the folder.
    files : what each of its files is, by name without the suffix, in the order they are made.
    config : the full configuration.
    command : the command that the files name as their origin.
    seeds : seed of every use of chance.
    """

    path: Path
    files: Mapping[str, File]
    config: Mapping[str, Any]
    command: str
    seeds: Mapping[str, int]

    @property
    def config_yaml(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)

    def file(self, name: str) -> Path:
        """Return the path of a file, a key of ``files``."""
        return self.path / f"{name}.nc"

    def read(self, name: str) -> xr.Dataset:
        """Read a file; raises ``ValueError`` when it is missing, damaged or something else."""
        return store.read(self.file(name), kind=self.files[name].kind)

    def write(self, name: str, data: xr.Dataset, seconds: float, inputs: Collection[str]) -> None:
        """Write a file, with its provenance, and the wall time and the input files of the stage that made it."""
        made = data.assign_attrs(wall_time_seconds=round(seconds, 3), inputs=self._checksums(inputs))
        self.write_aside(name, made, kind=self.files[name].kind, title=self.files[name].title)

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

    def check_inputs(self, needs: Mapping[str, Collection[str]]) -> None:
        """Raise ``ValueError`` if a stage needs a file that neither is there nor will be made.

        Parameters
        ----------
        needs : the files that each of the stages to be run reads.
        """
        for stage, names in needs.items():
            for name in names:
                maker = self.files[name].made_by
                if maker not in needs and not self.file(name).is_file():
                    raise ValueError(
                        f"stage {stage!r} needs {self.file(name)}, which is not there; stage {maker!r} makes it"
                    )

    def up_to_date(self, stage: str, inputs: Collection[str]) -> bool:
        """Whether every file of a stage is there, undamaged and made from the files ``inputs`` as they are now."""
        now = self._checksums(inputs)
        try:
            made = [self._attributes(name) for name, file in self.files.items() if file.made_by == stage]
        except ValueError:
            return False
        return all(attributes.get("inputs") == now for attributes in made)

    def restart(self, stage: str, inputs: Collection[str]) -> Restart:
        """Return where a stage keeps what it has done while it is not finished."""
        sections = [section for file in self.files.values() if file.made_by == stage for section in file.sections]
        identity = {"settings": flat(self.config, sections), "inputs": self._checksums(inputs)}
        every = self.config.get("checkpoint_every", 60.0)
        return Restart(self.path / f".{stage}", every, yaml.safe_dump(identity, sort_keys=False), keep=True)

    def check_settings(self, stages: Collection[str]) -> None:
        """Raise ``ValueError`` if a file that one of the stages would make is there, made with other settings."""
        for name, file in self.files.items():
            if file.made_by in stages:
                for line in self._differences(name):
                    raise ValueError(f"{self.path}: {line}; with force=true stage {file.made_by!r} is run again")

    def differences(self, needs: Mapping[str, Collection[str]]) -> list[str]:
        """Say, in a line each, where the configuration differs from that of the files that are reused.

        Parameters
        ----------
        needs : the files that each of the stages to be run reads.
        """
        read = {name for names in needs.values() for name in names}
        reused = [name for name, file in self.files.items() if name in read and file.made_by not in needs]
        return [line for name in reused for line in self._differences(name)]

    def _differences(self, name: str) -> list[str]:
        """Do so for one file; there are none where it is not there or damaged."""
        try:
            recorded = yaml.safe_load(self._attributes(name).get("config", "")) or {}
        except ValueError:
            return []
        then, now = (flat(config, self.files[name].sections) for config in (recorded, self.config))
        return [
            f"{name}.nc was made with {key} = {then.get(key)}, not {now.get(key)}"
            for key in dict.fromkeys([*then, *now])
            if then.get(key) != now.get(key)
        ]

    def _checksums(self, names: Collection[str]) -> str:
        return "\n".join(f"{self.file(name).name} {store.checksum(self.file(name))}" for name in names)

    def downloads(self) -> dict[str, str]:
        """Title of every file, by its full name."""
        return {self.file(name).name: file.title for name, file in self.files.items()}

    def provenance(self) -> dict[str, str]:
        """Where the run came from, and the wall time of each stage, whenever it ran."""
        seconds = {file.made_by: self._attributes(name).get("wall_time_seconds") for name, file in self.files.items()}
        return {
            "command": self.command,
            "package version": store.package_version(),
            "git commit": store.git_commit(),
            **{f"seed of the {use}": str(seed) for use, seed in self.seeds.items()},
            **{f"wall time of {stage}": f"{value:.1f} s" for stage, value in seconds.items() if value is not None},
        }

    def _attributes(self, name: str) -> dict[str, Any]:
        return store.attributes(self.file(name), kind=self.files[name].kind)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from working in a folder, which is made when missing; a thread may do so repeatedly.

    Temporary files that a killed process has left there are removed.

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
        for left in folder.rglob(store.TEMPORARY):
            left.unlink()
        yield
    finally:
        if lock.lock_counter == 1:
            (folder / LOCK).unlink()  # while it is held: who waits for this file sees that it is gone
        lock.release()


def flat(config: Mapping[str, Any], sections: Iterable[str]) -> dict[str, Any]:
    """Return some settings and those of some sections by their full names, and the seed: everything depends on it."""
    named: dict[str, Any] = {"seed": config.get("seed")}
    for name in sections:
        section, _, key = name.partition(".")
        values = config.get(section, {})
        named |= {name: values.get(key)} if key else {f"{section}.{each}": value for each, value in values.items()}
    return named
