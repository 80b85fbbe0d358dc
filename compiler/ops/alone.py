"""One fused operator of a graph as a model of its own, so that it can be timed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.ops.base import BODY_OPSET, Shape
from attnc.compiler.ops.registry import attach_functions, get

IR_VERSION = 9


@dataclass(frozen=True)
class Alone:
    """A node with its weights: `key` is equal for nodes that cost the same, `label` says which.

    `inputs` are those that are no constants: name, NumPy type and shape, free sizes being 1.
    `model` is only made by `serialized`, because weights are large and most nodes are repeats.
    """

    node: ir.Node
    key: str
    label: str
    inputs: tuple[tuple[str, str, Shape], ...]

    def serialized(self) -> bytes:
        """The model: the node, its weights, its body as a function."""
        model = _model(self)
        attach_functions(model)
        return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))


def alone(node: ir.Node) -> Alone | None:
    """The node by itself; None if the type or the rank of an input is unknown."""
    inputs, texts = [], [get(node.op_type).text()]
    for index, value in enumerate(node.inputs):
        if value is None:
            texts.append("absent")
            continue
        if value.dtype is None or value.shape is None:
            return None
        shape = tuple(size if isinstance(size, int) else 1 for size in value.shape)
        constant = value.const_value is not None
        texts.append(f"{value.dtype} {shape} {'constant' if constant else 'fed'}")
        if not constant:
            inputs.append((f"input{index}", value.dtype.numpy().name, shape))
    texts += [f"{name}={_plain(node, name)}" for name in sorted(node.attributes)]
    label = ", ".join("x".join(map(str, shape)) for _, _, shape in inputs)
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return Alone(node, key, f"{label} -> {_result(node)}", tuple(inputs))


def _plain(node: ir.Node, name: str) -> object:
    value = node.attributes[name].value
    return list(value) if isinstance(value, tuple | list) else value


def _result(node: ir.Node) -> str:
    shape = node.outputs[0].shape
    if shape is None:
        return "?"
    return "x".join(str(size) if isinstance(size, int) else "1" for size in shape)


def _model(lone: Alone) -> ir.Model:
    node = lone.node
    values: list[ir.Value | None] = []
    weights: list[ir.Value] = []
    fed = iter(lone.inputs)
    for index, value in enumerate(node.inputs):
        if value is None:
            values.append(None)
            continue
        copy = ir.Value(name=f"input{index}", type=value.type, shape=value.shape)
        if value.const_value is not None:
            copy.const_value = value.const_value
            weights.append(copy)
        else:
            copy.shape = ir.Shape(next(fed)[2])
        values.append(copy)
    twin = ir.node(
        node.op_type,
        values,
        domain=node.domain,
        attributes={name: attribute.value for name, attribute in node.attributes.items()},
        num_outputs=len(node.outputs),
    )
    for index, (made, old) in enumerate(zip(twin.outputs, node.outputs, strict=True)):
        made.name, made.type = f"output{index}", old.type or ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [value for value in values if value is not None and value.const_value is None],
        twin.outputs,
        nodes=[twin],
        initializers=weights,
        opset_imports={"": BODY_OPSET},
        name="alone",
    )
    return ir.Model(graph, ir_version=IR_VERSION)
