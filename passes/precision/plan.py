"""The nodes that stay float32, with the reason: what the rules fill and the rewriting reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.pipeline import NearMiss, PassResult
from attnc.passes.graph import is_const
from attnc.passes.precision.low import FLOAT, Low, Trouble, is_float, judge
from attnc.passes.precision.slots import Slots


@dataclass(frozen=True)
class Region:
    """Connected nodes that stay float32 for one reason."""

    reason: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class PrecisionResult(PassResult):
    """`matches` are nodes that now compute in the low type; a near-miss stands for each region."""

    regions: tuple[Region, ...] = ()

    @classmethod
    def of(cls, matches: int, regions: Sequence[tuple[ir.Node, Region]]) -> PrecisionResult:
        """The result with these regions, each with its first node."""
        misses = tuple(
            NearMiss.at(node, f"{len(region.nodes)} node(s) stay float32: {region.reason}")
            for node, region in regions
        )
        return cls(matches, misses, tuple(region for _, region in regions))


class Plan:
    """Which nodes of `graph` stay float32. Rules call `keep`; the first reason stays.

    `outside` is the type that float32 inputs and outputs of the graph will have.
    """

    def __init__(
        self, graph: ir.Graph, low: Low, ranges: Mapping[str, float], outside: ir.DataType
    ) -> None:
        self.graph, self.low, self.ranges, self.outside = graph, low, ranges, outside
        self.slots = Slots(graph, low)
        self.trouble: Callable[[ir.Value | None], Trouble | None] = judge(low)
        self.kept: dict[ir.Node, str] = {}

    def keep(self, node: ir.Node, reason: str) -> bool:
        """Leave the node in float32; False if it was decided before."""
        if node in self.kept:
            return False
        self.kept[node] = reason
        return True

    def users(self, value: ir.Value) -> list[ir.Node]:
        """Nodes that read the value, without those inside an If or a Loop."""
        return list(dict.fromkeys(use.node for use in value.uses() if use.node.graph is self.graph))

    def wanted(self, node: ir.Node, index: int) -> ir.DataType | None:
        """The type that a float32 input is to have; None where any will do."""
        if node.graph is not self.graph:  # inside an If or a Loop
            return FLOAT
        wanted = self.slots.input(node, index)
        return FLOAT if wanted is not None and node in self.kept else wanted

    def given(self, value: ir.Value) -> ir.DataType:
        """The type that a float32 output of a node will have."""
        node, index = value.producer(), value.index()
        assert node is not None
        assert index is not None
        return FLOAT if node in self.kept else self.slots.output(node, index)

    def regions(self) -> list[tuple[ir.Node, Region]]:
        """The first node of each region, and the region, in the order of the graph."""
        found, seen = [], set[ir.Node]()
        for node in self.graph:
            if node not in self.kept or node in seen:
                continue
            part = self._connected(node)
            seen |= part
            names = tuple(inner.name or inner.op_type for inner in self.graph if inner in part)
            found.append((node, Region(self.kept[node], names)))
        return found

    def _connected(self, start: ir.Node) -> set[ir.Node]:
        part, stack = {start}, [start]
        while stack:
            for other in neighbours(stack.pop(), self.graph):
                if other not in part and self.kept.get(other) == self.kept[start]:
                    part.add(other)
                    stack.append(other)
        return part


def computed(node: ir.Node) -> list[ir.Value]:
    """The float32 inputs that are no constants."""
    return [v for v in node.inputs if v is not None and is_float(v) and not is_const(v)]


def neighbours(node: ir.Node, graph: ir.Graph) -> Iterator[ir.Node]:
    """Nodes of the graph that share a computed float32 value with this one."""
    for value in [*computed(node), *(v for v in node.outputs if is_float(v))]:
        producer = value.producer()
        others: Iterable[ir.Node | None] = [producer, *(use.node for use in value.uses())]
        yield from (n for n in others if n is not None and n is not node and n.graph is graph)
