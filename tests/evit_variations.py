"""A second EViT, structured as other people write it, that takes the published state_dict.

Each `Habits` field is one thing authors differ in: how q, k, v are cut out, how the dropped
tokens are found and summed; never the function.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Habits:
    """cut: unbind, index, chunk. dropped: sort, zeroed, masked."""

    cut: str = "index"
    dropped: str = "sort"
    sort_permutes: bool = True


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, keep: float, habits: Habits) -> None:
        super().__init__()
        self.heads, self.scale, self.keep, self.habits = heads, (dim // heads) ** -0.5, keep, habits
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, dim = x.shape
        if self.habits.cut == "chunk":
            parts = self.qkv(x).chunk(3, dim=-1)
            q, k, v = (p.view(batch, tokens, self.heads, -1).transpose(1, 2) for p in parts)
            return q, k, v
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        return qkv.unbind(0) if self.habits.cut == "unbind" else (qkv[0], qkv[1], qkv[2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        batch, tokens, dim = x.shape
        q, k, v = self.parts(x)
        attn = (q @ k.transpose(-2, -1)) * self.scale
        attn = self.attn_drop(attn.softmax(dim=-1))
        out = (attn @ v).transpose(1, 2).reshape(batch, tokens, dim)
        out = self.proj_drop(self.proj(out))
        left = math.ceil(self.keep * (tokens - 1))
        if self.keep == 1 or left == tokens - 1:
            return out, None, None
        scores = attn[:, :, 0, 1:].mean(dim=1)
        _, index = torch.topk(scores, left, dim=1, largest=True, sorted=True)
        return out, scores, index


def complement(index: Tensor, count: int, permutes: bool) -> Tensor:
    """The numbers below `count` that a row of `index` lacks: zeros written over, then sorted."""
    numbers = torch.arange(count, device=index.device).unsqueeze(0).expand(index.shape[0], -1)
    rest, _ = torch.sort(torch.scatter(numbers, -1, index, 0), dim=-1, descending=False)
    if permutes:
        return rest.permute(-1, 0)[index.shape[1] :].permute(1, 0)
    return rest[:, index.shape[1] :]


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, keep: float, fuse: bool, habits: Habits) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, keep, habits)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        self.fuse, self.habits = fuse, habits

    def rows(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.gather(x, dim=1, index=index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

    def fused(self, others: Tensor, scores: Tensor, index: Tensor) -> Tensor:
        if self.habits.dropped == "zeroed":
            return (scores.scatter(1, index, 0.0).unsqueeze(-1) * others).sum(1, keepdim=True)
        if self.habits.dropped == "masked":
            mask = torch.ones_like(scores).scatter(1, index, 0.0)
            return (scores * mask).unsqueeze(1) @ others
        rest = complement(index, others.shape[1], self.habits.sort_permutes)
        dropped = self.rows(others, rest)
        weights = torch.gather(scores, dim=1, index=rest)
        return torch.sum(dropped * weights.unsqueeze(-1), dim=1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        out, scores, index = self.attn(self.norm1(x))
        x = x + out
        if scores is not None:
            others = x[:, 1:]
            parts = [x[:, 0:1], self.rows(others, index)]
            if self.fuse:
                parts.append(self.fused(others, scores, index))
            x = torch.cat(parts, dim=1)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Patches(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Variation(nn.Module):
    """An EViT of this width, side in patches, and keep rate of each block."""

    def __init__(self, dim: int, side: int, rates, fuse: bool, habits: Habits, classes=10) -> None:
        super().__init__()
        self.patch_embed = Patches(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, side * side + 1, dim))
        self.pos_drop = nn.Dropout(0.0)
        self.blocks = nn.ModuleList(Block(dim, dim // 64, rate, fuse, habits) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.pos_drop(x + self.pos_embed)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def export(model: nn.Module, size: int, exporter: str, opset: int, batch: int | str) -> bytes:
    """The ONNX file; batch "dynamic" or a number."""
    file, dynamic = io.BytesIO(), batch == "dynamic"
    example = torch.zeros(2 if dynamic else int(batch), 3, size, size)
    names = {"input_names": ["input"], "output_names": ["logits"], "opset_version": opset}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
            program = torch.onnx.export(
                model, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False, **names
            )
            return program.model_proto.SerializeToString()
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if dynamic else None
        torch.onnx.export(model, (example,), file, dynamo=False, dynamic_axes=axes, **names)
    return file.getvalue()


def export_tokens(model: nn.Module, shape: tuple[int, ...], exporter: str) -> bytes:
    """The ONNX file of a network on tokens, opset 20 of the one exporter or 17 of the other."""
    file, example = io.BytesIO(), (torch.zeros(shape),)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            program = torch.onnx.export(
                model, example, dynamo=True, opset_version=20, verbose=False
            )
            return program.model_proto.SerializeToString()
        torch.onnx.export(model, example, file, dynamo=False, opset_version=17)
    return file.getvalue()
