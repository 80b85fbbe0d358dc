"""The README's table, from reports with known figures."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.errors import UsageError
from attnc.tools import peer_table
from attnc.tools.peer_table import MODELS, conditions, footprint_table, left_out, table, text_of
from attnc.tools.table_page import merge_into, read, replace_table


def row(runner: str, threads: int, median: float, **ratios: float) -> dict[str, Any]:
    return {
        "runner": runner,
        "threads": threads,
        "batch": 1,
        "median_ms": median,
        "ratio_to": ratios,
        "ratio_interval": {name: [ratio - 0.01, ratio + 0.02] for name, ratio in ratios.items()},
    }


REPORT: dict[str, Any] = {
    "model": "net",
    "precision": "fp32",
    "results": [
        row("attnc", 1, 6.0, ort=0.6, torch=0.3),
        row("ort", 1, 10.0),
        row("torch", 1, 20.0),
        row("attnc", 2, 4.0, ort=0.5),
        row("ort", 2, 8.0),
    ],
    "footprint": [
        {"runner": "attnc", "ratio_to": {"ort": {"create_ms": 0.5, "peak_mb": 0.75}}},
        {"runner": "ort"},
    ],
    "machine": {
        "cpu": "Abacus",
        "cores": 2,
        "features": ["beads"],
        "python": "3.11",
        "versions": {"attnc": "0.1.0"},
    },
    "method": {"sittings": 4, "rounds": 10, "burst": 3},
    "measured": "2026-11-22",
    "left_out": [{"runner": "abacus", "reason": "no beads", "remedy": ""}],
}


def test_table_has_a_row_for_each_setting_and_columns_for_each_peer() -> None:
    lines = table([REPORT]).splitlines()
    assert lines[0].split("|")[1:-1] == [
        f" {cell} "
        for cell in (
            *("model", "threads", "batch", "attnc ms"),
            *("ort ms", "attnc / ort", "torch ms", "attnc / torch"),
        )
    ]
    assert lines[2] == (
        "| net | 1 | 1 | 6.00 | 10.00 | **0.60** (0.59-0.62) | 20.00 | **0.30** (0.29-0.32) |"
    )
    assert lines[3] == "| net | 2 | 1 | 4.00 | 8.00 | **0.50** (0.49-0.52) |  |  |"
    assert len({line.count("|") for line in lines}) == 1


def test_footprint_and_conditions() -> None:
    assert footprint_table([REPORT]).splitlines()[-1] == "| net | 0.50 | 0.75 |"
    assert footprint_table([{**REPORT, "footprint": []}]) == ""
    said = conditions(REPORT)
    for text in ("2026-11-22", "Abacus", "2 cores", "beads", "attnc 0.1.0", "medians of 120"):
        assert text in said


def test_what_is_left_out_is_told_once_per_reason() -> None:
    other = {**REPORT, "model": "other"}
    assert left_out([REPORT, other, REPORT]) == (
        "- abacus is not in the rows of net, other: no beads"
    )


def renamed(name: str, **changes: Any) -> dict[str, Any]:
    return {**REPORT, "model": name, **changes}


def test_a_partial_run_replaces_its_rows_and_keeps_the_others() -> None:
    first = text_of([renamed("shvit_s1"), renamed("deit_small")])
    page = replace_table("a\n<!-- table -->\n<!-- /table -->\nb\n", first)
    assert merge_into(page, first, MODELS) == first
    faster = [row("attnc", 1, 5.0, openvino=0.5), row("openvino", 1, 10.0)]
    second = text_of(
        [renamed("shvit_s1", results=faster, measured="2026-12-01", left_out=[]), renamed("net")]
    )
    content = read(merge_into(page, second, MODELS))
    rows = content.grids[0].rows
    assert [row["model"] for row in rows] == ["shvit_s1", *["deit_small"] * 2, *["net"] * 2]
    assert (rows[0]["attnc ms"], rows[0]["openvino ms"], rows[0]["ort ms"]) == ("5.00", "10.00", "")
    assert (rows[1]["ort ms"], rows[1]["openvino ms"]) == ("10.00", "")
    assert [row["model"] for row in content.grids[1].rows] == ["shvit_s1", "deit_small", "net"]
    said = {models: text for text, (models, *_) in content.sentences.items()}
    assert "2026-12-01" in said["shvit_s1"]
    assert "2026-11-22" in said["deit_small"]


def test_the_readme_of_before_can_be_merged() -> None:
    old = table([renamed("shvit_s1"), renamed("shvit_s2")]) + "\n\nMeasured 2026-01-01 on X; y."
    page = f"<!-- table -->\n{old}\n<!-- /table -->"
    text = merge_into(page, text_of([renamed("shvit_s2")]), MODELS)
    assert "shvit_s1: measured 2026-01-01 on X; y." in text


def test_models_that_fail_or_are_held_do_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: Any) -> None:
        asked.append(" ".join(command[3:5]))
        if "bad" in command[4]:
            raise subprocess.TimeoutExpired(command, 1.0)
        if command[3] == "export":
            Path(command[command.index("-o") + 1]).mkdir()
        if command[3] == "bench":
            Path(command[-1]).write_text(json.dumps(renamed("good")))

    monkeypatch.setattr(peer_table.subprocess, "run", run)
    (tmp_path / "held.json").write_text(json.dumps(renamed("held")))
    names = ("bad", "held", "good")
    reports, failed = peer_table.measure_all(names, tmp_path, [], 1.0, resume=True)
    assert [report["model"] for report in reports] == ["held", "good"]
    assert failed == ["bad"]
    assert [line.split()[0] for line in asked] == ["export", "export", "verify", "bench"]
    assert (tmp_path / "good.json").is_file()
    assert not (tmp_path / "good").exists()


def test_every_model_of_the_table_is_listed() -> None:
    from attnc.model_defs.registry import list_models

    assert set(MODELS) <= set(list_models())


def test_table_replaces_the_old_one_and_nothing_else() -> None:
    page = "before\n<!-- table -->\nold\n<!-- /table -->\nafter\n"
    new = replace_table(page, "| new |")
    assert new == "before\n<!-- table -->\n| new |\n<!-- /table -->\nafter\n"
    assert replace_table(new, "| new |") == new
    with pytest.raises(UsageError, match="no place"):
        replace_table("no marks", "| new |")
