"""A graph as a torch module that can be captured: one submodule per node, weights as buffers.

A submodule's name is its node's place in the graph, so that what a converter refuses can be told by
the node, the source's module and line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.provenance import describe
from attnc.passes.graph import Array, is_const
from attnc.passes.pipelines import clean
from attnc.targets.torch_forms import attention, linear, maps, slots, sparse, window
from attnc.targets.torch_forms.layers import OPERATORS, PLACED
from attnc.targets.torch_forms.operands import MakeOperands, Operand, operands, sizes

_FILES = (linear, maps, attention, slots, window, sparse)
FORMS: Mapping[str, Callable[..., Any]] = {
    name: form for file in _FILES for name, form in file.FORMS.items()
}
OPERANDS: Mapping[str, MakeOperands] = {
    name: make for file in (maps, attention, slots, window) for name, make in file.OPERANDS.items()
}
#: Operators that take a Python number as well as they take a tensor of one.
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Clip"})


class Step(nn.Module):
    """One node. `given` holds a tensor's name, an array of sizes, a number, or None for each
    input."""

    def __init__(self, node: ir.Node, form: Callable[..., Any], how: Mapping[str, Any]) -> None:
        super().__init__()
        self.form, self.how, self.place = form, how, describe(node)
        self.given: list[Any] = []

    def forward(self, *live: Any) -> Any:
        """`live` are the inputs that the graph computes, in order."""
        found = iter(live)
        return self.form(self.how, *[self._one(item, found) for item in self.given])

    def _one(self, item: Any, live: Any) -> Any:
        if item is ...:
            return next(live)
        return getattr(self, item) if isinstance(item, str) else item


class Network(nn.Module):
    """The graph: one picture tensor in, its first output out."""

    def __init__(self, model: ir.Model) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.wires: list[tuple[list[str], list[str]]] = []
        self.source, self.result = _name(model.graph.inputs[0]), _name(model.graph.outputs[0])
        for node in model.graph:
            if not all(is_const(value) for value in node.outputs):
                self._add(node)

    def forward(self, x: Any) -> Any:
        """Node by node."""
        held = {self.source: x}
        for step, (taken, made) in zip(self.steps, self.wires, strict=True):
            found = step(*[held[name] for name in taken])
            results = found if isinstance(found, (tuple, list)) else (found,)
            held.update(zip(made, results, strict=False))
        return held[self.result]

    def place_of(self, name: str) -> str:
        """The node of a submodule's name ("steps.12"), in words; "" for another name."""
        step = dict(self.named_modules()).get(name)
        return step.place if isinstance(step, Step) else ""

    def _add(self, node: ir.Node) -> None:
        fused = node.domain == DOMAIN
        form = (FORMS if fused else OPERATORS).get(node.op_type)
        if form is None or (not fused and node.domain not in ("", "ai.onnx")):
            raise _refused(node, f"the operator {node.op_type} has no form in PyTorch here")
        step = Step(node, form, {name: _plain(a.value) for name, a in node.attributes.items()})
        make = OPERANDS.get(node.op_type, operands) if fused else operands
        taken = [_give(step, node, index, item) for index, item in enumerate(make(node))]
        self.steps.append(step)
        live = [name for name in taken if name is not None]
        self.wires.append((live, [_name(value) for value in node.outputs]))


def _give(step: Step, node: ir.Node, index: int, item: Operand) -> str | None:
    """Note what an input is; returns the name of one that the graph computes."""
    if isinstance(item, ir.Value):
        step.given.append(...)
        return _name(item)
    step.given.append(None if item is None else _constant(step, node, index, item))
    return None


def _constant(step: Step, node: ir.Node, index: int, array: Array) -> Any:
    standard = node.domain != DOMAIN
    if standard and node.op_type in PLACED and index:
        return array
    if standard and node.op_type in _ARITHMETIC and array.size == 1 and array.dtype.kind == "f":
        return float(array.reshape(()))
    name = f"weight{index}"
    step.register_buffer(name, torch.from_numpy(np.array(array)))
    return name


def network(model: ir.Model) -> Network:
    """The module of a graph after our passes, which is prepared in place, in eval mode.

    Bodies take the place of operators without a form. Raises UnsupportedError naming the node that
    has none, or whose sizes are not known now.
    """
    for value in (*model.graph.inputs, *model.graph.outputs):
        sizes(next(iter(model.graph)), value)
    left = [node for node in model.graph if node.domain == DOMAIN and node.op_type not in FORMS]
    for node in left:
        inline_body(node)
    if left:
        run_pipeline(model, clean())
    return Network(model).eval()


def capture(module: Network, shape: Sequence[int]) -> Any:
    """torch.export's program for inputs of this shape.

    Raises UnsupportedError naming the node that cannot be captured or has more than four axes.
    """
    example = torch.zeros(tuple(shape))
    _try_steps(module, example)
    with torch.no_grad():
        program = torch.export.export(module, (example,), strict=False)
    for node in program.graph.nodes:
        check_rank(module, node)
    return program


#: What GPU delegates of phones take.
MOST_AXES = 4


def check_rank(module: Network, node: Any) -> None:
    """Raise UnsupportedError if a node of a captured graph makes more than four axes."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor) and value.dim() > MOST_AXES:
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        place = next((found for found in map(module.place_of, reversed(stack)) if found), node.name)
        raise UnsupportedError(
            f"a value has {value.dim()} axes; GPU delegates of phones take {MOST_AXES}",
            where=place,
            remedy="write that part of the model with fewer axes, or leave --format out",
        )


def _try_steps(module: Network, example: Any) -> None:
    """Run once, so that what a form refuses is told by its node."""
    held = {module.source: example}
    with torch.no_grad():
        for step, (taken, made) in zip(module.steps, module.wires, strict=True):
            try:
                found = step(*[held[name] for name in taken])
            except Exception as error:  # forms raise what PyTorch raises
                raise UnsupportedError(
                    f"{type(error).__name__} in PyTorch: {error}",
                    where=str(step.place),
                    remedy="write that part of the model with other operators",
                ) from error
            results = found if isinstance(found, (tuple, list)) else (found,)
            held.update(zip(made, results, strict=False))


def _refused(node: ir.Node, message: str) -> UnsupportedError:
    return UnsupportedError(
        message,
        where=describe(node),
        remedy="write that part of the model with other operators, or leave --format out",
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _name(value: ir.Value) -> str:
    return str(value.name)
