"""GLMix's slots: the cosine in all spellings, both softmaxes in all orientations, and refusals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.passes.clean.fold import FoldConstants
from attnc.passes.fuse.slots import FuseSlots
from attnc.passes.graph import attribute

B, L, S, C = "batch", 12, 5, 7
SCALE = 3.0


@dataclass(frozen=True)
class Form:
    """One way to write clustering and dispatching."""

    length: str = "clip"
    scale: str = "scores"
    learned: bool = False
    tokens_first: bool = False
    softmax: str = "last"
    dispatch: str = "rows"
    floor: float = 1e-12


FORMS = {
    "plain": Form(),
    "max": Form(length="max"),
    "sum_of_squares": Form(length="sum"),
    "square_operator": Form(length="square"),
    "pow": Form(length="pow"),
    "no_floor": Form(length="bare"),
    "reciprocal": Form(length="reciprocal"),
    "expanded": Form(length="expand"),
    "scaled_tokens": Form(scale="tokens"),
    "scaled_slots": Form(scale="slots"),
    "scaled_twice": Form(scale="softmaxes"),
    "learned": Form(learned=True),
    "learned_scaled": Form(learned=True, scale="slots"),
    "tokens_first": Form(tokens_first=True),
    "softmax_of_columns": Form(softmax="columns"),
    "tokens_first_columns": Form(tokens_first=True, softmax="columns"),
    "dispatch_of_columns": Form(dispatch="columns"),
}


def direction(b: Builder, x: ir.Value, form: Form) -> ir.Value:
    if form.length == "sum":
        length = b.op("Sqrt", b.op("ReduceSum", b.op("Mul", x, x), [-1], keepdims=1))
    elif form.length == "square":
        length = b.op("Sqrt", b.op("ReduceSumSquare", x, [2], keepdims=1))
    elif form.length == "pow":
        square = b.op("ReduceSum", b.op("Pow", x, np.float32(2)), [-1], keepdims=1)
        length = b.op("Pow", square, np.float32(0.5))
    else:
        length = b.op("ReduceL2", x, [-1], keepdims=1)
    floor = np.float32(form.floor)
    if form.length == "max":
        length = b.op("Max", length, floor)
    elif form.length != "bare":
        length = b.op("Clip", length, floor)
    if form.length == "expand":
        length = b.op("Expand", length, [1, 1, C])
    if form.length == "reciprocal":
        return b.op("Mul", x, b.op("Reciprocal", length))
    return b.op("Div", x, length)


def swap(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Transpose", x, perm=[0, 2, 1])


def scaled(b: Builder, x: ir.Value, wanted: bool) -> ir.Value:
    return b.op("Mul", np.float32(SCALE), x) if wanted else x


def slots_model(form: Form, *, leak: bool = False, other: str = "") -> ir.Model:
    """Clustering, one product on the slots, dispatching."""
    b = Builder()
    x = b.input(B, L, C)
    tokens = b.op("Relu", b.op("Add", x, np.float32(0.5)))
    slots = b.const(b.random(1, S, C)) if form.learned else b.input(B, S, C, name="slots")
    t = scaled(b, direction(b, tokens, form), form.scale == "tokens")
    s = scaled(b, direction(b, slots, form), form.scale == "slots")
    one, two = (t, s) if form.tokens_first else (s, t)
    logits = b.op("MatMul", one, swap(b, two))
    logits = scaled(b, logits, form.scale == "scores")
    over_tokens = scaled(b, logits, form.scale == "softmaxes")
    over_slots = scaled(b, logits, form.scale == "softmaxes" and other != "scale")
    columns = form.softmax == "columns"
    if form.tokens_first:  # logits [B, L, S]
        by_token = (
            swap(b, b.op("Softmax", over_tokens, axis=1))
            if columns
            else b.op("Softmax", swap(b, over_tokens), axis=-1)
        )
        by_slot = b.op("Softmax", over_slots, axis=-1)
    else:
        by_token = b.op("Softmax", over_tokens, axis=-1)
        by_slot = (
            swap(b, b.op("Softmax", over_slots, axis=1))
            if columns
            else b.op("Softmax", swap(b, over_slots), axis=-1)
        )
    gathered = b.op("MatMul", by_token, x if other == "values" else tokens)
    updated = b.op("MatMul", gathered, b.random(C, C))
    if form.dispatch == "columns":
        y = swap(b, b.op("MatMul", swap(b, updated), swap(b, by_slot)))
    else:
        y = b.op("MatMul", by_slot, updated)
    return b.model(y, b.op("Neg", logits)) if leak else b.model(y)


@pytest.mark.parametrize("name", FORMS)
def test_every_spelling_becomes_two_operators(name):
    model = slots_model(FORMS[name])
    _, result = rewrite(model, FoldConstants(), FuseSlots())
    assert result.matches == 1
    found = counts(model)
    assert found["SlotCluster"] == found["SlotDispatch"] == 1
    assert not {"Softmax", "Div", "ReduceL2"} & set(found)
    assert attribute(only(model, "SlotCluster"), "scale") == pytest.approx(SCALE)


@pytest.mark.parametrize(
    ("form", "options", "told"),
    [
        (Form(floor=1e-3), {}, "lengths below 0.001"),
        (Form(), {"leak": True}, "flow into Neg"),
        (Form(), {"other": "values"}, "multiplied by the vectors themselves"),
        (Form(scale="softmaxes"), {"other": "scale"}, "scale the cosines differently"),
    ],
)
def test_what_is_something_else_is_refused_with_the_reason(form, options, told):
    model = slots_model(form, **options)
    (result,) = rewrite(model, FuseSlots())
    assert result.matches == 0
    assert told in reasons(result)


def test_products_of_no_directions_are_no_near_miss():
    b = Builder()
    x = b.input(B, L, C)
    model = b.model(b.op("Softmax", b.op("MatMul", x, swap(b, x)), axis=-1))
    (result,) = rewrite(model, FuseSlots())
    assert result.matches == 0
    assert result.near_misses == ()
