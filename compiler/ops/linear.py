"""The token-wise linear layers: y = x w^T + b on the last axis of a tensor of any rank.

A function body can neither branch nor leave an input out, hence one name per combination: with a
LayerNorm in front (scale and shift are in w and b), with GELU behind, with a residual r.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import (
    Array,
    Attributes,
    Cost,
    Example,
    Operator,
    Shape,
    float_bytes,
    size,
)
from attnc.compiler.ops.convolution import CLAMP, NO_CLAMP, RELU, clamped, normal, weights
from attnc.compiler.ops.reference import gelu, layer_norm

EPSILON = {"epsilon": "float"}

#: (sizes before the last axis, K, N): one row, one column, widths off the vector grid, two ranks.
HARD_SIZES: tuple[tuple[Shape, int, int], ...] = (
    ((1, 1), 64, 48),
    ((1, 1), 1, 1),
    ((2, 7), 75, 33),
    ((1, 197), 24, 40),
    ((13,), 6, 130),
    ((2, 3, 5), 48, 17),
    ((1, 50), 130, 16),
    ((1, 300), 37, 75),
)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """x with N in the place of K."""
    return (*shapes[0][:-1], shapes[1][0])


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One product per row."""
    out = output_shape(shapes, attributes)
    return Cost(2 * size(out) * shapes[0][-1], float_bytes(out, *shapes))


def product(x: Array, w: Array, b: Array) -> Array:
    """x w^T + b in float64."""
    return np.asarray(np.asarray(x, np.float64) @ np.asarray(w, np.float64).T + b)


def hard_rows(rng: np.random.Generator, index: int, *shape: int) -> Array:
    """Inputs that hurt: of large magnitude, far from zero, and a row of equal values."""
    x = normal(rng, *shape, scale=100.0 if index == 2 else 1.0)
    if index == 3:
        x += 3.0
        x[..., -1, :] = 0.75
    return x


def make(name: str, *, norm: bool = False, with_gelu: bool = False, add: bool = False) -> Operator:
    """The linear layer with these parts."""
    clamp = not norm and not with_gelu

    def reference(x: Array, w: Array, b: Array, r: Array | None = None, **a: object) -> Array:
        y = product(layer_norm(x, _number(a["epsilon"])) if norm else x, w, b)
        y = y if r is None else y + r
        return gelu(y) if with_gelu else clamped(y, a) if clamp else y

    def examples(rng: np.random.Generator) -> list[Example]:
        found = []
        for index, (sizes, k, n) in enumerate(HARD_SIZES):
            inputs = [hard_rows(rng, index, *sizes, k), weights(rng, n, k), normal(rng, n)]
            inputs += [normal(rng, *sizes, n)] if add else []
            attributes = {"epsilon": (1e-5, 1e-6)[index % 2]} if norm else {}
            attributes |= (NO_CLAMP, RELU)[index % 2] if clamp else {}
            found.append(Example(f"m{size(sizes)}k{k}n{n}", tuple(inputs), attributes))
        return found

    return Operator(
        name=name,
        inputs=("x", "w", "b", "r") if add else ("x", "w", "b"),
        outputs=("y",),
        attributes={**(EPSILON if norm else {}), **(CLAMP if clamp else {})},
        body=(text.layer_norm("n", "x") if norm else "")
        + text.rows_linear("z", "n" if norm else "x", "w", "b")
        + tail("z", with_gelu=with_gelu, add=add, clamp=clamp),
        reference=reference,
        output_shape=output_shape,
        examples=examples,
        cost=cost,
        doc="linear layer on the last axis",
    )


def tail(z: str, *, with_gelu: bool, add: bool, clamp: bool) -> str:
    """Text of what follows the product `z`, defining y."""
    added = f"  s = Add ({z}, r)\n" if add else ""
    last = "s" if add else z
    if with_gelu:
        return f"{added}  y = Gelu ({last})"
    return added + (text.clamp("y", last) if clamp else f"  y = Identity ({last})")


def _number(value: object) -> float:
    assert isinstance(value, float)
    return value


LINEAR = make("Linear")
LINEAR_ADD = make("LinearAdd", add=True)
LINEAR_GELU = make("LinearGelu", with_gelu=True)
NORM_LINEAR = make("NormLinear", norm=True)
NORM_LINEAR_GELU = make("NormLinearGelu", norm=True, with_gelu=True)

VARIANTS = (LINEAR, LINEAR_ADD, LINEAR_GELU, NORM_LINEAR, NORM_LINEAR_GELU)
