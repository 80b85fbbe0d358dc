"""A classifier of two attentions over predicted keys: small, and discontinuous like Sparsifiner."""

from __future__ import annotations

import torch
from sparse_networks import TOKENS, WIDTH, SparseNet, Style
from torch import Tensor, nn

from attnc.model_defs.config import ModelConfig

SIZE, PATCH, CLASSES = 32, 8, 10


class TinySparse(nn.Module):
    """[B, 3, 32, 32] to [B, 10]."""

    attnc_config = ModelConfig("tiny_sparse", "x", image_size=(SIZE, SIZE), minimum_size=SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.first = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.blocks = nn.ModuleList(SparseNet(Style(finite="none")) for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        assert tokens.shape[1] == TOKENS
        for block in self.blocks:
            tokens = tokens + block(tokens)
        return self.head(tokens[:, 0])


def build() -> nn.Module:
    """Seeded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinySparse().eval()
