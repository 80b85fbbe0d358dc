"""Data movement and elementwise operators between channels-last twins, as reads of the twins.

Conv -> Transpose(NHWC) -> LayerNormalization        becomes   ConvNhwc -> LayerNormalization
Conv -> Reshape [B,C,N] -> Transpose [B,N,C] -> ..   becomes   ConvNhwc -> Reshape [B,N,C] -> ..
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.compiler.provenance import copy_metadata
from attnc.targets.cpu.layout import Layout, to_first, to_last

#: Standard operators that do not care about the order of the axes.
UNARY = {"Relu", "Sigmoid", "Tanh", "Gelu", "Erf", "HardSwish", "HardSigmoid", "LeakyRelu", "Clip"}
BINARY = {"Add", "Sub", "Mul", "Div"}
REDUCE = {"ReduceMean", "ReduceMax", "ReduceSum"}


def follow(node: ir.Node, layout: Layout) -> None:
    """Let a standard operator read and write twins, where that is possible."""
    if node.domain or not node.inputs or node.inputs[0] is None:
        return
    if node.op_type == "Transpose":
        _transpose(node, layout)
    elif node.op_type in ("Reshape", "Flatten"):
        _reshape(node, layout)
    elif node.op_type in UNARY | BINARY:
        _elementwise(node, layout)
    elif node.op_type in REDUCE:
        _reduce(node, layout)


def _transpose(node: ir.Node, layout: Layout) -> None:
    """A Transpose between the two forms is one form of the other."""
    x, out = node.inputs[0], node.outputs[0]
    given = node.attributes.get("perm")
    perm = tuple(given.as_ints()) if given is not None else ()
    assert x is not None
    if len(perm) not in (3, 4):
        return
    if perm == to_last(len(perm)):
        if layout.known(x) and not out.is_graph_output():
            ir.convenience.replace_all_uses_with(out, layout.twin(x))
            return
        if not layout.known(x):
            layout.record(x, out)
    if perm == to_first(len(perm)):
        layout.record(out, x)


def _reshape(node: ir.Node, layout: Layout) -> None:
    """[B,C,H,W] to [B,C,N] and back is a Reshape of the twin as well."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    if not layout.known(x) or x.shape is None or out.shape is None or x.shape[:2] != out.shape[:2]:
        return
    channels, inner = out.shape[1], list(out.shape[2:])
    if not isinstance(channels, int) or {len(x.shape), len(out.shape)} != {3, 4}:
        return
    if len(out.shape) == 4 and not all(isinstance(size, int) for size in inner):
        return
    sizes = [0, *(inner if len(inner) == 2 else [-1]), channels]
    target = _constant(node, f"{out.name}.sizes", np.array(sizes, np.int64))
    twin = ir.node("Reshape", [layout.twin(x), target], name=f"{node.name}.nhwc")
    _stand_in(node, twin, layout)


def _elementwise(node: ir.Node, layout: Layout) -> None:
    """Repeat the operator on the twins of its maps."""
    maps = [value for value in node.inputs if layout.known(value)]
    if not maps or maps[0] is None or maps[0].shape is None or len(maps[0].shape) != 4:
        return
    rank, inputs = len(maps[0].shape), list[ir.Value | None]()
    for value in node.inputs if node.op_type in BINARY else node.inputs[:1]:
        if value is None or (layout.known(value) and value.shape == maps[0].shape):
            inputs.append(None if value is None else layout.twin(value))
            continue
        array = _per_channel(value, rank)
        if array is None:
            return
        inputs.append(_constant(node, f"{value.name}.last", array))
    inputs += node.inputs[len(inputs) :]
    twin = ir.Node("", node.op_type, inputs, attributes=node.attributes.values())
    twin.name = f"{node.name}.nhwc"
    _stand_in(node, twin, layout)


def _per_channel(value: ir.Value, rank: int) -> np.ndarray | None:
    """A constant number, or one per channel of axis 1, in a form that meets the last axis."""
    tensor = ir.convenience.get_const_tensor(value)
    array = None if tensor is None else tensor.numpy()
    if array is None or array.ndim > rank:
        return None
    if array.size == 1:
        return array.reshape(())
    shape = (1,) * (rank - array.ndim) + array.shape
    one_each = all(size == 1 for axis, size in enumerate(shape) if axis != 1)
    return array.reshape(-1) if one_each else None


def _reduce(node: ir.Node, layout: Layout) -> None:
    """A reduction over all positions, axes dropped, gives the same vector from the twin."""
    x, keep = node.inputs[0], node.attributes.get("keepdims")
    assert x is not None
    if not layout.known(x) or x.shape is None or keep is None or keep.as_int():
        return
    given, rank = node.inputs[1] if len(node.inputs) > 1 else None, len(x.shape)
    tensor = None if given is None else ir.convenience.get_const_tensor(given)
    if tensor is None or {int(a) % rank for a in tensor.numpy()} != set(range(2, rank)):
        return
    axes = _constant(node, f"{node.outputs[0].name}.axes", np.arange(1, rank - 1))
    node.replace_input_with(0, layout.twin(x))
    node.replace_input_with(1, axes)


def _stand_in(node: ir.Node, twin: ir.Node, layout: Layout) -> None:
    """Put `twin` beside `node` and say that it makes the channels-last form of its output."""
    copy_metadata([node], [twin])
    assert node.graph is not None
    node.graph.insert_before(node, twin)
    layout.replaced.add(node)
    twin.outputs[0].name = f"{node.outputs[0].name}.nhwc"
    layout.record(node.outputs[0], twin.outputs[0])


def _constant(node: ir.Node, name: str, array: np.ndarray) -> ir.Value:
    graph = node.graph
    assert graph is not None
    if name in graph.initializers:
        return graph.initializers[name]
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value
