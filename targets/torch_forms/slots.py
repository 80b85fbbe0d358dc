"""GLMix: maps pooled to slots, slots that gather from pixels, and pixels that take from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnc.compiler.ops.grid_pool import windows
from attnc.compiler.ops.slot_cluster import LEAST_LENGTH
from attnc.passes.graph import Array, attribute
from attnc.targets.torch_forms.common import How, product
from attnc.targets.torch_forms.operands import Operand, operands, sizes


def averages(places: int, cells: int) -> Array:
    """[cells, places]: the weights of an adaptive average along one axis."""
    found = np.zeros((cells, places))
    for row, (begin, end) in enumerate(windows(places, cells)):
        found[row, begin:end] = 1 / (end - begin)
    return found


def tiles(height: int, width: int, grid: Any) -> bool:
    """Whether equal windows cover the map."""
    return bool(height % grid[0] == 0 and width % grid[1] == 0)


def pool_operands(node: Any, grid: Any) -> list[Operand]:
    """A matrix [cells, pixels] where the windows do not tile the map."""
    _, height, width, _ = sizes(node, node.inputs[0])
    if tiles(height, width, grid):
        return [None]
    rows, columns = averages(height, grid[0]), averages(width, grid[1])
    return [np.kron(rows, columns).astype(np.float32)]


def pool(x: Any, grid: Any, matrix: Any) -> Any:
    """[B,rows*columns,C] of a map [B,H,W,C]."""
    import torch.nn.functional as F

    batch, height, width, channels = x.shape
    if matrix is not None:
        return matrix.matmul(x.reshape(batch, height * width, channels))
    if (height, width) != tuple(grid):
        window = (height // grid[0], width // grid[1])
        x = F.avg_pool2d(x.permute(0, 3, 1, 2), window, window).permute(0, 2, 3, 1)
    return x.reshape(batch, -1, channels)


def grid_pool_operands(node: Any) -> list[Operand]:
    """With the matrix, if there is one."""
    return [*operands(node), *pool_operands(node, attribute(node, "grid"))]


def grid_pool(how: How, x: Any, matrix: Any) -> Any:
    """[B,H,W,C] to [B,rows*columns,C]"""
    return pool(x, how["grid"], matrix)


def slot_cluster(how: How, x: Any, slots: Any) -> Any:
    """y = softmax over the pixels of scaled cosines, times the pixels; the cosines go on"""
    cosines = product(_direction(x, how["scale"]), _direction(slots, 1.0).transpose(1, 2))
    return product(cosines.transpose(1, 2).softmax(-1), x), cosines


def _direction(x: Any, scale: float) -> Any:
    """x times `scale` over its length."""
    length = (x * x).sum(-1, keepdim=True).sqrt().clamp(min=LEAST_LENGTH)
    return x * (scale / length)


def slot_dispatch(how: How, logits: Any, slots: Any) -> Any:
    """y = softmax over the slots, times the slots"""
    return product(logits.softmax(-1), slots)


def slot_dispatch_add(how: How, logits: Any, slots: Any, residual: Any) -> Any:
    """slot_dispatch -> add r"""
    return slot_dispatch(how, logits, slots) + residual


FORMS = {
    "GridPool": grid_pool,
    "SlotCluster": slot_cluster,
    "SlotDispatch": slot_dispatch,
    "SlotDispatchAdd": slot_dispatch_add,
}
OPERANDS = {"GridPool": grid_pool_operands}
