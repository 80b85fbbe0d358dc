"""Engines in processes of their own, on a fake GPU with a TensorRT whose plans are ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from plugin_cases import write_own

from attnc.compiler.errors import (
    AttncError,
    MissingRuntimeError,
    UnsupportedError,
    UsageError,
)
from attnc.compiler.manifest import TensorrtEntry
from attnc.runtimes.cuda.device import Device, find_devices
from attnc.runtimes.tensorrt import gpu
from attnc.runtimes.tensorrt.gpu import GpuEngine, Host, build_on_device

HOST = Host("gpu_fake_trt", "gpu_fakes:library")
ENTRY = TensorrtEntry(
    runtime="tensorrt",
    version="10.16",
    compute_capabilities=("8.7",),
    plugins=(),
    builder=None,
    builds=(),
)


def model(folder: Path, *, kind: int = TensorProto.FLOAT, producer: str = "test") -> Path:
    """Doubles its input; the batch is free."""
    values = [helper.make_tensor_value_info(name, kind, ["n", 3]) for name in ("x", "y")]
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name=producer)
    onnx.save(made, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_build_load_run(tmp_path: Path, kind: int) -> None:
    plan = tmp_path / "model.plan"
    build_on_device(HOST, model(tmp_path, kind=kind), plan, batch=(1, 8, 32))
    with GpuEngine(HOST, plan) as engine:
        assert engine.about == {
            "gpu": "Processor with a CUDA driver",
            "sm": "89",
            "cuda": "13.0",
            "runtime": "gpu_fake_trt 0.1",
            "max_clock_mhz": 2000,
        }
        for batch in (1, 4, 4):
            array = np.arange(3 * batch, dtype=np.float32).reshape(batch, 3)
            np.testing.assert_array_equal(engine.run(array), 2 * array)
        output, problem = engine.prepare((2, 3), 2)
        assert (output.shape, problem) == ((2, 3), "")
        for graph in (False, True):
            assert engine.turn(3, 4, graph=graph) == pytest.approx([0.01] * 4, abs=1e-6)
            assert engine.back_to_back(5, graph=graph) == pytest.approx(0.01, abs=1e-6)


def test_a_shape_that_the_engine_does_not_take(tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    build_on_device(HOST, model(tmp_path), plan)
    with GpuEngine(HOST, plan) as engine, pytest.raises(UsageError, match=r"takes \(-1, 3\)"):
        engine.run(np.zeros((1, 4), np.float32))


def test_a_refused_plan_has_the_runtimes_words(tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    plan.write_bytes(b"for another")
    with pytest.raises(UnsupportedError) as caught, GpuEngine(HOST, plan):
        pass
    assert caught.value.message == (
        "gpu_fake_trt 0.1 on Processor with a CUDA driver (sm_89): the plan does not load: "
        "this plan is for another GPU"
    )


def test_a_refused_build_has_the_builders_words(tmp_path: Path) -> None:
    path = model(tmp_path, producer="unbuildable")
    with pytest.raises(UnsupportedError, match="did not build the engine: no implementation"):
        build_on_device(HOST, path, tmp_path / "model.plan")


def test_the_bundles_plugins_are_registered(tmp_path: Path) -> None:
    write_own(tmp_path / "b")
    plugin = tmp_path / "b" / "plugin.py"
    plan = tmp_path / "model.plan"
    build_on_device(HOST, model(tmp_path), plan, plugin)
    with GpuEngine(HOST, plan, plugin) as engine:
        engine.run(np.zeros((1, 3), np.float32))


def test_a_plugin_file_that_fails_is_named(tmp_path: Path) -> None:
    plan, plugin = tmp_path / "model.plan", tmp_path / "plugin.py"
    build_on_device(HOST, model(tmp_path), plan)
    plugin.write_text("def register(trt):\n    raise RuntimeError('no such format')\n")
    with (
        pytest.raises(AttncError, match="RuntimeError: no such format"),
        GpuEngine(HOST, plan, plugin),
    ):
        pass


def test_what_plugins_print_is_part_of_the_error(tmp_path: Path) -> None:
    plan, plugin = tmp_path / "model.plan", tmp_path / "plugin.py"
    plan.write_bytes(b"bad")
    plugin.write_text(
        "import sys\ndef register(trt):\n    print('attnc: MapAttention: no code', file=sys.stderr)"
    )
    with pytest.raises(UnsupportedError, match="another GPU; attnc: MapAttention: no code"):
        GpuEngine(HOST, plan, plugin).__enter__()


def test_a_process_that_dies_is_an_error(tmp_path: Path) -> None:
    plan, plugin = tmp_path / "model.plan", tmp_path / "plugin.py"
    plan.write_bytes(b"")
    plugin.write_text("import os\ndef register(trt):\n    os.abort()\n")
    with pytest.raises(AttncError, match="ended by signal 6"), GpuEngine(HOST, plan, plugin):
        pass


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, plugin = tmp_path / "model.plan", tmp_path / "plugin.py"
    plan.write_bytes(b"")
    plugin.write_text("import time\ndef register(trt):\n    time.sleep(60)\n")
    monkeypatch.setattr(gpu, "LOAD_SECONDS", 4.0)
    with pytest.raises(AttncError, match="no answer in 4 s"), GpuEngine(HOST, plan, plugin):
        pass


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (Host("gpu_fake_trt", "gpu_fakes:nothing"), "CUDA_ERROR_NO_DEVICE"),
        (Host("no_such_trt", "gpu_fakes:library"), "no_such_trt does not load"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, host: Host, words: str) -> None:
    plan = tmp_path / "model.plan"
    plan.write_bytes(b"")
    with pytest.raises(MissingRuntimeError, match=words), GpuEngine(host, plan):
        pass


def test_a_gpu_and_its_tensorrt_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_devices", list)
    with pytest.raises(
        MissingRuntimeError, match=r"timing needs an NVIDIA GPU of .* 8.7"
    ) as caught:
        gpu.require_gpu(ENTRY, "timing")
    assert "attnc verify" in caught.value.remedy
    monkeypatch.setattr(gpu, "find_devices", lambda: [Device("Orin", "8.7")])
    monkeypatch.setitem(gpu.HOSTS, "tensorrt", Host("no_such_trt"))
    with pytest.raises(MissingRuntimeError, match="package no-such-trt") as caught:
        gpu.require_gpu(ENTRY, "timing")
    assert "JetPack" in caught.value.remedy
    monkeypatch.setitem(gpu.HOSTS, "tensorrt", HOST)
    assert gpu.require_gpu(ENTRY, "timing").name == "Orin"


@pytest.mark.skipif(not find_devices(), reason="there is no GPU")
@pytest.mark.parametrize("name", ["tensorrt-rtx", "tensorrt"])
def test_a_real_engine(tmp_path: Path, name: str) -> None:
    host, plan = gpu.HOSTS[name], tmp_path / "model.plan"
    if not host.installed:
        pytest.skip(f"{host.runtime} is not installed")
    try:
        build_on_device(host, model(tmp_path), plan, batch=(1, 8, 32))
        with GpuEngine(host, plan) as engine:
            array = np.arange(6, dtype=np.float32).reshape(2, 3)
            np.testing.assert_allclose(engine.run(array), 2 * array, rtol=1e-3)
            _, problem = engine.prepare((4, 3), 2)
            assert problem == ""
            assert min(engine.turn(2, 5, graph=True)) > 0
    except UnsupportedError as error:
        pytest.skip(f"refused: {error.message}")
