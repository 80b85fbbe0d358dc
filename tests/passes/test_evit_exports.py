"""The default passes on EViT and DeiT as others write and export them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from evit_variations import Habits, Variation, export
from rewriting import compute, counts, distance
from torch import nn
from torchvision_schemas import import_timm, timm_missing

from attnc.compiler.pipeline import run_pipeline
from attnc.model_defs.evit import Architecture, EViT
from attnc.passes import pipelines

DIM, SIZE = 128, 64
RATES = (1.0, 0.7, 1.0, 0.6, 1.0)


@dataclass(frozen=True)
class Style:
    """Who wrote the network, who exported it and how."""

    author: str = "variation"  # ours, timm, timm_sdpa, variation
    fuse: bool = True
    habits: Habits = field(default_factory=Habits)
    exporter: str = "dynamo"
    opset: int = 20
    batch: int | str = 1


_V = Style()
_TS = {"exporter": "torchscript", "opset": 17}
_STRAIGHT = Habits(sort_permutes=False)  # a negative axis in permute breaks that exporter

STYLES = {
    "ours": Style(author="ours"),
    "ours_dynamic": Style(author="ours", batch="dynamic"),
    "ours_plain_opset18": Style(author="ours", fuse=False, opset=18),
    "ours_opset23": Style(author="ours", opset=23),
    "ours_ts17": Style(author="ours", **_TS),
    "paper": _V,
    "paper_plain": replace(_V, fuse=False),
    "paper_dynamic": replace(_V, batch="dynamic"),
    "paper_opset18": replace(_V, opset=18),
    "paper_opset23": replace(_V, opset=23),
    "paper_ts17": replace(_V, habits=_STRAIGHT, **_TS),
    "paper_plain_ts17": replace(_V, fuse=False, **_TS),
    "unbind_zeroed": replace(_V, habits=Habits(cut="unbind", dropped="zeroed")),
    "chunk_masked": replace(_V, habits=Habits(cut="chunk", dropped="masked"), batch=2),
    "chunk_masked_ts17": replace(_V, habits=Habits(cut="chunk", dropped="masked"), **_TS),
    "timm": Style(author="timm"),
    "timm_sdpa": Style(author="timm_sdpa"),
    "timm_sdpa_dynamic": Style(author="timm_sdpa", batch="dynamic"),
    "timm_sdpa_opset23": Style(author="timm_sdpa", opset=23),
    "timm_sdpa_ts17": Style(author="timm_sdpa", **_TS),
}

#: Styles whose only news against another one is a neighbouring opset or exporter.
SELDOM = {"ours_plain_opset18", "ours_opset23", "paper_opset18", "paper_plain_ts17"}
SELDOM |= {"chunk_masked_ts17", "timm_sdpa_dynamic"}


def _randomised(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return model.eval().requires_grad_(False)


@cache
def network(style: Style) -> nn.Module:
    """The torch module, eval mode, seeded weights."""
    with torch.random.fork_rng(devices=[]):
        if style.author == "ours":
            arch = Architecture(DIM, SIZE, 0.7, style.fuse, None, len(RATES))
            return _randomised(EViT(arch, RATES, 10))
        if style.author == "variation":
            return _randomised(Variation(DIM, SIZE // 16, RATES, style.fuse, style.habits))
        sizes = {"img_size": SIZE, "embed_dim": DIM, "depth": 3, "num_heads": 2, "num_classes": 10}
        model = import_timm().create_model("deit_small_patch16_224", **sizes)
        for block in model.blocks:
            block.attn.fused_attn = style.author == "timm_sdpa"
        return _randomised(model)


@cache
def exported(style: Style) -> bytes:
    return export(network(style), SIZE, style.exporter, style.opset, style.batch)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SELDOM else []) for n in STYLES]
)
def test_every_attention_and_selection_fuses(name: str) -> None:
    style = STYLES[name]
    if style.author.startswith("timm") and timm_missing():
        pytest.skip(timm_missing())
    original = ir.serde.deserialize_model(onnx.load_from_string(exported(style)))
    model = ir.serde.deserialize_model(onnx.load_from_string(exported(style)))
    run_pipeline(model, pipelines.default())
    left = counts(model)
    chosen = style.author in ("ours", "variation")
    attentions = left.get("Attention", 0) + left.get("SelectedAttention", 0)
    assert attentions == (len(RATES) if chosen else 3)
    assert left.get("SelectTokens", 0) == left.get("SelectedAttention", 0) == (2 if chosen else 0)
    last = [node for node in model.graph if node.op_type == "Attention"][-1]
    assert last.inputs[0].shape[1] == 1, "the last block attends with one row"
    assert not set(left) & {"Softmax", "TopK", "MatMul", "GatherElements", "ScatterElements"}
    for batch in (1, 3) if style.batch == "dynamic" else (int(style.batch),):
        x = np.random.default_rng(batch).standard_normal((batch, 3, SIZE, SIZE), np.float32)
        feeds = {"input": x}
        assert distance(compute(model, feeds), compute(original, feeds)) <= 2e-5
    again = run_pipeline(model, pipelines.default())
    assert {r.name: r.matches for r in again if r.matches} == {}
