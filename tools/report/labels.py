"""Places for the names of points so that none covers another name or a point.

Greedy: each name takes the nearest free place around its point, and gets a line to it where it is
not right beside it. Where nothing is free it takes the place where it covers least.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Width of a letter and height of a line of the class `small`; the gap between disc and name.
LETTER, LINE, GAP = 6.7, 11.0, 3.0
#: How far names may go, in lines, and in how many directions each distance is tried.
RINGS, DIRECTIONS = 14, 24
#: So many rings further out a name may stand to be off the lines that are drawn.
PATIENCE = 4


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def holds(self, other: Box) -> bool:
        """Whether the other is inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True)
class Disc:
    """A point as it is drawn."""

    x: float
    y: float
    radius: float

    @property
    def box(self) -> Box:
        """What it covers."""
        r = self.radius
        return Box(self.x - r, self.y - r, self.x + r, self.y + r)


@dataclass(frozen=True)
class Label:
    """A name in its place: `x` and `y` begin its base line, `leader` are the ends of the line to
    its point, None where it stands beside it."""

    text: str
    box: Box
    leader: tuple[tuple[float, float], tuple[float, float]] | None

    @property
    def x(self) -> float:
        """Where the text begins."""
        return self.box.left

    @property
    def y(self) -> float:
        """The base line."""
        return self.box.bottom - 2.5


def placed(
    named: Sequence[tuple[str, Disc]], discs: Sequence[Disc], area: Box, taken: Sequence[Box] = ()
) -> list[Label]:
    """A label for each of the named points, in order; `discs` are all points, `taken` is kept free
    where that costs no longer line."""
    names: list[Box] = []
    points, lines = [disc.box for disc in discs], list(taken)
    found = []
    for text, disc in named:
        label = _place(text, disc, (names, points, lines), area)
        found.append(label)
        names.append(label.box)
        names += _along(label.leader)
    return found


def _place(
    text: str, disc: Disc, covered: tuple[Sequence[Box], Sequence[Box], Sequence[Box]], area: Box
) -> Label:
    """The nearest ring with a free place, and there the one that crosses least."""
    names, points, lines = covered
    best, least = None, (math.inf, math.inf)
    for ring in range(RINGS):
        for label in _candidates(text, disc, ring, area):
            line = _along(label.leader)
            hidden = _covered([label.box], [*names, *points]) + _covered(line, names)
            crossed = _covered([label.box], lines) + _covered(line, points)
            if (hidden, crossed) < least:
                best, least = label, (hidden, crossed)
        if least[0] == 0 and (least[1] == 0 or ring >= PATIENCE):
            break
    assert best is not None, "the area is smaller than a name"
    return best


def _covered(ours: Sequence[Box], others: Sequence[Box]) -> float:
    return sum(one.covers(other) for one in ours for other in others)


def _candidates(text: str, disc: Disc, ring: int, area: Box) -> Iterator[Label]:
    """All around the point, on its right first; the first ring is beside it."""
    width, away = LETTER * len(text), disc.radius + GAP + ring * LINE
    for step in range(DIRECTIONS):
        angle = 2 * math.pi * step / DIRECTIONS
        across, up = math.cos(angle), math.sin(angle)
        x, y = disc.x + away * across, disc.y + away * up
        # The near edge of the name touches (x, y), its middle where that is above or below.
        left = x - width * (1 - across) / 2
        box = Box(left, y - LINE * (1 - up) / 2, left + width, y + LINE * (1 + up) / 2)
        if area.holds(box):
            yield Label(text, box, _leader(disc, box) if ring else None)


def _leader(disc: Disc, box: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """From the edge of the disc to the nearest place of the box."""
    x = min(max(disc.x, box.left), box.right)
    y = min(max(disc.y, box.top), box.bottom)
    length = math.hypot(x - disc.x, y - disc.y) or 1.0
    share = disc.radius / length
    return (disc.x + (x - disc.x) * share, disc.y + (y - disc.y) * share), (x, y)


def _along(leader: tuple[tuple[float, float], tuple[float, float]] | None) -> list[Box]:
    return [] if leader is None else along(leader)


def along(points: Sequence[tuple[float, float]]) -> list[Box]:
    """A line through points as small boxes, short of the points, which may touch what they join."""
    found = []
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        count = max(2, int(math.hypot(x2 - x1, y2 - y1) / 2))
        shares = [step / count for step in range(1, count)]
        middles = [(x1 + (x2 - x1) * share, y1 + (y2 - y1) * share) for share in shares]
        found += [Box(x - 1, y - 1, x + 1, y + 1) for x, y in middles]
    return found
