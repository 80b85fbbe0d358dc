"""SHViT as ONNX in the many shapes in which users bring it, for the tests of passes and tracing.

`STYLES` names them; `export(name)` gives the bytes of the file, `network(name)` the torch module of
the same function. All take `input` [batch, 3, 64, 96] and return `logits` [batch, 10]. The network
is small, with odd partial widths and feature maps of 4x6, 2x3 and 1x2.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from shvit_variations import Habits, Variation, fuse_batchnorm
from torch import nn
from torchvision_schemas import import_timm, timm_missing

from attnc.model_defs.registry import build_model
from attnc.model_defs.shvit import Architecture

SMALL = Architecture(embed_dim=(32, 44, 56), depth=(1, 2, 1), partial_dim=(8, 13, 18))
SIZE = (64, 96)
CLASSES = 10


@dataclass(frozen=True)
class Style:
    """Who wrote the network, who exported it and how."""

    author: str = "ours"  # ours, timm, variation
    habits: Habits = field(default_factory=Habits)
    exporter: str = "dynamo"  # dynamo, torchscript
    opset: int = 20
    optimize: bool = True  # False: the exporter folds nothing, BatchNorm stays
    batch: int | str = 1


_V = Style(author="variation")
_T = Style(author="timm")
_TS = Style(exporter="torchscript", opset=17)

STYLES: dict[str, Style] = {
    "ours": Style(),
    "ours_batch3": Style(batch=3),
    "ours_dynamic": Style(batch="dynamic"),
    "ours_unoptimised": Style(optimize=False),
    "ours_opset18": Style(opset=18),
    "ours_opset19": Style(opset=19),
    "ours_opset21": Style(opset=21),
    "ours_opset22": Style(opset=22),
    "ours_opset23": Style(opset=23),
    "ours_opset23_dynamic": Style(opset=23, batch="dynamic"),
    "ours_ts17": _TS,
    "ours_ts17_batchnorm": replace(_TS, optimize=False),
    "ours_ts17_dynamic": replace(_TS, batch="dynamic"),
    "ours_ts18": replace(_TS, opset=18),
    "ours_ts19": replace(_TS, opset=19),
    "ours_ts20": replace(_TS, opset=20),
    "timm": _T,
    "timm_dynamic": replace(_T, batch="dynamic"),
    "timm_opset23": replace(_T, opset=23),
    "timm_unoptimised": replace(_T, optimize=False),
    "timm_fused": replace(_T, habits=Habits(fused=True)),
    "timm_ts17": replace(_T, exporter="torchscript", opset=17),
    "timm_ts17_batchnorm": replace(_T, exporter="torchscript", opset=17, optimize=False),
    "timm_fused_ts17": replace(_T, habits=Habits(fused=True), exporter="torchscript", opset=17),
    "columns": _V,
    "columns_fused": replace(_V, habits=Habits(fused=True)),
    "columns_fused_ts17": replace(_V, habits=Habits(fused=True), exporter="torchscript", opset=17),
    "tokens": replace(_V, habits=Habits(attention="tokens")),
    "tokens_dynamic": replace(_V, habits=Habits(attention="tokens"), batch="dynamic"),
    "tokens_ts17": replace(_V, habits=Habits(attention="tokens"), exporter="torchscript", opset=17),
    "narrow": replace(_V, habits=Habits(attention="narrow")),
    "narrow_dynamic": replace(_V, habits=Habits(attention="narrow"), batch="dynamic"),
    "narrow_ts17": replace(_V, habits=Habits(attention="narrow"), exporter="torchscript", opset=17),
    "sdpa": replace(_V, habits=Habits(attention="sdpa")),
    "sdpa_opset23": replace(_V, habits=Habits(attention="sdpa"), opset=23),
    "sdpa_ts17": replace(_V, habits=Habits(attention="sdpa"), exporter="torchscript", opset=17),
    "keys_first": replace(_V, habits=Habits(attention="keys_first")),
    "relu_before": replace(_V, habits=Habits(activation="before")),
    "adaptive_pool": replace(_V, habits=Habits(pool="adaptive")),
    "adaptive_pool_ts17": replace(
        _V, habits=Habits(pool="adaptive"), exporter="torchscript", opset=17
    ),
    "norm_manual": replace(_V, habits=Habits(norm="manual")),
    "norm_instance": replace(_V, habits=Habits(norm="instance")),
    "norm_layer": replace(_V, habits=Habits(norm="layer")),
}


def missing(name: str) -> str:
    """Why this style cannot be made here; "" if it can."""
    return timm_missing() if STYLES[name].author == "timm" else ""


def images(batch: int = 1, seed: int = 0) -> np.ndarray:
    """A seeded normalised picture batch of the size that all styles take."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, 3, *SIZE)).astype(np.float32)


def _options() -> dict[str, tuple[int, ...]]:
    return {key: getattr(SMALL, key) for key in ("embed_dim", "depth", "partial_dim")}


@cache
def _ours() -> nn.Module:
    return build_model("shvit_s1", num_classes=CLASSES, seed=1, **_options())


def _timm_key(key: str) -> str:
    """The published key in timm's naming: blocks2.1.conv1 is stages.1.downsample.2.conv1."""
    head, *rest = key.split(".")
    if not head.startswith("blocks"):
        return key
    stage, index = int(head[-1]) - 1, int(rest[0])
    if stage == 0:
        return ".".join(["stages.0.blocks", *rest])
    if index >= 3:
        return ".".join([f"stages.{stage}.blocks.{index - 3}", *rest[1:]])
    if index == 1:
        return ".".join([f"stages.{stage}.downsample.2", *rest[1:]])
    place = int(rest[1]) + (3 if index == 2 else 0)
    return ".".join([f"stages.{stage}.downsample.{place}", *rest[2:]])


def _build(style: Style) -> nn.Module:
    state = _ours().state_dict()
    if style.author == "ours":
        return _ours()
    if style.author == "timm":
        model = import_timm().create_model("shvit_s1", num_classes=CLASSES, **_options())
        model.load_state_dict({_timm_key(key): value for key, value in state.items()})
        return model.eval().fuse() if style.habits.fused else model.eval()
    model = Variation(SMALL, CLASSES, style.habits)
    model.load_state_dict(state)
    model.eval()
    if style.habits.fused:
        fuse_batchnorm(model)
    return model


@cache
def network(name: str) -> nn.Module:
    """The torch module of a style, eval mode; all have the same weights, hence the same logits."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return _build(STYLES[name]).requires_grad_(False)


def _run_exporter(model: nn.Module, style: Style, file: io.BytesIO) -> None:
    dynamic = style.batch == "dynamic"
    # An example of batch 1 would bake that 1 into reshapes.
    example = torch.zeros(2 if dynamic else int(style.batch), 3, *SIZE)
    names = {"input_names": ["input"], "output_names": ["logits"], "opset_version": style.opset}
    if style.exporter == "dynamo":
        shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            optimize=style.optimize,
            dynamic_shapes=shapes,
            verbose=False,
            **names,
        )
        file.write(program.model_proto.SerializeToString())
        return
    mode = torch.onnx.TrainingMode
    torch.onnx.export(
        model,
        (example,),
        file,
        dynamo=False,
        training=mode.EVAL if style.optimize else mode.PRESERVE,
        do_constant_folding=style.optimize,
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}} if dynamic else None,
        **names,
    )


@cache
def export(name: str) -> bytes:
    """The ONNX file of a style, weights inside. pytest.skip on `missing(name)` first."""
    file = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        _run_exporter(network(name), STYLES[name], file)
    return file.getvalue()
