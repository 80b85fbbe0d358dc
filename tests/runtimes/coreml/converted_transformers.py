"""Small token networks: attention in several spellings, mixers, pooling and a recurrent head."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from converted_models import ChannelsLast, Residual, conv_bn, head
from torch import Tensor, nn
from torch.nn import functional


class Tokens(nn.Module):
    """Patches as tokens [n, count, width] with learned places, behind a class token."""

    def __init__(self, width: int, patch: int, count: int, *, first: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.first = nn.Parameter(torch.randn(1, 1, width)) if first else None
        self.places = nn.Parameter(torch.randn(1, count + first, width))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.first is not None:
            tokens = torch.cat([self.first.expand(x.shape[0], -1, -1), tokens], dim=1)
        return tokens + self.places


def perceptron(width: int, act: nn.Module) -> nn.Module:
    """Widened and narrowed again, added to the input."""
    return Residual(
        nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), act, nn.Linear(3 * width, width)
        )
    )


class GeluTanh(nn.Module):
    """The approximate gelu written out, since a converter may take the module for the exact one."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1 + torch.tanh(inner))


class FirstToken(nn.Module):
    """A class per output, from the first token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.classes = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width] to [n, 10]."""
        return self.classes(self.norm(x)[:, 0])


class LibraryAttention(nn.Module):
    """The attention module of PyTorch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width]."""
        y = self.norm(x)
        return self.attention(y, y, y, need_weights=False)[0]


class JointAttention(nn.Module):
    """Queries, keys and values from one product, as timm writes it."""

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width]."""
        n, count, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, count, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
            mixed = scores.softmax(dim=-1) @ value
        return self.project(mixed.transpose(1, 2).reshape(n, count, width))


def vit() -> nn.Module:
    """PyTorch's own attention."""
    block = nn.Sequential(Residual(LibraryAttention(16)), perceptron(16, nn.GELU()))
    return nn.Sequential(Tokens(16, 8, 16), block, FirstToken(16))


def deit(*, fused: bool = False) -> nn.Module:
    """timm's attention, with the approximate gelu."""
    blocks = [
        nn.Sequential(Residual(JointAttention(16, 2, fused=fused)), perceptron(16, GeluTanh()))
        for _ in range(2)
    ]
    return nn.Sequential(Tokens(16, 8, 16), *blocks, FirstToken(16))


def fused_deit() -> nn.Module:
    """The same, asking PyTorch for the whole attention."""
    return deit(fused=True)


class Window(nn.Module):
    """Attention within shifted windows of a frame, with a bias by relative place and a mask."""

    def __init__(self, width: int, heads: int, side: int, frame: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift, self.heads, self.frame = side, shift, heads, frame
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads))
        grid = torch.stack(torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij")).flatten(1)
        apart = grid[:, :, None] - grid[:, None, :] + side - 1
        self.register_buffer("index", apart[0] * (2 * side - 1) + apart[1])
        zone = torch.zeros(1, frame, frame, 1)
        zone[:, -shift:] += 1
        zone[:, :, -shift:] += 2
        own = self.windows(zone).squeeze(-1)
        apart_zones = own[:, None, :] != own[:, :, None]
        self.register_buffer("mask", torch.where(apart_zones, -100.0, 0.0))

    def windows(self, x: Tensor) -> Tensor:
        """[n, frame, frame, c] to [n * windows, side * side, c]."""
        n, c, count = x.shape[0], x.shape[-1], self.frame // self.side
        cut = x.reshape(n, count, self.side, count, self.side, c).permute(0, 1, 3, 2, 4, 5)
        return cut.reshape(n * count * count, self.side**2, c)

    def forward(self, x: Tensor) -> Tensor:
        """[n, frame, frame, c]."""
        n, c, count = x.shape[0], x.shape[-1], self.frame // self.side
        own = self.windows(torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2)))
        parts = self.qkv(own).reshape(own.shape[0], -1, 3, self.heads, c // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) * (c // self.heads) ** -0.5
        bias = self.table[self.index.view(-1)].view(self.side**2, self.side**2, self.heads)
        scores = scores + bias.permute(2, 0, 1).unsqueeze(0)
        scores = scores + self.mask[:, None]
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(own.shape)
        joined = self.project(mixed).reshape(n, count, count, self.side, self.side, c)
        back = joined.permute(0, 1, 3, 2, 4, 5).reshape(n, self.frame, self.frame, c)
        return torch.roll(back, (self.shift, self.shift), (1, 2))


def swin() -> nn.Module:
    """One block of shifted windows on a frame of eight by eight."""
    block = ChannelsLast(Residual(Window(12, 2, 4, 8, 2)), perceptron(12, nn.GELU()))
    return nn.Sequential(nn.Conv2d(3, 12, 4, stride=4), block, head(12))


class Pooled(nn.Module):
    """The difference from the neighbourhood takes the place of attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w]."""
        y = self.norm(x)
        return self.pool(y) - y


def poolformer() -> nn.Module:
    """Pooling as the mixer of tokens."""
    block = nn.Sequential(
        Residual(Pooled(12)),
        Residual(
            nn.Sequential(
                nn.GroupNorm(1, 12), nn.Conv2d(12, 24, 1), nn.GELU(), nn.Conv2d(24, 12, 1)
            )
        ),
    )
    return nn.Sequential(nn.Conv2d(3, 12, 7, stride=4, padding=2), block, head(12))


class Across(nn.Module):
    """Layers that see the tokens as the last dimension."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width]."""
        return self.layers(self.norm(x).transpose(1, 2)).transpose(1, 2)


class MeanToken(nn.Module):
    """A class per output, from the mean of the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.classes = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width] to [n, 10]."""
        return self.classes(self.norm(x).mean(dim=1))


def mixer() -> nn.Module:
    """Perceptrons across tokens and across channels in turn."""
    block = nn.Sequential(Residual(Across(16, 16)), perceptron(16, nn.GELU()))
    return nn.Sequential(Tokens(16, 8, 16, first=False), block, MeanToken(16))


class Reader(nn.Module):
    """The columns of a frame, read as a sequence in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, nn.ReLU(), stride=4)
        self.lstm = nn.LSTM(8, 12, bidirectional=True, batch_first=True)
        self.second = nn.LSTM(24, 6, batch_first=True)
        self.classes = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, w / 4, 10]."""
        columns = self.stem(x).mean(dim=2).transpose(1, 2)
        return self.classes(self.second(self.lstm(columns)[0])[0]).log_softmax(dim=-1)


TOKEN: dict[str, Callable[[], nn.Module]] = {
    "vit": vit,
    "deit": deit,
    "fused_deit": fused_deit,
    "swin": swin,
    "poolformer": poolformer,
    "mixer": mixer,
    "reader": Reader,
}
