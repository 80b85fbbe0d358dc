"""The planner of memory: nothing that lives together overlaps, and space is used again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attnc.targets.web.memory import ALIGNMENT, Block, aligned, place

BLOCKS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(-1, 20), st.integers(0, 20)),
    min_size=1,
    max_size=30,
)


@given(BLOCKS)
def test_blocks_that_live_together_are_apart(made: list[tuple[int, int, int]]) -> None:
    blocks = [
        Block(str(index), count, first, first + length)
        for index, (count, first, length) in enumerate(made)
    ]
    offsets, total = place(blocks)
    for block in blocks:
        assert offsets[block.name] % ALIGNMENT == 0
        assert offsets[block.name] + aligned(block.bytes) <= total
        for other in blocks:
            if other is block or other.last < block.first or block.last < other.first:
                continue
            ends = offsets[block.name] + aligned(block.bytes) <= offsets[other.name]
            begins = offsets[other.name] + aligned(other.bytes) <= offsets[block.name]
            assert ends or begins


def test_a_chain_needs_two_blocks() -> None:
    chain = [Block(str(step), 640, step, step + 1) for step in range(9)]
    assert place(chain)[1] == 2 * 640


def test_an_empty_tensor_has_a_place() -> None:
    assert place([Block("none", 0, 0, 1), Block("some", 4, 0, 1)])[1] == 2 * ALIGNMENT
