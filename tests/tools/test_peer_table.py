"""The README's table, from reports with known figures."""

from __future__ import annotations

from typing import Any

import pytest

from attnc.compiler.errors import UsageError
from attnc.tools.peer_table import conditions, footprint_table, replace_table, table


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
    said = conditions(REPORT, "2026-11-22")
    for text in ("2026-11-22", "Abacus", "2 cores", "beads", "attnc 0.1.0", "medians of 120"):
        assert text in said


def test_table_replaces_the_old_one_and_nothing_else() -> None:
    page = "before\n<!-- table -->\nold\n<!-- /table -->\nafter\n"
    new = replace_table(page, "| new |")
    assert new == "before\n<!-- table -->\n| new |\n<!-- /table -->\nafter\n"
    assert replace_table(new, "| new |") == new
    with pytest.raises(UsageError, match="no place"):
        replace_table("no marks", "| new |")
