"""Maps and tokens: one form of the change between them, and Transposes that move behind layers."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, rewrite

from attnc.passes.canonical.sink_transposes import SinkTransposes
from attnc.passes.canonical.token_maps import CanonicalTokenMaps
from attnc.passes.graph import attribute

B, C, H, W = "batch", 6, 3, 4
LAST, FIRST, SWAP = [0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1]


def to_tokens(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Transpose", b.op("Reshape", x, [0, C, H * W]), perm=SWAP)


def to_map(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Reshape", b.op("Transpose", x, perm=SWAP), [0, C, H, W])


def norm(b: Builder, x: ir.Value, last: int = C) -> ir.Value:
    return b.op("LayerNormalization", x, b.random(last), b.random(last), axis=-1)


def norm2d(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Transpose", norm(b, b.op("Transpose", x, perm=LAST)), perm=FIRST)


def test_tokens_and_maps_change_by_a_whole_transpose():
    b = Builder()
    x = b.input(B, C, H, W)
    model = b.model(to_map(b, norm(b, to_tokens(b, x))))
    (result,) = rewrite(model, CanonicalTokenMaps())
    assert result.matches == 2
    perms = [attribute(node, "perm") for node in model.graph if node.op_type == "Transpose"]
    assert perms == [LAST, FIRST]


def test_there_and_back_is_nothing():
    b = Builder()
    x = b.input(B, H * W, C)
    model = b.model(norm(b, to_tokens(b, to_map(b, b.op("Relu", x)))))
    rewrite(model, CanonicalTokenMaps(), SinkTransposes(), CanonicalTokenMaps())
    assert counts(model) == {"Relu": 1, "LayerNormalization": 1}


def test_other_rearrangements_are_left_alone():
    b = Builder()
    x = b.input(B, C, H, W)
    wrong = b.op("Transpose", b.op("Reshape", x, [0, H * C, W]), perm=SWAP)
    model = b.model(norm(b, wrong, H * C))
    (result,) = rewrite(model, CanonicalTokenMaps())
    assert result.matches == 0


def test_a_block_behind_a_layer_norm_looks_like_a_transformer_s():
    b = Builder()
    x = b.op("Relu", b.input(B, C, H, W))
    hidden = b.op("Gelu", b.conv(norm2d(b, x), C, 16))
    y = b.op("Mul", b.conv(hidden, 16, C), b.random(1, C, 1, 1))
    again = norm2d(b, b.op("Add", x, y))
    model = b.model(b.op("Clip", again, -1.0, 1.0))
    (result,) = rewrite(model, SinkTransposes())
    assert result.matches > 4
    found = counts(model)
    assert found["Transpose"] == 2
    assert found["MatMul"] == 2
    assert "Conv" not in found
    assert [node.op_type for node in model.graph][-2:] == ["Clip", "Transpose"]


def test_a_residual_that_is_channels_first_only_stays():
    b = Builder()
    tokens = b.input(B, H, W, C)
    other = b.conv(b.input(B, C, H, W, name="z"), C, C, 3)
    first = b.op("Transpose", norm(b, tokens), perm=FIRST)
    model = b.model(b.op("Relu", b.op("Add", first, other)))
    (result,) = rewrite(model, SinkTransposes())
    assert result.matches == 0


@pytest.mark.parametrize("options", [{"strides": [2, 2]}, {"group": 2}, {"pads": [1, 1, 1, 1]}])
def test_convolutions_that_look_at_more_than_a_pixel_stay(options):
    b = Builder()
    first = b.op("Transpose", norm(b, b.input(B, H, W, C)), perm=FIRST)
    model = b.model(b.conv(first, C, 4, 1, **options))
    (result,) = rewrite(model, SinkTransposes())
    assert result.matches == 0
    assert only(model, "Conv")


def test_a_map_without_such_a_transpose_is_untouched():
    b = Builder()
    x = b.input(B, C, H, W)
    model = b.model(b.op("Add", x, b.op("Relu", b.conv(x, C, C))))
    for result in rewrite(model, CanonicalTokenMaps(), SinkTransposes()):
        assert result.matches == 0
        assert result.near_misses == ()
