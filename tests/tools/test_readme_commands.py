"""What the README and docs/ tell people to type works."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnc.tools.readme_commands import Step, all_steps, run_page, run_step, steps_of

PAGES = {page: steps for page, steps in all_steps().items() if steps}
#: Pages that take most of a minute or more, whose commands other tests run on smaller models.
LONG = {
    f"docs/{name}.md"
    for name in (
        "accuracy",
        "android",
        "bundle",
        "coreml",
        "coreml-placement",
        "crossover",
        "packages",
        "proof",
        "report",
        "tensorrt",
    )
}


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in LONG else ()) for page in PAGES]
)
def test_everything_on_the_page_works(page: str) -> None:
    assert run_page(PAGES[page]) == []


def test_steps_are_found_in_order() -> None:
    text = (
        "words\n```sh\ngit clone x\nattnc list \\\n    models\n\nmake test  # all, of it\n```\n"
        "<!-- not run: needs a phone -->\n```sh\nattnc list phones\n```\n"
        "```python\nprint(1)\n```\n```json\n{}\n```\n"
    )
    assert steps_of("p", text) == [
        Step("p", "attnc", "attnc list models"),
        Step("p", "make", "make test  # all, of it"),
        Step("p", "python", "print(1)\n"),
    ]


def test_what_does_not_work_is_told() -> None:
    bad = [
        Step("p", "attnc", "attnc list colours"),
        Step("p", "make", "make coffee"),
        Step("p", "python", "raise SystemExit(3)"),
    ]
    failures = run_page([*bad, Step("p", "make", "make test")])
    assert len(failures) == 3
    assert "coffee" in failures[1]
    assert "exit code 3" in failures[2]


def test_a_step_that_works_says_nothing(tmp_path: Path) -> None:
    assert run_step(Step("p", "python", "print(1)"), tmp_path) == ""
