"""What is not read is not computed: rows narrowed up to the last block, selections moved up."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import MODULE, SOURCE, Builder, counts, only, reasons, rewrite

from attnc.compiler.ops.attention import packed
from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.registry import make_node
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY
from attnc.passes.demand.rows import NarrowRows
from attnc.passes.demand.selection import SelectBeforeAttention
from attnc.passes.graph import attribute, const

N, C, H, D = 7, 6, 2, 4
E = H * D
FREE = {"min": NO_MIN, "max": NO_MAX}


def _op(b: Builder, op_type: str, *inputs: Any, **attributes: Any) -> Any:
    """A node of ours; arrays become constants."""
    values = [v if isinstance(v, ir.Value) else b.const(v) for v in inputs]
    node = make_node(op_type, values, attributes)
    node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
    b.graph.append(node)
    b.graph.opset_imports["attnc"] = 1
    x = values[0]
    for value, size in zip(node.outputs, _sizes(op_type, values, attributes), strict=True):
        value.type, value.shape = x.type, ir.Shape([x.shape[0], *size])
    if op_type == "SelectTokens":
        node.outputs[1].type = ir.TensorType(ir.DataType.INT64)
    return node.outputs[0] if len(node.outputs) == 1 else node.outputs


def _sizes(op_type: str, values: list[ir.Value], attributes: dict[str, Any]) -> list[list[int]]:
    rows, width = list(values[0].shape)[1:]
    if op_type == "SelectTokens":
        keep, fuse = attributes["keep"], attributes["fuse"]
        return [[1 + keep + fuse, width], [keep], [rows - 1]]
    if op_type in ("Linear", "LinearAdd", "NormLinear"):
        width = values[1].shape[0]
    return [[rows, E if op_type == "Attention" else width]]


def _same(b: Builder, op_type: str, x: ir.Value, *inputs: Any, **attributes: Any) -> ir.Value:
    """A standard operator whose output has the shape of x."""
    value = b.op(op_type, x, *inputs, **attributes)
    value.type, value.shape = x.type, x.shape
    return value


def _block(b: Builder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(x after the attention, qkv)"""
    qkv = _op(b, "NormLinear", x, b.random(3 * E, C), b.random(3 * E), epsilon=1e-6)
    out = _op(b, "Attention", qkv, qkv, **packed(H, D, D))
    return _op(b, "LinearAdd", out, b.random(C, E), b.random(C), x, **FREE), qkv


def _mlp(b: Builder, x: ir.Value) -> ir.Value:
    weights = b.random(9, C), b.random(9), b.random(C, 9), b.random(C)
    return _op(b, "Mlp", x, *weights, epsilon=1e-6)


def _tokens(b: Builder) -> ir.Value:
    return _same(b, "Tanh", b.input("n", N, C))


def _head(b: Builder, x: ir.Value, how: str) -> ir.Value:
    if how == "slice":
        return b.op("Slice", x, [0], [1], [1])
    if how == "last":
        return b.op("Gather", x, np.array(-1), axis=1)
    if how == "two":
        return b.op("Gather", x, np.array([0, 3]), axis=1)
    return b.op("Gather", x, np.array(0), axis=1)


@pytest.mark.parametrize(("how", "rows"), [("first", 1), ("slice", 1), ("last", 1), ("two", 2)])
def test_the_last_block_runs_on_the_rows_that_are_read(how: str, rows: int) -> None:
    b = Builder()
    x, _ = _block(b, _tokens(b))
    x = _same(b, "LayerNormalization", _mlp(b, x), b.random(C), b.random(C), axis=-1)
    model = b.model(b.op("Relu", _head(b, _same(b, "Add", x, b.random(N, C)), how)))
    (found,) = rewrite(model, NarrowRows())
    assert found.matches == 5
    attention = only(model, "Attention")
    assert attention.inputs[0].shape[1] == rows
    assert list(attention.inputs[1].shape)[1:] == [N, 2 * E]  # the queries of the others are gone
    assert [attribute(attention, k) for k in ("q_at", "k_at", "v_at")] == [0, 0, E]
    assert list(only(model, "Mlp").outputs[0].shape)[1:] in ([rows, C], [C])
    assert counts(model)["NormLinear"] == 2


def test_rows_that_others_read_stay() -> None:
    b = Builder()
    x, _ = _block(b, _tokens(b))
    model = b.model(_head(b, x, "first"), b.op("ReduceMax", x))
    (found,) = rewrite(model, NarrowRows())
    assert found.matches == 0


def test_a_layer_with_other_readers_is_not_split() -> None:
    b = Builder()
    x, qkv = _block(b, _tokens(b))
    model = b.model(_head(b, x, "first"), b.op("ReduceMax", qkv))
    rewrite(model, NarrowRows())
    assert counts(model)["NormLinear"] == 1
    assert only(model, "Attention").inputs[0].shape[1] == 1


def test_parts_that_are_joined_are_told_apart() -> None:
    b = Builder()
    one, two = (_same(b, "Tanh", b.input("n", n, C, name=f"x{n}")) for n in (2, 5))
    joined = b.op("Concat", one, two, axis=1)
    joined.type, joined.shape = one.type, ir.Shape(["n", N, C])
    model = b.model(_head(b, _mlp(b, joined), "first"))
    rewrite(model, NarrowRows())
    assert "Concat" not in counts(model)


def test_what_mixes_tokens_stops_it() -> None:
    b = Builder()
    x = _same(b, "Softmax", _tokens(b), axis=1)
    model = b.model(_head(b, x, "first"))
    (found,) = rewrite(model, NarrowRows())
    assert found.matches == 0


def _selected(b: Builder, fuse: int, *, bias: Any = None, clamp: Any = FREE) -> Any:
    x = _tokens(b)
    qkv = _op(b, "NormLinear", x, b.random(3 * E, C), b.random(3 * E), epsilon=1e-6)
    out = _op(b, "Attention", qkv, qkv, **packed(H, D, D))
    x = _op(b, "LinearAdd", out, b.random(C, E), b.random(C), x, **clamp)
    places = {k: v for k, v in packed(H, D, D).items() if k not in ("dim_v", "v_at")}
    bias = np.zeros(C) if bias is None else bias
    return x, _op(b, "SelectTokens", x, qkv, qkv, bias, **places, keep=3, fuse=fuse)


@pytest.mark.parametrize("fuse", [0, 1])
def test_a_selection_moves_before_its_attention(fuse: int) -> None:
    b = Builder()
    _, (y, _, weights) = _selected(b, fuse)
    model = b.model(b.op("Tanh", y), b.op("Exp", weights))
    (found,) = rewrite(model, SelectBeforeAttention())
    assert found.matches == 1
    assert counts(model)["SelectedAttention"] == 1
    assert only(model, "LinearAdd").inputs[0].shape[1] == 4 + fuse
    assert const(only(model, "SelectTokens").inputs[3]).any()  # the projection's bias


def test_selections_that_cannot_move_say_why() -> None:
    for change, reason in (
        ({"clamp": {"min": 0.0, "max": NO_MAX}}, "an activation stands before"),
        ({}, "second consumer"),
    ):
        b = Builder()
        x, (y, *_) = _selected(b, 1, **change)
        outputs = [b.op("Tanh", y)] + ([] if change else [b.op("ReduceMax", x)])
        result = SelectBeforeAttention().run(b.model(*outputs))
        assert result.matches == 0
        assert reason in reasons(result)
