"""GLNet from this repository and from other authors, through the whole pipeline."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch
from glnet_variations import STYLES, export, network
from rewriting import compute, counts, distance, random_feeds

from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.trace import trace
from attnc.passes import pipelines
from attnc.targets.cpu.lower import lower

LIMIT = 1e-5
TINY = {"dims": (32, 32, 64, 64), "depths": (1, 1, 2, 1), "mlp_ratio": 2}
#: Slot blocks of each network with two blocks in its third stage.
BLOCKS = {"glnet_stl": 4, "glnet_stl_paramslot": 4}
NAMES = ("glnet_stl", "glnet_stl_paramslot", "glnet_4g", "glnet_16g", "glnet_4g_tklb")


@pytest.mark.parametrize("name", STYLES)
def test_other_authors_networks_are_fused_as_ours(name):
    style, model = STYLES[name], export(name)
    original = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    run_pipeline(model, pipelines.default())
    found = counts(model)
    assert found.get("GridPool", 0) == (0 if style.learned else 1)
    for operator in ("SlotCluster", "SlotDispatchAdd", "Attention", "FusedConvAdd", "PoolLinear"):
        expected = 2 if operator == "FusedConvAdd" and style.depthwise else 1
        assert found.get(operator) == expected, (operator, found)
    assert found.get("Mlp", 0) == (0 if style.depthwise else 1), found
    assert found.get("FusedConvGelu", 0) == (1 if style.depthwise else 0), found
    assert not {"Softmax", "MatMul", "Gemm", "Div", "Conv", "Gelu"} & set(found), found
    feeds = random_feeds(original, 2)
    got, expected = compute(model, feeds), compute(original, feeds)
    assert distance(got, expected) <= LIMIT
    x = torch.from_numpy(next(iter(feeds.values())))
    assert distance(got, [network(name)(x).numpy()]) <= LIMIT


def traced(name: str, batch: int | str = 1, size: tuple[int, int] = (96, 128)) -> ir.Model:
    return trace(name, image_size=size, batch=batch, num_classes=5, options=TINY).model


#: The others differ in depth and width only.
QUICK = ("glnet_stl", "glnet_stl_paramslot", "glnet_4g")


@pytest.mark.parametrize("batch", [1, "dynamic"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES],
)
def test_our_networks_lose_every_product_and_transpose(name, batch):
    model = traced(name, batch)
    original = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    run_pipeline(model, pipelines.default())
    found, blocks = counts(model), BLOCKS.get(name, 3)
    assert found["SlotCluster"] == blocks
    assert found["SlotDispatchAdd" if name != "glnet_16g" else "SlotDispatch"] == blocks
    assert found.get("GridPool", 0) == (0 if name == "glnet_stl_paramslot" else blocks)
    assert found["Attention"] == 5
    assert not {"Softmax", "MatMul", "Gemm", "Conv", "ReduceL2"} & set(found), found
    feeds = random_feeds(original, 3)
    assert distance(compute(model, feeds), compute(original, feeds)) <= LIMIT
    assert lower(model) == []
    if "tklb" not in name:  # its last BatchNormalization stays: two heads read it
        assert "Transpose" not in counts(model)
    assert distance(compute(model, feeds), compute(original, feeds)) <= LIMIT


@pytest.mark.parametrize("size", [(32, 32), (192, 256)])
def test_other_sizes(size):
    model = traced("glnet_4g", size=size)
    original = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    run_pipeline(model, pipelines.default())
    feeds = random_feeds(original)
    assert counts(model)["SlotCluster"] == 3
    assert distance(compute(model, feeds), compute(original, feeds)) <= LIMIT
