"""The body of a fused operator as a PyTorch function: what people run without a kernel for it.

Operator by operator, so that eager PyTorch runs what a plain export says and torch.compile gets
all of it to fuse. Sizes are Python numbers: only tensors reach the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops import registry
from attnc.targets.torch_forms.standard import NUMBERS, SIZED, TENSORS, Value

#: Numbers of a body (shapes, indices, attributes) are NumPy arrays.
_KINDS = (np.ndarray, np.generic)


def torch_body(
    operator: str, attributes: Mapping[str, Any], inputs: Sequence[Any]
) -> Callable[..., Any]:
    """The body for inputs of these shapes, types and device, as a module of PyTorch's operators.

    Its results are in the order of the operator's outputs. Nothing but tensors is left in it, so
    that it can be compiled, and captured as a CUDA graph.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    function = registry.get(operator).function()
    values: dict[Any, Value] = dict(zip(function.inputs, inputs, strict=False))
    steps: list[Step] = []
    for node in function:
        given = [None if value is None else values[value] for value in node.inputs]
        how = {a.name: _resolved(a, attributes) for a in node.attributes.values()}
        if all(isinstance(value, _KINDS) or value is None for value in given):
            found = _constant(how) if node.op_type == "Constant" else _numbers(node, how, given)
        else:
            constants = _together(node.op_type, given, inputs[0])
            found = TENSORS[node.op_type](how, *constants)
            if node.op_type != "Shape":
                steps.append(Step(node, how, constants))
        results = found if isinstance(found, (tuple, list)) else (found,)
        values.update(zip(node.outputs, results, strict=False))
    given_values = set(function.inputs)
    made = {output for step in steps for output in step.node.outputs}

    def run(*arguments: Any) -> tuple[Any, ...]:
        held = dict(zip(function.inputs, arguments, strict=False))
        for step in steps:
            taken = [
                held[value] if value in made or value in given_values else constant
                for value, constant in zip(step.node.inputs, step.constants, strict=True)
            ]
            result = TENSORS[step.node.op_type](step.how, *taken)
            results = result if isinstance(result, (tuple, list)) else (result,)
            held.update(zip(step.node.outputs, results, strict=False))
        return tuple(held[output] for output in function.outputs)

    return make_fx(run)(*inputs)


@dataclass(frozen=True)
class Step:
    """A node that computes with tensors; what is none of them stands in `constants`."""

    node: ir.Node
    how: Mapping[str, Any]
    constants: list[Value]


def _constant(how: Mapping[str, Any]) -> Value:
    (value,) = how.values()
    whole = isinstance(value, (int, list, tuple))
    return np.asarray(value, np.int64 if whole else np.float32)


def _numbers(node: ir.Node, how: Mapping[str, Any], given: list[Value]) -> Value:
    return NUMBERS[node.op_type](how, *given)


def _resolved(attribute: ir.Attr, attributes: Mapping[str, Any]) -> Any:
    if attribute.is_ref():
        return attributes[str(attribute.ref_attr_name)]
    return attribute.value


def _together(op_type: str, given: list[Value], like: Any) -> list[Value]:
    """Numbers that meet tensors become tensors, where they are data or places of data."""
    import torch

    def tensor(value: Value) -> Value:
        if not isinstance(value, _KINDS):
            return value
        made = torch.as_tensor(np.asarray(value), device=like.device)
        if not made.is_floating_point():
            return made
        # A mask's fill is the finite end of float32, which float16 does not have.
        limit = torch.finfo(like.dtype)
        return made.clamp(limit.min, limit.max).to(like.dtype)

    if op_type == "Gather":
        return [given[0], tensor(given[1])]
    return given if op_type in SIZED else [tensor(value) for value in given]
