"""MSA-Conv: found however it is written, refused with the reason where it is something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, compute, counts, distance, only, random_feeds, reasons, rewrite
from window_exports import CHANNELS, SIZE, STYLES, Style, export

from attnc.passes import pipelines
from attnc.passes.fuse.window_attention import FuseWindowAttention
from attnc.passes.graph import attribute

H, W = SIZE


def _operator(style: Style) -> str:
    return "WindowAttentionPooled" if style.pool else "WindowAttention"


@pytest.mark.parametrize("name", STYLES)
def test_every_style_fuses(name: str) -> None:
    style, data = STYLES[name], export(name)
    model, original = ir.from_proto(_proto(data)), ir.from_proto(_proto(data))
    for step in pipelines.default():
        step.run(model)
    found = counts(model)
    assert found.pop(_operator(style)) == 1
    assert set(found) <= {"FusedConv", "Transpose", "Concat", "Linear", "MatMul", "Add"}
    node = only(model, _operator(style))
    assert tuple(attribute(node, "kernel_shape")) == style.kernel
    assert attribute(node, "shift") == style.shift % (H * W)
    assert attribute(node, "scale") == pytest.approx(CHANNELS**-0.5)
    feeds = random_feeds(original, 3)
    assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5


def _proto(data: bytes):
    import onnx

    return onnx.load_from_string(data)


Change = Callable[[Builder, str, ir.Value], ir.Value]


def _places(count: int, size: int) -> np.ndarray:
    return np.arange(count)[:, None] + np.arange(size)[None, :]


def _unfolded(
    b: Builder, x: ir.Value, rows: np.ndarray, columns: np.ndarray, mode: str
) -> ir.Value:
    """[1, C, kh*kw, H, W] by Pad and Gather, as F.unfold is exported."""
    padded = b.op("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode=mode)
    tall = b.op("Gather", padded, rows, axis=2)
    wide = b.op("Gather", tall, columns, axis=4)
    placed = b.op("Transpose", wide, perm=[0, 1, 2, 4, 3, 5])
    return b.op("Reshape", placed, np.array([1, CHANNELS, -1, H, W]))


def _layer(
    b: Builder,
    change: Change = lambda b, name, value: value,
    *,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
    mode: str = "constant",
) -> ir.Value:
    """x plus the attention; every named value goes through `change`."""
    rows = _places(3, H) if rows is None else rows
    columns = _places(3, W) if columns is None else columns
    x = b.op("Tanh", b.input(1, CHANNELS, H, W))
    q, k, v = b.ops("Split", b.conv(x, CHANNELS, 3 * CHANNELS), axis=1, num_outputs=3, outputs=3)
    keys, values = (_unfolded(b, t, rows, columns, mode) for t in (k, v))
    q = change(b, "q", b.op("Unsqueeze", q, np.array([2])))
    products = b.op("Mul", q, change(b, "keys", keys))
    logits = b.op("ReduceSum", products, np.array([1]), keepdims=0)
    logits = change(b, "logits", b.op("Mul", logits, np.array(0.4, np.float32)))
    weights = change(b, "weights", b.op("Softmax", logits, axis=1))
    weighted = b.op("Mul", b.op("Unsqueeze", weights, np.array([1])), change(b, "values", values))
    out = change(b, "out", b.op("ReduceSum", weighted, np.array([2]), keepdims=0))
    return b.op("Add", out, x)


def test_the_layer_fuses_with_its_residual() -> None:
    b = Builder()
    model = b.model(_layer(b))
    (result,) = rewrite(model, FuseWindowAttention())
    assert result.matches == 1
    assert counts(model) == {"Tanh": 1, "Conv": 1, "Transpose": 3, "WindowAttention": 1}


def test_a_scaled_result_keeps_its_own_residual() -> None:
    b = Builder()
    model = b.model(_layer(b, _at("out", lambda b, v: b.op("Tanh", v))))
    (result,) = rewrite(model, FuseWindowAttention())
    assert result.matches == 1
    assert counts(model)["WindowAttentionBare"] == 1
    assert counts(model)["Add"] == 1


def _at(place: str, how: Callable[[Builder, ir.Value], ir.Value]) -> Change:
    return lambda b, name, value: how(b, value) if name == place else value


def _refusal(model: ir.Model) -> str:
    (result,) = rewrite(model, FuseWindowAttention())
    assert result.matches == 0
    return reasons(result)


@pytest.mark.parametrize(
    ("place", "how", "reason"),
    [
        ("logits", lambda b, v: b.op("Add", v, b.random(9, H, W)), "something besides"),
        ("logits", lambda b, v: b.op("Relu", v), ""),
        ("weights", lambda b, v: b.op("Relu", v), "flow into Relu"),
        ("weights", lambda b, v: b.op("Mul", v, b.random(9, 1, 1)), "regular window"),
        ("values", lambda b, v: b.op("Mul", v, np.array(2, np.float32)), "regular window"),
        ("values", lambda b, v: b.op("Gather", v, np.arange(9)[::-1].copy(), axis=2), "regular"),
    ],
)
def test_changed_attention_is_refused(
    place: str, how: Callable[[Builder, ir.Value], ir.Value], reason: str
) -> None:
    b = Builder()
    assert reason in _refusal(b.model(_layer(b, _at(place, how))))


def test_a_window_without_a_middle_is_refused() -> None:
    b = Builder()
    model = b.model(_layer(b, rows=_places(2, H), columns=_places(2, W)))
    assert "4 places has no middle" in _refusal(model)


def test_a_window_beside_the_pixel_is_refused() -> None:
    b = Builder()
    model = b.model(_layer(b, rows=_places(1, H), columns=_places(3, W)))
    assert "no place of its window is the pixel itself" in _refusal(model)


def test_an_irregular_window_is_refused() -> None:
    b = Builder()
    rows = np.array([[1], [1], [2]]) + np.arange(H)[None, :]
    model = b.model(_layer(b, rows=np.minimum(rows, H + 1)))
    assert "window" in _refusal(model)


def test_padding_that_is_not_zero_is_refused() -> None:
    b = Builder()
    assert "padding is not zero" in _refusal(b.model(_layer(b, mode="reflect")))


def test_weights_that_are_read_are_refused() -> None:
    b, kept = Builder(), []

    def keep(b: Builder, name: str, value: ir.Value) -> ir.Value:
        kept.extend([value] if name == "weights" else [])
        return value

    y = _layer(b, keep)
    assert "do not come together" in _refusal(b.model(y, b.op("Exp", kept[0])))


def test_scores_that_are_read_are_refused() -> None:
    b, kept = Builder(), []

    def keep(b: Builder, name: str, value: ir.Value) -> ir.Value:
        kept.extend([value] if name == "logits" else [])
        return value

    y = _layer(b, keep)
    assert "second consumer" in _refusal(b.model(y, b.op("Exp", kept[0])))


def test_attention_without_a_window_is_no_near_miss() -> None:
    b = Builder()
    q = b.input(1, 6, 4)
    scores = b.op("MatMul", q, b.op("Transpose", q, perm=[0, 2, 1]))
    model = b.model(b.op("MatMul", b.op("Softmax", scores, axis=-1), q))
    assert _refusal(model) == ""
