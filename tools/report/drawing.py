"""A drawing as plain shapes with CSS classes; a macro of the page writes them as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """One element: its tag, its attributes, what stands in it, and what a pointer is told."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    hint: str = ""


@dataclass
class Drawing:
    """`title` names it and `description` says what it shows, for those who do not see it."""

    width: float
    height: float
    title: str
    description: str
    shapes: list[Shape] = field(default_factory=list)

    def rect(
        self, x: float, y: float, width: float, height: float, css: str, hint: str = ""
    ) -> None:
        """A rectangle; never so narrow that it is not seen."""
        sides = {"x": x, "y": y, "width": max(width, 0.5), "height": height}
        self._add("rect", css, hint, **sides)

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line."""
        self._add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Iterable[tuple[float, float]], css: str) -> None:
        """A line through points."""
        steps = " ".join(f"{place(x)} {place(y)}" for x, y in points)
        self.shapes.append(Shape("path", {"class": css, "d": f"M{steps}"}))

    def dots(self, points: Iterable[tuple[float, float]], css: str) -> None:
        """Many round dots in one element: strokes without length."""
        steps = "".join(f"M{place(x)} {place(y)}h0" for x, y in points)
        self.shapes.append(Shape("path", {"class": css, "d": steps}))

    def circle(self, x: float, y: float, radius: float, css: str, hint: str = "") -> None:
        """A disc."""
        self._add("circle", css, hint, cx=x, cy=y, r=radius)

    def text(self, x: float, y: float, text: str, css: str = "", anchor: str = "start") -> None:
        """A line of text; `anchor` is start, middle or end."""
        given = {"x": place(x), "y": place(y), "text-anchor": anchor}
        self.shapes.append(Shape("text", {**({"class": css} if css else {}), **given}, text))

    def _add(self, tag: str, css: str, hint: str = "", **numbers: float) -> None:
        attributes = {name: place(value) for name, value in numbers.items()}
        self.shapes.append(Shape(tag, {"class": css, **attributes}, hint=hint))


def place(value: float) -> str:
    """A coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def cut(text: str, width: float, letter: float = 6.2) -> str:
    """As much of a text as fits `width`, with an ellipsis; nothing if hardly anything would."""
    most = int(width / letter)
    if len(text) <= most:
        return text
    return f"{text[: most - 1]}…" if most >= 4 else ""
