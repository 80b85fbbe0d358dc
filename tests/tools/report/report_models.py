"""Models of a few blocks that export in a second: one of maps, one that keeps tokens."""

from __future__ import annotations

import torch
from torch import nn

from attnc.model_defs import evit as evits
from attnc.model_defs import shvit as shvits
from attnc.model_defs.config import ModelConfig
from attnc.model_defs.seeded import seeded_state_dict

CLASSES = 10


def shvit() -> nn.Module:
    """Every kind of block once, on 64x64."""
    arch = shvits.Architecture((32, 48, 64), (1, 1, 1), (16, 16, 16), ("i", "s", "s"))
    return _seeded(shvits.SHViT(arch, CLASSES), "small_shvit", 64, shvits.INIT_GAINS)


def evit() -> nn.Module:
    """Four blocks on 6x6 tokens, of which two select and fuse what they drop."""
    arch = evits.Architecture(64, 96, 0.7, True, (1, 2), depth=4, head_dim=32)
    model = evits.EViT(arch, (1.0, 0.7, 0.7, 1.0), CLASSES)
    return _seeded(model, "small_evit", 96, evits.INIT_GAINS)


def _seeded(model: nn.Module, name: str, size: int, gains: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.load_state_dict(seeded_state_dict(model.state_dict(), 0, gains))  # type: ignore[arg-type]
    model.attnc_config = ModelConfig(name, "small", image_size=(size, size), minimum_size=size)  # type: ignore[assignment]
    return model.eval()
