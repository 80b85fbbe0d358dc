"""Checks of the placement lint that look at the layout of what an operation reads and gives.

Each yields one text per breach; `placement_rules` says what they mean and who says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from attnc.runtimes.coreml.graph import Graph
from attnc.runtimes.coreml.program import Operation, TensorType

#: The rank of the layout that suits the Neural Engine.
SUITABLE_RANK = 4
#: The last axis of a buffer is padded to whole lines of so many bytes.
LINE = 64
#: Bytes per value of the types that buffers of the Neural Engine hold.
WIDTHS = {"fp16": 2, "int8": 1, "uint8": 1}
#: The largest height or width, and the largest of any other axis.
LARGEST_PICTURE, LARGEST_AXIS = 16384, 65536
#: Bytes that stay on the chip while an operation works on them.
WORKING_SET = 2 * 1024 * 1024
#: The axis of channels in the channels-first layout.
CHANNELS = 1


def rank_over_4(operation: Operation, _: Graph) -> Iterator[str]:
    """A tensor of rank 5, the highest that Core ML has."""
    rank = max((len(type_.shape) for type_ in tensors(operation)), default=0)
    if rank > SUITABLE_RANK:
        yield f"rank {rank}"


def large_dimension(operation: Operation, _: Graph) -> Iterator[str]:
    """An axis that is too long."""
    for type_ in tensors(operation):
        picture, other = known(type_.shape[-2:]), known(type_.shape[:-2])
        sizes = [size for size in picture if size > LARGEST_PICTURE]
        sizes += [size for size in other if size > LARGEST_AXIS]
        if sizes:
            yield f"{max(sizes)} in {type_}"


def large_softmax(operation: Operation, _: Graph) -> Iterator[str]:
    """A softmax over more than stays on the chip."""
    for type_ in tensors(operation) if operation.type == "softmax" else ():
        size = prod(known(type_.shape)) * WIDTHS.get(type_.dtype, 4)
        if size > WORKING_SET:
            yield f"{size / 1024 / 1024:.1f} MiB in one piece"


def softmax_axis(operation: Operation, graph: Graph) -> Iterator[str]:
    """A softmax that is not along the channels of a channels-first tensor."""
    for type_ in tensors(operation) if operation.type == "softmax" else ():
        rank = len(type_.shape)
        axis = int(graph.constant(operation, "axis", -1)) % rank
        if rank != SUITABLE_RANK or axis != CHANNELS:
            yield f"axis {axis} of rank {rank}"


def odd_inner(operation: Operation, _: Graph) -> Iterator[str]:
    """A last axis that does not fill its lines."""
    for type_ in padded(operation):
        if type_.shape[-1] != 1:
            yield f"{waste(type_):.2f} times the memory for {type_}"


def singleton_inner(operation: Operation, _: Graph) -> Iterator[str]:
    """A last axis of one value, for which a whole line is kept."""
    for type_ in padded(operation):
        if type_.shape[-1] == 1:
            yield f"{waste(type_):.0f} times the memory for {type_}"


def layout_copy(operation: Operation, graph: Graph) -> Iterator[str]:
    """A transpose that moves data, or a reshape to another last axis."""
    given = graph.input_type(operation, "x")
    if given is None or operation.type not in ("transpose", "reshape"):
        return
    result = tensors(operation)[0]
    if operation.type == "reshape":
        if given.shape[-1:] != result.shape[-1:]:
            yield f"{given} to {result}"
        return
    order = [int(axis) % len(given.shape) for axis in graph.constant(operation, "perm", ())]
    moved = [axis for axis in order if given.shape[axis] != 1]
    if moved != sorted(moved):
        yield f"{given} by {order}"


def tensors(operation: Operation) -> list[TensorType]:
    """The types of an operation's results that are tensors."""
    return [value.type for value in operation.outputs if isinstance(value.type, TensorType)]


def padded(operation: Operation) -> Iterator[TensorType]:
    """The types of results with more than one value whose lines are not filled."""
    for type_ in tensors(operation):
        sizes = type_.fixed
        if sizes and prod(sizes) > 1 and type_.dtype in WIDTHS and waste(type_) > 1:
            yield type_


def waste(type_: TensorType) -> float:
    """The bytes of a buffer over the bytes of its values."""
    used = (type_.fixed or (1,))[-1] * WIDTHS[type_.dtype]
    return -(-used // LINE) * LINE / used


def known(shape: tuple[int | str, ...]) -> list[int]:
    """The sizes that are known."""
    return [size for size in shape if isinstance(size, int)]
