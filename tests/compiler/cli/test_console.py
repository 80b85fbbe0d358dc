"""Bars on a terminal, plain lines elsewhere; never anything on stdout."""

from __future__ import annotations

import sys

import pytest

from attnc.compiler.cli.console import progress


def work() -> None:
    with progress() as shown:
        shown.stage("counting", 3)
        shown.advance(2)
        shown.stage("pondering")
        shown.advance()


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    work()
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("] ")[1] for line in err.splitlines()] == ["counting", "pondering"]


def test_bars_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    work()
    out, err = capsys.readouterr()
    assert out == ""
    assert "counting" in err
    assert "━" in err


def test_bars_end_with_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def interrupted() -> None:
        with progress() as shown:
            shown.stage("counting", 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
