"""MSA-Conv as other authors write it, for the tests of its fusion: exported by either exporter.

All styles compute the same function of `x` [batch, 6, 5, 7]; their names say what differs.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnc.model_defs.tic import Layer, MSAConv2d

CHANNELS, SIZE = 6, (5, 7)


@dataclass(frozen=True)
class Style:
    """How the layer is written and exported; `slices` is ours, `three` has a convolution for each
    of q, k and v, `last` is channels-last."""

    form: str = "slices"
    kernel: tuple[int, int] = (3, 3)
    dilation: int = 1
    shift: int = 0
    pool: int = 0
    exporter: str = "dynamo"
    opset: int = 20
    batch: int | str = 1


_TS = {"exporter": "torchscript", "opset": 17}
STYLES: dict[str, Style] = {
    "slices": Style(),
    "slices_opset18": Style(opset=18),
    "slices_opset23": Style(opset=23),
    "slices_batch2": Style(batch=2),
    "slices_dynamic": Style(batch="dynamic"),
    "slices_ts17": Style(**_TS),
    "slices_k5x1_d2": Style(kernel=(5, 1), dilation=2),
    "slices_far_dilated": Style(dilation=9),
    "shifted": Style(shift=2),
    "shifted_ts17": Style(shift=2, **_TS),
    "shifted_around": Style(shift=11),
    "pooled": Style(pool=2),
    "pooled_shifted": Style(pool=3, shift=1),
    "pooled_ts17": Style(pool=2, **_TS),
    "multiply": Style(form="multiply"),
    "multiply_k5_d2": Style(form="multiply", kernel=(5, 5), dilation=2),
    "multiply_dynamic": Style(form="multiply", batch="dynamic"),
    "multiply_ts17": Style(form="multiply", **_TS),
    "multiply_ts17_k7x3": Style(form="multiply", kernel=(7, 3), **_TS),
    "einsum": Style(form="einsum"),
    "einsum_ts17": Style(form="einsum", **_TS),
    "matmul": Style(form="matmul"),
    "matmul_ts17": Style(form="matmul", **_TS),
    "three": Style(form="three"),
    "three_ts17": Style(form="three", **_TS),
    "last": Style(form="last"),
}


class Unfolded(nn.Module):
    """The layer with torch's unfold; `form` says how its products are written."""

    def __init__(self, like: MSAConv2d, form: str) -> None:
        super().__init__()
        self.qkv_conv, self.mlp, self.form = like.qkv_conv, like.mlp, form
        self.kernel, self.dilation = like.kernel, like.dilation
        if form == "three":
            self.parts = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(3))
            for part, w, b in zip(
                self.parts, like.qkv_conv.weight.chunk(3), like.qkv_conv.bias.chunk(3), strict=True
            ):
                part.weight, part.bias = nn.Parameter(w.clone()), nn.Parameter(b.clone())

    def _windows(self, x: Tensor) -> Tensor:
        pads = tuple(self.dilation * (k - 1) // 2 for k in self.kernel)
        columns = F.unfold(x, self.kernel, self.dilation, pads)
        return columns.reshape(x.shape[0], CHANNELS, -1, *SIZE)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scale, keys, values = CHANNELS**-0.5, self._windows(k), self._windows(v)
        if self.form == "einsum":
            weights = torch.einsum("bchw,bcthw->bthw", q * scale, keys).softmax(1)
            return torch.einsum("bthw,bcthw->bchw", weights, values)
        if self.form == "matmul":
            rows, columns = q.permute(0, 2, 3, 1).unsqueeze(3), keys.permute(0, 3, 4, 1, 2)
            weights = (rows @ columns * scale).softmax(-1)
            return (weights @ values.permute(0, 3, 4, 2, 1)).squeeze(3).permute(0, 3, 1, 2)
        weights = ((q.unsqueeze(2) * keys).sum(1) / CHANNELS**0.5).softmax(1)
        return (weights.unsqueeze(1) * values).sum(2)

    def _channels_last(self, x: Tensor) -> Tensor:
        """The map as [B, H, W, C] and its windows as slices of it."""
        weight = self.qkv_conv.weight[:, :, 0, 0]
        qkv = F.linear(x.permute(0, 2, 3, 1), weight, self.qkv_conv.bias)
        q, k, v = qkv.split(CHANNELS, -1)
        height, width = SIZE

        def windows(t: Tensor) -> Tensor:
            t = F.pad(t, (0, 0, 1, 1, 1, 1))
            places = [t[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
            return torch.stack(places, 3)

        weights = (windows(k) @ q.unsqueeze(-1) * CHANNELS**-0.5).softmax(3)
        return (weights * windows(v)).sum(3).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "last":
            out = self._channels_last(x)
        elif self.form == "three":
            out = self._attend(*(part(x) for part in self.parts))
        else:
            out = self._attend(*self.qkv_conv(x).chunk(3, 1))
        return F.relu(self.mlp(out + x))


def network(style: Style) -> nn.Module:
    """The torch module, eval mode, seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        pads = tuple(k // 2 for k in style.kernel)
        layer = Layer(CHANNELS, 8, style.kernel, dilation=style.dilation, padding=pads)
        ours = MSAConv2d(layer, shift=style.shift, pool=style.pool).eval().requires_grad_(False)
    if style.form == "slices":
        return ours
    return Unfolded(ours, style.form).eval().requires_grad_(False)


@cache
def export(name: str) -> bytes:
    """The ONNX file of a style."""
    style, file = STYLES[name], io.BytesIO()
    dynamic = style.batch == "dynamic"
    example = torch.zeros(2 if dynamic else int(style.batch), CHANNELS, *SIZE)
    options: dict[str, object] = {"opset_version": style.opset, "input_names": ["x"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if style.exporter == "dynamo":
            shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
            program = torch.onnx.export(
                network(style),
                (example,),
                dynamo=True,
                dynamic_shapes=shapes,
                verbose=False,
                **options,
            )
            return program.model_proto.SerializeToString()
        torch.onnx.export(network(style), (example,), file, dynamo=False, **options)
    return file.getvalue()
