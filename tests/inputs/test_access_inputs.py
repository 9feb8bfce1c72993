"""Requests of pages that are none of the server's, as browsers send them: refused, counted, and without a trace."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from wire import GOOD, WAIT_S, Target, check_in_the_end

CONFIGURATION: Final = """
[server]
allowed_hosts = ["analytics.example"]
allowed_origins = ["https://shop.example"]
"""
SHOP: Final = b"Origin: https://shop.example"
EVIL: Final = b"Origin: https://evil.example"
TEXT: Final = b"Content-Type: text/plain;charset=UTF-8"
CROSS: Final = b"Sec-Fetch-Site: cross-site"
LOCAL: Final = b"localhost"
SQL: Final = b'{"sql":"SELECT count(*) FROM events"}'
UNTOUCHED: Final = ("received", "rejected", "duplicate", "dead_lettered", "filtered")
FOREIGN: Final = (403, "foreign_origin")
UNKNOWN: Final = (421, "unknown_host")


@dataclass(frozen=True)
class Asked:
    """One request, and status and code of its answer."""

    name: str
    line: bytes
    answered: tuple[int, str]
    headers: tuple[bytes, ...] = ()
    host: bytes = LOCAL
    body: bytes = GOOD

    def sent(self, *more: bytes) -> bytes:
        size = b"Content-Length: %d" % len(self.body)
        lines = [self.line + b" HTTP/1.1", b"Host: " + self.host, *self.headers, *more, size, b"", self.body]
        return b"\r\n".join(lines)


REFUSED: Final = [
    Asked("a body without a type, as no-cors sends it", b"POST /api/events", FOREIGN, (EVIL, CROSS)),
    Asked("a simple text", b"POST /api/events", FOREIGN, (EVIL, TEXT)),
    Asked("a page in a frame without an origin", b"POST /api/events", FOREIGN, (b"Origin: null",)),
    Asked("a page on another port", b"POST /api/events", FOREIGN, (b"Origin: http://localhost:3000",)),
    Asked("an origin that is missing", b"POST /api/events", FOREIGN, (CROSS,)),
    Asked("a large body", b"POST /api/events", FOREIGN, (EVIL,), body=GOOD + b" " * 200_000),
    Asked("fields of other names", b"POST /api/events?type=x", FOREIGN, (EVIL,)),
    Asked("a preflight", b"OPTIONS /api/events", FOREIGN, (EVIL,), body=b""),
    Asked("a question", b"POST /api/query", FOREIGN, (EVIL, TEXT), body=SQL),
    Asked("a question of an origin that may send", b"POST /api/query", FOREIGN, (SHOP, TEXT), body=SQL),
    Asked("a discard", b"POST /api/dead-letters/discard", FOREIGN, (EVIL, TEXT), body=b'{"all":true}'),
    Asked("a reload", b"POST /api/configuration/reload", FOREIGN, (EVIL, TEXT), body=b""),
    Asked("an escaped address", b"POST /%61pi/query", FOREIGN, (EVIL, TEXT), body=SQL),
    Asked("a picture from the API", b"GET /api/ledger", FOREIGN, (CROSS,), body=b""),
    Asked("events under a foreign name", b"POST /api/events", UNKNOWN, host=b"evil.example:4000"),
    Asked(
        "a question under a foreign name that is the page's own",
        b"POST /api/query", UNKNOWN, (b"Origin: http://evil.example:4000",), b"evil.example:4000", SQL,
    ),
    Asked("the dashboard under a foreign name", b"GET /", UNKNOWN, host=b"evil.example", body=b""),
    Asked("what is not there under a foreign name", b"GET /x", UNKNOWN, host=b"evil.example", body=b""),
]  # fmt: skip


@pytest.mark.parametrize("given", [pytest.param(one, id=one.name) for one in REFUSED])
def test_a_page_of_others_is_refused_and_counted_and_nothing_else_happens(
    target: Target, given: Asked
) -> None:
    before = target.ledger()
    reply = target.exchange(given.sent(b"Connection: close"))
    assert (reply.status, reply.json()["code"]) == given.answered
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in reply.headers if name.startswith("access-control-")]
    after = target.ledger()
    assert [after[name] for name in UNTOUCHED] == [before[name] for name in UNTOUCHED]
    assert after["requests_refused"] == before["requests_refused"] + 1
    target.accept_a_good_event()


@pytest.mark.parametrize(
    "given", [pytest.param(one, id=one.name) for one in (REFUSED[0], REFUSED[8], REFUSED[14])]
)
def test_it_is_refused_before_its_body_has_come(target: Target, given: Asked) -> None:
    head = given.sent(b"Connection: close", b"Expect: 100-continue").partition(b"\r\n\r\n")[0]
    reply = target.exchange(head + b"\r\n\r\n")
    assert reply.statuses == [given.answered[0]]


def test_on_one_connection_every_request_is_looked_at(target: Target) -> None:
    """The names and pages of a connection's requests may change, and small ones have a way of their own."""
    ours = Asked("ours", b"POST /api/events", (202, ""), (b"Content-Type: application/json",))
    strange = [REFUSED[0], REFUSED[14], REFUSED[4]]
    sent = b"".join(ours.sent() + one.sent() for one in strange) + ours.sent(b"Connection: close")
    assert target.exchange(sent).statuses == [202, 403, 202, 421, 202, 403, 202]
    target.good += 4
    target.accepted += 4


@pytest.mark.parametrize("host", [LOCAL, b"127.0.0.1", b"[::1]:4000", b"analytics.example", b"127.0.0.53:1"])
def test_its_own_pages_may_write_and_read_under_every_name_of_the_server(target: Target, host: bytes) -> None:
    own = (b"Origin: http://" + host, b"Sec-Fetch-Site: same-origin", TEXT)
    asked = Asked("", b"POST /api/query", (200, ""), own, host, SQL)
    assert target.exchange(asked.sent(b"Connection: close")).status == 200
    sent = Asked("", b"POST /api/events", (202, ""), own[:2], host)
    assert target.exchange(sent.sent(b"Connection: close")).status == 202
    target.good += 1
    target.accepted += 1


def test_a_page_of_an_allowed_origin_may_ask_first_and_send_and_read_the_answer(target: Target) -> None:
    ask = Asked(
        "", b"OPTIONS /api/events", (204, ""), (SHOP, b"Access-Control-Request-Method: POST"), body=b""
    )
    allowed = target.exchange(ask.sent(b"Connection: close"))
    assert allowed.status == 204
    assert allowed.headers["access-control-allow-methods"] == "POST"
    assert allowed.headers["access-control-allow-headers"] == "*"
    before = target.ledger()
    for body, status in ((GOOD, 202), (b"nonsense", 400), (b'{"value":1}', 422)):
        sent = Asked("", b"POST /api/events", (status, ""), (SHOP, CROSS), body=body)
        reply = target.exchange(sent.sent(b"Connection: close"))
        assert reply.status == status
        assert readable_by_the_shop(reply.headers)
    assert readable_by_the_shop(allowed.headers)
    assert target.ledger()["received"] == before["received"] + 2  # a body that is not JSON holds no event
    target.good += 1
    target.accepted += 1


def readable_by_the_shop(headers: dict[str, str]) -> bool:
    assert "access-control-allow-credentials" not in headers
    assert "origin" in headers["vary"].lower()
    return headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize(
    ("host", "origin"),
    [("evil.example", None), ("evil.example", "http://evil.example"), (None, "https://shop.example"), (None, "null")],
)  # fmt: skip
def test_a_socket_is_refused_under_foreign_names_and_to_pages_of_others_and_counted(
    target: Target, host: str | None, origin: str | None
) -> None:
    before = target.ledger()
    address = f"127.0.0.1:{target.port}"
    with pytest.raises(InvalidStatus) as answer:
        open_socket(target, host or address, origin)
    assert answer.value.response.status_code == 403
    assert target.ledger()["requests_refused"] == before["requests_refused"] + 1


@pytest.mark.parametrize("host", ["localhost", "[::1]:4000", "analytics.example", "127.0.0.1"])
def test_a_socket_is_opened_to_its_own_pages_under_every_name_of_the_server(
    target: Target, host: str
) -> None:
    open_socket(target, host, f"http://{host}")
    open_socket(target, host, None)


def open_socket(target: Target, host: str, origin: str | None) -> None:
    """Open a socket under a name, whatever it resolves to, and close it."""
    path = f"ws://{host}/socket/websocket?vsn=2.0.0"
    with socket.create_connection(("127.0.0.1", target.port), timeout=WAIT_S) as connection:
        given = None if origin is None else Origin(origin)
        with connect(path, origin=given, proxy=None, open_timeout=WAIT_S, sock=connection):
            pass


def test_what_was_refused_left_nothing_and_what_was_sent_is_there(target: Target) -> None:
    target.accept_a_good_event()
    check_in_the_end(target)
