"""DeiT and EViT (Liang et al., ICLR 2022, arXiv 2202.07800): vision transformers that drop tokens.

Written from the paper's description, with the state_dict keys of the released checkpoints. Keep
rate and fusion change no parameter; how many tokens stay follows from the input size alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import ModelConfig, nano_config
from .errors import ModelOptionError

PATCH = 16
HEAD_DIM = 64
DROP_LOC = (3, 6, 9)


@dataclass(frozen=True)
class Architecture:
    """A backbone and its token schedule.

    `keep_rate` is one number, used in the blocks `drop_loc` (None: 3, 6 and 9), or one number for
    each block. The parameters of the position embedding belong to `image_size` x `image_size`.
    """

    dim: int
    image_size: int = 224
    keep_rate: float | tuple[float, ...] = 1.0
    fuse_token: bool = False
    drop_loc: tuple[int, ...] | None = None
    depth: int = 12
    head_dim: int = HEAD_DIM


_DIMS = {"tiny": 192, "small": 384, "base": 768}
# At these sizes the authors published one keep rate each.
_LARGER = (("small", 272, 0.7), ("small", 288, 0.6), ("small", 304, 0.5))


def _architectures() -> dict[str, Architecture]:
    found = {f"deit_{size}": Architecture(dim) for size, dim in _DIMS.items()}
    for size, dim in _DIMS.items():
        found[f"evit_{size}_k100"] = Architecture(dim)
        for percent in (90, 80, 70, 60, 50):
            for suffix, fuse in (("", False), ("_fuse", True)):
                arch = Architecture(dim, keep_rate=percent / 100, fuse_token=fuse)
                found[f"evit_{size}_k{percent:03d}{suffix}"] = arch
    for size, pixels, rate in _LARGER:
        for suffix, fuse in (("", False), ("_fuse", True)):
            arch = Architecture(_DIMS[size], pixels, rate, fuse)
            found[f"evit_{size}_{pixels}_k{round(100 * rate):03d}{suffix}"] = arch
    found["evit_base_384_k100"] = Architecture(_DIMS["base"], 384)
    found["evit_nano"] = Architecture(64, 64, 0.7, True, (1, 3), depth=6, head_dim=32)
    return found


ARCHITECTURES = _architectures()

CONFIGS = {
    name: ModelConfig(
        name=name,
        family="evit",
        image_size=(arch.image_size, arch.image_size),
        minimum_size=PATCH,
        size_multiple=PATCH,
        source="arXiv 2202.07800, github.com/youweiliang/evit",
    )
    for name, arch in ARCHITECTURES.items()
} | {
    "evit_nano": nano_config("evit_nano", "evit", minimum_size=PATCH, size_multiple=PATCH),
}

# The seeded draw divides by the square root of all dimensions but the first: these bring the
# embeddings to the size of patch features, and make attention maps far from uniform.
INIT_GAINS = ((r"pos_embed$", 80.0), (r"cls_token$", 10.0), (r"\.qkv\.weight$", 1.4))


def kept_tokens(tokens: int, keep_rate: float) -> int:
    """How many of `tokens` patch (and fused) tokens stay: rounded up, as in the paper's code."""
    return math.ceil(keep_rate * tokens)


def token_counts(
    image_size: tuple[int, int], rates: Sequence[float], fuse_token: bool
) -> tuple[int, ...]:
    """Sequence lengths, class token included, that enter each block and, last, leave the last.

    `image_size` is (height, width) in pixels, `rates` has one keep rate for each block.
    """
    counts = [1 + image_size[0] // PATCH * (image_size[1] // PATCH)]
    for rate in rates:
        patches = counts[-1] - 1
        kept = kept_tokens(patches, rate)
        counts.append(1 + kept + (fuse_token and kept < patches))
    return tuple(counts)


def resized_positions(positions: Tensor, grid: int, size: tuple[int, int]) -> Tensor:
    """[1, 1 + grid*grid, C] to [1, 1 + height*width, C]: bicubic, the class token's as it is."""
    trained = positions[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(trained, size=size, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class PatchEmbedding(nn.Module):
    """[B, 3, H, W] to [B, H/16 * W/16, C], row by row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention; beside its output the class token's row, averaged over the heads."""

    def __init__(self, dim: int, head_dim: int = HEAD_DIM) -> None:
        super().__init__()
        self.heads, self.head_dim = dim // head_dim, head_dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, length, dim = x.shape
        qkv = self.qkv(x).reshape(-1, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(2, 3) * self.head_dim**-0.5).softmax(dim=-1)
        out = (weights @ v).transpose(1, 2).reshape(-1, length, dim)
        return self.proj(out), weights[:, :, 0, 1:].mean(dim=1)


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class TokenSelection(nn.Module):
    """Keeps the class token and the best-scored others, in descending order of their scores.

    With `fuse_token` the others' sum, weighted with their scores as they are, comes last. Where all
    tokens are kept the sequence stays as it is, without a fused token.
    """

    def __init__(self, keep_rate: float, fuse_token: bool) -> None:
        super().__init__()
        self.keep_rate = keep_rate
        self.fuse_token = fuse_token

    def forward(self, x: Tensor, scores: Tensor) -> Tensor:
        patches = x[:, 1:]
        kept = kept_tokens(patches.shape[1], self.keep_rate)
        if kept == patches.shape[1]:
            return x
        index = scores.topk(kept, dim=1).indices
        rows = index.unsqueeze(-1).expand(-1, -1, x.shape[2])
        parts = [x[:, :1], patches.gather(1, rows)]
        if self.fuse_token:
            dropped = scores.scatter(1, index, 0.0)
            parts.append(dropped.unsqueeze(1) @ patches)
        return torch.cat(parts, dim=1)


class Block(nn.Module):
    """Attention, selection of tokens where the keep rate is below 1, feed-forward."""

    def __init__(
        self, dim: int, keep_rate: float, fuse_token: bool, head_dim: int = HEAD_DIM
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, head_dim)
        self.select = TokenSelection(keep_rate, fuse_token) if keep_rate < 1 else None
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        attended, scores = self.attn(self.norm1(x))
        x = x + attended
        if self.select is not None:
            x = self.select(x, scores)
        return x + self.mlp(self.norm2(x))


class EViT(nn.Module):
    """Input [B, 3, H, W] float, H and W multiples of 16; output logits [B, num_classes]."""

    def __init__(self, arch: Architecture, rates: Sequence[float], num_classes: int = 1000) -> None:
        super().__init__()
        self.grid = arch.image_size // PATCH
        self.cls_token = nn.Parameter(torch.zeros(1, 1, arch.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, arch.dim))
        self.patch_embed = PatchEmbedding(arch.dim)
        self.blocks = nn.Sequential(
            *(Block(arch.dim, rate, arch.fuse_token, arch.head_dim) for rate in rates)
        )
        self.norm = nn.LayerNorm(arch.dim, eps=1e-6)
        self.head = nn.Linear(arch.dim, num_classes)

    def positions(self, height: int, width: int) -> Tensor:
        """Position embeddings of `height` x `width` patches, resized bicubically if need be."""
        if (height, width) == (self.grid, self.grid):
            return self.pos_embed
        return resized_positions(self.pos_embed, self.grid, (height, width))

    def adapt_checkpoint(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights trained at another picture size: their position embeddings, resized."""
        given = state.get("pos_embed")
        if given is None or given.ndim != 3 or given.shape == self.pos_embed.shape:
            return dict(state)
        grid = math.isqrt(given.shape[1] - 1)
        if grid**2 != given.shape[1] - 1 or given.shape[::2] != self.pos_embed.shape[::2]:
            return dict(state)
        resized = resized_positions(given.float(), grid, (self.grid, self.grid))
        return {**state, "pos_embed": resized}

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        check_patches(height, width)
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        x = self.blocks(x + self.positions(height // PATCH, width // PATCH))
        return self.head(self.norm(x)[:, 0])


def check_patches(height: int, width: int) -> None:
    """Raise ModelOptionError where pictures of these sizes, in pixels, are not whole patches."""
    if height % PATCH or width % PATCH:
        raise ModelOptionError(
            f"images of {height}x{width} pixels are not whole patches of {PATCH}x{PATCH}",
            remedy=f"height and width that are multiples of {PATCH}",
        )


def check_rate(value: object, where: str) -> None:
    """Raise ModelOptionError unless `value` is a number in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ModelOptionError(
            f"keep rate {value!r} is not in (0, 1]", where=where, remedy="1.0 keeps all tokens"
        )


def check_blocks(blocks: object, depth: int, where: str) -> None:
    """Raise ModelOptionError unless `blocks` are different block numbers from 0 to depth - 1."""
    numbers = tuple(blocks) if isinstance(blocks, Sequence) else (blocks,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < depth:
            raise ModelOptionError(
                f"there is no block {number!r}", where=where, remedy=f"blocks 0 to {depth - 1}"
            )
    if not isinstance(blocks, Sequence) or len(set(numbers)) < len(numbers):
        raise ModelOptionError(f"{blocks!r} is no list of different blocks", where=where)


def block_rates(arch: Architecture, where: str) -> tuple[float, ...]:
    """The keep rate of every block, or ModelOptionError where `arch` states none."""
    if isinstance(arch.keep_rate, Sequence) and not isinstance(arch.keep_rate, str):
        if len(arch.keep_rate) != arch.depth:
            raise ModelOptionError(
                f"{len(arch.keep_rate)} keep rates for {arch.depth} blocks",
                where=where,
                remedy="one number, or one for each block",
            )
        if arch.drop_loc is not None:
            raise ModelOptionError(
                "drop_loc cannot go with a keep rate for each block",
                where=where,
                remedy="a keep rate of 1.0 in the blocks that drop nothing",
            )
        for rate in arch.keep_rate:
            check_rate(rate, where)
        return tuple(arch.keep_rate)
    check_rate(arch.keep_rate, where)
    blocks = DROP_LOC if arch.drop_loc is None else arch.drop_loc
    check_blocks(blocks, arch.depth, where)
    return tuple(arch.keep_rate if i in blocks else 1.0 for i in range(arch.depth))


def create(name: str, num_classes: int = 1000, **options: object) -> EViT:
    """The variant `name`, weights as torch initialises.

    Options: `keep_rate` (a number, or one for each block), `drop_loc`, `fuse_token`.
    """
    known = ("keep_rate", "drop_loc", "fuse_token")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ModelOptionError(
            f"{name} has no option {unknown[0]!r}", where=name, remedy=f"one of {', '.join(known)}"
        )
    arch = replace(ARCHITECTURES[name], **options)  # type: ignore[arg-type]
    if not isinstance(arch.fuse_token, bool):
        raise ModelOptionError(f"fuse_token is true or false, not {arch.fuse_token!r}", where=name)
    return EViT(arch, block_rates(arch, name), num_classes)
