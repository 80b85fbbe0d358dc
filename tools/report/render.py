"""The document as a page and as a few lines of markdown: templates that compute nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnc.tools.packaging.rendering import environment_of
from attnc.tools.report import charts, plots
from attnc.tools.report.document import Document
from attnc.tools.report.rounding import shown

TEMPLATES = Path(__file__).parent / "templates"


def render_html(document: Document) -> str:
    """One self-contained page."""
    return _render("report.html.j2", escape=True, document=document)


def render_markdown(document: Document) -> str:
    """What fits into a pull request."""
    return _render("report.md.j2", escape=False, document=document)


def render_comparison(comparison: Any) -> str:
    """The page of `attnc compare`."""
    return _render("compare.html.j2", escape=True, document=comparison)


def _render(name: str, *, escape: bool, **values: object) -> str:
    environment = environment_of(TEMPLATES, escape=escape)
    environment.filters["shown"] = shown
    environment.filters["cell"] = _cell
    environment.globals.update(_DRAWINGS)
    environment.globals["style"] = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return environment.get_template(name).render(**values)


_DRAWINGS: dict[str, Callable[..., Any]] = {
    "strips": charts.strips,
    "ratios": charts.ratios,
    "setting_name": charts.setting_name,
    "icicle": charts.icicle,
    "largest": charts.largest,
    "roofline": plots.roofline,
    "graph": plots.graph,
    "pick": lambda parts, *names: [[getattr(part, name) for name in names] for part in parts],
}


def _cell(value: object) -> str:
    """A text that does not end a markdown table's cell."""
    text = shown(value) if isinstance(value, int | float | str) or value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
