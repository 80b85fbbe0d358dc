"""The families as PyTorch modules after our passes: equal to their sources, four axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.trace import trace
from attnc.passes.pipelines import default
from attnc.targets.torch_forms.network import MOST_AXES, capture, network

FAMILIES = {
    "shvit_s1": 64,
    "evit_tiny_k070_fuse": 64,
    "tic_layer_c64_k3": None,
    "glnet_stl": 64,
}
CHOOSES = "sparsifiner_s"


def both(name: str, size: int | None, batch: int) -> tuple[torch.nn.Module, torch.nn.Module, list]:
    """Ours, the source, the input's shape."""
    options = {} if size is None else {"image_size": size}
    traced = trace(name, batch=batch, seed=0, **options)
    run_pipeline(traced.model, default())
    assert isinstance(traced.reference, torch.nn.Module)
    return network(traced.model), traced.reference, list(traced.input.shape)


def distance(ours: torch.nn.Module, source: torch.nn.Module, shape: list[int]) -> float:
    x = torch.randn(shape)
    with torch.no_grad():
        wanted, found = source(x), ours(x)
    return float((wanted - found).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("name", "batch"), [(name, 1 + (name[0] in "ed")) for name in FAMILIES])
def test_parity_and_four_axes(name: str, batch: int) -> None:
    ours, source, shape = both(name, FAMILIES[name], batch)
    assert distance(ours, source, shape) < 1e-5
    nodes = list(capture(ours, shape).graph.nodes)
    ranks = [node.meta["val"].dim() for node in nodes if hasattr(node.meta.get("val"), "dim")]
    assert max(ranks) <= MOST_AXES
    assert not any("scatter" in str(node.target) for node in nodes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [CHOOSES, "sparsifiner_s_prune07", "tic_tiny", "deit_tiny"])
def test_larger_parity(name: str) -> None:
    """Sparsifiner at its least size: a choice that rounding turned moves its logits a little."""
    ours, source, shape = both(name, 224 if "sparsifiner" in name else 64, 1)
    limit = 5e-2 if "sparsifiner" in name else 1e-5
    assert distance(ours, source, shape) < limit
    assert capture(ours, shape) is not None


def test_five_axes_are_refused_by_node() -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    five = ir.Value(name="to", shape=ir.Shape([5]), type=ir.TensorType(ir.DataType.INT64))
    five.const_value = ir.tensor(np.array([1, 2, 1, 2, 1], np.int64), name="to")
    wide = ir.node("Reshape", [x, five], name="unfold")
    wide.outputs[0].name = "wide"
    back = ir.node("Flatten", wide.outputs, name="back")
    back.outputs[0].name, back.outputs[0].shape = "y", ir.Shape([1, 4])
    graph = ir.Graph(
        [x], back.outputs, nodes=[wide, back], initializers=[five], opset_imports={"": 20}
    )
    module = network(ir.Model(graph, ir_version=9))
    with pytest.raises(UnsupportedError, match="5 axes") as caught:
        capture(module, [1, 4])
    assert "unfold" in caught.value.where
