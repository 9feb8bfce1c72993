"""Pushes events through the client library, or posts the same events in bodies that were encoded beforehand."""

from __future__ import annotations

import http.client
import time
from typing import Final

from benchmarks.data import make_events
from benchmarks.plans import ClientPlan, ClientSent
from benchmarks.programs.talk import hear, say
from streamgauge import Client
from streamgauge.client.buffer import Batch
from streamgauge.client.connection import Connection, Target

DISTINCT: Final = 20_000
BATCH: Final = 1000
TIMEOUT_S: Final = 60.0
SATURATED: Final = 503


def push(plan: ClientPlan) -> ClientSent:
    """Push events one by one for the time of the plan, and wait until all are accepted."""
    now_ms = time.time_ns() // 1_000_000
    events = make_events(DISTINCT, start_ms=now_ms - 60_000, span_ms=60_000)
    say("ready")
    started, cpu = time.monotonic(), time.process_time()
    with Client(f"http://127.0.0.1:{plan.port}", batch_events=BATCH, wait_s=TIMEOUT_S) as client:
        while time.monotonic() - started < plan.seconds:
            for event in events[:BATCH]:
                client.push_event(event)
            events = events[BATCH:] + events[:BATCH]
        client.flush()
        counts = client.counts()
    return ClientSent(
        started=started, ended=time.monotonic(), accepted=counts.accepted, cpu_s=time.process_time() - cpu
    )


def post(plan: ClientPlan) -> ClientSent:
    """Post bodies over the client's own connection: all of its sending, and nothing else of it."""
    now_ms = time.time_ns() // 1_000_000
    events = make_events(DISTINCT, start_ms=now_ms - 60_000, span_ms=60_000)
    with Client(f"http://127.0.0.1:{plan.port}") as client:
        lines = client._lines(events)  # noqa: SLF001  the very bytes that it would send
    parts = [tuple(lines[place : place + BATCH]) for place in range(0, DISTINCT, BATCH)]
    connection = Connection(
        Target(f"http://127.0.0.1:{plan.port}", None), timeout_s=TIMEOUT_S, compress=False
    )
    say("ready")
    started, cpu, accepted = time.monotonic(), time.process_time(), 0
    while time.monotonic() - started < plan.seconds:
        batch = Batch(f"bench-{started}-{accepted}", parts[accepted // BATCH % len(parts)])
        while (status := connection.post(batch)[0]) == SATURATED:
            time.sleep(0.1)
        if status != http.client.ACCEPTED:
            raise RuntimeError(f"answered {status}")
        accepted += BATCH
    connection.close()
    return ClientSent(
        started=started, ended=time.monotonic(), accepted=accepted, cpu_s=time.process_time() - cpu
    )


def main() -> None:
    plan = hear(ClientPlan)
    say(push(plan) if plan.through_client else post(plan))


if __name__ == "__main__":
    main()
