"""A fingerprint of what a graph computes: equal graphs hash equally, however they are stored.

Names, metadata, node order and dictionary order do not enter; operators, attributes, constants,
wiring, and the names, types and shapes of the graph's inputs and outputs do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import onnx_ir as ir


class GraphHasher:
    """Computes fingerprints; remembers those of tensors, which passes rarely change."""

    def __init__(self) -> None:
        self._tensors: dict[int, tuple[ir.TensorProtocol, str]] = {}

    def hash(self, model: ir.Model) -> str:
        """sha256 of the main graph (hex)."""
        graph = model.graph
        opsets = sorted(f"{domain}:{version}" for domain, version in graph.opset_imports.items())
        return _digest("model", *opsets, self._graph(graph, {}))

    def _graph(self, graph: ir.Graph, outer: dict[ir.Value, str]) -> str:
        known = dict(outer)
        for index, value in enumerate(graph.inputs):
            known[value] = _digest("input", index, value.name, value.dtype, value.shape)
        nodes = []
        for node in graph:
            own = self._node(node, known)
            nodes.append(own)
            known.update({v: _digest(own, i) for i, v in enumerate(node.outputs)})
        outputs = [_digest(self._value(v, known), v.name, v.dtype, v.shape) for v in graph.outputs]
        return _digest("graph", *sorted(nodes), *outputs)

    def _node(self, node: ir.Node, known: dict[ir.Value, str]) -> str:
        inputs = [self._value(v, known) if v is not None else "none" for v in node.inputs]
        attributes = [
            f"{name}={self._attribute(attribute, known)}"
            for name, attribute in sorted(node.attributes.items())
        ]
        kind = f"{node.domain}::{node.op_type}:{node.overload}"
        return _digest("node", kind, len(node.outputs), *attributes, "inputs", *inputs)

    def _value(self, value: ir.Value, known: dict[ir.Value, str]) -> str:
        if value in known:
            return known[value]
        if value.const_value is not None:
            return self._tensor(value.const_value)
        return _digest("free", value.name)

    def _attribute(self, attribute: ir.Attr, known: dict[ir.Value, str]) -> str:
        if attribute.is_ref():
            return f"ref:{attribute.ref_attr_name}"
        value: Any = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            return self._tensor(value)
        if attribute.type == ir.AttributeType.GRAPH:
            return self._graph(value, known)
        if attribute.type == ir.AttributeType.GRAPHS:
            return _digest(*[self._graph(graph, known) for graph in value])
        return f"{attribute.type}:{list(value) if _is_list(value) else value!r}"

    def _tensor(self, tensor: ir.TensorProtocol) -> str:
        held = self._tensors.get(id(tensor))
        if held is None or held[0] is not tensor:
            data = hashlib.sha256(tensor.tobytes()).hexdigest()
            held = (tensor, _digest("tensor", tensor.dtype, tuple(tensor.shape), data))
            self._tensors[id(tensor)] = held
        return held[1]


def graph_hash(model: ir.Model) -> str:
    """sha256 fingerprint of the model's main graph (hex)."""
    return GraphHasher().hash(model)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _digest(*parts: object) -> str:
    whole = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        whole.update(len(text).to_bytes(8, "little"))
        whole.update(text)
    return whole.hexdigest()
