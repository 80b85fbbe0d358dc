"""Adaptive average pooling as two matrix products, so that uneven windows can be exported.

ONNX has no adaptive pooling; with a static height and width each axis is one constant matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pooling_matrix(size: int, cells: int) -> list[list[float]]:
    """[cells][size] weights; cell i averages floor(i*size/cells) .. ceil((i+1)*size/cells) - 1.

    Windows overlap where `cells` does not divide `size`, and repeat where it is the larger.
    """
    rows = []
    for cell in range(cells):
        start, stop = cell * size // cells, -(-(cell + 1) * size // cells)
        weight = 1.0 / (stop - start)
        rows.append([weight if start <= place < stop else 0.0 for place in range(size)])
    return rows


def pool_to_grid(x: Tensor, rows: int, columns: int) -> Tensor:
    """[B, C, H, W] to [B, C, rows, columns]: the numbers of `adaptive_avg_pool2d`."""
    height, width = (int(side) for side in x.shape[2:])
    down = torch.tensor(pooling_matrix(height, rows), dtype=x.dtype, device=x.device)
    across = torch.tensor(pooling_matrix(width, columns), dtype=x.dtype, device=x.device)
    return down @ (x @ across.t())
