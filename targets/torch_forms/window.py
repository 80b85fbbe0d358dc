"""MSA-Conv's attention as shifted slices of a padded map [B,H,W,C]: no unfold, no gather."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

from attnc.compiler.ops.window_attention import VARIANTS
from attnc.passes.graph import attribute
from attnc.targets.torch_forms.common import How
from attnc.targets.torch_forms.operands import Operand, operands
from attnc.targets.torch_forms.slots import pool, pool_operands

#: Of the four groups of channels: the axis along which one is rolled, and the way.
_WAYS = ((1, -1), (1, 1), (2, -1), (2, 1))


def window_operands(node: Any) -> list[Operand]:
    """qkv, the residual or None, the matrix that pools or None."""
    packed, *residual = operands(node)
    grid = attribute(node, "grid")
    return [packed, *(residual or [None]), *(pool_operands(node, grid) if grid else [None])]


def window_attention(how: How, qkv: Any, residual: Any, matrix: Any) -> Any:
    """Attention over the window around each pixel and, with `grid`, over pooled keys and values.

    For each place of the window: slice of k -> mul q -> sum over channels; the logits side by side
    -> softmax -> each times its slice of v -> sum.
    """
    import torch

    batch, height, width, packed = qkv.shape
    channels = packed // 3
    q, k, v = (qkv.narrow(3, i * channels, channels) for i in range(3))
    q, grid = q * how["scale"], how.get("grid")
    near_k, near_v = (_padded(how, _rolled(t, how["shift"])) for t in (k, v))
    logits = [(q * key).sum(3, keepdim=True) for key in _slices(how, near_k, height, width)]
    far = [pool(t, grid, matrix) for t in (k, v)] if grid else []
    if far:
        product = q.reshape(batch, -1, channels).bmm(far[0].transpose(1, 2))
        logits.append(product.reshape(batch, height, width, -1))
    shares: Any = torch.cat(logits, 3).softmax(3)
    parts = shares.split([part.shape[3] for part in logits], 3)
    seen = _slices(how, near_v, height, width)
    found = [share * value for share, value in zip(parts, seen, strict=False)]
    if far:
        mixed = parts[-1].reshape(batch, height * width, -1).bmm(far[1])
        found.append(mixed.reshape(batch, height, width, channels))
    if residual is not None:
        found.append(residual)
    return reduce(lambda x, y: x + y, found)


def _padded(how: How, x: Any) -> Any:
    """x with zeros around it, so that every place of the window exists."""
    import torch.nn.functional as F

    reach = zip(how["kernel_shape"], how["dilations"], strict=True)
    top, left = (step * (size - 1) // 2 for size, step in reach)
    return F.pad(x, (0, 0, left, left, top, top)) if top or left else x


def _slices(how: How, x: Any, height: int, width: int) -> Iterator[Any]:
    """The padded map as each place sees it, row by row."""
    down, across = how["dilations"]
    for i in range(how["kernel_shape"][0]):
        for j in range(how["kernel_shape"][1]):
            yield x.narrow(1, i * down, height).narrow(2, j * across, width)


def _rolled(x: Any, shift: int) -> Any:
    """A quarter of the channels each rolled up, down, left and right; the first ones larger."""
    import torch

    channels = x.shape[3]
    counts = [channels // 4 + (i < channels % 4) for i in range(4)]
    if not any((shift % x.shape[axis]) and n for (axis, _), n in zip(_WAYS, counts, strict=True)):
        return x
    groups = x.split(counts, 3)
    turned = [
        _turned(group, axis, way * shift % x.shape[axis])
        for group, (axis, way) in zip(groups, _WAYS, strict=True)
        if group.shape[3]
    ]
    return torch.cat(turned, 3)


def _turned(x: Any, axis: int, step: int) -> Any:
    """x rolled forward along an axis: its end comes first."""
    import torch

    if not step:
        return x
    front, back = x.split([x.shape[axis] - step, step], axis)
    return torch.cat([back, front], axis)


_NAMES = tuple(operator.name for operator in VARIANTS.values())
FORMS = dict.fromkeys(_NAMES, window_attention)
OPERANDS = dict.fromkeys(_NAMES, window_operands)
