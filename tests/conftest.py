"""Fixtures that several test modules share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Call, Outcome

from l96closure import cli


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run the command line in this process, in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def run(*overrides: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["l96closure", *overrides])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        status = 0
        try:
            cli.main()
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        return Outcome(status, *capsys.readouterr())

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield run
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
