"""Every number on the page is in the JSON; the page is small, whole and the same each time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from attnc.tools.report.document import Document
from attnc.tools.report.render import render_html, render_markdown
from attnc.tools.report.rounding import figures, percent, shown

#: A number by itself: not a part of a word, a hash or a version.
NUMBER = re.compile(r"(?<![\w.:/-])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.:/-]*\w)")


class Words(HTMLParser):
    """What is shown or said of a page, and the elements that it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag == "style"
        self.words += [value or "" for name, value in attrs if name in ("alt", "aria-label")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


def read(page: str) -> Words:
    words = Words()
    words.feed(page)
    return words


def numbers(text: str) -> set[float]:
    return {float(found) for found in NUMBER.findall(text)}


def test_every_number_on_the_page_is_in_the_json(document: Document) -> None:
    held = numbers(re.sub(r'data:image[^"]*', "", json.dumps(document.model_dump(mode="json"))))
    page = {value for words in read(render_html(document)).words for value in numbers(words)}
    assert len(page) > 300
    assert page - held == set()


def test_every_number_of_the_markdown_is_in_the_json(document: Document) -> None:
    held = numbers(re.sub(r'data:image[^"]*', "", json.dumps(document.model_dump(mode="json"))))
    text = re.sub(r"top-1", "", render_markdown(document))
    assert numbers(text) - held == set()
    assert "**NOT verified**" in text
    assert "openvino" not in text


def test_the_page_is_whole(document: Document) -> None:
    page = render_html(document)
    words = read(page)
    assert not {tag for tag, _ in words.tags} & {"script", "iframe", "object"}
    for tag, attributes in words.tags:
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, value)
    assert "url(" not in page
    assert "@import" not in page
    ids = [attributes["id"] for _, attributes in words.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_it_is_the_same_each_time(document: Document) -> None:
    assert render_html(document) == render_html(document)


def test_ten_bundles_stay_small(document: Document) -> None:
    ten = document.model_copy(update={"bundles": document.bundles * 5})
    assert len(render_html(ten).encode()) < 3_000_000


def test_names_are_escaped(document: Document) -> None:
    part = document.bundles[0].model_copy(update={"title": "<b>&|"})
    changed = document.model_copy(update={"bundles": (part,)})
    assert "<b>" not in render_html(changed)
    assert "\\|" in render_markdown(changed)


@pytest.mark.parametrize(
    ("value", "rounded", "text"),
    [
        (0.000123456, 0.000123, "0.000123"),
        (1234.5678, 1235.0, "1235"),
        (-2.3456, -2.35, "-2.35"),
        (0.0, 0.0, "0"),
        (2.3456e-7, 2.35e-07, "2.35e-07"),
    ],
)
def test_rounding(value: float, rounded: float, text: str) -> None:
    assert figures(value) == rounded
    assert shown(rounded) == text


def test_shares_of_nothing() -> None:
    assert percent(1, 0) == 0.0
    assert percent(1, 3) == 33.3
    assert shown(None) == ""
