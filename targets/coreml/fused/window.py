"""MSA-Conv's attention as shifted slices of a padded map: no unfold, no gather, rank four.

For each place of the window: slice of k -> mul q -> reduce_sum over channels; the logits of all
places side by side along the channels -> softmax -> each times its slice of v -> sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.heads import scaled
from attnc.targets.coreml.fused.slots import adaptive_pool
from attnc.targets.coreml.standard.cuts import cut
from attnc.targets.coreml.writer import sizes

#: Of the four groups of channels: the axis along which one is rolled, and the way.
_WAYS = ((2, -1), (2, 1), (3, -1), (3, 1))


def window_attention(node: ir.Node, to: Forms) -> None:
    """Attention over the window around each pixel and, with `grid`, over pooled keys and values."""
    packed = node.inputs[0]
    _, height, width, _ = to.sizes(packed)
    qkv = to.first_at(packed, height, width)
    q, k, v = to.emit("split", x=qkv, num_splits=3, axis=1)
    q = scaled(to, q, attribute(node, "scale"))
    grid = attribute(node, "grid")
    far = [adaptive_pool(to, t, *grid) for t in (k, v)] if grid else []
    shift, window = attribute(node, "shift"), _Window.of(node, height, width)
    near_k, near_v = (window.padded(to, _rolled(to, t, shift)) for t in (k, v))
    logits = [_score(to, q, key) for key in window.slices(to, near_k)]
    if far:
        logits.append(_far_score(to, q, far[0]))
    shares = _shares(to, logits, window.places)
    found = [
        to.emit("mul", x=value, y=share)
        for value, share in zip(window.slices(to, near_v), shares, strict=False)
    ]
    if far:
        found.append(_far_sum(to, far[1], shares[-1]))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        found.append(to.first_at(node.inputs[1], height, width))
    total = reduce(lambda x, y: to.emit("add", x=x, y=y), found)
    to.set_first(node.outputs[0], total)


class _Window:
    """The places of a dilated window of odd size around each pixel of a map."""

    def __init__(self, kernel: Sequence[int], dilations: Sequence[int], plane: tuple[int, int]):
        self.kernel, self.dilations, self.plane = kernel, dilations, plane
        self.places = kernel[0] * kernel[1]

    @classmethod
    def of(cls, node: ir.Node, height: int, width: int) -> _Window:
        """With the attributes of the node."""
        return cls(attribute(node, "kernel_shape"), attribute(node, "dilations"), (height, width))

    def padded(self, to: Forms, x: Any) -> Any:
        """x with zeros around it."""
        top, left = (d * (k - 1) // 2 for k, d in zip(self.kernel, self.dilations, strict=True))
        if not top and not left:
            return x
        pad = [0, 0, 0, 0, top, top, left, left]
        return to.emit("pad", x=x, pad=pad, mode="constant", constant_val=0.0)

    def slices(self, to: Forms, x: Any) -> Iterator[Any]:
        """The padded map as each place sees it, row by row."""
        if self.places == 1:
            yield x
            return
        batch, channels, *_ = sizes(x)
        height, width = self.plane
        whole = [(0, batch, 1), (0, channels, 1)]
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                y, z = i * self.dilations[0], j * self.dilations[1]
                yield cut(to, x, [*whole, (y, y + height, 1), (z, z + width, 1)])


def _score(to: Forms, q: Any, key: Any) -> Any:
    """[B,1,H,W]"""
    product = to.emit("mul", x=q, y=key)
    return to.emit("reduce_sum", x=product, axes=[1], keep_dims=True)


def _shares(to: Forms, logits: list[Any], places: int) -> list[Any]:
    """The softmax over all logits, cut apart as they came: one by one, the far ones together."""
    if len(logits) == 1 and sizes(logits[0])[1] == 1:
        return [to.emit("softmax", x=logits[0], axis=1)]
    joined = to.emit("concat", values=logits, axis=1) if len(logits) > 1 else logits[0]
    share = to.emit("softmax", x=joined, axis=1)
    counts = [1] * places + [sizes(part)[1] for part in logits[places:]]
    return list(to.emit("split", x=share, split_sizes=counts, axis=1))


def _far_score(to: Forms, q: Any, keys: Any) -> Any:
    """[B,S,H,W] of q [B,C,H,W] and keys [B,C,S]."""
    batch, _, height, width = sizes(q)
    product = to.emit("matmul", x=keys, y=to.matrix(q), transpose_x=True, transpose_y=False)
    return to.reshape(product, [batch, sizes(keys)[2], height, width])


def _far_sum(to: Forms, values: Any, share: Any) -> Any:
    """[B,C,H,W] of values [B,C,S] and shares [B,S,H,W]."""
    batch, _, height, width = sizes(share)
    product = to.emit("matmul", x=values, y=to.matrix(share))
    return to.reshape(product, [batch, sizes(values)[1], height, width])


def _rolled(to: Forms, x: Any, shift: int) -> Any:
    """A quarter of the channels each rolled up, down, left and right; the first ones larger."""
    _, channels, *plane = sizes(x)
    counts = [channels // 4 + (i < channels % 4) for i in range(4)]
    steps = [(way * shift) % plane[axis - 2] for axis, way in _WAYS]
    if not any(step and count for step, count in zip(steps, counts, strict=True)):
        return x
    used = [i for i in range(4) if counts[i]]
    groups = [x]
    if len(used) > 1:
        groups = list(to.emit("split", x=x, split_sizes=[counts[i] for i in used], axis=1))
    turned = [
        _turned(to, group, _WAYS[i][0], steps[i]) for i, group in zip(used, groups, strict=True)
    ]
    return to.emit("concat", values=turned, axis=1) if len(turned) > 1 else turned[0]


def _turned(to: Forms, x: Any, axis: int, step: int) -> Any:
    """x rolled forward along an axis: its end comes first."""
    if not step:
        return x
    whole = list(sizes(x))
    cut = whole[axis] - step
    front, back = to.emit("split", x=x, split_sizes=[cut, step], axis=axis)
    return to.emit("concat", values=[back, front], axis=axis)


OPERATORS = dict.fromkeys(
    (
        "WindowAttention",
        "WindowAttentionBare",
        "WindowAttentionPooled",
        "WindowAttentionPooledBare",
    ),
    window_attention,
)
