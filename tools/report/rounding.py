"""Numbers as the page shows them: rounded once, here, so that page and JSON agree."""

from __future__ import annotations

import math


def figures(value: float, count: int = 3) -> float:
    """`value` to `count` significant figures; whole numbers keep all of theirs."""
    if not math.isfinite(value) or value == 0:
        return 0.0 if value == 0 else value
    places = count - 1 - math.floor(math.log10(abs(value)))
    return float(round(value, max(0, places)))


def percent(part: float, whole: float) -> float:
    """`part` of `whole` in percent, to one place; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


def shown(value: float | int | str | None) -> str:
    """A number's text, without a needless `.0`; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)
