"""GLMix: the projection of the slots joins the convolution that the dealt-out slots are added to.

slots -> Linear -> SlotDispatchAdd(logits, ., r) -> map -> FusedConvAdd(x, w, b, .)
  =>   slots -> SlotDispatch(logits, .) -> map -> Concat(x, .) -> FusedConvAdd(w | w', b + b', r)

The weights of a dispatch sum to one, so a layer may stand on either side of it. Behind it the layer
works on more rows, but no longer as operations of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.passes.graph import (
    Array,
    attribute,
    const,
    constant,
    is_fused,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)

_POINTWISE = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0]}


@dataclass(frozen=True)
class _Match:
    conv: ir.Node
    turn: ir.Node
    rows: ir.Node
    dispatch: ir.Node
    layer: ir.Node
    weights: tuple[Array, Array, Array, Array]


def join_projections(model: ir.Model) -> int:
    """In place; how many convolutions took a projection up."""
    graph, count = model.graph, 0
    for node in list(graph):
        found = _match(node)
        if found is not None:
            _rewrite(found, graph)
            count += 1
    return count


def _match(conv: ir.Node) -> _Match | None:
    chain = _chain(conv)
    if chain is None:
        return None
    turn, rows, dispatch, layer = chain
    arrays = [const(value) for value in (*conv.inputs[1:3], *layer.inputs[1:3])]
    if any(array is None for array in arrays) or shape(turn.outputs[0]) is None:
        return None
    weights = tuple(array for array in arrays if array is not None)
    return _Match(conv, turn, rows, dispatch, layer, weights)  # type: ignore[arg-type]


def _chain(conv: ir.Node) -> list[ir.Node] | None:
    """The nodes from the projection to the convolution, backwards, if nobody else reads them."""
    found, node = [], conv
    for place, fits in ((3, _turns), (0, _reshapes), (0, _deals), (1, _projects)):
        value = node.inputs[place] if len(node.inputs) > place else None
        maker = value.producer() if value is not None else None
        if not _is_pointwise(conv) or maker is None or value is None or not fits(maker):
            return None
        if sole_user(value) is None:
            return None
        found.append(maker)
        node = maker
    return found


def _is_pointwise(node: ir.Node) -> bool:
    if not is_fused(node, "FusedConvAdd") or attribute(node, "group") != 1:
        return False
    return all(attribute(node, name) == value for name, value in _POINTWISE.items())


def _turns(node: ir.Node) -> bool:
    return is_op(node, "Transpose") and attribute(node, "perm") == [0, 3, 1, 2]


def _reshapes(node: ir.Node) -> bool:
    """Whether it gives the tokens of each picture their places, and no more."""
    before, after = shape(node.inputs[0]), shape(node.outputs[0])
    if not is_op(node, "Reshape") or before is None or after is None or len(after) != 4:
        return False
    return (before[0], before[-1]) == (after[0], after[-1])


def _deals(node: ir.Node) -> bool:
    return is_fused(node, "SlotDispatchAdd")


def _projects(node: ir.Node) -> bool:
    bounds = [attribute(node, name, 0.0) for name in ("min", "max")]
    return is_fused(node, "Linear") and all(abs(bound) >= 1e30 for bound in bounds)


def _rewrite(found: _Match, graph: ir.Graph) -> None:
    conv, turn, rows, dispatch = found.conv, found.turn, found.rows, found.dispatch
    weight, bias, layer_weight, layer_bias = found.weights
    logits, _, residual = dispatch.inputs
    pixels, plane = rows.outputs[0], turn.outputs[0]
    batch = plane.shape[0] if plane.shape is not None else None
    _, _, height, width = shape(plane) or []
    wide = layer_weight.shape[1]
    dealt = new_node(
        "SlotDispatch",
        [logits, found.layer.inputs[0]],
        domain=DOMAIN,
        like=dispatch.outputs[0],
        sizes=[batch, (height or 1) * (width or 1), wide],
    )
    target = constant(graph, np.array([0, height, width, wide]), f"{conv.name}_pixels")
    as_pixels = new_node(
        "Reshape", [dealt.outputs[0], target], like=pixels, sizes=[batch, height, width, wide]
    )
    as_map = new_node(
        "Transpose",
        [as_pixels.outputs[0]],
        {"perm": [0, 3, 1, 2]},
        like=plane,
        sizes=[batch, wide, height, width],
    )
    both = new_node(
        "Concat",
        [conv.inputs[0], as_map.outputs[0]],
        {"axis": 1},
        like=plane,
        sizes=[batch, weight.shape[1] + wide, height, width],
    )
    kept = new_node("Reshape", [residual, rows.inputs[1]], like=pixels)
    kept_map = new_node("Transpose", [kept.outputs[0]], {"perm": [0, 3, 1, 2]}, like=plane)
    joined = np.concatenate([weight, layer_weight[:, :, None, None]], axis=1)
    inputs = [
        both.outputs[0],
        constant(graph, joined, f"{conv.name}_joined"),
        constant(graph, bias + layer_bias, f"{conv.name}_joined_bias"),
        kept_map.outputs[0],
    ]
    how = {name: attr.value for name, attr in conv.attributes.items()}
    made = new_node("FusedConvAdd", inputs, how, domain=DOMAIN, like=conv.outputs[0])
    old = [found.layer, dispatch, rows, turn, conv]
    replace(graph, conv, old, [dealt, as_pixels, as_map, both, kept, kept_map, made])
    graph.remove([turn, rows, dispatch, found.layer], safe=True)
