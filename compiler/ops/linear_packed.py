"""The token-wise linear layers with weights in panels of 16 columns; x and y as they were."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes, size
from attnc.compiler.ops.linear import (
    LINEAR,
    LINEAR_ADD,
    LINEAR_GELU,
    NORM_LINEAR,
    NORM_LINEAR_GELU,
    tail,
)
from attnc.compiler.ops.lowered import Form, Lowering
from attnc.compiler.ops.packing import pack_matrix, pack_vector, unpack_matrix


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """w [N, K] to panels, b padded."""
    w, b = weights
    return (pack_matrix(w.T), pack_vector(b)), {"out_features": w.shape[0], **attributes}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w, b)."""
    w, b = packed
    semantic = dict(attributes)
    n = semantic.pop("out_features")
    return (unpack_matrix(w, n).T, b[:n]), semantic


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """x with out_features in the place of K."""
    return (*shapes[0][:-1], attributes["out_features"])


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One product per row."""
    out = output_shape(shapes, attributes)
    return Cost(2 * size(out) * shapes[0][-1], float_bytes(out, *shapes))


def lowering(semantic: Operator) -> Lowering:
    """The two directions for one of the linear layers."""
    return Lowering(semantic, pack, unpack, (1, int("r" in semantic.inputs)), layout_free=True)


def packed(semantic: Operator) -> Operator:
    """The packed form of one of the linear layers."""
    both, attributes = lowering(semantic), semantic.attributes
    norm, clamp = "epsilon" in attributes, "min" in attributes
    return Operator(
        name=f"{semantic.name}Packed",
        inputs=semantic.inputs,
        outputs=("y",),
        attributes={"out_features": "int", **attributes},
        body=(text.layer_norm("n", "x") if norm else "")
        + text.attribute_int("width", "out_features")
        + text.linear("z", "n" if norm else "x", "w", "b", "width")
        + tail("z", with_gelu="Gelu" in semantic.name, add="r" in semantic.inputs, clamp=clamp),
        reference=both.reference,
        output_shape=output_shape,
        examples=both.examples,
        cost=cost,
        doc=f"{semantic.doc}; packed weights",
    )


LINEAR_PACKED = packed(LINEAR)
LINEAR_ADD_PACKED = packed(LINEAR_ADD)
LINEAR_GELU_PACKED = packed(LINEAR_GELU)
NORM_LINEAR_PACKED = packed(NORM_LINEAR)
NORM_LINEAR_GELU_PACKED = packed(NORM_LINEAR_GELU)
