"""The default passes on SHViT as others write and export it: everything fuses, nothing changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from exports import SMALL, STYLES, export, images, missing
from rewriting import compute, counts, distance

from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.provenance import torch_module
from attnc.compiler.trace import trace
from attnc.passes import pipelines

#: Styles whose only news against another one is a neighbouring opset.
SELDOM = {"ours_opset18", "ours_opset19", "ours_opset22", "ours_ts18", "ours_ts19"}


def expected(depth: tuple[int, int, int]) -> dict[str, int]:
    """Nodes of a fused SHViT: stem and depthwise convolutions, blocks, two downsamplings, head.

    A stage after the first starts with a downsampling, which brings two residual pairs of a
    depthwise convolution and a feed-forward block of its own.
    """
    blocks = sum(depth) + 4
    return {
        "FusedConv": 4 + blocks,
        "FeedForward": blocks,
        "SingleHeadAttention": depth[1] + depth[2],
        "InvertedBottleneck": 2,
        "PoolLinear": 1,
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SELDOM else []) for n in STYLES],
)
def test_every_export_fuses_completely(name: str) -> None:
    if missing(name):
        pytest.skip(missing(name))
    original = ir.serde.deserialize_model(onnx.load_from_string(export(name)))
    model = ir.serde.deserialize_model(onnx.load_from_string(export(name)))
    run_pipeline(model, pipelines.default())
    assert counts(model) == expected(SMALL.depth)
    assert model.graph.opset_imports == {"": 20, "attnc": 1}
    batch = STYLES[name].batch
    for size in (1, 3) if batch == "dynamic" else (batch,):
        feeds = {"input": images(int(size))}
        assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
    again = run_pipeline(model, pipelines.default())
    assert {r.name: r.matches for r in again if r.matches} == {}
    attentions = [n for n in model.graph if n.op_type == "SingleHeadAttention"]
    assert len({torch_module(node) for node in attentions}) == len(attentions)
    assert all(torch_module(node).endswith("mixer") or "mixer." in torch_module(node)
               for node in attentions)  # fmt: skip


def _check_traced(name: str, depth: tuple[int, int, int], **options: object) -> None:
    model = trace(name, **options).model
    original = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    run_pipeline(model, pipelines.default())
    assert counts(model) == expected(depth)
    sizes = [s if isinstance(s, int) else 2 for s in model.graph.inputs[0].shape]
    x = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    assert distance(compute(model, {"input": x}), compute(original, {"input": x})) <= 1e-5


@pytest.mark.parametrize("size", [(64, 64)])
def test_our_trace_of_s1_fuses_completely(size: tuple[int, int]) -> None:
    _check_traced("shvit_s1", (2, 4, 5), image_size=size, batch="dynamic")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (256, 256), (320, 192)])
@pytest.mark.parametrize("batch", [1, 3, "dynamic"])
@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("shvit_s1", (2, 4, 5)),
        ("shvit_s2", (2, 4, 5)),
        ("shvit_s3", (3, 5, 5)),
        ("shvit_s4", (4, 7, 6)),
    ],
)
def test_our_traces_fuse_completely(
    name: str, depth: tuple[int, int, int], batch: int | str, size: tuple[int, int]
) -> None:
    _check_traced(name, depth, image_size=size, batch=batch)
