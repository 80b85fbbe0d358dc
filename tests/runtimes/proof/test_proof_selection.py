"""Agreement of selections: the same, near-ties, wrong ones, and stages that build on another."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.runtimes.proof.selection import Ranking, agreement


def ranking(scores: list[float], keep: int) -> Ranking:
    array = np.array([scores])
    return Ranking(array, np.argsort(-array, axis=1, kind="stable")[:, :keep])


def test_the_same_selection_in_another_order() -> None:
    source = ranking([0.1, 0.5, 0.3, 0.2], 2)
    (found,) = agreement([source], [source.kept[:, ::-1]])
    assert (found.jaccard, found.flipped, found.gap, found.near) == (1.0, 0, None, True)
    assert found.margin == pytest.approx((0.3 - 0.2) / 0.3)


def test_a_near_tie_is_told_apart_from_a_wrong_kernel() -> None:
    source = ranking([0.1, 0.5, 0.3, 0.3 - 1e-6], 2)
    (tie,) = agreement([source], [np.array([[1, 3]])])
    assert tie.jaccard == pytest.approx(1 / 3)
    assert (tie.flipped, tie.near) == (1, True)
    (bad,) = agreement([source], [np.array([[1, 0]])])
    assert not bad.near
    assert bad.gap == pytest.approx(0.2 / 0.3)


def test_later_stages_are_followed_back_to_the_picture() -> None:
    first = ranking([0.1, 0.5, 0.3, 0.2, 0.4], 3)  # keeps patches 1, 4, 2
    second = ranking([0.2, 0.7, 0.1], 1)  # place 1, which is patch 4
    # Another order of the first stage: patch 4 is at place 0 there.
    (_, same) = agreement([first, second], [np.array([[4, 1, 2]]), np.array([[0]])])
    assert (same.jaccard, same.flipped) == (1.0, 0)
    (_, other) = agreement([first, second], [np.array([[4, 1, 2]]), np.array([[1]])])
    assert (other.jaccard, other.flipped, other.near) == (0.0, 1, False)


def test_a_fused_token_may_be_kept() -> None:
    first = ranking([0.1, 0.5, 0.3], 2)
    second = ranking([0.2, 0.1, 0.7], 1)  # place 2 is the fused token
    (_, found) = agreement([first, second], [first.kept, np.array([[2]])])
    assert found.jaccard == 1.0


def test_other_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="different stages"):
        agreement([ranking([1, 2], 1)], [])
