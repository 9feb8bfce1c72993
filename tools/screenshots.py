"""Take the pictures of the README again: a demo server, a real browser, both themes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
PICTURES = (
    ("overview-light", 1440, 900, "light"),
    ("overview-dark", 1440, 900, "dark"),
    ("overview-phone", 390, 844, "dark"),
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    """Start the demo, let it flow for a while, and take each picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    browser = next(
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    )
    with tempfile.TemporaryDirectory() as data:
        words = [sys.executable, "-m", "streamgauge", "demo", "--port", "0", "--data", data]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            lines = iter(server.stdout or ())
            url = next(line.split()[1] for line in lines if "dashboard" in line)
            take(browser, url)
        finally:
            server.terminate()
            server.wait(30)


def take(browser: str, url: str) -> None:
    """Take every picture of the page at an address."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)
        for name, width, height, scheme in PICTURES:
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page = context.new_page()
            page.goto(url)
            page.wait_for_timeout(6_000)
            page.screenshot(path=IMAGES / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
