"""The verdicts of `attnc verify` on engines, kernels and plans, from builds that are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.compiler.manifest import EngineEntry, TensorrtEntry
from attnc.runtimes.checks import Check, Report
from attnc.runtimes.tensorrt import verify
from attnc.runtimes.tensorrt.engine import BUILDABLE, Engine, EngineError
from attnc.runtimes.tensorrt.layers import Layer
from attnc.runtimes.tensorrt.verify import DEFAULT_SMS, architectures, check_builds, engine_checks

NAMES = ("__myl_Fc_0x1", "_gemm_mha_v2_0x2", "MapAttention_3", "__myl_Tran_0x4")


def engine(names: Sequence[str] = NAMES, sm: str = "89", plan: str = "a") -> Engine:
    layers = tuple(
        Layer(name, "PLUGIN_V3" if name.startswith("Map") else "kgen", ()) for name in names
    )
    return Engine(sm, "static", layers, 100 * len(layers), plan * 64, ())


def entry(built: bool = True) -> TensorrtEntry:
    recorded = EngineEntry(
        sm="89",
        precision="fp16",
        batch="static",
        kernels=len(NAMES),
        attentions=1,
        plugin_layers=1,
        plan_bytes=400,
        plan_sha256="a" * 64,
        names=NAMES,
    )
    return TensorrtEntry(
        runtime="tensorrt-rtx",
        version="1.7",
        compute_capabilities=("8.9",),
        plugins=("MapAttention",),
        builder="1.7.1",
        builds=(recorded,) if built else (),
        plan="model.plan" if built else None,
    )


def bundle(precision: str = "fp16", batch: int | str = 1) -> Any:
    operators = {"attnc::MapAttention": 1, "Conv": 3}
    manifest = SimpleNamespace(precision=precision, batch=batch, operators=operators)
    return SimpleNamespace(path=Path("b"), model_path=Path("b/model.onnx"), manifest=manifest)


def checked(found: Engine, baseline: Engine | None = None, held: Any = None) -> dict[str, Check]:
    checks = engine_checks(bundle(), found, held or entry(), baseline)
    return {check.name.removeprefix(f"engine/sm_{found.sm}/"): check for check in checks}


def test_an_engine_as_it_was_recorded() -> None:
    checks = checked(engine(), engine([*NAMES, "one_more"]))
    assert {check.status for check in checks.values()} == {"verified"}
    assert {"plugins", "attentions", "kernels", "baseline"} <= checks.keys()


def test_another_architecture_may_have_other_kernels() -> None:
    checks = checked(engine([*NAMES, "__myl_Add_0x5"], sm="120"))
    assert checks["kernels"].status == "build-only"
    assert (checks["kernels"].value, checks["kernels"].limit) == (5.0, 4.0)
    assert "sm_89" in checks["kernels"].reason
    assert checks["attentions"].status == "verified"


@pytest.mark.parametrize(
    ("names", "name", "reason"),
    [
        (NAMES[:2] + NAMES[3:], "plugins", "on its body"),
        ((NAMES[0], *NAMES[2:]), "attentions", "no longer fused"),
        ((*NAMES[:3], "__myl_Add_0x4"), "kernels", ""),
        ((*NAMES, "__myl_Tran_0x5"), "moves", "only move data"),
    ],
)
def test_what_is_missing_fails(names: tuple[str, ...], name: str, reason: str) -> None:
    check = checked(engine(names))[name]
    assert check.status == "failed"
    assert reason in check.reason


def test_more_kernels_than_the_plain_export_fail() -> None:
    check = checked(engine(), engine(NAMES[:2]))["baseline"]
    assert (check.status, check.value, check.limit) == ("failed", 4.0, 2.0)


def test_a_bundle_without_recorded_builds() -> None:
    checks = checked(engine(), None, entry(built=False))
    assert set(checks) == {"plugins"}


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked to be built; all of it succeeds."""
    asked = list[tuple[Any, ...]]()

    def build(model: Path, sm: str, *, plugin: Path | None = None, batch: Any = None) -> Engine:
        asked.append((model.name, sm, plugin is not None, batch))
        return engine(sm=sm) if plugin else engine([*NAMES, "x"], sm=sm)

    monkeypatch.setattr(verify, "build_engine", build)
    monkeypatch.setattr(verify, "rtx_version", lambda: "1.7.1")
    return asked


def run(held: TensorrtEntry, sms: Sequence[str] = ("89",), batch: int | str = 1) -> Report:
    report = Report()
    check_builds(bundle(batch=batch), held, sms, Path("plain.onnx"), report)
    return report


def test_both_models_are_built_for_every_architecture(builds: list[tuple[Any, ...]]) -> None:
    report = run(entry(), ("86", "120"), "dynamic")
    free = (1, 8, 32)
    assert builds == [
        ("plain.onnx", "86", False, free),
        ("model.onnx", "86", True, free),
        ("plain.onnx", "120", False, free),
        ("model.onnx", "120", True, free),
        ("model.onnx", "89", True, free),  # the plan again
    ]
    assert [build["sm"] for build in report.builds] == ["86", "120"]
    assert [build["kernels"] for build in report.baseline] == [5, 5]
    assert report.ok


def test_a_baseline_that_does_not_build_is_no_failure(
    builds: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = verify.build_engine

    def build(model: Path, sm: str, **how: Any) -> Engine:
        if how["plugin"] is None:
            raise EngineError("an operator that it does not know")
        return usual(model, sm, **how)

    monkeypatch.setattr(verify, "build_engine", build)
    report = run(entry())
    checks = {check.name: check for check in report.checks}
    assert checks["baseline/sm_89"].status == "not-verified"
    assert "an operator that it does not know" in checks["baseline/sm_89"].reason
    assert report.baseline == []
    assert report.ok


def test_an_engine_that_does_not_build_is_one(
    builds: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(model: Path, sm: str, **how: Any) -> Engine:
        raise EngineError(f"TensorRT did not build the engine for sm_{sm}: too large")

    monkeypatch.setattr(verify, "build_engine", build)
    report = run(entry())
    failed = {check.name for check in report.checks if check.status == "failed"}
    assert failed == {"engine/sm_89", "plan"}
    assert not report.ok


@pytest.mark.parametrize(
    ("plan", "names", "status", "reason"),
    [
        ("a", NAMES, "verified", "the same bytes"),
        ("b", NAMES, "not-verified", "the same kernels and size"),
        ("b", NAMES[:3], "failed", "other kernels"),
    ],
)
def test_the_plan_built_again(
    builds: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    plan: str,
    names: tuple[str, ...],
    status: str,
    reason: str,
) -> None:
    monkeypatch.setattr(verify, "build_engine", lambda *_, **how: engine(names, plan=plan))
    (check,) = [check for check in run(entry()).checks if check.name == "plan"]
    assert check.status == status
    assert reason in check.reason


def test_a_plan_of_another_builder(
    builds: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "rtx_version", lambda: "1.8")
    (check,) = [check for check in run(entry()).checks if check.name == "plan"]
    assert check.status == "not-verified"
    assert "1.7.1" in check.reason
    assert "1.8" in check.reason


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "rtx_version", lambda: None)
    (check,) = run(entry()).checks
    assert (check.name, check.status) == ("engine", "not-verified")
    assert "attnc[tensorrt]" in check.reason


# --- architectures -------------------------------------------------------------------------------


def test_architectures() -> None:
    half, brain = bundle().manifest, bundle("bf16").manifest
    assert architectures(half, ()) == DEFAULT_SMS
    assert architectures(brain, ()) == tuple(sm for sm in DEFAULT_SMS if sm != "75")
    assert architectures(half, ("120", "75")) == ("120", "75")
    assert set(DEFAULT_SMS) <= set(BUILDABLE)
    with pytest.raises(UsageError, match="sm_75 has no bfloat16"):
        architectures(brain, ("75",))


@pytest.mark.parametrize("sm", ["87", "90", "gtx", "8.9", "sm_89", ""])
def test_unknown_architectures(sm: str) -> None:
    with pytest.raises(UsageError, match=f"builds no engine for sm_{sm}") as caught:
        architectures(bundle().manifest, (sm,))
    assert "on their own device" in caught.value.render()


# --- kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "status"), [(1e-4, "verified"), (float("inf"), "failed")])
def test_kernels_are_emulated(monkeypatch: pytest.MonkeyPatch, value: float, status: str) -> None:
    from attnc.runtimes.cuda import emulation

    monkeypatch.setattr(emulation, "worst_error", lambda operator, precision: (value, 2e-3))
    (check,) = verify.emulated(entry(), "fp16")
    assert (check.name, check.status) == ("kernel/MapAttention/emulated", status)
    assert "not on a GPU" in check.reason


def test_without_a_compiler_nothing_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnc.runtimes.cuda import emulation

    def none(operator: str, precision: str) -> Any:
        raise MissingRuntimeError("there is no C++ compiler")

    monkeypatch.setattr(emulation, "worst_error", none)
    (check,) = verify.emulated(entry(), "fp16")
    assert (check.status, check.reason) == ("not-verified", "there is no C++ compiler")


def test_a_manifest_without_its_part(tmp_path: Path) -> None:
    held = bundle()
    held.manifest.tensorrt = None
    source = verify.Source(lambda: pytest.fail("rebuilt"), lambda _: pytest.fail("exported"))
    with pytest.raises(UsageError, match="names no TensorRT runtime"):
        verify.verify_tensorrt(held, source)


def test_entries_are_closed() -> None:
    with pytest.raises(ValueError, match="extra"):
        TensorrtEntry(**{**entry().model_dump(), "colour": "red"})
    assert replace(engine(), sm="1").sm == "1"
