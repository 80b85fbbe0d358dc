"""Tiny attentions over predicted keys, as authors and exporters write them."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor, nn

TOKENS, HEADS, DIM, NARROW, RANK = 17, 2, 16, 8, 6
WIDTH = HEADS * DIM


@dataclass(frozen=True)
class Style:
    """How one author writes it; see `SparseNet` for what each field changes."""

    rows: str = "all"  # "all": one softmax with a mask of ones for row 0; "apart": two softmaxes
    mask: str = "float"  # what is scattered: "float" ones or "bool"
    finite: str = "nan_to_num"  # "nan_to_num", "isnan", "where" or "none"
    scale: str = "after"  # of the logits: on the product, or on q "before" it
    cut: str = "late"  # queries without row 0: of the coefficients' logits, or "early": of q'
    turned: bool = False  # the reduced keys as P^T k', then transposed
    coef_threshold: float | None = None
    score_threshold: float | None = None
    dense_output: bool = False  # a second softmax, without the mask, is an output
    largest: bool = True
    pruned: bool = False  # queries whose first channel is negative see nothing


STYLES = {
    "paper": Style(),
    "bool-mask": Style(mask="bool", finite="isnan"),
    "two-softmaxes": Style(rows="apart", finite="none"),
    "two-softmaxes-bool": Style(rows="apart", mask="bool", finite="none", scale="before"),
    "early": Style(cut="early", scale="before", finite="none"),
    "turned": Style(turned=True, finite="where"),
    "coef-threshold": Style(coef_threshold=0.15),
    "thresholds": Style(coef_threshold=0.15, score_threshold=0.012, finite="where"),
    "score-threshold": Style(score_threshold=0.012),
}


class Predictor(nn.Module):
    """[B, heads, N-1, N]: ones (or True) where a query sees a key."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.style = style
        self.proj_c_q, self.proj_c_k = nn.Linear(DIM, NARROW), nn.Linear(DIM, NARROW)
        self.proj_n = nn.Parameter(torch.randn(TOKENS, RANK) * 0.3)
        self.proj_back_n = nn.Parameter(torch.randn(TOKENS, RANK) * 0.05)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        style, low_q, low_k = self.style, self.proj_c_q(q), self.proj_c_k(k)
        if style.cut == "early":
            low_q = low_q[:, :, 1:]
        if style.turned:
            low_k = (self.proj_n.transpose(0, 1) @ low_k).transpose(-2, -1)
        else:
            low_k = low_k.transpose(-2, -1) @ self.proj_n
        logits = (low_q @ low_k) * HEADS**-0.5
        coefficients = (logits if style.cut == "early" else logits[:, :, 1:]).softmax(dim=-1)
        if style.coef_threshold is None:
            values, index = coefficients.topk(3, dim=-1, sorted=False)
            coefficients = torch.zeros_like(coefficients).scatter(-1, index, values)
        else:
            small = coefficients <= style.coef_threshold
            coefficients = coefficients.masked_fill(small, 0.0)
        basis = self.proj_back_n.abs()
        basis = basis.masked_fill(basis <= 0.02, 0.0).transpose(0, 1)
        scores = coefficients @ basis
        if style.score_threshold is not None:
            seen = scores > style.score_threshold
            return seen if style.mask == "bool" else seen.float()
        index = scores.topk(5, dim=-1, largest=style.largest, sorted=False).indices
        if style.mask == "bool":
            return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, index, True)
        return torch.zeros_like(scores).scatter(-1, index, 1.0)


class SparseNet(nn.Module):
    """[B, N, C] to [B, N, C]."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.style = style
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mask_predictor = Predictor(style)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, HEADS, DIM).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        mask = self.mask_predictor(q, k)
        if self.style.pruned:
            mask = mask & (q[:, :, 1:, :1] > 0)
        if self.style.scale == "before":
            logits = (q * DIM**-0.5) @ k.transpose(-2, -1)
        else:
            logits = q @ k.transpose(-2, -1) * DIM**-0.5
        weights = self._weights(mask, logits)
        out = self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return (out, logits.softmax(dim=-1)) if self.style.dense_output else out

    def _weights(self, mask: Tensor, logits: Tensor) -> Tensor:
        if self.style.rows == "apart":
            seen = torch.where(mask.bool(), logits[:, :, 1:], -math.inf).softmax(dim=-1)
            return torch.cat([logits[:, :, :1].softmax(dim=-1), seen], dim=2)
        first = torch.ones(mask.shape[0], HEADS, 1, TOKENS, dtype=mask.dtype)
        mask = torch.cat([first, mask], dim=2).bool()
        weights = logits.masked_fill(~mask, -math.inf).softmax(dim=-1)
        if self.style.finite == "nan_to_num":
            return torch.nan_to_num(weights)
        if self.style.finite == "isnan":
            return torch.where(weights.isnan(), 0.0, weights)
        return torch.where(mask, weights, 0.0) if self.style.finite == "where" else weights


def exported(style: Style, opset: int | None, seed: int = 0) -> ir.Model:
    """This style; see `export_of`."""
    torch.manual_seed(seed)
    return export_of(SparseNet(style).eval(), opset)


def export_of(network: nn.Module, opset: int | None) -> ir.Model:
    """By dynamo at this opset, or by TorchScript (None); any batch size."""
    example = torch.randn(2, TOKENS, WIDTH)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if opset is not None:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                verbose=False,
            )
            return program.model
        file = io.BytesIO()
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        )
    import onnx

    return ir.serde.deserialize_model(onnx.load_from_string(file.getvalue()))
