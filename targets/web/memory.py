"""Where intermediate results lie: blocks that are not alive together share memory.

Blocks are placed from the largest to the smallest, each at the lowest place that is free for as
long as it lives ("greedy by size", Pisarchyk and Lee, 2020, section 5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Block:
    """`first` and `last` are the steps between which the block is alive, both included."""

    name: str
    bytes: int
    first: int
    last: int


def aligned(count: int) -> int:
    """The next multiple of 64, and never 0: an empty tensor has a place as well."""
    return max(ALIGNMENT, -(-count // ALIGNMENT) * ALIGNMENT)


def place(blocks: Sequence[Block]) -> tuple[dict[str, int], int]:
    """Byte offsets by name, and the bytes that all of them take together."""
    placed: list[tuple[int, int, Block]] = []
    offsets, total = {}, 0
    for block in sorted(blocks, key=lambda each: (-each.bytes, each.first, each.name)):
        size = aligned(block.bytes)
        offset = _lowest(block, size, placed)
        placed.append((offset, offset + size, block))
        placed.sort(key=lambda each: each[0])
        offsets[block.name] = offset
        total = max(total, offset + size)
    return offsets, total


def _lowest(block: Block, size: int, placed: Sequence[tuple[int, int, Block]]) -> int:
    at = 0
    for begin, end, other in placed:
        if other.last < block.first or block.last < other.first:
            continue
        if at + size <= begin:
            break
        at = max(at, end)
    return at
