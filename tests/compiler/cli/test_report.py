"""`attnc report` and `attnc compare`: what they write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnc.tools.report.document import Document


def test_a_page_its_json_and_its_markdown(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    page, text, data = (tmp_path / f"it.{end}" for end in ("html", "md", "json"))
    done = cli(
        "report", tiny_bundle, tiny_bundle, "--quick",
        "-o", page, "--markdown", text, "--json", data,
    )  # fmt: skip
    assert done.code == 0
    assert done.out == ""
    assert "2 bundle(s)" in done.err
    document = Document.model_validate_json(data.read_text())
    assert len(document.bundles) == 2
    assert page.read_text().startswith("<!doctype html>")
    assert text.read_text().count("tiny_net:build") == 2


def test_json_alone_on_stdout(cli: Any, tiny_bundle: Path) -> None:
    done = cli("report", tiny_bundle, "--quick", "--json", "-")
    assert done.code == 0
    assert json.loads(done.out)["format"] == "attnc-report"


def test_markdown_alone_on_stdout(cli: Any, tiny_bundle: Path) -> None:
    done = cli("report", tiny_bundle, "--quick", "--markdown", "-")
    assert done.out.startswith("### attnc report\n")
    assert done.out.endswith("\n")


def test_evidence_from_files(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    checks = [{"name": "parity/x/kernels", "status": "failed", "value": 0.5, "limit": 0.1}]
    (tmp_path / "v.json").write_text(json.dumps({"ok": False, "checks": checks}))
    done = cli("report", tiny_bundle, "--quick", "--verify", tmp_path / "v.json", "--markdown", "-")
    assert done.code == 0  # a report tells; `attnc verify` fails
    assert "**NOT verified**" in done.out
    assert "0.5 where 0.1 is allowed" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to write"),
        (("--json", "-", "--markdown", "-"), "only one report fits"),
        (("--quick", "--run", "--json", "-"), "--quick runs nothing"),
        (("--json", "-", "--verify", "none.json"), "cannot read none.json"),
        (("--quick", "-o", "nowhere/it.html"), "cannot write"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], said: str, cli: Any, tiny_bundle: Path
) -> None:
    done = cli("report", tiny_bundle, *arguments)
    assert done.code == 2
    assert said in done.err


def test_a_folder_that_is_no_bundle(cli: Any, tmp_path: Path) -> None:
    assert cli("report", tmp_path, "--json", "-").code == 2
    assert cli("compare", tmp_path, tmp_path).code == 2


def test_comparing_a_bundle_with_itself(cli: Any, tiny_bundle: Path) -> None:
    done = cli("compare", tiny_bundle, tiny_bundle)
    assert done.code == 0
    assert done.out == ""
    assert "0 difference(s)" in done.err


def test_comparing_two_bundles(
    cli: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnc.compiler.cli.api import export

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "data"))
    export("tiny_net:build", output=tmp_path / "b")  # batch 1
    page, data = tmp_path / "it.html", tmp_path / "it.json"
    done = cli("compare", tiny_bundle, tmp_path / "b", "-o", page, "--json", data)
    assert done.code == 0
    assert "batch" in done.out
    document = json.loads(data.read_text())
    differing = {row["item"] for row in document["rows"] if row["differs"]}
    assert document["differences"] == len(differing)
    assert {"batch", "input", "output"} <= differing
    assert "opset" not in differing
    assert "tiny_net:build" in page.read_text()
    assert "not compared: outputs of the bundles: they take different inputs" in done.err


def test_all_prints_what_is_the_same(cli: Any, tiny_bundle: Path) -> None:
    assert "opset" in cli("compare", tiny_bundle, tiny_bundle, "--all", "--no-run").out
