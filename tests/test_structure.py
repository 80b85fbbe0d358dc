"""The shape of the repository: packages, import directions, and what `import attnc` may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("compiler", "model_defs", "passes", "runtimes", "targets", "tools")
#: Who may import whom, besides itself; the command line and the tools may import everything.
ALLOWED = {
    "model_defs": set(),
    "compiler": {"model_defs.registry"},
    "passes": {"compiler"},
    "targets": {"passes", "compiler"},
    "runtimes": {"compiler"},
}
FREE = ("tools", "compiler/cli")
SOURCES = sorted(
    path
    for top in (*TOP, "attnc")
    for path in (ROOT / top).rglob("*.py")
    if "__pycache__" not in path.parts
)


def imports_of(path: Path) -> list[str]:
    """Dotted names of all absolute imports anywhere in a file."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_packages_are_the_folders_on_disk() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = set(config["tool"]["setuptools"]["packages"])
    folders = {
        "attnc." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in SOURCES
        if path.name == "__init__.py" and path.parent.name != "attnc"
    }
    assert listed == folders | {"attnc"}
    for path in SOURCES:
        assert (path.parent / "__init__.py").exists(), f"{path.parent} is no package"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    top = place.split("/")[0]
    for name in imports_of(path):
        assert name.split(".")[0] not in TOP, f"{place} imports bare {name}"
        if not name.startswith("attnc.") or place.startswith(FREE) or top == "attnc":
            continue
        inner = name.removeprefix("attnc.")
        if inner.split(".")[0] not in TOP or inner.split(".")[0] == top:
            assert not (top == "compiler" and inner.startswith("compiler.cli")), f"{place}: {name}"
            continue
        allowed = ALLOWED[top]
        assert any(inner == a or inner.startswith(a + ".") for a in allowed), f"{place}: {name}"


def test_import_needs_no_heavy_library() -> None:
    code = (
        "import sys, attnc, attnc.compiler.errors\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'onnx_ir', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_and_functions_stay_small() -> None:
    for path in SOURCES:
        text = path.read_text("utf-8")
        assert text.count("\n") <= 400, f"{path} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 80, f"{path}:{node.lineno} {node.name} has {length} lines"
