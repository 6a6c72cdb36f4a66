"""What a closure sees, chosen by coupled runs: from Python, on the command line, and on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from command_line import TINY, Call

import l96closure as lc
from l96closure import closures
from l96closure.closures import Chain, SchrodingerBridge, Trend
from l96closure.experiments.climate import closure_tables
from l96closure.experiments.climate.figures import pictures
from l96closure.plot import selection as figures
from l96closure.plot import style

MODEL = lc.TwoScaleLorenz96(K=6, J=4)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return MODEL.simulate(samples=1200, spinup=1.0, rng=1)


def judged_by(scores: list[float], seen: list[tuple[Any, Any]]) -> Any:
    """A judge whose scores are known beforehand, and that keeps what it is asked about."""

    def judge(closure: Any, held_out: xr.Dataset) -> float:
        seen.append((closure, held_out))
        return scores[len(seen) - 1]

    return judge


CANDIDATES = [lc.Fields(radius=radius, lags=()) for radius in (0, 1, 2)]


@pytest.mark.parametrize("best", [0, 2])
def test_the_best_score_is_chosen_and_fitted_to_all_data(truth: xr.Dataset, best: int) -> None:
    scores, seen = [1.0, 2.0, np.inf], []
    scores[best] = 0.5
    closure = SchrodingerBridge.fit(truth, CANDIDATES, Trend(2, 1), selection=judged_by(scores, seen))
    alone = SchrodingerBridge.fit(truth, CANDIDATES[best], Trend(2, 1))
    z = truth["z"].values[:3]
    assert np.array_equal(closure.step(z, closure.init(z, 0))[0], alone.step(z, alone.init(z, 0))[0])
    assert closure.selection is not None
    assert closure.selection["score"].values.tolist() == scores
    assert np.flatnonzero(closure.selection["chosen"]).tolist() == [best]
    psi = truth["psi"].values
    for one, held_out in seen:  # psi of none of them is that which it is judged by
        assert one.bounds == (psi[:900].min(), psi[:900].max())
        assert np.array_equal(held_out["psi"].values, psi[900:])
        assert np.array_equal(held_out["z"].values, truth["z"].values[900:])


def test_a_fit_that_was_stopped_among_its_candidates_goes_on(truth: xr.Dataset, tmp_path: Path) -> None:
    """Each candidate is another computation: what is kept must be of the last fit alone."""

    class Stopped(Exception):
        pass

    def stops(closure: Any, held_out: xr.Dataset) -> float:
        if closure.fields.radius:
            raise Stopped
        return 1.0

    def fit(judge: Any) -> SchrodingerBridge:
        law = Chain(centres=200)
        restart = lc.Restart(tmp_path / "kept", every=0.0)
        return SchrodingerBridge.fit(truth, CANDIDATES[:2], Trend(2, 1), law, selection=judge, restart=restart)

    with pytest.raises(Stopped):
        fit(stops)
    closure = fit(judged_by([2.0, 1.0], []))
    assert closure.fields.radius == 1


def test_the_figure_marks_the_chosen_one(truth: xr.Dataset, tmp_path: Path) -> None:
    closure = SchrodingerBridge.fit(truth, CANDIDATES, Trend(2, 1), selection=judged_by([2.0, np.inf, 1.0], []))
    (held_out, coupled) = figures.choice(closure.selection)
    for axes, name in ((held_out, "left"), (coupled, "score")):
        every, chosen = (line.get_xydata() for line in axes.lines)
        assert np.array_equal(every[:, 0], closure.selection[name])
        assert np.array_equal(chosen, every[2:])
    assert [tick.get_text() for tick in held_out.get_yticklabels()] == figures.candidate_names(closure.selection)
    (picture,) = style.save_all(tmp_path, pictures(xr.Dataset(), closure=closure))
    assert picture.path.stat().st_size > 10_000
    alone = SchrodingerBridge.fit(truth, CANDIDATES, Trend(2, 1))
    assert np.size(figures.choice(alone.selection)) == 1
    assert not pictures(xr.Dataset(), closure=closures.Polynomial.fit(truth))
    assert [table.columns[0] for table in closure_tables.tables(alone)] == ["part", "candidate"]


@pytest.mark.slow
def test_on_the_command_line(call: Call) -> None:
    small = [*TINY, "closure.trend.order=1", "closure.trend.degree=3", "closure.law.centres=2000", "run_dir=mine"]
    outcome = call(*small, "closure/selection=coupled", "closure.selection.starts=5", "closure.selection.members=2")
    assert outcome.status == 0, outcome.err
    closure = closures.load(outcome.folder / "closure.nc")
    scores = closure.selection["score"].values
    assert np.isfinite(scores).all()
    assert np.flatnonzero(closure.selection["chosen"]).tolist() == [int(np.argmin(scores))]
    assert "CRPS" in (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert (outcome.folder / "figures" / "choice.png").exists()
    refused = call(*small, "stages=[diagnose,report]", "force=true")  # by held-out data: another closure
    assert refused.status == 2
    assert "closure.selection" in refused.err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("closure.selection.starts=1", r"closure\.selection\.starts = 1 .* >= 2"),
        ("closure.selection.members=two", r"closure\.selection\.members = 'two' .* integer"),
        ("closure.selection=7", r"closure\.selection = 7 .* closure/selection=coupled, or null"),
    ],
)
def test_bad_settings(call: Call, override: str, message: str) -> None:
    outcome = call(*TINY, "closure/selection=coupled", override)
    assert outcome.status == 2
    assert re.search(message, outcome.err)
