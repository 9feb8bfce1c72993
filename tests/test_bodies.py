"""What the bodies of all requests hold together is bounded, and who sends small ones does not notice."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import Saturated
from streamgauge.sources.bodies import UNCOUNTED_BYTES, Bodies
from web_tools import Served, problem, serving, until

MIB = 2**20
LIMITS = {"body_bytes": "1MiB", "decoded_bytes": "1MiB", "bodies_bytes": "4MiB"}
LINE = b'{"type":"large","text":"%s"}\n' % (b"x" * 1000)
BODY = LINE * (MIB // len(LINE))
HALF = len(BODY) // 2
EVENTS = BODY.count(b"\n")
HEAD = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with serving(limits=LIMITS) as served:
        yield served


class Sender:
    """A connection that sends a large body, the first half of it at first."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.answer = asyncio.ensure_future(self._read())

    @classmethod
    async def begin(cls, server: Served) -> Sender:
        sender = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        await sender.send(HEAD % len(BODY) + BODY[:HALF])
        return sender

    async def send(self, text: bytes) -> None:
        self._writer.write(text)
        await self._writer.drain()

    async def _read(self) -> tuple[int, dict[bytes, bytes], bytes]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        return int(first.split()[1]), headers, await self._reader.readexactly(int(headers[b"content-length"]))

    def read_again(self) -> None:
        self.answer = asyncio.ensure_future(self._read())

    async def close(self) -> None:
        self.answer.cancel()
        self._writer.close()
        await self._writer.wait_closed()


async def body_bytes(server: Served) -> float:
    text = (await server.http.get("/metrics")).text
    [line] = [line for line in text.splitlines() if line.startswith("streamgauge_request_body_bytes ")]
    return float(line.split()[1])


async def test_many_half_sent_bodies_hold_what_they_may_and_the_others_are_told_to_come_back(
    server: Served,
) -> None:
    async with AsyncExitStack() as ends:
        senders = []
        for _ in range(24):
            sender = await Sender.begin(server)
            ends.push_async_callback(sender.close)
            senders.append(sender)
        fit = 4 * MIB // (len(BODY) - UNCOUNTED_BYTES)
        await until(lambda: sum(sender.answer.done() for sender in senders) >= len(senders) - fit)
        refused = [sender for sender in senders if sender.answer.done()]
        waiting = [sender for sender in senders if not sender.answer.done()]
        assert len(waiting) == fit
        for sender in refused:
            status, headers, _ = sender.answer.result()
            assert (status, headers[b"retry-after"]) == (503, b"5")
        assert 0 < await body_bytes(server) <= 4 * MIB
        await server.send({"type": "small"})
        async with asyncio.timeout(10.0):
            await refused[0].send(
                BODY[HALF:]
            )  # what is refused is read to its end, so that the answer can be
            for sender in waiting:
                await sender.send(BODY[HALF:])
            done = [await sender.answer for sender in waiting]
        assert [(status, body) for status, _, body in done] == [(202, b'{"accepted":%d}' % EVENTS)] * fit
        refused[0].read_again()
        async with asyncio.timeout(10.0):
            await refused[0].send(HEAD % len(LINE) + LINE)
            status, _, body = await refused[0].answer
        assert (status, body) == (202, b'{"accepted":1}')
    ledger = await server.get("/api/ledger")
    assert ledger["received"] == fit * EVENTS + 2
    assert ledger["requests_refused"] == len(refused)
    for _ in range(200):  # those that have gone are noticed when the loop comes to it
        if not await body_bytes(server):
            break
    assert await body_bytes(server) == 0
    answer = await server.http.post(
        "/api/events", content=BODY, headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.json() == {"accepted": EVENTS}


async def test_what_a_body_inflates_to_counts_too() -> None:
    limits = {**LIMITS, "decoded_bytes": "4MiB", "decoded_ratio": 1000}
    large = LINE * (4 * MIB // len(LINE))
    packed = gzip.compress(large)
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    async with serving(limits=limits) as server:
        assert (await server.http.post("/api/events", content=packed, headers=headers)).status_code == 202
        async with AsyncExitStack() as ends:
            ends.push_async_callback((await Sender.begin(server)).close)
            while not await body_bytes(server):
                pass
            answer = await server.http.post("/api/events", content=packed, headers=headers)
            assert "may hold 4194304" in problem(answer, 503, "saturated")


async def test_of_a_body_without_a_length_what_has_come_counts(server: Served) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 100_000):
            yield BODY[start : start + 100_000]

    async with AsyncExitStack() as ends:
        for _ in range(4):
            ends.push_async_callback((await Sender.begin(server)).close)
        while await body_bytes(server) < 3.5 * MIB:
            pass
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await server.http.post("/api/events", content=chunks(), headers=headers)
        problem(answer, 503, "saturated")


@given(st.lists(st.lists(st.integers(0, 3 * UNCOUNTED_BYTES), max_size=5), max_size=8))
def test_no_more_is_held_than_may_be_and_nothing_at_the_end(sizes: list[list[int]]) -> None:
    bodies = Bodies(5 * UNCOUNTED_BYTES)
    with ExitStack() as ends:
        for wanted in sizes:
            body = ends.enter_context(bodies.begin())
            for size in sorted(wanted):
                room = bodies.most_bytes - bodies.held_bytes
                try:
                    body.hold(size)
                except Saturated:
                    assert size - UNCOUNTED_BYTES > 0
                    assert size > room
                assert bodies.held_bytes <= bodies.most_bytes
    assert bodies.held_bytes == 0
