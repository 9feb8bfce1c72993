"""The overview in a browser where it is mounted below a path of somebody else's application."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from overview import Overview, rows
from playwright.sync_api import Browser, expect

from mounted_tools import PREFIX, hosted_in_a_thread, in_fastapi, in_starlette
from streamgauge import Streamgauge


@pytest.mark.parametrize("host", [in_starlette, in_fastapi])
def test_the_page_loads_below_a_prefix_and_lives(host: Callable[[Any], Any], browser: Browser) -> None:
    with Streamgauge() as gauge, hosted_in_a_thread(host(gauge.asgi())) as port:
        gauge.push_events([{"type": "before", "value": 1, "timestamp": time.time() - i} for i in range(20)])
        overview = Overview(browser)
        page = overview.page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url.replace("ws://", "http://")))
        page.goto(f"http://127.0.0.1:{port}{PREFIX}/")
        expect(page.locator(".top-list")).to_contain_text("before")
        gauge.push_events([{"type": "pushed while it is open", "value": 2}])
        expect(page.locator(".top-list")).to_contain_text("pushed while it is open")
        assert set(rows(page)) == {"before", "pushed while it is open"}
        assert any("/socket/websocket" in url for url in asked)
        assert [url for url in asked if not url.startswith(f"http://127.0.0.1:{port}{PREFIX}/")] == []
        overview.close()
