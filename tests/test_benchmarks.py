"""What the benchmarks count is what the loops do, and their page shows what was measured."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import l96closure as lc

TESTS = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TESTS.parent / "benchmarks"))


def record(commit: str, cpu: str, day: int, ratio: float) -> dict[str, Any]:
    return {
        "benchmark": "closure", "date": f"2026-11-{day}T12:00:00Z", "cpu": cpu, "versions": {"numpy": "2.4.6"},
        "git_commit": commit, "ratios": {"ten fine steps": ratio},
    }  # fmt: skip


@pytest.mark.slow
def test_operations_are_counted_as_the_source_makes_them() -> None:
    limits = importlib.import_module("limits")
    truth = lc.TwoScaleLorenz96().simulate(samples=4000, rng=1)
    fields = lc.Fields(radius=1, lags=(0.05,)), lc.Fields(radius=0, lags=())
    closures = [lc.closures.SchrodingerBridge.fit(truth, one) for one in fields]
    tables = [closure.compiled for closure in (*closures, lc.closures.PolynomialAR1.fit(truth, fields[1]))]
    counted = json.loads(
        subprocess.run(
            [sys.executable, TESTS / "operations.py"],
            input=pickle.dumps(tables),
            env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(TESTS.parent)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )
    assert counted["two_normals"] == 67
    for one, found in zip(tables, counted["coarse_step"], strict=True):
        work = limits.coarse_step(one, 12)
        assert work.flops == 12 * (found["flops"] + 67 / 2)
        assert work.bytes == 12 * (found["bytes"] + 8 * 6)
    evaluation = limits.kernel_evaluation(6)
    assert counted["kernel_evaluation"] == {"flops": evaluation.flops, "bytes": 2 * evaluation.bytes}  # as doubles
    halos, slow = set(), set()
    for shape, found in counted["fine_step"].items():
        K, J = map(int, shape.split(","))
        work = limits.fine_step(K, J)
        halos.add(found["flops"] - work.flops)
        slow.add((K, found["bytes"] - work.bytes))
    assert len(halos) == 1  # the same for all rings
    assert len(slow) == 2  # the same for all numbers of fast variables


def test_medians_of_commits_are_those_of_one_processor_in_the_order_of_their_dates() -> None:
    page = importlib.import_module("page")
    records = [record("b", "new", 12, 6.0), record("a", "new", 11, 2.0), record("b", "old", 12, 9.0)]
    records += [record("b", "new", 13, 8.0)]
    found = page.grouped("\n".join(map(json.dumps, records)))
    assert list(found) == ["closure"]
    assert list(page.medians(found["closure"], "ten fine steps", "new").items()) == [("a", 2.0), ("b", 7.0)]


def test_page_shows_the_last_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sketched: None
) -> None:
    page = importlib.import_module("page")
    results = tmp_path / "results.jsonl"
    results.write_text("".join(f"{json.dumps(record(f'{day:040}', 'some', day, day / 4))}\n" for day in (13, 11)))
    monkeypatch.setattr(sys, "argv", ["page.py", str(results)])
    page.main()
    written = tmp_path / "index.html"
    assert capsys.readouterr().out.strip() == str(written)
    text = written.read_text(encoding="utf-8")
    assert "<span>3.25<" in text
    assert "<span>2.75<" not in text
    assert "Settings" not in text
