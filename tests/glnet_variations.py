"""A small GLNet in the habits of other authors: torch's own layers, maps all the way through.

`Variation` pools with adaptive_avg_pool2d, normalises with F.normalize, attends with
nn.MultiheadAttention and keeps maps channels first; `STYLES` names the exports that tests use.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cache

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE, CLASSES = 56, 10
SLOTS, WIDTH = 16, 32


@dataclass(frozen=True)
class Style:
    """What an author does, and how it is exported."""

    learned: bool = False
    depthwise: bool = False
    scale: str = "tokens"
    seq_first: bool = False
    exporter: str = "dynamo"
    opset: int = 20
    dynamic: bool = False


STYLES = {
    "plain": Style(),
    "dynamic": Style(dynamic=True),
    "opset18": Style(opset=18),
    "opset21": Style(opset=21),
    "opset23": Style(opset=23),
    "depthwise": Style(depthwise=True),
    "depthwise_opset18": Style(depthwise=True, opset=18),
    "scaled_slots": Style(scale="slots"),
    "scaled_logits": Style(scale="logits", dynamic=True),
    "seq_first": Style(seq_first=True),
    "learned": Style(learned=True),
    "learned_ts17": Style(learned=True, exporter="torchscript", opset=17),
    "learned_ts20_depthwise": Style(learned=True, depthwise=True, exporter="torchscript", opset=20),
}


class Norm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _depthwise(c: int, k: int) -> nn.Conv2d:
    return nn.Conv2d(c, c, k, padding=k // 2, groups=c)


class Mixing(nn.Module):
    """Slots and local convolutions, then a perceptron."""

    def __init__(self, c: int, style: Style) -> None:
        super().__init__()
        self.style, self.grid = style, int(SLOTS**0.5)
        self.scale = nn.Parameter(torch.tensor(6.0))
        self.init = nn.Parameter(torch.randn(1, SLOTS, c)) if style.learned else None
        self.norm1, self.norm2 = Norm(c, eps=1e-6), Norm(c, eps=1e-6)
        self.attention = nn.MultiheadAttention(c, c // 16, batch_first=not style.seq_first)
        self.local = nn.Sequential(nn.Conv2d(c, c, 1), _depthwise(c, 5), nn.Conv2d(c, c, 1))
        between = [Residual(_depthwise(2 * c, 3))] if style.depthwise else []
        self.mlp = nn.Sequential(
            nn.Conv2d(c, 2 * c, 1), *between, nn.GELU(), nn.Conv2d(2 * c, c, 1)
        )

    def slots(self, x: Tensor) -> Tensor:
        if self.init is not None:
            return self.init.expand(x.shape[0], -1, -1)
        pooled = F.adaptive_avg_pool2d(x, (self.grid, self.grid))
        return pooled.flatten(2).transpose(1, 2)

    def logits(self, slots: Tensor, tokens: Tensor) -> Tensor:
        slots, tokens = F.normalize(slots, dim=-1), F.normalize(tokens, dim=-1)
        if self.style.scale == "logits":
            return slots @ tokens.transpose(1, 2) * self.scale
        if self.style.scale == "slots":
            return (slots * self.scale) @ tokens.transpose(1, 2)
        return slots @ (self.scale * tokens.transpose(-1, -2))

    def relate(self, slots: Tensor) -> Tensor:
        if not self.style.seq_first:
            return self.attention(slots, slots, slots, need_weights=False)[0]
        slots = slots.transpose(0, 1)
        return self.attention(slots, slots, slots)[0].transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        slots, n = self.slots(x), self.norm1(x)
        tokens = n.flatten(2).transpose(1, 2)
        logits = self.logits(slots, tokens)
        slots = self.relate(logits.softmax(-1) @ tokens)
        far = (logits.transpose(-1, -2).softmax(-1) @ slots).permute(0, 2, 1).reshape_as(n)
        x = x + (far + self.local(n))
        return x + self.mlp(self.norm2(x))


class Variation(nn.Module):
    """Stem, one block on 14x14, BatchNorm, head."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, WIDTH, 4, 4), Mixing(WIDTH, style)
        self.norm, self.head = nn.BatchNorm2d(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.block(self.stem(x))).mean((2, 3)))


@cache
def network(name: str) -> nn.Module:
    """The seeded torch module of a style, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Variation(STYLES[name]).eval().requires_grad_(False)
        for norm in (model.block.norm1, model.block.norm2, model.norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
    return model


def export(name: str) -> ir.Model:
    """The ONNX model of a style."""
    style, model, file = STYLES[name], network(name), io.BytesIO()
    x = torch.zeros(2, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if style.exporter == "torchscript":
            torch.backends.mha.set_fastpath_enabled(False)  # has no ONNX form
            try:
                torch.onnx.export(model, (x,), file, dynamo=False, opset_version=style.opset)
            finally:
                torch.backends.mha.set_fastpath_enabled(True)
            return ir.serde.deserialize_model(onnx.load_from_string(file.getvalue()))
        shapes = ({0: torch.export.Dim.DYNAMIC},) if style.dynamic else None
        program = torch.onnx.export(
            model,
            (x,),
            dynamo=True,
            opset_version=style.opset,
            dynamic_shapes=shapes,
            verbose=False,
        )
    return ir.serde.deserialize_model(program.model_proto)
