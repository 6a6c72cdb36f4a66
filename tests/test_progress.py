"""Progress of long work, on a terminal and off it."""

from __future__ import annotations

import logging
import sys

import pytest

from l96closure import progress


def work(show: bool, capsys: pytest.CaptureFixture[str]) -> str:
    with progress.shown(show), progress.bar(3, "work", "piece", leave=False) as bar:
        for _ in range(3):
            bar.update()
    return capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "work:" in work(True, capsys)


def test_a_log_gets_lines_with_rate_and_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    with caplog.at_level(logging.INFO), progress.shown(), progress.bar(3, "work", "piece") as bar:
        for number in range(3):
            bar.update()
            bar.set_postfix(residual=number)
    assert capsys.readouterr().err == ""
    assert caplog.messages
    for line in caplog.messages:
        assert line.startswith("work: ")
        assert " left, " in line
        assert "piece/s" in line


def test_lines_are_few(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), progress.shown(), progress.bar(3, "work", "piece", leave=False) as bar:
        for number in range(3):
            bar.update()
            bar.set_postfix(residual=number)
    assert not caplog.messages


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert work(True, capsys) == work(False, capsys) == ""
    assert not caplog.messages
