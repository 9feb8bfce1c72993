"""Sends prebuilt requests: as fast as they are answered, or on a fixed timetable.

One request at a time on each connection. On a timetable a request that finds no connection free waits for one, and its
time counts from when it was due, so a server that stalls cannot hide it (Gil Tene's "coordinated omission").
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from functools import partial
from typing import Final, cast

from benchmarks.data import lines_of
from benchmarks.percentiles import percentiles
from benchmarks.plans import SendPlan, Sent
from benchmarks.programs.talk import hear, run, say
from benchmarks.requests import StampedRequest, everything_accepted, read_answer

ACCEPTED: Final = b"HTTP/1.1 202"
SATURATED: Final = 503
MOST_EVENTS: Final = 40_000  # prebuilt for one connection
MOST_REQUESTS: Final = 64  # prebuilt for one connection
PATIENCE_S: Final = 60.0  # for the last answers


class Connection(asyncio.Protocol):
    """One keep-alive connection. Owns its requests: a request is written anew only when its answer is there."""

    transport: asyncio.Transport

    def __init__(self, sender: Sender, requests: list[StampedRequest]) -> None:
        self._sender, self._requests = sender, requests
        self._usual = everything_accepted(requests[0].events)
        self._next = 0
        self._due = 0.0
        self._partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is one only in what it can do

    def send(self, due: float) -> None:
        """Send the next request."""
        self._due = due
        self._sender.writing()
        self.transport.write(self._requests[self._next].at(int(time.time())))
        self._next = (self._next + 1) % len(self._requests)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        if data.startswith(ACCEPTED) and data.endswith(self._usual):
            self._partial = b""
            self._sender.answered(self, self._due, self._requests[0].events)
            return
        answer = read_answer(data)
        self._partial = data if answer is None else b""
        if answer is None:
            return
        if answer.status == SATURATED:
            self._sender.refused(self, self._due, answer.retry_after_s)
        elif answer.receipt.accepted or answer.receipt.rejected:
            self._sender.answered(self, self._due, answer.receipt.accepted, answer.receipt.rejected)
        else:
            self._sender.fail(f"answered {answer.status}: {data[:500]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.fail(f"the connection was lost: {exc}")


class Sender:
    """Drives the connections and keeps the account."""

    def __init__(self, plan: SendPlan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._idle: deque[Connection] = deque()
        self._waiting: deque[float] = deque()  # when requests were due that found no connection free
        self._connections: list[Connection] = []
        self._times_s, self._written_ms = array("d"), array("d")
        self._deadline = 0.0
        self._requests = self._accepted = self._rejected = self._refused = 0

    async def connect(self) -> None:
        """Build the requests and open the connections."""
        plan = self._plan
        several = max(1, min(MOST_REQUESTS, MOST_EVENTS // plan.events))
        lines = lines_of(plan.source, plan.events * several * plan.connections)
        bodies = [lines[place : place + plan.events] for place in range(0, len(lines), plan.events)]
        whole = [body for body in bodies if len(body) == plan.events]
        for number in range(plan.connections):
            requests = [StampedRequest(body, plan.media_type) for body in whole[number :: plan.connections]]
            make = partial(Connection, self, requests)
            _, connection = await self._loop.create_connection(make, "127.0.0.1", plan.port)
            self._connections.append(connection)

    async def send(self) -> Sent:
        """Send for the time of the plan, and wait for the last answers."""
        started_ms, started, cpu = time.time_ns() // 1_000_000, time.monotonic(), time.process_time()
        self._deadline = started + self._plan.seconds
        if self._plan.rate is None:
            for connection in self._connections:
                connection.send(started)
        else:
            self._idle.extend(self._connections)
            await self._keep_timetable(started, self._plan.rate)
            self._end_if_idle()
        async with asyncio.timeout(self._plan.seconds + PATIENCE_S):
            await self._done
        p50, p99 = percentiles(self._times_s, [50, 99])
        return Sent(
            started=started,
            started_ms=started_ms,
            ended=time.monotonic(),
            ended_ms=time.time_ns() // 1_000_000,
            requests=self._requests,
            accepted=self._accepted,
            rejected=self._rejected,
            refused=self._refused,
            cpu_s=time.process_time() - cpu,
            p50_ms=p50 * 1000,
            p99_ms=p99 * 1000,
            written_ms=tuple(self._written_ms),
        )

    async def _keep_timetable(self, started: float, rate: float) -> None:
        for number in range(int(self._plan.seconds * rate)):
            due = started + number / rate
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            if self._done.done():
                return
            if self._idle:
                self._idle.popleft().send(due)
            else:
                self._waiting.append(due)
        await asyncio.sleep(self._deadline - time.monotonic())
        self._deadline = time.monotonic()  # a sleep may end a little early, and nothing would look again

    def writing(self) -> None:
        """Take note that a request is about to be written."""
        if self._plan.note_times:
            self._written_ms.append(time.time() * 1000)

    def answered(self, connection: Connection, due: float, accepted: int, rejected: int = 0) -> None:
        """Take note of an answer, and let the connection go on."""
        now = time.monotonic()
        self._times_s.append(now - due)
        self._requests += 1
        self._accepted += accepted
        self._rejected += rejected
        self._go_on(connection, now)

    def refused(self, connection: Connection, due: float, retry_after_s: float) -> None:
        """Wait as the server asks to."""
        self._times_s.append(time.monotonic() - due)
        self._refused += 1
        self._loop.call_later(retry_after_s, lambda: self._go_on(connection, time.monotonic()))

    def _go_on(self, connection: Connection, now: float) -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif self._plan.rate is None and now < self._deadline:
            connection.send(now)
        else:
            self._idle.append(connection)
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        over = time.monotonic() >= self._deadline
        if over and len(self._idle) == len(self._connections) and not self._done.done():
            self._done.set_result(None)

    def fail(self, problem: str) -> None:
        """End with an error, unless all is done."""
        if not self._done.done():
            self._done.set_exception(RuntimeError(problem))


async def main() -> None:
    sender = Sender(hear(SendPlan))
    await sender.connect()
    say("sending")
    say(await sender.send())


if __name__ == "__main__":
    run(main())
