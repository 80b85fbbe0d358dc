"""Computes at export what does not depend on the input.

c1 ->
      Mul -> Add        =>      (initializer) -> Add
c2 ->
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import STANDARD, Array, Refuse, const, constant, is_const, opset

#: Results above this many elements are kept only if they are no larger than what they come from.
LARGE = 1 << 20
#: Random, or small only as long as they are not computed (quantised weights).
LEFT_ALONE = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial"}
    | {"Bernoulli", "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"}
    | {"If", "Loop", "Scan"}
)


class FoldConstants(AnchorPass):
    """Nodes whose inputs are all constants."""

    name = "fold_constants"
    reason = "what does not depend on the input is computed once, here"

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the outputs of `node` by initializers."""
        if node.domain not in STANDARD or node.op_type in LEFT_ALONE:
            return False
        if not all(value is None or is_const(value) for value in node.inputs):
            return False
        arrays = [const(value) for value in node.inputs]
        results = evaluate(node, arrays, opset(graph))
        largest = max([array.size for array in arrays if array is not None], default=0)
        if any(result.size > max(LARGE, largest) for result in results):
            raise Refuse("the result would be a large constant", node)
        for value, result in zip(node.outputs, results, strict=True):
            if value.is_graph_output():
                raise Refuse("the output of the graph does not depend on its input", node)
            held = constant(graph, result, value.name or "folded")
            ir.convenience.replace_all_uses_with(value, held)
        graph.remove(node, safe=True)
        return True


def evaluate(node: ir.Node, arrays: list[Array | None], version: int) -> list[Array]:
    """Run one standard node on constants, with ONNX's own reference; refuses if it cannot."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    names = ["" if array is None else f"i{index}" for index, array in enumerate(arrays)]
    feeds: dict[str, Any] = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    proto = onnx.NodeProto()
    proto.CopyFrom(ir.serde.serialize_node(node))
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(f"o{index}" for index in range(len(node.outputs)))
    graph = onnx.helper.make_graph(
        [proto],
        "one",
        [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in feeds],
        [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in proto.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
    try:
        found = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:
        raise Refuse(f"it cannot be computed here: {error}", node) from error
    if not all(isinstance(item, (np.ndarray, np.generic)) for item in found):
        raise Refuse("its result is not a tensor", node)
    return [np.asarray(item) for item in found]
