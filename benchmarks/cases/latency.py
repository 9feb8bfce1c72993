"""From received to aggregated, as the server's own metric `latency` has it, at fixed rates."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.plans import JSON, LINES, SendPlan
from benchmarks.row import Row, Setting, measured
from benchmarks.sending import send
from benchmarks.server import gauge

RATE = 1000.0
CONNECTIONS = 32
WARM_UP_MS = 2000
SECOND_MS = 1000
LOADS = (("single", 1, JSON), ("bodies of 100", 100, LINES))
FIGURES = (("p50", "P50"), ("p99", "P99"), ("max", "maximum"))


def run(setting: Setting) -> Iterator[Row]:
    for name, events, media_type in LOADS:
        yield from _rows(setting, name, events, media_type)


def _rows(setting: Setting, name: str, events: int, media_type: str) -> Iterator[Row]:
    seconds = setting.choose(full=60.0, quick=4.0)
    with gauge(setting) as server:
        plan = SendPlan(
            port=server.port,
            seconds=seconds,
            events=events,
            connections=CONNECTIONS,
            rate=RATE,
            media_type=media_type,
        )
        cost = send(setting, plan, server)
        sent = cost.sent
        server.settle(sent.accepted)
        server.check(sent.accepted, raw_events=True)
        found = server.latency_ms(sent.started_ms + WARM_UP_MS, sent.ended_ms + SECOND_MS)
    what = f"received to aggregated at {RATE * events:,.0f} events/s, {events:,} a request"
    reached = sent.accepted / sent.seconds
    notes = (
        f"{reached:,.0f} events/s were reached; the sender had its answers after {sent.p50_ms:.2f} ms (P50), "
        f"{sent.p99_ms:.2f} ms (P99); {cost.about}"
    )
    for figure, label in FIGURES:
        yield measured(
            f"latency {name}, {label}", what, found[figure], "ms", notes=notes if figure == "p50" else ""
        )
