"""What a package says of its inputs and outputs, checked against its program.

The description is what an app sees, the program is what runs: the two must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.coreml.messages import enum_label
from attnc.runtimes.coreml.program import Function
from attnc.runtimes.coreml.types import DictionaryType, TensorType, ValueType

Kind: TypeAlias = Literal["image", "tensor", "label", "dictionary"]
KINDS: dict[str, Kind] = {
    "imageType": "image",
    "multiArrayType": "tensor",
    "stringType": "label",
    "int64Type": "label",
    "dictionaryType": "dictionary",
}
ARRAY_TYPES = {
    "FLOAT32": "fp32",
    "FLOAT16": "fp16",
    "DOUBLE": "fp64",
    "INT32": "int32",
    "INT8": "int8",
}
CHANNELS = {"RGB": 3, "BGR": 3, "GRAYSCALE": 1, "GRAYSCALE_FLOAT16": 1}
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Feature:
    """An input or output: its default shape, its type, and a picture's `colour` order.

    `shapes` lists the shapes that are allowed where there are several.
    """

    name: str
    kind: Kind
    shape: Shape
    dtype: str
    colour: str = ""
    shapes: tuple[Shape, ...] = ()

    @property
    def allowed(self) -> tuple[Shape, ...]:
        """Every shape that the feature may have."""
        return self.shapes or (self.shape,)


def read_features(messages: Any, types: dict[str, ValueType]) -> tuple[Feature, ...]:
    """The features of a description, given the program's `types` by name.

    Raises UsageError where description and program contradict each other, UnsupportedError for
    a kind of feature that ML programs for vision do not have.
    """
    return tuple(read_feature(each, types) for each in messages)


def read_feature(message: Any, types: dict[str, ValueType]) -> Feature:
    """One feature."""
    name, kind = message.name, KINDS.get(message.type.WhichOneof("Type"))
    if name not in types:
        raise _contradiction(name, "the program has no such value")
    if kind is None:
        raise UnsupportedError(
            f"the feature has the type {message.type.WhichOneof('Type')}",
            where=f"feature '{name}'",
            remedy=f"known are {', '.join(KINDS)}",
        )
    type_ = types[name]
    if kind == "dictionary":
        key = type_.key if isinstance(type_, DictionaryType) else type_
        return Feature(name, kind, (), key.dtype if isinstance(key, TensorType) else "")
    if not isinstance(type_, TensorType):
        raise _contradiction(name, "the program's value is no tensor")
    if kind == "label":
        return Feature(name, kind, (), type_.dtype)
    if kind == "image":
        return _agreed(_image(name, message.type.imageType, type_), type_)
    return _agreed(_tensor(name, message.type.multiArrayType, type_), type_)


def program_types(function: Function) -> tuple[dict[str, ValueType], dict[str, ValueType]]:
    """The types of a function's inputs and of its outputs by name."""
    inputs: dict[str, ValueType] = {value.name: value.type for value in function.inputs}
    results = {v.name: v.type for each in function.block.operations for v in each.outputs}
    every = inputs | results
    return inputs, {name: every[name] for name in function.block.outputs if name in every}


def _image(name: str, message: Any, type_: TensorType) -> Feature:
    colour = enum_label(message, "colorSpace")
    if colour not in CHANNELS:
        raise _contradiction(name, f"its colour space is {colour}")
    flexible = message.WhichOneof("SizeFlexibility")
    if flexible == "imageSizeRange":
        raise _ranged(name)
    sizes = message.enumeratedSizes.sizes if flexible else ()
    shapes = tuple((1, CHANNELS[colour], int(s.height), int(s.width)) for s in sizes)
    shape = (1, CHANNELS[colour], int(message.height), int(message.width))
    return Feature(name, "image", shape, type_.dtype, colour, shapes)


def _tensor(name: str, message: Any, type_: TensorType) -> Feature:
    dtype = ARRAY_TYPES.get(enum_label(message, "dataType"), "")
    if dtype != type_.dtype:
        raise _contradiction(name, f"it is {dtype} there and {type_.dtype} in the program")
    flexible = message.WhichOneof("ShapeFlexibility")
    if flexible == "shapeRange":
        raise _ranged(name)
    shapes = tuple(tuple(map(int, s.shape)) for s in message.enumeratedShapes.shapes)
    shape = tuple(map(int, message.shape)) or type_.fixed or ()
    return Feature(name, "tensor", shape, dtype, shapes=shapes)


def _agreed(feature: Feature, type_: TensorType) -> Feature:
    """The feature, once its shapes are known to be the program's."""
    for shape in feature.allowed:
        if not type_.fits(shape) and shape:
            raise _contradiction(feature.name, f"it is {list(shape)} there, {type_} in the program")
    return feature


def _ranged(name: str) -> UnsupportedError:
    return UnsupportedError(
        "the feature has a range of shapes",
        where=f"feature '{name}'",
        remedy="convert the model with one shape, or with enumerated shapes",
    )


def _contradiction(name: str, what: str) -> UsageError:
    return UsageError(
        f"the model description and its program contradict each other: {what}",
        where=f"feature '{name}'",
        remedy="save the package again",
    )
