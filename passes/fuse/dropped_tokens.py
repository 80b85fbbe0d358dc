"""How authors gather the tokens that a ranking keeps, and sum up those that it drops.

kept:    x[:, 1:] -> GatherElements | GatherND | Gather (index)
dropped: sum of x[:, 1:] * scores with the kept ones zeroed (ScatterElements, MatMul), or of both
         gathered by the complement of the index (ScatterElements into 0, 1, .., sorted by a TopK)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute, const, input_at, ints, is_op, scalar, shape
from attnc.passes.movement import concrete_shape
from attnc.passes.views import trace


@dataclass(frozen=True)
class Ranking:
    """Tokens x [B, N, C], scores [B, N - 1] of all but the first, the index [B, K] of the best."""

    x: ir.Value
    scores: ir.Value
    index: ir.Value
    keep: int
    batches: tuple[int, ...]

    def patches(self, value: ir.Value | None, first: int = 1) -> bool:
        """Whether `value` is x[:, first:]."""
        assert value is not None
        view = trace(value, stops={self.x})
        if view.sources != (self.x,):
            return False
        for batch in self.batches:
            sizes = concrete_shape(self.x, batch)
            whole = np.arange(int(np.prod(sizes))).reshape(sizes)
            if not np.array_equal(view.indices(batch), whole[:, first:]):
                return False
        return True

    def spread(self, value: ir.Value | None, source: ir.Value) -> bool:
        """Whether `value` is `source` [B, K], repeated along further axes at most."""
        assert value is not None
        view = trace(value, stops={source})
        if view.sources != (source,):
            return False
        for batch in self.batches:
            indices, sizes = view.indices(batch), concrete_shape(source, batch)
            plain = np.arange(int(np.prod(sizes))).reshape(sizes)
            flat = indices.reshape(*_leading(indices.shape, sizes), -1)
            if flat.shape[:-1] != sizes or (flat != plain[:, :, None]).any():
                return False
        return True


def _leading(found: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """[B, K, ..] and [B, 1, K] (a row of weights) both begin with [B, K]."""
    squeezed = tuple(size for size in found[1:] if size != 1)
    if found[:1] == sizes[:1] and squeezed[:1] == sizes[1:]:
        return sizes
    return sizes if int(np.prod(found)) == int(np.prod(sizes)) else found[:2]


def kept_rows(ranking: Ranking, value: ir.Value | None) -> bool:
    """Whether `value` is the rows of x[:, 1:] that the index names, in its order."""
    return _gathered(ranking, value, ranking.index)


def _gathered(ranking: Ranking, value: ir.Value | None, index: ir.Value) -> bool:
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, "GatherElements", "GatherND", "Gather"):
        return False
    first, places = _shifted(node.inputs[1])
    if not ranking.patches(node.inputs[0], 1 - first) or not ranking.spread(places, index):
        return False
    if is_op(node, "GatherND"):
        return bool(attribute(node, "batch_dims", 0) == 1)
    if is_op(node, "GatherElements"):
        return bool(attribute(node, "axis", 0) % 3 == 1)
    sizes = shape(ranking.x)  # a Gather takes the same rows for all images
    flat = places is not None and places.shape is not None and len(places.shape) == 1
    return flat and sizes is not None and sizes[0] == 1 and attribute(node, "axis", 0) % 3 == 1


def _shifted(index: ir.Value | None) -> tuple[int, ir.Value | None]:
    """(1, index) for index + 1, which counts the class token too; else (0, index)."""
    node = index.producer() if index is not None else None
    while is_op(node, "Unsqueeze", "Expand", "Reshape", "Cast"):
        assert node is not None
        index = node.inputs[0]
        node = index.producer() if index is not None else None
    if is_op(node, "Add"):
        assert node is not None
        for data, other in (node.inputs, tuple(reversed(node.inputs))):
            if scalar(other) == 1:
                return 1, data
    return 0, index


def is_dropped_sum(ranking: Ranking, value: ir.Value | None) -> bool:
    """Whether `value` [B, 1, C] is the sum of the dropped rows, weighted with their scores."""
    pair = _weighted_sum(value)
    if pair is None:
        return False
    for data, weights in (pair, pair[::-1]):
        zeroed = _zeroed(ranking, weights)
        if zeroed and ranking.patches(data):
            return True
        others = _complement(ranking, data)
        if others is not None and _others_scores(ranking, weights, others):
            return True
    return False


def _weighted_sum(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """The two factors of a MatMul, or of a Mul that is summed over the tokens."""
    node = value.producer() if value is not None else None
    while is_op(node, "Unsqueeze", "Reshape"):
        assert node is not None
        data = node.inputs[0]
        node = data.producer() if data is not None else None
    if is_op(node, "ReduceSum"):
        assert node is not None
        axes = ints(input_at(node, 1)) or attribute(node, "axes")
        product = node.inputs[0].producer() if node.inputs[0] is not None else None
        if axes != [1] or not is_op(product, "Mul"):
            return None
        node = product
    elif not is_op(node, "MatMul"):
        return None
    assert node is not None
    left, right = node.inputs[:2]
    return (left, right) if left is not None and right is not None else None


def _source(value: ir.Value) -> ir.Node | None:
    view = trace(value)
    return view.source.producer() if len(view.sources) == 1 else None


def _zeroed(ranking: Ranking, weights: ir.Value) -> bool:
    """Scores with zeros where the index points: scattered in, or by a mask."""
    node = _source(weights)
    if node is None or not ranking.spread(weights, node.outputs[0]):
        return False
    if is_op(node, "Mul"):
        pair = node.inputs[0], node.inputs[1]
        for scores, mask in (pair, pair[::-1]):
            if scores is not None and mask is not None and ranking.spread(scores, ranking.scores):
                maker = _source(mask)
                return _scattered(ranking, maker, 1.0)
        return False
    data = node.inputs[0]
    plain = data is not None and ranking.spread(data, ranking.scores)
    return plain and _scattered(ranking, node, None)


def _scattered(ranking: Ranking, node: ir.Node | None, filled: float | None) -> bool:
    """Zeros scattered to the index, into a constant of one value `filled` where given."""
    if not is_op(node, "ScatterElements"):
        return False
    assert node is not None
    data, index, updates = node.inputs[:3]
    assert index is not None
    assert updates is not None
    if attribute(node, "reduction", "none") != "none" or attribute(node, "axis", 0) % 2 != 1:
        return False
    if filled is not None and not _all_are(data, filled):
        return False
    return ranking.spread(index, ranking.index) and _all_are(updates, 0.0)


def _all_are(value: ir.Value | None, number: float) -> bool:
    """Whether every element is this number, known now or expanded from one that is."""
    array = const(value)
    if array is not None:
        return bool((array == number).all())
    node = value.producer() if value is not None else None
    if is_op(node, "ConstantOfShape"):
        assert node is not None
        held = attribute(node, "value")
        filled = 0.0 if held is None else float(held.numpy().reshape(-1)[0])
        return filled == number
    return is_op(node, "Expand") and _all_are(node.inputs[0] if node else None, number)


def _complement(ranking: Ranking, data: ir.Value) -> ir.Value | None:
    """The complement's index if `data` is the dropped rows gathered by it."""
    node = data.producer()
    if node is None or not is_op(node, "GatherElements", "GatherND", "Gather"):
        return None
    index = node.inputs[1]
    assert index is not None
    view = trace(index)
    if len(view.sources) != 1:
        return None
    sort = view.source
    maker = sort.producer()
    if not is_op(maker, "TopK") or maker is None or maker.outputs[0] is not sort:
        return None
    if not _is_rest(ranking, index, sort, maker):
        return None
    return sort if ranking.patches(node.inputs[0]) else None


def _is_rest(ranking: Ranking, index: ir.Value, sort: ir.Value, topk: ir.Node) -> bool:
    """0, 1, .. with zeros at the index, sorted upwards, of which the first K are left out."""
    if attribute(topk, "largest", 1) or not attribute(topk, "sorted", 1):
        return False
    scatter = _source(topk.inputs[0]) if topk.inputs[0] is not None else None
    if not _scattered(ranking, scatter, None) or scatter is None:
        return False
    counts = const(scatter.inputs[0])
    if counts is None:
        spread = trace(scatter.inputs[0]) if scatter.inputs[0] is not None else None
        counts = const(spread.source) if spread is not None else None
    if (
        counts is None
        or (counts.reshape(-1, counts.shape[-1]) != np.arange(counts.shape[-1])).any()
    ):
        return False
    view = trace(index, stops={sort})
    for batch in ranking.batches:
        sizes = concrete_shape(sort, batch)
        rest = np.arange(int(np.prod(sizes))).reshape(sizes)[:, ranking.keep :]
        found = view.indices(batch)
        flat = found.reshape(*rest.shape, -1) if found.size % rest.size == 0 else found
        if sizes[1] != counts.shape[-1] or flat.shape[:2] != rest.shape:
            return False
        if (flat != rest[:, :, None]).any():
            return False
    return True


def _others_scores(ranking: Ranking, weights: ir.Value, sort: ir.Value) -> bool:
    """Whether `weights` are the scores gathered by the same complement."""
    node = _source(weights)
    if not is_op(node, "GatherElements") or node is None or attribute(node, "axis", 0) % 2 != 1:
        return False
    scores, index = node.inputs[:2]
    if scores is None or index is None or not ranking.spread(scores, ranking.scores):
        return False
    maker = sort.producer()
    assert maker is not None
    return trace(index, stops={sort}).sources == (sort,) and _is_rest(ranking, index, sort, maker)
