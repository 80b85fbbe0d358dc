"""The whole pipeline on networks that are not SHViT: never a crash, never another result."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
from rewriting import compute, counts, distance, random_feeds
from torch import Tensor, nn

from attnc.compiler.pipeline import run_pipeline
from attnc.passes import pipelines


def _conv(a: int, b: int, k: int = 1, s: int = 1, g: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(b))


class Basic(nn.Module):
    """ResNet's block, BatchNorm before and after, a strided shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.a, self.b, self.short = _conv(8, 12, 3, 2), _conv(12, 12, 3), _conv(8, 12, 1, 2)
        self.pre = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.b(F.relu(self.a(x))) + self.short(x))
        return self.head(F.adaptive_avg_pool2d(F.relu(self.pre(x)), 1).flatten(1))


class Gate(nn.Module):
    """Squeeze-and-excite with any activations, by Linear layers if asked for."""

    def __init__(self, c: int, act: nn.Module, gate: nn.Module, linear: bool = False) -> None:
        super().__init__()
        self.linear, self.act, self.gate = linear, act, gate
        self.one = nn.Linear(c, 4) if linear else nn.Conv2d(c, 4, 1)
        self.two = nn.Linear(4, c) if linear else nn.Conv2d(4, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        s = x.mean((2, 3), keepdim=not self.linear)
        s = self.gate(self.two(self.act(self.one(s))))
        return s[:, :, None, None] * x if self.linear else x * s


class Mobile(nn.Module):
    """Inverted bottlenecks of several families side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 8, 3, 2), nn.Hardswish())
        kinds = [
            (nn.ReLU6(), nn.Identity()),
            (nn.Hardswish(), Gate(16, nn.ReLU(), nn.Hardsigmoid())),
            (nn.SiLU(), Gate(16, nn.SiLU(), nn.Sigmoid())),
            (nn.ReLU(), Gate(16, nn.ReLU(), nn.Sigmoid())),
            (nn.ReLU(), Gate(16, nn.ReLU(), nn.Sigmoid(), linear=True)),
        ]
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(8, 16), act, _conv(16, 16, 3, 1, 16), act, gate, _conv(16, 8))
            for act, gate in kinds
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return x.mean((-1, -2))


class Dense(nn.Module):
    """Concatenations, average pooling, BatchNorm before the activation; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(3 + 4 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return F.avg_pool2d(x, 2), x.amax((2, 3))


class Next(nn.Module):
    """ConvNeXt's block: channels last in the middle, a scale per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.dw, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
        self.a, self.b = nn.Linear(8, 32), nn.Linear(32, 8)
        self.gamma = nn.Parameter(torch.rand(8))
        self.last = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        x = x + (self.gamma * self.b(F.gelu(self.a(y)))).permute(0, 3, 1, 2)
        return self.last(x.mean((2, 3)))


class Transformer(nn.Module):
    """A class token, several heads, a fused and a separate attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 12, 8, 8), nn.Parameter(torch.rand(1, 1, 12))
        self.position = nn.Parameter(torch.rand(1, 17, 12))
        self.norm, self.qkv, self.proj = nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.mha = nn.MultiheadAttention(12, 2, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, 3, 4).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(a.transpose(1, 2).reshape(b, n, c))
        x = x + self.mha(x, x, x, need_weights=False)[0]
        return self.head(x[:, 0])


class Mixers(nn.Module):
    """Close relatives of SHViT's mixer: a bias on the scores, two heads, no residual, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 8, 8)
        self.norms = nn.ModuleList([nn.GroupNorm(1, 6), nn.GroupNorm(2, 6), nn.InstanceNorm2d(6)])
        self.qkv = nn.ModuleList(nn.Conv2d(6, 14, 1) for _ in range(3))
        self.proj = nn.ModuleList(nn.Conv2d(12, 12, 1) for _ in range(3))
        self.bias = nn.Parameter(torch.rand(16, 16))

    def _mix(self, x: Tensor, i: int) -> Tensor:
        one, two = x.split([6, 6], 1)
        q, k, v = self.qkv[i](self.norms[i](one)).flatten(2).split([4, 4, 6], 1)
        scores = q.transpose(1, 2) @ k * 0.5 + (self.bias if i == 0 else 0)
        out = (v @ scores.softmax(-1).transpose(1, 2)).reshape(one.shape)
        y = self.proj[i](F.relu(torch.cat([out, two], 1)))
        return x * y if i == 2 else x + y

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in range(3):
            x = self._mix(x, index)
        return x


class Decoder(nn.Module):
    """Upsampling, transposed and one-dimensional convolutions, shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.same = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.up, self.line = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv1d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.same(F.relu(self.same(F.relu(self.down(x)))))
        x = self.up(x) + F.interpolate(x, scale_factor=2.0)[:, :4]
        return self.line(x.flatten(2))


NETWORKS = (Basic, Mobile, Dense, Next, Transformer, Mixers, Decoder)


def _export(network: nn.Module, opset: int) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 32, 32),),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    return file.getvalue()


def _network(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.normal_(module.weight, 1, 0.2)
                nn.init.normal_(module.bias, 0, 0.2)
    return network


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_parity(kind: type[nn.Module], opset: int) -> None:
    data = _export(_network(kind), opset)
    original = ir.serde.deserialize_model(onnx.load_from_string(data))
    model = ir.serde.deserialize_model(onnx.load_from_string(data))
    run_pipeline(model, pipelines.default())
    for batch in (1, 3):
        feeds = random_feeds(original, batch)
        assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
    again = run_pipeline(model, pipelines.default())
    assert {r.name: r.matches for r in again if r.matches} == {}


EXPECTED = {
    Basic: {"FusedConv": 4, "FusedConvAdd": 1, "MaxPool": 1},  # the pre-norm is one of them
    Mobile: {"InvertedBottleneck": 2, "FusedConvAdd": 3, "Gemm": 0},
}


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: kind.__name__)
def test_what_fuses(kind: type[nn.Module]) -> None:
    model = ir.serde.deserialize_model(onnx.load_from_string(_export(_network(kind), 17)))
    run_pipeline(model, pipelines.default())
    found = counts(model)
    assert {name: found.get(name, 0) for name in EXPECTED[kind]} == EXPECTED[kind]


def test_relatives_of_the_mixer_are_refused_with_reasons() -> None:
    model = ir.serde.deserialize_model(onnx.load_from_string(_export(_network(Mixers), 17)))
    records = {record.name: record for record in run_pipeline(model, pipelines.default())}
    found = records["fuse_single_head_attention"]
    assert found.matches == 0
    texts = "; ".join(miss.reason for miss in found.near_misses)
    assert len(found.near_misses) == 3
    for reason in ("come from Add", "not over one group", "residual add"):
        assert reason in texts


TEXTS = {
    "control_flow": """
        <ir_version: 9, opset_import: ["": 20]>
        g (float[n, 2, 4, 4] x, bool c) => (float[n, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}> {
          a = Conv <kernel_shape = [1, 1]> (x, w)
          y = If (c) <then_branch = t () => (float[n, 2, 4, 4] p) { p = Relu (a) },
                      else_branch = e () => (float[n, 2, 4, 4] q) { q = Conv (a, w) }>
        }""",
    "quantised": """
        <ir_version: 9, opset_import: ["": 20]>
        g (float[n, 2, 4, 4] x) => (float[n, 2, 4, 4] y)
        <float s = {0.1}, int8 z = {0}, int8[2, 2, 1, 1] w = {10, 20, 30, 40}> {
          a = QuantizeLinear (x, s, z)
          d = DequantizeLinear (a, s, z)
          v = DequantizeLinear (w, s, z)
          b = Conv (d, v)
          y = Relu (b)
        }""",
    "constant_output": """
        <ir_version: 9, opset_import: ["": 20]>
        g (float[n, 2] x) => (float[n, 2] y, float[2] z)
        <float[2] w = {1, 2}> { y = Add (x, w)  z = Mul (w, w) }""",
    "dynamic_map": """
        <ir_version: 9, opset_import: ["": 20]>
        g (float[n, 2, h, h] x) => (float[n, 3] y)
        <float[3, 2, 3, 3] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1, 0.2,
          0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
          0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7,
          0.8, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9},
        int64[2] axes = {2, 3}, int64[3] flat = {0, 3, -1}> {
          a = Conv <pads = [1, 1, 1, 1]> (x, w)
          r = Reshape (a, flat)
          s = Softmax <axis = 2> (r)
          t = Mul (r, s)
          shape = Shape (a)
          m = Reshape (t, shape)
          y = ReduceMean <keepdims = 0> (m, axes)
        }""",
}


@pytest.mark.parametrize("name", TEXTS)
def test_unusual_graphs(name: str) -> None:
    original = ir.serde.deserialize_model(onnx.parser.parse_model(TEXTS[name]))
    model = ir.serde.deserialize_model(onnx.parser.parse_model(TEXTS[name]))
    run_pipeline(model, pipelines.default())
    for batch in (1, 3):
        feeds = random_feeds(original, batch)
        assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
    assert np.all([value.name for value in model.graph.outputs])
