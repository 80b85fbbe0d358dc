"""Layers with the state_dict keys of torch's and timm's own, written so that they export plainly.

torch's attention module takes another path in eval mode, and its fused operator does not export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MultiheadAttention(nn.Module):
    """Self-attention of [B, N, C] with the parameters of torch's module of the same name."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim, self.heads, self.scale = head_dim, dim // head_dim, head_dim**-0.5
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.reshape(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))
