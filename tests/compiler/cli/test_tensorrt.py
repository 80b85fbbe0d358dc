"""`--target tensorrt`: the export, on a small network with slots and an attention."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tensorrt_bundles import (
    NETWORK,
    RTX,
    TARGET,
    contents,
    needs_nvcc,
    needs_rtx,
    report_of,
    without_tensorrt,
)

from attnc.compiler.bundle import Bundle, file_sha256

pytestmark = pytest.mark.usefixtures("importable_data")


def test_the_manifest_says_what_it_is_for(tensorrt_bundle: Path) -> None:
    manifest = Bundle.open(tensorrt_bundle).manifest
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
    assert manifest.opset == ir.load(tensorrt_bundle / "model.onnx").graph.opset_imports[""] == 23
    listed = {file.path for file in manifest.files}
    assert listed == set(contents(tensorrt_bundle)) - {"manifest.json"}
    assert {"model.onnx", "plugin.py", "plugin.cpp", "qdp.py", "build.sh", "sample.py"} <= listed
    assert {"kernels/slots.ptx", "kernels/slots.sm_89.cubin"} <= listed
    assert not any("__pycache__" in path for path in listed)
    assert os.access(tensorrt_bundle / "build.sh", os.X_OK)
    assert [(v.operator, v.verdict) for v in manifest.verdicts] == [
        ("SlotCluster", "not measured"),
        ("SlotDispatchAdd", "not measured"),
    ]


@needs_rtx
def test_the_manifest_says_what_was_built(tensorrt_bundle: Path) -> None:
    entry = Bundle.open(tensorrt_bundle).manifest.tensorrt
    assert entry is not None
    assert entry.builder is not None
    assert entry.plan == "model.plan"
    (build,) = entry.builds
    assert (build.sm, build.precision, build.batch) == ("89", "fp16", "static")
    assert (build.attentions, build.plugin_layers) == (1, 2)
    assert build.kernels == len(build.names)
    assert build.plan_bytes == (tensorrt_bundle / "model.plan").stat().st_size
    assert build.plan_sha256 == file_sha256(tensorrt_bundle / "model.plan")


@needs_nvcc
def test_a_second_export_is_the_same_bytes(
    cli: Any, tensorrt_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    first, second = contents(tensorrt_bundle), contents(output)
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


def test_logits_are_those_of_the_source(tensorrt_bundle: Path) -> None:
    import torch
    from glnet_variations import network

    from attnc.runtimes.tensorrt.parity import runner

    x = np.random.default_rng(3).standard_normal((1, 3, 56, 56)).astype(np.float32)
    want = network("plain")(torch.from_numpy(x)).numpy()
    got = runner(tensorrt_bundle / "model.onnx", "fp16")(x)
    assert np.abs(got - want).max() <= 1e-2 * np.abs(want).max()


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


def test_polygraphy_reads_the_model(tensorrt_bundle: Path) -> None:
    said = polygraphy("inspect", "model", tensorrt_bundle / "model.onnx").stdout
    assert "ONNX Opset: 23 | Other Opsets: {'attnc': 1}" in said
    assert "input [dtype=float32, shape=(1, 3, 56, 56)]" in said


def test_polygraphy_folds_the_model(tensorrt_bundle: Path, tmp_path: Path) -> None:
    from attnc.runtimes.tensorrt.engine import build_engine
    from attnc.runtimes.tensorrt.parity import runner

    clean = tmp_path / "clean.onnx"
    polygraphy(
        "surgeon", "sanitize", "--fold-constants", tensorrt_bundle / "model.onnx", "-o", clean
    )
    onnx.checker.check_model(clean, full_check=True)
    x = np.random.default_rng(4).standard_normal((1, 3, 56, 56)).astype(np.float32)
    want = runner(tensorrt_bundle / "model.onnx", "fp16")(x)
    np.testing.assert_allclose(runner(clean, "fp16")(x), want, rtol=0, atol=1e-3)
    if RTX:
        found = build_engine(clean, "89", plugin=tensorrt_bundle / "plugin.py")
        entry = Bundle.open(tensorrt_bundle).manifest.tensorrt
        assert entry is not None
        assert len(found.layers) == entry.builds[0].kernels
