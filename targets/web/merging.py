"""Which neighbouring axes of tensors can be seen as one, so that at most four remain.

Only sizes are looked at: a merged axis is a reshape, which moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

Sizes = tuple[int, ...]


def broadcast_groups(shapes: Sequence[Sizes], out: Sizes) -> list[list[int]]:
    """Axes of `out` in runs over which each of the shapes either has all sizes or only ones.

    Axes of size 1 are in no run. Shapes are aligned at the right, as broadcasting does.
    """
    aligned = [(1,) * (len(out) - len(sizes)) + sizes for sizes in shapes]
    runs: list[list[int]] = []
    last: tuple[bool, ...] | None = None
    for axis, size in enumerate(out):
        if size == 1:
            continue
        full = tuple(sizes[axis] == size for sizes in aligned)
        if full == last:
            runs[-1].append(axis)
        else:
            runs.append([axis])
        last = full
    return runs


def grouped(sizes: Sizes, runs: Sequence[Sequence[int]], rank: int) -> Sizes:
    """`sizes`, aligned at the right of `rank` axes, with one axis per run."""
    aligned = (1,) * (rank - len(sizes)) + sizes
    return tuple(prod(aligned[axis] for axis in run) for run in runs)


def around(rank: int, special: Sequence[int]) -> list[list[int]]:
    """Runs in which each special axis stands alone and those between them are together."""
    runs: list[list[int]] = []
    apart = True
    for axis in range(rank):
        if axis in special or apart:
            runs.append([axis])
        else:
            runs[-1].append(axis)
        apart = axis in special
    return runs


def transposes(sizes: Sizes, perm: Sequence[int]) -> Iterator[tuple[Sizes, tuple[int, ...]]]:
    """Transposes of at most four axes, one after the other, that together are this one.

    Each is (sizes to reshape to, permutation). Axes of size 1 move for nothing; axes that stay
    side by side are one; what is left has its blocks swapped from the left.
    """
    order = [axis for axis in range(len(sizes)) if sizes[axis] != 1]
    wanted = [axis for axis in perm if sizes[axis] != 1]
    blocks = _blocks(order, wanted)
    order_of = [block[0] for block in sorted(blocks)]
    target = [block[0] for block in blocks]
    size_of = {block[0]: prod(sizes[axis] for axis in block) for block in blocks}
    if len(blocks) <= 4:
        if order_of != target:
            yield tuple(size_of[b] for b in order_of), tuple(order_of.index(b) for b in target)
        return
    for place, block in enumerate(target):
        found = order_of.index(block)
        if found == place:
            continue
        end = found + 1
        while end < len(order_of) and target[place + end - found] == order_of[end]:
            end += 1
        parts = order_of[:place], order_of[place:found], order_of[found:end], order_of[end:]
        yield tuple(prod(size_of[b] for b in part) for part in parts), (0, 2, 1, 3)
        order_of = [*parts[0], *parts[2], *parts[1], *parts[3]]


def _blocks(order: Sequence[int], wanted: Sequence[int]) -> list[list[int]]:
    """`wanted` in runs that are neighbours in `order` as well."""
    place = {axis: index for index, axis in enumerate(order)}
    blocks: list[list[int]] = []
    for axis in wanted:
        if blocks and place[blocks[-1][-1]] + 1 == place[axis]:
            blocks[-1].append(axis)
        else:
            blocks.append([axis])
    return blocks
