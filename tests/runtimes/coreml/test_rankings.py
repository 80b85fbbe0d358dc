"""Rankings that float16 turns: near-ties are told apart from wrong choices."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.coreml.rankings import Rankings, first_swap


def watched(*rankings: tuple[str, list[float], list[int]]) -> Rankings:
    """Rankings of one row each, as an evaluation gives them."""
    found = Rankings()
    for name, values, indices in rankings:
        operation = Operation("topk", name, {}, (), {}, ())
        found(operation, (np.array([values], np.float16), np.array([indices], np.int32)))
    other = Operation("softmax", "share", {}, (), {}, ())
    found(other, (np.zeros(3, np.float32),))
    return found


def test_the_same_choice_in_another_order_is_no_swap() -> None:
    one = watched(("a", [3, 2, 1], [5, 7, 1]))
    assert list(one.found) == ["a"]
    assert first_swap(one, watched(("a", [3, 2.01, 1], [7, 5, 1]))) is None


def test_a_near_tie_is_told_with_its_gap() -> None:
    one = watched(("a", [3, 2, 1.004], [5, 7, 1]), ("b", [1], [0]))
    swap = first_swap(one, watched(("a", [3, 2, 1], [5, 7, 9]), ("b", [1], [3])))
    assert swap is not None
    assert (swap.operation, swap.count, swap.chosen) == ("a", 1, 3)
    assert swap.gap == 0  # each is at its own cut
    assert swap.near


def test_a_wide_gap_is_no_rounding() -> None:
    one = watched(("a", [3, 2, 1], [5, 7, 1]))
    swap = first_swap(one, watched(("a", [3, 2, 1], [4, 7, 1])))
    assert swap is not None
    assert swap.gap == pytest.approx(2)
    assert not swap.near


def test_the_first_that_differs_counts() -> None:
    one = watched(("a", [3, 2], [5, 7]), ("b", [2, 1], [4, 1]))
    swap = first_swap(one, watched(("a", [3, 2], [5, 7]), ("b", [2, 1], [4, 2])))
    assert swap is not None
    assert swap.operation == "b"


def test_rankings_of_other_programs_are_left_alone() -> None:
    one = watched(("a", [3, 2], [5, 7]))
    assert first_swap(one, watched(("other", [3, 2], [1, 2]))) is None
    assert first_swap(one, watched(("a", [3, 2, 1], [1, 2, 3]))) is None


def test_tokens_are_followed_through_an_earlier_ranking() -> None:
    """The same tokens in another order are at other places of what is ranked next."""
    one = watched(("a", [3, 2, 1], [5, 7, 1]), ("b", [2, 1], [0, 3]))
    other = watched(("a", [3, 2, 1], [7, 5, 1]), ("b", [2, 1], [1, 3]))
    assert first_swap(one, other) is None
    swap = first_swap(one, watched(("a", [3, 2, 1], [7, 5, 1]), ("b", [2, 1], [0, 3])))
    assert swap is not None
    assert (swap.operation, swap.count) == ("b", 1)
