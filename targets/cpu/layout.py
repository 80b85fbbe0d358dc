"""Which values exist in channels-last form, and the Transposes at the edges of that region.

A map is converted where a channels-last operator reads a value that no such operator wrote, and
back where anything else reads one; within the region there is no Transpose at all.
"""

from __future__ import annotations

import onnx_ir as ir

NCHW_TO_NHWC = (0, 2, 3, 1)
NHWC_TO_NCHW = (0, 3, 1, 2)


def permuted(shape: ir.Shape | None, perm: tuple[int, ...]) -> ir.Shape | None:
    """A shape with its axes in another order; None stays unknown."""
    if shape is None or len(shape) != len(perm):
        return None
    return ir.Shape([shape[axis] for axis in perm])


class Layout:
    """The channels-last twin of each value of a graph, made on demand."""

    def __init__(self) -> None:
        self._twins: dict[ir.Value, ir.Value] = {}
        #: Channels-first nodes that have a channels-last one in their place.
        self.replaced: set[ir.Node] = set()

    def known(self, value: ir.Value | None) -> bool:
        """Whether the value already exists channels-last."""
        return value in self._twins

    def record(self, nchw: ir.Value, nhwc: ir.Value) -> None:
        """Say that `nhwc` is the channels-last form of `nchw`."""
        nhwc.shape, nhwc.type = permuted(nchw.shape, NCHW_TO_NHWC), nchw.type
        self._twins[nchw] = nhwc

    def channels_last(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """The channels-last form of a value, converted once, in front of `before`."""
        if value not in self._twins:
            node = transpose(value, NCHW_TO_NHWC, f"{value.name}.nhwc")
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
