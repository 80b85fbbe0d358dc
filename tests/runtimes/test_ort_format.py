"""ORT format: the same bytes from every process, ONNX Runtime's own operators, the same numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.runtimes import ort_format
from attnc.runtimes.onnx_session import infer, open_session, session_options
from attnc.runtimes.ort_canonical import canonical, operators
from attnc.runtimes.ort_format import convert, operator_list

UNARY = ("Relu", "Sigmoid", "Tanh", "Erf", "Neg", "Exp", "Abs", "Sin", "Cos", "Floor", "Sign")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many operators, so that a hash table seldom has them in the same order twice."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3, 3, 3), np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y0"], pads=[1, 1, 1, 1])]
    for index, name in enumerate(UNARY):
        nodes.append(helper.make_node(name, [f"y{index}"], [f"y{index + 1}"]))
    nodes.append(helper.make_node("Softmax", [f"y{len(UNARY)}"], ["y"], axis=1))
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "many",
        [port("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [port("y", TensorProto.FLOAT, [1, 8, 8, 8])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path_factory.mktemp("many") / "model.onnx"
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def converted(model: Path) -> bytes:
    return convert(model, None)


def test_onnx_runtimes_own_converter_writes_the_same(
    model: Path, converted: bytes, tmp_path: Path
) -> None:
    """In a process of its own, with a random seed of its own."""
    command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", model]
    options = ["--optimization_style", "Fixed", "--target_platform", "arm"]
    done = subprocess.run(
        [*command, *options, "--output_dir", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert canonical((tmp_path / "model.ort").read_bytes()) == converted
    (listed,) = tmp_path.glob("*.config")
    lines = listed.read_text().splitlines()
    assert operator_list(converted).splitlines()[1:] == [x for x in lines if x[0] != "#"]


def test_order_of_the_operators_is_not_chance(converted: bytes) -> None:
    assert canonical(converted) == converted
    names = [name for _, _, name in operators(converted)]
    assert set(UNARY) - set(names) <= {"Relu"}  # fused into the convolution
    assert operators(converted) == sorted(operators(converted))


def test_libraries_of_other_models_leave_no_trace(model: Path, converted: bytes) -> None:
    from attnc.runtimes.cpu.library import library_path

    open_session(model, session_options(None, library_path()))
    assert convert(model, None) == converted


def test_numbers_stay(model: Path, converted: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.ort").write_bytes(converted)
    feed = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8), np.float32)}
    given = [
        infer(open_session(file, session_options()), feed)["y"]
        for file in (tmp_path / "model.ort", converted, model)
    ]
    np.testing.assert_array_equal(given[0], given[1])
    np.testing.assert_allclose(given[0], given[2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"ONNX" * 10, b"\x08\x09\x12\x05attnc" + bytes(40)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an ORT format file"):
        canonical(data)
    with pytest.raises(ValueError, match="not an ORT format file"):
        operators(data)


def test_a_format_that_is_not_known_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(data: bytes) -> bytes:
        return canonical(b"\0\0\0\0ORTX" + data[8:])

    monkeypatch.setattr(ort_format, "canonical", changed)
    with pytest.raises(UsageError, match="did not write the ORT format as expected"):
        convert(model, None)


def test_a_model_that_cannot_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match=r"cannot be converted to ORT format: .*cannot load"):
        convert(tmp_path / "model.onnx", None)


def test_a_library_that_does_not_load_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "kernels.so").write_bytes(b"\x7fELF of something else")
    with pytest.raises(MissingRuntimeError, match=r"kernels\.so cannot be loaded"):
        convert(model, tmp_path / "kernels.so")
