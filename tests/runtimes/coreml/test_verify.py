"""What the verification says of bundles that are right, and of many that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bent_bundles import Net, bent, changed, exported, found, gone, net, towards
from torch import nn

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.judging import STAGE_COSINE

pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(tmp_path_factory.mktemp("verify"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("verify"), "fp32").path / "model.mlpackage"


def test_a_right_bundle(bundle: Bundle, wide: Path) -> None:
    checks = found(bundle, lambda folder: wide)
    assert {check.status for check in checks.values()} == {"verified", "not-verified"}
    for name in ("manifest", "placement", "parity.fp16", "parity.fp32", "top1"):
        assert checks[f"mlprogram.{name}"].status == "verified"
    assert checks["coreml.predict"].status == "not-verified"
    assert "source" not in checks


def test_a_twin_that_cannot_be_made(bundle: Bundle) -> None:
    check = found(bundle)["mlprogram.parity.fp32"]
    assert check.status == "not-verified"
    assert "not lowered again: it was sold" in check.reason


def test_a_wrong_lowering_fails_in_float32_too(
    bundle: Bundle, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bent(monkeypatch, lambda logits: np.roll(logits, 1))
    checks = found(bundle, lambda folder: wide)
    for name in ("parity.fp16", "parity.fp32", "top1"):
        assert checks[f"mlprogram.{name}"].status == "failed"


def test_without_the_source_the_recorded_outputs_decide(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = found(bundle, module=gone)
    assert "it was sold" in checks["source"].reason
    parity = [name for name in checks if name.startswith("mlprogram.parity.")]
    seeds = [f"mlprogram.parity.fp16/recorded-seed{seed}" for seed in (0, 1)]
    assert parity == ["mlprogram.parity.fp16", *seeds, "mlprogram.parity.fp32"]
    for name in ("mlprogram.top1", "mlprogram.stages", "mlprogram.parity.fp32"):
        assert checks[name].status == "not-verified"
    bent(monkeypatch, lambda logits: -logits)
    assert found(bundle, module=gone)["mlprogram.parity.fp16"].status == "failed"


def test_without_anything_to_compare_nothing_is_verified(bundle: Bundle) -> None:
    checks = found(changed(bundle, reference=()), module=gone)
    check = checks["mlprogram.parity.fp16"]
    assert (check.status, check.reason) == ("not-verified", "no inputs with known outputs")


def test_a_source_that_is_another_one(bundle: Bundle) -> None:
    def other() -> nn.Module:
        built = net()
        torch.nn.init.normal_(built.head.weight)
        return built

    checks = found(bundle, module=other)
    assert checks["mlprogram.parity.fp16/recorded-seed0"].status == "verified"
    assert checks["mlprogram.parity.fp16/source-seed11"].status == "failed"
    worst = checks["mlprogram.parity.fp16"]
    assert worst.status == "failed"
    assert worst.reason.startswith("worst of 6 inputs: ")
    assert "recorded" not in worst.reason


def test_outputs_that_are_not_finite(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bent(monkeypatch, lambda logits: logits * np.nan)
    check = found(bundle)["mlprogram.parity.fp16"]
    assert (check.status, check.value) == ("failed", None)
    assert "NaN" in check.reason


@pytest.mark.parametrize(
    ("precision", "cosine", "status"),
    [
        ("fp16", 0.99995, "verified"),
        ("fp16", 0.9998, "failed"),
        ("int8w", 0.9998, "verified"),
        ("int8w", 0.998, "failed"),
        ("pal4w", 0.93, "verified"),
        ("pal4w", 0.85, "failed"),
    ],
)
def test_how_far_each_precision_may_be(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, precision: str, cosine: float, status: str
) -> None:
    bent(monkeypatch, towards(cosine))
    checks = found(changed(bundle, precision=precision), module=gone)
    check = checks[f"mlprogram.parity.{precision}"]
    assert check.status == status
    assert check.value == pytest.approx(cosine, abs=max(2e-5, 0.01 * (1 - cosine)))


# --- the line for all inputs ---------------------------------------------------------------------


def test_the_worst_input_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([0.99999, 0.99992, 0.99998, 0.99997, 0.99996, 0.99995])

    def turn(logits: Any) -> Any:
        return towards(next(turns))(logits)

    bent(monkeypatch, turn)
    check = found(bundle)["mlprogram.parity.fp16"]
    assert check.status == "verified"
    assert check.value == pytest.approx(0.99992, abs=1e-6)
    assert check.reason == "worst of 6 inputs: recorded-seed1; cosine"


def test_the_largest_error_is_named(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([1.0, 1 + 2e-5, 1 + 7e-5, 1 + 3e-5, 1 + 1e-5, 1.0])
    bent(monkeypatch, lambda logits: logits * next(turns))
    check = found(Bundle.open(wide.parent))["mlprogram.parity.fp32"]
    assert check.value == pytest.approx(7e-5, rel=0.05)
    assert "source-seed11; relative error" in check.reason


# --- stages and packages -------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_a_stage_that_is_wrong_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, sign: int
) -> None:
    class Bent(Net):
        """Its stem may give something else, which its head does not see."""

        def __init__(self) -> None:
            super().__init__()
            self.stem.register_forward_hook(lambda _, __, output: output * sign)

        def forward(self, x: Any) -> Any:
            return self.head((self.stem(x) * sign).relu().mean((2, 3)))

    checks = found(bundle, module=lambda: Bent().eval())
    assert checks["mlprogram.parity.fp16"].status == "verified"
    stage = checks.get("mlprogram.stage/stem")
    if sign == 1:
        assert stage is not None
        assert (stage.status, stage.limit) == ("verified", STAGE_COSINE)
    else:
        assert stage is None
        assert "no value is the output of stem" in checks["mlprogram.stages"].reason


def test_a_manifest_without_a_package(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="names no Core ML package"):
        found(changed(bundle, coreml=None))


def test_a_package_for_another_manifest(bundle: Bundle) -> None:
    checks = found(changed(bundle, model="another"))
    assert checks["mlprogram.manifest"].status == "failed"
    assert checks["mlprogram.placement"].status == "verified"
