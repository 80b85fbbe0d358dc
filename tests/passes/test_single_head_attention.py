"""SHViT's mixer: found in any layout, refused with the reason where it is something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.compiler.ops.base import NO_MAX
from attnc.passes.canonical.attention_op import CanonicalAttention
from attnc.passes.canonical.einsum import CanonicalEinsum
from attnc.passes.fuse.single_head_attention import FuseSingleHeadAttention
from attnc.passes.graph import attribute, const

C, P, QK, H, W = 10, 5, 3, 2, 3
N = H * W
SCALE = 0.6


@dataclass(frozen=True)
class Form:
    """One way to write the mixer; the fields are what authors and exporters vary."""

    cut: str = "split"
    core: str = "columns"
    relu: str = "after"
    scale: str = "scores"
    order: tuple[str, ...] = ("q", "k", "v")
    swapped: bool = False
    batch: int | str = "n"


def _cut(b: Builder, x: ir.Value, sizes: list[int], how: str, axis: int = 1) -> list[ir.Value]:
    ends = np.cumsum(sizes)
    if how == "split":
        return b.ops("Split", x, np.array(sizes), outputs=len(sizes), axis=axis)
    spans = list(zip(ends - sizes, ends, strict=True))
    if how == "slice":
        return [b.op("Slice", x, [int(s)], [int(e)], [axis]) for s, e in spans]
    return [b.op("Gather", x, np.arange(s, e), axis=axis) for s, e in spans]


def _normalised(b: Builder, x: ir.Value, rows: int = 1) -> ir.Value:
    flat = b.op("Reshape", x, np.array([0, rows, -1]))
    ones, zeros = np.ones(rows, np.float32), np.zeros(rows, np.float32)
    n = b.op("InstanceNormalization", flat, ones, zeros, epsilon=1e-4)
    n = b.op("Reshape", n, np.array([0, P, H, W]))
    return b.op("Add", b.op("Mul", n, b.random(P, 1, 1)), b.random(P, 1, 1))


def _scaled(b: Builder, value: ir.Value, factor: float) -> ir.Value:
    return b.op("Mul", value, np.array(factor, np.float32))


def _core(b: Builder, form: Form, qkv: ir.Value) -> ir.Value:
    """[B, 2*QK+P, H, W] to [B, P, H, W]."""
    flat = b.op("Reshape", qkv, np.array([0, 2 * QK + P, -1]))
    sizes = [P if name == "v" else QK for name in form.order]
    parts = dict(zip(form.order, _cut(b, flat, sizes, form.cut), strict=True))
    q, k, v = (parts[name] for name in "qkv")
    if form.scale == "both":
        q, k = _scaled(b, q, SCALE**0.5), _scaled(b, k, SCALE**0.5)
    if form.core == "keys_first":
        scores = b.op("MatMul", b.op("Transpose", k, perm=[0, 2, 1]), q)
    else:
        if form.core == "heads":
            q, k, v = (b.op("Unsqueeze", value, np.array([1])) for value in (q, k, v))
        perm = [0, 1, 3, 2] if form.core == "heads" else [0, 2, 1]
        scores = b.op("MatMul", b.op("Transpose", q, perm=perm), k)
    if form.scale == "scores":
        scores = _scaled(b, scores, SCALE)
    if form.scale == "divided":
        scores = b.op("Div", scores, np.array([1 / SCALE], np.float32))
    if form.core == "keys_first":
        out = b.op("MatMul", v, b.op("Softmax", scores, axis=1))
    elif form.core == "tokens":
        weights = b.op("Softmax", scores, axis=-1)
        out = b.op("MatMul", weights, b.op("Transpose", v, perm=[0, 2, 1]))
        out = b.op("Transpose", out, perm=[0, 2, 1])
    else:
        weights = b.op("Transpose", b.op("Softmax", scores, axis=-1), perm=perm)
        out = b.op("MatMul", v, weights)
    return b.op("Reshape", out, np.array([0, P, H, W]))


def _mixer(b: Builder, x: ir.Value, form: Form, core: Callable[..., ir.Value] = _core) -> ir.Value:
    x1, x2 = _cut(b, x, [P, C - P], form.cut)
    out = core(b, form, b.conv(_normalised(b, x1), P, 2 * QK + P))
    if form.relu == "before":
        joined = b.op("Concat", b.op("Relu", out), b.op("Relu", x2), axis=1)
    else:
        joined = b.op("Relu", b.op("Concat", out, x2, axis=1))
    y = b.conv(joined, C, C)
    return b.op("Add", *((y, x) if form.swapped else (x, y)))


def _x(b: Builder, batch: int | str = "n") -> ir.Value:
    return b.op("Tanh", b.input(batch, C, H, W))


FORMS = {
    "split": Form(),
    "slice": Form(cut="slice"),
    "gather": Form(cut="gather"),
    "tokens": Form(core="tokens"),
    "keys_first": Form(core="keys_first"),
    "heads": Form(core="heads"),
    "relu_before": Form(relu="before"),
    "scale_on_both": Form(scale="both"),
    "scale_divided": Form(scale="divided"),
    "no_scale": Form(scale="none"),
    "other_order": Form(order=("v", "k", "q")),
    "swapped_add": Form(swapped=True),
    "batch_1": Form(batch=1),
    "batch_3": Form(batch=3, core="heads", cut="slice"),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str) -> None:
    form = FORMS[name]
    b = Builder()
    model = b.model(_mixer(b, _x(b, form.batch), form))
    assert rewrite(model, FuseSingleHeadAttention())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "SingleHeadAttention": 1}
    node = only(model, "SingleHeadAttention")
    scale = 1.0 if form.scale == "none" else SCALE
    assert attribute(node, "scale") == pytest.approx(scale)
    assert attribute(node, "epsilon") == pytest.approx(1e-4)
    assert (attribute(node, "dim_qk"), attribute(node, "dim_v")) == (QK, P)
    assert (attribute(node, "min"), attribute(node, "max")) == (0.0, np.float32(NO_MAX))
    assert const(node.inputs[3]).shape == (2 * QK + P, P, 1, 1)


def test_mixers_in_a_row() -> None:
    b = Builder()
    x = _x(b)
    for form in (FORMS["split"], FORMS["tokens"], FORMS["relu_before"]):
        x = _mixer(b, x, form)
    model = b.model(x)
    assert rewrite(model, FuseSingleHeadAttention())[0].matches == 3
    assert counts(model) == {"Tanh": 1, "SingleHeadAttention": 3}


def test_the_attention_operator_of_opset_23() -> None:
    def core(b: Builder, form: Form, qkv: ir.Value) -> ir.Value:
        flat = b.op("Reshape", qkv, np.array([0, 1, 2 * QK + P, -1]))
        tokens = b.op("Transpose", flat, perm=[0, 1, 3, 2])
        q, k, v = _cut(b, tokens, [QK, QK, P], "split", axis=3)
        out = b.op("Attention", q, k, v, scale=SCALE)
        return b.op("Reshape", b.op("Transpose", out, perm=[0, 1, 3, 2]), np.array([0, P, H, W]))

    b = Builder(opset=23)
    model = b.model(_mixer(b, _x(b), Form(), core))
    for value in model.graph.all_nodes():
        assert value.outputs[0].shape is not None
    results = rewrite(model, CanonicalAttention(), FuseSingleHeadAttention())
    assert [result.matches for result in results] == [1, 1]
    assert counts(model) == {"Tanh": 1, "SingleHeadAttention": 1}


def test_products_written_as_einsum() -> None:
    def core(b: Builder, form: Form, qkv: ir.Value) -> ir.Value:
        flat = b.op("Reshape", qkv, np.array([0, 2 * QK + P, -1]))
        q, k, v = _cut(b, flat, [QK, QK, P], "split")
        scores = b.op("Einsum", q, k, equation="bci,bcj->bij")
        weights = b.op("Softmax", scores, axis=-1)
        out = b.op("Einsum", weights, v, equation="bij,bcj->bci")
        return b.op("Reshape", out, np.array([0, P, H, W]))

    b = Builder()
    model = b.model(_mixer(b, _x(b), Form(), core))
    results = rewrite(model, CanonicalEinsum(), FuseSingleHeadAttention())
    assert [result.matches for result in results] == [2, 1]
    assert counts(model) == {"Tanh": 1, "SingleHeadAttention": 1}


def test_a_causal_attention_operator_is_refused() -> None:
    b = Builder(opset=23)
    q = b.input("n", 1, 4, 3)
    model = b.model(b.op("Attention", q, q, q, is_causal=1))
    assert "causal" in reasons(CanonicalAttention().run(model))


def _refusal(model: ir.Model) -> str:
    (result,) = rewrite(model, FuseSingleHeadAttention())
    assert result.matches == 0
    return reasons(result)


def _plain_core(b: Builder, qkv: ir.Value, change: Callable[..., ir.Value]) -> ir.Value:
    """The core with one value passed through `change(name, value)`."""
    flat = b.op("Reshape", qkv, np.array([0, 2 * QK + P, -1]))
    q, k, v = (
        change(n, t) for n, t in zip("qkv", _cut(b, flat, [QK, QK, P], "split"), strict=True)
    )
    scores = change("scores", b.op("MatMul", b.op("Transpose", q, perm=[0, 2, 1]), k))
    weights = change("weights", b.op("Softmax", scores, axis=-1))
    out = change("out", b.op("MatMul", v, b.op("Transpose", weights, perm=[0, 2, 1])))
    return b.op("Reshape", out, np.array([0, P, H, W]))


def _changed(name: str, how: Callable[[Builder, ir.Value], ir.Value]) -> str:
    b = Builder()

    def core(b: Builder, form: Form, qkv: ir.Value) -> ir.Value:
        return _plain_core(b, qkv, lambda n, value: how(b, value) if n == name else value)

    return _refusal(b.model(_mixer(b, _x(b), Form(), core)))


def _reversed_tokens(b: Builder, value: ir.Value) -> ir.Value:
    return b.op("Gather", value, np.arange(N)[::-1].copy(), axis=2)


@pytest.mark.parametrize(
    ("name", "how", "reason"),
    [
        ("scores", lambda b, v: b.op("Add", v, b.random(N, N)), "come from Add"),
        ("scores", lambda b, v: b.op("Mul", v, b.random(N, N)), "come from Mul"),
        ("weights", lambda b, v: b.op("Mul", v, b.random(N, N)), "go through Mul"),
        ("weights", lambda b, v: b.op("Transpose", v, perm=[0, 2, 1]), "does not sum over"),
        ("q", lambda b, v: b.op("Relu", v), "different values"),
        ("v", lambda b, v: b.op("Exp", v), "another value"),
        ("v", lambda b, v: b.op("Mul", v, np.array(2, np.float32)), "v is scaled"),
        ("k", _reversed_tokens, "position by position"),
        ("q", _reversed_tokens, "position by position"),
        ("v", _reversed_tokens, "position by position"),
        ("out", _reversed_tokens, "does not see the attention"),
        ("out", lambda b, v: b.op("Exp", v), "flows into Exp"),
    ],
)
def test_changed_attention_is_refused(
    name: str, how: Callable[[Builder, ir.Value], ir.Value], reason: str
) -> None:
    assert reason in _changed(name, how)


def test_attention_weights_that_are_read_are_refused() -> None:
    b = Builder()
    kept = []

    def core(b: Builder, form: Form, qkv: ir.Value) -> ir.Value:
        def keep(name: str, value: ir.Value) -> ir.Value:
            kept.extend([value] if name == "weights" else [])
            return value

        return _plain_core(b, qkv, keep)

    y = _mixer(b, _x(b), Form(), core)
    assert "second consumer" in _refusal(b.model(y, b.op("Exp", kept[0])))


def test_a_softmax_elsewhere_is_refused() -> None:
    b = Builder()
    model = b.model(b.op("Softmax", b.input("n", 4), axis=-1))
    assert "its scores come from an input" in _refusal(model)


def test_the_other_channels_must_be_untouched() -> None:
    b = Builder()
    x = _x(b)
    x1, x2 = _cut(b, x, [P, C - P], "split")
    out = _core(b, Form(), b.conv(_normalised(b, x1), P, 2 * QK + P))
    joined = b.op("Relu", b.op("Concat", out, b.op("Sin", x2), axis=1))
    assert "is joined to the attention" in _refusal(b.model(b.op("Add", x, b.conv(joined, C, C))))


def test_the_other_channels_must_come_second() -> None:
    b = Builder()
    x = _x(b)
    x1, x2 = _cut(b, x, [P, C - P], "split")
    out = _core(b, Form(), b.conv(_normalised(b, x1), P, 2 * QK + P))
    joined = b.op("Relu", b.op("Concat", x2, out, axis=1))
    assert "does not see" in _refusal(b.model(b.op("Add", x, b.conv(joined, C, C))))


def test_the_normalised_channels_must_come_first() -> None:
    b = Builder()
    x = _x(b)
    x2, x1 = _cut(b, x, [C - P, P], "split")
    out = _core(b, Form(), b.conv(_normalised(b, x1), P, 2 * QK + P))
    joined = b.op("Relu", b.op("Concat", out, x2, axis=1))
    assert "not the first ones" in _refusal(b.model(b.op("Add", x, b.conv(joined, C, C))))


def test_a_mixer_without_norm_is_refused() -> None:
    b = Builder()
    x = _x(b)
    x1, x2 = _cut(b, x, [P, C - P], "split")
    out = _core(b, Form(), b.conv(x1, P, 2 * QK + P))
    joined = b.op("Relu", b.op("Concat", out, x2, axis=1))
    assert "no GroupNorm" in _refusal(b.model(b.op("Add", x, b.conv(joined, C, C))))


def test_a_norm_per_channel_is_refused() -> None:
    b = Builder()
    x = _x(b)
    x1, x2 = _cut(b, x, [P, C - P], "split")
    out = _core(b, Form(), b.conv(_normalised(b, x1, rows=P), P, 2 * QK + P))
    joined = b.op("Relu", b.op("Concat", out, x2, axis=1))
    assert "not over one group" in _refusal(b.model(b.op("Add", x, b.conv(joined, C, C))))


def test_a_mixer_without_residual_is_refused() -> None:
    b = Builder()
    x = _x(b)
    x1, x2 = _cut(b, x, [P, C - P], "split")
    out = _core(b, Form(), b.conv(_normalised(b, x1), P, 2 * QK + P))
    joined = b.op("Relu", b.op("Concat", out, x2, axis=1))
    assert "residual add" in _refusal(b.model(b.op("Exp", b.conv(joined, C, C))))


def test_several_heads_are_refused() -> None:
    def core(b: Builder, form: Form, qkv: ir.Value) -> ir.Value:
        flat = b.op("Reshape", qkv, np.array([0, 3, 2, 2, N]))
        q, k, v = (
            b.op("Squeeze", t, np.array([1])) for t in _cut(b, flat, [1, 1, 1], "split", axis=1)
        )
        scores = b.op("MatMul", b.op("Transpose", q, perm=[0, 1, 3, 2]), k)
        weights = b.op("Transpose", b.op("Softmax", scores, axis=-1), perm=[0, 1, 3, 2])
        return b.op("Reshape", b.op("MatMul", v, weights), np.array([0, 4, H, W]))

    b = Builder()
    x = _x(b)
    out = core(b, Form(), b.conv(b.op("Slice", x, [0], [4], [1]), 4, 12))
    model = b.model(b.op("Add", x, b.conv(b.op("Concat", out, out, out, axis=1), 12, C)))
    assert "2 heads, not one" in _refusal(model)
