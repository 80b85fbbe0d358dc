"""What goes into Core ML and comes out of it, in the forms that we compare: pictures, arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.images import MODES
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.types import Array


def as_picture(array: Array, feature: Feature) -> Image.Image:
    """The picture with these values, [1, channels, height, width] in the feature's colour order.

    Raises UsageError where they are no picture of the feature's kind.
    """
    where = f"input '{feature.name}'"
    if array.ndim != len(feature.shape) or array.shape[:2] != feature.shape[:2]:
        raise UsageError(
            f"the array has shape {list(array.shape)}, not {list(feature.shape)}",
            where=where,
            remedy="give a picture, or an array of that shape",
        )
    with np.errstate(all="ignore"):
        values = array[0].astype(np.float32 if MODES[feature.colour] == "F" else np.uint8)
    if not np.array_equal(values, array[0]):
        raise UsageError(
            "the array holds values that a picture cannot have",
            where=where,
            remedy="give whole numbers from 0 to 255: the package normalises them itself",
        )
    planes = values[::-1] if feature.colour == "BGR" else values
    pixels = planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels))


def class_labels(package: Package) -> tuple[Any, ...]:
    """The labels of a classifier in the order of its classes; empty if it is none."""
    for function in package.program.functions.values():
        operations = list(function.block.walk())
        constants = {
            each.outputs[0].name: each.attributes["val"]
            for each in operations
            if each.type == "const"
        }
        for operation in operations:
            if operation.type == "classify":
                classes = operation.inputs["classes"][0]
                held = constants[classes.name] if classes.name else classes.value
                return tuple(each if isinstance(each, str) else int(each) for each in held)
    return ()


def numbers(
    outputs: Mapping[str, Any], features: Sequence[Feature], labels: Sequence[Any]
) -> Array:
    """The logits among the outputs; of a classifier without, its probabilities [1, classes].

    A class that Core ML leaves out is NaN. Raises UnsupportedError if there are neither.
    """
    for feature in features:
        if feature.kind == "tensor":
            return np.asarray(outputs[feature.name])
    for feature in features:
        if feature.kind == "dictionary":
            chances = outputs[feature.name]
            return np.array([[chances.get(label, np.nan) for label in labels]], np.float32)
    raise UnsupportedError(
        "the package gives neither an array nor probabilities",
        where=", ".join(feature.name for feature in features),
        remedy="export the model with its logits as output",
    )
