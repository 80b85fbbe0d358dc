"""`attnc verify` of a TensorRT bundle: what is right, what is found, and without TensorRT."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
from tensorrt_bundles import (
    BUILD_KEYS,
    CHECK_FAILED,
    RTX,
    USAGE,
    by_name,
    contents,
    needs_rtx,
    report_of,
    reseal,
    without_tensorrt,
)

from attnc.compiler.errors import UnsupportedError

pytestmark = pytest.mark.usefixtures("importable_data")


@pytest.fixture
def copy(tensorrt_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tensorrt_bundle, tmp_path / "copy"))


def test_verify(cli: Any, tensorrt_bundle: Path) -> None:
    before = contents(tensorrt_bundle)
    report = report_of(cli("verify", tensorrt_bundle, "--sm", "86", "--json", "-"))
    checks = by_name(report)
    assert report["ok"]
    assert "failed" not in {check["status"] for check in report["checks"]}
    assert checks["parity/recorded-seed0"]["status"] == "verified"
    assert any(name.startswith("parity/source-seed") for name in checks)
    assert contents(tensorrt_bundle) == before
    for name in ("MapSlotDispatchAdd", "PooledSlotCluster"):
        assert checks[f"kernel/{name}/emulated"]["status"] in ("verified", "not-verified")
    assert checks["plugin.cpp"]["status"] in ("verified", "not-verified")
    if not RTX:
        assert checks["engine"]["status"] == "not-verified"
        return
    for part in ("builds", "baseline"):
        (entry,) = report[part]
        assert set(entry) == BUILD_KEYS
        assert (entry["sm"], entry["precision"], entry["batch"]) == ("86", "fp16", 1)
    ours, usual = report["builds"][0], report["baseline"][0]
    assert (ours["plugin_layers"], usual["plugin_layers"]) == (2, 0)
    assert ours["kernels"] < usual["kernels"]
    assert ours["fused_attentions"] == 1
    for name in (
        "engine/sm_86/plugins",
        "engine/sm_86/attentions",
        "engine/sm_86/baseline",
        "plan",
    ):
        assert checks[name]["status"] == "verified", checks[name]


def test_architectures_that_cannot_be_built(cli: Any, tensorrt_bundle: Path) -> None:
    done = cli("verify", tensorrt_bundle, "--sm", "87")
    assert done.code == USAGE
    assert "builds no engine for sm_87" in done.err
    assert "others build on their own device" in done.err
    assert cli("verify", tensorrt_bundle, "--sm", "gtx").code == USAGE
    assert cli("verify", tensorrt_bundle, "--sm", ",").code == USAGE


def test_architectures_are_for_tensorrt(cli: Any, tiny_bundle: Path) -> None:
    done = cli("verify", tiny_bundle, "--sm", "86")
    assert done.code == USAGE
    assert "--sm is for TensorRT bundles; this one is for cpu" in done.err


@needs_rtx
@pytest.mark.parametrize("what", ["truncated", "edited"])
def test_a_plan_that_is_not_the_exported_one(cli: Any, copy: Path, what: str) -> None:
    plan = copy / "model.plan"
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data if what == "edited" else data[:-100])
    done = cli("verify", copy)
    assert done.code == USAGE
    assert "model.plan is not the file that was exported" in done.err


@pytest.fixture
def no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is gone: what was recorded is all there is to compare with."""

    def gone(*_: object) -> Any:
        raise UnsupportedError("the source is gone")

    monkeypatch.setattr("attnc.compiler.cli.api.rebuild_reference", gone)
    monkeypatch.setattr("attnc.compiler.cli.plain.write_plain", gone)


@pytest.mark.usefixtures("no_source")
def test_a_wrong_weight_is_found(cli: Any, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_tensorrt(monkeypatch)
    model = ir.load(copy / "model.onnx")
    name, value = max(
        ((n, v) for n, v in model.graph.initializers.items() if v.dtype == ir.DataType.FLOAT16),
        key=lambda item: item[1].const_value.size,
    )
    array = value.const_value.numpy().copy()
    array.reshape(-1)[: array.size // 4] *= -1
    value.const_value = ir.tensor(array, name=name)
    ir.save(model, copy / "model.onnx")
    reseal(copy)
    report = report_of(cli("verify", copy, "--json", "-"), CHECK_FAILED)
    assert not report["ok"]
    assert by_name(report)["parity/recorded-seed0"]["status"] == "failed"


@pytest.mark.usefixtures("no_source")
@needs_rtx
def test_a_plugin_that_is_gone_is_found(cli: Any, copy: Path) -> None:
    model = ir.load(copy / "model.onnx")
    (node,) = [node for node in model.graph if node.op_type == "PooledSlotCluster"]
    for name in ("plugin_namespace", "plugin_version"):
        node.attributes.pop(name)
    ir.save(model, copy / "model.onnx")
    reseal(copy)
    report = report_of(cli("verify", copy, "--sm", "89", "--json", "-"), CHECK_FAILED)
    checks = by_name(report)
    assert checks["parity/recorded-seed0"]["status"] == "verified"  # it runs on its body
    assert checks["engine/sm_89/plugins"]["status"] == "failed"
    assert "on its body" in checks["engine/sm_89/plugins"]["reason"]


@pytest.mark.usefixtures("no_source")
@needs_rtx
def test_a_model_that_tensorrt_refuses_is_found(cli: Any, copy: Path) -> None:
    (copy / "plugin.py").write_text("def register(trt):\n    import os\n    os.abort()\n")
    reseal(copy)
    report = report_of(cli("verify", copy, "--sm", "89", "--json", "-"), CHECK_FAILED)
    check = by_name(report)["engine/sm_89"]
    assert check["status"] == "failed"
    assert "SIGABRT" in check["reason"]
    assert by_name(report)["baseline"]["reason"].endswith("the source is gone")
    assert "builds" not in report


@pytest.mark.usefixtures("no_source")
@needs_rtx
def test_plans_of_other_versions_are_not_compared(cli: Any, copy: Path) -> None:
    reseal(copy, lambda document: document["tensorrt"].update(builder="1.0"))
    checks = by_name(report_of(cli("verify", copy, "--sm", "89", "--json", "-")))
    assert checks["plan"]["status"] == "not-verified"
    assert "version 1.0" in checks["plan"]["reason"]


def test_export_and_verify_without_tensorrt(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_tensorrt(monkeypatch)
    output = tmp_path / "b"
    done = cli("export", "tiny_net:build", "--target", "tensorrt", "-o", output, "--json", "-")
    entry = report_of(done)["manifest"]["tensorrt"]
    assert (entry["builder"], entry["builds"], entry["plan"]) == (None, [], None)
    assert "no engine was built: TensorRT for RTX is not installed" in done.err
    assert not (output / "model.plan").exists()
    report = report_of(cli("verify", output, "--json", "-"))
    check = by_name(report)["engine"]
    assert check["status"] == "not-verified"
    assert "pip install 'attnc[tensorrt]'" in check["reason"]
    assert "builds" not in report
    assert report["ok"], "parity was verified"
