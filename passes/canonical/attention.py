"""Attention read off a graph: which channels are q, k, v, with which scale, in whatever layout.

    source -> (any data movement) -> MatMul -> (scale) -> Softmax -> MatMul -> out
Anchored at the Softmax; the maps come from running indices (see views), not from patterns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.passes.graph import Refuse, attribute, is_op, shape, sole_user
from attnc.passes.movement import MOVES, concrete_shape
from attnc.passes.views import Indices, View, token_channels, trace

Channels = NDArray[np.int64]


@dataclass(frozen=True)
class Attention:
    """out[b,i,:] = sum_j softmax_j(scale * q_i . k_j) v_j with q, k, v channels of `source`.

    `source` is [B, C, ...positions]; `out` is the value of the second product, `transposed` if
    that product is [.., channels, positions] rather than [.., positions, channels].
    """

    source: ir.Value
    q: Channels
    k: Channels
    v: Channels
    scale: float
    out: ir.Value
    transposed: bool
    nodes: tuple[ir.Node, ...]


def attention_at(softmax: ir.Node) -> Attention:
    """The single-head attention around this Softmax; refuses with the reason if it is not one."""
    over_rows = _runs_over_rows(softmax)
    scores = softmax.inputs[0]
    assert scores is not None
    to_first = trace(scores, factors=True)
    first = to_first.source.producer()
    if first is None or not is_op(first, "MatMul"):
        what = first.op_type if first is not None else "an input of the graph"
        raise Refuse(f"its scores come from {what}, not from a scaled product")
    second, to_softmax = _second_product(softmax)
    left, right = (trace(_value(v), factors=True) for v in first.inputs)
    source = left.source
    if right.source is not source:
        raise Refuse("q and k come from different values", first)
    position = _operand_index(second, to_softmax.value)
    values = trace(_value(second.inputs[1 - position]), factors=True)
    if values.source is not source:
        raise Refuse("v comes from another value than q and k", second)
    if values.scale != 1.0:
        raise Refuse("v is scaled", second)
    views = _Views(left, right, to_first, to_softmax, values, position, over_rows)
    found = {_key(views.read(batch)): views.read(batch) for batch in left.batches()}
    if len(found) != 1:
        raise Refuse("the maps of q, k and v depend on the batch size")
    q, k, v = next(iter(found.values()))
    nodes = [*left.nodes, *right.nodes, first, *to_first.nodes, softmax, *to_softmax.nodes]
    return Attention(
        source=source,
        q=q,
        k=k,
        v=v,
        scale=left.scale * right.scale * to_first.scale,
        out=second.outputs[0],
        transposed=position == 1,
        nodes=tuple(dict.fromkeys([*nodes, *values.nodes, second])),
    )


@dataclass(frozen=True)
class _Views:
    """The five chains around the two products.

    `position` is the operand index of the attention weights in the second product; `over_rows`:
    the softmax runs over the last axis but one, its matrices are [.., keys, queries].
    """

    left: View
    right: View
    scores: View
    weights: View
    values: View
    position: int
    over_rows: bool

    def read(self, batch: int) -> tuple[Channels, Channels, Channels]:
        """Channels of q, k, v for this batch size."""
        sizes = concrete_shape(self.left.source, batch)
        rows = _channels(_matrix(self.left.indices(batch), batch), sizes, "the left factor")
        columns = _matrix(self.right.indices(batch), batch).transpose(0, 2, 1)
        others = _channels(columns, sizes, "the right factor")
        queries, keys = (others, rows) if self._scores_swapped(batch) else (rows, others)
        values = _matrix(self.values.indices(batch), batch)
        weights = _matrix(self.weights.indices(batch), batch)
        if self.position == 1:
            values, weights = values.transpose(0, 2, 1), weights.transpose(0, 2, 1)
        tokens = int(np.prod(sizes[2:]))
        plain = np.arange(batch * tokens * tokens).reshape(batch, tokens, tokens)
        if self.over_rows:
            plain = plain.transpose(0, 2, 1)
        if not np.array_equal(weights, plain):
            raise Refuse("the second product does not sum over the axis of the softmax")
        return queries, keys, _channels(values, sizes, "v")

    def _scores_swapped(self, batch: int) -> bool:
        """Whether the first product is [.., keys, queries]."""
        scores = _matrix(self.scores.indices(batch), batch)
        if self.over_rows:
            scores = scores.transpose(0, 2, 1)
        plain = np.arange(scores.size).reshape(scores.shape)  # square: checked by the channels
        if np.array_equal(scores, plain):
            return False
        if np.array_equal(scores, plain.transpose(0, 2, 1)):
            return True
        raise Refuse("the scores are rearranged before the softmax")


def _key(channels: tuple[Channels, Channels, Channels]) -> str:
    return repr([c.tolist() for c in channels])


def _value(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _runs_over_rows(softmax: ir.Node) -> bool:
    sizes = shape(softmax.inputs[0])
    if sizes is None or len(sizes) < 2:
        raise Refuse("its input is not a matrix of scores")
    axis = attribute(softmax, "axis", -1) % len(sizes)
    if axis < len(sizes) - 2:
        raise Refuse(f"it runs over axis {axis}, not over one of the last two")
    return bool(axis == len(sizes) - 2)


def _second_product(softmax: ir.Node) -> tuple[ir.Node, View]:
    """The MatMul that the softmax flows into, and the softmax as its operand."""
    value = softmax.outputs[0]
    while True:
        user = sole_user(value)
        if user is None:
            raise Refuse(f"the attention weights ({value.name!r}) have a second consumer")
        if is_op(user, "MatMul"):
            return user, trace(value, stops={softmax.outputs[0]})
        if not is_op(user, *MOVES) or len(user.outputs) != 1:
            raise Refuse(f"the attention weights go through {user.op_type}")
        value = user.outputs[0]


def _operand_index(node: ir.Node, value: ir.Value) -> int:
    return 0 if node.inputs[0] is value else 1


def _matrix(indices: Indices, batch: int) -> Indices:
    """[..., M, K] with all leading sizes together the batch."""
    heads = int(np.prod(indices.shape[:-2])) // batch
    if int(np.prod(indices.shape[:-2])) != batch:
        raise Refuse(f"it has {heads} heads, not one" if heads > 1 else "it mixes the batch")
    return indices.reshape(batch, *indices.shape[-2:])


def _channels(indices: Indices, sizes: tuple[int, ...], what: str) -> Channels:
    found = token_channels(indices, sizes)
    if found is None:
        raise Refuse(f"{what} is not made of channels of one map, position by position")
    return found
