"""The table of web benchmarks says what the reports say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.errors import UsageError
from attnc.tools.web_table import main, rows_of


def report(*runners: str) -> dict[str, Any]:
    rows = [
        {
            "runner": name,
            "threads": 2,
            "median_ms": 10.0 + place,
            "n": 5,
            "ratio_to": {"ort-web-plain": 0.9091},
            "ratio_interval": {"ort-web-plain": [0.851, 0.949]},
        }
        for place, name in enumerate(runners)
    ]
    machine = {"cpu": "some", "cores": 2}
    known = {"model": "m", "precision": "fp32", "runtime": "r", "ready_ms": {"2": 321.4}}
    return {**known, "machine": machine, "results": rows}


def test_a_row_for_each_number_of_threads(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(report("attnc", "ort-web-plain")))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    main([tmp_path / "r.json"], page)
    text = page.read_text()
    assert "| m | 2 | 10.0 | 11.0 | 0.91 [0.85, 0.95] | 321 |" in text
    assert "old" not in text
    assert text.startswith("before")


def test_a_report_without_the_plain_export() -> None:
    with pytest.raises(UsageError, match="no ort-web-plain"):
        rows_of(report("attnc", "ort-web"))
