"""A crowd of viewers, some of whom never read: nobody else notices, and nothing piles up for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from benchmarks.programs.idlers import join
from websockets.asyncio.client import ClientConnection

from streamgauge.live.diff import apply
from web_tools import LONG, WAIT_S, Served, receive, serving, until

READERS = 100
NEVER_READING = 10
DEADLINE = "1s"
CLOSED_S = 60.0
TOO_LARGE_TO_HOLD = (
    "x" * 4096
)  # of each event: a few messages fill what the kernel keeps for who does not read
LAST = "the last event"


@dataclass
class Seen:
    """What one viewer was told: the newest state, how it came there, and what did not follow on."""

    version: int
    state: dict[str, Any]
    diffs: int = 0
    gaps: int = 0


@asynccontextmanager
async def never_reading(server: Served) -> AsyncIterator[list[socket.socket]]:
    """Viewers on plain sockets that joined, and of which nothing is read."""
    sockets = [await asyncio.to_thread(join, server.port) for _ in range(NEVER_READING)]
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


async def joined(server: Served, held: AsyncExitStack) -> tuple[ClientConnection, Seen]:
    """Join as a viewer that reads."""
    connection = await held.enter_async_context(server.socket(max_size=None))
    await connection.send('["1","1","dashboard:overview","phx_join",{}]')
    answer = (await receive(connection))[4]["response"]
    return connection, Seen(answer["version"], answer["state"])


async def follow(connection: ClientConnection, seen: Seen) -> Seen:
    """Take in everything until the last event is there, as the page does."""
    while LAST not in seen.state["types"]:
        _, _, _, event, payload = await receive(connection)
        if event == "snapshot":
            seen.version, seen.state = payload["version"], payload["state"]
        elif event == "diff":
            seen.diffs += 1
            seen.gaps += payload["from"] != seen.version
            seen.version, seen.state = payload["version"], apply(seen.state, payload["patch"])
    return seen


def unsent_bytes(server: Served) -> int:
    """The most that the server holds for one viewer and that the kernel has not taken."""
    viewers = [viewer for channel in server.app.hub._channels.values() for viewer in channel.viewers]
    sizes: list[int] = [
        viewer._viewer._transport.get_write_buffer_size()  # type: ignore[attr-defined]
        for viewer in viewers
    ]
    return max(sizes)


def read_to_the_end(viewer: socket.socket) -> bool:
    """Read what is left; tell whether the connection then ends."""
    viewer.settimeout(WAIT_S)
    try:
        while viewer.recv(65_536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


async def test_viewers_that_never_read_are_closed_at_the_deadline_and_nobody_else_misses_anything() -> None:
    limits, rate = {"viewer_send_deadline": DEADLINE}, {"max_rate": 20}
    async with (
        serving(live=rate, limits=limits, store={"commit_interval": LONG}) as server,
        AsyncExitStack() as held,
    ):
        hub = server.app.hub
        readers = [await joined(server, held) for _ in range(READERS)]
        async with never_reading(server) as silent:
            await until(lambda: hub.viewers == READERS + NEVER_READING)
            following = [asyncio.create_task(follow(*reader)) for reader in readers]
            largest, sent = 0, 0
            async with asyncio.timeout(CLOSED_S):
                while hub.viewers > READERS:
                    encoded = hub.encoded
                    await server.send({"type": "a", "text": TOO_LARGE_TO_HOLD})
                    sent += 1
                    await until(lambda: hub.encoded > encoded)  # noqa: B023  awaited at once
                    largest = max(largest, unsent_bytes(server))
            assert hub.skipped > 0
            await server.send({"type": LAST})
            told = await asyncio.wait_for(asyncio.gather(*following), CLOSED_S)
            states = {msgspec.json.encode(seen.state["types"], order="sorted") for seen in told}
            assert [seen.gaps for seen in told] == [0] * READERS
            assert min(seen.diffs for seen in told) > 1
            assert states == {msgspec.json.encode(told[0].state["types"], order="sorted")}
            assert told[0].state["totals"]["events"]["count"] == sent + 1
            snapshot = len(msgspec.json.encode(told[0].state)) + 8 * len(TOO_LARGE_TO_HOLD)
            assert largest <= 2 * snapshot
            ended = await asyncio.gather(*(asyncio.to_thread(read_to_the_end, one) for one in silent))
            assert ended == [True] * NEVER_READING
        assert hub.viewers == READERS
