"""Lists in rendered Python, broken over lines where they are long, as a formatter would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

WIDTH = 100


def wrapped(items: Iterable[str], head: str, tail: str = "", brackets: str = "()") -> str:
    """`head(item, item)tail`, with an item to a line if that is longer than a line.

    `head` starts at the line's beginning, so it carries the indentation.
    """
    found, opening, closing = list(items), brackets[0], brackets[1]
    comma = "," if len(found) == 1 and brackets == "()" else ""
    line = f"{head}{opening}{', '.join(found)}{comma}{closing}{tail}"
    if len(line) <= WIDTH:
        return line
    indent = " " * (len(head) - len(head.lstrip()))
    inner = "".join(f"{indent}    {item},\n" for item in found)
    return f"{head}{opening}\n{inner}{indent}{closing}{tail}"


def given(attributes: Mapping[str, str]) -> list[str]:
    """The entries of a dictionary of arguments: arrays become lists of plain integers."""
    return [
        f'"{name}": [int(i) for i in {name}]' if kind == "ints" else f'"{name}": {name}'
        for name, kind in attributes.items()
    ]
