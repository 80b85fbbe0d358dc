"""Sparsifiners of a few blocks on small pictures: whole models that export quickly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from attnc.model_defs.config import ModelConfig
from attnc.model_defs.seeded import seeded_state_dict
from attnc.model_defs.sparsifiner import INIT_GAINS, Sparsifiner
from attnc.model_defs.sparsifiner_options import Architecture

SIZE, CLASSES = 96, 10


@dataclass(frozen=True)
class Shallow(Architecture):
    """As the published ones, but for the number of blocks."""

    image_size: int = SIZE
    coef_topk: int = 4
    blocks: int = 2

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return self.blocks


def _built(arch: Shallow) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Sparsifiner(arch, CLASSES).eval()
    model.load_state_dict(seeded_state_dict(model.state_dict(), 0, INIT_GAINS))
    config = ModelConfig(
        "small_sparsifiner", "sparsifiner", image_size=(SIZE, SIZE), minimum_size=SIZE
    )
    model.attnc_config = config  # type: ignore[assignment]
    return model


def plain() -> nn.Module:
    """No tokens are pruned."""
    return _built(Shallow())


def pruned() -> nn.Module:
    """Half of the tokens are pruned in block 3; blocks 4 and 5 see the rest."""
    return _built(Shallow(token_pruning_loc=(3,), token_keep_rate=0.5, blocks=6))


def keeps_all() -> nn.Module:
    """Every query keeps every key."""
    return _built(Shallow(attn_keep_rate=1.0))
