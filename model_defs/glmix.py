"""GLNet (GLMix; Zhu et al., NeurIPS 2024, arXiv 2411.14429): slots for far, convolutions for near.

Written from the paper's description, with the state_dict keys of the released checkpoints. 64
slots gather tokens by cosine, attend to each other and are dealt out again to the tokens; no
parameter depends on the input size, whose height and width must be multiples of 32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig, nano_config
from .errors import ModelOptionError
from .layers import LayerNorm2d, MultiheadAttention
from .options import check_kinds
from .pooling import pool_to_grid

STRIDE = 32
_EPSILON = 1e-6


@dataclass(frozen=True)
class Architecture:
    """Widths, depths and block types of the four stages, and what their blocks are made of.

    `kinds` has one string per stage, repeated along its blocks: "G" is a GLMix block, "A" full
    attention with convolutions, "M" a plain transformer block.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...] = (4, 4, 18, 4)
    kinds: tuple[str, ...] = ("G", "G", "GA", "A")
    mlp_ratio: int = 3
    overlapping: bool = True
    pos_conv: bool = True
    mlp_dw: bool = True
    layer_scale: bool = False
    learned_slots: bool = False
    token_label: bool = False
    num_slots: int = 64
    head_dim: int = 32


_STL = Architecture(
    (96, 192, 384, 768),
    depths=(2, 2, 6, 2),
    kinds=("G", "G", "G", "M"),
    mlp_ratio=4,
    overlapping=False,
    pos_conv=False,
    mlp_dw=False,
)
_4G, _9G = Architecture((64, 128, 256, 512)), Architecture((96, 192, 384, 768))
ARCHITECTURES = {
    "glnet_stl": _STL,
    "glnet_stl_paramslot": replace(_STL, learned_slots=True),
    "glnet_4g": _4G,
    "glnet_9g": _9G,
    "glnet_16g": Architecture((128, 256, 512, 1024), layer_scale=True),
    "glnet_4g_tklb": replace(_4G, token_label=True),
    "glnet_9g_tklb": replace(_9G, token_label=True),
    "glmix_nano": Architecture(
        (32, 64, 64, 96), (1, 1, 1, 1), ("G", "G", "A", "A"), num_slots=16, head_dim=16
    ),
}

CONFIGS = {
    name: ModelConfig(
        name=name,
        family="glmix",
        minimum_size=STRIDE,
        size_multiple=STRIDE,
        source="arXiv 2411.14429, github.com/rayleizhu/GLMix",
    )
    for name in ARCHITECTURES
} | {
    "glmix_nano": nano_config("glmix_nano", "glmix", minimum_size=STRIDE, size_multiple=STRIDE),
}

# The stream is normalised only inside the branches: their last matrices are small, or it grows
# with depth. The cosine needs a large factor, or every slot of seeded weights is the same mean.
INIT_GAINS = (
    (r"slot_scale$", 32.0),
    (r"\.gamma$", 0.5),
    (r"(\.mlp\.[23]|\.feature_conv\.2|\.out_proj|\.pos_conv)\.weight$", 0.3),
    (r"in_proj_weight$", 1.4),
)


def _to_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _to_map(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).reshape(like.shape)


class LayerScale(nn.Module):
    """A learned factor per channel; `shape` makes it broadcast over maps or tokens."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ResidualDepthwise(nn.Conv2d):
    """x + depthwise 3x3 of x."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _conv_mlp(dim: int, arch: Architecture) -> nn.Sequential:
    hidden = arch.mlp_ratio * dim
    return nn.Sequential(
        nn.Conv2d(dim, hidden, 1),
        ResidualDepthwise(hidden) if arch.mlp_dw else nn.Identity(),
        nn.GELU(),
        nn.Conv2d(hidden, dim, 1),
    )


def _pos_conv(dim: int, arch: Architecture) -> nn.Module:
    return ResidualDepthwise(dim) if arch.pos_conv else nn.Identity()


def _layer_scale(arch: Architecture, *shape: int) -> nn.Module:
    return LayerScale(*shape) if arch.layer_scale else nn.Identity()


class GLMixBlock(nn.Module):
    """Slots (soft clustering, attention, dispatching) and a local branch on one normalised map."""

    def __init__(self, dim: int, arch: Architecture) -> None:
        super().__init__()
        self.slot_scale = nn.Parameter(torch.tensor(dim**-0.5))
        self.grid = math.isqrt(arch.num_slots)
        slots = torch.randn(1, arch.num_slots, dim) if arch.learned_slots else None
        self.init_slots = None if slots is None else nn.Parameter(slots)
        self.pos_conv = _pos_conv(dim, arch)
        self.norm1 = nn.LayerNorm(dim, eps=_EPSILON)
        self.relation_mha = MultiheadAttention(dim, arch.head_dim)
        self.feature_conv = nn.Sequential(
            nn.Conv2d(dim, dim, 1),
            nn.Conv2d(dim, dim, 5, padding=2, groups=dim),
            nn.Conv2d(dim, dim, 1),
        )
        self.norm2 = LayerNorm2d(dim, eps=_EPSILON)
        self.mlp = _conv_mlp(dim, arch)
        self.ls1 = _layer_scale(arch, 1, dim, 1, 1)
        self.ls2 = _layer_scale(arch, 1, dim, 1, 1)

    def slots_of(self, x: Tensor) -> Tensor:
        """The first slots [B or 1, slots, C], from the block's own input."""
        if self.init_slots is not None:
            return self.init_slots
        return _to_tokens(pool_to_grid(x, self.grid, self.grid))

    def mix(self, slots: Tensor, tokens: Tensor) -> Tensor:
        """Tokens [B, L, C] to tokens through the slots; both softmaxes read the same logits."""
        cosine = F.normalize(slots, dim=-1) @ F.normalize(tokens, dim=-1).transpose(1, 2)
        logits = self.slot_scale * cosine
        gathered = self.relation_mha(logits.softmax(dim=-1) @ tokens)
        return logits.transpose(1, 2).softmax(dim=-1) @ gathered

    def forward(self, x: Tensor) -> Tensor:
        slots = self.slots_of(x)
        x = self.pos_conv(x)
        tokens = self.norm1(_to_tokens(x))
        far = _to_map(self.mix(slots, tokens), x)
        x = x + self.ls1(far + self.feature_conv(_to_map(tokens, x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class AttentionBlock(nn.Module):
    """Full attention between the pixels of a map."""

    def __init__(self, dim: int, arch: Architecture) -> None:
        super().__init__()
        self.pos_conv = _pos_conv(dim, arch)
        self.norm1 = nn.LayerNorm(dim, eps=_EPSILON)
        self.mha_op = MultiheadAttention(dim, arch.head_dim)
        self.norm2 = LayerNorm2d(dim, eps=_EPSILON)
        self.mlp = _conv_mlp(dim, arch)
        self.ls1 = _layer_scale(arch, dim)
        self.ls2 = _layer_scale(arch, 1, dim, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pos_conv(x)
        tokens = _to_tokens(x)
        x = _to_map(tokens + self.ls1(self.mha_op(self.norm1(tokens))), x)
        return x + self.ls2(self.mlp(self.norm2(x)))


class TransformerBlock(nn.Module):
    """Attention and a perceptron, on tokens only."""

    def __init__(self, dim: int, arch: Architecture) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPSILON)
        self.mha_op = MultiheadAttention(dim, arch.head_dim)
        self.norm2 = nn.LayerNorm(dim, eps=_EPSILON)
        hidden = arch.mlp_ratio * dim
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        tokens = _to_tokens(x)
        tokens = tokens + self.mha_op(self.norm1(tokens))
        return _to_map(tokens + self.mlp(self.norm2(tokens)), x)


_BLOCKS = {"G": GLMixBlock, "A": AttentionBlock, "M": TransformerBlock}


class Stage(nn.Module):
    """Blocks of one width."""

    def __init__(self, dim: int, depth: int, kinds: str, arch: Architecture) -> None:
        super().__init__()
        kind = [_BLOCKS[kinds[index % len(kinds)]] for index in range(depth)]
        self.blocks = nn.Sequential(*(block(dim, arch) for block in kind))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def _downsampling(arch: Architecture) -> nn.ModuleList:
    first = arch.dims[0]
    if not arch.overlapping:
        stem = nn.Sequential(nn.Conv2d(3, first, 4, 4), nn.BatchNorm2d(first))
        later = [
            nn.Sequential(nn.BatchNorm2d(a), nn.Conv2d(a, b, 2, 2)) for a, b in pairwise(arch.dims)
        ]
        return nn.ModuleList([stem, *later])
    stem = nn.Sequential(
        nn.Identity(),  # the released checkpoints count from one here
        nn.Conv2d(3, first // 2, 3, 2, 1),
        nn.BatchNorm2d(first // 2),
        nn.GELU(),
        nn.Conv2d(first // 2, first, 3, 2, 1),
        nn.BatchNorm2d(first),
    )
    later = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b)) for a, b in pairwise(arch.dims)
    ]
    return nn.ModuleList([stem, *later])


class GLNet(nn.Module):
    """Input [B, 3, H, W] float, H and W multiples of 32; output logits [B, num_classes]."""

    def __init__(self, arch: Architecture, num_classes: int = 1000) -> None:
        super().__init__()
        self.downsample_layers = _downsampling(arch)
        stages = zip(arch.dims, arch.depths, arch.kinds, strict=True)
        self.stages = nn.ModuleList(Stage(*stage, arch) for stage in stages)
        self.norm = nn.BatchNorm2d(arch.dims[-1])
        self.head = nn.Linear(arch.dims[-1], num_classes)
        self.tklb_aux_head = nn.Linear(arch.dims[-1], num_classes) if arch.token_label else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % STRIDE or width % STRIDE or not height or not width:
            raise ModelOptionError(
                f"GLNet cannot take images of {height}x{width} pixels",
                remedy=f"height and width that are multiples of {STRIDE}",
            )
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        x = self.norm(x)
        logits = self.head(x.mean((2, 3)))
        if self.tklb_aux_head is None:
            return logits
        return logits + 0.5 * self.tklb_aux_head(_to_tokens(x)).amax(dim=1)


def _check(arch: Architecture, where: str) -> None:
    def refuse(message: str, remedy: str) -> None:
        raise ModelOptionError(message, where=where, remedy=remedy)

    for field in ("dims", "depths", "kinds"):
        value = getattr(arch, field)
        if len(value) != 4:
            refuse(f"{field} needs four values, not {value!r}", "one for each stage")
    for kinds in arch.kinds:
        if not kinds or set(kinds) - set(_BLOCKS):
            refuse(f"there is no block of kind {kinds!r}", "kinds made of 'G', 'A' and 'M'")
    if arch.head_dim < 1 or any(dim < 1 or dim % arch.head_dim for dim in arch.dims):
        refuse(f"dims {arch.dims!r} do not divide into heads", f"multiples of {arch.head_dim}")
    if min(arch.depths) < 1 or arch.mlp_ratio < 1:
        refuse("depths and mlp_ratio must be positive", "1 or more")
    if arch.num_slots < 1:
        refuse(f"num_slots must be positive, not {arch.num_slots}", "1 or more")
    side = math.isqrt(arch.num_slots)
    if not arch.learned_slots and side**2 != arch.num_slots:
        refuse(
            f"num_slots {arch.num_slots} is not a square, which pooled slots need",
            f"{side**2} or {(side + 1) ** 2}, or the option learned_slots=true",
        )


def create(name: str, num_classes: int = 1000, **options: object) -> GLNet:
    """The variant `name`, weights as torch initialises; `options` replace `Architecture` fields."""
    known = ARCHITECTURES[name].__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ModelOptionError(
            f"{name} has no option {unknown[0]!r}", where=name, remedy=f"one of {', '.join(known)}"
        )
    arch = replace(ARCHITECTURES[name], **options)  # type: ignore[arg-type]
    check_kinds(arch, ARCHITECTURES[name], name)
    _check(arch, name)
    return GLNet(arch, num_classes)
