"""Fuses EViT's token selection: scores, ranking, gathering, and the fusion of what is dropped.

Softmax -> row 0 -> mean over heads -> TopK -> Gather(x) -+-> Concat        =>  SelectTokens(x, qkv)
                          +-> complement or zeroed -> sum x +
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.registry import make_node
from attnc.passes.anchor import AnchorPass
from attnc.passes.fuse.attention import packed_parts
from attnc.passes.fuse.dropped_tokens import Ranking, is_dropped_sum, kept_rows
from attnc.passes.graph import Refuse, attribute, constant, input_at, ints, is_op, replace, shape
from attnc.passes.heads import Part, Scores, mixed_at, scores_at
from attnc.passes.movement import MOVES, concrete_shape
from attnc.passes.views import View, trace

#: What lies between the ranking and the joined tokens.
BETWEEN = {*MOVES, "GatherElements", "GatherND", "ScatterElements", "TopK", "Cast", "Add", "Sub"}
BETWEEN |= {"Mul", "MatMul", "ReduceSum"}


class FuseSelectTokens(AnchorPass):
    """Keeps the class token and the tokens that it attends to most; the others fuse or go."""

    name = "fuse_select_tokens"
    reason = "of the attention weights the selection needs one row, which is cheap by itself"
    anchors = frozenset({"TopK"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the join of the kept tokens."""
        if not attribute(node, "largest", 1):
            return False
        scores = _class_scores(node.inputs[0])
        if scores is None:
            return False
        join = _join(node)
        ranking = _ranking(node, join, scores)
        fuse = len(join.inputs) == 3
        if not kept_rows(ranking, join.inputs[1]):
            raise Refuse("the second part of the tokens is not those that were ranked first", join)
        if fuse and not is_dropped_sum(ranking, join.inputs[2]):
            raise Refuse("the third part of the tokens is not the weighted sum of the others", join)
        query, memory, starts = packed_parts(scores, _values(scores), graph)
        width = (shape(ranking.x) or [0])[2] or 0
        zeros = constant(graph, np.zeros(width, np.float32), "no_bias")
        attributes = {
            "heads": scores.heads,
            "dim_qk": scores.q.channels.shape[1],
            "q_at": starts["q_at"],
            "k_at": starts["k_at"],
            "scale": float(scores.scale),
            "keep": ranking.keep,
            "fuse": int(fuse),
        }
        inputs = [ranking.x, query.value, memory.value, zeros]
        fused = make_node("SelectTokens", inputs, attributes)
        name_outputs(fused, join.outputs[0], ranking.keep)
        new = dict.fromkeys([*query.nodes, *memory.nodes, fused])
        replace(graph, join, [node, *scores.nodes], list(new))
        return True


def name_outputs(node: ir.Node, like: ir.Value, keep: int) -> None:
    """Names, types and shapes of a SelectTokens' outputs beside the tokens."""
    batch = None if like.shape is None else like.shape[0]
    tokens = shape(node.inputs[0])
    patches = None if tokens is None or tokens[1] is None else tokens[1] - 1
    for value, kind, size in zip(
        node.outputs[1:], (ir.DataType.INT64, ir.DataType.FLOAT), (keep, patches), strict=True
    ):
        value.type, value.shape = ir.TensorType(kind), ir.Shape([batch, size])
    index, weights = node.outputs[1:]
    index.name, weights.name = f"{like.name}_index", f"{like.name}_weights"


def _values(scores: Scores) -> Part | None:
    """v, where the same weights mix it: it is then packed together with q and k."""
    softmax = scores.inner[-1]
    stack = [softmax.outputs[0]]
    while stack:
        value = stack.pop()
        for use in value.uses():
            if is_op(use.node, "MatMul"):
                try:
                    weights = trace(value, stops={softmax.outputs[0]})
                    return mixed_at(scores, use.node, weights).v
                except Refuse:
                    continue
            if is_op(use.node, *MOVES):
                stack.extend(use.node.outputs)
    return None


def _class_scores(value: ir.Value | None) -> Scores | None:
    """The scores of which `value` [B, N - 1] is row 0 after the softmax, the mean over heads."""
    assert value is not None
    after = trace(value, factors=True)
    mean = after.source.producer() if len(after.sources) == 1 else None
    if mean is None or not is_op(mean, "ReduceMean", "ReduceSum"):
        return None
    data = mean.inputs[0]
    assert data is not None
    before = trace(data, factors=True)
    softmax = before.source.producer() if len(before.sources) == 1 else None
    if softmax is None or not is_op(softmax, "Softmax"):
        return None
    scores = scores_at(softmax)
    axes = ints(input_at(mean, 1)) or attribute(mean, "axes")
    if axes is None or len(axes) != 1:
        raise Refuse("the scores are not a mean over the heads alone", mean)
    factor = after.scale * before.scale * (scores.heads if is_op(mean, "ReduceSum") else 1)
    if abs(factor - 1) > 1e-6:
        raise Refuse("the scores are not the mean over the heads", mean)
    for batch in scores.batches:
        _check_class_row(scores, after, before, axes[0], batch)
    return scores


def _check_class_row(scores: Scores, after: View, before: View, axis: int, batch: int) -> None:
    places = scores.places(batch)
    heads = np.moveaxis(before.indices(batch, places.count), axis, -1)
    flat = heads.reshape(-1, heads.shape[-1])
    flat = flat[after.indices(batch, len(flat)).reshape(-1)]
    image, head, query, key = places.of(flat)
    tokens = places.extent[1]
    expected = np.arange(1, tokens)
    if (
        flat.shape != (places.batch * (tokens - 1), scores.heads)
        or (np.sort(head, axis=1) != np.arange(scores.heads)).any()
        or query.any()
        or (image.reshape(places.batch, -1) != np.arange(places.batch)[:, None]).any()
        or (key.reshape(places.batch, tokens - 1, -1) != expected[:, None]).any()
    ):
        raise Refuse("the scores are not the class token's attention to the other tokens")


def _join(topk: ir.Node) -> ir.Node:
    """The Concat of tokens that the ranking flows into."""
    stack, seen, found = [topk.outputs[1]], set[ir.Value](), dict[ir.Node, None]()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        for use in value.uses():
            if _joins_tokens(use.node):
                found[use.node] = None
            elif is_op(use.node, *BETWEEN):
                stack.extend(use.node.outputs)
    if len(found) != 1:
        raise Refuse(f"the ranked tokens are joined in {len(found)} places, not in one")
    return next(iter(found))


def _joins_tokens(node: ir.Node) -> bool:
    sizes = shape(node.outputs[0])
    if not is_op(node, "Concat") or sizes is None or len(sizes) != 3:
        return False
    return attribute(node, "axis", 0) % 3 == 1 and len(node.inputs) in (2, 3)


def _ranking(topk: ir.Node, join: ir.Node, scores: Scores) -> Ranking:
    first = join.inputs[0]
    assert first is not None
    view = trace(first)
    x = view.source
    tokens, batches = scores.k.tokens, scores.batches
    for batch in batches:
        sizes = concrete_shape(x, batch)
        if len(sizes) != 3 or sizes[1] != tokens:
            raise Refuse(f"the class token is not cut from {tokens} tokens", join)
        whole = np.arange(int(np.prod(sizes))).reshape(sizes)
        if not np.array_equal(view.indices(batch), whole[:, :1]):
            raise Refuse("the first part of the tokens is not the class token", join)
    kept = shape(topk.outputs[1])
    if kept is None or kept[-1] is None:
        raise Refuse("how many tokens are kept is not a constant")
    values = topk.inputs[0]
    assert values is not None
    return Ranking(x, values, topk.outputs[1], kept[-1], batches)
