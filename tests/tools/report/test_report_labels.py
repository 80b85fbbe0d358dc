"""Names in the roofline: however close the points are, none covers another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from attnc.tools.report.labels import Box, Disc, Label, along, placed

AREA = Box(40, 10, 350, 226)
NAMES = ("InvertedBottleneckNhwc", "FeedForwardNhwc", "Linear")


def clear(labels: list[Label], discs: list[Disc]) -> None:
    for label in labels:
        assert AREA.holds(label.box)
        assert not any(label.box.covers(disc.box) for disc in discs)
    for one, other in itertools.combinations(labels, 2):
        assert not one.box.covers(other.box)
        for line, box in ((one.leader, other.box), (other.leader, one.box)):
            assert line is None or not any(part.covers(box) for part in along(line))


def test_a_lone_point_has_its_name_beside_it() -> None:
    disc = Disc(100, 100, 5)
    (label,) = placed([("Linear", disc)], [disc], AREA)
    assert label.leader is None
    assert (label.x, label.box.top, label.box.bottom) == (pytest.approx(108), 94.5, 105.5)


def test_near_the_right_edge_it_stands_on_the_other_side() -> None:
    disc = Disc(345, 100, 4)
    (label,) = placed([("FeedForward", disc)], [disc], AREA)
    assert label.box.right <= 345 - 4


@pytest.mark.parametrize("spread", [0, 3, 12, 60])
@pytest.mark.parametrize("seed", range(10))
def test_close_points_are_told_apart(spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    middle = rng.uniform((60, 40), (330, 200))
    places = np.clip(middle + rng.uniform(-spread, spread, (12, 2)), (48, 18), (342, 218))
    discs = [Disc(float(x), float(y), float(rng.uniform(2.5, 7.5))) for x, y in places]
    labels = placed(list(zip(NAMES, discs, strict=False)), discs, AREA)
    clear(labels, discs)
    assert [label.text for label in labels] == list(NAMES)


def test_names_keep_off_what_is_drawn() -> None:
    disc, line = Disc(100, 100, 5), along([(60, 100), (300, 100)])
    (label,) = placed([("Linear", disc)], [disc], AREA, line)
    assert not any(label.box.covers(part) for part in line)


def test_a_full_area_still_gives_every_name_a_place() -> None:
    discs = [Disc(x, y, 8) for x in range(45, 350, 12) for y in range(15, 226, 12)]
    assert len(placed([("Linear", discs[70])], discs, AREA)) == 1
