"""Hydra's sweeper of Optuna: it makes the objective small."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr
import yaml
from command_line import TINY, Call

pytestmark = pytest.mark.slow  # whole runs


@pytest.mark.filterwarnings("ignore")  # Optuna 2, which the plugin asks for, is older than its Python
def test_a_search_finds_the_settings_of_the_smallest_objective(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason='needs pip install "l96closure[optuna]"')
    line = (*TINY, "closure=polynomial_ar1", "stages=[simulate,fit,integrate,forecast,diagnose]", "run_dir=mine")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.direction=minimize", "hydra.sweeper.n_trials=4")
    outcome = call(
        "-m", *line, *search, "hydra.sweeper.sampler.seed=1", "objective=crps", "closure.trend.degree=choice(1,4)"
    )
    assert outcome.status == 0, outcome.err
    assert outcome.folder == tmp_path / "mine" / "3"
    scores = []
    for number in range(4):
        with xr.open_dataset(tmp_path / "mine" / str(number) / "diagnostics.nc") as data:
            scores.append(float(data["crps"].sel(lead=0.25)))
    found = yaml.safe_load((tmp_path / "mine" / "optimization_results.yaml").read_text())
    assert found["best_value"] == min(scores)
    best = yaml.safe_load((tmp_path / "mine" / str(scores.index(min(scores))) / ".hydra" / "config.yaml").read_text())
    assert found["best_params"] == {"closure.trend.degree": best["closure"]["trend"]["degree"]}
