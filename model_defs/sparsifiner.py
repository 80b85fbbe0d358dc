"""Sparsifiner (Wei et al., CVPR 2023, arXiv 2303.13755): each query attends to its predicted keys.

Written from the paper's description, with the state_dict keys of the authors' code (it publishes
no weights). Tokens that pruning drops stay in the sequence as zeros; every shape is static.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from .config import ModelConfig, nano_config
from .errors import ModelOptionError
from .evit import PATCH, FeedForward, PatchEmbedding
from .sparsifiner_options import ARCHITECTURES, Architecture, Pruning, check, pruning_schedule

#: What makes the network another one, not another variant of it.
_FIXED = ("backbone", "dim", "head_dim", "blocks")

CONFIGS = {
    name: ModelConfig(
        name=name,
        family="sparsifiner",
        image_size=(arch.image_size, arch.image_size),
        minimum_size=PATCH,
        size_multiple=PATCH,
        size_option="image_size",
        source="arXiv 2303.13755, github.com/lim142857/Sparsifiner",
    )
    for name, arch in ARCHITECTURES.items()
} | {
    "sparsifiner_nano": nano_config(
        "sparsifiner_nano",
        "sparsifiner",
        minimum_size=PATCH,
        size_multiple=PATCH,
        size_option="image_size",
    )
}

# As in EViT; and bases of which about a third falls below the threshold, so that scores differ.
INIT_GAINS = (
    (r"pos_embed$", 80.0),
    (r"cls_token$", 10.0),
    (r"\.qkv\.weight$", 1.4),
    (r"\.proj_n$", 0.5),
    (r"\.proj_back_n$", 0.3),
)


class MaskPredictor(nn.Module):
    """Which keys each query but the class token's attends to: bool [B, heads, N-1, N].

    A low-rank attention map, made sparse twice: few coefficients in a basis, then few keys.
    """

    def __init__(self, arch: Architecture, budget: int) -> None:
        super().__init__()
        self.arch, self.budget = arch, budget
        shape = (arch.tokens, arch.tokens // arch.reduce_n_factor)
        narrow = arch.head_dim // arch.reduce_c_factor
        self.proj_n = nn.Parameter(0.1 * torch.randn(shape))
        # Shared, it is one parameter under both names; when weights are loaded, the second counts.
        back = self.proj_n if arch.share_inout_proj else nn.Parameter(0.05 * torch.randn(shape))
        self.proj_back_n = back
        self.proj_c_q = nn.Linear(arch.head_dim, narrow)
        self.proj_c_k = nn.Linear(arch.head_dim, narrow)

    def coefficients(self, q: Tensor, k: Tensor, active: Tensor | None) -> Tensor:
        """[B, heads, N-1, rank]: the low-rank map of all queries but the class token's, sparse."""
        q, k = self.proj_c_q(q), self.proj_c_k(k)
        if active is not None:
            q, k = q * active, k * active
        logits = q @ (k.transpose(2, 3) @ self.proj_n) * self.arch.heads**-0.5
        dense = logits[:, :, 1:].softmax(dim=-1)
        if self.arch.coef_threshold is not None:
            return torch.where(dense > self.arch.coef_threshold, dense, 0.0)
        values, index = dense.topk(self.arch.coef_topk, dim=-1)
        return torch.zeros_like(dense).scatter(-1, index, values)

    def scores(self, q: Tensor, k: Tensor, active: Tensor | None) -> Tensor:
        """One score for each query but the class token's, and each key: [B, heads, N-1, N]."""
        basis = self.proj_back_n.abs().transpose(0, 1)
        basis = torch.where(basis > self.arch.basis_threshold, basis, 0.0)
        scores = self.coefficients(q, k, active) @ basis
        if active is None:
            return scores
        return torch.where(active.transpose(2, 3) > 0, scores, -math.inf)

    def forward(self, q: Tensor, k: Tensor, active: Tensor | None = None) -> Tensor:
        scores = self.scores(q, k, active)
        if self.arch.score_threshold is not None:
            return scores > self.arch.score_threshold
        index = scores.topk(self.budget, dim=-1).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, index, True)


class SparseAttention(nn.Module):
    """Attention over the predicted keys; beside it the class token's row, averaged over heads."""

    def __init__(self, arch: Architecture, pruning: Pruning) -> None:
        super().__init__()
        self.rows = pruning.rows
        # Only these leave queries without any key, whose output is then zero instead of NaN.
        self.may_be_empty = pruning.rows or arch.score_threshold is not None
        self.heads, self.head_dim = arch.heads, arch.head_dim
        self.qkv = nn.Linear(arch.dim, 3 * arch.dim, bias=arch.backbone == "deit")
        self.proj = nn.Linear(arch.dim, arch.dim)
        self.mask_predictor = MaskPredictor(arch, pruning.budget)

    def forward(self, x: Tensor, active: Tensor | None = None) -> tuple[Tensor, Tensor]:
        _, length, dim = x.shape
        qkv = self.qkv(x).reshape(-1, length, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if active is not None:
            # The class token still sees these keys: with logit and value zero, they only add to
            # the denominator of its softmax.
            q, k, v = q * active, k * active, v * active
        mask = self.mask_predictor(q, k, active)
        if self.rows and active is not None:
            mask = mask & (active[:, :, 1:] > 0)
        logits = q @ k.transpose(2, 3) * self.head_dim**-0.5
        sparse = torch.where(mask, logits[:, :, 1:], -math.inf).softmax(dim=-1)
        if self.may_be_empty:
            sparse = torch.where(mask, sparse, 0.0)
        class_row = logits[:, :, :1].softmax(dim=-1)
        out = torch.cat([class_row, sparse], dim=2) @ v
        out = self.proj(out.transpose(1, 2).reshape(-1, length, dim))
        return out, class_row[:, :, 0, 1:].mean(dim=1)


class Block(nn.Module):
    """Attention and feed-forward; in pruning blocks, fewer tokens are active afterwards."""

    def __init__(self, arch: Architecture, pruning: Pruning) -> None:
        super().__init__()
        deit, dim = arch.backbone == "deit", arch.dim
        self.pruning, self.branch_scale = pruning, 1.0 if deit else 0.5
        eps = 1e-6 if deit else 1e-5
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SparseAttention(arch, pruning)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = FeedForward(dim, (4 if deit else 3) * dim)

    def _select(self, scores: Tensor, active: Tensor | None) -> Tensor:
        """1 for the class token and the best active tokens, else 0: [B, 1, N, 1]."""
        if active is not None:
            scores = torch.where(active[:, 0, 1:, 0] > 0, scores, -math.inf)
        assert self.pruning.leaving is not None
        index = scores.topk(min(self.pruning.leaving, self.pruning.entering), dim=1).indices
        chosen = torch.zeros_like(scores).scatter(1, index, 1.0)
        chosen = torch.cat([torch.ones_like(scores[:, :1]), chosen], dim=1)
        return chosen.unsqueeze(1).unsqueeze(3)

    def forward(self, x: Tensor, active: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        attended, scores = self.attn(self.norm1(x), active)
        x = x + self._scaled(attended)
        x = x + self._scaled(self.mlp(self.norm2(x)))
        if self.pruning.leaving is not None:
            active = self._select(scores, active)
        if active is not None:
            x = x * active[:, 0]
        return x, active

    def _scaled(self, branch: Tensor) -> Tensor:
        return branch if self.branch_scale == 1.0 else branch * self.branch_scale


class ConvolutionalStem(nn.Module):
    """LV-ViT's patch embedding: three convolutions, then patches of 8 on the halved picture."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.proj = nn.Conv2d(64, dim, PATCH // 2, PATCH // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu()
        return self.proj(x).flatten(2).transpose(1, 2)


class Sparsifiner(nn.Module):
    """Input [B, 3, S, S] float, S the `image_size` it was made for; output [B, num_classes]."""

    def __init__(self, arch: Architecture, num_classes: int = 1000) -> None:
        super().__init__()
        self.image_size = arch.image_size
        deit, dim = arch.backbone == "deit", arch.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, arch.tokens, dim))
        self.patch_embed = PatchEmbedding(dim) if deit else ConvolutionalStem(dim)
        self.blocks = nn.ModuleList(Block(arch, pruning) for pruning in pruning_schedule(arch))
        self.norm = nn.LayerNorm(dim, eps=1e-6 if deit else 1e-5)
        self.head = nn.Linear(dim, num_classes)
        self.aux_head = None if deit else nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ModelOptionError(
                f"images of {height}x{width} pixels; this model's weights are for "
                f"{self.image_size}x{self.image_size}",
                remedy="the option image_size makes a model for another size",
            )
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        x, active = x + self.pos_embed, None
        for block in self.blocks:
            x, active = block(x, active)
        x = self.norm(x)
        logits = self.head(x[:, 0])
        if self.aux_head is None:
            return logits
        return logits + 0.5 * self.aux_head(x[:, 1:]).amax(dim=1)


def create(name: str, num_classes: int = 1000, **options: object) -> Sparsifiner:
    """The variant `name`, weights as torch initialises; `options` replace `Architecture` fields."""
    known = [field for field in ARCHITECTURES[name].__dataclass_fields__ if field not in _FIXED]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ModelOptionError(
            f"{name} has no option {unknown[0]!r}", where=name, remedy=f"one of {', '.join(known)}"
        )
    arch = replace(ARCHITECTURES[name], **options)  # type: ignore[arg-type]
    check(arch, name)
    return Sparsifiner(arch, num_classes)
