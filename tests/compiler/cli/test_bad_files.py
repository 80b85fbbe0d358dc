"""ONNX files and pictures that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_messages import UNSUPPORTED, USAGE, leftovers, one_message
from onnx import TensorProto, helper
from PIL import Image

pytestmark = pytest.mark.usefixtures("importable_data")

DATA = Path(__file__).resolve().parents[2] / "data"


def write_onnx(path: Path, shape: list[Any], op: str = "Relu", **node: Any) -> onnx.ModelProto:
    weight = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    nodes = [
        helper.make_node("Mul", ["input", "w"], ["h"]),
        helper.make_node(op, ["h"], ["logits"], **node),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [weight],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return model


def not_onnx(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 certainly not a model")


def truncated(path: Path) -> None:
    write_onnx(path, [1, 3, 8, 8])
    path.write_bytes(path.read_bytes()[:-40])


def foreign_operator(path: Path) -> None:
    write_onnx(path, [1, 3, 8, 8], "Frobnicate", domain="mine")


def unknown_operator(path: Path) -> None:
    write_onnx(path, [1, 3, 8, 8], "Frobnicate")


def dynamic_height(path: Path) -> None:
    write_onnx(path, [1, 3, "height", 8])


def missing_data(path: Path) -> None:
    model = write_onnx(path, [1, 3, 8, 8])
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights.bin", offset=0, length=4)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("write", "code", "said"),
    [
        (not_onnx, USAGE, "not an ONNX model"),
        (truncated, USAGE, "not an ONNX model"),
        (foreign_operator, UNSUPPORTED, "mine::Frobnicate"),
        (unknown_operator, UNSUPPORTED, "Frobnicate"),
        (dynamic_height, UNSUPPORTED, "height"),
        (missing_data, USAGE, "weights.bin"),
    ],
)
def test_onnx_files(
    cli: Any, tmp_path: Path, write: Callable[[Path], None], code: int, said: str
) -> None:
    write(tmp_path / "net.onnx")
    one_message(cli("export", tmp_path / "net.onnx", "-o", tmp_path / "out"), code, said)
    assert leftovers(tmp_path) == ["net.onnx"]


# --- pictures ------------------------------------------------------------------------------------


def picture(kind: str, folder: Path) -> Path:
    path = folder / ("a.png" if kind in {"16-bit", "1x1"} else "a.jpg")
    if kind == "16-bit":
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(path)
    elif kind == "CMYK":
        Image.new("CMYK", (32, 32)).save(path)
    elif kind == "1x1":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "text":
        path.write_text("a thousand words")
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("16-bit", "more than 8 bits"),
        ("CMYK", "CMYK"),
        ("1x1", "1x1"),
        ("text", "not a picture"),
        ("missing", "no picture"),
    ],
)
def test_pictures(cli: Any, shvit_bundle: Path, tmp_path: Path, kind: str, said: str) -> None:
    path = picture(kind, tmp_path)
    one_message(cli("run", shvit_bundle, path), USAGE, said, path.name)


def test_one_picture_for_a_bundle_of_two(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    one_message(cli("run", tiny_bundle, tmp_path / "a.png"), USAGE, "2 pictures at once")
