"""SHViT S1-S4 (Yun and Ro, CVPR 2024, arXiv 2401.16456): one attention head on some channels.

Written from the paper's description, with the state_dict keys of the released checkpoints. No
parameter depends on the input size; feature maps may be odd or unequal in height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import ModelConfig, nano_config
from .errors import ModelOptionError


@dataclass(frozen=True)
class Architecture:
    """Widths and depths of the three stages; stages of type "i" have no attention, "s" have it."""

    embed_dim: tuple[int, int, int]
    depth: tuple[int, int, int]
    partial_dim: tuple[int, int, int]
    types: tuple[str, str, str] = ("i", "s", "s")
    qk_dim: int = 16


ARCHITECTURES = {
    "shvit_s1": Architecture((128, 224, 320), (2, 4, 5), (32, 48, 68)),
    "shvit_s2": Architecture((128, 308, 448), (2, 4, 5), (32, 66, 96)),
    "shvit_s3": Architecture((192, 352, 448), (3, 5, 5), (48, 75, 96)),
    "shvit_s4": Architecture((224, 336, 448), (4, 7, 6), (48, 72, 96)),
    # At 64x64 the stages have 16, 4 and 1 pixels: attention where there is something to attend to.
    "shvit_nano": Architecture((48, 64, 96), (2, 2, 1), (16, 16, 24), ("s", "s", "i")),
}

_SIZES = {"shvit_s4": (256, 256)}
CONFIGS = {
    name: ModelConfig(
        name=name,
        family="shvit",
        image_size=_SIZES.get(name, (224, 224)),
        source="arXiv 2401.16456, github.com/ysj9909/SHViT",
    )
    for name in ARCHITECTURES
} | {"shvit_nano": nano_config("shvit_nano", "shvit")}

# Residual branches end in a small BatchNorm, or the stream doubles its variance at each of ~40
# additions; q, k and v are larger, so that attention maps of seeded weights are far from uniform.
INIT_GAINS = (
    (r"(\.m\.bn|\.pw2\.bn|\.proj\.1\.bn)\.weight$", 0.3),
    (r"\.qkv\.bn\.weight$", 1.6),
    (r"\.c\.weight$", 1.4),
)


class ConvBN(nn.Module):
    """Convolution without bias, then BatchNorm."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))


class Residual(nn.Module):
    """x + m(x)."""

    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        return x + self.m(x)


class FeedForward(nn.Module):
    """Two pointwise convolutions with a ReLU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.pw1 = ConvBN(dim, hidden)
        self.act = nn.ReLU()
        self.pw2 = ConvBN(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw2(self.act(self.pw1(x)))


class SingleHeadAttention(nn.Module):
    """One head over the first `partial_dim` channels; the others go straight to the projection."""

    def __init__(self, dim: int, qk_dim: int, partial_dim: int) -> None:
        super().__init__()
        self.scale = qk_dim**-0.5
        self.partial = [partial_dim, dim - partial_dim]
        self.parts = [qk_dim, qk_dim, partial_dim]
        self.pre_norm = nn.GroupNorm(1, partial_dim)
        self.qkv = ConvBN(partial_dim, sum(self.parts))
        self.proj = nn.Sequential(nn.ReLU(), ConvBN(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        attended, rest = x.split(self.partial, dim=1)
        q, k, v = self.qkv(self.pre_norm(attended)).flatten(2).split(self.parts, dim=1)
        scores = (q.transpose(1, 2) @ k) * self.scale
        out = v @ scores.softmax(dim=-1).transpose(1, 2)
        out = out.reshape(batch, self.partial[0], height, width)
        return self.proj(torch.cat([out, rest], dim=1))


class Block(nn.Module):
    """Depthwise convolution, attention (or nothing), feed-forward: each a residual."""

    def __init__(self, dim: int, arch: Architecture, partial_dim: int, kind: str) -> None:
        super().__init__()
        self.conv = Residual(ConvBN(dim, dim, 3, groups=dim))
        if kind == "s":
            self.mixer: nn.Module = Residual(SingleHeadAttention(dim, arch.qk_dim, partial_dim))
        else:
            self.mixer = nn.Identity()
        self.ffn = Residual(FeedForward(dim, 2 * dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn(self.mixer(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the mean over space."""

    def __init__(self, dim: int, reduced: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, reduced, 1)
        self.act = nn.ReLU()
        self.fc2 = nn.Conv2d(reduced, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class PatchMerging(nn.Module):
    """Inverted bottleneck of stride 2 with squeeze-and-excite, between stages."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        hidden = 4 * dim
        self.conv1 = ConvBN(dim, hidden)
        self.act = nn.ReLU()
        self.conv2 = ConvBN(hidden, hidden, 3, stride=2, groups=hidden)
        # A quarter of the hidden width, rounded (half up) to a multiple of 8: 308 gives 312.
        self.se = SqueezeExcite(hidden, (dim + 4) // 8 * 8)
        self.conv3 = ConvBN(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(x))
        return self.conv3(self.se(self.act(self.conv2(x))))


class Classifier(nn.Module):
    """BatchNorm, then a linear layer."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(dim)
        self.l = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.l(self.bn(x))


def _conv_and_ffn(dim: int) -> nn.Sequential:
    return nn.Sequential(
        Residual(ConvBN(dim, dim, 3, groups=dim)), Residual(FeedForward(dim, 2 * dim))
    )


def _stem(dim: int) -> nn.Sequential:
    widths = [3, dim // 8, dim // 4, dim // 2, dim]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [ConvBN(before, after, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class SHViT(nn.Module):
    """Input [B, 3, H, W] float, H and W at least 64; output logits [B, num_classes]."""

    def __init__(self, arch: Architecture, num_classes: int = 1000) -> None:
        super().__init__()
        dims = arch.embed_dim
        self.patch_embed = _stem(dims[0])
        for stage, dim in enumerate(dims):
            layers: list[nn.Module] = []
            if stage:
                before = dims[stage - 1]
                layers += [_conv_and_ffn(before), PatchMerging(before, dim), _conv_and_ffn(dim)]
            layers += [
                Block(dim, arch, arch.partial_dim[stage], arch.types[stage])
                for _ in range(arch.depth[stage])
            ]
            setattr(self, f"blocks{stage + 1}", nn.Sequential(*layers))
        self.head = Classifier(dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = self.blocks3(self.blocks2(self.blocks1(x)))
        return self.head(x.mean((2, 3)))


def _check(arch: Architecture, where: str) -> None:
    for field in ("embed_dim", "depth", "partial_dim", "types"):
        value = getattr(arch, field)
        if not isinstance(value, Sequence) or len(value) != 3:
            raise ModelOptionError(f"{field} needs three values, not {value!r}", where=where)
    if set(arch.types) - {"i", "s"}:
        raise ModelOptionError(f"types are 'i' or 's', not {arch.types!r}", where=where)
    if arch.embed_dim[0] % 8 or min(arch.embed_dim) < 8:
        raise ModelOptionError(
            f"embed_dim {arch.embed_dim!r}: the stem needs a multiple of 8", where=where
        )
    for dim, part, kind in zip(arch.embed_dim, arch.partial_dim, arch.types, strict=True):
        if kind == "s" and not 0 < part < dim:
            raise ModelOptionError(f"partial_dim {part} must lie between 0 and {dim}", where=where)


def create(name: str, num_classes: int = 1000, **options: object) -> SHViT:
    """The variant `name`, weights as torch initialises; `options` replace `Architecture` fields."""
    known = ARCHITECTURES[name].__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ModelOptionError(
            f"{name} has no option {unknown[0]!r}", where=name, remedy=f"one of {', '.join(known)}"
        )
    arch = replace(ARCHITECTURES[name], **options)  # type: ignore[arg-type]
    _check(arch, name)
    return SHViT(arch, num_classes)
