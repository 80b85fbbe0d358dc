"""What the lowerings of standard operators share: operands, results, and how they refuse."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe
from attnc.passes.graph import attribute, const, input_at, ints
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.writer import FREE, is_var, sizes, type_name

#: Core ML has no tensors with more axes.
MOST_AXES = 5
_WHOLE = np.iinfo(np.int32)


def refusal(node: ir.Node, message: str, remedy: str) -> UnsupportedError:
    """The error that names the node."""
    return UnsupportedError(message, where=describe(node), remedy=remedy)


def operand(node: ir.Node, to: Forms, index: int) -> Any:
    """An input as the graph has it; constants as arrays of float, int32 or bool, None if absent."""
    value = input_at(node, index)
    array = const(value)
    return to.plain(value) if array is None else held(array)


def held(array: Any) -> Any:
    """A constant in a type that MIL has; numbers past int32 stand for its limits."""
    if array.dtype.kind in "iu":
        return np.clip(array, _WHOLE.min, _WHOLE.max).astype(np.int32)
    return array if array.dtype.kind in "fb" else array.astype(np.float32)


def settle(node: ir.Node, to: Forms, x: Any, index: int = 0) -> None:
    """Makes x an output of the node. Refuses shapes that Core ML has not, or that are not ours."""
    made, wanted = list(sizes(x)), to.shape(node.outputs[index])
    check_shape(node, made)
    if wanted is not None and (
        len(wanted) != len(made)
        or any(size not in (None, got) for size, got in zip(wanted, made, strict=True))
    ):
        raise refusal(
            node,
            f"the shape {wanted} would be {made} in Core ML",
            "infer the model's shapes again before compiling it",
        )
    to.set(node.outputs[index], x if is_var(x) else to.emit("const", val=x))


def check_shape(node: ir.Node, wanted: list[int]) -> None:
    """Refuses shapes that Core ML has not."""
    if 0 in wanted:
        raise refusal(
            node,
            f"the shape {wanted} has no elements; Core ML needs at least one",
            "leave that part of the model out",
        )
    if len(wanted) > MOST_AXES:
        raise refusal(
            node,
            f"the shape {wanted} has {len(wanted)} axes; Core ML has at most {MOST_AXES}",
            "write that part of the model with fewer axes at a time",
        )


def only_outputs(node: ir.Node, count: int) -> None:
    """Refuses where somebody reads an output after the first `count`."""
    for value in node.outputs[count:]:
        if value.uses() or value.is_graph_output():
            raise refusal(
                node,
                f"its output {value.name!r} has no form in Core ML",
                "leave that output unused",
            )


def fixed_ints(node: ir.Node, index: int, what: str) -> list[int] | None:
    """An input of integers that must be constant; None where it is absent."""
    value = input_at(node, index)
    if value is None:
        return None
    found = ints(value)
    if found is None:
        raise not_constant(node, what)
    return found


def not_constant(node: ir.Node, what: str) -> UnsupportedError:
    """The error about an input that would have to be known now."""
    return refusal(
        node,
        f"its input {what!r} is computed while the model runs; Core ML needs a constant",
        "export with fixed sizes, so that it is a constant",
    )


def not_free(node: ir.Node, *shape: int) -> None:
    """Refuses what would have to know the batch, where that is known only when the model runs."""
    if FREE in shape:
        raise refusal(
            node,
            f"what {node.op_type} does there depends on the number of pictures",
            "export with --batch N",
        )


def fixed_array(node: ir.Node, to: Forms, index: int, what: str) -> Any:
    """An input that must be constant, as an array; None where it is absent."""
    x = operand(node, to, index)
    if is_var(x):
        raise not_constant(node, what)
    return x


def axes_of(node: ir.Node, rank: int, index: int = 1) -> list[int] | None:
    """The axes, sorted and from 0 on, from the attribute or an input; None where none are given."""
    given = attribute(node, "axes")
    given = fixed_ints(node, index, "axes") if given is None else given
    return None if given is None else sorted(axis % rank for axis in given)


def kind_of(x: Any) -> Literal["float", "int", "bool"]:
    """What its elements are."""
    name = type_name(x) if is_var(x) else x.dtype.name
    if name.startswith(("fp", "float")):
        return "float"
    return "bool" if name == "bool" else "int"


def number(x: Any, value: float) -> Any:
    """A constant for arithmetic with x."""
    return float(value) if kind_of(x) == "float" else np.int32(value)


def as_kind(to: Forms, x: Any, kind: Literal["float", "int", "bool"]) -> Any:
    """x as floats, as integers or as truths; itself if it is so already."""
    if kind_of(x) == kind:
        return x
    if not is_var(x):
        return x.astype({"float": np.float32, "int": np.int32, "bool": np.bool_}[kind])
    wide = "fp16" if to.emit.half else "fp32"
    return to.emit.cast(x, {"float": wide, "int": "int32", "bool": "bool"}[kind])
