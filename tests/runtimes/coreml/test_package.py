"""Saved packages: what is read from whole ones, and what is said of damaged ones."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_packages import (
    CODE,
    RECORD,
    SIZE,
    START,
    WEIGHT,
    blob,
    copy,
    edit_model,
    model_file,
    operations,
    poke,
    save_classifier,
    save_enumerated,
    save_tensors,
    truncate,
    weight_file,
)

from attnc.compiler.errors import (
    AttncError,
    MissingRuntimeError,
    UnsupportedError,
    UsageError,
)
from attnc.runtimes.coreml.package import open_package


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def enumerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_enumerated(tmp_path_factory.mktemp("enumerated"))


def manifest_without_root(package: Path) -> None:
    content = json.loads((package / "Manifest.json").read_text("utf-8"))
    content["rootModelIdentifier"] = "nobody"
    (package / "Manifest.json").write_text(json.dumps(content), "utf-8")


def manifest_elsewhere(package: Path) -> None:
    content = json.loads((package / "Manifest.json").read_text("utf-8"))
    content["itemInfoEntries"][content["rootModelIdentifier"]]["path"] = "../Manifest.json"
    (package / "Manifest.json").write_text(json.dumps(content), "utf-8")


def enlarged_weight(model: Any) -> None:
    blob(model).type.tensorType.dimensions[0].constant.size = 5


def integer_weight(model: Any) -> None:
    blob(model).type.tensorType.dataType = 23


def file_elsewhere(model: Any) -> None:
    blob(model).blobFileValue.fileName = "@model_path/../../../secret.bin"


def odd_offset(model: Any) -> None:
    blob(model).blobFileValue.offset = 65


def short_literal(model: Any) -> None:
    types = [
        each.attributes["val"].type.tensorType for each in operations(model) if each.type == "const"
    ]
    next(type_ for type_ in types if type_.rank == 1).dimensions[0].constant.size = 9


def half_input(model: Any) -> None:
    model.description.input[0].type.multiArrayType.dataType = 65552


def renamed_input(model: Any) -> None:
    model.description.input[0].name = "picture"


def ranged_input(model: Any) -> None:
    array = model.description.input[0].type.multiArrayType
    array.shapeRange.sizeRanges.add(lowerBound=1, upperBound=9)


def older_operations(model: Any) -> None:
    model.mlProgram.functions["main"].opset = "CoreML4"


def network_model(model: Any) -> None:
    model.neuralNetwork.SetInParent()


def state(model: Any) -> None:
    model.description.state.add(name="memory")


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        pytest.param(shutil.rmtree, UsageError, "does not exist", id="nothing"),
        pytest.param(
            lambda package: (package / "Manifest.json").unlink(),
            UsageError,
            "manifest cannot be read",
            id="no manifest",
        ),
        pytest.param(
            lambda package: truncate(package / "Manifest.json", 40),
            UsageError,
            "manifest cannot be read",
            id="malformed manifest",
        ),
        pytest.param(
            lambda package: (package / "Manifest.json").write_text("[]", "utf-8"),
            UsageError,
            "names no root model",
            id="foreign manifest",
        ),
        pytest.param(manifest_without_root, UsageError, "names no root model", id="no root"),
        pytest.param(manifest_elsewhere, UsageError, "not in the package", id="root elsewhere"),
        pytest.param(
            lambda package: model_file(package).unlink(),
            UsageError,
            "not in the package",
            id="no model",
        ),
        pytest.param(
            lambda package: truncate(model_file(package), 1000),
            UsageError,
            "model cannot be read",
            id="truncated model",
        ),
        pytest.param(
            lambda package: truncate(model_file(package), 0),
            UsageError,
            "model is empty",
            id="empty model",
        ),
        pytest.param(
            lambda package: weight_file(package).unlink(),
            UsageError,
            "weight file is damaged: cannot be read",
            id="no weights",
        ),
        pytest.param(
            lambda package: truncate(weight_file(package), 400),
            UsageError,
            "points to 432 bytes at 128 of 400",
            id="truncated weights",
        ),
        pytest.param(
            lambda package: truncate(weight_file(package), 100),
            UsageError,
            "no blob at offset 64 of 100",
            id="truncated record",
        ),
        pytest.param(
            lambda package: truncate(weight_file(package), 9),
            UsageError,
            "has 9 bytes, less than its header",
            id="truncated header",
        ),
        pytest.param(
            lambda package: poke(package, 4, "<I", 7), UsageError, "version 7", id="version"
        ),
        pytest.param(
            lambda package: poke(package, RECORD, "<I", 1), UsageError, "starts with 0x1", id="mark"
        ),
        pytest.param(
            lambda package: poke(package, CODE, "<I", 1), UsageError, "fp16, not fp32", id="type"
        ),
        pytest.param(
            lambda package: poke(package, CODE, "<I", 99), UsageError, "type 99", id="foreign type"
        ),
        pytest.param(
            lambda package: poke(package, SIZE, "<Q", 216), UsageError, "has 216 bytes", id="size"
        ),
        pytest.param(
            lambda package: poke(package, START, "<Q", 130), UsageError, "at 130", id="misaligned"
        ),
        pytest.param(
            lambda package: poke(package, START, "<Q", 1 << 40), UsageError, "points to", id="far"
        ),
    ],
)
def test_damaged_files_are_named(
    tensors: Path, tmp_path: Path, damage: Callable[[Path], None], error: type, says: str
) -> None:
    package = copy(tensors, tmp_path)
    damage(package)
    refuses(package, error, says)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (enlarged_weight, UsageError, "has 432 bytes"),
        (integer_weight, UsageError, "fp32, not int32"),
        (file_elsewhere, UsageError, "outside of the package"),
        (odd_offset, UsageError, "no blob at offset 65"),
        (short_literal, UsageError, "a literal has"),
        (half_input, UsageError, "fp16 there and fp32 in the program"),
        (renamed_input, UsageError, "the program has no such value"),
        (ranged_input, UnsupportedError, "range of shapes"),
        (older_operations, UnsupportedError, "operation set 'CoreML4'"),
        (network_model, UnsupportedError, "neuralNetwork, not an ML Program"),
        (state, UnsupportedError, "has state 'memory'"),
    ],
)
def test_contradictory_models_are_refused(
    tensors: Path, tmp_path: Path, change: Callable[[Any], None], error: type, says: str
) -> None:
    package = copy(tensors, tmp_path)
    edit_model(package, change)
    refuses(package, error, says)


def refuses(package: Path, error: type, says: str) -> None:
    """The error is of the class, says the words, and names a place and a remedy."""
    with pytest.raises(AttncError) as caught:
        open_package(package)
    assert type(caught.value) is error
    assert says in caught.value.message
    assert caught.value.where
    assert caught.value.remedy


def test_a_file_is_no_package(tmp_path: Path) -> None:
    file = tmp_path / "model.mlpackage"
    file.write_bytes(b"not a folder")
    refuses(file, UsageError, "it is no folder")


def test_tensors_and_metadata_are_read(tensors: Path) -> None:
    package = open_package(tensors)
    assert package.specification_version == 7
    assert package.metadata["author"] == "somebody"
    assert package.metadata["attnc.model"] == "toy"
    (x,), (chances,) = package.inputs, package.outputs
    assert (x.name, x.kind, x.shape, x.dtype) == ("x", "tensor", (1, 3, 8, 6), "fp32")
    assert (chances.name, chances.shape, chances.dtype) == ("chances", (1, 4), "fp32")
    assert package.program.functions["main"].opset == 16


def test_weights_are_read_exactly(tensors: Path) -> None:
    block = open_package(tensors).program.functions["main"].block
    constants = [each.attributes["val"] for each in block.operations if each.type == "const"]
    (weight,) = (value for value in constants if np.shape(value) == WEIGHT.shape)
    assert weight.dtype == np.float32
    assert np.array_equal(weight, WEIGHT)


def test_a_classifier_has_a_picture_a_label_and_probabilities(classifier: Path) -> None:
    package = open_package(classifier)
    (x,), outputs = package.inputs, {each.kind: each for each in package.outputs}
    assert (x.kind, x.colour, x.shape) == ("image", "BGR", (1, 3, 8, 6))
    assert set(outputs) == {"label", "dictionary"}
    assert (outputs["label"].name, outputs["label"].dtype) == ("classLabel", "string")


def test_enumerated_shapes_are_read(enumerated: Path) -> None:
    (x,) = open_package(enumerated).inputs
    assert x.shape == (1, 3, 8, 6)
    assert set(x.shapes) == {(1, 3, 8, 6), (1, 3, 12, 10)}


def test_without_coremltools_the_extra_is_named(
    tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools.proto.Model_pb2", None)
    with pytest.raises(MissingRuntimeError, match=r"attnc\[coreml\]"):
        open_package(tensors)
