"""Headless Chromium, driven by playwright-core (in the package `playwright`), for what runs there.

Pages see this machine only; what they say on the console and what they load is kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.errors import MissingRuntimeError

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

VARIABLE = "ATTNC_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: No sandbox of its own (containers have none to give), and no traffic of its own.
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
#: WebGPU in software: right, and far too slow to time.
WEBGPU = (
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan,WebGPU",
    "--use-webgpu-adapter=swiftshader",
    "--use-vulkan=swiftshader",
    "--ignore-gpu-blocklist",
)


@dataclass
class Visit:
    """An open page, what it complained about and what it loaded."""

    page: Page
    context: BrowserContext
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def elsewhere(self, base: str) -> list[str]:
        """Addresses that were loaded from anywhere but `base`."""
        own = (base, "blob:", "data:")
        return [address for address in self.requests if not address.startswith(own)]


def chromium() -> Path:
    """The browser. Raises MissingRuntimeError if there is none."""
    named = os.environ.get(VARIABLE)
    found = named if named and Path(named).is_file() else None
    for name in NAMES:
        found = found or shutil.which(name)
    if found is None:
        raise MissingRuntimeError(
            "Chromium is not installed",
            remedy=f"apt-get install chromium, or name a browser in {VARIABLE}",
        )
    return Path(found)


@contextmanager
def visit(
    address: str,
    *,
    flags: Sequence[str] = (),
    size: tuple[int, int] = (1280, 800),
    **options: Any,
) -> Iterator[Visit]:
    """Open a page in a new browser with an empty profile; `size` is the window's, in pixels.

    `options` go to playwright's `new_context`. Raises MissingRuntimeError without a browser.
    """
    with launched(flags) as browser:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        seen = Visit(context.new_page(), context)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("console", lambda message: _note(seen, message))
        context.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(address)
        yield seen
        context.close()


@contextmanager
def launched(flags: Sequence[str] = ()) -> Iterator[Any]:
    """A running browser of playwright's synchronous interface."""
    path = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingRuntimeError(
            "playwright is not installed, which drives the browser",
            remedy="pip install 'attnc[browser]'",
        ) from error
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(path), headless=True, args=[*FLAGS, *flags]
        )
        try:
            yield browser
        finally:
            browser.close()


def _note(seen: Visit, message: Any) -> None:
    if message.type == "error":
        seen.errors.append(str(message.text))
