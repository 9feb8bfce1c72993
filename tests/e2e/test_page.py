"""The page as a viewer sees it, in a real browser on a real server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from server_process import ServerProcess

EVENT = '{"type": "page_view", "user_id": "user_123", "page": "/products", "value": 1}'


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    yield opened
    context.close()


def row(page: Page, count: int) -> Locator:
    """The list's row of page_view with this count."""
    return page.locator(f'.top-list li[title^="page_view: {count} events"]')


def curl(server: ServerProcess) -> None:
    """The README's own line."""
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", f"{server.url}/api/events"]
    done = subprocess.run(
        [*words, "-H", "Content-Type: application/json", "-d", EVENT],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "202"


def test_the_first_event_is_on_the_open_page_within_half_a_second(
    page: Page, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    page.goto(server.url)
    expect(page.get_by_text("Waiting for the first event")).to_be_visible()
    page.evaluate(
        """() => new Promise(done => {
            window.seenAt = null;
            const look = () => {
                if (document.querySelector('.top-list li[title^="page_view: 1 events"]')) { window.seenAt = Date.now(); return; }
                requestAnimationFrame(look);
            };
            look(); done();
        })"""
    )
    before_ms = time.time() * 1000
    curl(server)
    expect(row(page, 1)).to_be_visible(timeout=5_000)
    seen_at = page.evaluate(
        """() => new Promise(done => {
            const wait = () => (window.seenAt === null ? requestAnimationFrame(wait) : done(window.seenAt));
            wait();
        })"""
    )
    assert seen_at - before_ms < 500


def test_history_is_there_when_the_page_opens(page: Page, start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    for _ in range(3):
        curl(server)
    page.goto(server.url)
    expect(row(page, 3)).to_be_visible()


def test_the_page_comes_back_by_itself_after_a_crash_and_shows_the_newest_numbers(
    page: Page, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    curl(server)
    page.goto(server.url)
    expect(row(page, 1)).to_be_visible()
    port = server.url.rsplit(":", 1)[1]
    server.kill()
    expect(page.get_by_text("Reconnecting").first).to_be_visible()
    again = start_server("--port", port)
    curl(again)
    expect(row(page, 2)).to_be_visible(timeout=30_000)


def test_a_restart_on_purpose_is_announced_without_alarm(
    page: Page, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    curl(server)
    page.goto(server.url)
    expect(row(page, 1)).to_be_visible()
    assert server.stop() == 0
    expect(page.get_by_text("restarting").first).to_be_visible()


def test_a_page_of_another_origin_cannot_watch(
    page: Page, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    server, other = start_server(), start_server(data=tmp_path / "other")
    page.goto(other.url)
    address = server.url.replace("http", "ws") + "/socket/websocket?vsn=2.0.0"
    outcome = page.evaluate(
        """address => new Promise(done => {
            const socket = new WebSocket(address);
            socket.onopen = () => done("open"); socket.onerror = () => done("refused");
        })""",
        address,
    )
    assert outcome == "refused"
