"""Linear layers of a lowered graph get weights in fewer bits: `--precision fp16` and `int8`.

x -> MlpPacked -> y                =>  x -> NormLinearGeluInt8 -> LinearAddInt8(., x) -> y
x -> ConvNhwc (1x1, no stride) -> y  =>  x -> LinearInt8 -> y

All else, and all that lies between them, stays float32. What makes the scores by which tokens are
ranked, and what makes the model's outputs, is never rounded to bytes: there int8 means halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops import linear, linear_low
from attnc.compiler.ops.base import DOMAIN, NO_MAX, NO_MIN, Array
from attnc.compiler.ops.linear_low import HALF, INT8
from attnc.compiler.ops.packing import unpack_matrix
from attnc.compiler.ops.registry import get, make_node
from attnc.compiler.provenance import copy_metadata
from attnc.targets.cpu.lower import Refusal, add_constant, attributes_of, remove_dead

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
#: Rounding a row costs as much as multiplying it with a few columns: layers that are narrower than
#: this stay as they are.
NARROW = 16
#: By what the operators call them, the inputs that make scores.
SCORED = ("query", "memory", "qkv")
#: Bytes are at most 127 and their products are summed in 32 bits: of more, sums would wrap.
MOST_SUMMED = (2**31 - 1) // 127**2
#: Operators behind which a layer's rounding still shows as it is: they move values, put them side
#: by side, or change and combine them one by one.
_PASSING = {"Reshape", "Transpose", "Slice", "Split", "Identity", "Squeeze", "Unsqueeze", "Gather"}
_PASSING |= {"Flatten", "Expand", "Concat", "Cast", "Clip", "Softmax", "LogSoftmax", "Sigmoid"}
_PASSING |= {"Tanh", "Neg", "Add", "Sub", "Mul", "Div"}
_FREE: dict[str, Any] = {"min": NO_MIN, "max": NO_MAX}


@dataclass(frozen=True)
class _Layer:
    """One linear layer of a node: its operator without bits, weights [K, N], what follows."""

    name: str
    weight: Array
    bias: Array
    attributes: dict[str, Any]


def use_fewer_bits(model: ir.Model, precision: Precision) -> list[Refusal]:
    """Rewrite a lowered graph in place; returns layers that keep more bits, with the reason."""
    if precision == "fp32":
        return []
    kept, special = [], _special(model.graph) if precision == "int8" else {}
    for node in list(model.graph):
        layers = _layers(node)
        if not layers:
            continue
        whole = _why_whole(layers)
        if whole:
            kept.append(Refusal(node, f"stays float32: {whole}"))
            continue
        halves = _why_halves(node, layers, special) if precision == "int8" else ""
        if halves:
            kept.append(Refusal(node, f"has halves, not bytes: {halves}"))
        _replace(node, layers, HALF if precision == "fp16" or halves else INT8)
    remove_dead(model.graph)
    return kept


def _why_whole(layers: list[_Layer]) -> str:
    if min(min(layer.weight.shape) for layer in layers) < NARROW:
        return f"it is narrower than {NARROW}"
    if not all(np.isfinite(layer.weight).all() for layer in layers):
        return "its weights are not all finite"
    return ""


def _why_halves(node: ir.Node, layers: list[_Layer], special: dict[ir.Node, str]) -> str:
    longest = max(layer.weight.shape[0] for layer in layers)
    if longest > MOST_SUMMED:
        return f"a sum of {longest} products of bytes may not fit into 32 bits"
    return special.get(node, "")


def _layers(node: ir.Node) -> list[_Layer]:
    """The node as linear layers, one after the other; none if it is something else."""
    if node.domain != DOMAIN:
        return []
    a = attributes_of(node)
    if node.op_type.endswith("Packed") and node.op_type.removesuffix("Packed") in _NAMES:
        kept = {name: value for name, value in a.items() if name != "out_features"}
        return [_layer(node, node.op_type.removesuffix("Packed"), 1, a["out_features"], kept)]
    if node.op_type == "MlpPacked":
        return [
            _layer(node, "NormLinearGelu", 1, a["hidden"], {"epsilon": a["epsilon"]}),
            _layer(node, "LinearAdd", 3, a["channels"], _FREE),
        ]
    clamp: dict[str, Any] = {name: a[name] for name in ("min", "max") if name in a}
    if node.op_type == "FeedForwardNhwc":
        return [
            _layer(node, "Linear", 1, a["hidden"], clamp),
            _layer(node, "LinearAdd", 3, a["channels"], _FREE),
        ]
    name = _POINTWISE.get(node.op_type)
    if name is None or not _is_pointwise(a):
        return []
    return [_layer(node, name, 1, a["out_channels"], clamp)]


_NAMES = {layer.name for layer in linear.VARIANTS}
_POINTWISE = {"ConvNhwc": "Linear", "ConvAddNhwc": "LinearAdd", "ConvGeluNhwc": "LinearGelu"}


def _is_pointwise(a: dict[str, Any]) -> bool:
    ones = [*a["kernel_shape"], *a["strides"]]
    return set(ones) == {1} and not any(a["pads"])


def _layer(node: ir.Node, name: str, at: int, n: object, attributes: dict[str, Any]) -> _Layer:
    """The layer whose packed weight is input `at` and has n columns."""
    assert isinstance(n, int)
    panels, bias = (_array(node.inputs[index]) for index in (at, at + 1))
    return _Layer(name, unpack_matrix(panels, n), bias[:n], attributes)


def _array(value: ir.Value | None) -> Array:
    assert value is not None
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None  # lowering made it an initializer
    return tensor.numpy()


def _replace(node: ir.Node, layers: list[_Layer], bits: str) -> None:
    graph, x, old = node.graph, node.inputs[0], node.outputs[0]
    assert graph is not None
    assert x is not None
    value = x
    for index, layer in enumerate(layers):
        residual = () if "Add" not in layer.name else (x if len(layers) > 1 else node.inputs[-1],)
        made = _make(graph, node, layer, bits, index, (value, residual))
        graph.insert_before(node, made)
        value = made.outputs[0]
        last = old.shape[-1] if old.shape is not None and index + 1 == len(layers) else None
        value.type, value.shape = old.type, _wide(old.shape, last or layer.weight.shape[1])
    value.name = old.name
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _make(
    graph: ir.Graph,
    node: ir.Node,
    layer: _Layer,
    bits: str,
    index: int,
    values: tuple[ir.Value, tuple[ir.Value | None, ...]],
) -> ir.Node:
    """The node of one layer, its weights registered."""
    lowering = linear_low.LOWERINGS[f"{layer.name}{bits}"]
    packed, attributes = lowering.pack((layer.weight.T, layer.bias), layer.attributes)
    name = node.outputs[0].name
    constants = [
        add_constant(graph, f"{name}.layer{index}.{part}", array)
        for part, array in zip(("w", "f", "b"), packed, strict=True)
    ]
    x, residual = values
    made = make_node(
        f"{layer.name}{bits}", [x, *constants, *residual], attributes, name=f"{node.name}.{index}"
    )
    made.outputs[0].name = f"{name}.layer{index}"
    copy_metadata([node], [made])
    return made


def _wide(shape: ir.Shape | None, last: Any) -> ir.Shape | None:
    return None if shape is None else ir.Shape([*shape[:-1], last])


def _special(graph: ir.Graph) -> dict[ir.Node, str]:
    """Nodes that are never rounded to bytes, and why."""
    found = dict.fromkeys(_scorers(graph), "it makes the scores that rank tokens")
    for output in graph.outputs:
        for node in _makers(output):
            found.setdefault(node, "it makes an output of the model")
    return found


def _scorers(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        if node.domain != DOMAIN or not _ranks(node):
            continue
        for name, value in zip(get(node.op_type).inputs, node.inputs, strict=True):
            if name in SCORED and value is not None:
                yield from _makers(value)


def _ranks(node: ir.Node) -> bool:
    return node.op_type == "SelectTokens" or get(node.op_type).discontinuous is not None


def _makers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that computed a value, behind those that pass on what they get."""
    open_: list[ir.Value | None] = [value]
    seen: set[ir.Node] = set()
    while open_:
        reached = open_.pop()
        node = None if reached is None else reached.producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.domain == "" and node.op_type in _PASSING:
            open_ += node.inputs
        else:
            yield node
