"""Whole Sparsifiners, small: exported, verified, and failed where something in them is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.api import export, rebuild_reference
from attnc.runtimes.checks import Check, Report
from attnc.runtimes.compare import RELATIVE_LIMIT
from attnc.runtimes.tolerance import KEEPS_ALL_LIMIT, Tolerance, is_discontinuous
from attnc.runtimes.verify import verify

#: The factory, and which attentions its bundle has.
BUNDLES = {
    "plain": {"SparseAttention": 1, "Attention": 1},
    "pruned": {"SparseAttention": 4, "SparseAttentionActive": 1, "Attention": 1},
    "keeps_all": {"SparseAttention": 1, "Attention": 1},
}


@pytest.fixture(scope="module", params=BUNDLES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Bundle, Report]]:
    """The name, the bundle and the report on it."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
    try:
        folder = tmp_path_factory.mktemp("small") / request.param
        bundle = export(f"small_sparsifiner:{request.param}", output=folder, measure=False)
        yield request.param, bundle, verify(bundle, lambda: rebuild_reference(bundle))
    finally:
        sys.path.pop(0)


def named(report: Report, start: str) -> list[Check]:
    found = [check for check in report.checks if check.name.startswith(start)]
    assert found
    return found


def test_the_attentions_are_fused_and_verified(case: tuple[str, Bundle, Report]) -> None:
    name, bundle, report = case
    operators = bundle.manifest.operators
    found = {op.removeprefix("attnc::"): n for op, n in operators.items() if "Attention" in op}
    assert found == BUNDLES[name]
    assert report.ok, report.checks


def test_the_limit_depends_on_whether_the_model_chooses(case: tuple[str, Bundle, Report]) -> None:
    name, bundle, report = case
    assert is_discontinuous(bundle) == (name != "keeps_all")
    for check in named(report, "parity/"):
        assert check.limit is not None
        if name == "keeps_all":
            assert check.limit < RELATIVE_LIMIT
            assert "keeps every key" in check.reason
        else:
            assert check.limit > RELATIVE_LIMIT


def test_every_choice_is_checked(case: tuple[str, Bundle, Report]) -> None:
    name, _, report = case
    if name == "keeps_all":
        assert not [check for check in report.checks if check.name.startswith("choices/")]
        return
    for check in named(report, "choices/"):
        assert check.limit == RELATIVE_LIMIT
        assert check.value is not None
        assert check.value <= 2e-5
        assert "operators that choose" in check.reason


@pytest.mark.parametrize("place", ["keep", "scale"])
def test_a_wrong_operator_fails_its_own_check(
    case: tuple[str, Bundle, Report], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that were built of other numbers than the graph says, a little off."""
    from attnc.runtimes import choices

    name, bundle, _ = case
    if name == "keeps_all":
        return
    model = ir.load(bundle.model_path)
    node = next(node for node in model.graph if node.op_type == "SparseAttention")
    wrong = {"keep": ir.AttrInt64("keep", 9), "scale": ir.AttrFloat32("scale", 0.1251)}
    right = {key: found.value for key, found in node.attributes.items()}
    node.attributes[place] = wrong[place]
    ir.save(model, tmp_path / "model.onnx")
    monkeypatch.setattr(Bundle, "model_path", property(lambda _: tmp_path / "model.onnx"))
    watch = choices._watch

    def as_exported(*args: Any) -> Iterator[Any]:
        for seen in watch(*args):
            yield choices._Seen(seen.name, seen.inputs, {**seen.attributes, **right}, seen.output)

    monkeypatch.setattr(choices, "_watch", as_exported)
    array = np.random.default_rng(0).standard_normal((1, 3, 96, 96)).astype(np.float32)
    check = choices.choice_check(bundle, "choices", array, kernels=True)
    assert check is not None
    assert check.status == "failed"


def test_the_limit_where_all_keys_are_kept() -> None:
    logits = np.array([[1.0, -1.0, 2.0, -2.0]])
    limit = KEEPS_ALL_LIMIT * float(logits.std()) / 2
    assert Tolerance(keeps_all=True).limit(logits) == pytest.approx(limit)
    assert Tolerance(keeps_all=True).limit(logits / 100) == RELATIVE_LIMIT
