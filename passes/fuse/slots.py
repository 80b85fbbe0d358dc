"""Fuses GLMix's clustering of tokens into slots and the dealing out by the same logits.

cos(slots, t) -> Mul(s) -+-> Softmax over tokens -> MatMul(t)         SlotCluster(t, slots) -> ..
                         +-> Softmax over slots  -> MatMul(..)   =>   SlotDispatch(logits, ..)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.compiler.provenance import copy_metadata
from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.cosine import constant_directions, direction_of
from attnc.passes.graph import (
    Refuse,
    attribute,
    const,
    constant,
    fresh_name,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)
from attnc.passes.movement import MOVES
from attnc.passes.views import View, factor_of, trace


@dataclass(frozen=True)
class _Side:
    """One operand of the product of directions: vectors [B or 1, N, C] and what scales them."""

    vectors: ir.Value
    scale: float


@dataclass(frozen=True)
class _Weights:
    """A softmax of the logits and the product that reads it.

    `over_rows`: it runs over the rows of the first product, else over its columns. `operand` is
    its place in `product`; `rows_first` tells whether it comes there as [B, rows, columns].
    """

    softmax: ir.Node
    scale: float
    over_rows: bool
    product: ir.Node
    operand: int
    rows_first: bool


class FuseSlots(AnchorPass):
    """The product of directions, both softmaxes and both products."""

    name = "fuse_slots"
    reason = "the cosines are computed once, and neither softmax of them reaches memory"
    anchors = frozenset({"MatMul"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces everything from the normalisations to the second product."""
        sides = _sides(node, graph)
        if sides is None:
            return False
        found = [_weights(softmax, node) for softmax in _softmaxes(node.outputs[0])]
        if len({weights.scale for weights in found}) != 1:
            raise Refuse("the softmaxes scale the cosines differently")
        cluster, tokens, slots = _cluster(found, sides)
        others = [weights for weights in found if weights is not cluster]
        if any(weights.over_rows == cluster.over_rows for weights in others):
            raise Refuse("two softmaxes run over the tokens")
        for weights in others:
            if not _sums_over_rows(weights, weights.over_rows):
                raise Refuse("the product does not sum over the slots", weights.product)
        if tokens.dtype != ir.DataType.FLOAT:
            raise Refuse(f"it computes in {tokens.dtype}, not in float32")
        scale = sides[0].scale * sides[1].scale * cluster.scale
        logits = _put_cluster(node, cluster, tokens, slots, scale, graph)
        for weights in others:
            _put_dispatch(weights, logits, graph)
        return True


def _sides(node: ir.Node, graph: ir.Graph) -> tuple[_Side, _Side] | None:
    """The operands, rows then columns of the product; None where they are no directions."""
    sizes = shape(node.outputs[0])
    if sizes is None or len(sizes) != 3:
        return None
    one, other = node.inputs[0], node.inputs[1]
    if one is None or other is None or not (_is_direction(one) or _is_direction(other)):
        return None
    return _side(one, graph, columns=False), _side(other, graph, columns=True)


def _is_direction(value: ir.Value) -> bool:
    while const(value) is None:
        if direction_of(value) is not None:
            return True
        node = value.producer()
        if node is None or not (is_op(node, *MOVES) or factor_of(node) is not None):
            return False
        data = node.inputs[1] if const(node.inputs[0]) is not None else node.inputs[0]
        if data is None:
            return False
        value = data
    return False


def _side(value: ir.Value, graph: ir.Graph, *, columns: bool) -> _Side:
    array = const(value)
    if array is not None:
        found = constant_directions(array.swapaxes(-1, -2) if columns else array)
        if found is None:
            raise Refuse("the constant operand has vectors of different lengths")
        return _Side(constant(graph, found[0], "slots"), found[1])
    view = trace(value, factors=True)
    vectors = direction_of(view.source)
    if vectors is None or len(shape(vectors) or []) != 3:
        raise Refuse(f"{value.name!r} is not made of vectors over their lengths")
    if _turned(view, 3) is not columns:
        raise Refuse(f"the product does not sum over the length of {value.name!r}")
    return _Side(vectors, view.scale)


def _turned(view: View, rank: int) -> bool | None:
    """Whether the view of [B, M, N] swaps M and N; None where it does anything but that."""
    found = set()
    for batch in view.batches():
        indices = view.indices(batch)
        if indices.ndim != rank:
            return None
        plain = np.arange(indices.size)
        if np.array_equal(indices.reshape(-1), plain):
            found.add(False)
        elif np.array_equal(indices.swapaxes(-1, -2).reshape(-1), plain):
            found.add(True)
        else:
            return None
    return found.pop() if len(found) == 1 else None


def _softmaxes(value: ir.Value) -> list[ir.Node]:
    """The Softmax nodes that read the value through movement and factors; refuses other readers."""
    found: list[ir.Node] = []
    if value.is_graph_output():
        raise Refuse("the logits are an output of the graph", value.producer())
    for use in value.uses():
        user = use.node
        if is_op(user, "Softmax"):
            found.append(user)
        elif is_op(user, *MOVES) or factor_of(user) is not None:
            found += [node for out in user.outputs for node in _softmaxes(out)]
        else:
            raise Refuse(f"the cosines flow into {user.op_type}, not into a Softmax", user)
    return found


def _weights(softmax: ir.Node, first: ir.Node) -> _Weights:
    scores = softmax.inputs[0]
    assert scores is not None
    view = trace(scores, stops={first.outputs[0]}, factors=True)
    turned = _turned(view, 3)
    axis = attribute(softmax, "axis", -1) % 3
    if turned is None or axis == 0:
        raise Refuse("the logits are rearranged in front of the softmax", softmax)
    product, value = _reader(softmax)
    operand = 0 if product.inputs[0] is value else 1
    again = _turned(trace(value, stops={softmax.outputs[0]}), 3)
    if again is None:
        raise Refuse("the weights are rearranged behind the softmax", softmax)
    return _Weights(softmax, view.scale, (axis == 1) ^ turned, product, operand, turned == again)


def _reader(softmax: ir.Node) -> tuple[ir.Node, ir.Value]:
    """The product that the softmax flows into, and the value that it reads."""
    value = softmax.outputs[0]
    while True:
        user = sole_user(value)
        if user is None:
            raise Refuse("the weights have a second consumer", softmax)
        if is_op(user, "MatMul"):
            return user, value
        if not is_op(user, *MOVES) or len(user.outputs) != 1:
            raise Refuse(f"the weights flow into {user.op_type}, not into a product", user)
        value = user.outputs[0]


def _cluster(
    found: list[_Weights], sides: tuple[_Side, _Side]
) -> tuple[_Weights, ir.Value, ir.Value]:
    """The softmax over the tokens, the tokens and the slots."""
    for weights in found:
        tokens, slots = sides if weights.over_rows else sides[::-1]
        other = weights.product.inputs[1 - weights.operand]
        if other is not None and _same(other, tokens.vectors, turned=weights.operand == 1):
            if not _sums_over_rows(weights, weights.over_rows):
                raise Refuse("the product does not sum over the tokens", weights.product)
            return weights, tokens.vectors, slots.vectors
    raise Refuse("no softmax of the cosines is multiplied by the vectors themselves")


def _same(value: ir.Value, wanted: ir.Value, *, turned: bool) -> bool:
    """Whether `value` is `wanted`, its last axes swapped if `turned`."""
    try:
        view = trace(value, stops={wanted})
        source = trace(wanted)
        if view.sources == (wanted,):
            return _turned(view, 3) is turned
        other = trace(value)
        if other.sources != source.sources or len(source.sources) != 1:
            return False
        return all(
            np.array_equal(
                other.indices(b),
                source.indices(b).swapaxes(-1, -2) if turned else source.indices(b),
            )
            for b in source.batches()
        )
    except Refuse:
        return False


def _sums_over_rows(weights: _Weights, rows: bool) -> bool:
    """Whether the product sums over the rows (else the columns) of the first one."""
    inner_is_rows = weights.rows_first == (weights.operand == 1)
    return inner_is_rows == rows


def _put_cluster(
    first: ir.Node,
    cluster: _Weights,
    tokens: ir.Value,
    slots: ir.Value,
    scale: float,
    graph: ir.Graph,
) -> ir.Value:
    """Insert SlotCluster in front of the first product; returns its logits [B, L, S]."""
    out = cluster.product.outputs[0]
    new = ir.node("SlotCluster", [tokens, slots], {"scale": scale}, domain="attnc", num_outputs=2)
    y, logits = new.outputs
    new.name = cluster.product.name
    y.name, logits.name = fresh_name(graph, f"{out.name}_slots"), fresh_name(graph, "logits")
    assert tokens.shape is not None
    assert slots.shape is not None
    batch, count, width = tokens.shape[0], slots.shape[1], tokens.shape[2]
    y.type = logits.type = tokens.type
    y.shape = ir.Shape([batch, count, width])
    logits.shape = ir.Shape([batch, tokens.shape[1], count])
    copy_metadata([first, cluster.softmax, cluster.product], [new])
    graph.insert_before(first, new)
    graph.opset_imports.setdefault("attnc", 1)
    _stand_in(cluster, y, graph)
    return logits


def _put_dispatch(weights: _Weights, logits: ir.Value, graph: ir.Graph) -> None:
    slots, nodes = weights.product.inputs[1 - weights.operand], []
    assert slots is not None
    if weights.operand == 1:
        nodes.append(_swapped(slots))
        slots = nodes[0].outputs[0]
    dispatch = new_node("SlotDispatch", [logits, slots], domain="attnc", like=logits)
    assert logits.shape is not None
    width = slots.shape[2] if slots.shape is not None else None
    dispatch.outputs[0].shape = ir.Shape([*list(logits.shape)[:2], width])
    nodes.append(dispatch)
    if weights.operand == 1:
        nodes.append(_swapped(dispatch.outputs[0]))
    replace(graph, weights.product, [weights.softmax], nodes)


def _stand_in(cluster: _Weights, y: ir.Value, graph: ir.Graph) -> None:
    """Let the readers of the old product read y [B, S, C]."""
    if cluster.operand == 0:
        ir.convenience.replace_all_uses_with(
            cluster.product.outputs[0], y, replace_graph_outputs=False
        )
        return
    replace(graph, cluster.product, [], [_swapped(y)])


def _swapped(value: ir.Value) -> ir.Node:
    assert value.shape is not None
    batch, one, other = value.shape
    return new_node(
        "Transpose", [value], {"perm": [0, 2, 1]}, like=value, sizes=[batch, other, one]
    )
