"""Compute plans, on a stand-in for a Mac."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_coremltools import REFUSAL, World, install
from saved_packages import save_tensors

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.coreml.device_plan import placement

OPERATIONS = [
    ("const", [], None),
    ("ios17.const", [], None),
    ("ios18.constexpr_blockwise_shift_scale", [], None),
    ("ios17.conv", ["ne", "gpu", "cpu"], 0.3),
    ("ios17.gather", ["cpu"], 0.05),
    ("ios17.softmax", ["gpu", "cpu"], 0.05),
    ("ios17.identity", [], None),
]


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> World:
    """A Mac that does everything right."""
    return install(monkeypatch)


def test_a_plan_counts_devices_and_names_what_leaves_the_neural_engine(
    mac: World, tensors: Path
) -> None:
    mac.plan = OPERATIONS
    plan = placement(tensors, "cpu-and-ne")
    assert plan.counts == {"neural-engine": 1, "cpu": 1, "gpu": 1, "unknown": 1}
    assert plan.cost_shares == pytest.approx(
        {"neural-engine": 0.75, "cpu": 0.125, "gpu": 0.125, "unknown": 0}
    )
    found = [(each.name, each.kind, each.device) for each in plan.elsewhere]
    assert found == [
        ("v4", "ios17.gather", "cpu"),
        ("v5", "ios17.softmax", "gpu"),
        ("v6", "ios17.identity", "unknown"),
    ]
    assert plan.operations[0].supported == ("neural-engine", "gpu", "cpu")
    document = plan.as_json()
    assert document["units"] == "cpu-and-ne"
    assert document["not_on_neural_engine"][0]["kind"] == "ios17.gather"
    assert mac.calls == [("compile", "toy.mlpackage"), ("plan", "CPU_AND_NE")]


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        ({"refusal": REFUSAL}, "no beads for this abacus"),
        ({"program": False}, "no program"),
        ({"plan": [("ios16.conv", [], None)]}, "does not say of any operation"),
    ],
)
def test_packages_without_a_plan(
    monkeypatch: pytest.MonkeyPatch, tensors: Path, behaviour: Any, problem: str
) -> None:
    install(monkeypatch, **behaviour)
    with pytest.raises(UnsupportedError, match=problem) as caught:
        placement(tensors)
    assert caught.value.where == str(tensors)
    assert "macOS 14.4" in caught.value.remedy


def test_a_plan_of_no_package(mac: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a readable Core ML package"):
        placement(tmp_path)
    assert mac.calls == []
