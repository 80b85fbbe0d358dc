"""Graphs of semantic operators for the tests of TensorRT's lowering, and what must hold after it.

`Graph` builds one node by node; `lowered` lowers it and compares what it computes before and after
in ONNX Runtime, on the bodies, for several batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from rewriting import MODULE, SOURCE, Builder, compute, distance, random_feeds

from attnc.compiler.ops.base import DOMAIN, Example
from attnc.compiler.ops.registry import get, make_node
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY, source_line, torch_module
from attnc.targets.tensorrt.bodies import attach_functions
from attnc.targets.tensorrt.emit import leave_unsaid
from attnc.targets.tensorrt.lower import Options, Refusal, is_plugin, lower

#: As for an fp32 bundle, for a runtime with the operator Attention, and for JetPack 6.
PLAIN, OPERATOR, JETPACK6 = Options(20, False), Options(23, True), Options(18, False)
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
#: Inputs of the operators that are weights.
WEIGHTS: Mapping[str, Sequence[int]] = {
    "SingleHeadAttention": range(1, 7),
    "SparseAttention": range(1, 7),
    "SparseAttentionActive": range(1, 7),
    "SelectTokens": (3,),
}


class Graph(Builder):
    """As `Builder`, with nodes of ours: `g.fused("SlotCluster", x, slots, scale=2.0)`."""

    def fused(self, op_type: str, *inputs: Any, **attributes: Any) -> Any:
        """One value, or a list where the operator has several outputs; arrays are constants."""
        values = [v if isinstance(v, ir.Value) else self.const(v) for v in inputs]
        node = make_node(op_type, values, attributes, name=f"block/{len(self.graph)}")
        node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
        self.graph.append(node)
        self.graph.opset_imports[DOMAIN] = 1
        shapes = get(op_type).output_shapes([tuple(v.shape) for v in values], attributes)
        for index, (value, sizes) in enumerate(zip(node.outputs, shapes, strict=True)):
            value.name = f"v{len(self.graph)}_{index}"
            integers = get(op_type).outputs[index] == "index"
            kind = ir.DataType.INT64 if integers else ir.DataType.FLOAT
            value.type, value.shape = ir.TensorType(kind), ir.Shape(sizes)
        return node.outputs[0] if len(node.outputs) == 1 else list(node.outputs)

    def like(self, value: ir.Value, *sizes: Any) -> ir.Value:
        """The value, its sizes said; float32 if its type is not known."""
        value.shape = ir.Shape(sizes)
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
        return value


def of_example(op_type: str, example: Example) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """An operator of ours between nodes of others, and a hard input of it; the batch is free."""
    g, feeds, seen = Graph(), dict[str, np.ndarray](), dict[int, ir.Value]()
    values: list[Any] = []
    for index, array in enumerate(example.inputs):
        if index in WEIGHTS.get(op_type, ()):
            values.append(array)
            continue
        if id(array) not in seen:
            name = get(op_type).inputs[index]
            kind = ir.DataType.from_numpy(array.dtype)
            seen[id(array)] = g.input("batch", *array.shape[1:], name=name, dtype=kind)
            feeds[name] = array
        values.append(seen[id(array)])
    found = g.fused(op_type, *values, **example.attributes)
    return g.model(*(found if isinstance(found, list) else [found])), feeds


def copied(model: ir.Model) -> ir.Model:
    """The same model again, through its file format."""
    return ir.from_proto(ir.to_proto(model))


def run(model: ir.Model, feeds: Mapping[str, np.ndarray], precision: str = "fp32") -> Any:
    """All outputs of a lowered model in ONNX Runtime, plugins on their bodies."""
    whole = copied(model)
    attach_functions(whole, precision)
    leave_unsaid(whole.graph)
    data = ir.to_proto(whole)
    onnx.checker.check_model(data, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        data.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))


def lowered(
    model: ir.Model,
    options: Options = PLAIN,
    *,
    limit: float = 1e-5,
    feeds: Mapping[str, np.ndarray] | None = None,
    batches: Sequence[int] = (1, 3),
) -> list[Refusal]:
    """Lower in place; numbers, names, places of origin and outputs are as before."""
    before = copied(model)
    names = [(v.name, v.dtype) for v in model.graph.outputs]
    refusals = lower(model, options)
    for given in [feeds] if feeds else [random_feeds(before, batch) for batch in batches]:
        assert distance(run(model, given), compute(before, dict(given))) <= limit
    assert [(v.name, v.dtype) for v in model.graph.outputs] == names
    assert_tidy(model, options)
    return refusals


def assert_tidy(model: ir.Model, options: Options) -> None:
    """Plugins, standard operators of an opset that is allowed, unique names, known origins."""
    assert model.graph.opset_imports[""] == options.opset
    assert not model.functions
    names = [node.name for node in model.graph]
    assert all(names)
    assert len(set(names)) == len(names)
    for node in model.graph:
        assert node.domain in ("", DOMAIN), node
        assert node.domain == "" or is_plugin(node), node
        assert node.domain == "" or node.op_type not in options.bodies, node
        assert torch_module(node) == MODULE, node
        assert source_line(node) == SOURCE, node
        assert all(v.type is not None for v in node.outputs), node
        assert node.domain == "" or all(v.shape is not None for v in node.outputs), node


def census(model: ir.Model) -> dict[str, int]:
    """Nodes by operator, those of ours with an @."""
    return dict(
        Counter(
            f"@{node.op_type}" if node.domain == DOMAIN else node.op_type for node in model.graph
        )
    )


def plugins_of(model: ir.Model) -> dict[str, int]:
    """The nodes that are plugins, by operator."""
    return dict(Counter(node.op_type for node in model.graph if is_plugin(node)))
