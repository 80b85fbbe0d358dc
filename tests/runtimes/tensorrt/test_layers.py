"""The kernels of an engine, read from what the builder logs."""

from __future__ import annotations

import pytest

from attnc.runtimes.tensorrt.layers import (
    Layer,
    attentions,
    moves,
    parse_layers,
    plugins,
)

TEXT = """Layers:
Name: __myl_Move_0xa1, LayerType: kgen, Inputs: [ { Name: x } ], Metadata: [ONNX Layer: n/1]
Name: _gemm_mha_v2_0xb2, LayerType: kgen, Metadata: [ONNX Layer: n/2][ONNX Layer: n/3]
Name: MapAttention_myl0_3, LayerType: PLUGIN_V3, Metadata: [ONNX Layer: block/4]
Name: __myl_ReshTranMoveConc_0xc3, LayerType: kgen, Metadata:
Name: __myl_MulTran_0xd4, LayerType: kgen, Metadata:
Name: reformat_0, LayerType: Reformat
Bindings:
x
y
"""


def test_layers() -> None:
    layers = parse_layers(TEXT)
    assert len(layers) == 6
    assert layers[1].nodes == ("n/2", "n/3")
    assert (attentions(layers), plugins(layers), moves(layers)) == (1, 1, 3)


@pytest.mark.parametrize("text", ["", "Layers:\n", "Bindings:\nx\n"])
def test_none(text: str) -> None:
    assert parse_layers(text) == []


def test_a_line_that_is_not_understood() -> None:
    with pytest.raises(ValueError, match="not a layer of an engine: 'Name: x; what"):
        parse_layers("Layers:\nName: x; what is this\n")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("__myl_FcMulSoft_mha_0x1", True),
        ("sm80_xmma_fmha_fp16", True),
        ("flash_attention", True),
        ("__myl_Fc_0x1", False),
        ("attend_to_nothing", False),
    ],
)
def test_fused_attentions(name: str, found: bool) -> None:
    assert Layer(name, "kgen", ()).is_attention == found


@pytest.mark.parametrize(
    ("kind", "found"),
    [("PLUGIN_V3", True), ("custom_layer", True), ("PluginV2", True), ("kgen", False)],
)
def test_plugins(kind: str, found: bool) -> None:
    assert Layer("x", kind, ()).is_plugin == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("__myl_Tran_0x1", True),
        ("__myl_SlicConc_0x1", True),
        ("__myl_TranAdd_0x1", False),
        ("__myl_Add_0x1", False),
        ("gemm", False),
    ],
)
def test_kernels_that_only_move(name: str, found: bool) -> None:
    assert Layer(name, "kgen", ()).only_moves == found
