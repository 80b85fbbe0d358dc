"""One form of the mean over all positions: GlobalAveragePool, then a Flatten where axes went.

ReduceMean(axes=[2,3], keepdims=0)                      =>  GlobalAveragePool -> Flatten
AveragePool(kernel = whole map)                         =>  GlobalAveragePool
Reshape([B,C,H*W]) -> Transpose -> ReduceMean(axis=1)   =>  GlobalAveragePool -> Flatten
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.conv import explicit_pads
from attnc.passes.graph import (
    Refuse,
    attribute,
    constant,
    input_at,
    ints,
    is_op,
    new_node,
    replace,
    shape,
)
from attnc.passes.movement import MOVES, concrete_shape, data_inputs
from attnc.passes.views import Indices, View, trace

MEANS = ("ReduceMean", "GlobalAveragePool")


class CanonicalGlobalPool(AnchorPass):
    """ReduceMean over the positions of a map in any layout, and AveragePool of full size."""

    name = "canonical_global_pool"
    reason = "exporters write the mean over all positions in at least four ways"
    anchors = frozenset({"ReduceMean", "AveragePool"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the node by the canonical form."""
        sizes = shape(node.inputs[0])
        if sizes is None:
            return False
        if node.op_type == "AveragePool":
            return self._average_pool(node, sizes, graph)
        axes = reduced_axes(node, len(sizes))
        if not axes or 0 in axes:
            return False
        source = next((v for v in _maps_under(node) if _averages(node, v)), None)
        if source is not None:
            _replace_by_pool(node, source, graph)
        return source is not None

    def _average_pool(self, node: ir.Node, sizes: list[int | None], graph: ir.Graph) -> bool:
        kernel = attribute(node, "kernel_shape")
        if len(sizes) != 4 or kernel != sizes[2:] or attribute(node, "ceil_mode", 0):
            return False
        if any(explicit_pads(node, tuple(kernel))):
            raise Refuse("it covers the whole map but pads it")
        data = node.inputs[0]
        assert data is not None
        _replace_by_pool(node, data, graph)
        return True


def reduced_axes(node: ir.Node, rank: int) -> list[int]:
    """The axes of a Reduce node, not negative, sorted; [] where they are not known."""
    given = input_at(node, 1)
    axes = attribute(node, "axes") if given is None else ints(given)
    if axes is None:
        return (
            []
            if given is not None or attribute(node, "noop_with_empty_axes", 0)
            else [*range(rank)]
        )
    return sorted(axis % rank for axis in axes)


def _maps_under(node: ir.Node) -> Iterator[ir.Value]:
    """The maps that a mean, or a mean of means, may be taken of, nearest first."""
    value = node.inputs[0]
    while value is not None:
        maker = value.producer()
        if len(shape(value) or []) == 4 and not is_op(maker, *MEANS):
            yield value
        if maker is None or not is_op(maker, *MOVES, *MEANS) or len(data_inputs(maker)) != 1:
            return
        value = maker.inputs[0]


def _averages(node: ir.Node, source: ir.Value) -> bool:
    """Whether the node is the mean of `source` over its positions."""
    if node.inputs[0] is source and reduced_axes(node, 4) == [2, 3]:
        return True
    try:
        batches = View(source, (source,), ()).batches()
        return all(_is_mean_of_map(node, source, batch) for batch in batches)
    except Refuse:  # symbolic heights and widths
        return False


def _is_mean_of_map(node: ir.Node, source: ir.Value, batch: int) -> bool:
    """Whether each result gathers exactly the positions of one (image, channel)."""
    rows = _gathered(node, source, batch)
    batch_size, channels, height, width = concrete_shape(source, batch)
    expected = np.arange(batch_size * channels * height * width).reshape(-1, height * width)
    return rows.shape == expected.shape and np.array_equal(np.sort(rows, axis=1), expected)


def _gathered(node: ir.Node, source: ir.Value, batch: int) -> Indices:
    """For each result of a mean (of means), in order, the elements of `source` that it averages.

    Means of means are means, as all groups have one size.
    """
    data = node.inputs[0]
    assert data is not None
    view = trace(data, stops={source})
    indices = view.indices(batch)
    axes = [2, 3] if is_op(node, "GlobalAveragePool") else reduced_axes(node, indices.ndim)
    kept = [axis for axis in range(indices.ndim) if axis not in axes]
    count = int(np.prod([indices.shape[axis] for axis in axes]))
    rows = indices.transpose([*kept, *axes]).reshape(-1, count)
    if view.sources == (source,):
        return rows
    inner = view.source.producer()
    if inner is None or not is_op(inner, *MEANS):
        raise Refuse("it does not come from the map")
    return _gathered(inner, source, batch)[rows].reshape(len(rows), -1)


def _replace_by_pool(node: ir.Node, source: ir.Value, graph: ir.Graph) -> None:
    assert source.shape is not None
    out, batch, channels = node.outputs[0], source.shape[0], source.shape[1]
    pool = new_node("GlobalAveragePool", [source], like=source, sizes=[batch, channels, 1, 1])
    result = shape(out)
    assert result is not None
    if result[1:] == [channels, 1, 1]:
        replace(graph, node, [], [pool])
        return
    if len(result) == 2:
        replace(graph, node, [], [pool, new_node("Flatten", pool.outputs, {"axis": 1})])
        return
    target = constant(graph, np.array([0 if i == 0 else s for i, s in enumerate(result)]), "sizes")
    replace(graph, node, [], [pool, new_node("Reshape", [pool.outputs[0], target])])


class CanonicalPooledVector(AnchorPass):
    """Any data movement from [B,C,1,1] to [B,C] after a GlobalAveragePool is one Flatten."""

    name = "canonical_pooled_vector"
    reason = "the vector after the pooling is cut out by Reshape, Squeeze, Slice or Gather"
    anchors = frozenset({"Reshape", "Squeeze", "Slice", "Gather", "Transpose", "Flatten"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the chain by Flatten."""
        out = node.outputs[0]
        sizes = shape(out)
        if sizes is None or len(sizes) != 2:
            return False
        view = trace(out)
        source = view.sources[0]
        pool = source.producer()
        if len(view.sources) != 1 or pool is None or not is_op(pool, "GlobalAveragePool"):
            return False
        if len(view.nodes) == 1 and node.op_type == "Flatten":
            return False
        for batch in view.batches():
            if not np.array_equal(
                view.indices(batch).reshape(-1), np.arange(batch * (sizes[1] or 0))
            ):
                return False
        replace(
            graph, node, list(view.nodes), [new_node("Flatten", [source], {"axis": 1}, like=out)]
        )
        return True
