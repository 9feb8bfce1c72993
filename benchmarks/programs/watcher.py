"""Many viewers of the dashboard `overview` in one process: joins all of them, then measures what reaches them as often as it is told to."""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from typing import Final, cast

from benchmarks.percentiles import percentiles
from benchmarks.plans import Watched, WatchPlan
from benchmarks.programs.frames import CLOSE, PING, PONG, FrameReader, client_frame
from benchmarks.programs.joining import END_OF_HEAD, HANDSHAKE, JOIN
from benchmarks.programs.talk import hear, run, say

AT_ONCE: Final = 50  # viewers that join at the same time
HEARTBEAT_S: Final = 25.0
JOIN_S: Final = 30.0
HEARTBEAT: Final = client_frame(b'[null,"2","phoenix","heartbeat",{}]')
JOINED: Final = b'"phx_reply",{"status":"ok"'
DIFF: Final = b'[null,null,"dashboard:overview","diff",'
SNAPSHOT: Final = b'[null,null,"dashboard:overview","snapshot",'
AS_OF: Final = b'["as_of"],'
MOST_DIGITS: Final = 16


def as_of(diff: bytes) -> int | None:
    """Give the time in milliseconds of which a diff shows the state; None where it does not set it."""
    place = diff.find(AS_OF)
    if place < 0:
        return None
    start = place + len(AS_OF)
    return int(diff[start : start + MOST_DIGITS].split(b"]", 1)[0])


class Tally:
    """What all viewers have seen since measuring began."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start from nothing."""
        self.diffs = self.snapshots = self.bytes = self.closed = 0
        self.delays_ms = array("d")


class Viewer(asyncio.Protocol):
    """One viewer."""

    transport: asyncio.Transport

    def __init__(self, tally: Tally) -> None:
        self._tally, self._frames = tally, FrameReader()
        self._head: bytes | None = b""
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is one only in what it can do
        self.transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._shake_hands(self._head + data)
            return
        for opcode, payload in self._frames.feed(data):
            self._take(opcode, payload)

    def _shake_hands(self, data: bytes) -> None:
        head, end, rest = data.partition(END_OF_HEAD)
        self._head = None if end else data
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self._fail(f"the server refused: {head[:200]!r}")
            return
        self.transport.write(JOIN)
        if rest:
            self.data_received(rest)

    def _take(self, opcode: int, payload: bytes) -> None:
        tally = self._tally
        tally.bytes += len(payload)
        if payload.startswith(DIFF):
            tally.diffs += 1
            made = as_of(payload)
            if made is not None:
                tally.delays_ms.append(time.time() * 1000 - made)
        elif payload.startswith(SNAPSHOT):
            tally.snapshots += 1
        elif opcode == PING:
            self.transport.write(client_frame(payload, PONG))
        elif opcode == CLOSE:
            self._fail(f"the server closed: {payload!r}")
        elif not self.joined.done():
            self._join_answered(payload)

    def _join_answered(self, payload: bytes) -> None:
        if JOINED in payload[:200]:
            self.joined.set_result(None)
        else:
            self._fail(f"the join was refused: {payload[:200]!r}")

    def _fail(self, problem: str) -> None:
        if not self.joined.done():
            self.joined.set_exception(RuntimeError(problem))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.closed += 1
        if not self.joined.done():
            self.joined.set_exception(RuntimeError(f"the connection was lost: {exc}"))


async def join_all(plan: WatchPlan, tally: Tally) -> list[Viewer]:
    """Connect and join, some at a time."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def join() -> Viewer:
        async with gate, asyncio.timeout(JOIN_S):
            _, viewer = await loop.create_connection(lambda: Viewer(tally), "127.0.0.1", plan.port)
            await viewer.joined
            return viewer

    return await asyncio.gather(*(join() for _ in range(plan.viewers)))


async def keep_alive(viewers: list[Viewer]) -> None:
    """Send what keeps the server from taking viewers for gone."""
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        for viewer in viewers:
            viewer.transport.write(HEARTBEAT)


async def measure(seconds: float, tally: Tally) -> Watched:
    """Give what the viewers see from now on for a while."""
    tally.begin()
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    cpu = time.process_time() - cpu
    p50, p99 = percentiles(tally.delays_ms, [50, 99])
    return Watched(
        diffs=tally.diffs,
        snapshots=tally.snapshots,
        bytes=tally.bytes,
        closed=tally.closed,
        cpu_s=cpu,
        p50_ms=p50,
        p99_ms=p99,
    )


async def main() -> None:
    plan, tally = hear(WatchPlan), Tally()
    viewers = await join_all(plan, tally)
    hearts = asyncio.create_task(keep_alive(viewers))
    say("joined")
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        say(await measure(plan.seconds, tally))
    hearts.cancel()
    for viewer in viewers:
        viewer.transport.abort()


if __name__ == "__main__":
    run(main())
