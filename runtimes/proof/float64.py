"""A graph in float64, node by node: what passes, lowerings and kernels are held against.

Operators of ours run by their references, standard ones by ONNX's own, convolutions and error
functions by torch in double precision, because ONNX's are slow. What nobody reads any more is
dropped, so that memory is that of the widest place of the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN
from attnc.runtimes.reference import one_thread

Array = NDArray[Any]
#: Sees each node with what came in and what came out.
Watch = Callable[[ir.Node, Sequence[Array | None], Sequence[Array]], None]


def compute64(
    model: ir.Model, feeds: Mapping[str, Array], watch: Watch | None = None
) -> list[Array]:
    """All outputs of the graph; float32 inputs and weights are widened. One thread: the same bits
    on every run."""
    with one_thread():
        return _compute(model, feeds, watch)


def _compute(model: ir.Model, feeds: Mapping[str, Array], watch: Watch | None) -> list[Array]:
    graph = model.graph
    held: dict[ir.Value, Array] = {
        value: widened(np.asarray(feeds[str(value.name)])) for value in graph.inputs
    }
    left = Counter({value: len(value.uses()) for node in graph for value in node.outputs})
    kept = set(graph.outputs)
    for node in graph:
        given = [_value(value, held) for value in node.inputs]
        found = run_node(node, given, graph.opset_imports)
        if watch is not None:
            watch(node, given, found)
        held.update(zip(node.outputs, found, strict=False))
        for value in {value for value in node.inputs if value in held}:
            left[value] -= sum(other is value for other in node.inputs)
            if left[value] <= 0 and value not in kept and value.producer() is not None:
                del held[value]
    return [_value(value, held) for value in graph.outputs]  # type: ignore[misc]


def run_node(
    node: ir.Node, inputs: Sequence[Array | None], opsets: Mapping[str, int]
) -> list[Array]:
    """The outputs of one node for widened inputs."""
    if node.domain == DOMAIN:
        attributes = {name: _plain(found) for name, found in node.attributes.items()}
        found = registry.get(node.op_type).reference(*inputs, **attributes)
        return [np.asarray(array) for array in (found if isinstance(found, tuple) else (found,))]
    if node.domain in ("", "ai.onnx") and node.op_type in FAST:
        return [FAST[node.op_type](node, inputs)]
    return _by_onnx(node, inputs, opsets)


def widened(array: Array) -> Array:
    """Float32 and float16 as float64; everything else as it is."""
    return array.astype(np.float64) if array.dtype in (np.float32, np.float16) else array


def _value(value: ir.Value | None, held: Mapping[ir.Value, Array]) -> Array | None:
    if value is None:
        return None
    if value in held:
        return held[value]
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None:
        raise KeyError(f"{value.name!r} is read before it is computed")
    return widened(tensor.numpy())


def _plain(attribute: ir.Attr) -> Any:
    value = attribute.value
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _by_onnx(
    node: ir.Node, inputs: Sequence[Array | None], opsets: Mapping[str, int]
) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    proto = ir.serde.serialize_node(node)
    names = [f"i{index}" if name else "" for index, name in enumerate(proto.input)]
    del proto.input[:]
    proto.input.extend(names)
    _widen(proto)
    versions = {domain: version for domain, version in opsets.items() if domain != DOMAIN}
    evaluator = ReferenceEvaluator(proto, opsets=versions)
    feed = {name: array for name, array in zip(names, inputs, strict=True) if name}
    wanted = [name for name in proto.output if name]
    found = dict(zip(wanted, evaluator.run(wanted, feed), strict=True))
    return [np.asarray(found[name]) if name else np.zeros(0) for name in proto.output]


def _widen(proto: Any) -> None:
    """Constants inside a node, and casts to narrower floats, become float64."""
    from onnx import AttributeProto, TensorProto, numpy_helper

    narrow = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    for attribute in proto.attribute:
        if attribute.type == AttributeProto.TENSOR:
            array = widened(numpy_helper.to_array(attribute.t))
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
        if proto.op_type == "Cast" and attribute.name == "to" and attribute.i in narrow:
            attribute.i = TensorProto.DOUBLE


def _torch_conv(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """Convolutions of one or two axes, any padding."""
    import torch

    x, weight = (torch.from_numpy(np.ascontiguousarray(array)) for array in inputs[:2])
    bias = inputs[2] if len(inputs) > 2 else None
    axes = x.dim() - 2
    read = {name: _plain(found) for name, found in node.attributes.items()}
    strides, dilations = (tuple(read.get(k, (1,) * axes)) for k in ("strides", "dilations"))
    pads = list(read.get("pads", (0,) * 2 * axes))
    if read.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_pads(x.shape[2:], weight.shape[2:], strides, dilations, read["auto_pad"])
    flat = [pads[axis + side * axes] for axis in reversed(range(axes)) for side in (0, 1)]
    convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)[axes - 1]
    found = convolve(
        torch.nn.functional.pad(x, flat),
        weight,
        None if bias is None else torch.from_numpy(np.ascontiguousarray(bias)),
        strides,
        0,
        dilations,
        int(read.get("group", 1)),
    )
    return np.asarray(found.numpy())


def _same_pads(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    way: str,
) -> list[int]:
    begins, ends = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        need = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        less, more = need // 2, need - need // 2
        begins.append(more if way == "SAME_LOWER" else less)
        ends.append(less if way == "SAME_LOWER" else more)
    return begins + ends


def _erf(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    import torch

    return np.asarray(torch.special.erf(torch.from_numpy(np.asarray(inputs[0]))).numpy())


def _gelu(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    import torch

    how = _plain(node.attributes["approximate"]) if "approximate" in node.attributes else "none"
    x = torch.from_numpy(np.asarray(inputs[0]))
    return np.asarray(torch.nn.functional.gelu(x, approximate=how).numpy())


def _matmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    return np.asarray(np.matmul(*inputs[:2]))  # type: ignore[arg-type]


def _gather_elements(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """ONNX's own reference takes at most 64 rows."""
    data, index = np.asarray(inputs[0]), np.asarray(inputs[1])
    axis = _plain(node.attributes["axis"]) if "axis" in node.attributes else 0
    index = np.where(index < 0, index + data.shape[axis], index)
    cut = tuple(slice(size) for size in index.shape)
    other = [cut[a] if a != axis % data.ndim else slice(None) for a in range(data.ndim)]
    return np.take_along_axis(data[tuple(other)], index, axis)


FAST: dict[str, Callable[[ir.Node, Sequence[Array | None]], Array]] = {
    "Conv": _torch_conv,
    "Erf": _erf,
    "GatherElements": _gather_elements,
    "Gelu": _gelu,
    "MatMul": _matmul,
}
