"""Requests that break HTTP/1.1 or could be read in two ways, byte by byte over a socket: a table.

Behind each of them hides an event of the type `smuggled`, which must never be counted.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from wire import INSIDE, WAIT_S, Bytes, Reply, Target, check_in_the_end, made, received, request

EVENT: Final = b'{"type":"a"}'
HOST: Final = b"Host: localhost\r\n"
POST: Final = b"POST /api/events HTTP/1.1\r\n"
START: Final = POST + HOST
SMUGGLED_BODY: Final = b'{"type":"smuggled"}'
SMUGGLED: Final = START + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED_BODY) + SMUGGLED_BODY
MIB: Final = 2**20


@dataclass(frozen=True)
class Wire:
    """One row: what each of `sent` is answered with on its connection, in order; `says` is in what came back.

    No status at all means that the connection is closed without a word.
    """

    number: str
    name: str
    sent: tuple[Bytes, ...]
    statuses: tuple[int, ...]
    says: str = ""


def refused(
    number: str, name: str, *sent: Bytes, status: int = 400, says: str = "", hides: bool = True
) -> Wire:
    """A request that is refused together with what hides behind it."""
    return Wire(number, name, tuple(behind(one) if hides else one for one in sent), (status,), says)


def behind(sent: Bytes) -> Callable[[], bytes]:
    return lambda: made(sent) + SMUGGLED


def headed(*lines: bytes, body: bytes = EVENT) -> bytes:
    """Write a request whose header is these lines after the Host."""
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def measured(*lines: bytes, body: bytes = EVENT) -> bytes:
    return headed(*lines, b"Content-Length: %d" % len(body), body=body)


def chunked(body: bytes, *lines: bytes) -> bytes:
    return headed(b"Transfer-Encoding: chunked", *lines, body=body)


def address(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    start = method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def hosted(host: bytes) -> bytes:
    return POST + host + b"Content-Length: 12\r\n\r\n" + EVENT


def method(name: bytes, *lines: bytes) -> bytes:
    return request(EVENT, lines, method=name)


CODINGS: Final = (
    b"chunked, identity",
    b"xchunked",
    b"\x0bchunked",
    b"identity",
    b"gzip, chunked",
    b"chunked, chunked",
    b"",
)
LENGTHS: Final = (
    b"+12",
    b"-1",
    b"1_2",
    b"1 2",
    b"0xC",
    b"",
    b"12,12",
    b"12a",
    b"18446744073709551616",
    b"\xd9\xa1",
)
BAD_LINES: Final = (
    b"X : a",
    b"X: a\r\n b",
    b"X: a\0b",
    b"X: a\rb",
    b"X",
    b"\xff: a",
    b": a",
    b"X\t: a",
    b"(x): a",
)
HOSTS: Final = (
    b"a b",
    b"a/../b",
    b"127.0.0.1:99999",
    b"a:b",
    b"<script>",
    b"a\\b",
    b"[::1",
    b"user@host",
)
OUTSIDE: Final = (
    *(
        b"/api/events/",
        b"//api/events",
        b"/api/events/..;/admin",
        b"/API/EVENTS",
        b"/api//events",
        b"/.env",
        b"/.git/config",
    ),
    *(
        b"/%2e%2e/etc/passwd",
        b"/dashboard/..%2f..%2fetc/passwd",
        b"/dashboard/..%5c..%5cetc",
        b"/dashboard/%00",
        b"/%00",
    ),
    *(
        b"/dashboard/C:%5cwindows",
        b"/dashboard/%252e%252e/app.py",
        b"/dashboard/../app.py",
        b"/../../etc/passwd",
    ),
    *(
        b"/dashboard/",
        b"/dashboard/..",
        b"/static/",
        b"/streamgauge.toml",
        b"/data/streamgauge.duckdb",
        b"/%ff%fe",
    ),
    *(b"/%0d%0aSet-Cookie:x", b"/%1b[31mred", b"/%", b"/%zz", b"/api/metrics/../../x", b"/" + b"a/" * 5000),
)

TABLE: Final = [
    refused(
        "I-064",
        "a length and chunks",
        headed(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    refused(
        "I-064",
        "chunks and a length",
        headed(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n"),
    ),
    *(
        refused("I-065", f"the coding {c!r}", headed(b"Transfer-Encoding: " + c, body=b"0\r\n\r\n"))
        for c in CODINGS
    ),
    refused("I-065", "chunks announced twice", chunked(b"0\r\n\r\n", b"Transfer-Encoding: chunked")),
    refused(
        "I-065",
        "chunks in HTTP/1.0",
        POST.replace(b"1.1", b"1.0") + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    *(refused("I-066", f"the length {one!r}", headed(b"Content-Length: " + one)) for one in LENGTHS),
    refused("I-066", "two lengths", headed(b"Content-Length: 12", b"Content-Length: 5")),
    refused("I-066", "the same length twice", headed(b"Content-Length: 12", b"Content-Length: 12")),
    refused("I-066", "a length of 2^64 - 1", headed(b"Content-Length: 18446744073709551615"), status=413),
    refused(
        "I-066",
        "32 MiB and a byte announced",
        headed(b"Content-Length: 33554433"),
        status=413,
        says="too_large",
    ),
    Wire(
        "I-038",
        "32 MiB and a byte in chunks",
        (lambda: chunked(b"2000001\r\n" + b" " * (2**25 + 1) + b"\r\n0\r\n\r\n"),),
        (413,),
        "too_large",
    ),
    *(
        refused("I-067", f"chunks that begin {start!r}", chunked(start + b"c\r\n" + EVENT + b"\r\n0\r\n\r\n"))
        for start in (b"XX\r\n", b"0x", b"-", b"f" * 17, b" ", b";\n")
    ),
    refused("I-067", "a chunk's end that is none", chunked(b"c\r\n" + EVENT + b"XX\r\n0\r\n\r\n")),
    refused("I-067", "a chunk's extension with a line feed", chunked(b"c;\n" + EVENT + b"\r\n0\r\n\r\n")),
    refused("I-067", "line feeds alone", chunked(b"c\n" + EVENT + b"\n0\n\n")),
    refused("I-067", "chunks of one byte", lambda: chunked(b"1\r\n \r\n" * 100_000)),
    refused("I-067", "an extension of 1 MiB", lambda: chunked(b"c;x=" + b"y" * MIB), hides=False),
    refused(
        "I-067",
        "trailers of 1 MiB",
        lambda: chunked(b"c\r\n" + EVENT + b"\r\n0\r\nX: " + b"y" * MIB),
        hides=False,
    ),
    Wire(
        "I-067",
        "chunks",
        (
            chunked(
                b"6\r\n" + EVENT[:6] + b"\r\n006;x=y\r\n" + EVENT[6:] + b"\r\n0\r\n\r\n", b"Connection: close"
            ),
        ),
        (202,),
    ),
    *(refused("I-068", f"the line {line!r}", measured(line)) for line in BAD_LINES),
    refused("I-068", "bare line feeds", measured().replace(b"\r\n", b"\n")),
    refused("I-069", "no host", POST + b"Content-Length: 12\r\n\r\n" + EVENT, says="Host"),
    refused(
        "I-069",
        "two hosts",
        hosted(b"Host: a\r\nHost: b\r\n"),
        hosted(b"Host: a\r\nHost: a\r\n"),
        says="Host",
    ),
    *(refused("I-069", f"the host {host!r}", hosted(b"Host: " + host + b"\r\n")) for host in HOSTS),
    refused("I-069", "another host in the address", hosted(HOST).replace(b"/api", b"http://example.com/api")),
    refused(
        "I-069",
        "two media types or origins",
        measured(b"Content-Type: a/b", b"Content-Type: a/b"),
        measured(b"Origin: a", b"Origin: a"),
    ),
    refused(
        "I-070",
        "a header of 1 MB",
        lambda: measured(b"X: " + b"x" * 10**6),
        status=431,
        says="header_too_large",
    ),
    refused(
        "I-070", "20,000 headers", lambda: measured(*[b"X: 1"] * 20_000), status=431, says="header_too_large"
    ),
    refused("I-070", "101 headers", measured(*(b"X-%d: 1" % n for n in range(99))), status=431),
    Wire(
        "I-070",
        "100 headers",
        (measured(b"Connection: close", *(b"X-%d: 1" % n for n in range(97))),),
        (202,),
    ),
    refused(
        "I-070", "an address of 64 KiB", address(b"/" + b"x" * 65_536), status=414, says="address_too_long"
    ),
    refused("I-071", "HTTP/0.9", b"GET /\r\n\r\n", b"GET /healthz\r\n"),
    refused(
        "I-071",
        "other versions",
        b"GET / HTTP/3.7\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
        says="",
    ),
    refused("I-071", "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    refused("I-071", "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    refused("I-071", "SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    refused("I-071", "random bytes", bytes(place * 7919 % 256 for place in range(10_000))),
    Wire("I-072", "TRACE", (method(b"TRACE"),), (405,), "method_not_allowed"),
    Wire(
        "I-072",
        "other methods",
        tuple(map(method, (b"GET", b"PUT", b"DELETE", b"PROPFIND", b"OPTIONS"))),
        (405,),
    ),
    Wire("I-072", "HEAD", (method(b"HEAD"),), (405,)),
    refused("I-072", "CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", status=501),
    refused(
        "I-072",
        "methods that are none",
        measured().replace(b"POST", b"get"),
        measured().replace(b"POST", b"P OST"),
    ),
    refused(
        "I-072", "a method of 1 MiB", lambda: b"M" * MIB + b" / HTTP/1.1\r\n" + HOST + b"\r\n", hides=False
    ),
    Wire("I-072", "a method that overrides", (method(b"POST", b"X-HTTP-Method-Override: DELETE"),), (202,)),
    refused("I-073", "another expectation", measured(b"Expect: 200-maybe"), status=417, says="expectation"),
    refused(
        "I-073",
        "too much, asked for first",
        headed(b"Expect: 100-continue", b"Content-Length: 99999999"),
        status=413,
    ),
    *(Wire("I-075", f"the address {path[:40]!r}", (address(path),), (404,), "not_found") for path in OUTSIDE),
    refused("I-075", "bytes in the address", address(b"/\xff"), address(b"/\x01"), address(b"no/slash")),
    Wire(
        "I-076",
        "10,000 ranges",
        (address(b"/", b"Range: bytes=0-" + b",0-" * 5000),),
        (200,),
        "<!doctype html",
    ),
    Wire(
        "I-076", "ranges that are none", (address(b"/", b"Range: bytes=9-1,-,x"),), (200,), "<!doctype html"
    ),
    Wire(
        "I-077",
        "addresses that others claim for the sender",
        (
            measured(b"Connection: close", b"X-Forwarded-For: 1.2.3.4" + b", 10.0.0.1" * 500),
            measured(
                b"Connection: close", b'Forwarded: for=;;;"', b"X-Forwarded-Proto: gopher", b"X-Real-IP: x"
            ),
        ),
        (202,),
    ),
    Wire(
        "I-078",
        "a page of another origin that asks first",
        (method(b"OPTIONS", b"Origin: https://evil.example", b"Access-Control-Request-Method: POST"),),
        (403,),
        "foreign_origin",
    ),
    Wire("I-079", "colours of the terminal in the address", (address(b"/%1b[31m%0d%0aforged"),), (404,)),
]


@pytest.mark.parametrize("given", [pytest.param(one, id=f"{one.number} {one.name}") for one in TABLE])
def test_a_request_is_answered_as_documented_with_nothing_that_hides_behind_it(
    our_target: Target, given: Wire
) -> None:
    before = our_target.ledger()
    accepted = refused_requests = 0
    for sent in given.sent:
        reply = our_target.exchange(made(sent))
        check_statuses(reply, given)
        accepted += reply.statuses.count(202)
        refused_requests += reply.headers.get("connection") == "close" and reply.status in {
            400,
            403,
            413,
            414,
            417,
            431,
            501,
            505,
        }
    our_target.accepted += accepted
    our_target.accept_a_good_event()
    after = our_target.ledger()
    assert after["received"] - before["received"] == accepted + 1
    assert after["requests_refused"] - before["requests_refused"] == refused_requests
    assert our_target.process.poll() is None


def check_statuses(reply: Reply, given: Wire) -> None:
    assert tuple(reply.statuses) == given.statuses, reply.raw[:1000]
    assert given.says.lower() in reply.text.lower()
    assert not [word for word in INSIDE if word in reply.text and reply.status != 200]
    if 400 <= reply.status < 600:
        assert reply.headers["content-type"] == "application/problem+json"
        assert "connection" in reply.headers or reply.status in {404, 405}
    if reply.status == 405:
        assert reply.headers["allow"] == "POST"
    assert "access-control-allow-origin" not in reply.headers
    assert "x" not in reply.headers.get("set-cookie", "")


def test_a_thousand_requests_at_once_are_answered_in_order(our_target: Target) -> None:
    """I-074."""
    one = measured()
    reply = our_target.exchange(one * 999 + request(EVENT))
    assert reply.statuses == [202] * 1000
    our_target.accepted += 1000


def test_requests_whose_sender_leaves_harm_nobody(our_target: Target) -> None:
    """I-074: ends its side, or resets the connection, or never reads; what was taken of it is counted whole."""
    before = our_target.ledger()["received"]
    for number in range(30):
        with socket.create_connection(("127.0.0.1", our_target.port), timeout=WAIT_S) as connection:
            connection.sendall(measured() * (number + 1))
            if number % 3 == 0:
                connection.shutdown(socket.SHUT_WR)
                assert set(Reply(b"".join(received(connection))).statuses) <= {202}
            elif number % 3 == 1:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    our_target.accept_a_good_event()
    after = our_target.when_committed()["received"]
    assert before < after <= before + 1 + 30 * 31 / 2
    our_target.accepted += after - before - 1


def test_the_body_is_asked_for_where_it_is_expected(our_target: Target) -> None:
    """I-073."""
    with socket.create_connection(("127.0.0.1", our_target.port), timeout=WAIT_S) as connection:
        connection.sendall(
            headed(b"Expect: 100-continue", b"Connection: close", b"Content-Length: 12", body=b"")
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(EVENT)
        assert Reply(b"".join(received(connection))).status == 202
    our_target.accepted += 1


def test_a_body_of_32_mib_in_chunks_is_accepted(our_target: Target) -> None:
    """I-038."""
    body = EVENT.rjust(2**25)
    assert (
        our_target.exchange(chunked(b"2000000\r\n" + body + b"\r\n0\r\n\r\n", b"Connection: close")).status
        == 202
    )
    our_target.accepted += 1


def test_an_upload_that_is_refused_can_be_told_why_while_it_goes_on(our_target: Target) -> None:
    reply = our_target.exchange(headed(b"Content-Length: 60000000", body=bytes(20_000_000)))
    assert (reply.status, reply.json()["code"]) == (413, "too_large")


def test_nothing_hidden_was_counted_and_everything_accepted_was(our_target: Target) -> None:
    check_in_the_end(our_target)
    assert our_target.ask("SELECT count(*) FROM events WHERE type = 'smuggled'") == [[0]]


def test_what_strangers_send_makes_no_mess_of_the_log(our_target: Target) -> None:
    """I-071, I-079: a line or two at most, and nothing that a terminal would obey."""
    text = our_target.log.read_bytes()
    assert re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text) is None
    assert text.count(b"\n") < 20, text[-4000:].decode()
