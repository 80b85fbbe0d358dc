"""Reads an `.onnx` file of any origin, and refuses what is broken before it costs time.

Only standard operators are taken, and functions that the file carries, which are inlined: those
are what passes know and what every runtime computes in the same way.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.provenance import describe

OLDEST, NEWEST = 13, 23
_STANDARD = ("", "ai.onnx")


def _parse(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise UsageError(f"no file at {path}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UsageError(
            f"{path.name} is not an ONNX model, or is truncated", where=str(path)
        ) from error
    # An empty file, and much that is not ONNX at all, parses as a message without content.
    if not proto.ir_version or not proto.graph.node or not proto.opset_import:
        raise UsageError(
            f"{path.name} is not an ONNX model: it has no graph, version or operator set",
            where=str(path),
        )
    return proto


def _tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    held = list(proto.graph.initializer)
    for node in proto.graph.node:
        held += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
    return held


def _check_external(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        file = (folder / facts.get("location", "")).resolve()
        where = f"{path}, tensor {tensor.name}"
        if not file.is_relative_to(folder) or file == folder:
            raise UsageError(
                f"the external data of {path.name} lies outside its folder: "
                f"{facts.get('location', '')!r}",
                where=where,
            )
        if not file.is_file():
            raise UsageError(
                f"external data of {path.name} is missing: no file {facts['location']!r} beside it",
                where=where,
                remedy="copy the data file next to the .onnx file",
            )
        needed = int(facts.get("offset", 0)) + int(facts.get("length", 0))
        if file.stat().st_size < needed:
            raise UsageError(
                f"external data of {path.name} is truncated: {file.name} has "
                f"{file.stat().st_size} bytes, {needed} are needed",
                where=where,
            )


def opset_of(model: ir.Model) -> int:
    """Version of the standard operator set that the model imports."""
    return model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))


def _check_opset(model: ir.Model, path: Path) -> None:
    opset = opset_of(model)
    if not OLDEST <= opset <= NEWEST:
        raise UnsupportedError(
            f"{path.name} uses opset {opset}; {OLDEST} to {NEWEST} are supported",
            where=str(path),
            remedy="export again with opset_version=20",
        )


def check_operators(model: ir.Model, name: str) -> None:
    """UnsupportedError for the first node that is not a standard operator of the model's opset."""
    opset = opset_of(model)
    for node in model.graph.all_nodes():
        if node.domain not in _STANDARD:
            raise UnsupportedError(
                f"{name} has the operator {node.domain}::{node.op_type}, which is not a "
                "standard one",
                where=describe(node),
                remedy="export the model as plain ONNX, before any runtime's own optimiser",
            )
        if not onnx.defs.has(node.op_type, opset, ""):
            raise UnsupportedError(
                f"{name} has the unknown operator {node.op_type} (opset {opset})",
                where=describe(node),
            )


def _load(proto: onnx.ModelProto, path: Path) -> ir.Model:
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
        model = ir.from_proto(proto)
        common.InlinePass()(model)
        common.RemoveInitializersFromInputsPass()(model)
    except Exception as error:  # a message that parses can still be nonsense
        raise UsageError(
            f"{path.name} is not a valid ONNX model: {error}", where=str(path)
        ) from error
    return model


def load_onnx(path: Path) -> ir.Model:
    """The model in a file, functions inlined, weights in memory.

    Raises UsageError for a file that is broken, UnsupportedError (naming the node) for one that is
    right but beyond us.
    """
    proto = _parse(path)
    _check_external(proto, path)
    model = _load(proto, path)
    _check_opset(model, path)
    return model
