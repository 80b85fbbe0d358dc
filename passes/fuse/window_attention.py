"""MSA-Conv's attention becomes one WindowAttention, whatever its windows are made of.

    qkv -> Split -> q * scale ------------------> Mul -> ReduceSum -> Concat -> Softmax -+
                 -> k -> Pad -> Slice (k*k times) -^                                     |
                 -> v -> Pad -> Slice (k*k times) -> Mul ... Add -> out -> Add (x)   <---+
    qkv, x -> Transpose -> WindowAttention -> Transpose                    (NCHW to NHWC and back)
Unfolds (Pad, Gather, Transpose, Reshape), Einsum and MatMul forms, rolled keys and pooled keys
are found in the same way: see passes/canonical/window.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.registry import make_node
from attnc.compiler.ops.window_attention import VARIANTS
from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.window import (
    Site,
    Window,
    agrees,
    check_private,
    sites_at,
    windows_of,
)
from attnc.passes.graph import Refuse, constant, is_op, new_node, replace, sole_user

TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


class FuseWindowAttention(AnchorPass):
    """Softmax between products over a window to WindowAttention."""

    name = "fuse_window_attention"
    reason = "windows of keys and values are read in place instead of being copied out"
    anchors = frozenset({"Softmax"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Fuse around this Softmax; False where nothing in front of it looks at a window."""
        refusal: Refuse | None = None
        for site in sites_at(node):
            try:
                window, layout = _read(site)
                check_private(site)
            except Refuse as found:
                refusal = refusal or found
                continue
            _rewrite(site, window, layout, graph)
            return True
        if refusal is not None:
            raise refusal
        return False


def _read(site: Site) -> tuple[Window, str]:
    for window in windows_of(site):
        layout = agrees(site, window)
        if layout:
            return window, layout
    raise Refuse("it does not compute the attention over a regular window of its pixels")


def _rewrite(site: Site, window: Window, layout: str, graph: ir.Graph) -> None:
    out, old_nodes = site.out, site.nodes()
    channels = site.sizes(site.batches()[0])[3]
    map_sizes = _map_sizes(site)
    whole = [*map_sizes, channels] if layout == "nhwc" else [map_sizes[0], channels, *map_sizes[1:]]
    add, x = _residual(out, whole)
    made: list[ir.Node] = []
    inputs = [_packed(site, [*map_sizes, 3 * channels], made)]
    if x is not None:
        inputs.append(_channels_last(x, [*map_sizes, channels], layout == "nchw", made))
    variant = VARIANTS[window.grid != (0, 0), x is not None]
    fused = make_node(variant.name, inputs, window.attributes())
    fused.outputs[0].type, fused.outputs[0].shape = out.type, ir.Shape([*map_sizes, channels])
    made.append(fused)
    if layout == "nchw":
        made.append(_transpose(fused.outputs[0], TO_NCHW, whole))
    if x is None and out.shape != ir.Shape(whole):
        made.append(_reshape(made[-1].outputs[0], out, graph))
    root = add or out.producer()
    assert root is not None
    replace(graph, root, old_nodes, made)


def _map_sizes(site: Site) -> list[Any]:
    """Batch (a symbol stays one), height and width."""
    _, height, width, _ = site.sizes(site.batches()[0])
    shape = site.sources[0].shape
    assert shape is not None
    return [shape[0], height, width]


def _residual(out: ir.Value, sizes: list[Any]) -> tuple[ir.Node | None, ir.Value | None]:
    """The Add of a map of the same form that reads nothing but the attention and it."""
    add = sole_user(out)
    if not is_op(add, "Add") or out.shape != ir.Shape(sizes):
        return None, None
    assert add is not None
    x = add.inputs[1] if add.inputs[0] is out else add.inputs[0]
    if x is None or x is out or x.shape != out.shape:
        return None, None
    return add, x


def _packed(site: Site, sizes: list[Any], made: list[ir.Node]) -> ir.Value:
    """The packed map of q, k and v, channels last."""
    first = site.sources[0]
    if len(site.sources) > 1:
        joined = [sizes[0], sizes[3], *sizes[1:3]]
        node = new_node("Concat", site.sources, {"axis": 1}, like=first, sizes=joined)
        made.append(node)
        first = node.outputs[0]
    return _channels_last(first, sizes, site.axis == 1, made)


def _channels_last(value: ir.Value, sizes: list[Any], nchw: bool, made: list[ir.Node]) -> ir.Value:
    if not nchw:
        return value
    made.append(_transpose(value, TO_NHWC, sizes))
    return made[-1].outputs[0]


def _transpose(value: ir.Value, perm: list[int], sizes: list[Any]) -> ir.Node:
    return new_node("Transpose", [value], {"perm": perm}, like=value, sizes=sizes)


def _reshape(value: ir.Value, like: ir.Value, graph: ir.Graph) -> ir.Node:
    assert like.shape is not None
    sizes = [0, *(int(size) for size in like.shape[1:] if isinstance(size, int))]
    target = constant(graph, np.array(sizes, np.int64), f"{like.name}_sizes")
    return new_node("Reshape", [value, target], like=like)
