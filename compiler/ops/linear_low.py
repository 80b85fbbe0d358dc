"""The token-wise linear layers with weights in fewer bits: LinearHalf, LinearInt8 and their like.

Half: weights are float16, the arithmetic is the device's, in half precision where it has it. Int8:
weights are bytes, and each row of x (after the norm) is rounded to bytes when it is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, size
from attnc.compiler.ops.convolution import clamped
from attnc.compiler.ops.linear import VARIANTS, tail
from attnc.compiler.ops.linear_packed import output_shape
from attnc.compiler.ops.low_packing import (
    MOST,
    pack_bytes,
    pack_halves,
    unpack_bytes,
    unpack_halves,
)
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_vector
from attnc.compiler.ops.reference import gelu, layer_norm

HALF, INT8 = "Half", "Int8"
#: A row of zeros is divided by this, over 127.
TINY = np.float32(1e-30)
#: Sums of 64 halves; or a few elements that lie between two bytes and are rounded the other way.
ROUNDING = 5e-3
#: Examples keep this far (in steps) from where rounding to bytes is a matter of the last bit.
CLEAR = 5e-4


def rounded_rows(x: Array) -> tuple[Array, Array]:
    """Rows as whole numbers from -127 to 127 and what they were divided by, in float32 steps."""
    rows = np.asarray(x, np.float32)
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    divisor = np.maximum(largest, TINY) / np.float32(MOST)
    return np.rint(rows * (np.float32(1) / divisor)).astype(np.float64), divisor.astype(np.float64)


def make(semantic: Operator, bits: str) -> Operator:
    """One of the linear layers with weights of these bits."""
    lowering = _lowering(semantic, bits)
    own = {"in_features": "int"} if bits == INT8 else {}
    attributes = {"out_features": "int", **own, **semantic.attributes}
    norm, clamp = "epsilon" in attributes, "min" in attributes

    def reference(
        x: Array, w: Array, f: Array, b: Array, r: Array | None = None, **a: object
    ) -> Array:
        (weight, bias), kept = lowering.unpack((w, f, b), a)
        rows = layer_norm(x, _number(a["epsilon"])) if norm else np.asarray(x, np.float64)
        divisor: Array | float = 1.0
        if bits == INT8:
            rows, divisor = rounded_rows(rows)
        y = (rows @ weight.T) * divisor + bias
        y = y if r is None else y + r
        return gelu(y) if "Gelu" in semantic.name else clamped(y, kept) if clamp else y

    def examples(rng: np.random.Generator) -> list[Example]:
        found = lowering.examples(rng)
        return [_clear(example, rng) for example in found] if bits == INT8 else found

    return Operator(
        name=f"{semantic.name}{bits}",
        inputs=("x", "w", "f", "b", *semantic.inputs[3:]),
        outputs=("y",),
        attributes=attributes,
        body=_body(semantic, bits, norm=norm, clamp=clamp),
        reference=reference,
        output_shape=output_shape,
        examples=examples,
        cost=_half_cost if bits == HALF else _int8_cost,
        doc=f"{semantic.doc}; weights in {'16' if bits == HALF else '8'} bits",
        rounding=ROUNDING,
    )


def _lowering(semantic: Operator, bits: str) -> Lowering:
    """The two directions; w becomes panels and column factors."""

    def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
        w, b = weights
        panels, scale = (pack_halves if bits == HALF else pack_bytes)(w.T)
        sizes = {"out_features": w.shape[0]}
        sizes |= {"in_features": w.shape[1]} if bits == INT8 else {}
        return (panels, scale, pack_vector(b)), {**sizes, **attributes}

    def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
        panels, scale, b = packed
        n = attributes["out_features"]
        w = (
            unpack_halves(panels, scale, n)
            if bits == HALF
            else unpack_bytes(panels, scale, attributes["in_features"], n)
        )
        kept = pick(attributes, *semantic.attributes)
        return (w.T, b[:n]), kept

    trailing = int("r" in semantic.inputs)
    return Lowering(semantic, pack, unpack, (1, trailing), layout_free=True)


def _clear(example: Example, rng: np.random.Generator) -> Example:
    """The example with rows drawn anew that have an element near the middle of two bytes."""
    x = example.inputs[0].copy()
    for row in x.reshape(-1, x.shape[-1]):
        scale = float(np.abs(row).max()) or 1.0
        while _near_tie(row, example.attributes):
            row[:] = rng.uniform(-scale, scale, row.shape)
    return Example(example.label, (x, *example.inputs[1:]), example.attributes)


def _near_tie(row: Array, attributes: Attributes) -> bool:
    values = layer_norm(row, attributes["epsilon"]) if "epsilon" in attributes else row
    largest = float(np.abs(values).max())
    if largest < 1e-6:
        return False
    steps = np.abs(values) * (MOST / largest)
    return bool((np.abs(steps - np.floor(steps) - 0.5) < CLEAR).any())


def _body(semantic: Operator, bits: str, *, norm: bool, clamp: bool) -> str:
    rows = "n" if norm else "x"
    columns = text.attribute_int("width", "out_features")
    end = text.first("factors", "f", "width", 0) + text.first("bias", "b", "width", 0)
    if bits == HALF:
        product = (
            "  wide = Cast <to: int = 1> (w)\n"
            + text.unpack_matrix("m", "wide", "width")
            + f"  p = MatMul ({rows}, m)\n"
        )
    else:
        product = _rounded(rows) + _bytes_matrix() + "  q = MatMul (rounded, m)\n"
        product += "  p = Mul (q, divisor)\n"
    return (
        (text.layer_norm("n", "x") if norm else "")
        + columns
        + end
        + product
        + "  scaled = Mul (p, factors)\n  z = Add (scaled, bias)\n"
        + tail("z", with_gelu="Gelu" in semantic.name, add="r" in semantic.inputs, clamp=clamp)
    )


def _rounded(rows: str) -> str:
    """Text of `rounded_rows`."""
    return (
        f"  magnitude = Abs ({rows})\n"
        + text.ints("last", -1)
        + "  largest = ReduceMax <keepdims: int = 1> (magnitude, last)\n"
        "  tiny = Constant <value_float: float = 1e-30> ()\n"
        f"  most = Constant <value_float: float = {MOST}> ()\n"
        "  one = Constant <value_float: float = 1.0> ()\n"
        "  floor = Max (largest, tiny)\n"
        "  divisor = Div (floor, most)\n"
        "  inverse = Div (one, divisor)\n"
        f"  steps = Mul ({rows}, inverse)\n"
        "  rounded = Round (steps)\n"
    )


def _bytes_matrix() -> str:
    """Text that turns panels of bytes into `m` [in_features, out_features]."""
    return (
        text.attribute_int("depth", "in_features")
        + "  turned = Transpose <perm: ints = [1, 3, 0, 2]> (w)\n"
        + text.ints("one_axis", -1)
        + "  panels = Shape <start: int = 0, end: int = 1> (w)\n"
        + text.ints("sixteen", 16)
        + "  columns = Mul (panels, sixteen)\n"
        "  sizes = Concat <axis: int = 0> (one_axis, columns)\n"
        "  flat = Reshape (turned, sizes)\n"
        "  numbers = Cast <to: int = 1> (flat)\n"
        + text.first("rows_of_m", "numbers", "depth", 0)
        + text.first("m", "rows_of_m", "width", 1)
    )


def _half_cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    return _cost(shapes, attributes, 2)


def _int8_cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    return _cost(shapes, attributes, 1)


def _cost(shapes: Sequence[Shape], attributes: Attributes, weight_bytes: int) -> Cost:
    """One product per row; weights of so many bytes."""
    out = output_shape(shapes, attributes)
    floats = size(out) + sum(size(shape) for shape in (shapes[0], *shapes[2:]))
    work = 2 * size(out) * shapes[0][-1]
    return Cost(work, 4 * floats + weight_bytes * size(shapes[1]))


def _number(value: object) -> float:
    assert isinstance(value, float)
    return value


#: By bits, the layers in the order of `linear.VARIANTS`.
BY_BITS: dict[str, tuple[Operator, ...]] = {
    bits: tuple(make(layer, bits) for layer in VARIANTS) for bits in (HALF, INT8)
}
LOW: tuple[Operator, ...] = (*BY_BITS[HALF], *BY_BITS[INT8])
LOWERINGS: dict[str, Lowering] = {
    f"{layer.name}{bits}": _lowering(layer, bits) for layer in VARIANTS for bits in (HALF, INT8)
}
