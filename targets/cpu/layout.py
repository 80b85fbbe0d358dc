"""Which values exist in channels-last form, and the Transposes at the edges of that region.

A map is converted where a channels-last operator reads a value that no such operator wrote, and
back where anything else reads one; within the region there is no Transpose at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def to_last(rank: int) -> tuple[int, ...]:
    """The order of axes that moves the channels from axis 1 to the end."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """The order of axes that moves the channels from the end to axis 1."""
    return (0, rank - 1, *range(1, rank - 1))


def permuted(shape: ir.Shape | None, perm: Sequence[int]) -> ir.Shape | None:
    """A shape with its axes in another order; None stays unknown."""
    if shape is None or len(shape) != len(perm):
        return None
    return ir.Shape([shape[axis] for axis in perm])


class Layout:
    """The channels-last twin of values of a graph: of maps [B,C,H,W] and of rows [B,C,N]."""

    def __init__(self) -> None:
        self._twins: dict[ir.Value, ir.Value] = {}
        #: Channels-first nodes that have a channels-last one in their place.
        self.replaced: set[ir.Node] = set()

    def known(self, value: ir.Value | None) -> bool:
        """Whether the value already exists channels-last."""
        return value in self._twins

    def twin(self, value: ir.Value) -> ir.Value:
        """The channels-last form of a value that has one."""
        return self._twins[value]

    def record(self, first: ir.Value, last: ir.Value) -> None:
        """Say that `last` is the channels-last form of `first`; completes its type and shape."""
        if last.shape is None and first.shape is not None:
            last.shape = permuted(first.shape, to_last(len(first.shape)))
        last.type = first.type if last.type is None else last.type
        self._twins[first] = last

    def channels_last(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """The channels-last form of a map, converted once, in front of `before`."""
        if value not in self._twins:
            rank = 4 if value.shape is None else len(value.shape)
            node = transpose(value, to_last(rank), f"{value.name}.nhwc")
            _insert(node, value, before)
            self.record(value, node.outputs[0])
        return self._twins[value]

    def pairs(self) -> list[tuple[ir.Value, ir.Value]]:
        """All (channels-first, channels-last) pairs."""
        return list(self._twins.items())


def transpose(value: ir.Value, perm: tuple[int, ...], name: str) -> ir.Node:
    """A Transpose node whose output is called `name`."""
    node = ir.node("Transpose", [value], {"perm": list(perm)}, name=name)
    node.outputs[0].name = name
    node.outputs[0].shape, node.outputs[0].type = permuted(value.shape, perm), value.type
    return node


def _insert(node: ir.Node, value: ir.Value, before: ir.Node) -> None:
    """Place a node where its value exists: after the producer, or in front of the reader."""
    producer = value.producer()
    graph = before.graph
    assert graph is not None
    if producer is not None:
        graph.insert_after(producer, node)
    else:
        graph.insert_before(before, node)
