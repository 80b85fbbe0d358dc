"""FusedConv, FusedConvAdd, FusedConvGelu: a convolution with its bias, residual, activation.

y = clamp(Conv(x, w) + b [+ r]) or gelu(Conv(x, w) + b) in NCHW. ReLU is min = 0; ReLU6 also
max = 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape
from attnc.compiler.ops.convolution import (
    CLAMP,
    HARD_CONVS,
    NO_CLAMP,
    RELU,
    RELU6,
    WINDOW,
    WINDOW_TEXT,
    clamped,
    conv_cost,
    normal,
    spatial,
    weights,
    window,
)
from attnc.compiler.ops.reference import conv2d, gelu

_GEOMETRY = {**WINDOW, "group": "int"}
_ATTRIBUTES = {**_GEOMETRY, **CLAMP}
_CONV = f"  c = Conv <{WINDOW_TEXT}, group: int = @group> (x, w, b)\n"


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,C,H,W] and [N,C/group,kh,kw] to [B,N,OH,OW]."""
    batch, _, height, width = shapes[0]
    return (batch, shapes[1][0], *spatial(height, width, attributes))


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One multiply-add per tap and output."""
    return conv_cost(output_shape(shapes, attributes), int(np.prod(shapes[1][1:])), shapes)


def _convolve(x: Array, w: Array, b: Array, attributes: Attributes) -> Array:
    names = ("strides", "pads", "dilations", "group")
    return conv2d(x, w, b, **{name: attributes[name] for name in names})


def reference(x: Array, w: Array, b: Array, **attributes: object) -> Array:
    """Float64 FusedConv."""
    return clamped(_convolve(x, w, b, attributes), attributes)


def reference_add(x: Array, w: Array, b: Array, r: Array, **attributes: object) -> Array:
    """Float64 FusedConvAdd."""
    return clamped(_convolve(x, w, b, attributes) + r, attributes)


def reference_gelu(x: Array, w: Array, b: Array, **attributes: object) -> Array:
    """Float64 FusedConvGelu."""
    return gelu(_convolve(x, w, b, attributes))


def examples(rng: np.random.Generator) -> list[Example]:
    """Every hard convolution, once dense and once depthwise where the widths allow."""
    found = []
    for index, (batch, height, width, cin, cout, spec) in enumerate(HARD_CONVS):
        clamp = (NO_CLAMP, RELU, RELU6)[index % 3]
        attributes = {**window(spec), "group": 1, **clamp}
        x = normal(rng, batch, cin, height, width)
        w = weights(rng, cout, cin, *attributes["kernel_shape"])
        found.append(Example(f"dense{index}", (x, w, normal(rng, cout)), attributes))
        depthwise = {**attributes, "group": cin}
        w = weights(rng, cin, 1, *attributes["kernel_shape"])
        found.append(Example(f"depthwise{index}", (x, w, normal(rng, cin)), depthwise))
    return found


def examples_add(rng: np.random.Generator) -> list[Example]:
    """The examples of FusedConv, each with a residual."""
    found = []
    for example in examples(rng):
        shapes = [array.shape for array in example.inputs]
        residual = normal(rng, *output_shape(shapes, example.attributes))
        found.append(Example(example.label, (*example.inputs, residual), example.attributes))
    return found


def examples_gelu(rng: np.random.Generator) -> list[Example]:
    """The examples of FusedConv without their clamps."""
    return [
        Example(e.label, e.inputs, {name: e.attributes[name] for name in _GEOMETRY})
        for e in examples(rng)
    ]


FUSED_CONV = Operator(
    name="FusedConv",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes=_ATTRIBUTES,
    body=_CONV + text.clamp("y", "c"),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="convolution, bias, clamp (NCHW)",
)

FUSED_CONV_ADD = Operator(
    name="FusedConvAdd",
    inputs=("x", "w", "b", "r"),
    outputs=("y",),
    attributes=_ATTRIBUTES,
    body=_CONV + "  s = Add (c, r)\n" + text.clamp("y", "s"),
    reference=reference_add,
    output_shape=output_shape,
    examples=examples_add,
    cost=cost,
    doc="convolution, bias, residual, clamp (NCHW)",
)

FUSED_CONV_GELU = Operator(
    name="FusedConvGelu",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes=_GEOMETRY,
    body=_CONV + "  y = Gelu (c)",
    reference=reference_gelu,
    output_shape=output_shape,
    examples=examples_gelu,
    cost=cost,
    doc="convolution, bias, GELU (NCHW)",
)
