"""Every TiC of the registry loses its windows: one fused attention per layer, nothing left over."""

from __future__ import annotations

import contextlib
import io
import warnings

import onnx_ir as ir
import pytest
import torch
from rewriting import compute, counts, distance, random_feeds

from attnc.model_defs.registry import build_model
from attnc.model_defs.tic import LAYERS
from attnc.passes import pipelines

#: Narrow stages of unlike widths; the first has a shifted block.
SMALL = {"dims": (8, 12, 20, 24), "depths": (2, 1, 1, 1)}
LEFT_OVER = {"Softmax", "Pad", "Gather", "Slice", "ReduceSum", "Concat", "Split"}


def _model(module: torch.nn.Module, *sizes: int) -> ir.Model:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, *sizes),)
        program = torch.onnx.export(module, example, dynamo=True, opset_version=20, verbose=False)
    return ir.from_proto(program.model_proto)


def _fused(module: torch.nn.Module, *sizes: int) -> dict[str, int]:
    """Operators after the default passes, which must compute what the export computes."""
    model = _model(module, *sizes)
    original = ir.from_proto(ir.to_proto(model))
    for step in pipelines.default():
        step.run(model)
    feeds = random_feeds(original)
    assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
    found = counts(model)
    assert not LEFT_OVER & set(found)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_two_convolutions_and_the_attention(name: str) -> None:
    found = _fused(build_model(name), LAYERS[name].in_channels, 9, 11)
    assert found == {"FusedConv": 2, "Transpose": 3, "WindowAttention": 1}


def test_every_block_of_tic_tiny_is_fused() -> None:
    found = _fused(build_model("tic_tiny", num_classes=10, **SMALL), 3, 64, 96)
    assert found["WindowAttentionPooled"] == sum(SMALL["depths"])


@pytest.mark.slow
def test_the_last_map_of_tic_tiny_may_be_one_pixel() -> None:
    options = {**SMALL, "depths": (1, 1, 1, 2)}
    found = _fused(build_model("tic_tiny", num_classes=10, **options), 3, 32, 32)
    assert found["WindowAttentionPooled"] == 5
