"""The charts of the page: samples, ratios, time by module. Every figure comes from the document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from attnc.tools.report.document import Latency, Profile, Setting, Share
from attnc.tools.report.drawing import Drawing, cut
from attnc.tools.report.rounding import shown

WIDTH = 360.0
_ROW, _EDGE = 40.0, 6.0


def strips(setting: Setting) -> Drawing:
    """All samples of each runner over one scale: dots, the middle half as a box, the median."""
    runners = setting.runners
    low = min(runner.least_ms for runner in runners)
    high = max(max(runner.p99_ms, runner.median_ms) for runner in runners)
    span = (high - low) or high or 1.0

    def at(value: float) -> float:
        return _EDGE + (WIDTH - 2 * _EDGE) * min(1.0, max(0.0, (value - low) / span))

    words = "; ".join(f"{r.runner} {shown(r.median_ms)} ms" for r in runners)
    drawing = Drawing(
        WIDTH, _ROW * len(runners) + 16, "Latency of every sample, by runner", f"Medians: {words}."
    )
    for row, runner in enumerate(runners):
        top = row * _ROW
        css = "ours" if row == 0 else "theirs"
        drawing.text(_EDGE, top + 12, runner.runner)
        drawing.text(WIDTH - _EDGE, top + 12, f"{shown(runner.median_ms)} ms", "strong", "end")
        left, right = at(runner.quarter_ms), at(runner.three_quarters_ms)
        drawing.rect(left, top + 17, right - left, 18, f"box {css}")
        spread = [
            (at(s), top + 20 + 12 * (place * 7 % 13) / 13)
            for place, s in enumerate(runner.samples_ms)
        ]
        drawing.dots(spread, f"dots {css}")
        drawing.line(at(runner.median_ms), top + 15, at(runner.median_ms), top + 37, "median")
    bottom = _ROW * len(runners) + 12
    drawing.text(_EDGE, bottom, f"{shown(low)} ms", "faint")
    drawing.text(WIDTH - _EDGE, bottom, f"{shown(high)} ms", "faint", "end")
    return drawing


def ratios(latency: Latency) -> Drawing | None:
    """Ours over theirs with intervals, on a logarithmic scale; a line where both are equal."""
    rows = [(setting, ratio) for setting in latency.settings for ratio in setting.ratios]
    if not rows:
        return None
    ends = [value for _, ratio in rows for value in (ratio.low, ratio.high, 1.0) if value > 0]
    low, high = math.log(min(ends)), math.log(max(ends))
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 20 + (WIDTH - 40) * (math.log(max(value, 1e-9)) - low) / span

    words = "; ".join(
        f"{ratio.runner} {shown(ratio.ratio)}, from {shown(ratio.low)} to {shown(ratio.high)}"
        for _, ratio in rows
    )
    drawing = Drawing(
        WIDTH,
        30.0 * len(rows) + 18,
        "Our latency over theirs, with intervals",
        f"Left of the line ours is faster. {words}.",
    )
    drawing.line(at(1.0), 0, at(1.0), 30.0 * len(rows), "axis dashed")
    for row, (setting, ratio) in enumerate(rows):
        top = 30.0 * row
        css = "ours" if ratio.high < 1 else "worse" if ratio.low > 1 else "theirs"
        drawing.text(_EDGE, top + 11, f"{ratio.runner}, {setting_name(setting)}", "small")
        drawing.text(WIDTH - _EDGE, top + 11, shown(ratio.ratio), "strong", "end")
        drawing.line(at(ratio.low), top + 20, at(ratio.high), top + 20, f"interval {css}")
        drawing.circle(at(ratio.ratio), top + 20, 4, f"fill {css}")
    drawing.text(at(1.0), 30.0 * len(rows) + 12, "equal", "faint", "middle")
    return drawing


def setting_name(setting: Setting) -> str:
    """What its runners share."""
    threads = "" if setting.threads is None else f", threads {setting.threads}"
    return f"batch {setting.batch}{threads}{f', {setting.mode}' if setting.mode else ''}"


@dataclass
class _Part:
    """A module with what is in it, in the order in which it ran."""

    name: str
    microseconds: float = 0.0
    parts: dict[str, _Part] = field(default_factory=dict)

    def add(self, path: Sequence[str], microseconds: float) -> None:
        self.microseconds += microseconds
        if path:
            full = f"{self.name}.{path[0]}".lstrip(".")
            self.parts.setdefault(path[0], _Part(full)).add(path[1:], microseconds)


def icicle(profile: Profile) -> Drawing:
    """Time by module, its parts below it; widths are time."""
    root = _Part("")
    for share in profile.modules:
        root.add(share.name.split("."), share.microseconds)
    depth = min(3, max(share.name.count(".") + 1 for share in profile.modules))
    most = max(profile.modules, key=lambda share: share.microseconds)
    drawing = Drawing(
        WIDTH,
        22.0 * depth,
        "Time of one call by torch module",
        f"The largest is {most.name} with {shown(most.percent)} percent; the table below has all.",
    )
    _draw_parts(drawing, root, 0.0, WIDTH, 0, depth)
    return drawing


def _draw_parts(
    drawing: Drawing, part: _Part, left: float, width: float, level: int, depth: int
) -> None:
    if level == depth or not part.microseconds:
        return
    for place, (short, inner) in enumerate(part.parts.items()):
        share = width * inner.microseconds / part.microseconds
        drawing.rect(left, 22.0 * level, share, 21, f"cell shade{(place + level) % 3}", inner.name)
        drawing.text(left + 3, 22.0 * level + 15, cut(short, share - 4), "cell-text")
        _draw_parts(drawing, inner, left, share, level + 1, depth)
        left += share


def largest(shares: Sequence[Share]) -> float:
    """The largest percentage, which a bar of full width stands for."""
    return max((share.percent for share in shares), default=1.0) or 1.0
