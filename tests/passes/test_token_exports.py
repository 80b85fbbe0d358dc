"""Transformer blocks as authors write and exporters export them all give the same operators."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest
import torch
from rewriting import compute, counts, distance, random_feeds
from torch import Tensor, nn

from attnc.compiler.pipeline import run_pipeline
from attnc.passes import pipelines

C, TOKENS, CLASSES = 24, 7, 5


class ErfGelu(nn.Module):
    """GELU written out, as BERT has it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5 * (1.0 + torch.erf(x / 2.0**0.5))


class PlainNorm(nn.Module):
    """LayerNorm written out."""

    def __init__(self) -> None:
        super().__init__()
        self.g, self.b = nn.Parameter(torch.randn(C)), nn.Parameter(torch.randn(C))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).pow(2).mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-6) * self.g + self.b


def layer_norm() -> nn.Module:
    """With an affine part that is not the identity."""
    norm = nn.LayerNorm(C, eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


class Block(nn.Module):
    """x + s1 f(norm(x)) with f linear, then the feed-forward block with scale s2."""

    def __init__(self, norm: Callable[[], nn.Module], act: nn.Module, scale: str) -> None:
        super().__init__()
        self.norm1, self.norm2, self.act, self.scale = norm(), norm(), act, scale
        self.mix, self.proj = nn.Linear(C, 2 * C, bias=scale != "none"), nn.Linear(2 * C, C)
        self.fc1, self.fc2 = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.gamma = nn.Parameter(torch.randn(C))

    def scaled(self, x: Tensor) -> Tensor:
        if self.scale == "layer":
            return self.gamma * x
        return x / 2.0 if self.scale == "half" else x

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scaled(self.proj(torch.tanh(self.mix(self.norm1(x)))))
        return x + self.scaled(self.fc2(self.act(self.fc1(self.norm2(x)))))


class Flat(nn.Module):
    """The feed-forward block on rows, as authors of mixtures write it."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.reshape(-1, C)).reshape(x.shape)


class Network(nn.Module):
    """Two blocks, the first token, the head."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks, self.norm = nn.Sequential(*blocks), layer_norm()
        self.head = nn.Linear(C, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(x)[:, 0]))


AUTHORS: dict[str, Callable[[], list[nn.Module]]] = {
    "usual": lambda: [Block(layer_norm, nn.GELU(), "none") for _ in "12"],
    "layer_scale": lambda: [Block(layer_norm, nn.GELU(), "layer") for _ in "12"],
    "halved": lambda: [Block(layer_norm, ErfGelu(), "half") for _ in "12"],
    "written_out": lambda: [Block(PlainNorm, ErfGelu(), "layer") for _ in "12"],
    "flat": lambda: [Flat(Block(layer_norm, nn.GELU(), "none")) for _ in "12"],
}
EXPORTERS = ("dynamo18", "dynamo23", "script14", "script17")


def export(author: str, exporter: str) -> ir.Model:
    """The network as ONNX, batch 2."""
    file, opset = io.BytesIO(), int(exporter[-2:])
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        network, example = Network(*AUTHORS[author]()).eval(), torch.zeros(2, TOKENS, C)
        if exporter.startswith("dynamo"):
            program = torch.onnx.export(
                network, (example,), dynamo=True, opset_version=opset, verbose=False
            )
            file.write(program.model_proto.SerializeToString())
        else:
            torch.onnx.export(network, (example,), file, dynamo=False, opset_version=opset)
    return ir.serde.deserialize_model(onnx.load_from_string(file.getvalue()))


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("author", AUTHORS)
def test_every_spelling(author: str, exporter: str) -> None:
    model, original = export(author, exporter), export(author, exporter)
    run_pipeline(model, pipelines.default())
    feeds = random_feeds(original, 2)
    assert distance(compute(model, feeds), compute(original, feeds)) <= 2e-5
    moves = ("Reshape", "Gather", "Squeeze", "Slice", "Flatten")
    kept = {name: count for name, count in counts(model).items() if name not in moves}
    assert kept == {"NormLinear": 3, "Tanh": 2, "LinearAdd": 2, "Mlp": 2}
