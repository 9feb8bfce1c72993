"""Connections that are silent, drip, stall or never read: each ends at its deadline, and costs nobody else anything.

A hundred of each kind at once; 5,000 where STREAMGAUGE_SOAK=1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import pytest

from soak import SOAK, trials
from wire import GOOD, Target

HEADER_S: Final = 1.0
BODY_S: Final = 1.0
WRITE_S: Final = 1.0
CONFIGURATION: Final = f"""
[limits]
header_timeout = "{HEADER_S:g}s"
body_timeout = "{BODY_S:g}s"
write_timeout = "{WRITE_S:g}s"
"""
PATIENCE_S: Final = 120.0  # on a machine that is busy with other things
START: Final = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\n"
HANDSHAKE: Final = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
)


@dataclass(frozen=True)
class Slow:
    """A kind of slow client. drips: a byte now and then; reads: whether it takes what it is sent."""

    begins: bytes
    deadline_s: float
    says: bytes
    drips: bool = False
    reads: bool = True

    @property
    def connections(self) -> int:
        """How many at once; the kernel keeps megabytes for each that does not read."""
        return trials(100, 5000) if self.reads else trials(50, 300)


KINDS: Final = {
    "silent": Slow(b"", HEADER_S, b""),
    "half a header": Slow(START, HEADER_S, b"header_timeout"),
    "a dripping header": Slow(START + b"X: ", HEADER_S, b"header_timeout", drips=True),
    "empty lines": Slow(b"\r\n", HEADER_S, b"", drips=False),
    "a stalled body": Slow(START + b"Content-Length: 1000\r\n\r\n{", BODY_S, b"body_timeout"),
    "a dripping body": Slow(START + b"Content-Length: 1000\r\n\r\n{", BODY_S, b"body_timeout", drips=True),
    "a stalled chunk": Slow(START + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", BODY_S, b"body_timeout"),
    "a compressed body that drips": Slow(
        START + b"Content-Encoding: gzip\r\nContent-Length: 99\r\n\r\n\x1f\x8b",
        BODY_S,
        b"body_timeout",
        drips=True,
    ),
    "half a WebSocket handshake": Slow(HANDSHAKE, HEADER_S, b"header_timeout"),
    "an answer that is never read": Slow(
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400, WRITE_S, b"", reads=False
    ),
}


async def opened(port: int, *, reads: bool) -> socket.socket:
    """Connect; one that reads nothing has little room for what it is sent."""
    client = socket.socket()
    client.setblocking(False)  # noqa: FBT003  (the name is the library's)
    if not reads:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return client


async def suffer(port: int, kind: Slow) -> tuple[float, bytes]:
    """Be a slow client until the server ends it; give how long that took, and what it was told."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    client = await opened(port, reads=kind.reads)
    with contextlib.closing(client):
        await loop.sock_sendall(client, kind.begins)
        drips = asyncio.create_task(drip(client)) if kind.drips else None
        try:
            said = await (until_closed(client) if kind.reads else until_reset(client))
        finally:
            if drips is not None:
                drips.cancel()
        return loop.time() - begun, said


async def drip(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while True:
            await loop.sock_sendall(client, b"x")
            await asyncio.sleep(0.2)  # what a slow client does


async def until_closed(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await loop.sock_recv(client, 65_536):
            said += part
    return said


async def until_reset(client: socket.socket) -> bytes:
    """Wait without reading until the kernel says that the other side has gone."""
    with contextlib.suppress(ConnectionError):
        while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            await asyncio.sleep(0.05)  # nothing else tells of it without reading
            with contextlib.suppress(BlockingIOError):
                client.send(b"\r\n")
    return b""


@contextlib.asynccontextmanager
async def honest_sender(target: Target) -> AsyncIterator[list[float]]:
    """Send good events one after the other all the while; give how long each took.

    It has a thread of its own, so that it does not become slow itself among thousands of slow clients.
    """
    took: list[float] = []
    enough = threading.Event()

    def send() -> None:
        while not enough.wait(0.02):
            begun = time.monotonic()
            reply = target.post(GOOD)
            assert reply.text == '{"accepted":1}', reply.raw
            took.append(time.monotonic() - begun)

    sending = asyncio.create_task(asyncio.to_thread(send))
    try:
        yield took
    finally:
        enough.set()
        await sending


def open_files(target: Target) -> int:
    return len(os.listdir(target.process_folder / "fd"))  # noqa: PTH208  (names are enough)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  (it is the state of another process)
            await asyncio.sleep(0.05)


# all kinds at once, or one after the other where there are thousands of each
GROUPS: Final = [(name,) for name in KINDS] if SOAK else [tuple(KINDS)]


@pytest.mark.parametrize("names", GROUPS, ids=", ".join)
async def test_slow_connections_end_at_their_deadline_and_others_notice_nothing(
    our_target: Target, names: tuple[str, ...]
) -> None:
    before = our_target.ledger()
    files = open_files(our_target)
    clients = [(name, KINDS[name]) for name in names for _ in range(KINDS[name].connections)]
    async with honest_sender(our_target) as took, asyncio.timeout(PATIENCE_S):
        ends = await asyncio.gather(*(suffer(our_target.port, kind) for _, kind in clients))
    for (name, kind), (after_s, said) in zip(clients, ends, strict=True):
        assert after_s >= 0.8 * kind.deadline_s, name
        assert kind.says in said, name
        assert bool(said) == bool(kind.says), name
    assert len(took) > 5
    assert sorted(took)[len(took) // 2] < 2.0
    await until(lambda: open_files(our_target) <= files + 2)  # the honest sender's own may be ending
    after = our_target.ledger()
    told = sum(bool(kind.says) for _, kind in clients)
    assert after["requests_refused"] - before["requests_refused"] == told
    assert after["received"] - before["received"] == len(took)
    assert after["rejected"] == before["rejected"]
