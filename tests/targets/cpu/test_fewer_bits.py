"""Fewer bits: which layers get them, what stays, and what the graph then computes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from lowering import CLAMP, POINT, Builder, run_model

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.provenance import MODULE_KEY
from attnc.targets.cpu.fewer_bits import Precision, use_fewer_bits
from attnc.targets.cpu.lower import Refusal, lower

FREE = {"min": NO_MIN, "max": NO_MAX}
LIMITS: dict[Precision, float] = {"fp16": 2e-3, "int8": 4e-2}


def rewritten(
    model: ir.Model, precision: Precision, shape: tuple[int, ...] = (2, 3, 12, 10)
) -> tuple[Counter[str], list[Refusal]]:
    """Lower, use fewer bits, compare before with after, count the operators."""
    x = np.random.default_rng().standard_normal(shape, np.float32)
    before = run_model(model, x)
    lower(model)
    kept = use_fewer_bits(model, precision)
    for got, want in zip(run_model(model, x), before, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=LIMITS[precision] * np.abs(want).max())
        assert not np.array_equal(got, want)
    return Counter(node.op_type for node in model.graph), kept


@pytest.mark.parametrize(("precision", "bits"), [("fp16", "Half"), ("int8", "Int8")])
def test_convolutions_of_one_pixel_and_feed_forward_blocks(precision: Precision, bits: str) -> None:
    b = Builder()
    y = b.conv(b.x, 3, 20)
    y = b.feed_forward(y, 20)
    y = b.conv(y, 20, 36, **POINT)
    z = b.node(
        "@FusedConvAdd", [y, b.constant(36, 36, 1, 1), b.constant(36), y], **POINT, **CLAMP, group=1
    )
    z = b.node("@FusedConvGelu", [z, b.constant(20, 36, 1, 1), b.constant(20)], **POINT, group=1)
    counts, kept = rewritten(b.model(b.head(b.feed_forward(z, 20), 20)), precision)
    assert counts == {
        "StemConvNhwc": 1,
        f"Linear{bits}": 3,
        f"LinearAdd{bits}": 3,
        f"LinearGelu{bits}": 1,
        "PoolLinearNhwc": 1,
    }
    assert kept == []


@pytest.mark.parametrize(("precision", "bits"), [("fp16", "Half"), ("int8", "Int8")])
def test_token_layers_keep_their_norm_residual_and_origin(precision: Precision, bits: str) -> None:
    b = Builder((2, 9, 24))
    y = b.node(
        "@NormLinear", [b.x, b.constant(24, 24), b.constant(24)], shape=(9, 24), epsilon=1e-6
    )
    y = b.node("@LinearAdd", [y, b.constant(24, 24), b.constant(24), b.x], shape=(9, 24), **FREE)
    weights = [b.constant(50, 24), b.constant(50), b.constant(24, 50), b.constant(24)]
    y = b.node("@Mlp", [y, *weights], shape=(9, 24), epsilon=1e-6)
    y.producer().metadata_props[MODULE_KEY] = "blocks.0.mlp"
    y = b.node("Relu", [y], shape=(9, 24))
    model = b.model(y)
    counts, _ = rewritten(model, precision, (2, 9, 24))
    assert counts == {
        f"NormLinear{bits}": 1,
        f"LinearAdd{bits}": 2,
        f"NormLinearGelu{bits}": 1,
        "Relu": 1,
    }
    assert [n.metadata_props.get(MODULE_KEY) for n in model.graph].count("blocks.0.mlp") == 2
    held = {v.const_value.dtype for v in model.graph.initializers.values()}
    small = ir.DataType.FLOAT16 if bits == "Half" else ir.DataType.INT8
    assert held == {ir.DataType.FLOAT, small}


def test_windows_strides_and_narrow_layers_stay() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 20)
    y = b.conv(y, 20, 20)
    y = b.conv(y, 20, 20, **{**POINT, "strides": (2, 2)})
    y = b.conv(y, 20, 15, **POINT)
    y = b.conv(y, 15, 20, **POINT)
    model = b.model(b.conv(y, 20, 20, **POINT, min=NO_MIN))
    x = np.zeros((1, 3, 12, 10), np.float32)
    run_model(model, x)
    lower(model)
    kept = use_fewer_bits(model, "fp16")
    counts = Counter(node.op_type for node in model.graph)
    assert counts["LinearHalf"] == 1
    assert counts["ConvNhwc"] + counts["ConvTiles3Nhwc"] + counts["ConvTiles4Nhwc"] == 4
    assert [refusal.reason for refusal in kept] == ["stays float32: it is narrower than 16"] * 2


def test_what_ranks_tokens_and_what_comes_last_is_never_bytes() -> None:
    b = Builder((2, 9, 24))
    y = b.node("@Linear", [b.x, b.constant(24, 24), b.constant(24)], shape=(9, 24), **FREE)
    qkv = b.node(
        "@NormLinear", [y, b.constant(72, 24), b.constant(72)], shape=(9, 72), epsilon=1e-6
    )
    chosen = b.node(
        "@SelectTokens",
        [y, qkv, qkv, b.constant(24)],
        heads=2,
        dim_qk=12,
        q_at=0,
        k_at=24,
        scale=0.3,
        keep=4,
        fuse=0,
    )
    z = b.node("@LinearGelu", [chosen, b.constant(24, 24), b.constant(24)])
    z = b.node("@Linear", [z, b.constant(20, 24), b.constant(20)], **FREE)
    model = b.model(b.reshape(z, -1))
    lower(model)
    kept = use_fewer_bits(model, "int8")
    counts = Counter(node.op_type for node in model.graph)
    (logits,) = run_model(model, np.random.default_rng().standard_normal((2, 9, 24), np.float32))
    assert np.isfinite(logits).all()  # halves may turn a near-tie, so no numbers are compared
    assert counts["NormLinearHalf"] == counts["LinearHalf"] == 1
    assert counts["LinearInt8"] == counts["LinearGeluInt8"] == 1
    assert sorted(refusal.reason for refusal in kept) == [
        "has halves, not bytes: it makes an output of the model",
        "has halves, not bytes: it makes the scores that rank tokens",
    ]


@pytest.mark.parametrize("last", ["Softmax", "Sigmoid", "Flatten"])
def test_what_makes_the_outputs_is_found_behind_what_passes_it_on(last: str) -> None:
    b = Builder((2, 24))
    y = b.node("@Linear", [b.x, b.constant(24, 24), b.constant(24)], shape=(24,), **FREE)
    heads = [b.node("@Linear", [y, b.constant(20, 24), b.constant(20)], **FREE) for _ in "ab"]
    model = b.model(b.node(last, [b.node("Add", heads)]))
    counts, kept = rewritten(model, "int8", (2, 24))
    assert (counts["LinearInt8"], counts["LinearHalf"]) == (1, 2)
    assert {refusal.reason for refusal in kept} == {
        "has halves, not bytes: it makes an output of the model"
    }


def test_long_sums_are_no_bytes_and_weights_without_end_stay() -> None:
    b = Builder((2, 133145))
    y = b.node("@Linear", [b.x, b.constant(16, 133145), b.constant(16)], **FREE)
    y = b.node("@Linear", [y, b.constant(16, 16), b.constant(16)], **FREE)
    broken = b.constant(16, 16)
    assert broken.const_value is not None
    broken.const_value.numpy()[0, 0] = np.nan
    y = b.node("@Linear", [y, broken, b.constant(16)], **FREE)
    model = b.model(b.node("@Linear", [y, b.constant(16, 16), b.constant(16)], **FREE))
    lower(model)
    kept = use_fewer_bits(model, "int8")
    assert [refusal.reason for refusal in kept] == [
        "has halves, not bytes: a sum of 133145 products of bytes may not fit into 32 bits",
        "stays float32: its weights are not all finite",
        "has halves, not bytes: it makes an output of the model",
    ]


def test_float32_changes_nothing_and_twice_is_once() -> None:
    b = Builder((2, 9, 24))
    y = b.node("@Linear", [b.x, b.constant(24, 24), b.constant(24)], shape=(9, 24), **FREE)
    model = b.model(b.node("Relu", [y]))
    lower(model)
    assert use_fewer_bits(model, "fp32") == []
    assert [node.op_type for node in model.graph] == ["LinearPacked", "Relu"]
    use_fewer_bits(model, "int8")
    names = [node.op_type for node in model.graph]
    use_fewer_bits(model, "int8")
    assert names == [node.op_type for node in model.graph] == ["LinearInt8", "Relu"]
