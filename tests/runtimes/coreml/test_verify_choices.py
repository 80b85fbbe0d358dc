"""Models that choose, which rounding may lead elsewhere, and classes that change places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bent_bundles import bent, changed, exported, found, gone, net, towards

from attnc.compiler.bundle import Bundle
from attnc.runtimes.coreml import judging as checking
from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.reference import half_function
from attnc.runtimes.tolerance import Tolerance

pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(tmp_path_factory.mktemp("verify"))


def halved(patch: pytest.MonkeyPatch, cosine: float) -> None:
    """In float16 the source gives logits of this cosine to those in float32."""
    turned, built = towards(cosine), net()

    def half(array: Any) -> Any:
        with torch.no_grad():
            return turned(built(torch.from_numpy(array)).numpy())

    patch.setattr(checking, "half_function", lambda module: half)


@pytest.fixture
def choosing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The bundle as if its model chose, differently in float16."""
    tolerance = Tolerance(discontinuous=True, own=0.0)
    monkeypatch.setattr(checking, "tolerance_of", lambda *_: tolerance)
    halved(monkeypatch, 0.8)
    return bundle


@pytest.mark.parametrize(("cosine", "status"), [(0.65, "verified"), (0.55, "failed")])
def test_twice_as_far_as_its_source_in_float16(
    choosing: Bundle, monkeypatch: pytest.MonkeyPatch, cosine: float, status: str
) -> None:
    bent(monkeypatch, towards(cosine))
    check = found(choosing)["mlprogram.parity.fp16"]
    assert check.status == status
    assert check.limit == pytest.approx(0.6, abs=1e-3)
    assert "the model chooses, and its source in float16 gives 0.80" in check.reason


def test_the_worst_input_is_named_however_low_the_limit(
    choosing: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    halved(monkeypatch, 0.6)
    turns = iter([0.9, 0.8, 0.7, 0.3, 0.6, 0.5])

    def turn(logits: Any) -> Any:
        return towards(next(turns))(logits)

    bent(monkeypatch, turn)
    check = found(choosing)["mlprogram.parity.fp16"]
    assert check.limit == pytest.approx(0.2, abs=1e-3)
    assert check.reason.startswith("worst of 6 inputs: source-seed12; ")


def test_a_source_that_float16_changes_little_allows_no_more_than_others(
    choosing: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "half_function", lambda module: None)
    assert found(choosing)["mlprogram.parity.fp16"].limit == pytest.approx(0.9999)

    def stubborn(array: Any) -> Any:
        raise RuntimeError("expected Float but found Half")

    monkeypatch.setattr(checking, "half_function", lambda module: stubborn)
    check = found(choosing)["mlprogram.parity.fp16"]
    assert check.limit == pytest.approx(0.9999)
    check = found(choosing, module=gone)["mlprogram.parity.fp16"]
    assert check.limit == pytest.approx(0.9999)


def test_sources_in_float16() -> None:
    x = np.random.default_rng(6).standard_normal((1, 3, 12, 12)).astype(np.float32)
    module = net()
    half = half_function(module)
    assert half is not None
    with torch.no_grad():
        exact = module(torch.from_numpy(x)).numpy()
    assert half(x).dtype == np.float32
    assert 0 < np.abs(half(x) - exact).max() < 1e-2
    assert next(module.parameters()).dtype == torch.float32
    assert half_function(Path("net.onnx")) is None


# --- the first class -----------------------------------------------------------------------------


def swapped(logits: Any) -> Any:
    """The best two classes change places by a hair."""
    first, second = np.argsort(-logits[0])[:2]
    logits = logits.copy()
    logits[0, [first, second]] = logits[0, [first, first]]
    logits[0, second] += 1e-6
    return logits


@pytest.mark.parametrize(("precision", "status"), [("int8w", "failed"), ("pal4w", "not-verified")])
def test_another_class(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, precision: str, status: str
) -> None:
    bent(monkeypatch, swapped)
    check = found(changed(bundle, precision=precision))["mlprogram.top1"]
    assert (check.status, check.value) == (status, 0.0)
    for text in ("another class", "photo-china", "photo-flower", "lead"):
        assert text in check.reason


def test_another_class_where_the_model_chooses(
    choosing: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bent(monkeypatch, swapped)
    assert found(choosing)["mlprogram.top1"].status == "not-verified"


def ranking(monkeypatch: pytest.MonkeyPatch, cosine: float, kept: list[int]) -> None:
    """Programs rank three tokens; in float16 they keep `kept`, and give turned logits."""
    right = checking.evaluate

    def evaluate(evaluator: Any, given: Any, watch: Any = None) -> Any:
        half = "twin" not in str(evaluator.package.path)
        chosen = kept if half else [4, 7]
        operation = Operation("topk", "blocks_3_topk_0", {}, (), {}, ())
        logits = right(evaluator, given, watch)
        watch(operation, (np.array([[0.9, 0.5]]), np.array([chosen])))
        return towards(cosine)(logits) if half else logits

    monkeypatch.setattr(checking, "evaluate", evaluate)


@pytest.mark.parametrize(
    ("cosine", "kept", "status"),
    [
        (0.9995, [4, 9], "not-verified"),  # the last one is another, at the cut
        (0.99995, [4, 9], "verified"),
        (0.9995, [4, 7], "failed"),  # the same tokens: nothing explains it
        (0.9995, [9, 7], "failed"),  # the first one is another, far from the cut
        (0.99, [4, 9], "failed"),  # more than a token is worth
    ],
)
def test_a_near_tie_proves_nothing(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cosine: float,
    kept: list[int],
    status: str,
) -> None:
    twin = exported(tmp_path / "twin", "fp32").path / "model.mlpackage"
    ranking(monkeypatch, cosine, kept)
    check = found(bundle, lambda folder: twin)["mlprogram.parity.fp16"]
    assert (check.status, check.limit) == (status, 0.9999)
    assert ("1 of 2 tokens at blocks_3_topk_0" in check.reason) == (status == "not-verified")
