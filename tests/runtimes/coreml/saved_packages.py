"""Small packages to read, run and damage, saved by coremltools."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ct = pytest.importorskip("coremltools")
mil = pytest.importorskip("coremltools.converters.mil")
mb = mil.Builder
WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
LABELS = ["cat", "dog", "fox", "owl"]
#: Where the first blob's record lies in a weight file, and the fields in it.
RECORD, CODE, SIZE, START = 64, 68, 72, 80


def save(folder: Path, shape: tuple[Any, ...], **options: Any) -> Path:
    """Saves a small classifying network for iOS 16."""

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS16)  # type: ignore[untyped-decorator]
    def network(x: Any) -> Any:
        features = mb.relu(x=mb.conv(x=x, weight=WEIGHT, name="stem"), name="bent")
        return mb.softmax(x=mb.reduce_mean(x=features, axes=[2, 3]), name="chances")

    model = ct.convert(network, minimum_deployment_target=ct.target.iOS16, **options)
    model.author, model.user_defined_metadata["attnc.model"] = "somebody", "toy"
    path = folder / "toy.mlpackage"
    model.save(str(path))
    return path


def save_tensors(folder: Path) -> Path:
    """The network in float32, from an array."""
    return save(folder, (1, 3, 8, 6), compute_precision=ct.precision.FLOAT32)


def save_classifier(folder: Path) -> Path:
    """The network in float16, from a picture to a label."""
    return save(
        folder,
        (1, 3, 8, 6),
        inputs=[ct.ImageType(name="x", shape=(1, 3, 8, 6), color_layout=ct.colorlayout.BGR)],
        classifier_config=ct.ClassifierConfig(LABELS),
    )


def save_enumerated(folder: Path) -> Path:
    """The network in float16, for two sizes."""
    symbols = pytest.importorskip("coremltools.converters.mil.mil").get_new_symbol
    sizes = ct.EnumeratedShapes([(1, 3, 8, 6), (1, 3, 12, 10)], default=(1, 3, 8, 6))
    inputs = [ct.TensorType(name="x", shape=sizes)]
    return save(folder, (1, 3, symbols(), symbols()), inputs=inputs)


def copy(package: Path, folder: Path) -> Path:
    return Path(shutil.copytree(package, folder / "copy.mlpackage"))


def model_file(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def weight_file(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def edit_model(package: Path, change: Callable[[Any], None]) -> None:
    """Rewrites the model's protobuf after `change`."""
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString(model_file(package).read_bytes())
    change(model)
    model_file(package).write_bytes(model.SerializeToString())


def operations(model: Any) -> Any:
    return model.mlProgram.functions["main"].block_specializations["CoreML6"].operations


def operation(model: Any, kind: str) -> Any:
    return next(each for each in operations(model) if each.type == kind)


def blob(model: Any) -> Any:
    """The value of the constant that lies in the weight file."""
    values = (each.attributes["val"] for each in operations(model) if each.type == "const")
    return next(value for value in values if value.WhichOneof("value") == "blobFileValue")


def truncate(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])


def poke(package: Path, at: int, form: str, value: int) -> None:
    """Overwrites a number in the weight file."""
    content = bytearray(weight_file(package).read_bytes())
    struct.pack_into(form, content, at, value)
    weight_file(package).write_bytes(content)
