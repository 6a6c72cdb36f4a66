"""The folder of one run: its files, which stage makes which of them, and what is written into each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from l96closure import store

__all__ = ["File", "RunFolder"]


@dataclass(frozen=True)
class File:
    """What there is to know about one of the files of a run before it is made.

    Attributes
    ----------
    kind : stored in the file, so that no other is taken for it.
    made_by : the stage that makes it.
    sections : of the settings, that decide what it holds besides what the files before it do.
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

    def write(self, name: str, data: xr.Dataset, seconds: float) -> None:
        """Write a file, with its provenance and the wall time of the stage that made it."""
        store.write(
            data.assign_attrs(wall_time_seconds=round(seconds, 3)),
            self.file(name),
            kind=self.files[name].kind,
            title=self.files[name].title,
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

    def differences(self, needs: Mapping[str, Collection[str]]) -> list[str]:
        """Say, in a line each, where the configuration differs from that of the files that are reused.

        Parameters
        ----------
        needs : the files that each of the stages to be run reads.
        """
        read = {name for names in needs.values() for name in names}
        lines = []
        for name, file in self.files.items():
            if name not in read or file.made_by in needs:
                continue
            recorded = yaml.safe_load(self._attributes(name).get("config", "")) or {}
            then, now = (_flat(config, file.sections) for config in (recorded, self.config))
            lines += [
                f"{name}.nc was made with {key} = {then.get(key)}, not {now.get(key)}"
                for key in dict.fromkeys([*then, *now])
                if then.get(key) != now.get(key)
            ]
        return lines

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
        with xr.open_dataset(self.file(name), engine="netcdf4", decode_times=False) as data:
            return dict(data.attrs)


def _flat(config: Mapping[str, Any], sections: Iterable[str]) -> dict[str, Any]:
    """Return the settings of some sections by their full names, and the seed, on which everything depends."""
    named = {f"{section}.{key}": value for section in sections for key, value in config.get(section, {}).items()}
    return {"seed": config.get("seed"), **named}
