"""The protobuf messages of Core ML, the one thing that the evaluator takes from coremltools."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from attnc.compiler.coremltools import import_coremltools


def model_messages() -> ModuleType:
    """The module that defines the message Model; MissingRuntimeError without coremltools."""
    return import_coremltools("coremltools.proto.Model_pb2")


def enum_label(message: Any, field: str) -> str:
    """The name of the value that an enumeration field of a message holds, such as FLOAT16."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    number = getattr(message, field)
    return str(values[number].name) if number in values else str(number)
