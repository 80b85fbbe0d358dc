"""Every output is read back by what reads it in CI."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from gate_fakes import COUNTERS, MACHINE, FakeLab, FakeSitter
from pydantic import ValidationError

from attnc.compiler.manifest import canonical_json
from attnc.tools.gate.budget import Budgets
from attnc.tools.gate.facts import Facts
from attnc.tools.gate.gate import Setting, run_gate
from attnc.tools.gate.github import benchmark_entries, workflow_commands
from attnc.tools.gate.junit import junit_xml
from attnc.tools.gate.markdown import markdown_text
from attnc.tools.gate.report import GateReport
from attnc.tools.gate.schema import schemas
from attnc.tools.gate.words import summary

ROOT = Path(__file__).resolve().parent.parent.parent.parent
#: A name with all that XML, markdown and GitHub's commands take for their own.
NASTY = "a<b>&\"'|::x, 100%\x1b\nnew"


@pytest.fixture(scope="module")
def report() -> GateReport:
    """One case that fails, one without a verdict, one that passes."""
    wanted = Budgets.model_validate(
        {
            "gate": {"most": 8},
            "case": [
                {"name": NASTY, "model": "x", "limits": {"latency_ratio": 1.5, "nodes": 46}},
                {"name": "noisy", "model": "x", "limits": {"latency_ratio": 1.0}},
                {"name": "fine", "model": "x", "limits": {"latency_ratio": 9, "fused_share": 1}},
            ],
        }
    )
    sitter = FakeSitter({NASTY: 2.0, "noisy": 1.0, "fine": 1.0}, spread=0.12)
    lab = FakeLab(sitter, Facts(dict(COUNTERS)))
    setting = Setting("ci/budgets, all.toml", [3, 9, 15], MACHINE, None, None)
    made = run_gate(wanted, lab, setting)[0]
    statuses = {(r.case, r.metric): r.status for r in made.results}
    assert statuses[NASTY, "latency_ratio"] == "failed"
    assert statuses["noisy", "latency_ratio"] == "no-verdict"
    assert statuses["fine", "latency_ratio"] == "passed"
    return made


def test_json_follows_its_schema_and_comes_back(report: GateReport) -> None:
    text = json.dumps(report.to_json(), allow_nan=False)
    assert GateReport.model_validate_json(text) == report
    document = report.to_json()
    for change in ({"extra": 1}, {"verdict": "fine"}, {"cases": [{}]}):
        with pytest.raises(ValidationError):
            GateReport.model_validate_json(json.dumps({**document, **change}))


def test_published_schemas_are_those_of_the_code() -> None:
    for name, schema in schemas().items():
        held = (ROOT / "docs" / "ci" / name).read_text(encoding="utf-8")
        assert held == canonical_json(schema), f"python -m attnc.tools.gate.schema docs/ci ({name})"


def test_junit(report: GateReport) -> None:
    suites = ElementTree.fromstring(junit_xml(report).encode())
    assert [suite.get("name") for suite in suites] == [NASTY.replace("\x1b", "?"), "noisy", "fine"]
    first, second, third = suites
    assert (first.get("tests"), first.get("failures"), first.get("errors")) == ("2", "1", "0")
    assert (second.get("failures"), second.get("errors")) == ("0", "1")
    assert (third.get("failures"), third.get("errors")) == ("0", "0")
    failure = first.find("testcase/failure")
    assert failure is not None
    assert "a second run confirms it" in (failure.get("message") or "")
    assert len(suites.findall("testsuite/testcase")) == len(report.results)


COMMAND = re.compile(r"::(error|warning|notice) file=([^,:]*),line=(\d+),title=([^,:]*)::(.*)")


def unescaped(text: str) -> str:
    for code, character in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ",")):
        text = text.replace(code, character)
    return text.replace("%25", "%")


def test_workflow_commands(report: GateReport) -> None:
    found = [COMMAND.fullmatch(line) for line in workflow_commands(report)]
    assert all(found)
    parts = [match.groups() for match in found if match]
    assert [(level, line) for level, _, line, _, _ in parts] == [("error", "3"), ("warning", "9")]
    assert unescaped(parts[0][1]) == "ci/budgets, all.toml"
    assert unescaped(parts[0][3]) == f"attnc gate: {NASTY}: latency_ratio"
    assert "limit 1.5" in unescaped(parts[0][4])


def test_markdown(report: GateReport) -> None:
    text = markdown_text(report)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {9}
    assert "**failed**" in rows[2]
    assert "**no-verdict**" in rows[3]
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert summary(report) in text


def test_github_action_benchmark(report: GateReport) -> None:
    entries: list[dict[str, Any]] = json.loads(json.dumps(benchmark_entries(report)))
    assert len({entry["name"] for entry in entries}) == len(entries)
    for entry in entries:
        assert isinstance(entry["name"], str)
        assert isinstance(entry["unit"], str)
        assert isinstance(entry["value"], (int, float))
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["fine: latency_ms"]["unit"] == "ms"
    assert by_name["fine: latency_ms"]["range"].startswith("± ")
    assert by_name["fine: unfused_share"]["value"] == 0
    assert "fine: fused_share" not in by_name
