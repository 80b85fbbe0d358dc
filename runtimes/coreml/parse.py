"""From the protobuf message of an ML program to plain data; refuses what it does not know."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.coreml.messages import enum_label
from attnc.runtimes.coreml.program import Argument, Block, Function, Operation, Program, Value
from attnc.runtimes.coreml.types import (
    PACKED_BITS,
    STORAGE,
    Array,
    DictionaryType,
    ListType,
    TensorType,
    ValueType,
    unpack,
)

#: iOS versions by the name of the operation set.
OPSETS = {"CoreML5": 15, "CoreML6": 16, "CoreML7": 17, "CoreML8": 18, "CoreML9": 26}
#: The names of types that differ from their lower-case enumeration names.
RENAMED = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64"}
Blobs = Callable[[str, int, TensorType], Array]


def parse_program(message: Any, blobs: Blobs) -> Program:
    """The program of a message; `blobs(file, offset, type)` reads constants from weight files."""
    functions = message.functions
    return Program({name: parse_function(name, functions[name], blobs) for name in functions})


def parse_function(name: str, message: Any, blobs: Blobs) -> Function:
    """One function in the specialisation of its own operation set."""
    if message.opset not in OPSETS or message.opset not in message.block_specializations:
        raise UnsupportedError(
            f"the function has operation set '{message.opset}' with blocks for "
            f"{sorted(message.block_specializations)}; known are {', '.join(OPSETS)}",
            where=f"function {name}",
            remedy="convert the model for iOS 15 or later",
        )
    block = parse_block(message.block_specializations[message.opset], blobs)
    return Function(name, OPSETS[message.opset], parse_values(message.inputs), block)


def parse_block(message: Any, blobs: Blobs) -> Block:
    """A block with its operations."""
    operations = tuple(parse_operation(each, blobs) for each in message.operations)
    return Block(parse_values(message.inputs), tuple(message.outputs), operations)


def parse_operation(message: Any, blobs: Blobs) -> Operation:
    """One operation with its arguments, attributes and nested blocks."""
    attributes = {
        name: parse_literal(value, blobs, f"{message.type} attribute '{name}'")
        for name, value in message.attributes.items()
    }
    outputs = parse_values(message.outputs)
    name = str(attributes.pop("name", "") or (outputs[0].name if outputs else ""))
    inputs = {
        key: tuple(parse_argument(each, blobs, f"{message.type} '{name}' {key}") for each in many)
        for key, many in ((key, argument.arguments) for key, argument in message.inputs.items())
    }
    blocks = tuple(parse_block(block, blobs) for block in message.blocks)
    return Operation(message.type, name, inputs, outputs, attributes, blocks)


def parse_argument(message: Any, blobs: Blobs, where: str) -> Argument:
    """A reference by name, or a literal."""
    if message.WhichOneof("binding") == "value":
        literal, type_ = parse_literal(message.value, blobs, where), message.value.type
        tensor = type_.WhichOneof("type") == "tensorType"
        dtype = parse_tensor_type(type_.tensorType, where).dtype if tensor else ""
        return Argument(value=literal, dtype=dtype)
    return Argument(name=message.name)


def parse_values(messages: Any) -> tuple[Value, ...]:
    """Named values with their types."""
    return tuple(Value(each.name, parse_type(each.type, each.name)) for each in messages)


def parse_type(message: Any, where: str) -> ValueType:
    """A tensor's, a list's or a dictionary's type; others are UnsupportedError."""
    kind = message.WhichOneof("type")
    if kind == "tensorType":
        return parse_tensor_type(message.tensorType, where)
    if kind == "listType":
        return ListType(parse_tensor_type(message.listType.type.tensorType, where))
    if kind == "dictionaryType":
        pair = message.dictionaryType
        return DictionaryType(
            parse_tensor_type(pair.keyType.tensorType, where),
            parse_tensor_type(pair.valueType.tensorType, where),
        )
    raise UnsupportedError(
        f"a value has the type {kind}; the evaluator knows tensors, lists and dictionaries",
        where=where,
        remedy="use a model without state and without tuples",
    )


def parse_tensor_type(message: Any, where: str) -> TensorType:
    """Data type and shape; the rank that is stated must be that of the dimensions."""
    label = enum_label(message, "dataType")
    dtype = RENAMED.get(label, label.lower())
    if dtype not in STORAGE and dtype != "string":
        raise UnsupportedError(
            f"the data type {label} is unknown", where=where, remedy="use another data type"
        )
    if message.rank == -1 or any(each.unknown.variadic for each in message.dimensions):
        return TensorType(dtype, ("...",))
    if message.rank != len(message.dimensions):
        raise UsageError(
            f"a tensor states rank {message.rank} with {len(message.dimensions)} dimensions",
            where=where,
            remedy="save the package again",
        )
    return TensorType(dtype, tuple(parse_dimension(each) for each in message.dimensions))


def parse_dimension(message: Any) -> int | str:
    """A size, or "?"."""
    return int(message.constant.size) if message.WhichOneof("dimension") == "constant" else "?"


def parse_literal(message: Any, blobs: Blobs, where: str) -> Any:
    """An array, a string, or a list of those, from the message or from a weight file."""
    kind = message.WhichOneof("value")
    if kind == "blobFileValue":
        blob, type_ = message.blobFileValue, parse_tensor_type(message.type.tensorType, where)
        return blobs(blob.fileName, blob.offset, type_)
    held = message.immediateValue.WhichOneof("value") if kind else None
    if held == "tensor":
        type_ = parse_tensor_type(message.type.tensorType, where)
        return parse_immediate(message.immediateValue.tensor, type_, where)
    if held == "list":
        return [parse_literal(each, blobs, where) for each in message.immediateValue.list.values]
    raise UnsupportedError(
        f"a literal holds {held or kind or 'nothing'}; known are tensors and lists",
        where=where,
        remedy="convert the model with coremltools",
    )


def parse_immediate(message: Any, expect: TensorType, where: str) -> Any:
    """A literal tensor; a string of rank 0 gives a str."""
    field = message.WhichOneof("value")
    values: Any = getattr(message, field).values if field else ()
    if expect.dtype == "string":
        return str(values[0]) if not expect.shape and len(values) == 1 else np.array(list(values))
    shape = expect.fixed
    array = np.empty(0) if shape is None else unpack_immediate(values, expect, prod(shape))
    if shape is None or array.size != prod(shape):
        raise UsageError(
            f"a literal has {array.size} values for {expect}",
            where=where,
            remedy="save the package again: its program is damaged",
        )
    return array.reshape(shape)


def unpack_immediate(values: Any, expect: TensorType, count: int) -> Array:
    """The flat values of a literal: raw little-endian bytes, or one number each."""
    if not isinstance(values, bytes):
        return np.array(values, dtype=expect.storage)
    raw = np.frombuffer(bytearray(values), np.uint8)
    if expect.dtype in PACKED_BITS:
        enough = len(raw) * 8 >= count * PACKED_BITS[expect.dtype]
        return unpack(raw, expect.dtype, count) if enough else raw
    whole = len(raw) // expect.storage.itemsize * expect.storage.itemsize
    return raw[:whole].view(expect.storage)
