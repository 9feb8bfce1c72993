"""What web pages of others can do to a server on this machine, in a real browser; and under which names it is shown."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from server_process import ServerProcess

# each gives what the page learns: the answer's status, or how it failed
ATTEMPTS = """async (url) => {
    const body = () => new Blob(['{"type":"stolen"}']);
    const sql = () => JSON.stringify({ sql: "SELECT event FROM events" });
    const tried = async (path, how) => {
        try {
            const answer = await fetch(url + path, how);
            return [answer.type, answer.status, await answer.text()];
        } catch (error) { return ["failed", 0, ""]; }
    };
    const socket = new Promise((done) => {
        const one = new WebSocket(url.replace("http", "ws") + "/socket/websocket?vsn=2.0.0");
        one.onopen = () => done(["opened", 101, ""]);
        one.onerror = () => done(["failed", 0, ""]);
    });
    return {
        blind: await tried("/api/events", { method: "POST", mode: "no-cors", body: body() }),
        simple: await tried("/api/events", { method: "POST", body: '{"type":"stolen"}' }),
        asked: await tried("/api/events", { method: "POST", body: body(), headers: { "content-type": "application/json" } }),
        question: await tried("/api/query", { method: "POST", body: sql() }),
        discard: await tried("/api/dead-letters/discard", { method: "POST", mode: "no-cors", body: '{"all":true}' }),
        reload: await tried("/api/configuration/reload", { method: "POST", mode: "no-cors" }),
        ledger: await tried("/api/ledger", { mode: "no-cors" }),
        read: await tried("/api/ledger", {}),
        socket: await socket,
    };
}"""
FETCHES = 8
SECRET = b'{"type":"secret"}'


class Shop(BaseHTTPRequestHandler):
    """A web server of somebody else, with one empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a shop</title>")

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture
def shop_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def page(misled_browser: Browser) -> Iterator[Page]:
    context = misled_browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    yield opened
    context.close()


def test_a_page_of_another_origin_can_neither_write_nor_read(
    page: Page, shop_port: int, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    assert server.post(SECRET).status_code == 202
    page.goto(f"http://evil.test:{shop_port}/")
    learnt = page.evaluate(ATTEMPTS, address_of(server))
    kinds = {name: kind for name, (kind, _, _) in learnt.items()}
    blind = {"blind", "discard", "reload", "ledger"}  # sent, but of the answer a page learns nothing
    assert kinds == {name: "opaque" if name in blind else "failed" for name in learnt}
    assert_untouched(server, FETCHES + 1, learnt)


def test_a_name_that_was_made_to_resolve_to_this_machine_opens_nothing(
    page: Page, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    assert server.post(SECRET).status_code == 202
    port = server.client.base_url.port
    answer = page.goto(f"http://evil.test:{port}/healthz")
    assert answer is not None
    assert answer.status == 421
    learnt = page.evaluate(ATTEMPTS, f"http://evil.test:{port}")
    statuses = {name: status for name, (_, status, _) in learnt.items()}
    assert statuses == {name: 0 if name == "socket" else 421 for name in learnt}
    assert (
        server.get("/api/ledger")["requests_refused"] >= FETCHES + 2
    )  # the browser asks for an icon of its own
    assert_untouched(server, None, learnt)


def address_of(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.client.base_url.port}"


def assert_untouched(server: ServerProcess, refused: int | None, learnt: dict[str, list[Any]]) -> None:
    """See that all attempts came, and that nothing of them is left, nor anything told."""
    ledger = server.get("/api/ledger")
    assert ledger["received"] == 1
    assert refused is None or ledger["requests_refused"] == refused
    server.wait_until_committed()
    assert server.ask("SELECT type FROM events") == [["secret"]]
    assert [name for name, (_, _, text) in learnt.items() if "secret" in text or "received" in text] == []


def test_a_page_of_an_allowed_origin_sends_events_and_can_do_nothing_else(
    page: Page, shop_port: int, start_server: Callable[..., ServerProcess]
) -> None:
    origin = f"http://shop.test:{shop_port}"
    server = start_server(configuration=f'[server]\nallowed_origins = ["{origin}"]\n')
    page.goto(origin)
    learnt = page.evaluate(ATTEMPTS, address_of(server))
    assert learnt["asked"] == ["cors", 202, '{"accepted":1}']
    assert learnt["simple"][:2] == ["cors", 415]  # text/plain, and the page can read what is wrong with that
    assert learnt["blind"][0] == "opaque"  # its answer cannot be read, but it was taken
    assert {learnt[name][0] for name in ("question", "read", "socket")} == {"failed"}
    ledger = server.get("/api/ledger")
    assert (ledger["received"], ledger["requests_refused"]) == (2, FETCHES + 1 - 2)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


NO_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", pytest.param("[::1]", marks=NO_IPV6), "analytics.test"]
)
def test_the_dashboard_works_under_every_name_of_the_server(
    page: Page, start_server: Callable[..., ServerProcess], name: str
) -> None:
    host = "::1" if name == "[::1]" else "127.0.0.1"
    server = start_server("--host", host, configuration='[server]\nallowed_hosts = ["analytics.test"]\n')
    server.client.base_url = server.client.base_url.copy_with(host=host)
    page.goto(f"http://{name}:{server.client.base_url.port}/")
    expect(page.get_by_text("Waiting for the first event")).to_be_visible()
    assert server.post(b'{"type":"page_view","value":1}').status_code == 202
    expect(page.locator('.top-list li[title^="page_view: 1 events"]')).to_be_visible()
    status = page.evaluate(
        """async () => (await fetch("api/query", { method: "POST", body: '{"sql":"SELECT 1"}' })).status"""
    )
    assert status == 200
    assert server.get("/api/ledger")["requests_refused"] == 0
