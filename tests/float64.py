"""A graph in float64, operators of ours by their references: exact up to the last digits."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN, Operator


def _runner(operator: Operator) -> type[OpRun]:
    class Run(OpRun):
        op_domain: ClassVar[str] = DOMAIN

        def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
            found = operator.reference(*inputs, **attributes)
            return found if isinstance(found, tuple) else (found,)

    Run.__name__ = operator.name
    return Run


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    array = numpy_helper.to_array(tensor)
    if array.dtype != np.float32:
        return tensor
    return numpy_helper.from_array(array.astype(np.float64), tensor.name)


def _widen(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        tensor.CopyFrom(_widened(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.CopyFrom(_widened(attribute.t))
            if node.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE


def compute64(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of the graph."""
    proto = ir.serde.serialize_model(model)
    _widen(proto.graph)
    del proto.graph.value_info[:]
    runners = [_runner(operator) for operator in registry.OPERATORS]
    evaluator = ReferenceEvaluator(proto, new_ops=runners)
    return evaluator.run(None, {name: array.astype(np.float64) for name, array in feeds.items()})
