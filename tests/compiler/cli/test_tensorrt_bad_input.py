"""What `--target tensorrt` refuses: one message, the right exit code, nothing left behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_messages import MISSING, UNSUPPORTED, USAGE, one_message
from onnx import TensorProto, helper

pytestmark = pytest.mark.usefixtures("importable_data")

RTX = importlib.util.find_spec("tensorrt_rtx") is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--profile", "rtx4080"], ["unknown profile 'rtx4080'", "did you mean rtx"]),
        (["--profile", "native"], ["unknown profile 'native' for target tensorrt"]),
        (["--precision", "int8"], ["unknown precision 'int8'", "fp32, fp16, bf16"]),
        (["--profile", "t4", "--precision", "bf16"], ["compute capability 8.0", "7.5"]),
        (["--precision", "bf16"], ["profile rtx has GPUs of 7.5"]),
        (["--profile", "orin-agx-jp6", "--precision", "bf16"], ["opset 18", "--precision fp16"]),
    ],
)
def test_profiles_and_precisions(
    cli: Any, tmp_path: Path, options: list[str], said: list[str]
) -> None:
    done = cli("export", "tiny_net:build", "--target", "tensorrt", *options, "-o", tmp_path / "b")
    one_message(done, USAGE, *said, "try:")
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_is_not_there(cli: Any, tmp_path: Path) -> None:
    how = ["--target", "tensorrt", "--profile", "none.toml"]
    done = cli("export", "tiny_net:build", *how, "-o", tmp_path / "b")
    one_message(done, USAGE, "not a device profile", "none.toml")
    assert list(tmp_path.iterdir()) == []


def test_the_cpu_has_other_precisions(cli: Any, tmp_path: Path) -> None:
    done = cli("export", "tiny_net:build", "--precision", "bf16", "-o", tmp_path / "b")
    one_message(done, USAGE, "target cpu has no precision 'bf16'", "fp32, fp16, int8", "tensorrt")
    assert list(tmp_path.iterdir()) == []
    done = cli("export", "tiny_net:build", "--precision", "fp32", "-o", tmp_path / "b")
    assert done.code == 0, done.err


def test_a_plugin_without_a_compiler(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNC_NVCC", "/no/such/nvcc")
    done = cli("export", "tiny_sparse:build", "--target", "tensorrt", "-o", tmp_path / "b")
    one_message(done, MISSING, "no CUDA compiler at /no/such/nvcc", "ATTNC_NVCC", "pip install")
    assert list(tmp_path.iterdir()) == []
    done = cli("export", "tiny_net:build", "--target", "tensorrt", "-o", tmp_path / "b")
    assert done.code == 0, done.err  # it has no plugins


def test_tensorrt_that_refuses_the_model(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnc.compiler.cli import tensorrt_work
    from attnc.runtimes.tensorrt.engine import EngineError

    def refuse(model: Path, sm: str, **_: Any) -> Any:
        raise EngineError(f"TensorRT did not build the engine for sm_{sm}: too hot", where="m")

    monkeypatch.setattr(tensorrt_work, "rtx_version", lambda: "1.7")
    monkeypatch.setattr(tensorrt_work, "build_engine", refuse)
    done = cli("export", "tiny_net:build", "--target", "tensorrt", "-o", tmp_path / "b")
    one_message(done, UNSUPPORTED, "did not build the engine", "too hot")
    assert list(tmp_path.iterdir()) == []


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["emit", "write_sources", "rtx_version"])
def test_interrupted(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    from attnc.compiler.cli import tensorrt_work

    monkeypatch.setattr(tensorrt_work, step, interrupted)
    done = cli("export", "tiny_net:build", "--target", "tensorrt", "-o", tmp_path / "b")
    assert done.code == 130
    assert list(tmp_path.iterdir()) == []


def many_chosen(path: Path) -> None:
    """A TopK of 5000 among 3 * 48 * 48 values."""
    weight = onnx.numpy_helper.from_array(np.array([5000], np.int64), "k")
    shape = onnx.numpy_helper.from_array(np.array([1, -1], np.int64), "flat")
    nodes = [
        helper.make_node("Reshape", ["input", "flat"], ["x"], name="flatten"),
        helper.make_node("TopK", ["x", "k"], ["logits", "index"], name="rank/topk"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5000])],
        [weight, shape],
    )
    opsets = [helper.make_opsetid("", 20)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )


def test_a_node_that_the_parser_refuses(cli: Any, tmp_path: Path) -> None:
    many_chosen(tmp_path / "net.onnx")
    done = cli("export", tmp_path / "net.onnx", "--target", "tensorrt", "-o", tmp_path / "b")
    one_message(done, UNSUPPORTED, "TopK's K is 5000", "up to 3840", "rank/topk", "keep fewer")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_output_that_exists(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("years of work")
    done = cli("export", "tiny_net:build", "--target", "tensorrt", "-o", tmp_path / "b")
    one_message(done, USAGE, "exists and is not empty")
    assert (tmp_path / "b" / "thesis.txt").read_text() == "years of work"
