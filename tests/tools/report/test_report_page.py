"""The page in headless Chromium: wide and narrow, light and dark, silent, and for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.web.browser import Visit, visit
from attnc.tools.report.axe import axe_script
from attnc.tools.report.comparing import compare_bundles
from attnc.tools.report.document import Document
from attnc.tools.report.render import render_comparison, render_html

ROOT = Path(__file__).resolve().parents[3]
ARTEFACTS = ROOT / "build" / "artefacts"
pytestmark = pytest.mark.usefixtures("browser")
OPEN = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
FOLDED = """() => { const each = document.querySelector("details"); each.open = false;
  const height = each.querySelector("table").getBoundingClientRect().height;
  each.open = true; return height; }"""
AXE = "axe.run(document, { resultTypes: ['violations'] })"
NAMELESS = """() => Array.from(document.querySelectorAll("svg, img")).filter((each) =>
  each.tagName === "IMG" ? !each.alt : each.getAttribute("role") !== "img" ||
    !each.getAttribute("aria-labelledby").split(" ").every(
      (id) => document.getElementById(id).textContent)).length"""
#: Right edges of texts in drawings that are cut off by the drawing.
OUTSIDE = """() => Array.from(document.querySelectorAll("svg")).flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  return Array.from(svg.querySelectorAll("text")).filter((each) => {
    const box = each.getBoundingClientRect();
    return box.right > frame.right + 2 || box.left < frame.left - 2;
  }).map((each) => each.textContent); })"""


@pytest.fixture(scope="module")
def pages(
    document: Document, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    bundles = (Bundle.open(folders["shvit"]), Bundle.open(folders["evit"]))
    found = compare_bundles(bundles, (document.bundles[0], document.bundles[1]), run=False)
    texts = {"report": render_html(document), "compare": render_comparison(found)}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def no_complaints(seen: Visit, page: Path) -> None:
    assert seen.errors == []
    assert seen.elsewhere(page.as_uri()) == []


def violations(seen: Visit) -> list[tuple[str, str]]:
    try:
        script = axe_script()
    except MissingRuntimeError as error:
        pytest.skip(error.message)
    seen.page.add_script_tag(path=script)
    found: Any = seen.page.evaluate(AXE)
    return [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_everybody_can_read_it(name: str, width: int, scheme: Any, pages: dict[str, Path]) -> None:
    with visit(pages[name].as_uri(), size=(width, 800), color_scheme=scheme) as seen:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        seen.page.screenshot(path=ARTEFACTS / f"{name}-{width}.png", full_page=True)
        seen.page.evaluate(OPEN)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(NAMELESS) == 0
        assert seen.page.evaluate(OUTSIDE) == []
        no_complaints(seen, pages[name])
        if name == "report" and width > 1000:
            paper_is_white_and_shows_everything(seen)
        assert violations(seen) == []


def paper_is_white_and_shows_everything(seen: Visit) -> None:
    """In print nothing is folded, whatever the window's colours."""
    seen.page.emulate_media(media="print", color_scheme="dark")
    style = "getComputedStyle(document.body).backgroundColor"
    assert seen.page.evaluate(style) == "rgb(255, 255, 255)"
    assert not seen.page.is_visible("nav")
    assert seen.page.evaluate(FOLDED) > 0
    seen.page.emulate_media(media="screen", color_scheme="light")
