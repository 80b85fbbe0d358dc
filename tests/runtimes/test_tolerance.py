"""Verification of models that choose: measured against the source's own rounding, never blind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.api import export, rebuild_reference
from attnc.compiler.ops import registry
from attnc.runtimes.checks import top1_check
from attnc.runtimes.compare import RELATIVE_LIMIT, compare
from attnc.runtimes.tolerance import Tolerance, is_discontinuous
from attnc.runtimes.verify import verify


@pytest.fixture(scope="module")
def sparse_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sys

    folder = str(Path(__file__).resolve().parent.parent / "data")
    sys.path.insert(0, folder)
    try:
        return export("tiny_sparse:build", output=tmp_path_factory.mktemp("b") / "b").path
    finally:
        sys.path.remove(folder)


def parities(report: Any) -> list[Any]:
    return [check for check in report.checks if check.name.startswith("parity/")]


def test_a_continuous_model_keeps_the_strict_limit(tiny_bundle: Path) -> None:
    assert not is_discontinuous(Bundle.open(tiny_bundle))
    assert Tolerance().limit(np.array([[1.0, 3.0]])) == RELATIVE_LIMIT


def test_the_limit_follows_the_sources_own_difference() -> None:
    logits = np.array([[1.0, -1.0, 2.0, -2.0]])
    least = 2e-2 * float(logits.std()) / 2
    assert Tolerance(discontinuous=True).limit(logits) == pytest.approx(least)
    assert Tolerance(discontinuous=True, own=1e-6).limit(logits) == pytest.approx(least)
    assert Tolerance(discontinuous=True, own=0.1).limit(logits) == pytest.approx(5 * 0.1 / 2)
    moved = Tolerance(discontinuous=True, own=0.1, moved=0.3)
    assert moved.limit(logits) == pytest.approx(2 * 0.3 / 2)


@pytest.mark.usefixtures("importable_data")
def test_the_report_names_the_yardstick(sparse_bundle: Path) -> None:
    bundle = Bundle.open(sparse_bundle)
    assert is_discontinuous(bundle)
    report = verify(bundle, lambda: rebuild_reference(bundle))
    assert report.ok
    for check in parities(report):
        assert check.limit > RELATIVE_LIMIT
        assert "own difference between float32 and float64 is" in check.reason


@pytest.mark.usefixtures("importable_data")
@pytest.mark.parametrize("place", ["keep", "coef_scale", "basis"])
def test_a_broken_bundle_still_fails(
    sparse_bundle: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One attention reads other keys than the source: too many, by other scores, off by one."""
    bundle = Bundle.open(sparse_bundle)
    model = ir.load(sparse_bundle / "model.onnx")
    node = next(node for node in model.graph if node.op_type == "SparseAttention")
    if place == "basis":
        value = node.inputs[6]
        value.const_value = ir.tensor(np.roll(value.const_value.numpy(), 1, 1), name=value.name)
    else:
        wrong = {"keep": ir.AttrInt64("keep", 9), "coef_scale": ir.AttrFloat32("coef_scale", -2.0)}
        node.attributes[place] = wrong[place]
    broken = tmp_path / "model.onnx"
    ir.save(model, broken)
    monkeypatch.setattr(Bundle, "model_path", property(lambda _: broken))
    report = verify(bundle, lambda: rebuild_reference(bundle))
    assert not report.ok
    assert any(check.status == "failed" for check in parities(report))


def test_another_class_within_the_tolerance_is_not_counted_as_wrong() -> None:
    distance = compare(np.array([[1.0, 1.1]]), np.array([[1.1, 1.0]]))
    assert top1_check("top1", distance).status == "failed"
    assert top1_check("top1", distance, near_tie=True).status == "not-verified"


def test_only_what_hides_keys_is_discontinuous() -> None:
    names = {operator.name for operator in registry.OPERATORS if operator.discontinuous}
    sparse = {"SparseAttention", "SparseAttentionActive"}
    assert names == sparse | {"SparseRows", "SparseRowsActive"}
