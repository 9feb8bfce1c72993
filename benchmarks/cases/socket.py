"""Events a second over the socket, counted until all is aggregated, and every count compared with what was accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.children import program
from benchmarks.plans import Sent, SocketPlan
from benchmarks.row import BenchmarkFailed, Row, Setting, measured
from benchmarks.sending import END_S, START_S, Cost
from benchmarks.server import LIFE_S, Gauge, gauge

UNIT = "events/s"
CONNECTIONS = 4
LOADS = ((1, 64), (1000, 4))  # events a push, pushes under way on each connection


def run(setting: Setting) -> Iterator[Row]:
    with decode_only(setting) as reference:
        for events, window in LOADS:
            yield _row(setting, reference, events, window)


def _row(setting: Setting, reference: Gauge, events: int, window: int) -> Row:
    limit = _push(setting, reference, events, window, setting.choose(full=15.0, quick=0.5)).sent
    with gauge(setting) as server:
        cost = _push(setting, server, events, window, setting.choose(full=30.0, quick=1.0))
        sent = cost.sent
        settled = server.settle(sent.accepted)
        server.check(sent.accepted, raw_events=True)
    name = "socket" if events == 1 else f"socket {events:,} a push"
    return measured(
        name,
        f"{events:,} events a push, {CONNECTIONS} connections with {window} pushes under way on each",
        sent.accepted / (settled.aggregated - sent.started),
        UNIT,
        reference=("decode-only application", limit.accepted / limit.seconds),
        notes=f"{sent.accepted:,} events, the same number in ledger, metric and table; "
        f"answered after {sent.p50_ms:.1f} ms (P50), {sent.p99_ms:.1f} ms (P99); {cost.about}",
    )


@contextmanager
def decode_only(setting: Setting) -> Iterator[Gauge]:
    """Run the application that only decodes, which has no API."""
    with program("decode_only_socket", {}, folder=setting.folder, timeout_s=LIFE_S) as child:
        yield Gauge(child, child.result(int))


def _push(setting: Setting, server: Gauge, events: int, window: int, seconds: float) -> Cost:
    plan = SocketPlan(
        port=server.port, seconds=seconds, events=events, connections=CONNECTIONS, window=window
    )
    timeout_s = START_S + seconds + END_S
    with program("socket_sender", plan, folder=setting.folder, timeout_s=timeout_s) as sender:
        sender.line()
        before = server.child.cpu_s
        sent = sender.result(Sent)
        used = server.child.cpu_s - before
    if sent.rejected or not sent.accepted:
        raise BenchmarkFailed(f"{sent.accepted:,} events accepted, {sent.rejected:,} rejected; all are valid")
    return Cost(sent, used / sent.seconds)
