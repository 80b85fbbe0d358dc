"""`--target tensorrt` from export to verify, on a small network with slots and an attention."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import attnc
from attnc.compiler.bundle import READINGS_FILE, Bundle, file_sha256
from attnc.compiler.errors import AttncError, UnsupportedError
from attnc.compiler.manifest import content_digest
from attnc.runtimes.cuda.build import find_nvcc

pytestmark = pytest.mark.usefixtures("importable_data")

CHECK_FAILED, USAGE = 1, 2
RTX = importlib.util.find_spec("tensorrt_rtx") is not None
needs_rtx = pytest.mark.skipif(not RTX, reason="the package tensorrt-rtx is not installed")
NETWORK = ["glnet_variations:network", "--option", "name=plain", "--image-size", "56"]
TARGET = ["--target", "tensorrt", "--profile", "rtx4090"]
BUILD_KEYS = {
    "sm",
    "precision",
    "batch",
    "kernels",
    "fused_attentions",
    "plugin_layers",
    "moving_kernels",
    "plan_bytes",
}


def has_nvcc() -> bool:
    try:
        find_nvcc()
    except AttncError:
        return False
    return True


needs_nvcc = pytest.mark.skipif(not has_nvcc(), reason="there is no CUDA compiler")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With plugins, for one GPU; not to be changed."""
    if not has_nvcc():
        pytest.skip("there is no CUDA compiler")
    output = tmp_path_factory.mktemp("tensorrt") / "b"
    attnc.export(
        "glnet_variations:network",
        output=output,
        target="tensorrt",
        profile="rtx4090",
        image_size=56,
        options={"name": "plain"},
    )
    return output


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != READINGS_FILE
    }


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda document: None) -> None:
    """Give the manifest the hashes of the files as they are now."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    for entry in document["files"]:
        file = folder / entry["path"]
        entry.update(sha256=file_sha256(file), bytes=file.stat().st_size)
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))


def report_of(done: Any, code: int = 0) -> dict[str, Any]:
    assert done.code == code, done.err
    document = json.loads(done.out)
    assert isinstance(document, dict)
    return document


def by_name(report: dict[str, Any]) -> dict[str, Any]:
    return {check["name"]: check for check in report["checks"]}


# --- export --------------------------------------------------------------------------------------


def test_the_manifest_says_what_it_is_for(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    entry = manifest.tensorrt
    assert entry is not None
    assert (manifest.target, manifest.profile, manifest.precision) == (
        "tensorrt",
        "rtx4090",
        "fp16",
    )
    assert (entry.runtime, entry.compute_capabilities) == ("tensorrt-rtx", ("8.9",))
    assert entry.plugins == ("MapSlotDispatchAdd", "PooledSlotCluster")
    assert manifest.operators["attnc::PooledSlotCluster"] == 1
    assert manifest.opset == ir.load(bundle / "model.onnx").graph.opset_imports[""] == 23
    listed = {file.path for file in manifest.files}
    assert listed == set(contents(bundle)) - {"manifest.json"}
    assert {"model.onnx", "plugin.py", "plugin.cpp", "qdp.py", "build.sh", "sample.py"} <= listed
    assert {"kernels/slots.ptx", "kernels/slots.sm_89.cubin"} <= listed
    assert not any("__pycache__" in path for path in listed)
    assert os.access(bundle / "build.sh", os.X_OK)
    assert [(v.operator, v.verdict) for v in manifest.verdicts] == [
        ("SlotCluster", "not measured"),
        ("SlotDispatchAdd", "not measured"),
    ]


@needs_rtx
def test_the_manifest_says_what_was_built(bundle: Path) -> None:
    entry = Bundle.open(bundle).manifest.tensorrt
    assert entry is not None
    assert entry.builder is not None
    assert entry.plan == "model.plan"
    (build,) = entry.builds
    assert (build.sm, build.precision, build.batch) == ("89", "fp16", "static")
    assert (build.attentions, build.plugin_layers) == (1, 2)
    assert build.kernels == len(build.names)
    assert build.plan_bytes == (bundle / "model.plan").stat().st_size
    assert build.plan_sha256 == file_sha256(bundle / "model.plan")


@needs_nvcc
def test_a_second_export_is_the_same_bytes(
    cli: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    output = tmp_path / "a_longer_name_than_the_first"
    done = cli("export", *NETWORK, *TARGET, "-o", output, "--json", "-")
    document = report_of(done)
    assert document["path"] == str(output)
    assert document["manifest"]["tensorrt"]["plugins"] == [
        "MapSlotDispatchAdd",
        "PooledSlotCluster",
    ]
    first, second = contents(bundle), contents(output)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert ("engine for sm_89, fp16" in done.err) == RTX


@needs_rtx
@needs_nvcc
def test_plugins_earn_their_place(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNC_MEASURE", "1")
    done = cli("export", *NETWORK, *TARGET, "-o", tmp_path / "b", "--json", "-")
    verdicts = report_of(done)["manifest"]["verdicts"]
    assert [verdict["operator"] for verdict in verdicts] == ["SlotCluster", "SlotDispatchAdd"]
    for verdict in verdicts:
        assert verdict["verdict"] in ("fused", "body")
        with_it, without = (int(word) for word in verdict["reason"].split() if word.isdigit())
        assert (verdict["verdict"] == "fused") == (with_it < without)


def test_without_kernels(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNC_NVCC", "/no/such/compiler")  # nothing is compiled
    output = tmp_path / "b"
    done = cli("export", *NETWORK, *TARGET, "-o", output, "--no-kernels", "--json", "-")
    manifest = report_of(done)["manifest"]
    assert manifest["tensorrt"]["plugins"] == []
    assert {verdict["verdict"] for verdict in manifest["verdicts"]} == {"body"}
    assert not (output / "kernels").exists()
    assert not any(name.startswith("attnc::") for name in manifest["operators"])
    onnx.checker.check_model(output / "model.onnx", full_check=True)
    if RTX:
        assert manifest["tensorrt"]["builds"][0]["plugin_layers"] == 0


def test_explain(cli: Any) -> None:
    done = cli("explain", "tiny_sparse:build", "--target", "tensorrt", "--json", "-")
    document = report_of(done)
    assert document["target"] == "tensorrt"
    assert document["not_lowered"] == []
    matches = {entry["name"]: entry["matches"] for entry in document["passes"]}
    assert matches["fuse_sparse_attention"] == 2


def test_explain_names_what_has_no_form(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnc.targets.tensorrt import attention

    monkeypatch.setattr(attention, "LEAST_WIDTH", 32)
    document = report_of(cli("explain", *NETWORK, "--target", "tensorrt", "--json", "-"))
    (place,) = document["not_lowered"]
    assert place["reason"] == "heads of width 16 have no fused kernel"
    assert place["module"] == "block.attention"
    assert "glnet_variations.py" in place["source"]


# --- verify --------------------------------------------------------------------------------------


def test_verify(cli: Any, bundle: Path) -> None:
    before = contents(bundle)
    report = report_of(cli("verify", bundle, "--sm", "86", "--json", "-"))
    checks = by_name(report)
    assert report["ok"]
    assert "failed" not in {check["status"] for check in report["checks"]}
    assert checks["parity/recorded-seed0"]["status"] == "verified"
    assert any(name.startswith("parity/source-seed") for name in checks)
    assert contents(bundle) == before
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


def test_architectures_that_cannot_be_built(cli: Any, bundle: Path) -> None:
    done = cli("verify", bundle, "--sm", "87")
    assert done.code == USAGE
    assert "builds no engine for sm_87" in done.err
    assert "others build on their own device" in done.err
    assert cli("verify", bundle, "--sm", "gtx").code == USAGE
    assert cli("verify", bundle, "--sm", ",").code == USAGE


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


def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> Any:
        return None if name.startswith("tensorrt") else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)


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


# --- a machine without TensorRT ------------------------------------------------------------------


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


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "bf16"])
def test_other_precisions(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    without_tensorrt(monkeypatch)
    output = tmp_path / "b"
    how = [*TARGET, "--precision", precision, "--batch", "dynamic"]
    manifest = report_of(cli("export", "tiny_net:build", *how, "-o", output, "--json", "-"))
    assert manifest["manifest"]["precision"] == precision
    report = report_of(cli("verify", output, "--json", "-"))
    names = {check["name"] for check in report["checks"]}
    assert {f"parity/source-seed11-batch{batch}" for batch in (1, 3, 8)} <= names


def test_logits_are_those_of_the_source(bundle: Path) -> None:
    import torch
    from glnet_variations import network

    from attnc.runtimes.tensorrt.parity import runner

    x = np.random.default_rng(3).standard_normal((1, 3, 56, 56)).astype(np.float32)
    want = network("plain")(torch.from_numpy(x)).numpy()
    got = runner(bundle / "model.onnx", "fp16")(x)
    assert np.abs(got - want).max() <= 1e-2 * np.abs(want).max()


# --- NVIDIA's own tools --------------------------------------------------------------------------


def polygraphy(*arguments: object) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("polygraphy") is None:
        pytest.skip("the package polygraphy is not installed")
    if importlib.util.find_spec("onnx_graphsurgeon") is None:
        pytest.skip("the package onnx-graphsurgeon is not installed")
    command = [sys.executable, "-c", "from polygraphy.tools import main; main()"]
    environment = {**os.environ, "POLYGRAPHY_USE_TENSORRT_RTX": "1"}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_polygraphy_reads_the_model(bundle: Path) -> None:
    said = polygraphy("inspect", "model", bundle / "model.onnx").stdout
    assert "ONNX Opset: 23 | Other Opsets: {'attnc': 1}" in said
    assert "input [dtype=float32, shape=(1, 3, 56, 56)]" in said


def test_polygraphy_folds_the_model(bundle: Path, tmp_path: Path) -> None:
    from attnc.runtimes.tensorrt.engine import build_engine
    from attnc.runtimes.tensorrt.parity import runner

    clean = tmp_path / "clean.onnx"
    polygraphy("surgeon", "sanitize", "--fold-constants", bundle / "model.onnx", "-o", clean)
    onnx.checker.check_model(clean, full_check=True)
    x = np.random.default_rng(4).standard_normal((1, 3, 56, 56)).astype(np.float32)
    want = runner(bundle / "model.onnx", "fp16")(x)
    np.testing.assert_allclose(runner(clean, "fp16")(x), want, rtol=0, atol=1e-3)
    if RTX:
        found = build_engine(clean, "89", plugin=bundle / "plugin.py")
        entry = Bundle.open(bundle).manifest.tensorrt
        assert entry is not None
        assert len(found.layers) == entry.builds[0].kernels
