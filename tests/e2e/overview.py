"""The overview in a browser: opened, listened to for faults, looked at by axe; and events to fill it with."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, CDPSession, ConsoleMessage, Locator, Page, expect

from server_process import ServerProcess

WIDTHS = (1440, 1024, 390)
HEIGHTS = {1440: 900, 1024: 900, 390: 844}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
ZONE = "Asia/Kolkata"  # neither the server's zone nor a whole hour from it
AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"
REGIONS = (
    "Key numbers", "Events per second", "Top events by type", "Value percentiles", "Processing latency",
    "Latency heatmap", "Pipeline", "Live tail", "Sources", "Ledger",
)  # fmt: skip
MARKUP = "<img src=x onerror=alert(1)>"
HISTORY_S = 800
KINDS = ("page_view", "page_view", "page_view", "search", "search", "add_to_cart", "purchase", MARKUP)


class Overview:
    """One open page. faults: what its console told, without the browser's words on a server that is away."""

    def __init__(
        self,
        browser: Browser,
        width: int = 1440,
        theme: Literal["light", "dark"] = "light",
        *,
        touch: bool = False,
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": HEIGHTS[width]},
            color_scheme=theme,
            timezone_id=ZONE,
            has_touch=touch,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.faults: list[str] = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _listen(self, message: ConsoleMessage) -> None:
        away = "WebSocket connection to" in message.text or "net::ERR_CONNECTION" in message.text
        if message.type in {"error", "warning"} and not away:
            self.faults.append(message.text)

    def open(self, server: ServerProcess, query: str = "") -> Page:
        """Open the page and give it once it shows something."""
        self.page.goto(f"{server.url}/{query}")
        expect(self.page.locator("main:not(.skeleton)")).to_be_visible()
        return self.page

    def cdp(self) -> CDPSession:
        """Speak with the browser below the page."""
        return self.context.new_cdp_session(self.page)

    def close(self) -> None:
        """Close the page; it must have had nothing to complain of."""
        self.context.close()
        assert self.faults == [], self.faults


def axe_faults(page: Page) -> list[str]:
    """Give the serious and critical faults that axe-core finds, with the places."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    # what is fading in has not its own colours yet
    page.evaluate(
        "Promise.allSettled(document.getAnimations().filter(a => a.effect.getTiming().iterations < 9).map(a => a.finished))"
    )
    found = page.evaluate("axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations)")
    return [
        f"{fault['id']} ({fault['impact']}): {node['target']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


def history(now_s: float | None = None) -> bytes:
    """Make two events a second over the last minutes, as NDJSON."""
    now_ms = int((now_s or time.time()) * 1000)
    return lines(
        {
            "type": KINDS[i * 5 % len(KINDS)],
            "timestamp": now_ms - HISTORY_S * 1000 + i * 500,
            "value": 10 + i % 90,
            "user_id": f"user_{i % 40}",
        }
        for i in range(HISTORY_S * 2)
    )


def lines(events: Any) -> bytes:
    """Write events as NDJSON."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def send(server: ServerProcess, kind: str = "page_view", *, count: int = 1, **more: Any) -> None:
    """Send events that happen now."""
    event = {"type": kind, "value": 1, **more}
    assert server.post(lines([event] * count)).status_code == 202


def tile(page: Page, label: str) -> Locator:
    """Give a tile by its name."""
    return page.locator(".tile").filter(has=page.get_by_role("heading", name=label))


def rows(page: Page) -> Sequence[str]:
    """Give the types that are listed."""
    return page.locator(".top-list .top-type").all_inner_texts()


def region(page: Page, name: str) -> Locator:
    """Give a panel by its name."""
    return page.get_by_role("region", name=name, exact=True)


__all__ = [
    "HISTORY_S", "MARKUP", "REGIONS", "THEMES", "WIDTHS", "ZONE", "Overview", "axe_faults", "history",
    "lines", "region", "rows", "send", "tile",
]  # fmt: skip
