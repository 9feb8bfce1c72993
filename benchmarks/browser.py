"""A real Chromium for the benchmarks of the page, without a screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, Error, Page, sync_playwright

from benchmarks.row import BenchmarkFailed

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
)
WIDTH, HEIGHT = 1440, 900
PATIENCE_MS: Final = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser for as long as the block lasts; what goes wrong in it is a BenchmarkFailed."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise BenchmarkFailed("there is no Chromium to open the page with; `make setup` installs it")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
            yield browser
            browser.close()
    except Error as exc:
        raise BenchmarkFailed(f"the browser: {exc}") from exc


@contextmanager
def fresh_page(browser: Browser) -> Iterator[Page]:
    """Give a page that has nothing from earlier visits."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()
