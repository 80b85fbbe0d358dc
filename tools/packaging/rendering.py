"""Templates become a folder: each `.j2` file is rendered, and `__name__` in its path replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
NAME = "__name__"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def render_tree(kind: str, folder: Path, name: str, values: Mapping[str, object]) -> None:
    """Render all templates of a kind into `folder`; an unknown variable is an error."""
    root = TEMPLATES / kind
    environment = _environment(root)
    for template in sorted(root.rglob("*.j2")):
        inner = template.relative_to(root).as_posix()
        path = folder / inner.removesuffix(".j2").replace(NAME, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = environment.get_template(inner).render(name=name, **values)
        path.write_text(text, encoding="utf-8", newline="\n")


def swift_text(value: str) -> str:
    """A string literal of Swift."""
    escaped = (_ESCAPES.get(sign) or _visible(sign) for sign in value)
    return f'"{"".join(escaped)}"'


def kotlin_text(value: str) -> str:
    """A string literal of Kotlin."""
    escaped = ("\\$" if sign == "$" else _ESCAPES.get(sign) or _utf16(sign) for sign in value)
    return f'"{"".join(escaped)}"'


def _utf16(sign: str) -> str:
    if sign.isprintable():
        return sign
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _visible(sign: str) -> str:
    return sign if sign.isprintable() else f"\\u{{{ord(sign):x}}}"


def environment_of(root: Path, *, escape: bool) -> Environment:
    """Templates of a folder, as all of ours are read: what is not given is an error."""
    return Environment(
        loader=FileSystemLoader(root),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=escape,
    )


def _environment(root: Path) -> Environment:
    environment = environment_of(root, escape=False)
    environment.filters["swift_text"] = swift_text
    environment.filters["kotlin_text"] = kotlin_text
    return environment
