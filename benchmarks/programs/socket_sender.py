"""Pushes events to the topic `events` of the socket, with several pushes under way on each connection."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from itertools import cycle
from typing import Final, cast

import msgspec

from benchmarks.data import MILLISECONDS, make_events
from benchmarks.percentiles import percentiles
from benchmarks.plans import Sent, SocketPlan
from benchmarks.programs.frames import CLOSE, PING, PONG, FrameReader, client_frame
from benchmarks.programs.talk import hear, run, say

END_OF_HEAD: Final = b"\r\n\r\n"
HANDSHAKE: Final = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: c3RyZWFtZ2F1Z2VzZW5kcw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
JOIN: Final = client_frame(b'["1","1","events","phx_join",{}]')
OK: Final = b'{"status":"ok","response":'
PREBUILT_EVENTS: Final = 40_000
PATIENCE_S: Final = 60.0


class Reply(msgspec.Struct):
    """What a push was answered."""

    accepted: int = 0
    rejected: int = 0


def frames_of(events: int) -> list[bytes]:
    """Make pushes of so many events each, of which each is different."""
    made = make_events(max(PREBUILT_EVENTS, events), start_ms=time.time_ns() // 10**6, span_ms=MILLISECONDS)
    payloads: list[object] = [
        {"events": made[at : at + events]} for at in range(0, len(made) - events + 1, events)
    ]
    name = "new_events"
    if events == 1:
        payloads, name = list(made), "new_event"
    return [client_frame(msgspec.json.encode(("1", "2", "events", name, payload))) for payload in payloads]


class Pusher(asyncio.Protocol):
    """One connection, which keeps a number of pushes under way."""

    transport: asyncio.Transport

    def __init__(self, frames: list[bytes], window: int) -> None:
        self._frames, self._window = cycle(frames), window
        self._reader, self._head = FrameReader(), b""
        self._sent_at: deque[float] = deque()
        self._deadline = 0.0
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.times_s = array("d")
        self.accepted = self.rejected = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is one only in what it can do
        self.transport.write(HANDSHAKE)

    def begin(self, deadline: float) -> None:
        """Push until the deadline."""
        self._deadline = deadline
        for _ in range(self._window):
            self._push(time.monotonic())

    def _push(self, now: float) -> None:
        self._sent_at.append(now)
        self.transport.write(next(self._frames))

    def data_received(self, data: bytes) -> None:
        if not self.joined.done() and END_OF_HEAD not in self._head:
            self._head += data
            if END_OF_HEAD in self._head:
                self.transport.write(JOIN)
            return
        for opcode, payload in self._reader.feed(data):
            start = payload.find(OK)
            if opcode == PING:
                self.transport.write(client_frame(payload, PONG))
            elif opcode == CLOSE or start < 0:
                self._fail(f"answered {payload[:300]!r}")
            elif not self.joined.done():
                self.joined.set_result(None)
            else:
                self._answered(payload[start + len(OK) : -2])

    def _answered(self, response: bytes) -> None:
        reply = msgspec.json.decode(response, type=Reply)
        now = time.monotonic()
        self.times_s.append(now - self._sent_at.popleft())
        self.accepted += reply.accepted
        self.rejected += reply.rejected
        if now < self._deadline:
            self._push(now)
        elif not self._sent_at and not self.done.done():
            self.done.set_result(None)

    def _fail(self, problem: str) -> None:
        for future in (self.joined, self.done):
            if not future.done():
                future.set_exception(RuntimeError(problem))
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was lost: {exc}")


async def main() -> None:
    plan = hear(SocketPlan)
    frames = frames_of(plan.events)
    loop = asyncio.get_running_loop()
    pushers = []
    for _ in range(plan.connections):
        _, pusher = await loop.create_connection(lambda: Pusher(frames, plan.window), "127.0.0.1", plan.port)
        await pusher.joined
        pushers.append(pusher)
    say("sending")
    started_ms, started, cpu = time.time_ns() // 10**6, time.monotonic(), time.process_time()
    for pusher in pushers:
        pusher.begin(started + plan.seconds)
    async with asyncio.timeout(plan.seconds + PATIENCE_S):
        await asyncio.gather(*(pusher.done for pusher in pushers))
    times_s = array("d", (one for pusher in pushers for one in pusher.times_s))
    p50, p99 = percentiles(times_s, [50, 99])
    say(
        Sent(
            started=started,
            started_ms=started_ms,
            ended=time.monotonic(),
            ended_ms=time.time_ns() // 10**6,
            requests=len(times_s),
            accepted=sum(pusher.accepted for pusher in pushers),
            rejected=sum(pusher.rejected for pusher in pushers),
            refused=0,
            cpu_s=time.process_time() - cpu,
            p50_ms=p50 * 1000,
            p99_ms=p99 * 1000,
        )
    )


if __name__ == "__main__":
    run(main())
