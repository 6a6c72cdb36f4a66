"""The command line, called from a test: see the fixture ``call``; and what is given to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import xarray as xr
from omegaconf import OmegaConf

from l96closure.cli import config_folder

TINY = [
    "training.samples=3000",
    "training.every=10",
    "training.spinup=1",
    "reference.duration=10",
    "reference.spinup=1",
    "coarse.steps=200",
    "coarse.members=2",
    "forecast.starts=4",
    "forecast.members=3",
    "forecast.lead=0.5",
    "diagnostics.max_lag=0.2",
]
GAUSSIAN = (
    "experiment=gaussian",
    "target.d=7",
    "target.samples=60",
    "target.realisations=2",
    "sampling.chains=6",
    "sampling.records=5",
    "sampling.schemes.split={burn_in: 20, thin: 2}",
    "sampling.schemes.sequential={burn_in: 3, thin: 1}",
)
BISTABLE = (
    "experiment=bistable",
    "target.samples=60",
    "target.intervals=6",
    "sampling.chains=6",
    "sampling.records=5",
    "sampling.schemes.split={burn_in: 20, thin: 2}",
)
FINISHED = (*TINY, "closure=polynomial_ar1")  # of the fixture ``finished``
FILES = {"truth.nc", "reference.nc", "closure.nc", "coarse.nc", "forecast.nc", "diagnostics.nc"}


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def folder(self) -> Path:
        return Path(self.out.splitlines()[-1])


Call = Callable[..., Outcome]


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """Compose the configuration without the command line; to be copied by who changes it."""
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        config: Any = OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)
    return config  # type: ignore[no-any-return]


def content(path: Path) -> xr.Dataset:
    """Everything in a file but when and for how long it was made."""
    data = xr.load_dataset(path, decode_times=False)
    for name in ("history", "wall_time_seconds", "config"):
        data.attrs.pop(name)
    return data
