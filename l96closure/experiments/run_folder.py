"""The folder of one run: its files, which stage makes which of them, and what is written into each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from l96closure import store

__all__ = ["MADE_BY", "NEEDS", "TITLES", "RunFolder"]

NEEDS = {
    "simulate": (),
    "fit": ("truth",),
    "integrate": ("truth", "closure"),
    "diagnose": ("reference", "coarse"),
    "report": ("truth", "reference", "closure", "coarse", "diagnostics"),
}
MADE_BY = {
    "truth": "simulate",
    "reference": "simulate",
    "closure": "fit",
    "coarse": "integrate",
    "diagnostics": "diagnose",
}
_SECTIONS = {  # of the settings, that decide what a file holds besides what the files before it do
    "truth": ("model", "training"),
    "reference": ("model", "reference"),
    "closure": ("closure",),
    "coarse": ("coarse",),
    "diagnostics": ("diagnostics",),
}
TITLES = {
    "truth": "Two-scale Lorenz-96 model: training data of a closure",
    "reference": "Two-scale Lorenz-96 model: the independent run that judges the coarse one",
    "closure": "Closure of the coarse Lorenz-96 model",
    "coarse": "Coarse Lorenz-96 model with a closure",
    "diagnostics": "Climate of the coarse Lorenz-96 model beside the truth",
}


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, and what is written into each of them.

    Parameters
    ----------
    path : the folder.
    config : the full configuration.
    command : the command that the files name as their origin.
    seeds : seed of every use of chance.
    """

    path: Path
    config: Mapping[str, Any]
    command: str
    seeds: Mapping[str, int]

    @property
    def config_yaml(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)

    def file(self, kind: str) -> Path:
        """Return the path of the file of a kind, a key of :data:`MADE_BY`."""
        return self.path / f"{kind}.nc"

    def read(self, kind: str) -> xr.Dataset:
        """Read the file of a kind; raises ``ValueError`` when it is missing, damaged or something else."""
        return store.read(self.file(kind), kind=kind)

    def write(self, kind: str, data: xr.Dataset, seconds: float) -> None:
        """Write the file of a kind, with its provenance and the wall time of the stage that made it."""
        store.write(
            data.assign_attrs(wall_time_seconds=round(seconds, 3)),
            self.file(kind),
            kind=kind,
            title=TITLES[kind],
            history=self.command,
            config_yaml=self.config_yaml,
            seeds=self.seeds,
        )

    def check_inputs(self, stages: Collection[str]) -> None:
        """Raise ``ValueError`` if one of the stages needs a file that neither is there nor will be made."""
        for stage in stages:
            for kind in NEEDS[stage]:
                if MADE_BY[kind] not in stages and not self.file(kind).is_file():
                    raise ValueError(
                        f"stage {stage!r} needs {self.file(kind)}, which is not there; stage {MADE_BY[kind]!r} makes it"
                    )

    def differences(self, stages: Collection[str]) -> list[str]:
        """Say, in a line each, where the configuration differs from that of the files that are reused."""
        reused = {kind for stage in stages for kind in NEEDS[stage] if MADE_BY[kind] not in stages}
        lines = []
        for kind in [kind for kind in MADE_BY if kind in reused]:
            recorded = yaml.safe_load(self._attributes(kind).get("config", "")) or {}
            then, now = (_flat(config, _SECTIONS[kind]) for config in (recorded, self.config))
            lines += [
                f"{kind}.nc was made with {name} = {then.get(name)}, not {now.get(name)}"
                for name in dict.fromkeys([*then, *now])
                if then.get(name) != now.get(name)
            ]
        return lines

    def provenance(self) -> dict[str, str]:
        """Where the run came from, and the wall time of each stage, whenever it ran."""
        seconds = {stage: self._attributes(kind).get("wall_time_seconds") for kind, stage in MADE_BY.items()}
        return {
            "command": self.command,
            "package version": store.package_version(),
            "git commit": store.git_commit(),
            **{f"seed of the {use}": str(seed) for use, seed in self.seeds.items()},
            **{f"wall time of {stage}": f"{value:.1f} s" for stage, value in seconds.items() if value is not None},
        }

    def _attributes(self, kind: str) -> dict[str, Any]:
        with xr.open_dataset(self.file(kind), engine="netcdf4", decode_times=False) as data:
            return dict(data.attrs)


def _flat(config: Mapping[str, Any], sections: Iterable[str]) -> dict[str, Any]:
    """Return the settings of some sections by their full names, and the seed, on which everything depends."""
    named = {f"{section}.{key}": value for section in sections for key, value in config.get(section, {}).items()}
    return {"seed": config.get("seed"), **named}
