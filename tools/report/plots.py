"""The roofline of the fused operators, and the graph of an example, as drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnc.tools.report import labels
from attnc.tools.report.charts import WIDTH
from attnc.tools.report.document import Box, Example, Point, Roof
from attnc.tools.report.drawing import Drawing, cut
from attnc.tools.report.rounding import shown

_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 40.0, 8.0, 10.0, 34.0, 260.0
NAMED = 3  # points whose operator is written beside them


def roofline(roof: Roof) -> Drawing:
    """Operations per second over operations per byte, both logarithmic, under the two ceilings."""
    scale = _Scale(roof)
    worst = min(roof.points, key=lambda point: point.percent_of_roof)
    drawing = Drawing(
        WIDTH,
        _HEIGHT,
        "Roofline of the fused operators",
        f"Ceilings: {shown(roof.gigaflops)} GFLOP/s and {shown(roof.gigabytes)} GB/s. Furthest "
        f"below: {worst.operator} at {shown(worst.percent_of_roof)} percent of its ceiling.",
    )
    _axes(drawing, roof, scale)
    first, last = roof.intensity_ticks[0], roof.intensity_ticks[-1]
    corners = [(first, min(roof.gigaflops, first * roof.gigabytes))]
    corners += [(roof.ridge, roof.gigaflops)] if first < roof.ridge < last else []
    corners.append((last, min(roof.gigaflops, last * roof.gigabytes)))
    drawing.path([(scale.x(x), scale.y(y)) for x, y in corners], "roof")
    _points(drawing, roof, scale, [(scale.x(x), scale.y(y)) for x, y in corners])
    return drawing


class _Scale:
    """From figures to places, by the decades of the ticks."""

    def __init__(self, roof: Roof) -> None:
        self._across = [math.log10(tick) for tick in roof.intensity_ticks]
        self._up = [math.log10(tick) for tick in roof.rate_ticks]

    def x(self, value: float) -> float:
        share = (math.log10(value) - self._across[0]) / (self._across[-1] - self._across[0])
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * share

    def y(self, value: float) -> float:
        share = (math.log10(value) - self._up[0]) / (self._up[-1] - self._up[0])
        share = min(1.0, max(0.0, share))
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _axes(drawing: Drawing, roof: Roof, scale: _Scale) -> None:
    bottom = _HEIGHT - _BOTTOM
    for tick in roof.intensity_ticks:
        drawing.line(scale.x(tick), _TOP, scale.x(tick), bottom, "grid")
        anchor = "end" if tick == roof.intensity_ticks[-1] else "middle"
        drawing.text(scale.x(tick), bottom + 13, shown(tick), "faint", anchor)
    for tick in roof.rate_ticks:
        drawing.line(_LEFT, scale.y(tick), WIDTH - _RIGHT, scale.y(tick), "grid")
        drawing.text(_LEFT - 4, scale.y(tick) + 4, shown(tick), "faint", "end")
    drawing.text((WIDTH + _LEFT) / 2, _HEIGHT - 6, "operations per byte", "faint", "middle")
    drawing.text(_LEFT + 4, _TOP + 10, "GFLOP/s", "faint")


def _points(
    drawing: Drawing, roof: Roof, scale: _Scale, corners: Sequence[tuple[float, float]]
) -> None:
    """All discs, and the names of those that take longest, where nothing is covered by them."""
    most = max(point.microseconds for point in roof.points)
    discs = [_disc(point, most, scale) for point in roof.points]
    for point, disc in zip(roof.points, discs, strict=True):
        hint = (
            f"{point.operator} {point.shapes}: {shown(point.gigaflops)} GFLOP/s, "
            f"{shown(point.gigabytes)} GB/s, {shown(point.percent_of_roof)} percent of its ceiling"
        )
        drawing.circle(disc.x, disc.y, disc.radius, "point", hint)
    named = [(point.operator, disc) for point, disc in zip(roof.points, discs, strict=True)][:NAMED]
    area = labels.Box(_LEFT + 2, _TOP, WIDTH - _RIGHT, _HEIGHT - _BOTTOM - 2)
    caption = labels.Box(_LEFT, _TOP, _LEFT + 55, _TOP + 14)  # GFLOP/s
    for label in labels.placed(named, discs, area, [caption, *labels.along(corners)]):
        if label.leader is not None:
            drawing.path(label.leader, "leader")
        drawing.text(label.x, label.y, label.text, "small")


def _disc(point: Point, most: float, scale: _Scale) -> labels.Disc:
    """Its area grows with the time that is spent there."""
    radius = 2.5 + 5 * math.sqrt(point.microseconds / most)
    x, y = scale.x(point.flops_per_byte), scale.y(max(point.gigaflops, 1e-6))
    return labels.Disc(x, y, radius)


_BOX, _GAP, _STEP = 20.0, 8.0, 32.0


def graph(example: Example) -> Drawing:
    """Boxes from top to bottom, before on the left, what took their place on the right."""
    ranks = _ranks(example.before)
    rows = max(max(ranks, default=0), max(_ranks(example.after), default=0)) + 1
    words = ", ".join(box.operator for box in example.before)
    after = ", ".join(box.operator for box in example.after)
    drawing = Drawing(
        WIDTH,
        _STEP * rows + 18,
        f"{example.step}: before and after",
        f"{words} became {after}.",
    )
    drawing.text(0, 11, "before", "faint")
    drawing.text(WIDTH * 0.66, 11, "after", "faint")
    _boxes(drawing, example.before, 1.0, WIDTH * 0.58)
    _boxes(drawing, example.after, WIDTH * 0.66, WIDTH - 1)
    middle = 18 + _BOX / 2
    drawing.path(
        [(WIDTH * 0.6, middle), (WIDTH * 0.645, middle), (WIDTH * 0.63, middle - 5)], "edge"
    )
    drawing.path([(WIDTH * 0.645, middle), (WIDTH * 0.63, middle + 5)], "edge")
    return drawing


def _ranks(boxes: Sequence[Box]) -> list[int]:
    """The row of each box: below all that feed it."""
    ranks = [0] * len(boxes)
    for place, box in enumerate(boxes):
        for later in box.feeds:
            ranks[later] = max(ranks[later], ranks[place] + 1)
    return ranks


def _boxes(drawing: Drawing, boxes: Sequence[Box], left: float, right: float) -> None:
    ranks = _ranks(boxes)
    spots: list[tuple[float, float, float]] = []
    for place, rank in enumerate(ranks):
        row = [other for other, its in enumerate(ranks) if its == rank]
        width = (right - left - _GAP * (len(row) - 1)) / len(row)
        x = left + row.index(place) * (width + _GAP)
        narrow = min(width, 150.0)
        spots.append((x + (width - narrow) / 2, 18 + _STEP * rank, narrow))
    for place, box in enumerate(boxes):
        for later in box.feeds:
            _edge(drawing, spots[place], spots[later], ranks[later] - ranks[place] > 1)
    for (x, y, width), box in zip(spots, boxes, strict=True):
        css = "node fused" if box.fused else "node"
        drawing.rect(x, y, width, _BOX, css, f"{box.operator} {box.name}")
        drawing.text(x + width / 2, y + 14, cut(box.operator, width - 4), "node-text", "middle")


def _edge(
    drawing: Drawing, start: tuple[float, float, float], end: tuple[float, float, float], far: bool
) -> None:
    """From the bottom of a box to the top of another; one that skips rows leads past the others."""
    x1, y1 = start[0] + start[2] / 2, start[1] + _BOX
    x2, y2 = end[0] + end[2] / 2, end[1]
    if not far:
        drawing.path([(x1, y1), (x2, y2)], "edge")
        return
    side = max(start[0] + start[2], end[0] + end[2]) + 6
    turn = (start[0] + start[2], start[1] + _BOX / 2)
    stop = (end[0] + end[2], end[1] + _BOX / 2)
    drawing.path([turn, (side, turn[1]), (side, stop[1]), stop], "edge far")
