"""Types and bytes: constants, attributes and value types of the nodes that become low."""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.graph import const, fresh_name, is_op
from attnc.passes.precision.low import FLOAT, Low, is_float
from attnc.passes.precision.plan import Plan


def convert_initializers(plan: Plan) -> None:
    """Each constant in the type of its readers; twice, if they differ."""
    graph = plan.graph
    inputs = set(graph.inputs)
    for value in list(graph.initializers.values()):
        if not is_float(value) or value in inputs or value.is_graph_output():
            continue
        uses = [(use.node, use.idx) for use in value.uses()]
        low = [use for use in uses if plan.wanted(*use) == plan.low.dtype]
        if not low:
            continue
        if any(plan.wanted(*use) == FLOAT for use in uses):
            _copy(value, low, plan)
        else:
            _convert(value, plan.low)


def _convert(value: ir.Value, low: Low) -> None:
    array = const(value)
    assert array is not None
    value.const_value = low.tensor(array, value.name)
    value.type = ir.TensorType(low.dtype)


def _copy(value: ir.Value, uses: list[tuple[ir.Node, int]], plan: Plan) -> None:
    array = const(value)
    assert array is not None
    name = fresh_name(plan.graph, f"{value.name}_{plan.low.name}")
    tensor = plan.low.tensor(array, name)
    kind = ir.TensorType(plan.low.dtype)
    copy = ir.Value(name=name, const_value=tensor, shape=value.shape, type=kind)
    plan.graph.register_initializer(copy)
    for node, index in uses:
        node.replace_input_with(index, copy)


def convert_nodes(plan: Plan) -> int:
    """Attributes and output types of the nodes that become low; how many these are."""
    made = [
        (node, value)
        for node in plan.graph
        for value in node.outputs
        if is_float(value) and plan.given(value) == plan.low.dtype
    ]
    reading = [node for node in plan.graph if node not in plan.kept and _reads_low(node, plan)]
    for node, value in made:
        _convert_attributes(node, plan.low)
        value.type = ir.TensorType(plan.low.dtype)  # a new one: types may be shared
    return len({node for node, _ in made} | set(reading))


def _reads_low(node: ir.Node, plan: Plan) -> bool:
    return any(
        is_float(value) and plan.slots.input(node, index) == plan.low.dtype
        for index, value in enumerate(node.inputs)
    )


def _convert_attributes(node: ir.Node, low: Low) -> None:
    if is_op(node, "Cast"):
        node.attributes["to"] = ir.AttrInt64("to", low.dtype)
    elif is_op(node, "ConstantOfShape"):
        fill = node.attributes.get("value")
        given = fill.as_tensor().numpy() if fill is not None else FLOAT.numpy().type([0])
        node.attributes["value"] = ir.AttrTensor("value", low.tensor(given, None))
