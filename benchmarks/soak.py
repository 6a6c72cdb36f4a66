"""A long closed loop: whether every closure stays finite and the memory flat.

``python benchmarks/soak.py`` runs 16 members for a million coarse steps with each closure in each regime, as the
default experiment would (training data, integrator); ``--models``, ``--closures`` and ``--steps`` choose less.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from common import print_record
from omegaconf import OmegaConf

import l96closure as lc
from l96closure.cli import config_folder
from l96closure.coarse import BlowUpError
from l96closure.experiments.climate import stages as experiment
from l96closure.experiments.climate.settings import Settings


class Memory(threading.Thread):
    """Resident memory in MB, once a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Take samples until told that it is over."""
        while not self.over.wait(1.0):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.samples.append(pages * 4096 / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["paper", "wilks", "arnold_c4", "crommelin"])
    parser.add_argument("--closures", nargs="+", default=list(lc.closures.CLOSURES))
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=16)
    options = parser.parse_args()
    for model in options.models:
        for name in options.closures:
            with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
                config = hydra.compose("config", [f"model={model}", f"closure={name}"])
            sections: Any = OmegaConf.to_container(config, resolve=True)
            settings = Settings.from_config(sections)
            truth, _ = experiment.simulate(settings)
            closure = experiment.fit(settings, truth)
            z0 = truth["z"].values[np.linspace(0, truth.sizes["time"] - 1, options.members).astype(int)]
            how: dict[str, Any] = {"rng": 1, "dt": settings.coarse.dt, "scheme": settings.coarse.scheme}
            lc.integrate(settings.model, closure, z0, 100, **how)
            memory, started, end = Memory(), time.perf_counter(), "finite"
            memory.start()
            try:
                run = lc.integrate(settings.model, closure, z0, options.steps, save_every=1000, **how)
                assert np.isfinite(run["z"]).all()
            except BlowUpError as error:
                end = str(error)
            seconds = time.perf_counter() - started
            memory.over.set()
            memory.join()
            early, late = (np.max(part, initial=0.0) for part in np.array_split(np.array(memory.samples), 2))
            print_record(
                "soak",
                ("numpy", "numba", "xarray"),
                model=model,
                closure=name,
                steps=options.steps,
                members=options.members,
                scheme=settings.coarse.scheme,
                end=end,
                seconds=round(seconds, 1),
                peak_mb_first_half=round(float(early), 1),
                peak_mb_second_half=round(float(late), 1),
            )


if __name__ == "__main__":
    main()
