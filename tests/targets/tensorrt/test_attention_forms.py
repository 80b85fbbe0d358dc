"""Attention as TensorRT fuses it: packed or cut out, of selected rows, products or operator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import counts, only
from tensorrt_graphs import OPERATOR, PLAIN, Graph, census, lowered, plugins_of

from attnc.compiler.ops.attention import HEADS, packed
from attnc.passes.graph import attribute
from attnc.targets.tensorrt.lower import Options, lower

TOKENS, KEPT = 9, 4
BOTH = pytest.mark.parametrize("options", [PLAIN, OPERATOR], ids=["plain", "operator"])


def attention(heads: int, width: int, rows: int | None = None, **change: Any) -> ir.Model:
    """Of qkv [n, 9, 3 * heads * width], or of other queries."""
    g = Graph()
    how = {**packed(heads, width, width), **change}
    size = how["v_at"] + heads * how["dim_v"] + change.pop("more", 0)
    how.pop("more", None)
    memory = g.input("n", TOKENS, size)
    query = memory if rows is None else g.input("n", rows, heads * width, name="q")
    return g.model(g.fused("Attention", query, memory, **how))


def test_packed_attention_as_products() -> None:
    model = attention(2, 16)
    assert lowered(model, PLAIN) == []
    assert census(model) == {
        "Slice": 3,
        "Reshape": 4,
        "Transpose": 4,
        "Mul": 1,
        "MatMul": 2,
        "Softmax": 1,
    }


def test_packed_attention_as_the_operator_is_cut_once() -> None:
    model = attention(2, 16)
    assert lowered(model, OPERATOR) == []
    assert census(model) == {"Reshape": 2, "Transpose": 2, "Gather": 3, "Attention": 1}
    node = only(model, "Attention")
    assert attribute(node, "scale") == pytest.approx(16**-0.5)
    assert [list(v.shape)[1:] for v in node.inputs] == [[2, TOKENS, 16]] * 3


@BOTH
@pytest.mark.parametrize(
    ("change", "slices"),
    [
        ({"q_at": 32, "k_at": 0}, 3),  # another order
        ({"more": 8}, 3),  # channels of something else behind
        ({"dim_v": 8}, 3),
    ],
)
def test_parts_that_lie_otherwise_are_cut_out(
    options: Options, change: dict[str, int], slices: int
) -> None:
    model = attention(2, 16, **change)
    refusals = lowered(model, options)
    assert counts(model)["Slice"] == slices
    wide = "dim_v" in change and options.attention_operator
    assert [refusal.reason for refusal in refusals] == (
        ["queries and values differ in width"] if wide else []
    )
    assert ("Attention" in counts(model)) == (options.attention_operator and not wide)


@BOTH
def test_queries_of_another_value(options: Options) -> None:
    model = attention(2, 16, rows=5, q_at=0, k_at=0, v_at=32)
    assert lowered(model, options) == []
    assert counts(model)["Slice"] == 2  # the queries are the whole of their value
    assert ("Attention" in counts(model)) == options.attention_operator


def test_one_query_stays_a_product() -> None:
    model = attention(2, 16, rows=1, q_at=0, k_at=0, v_at=32)
    assert lowered(model, OPERATOR) == []
    assert "Attention" not in counts(model)


@pytest.mark.parametrize(
    ("width", "reason"),
    [
        (8, "heads of width 8 have no fused kernel"),
        (20, "heads of width 20 have no fused kernel"),
        (17, "heads of width 17 have no fused kernel"),
    ],
)
def test_widths_without_a_kernel(width: int, reason: str) -> None:
    model = attention(2, width)
    assert [refusal.reason for refusal in lowered(model, OPERATOR)] == [reason]
    assert counts(model)["Softmax"] == 1
    assert lowered(attention(2, width), PLAIN) == []


@pytest.mark.parametrize(("batch", "refused"), [(1, True), (2, False), ("n", False)])
def test_one_head_of_one_picture(batch: int | str, refused: bool) -> None:
    g = Graph()
    qkv = g.input(batch, TOKENS, 48)
    model = g.model(g.fused("Attention", qkv, qkv, **packed(1, 16, 16)))
    reasons = [refusal.reason for refusal in lowered(model, OPERATOR)]
    assert reasons == (["one head of one picture has no fused kernel"] if refused else [])
    assert ("Attention" in counts(model)) != refused


@BOTH
def test_tokens_of_unknown_number(options: Options) -> None:
    g = Graph()
    qkv = g.input("n", "tokens", 96)
    model = g.model(g.fused("Attention", qkv, qkv, **packed(2, 16, 16)))
    assert lowered(model, options) == []


@BOTH
def test_attention_of_unknown_rank_is_refused(options: Options) -> None:
    model = attention(2, 16)
    model.graph.inputs[0].shape = None
    (refusal,) = lower(model, options)
    assert refusal.reason == "the value 'x' is not known to have 3 axes"
    assert "Softmax" in counts(model)  # its body


# --- selected rows -------------------------------------------------------------------------------


def selected(fuse: int, *, tokens: Any = TOKENS, heads: int = 2, width: int = 16) -> ir.Model:
    """The rows that a ranking keeps attend; with `fuse` the others' sum is a row, too."""
    g = Graph()
    how = packed(heads, width, width)
    qkv = g.like(g.op("Tanh", g.input("n", tokens, 3 * heads * width)), "n", tokens, 96)
    scores = {name: how[name] for name in HEADS if name not in ("dim_v", "v_at")}
    x = g.input("n", tokens, 6, name="rows")
    bias = np.zeros(6, np.float32)
    y, index, weights = g.fused("SelectTokens", x, qkv, qkv, bias, **scores, keep=KEPT, fuse=fuse)
    out = g.fused("SelectedAttention", qkv, qkv, index, weights, **how, fuse=fuse)
    return g.model(g.like(g.op("Tanh", y), *y.shape), g.like(g.op("Neg", out), *out.shape))


@BOTH
def test_selected_rows_are_taken_before_they_attend(options: Options) -> None:
    model = selected(0)
    assert lowered(model, options) == []
    assert plugins_of(model) == {"SelectTokens": 1}
    assert counts(model)["GatherND"] == 1
    if options.attention_operator:
        node = only(model, "Attention")
        assert list(node.inputs[0].shape)[1:] == [2, 1 + KEPT, 16]
        assert list(node.inputs[1].shape)[1:] == [2, TOKENS, 16]


@BOTH
def test_with_a_fused_row_all_rows_attend(options: Options) -> None:
    model = selected(1)
    assert lowered(model, options) == []
    assert counts(model)["GatherND"] == 1
    assert counts(model)["MatMul"] == (1 if options.attention_operator else 3)
    if options.attention_operator:
        assert list(only(model, "Attention").outputs[0].shape)[1:] == [2, TOKENS, 16]


@pytest.mark.parametrize("fuse", [0, 1])
def test_selection_among_an_unknown_number_is_refused(fuse: int) -> None:
    model = selected(fuse, tokens="tokens")
    before = counts(model)
    (refusal,) = lower(model, PLAIN)
    assert refusal.reason == "the number of tokens is not known"
    assert before["SelectedAttention"] == 1
    assert plugins_of(model) == {"SelectTokens": 1}


def test_a_selection_on_its_body_keeps_the_attention() -> None:
    model = selected(1)
    assert lowered(model, replace(OPERATOR, bodies=frozenset({"SelectTokens"}))) == []
    assert plugins_of(model) == {}
    assert counts(model)["TopK"] == 1
