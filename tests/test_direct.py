"""Small requests are taken without an ASGI cycle; nobody who sends them can tell."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web_tools import WAIT_S, Served, serving

GOOD = b'{"type":"a","value":1}'
LINES = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
KEPT = {"date", "retry-after"}  # headers whose value may differ from one answer to the next


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as one:
        yield one


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def both(served: Served, body: bytes, headers: dict[str, str], query: str = "") -> list[httpx.Response]:
    """Send a body with its length, which is taken directly, and in chunks, which the application takes."""
    path = f"/api/events{query}"
    return [
        await served.http.post(path, content=content, headers=headers) for content in (body, in_pieces(body))
    ]


def seen(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: "" if name in KEPT else value for name, value in answer.headers.items()}
    return answer.status_code, headers, answer.content


BODIES = [
    GOOD, GOOD + b"\n", GOOD + b"\n" + GOOD, b"", b"\n", b" ", b"{}", b"[]", b"[" + GOOD + b"]", b"null", b"{",
    b'{"type":"a"}\n{"value":1}\n', b'{"value":1}', b'{"event":"a"}', b'{"type":"a","value":"x"}', b"\xef\xbb\xbf" + GOOD,
    b'{"type":\n"a"}', b'{ "type" : "a" }', b'{"type":"a"} x', b'{"type":"\xff"}', b"x=1", b'{"type":"a"}\r\n', b"\r\n" + GOOD,
    b'{"type":"a","x":' + b"[" * 40 + b"]" * 40 + b"}", b'{"type":"a","x":' + b"[" * 2000 + b"]" * 2000 + b"}",
    GOOD + b"\nnonsense\n" + GOOD + b"\n",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
@pytest.mark.parametrize("headers", [LINES, JSON, {}, {"Content-Type": "text/html"}], ids=str)
async def test_the_answer_is_the_one_that_the_application_gives(
    served: Served, body: bytes, headers: dict[str, str]
) -> None:
    direct, usual = await both(served, body, headers)
    assert seen(direct) == seen(usual)


@pytest.mark.parametrize(
    "query", ["?type=kind", "?type=kind&timestamp=kind", "?type=%22", "?x=1", "?", "?type=a#b"]
)
async def test_so_it_is_with_fields_named_in_the_query(served: Served, query: str) -> None:
    direct, usual = await both(served, b'{"kind":"a"}', LINES, query)
    assert seen(direct) == seen(usual)


async def test_compressed_bodies_are_taken_too(served: Served) -> None:
    direct, usual = await both(served, gzip.compress(GOOD), {**LINES, "Content-Encoding": "gzip"})
    assert seen(direct) == seen(usual)
    assert direct.status_code == 202


@given(st.lists(st.sampled_from(BODIES), min_size=1, max_size=4).map(b"\n".join))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mixture_is_answered_alike(body: bytes) -> None:
    async def run() -> None:
        async with serving() as served:
            direct, usual = await both(served, body, LINES)
            assert seen(direct) == seen(usual)

    asyncio.run(run())


async def test_each_is_counted_once(served: Served) -> None:
    for number in range(3):
        await served.http.post("/api/events", content=GOOD, headers=LINES)
        await served.http.post("/api/events", content=b'{"value":1}', headers=JSON)
        ledger = served.app.engine.ledger.total()
        assert (ledger.received, ledger.rejected) == (2 * number + 2, number + 1)
    metrics = (await served.http.get("/metrics")).text
    assert '"202"' in metrics
    assert '"422"' in metrics


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    bodies = [b'{"type":"a"}', b'{"value":1}', b'[{"type":"a"},{"type":"b"}]', b'{"type":"c"}']
    for body in bodies:
        head = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
    answers = [await one_answer(reader) for _ in bodies]
    assert [status for status, _ in answers] == [202, 422, 202, 202]
    assert [json.loads(body)["accepted"] for _, body in answers] == [1, 0, 2, 1]
    writer.close()


async def one_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(WAIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)


async def test_a_sender_that_wants_the_connection_closed_gets_it_closed(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b'POST /api/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 12\r\n\r\n{"type":"a"}'
    )
    async with asyncio.timeout(WAIT_S):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert b"connection: close\r\n" in answer
    writer.close()


async def test_the_event_of_a_sender_that_leaves_at_once_is_counted(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n" + b'{"type":"a"}'
    )
    writer.close()
    assert (await served.http.post("/api/events", content=GOOD, headers=LINES)).status_code == 202
    assert served.app.engine.ledger.total().received == 2


async def test_while_the_server_shuts_down_senders_hear_503(served: Served) -> None:
    served.app.engine.intake.draining = True
    direct, usual = await both(served, GOOD, LINES)
    assert direct.status_code == 503
    assert seen(direct) == seen(usual)
    served.app.engine.intake.draining = False
