"""No operation of the evaluator without a test against a formula."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytest.importorskip("coremltools")


def cases_of_all() -> set[str]:
    """Operations of the cases in the modules beside this one."""
    found: set[str] = set()
    for path in sorted(Path(__file__).parent.glob("test_ops_*.py")):
        if path.name == Path(__file__).name:
            continue
        module = importlib.import_module(path.stem)
        found |= {case.operation for case in getattr(module, "CASES", ())}
        found |= set(getattr(module, "TESTED", ()))
    return found


def test_every_operation_has_a_case() -> None:
    from attnc.runtimes.coreml.ops.table import TABLE

    assert set(TABLE) - cases_of_all() == set()


def test_every_case_has_an_operation() -> None:
    from attnc.runtimes.coreml.ops.table import TABLE

    assert cases_of_all() - set(TABLE) == set()
