"""Ranks the tokens before the attention that they come from, which then runs on the kept ones.

LinearAdd(Attention(qkv), w, b, x) -> SelectTokens(., qkv)        =>
SelectTokens(x, qkv, bias b) -> y;  LinearAdd(SelectedAttention(qkv, index, weights), w, b, y)
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN, NO_MAX, NO_MIN
from attnc.compiler.ops.registry import make_node
from attnc.passes.anchor import AnchorPass
from attnc.passes.demand.steps import again, attributes_of
from attnc.passes.fuse.select_tokens import name_outputs
from attnc.passes.graph import (
    Refuse,
    attribute,
    const,
    new_node,
    replace,
    shape,
    sole_user,
)


class SelectBeforeAttention(AnchorPass):
    """The rows that a selection drops need neither attention nor projection of their own.

    Where they are fused into one, their weighted sum commutes with the projection; the selection
    takes its bias, so that it counts as often as the weights say.
    """

    name = "select_before_attention"
    reason = "rows that are dropped afterwards need no attention and no projection"

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Moves the selection in front of the attention."""
        if (node.domain, node.op_type) != (DOMAIN, "SelectTokens"):
            return False
        x, query, memory, bias = node.inputs
        assert x is not None
        zeros = const(bias)
        if zeros is None or zeros.any():
            return False  # it has moved already
        add = x.producer()
        if not _is(add, "LinearAdd") or add is None:
            raise Refuse("no projection with a residual stands before the selection")
        attention = add.inputs[0].producer() if add.inputs[0] is not None else None
        if not _is(attention, "Attention") or attention is None:
            raise Refuse("what is projected before the selection is no attention")
        self._check(node, add, attention)
        residual = add.inputs[3]
        chosen = make_node(
            "SelectTokens", [residual, query, memory, add.inputs[2]], attributes_of(node)
        )
        out = node.outputs[0]
        kept, index, weights = chosen.outputs
        kept.type, kept.shape = out.type, out.shape
        name_outputs(chosen, out, attribute(node, "keep"))
        inputs = [*attention.inputs, index, weights]
        attributes = {**attributes_of(attention), "fuse": attribute(node, "fuse")}
        wide = attention.outputs[0]
        sizes = [*list(out.shape or [])[:2], *list(wide.shape or [])[2:]]
        rows = new_node(
            "SelectedAttention", inputs, attributes, domain=DOMAIN, like=wide, sizes=sizes
        )
        joined = [rows.outputs[0], *add.inputs[1:3], kept]
        new = [chosen, rows, again(add, joined, out, list(out.shape or []))]
        others = zip(node.outputs[1:], chosen.outputs[1:], strict=True)
        for old, value in others:
            ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        replace(graph, node, [attention, add], new)
        return True

    def _check(self, node: ir.Node, add: ir.Node, attention: ir.Node) -> None:
        if sole_user(add.outputs[0]) is not node or sole_user(attention.outputs[0]) is not add:
            raise Refuse("the tokens before the selection have a second consumer", add)
        if attribute(add, "min") > NO_MIN or attribute(add, "max") < NO_MAX:
            raise Refuse("an activation stands before the selection", add)
        query, tokens = shape(attention.inputs[0]), shape(add.outputs[0])
        residual = shape(add.inputs[3])
        if query is None or tokens is None or query[1] != tokens[1] or residual != tokens:
            raise Refuse("the residual has other rows than the attention", add)


def _is(node: ir.Node | None, name: str) -> bool:
    return node is not None and (node.domain, node.op_type) == (DOMAIN, name)
