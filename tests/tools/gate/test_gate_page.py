"""The page and the workflow file say what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from attnc.compiler.errors import ExitCode
from attnc.tools.gate.budget import Case, Limits, Method, load_budgets

DOCS = Path(__file__).resolve().parent.parent.parent.parent / "docs"
PAGE = (DOCS / "gate.md").read_text(encoding="utf-8")


def test_the_budget_file_on_the_page_can_be_read(tmp_path: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    assert len(load_budgets(path).case) == 2


@pytest.mark.parametrize("model", [Case, Limits, Method])
def test_every_key_is_on_the_page(model: Any) -> None:
    for name in set(model.model_fields) - {"limits"}:
        assert f"`{name}`" in PAGE, name


def test_defaults_on_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (`[\w`, ]+`) \| ([\d., ]+) \|", PAGE, flags=re.MULTILINE)
    told = {
        name.strip(" `"): float(value)
        for names, values in rows
        for name, value in zip(names.split(","), values.split(","), strict=True)
    }
    assert len(told) >= 10
    assert told == {name: pytest.approx(getattr(Method(), name)) for name in told}


def test_every_exit_code_is_on_the_page() -> None:
    for code in ExitCode:
        assert f"| {int(code)} |" in PAGE


def test_the_workflow_is_yaml_and_its_commands_exist() -> None:
    yaml = pytest.importorskip("yaml")
    from attnc.compiler.cli.main import app

    workflow = yaml.safe_load((DOCS / "ci" / "attnc-gate.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["gate"]["steps"]
    script = "\n".join(step.get("run", "") for step in steps).replace("\\\n", " ")
    calls = [line.strip() for line in script.splitlines() if line.strip().startswith("attnc ")]
    assert len(calls) == 2
    command = typer.main.get_command(app).commands["gate"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    for call in calls:
        used = {word for word in shlex.split(call.split("||")[0]) if word.startswith("--")}
        assert used <= known, used - known
