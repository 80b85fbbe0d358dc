"""From a lowered graph to the engine's program: types, places in memory, weights, steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN, Array
from attnc.compiler.provenance import describe
from attnc.targets.cpu.lower import LOWERED_NAMES
from attnc.targets.cpu.turn import MAP_TURNS
from attnc.targets.web import program as web
from attnc.targets.web.memory import Block, aligned, place
from attnc.targets.web.operators import ALIASES, FLOATS_ONLY, RANKS, STANDARD
from attnc.targets.web.standard import halves
from attnc.targets.web.static import TYPES, Kind


@dataclass(frozen=True)
class Plan:
    """The program, the bytes of its weights, and the numbers of its tensors by value name."""

    program: web.Program
    weights: bytes
    numbers: dict[str, int]
    operators: dict[str, int]


@dataclass
class Weights:
    """Weights by content: equal ones are stored once."""

    half: bool
    file: bytearray = field(default_factory=bytearray)
    stored: list[web.Stored] = field(default_factory=list)
    offsets: dict[tuple[str, bytes], int] = field(default_factory=dict)
    bytes: int = 0

    def add(self, array: Array) -> int:
        """Offset in memory of the array's elements."""
        data = np.ascontiguousarray(array)
        key = (str(data.dtype), data.tobytes())
        if key not in self.offsets:
            self.offsets[key] = self.bytes
            self._store(data)
            self.bytes += aligned(data.nbytes)
        return self.offsets[key]

    def _store(self, data: Array) -> None:
        small = self.half and halves(data)
        dtype = web.FLOAT16 if small else TYPES[ir.DataType.from_numpy(data.dtype)]
        self.stored.append(web.Stored(dtype, len(self.file), self.bytes, data.size))
        self.file += (data.astype(np.float16) if small else data).tobytes()
        self.file += bytes(-len(self.file) % 64)


def plan(model: ir.Model, kinds: dict[str, Kind], kept: Iterable[str], *, half: bool) -> Plan:
    """The program of a graph whose results have these kinds; values in `kept` are alive to the end.

    `half` stores large weights as float16. Raises UnsupportedError naming the first node that the
    engine cannot execute.
    """
    nodes = list(model.graph)
    for node in nodes:
        check_node(node, kinds)
    roots = _roots(nodes)
    last = _last_uses(nodes, roots)
    ends = [*(str(value.name) for value in model.graph.outputs), *kept]
    last |= {roots.get(name, name): len(nodes) for name in ends}
    inputs = [str(value.name) for value in model.graph.inputs]
    blocks = [Block(name, kinds[name].bytes, -1, last.get(name, -1)) for name in inputs]
    for index, node in enumerate(nodes):
        made = [str(value.name) for value in node.outputs if value.name]
        blocks += [
            Block(name, kinds[name].bytes, index, last.get(name, index))
            for name in made
            if name not in roots
        ]
    offsets, arena = place(blocks)
    offsets |= {name: offsets[root] for name, root in roots.items() if root in offsets}
    return _Writer(model, kinds, offsets, roots, Weights(half)).write(nodes, arena)


def check_node(node: ir.Node, kinds: dict[str, Kind]) -> None:
    """Raise UnsupportedError for a node that the engine does not know, or not for such inputs."""
    ours = node.domain == DOMAIN and node.op_type in LOWERED_NAMES | MAP_TURNS.keys()
    if ours:
        return
    if node.domain not in ("", "ai.onnx") or node.op_type not in STANDARD:
        name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        raise _refusal(f"no operator {name}", node)
    for value in node.inputs[: 2 if node.op_type == "MatMul" else 1]:
        if value is not None:
            _check_input(node, _kind_of(value, kinds))
    if node.op_type == "LayerNormalization":
        _check_norm(node, kinds)


def _check_input(node: ir.Node, kind: Kind) -> None:
    if node.op_type in FLOATS_ONLY and kind.dtype != web.FLOAT32:
        raise _refusal(f"{node.op_type} for float32 only", node)
    least, most = RANKS.get(node.op_type, (0, web.MAX_RANK))
    if not least <= len(kind.dims) <= most:
        raise _refusal(f"no {node.op_type} of {len(kind.dims)} dimensions", node)


def _check_norm(node: ir.Node, kinds: dict[str, Kind]) -> None:
    """ONNX broadcasts scale and shift; the engine takes one number for each that is normalised."""
    data, *others = [_kind_of(v, kinds).dims for v in node.inputs if v is not None]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    normalised = data[axis % len(data) :]
    for dims in others:
        if dims[-len(normalised) :] != normalised or prod(dims) != prod(normalised):
            lack = f"no LayerNormalization of {list(normalised)} with scale or shift {list(dims)}"
            raise _refusal(lack, node)


def _kind_of(value: ir.Value, kinds: dict[str, Kind]) -> Kind:
    held = ir.convenience.get_const_tensor(value)
    if held is None:
        return kinds[str(value.name)]
    return Kind(TYPES.get(held.dtype, -1), tuple(held.numpy().shape))


def _refusal(lack: str, node: ir.Node) -> UnsupportedError:
    return UnsupportedError(
        f"the web engine has {lack}",
        where=describe(node),
        remedy="replace it in the model, or export for --target cpu",
    )


def _roots(nodes: list[ir.Node]) -> dict[str, str]:
    """Values that are another's memory, under another shape."""
    roots: dict[str, str] = {}
    for node in nodes:
        given = node.inputs[0] if node.inputs else None
        if node.domain != "" or node.op_type not in ALIASES or given is None:
            continue
        if ir.convenience.get_const_tensor(given) is None:  # a weight has no place in the arena
            source = str(given.name)
            roots[str(node.outputs[0].name)] = roots.get(source, source)
    return roots


def _last_uses(nodes: list[ir.Node], roots: dict[str, str]) -> dict[str, int]:
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for value in node.inputs:
            if value is not None:
                name = str(value.name)
                last[roots.get(name, name)] = index
    return last


@dataclass
class _Writer:
    model: ir.Model
    kinds: dict[str, Kind]
    offsets: dict[str, int]
    roots: dict[str, str]
    weights: Weights
    tensors: list[web.Tensor] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def write(self, nodes: list[ir.Node], arena: int) -> Plan:
        graph = self.model.graph
        inputs = tuple(self._number(value) for value in graph.inputs)
        steps = tuple(self._step(node) for node in nodes if not self._is_alias(node))
        outputs = tuple(self._number(value) for value in graph.outputs)
        counts: dict[str, int] = {}
        for step in steps:
            counts[step.operator] = counts.get(step.operator, 0) + 1
        made = web.Program(
            tuple(self.tensors),
            tuple(self.weights.stored),
            steps,
            inputs,
            outputs,
            arena,
            max(64, self.weights.bytes),
            len(self.weights.file),
        )
        return Plan(made, bytes(self.weights.file), self.numbers, dict(sorted(counts.items())))

    def _is_alias(self, node: ir.Node) -> bool:
        """Whether the step has nothing to do."""
        return str(node.outputs[0].name) in self.roots

    def _step(self, node: ir.Node) -> web.Step:
        name = f"{DOMAIN}.{node.op_type}" if node.domain == DOMAIN else node.op_type
        inputs = [None if value is None else self._number(value) for value in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        outputs = tuple(self._number(value) for value in node.outputs if value.name)
        values = {key: _plain(attr, node) for key, attr in sorted(node.attributes.items())}
        return web.Step(name, tuple(inputs), outputs, values)

    def _number(self, value: ir.Value) -> int:
        name = str(value.name)
        if name not in self.numbers:
            self.tensors.append(self._tensor(value))
            self.numbers[name] = len(self.tensors) - 1
        return self.numbers[name]

    def _tensor(self, value: ir.Value) -> web.Tensor:
        name = str(value.name)
        held = ir.convenience.get_const_tensor(value)
        if held is None:
            kind = self.kinds[name]
            return web.Tensor(web.ARENA, kind.dtype, self.offsets[name], kind.dims)
        array = held.numpy()
        dtype = ir.DataType.from_numpy(array.dtype)
        if dtype not in TYPES:
            raise UnsupportedError(
                f"the web engine has no type {dtype.name.lower()}, which the weight {name!r} has",
                remedy="export the model in float32",
            )
        return web.Tensor(web.WEIGHTS, TYPES[dtype], self.weights.add(array), array.shape)


def _plain(attribute: ir.Attr, node: ir.Node) -> web.AttributeValue:
    """An attribute's value as the program holds it."""
    value = attribute.value
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value):
        return list(value)
    raise UnsupportedError(
        f"the web engine does not take the attribute {attribute.name!r} of {node.op_type}",
        where=describe(node),
        remedy="export the model without it, or for --target cpu",
    )
