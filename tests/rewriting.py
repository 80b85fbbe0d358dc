"""Tiny graphs for the tests of passes, and the one check that every rewrite must stand.

`Builder` makes a graph node by node; `rewrite` runs passes on it and compares what it computes
before and after in ONNX Runtime, tries for idempotence, and looks for lost metadata.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.pipeline import NearMiss, Pass, PassResult
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY, source_line, torch_module
from attnc.passes.clean.constants import ConstantsToInitializers
from attnc.passes.clean.infer import InferShapes

MODULE, SOURCE = "stem.block", "net.py:7"


class Builder:
    """A graph in the making: `b.op("Conv", x, weight_array, strides=[2, 2])` gives a value."""

    def __init__(self, opset: int = 20, seed: int = 0) -> None:
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": opset}, name="g")
        self.rng = np.random.default_rng(seed)

    def input(self, *sizes: Any, name: str = "x", dtype: Any = ir.DataType.FLOAT) -> ir.Value:
        """A graph input; a size may be a string (symbolic)."""
        value = ir.Value(name=name, shape=ir.Shape(sizes), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def random(self, *sizes: int) -> np.ndarray:
        """Seeded weights."""
        return self.rng.standard_normal(sizes).astype(np.float32)

    def const(self, array: Any) -> ir.Value:
        """An initializer."""
        array = np.asarray(array)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"c{len(self.graph.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        self.graph.register_initializer(value)
        return value

    def ops(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> list[Any]:
        """A node with several outputs; arrays and lists among the inputs become initializers."""
        values = [v if v is None or isinstance(v, ir.Value) else self.const(v) for v in inputs]
        node = ir.node(op_type, values, attributes, num_outputs=outputs)
        node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
        self.graph.append(node)
        return list(node.outputs)

    def op(self, op_type: str, *inputs: Any, **attributes: Any) -> ir.Value:
        """A node with one output."""
        return self.ops(op_type, *inputs, **attributes)[0]

    def conv(self, x: ir.Value, cin: int, cout: int, k: int = 1, **attributes: Any) -> ir.Value:
        """A canonical Conv with random weights."""
        group = attributes.get("group", 1)
        full = {
            "kernel_shape": [k, k],
            "strides": [1, 1],
            "pads": [k // 2] * 4,
            "dilations": [1, 1],
            "group": 1,
            **attributes,
        }
        w = self.random(cout, cin // group, k, k) / (cin // group * k * k) ** 0.5
        return self.op("Conv", x, w, self.random(cout), **full)

    def model(self, *outputs: ir.Value) -> ir.Model:
        """The finished model, shapes inferred."""
        for index, value in enumerate(outputs):
            value.name = f"y{index}"
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
        self.graph.outputs.extend(outputs)
        model = ir.Model(self.graph, ir_version=9)
        ConstantsToInitializers().run(model)
        InferShapes().run(model)
        return model


def compute(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs in ONNX Runtime, bodies of our operators inside."""
    whole = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    attach_functions(whole)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    data = ir.serde.serialize_model(whole).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def random_feeds(model: ir.Model, batch: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    """Seeded inputs, symbolic sizes `batch`."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in model.graph.inputs:
        sizes = [size if isinstance(size, int) else batch for size in value.shape]
        found[value.name] = rng.standard_normal(sizes).astype(value.dtype.numpy())
    return found


def distance(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Largest relative error over all outputs."""
    assert [a.shape for a in ours] == [b.shape for b in theirs]
    return max(
        float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-9))
        for a, b in zip(ours, theirs, strict=True)
    )


def rewrite(
    model: ir.Model, *passes: Pass, limit: float = 1e-5, batches: Sequence[int] = (2, 3)
) -> list[PassResult]:
    """Run the passes in place and check parity, idempotence and metadata; their results."""
    before = copy.deepcopy(ir.serde.serialize_model(model))
    results = [step.run(model) for step in passes]
    original = ir.serde.deserialize_model(before)
    for batch in batches:
        feeds = random_feeds(original, batch)
        assert distance(compute(model, feeds), compute(original, feeds)) <= limit
    for step in passes:
        assert step.run(model).matches == 0, f"{step.name} is not idempotent"
    for node in model.graph:
        assert torch_module(node) == MODULE, node
        assert source_line(node) == SOURCE, node
    return results


def counts(model: ir.Model) -> dict[str, int]:
    """Nodes per operator."""
    return dict(Counter(node.op_type for node in model.graph))


def only(model: ir.Model, op_type: str) -> ir.Node:
    """The one node of that operator."""
    (found,) = [node for node in model.graph if node.op_type == op_type]
    return found


def reasons(result: PassResult) -> str:
    """All reasons of near-misses, which must say where they are."""
    misses: tuple[NearMiss, ...] = result.near_misses
    assert all(miss.module == MODULE and miss.source == SOURCE and miss.node for miss in misses)
    return "; ".join(miss.reason for miss in misses)
