"""MSA-Conv, attention inside a convolution's window (Zhang et al., arXiv 2310.04134), and TiC.

`tic_layer_*` is the published layer, exactly. `tic_tiny` and `tic_small` are this project's own
reading: the paper names cyclic shifts in several directions and inter-pooling, but no network was
published. Their composition, sizes and state_dict keys are ours, and there are no checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig, nano_config
from .errors import ModelOptionError
from .options import check_kinds
from .pooling import pool_to_grid

_SOURCE = "arXiv 2310.04134, github.com/StriveZs/MSA-Conv"
_STEM_STRIDE = 4


@dataclass(frozen=True)
class Layer:
    """One MSA-Conv; pairs are (height, width). `dilation` spreads the attended window only,
    `stride`, `padding` and `bias` belong to the convolution that follows the attention."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] = (1, 1)
    bias: bool = False


@dataclass(frozen=True)
class Architecture:
    """Widths and depths of the stages, and how their blocks look beyond their window.

    `shifts` are in pixels of the stage's map; every second block is shifted. `pools` are the sides
    of the square grids of pooled keys, 0 for none.
    """

    dims: tuple[int, ...] = (48, 96, 192, 384)
    depths: tuple[int, ...] = (2, 2, 4, 2)
    kernels: tuple[int, ...] = (3, 3, 3, 3)
    shifts: tuple[int, ...] = (14, 7, 4, 2)
    pools: tuple[int, ...] = (4, 4, 4, 2)
    mlp_ratio: int = 2


LAYERS = {
    "tic_layer_c64_k3": Layer(64, 64),
    "tic_layer_c64_k3_s2": Layer(64, 128, stride=2),
    "tic_layer_c96_k5_d2": Layer(96, 96, (5, 5), dilation=2, padding=(2, 2)),
    "tic_layer_c128_k7": Layer(128, 128, (7, 7), padding=(3, 3)),
    "tic_layer_c32_k5x1": Layer(32, 48, (5, 1), dilation=2, padding=(2, 0), bias=True),
    "tic_layer_c256_k3": Layer(256, 256),
}
_LAYER_SIZES = ((56, 56), (56, 56), (28, 28), (28, 28), (20, 24), (14, 14))
ARCHITECTURES = {
    "tic_tiny": Architecture(),
    "tic_small": Architecture((64, 128, 256, 512), (2, 2, 6, 2)),
    "tic_nano": Architecture((32, 48, 64), (2, 2, 2), (3, 3, 3), (4, 2, 1), (4, 2, 2)),
}

# A layer has no classes: its `num_classes` are the channels of the map that it returns.
CONFIGS = (
    {
        name: ModelConfig(
            name=name,
            family="tic",
            image_size=size,
            minimum_size=1,
            num_classes=layer.out_channels,
            in_channels=layer.in_channels,
            source=_SOURCE,
        )
        for (name, layer), size in zip(LAYERS.items(), _LAYER_SIZES, strict=True)
    }
    | {
        name: ModelConfig(name=name, family="tic", minimum_size=32, source="this project's reading")
        for name in ARCHITECTURES
    }
    | {"tic_nano": nano_config("tic_nano", "tic", minimum_size=32)}
)

# Attention maps of seeded weights should be far from uniform, and the stream must not grow.
INIT_GAINS = (
    (r"qkv_conv\.weight$", 1.4),
    (r"(\.norm_out|\.ffn\.4)\.weight$", 0.3),
)


class MSAConv2d(nn.Module):
    """[B, C, H, W] to [B, D, H', W']: y = relu(conv(x + attention)), one head over a window.

    A pixel attends to the kernel's places around it. Places outside the map are not masked: their
    keys and values are zero, so they take a share of the softmax and give nothing.
    With `shift`, a quarter of the channels each has its keys and values rolled up, down, left and
    right by as many pixels first; with `pool`, a grid of averaged keys and values joins the window
    in the same softmax. Both are additions of ours, without parameters.
    """

    def __init__(self, layer: Layer, *, shift: int = 0, pool: int = 0) -> None:
        super().__init__()
        channels = layer.in_channels
        self.kernel, self.dilation = layer.kernel, layer.dilation
        self.shift, self.pool, self.scale = shift, pool, channels**-0.5
        self.qkv_conv = nn.Conv2d(channels, 3 * channels, 1)
        self.mlp = nn.Conv2d(
            channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            layer.padding,
            bias=layer.bias,
        )

    def _rolled(self, x: Tensor) -> Tensor:
        if not self.shift:
            return x
        ways = ((-self.shift, 0), (self.shift, 0), (0, -self.shift), (0, self.shift))
        groups = x.tensor_split(len(ways), dim=1)
        rolled = [torch.roll(g, way, (2, 3)) for g, way in zip(groups, ways, strict=True)]
        return torch.cat(rolled, dim=1)

    def _windows(self, x: Tensor) -> list[Tensor]:
        """The map seen from each place of the kernel, row by row: slices of one padded map."""
        height, width = x.shape[2:]
        step, (rows, columns) = self.dilation, self.kernel
        top, left = step * (rows - 1) // 2, step * (columns - 1) // 2
        padded = F.pad(self._rolled(x), (left, left, top, top))
        return [
            padded[:, :, i * step : i * step + height, j * step : j * step + width]
            for i in range(rows)
            for j in range(columns)
        ]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * self.scale
        logits = [(q * key).sum(dim=1, keepdim=True) for key in self._windows(k)]
        near = len(logits)
        if self.pool:
            keys = pool_to_grid(k, self.pool, self.pool).flatten(2)
            far = keys.transpose(1, 2) @ q.flatten(2)
            logits.append(far.reshape(-1, self.pool**2, *q.shape[2:]))
        weights = torch.cat(logits, dim=1).softmax(dim=1)
        places = weights[:, :near].split(1, dim=1)
        parts = [w * value for w, value in zip(places, self._windows(v), strict=True)]
        out = parts[0]
        for part in parts[1:]:
            out = out + part
        if self.pool:
            values = pool_to_grid(v, self.pool, self.pool).flatten(2)
            out = out + (values @ weights[:, near:].flatten(2)).reshape(v.shape)
        return out

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv_conv(x).chunk(3, dim=1)
        return F.relu(self.mlp(x + self._attend(q, k, v)))


class Block(nn.Module):
    """MSA-Conv between BatchNorms, then two pointwise convolutions: each a residual."""

    def __init__(self, dim: int, kernel: int, mlp_ratio: int, *, shift: int, pool: int) -> None:
        super().__init__()
        layer = Layer(dim, dim, (kernel, kernel), padding=(kernel // 2, kernel // 2))
        self.norm_in = nn.BatchNorm2d(dim)
        self.msa_conv = MSAConv2d(layer, shift=shift, pool=pool)
        self.norm_out = nn.BatchNorm2d(dim)
        self.ffn = nn.Sequential(
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, mlp_ratio * dim, 1),
            nn.GELU(),
            nn.Conv2d(mlp_ratio * dim, dim, 1, bias=False),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm_out(self.msa_conv(self.norm_in(x)))
        return x + self.ffn(x)


def _halve(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after)]


class TiC(nn.Module):
    """Input [B, 3, H, W] float, H and W at least 32; output logits [B, num_classes]."""

    def __init__(self, arch: Architecture, num_classes: int = 1000) -> None:
        super().__init__()
        dims = arch.dims
        self.stem = nn.Sequential(
            *_halve(3, dims[0] // 2), nn.GELU(), *_halve(dims[0] // 2, dims[0])
        )
        self.downsample = nn.ModuleList(nn.Sequential(*_halve(a, b)) for a, b in pairwise(dims))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    Block(dim, kernel, arch.mlp_ratio, shift=shift * (index % 2), pool=pool)
                    for index in range(depth)
                )
            )
            for dim, depth, kernel, shift, pool in zip(
                dims, arch.depths, arch.kernels, arch.shifts, arch.pools, strict=True
            )
        )
        self.norm = nn.BatchNorm2d(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[0](self.stem(x))
        for down, stage in zip(self.downsample, self.stages[1:], strict=True):
            x = stage(down(x))
        return self.head(self.norm(x).mean((2, 3)))


def _check_kernel(kernel: object, where: str) -> None:
    sides = kernel if isinstance(kernel, tuple | list) else (kernel,)
    if not all(isinstance(side, int) and side > 0 and side % 2 for side in sides):
        raise ModelOptionError(
            f"MSA-Conv needs an odd kernel, not {kernel!r}",
            where=where,
            remedy="3, 5 or 7, so that a window has a middle",
        )


def _check_layer(layer: Layer, num_classes: int, where: str) -> None:
    for field in ("kernel", "padding"):
        value = getattr(layer, field)
        if len(value) != 2:
            raise ModelOptionError(
                f"{field} needs 2 values, not {value!r}",
                where=where,
                remedy=f"height and width, as in {field}=[3,3]",
            )
    _check_kernel(layer.kernel, where)
    if min(layer.in_channels, layer.out_channels, layer.stride, layer.dilation) < 1:
        raise ModelOptionError(
            "channels, stride and dilation must be positive", where=where, remedy="1 or more"
        )
    if min(layer.padding) < 0:
        raise ModelOptionError(
            f"padding {layer.padding!r} must not be negative", where=where, remedy="0 or more"
        )
    if num_classes != layer.out_channels:
        raise ModelOptionError(
            f"{where} has no classes: it returns a map of {layer.out_channels} channels",
            where=where,
            remedy="the option out_channels together with the same num_classes",
        )


def _check_network(arch: Architecture, where: str) -> None:
    for field in ("dims", "depths", "kernels", "shifts", "pools"):
        value = getattr(arch, field)
        if len(value) != len(arch.dims):
            raise ModelOptionError(
                f"{field} needs one value per stage, not {value!r}",
                where=where,
                remedy=f"{len(arch.dims)} values, as many as dims has",
            )
    for kernel in arch.kernels:
        _check_kernel(kernel, where)
    if min(arch.dims) < _STEM_STRIDE or min(arch.depths) < 1 or arch.mlp_ratio < 1:
        raise ModelOptionError(
            f"dims {arch.dims!r}, depths {arch.depths!r} make no network",
            where=where,
            remedy=f"dims of at least {_STEM_STRIDE}, positive depths and mlp_ratio",
        )
    if min(*arch.shifts, *arch.pools) < 0:
        raise ModelOptionError(
            "shifts and pools must not be negative", where=where, remedy="0 for none"
        )


def create(name: str, num_classes: int = 1000, **options: object) -> nn.Module:
    """The variant `name`, weights as torch initialises; `options` replace `Layer` fields of a
    layer, `Architecture` fields of a network."""
    facts: Layer | Architecture = {**LAYERS, **ARCHITECTURES}[name]
    known = facts.__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ModelOptionError(
            f"{name} has no option {unknown[0]!r}", where=name, remedy=f"one of {', '.join(known)}"
        )
    published, facts = facts, replace(facts, **options)  # type: ignore[arg-type]
    check_kinds(facts, published, name)
    if isinstance(facts, Layer):
        _check_layer(facts, num_classes, name)
        return MSAConv2d(facts)
    _check_network(facts, name)
    return TiC(facts, num_classes)
