"""GLMix: a map pooled to slots, slots that gather from the pixels, and pixels that take from them.

One product [slots, pixels] serves both softmaxes, each over a last axis: as it is where slots
gather, turned where pixels take.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.grid_pool import windows
from attnc.compiler.ops.slot_cluster import LEAST_LENGTH
from attnc.passes.graph import attribute
from attnc.passes.precision.low import LOWS
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.writer import is_var, sizes


def averages(places: int, cells: int) -> Any:
    """[cells, places]: the weights of an adaptive average along one axis."""
    found = np.zeros((cells, places))
    for row, (begin, end) in enumerate(windows(places, cells)):
        found[row, begin:end] = 1 / (end - begin)
    return found


def adaptive_pool(to: Forms, x: Any, rows: int, columns: int) -> Any:
    """[B,C,S] of a map: avg_pool where the windows tile it, else one constant matrix."""
    _, _, height, width = sizes(x)
    if (height, width) == (rows, columns):
        return to.matrix(x)
    if height % rows == 0 and width % columns == 0:
        window = [height // rows, width // columns]
        how = {"kernel_sizes": window, "strides": window, "pad_type": "valid"}
        return to.matrix(to.emit("avg_pool", x=x, exclude_padding_from_average=False, **how))
    matrix = np.kron(averages(height, rows), averages(width, columns)).T
    return to.emit("matmul", x=to.matrix(x), y=matrix[None].astype(np.float32))


def grid_pool(node: ir.Node, to: Forms) -> None:
    """[B,H,W,C] to [B,rows*columns,C]"""
    x = node.inputs[0]
    _, height, width, _ = to.sizes(x)
    rows, columns = attribute(node, "grid")
    to.set_first(node.outputs[0], adaptive_pool(to, to.first_at(x, height, width), rows, columns))


def slot_cluster(node: ir.Node, to: Forms) -> None:
    """y = softmax over the pixels of scaled cosines, times the pixels; the cosines go on

    The cosines are products over products of lengths, which are far smaller than the maps. What is
    added to the latter, so that vectors of zeros have cosine zero, is far under what float16
    holds: there it is its smallest normal number.
    """
    pixels, slots = node.inputs
    out, logits = node.outputs
    x, s = to.matrix(to.first(pixels)), to.matrix(to.first(slots))
    product = _product(to, s, x, turned_x=True)
    lengths = _product(to, _lengths(to, s), _lengths(to, x), turned_x=True)
    scale = attribute(node, "scale")
    least = LOWS["fp16"].smallest if to.emit.half else LEAST_LENGTH / abs(scale)
    least = math.copysign(least, scale)  # added to lengths over the scale, which have its sign
    lengths = to.emit("linear_activation", x=lengths, alpha=1 / scale, beta=least)
    cosines = to.emit("real_div", x=product, y=lengths)
    share = to.emit("softmax", x=cosines, axis=-1)
    to.set_first(out, _product(to, x, share, turned_y=True))
    if logits.uses() or logits.is_graph_output():
        to.set(logits, to.emit("transpose", x=cosines, perm=[0, 2, 1]))


def _product(to: Forms, x: Any, y: Any, *, turned_x: bool = False, turned_y: bool = False) -> Any:
    return to.emit("matmul", x=x, y=y, transpose_x=turned_x, transpose_y=turned_y)


def _lengths(to: Forms, x: Any) -> Any:
    """[B,1,N] of x [B,C,N]."""
    if not is_var(x):
        return np.linalg.norm(x, axis=1, keepdims=True).astype(np.float32)
    return to.emit("reduce_l2_norm", x=x, axes=[1], keep_dims=True)


def slot_dispatch(node: ir.Node, to: Forms) -> None:
    """y = softmax over the slots, times the slots"""
    batch, count, channels = to.sizes(node.outputs[0])
    taken = to.reshape(_taken(node, to), [batch, channels, count])
    to.set_first(node.outputs[0], taken)


def slot_dispatch_add(node: ir.Node, to: Forms) -> None:
    """slot_dispatch -> add r"""
    residual = node.inputs[2]
    r = to.first(residual)
    taken = to.reshape(_taken(node, to), list(sizes(r)))
    to.set_first(node.outputs[0], to.emit("add", x=taken, y=r))


def _taken(node: ir.Node, to: Forms) -> Any:
    """[B,C,N], or [1,h,d,N]"""
    logits, slots = node.inputs[:2]
    share = to.emit("softmax", x=to.plain(logits), axis=-1)
    return _product(to, _heads_or_matrix(to, to.first(slots)), share, turned_y=True)


def _heads_or_matrix(to: Forms, x: Any) -> Any:
    """[B,C,S]; one picture's heads [1,h,d,S] stay, as a product takes them as well."""
    maker = x.op if is_var(x) else None
    if maker is not None and maker.op_type == "reshape" and sizes(x)[0] == 1:
        before = sizes(maker.x)
        if len(before) == 4 and before[-1] == math.prod(sizes(x)[2:]):
            return maker.x
    return to.matrix(x)


OPERATORS = {
    "GridPool": grid_pool,
    "SlotCluster": slot_cluster,
    "SlotDispatch": slot_dispatch,
    "SlotDispatchAdd": slot_dispatch_add,
}
