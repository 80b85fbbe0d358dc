"""Multi-head attention: found in any layout of heads, refused where it is something else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.passes.canonical.attention_op import CanonicalAttention
from attnc.passes.clean.duplicates import MergeDuplicates
from attnc.passes.fuse.attention import FuseAttention
from attnc.passes.graph import attribute

N, C, H, D = 5, 7, 3, 4
E = H * D
SCALE = 0.6


@dataclass(frozen=True)
class Form:
    """One way to write attention; the fields are what authors and exporters vary."""

    cut: str = "five"  # five (reshape, permute), split, slice, layers, two
    order: str = "thd"  # of the packed channels: t is q, k or v
    scale: str = "scores"  # scores, q, both, divided, none
    heads: str = "separate"  # separate axis, or joined with the batch
    core: str = "rows"  # rows, or keys_first
    batch: int | str = "n"
    second: bool = False  # [tokens, batch, channels]


def _linear(b: Builder, x: ir.Value, width: int, bias: bool = True) -> ir.Value:
    y = b.op("MatMul", x, b.random(C, width) * 0.5)
    return b.op("Add", y, b.random(width)) if bias else y


def _heads(b: Builder, x: ir.Value, form: Form) -> ir.Value:
    """[B, N, E] (or [N, B, E]) to [B, H, N, D] (or [B * H, N, D])."""
    if form.second:
        x = b.op("Reshape", x, np.array([N, -1, D]))
        return b.op("Transpose", x, perm=[1, 0, 2])
    x = b.op("Transpose", b.op("Reshape", x, np.array([0, N, H, D])), perm=[0, 2, 1, 3])
    return b.op("Reshape", x, np.array([-1, N, D])) if form.heads == "joined" else x


def _parts(b: Builder, x: ir.Value, form: Form) -> list[ir.Value]:
    if form.cut == "layers":
        return [_heads(b, _linear(b, x, E, bias), form) for bias in (True, False, True)]
    if form.cut == "two":
        q, kv = _linear(b, b.op("Tanh", x), E), _linear(b, x, 2 * E)
        return [_heads(b, y, form) for y in (q, *b.ops("Split", kv, [E, E], outputs=2, axis=2))]
    qkv = _linear(b, x, 3 * E)
    if form.cut == "five":
        sizes = {"t": 3, "h": H, "d": D}
        axes = [2 + form.order.index(letter) for letter in "thd"]
        wide = b.op("Reshape", qkv, np.array([0, N, *(sizes[letter] for letter in form.order)]))
        wide = b.op("Transpose", wide, perm=[axes[0], 0, axes[1], 1, axes[2]])
        return [b.op("Gather", wide, np.array(t), axis=0) for t in range(3)]
    if form.cut == "split":
        parts = b.ops("Split", qkv, np.array([E, E, E]), outputs=3, axis=-1)
    else:
        parts = [b.op("Slice", qkv, [t * E], [(t + 1) * E], [2]) for t in range(3)]
    return [_heads(b, part, form) for part in parts]


def _scaled(b: Builder, value: ir.Value, factor: float) -> ir.Value:
    return b.op("Mul", value, np.array(factor, np.float32))


def _turned(b: Builder, value: ir.Value, rank: int) -> ir.Value:
    return b.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _weights(b: Builder, q: ir.Value, k: ir.Value, form: Form, rank: int) -> ir.Value:
    if form.scale in ("q", "both"):
        q = _scaled(b, q, SCALE if form.scale == "q" else SCALE**0.5)
        k = k if form.scale == "q" else _scaled(b, k, SCALE**0.5)
    if form.core == "keys_first":
        scores = b.op("MatMul", k, _turned(b, q, rank))
    else:
        scores = b.op("MatMul", q, _turned(b, k, rank))
    if form.scale == "scores":
        scores = _scaled(b, scores, SCALE)
    if form.scale == "divided":
        scores = b.op("Div", scores, np.array([1 / SCALE], np.float32))
    return b.op("Softmax", scores, axis=rank - 2 if form.core == "keys_first" else -1)


def _attention(b: Builder, x: ir.Value, form: Form) -> ir.Value:
    rank = 3 if form.heads == "joined" or form.second else 4
    q, k, v = _parts(b, x, form)
    weights = _weights(b, q, k, form, rank)
    if form.core == "keys_first":
        out = _turned(b, b.op("MatMul", _turned(b, v, rank), weights), rank)
    else:
        out = b.op("MatMul", weights, v)
    if form.second:
        out = b.op("Transpose", out, perm=[1, 0, 2])
        return b.op("Reshape", out, np.array([N, -1, E]))
    if form.heads == "joined":
        out = b.op("Reshape", out, np.array([-1, H, N, D]))
    out = b.op("Transpose", out, perm=[0, 2, 1, 3])
    return b.op("Reshape", out, np.array([0, N, E]))


FORMS = {
    "five_axes": Form(),
    "heads_before_qkv": Form(order="htd"),
    "interleaved": Form(order="dth"),
    "split": Form(cut="split"),
    "slice": Form(cut="slice"),
    "three_layers": Form(cut="layers"),
    "other_query": Form(cut="two"),
    "scale_on_q": Form(scale="q"),
    "scale_on_both": Form(scale="both"),
    "scale_divided": Form(scale="divided"),
    "no_scale": Form(scale="none"),
    "heads_with_batch": Form(heads="joined", cut="split"),
    "keys_first": Form(core="keys_first"),
    "batch_second": Form(second=True, cut="split"),
    "batch_second_layers": Form(second=True, cut="layers"),
    "batch_second_alone": Form(second=True, cut="split", batch=1),
    "batch_1": Form(batch=1, heads="joined", cut="split"),
    "batch_3": Form(batch=3),
}


def _x(b: Builder, form: Form) -> ir.Value:
    sizes = (N, form.batch, C) if form.second else (form.batch, N, C)
    return b.op("Tanh", b.input(*sizes))


@pytest.mark.parametrize("name", FORMS)
def test_attention_fuses(name: str) -> None:
    form, b = FORMS[name], Builder()
    model = b.model(b.op("Tanh", _attention(b, _x(b, form), form)))
    batches = (form.batch,) if isinstance(form.batch, int) else (2, 3)
    (found,) = rewrite(model, FuseAttention(), batches=batches)
    assert found.matches == 1
    node = only(model, "Attention")
    wanted = {"scores": SCALE, "none": 1.0}.get(form.scale, SCALE)
    assert attribute(node, "scale") == pytest.approx(wanted)
    assert [attribute(node, key) for key in ("heads", "dim_qk", "dim_v")] == [H, D, D]
    left = counts(model)
    assert not set(left) & {"Softmax", "Gather", "Slice", "Split", "Concat", "Div", "Mul"}
    assert left["MatMul"] == (2 if form.cut == "two" else 1)  # layers on one input became one
    assert left.get("Transpose", 0) == (2 if form.second and form.batch == "n" else form.second)
    assert left.get("Reshape", 0) == (name == "batch_second_alone")


def test_the_operator_of_opset_23_fuses() -> None:
    b = Builder(opset=23)
    x = b.op("Tanh", b.input("n", N, C))
    q, k, v = _parts(b, x, Form(cut="split"))
    out = b.op("Attention", q, k, v, scale=0.25)
    out = b.op("Reshape", b.op("Transpose", out, perm=[0, 2, 1, 3]), np.array([0, N, E]))
    model = b.model(b.op("Tanh", out))
    CanonicalAttention().run(model)
    assert FuseAttention().run(model).matches == 1
    assert attribute(only(model, "Attention"), "scale") == 0.25
    assert only(model, "Attention").domain == "attnc"


def test_two_readers_of_one_packing_share_it() -> None:
    b = Builder()
    x = b.op("Tanh", b.input("n", N, C))
    model = b.model(b.op("Add", *(_attention(b, x, Form(order="htd")) for _ in range(2))))
    rewrite(model, FuseAttention())
    MergeDuplicates().run(model)
    assert counts(model)["MatMul"] == 2  # other weights, other layers


def _refused(b: Builder, *outputs: ir.Value) -> str:
    result = FuseAttention().run(b.model(*outputs))
    assert result.matches == 0
    return reasons(result)


def test_what_is_not_plain_attention_is_refused() -> None:
    form = Form(cut="split")
    for change, reason in (
        (lambda b, s: b.op("Add", s, b.random(N, N)), "its scores come from Add"),
        (lambda b, s: b.op("Mul", s, b.random(N, N)), "its scores come from Mul"),
    ):
        b = Builder()
        q, k, v = _parts(b, _x(b, form), form)
        scores = change(b, b.op("MatMul", q, _turned(b, k, 4)))
        out = b.op("MatMul", b.op("Softmax", scores, axis=-1), v)
        assert reason in _refused(b, b.op("Tanh", out))


def test_weights_that_others_read_are_refused() -> None:
    form, b = Form(cut="split"), Builder()
    q, k, v = _parts(b, _x(b, form), form)
    weights = _weights(b, q, k, form, 4)
    out = b.op("MatMul", weights, v)
    text = _refused(b, b.op("Tanh", out), b.op("ReduceMax", weights))
    assert "read by more than the values" in text
    assert "ReduceMax" in text


def test_other_sums_are_refused() -> None:
    form, b = Form(cut="split"), Builder()
    q, k, v = _parts(b, _x(b, form), form)
    weights = _turned(b, _weights(b, q, k, form, 4), 4)
    text = _refused(b, b.op("Tanh", b.op("MatMul", weights, v)))
    assert "does not sum over the axis of the softmax" in text
